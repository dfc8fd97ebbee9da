"""What happens to meters beside consumption: planned from the seed, written into the truth, and noted by each meter in its own time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from protocols.localtime import midnight
from terminals.simulator.layout import AreaPlan
from terminals.simulator.scenario import ZONE, Scenario, stream

KINDS: Final = ("power-down", "cover-open", "voltage-loss")
#: Entries that a meter keeps of each kind: ten, as DL/T 645 has it.
KEPT: Final = 10
#: Each begins and ends between two slots, so that no record of the curve shows it: a meter reads what is there at the slot's end.
_FIRST, _LAST, _LONGEST = 180, 600, 200


@dataclass(frozen=True, slots=True)
class Entry:
    """begin, end: UTC, true time. phase: 1-3 of a loss of voltage. before, after: what the clock showed when it was set."""

    kind: str
    begin: np.datetime64
    end: np.datetime64
    phase: int = 0
    before: np.datetime64 | None = None
    after: np.datetime64 | None = None


def planned(scenario: Scenario, plan: AreaPlan) -> dict[int, tuple[Entry, ...]]:
    """Meter of the area -> what will happen to it; of those that answer, or nobody could ever know."""
    if not scenario.plan.events:
        return {}
    rng = stream(scenario.seed, "diary", plan.area)
    alive = [meter for meter in range(plan.meters) if meter not in plan.dead]
    found: dict[int, list[Entry]] = {}
    for _ in range(scenario.plan.events):
        meter, kind = alive[int(rng.integers(len(alive)))], KINDS[int(rng.integers(len(KINDS)))]
        slot = int(rng.integers(96 * scenario.truth_days))
        opened = midnight(scenario.first_day, ZONE) + slot * np.timedelta64(15, "m")
        begin = opened + np.timedelta64(int(rng.integers(_FIRST, _LAST)), "s")
        end = begin + np.timedelta64(int(rng.integers(10, _LONGEST)), "s")
        phase = int(rng.integers(plan.phases(meter))) + 1 if kind == "voltage-loss" else 0
        found.setdefault(meter, []).append(Entry(kind, begin, end, phase))
    return {meter: tuple(sorted(entries, key=lambda entry: entry.begin)) for meter, entries in found.items()}


def documents(scenario: Scenario, plans: Iterable[AreaPlan]) -> list[dict[str, Any]]:
    """The same for the truth's file."""
    return [
        {
            "meter": plan.asset(meter),
            "kind": entry.kind,
            "begin": f"{entry.begin}Z",
            "end": f"{entry.end}Z",
            "phase": entry.phase,
        }
        for plan in plans
        for meter, entries in planned(scenario, plan).items()
        for entry in entries
    ]


class Diary:
    """One meter's: what was planned, and what is done to it."""

    __slots__ = ("_done", "_planned")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._planned = tuple(entries)
        self._done: tuple[Entry, ...] = ()

    def note(self, entry: Entry) -> None:
        self._done = (*self._done, entry)[-KEPT:]

    def of(self, kind: str, now: np.datetime64, phase: int = 0) -> list[Entry]:
        """Those that are over by now, the newest first."""
        found = [
            e for e in (*self._planned, *self._done) if (e.kind, e.phase) == (kind, phase) and e.end <= now
        ]
        return sorted(found, key=lambda entry: entry.begin, reverse=True)

    def all(self, now: np.datetime64) -> list[Entry]:
        """Everything that is over by now, the oldest first."""
        found = [entry for entry in (*self._planned, *self._done) if entry.end <= now]
        return sorted(found, key=lambda entry: entry.begin)
