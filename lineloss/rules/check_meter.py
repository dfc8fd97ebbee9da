"""Main and check meter of one point that count differently (主副表差异超限): one of the two is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.finding import Finding, number
from lineloss.norms import norms

RULE: Final = "check-meter"
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Pairs:
    """One row a pair; a day's energies, primary side.

    main, check    int64[pair]     meters
    main_kwh       float64[pair]   NaN where not known; likewise check_kwh
    main_class     float64[pair]   class of accuracy as a fraction: class 0.5 is 0.005
    resolution     float64[pair]   [kWh] what the last digits of the two registers are worth together, primary side
    """

    main: NDArray[np.int64]
    check: NDArray[np.int64]
    main_kwh: NDArray[np.float64]
    check_kwh: NDArray[np.float64]
    main_class: NDArray[np.float64]
    resolution: NDArray[np.float64]


def find(pairs: Pairs, *, times: float | None = None, kwh: float = 1.0, alarm: float = 5.0) -> list[Finding]:
    """Pairs that differ by more than `times` the main meter's class, beyond what the last digits hide; an alarm beyond `alarm` times that.

    kwh  primary side: a day in which the larger of the two counted less has no difference worth judging
    """
    factor = norms()["check_meter"].high if times is None else times
    apart = np.abs(pairs.main_kwh - pairs.check_kwh)
    larger = np.fmax(pairs.main_kwh, pairs.check_kwh)
    allowed = factor * pairs.main_class * np.where(pairs.main_kwh > 0, pairs.main_kwh, larger)
    # both registers are cut, at either end of the day
    beyond = apart - 2 * pairs.resolution
    found = ~np.isnan(apart) & (larger >= kwh) & (beyond > allowed + 1e-9)
    findings = []
    for k in np.flatnonzero(found).tolist():
        share = float(apart[k] / larger[k])
        findings.append(
            Finding(
                RULE,
                VERSION,
                "meter",
                int(pairs.main[k]),
                "alarm" if beyond[k] > alarm * allowed[k] else "warning",
                {
                    "check_meter": int(pairs.check[k]),
                    "main_kwh": number(pairs.main_kwh[k], 2),
                    "check_kwh": number(pairs.check_kwh[k], 2),
                    "difference": number(share),
                    "limit": number(factor * pairs.main_class[k]),
                    "main_class": number(pairs.main_class[k]),
                    "resolution_kwh": number(pairs.resolution[k], 3),
                },
                f"Main and check meter differ by {share:.2%} (limit {factor * pairs.main_class[k]:.2%})",
                f"主副表电量相差 {share:.2%}(限值 {factor * pairs.main_class[k]:.2%})",
            )
        )
    return findings
