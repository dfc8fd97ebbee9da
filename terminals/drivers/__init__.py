"""Tasks in, protocol requests out; protocol answers in, Reads out. Sans-I/O: a session runs the scripts."""
