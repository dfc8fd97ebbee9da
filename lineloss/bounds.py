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
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: How often the truth lies within the likely limits. What is promised is 19 times in 20: the rest is for what errors within a class do that no table
#: says, and costs a twelfth of the width.
CONFIDENCE: Final = 0.97
#: Steps towards the quantile at most: five reach the last digit whatever the shape, seven for a confidence of 0.99. A step of less than this
#: share leaves its square to go.
_STEPS: Final = 8
_NEAR: Final = 1e-7
_erf: Final = np.frompyfunc(erf, 1, 1)


def half_width(largest: Floats, deviation: Floats, confidence: float = CONFIDENCE) -> Floats:
    """x with P(|U + N| <= x) = confidence, U even in [-largest, largest], N normal with `deviation`; any equal shapes, any one unit."""
    # a ten-thousandth of the other is nothing, and keeps the difference of two nearly equal integrals exact enough
    a = np.maximum(np.maximum(largest, 1e-4 * deviation), 1e-12)
    s = np.maximum(deviation, 1e-6 * a)
    # Either alone is narrower than both, and the probability is a concave function of x: the steps of Newton's method never overshoot.
    x = np.maximum(confidence * a, NormalDist().inv_cdf((1 + confidence) / 2) * s)
    for _ in range(_STEPS):
        z = np.stack([x - a, x + a]) / s
        normal = 0.5 * (1 + _erf(z / np.sqrt(2)).astype(np.float64))
        integral = z * normal + np.exp(-0.5 * z**2) / np.sqrt(
            2 * np.pi
        )  # of `normal`, from minus infinity to z
        within = (integral[1] - integral[0]) * s / a - 1  # P(|U + N| <= x)
        step = (confidence - within) * a / (normal[1] - normal[0])
        x += step
        if (step <= _NEAR * x).all():
            break
    return x
