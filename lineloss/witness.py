"""What the voltages and currents of an area say of who draws unmetered, beside what his profile says: on which phase, and where.

Two signs, each a log-likelihood above "nobody there": `flow`, the current that is missing on a phase (kirchhoff.py), and `place`, the voltages
that it lowers (reciprocity.py). Reciprocity holds for voltages and currents of the same phase. Across phases the return through the neutral turns
the drop by a third of a circle, and what a takes of b's voltage is not what b takes of a's. So the customers of each phase are compared among
themselves, those on all three phases likewise, by the mean of their legs; what all others take of their voltages is projected out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss import drops, kirchhoff, phases, reciprocity
from lineloss.drops import Floats, Ints, Ports, Source
from lineloss.kirchhoff import Phase
from lineloss.reciprocity import Hidden
from lineloss.topology import Topology

Bools = NDArray[np.bool_]

#: A slot in which so large a share of the voltages is missing is not looked at: bridging it would be inventing it.
_HOLES: Final = 0.5
#: Others than a group's own currents take at most this share of the slots to project out; where there are more, their sums by phase stand for them.
_OTHERS: Final = 1 / 3
#: What is less than this share of the largest current is rounding.
_TINY: Final = 1e-6
#: Odds at which a meter certainly hangs on a phase: those of phases.CERTAIN.
_SURE: Final = 0.999
#: Odds from which on a meter is compared with those of its phase: one of another phase among them makes their matrix lopsided.
_LIKELY: Final = 0.8
#: Which phase of the supply is meant by all three.
ALL: Final = 3


_EACH: Final = np.eye(3)
_ANY: Final = np.full((1, 3), 1 / 3)


@dataclass(frozen=True, slots=True)
class Group:
    """Customers on one phase, or on all three: [customer, slot], what others take projected out.

    owner  int64[customer]: the column of each;  phase  0, 1, 2 or ALL;  others  float64[slot, n]: orthonormal, what is projected out
    """

    owner: Ints
    phase: int
    drop: Floats
    current: Floats
    others: Floats

    def likelihoods(self, rows: Sequence[int], waves: Floats) -> Floats:
        """float64[wave]: each wave [wave, slot] [A] drawn at a customer (row of the group) beside what is metered."""
        free = waves - (waves @ self.others) @ self.others.T
        hidden = [Hidden(np.array([row]), wave[None]) for row, wave in zip(rows, free, strict=True)]
        return reciprocity.likelihoods(self.drop, self.current, hidden, projected=self.others.shape[1])


@dataclass(frozen=True, slots=True)
class Witness:
    """An area's.

    groups   those on each phase and those on all three, as far as there are any
    lines    what is missing on each phase
    amps     float64[port, slot] [A]       metered, gaps bridged;  owner, phase, certain [port]: whose it is, and where it hangs
    use      int64[n]                      slots in which the voltages are compared
    missing  float64[4, n] [A]             at the supply and at no customer: on each phase, and on the mean of them
    """

    groups: list[Group]
    lines: list[Phase | None]
    amps: Floats
    owner: Ints
    phase: Ints
    certain: Bools
    use: Ints
    missing: Floats

    def has(self, customers: Ints) -> bool:
        """All of them have voltages and currents."""
        return bool(np.isin(customers, self.owner).all())

    def places(self, asked: Sequence[tuple[int, float]]) -> Floats:
        """float64[n]: the voltages, of each (customer, coefficient) who draws so many times his metered current beside it; 0: he has none."""
        result = np.zeros(len(asked))
        for group in self.groups:
            row = {customer: k for k, customer in enumerate(group.owner.tolist())}
            mine = [n for n, (customer, _) in enumerate(asked) if customer in row]
            if mine:
                rows = [row[asked[n][0]] for n in mine]
                wave = np.array([asked[n][1] for n in mine])[:, None] * self._own(group, rows)
                result[mine] = group.likelihoods(rows, wave)
        return result

    def flows(self, customer: int, coefficient: float, error: float) -> float:
        """The currents, of a customer who draws so many times his metered ones; 0: he has none."""
        at = np.flatnonzero(self.owner == customer).tolist()
        if len(at) == 1:
            return self._hidden(at[0], coefficient, error, None)
        return self._flow([(self.amps[p], int(self.phase[p])) for p in at], coefficient, error)

    def elsewhere(self, customer: int, coefficient: float, error: float, others: Ints) -> Floats:
        """float64[n]: both, of all that he is said to draw drawn at each of `others` instead, on any of the phases that may be theirs; fewer than
        `others` where it is not likely enough of some on which they are.
        """
        own = np.flatnonzero(self.owner == customer)
        wave = self.amps[own].sum(axis=0)
        result: list[float] = []
        for group in self.groups:
            rows = np.flatnonzero(np.isin(group.owner, others)).tolist()
            if not rows:
                continue
            legs = 3 if group.phase == ALL else 1
            each = np.broadcast_to(coefficient * wave[self.use] / legs, (len(rows), len(self.use)))
            for row, place in zip(rows, group.likelihoods(rows, each).tolist(), strict=True):
                (at,) = np.flatnonzero(self.owner == group.owner[row])[:1].tolist()
                on = _ANY if legs == 3 else _EACH[[int(self.phase[at])] if self.certain[at] else slice(None)]
                if len(own) == 1:
                    flow = max(self._hidden(int(own[0]), coefficient, error, share) for share in on)
                else:
                    flow = max(
                        self._flow([(wave * s, p) for p, s in enumerate(share) if s], coefficient, error)
                        for share in on.tolist()
                    )
                result.append(place + flow)
        return np.array(result)

    def taps(self) -> dict[int, float]:
        """Customer -> the voltages, of all that no meter of his phases measures drawn at his."""
        found: dict[int, float] = {}
        for group in self.groups:
            rows = range(len(group.owner))
            said = group.likelihoods(rows, np.broadcast_to(self.missing[group.phase], group.drop.shape))
            found |= dict(zip(group.owner.tolist(), said.tolist(), strict=True))
        return found

    def _own(self, group: Group, rows: Sequence[int]) -> Floats:
        """[row, slot]: the mean of the legs' currents."""
        return np.array([self.amps[self.owner == group.owner[row]][:, self.use].mean(axis=0) for row in rows])

    def _hidden(self, port: int, coefficient: float, error: float, on: Floats | None) -> float:
        """What the currents say, above nobody, of `coefficient` times a single-phase meter's current drawn on its phase, or on the phases `on`, by
        shares float64[3]. Where it hangs is sought anew where it is not certain: hidden or not, on the phase that suits that best.
        """
        sure = bool(self.certain[port])
        gone = -1 if sure else port
        asked = [(0.0, 0.0) if line is None else line.ask(self.amps[port], gone) for line in self.lines]

        def said(own: int, hidden: Floats) -> float:
            """The meter on phase `own`; where it is certain, its current has been counted there already."""
            total = 0.0
            for phase, (right, size) in enumerate(asked):
                metered = float(phase == own and not sure)
                if metered + hidden[phase]:
                    doubt = float(np.hypot(metered * kirchhoff.CLASS, error * hidden[phase] / coefficient))
                    total += kirchhoff.likelihood(right, size, metered + float(hidden[phase]), doubt)
            return total

        owns = [int(self.phase[port])] if sure else range(3)
        hiding = max(said(own, coefficient * (_EACH[own] if on is None else on)) for own in owns)
        return hiding - max(said(own, np.zeros(3)) for own in owns)

    def _flow(self, waves: Sequence[tuple[Floats, int]], coefficient: float, error: float) -> float:
        right = size = 0.0
        for wave, phase in waves:
            line = self.lines[phase]
            if line is not None:
                r, s = line.ask(wave)
                right, size = right + r, size + s
        return kirchhoff.likelihood(right, size, coefficient, error)


