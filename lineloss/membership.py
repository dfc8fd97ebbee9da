"""Meters archived in the wrong area (户变关系错误), told from voltage curves: a meter follows the transformer that feeds it.

For each area that a meter may belong to, its voltage is taken apart as drops.py does it: that transformer's voltage, less what the
customer's own current and that area's total currents take. The area whose transformer leaves least unexplained is his. Levels show what
the two transformers' voltages do over hours, changes from slot to slot what their loads do; neighbouring levels resemble each other, so
they count for fewer than they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss import drops
from lineloss.balance import slot_energy
from lineloss.drops import Floats, Ints
from lineloss.registers import ROLL_OVER, Registers, RollOver
from lineloss.topology import Role, Topology
from protocols.reading import MISSING

#: Log-likelihood that another area must be ahead of the archived one, beside the logarithm of the number of areas and meters
#: compared: odds of three thousand to one, for all meters of the block together.
CERTAIN: Final = 8.0
#: The same for each slot of each of his phases: the other transformer leaves a tenth less unexplained. What no model of drops holds is the same
#: in every slot, so that certainty grows with the days, and no truth with it.
CLEAR: Final = 0.05
#: Where one in ten of an area's customers seems to belong elsewhere, they do not: the drops in that area are otherwise than its model has them.
#: Whoever does must be ahead by as much more.
TAIL: Final = 0.9
#: Areas that a customer's voltages are taken apart for, beside his own: those whose transformers' voltages resemble his most. On a line of a hundred
#: areas all of them would take minutes an area; a meter's own transformer is among the first by far.
COMPARED: Final = 3


@dataclass(frozen=True, slots=True)
class Moves:
    """One row per meter that belongs elsewhere.

    row      int64[move]    row of the topology
    meter    int64[move]
    found    int64[move]    index of the area whose transformer it follows
    lead     float64[move]  log-likelihood ahead of the archived area
    judged   bool[meter]    False: no voltages, or no other area to compare with; no move proves nothing
    """

    row: Ints
    meter: Ints
    found: Ints
    lead: Floats
    judged: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.row)


def find_moves(
    topology: Topology,
    voltage: Floats,
    current: Floats,
    imports: Registers,
    exports: Registers | None = None,
    *,
    near: NDArray[np.bool_] | None = None,
    roll_over: RollOver = ROLL_OVER,
) -> Moves:
    """The customers whose voltages follow another area's transformer than their own's.

    voltage, current  float64[meter, 3, slot] [V], [A], as for technical_loss()
    imports, exports  int64[meter, slot + 1] [1e-4 kWh], secondary side
    near              bool[area, area]: near[a, b]: meters of a may belong to b (transformers of the same line, the same street); by default
                      any to any, which is meant for a block of one line: the work grows with meters times areas near them
    """
    forward, reverse = slot_energy(topology, imports, exports, roll_over=roll_over)
    known = (forward != MISSING) & (reverse != MISSING)
    net = (
        np.where(known, forward - np.where(known, reverse, 0), np.nan) * (topology.multiplier * 1e-4)[:, None]
    )
    rows, start = topology.rows_by_area()
    members = [rows[start[a] : start[a + 1]] for a in range(topology.areas)]
    sources = [drops.source(topology, m, voltage, current, net) for m in members]
    measured = [a for a, s in enumerate(sources) if s is not None and not np.isnan(s.volts).all()]
    judged = np.zeros(len(topology), dtype=np.bool_)
    row, found, lead = [], [], []
    for area in measured:
        others = [b for b in measured if b != area and (near is None or near[area, b])]
        customers = members[area][topology.role[members[area]] == Role.RECEIVE]
        own = sources[area]
        if not others or not len(customers) or own is None:
            continue
        where = drops.ports(topology, customers, own, voltage, current, net)
        if not len(where):
            continue
        place = np.searchsorted(customers, where.row)
        judged[where.row] = True
        table = np.full((len(customers), len(others)), -np.inf)
        beyond = {n: there for n, other in enumerate(others) if (there := sources[other]) is not None}
        chosen = _resembled(where, place, list(beyond.values()))
        for (n, there), asked in zip(beyond.items(), chosen.T, strict=True):
            some = where.take(asked[place])
            if len(some):
                # both are judged by the slots in which both were measured: a night alone is quieter than a day
                slots = own.measured & there.measured
                ahead = _ahead(*(_spread(s.only(slots), some) for s in (own, there)))
                table[asked, n] = np.bincount(place[asked[place]], ahead, len(customers))[asked]
        best, which = table.max(axis=1), table.argmax(axis=1)
        enough = np.maximum(
            CERTAIN + np.log(len(others) * max(int((topology.role == Role.RECEIVE).sum()), 1)),
            CLEAR * int(own.measured.sum()) * np.bincount(place, minlength=len(customers)),
        )
        looked = judged[customers] & np.isfinite(best)
        ahead = best / enough
        for k in np.flatnonzero(looked & (best > enough)).tolist():
            looked[k] = False
            rest = float(np.quantile(ahead[looked], TAIL)) if looked.any() else 0.0
            looked[k] = True
            if ahead[k] <= 1 + max(0.0, rest):
                continue
            row.append(int(customers[k]))
            found.append(others[int(which[k])])
            lead.append(float(best[k]))
    at = np.array(row, dtype=np.int64)
    return Moves(at, topology.meter[at], np.array(found, dtype=np.int64), np.array(lead), judged)


def _resembled(where: drops.Ports, place: Ints, others: list[drops.Source]) -> NDArray[np.bool_]:
    """bool[customer, other]: the COMPARED areas whose supply's voltage changes as his does from slot to slot, by correlation on the best phase."""
    customers = int(place.max()) + 1
    own = _changes(where.volts)
    alike = np.stack([np.nan_to_num(own @ _changes(s.volts).T).max(axis=1) for s in others], axis=1)
    total = np.zeros((customers, len(others)))
    np.add.at(total, place, alike)
    rank = (-total).argsort(axis=1).argsort(axis=1)
    return np.asarray(rank < COMPARED)


