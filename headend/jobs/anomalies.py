"""Every rule that a day is enough for: what a metering engineer should look at. Findings that vanish are withdrawn. What takes several days
and a second an area is in suspects.py and places.py.

The curves come in whole transformer areas, some thousand meters at a time, with the quantities that the rules asked for look at and no
others; the ledger in whole terminals. What one cause has brought about is one finding in the end (lineloss/storm.py).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headend.jobs import lineloss, network, suspects
from headend.jobs.frame import Run
from headend.jobs.network import PATIENCE, Network
from headend.plans import CURVE, points
from headend.store import archive, blocks, coverage, findings, watch
from headend.store.coverage import DayMatrix, today
from lineloss import electrical
from lineloss.finding import Finding
from lineloss.meterday import MeterDay, nominal_of
from lineloss.norms import norms
from lineloss.registers import RESOLUTION
from lineloss.rules import (
    check_meter,
    cover,
    decreased,
    demand,
    flapping,
    flat,
    loss,
    magnetic,
    missing,
    offline,
    overload,
    phase_loss,
    power_factor,
    reverse_flow,
    route,
    run_away,
    stopped,
    unbalance,
    under_registered,
    voltage,
    voltage_unbalance,
    wrong_area,
)
from lineloss.rules.check_meter import Pairs
from lineloss.rules.route import Attempts
from lineloss.storm import fold
from protocols.localtime import midnight
from protocols.reading import MISSING, SLOT_QUANTITIES

I64 = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Meters whose ledger is looked at at once: a mask of theirs is 5 MB, and a day has a dozen.
LEDGER_AT_ONCE: Final = 50_000
#: why a meter did not answer a terminal that did
UNANSWERED: Final = ("no-answer", "garbled")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the archive and the past say, for everybody.

    capacity  area id -> [kVA] of its transformer
    contract  point id -> [kVA] that its customer may draw
    feeders   int64[n] points that may feed in, ascending
    """

    capacity: Mapping[int, float]
    contract: Mapping[int, float] = field(default_factory=dict)
    feeders: I64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Tile:
    """Some whole areas' day. highest float64[meter] [kWh] primary side, days int64[meter]: of the days before, as watch.usual has them; known: what
    the balance asks of them, None: nothing."""

    net: Network
    day: MeterDay
    facts: Facts
    highest: Floats
    days: I64
    known: lineloss.Beside | None = None


@dataclass(frozen=True, slots=True)
class OfAreas:
    """A rule over the curves. `needs`: the quantities that it looks at; `whole`: it judges a whole day: a rate of part of a day, or a
    suspicion from half a curve, accuses the honest."""

    needs: Sequence[str]
    find: Callable[[Tile], list[Finding]]
    whole: bool = False


def _voltage(day: MeterDay) -> list[Finding]:
    """By the limits of what each meter measures: a 220 V supply, or the secondary side of a voltage transformer."""
    direct, behind = norms()["voltage_220"], norms()["voltage_3phase"]
    low_voltage = day.nominal == 220.0
    return voltage.find(
        day.meter,
        day.voltage,
        nominal=day.nominal,
        low=np.where(low_voltage, direct.low, behind.low),
        high=np.where(low_voltage, direct.high, behind.high),
    )


def _unbalance(tile: Tile) -> list[Finding]:
    net = tile.net
    kva = np.array([tile.facts.capacity.get(area, np.nan) for area in net.block.rows.area.tolist()])
    rated = unbalance.rated_current(kva, net.topology.multiplier)
    return unbalance.find(net.topology, tile.day.current, rated)


def _under_registered(tile: Tile) -> list[Finding]:
    """Who may feed in is a matter of his contract here: a register that was turned round has fed in, too."""
    net, day = tile.net, tile.day
    topology = replace(net.topology, exports=day.feeds_in)
    told = electrical.compare(
        topology, day.voltage, day.current, net.imports, net.exports, roll_over=net.roll_over
    )
    return under_registered.find(topology, told)


