"""A clock that is off by more than may be set from afar (时钟超差): its intervals are other people's intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.finding import Finding, number

RULE: Final = "clock-off"
VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class Offsets:
    """One row a clock.

    of           str[row]      'meter' or 'terminal'
    subject      int64[row]
    ahead        float64[row]  [s] by which it was ahead of ours when it was read
    uncertainty  float64[row]  [s] that the reading may be wrong by
    read         datetime64[us][row]  UTC
    why          str[row]      what the policy for setting clocks says of it
    """

    of: NDArray[np.str_]
    subject: NDArray[np.int64]
    ahead: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    read: NDArray[np.datetime64]
    why: NDArray[np.str_]


def find(offsets: Offsets, *, most: float = 900.0, alarm: float = 3600.0) -> list[Finding]:
    """Clocks that may be more than `most` seconds off; an alarm beyond `alarm`.

    most  half of what no interval can hide, and what nobody sets without having looked: one quarter-hour
    """
    found = np.abs(offsets.ahead) + offsets.uncertainty > most
    return [
        Finding(
            RULE,
            VERSION,
            "terminal" if offsets.of[row] == "terminal" else "meter",
            int(offsets.subject[row]),
            "alarm" if abs(offsets.ahead[row]) > alarm else "warning",
            {
                "ahead_seconds": number(offsets.ahead[row], 1),
                "uncertainty_seconds": number(offsets.uncertainty[row], 1),
                "limit_seconds": most,
                "read_at": f"{np.datetime_as_string(offsets.read[row], unit='s')}Z",
                "why": str(offsets.why[row]),
            },
            f"Clock off by {offsets.ahead[row]:+.0f} s",
            f"时钟偏差 {offsets.ahead[row]:+.0f} 秒",
        )
        for row in np.flatnonzero(found).tolist()
    ]
