"""定值控制 in a terminal: what it was told, and what it does about it.

While the power of its area is above the setpoint it warns, then trips the next of its rounds, minute by minute; when nothing is to be held any more
every round gives supply back by itself. Customer c of the area hangs on round (c - 1) % 4 + 1, beside his own meter's relay. It acts for
aggregate group 1, which is its whole area; other groups keep what they were told. Rounds that its controls opened do not outlive the process;
those that a command tripped do, until another permits closing, and the customer closes his breaker at once. What rounds did is no act of a
meter's relay, so acts.csv does not name it.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from protocols.localtime import as_datetime
from terminals.simulator.meter import Meter
from terminals.simulator.notebook import Notebook
from terminals.simulator.physics import NOT_SHOWN, SHOWN, SHOWN_PER_UNIT
from terminals.simulator.scenario import ZONE

POWER: Final = ("period", "factory-rest", "suspension", "reduction")
ENERGY: Final = ("monthly-energy", "purchase")
ROUNDS: Final = 4
#: The group that is the whole area.
ALL: Final = 1
_MINUTE: Final = np.timedelta64(60_000_000, "us")
_HALF_HOUR: Final = 30 * _MINUTE
_EPOCH: Final = np.datetime64(0, "us")
#: Looked back at most: nobody asked for longer, and nothing was held.
_MEMORY: Final = np.timedelta64(2, "D")
_P: Final = SHOWN.index("p")


@dataclass(frozen=True, slots=True)
class Rule:
    """What must not be exceeded now. alarms: minutes of warning before each round."""

    control: str
    watts: int
    alarms: Sequence[int]


class Held(ABC):
    """What a terminal was told, as bytes by name, kept on disk; a protocol says what they mean.

    `set.*` parameters, `on.CONTROL.GROUP` what came with switching on, `from.GROUP` when and at what power a reduction began, `keep`,
    `trip.ROUND` when a round that was told to trip does.
    """

    def __init__(self, path: Path | None) -> None:
        self._book = Notebook(path)
        self.holding: Holding | None = None

    def get(self, name: str) -> bytes | None:
        return self._book.read().get(name)

    def put(self, name: str, raw: bytes) -> None:
        self._book.write({**self._book.read(), name: raw})

    def names(self, prefix: str) -> list[str]:
        return sorted(name for name in self._book.read() if name.startswith(prefix))

    def drop(self, name: str) -> None:
        self._book.write({each: raw for each, raw in self._book.read().items() if each != name})

    # --- keep-power ---

    def keep(self, now: np.datetime64, half_hours: int) -> None:
        """0: without end."""
        until = now + half_hours * _HALF_HOUR if half_hours else _EPOCH
        self.put("keep", _number(until))

    def end_keep(self) -> None:
        self.drop("keep")

    def kept(self, now: np.datetime64) -> bool:
        raw = self.get("keep")
        return raw is not None and (not any(raw) or bool(now < _instant(raw)))

    # --- rounds by command ---

    def trip(self, number: int, now: np.datetime64, alarm: int) -> bool:
        """After so many minutes of warning. False: there is no such round, or the terminal keeps power."""
        if not 1 <= number <= ROUNDS or self.kept(now):
            return False
        if self.get(f"trip.{number}") is None:
            self.put(f"trip.{number}", _number(now + alarm * _MINUTE))
        return True

    def permit(self, number: int) -> bool:
        if not 1 <= number <= ROUNDS:
            return False
        self.drop(f"trip.{number}")
        return True

    def commanded(self, now: np.datetime64) -> set[int]:
        """Rounds that are out by command."""
        due = {int(name[5:]): _instant(self.get(name) or bytes(8)) for name in self.names("trip.")}
        return set() if self.kept(now) else {number for number, at in due.items() if at <= now}

    # --- on and off ---

    def switch_on(self, control: str, group: int, now: np.datetime64, raw: bytes = b"") -> None:
        if control == "reduction":
            power = self.holding.power_w(now) if self.holding else 0
            self.put(f"from.{group}", _number(now) + power.to_bytes(8, "big"))
        self.put(f"on.{control}.{group}", raw)

    def switch_off(self, control: str, group: int) -> None:
        self.drop(f"on.{control}.{group}")

    def switched(self, group: int, now: np.datetime64) -> set[str]:
        """What is on; a reduction ends by itself."""
        on = {name for name in (*POWER, *ENERGY) if self.get(f"on.{name}.{group}") is not None}
        if "reduction" in on:
            since = _instant((self.get(f"from.{group}") or bytes(16))[:8])
            if now >= since + self.reduction(group)[1] * _HALF_HOUR:
                on.remove("reduction")
        return on

    def groups(self, now: np.datetime64) -> list[int]:
        """Those that something was said of."""
        return [
            group
            for group in range(1, 9)
            if self.switched(group, now) or self.names(f"set.{group}.") or self.get(f"from.{group}")
        ]

    def rule(self, group: int, now: np.datetime64) -> Rule | None:
        """The lowest of what is to be held at this instant, never below what is never cut."""
        if self.kept(now):
            return None
        local, on = as_datetime(now, ZONE).replace(tzinfo=None), self.switched(group, now)
        rules = [rule for name in on for rule in self._rule(name, group, local)]
        lowest = min(rules, key=lambda rule: rule.watts, default=None)
        return lowest and Rule(lowest.control, max(lowest.watts, self.security()), lowest.alarms)

    def _rule(self, control: str, group: int, local: dt.datetime) -> list[Rule]:
        slot, watts = local.hour * 2 + local.minute // 30, None
        alarms: Sequence[int] = self.alarms()
        if control == "period":
            watts = next((w for first, end, w in self.periods(group) if first <= slot < end), None)
        elif control == "factory-rest" and (rest := self.rest(group)) is not None:
            setpoint, start, minutes, weekdays = rest
            late = local.hour * 60 + local.minute - start
            watts = setpoint if local.isoweekday() in weekdays and 0 <= late < minutes else None
        elif control == "suspension" and (span := self.suspension(group)) is not None:
            first, last, setpoint = span
            watts = setpoint if first <= local.date() <= last else None
        elif control == "reduction":
            percent, _, alarms = self.reduction(group)
            begun = int.from_bytes((self.get(f"from.{group}") or bytes(16))[8:], "big")
            watts = begun * (100 - percent) // 100
        return [] if watts is None else [Rule(control, watts, alarms)]

    # --- what the bytes mean ---

    @abstractmethod
    def periods(self, group: int) -> list[tuple[int, int, int]]:
        """(first half hour, the one behind the last, W) of the periods that are on."""

    @abstractmethod
    def rest(self, group: int) -> tuple[int, int, int, list[int]] | None:
        """W, begin and length in minutes, weekdays."""

    @abstractmethod
    def suspension(self, group: int) -> tuple[dt.date, dt.date, int] | None:
        """First and last day, W."""

    @abstractmethod
    def reduction(self, group: int) -> tuple[int, int, Sequence[int]]:
        """Per cent down, half hours, minutes of warning before each round."""

    @abstractmethod
    def rounds(self, group: int) -> list[int]:
        """Those that trip for power."""

    @abstractmethod
    def alarms(self) -> list[int]:
        """Minutes of warning before each round."""

    @abstractmethod
    def security(self) -> int:
        """W that are never cut."""


class Holding:
    """The rounds of one terminal. Call `settle` with the present before anything else."""

    def __init__(self, meters: Sequence[Meter], held: Held) -> None:
        self.held = held
        held.holding = self
        self.tripped: set[int] = set()
        self.commanded: set[int] = set()
        self.warned: np.datetime64 | None = None
        self._meters = meters
        self._open: list[Meter] = []
        self._last: np.datetime64 | None = None

    def power_w(self, at: np.datetime64) -> int:
        """What the area takes, at its supply meter, on the primary side."""
        supply = self._meters[0]
        shown = supply.shown(at)
        if shown is None or shown[_P] == NOT_SHOWN:
            return 0
        return int(shown[_P]) * supply.area.plan.ct * 1000 // SHOWN_PER_UNIT[_P]

    def settle(self, now: np.datetime64) -> None:
        """Every minute since the last time that something was to be held, and this instant."""
        last, self._last = self._last, now
        if last is None or now <= last:
            self._look(now)
            return
        held = self.held
        if (
            self.tripped
            or self.commanded
            or self.warned is not None
            or held.names("on.")
            or held.names("trip.")
        ):
            first = max(last, now - _MEMORY) - _EPOCH
            minute = _EPOCH + (first // _MINUTE + 1) * _MINUTE
            while minute < now:
                self._look(minute)
                minute += _MINUTE
            self._look(now)

    def _look(self, at: np.datetime64) -> None:
        self.commanded = self.held.commanded(at)
        self._hold(at)
        self._switch(at)

    def _hold(self, at: np.datetime64) -> None:
        rule = self.held.rule(ALL, at)
        if rule is None:
            self.tripped.clear()
            self.warned = None
            return
        waiting = [number for number in self.held.rounds(ALL) if number not in self.tripped]
        if not waiting or self.power_w(at) <= rule.watts:
            self.warned = None
            return
        if self.warned is None:
            self.warned = at
        delay = rule.alarms[waiting[0] - 1] if waiting[0] <= len(rule.alarms) else 0
        if at >= self.warned + delay * _MINUTE:
            self.tripped.add(waiting[0])
            self.warned = None

    def _switch(self, at: np.datetime64) -> None:
        """Breakers follow their rounds, where the meter's own relay lets anything flow."""
        out = self.tripped | self.commanded
        if not out and not self._open:
            return
        for meter in self._meters[1:]:
            cut = (meter.index - 1) % ROUNDS + 1 in out
            if cut and meter not in self._open and not meter.relay.open:
                meter.area.switch(at, meter.index, closed=False)
                self._open.append(meter)
            elif not cut and meter in self._open:
                self._open.remove(meter)
                if not meter.relay.open:
                    meter.area.switch(at, meter.index, closed=True)


def _number(at: np.datetime64) -> bytes:
    return int((at - _EPOCH) / np.timedelta64(1, "us")).to_bytes(8, "big")


def _instant(raw: bytes) -> np.datetime64:
    return _EPOCH + np.timedelta64(int.from_bytes(raw, "big"), "us")