#: rule -> how it is asked
BY_AREA: Final[Mapping[str, OfAreas]] = {
    voltage.RULE: OfAreas(voltage.NEEDS, lambda t: _voltage(t.day)),
    phase_loss.RULE: OfAreas(phase_loss.NEEDS, lambda t: phase_loss.find(t.day)),
    voltage_unbalance.RULE: OfAreas(voltage_unbalance.NEEDS, lambda t: voltage_unbalance.find(t.day)),
    unbalance.RULE: OfAreas(unbalance.NEEDS, _unbalance),
    overload.RULE: OfAreas(overload.NEEDS, lambda t: overload.find(t.day, t.facts.capacity)),
    demand.RULE: OfAreas(demand.NEEDS, lambda t: demand.find(t.day)),
    power_factor.RULE: OfAreas(power_factor.NEEDS, lambda t: power_factor.find(t.day)),
    reverse_flow.RULE: OfAreas(reverse_flow.NEEDS, lambda t: reverse_flow.find(t.day)),
    flat.RULE: OfAreas(flat.NEEDS, lambda t: flat.find(t.day)),
    run_away.RULE: OfAreas(run_away.NEEDS, lambda t: run_away.find(t.day, t.highest, t.days)),
    stopped.RULE: OfAreas(stopped.NEEDS, lambda t: stopped.find(t.day)),
    decreased.RULE: OfAreas(decreased.NEEDS, lambda t: decreased.find(t.day)),
    loss.RULE: OfAreas((), lambda t: loss.find(lineloss.balance(t.net, t.known)), whole=True),
    under_registered.RULE: OfAreas(under_registered.NEEDS, _under_registered, whole=True),
}
#: the others, by what they look at
BY_LEDGER: Final = (missing.RULE, route.RULE)
BY_EVENTS: Final = (cover.RULE, magnetic.RULE)
BY_CONTACT: Final = (offline.RULE, flapping.RULE)
RULES: Final = (*BY_AREA, *BY_LEDGER, *BY_EVENTS, *BY_CONTACT, check_meter.RULE)
#: rules that judge a whole day
WHOLE_DAY: Final = frozenset({rule for rule, how in BY_AREA.items() if how.whole} | {check_meter.RULE})


def job(run: Run, day: dt.date) -> str:
    """All rules that can be asked of the day so far."""
    return look(run, day, RULES)


def look(run: Run, day: dt.date, wanted: Collection[str]) -> str:
    """These rules; what others said stays as it is."""
    slots = network.slots_due(run, day)
    if slots < 1:
        return "nothing due yet"
    complete = slots == len(points(CURVE, day, run.zone))
    rules = [rule for rule in RULES if rule in wanted and (complete or rule not in WHOLE_DAY)]
    if day != today(run.now, run.zone):  # how a terminal is, is known of now alone
        rules = [rule for rule in rules if rule != offline.RULE]
    who = blocks.rows(run.conn, day, run.zone)
    if not len(who):
        return "nothing due yet"
    found = fold(
        [*_by_area(run, day, who, rules), *_by_ledger(run, day, rules), *_others(run, day, rules)],
        network.places(who),
        # what is not asked now was said before: the holes of that day are still the terminal's
        away=() if offline.RULE in rules else findings.subjects(run.conn, day, offline.RULE),
    )
    added, withdrawn = findings.save(
        run.conn, day, rules, findings.named(run.conn, found), now=run.now, ends=(offline.RULE,)
    )
    faded = findings.fade(run.conn, day, now=run.now, but=(wrong_area.RULE,)) if complete else 0
    return f"{len(found)} findings, {added} new, {withdrawn} withdrawn" + (f", {faded} over" if faded else "")


