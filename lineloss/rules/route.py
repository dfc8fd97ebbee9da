"""Meters that answer their terminal seldom (载波通信不良): a weak power-line or radio route, by the attempts in the completeness ledger.

Who never answers is missing for another reason; who always does has no bad route. Where many meters of one terminal answer seldom the
terminal's side or its line is disturbed, and that is one finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.finding import Finding, number

RULE: Final = "route"
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Attempts:
    """One row a meter and day.

    asked  int64[meter]  attempts to read it
    vain   int64[meter]  of these, those to which it did not answer, or not legibly, while its terminal did
    """

    meter: NDArray[np.int64]
    terminal: NDArray[np.int64]
    asked: NDArray[np.int64]
    vain: NDArray[np.int64]


def find(
    attempts: Attempts,
    *,
    poor: float = 0.3,
    asked: int = 8,
    many: float = 0.3,
    least: int = 3,
) -> list[Finding]:
    """Meters of whose attempts `poor` or more were in vain, or their terminal where `many` of its meters are so (and at least `least`).

    asked  fewer attempts say nothing: two of three in vain may be chance
    """
    judged = attempts.asked >= asked
    share = np.where(judged, attempts.vain / np.maximum(attempts.asked, 1), np.nan)
    bad = judged & (share >= poor) & (attempts.vain < attempts.asked)
    findings = []
    for terminal in np.unique(attempts.terminal[bad]).tolist():
        mine = np.flatnonzero((attempts.terminal == terminal) & judged)
        weak = mine[bad[mine]]
        others = float(np.median(share[mine]))
        if len(weak) >= least and len(weak) >= many * len(mine):
            findings.append(_terminal(attempts, terminal, weak, mine, share))
        else:
            findings += [_meter(attempts, row, float(share[row]), others) for row in weak.tolist()]
    return findings


def _meter(attempts: Attempts, row: int, share: float, others: float) -> Finding:
    return Finding(
        RULE,
        VERSION,
        "meter",
        int(attempts.meter[row]),
        "warning",
        {
            "attempts": int(attempts.asked[row]),
            "in_vain": int(attempts.vain[row]),
            "share_in_vain": number(share, 3),
            "share_of_neighbours": number(others, 3),
            "terminal_id": int(attempts.terminal[row]),
        },
        f"Meter answers seldom: {int(attempts.vain[row])} of {int(attempts.asked[row])} attempts in vain",
        f"电表应答率低:{int(attempts.asked[row])} 次中 {int(attempts.vain[row])} 次无应答",
    )


def _terminal(
    attempts: Attempts,
    terminal: int,
    weak: NDArray[np.int64],
    mine: NDArray[np.int64],
    share: NDArray[np.float64],
) -> Finding:
    worst = weak[np.argsort(-share[weak], kind="stable")]
    return Finding(
        RULE,
        VERSION,
        "terminal",
        terminal,
        "alarm" if len(weak) >= 0.6 * len(mine) else "warning",
        {
            "meters_seldom": len(weak),
            "meters": len(mine),
            "attempts": int(attempts.asked[mine].sum()),
            "in_vain": int(attempts.vain[mine].sum()),
            "share_in_vain": number(float(np.median(share[mine])), 3),
            "meter_ids": attempts.meter[worst[:50]].tolist(),
        },
        f"{len(weak)} of {len(mine)} meters of the terminal answer seldom",
        f"终端下 {len(mine)} 块电表中 {len(weak)} 块应答率低",
    )
