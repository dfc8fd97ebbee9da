"""Profiles finer than a register's last digit, for curves that are compared with each other: never for a bill and never for a balance.

A household draws a tenth of a kilowatt-hour in a quarter of an hour, and its register counts hundredths. Volts times amperes are shown a hundred
times as fine, but as samples: one instant of the quarter. Which of the two says more differs from meter to meter, and it can be measured:
where they differ by no more than the digit, the samples are as good as means. Both are weighed by what they get wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Fewer common slots than this do not tell how good samples are: a quarter of a day.
_SLOTS: Final = 24


@dataclass(frozen=True, slots=True)
class Sharp:
    """energy float64[row, slot] [kWh];  digits float64[row] [kWh]: worth of the last digit where it was left to the register, 0 where not;  variance
    float64[row, slot] [kWh^2]: of what was filled or weighed.
    """

    energy: Floats
    digits: Floats
    variance: Floats


def sharpen(energy: Floats, variance: Floats, digits: Floats, apparent: Floats) -> Sharp:
    """Profiles of registers [row, slot] and their samples weighed together.

    energy    [kWh] by the registers, NaN where unknown;  variance [kWh^2] of what was filled, 0 where it was measured
    digits    float64[row] [kWh]: worth of a register's last digit
    apparent  [kVAh]: volts times amperes of all legs times hours, NaN where not delivered
    """
    known = ~np.isnan(energy) & ~np.isnan(apparent)
    both = known & (variance == 0)
    count = both.sum(axis=1)
    total = np.where(both, apparent, 0.0).sum(axis=1)
    factor = np.where(both, energy, 0.0).sum(axis=1) / np.where(total > 0, total, 1.0)
    sampled = factor[:, None] * apparent
    # a digit at either end of a slot: variance 2/12; one standard error more, so that luck makes no sample exact
    cut = digits**2 / 6
    left = np.where(both, energy - sampled, 0.0)
    apart = (left**2).sum(axis=1) / np.maximum(count, 1)
    noise = np.maximum(apart - cut, 0.0) + cut * np.sqrt(2 / np.maximum(count, 1))
    good = (count >= _SLOTS) & (factor > 0)
    register = np.where(variance > 0, variance, cut[:, None])
    weight = np.where(known & good[:, None], register / np.maximum(register + noise[:, None], 1e-12), 0.0)
    sharp = np.where(weight > 0, (1 - weight) * energy + weight * sampled, energy)
    doubt = np.where(good[:, None], (1 - weight) * register, variance)
    return Sharp(sharp, np.where(good, 0.0, digits), np.where(np.isnan(energy), 0.0, doubt))
