"""Readings out, one file a format."""