def judge(net: Network, capacity: Mapping[int, float], ledger: DayMatrix) -> list[Finding]:
    """What the rules say of a day of whole areas whose past and contracts are not known. Pure: everything they look at is an argument.

    capacity  area_id -> [kVA] of its transformer
    """
    rules = [rule for rule in RULES if net.complete or rule not in WHOLE_DAY]
    nothing = np.zeros(len(net.topology), dtype=np.int64)
    tile = Tile(net, meter_day(net, Facts(capacity)), Facts(capacity), np.full(len(nothing), np.nan), nothing)
    found = [f for rule, how in BY_AREA.items() if rule in rules for f in how.find(tile)]
    found += suspects.judge(net) if net.complete else []
    return fold([*found, *_missing(ledger)], network.places(net.block.rows))


# --- by area ---


def _by_area(run: Run, day: dt.date, who: blocks.Rows, rules: Collection[str]) -> Iterator[Finding]:
    asked = [how for rule, how in BY_AREA.items() if rule in rules]
    if not asked:
        return
    needs = [code for code in SLOT_QUANTITIES if any(code in how.needs for how in asked)]
    at = midnight(day, run.zone)
    facts = Facts(archive.capacities(run.conn), watch.contracts(run.conn, at), watch.feeders(run.conn))
    for net in network.areas(run, day, who, needs):
        highest, days = np.full(len(net.topology), np.nan), np.zeros(len(net.topology), dtype=np.int64)
        if run_away.RULE in rules:
            highest, days = watch.usual(run.conn, day, net.topology.meter)
        known = lineloss.beside(run, day, net) if loss.RULE in rules else None
        tile = Tile(net, meter_day(net, facts), facts, highest * net.topology.multiplier, days, known)
        for how in asked:
            yield from how.find(tile)


def meter_day(net: Network, facts: Facts) -> MeterDay:
    """The columns of a network's day as the rules want them; what was not loaded is unknown."""
    who = net.block.rows
    volts = net.phases("voltage")
    return MeterDay(
        meter=net.topology.meter,
        area=who.area,
        role=net.topology.role,
        phases=net.topology.phases,
        multiplier=net.topology.multiplier,
        contract=np.array(
            [facts.contract.get(point, np.nan) for point in who.point.tolist()], dtype=np.float64
        ),
        feeds_in=np.isin(who.point, facts.feeders),
        roll_over=net.roll_over,
        nominal=nominal_of(volts),
        voltage=volts,
        current=net.phases("current"),
        power=net.instants("active_power"),
        reactive=net.instants("reactive_power"),
        imports=net.imports,
        exports=net.exports,
    )


# --- by ledger ---


def _by_ledger(run: Run, day: dt.date, rules: Collection[str]) -> Iterator[Finding]:
    if not any(rule in rules for rule in BY_LEDGER):
        return
    terminal, meters = watch.terminals(run.conn, day, run.zone)
    # a terminal goes where its last meter falls
    piece = (np.cumsum(meters) - 1) // LEDGER_AT_ONCE
    for number in np.unique(piece).tolist():
        some = terminal[piece == number].tolist()
        matrix = coverage.day_matrix(
            run.conn, CURVE, day, now=run.now - PATIENCE, zone=run.zone, terminals=some
        )
        if missing.RULE in rules:
            yield from _missing(matrix)
        if route.RULE in rules:
            yield from _route(run, matrix)


def _missing(matrix: DayMatrix) -> Sequence[Finding]:
    cause, names = coverage.causes(matrix)
    columns: list[tuple[np.ndarray, str, np.ndarray, np.ndarray, np.ndarray]] = []
    last = len(matrix.times) - 1
    for k, name in enumerate(names):
        mask = cause == k
        rows = np.flatnonzero(mask.any(axis=1))
        chosen = mask[rows]
        columns.append(
            (
                matrix.meters[rows],
                name,
                chosen.sum(axis=1),
                matrix.times[chosen.argmax(axis=1)],
                matrix.times[last - chosen[:, ::-1].argmax(axis=1)],
            )
        )
    return missing.find(
        missing.Missing(
            meter=np.concatenate([c[0] for c in columns]),
            cause=np.concatenate([np.full(len(c[0]), c[1], dtype="U32") for c in columns]),
            count=np.concatenate([c[2] for c in columns]),
            first=np.concatenate([c[3] for c in columns]),
            last=np.concatenate([c[4] for c in columns]),
        ),
        matrix.meters,
        matrix.terminals,
        (matrix.expected & matrix.due).sum(axis=1),
    )