def listen(
    topology: Topology, members: Ints, customers: Ints, voltage: Floats, current: Floats, net: Floats
) -> Witness | None:
    """The witness of the area whose rows are `members`; None where it has no voltages to compare.

    customers  int64[customer]: rows; owners are places in it;  voltage, current, net  as for drops.source
    """
    supply = drops.source(topology, members, voltage, current, net)
    if supply is None or np.isnan(supply.volts).all():
        return None
    ordered = np.sort(customers)
    where = drops.ports(topology, ordered, supply, voltage, current, net)
    if len(where) < 2:
        return None
    use = np.flatnonzero(supply.measured & (np.isnan(where.volts).mean(axis=0) < _HOLES))
    if len(use) < drops.SAMPLES:
        return None
    owner = np.argsort(customers)[np.searchsorted(ordered, where.row)]
    odds = _hung(supply, where)
    phase, certain = odds.argmax(axis=1), np.asarray(odds.max(axis=1) >= _SURE)
    amps = drops.gapless(where.amps)
    drop = drops.gapless(supply.volts[phase] - where.volts)[:, use]
    missing = np.nan_to_num(supply.amps[:, use], nan=0.0) - np.stack(
        [amps[phase == p][:, use].sum(axis=0) for p in range(3)]
    )
    missing[np.isnan(supply.amps).all(axis=1)] = 0.0
    # who has no ammeter draws what his register says, at a voltage that does not matter here, on a phase that nobody knows
    blind = np.setdiff1d(np.arange(len(customers)), owner)
    others = net[customers[blind]] * 4000 / float(np.nanmean(supply.volts))
    return Witness(
        _groups(owner, np.where(odds.max(axis=1) > _LIKELY, phase, -1), drop, amps[:, use]),
        kirchhoff.phases(supply.amps, where.amps, odds, others),
        amps,
        owner,
        phase,
        certain,
        use,
        np.concatenate([missing, missing.mean(axis=0, keepdims=True)]),
    )


