"""Load control of a DL/T 698.45 concentrator: objects 8000, 8001, 8100-8108 and the aggregate groups 2301-2308."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from protocols.dlt698 import values
from protocols.dlt698.values import Data
from terminals.simulator.holding import ALL, ENERGY, POWER, ROUNDS, Held

REMOTE, KEEP = 0x8000, 0x8001
OBJECTS: Final[Mapping[int, str]] = {
    0x8103: "period", 0x8104: "factory-rest", 0x8105: "suspension", 0x8106: "reduction", 0x8107: "purchase", 0x8108: "monthly-energy",
}  # fmt: skip
GROUPS: Final = 0x2301
#: Relay outputs: round n is element n.
RELAYS: Final = 0xF2050200
#: What can be set as it is: 8100-8102, and of a group sliding time and rounds.
_SETS: Final = (0x81000200, 0x81010200, 0x81020200)
_OF_GROUP: Final = (13, 14, 15)
_POWER_NOW, _LEFT, _SETTING, _DOING = 3, 11, 16, 17
_NO_BITS: Final = "0" * 8


class Held698(Held):
    """Attributes are kept as they came: `set.OAD`, of a control's plans each by itself, `set.GROUP.OBJECT`, of a group `set.GROUP.ATTRIBUTE`."""

    def set(self, oad: int, data: Data) -> bool:
        """False: it is denied."""
        group, attribute = (oad >> 16) - GROUPS + 1, oad >> 8 & 0xFF
        if oad in _SETS:
            self.put(f"set.{oad:08X}", values.encode(data))
        elif 1 <= group <= 8 and attribute in _OF_GROUP:
            self.put(f"set.{group}.{attribute}", values.encode(data))
        else:
            return False
        return True

    def get_attribute(self, oad: int, now: np.datetime64) -> Data | None:
        """None: it has no such thing."""
        oi, attribute, group = oad >> 16, oad >> 8 & 0xFF, (oad >> 16) - GROUPS + 1
        if oad in _SETS:
            return self._data(f"set.{oad:08X}")
        if (oi, attribute) == (REMOTE, 3):
            out = self.commanded(now)
            return _bits("".join("01"[number in out] for number in range(1, 9)))
        if (oi, attribute) == (KEEP, 2):
            return Data(values.ENUM, int(self.kept(now)))
        if oi in OBJECTS and attribute == 2:
            plans = [self._data(name) for name in self._plans(oi)]
            return values.array(*(plan for plan in plans if plan is not None))
        if oi in OBJECTS and attribute == 3:
            return values.array(*(
                values.structure(Data(values.OI, GROUPS + each - 1), Data(values.ENUM, int(OBJECTS[oi] in self.switched(each, now))))
                for each in self.groups(now)
            ))  # fmt: skip
        return self._of_group(group, attribute, now) if 1 <= group <= 8 else None

    def _of_group(self, group: int, attribute: int, now: np.datetime64) -> Data | None:
        if attribute in _OF_GROUP:
            return self._data(f"set.{group}.{attribute}")
        if attribute == _POWER_NOW and group == ALL and self.holding is not None:
            return Data(values.LONG64, self.holding.power_w(now) * 10)
        if attribute == _LEFT and (raw := self.get(f"left.{group}")) is not None:
            return Data(values.LONG64, int.from_bytes(raw, "big", signed=True))
        on = self.switched(group, now)
        if attribute == _SETTING:
            plan = self._period_on(group)
            return values.structure(
                Data(values.UNSIGNED, plan[1] if "period" in on else 0),
                _bits(plan[0] if "period" in on else _NO_BITS), _bits(_named(POWER, on)), _bits(_named(ENERGY, on)),
                self._data(f"set.{group}.14") or _bits(_NO_BITS), self._data(f"set.{group}.15") or _bits(_NO_BITS),
            )  # fmt: skip
        if attribute == _DOING:
            rule = self.rule(group, now) if group == ALL else None
            holding = self.holding if group == ALL else None
            tripped = (
                "".join("01"[number in holding.tripped] for number in range(1, 9)) if holding else _NO_BITS
            )
            warns = {rule.control} if rule and holding and holding.warned is not None else set()
            return values.structure(
                Data(values.LONG64, rule.watts * 10 if rule else 0),
                Data(values.INTEGER, -self.reduction(group)[0] if "reduction" in on else 0), _bits(tripped),
                _bits(_NO_BITS), _bits(_NO_BITS), _bits(_named(POWER, warns)), _bits(_NO_BITS),
            )  # fmt: skip
        return None

    def act(self, omd: int, data: Data, now: np.datetime64) -> bool:
        """A method. False: it is denied."""
        oi, method = omd >> 16, omd >> 8 & 0xFF
        try:
            done = self._act(oi, method, data, now)
        except (TypeError, ValueError, AttributeError, IndexError):
            return False
        if done and self.holding is not None:
            self.holding.settle(now)
        return done

    def _act(self, oi: int, method: int, data: Data, now: np.datetime64) -> bool:
        control = OBJECTS.get(oi, "")
        if (oi, method) == (REMOTE, 129):
            done = [self._trip(relay.value, now) for relay in data.value]
            return all(done)
        if (oi, method) == (REMOTE, 130):
            done = [self._permit(relay.value) for relay in data.value]
            return all(done)
        if (oi, method) == (KEEP, 127):
            self.keep(now, 0)
        elif (oi, method) == (KEEP, 128):
            self.end_keep()
        elif control and method in (3, 5):
            group = _group(data.value[0])
            if control == "purchase":
                self._bought(group, data.value)
            self.put(f"set.{group}.{oi:04X}", values.encode(data))
        elif control and method == 6 and control != "reduction":
            self.switch_on(control, _group(data), now, self.get(f"chosen.{_group(data)}") or b"")
        elif control and method == 7:
            self.switch_off(control, _group(data))
        elif control == "period" and method == 127:
            group = _group(data.value[0])
            self.put(f"chosen.{group}", values.encode(data.value[1]))
            if "period" in self.switched(group, now):
                self.switch_on("period", group, now, values.encode(data.value[1]))
        elif control == "reduction" and method == 127:
            self.switch_on("reduction", _group(data.value[0]), now, values.encode(data.value[1]))
        else:
            return False
        return True

    def _trip(self, told: Sequence[Data], now: np.datetime64) -> bool:
        """Without end, and nothing that closes by itself: nobody asks for more here."""
        relay, alarm, limit, again = (each.value for each in told)
        return not limit and not again and self.trip(_round(relay), now, alarm)

    def _permit(self, told: Sequence[Data]) -> bool:
        relay, how = (each.value for each in told)
        return how == 0 and self.permit(_round(relay))

    def _bought(self, group: int, plan: Sequence[Data]) -> None:
        """What is left of purchases, in 1e-4; the same purchase again adds nothing."""
        _, order, mode, _, value, *_ = plan
        old = self._data(f"set.{group}.8107")
        if mode.value == 0 and old is not None and old.value[1].value == order.value:
            return
        raw = self.get(f"left.{group}")
        left = int.from_bytes(raw, "big", signed=True) if raw is not None and mode.value == 0 else 0
        self.put(f"left.{group}", (left + value.value).to_bytes(8, "big", signed=True))

    # --- what the bytes mean ---

    def periods(self, group: int) -> list[tuple[int, int, int]]:
        slots, plan, (mask, scheme) = (
            self._data("set.81010200"),
            self._data(f"set.{group}.8103"),
            self._period_on(group),
        )
        if slots is None or plan is None:
            return []
        there, *setpoints = plan.value[2 + scheme].value
        codes = [each.value >> shift & 3 for each in slots.value for shift in (0, 2, 4, 6)]
        edges = [k for k in range(48) if k == 0 or codes[k] != codes[k - 1]] + [48]
        runs = [(edges[k], edges[k + 1]) for k in range(len(edges) - 1) if codes[edges[k]]]
        return [
            (*run, setpoints[k].value // 10) for k, run in enumerate(runs) if there.value[k] == mask[k] == "1"
        ]

    def _period_on(self, group: int) -> tuple[str, int]:
        """Periods and scheme, counted from 0."""
        raw = self.get(f"on.period.{group}")
        if not raw:
            return _NO_BITS, 0
        periods, scheme = values.decode(raw).value
        return periods.value, scheme.value

    def rest(self, group: int) -> tuple[int, int, int, list[int]] | None:
        plan = self._data(f"set.{group}.8104")
        if plan is None:
            return None
        _, watts, start, minutes, weekdays = plan.value
        days = [day for day in range(1, 8) if weekdays.value[day] == "1"]
        return watts.value // 10, start.value[4] * 60 + start.value[5], minutes.value, days

    def suspension(self, group: int) -> tuple[dt.date, dt.date, int] | None:
        plan = self._data(f"set.{group}.8105")
        if plan is None:
            return None
        _, first, last, watts = plan.value
        return _day(first.value), _day(last.value), watts.value // 10

    def reduction(self, group: int) -> tuple[int, int, Sequence[int]]:
        raw = self.get(f"on.reduction.{group}")
        if not raw:
            return 0, 0, ()
        _, percent, _, half_hours, *alarms = (each.value for each in values.decode(raw).value)
        return -percent, half_hours, alarms

    def rounds(self, group: int) -> list[int]:
        data = self._data(f"set.{group}.14")
        return [] if data is None else [k + 1 for k in range(ROUNDS) if data.value[k] == "1"]

    def alarms(self) -> list[int]:
        data = self._data("set.81020200")
        return [] if data is None else [each.value for each in data.value]

    def security(self) -> int:
        data = self._data("set.81000200")
        return 0 if data is None else int(data.value) // 10

    def _plans(self, oi: int) -> list[str]:
        return [name for group in range(1, 9) for name in self.names(f"set.{group}.{oi:04X}")]

    def _data(self, name: str) -> Data | None:
        raw = self.get(name)
        return None if raw is None else values.decode(raw)


def _round(relay: int) -> int:
    """ValueError: no relay output."""
    if relay & ~0xFF != RELAYS:
        raise ValueError(relay)
    return relay & 0xFF


def _group(data: Data) -> int:
    """ValueError: no group."""
    group = int(data.value) - GROUPS + 1
    if data.tag != values.OI or not 1 <= group <= 8:
        raise ValueError(data)
    return group


def _bits(text: str) -> Data:
    return Data(values.BIT_STRING, text)


def _named(names: Sequence[str], on: Any) -> str:
    return "".join("01"[name in on] for name in names).ljust(8, "0")


def _day(raw: bytes) -> dt.date:
    return dt.date(int.from_bytes(raw[:2], "big"), raw[2], raw[3])
