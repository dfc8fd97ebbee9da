"""A fleet of terminals and meters that agree physically and speak real protocol bytes on real sockets."""