def _hung(supply: Source, where: Ports) -> Floats:
    """float64[port, 3]: odds that a port hangs on each phase. The legs of a meter on three phases are on three; where they are so alike that nobody
    can tell which, it does not matter which, and they are taken as they are named.
    """
    hangs = phases.identify(supply, where)
    odds = hangs.odds.copy()
    for row in np.flatnonzero(np.bincount(where.row) == 3).tolist():
        at = where.row == row
        told = (hangs.lead[at] >= phases.CERTAIN).all() and len(np.unique(hangs.phase[at])) == 3
        odds[at] = np.eye(3)[hangs.phase[at] if told else where.leg[at]]
    return odds


def _groups(owner: Ints, phase: Ints, drop: Floats, amps: Floats) -> list[Group]:
    """Those of a phase, and those on several phases by the mean of their legs; of whom it is not likely enough (phase -1) is in none."""
    who, first, legs = np.unique(owner, return_index=True, return_counts=True)
    kind = np.where(legs > 1, ALL, phase[first])
    own_drop = np.stack([drop[owner == c].mean(axis=0) for c in who.tolist()])
    own_amps = np.stack([amps[owner == c].mean(axis=0) for c in who.tolist()])
    groups = []
    for p in range(ALL + 1):
        mine = kind == p
        if mine.sum() < 2:
            continue  # nobody to be compared with
        others = own_amps[~mine]
        if len(others) > _OTHERS * amps.shape[1]:
            others = np.stack([own_amps[kind == q].sum(axis=0) for q in range(-1, ALL + 1) if q != p])
        basis = _span(np.concatenate([np.ones((1, amps.shape[1])), others]))
        free_drop, free_amps = (part - (part @ basis) @ basis.T for part in (own_drop[mine], own_amps[mine]))
        groups.append(Group(who[mine], p, free_drop, free_amps, basis))
    return groups


def _span(waves: Floats) -> Floats:
    """[slot, n]: an orthonormal basis of waves [wave, slot]."""
    basis, size, _ = np.linalg.svd(waves.T, full_matrices=False)
    return np.asarray(basis[:, size > _TINY * size.max()])
