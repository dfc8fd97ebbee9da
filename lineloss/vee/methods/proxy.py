"""Proxy (校表替代): what another meter on the same load measured in the same slots.

Nobody says which meter checks which; the days do. A candidate is a check meter if on all days that both know their energies stand in one
ratio.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.vee.curve import F64, I64, Curve, Holes, Slots
from lineloss.vee.facts import KWH
from protocols.reading import MISSING

CODE: Final = "vee-proxy"
WORDS: Final = ("what the check meter measured", "校核表替代")
ANCHORED: Final = False

#: days that both must know
DAYS: Final = 4
#: how far a day's ratio may be from their median: two meters of class 1, one against the other
APART: Final = 0.02
#: days with less are left out of the comparison [1e-4 kWh]
LEAST: Final = KWH


def weights(curve: Curve, wanted: Holes, slots: Slots, proxy: F64) -> F64:
    """float64[n] [1e-4 kWh]; `proxy` float64[meter, time]: the other meter's energies times the ratio, NaN where not known."""
    return proxy[slots.row, slots.time]


def partner(mine: I64, theirs: I64) -> tuple[int, float] | None:
    """(which candidate, what its energies must be multiplied by) of energies int64[day], int64[candidate, day] [1e-4 kWh, primary side];
    None where none of them checks this meter."""
    both = (mine != MISSING) & (theirs != MISSING) & (mine >= LEAST) & (theirs >= LEAST)
    best: tuple[float, int, float] | None = None
    for k in np.flatnonzero(both.sum(axis=1) >= DAYS).tolist():  # a handful of meters
        ratios = mine[both[k]] / theirs[k, both[k]]
        ratio = float(np.median(ratios))
        apart = float(np.abs(ratios / ratio - 1).max())
        if apart <= APART and (best is None or apart < best[0]):
            best = apart, k, ratio
    return None if best is None else (best[1], best[2])
