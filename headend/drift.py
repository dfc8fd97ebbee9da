"""How fast a clock gains, from offsets that were measured now and then. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

#: A slope needs some readings, and a span over which a second of resolution is little: meters show whole seconds.
LEAST, SPAN_DAYS = 4, 2.0
#: Readings that one fit looks at: 60 make 1,770 pairs, a tenth of a millisecond.
MOST: Final = 60


def per_day(days: NDArray[np.float64], ahead: NDArray[np.float64]) -> float | None:
    """Seconds a day: the median of the slopes of all pairs (Theil-Sen), so that three readings in ten may be nonsense.

    days   float[n], when, in days; any order
    ahead  float[n], seconds
    None: fewer than LEAST readings, or within less than SPAN_DAYS.
    """
    if len(days) < LEAST or np.ptp(days) < SPAN_DAYS:
        return None
    days, ahead = days[-MOST:], ahead[-MOST:]
    first, second = np.triu_indices(len(days), 1)
    apart = days[second] - days[first]
    # pairs close together tell more of the resolution than of the drift
    far = np.abs(apart) >= 0.25
    if not far.any():
        return None
    return float(np.median((ahead[second] - ahead[first])[far] / apart[far]))
