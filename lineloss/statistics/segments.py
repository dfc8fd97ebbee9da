"""What kind of customer: four questions, each with its definition, its version and the numbers behind the answer.

    profile   用电类型   by how the energy of whole days lies over the day          even, night, evening, day, two-peaks, morning; unused; unknown
    payment   缴费行为   prepaid: how often the money ran low; by bills: how late   good, tight, late; unknown
    theft     窃电风险   what rules found of his meter, weighed                     none, low, medium, high
    shift     移峰潜力   energy in peak hours above what he needs all day long       none, low, medium, high; unknown

No public text defines them: limits are defaults of this file, and a new limit is a new VERSION. A theft risk is a reason to look and accuses
nobody: each finding that it rests on can be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
Floats = NDArray[np.float64]
Labels = NDArray[np.str_]

VERSION: Final = {"profile": 1, "payment": 1, "theft": 1, "shift": 1}
UNKNOWN: Final = "unknown"

#: whole days without which nothing is said of a profile
LEAST_DAYS: Final = 5
#: kWh a day below which nobody lives there
UNUSED: Final = 0.2
#: hours of the day [from, to)
NIGHT: Final = (0, 6)
MORNING: Final = (6, 9)
WORK: Final = (9, 17)
EVENING: Final = (17, 23)


@dataclass(frozen=True, slots=True)
class Segment:
    """[customer]: label, score float64 (NaN: none), facts name -> float64[customer]."""

    label: Labels
    score: Floats
    facts: Mapping[str, Floats]


def profile(hours: Floats, days: I64) -> Segment:
    """hours float64[customer, 24] [kWh], the mean hour of the known days; days int64[customer].

    The share of a part of the day is compared with the share of an even load: 1 is even, 2 twice as much. Night (0-6) from 1.6 on; evening (17-23)
    and day (9-17) from 1.35 on; morning (6-9) and evening both from 1.3 on are two peaks; within ±25 % everywhere is even."""
    energy = hours.sum(axis=1)
    some = energy > 0
    share = hours / np.where(some, energy, 1)[:, None]

    def weight(part: tuple[int, int]) -> Floats:
        return np.asarray(share[:, slice(*part)].sum(axis=1) * 24 / (part[1] - part[0]))

    night, morning, work, evening = (weight(part) for part in (NIGHT, MORNING, WORK, EVENING))
    parts = np.stack([night, morning, work, evening])
    label = np.select(
        [
            (days < LEAST_DAYS) | np.isnan(energy),
            energy < UNUSED,
            np.abs(parts - 1).max(axis=0) <= 0.25,
            night >= 1.6,
            (morning >= 1.3) & (evening >= 1.3),
            (evening >= 1.35) & (evening >= work),
            work >= 1.35,
        ],
        [UNKNOWN, "unused", "even", "night", "two-peaks", "evening", "day"],
        "mixed",
    )
    facts = {"kwh_a_day": energy, "night": night, "morning": morning, "work": work, "evening": evening, "days": days.astype(np.float64)}  # fmt: skip
    return Segment(label, np.full(len(hours), np.nan), facts)


def shift(hours: Floats, days: I64, peak: NDArray[np.bool_]) -> Segment:
    """Energy in `peak` hours bool[24] above the level that he has all day long (the mean of his four lowest hours), as a share of his energy:
    what could be used at another time if he wanted to. From 10 % low, 25 % medium, 40 % high."""
    energy = hours.sum(axis=1)
    base = np.sort(hours, axis=1)[:, :4].mean(axis=1)
    above = np.maximum(hours - base[:, None], 0)[:, peak].sum(axis=1)
    known = (days >= LEAST_DAYS) & (energy >= UNUSED)
    score = np.where(known, above / np.where(known, energy, 1), np.nan)
    grade = np.select([score >= 0.4, score >= 0.25, score >= 0.1], ["high", "medium", "low"], "none")
    return Segment(
        np.where(known, grade, UNKNOWN),
        score,
        {"kwh_a_day": energy, "movable_kwh_a_day": above, "base_kw": base},
    )


def payment(
    prepaid: NDArray[np.bool_], warned: I64, stopped: I64, late_days: Floats, months: Floats
) -> Segment:
    """warned, stopped int64[customer]: notices of a low and of an exhausted balance; late_days float64[customer]: mean days from the end of a
    billed period to the payment that covered it, NaN where there was none; months: for how long he has been known.

    Prepaid: once stopped in three months is tight, more often late; warned more than twice a month is tight. By bills: paid after 30 days on
    average is late, after 15 tight."""
    known = months >= 1
    often = stopped / np.maximum(months, 1)
    warnings = warned / np.maximum(months, 1)
    by_balance = np.select([often > 1 / 3, (stopped > 0) | (warnings > 2)], ["late", "tight"], "good")
    by_bill = np.select(
        [np.isnan(late_days), late_days > 30, late_days > 15], [UNKNOWN, "late", "tight"], "good"
    )
    label = np.where(known, np.where(prepaid, by_balance, by_bill), UNKNOWN)
    score = np.where(prepaid, often, late_days)
    facts = {
        "warnings": warned.astype(np.float64),
        "stops": stopped.astype(np.float64),
        "late_days": late_days,
        "months": months,
    }
    return Segment(label, score, facts)


#: rule -> what an open finding of it weighs; half of it once the finding was closed. What has honest causes too weighs less.
THEFT: Final = {
    "theft": 5.0,
    "cover": 3.0,
    "magnetic": 3.0,
    "stopped": 2.0,
    "check-meter": 2.0,
    "phase-loss": 1.5,
    "decreased": 1.5,
    "reverse-flow": 1.0,
}


def theft(weights: Floats, findings: I64) -> Segment:
    """weights float64[customer]: the sum of THEFT over his meter's findings; from 1 low, 3 medium, 5 high."""
    label = np.select([weights >= 5, weights >= 3, weights >= 1], ["high", "medium", "low"], "none")
    return Segment(label, weights, {"findings": findings.astype(np.float64)})
