"""Voltage qualification (电压合格率) of regions by class.

    rate  = 1 - minutes out of limits / minutes monitored, over all meters of a class
    index = 0.5 A + 0.5 (B + C + D) / 3        综合电压合格率

A: buses of substations; B: customers supplied at 35 kV and more; C: customers at 6 to 20 kV; D: customers at 380/220 V. Limits are those of
GB/T 12325: 220 V +7/-10 %, three-phase up to 20 kV ±7 %; from 35 kV on it limits the sum of both sides to 10 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.norms import norms
from lineloss.rules.voltage import quality
from lineloss.statistics.groups import Groups

I64 = NDArray[np.int64]
Floats = NDArray[np.float64]

CLASSES: Final = ("A", "B", "C", "D")
#: from this level on [kV] the limits are those of high voltage
HIGH_KV: Final = 35.0
#: The standard limits the sum of the two deviations to 10 %; half of it on each side is a default that no public text confirms.
HIGH: Final = 0.05
#: columns of the minutes
MINUTES: Final = ("monitored", "above", "below", "out", "lost")


def minutes(
    voltage: Floats, nominal: Floats, high: NDArray[np.bool_], groups: Groups, interval: int = 15
) -> I64:
    """int64[group, 1 + MINUTES]: meters that said something, and minutes, of meters with voltages float64[meter, phase, slot] [V].

    nominal  float64[meter] [V] (meterday.nominal_of); a meter without one is not judged
    high     bool[meter]: supplied at HIGH_KV or more
    """
    said = ~np.isnan(nominal)
    rated = np.where(said, nominal, 220.0)
    direct, three = norms()["voltage_220"], norms()["voltage_3phase"]
    at_220 = rated == 220.0
    low = np.where(high, -HIGH, np.where(at_220, direct.low, three.low))
    up = np.where(high, HIGH, np.where(at_220, direct.high, three.high))
    found = quality(
        np.where(said[:, None, None], voltage, np.nan), nominal=rated, low=low, high=up, interval=interval
    )
    spoke = (found.monitored > 0).astype(np.int64)
    columns = [spoke, *(getattr(found, name) for name in MINUTES)]
    return groups.sum(np.stack(columns, axis=1))


@dataclass(frozen=True, slots=True)
class Index:
    """float64[group]; NaN where not known. rate [group, class]; index: of the classes that are there, NaN without A or without any other."""

    rate: Floats
    index: Floats


def index(monitored: I64, out: I64) -> Index:
    """Of minutes int64[group, class], classes in the order of CLASSES.

    Where one or two of B, C, D have no meter, the mean is over those that have: a default, the formula speaks of all three."""
    some = monitored > 0
    rate = np.where(some, 1 - out / np.where(some, monitored, 1), np.nan)
    customers = np.where(some[:, 1:], rate[:, 1:], 0).sum(axis=1)
    count = some[:, 1:].sum(axis=1)
    whole = some[:, 0] & (count > 0)
    mean = customers / np.maximum(count, 1)
    return Index(rate, np.where(whole, 0.5 * np.where(some[:, 0], rate[:, 0], 0) + 0.5 * mean, np.nan))
