"""Bytes to meaning and back. Pure: no I/O, no clock, no randomness, no logging."""
