"""Load control of a Q/GDW 376.1 concentrator: AFN 04 and 0A F17, F18, F41-F49; AFN 05 F1, F2 and F9-F33; AFN 0C F5, F6, F17, F23."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np

from protocols.gdw376.values import Typed, Unit, decode, encode
from terminals.simulator.holding import ALL, ENERGY, POWER, ROUNDS, Held

TAKES: Final = (17, 18, 41, 42, 43, 44, 45, 46, 47, 48, 49)
ON: Final[Mapping[int, str]] = {
    9: "period", 10: "factory-rest", 11: "suspension", 12: "reduction", 15: "monthly-energy", 16: "purchase",
}  # fmt: skip
OFF: Final[Mapping[int, str]] = {
    17: "period", 18: "factory-rest", 19: "suspension", 20: "reduction", 23: "monthly-energy", 24: "purchase",
}  # fmt: skip
TRIP, PERMIT, KEEP, END_KEEP = 1, 2, 25, 33
SETTING, DOING, POWER_NOW, LEFT = 5, 6, 17, 23
_PERIOD, _PURCHASE, _ALARM = 41, 47, 49
_ADD: Final = 0x55


class Held376(Held):
    """Parameters are kept as the units that came: `set.GROUP.FN`, `set.FN` of the terminal, `alarm.ROUND`; of F41 each scheme by itself."""

    def tell(self, units: Sequence[Unit]) -> bool:
        """AFN 04. False: it is denied, and nothing of it is taken."""
        if not all(unit.known and unit.function in TAKES for unit in units):
            return False
        for unit in units:
            if unit.function == _PERIOD:
                for scheme, values in _schemes(unit.values):
                    self.put(f"{_name(unit)}.{scheme}", encode(0x04, _PERIOD, values, uplink=False))
            else:
                if unit.function == _PURCHASE:
                    self._bought(unit)
                self.put(_name(unit), unit.data)
        return True

    def _bought(self, unit: Unit) -> None:
        """What is left of purchases; the same purchase again adds nothing."""
        order, mode, value, *_ = _values(unit.values)
        old = self._told(unit.point, _PURCHASE)
        if mode == _ADD and old is not None and old[0] == order:
            return
        left = (self.left(unit.point) or 0) if mode == _ADD else 0
        self.put(f"left.{unit.point}", (left + value).to_bytes(8, "big", signed=True))

    def told(self, unit: Unit) -> bytes | None:
        """AFN 0A: the data of one unit."""
        if unit.function != _PERIOD:
            return self.get(_name(unit))
        schemes = [
            decode(0x04, _PERIOD, self.get(name) or b"", uplink=False)
            for name in self.names(f"{_name(unit)}.")
        ]
        if not schemes:
            return None
        there = sum(values[0].value for values in schemes if isinstance(values[0].value, int))
        return encode(0x0A, _PERIOD, [there, *(value.value for values in schemes for value in values[1:])])

    def act(self, unit: Unit, now: np.datetime64) -> bool:
        """AFN 05. False: it is denied."""
        if not unit.known:
            return False
        if unit.function == KEEP:
            (half_hours,) = _values(unit.values)
            self.keep(now, half_hours)
        elif unit.function == END_KEEP:
            self.end_keep()
        elif unit.function == TRIP:
            alarm, limit = _values(unit.values)
            if limit or not self.trip(unit.point, now, alarm):  # nobody asks for an end here
                return False
        elif unit.function == PERMIT:
            if not self.permit(unit.point):
                return False
        elif unit.function in ON:
            self.switch_on(ON[unit.function], unit.point, now, unit.data)
        elif unit.function in OFF:
            self.switch_off(OFF[unit.function], unit.point)
        else:
            return False
        if self.holding is not None:
            self.holding.settle(now)
        return True

    def state(self, function: int, point: int, now: np.datetime64) -> bytes | None:
        """AFN 0C; None: it has no such thing."""
        if function == POWER_NOW and point == ALL and self.holding is not None:
            return encode(0x0C, POWER_NOW, [_kw(self.holding.power_w(now))])
        if function == LEFT and self.left(point) is not None:
            return encode(0x0C, LEFT, [self.left(point)])
        if function == SETTING and point == 0:
            return encode(0x0C, SETTING, list(self._setting(now)))
        if function == DOING and point == 0:
            return encode(0x0C, DOING, list(self._doing(now)))
        return None

    def left(self, group: int) -> int | None:
        raw = self.get(f"left.{group}")
        return None if raw is None else int.from_bytes(raw, "big", signed=True)

    def _setting(self, now: np.datetime64) -> Iterator[Typed]:
        groups = self.groups(now)
        yield int(self.kept(now))
        yield sum(1 << group - 1 for group in groups)
        for group in groups:
            on = self.switched(group, now)
            periods, scheme = self._period_on(group) if "period" in on else (0, 0)
            yield from (scheme, periods, _mask(POWER, on), _mask(ENERGY, on))
            yield from (self._byte(group, 45), self._byte(group, 48))

    def _doing(self, now: np.datetime64) -> Iterator[Typed]:
        groups = self.groups(now)
        yield from (
            sum(1 << number - 1 for number in self.commanded(now)),
            0,
            sum(1 << group - 1 for group in groups),
        )
        for group in groups:
            rule = self.rule(group, now) if group == ALL else None
            holding = self.holding if group == ALL else None
            down = -self.reduction(group)[0] if "reduction" in self.switched(group, now) else 0
            warns = _mask(POWER, {rule.control}) if rule and holding and holding.warned is not None else 0
            tripped = sum(1 << number - 1 for number in holding.tripped) if holding else 0
            yield from (_kw(rule.watts) if rule else Decimal(0), down, tripped, 0, 0, warns, 0)

    # --- what the bytes mean ---

    def periods(self, group: int) -> list[tuple[int, int, int]]:
        slots, (mask, scheme) = self.get("set.18"), self._period_on(group)
        raw = self.get(f"set.{group}.{_PERIOD}.{scheme + 1}")
        if slots is None or raw is None:
            return []
        _, periods, *setpoints = _values(decode(0x04, _PERIOD, raw, uplink=False))
        codes = [slots[k // 4] >> 2 * (k % 4) & 3 for k in range(48)]
        edges = [k for k in range(48) if k == 0 or codes[k] != codes[k - 1]] + [48]
        runs = [(edges[k], edges[k + 1]) for k in range(len(edges) - 1) if codes[edges[k]]]
        limits = dict(zip([k for k in range(8) if periods >> k & 1], setpoints, strict=True))
        return [(*run, int(limits[k] * 1000)) for k, run in enumerate(runs) if k in limits and mask >> k & 1]

    def _period_on(self, group: int) -> tuple[int, int]:
        """Periods and scheme, counted from 0."""
        raw = self.get(f"on.period.{group}") or bytes(2)
        return raw[0], raw[1]

    def rest(self, group: int) -> tuple[int, int, int, list[int]] | None:
        values = self._told(group, 42)
        if values is None:
            return None
        kw, start, half_hours, weekdays = values
        days = [day for day in range(1, 8) if weekdays >> day & 1]
        return int(kw * 1000), start.hour * 60 + start.minute, half_hours * 30, days

    def suspension(self, group: int) -> tuple[dt.date, dt.date, int] | None:
        values = self._told(group, 44)
        return None if values is None else (values[0], values[1], int(values[2] * 1000))

    def reduction(self, group: int) -> tuple[int, int, Sequence[int]]:
        raw = self.get(f"on.reduction.{group}") or bytes(8)
        _, percent, _, half_hours, *alarms = _values(decode(0x05, 12, raw, uplink=False))
        return -percent, half_hours, alarms

    def rounds(self, group: int) -> list[int]:
        return [number for number in range(1, ROUNDS + 1) if self._byte(group, 45) >> number - 1 & 1]

    def alarms(self) -> list[int]:
        return [(self.get(f"alarm.{number}") or b"\0")[0] for number in range(1, ROUNDS + 1)]

    def security(self) -> int:
        raw = self.get("set.17")
        return 0 if raw is None else int(_values(decode(0x04, 17, raw, uplink=False))[0] * 1000)

    def _told(self, group: int, function: int) -> list[Any] | None:
        raw = self.get(f"set.{group}.{function}")
        return None if raw is None else _values(decode(0x04, function, raw, uplink=False))

    def _byte(self, group: int, function: int) -> int:
        return (self.get(f"set.{group}.{function}") or b"\0")[0]


def _name(unit: Unit) -> str:
    if unit.function == _ALARM:  # of a round
        return f"alarm.{unit.point}"
    return f"set.{unit.point}.{unit.function}" if unit.point else f"set.{unit.function}"


def _values(values: Sequence[Any]) -> list[Any]:
    return [value.value for value in values]


def _schemes(values: Sequence[Any]) -> Iterator[tuple[int, list[Typed]]]:
    """Of F41: each scheme as a unit of its own."""
    there, *rest = _values(values)
    for scheme in range(1, 9):
        if there >> scheme - 1 & 1:
            periods, *rest = rest
            size = periods.bit_count()
            yield scheme, [1 << scheme - 1, periods, *rest[:size]]
            rest = rest[size:]


def _mask(names: Sequence[str], on: set[str]) -> int:
    return sum(1 << k for k, name in enumerate(names) if name in on)


def _kw(watts: int) -> Decimal:
    """Three digits, as A.2 has them."""
    step = int("1" + "0" * (len(str(watts)) - 3))
    return Decimal(watts // step * step).scaleb(-3)
