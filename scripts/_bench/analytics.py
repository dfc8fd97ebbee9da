"""A night's analysis of a whole utility: 1,000,000 meters × 96 slots × 1 day in 5,000 transformer areas.

In memory: loss by area, every rule that looks at curves, validation with its estimates, tile by tile as the jobs do it; three of these
beside polars, which is given one long table. From the store: the jobs themselves over a day that was loaded by the program's own door, and
the same three questions in SQL.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import county
import numpy as np
from county import SLOTS, Tile
from measure import OURS, Race, quiet, turns

from headend.jobs import anomalies, lineloss, network, vee_day, vee_holes
from lineloss.balance import slot_balance
from lineloss.rules import voltage
from lineloss.vee.rules import validate

#: GB/T 12325 for 220 V: what polars and SQL are told [V]
LOW, HIGH, LOST = 198.0, 235.4, 132.0
#: threads of the machine the tests run on; numpy lets them work at once
THREADS: Final = 2


@dataclass(slots=True)
class Spent:
    """Seconds by piece of work, of all threads together; what it found."""

    seconds: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)

    def timed(self, name: str, work: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        result = work()
        self.seconds[name] += time.perf_counter() - begin  # type: ignore[assignment]
        return result


def run(meters: int, rounds: int, seed: int = 1, missing: float = 0.03) -> tuple[list[Race], list[str]]:
    """The races in memory, and where the night goes."""
    begin = time.perf_counter()
    day = county.tiles(meters, missing, seed)
    count = sum(len(tile.block.rows) for tile in day)
    areas = sum(county.AREAS for _ in day)
    size = sum(cells.nbytes for cells in county.cells(day))
    notes = [
        f"{count:,} meters, {areas:,} areas, {SLOTS} slots, {missing:.0%} of the points missing: {size / 2**30:.1f} GiB of columns, made in "
        f"{time.perf_counter() - begin:.0f} s"
    ]
    races = _races(day, count, rounds)
    notes += _nights(day)
    return races, notes


# --- races ---


def _races(day: list[Tile], count: int, rounds: int) -> list[Race]:
    from peers import Frame  # noqa: PLC0415 - polars is wanted here alone

    frame = Frame(day)
    # the goal is three of the last
    passed: dict[str, Callable[[], Any]] = {
        "one pass over the registers": lambda: [
            c.sum() for tile in day for c in tile.block.registers.values()
        ],
        "one pass over all columns": lambda: [c.sum() for c in county.cells(day)],
    }
    questions: list[tuple[str, dict[str, Callable[[], Any]]]] = [
        ("loss of every area, by day", {OURS: lambda: by_day(day), **passed, "polars": frame.by_day}),
        (
            "loss of every area, by quarter-hour",
            {OURS: lambda: by_slot(day), **passed, "polars": frame.by_slot},
        ),
        (
            "minutes of voltage out of limits, every meter",
            {OURS: lambda: voltage_minutes(day), "polars": lambda: frame.voltage(LOW, HIGH, LOST)},
        ),
    ]
    races = []
    for title, contenders in questions:
        race = Race(f"{title}, in memory", "meter-days", count, SLOTS)
        answers = {}
        for who in contenders:
            race.seconds[who] = []
        for number in range(rounds):
            for who in turns(list(contenders), number):
                with quiet():
                    begin = time.perf_counter()
                    answers[who] = contenders[who]()
                    race.add(who, time.perf_counter() - begin)
        said = [answers[who] for who in (OURS, "polars")]
        assert said[0] == said[1], f"{title}: ours {said[0]}, polars {said[1]}"
        races.append(race)
    return races


def by_day(day: list[Tile]) -> tuple[int, int]:
    """(areas that are known, what they lost [1e-4 kWh])"""
    known = lost = 0
    for tile in day:
        b = lineloss.balance(network.assemble(tile.block, SLOTS))
        known += int(b.known.sum())
        lost += int(b.loss[b.known].sum())
    return known, lost


def by_slot(day: list[Tile]) -> tuple[int, int]:
    """(areas' slots that are known, what was lost in them [1e-4 kWh])"""
    known = lost = 0
    for tile in day:
        net = network.assemble(tile.block, SLOTS)
        b = slot_balance(net.topology, net.imports, net.exports, roll_over=net.roll_over)
        known += int(b.known.sum())
        lost += int(b.loss[b.known].sum())
    return known, lost


def voltage_minutes(day: list[Tile]) -> int:
    """Minutes of all meters."""
    total = 0
    for tile in day:
        volts = np.stack([tile.block.instants[f"voltage_{p}"] for p in "abc"], axis=1)
        total += int(voltage.quality(volts).out.sum())
    return total


# --- the night ---


def _nights(day: list[Tile]) -> list[str]:
    lines = []
    for threads in (1, THREADS):
        spent = Spent()
        begin = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            for part in pool.map(_night, day):
                spent.seconds.update(part.seconds)
                spent.found.update(part.found)
        whole = time.perf_counter() - begin
        lines.append(
            f"the whole night in memory, {threads} thread{'s' if threads > 1 else ''}: {whole:.1f} s (goal 60)"
        )
    lines += [f"  {name:<24} {seconds:6.1f} s" for name, seconds in spent.seconds.most_common(24)]
    lines.append("  found: " + ", ".join(f"{name} {n}" for name, n in sorted(spent.found.items())))
    return lines


def _night(tile: Tile) -> Spent:
    """What the jobs do with a tile, piece by piece."""
    spent = Spent()
    net = spent.timed("network", lambda: network.assemble(tile.block, SLOTS))
    balance = spent.timed("loss", lambda: lineloss.balance(net))
    spent.found["areas known"] += int(balance.known.sum())
    spent.timed("technical loss", lambda: lineloss.technical(net))
    capacity = {int(area): 315.0 for area in net.topology.area_id}
    facts = anomalies.Facts(capacity)
    meter_day = spent.timed("columns of a day", lambda: anomalies.meter_day(net, facts))
    highest = tile.history.max(axis=1) * 1e-4 * net.topology.multiplier
    looked = anomalies.Tile(net, meter_day, facts, highest, np.full(len(highest), county.HISTORY))
    for rule, how in anomalies.BY_AREA.items():
        spent.found[rule] += len(spent.timed(rule, lambda how=how: how.find(looked)))  # type: ignore[misc]
    known = spent.timed("vee: facts", tile.facts)
    verdicts = spent.timed("vee: rules", lambda: validate(known))
    spent.found["vee"] += sum(len(verdict) for verdict in verdicts.values())
    alive = np.ones(known.imports.shape, dtype=np.bool_)
    worked = spent.timed(
        "vee: estimates", lambda: list(vee_holes.within(vee_day.Tile(known, alive), tile.block.times))
    )
    spent.found["estimates"] += sum(len(w.estimates.row) for w in worked)
    return spent
