"""Customers whose multiplier in the archive is not that of their current transformers (倍率错误).

An archived 20 where the transformers are 150/5 = 30 leaves half of what is billed unaccounted for, at the hours of the customer's use: in the
loss curve it is a bypass of a third. Archived too high it is a negative one, which no thief can do. Both are sought here among customers with
current transformers, and the true multiplier must be one that is made: that is what tells it from theft.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss import regression
from lineloss.registers import RESOLUTION, ROLL_OVER, Registers, RollOver
from lineloss.topology import Role, Topology

Floats = NDArray[np.float64]

#: Standard rated primary currents are 10, 12.5, 15, 20, 25, 30, 40, 50, 60, 75 A and their decimal multiples (IEC 61869-2); over 5 A.
STANDARD: Final = np.unique(
    [p * 10**e // 5 for p in (10, 15, 20, 25, 30, 40, 50, 60, 75) for e in range(3)] + [25, 250]
)
#: The next multiplier made is at least a fifth away, so a deviation below a tenth is none.
THRESHOLD: Final = 0.10
#: Standard errors around the fitted multiplier in which the true one lies.
_NEAR: Final = 3.0
#: What class of accuracy adds to that, on both meters.
_CLASS: Final = 0.02
_KWH: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Ratios:
    """One row per customer whose multiplier is wrong.

    row       int64[wrong]    row of the topology
    meter     int64[wrong]
    archived  int64[wrong]    multiplier in the archive
    fitted    float64[wrong]  what the loss curve makes of it
    error     float64[wrong]  its standard error
    standard  int64[wrong]    the nearest multiplier that is made
    """

    row: NDArray[np.int64]
    meter: NDArray[np.int64]
    archived: NDArray[np.int64]
    fitted: Floats
    error: Floats
    standard: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.row)


def find_ratios(
    topology: Topology,
    imports: Registers,
    exports: Registers | None = None,
    *,
    service: Floats | None = None,
    resolution: int | NDArray[np.int64] = RESOLUTION,
    roll_over: RollOver = ROLL_OVER,
    slots: int = 48,
    area_error: float = 2e-3,
) -> Ratios:
    """Wrong multipliers of customers with current transformers; arguments as for find_suspects(). The likeliest one of an area, if any."""
    energies = regression.energies(topology, imports, exports, roll_over)
    digit = np.broadcast_to(np.asarray(resolution, dtype=np.float64), (len(topology),)) * topology.multiplier
    rows, start = topology.rows_by_area()
    found: list[tuple[int, float, float, int]] = []
    for area in range(topology.areas):
        members = rows[start[area] : start[area + 1]]
        counted = members[topology.role[members] != Role.AUXILIARY]
        customers = members[topology.role[members] == Role.RECEIVE]
        if not np.any(topology.multiplier[customers] > 1):
            continue
        supplied, loss, variance = regression.losses(topology, counted, energies)
        at = ~np.isnan(loss)
        if at.sum() < slots or not np.any(supplied[at] > 0):
            continue
        primary = energies.forward[customers]
        explained = regression.explained(primary, None if service is None else service[customers])
        usable = (primary[:, at].std(axis=1) > 0) & (primary[:, at].sum(axis=1) > 0)
        if not usable.any():
            continue
        curves = regression.curves(
            loss,
            supplied,
            variance,
            primary,
            explained,
            topology.accuracy[customers],
            usable,
            digit[counted] * _KWH,
        )
        told = _likeliest(curves, topology.multiplier[customers][usable], area_error)
        if told is not None:
            found.append((int(customers[usable][told[0]]), *told[1:]))
    at = np.array([f[0] for f in found], dtype=np.int64)
    return Ratios(
        at,
        topology.meter[at],
        topology.multiplier[at],
        np.array([f[1] for f in found]),
        np.array([f[2] for f in found]),
        np.array([f[3] for f in found], dtype=np.int64),
    )


def _likeliest(
    curves: regression.Curves, multiplier: NDArray[np.int64], area_error: float
) -> tuple[int, float, float, int] | None:
    """(customer, fitted multiplier, standard error, the one that is made) of the customer who explains most of the loss, if it is certain that he has
    current transformers of another ratio; None: nobody.
    """
    nuisance, customers = curves.nuisance.shape[2], curves.profiles.shape[2]
    z = NormalDist().inv_cdf(1 - area_error / (2 * customers))
    grams = regression.grams(curves)
    found = regression.best(grams, list(range(nuisance)), either=True)
    if found is None:
        return None
    at, likelihood, _ = found
    term = int(np.argmax(likelihood))
    who = term - nuisance
    others = np.delete(likelihood[nuisance:-1], who)
    alone = not len(others) or bool(likelihood[term] - others.max() > np.log(customers / 0.01))
    coefficient, error = (
        float(part[-1]) for part in grams.fit(at, [*range(nuisance), term], int(curves.there.sum()))
    )
    archived = int(multiplier[who])
    fitted, doubt = archived * (1 + coefficient), archived * error
    made = STANDARD[archived != STANDARD]
    nearest = int(made[np.abs(made - fitted).argmin()])
    fits = abs(nearest - fitted) <= _NEAR * doubt + _CLASS * fitted
    if archived > 1 and alone and abs(coefficient) - z * error > THRESHOLD and fits:
        return who, fitted, doubt, nearest
    return None
