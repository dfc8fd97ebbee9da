"""One protocol's probe a file."""
