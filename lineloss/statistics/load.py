"""How a load ran through a day.

    load factor            负荷率   mean load / highest load
    peak-valley difference 峰谷差   highest less lowest load [kW], and as a share of the highest (峰谷差率)
    simultaneity           同时率   highest load of all together / sum of the highest load of each

Loads are means of a slot, from the energies of the registers: what a group's members took from the network, primary side. What is missing is
never 0: a member counts with all slots of the day or not at all, and of a group of which too few are whole nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.statistics.groups import Groups
from protocols.reading import MISSING

I64 = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Below this share of whole members a group's curve is not the group's. A default: no public text gives one.
ENOUGH: Final = 0.9
_KWH: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Sums:
    """Of some members of groups; those of other members can be added.

    members   int64[group]
    whole     int64[group]           of whom every slot is known
    energy    int64[group, slot]     [1e-4 kWh] of the whole ones
    highest   int64[group]           [1e-4 kWh] sum of each whole one's highest slot
    """

    members: I64
    whole: I64
    energy: I64
    highest: I64

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, name) + getattr(other, name) for name in Sums.__slots__))


def gather(energy: I64, groups: Groups) -> Sums:
    """energy int64[member, slot] [1e-4 kWh], MISSING where not known."""
    whole = (energy != MISSING).all(axis=1)
    known = np.where(whole[:, None], energy, 0)
    highest = known.max(axis=1, initial=0)
    one = np.ones(len(energy), dtype=np.int64)
    return Sums(groups.sum(one), groups.sum(whole.astype(np.int64)), groups.sum(known), groups.sum(highest))


@dataclass(frozen=True, slots=True)
class Shape:
    """[subject]; float64, NaN where not known; slots -1.

    energy            [kWh]
    mean, high, low   [kW]
    high_slot, low_slot  the first slot of each, counted from 0
    factor            load factor
    difference        [kW]; share: of the highest
    """

    energy: Floats
    mean: Floats
    high: Floats
    low: Floats
    high_slot: I64
    low_slot: I64
    factor: Floats
    difference: Floats
    share: Floats


def shape(energy: Floats, minutes: int = 15) -> Shape:
    """energy float64[subject, slot] [kWh] of whole days; a subject with a NaN is not known, nor is the factor of who took nothing."""
    known: NDArray[np.bool_] = np.asarray(~np.isnan(energy).any(axis=1))
    power = np.where(known[:, None], energy, 0) * (60 / minutes)
    high, low, mean = power.max(axis=1), power.min(axis=1), power.mean(axis=1)
    some = known & (high > 0)

    def told(values: Floats, where: NDArray[np.bool_] = known) -> Floats:
        return np.where(where, values, np.nan)

    divisor = np.where(some, high, 1)
    return Shape(
        energy=told(np.where(known[:, None], energy, 0).sum(axis=1)),
        mean=told(mean),
        high=told(high),
        low=told(low),
        high_slot=np.where(known, power.argmax(axis=1), -1),
        low_slot=np.where(known, power.argmin(axis=1), -1),
        factor=told(mean / divisor, some),
        difference=told(high - low),
        share=told((high - low) / divisor, some),
    )


def of_groups(sums: Sums, enough: float = ENOUGH, minutes: int = 15) -> tuple[Shape, Floats]:
    """(shape, simultaneity float64[group]) of the whole members; not known where fewer than `enough` of them are whole."""
    said = (sums.whole > 0) & (sums.whole >= enough * sums.members)
    energy = np.where(said[:, None], sums.energy * _KWH, np.nan)
    together = sums.energy.max(axis=1, initial=0)
    some = said & (sums.highest > 0)
    simultaneity = np.where(some, together / np.where(some, sums.highest, 1), np.nan)
    return shape(energy, minutes), simultaneity
