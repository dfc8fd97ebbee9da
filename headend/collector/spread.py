"""A place for everybody in a stretch of time, so that not all wake at once."""

from __future__ import annotations

#: the golden ratio less one: its multiples, less their whole parts, lie evenly, however many there are
_GOLDEN = 0.6180339887498949


def share(number: int) -> float:
    """Always the same part of the whole, in [0, 1), for one number, and evenly over all numbers."""
    return number * _GOLDEN % 1.0
