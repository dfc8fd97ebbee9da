"""Voltage out of limits (电压越限), GB/T 12325: minutes above and below in a day, and the qualification rate.

rate = (1 - (time above + time below) / monitored time) x 100 %
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lineloss.finding import Finding, curve, number
from lineloss.norms import norms

RULE: Final = "voltage"
VERSION: Final = 1
NEEDS: Final = ("voltage_a", "voltage_b", "voltage_c")
PHASES: Final = ("A", "B", "C")

#: Below this share of nominal the phase is lost or the meter is dark: an outage, which GB/T 12325 does not
#: rate.
LOST: Final = 0.6


@dataclass(frozen=True, slots=True)
class Quality:
    """A meter-day, int64[meter] minutes: a slot counts once, however many phases are out in it.

    rate      float64[meter]  qualification rate as a fraction; NaN when nothing was monitored
    lowest    float64[meter]  [V] of all monitored phases, NaN when nothing was monitored
    highest   float64[meter]  [V]
    """

    above: NDArray[np.int64]
    below: NDArray[np.int64]
    out: NDArray[np.int64]
    lost: NDArray[np.int64]
    monitored: NDArray[np.int64]
    rate: NDArray[np.float64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]


def quality(
    voltage: NDArray[np.float64],
    *,
    nominal: ArrayLike = 220.0,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    interval: int = 15,
) -> Quality:
    """voltage float64[meter, phase, slot] [V], NaN where not delivered or the meter has no such phase.

    nominal    [V], scalar or [meter], on the meter's side of a voltage transformer
    low, high  permitted deviation as fractions, scalar or [meter]; by default those of a 220 V supply, -10 %
               / +7 %
    interval   minutes one slot stands for
    """
    floor, ceiling, rated = _limits(len(voltage), nominal, low, high)
    n = len(voltage)
    cells = voltage.reshape(n, -1)
    lowest, highest = (extreme.reduce(cells, axis=1, initial=np.nan) for extreme in (np.fmin, np.fmax))
    monitored = np.count_nonzero(~np.isnan(voltage).all(axis=1), axis=1) * interval
    above, below, out, lost = (np.zeros(n, dtype=np.int64) for _ in range(4))
    # who stayed within the limits all day, which is nearly everybody, is done
    least = LOST * rated
    odd = np.flatnonzero((lowest < np.maximum(floor, least)) | (highest > ceiling))
    some = voltage[odd]
    alive = some >= least[odd, None, None]
    over = (alive & (some > ceiling[odd, None, None])).any(axis=1)
    under = (alive & (some < floor[odd, None, None])).any(axis=1)
    for minutes, slots in (
        (above, over), (below, under), (out, over | under), (monitored, alive.any(axis=1)),
        (lost, (some < least[odd, None, None]).any(axis=1)),
    ):  # fmt: skip
        minutes[odd] = np.count_nonzero(slots, axis=1) * interval
    lowest[odd] = np.where(alive, some, np.inf).min(axis=(1, 2), initial=np.inf)
    highest[odd] = np.where(alive, some, -np.inf).max(axis=(1, 2), initial=-np.inf)
    watched = monitored > 0
    return Quality(
        above=above,
        below=below,
        out=out,
        lost=lost,
        monitored=monitored,
        rate=np.where(watched, 1 - out / np.where(watched, monitored, 1), np.nan),
        lowest=np.where(watched, lowest, np.nan),
        highest=np.where(watched, highest, np.nan),
    )


def find(
    meter: NDArray[np.int64],
    voltage: NDArray[np.float64],
    *,
    nominal: ArrayLike = 220.0,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    interval: int = 15,
    minutes: int = 30,
    alarm_minutes: int = 240,
) -> list[Finding]:
    """Meters whose voltage was out of limits for `minutes` or more of the day. Arguments as for quality()."""
    day = quality(voltage, nominal=nominal, low=low, high=high, interval=interval)
    floor, ceiling, rated = _limits(len(voltage), nominal, low, high)
    findings = []
    for row in np.flatnonzero(day.out >= minutes).tolist():
        there = voltage[row] >= LOST * rated[row]
        outside = there & ((voltage[row] < floor[row]) | (voltage[row] > ceiling[row]))
        worst = int(outside.sum(axis=1).argmax())
        slots = np.flatnonzero(outside.any(axis=0))
        over, under = int(day.above[row]), int(day.below[row])
        what = "too high and too low" if over and under else "too high" if over else "too low"
        zh = "越上限和越下限" if over and under else "越上限" if over else "越下限"
        findings.append(
            Finding(
                RULE,
                VERSION,
                "meter",
                int(meter[row]),
                "alarm" if day.out[row] >= alarm_minutes else "warning",
                {
                    "minutes_above": over,
                    "minutes_below": under,
                    "minutes_out": int(day.out[row]),
                    "minutes_lost": int(day.lost[row]),
                    "minutes_monitored": int(day.monitored[row]),
                    "threshold_minutes": minutes,
                    "qualification_rate": number(day.rate[row]),
                    "lowest_v": number(day.lowest[row], 1),
                    "highest_v": number(day.highest[row], 1),
                    "limit_low_v": number(floor[row], 1),
                    "limit_high_v": number(ceiling[row], 1),
                    "phase": PHASES[worst],
                    "first_slot": int(slots[0]),
                    "last_slot": int(slots[-1]),
                    "interval_minutes": interval,
                    "curve_v": curve(voltage[row, worst], 1),
                },
                f"Voltage {what} for {int(day.out[row])} minutes",
                f"电压{zh} {int(day.out[row])} 分钟",
            )
        )
    return findings


def _limits(
    meters: int, nominal: ArrayLike, low: ArrayLike | None, high: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(floor, ceiling, nominal) [V], float64[meter] each; rounded to 1 mV so that a voltage on the limit is
    inside.
    """
    norm = norms()["voltage_220"]
    rated = np.broadcast_to(np.asarray(nominal, dtype=np.float64), (meters,))
    down = np.asarray(norm.low if low is None else low, dtype=np.float64)
    up = np.asarray(norm.high if high is None else high, dtype=np.float64)
    return np.round(rated * (1 + down), 3), np.round(rated * (1 + up), 3), rated
