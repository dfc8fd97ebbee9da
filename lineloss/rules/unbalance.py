"""Current unbalance at the transformer's outlet (三相电流不平衡): (Imax - Imin) / Imax of the day's mean
phase currents.

Limit 15 %, SD 292-1988. A lightly loaded transformer is always unbalanced and harms nobody, so only slots
with at least a tenth of the rated load count.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.finding import Finding, curve, number
from lineloss.norms import norms
from lineloss.topology import Role, Topology

RULE: Final = "unbalance"
VERSION: Final = 1
NEEDS: Final = ("current_a", "current_b", "current_c")


def rated_current(
    capacity: NDArray[np.float64], ct_ratio: NDArray[np.int64], voltage: float = 400.0
) -> NDArray[np.float64]:
    """Rated current of a transformer as its meter sees it, [A] secondary: S / (sqrt(3) U) / CT.

    capacity  float64[meter] [kVA], NaN where unknown;  voltage  rated line-to-line voltage of the low side
                                                                 [V]
    """
    return np.asarray(capacity * 1000 / (np.sqrt(3.0) * voltage) / ct_ratio)


def find(
    topology: Topology,
    current: NDArray[np.float64],
    rated: NDArray[np.float64],
    *,
    limit: float | None = None,
    load: float = 0.10,
    slots: int = 4,
    alarm: float = 0.40,
) -> list[Finding]:
    """Areas whose three-phase supply meter saw unbalanced currents.

    current  float64[meter, 3, slot] [A] at the meter, NaN where not delivered; the sign (direction) is
             ignored
    rated    float64[meter] [A] on the same side; NaN where unknown: no statement about that area
    load     share of rated that the mean of the phases must reach for a slot to count
    slots    fewer such slots give no mean worth judging
    """
    bound = norms()["current_unbalance"].high if limit is None else limit
    rows = np.flatnonzero((topology.role == Role.SUPPLY) & (topology.phases == 3) & (topology.area >= 0))
    size, rated = np.abs(current[rows]), rated[rows]
    mean = size.mean(axis=1)  # NaN as soon as one phase is missing
    heavy = mean >= load * rated[:, None]
    count = heavy.sum(axis=1)
    phase = np.where(heavy[:, None, :], size, 0.0).sum(axis=2) / np.maximum(count, 1)[:, None]
    largest = phase.max(axis=1)
    share = np.where(largest > 0, (largest - phase.min(axis=1)) / np.where(largest > 0, largest, 1), 0.0)
    # a ratio of decimals that is the limit itself must not exceed it by a rounding error
    found = (count >= slots) & (share > bound + 1e-9)
    return [
        Finding(
            RULE,
            VERSION,
            "area",
            int(topology.area_id[topology.area[row]]),
            "alarm" if share[k] >= alarm else "warning",
            {
                "meter": int(topology.meter[row]),
                "unbalance": number(share[k]),
                "limit": bound,
                "mean_a": number(phase[k, 0], 3),
                "mean_b": number(phase[k, 1], 3),
                "mean_c": number(phase[k, 2], 3),
                "rated_current": number(rated[k], 3),
                "load_threshold": load,
                "slots_used": int(count[k]),
                "curves_a": [curve(current[row, p]) for p in range(3)],
            },
            f"Phase currents unbalanced by {share[k]:.0%} (limit {bound:.0%})",
            f"三相电流不平衡度 {share[k]:.0%}(限值 {bound:.0%})",
        )
        for k, row in zip(np.flatnonzero(found).tolist(), rows[found].tolist(), strict=True)
    ]
