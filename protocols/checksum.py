"""Checks shared by several protocols."""

from __future__ import annotations


def sum8(data: bytes | bytearray | memoryview) -> int:
    """The sum of all bytes modulo 256: DL/T 645, Q/GDW 376.1."""
    return sum(data) & 0xFF
