"""Load control of a DL/T 698.45 terminal: objects 8001 and 8100-8108, and the aggregate groups 2301-2308.

Where a control is a plan for each group (interface class 13), method 3 adds one, 5 updates it, 6 switches it on and 7 off. That an argument of two
parts is a structure of both, and that the days of a week stand in bits 1 to 7, no public source confirms. Commands carry a time
tag, so that one that comes late is void.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from protocols.dlt698 import clock, values
from protocols.dlt698.apdu import Result, TimeTag
from protocols.dlt698.requests import Act, Get, GetList, Set
from protocols.dlt698.values import Data, Ti
from protocols.errors import FrameError, Misuse
from protocols.localtime import local_fields
from terminals.drivers.control import (
    BITS,
    ENERGY,
    POWER,
    Term,
    pack_slots,
    split,
    unknown,
    unpack_slots,
)
from terminals.drivers.driver import Meter, Script

KEEP: Final = 0x8001
SECURITY, SLOTS, ALARMS = 0x81000200, 0x81010200, 0x81020200
OBJECTS: Final = {
    "period": 0x8103, "factory-rest": 0x8104, "suspension": 0x8105, "reduction": 0x8106, "purchase": 0x8107, "monthly-energy": 0x8108,
}  # fmt: skip
#: The first aggregate group.
GROUPS: Final = 0x2301
#: Attributes of a group: power now, what is left of a purchase, sliding time, rounds, what is set, what is done about it.
POWER_NOW, LEFT, SLIDING, POWER_ROUNDS, ENERGY_ROUNDS, SETTING, DOING = 3, 11, 13, 14, 15, 16, 17
#: Attributes of a control: its plans, and which are on. Methods: add and update a plan, on, off, and its own.
PLANS, ON = 2, 3
ADD, UPDATE, SWITCH_ON, SWITCH_OFF, OWN = 3, 5, 6, 7, 127
#: 8001: methods on and off, attribute 2.
KEEP_ON, KEEP_OFF, KEPT = 127, 128, 2
#: Purchases by energy or amount, added or put in place; kept by the terminal itself (本地模式).
MODES, BY = ("add", "refresh"), ("energy", "amount")
LOCAL_MODE: Final = 0
#: Scheme sets of 8103, and setpoints of each.
SCHEMES: Final = 3
#: Seconds that a time tag can say.
LONGEST: Final = 65_535
_ANY: Final = b"\xff"


class Control698:
    """terminals.drivers.control.Controls.

    first_scheme  number of the first set of setpoints in method 127 of 8103 and in attribute 16 of a group. No public source says whether
                  they count from 0
    """

    def __init__(self, *, first_scheme: int = 0) -> None:
        self._first = first_scheme

    # --- reading ---

    def read(self, whom: Meter, names: Iterable[str]) -> Script[Mapping[str, Mapping[str, Any]]]:
        """All attributes that the names need in one request; each is told or denied by itself."""
        wanted = [(name, *split(name)) for name in names]
        oads = dict.fromkeys(oad for name, what, where in wanted for oad in _needs(name, what, where))
        results: tuple[Result, ...] = (yield GetList(tuple(oads))) if oads else ()
        told = {result.oad: result.data for result in results if result.data is not None}
        found: dict[str, Mapping[str, Any]] = {}
        for name, what, where in wanted:
            try:
                value = self._meaning(name, what, where, told)
            except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
                raise FrameError(
                    f"{name}: the terminal's value has another shape than the standard's"
                ) from error
            if value is not None:
                found[name] = value
        return found

    def _meaning(
        self, name: str, what: str, where: Sequence[int], told: Mapping[int, Data]
    ) -> Mapping[str, Any] | None:
        """None: the terminal has not said it."""
        if what.startswith("on."):
            return self._switched(what[3:], where[0], told)
        if what == "state":
            return _doing(where[0], told)
        (oad,) = _needs(name, what, where)
        data = told.get(oad)
        if data is None:
            return None
        if what in OBJECTS:
            plan = _plan(data, _oi(where[0]))
            return None if plan is None else _PLAN[what](plan, where)
        return _SINGLE[what](data, where)

    def _switched(self, control: str, group: int, told: Mapping[int, Data]) -> Mapping[str, Any] | None:
        """A group that the terminal does not list has nothing switched on."""
        states = told.get(OBJECTS[control] << 16 | ON << 8)
        if states is None:
            return None
        row = _plan(states, _oi(group))
        if row is None or row[1].value != 1:
            return {"on": False}
        setting, doing = told.get(_group(group, SETTING)), told.get(_group(group, DOING))
        if control == "period" and setting is not None:
            scheme, periods, *_ = setting.value
            return {"on": True, "scheme": scheme.value - self._first + 1, "periods": _numbers(periods)}
        if control == "reduction" and doing is not None:
            return {"on": True, "down_percent": -doing.value[1].value}
        return {"on": True}

    # --- writing ---

    def write(
        self, whom: Meter, name: str, value: Mapping[str, Any], term: Term | None = None
    ) -> Script[None]:
        """What stands there is read first where a part of it stays. With `term` every command carries a time tag."""
        what, where = split(name)
        within = None if term is None else tag(whom, term)
        if name == "keep-power":
            yield Act(_method(KEEP, KEEP_ON if value["on"] else KEEP_OFF), Data(values.NULL), within)
        elif what.startswith("on.") and what[3:] in OBJECTS and len(where) == 1:
            yield from self._switch(what[3:], where[0], value, within)
        elif what == "alarms" and len(where) == 1:
            held: Data = yield Get(ALARMS)
            minutes = [Data(values.UNSIGNED, each) for each in value["alarm_minutes"]]
            yield Set(ALARMS, values.array(*minutes, *held.value[len(minutes) :]), within)
        elif what in _SAID and what in OBJECTS and len(where) == 1 + (what == "period"):
            yield from _put(what, where, value, within)
        else:
            if what not in _SAID or what in OBJECTS:
                raise unknown(name)
            (oad,) = _needs(name, what, where)
            yield Set(oad, _SAID[what](value), within)

    def _switch(
        self, control: str, group: int, value: Mapping[str, Any], within: TimeTag | None
    ) -> Script[None]:
        oi, whose = OBJECTS[control], Data(values.OI, _oi(group))
        if not value["on"]:
            yield Act(_method(oi, SWITCH_OFF), whose, within)
            return
        if control == "reduction":  # its own method is what switches it on
            yield Act(_method(oi, OWN), values.structure(whose, _reduction(value)), within)
            return
        if control == "period":  # which scheme, before it is on
            plan = values.structure(
                _bits(value["periods"]), Data(values.UNSIGNED, value["scheme"] - 1 + self._first)
            )
            yield Act(_method(oi, OWN), values.structure(whose, plan), within)
        yield Act(_method(oi, SWITCH_ON), whose, within)


def _put(what: str, where: Sequence[int], value: Mapping[str, Any], within: TimeTag | None) -> Script[None]:
    """A group's plan, added where there is none."""
    oi = OBJECTS[what]
    plans: Data = yield Get(oi << 16 | PLANS << 8)
    held = _plan(plans, _oi(where[0]))
    plan = _schemes(held, where[1], value["setpoints_w"]) if what == "period" else _SAID[what](value).value
    unit = values.structure(Data(values.OI, _oi(where[0])), *plan)
    yield Act(_method(oi, ADD if held is None else UPDATE), unit, within)