def _route(run: Run, matrix: DayMatrix) -> Sequence[Finding]:
    """Attempts on a line of its own; what a terminal brings of a meter is counted by points instead: it is asked again and again for what it
    has not got yet, which is no fault of the route, and what it never got is.

    A bad route loses points here and there. Who is missing for one stretch alone was silent then, whatever of it: his holes say so."""
    vain = watch.vain(run.conn, CURVE, matrix.day, matrix.meters, UNANSWERED)
    never = matrix.missing & matrix.failed.get("not-in-terminal", np.zeros_like(matrix.missing))
    by_points = never.any(axis=1)
    due = (matrix.expected & matrix.due).sum(axis=1)
    return route.find(
        Attempts(
            meter=matrix.meters,
            terminal=matrix.terminals,
            asked=np.where(_one_stretch(matrix.missing), 0, np.where(by_points, due, matrix.attempts)),
            vain=np.where(by_points, never.sum(axis=1), vain),
        )
    )


def _one_stretch(missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool[meter]: what is missing, and it is more than one point, is one run."""
    begins = missing.copy()
    begins[:, 1:] &= ~missing[:, :-1]
    return np.asarray((begins.sum(axis=1) == 1) & (missing.sum(axis=1) > 1), dtype=np.bool_)


# --- by events, contacts, pairs ---


def _others(run: Run, day: dt.date, rules: Collection[str]) -> Iterator[Finding]:
    if any(rule in rules for rule in BY_EVENTS):
        told = watch.told(run.conn, day, run.zone, (*cover.KINDS, *magnetic.KINDS))
        yield from (f for f in (*cover.find(told), *magnetic.find(told)) if f.rule in rules)
    if any(rule in rules for rule in BY_CONTACT):
        contacts = watch.contacts(run.conn, day, run.zone, run.now)
        if offline.RULE in rules:
            yield from offline.find(contacts, run.now)
        if flapping.RULE in rules:
            yield from flapping.find(contacts)
    if check_meter.RULE in rules:
        yield from _check_meters(run, day)


def _check_meters(run: Run, day: dt.date) -> list[Finding]:
    main, checking = watch.checks(run.conn)
    if not len(main):
        return []
    both = np.unique(np.concatenate([main, checking]))
    who = blocks.rows(run.conn, day, run.zone, points=both).by_point()
    counted = blocks.energies(run.conn, day, run.zone, ("active_import",), points=both)
    slots = counted.energies["active_import"].energy
    whole = (slots != MISSING).all(axis=1)
    kwh = np.where(whole, np.where(whole[:, None], slots, 0).sum(axis=1) * 1e-4, np.nan)
    known = np.isin(main, counted.point) & np.isin(checking, counted.point)
    main, checking = main[known], checking[known]
    of_main, of_check = (np.searchsorted(counted.point, some) for some in (main, checking))
    # who hangs there last in the day
    last = {point: row for row, point in enumerate(who.point.tolist())}
    m, c = (np.array([last[point] for point in some.tolist()], dtype=np.int64) for some in (main, checking))
    return check_meter.find(
        Pairs(
            main=who.meter[m],
            check=who.meter[c],
            main_kwh=kwh[of_main],
            check_kwh=kwh[of_check],
            main_class=who.accuracy[m],
            resolution=(RESOLUTION * 1e-4 * (who.multiplier[m] + who.multiplier[c])).astype(np.float64),
        )
    )