def _changes(volts: Floats) -> Floats:
    """[row, slot] -> [row, slot - 1]: changes of mean square one, 0 where one is missing."""
    steps = np.nan_to_num(np.diff(volts, axis=1), nan=0.0)
    return np.asarray(steps / np.maximum(np.sqrt((steps**2).sum(axis=1, keepdims=True)), 1e-9))


@dataclass(frozen=True, slots=True)
class _Spread:
    """What one transformer leaves unexplained of each port's voltage, on its best phase: variances [V^2] of levels and of changes, and for
    how many independent samples each stands; float64[port].
    """

    level: Floats
    levels: Floats
    change: Floats
    changes: Floats


def _spread(supply: drops.Source, where: drops.Ports) -> _Spread:
    fits = [
        [drops.fit(supply, where, np.full(len(where), phase), steps=steps) for phase in range(3)]
        for steps in (False, True)
    ]
    level, change = (np.stack([f.variance for f in three]) for three in fits)
    levels, changes = (np.stack([f.independent for f in three]) for three in fits)
    with np.errstate(divide="ignore"):
        phase = (np.log(level) + np.log(change)).argmin(axis=0)
    port = np.arange(len(where))
    return _Spread(level[phase, port], levels[phase, port], change[phase, port], changes[phase, port])


def _ahead(here: _Spread, there: _Spread) -> Floats:
    """float64[port]: log-likelihood of `there` above `here`; 0 where they cannot be compared."""
    with np.errstate(invalid="ignore"):
        said = 0.5 * np.minimum(here.levels, there.levels) * np.log(here.level / there.level)
        said += 0.5 * np.minimum(here.changes, there.changes) * np.log(here.change / there.change)
    return np.where(np.isfinite(said), said, 0.0)