def tag(whom: Meter, term: Term) -> TimeTag:
    """Misuse: it is over."""
    left = int((term.until - term.now) // np.timedelta64(1, "s"))
    if left <= 0:
        raise Misuse("the command's time ran out")
    local = local_fields(np.array([term.now]), whom.zone)[0]
    return TimeTag(clock.encode_time_s(local), Ti(0, min(left, LONGEST)))


# --- where things are ---


def _oi(group: int) -> int:
    return GROUPS + group - 1


def _group(group: int, attribute: int) -> int:
    return _oi(group) << 16 | attribute << 8


def _method(oi: int, method: int) -> int:
    return oi << 16 | method << 8


def _needs(name: str, what: str, where: Sequence[int]) -> tuple[int, ...]:
    """The attributes that a name is told by. Misuse: no such name."""
    if name in _ALONE:
        return (_ALONE[name],)
    if what == "alarms" and len(where) == 1:
        return (ALARMS,)
    if len(where) == 1 and what in _OF_GROUP:
        return (_group(where[0], _OF_GROUP[what]),)
    if what in OBJECTS and what != "reduction" and len(where) == 1 + (what == "period"):
        if what == "period" and where[1] > SCHEMES:
            raise Misuse(f"{name!r}: there are {SCHEMES} schemes")
        return (OBJECTS[what] << 16 | PLANS << 8,)
    if what.startswith("on.") and what[3:] in OBJECTS and len(where) == 1:
        own = OBJECTS[what[3:]] << 16 | ON << 8
        more = {"on.period": (_group(where[0], SETTING),), "on.reduction": (_group(where[0], DOING),)}
        return (own, *more.get(what, ()))
    if what == "state" and len(where) == 1:
        return tuple(_group(where[0], attribute) for attribute in (POWER_NOW, LEFT, DOING))
    raise unknown(name)


_ALONE: Final = {"keep-power": KEEP << 16 | KEPT << 8, "security": SECURITY, "slots": SLOTS}
_OF_GROUP: Final = {"sliding": SLIDING, "power-rounds": POWER_ROUNDS, "energy-rounds": ENERGY_ROUNDS}


# --- values <-> what they say ---


def _bits(which: Iterable[int], first: int = 1) -> Data:
    """Bit 0 stands for number `first`."""
    there = set(which)
    return Data(values.BIT_STRING, "".join("01"[number + first in there] for number in range(BITS)))


def _numbers(data: Data, first: int = 1) -> list[int]:
    return [number + first for number, bit in enumerate(data.value) if bit == "1"]


def _power(watts: int) -> Data:
    """0.1 W."""
    return Data(values.LONG64, watts * 10)


def _kept(state: int) -> Mapping[str, Any]:
    """2, automatic (自动保电), is keep-power that nobody ordered, and that ends by itself: it proves no order."""
    return {"on": state != 0} | ({} if state in (0, 1) else {"state": state})


def _watts(data: Data) -> int | str:
    return _whole(data.value, 10)


def _whole(value: int, unit: int) -> int | str:
    """What is no whole number of our unit is told as it is, and is none of ours."""
    whole, rest = divmod(value, unit)
    return f"{value}/{unit}" if rest else whole


def _energy(amount: int, by: str = "energy") -> Data:
    """1e-4 kWh or yuan; a li is ten of these."""
    return Data(values.LONG64, amount * (10_000 if by == "energy" else 10))


def _plan(data: Data, oi: int) -> Sequence[Data] | None:
    """The row of a group, itself in front."""
    return next((row.value for row in data.value if row.value[0].value == oi), None)


def _schemes(held: Sequence[Data] | None, scheme: int, setpoints: Sequence[int]) -> Sequence[Data]:
    """8103's row behind the group: which schemes there are, and the three; the others stay as they are."""
    empty = values.structure(_bits(()), *[_power(0)] * BITS)
    there, sets = set(), [empty] * SCHEMES
    if held is not None:
        there, sets = set(_numbers(held[1])), list(held[2:])
    filled = [*map(_power, setpoints), *[_power(0)] * (BITS - len(setpoints))]
    sets[scheme - 1] = values.structure(_bits(range(1, len(setpoints) + 1)), *filled)
    return (_bits(there | {scheme}), *sets)


def _setpoints(plan: Sequence[Data], where: Sequence[int]) -> Mapping[str, Any] | None:
    if where[1] not in _numbers(plan[1]):
        return None
    periods, *setpoints = plan[1 + where[1]].value
    there = _numbers(periods)
    if there != list(range(1, len(there) + 1)):
        return None
    return {"setpoints_w": [_watts(each) for each in setpoints[: len(there)]]}


def _reduction(value: Mapping[str, Any]) -> Data:
    return values.structure(
        Data(values.UNSIGNED, value["sliding_minutes"]), Data(values.INTEGER, -value["down_percent"]),
        Data(values.UNSIGNED, value["freeze_delay"]), Data(values.UNSIGNED, value["control_half_hours"]),
        *(Data(values.UNSIGNED, minutes) for minutes in value["alarm_minutes"]),
    )  # fmt: skip


def _rest(value: Mapping[str, Any]) -> Data:
    start = dt.time.fromisoformat(value["start"])
    return values.structure(
        _power(value["setpoint_w"]), Data(values.DATE_TIME_S, _ANY * 4 + bytes((start.hour, start.minute, 0))),
        Data(values.LONG_UNSIGNED, 30 * value["half_hours"]), _bits(value["weekdays"], first=0),
    )  # fmt: skip


def _told_rest(plan: Sequence[Data], where: Sequence[int]) -> Mapping[str, Any]:
    _, setpoint, start, minutes, weekdays = plan
    half_hours, rest = divmod(minutes.value, 30)
    shown = f"{start.value[4]:02}:{start.value[5]:02}"
    told = {"setpoint_w": _watts(setpoint), "start": shown, "weekdays": _numbers(weekdays, first=0)}
    return told | ({"minutes": minutes.value} if rest else {"half_hours": half_hours})


def _day(text: str) -> Data:
    day = dt.date.fromisoformat(text)
    return Data(
        values.DATE_TIME_S, day.year.to_bytes(2, "big") + bytes((day.month, day.day)) + _ANY * 2 + b"\0"
    )


def _told_day(data: Data) -> str:
    return dt.date(int.from_bytes(data.value[:2], "big"), data.value[2], data.value[3]).isoformat()


def _told_purchase(plan: Sequence[Data], where: Sequence[int]) -> Mapping[str, Any]:
    _, order, mode, by, value, alarm, trip, *_ = plan
    unit = 10 if by.value else 10_000
    return {
        "order": order.value, "mode": MODES[mode.value], "by": BY[by.value], "value": _whole(value.value, unit),
        "alarm": _whole(alarm.value, unit), "trip": _whole(trip.value, unit),
    }  # fmt: skip


def _doing(group: int, told: Mapping[int, Data]) -> Mapping[str, Any] | None:
    found: dict[str, Any] = {}
    power, left, doing = (told.get(_group(group, attribute)) for attribute in (POWER_NOW, LEFT, DOING))
    if power is not None:
        found["power_w"] = power.value // 10
    if left is not None:
        found["left"] = left.value
    if doing is not None:
        setpoint, percent, tripped, month, purchase, power_alarm, energy_alarm = doing.value
        found |= {
            "setpoint_w": _watts(setpoint), "float_percent": percent.value, "power_tripped": _numbers(tripped), "monthly_tripped": _numbers(month),
            "purchase_tripped": _numbers(purchase), "power_alarm": _named(POWER, power_alarm), "energy_alarm": _named(ENERGY, energy_alarm),
        }  # fmt: skip
    return found or None


def _named(names: Sequence[str], data: Data) -> list[str]:
    return [names[k - 1] for k in _numbers(data) if k <= len(names)]


_SINGLE: Final[Mapping[str, Callable[[Data, Sequence[int]], Mapping[str, Any] | None]]] = {
    "keep-power": lambda data, _: _kept(data.value),
    "security": lambda data, _: {"security_w": _watts(data)},
    "slots": lambda data, _: {"slots": unpack_slots(bytes(each.value for each in data.value))},
    "alarms": lambda data, where: (
        {"alarm_minutes": [each.value for each in data.value[: where[0]]]}
        if len(data.value) >= where[0]
        else None
    ),
    "sliding": lambda data, _: {"sliding_minutes": data.value},
    "power-rounds": lambda data, _: {"power_rounds": _numbers(data)},
    "energy-rounds": lambda data, _: {"energy_rounds": _numbers(data)},
}
_PLAN: Final[Mapping[str, Callable[[Sequence[Data], Sequence[int]], Mapping[str, Any] | None]]] = {
    "period": _setpoints,
    "factory-rest": _told_rest,
    "suspension": lambda plan, _: {"first": _told_day(plan[1]), "last": _told_day(plan[2]), "setpoint_w": _watts(plan[3])},
    "monthly-energy": lambda plan, _: {
        "limit_kwh": _whole(plan[1].value, 10_000), "alarm_percent": plan[2].value, "float_percent": plan[3].value,
    },
    "purchase": _told_purchase,
}  # fmt: skip
_SAID: Final[Mapping[str, Callable[[Mapping[str, Any]], Data]]] = {
    "security": lambda value: _power(value["security_w"]),
    "slots": lambda value: values.array(*(Data(values.UNSIGNED, byte) for byte in pack_slots(value["slots"]))),
    "sliding": lambda value: Data(values.UNSIGNED, value["sliding_minutes"]),
    "power-rounds": lambda value: _bits(value["power_rounds"]),
    "energy-rounds": lambda value: _bits(value["energy_rounds"]),
    "period": lambda value: Data(values.NULL),  # `_schemes` makes it: the others stay
    "factory-rest": _rest,
    "suspension": lambda value: values.structure(_day(value["first"]), _day(value["last"]), _power(value["setpoint_w"])),
    "monthly-energy": lambda value: values.structure(
        _energy(value["limit_kwh"]), Data(values.UNSIGNED, value["alarm_percent"]), Data(values.INTEGER, value["float_percent"]),
    ),
    "purchase": lambda value: values.structure(
        Data(values.DOUBLE_LONG_UNSIGNED, value["order"]), Data(values.ENUM, MODES.index(value["mode"])), Data(values.ENUM, BY.index(value["by"])),
        *(_energy(value[name], value["by"]) for name in ("value", "alarm", "trip")), Data(values.ENUM, LOCAL_MODE),
    ),
}  # fmt: skip
