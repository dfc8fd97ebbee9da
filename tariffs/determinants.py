"""Billing determinants (计费依据): everything a bill rests on besides the plan, as columns by account and segment.

Energies are on the primary side. Demands and capacities are those of the segment's month; where a month has several
segments, each has the month's value. Who sells nothing by steps, demand or power factor leaves those columns out; a
plan that needs one that is not there refuses the batch, and an account whose own is MISSING gets no bill.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.reading import MISSING
from tariffs.basic import BY, CAPACITY, CONTRACT, DEMAND, ELSEWHERE, offered
from tariffs.charge import FREEZE_COLUMNS, Problem, period_energy
from tariffs.money import Ints, exact
from tariffs.periods import PERIODS
from tariffs.plan import Segment, Tariff
from tariffs.registers import RESOLUTION, ROLL_OVER
from tariffs.steps import MONTHS

#: axes of each column after [account]
_SHAPE = {
    "before": (), "step_months": ("segment",), "by": ("segment",), "capacity": ("segment",), "contract": ("segment",),
    "demand": ("segment",), "reactive": ("segment", 2), "iron": ("segment",), "copper": ("segment",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Determinants:
    """energy       int64[account, segment, period] [1e-4 kWh], MISSING where it cannot be known
    problem      int8[account] bits of charge.Problem
    before       int64[account] [1e-4 kWh]: used in the running year (or month, by the steps' basis) before the first
                 segment
    step_months  int64[account, segment]: months of the year that the customer is there; None: 12
                 (steps.months_there)
    by           int64[account, segment]: basic.CAPACITY, CONTRACT or DEMAND, as the account has chosen, or ELSEWHERE
    capacity     int64[account, segment] [1e-4 kVA]
    contract     int64[account, segment] [1e-4 kW]
    demand       int64[account, segment] [1e-4 kW]: highest of the month
    reactive     int64[account, segment, 2] [1e-4 kvarh] forward, reverse; with the transformer's own where it is
                 metered on the low side
    iron, copper int64[account, segment] [1e-4 kWh] transformer loss
    """

    energy: Ints
    problem: NDArray[np.int8]
    before: Ints | None = None
    step_months: Ints | None = None
    by: Ints | None = None
    capacity: Ints | None = None
    contract: Ints | None = None
    demand: Ints | None = None
    reactive: Ints | None = None
    iron: Ints | None = None
    copper: Ints | None = None

    def __post_init__(self) -> None:
        energy = exact(self.energy, "energy")
        if energy.ndim != 3 or energy.shape[2] != len(PERIODS) or self.problem.shape != energy.shape[:1]:
            raise ValueError(f"energy {energy.shape} and problem {self.problem.shape} disagree")
        object.__setattr__(self, "energy", energy)
        accounts, segments, _ = energy.shape
        for name, axes in _SHAPE.items():
            value = getattr(self, name)
            if value is None:
                continue
            wanted = (accounts, *(segments if axis == "segment" else axis for axis in axes))
            array = exact(value, name)
            if array.shape != wanted:
                raise ValueError(f"{name} is {array.shape}, {wanted} is needed")
            object.__setattr__(self, name, array)


def of_registers(
    freezes: Ints,
    multiplier: Ints,
    segments: Sequence[Segment],
    *,
    estimated: NDArray[np.bool_] | None = None,
    resolution: int | Ints = RESOLUTION,
    roll_over: int = ROLL_OVER,
    **more: Ints | None,
) -> Determinants:
    """From the active registers at the ends of each segment.

    freezes     int64[account, segment, 2, 5] [1e-4 kWh]: total, T1..T4 at begin and end
    multiplier  int64[account, segment]
    estimated   bool[account]: a freeze of this account was estimated
    resolution  [1e-4 kWh] of all, or int64[account]: what the last digit of a register is worth
    more        the other columns of Determinants
    """
    freezes, multiplier = exact(freezes, "freezes"), exact(multiplier, "multiplier")
    accounts, pieces = multiplier.shape
    if freezes.shape != (accounts, pieces, 2, FREEZE_COLUMNS) or len(segments) != pieces:
        raise ValueError(
            f"freezes {freezes.shape}, multiplier {multiplier.shape}, {len(segments)} segments disagree"
        )
    energy = np.empty((accounts, pieces, len(PERIODS)), dtype=np.int64)
    problem = np.zeros(accounts, dtype=np.int8)
    for n, segment in enumerate(segments):
        part = period_energy(
            freezes[:, n, 0],
            freezes[:, n, 1],
            multiplier[:, n],
            segment.version,
            resolution=resolution,
            roll_over=roll_over,
        )
        energy[:, n] = part.energy
        problem |= part.problem
    if estimated is not None:
        problem |= np.where(estimated, Problem.ESTIMATED, 0).astype(np.int8)
    return Determinants(energy, problem, **more)


def lacking(tariff: Tariff, segments: Sequence[Segment], given: Determinants) -> NDArray[np.int8]:
    """Problems that keep accounts from a bill, int8[account] bits; ValueError where a whole column is missing."""
    problem = np.zeros(len(given.energy), dtype=np.int8)
    months = given.step_months
    if months is not None and ((months < 0) | (months > MONTHS)).any():
        raise ValueError("step_months must lie within 0..12")

    def need(name: str, n: int, whose: NDArray[np.bool_] | None = None) -> None:
        column: Ints | None = getattr(given, name)
        if whose is not None and not whose.any():
            return
        if column is None:
            raise ValueError(f"{tariff.name} needs the determinant {name!r}, which was not given")
        values = column if column.ndim == 1 else column[:, n]
        absent, below = values == MISSING, (values != MISSING) & (values < 0)
        if name == "by":  # nothing was chosen
            absent, below = absent | below, np.zeros_like(below)
        if values.ndim > 1:
            absent, below = absent.any(axis=1), np.zeros(len(values), dtype=np.bool_)  # reactive has a sign
        bits = np.where(absent, Problem.MISSING_DETERMINANT, 0) | np.where(below, Problem.NEGATIVE, 0)
        problem[...] |= np.where(True if whose is None else whose, bits, 0).astype(np.int8)

    for n, segment in enumerate(segments):
        version = segment.version
        if version.steps is not None:
            need("before", n)
        if version.power_factor is not None:
            need("reactive", n)
        if version.transformer_loss is not None:
            need("iron", n)
            need("copper", n)
        if version.basic is not None:
            need("by", n)
            assert given.by is not None
            by = given.by[:, n]
            if (by > ELSEWHERE).any():
                raise ValueError(f"by knows 0..{ELSEWHERE}: {', '.join(BY)}, elsewhere")
            problem |= np.where(offered(version.basic, by), 0, Problem.NOT_OFFERED).astype(np.int8)
            need(
                "capacity",
                n,
                by != ELSEWHERE if version.basic.discount is not None else by == CAPACITY,
            )
            need("contract", n, by == CONTRACT)
            need("demand", n, (by == CONTRACT) | (by == DEMAND))
    return problem
