"""How wrong a sum of many meters' energies may be: limits of class, digits cut off, estimates.

Every meter at the worst end of its class at once, all in the same direction, is what the hard limits of a balance assume. With fifty
meters it does not happen: errors within a class are independent of each other. What is known of each is its limits and nothing else, so
it is taken as evenly spread between them (JCGM 100:2008, 4.3.7), standard deviation class / sqrt(3). Of the area's meters one is so much
larger than the others, the supply meter, that its even spread is kept as it is; the others together are normal by their number, as are
digits and estimates. The half-width is the exact quantile of that sum.

It does not cover errors that all meters of an area share (one make, one temperature): the hard limits do.
"""

from __future__ import annotations

from math import erf
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: How often the truth lies within the likely limits.
CONFIDENCE: Final = 0.95
#: Halvings of the interval in which the quantile is sought: 2^-40 of its width.
_HALVINGS: Final = 40
_erf: Final = np.frompyfunc(erf, 1, 1)


def half_width(largest: Floats, deviation: Floats, confidence: float = CONFIDENCE) -> Floats:
    """x with P(|U + N| <= x) = confidence, U even in [-largest, largest], N normal with `deviation`; any equal shapes, any one unit."""
    # a ten-thousandth of the other is nothing, and keeps the difference of two nearly equal integrals exact enough
    a = np.maximum(np.maximum(largest, 1e-4 * deviation), 1e-12)
    s = np.maximum(deviation, 1e-6 * a)
    low, high = np.zeros_like(a), a + 10 * s
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        short = _within(middle, a, s) < confidence
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return np.asarray((low + high) / 2)


def _within(x: Floats, a: Floats, s: Floats) -> Floats:
    """P(|U + N| <= x)."""
    return np.asarray((_integral((x + a) / s) - _integral((x - a) / s)) * s / a - 1)


def _integral(z: Floats) -> Floats:
    """The integral of the normal distribution function from minus infinity to z."""
    below = 0.5 * (1 + _erf(z / np.sqrt(2)).astype(np.float64))
    return np.asarray(z * below + np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi))
