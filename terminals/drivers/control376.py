"""Load control of a Q/GDW 376.1 terminal: AFN 04 F17-F49 and AFN 05 F9-F33 write, AFN 0A and AFN 0C F5, F6 read back.

Commands carry Tp, so that a frame that comes late is void.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np

from protocols.errors import FrameError, Misuse, Refused
from protocols.gdw376.exchange import Order, Read, Reply
from protocols.gdw376.units import ident
from protocols.gdw376.values import Typed, encode
from protocols.localtime import local_fields
from terminals.drivers.control import (
    ENERGY,
    POWER,
    Term,
    bits,
    numbers,
    pack_slots,
    split,
    unknown,
    unpack_slots,
)
from terminals.drivers.driver import Meter, Script
from terminals.drivers.station376 import Station376, password

#: AFN 04 and 0A: Fn of what is set, at the terminal (p0), a round, or an aggregate group.
SECURITY, SLOTS, PERIOD, REST, SLIDING, SUSPENSION, POWER_ROUNDS, MONTH, PURCHASE, ENERGY_ROUNDS, ALARM = (
    17, 18, 41, 42, 43, 44, 45, 46, 47, 48, 49,
)  # fmt: skip
#: AFN 05: what switches a control on and off.
SWITCHES: Final = {
    "period": (9, 17), "factory-rest": (10, 18), "suspension": (11, 19), "reduction": (12, 20), "monthly-energy": (15, 23),
    "purchase": (16, 24),
}  # fmt: skip
KEEP, END_KEEP = 25, 33
#: AFN 0C: what is set and what is done about it, of all groups; present power and what is left of a purchase, of one.
SETTING, DOING, POWER_NOW, LEFT = 5, 6, 17, 23
#: Add (追加) and refresh (刷新) of F47.
MODES: Final = {"add": 0x55, "refresh": 0xAA}
#: Minutes that Tp can allow.
LONGEST: Final = 255
_MINUTE: Final = np.timedelta64(60_000_000, "us")
_GROUPED: Final = {
    "factory-rest": REST, "sliding": SLIDING, "suspension": SUSPENSION, "power-rounds": POWER_ROUNDS, "monthly-energy": MONTH,
    "purchase": PURCHASE, "energy-rounds": ENERGY_ROUNDS,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _State:
    """AFN 0C F5 and F6: of the terminal, and of its groups that have any. None: denied."""

    keep: bool | None
    setting: Mapping[int, Sequence[Any]] | None
    doing: Mapping[int, Sequence[Any]] | None


class Control376:
    """terminals.drivers.control.Controls.

    first_scheme  number of the first set of setpoints in AFN 05 F9 and AFN 0C F5. No public source says whether they count from 0
    """

    def __init__(self, station: Station376, *, first_scheme: int = 0) -> None:
        self._station = station
        self._first = first_scheme

    # --- AFN 0A, 0C ---

    def read(self, whom: Meter, names: Iterable[str]) -> Script[Mapping[str, Mapping[str, Any]]]:
        """One request each, and one each for F5 and F6 where a name needs them: one that is denied must not hide the others."""
        wanted = list(names)
        for name in wanted:
            _check(name)
        state = yield from self._state(whom, wanted)
        found: dict[str, Mapping[str, Any]] = {}
        for name in wanted:
            told = yield from self._told(whom, name, state)
            if told is not None:
                found[name] = told
        return found

    def _told(self, whom: Meter, name: str, state: _State) -> Script[Mapping[str, Any] | None]:
        what, where = split(name)
        if name == "keep-power":
            return None if state.keep is None else {"on": state.keep}
        if what.startswith("on."):
            return self._switched(what[3:], where[0], state)
        if what == "state":
            power = yield from self._one(whom, 0x0C, POWER_NOW, where[0])
            left = yield from self._one(whom, 0x0C, LEFT, where[0])
            return _doing(where[0], state, power, left)
        if what == "alarms":
            units = yield from self._units(whom, 0x0A, ALARM, range(1, where[0] + 1))
            minutes = [units[k][0] for k in range(1, where[0] + 1) if k in units]
            return {"alarm_minutes": minutes} if len(minutes) == where[0] else None
        function, point, meaning = _place(name, what, where)
        values = yield from self._one(whom, 0x0A, function, point)
        return None if values is None else meaning(values)

    def _one(self, whom: Meter, afn: int, function: int, point: int) -> Script[Sequence[Any] | None]:
        units = yield from self._units(whom, afn, function, [point])
        return units.get(point)

    def _units(
        self, whom: Meter, afn: int, function: int, points: Iterable[int]
    ) -> Script[dict[int, Sequence[Any]]]:
        """The values of one Fn by point; without those that are denied."""
        try:
            reply: Reply = yield Read(self._station.address(whom), tuple(points), (function,), afn)
        except Refused:
            return {}
        found: dict[int, Sequence[Any]] = {}
        for unit in reply.units:
            if unit.function == function:
                if not unit.known:
                    raise FrameError(f"AFN {afn:02X} F{function}: {unit.why}")
                found[unit.point] = [value.value for value in unit.values]
        return found

    def _state(self, whom: Meter, names: Iterable[str]) -> Script[_State]:
        kinds = {split(name)[0].partition(".")[0] for name in names}
        setting = doing = None
        if kinds & {"keep-power", "on", "state"}:
            setting = yield from self._one(whom, 0x0C, SETTING, 0)
        if kinds & {"on", "state"}:
            doing = yield from self._one(whom, 0x0C, DOING, 0)
        return _State(
            None if setting is None else bool(setting[0] & 1),
            None if setting is None else dict(_groups(setting[1:], 6)),
            None if doing is None else dict(_groups(doing[2:], 7)),
        )

    def _switched(self, control: str, group: int, state: _State) -> Mapping[str, Any] | None:
        """A group that the terminal does not list has nothing switched on."""
        if state.setting is None:
            return None
        if group not in state.setting:
            return {"on": False}
        scheme, periods, power, energy, _, _ = state.setting[group]
        order, mask = (POWER, power) if control in POWER else (ENERGY, energy)
        if not mask >> order.index(control) & 1:
            return {"on": False}
        if control == "period":
            return {"on": True, "scheme": scheme - self._first + 1, "periods": numbers(periods)}
        if control == "reduction":
            doing = (state.doing or {}).get(group)
            return (
                {"on": True} if doing is None or doing[1] is None else {"on": True, "down_percent": -doing[1]}
            )
        return {"on": True}

    # --- AFN 04, 05 ---

    def write(
        self, whom: Meter, name: str, value: Mapping[str, Any], term: Term | None = None
    ) -> Script[None]:
        """One frame. With `term` it carries Tp, whose end is never later."""
        afn, parts = self._command(name, value)
        address = self._station.address(whom)
        if term is None:
            yield Order(address, afn, parts, password(whom))
        else:
            stamp, delay = stamped(whom, term)
            yield Order(address, afn, parts, password(whom), stamp=stamp, delay=delay)

    def _command(self, name: str, value: Mapping[str, Any]) -> tuple[int, tuple[Any, ...]]:
        _check(name)
        what, where = split(name)
        if name == "keep-power":
            if not value["on"]:
                return _part(0x05, END_KEEP, 0, [])
            return _part(0x05, KEEP, 0, [int(value.get("half_hours", 0))])
        if what.startswith("on."):
            on, off = SWITCHES[what[3:]]
            if not value["on"]:
                return _part(0x05, off, where[0], [])
            return _part(0x05, on, where[0], self._with(what[3:], value))
        if what == "alarms":
            data = [encode(0x04, ALARM, [minutes], uplink=False) for minutes in value["alarm_minutes"]]
            return 0x04, ((ident(range(1, len(data) + 1), [ALARM]), data),)
        function, point, _ = _place(name, what, where)
        return _part(0x04, function, point, _said(what, where, value))

    def _with(self, control: str, value: Mapping[str, Any]) -> list[Typed]:
        """What goes with switching a control on."""
        if control == "period":
            return [bits(value["periods"]), value["scheme"] - 1 + self._first]
        if control == "reduction":
            return [
                value["sliding_minutes"], -value["down_percent"], value["freeze_delay"], value["control_half_hours"],
                *value["alarm_minutes"],
            ]  # fmt: skip
        return []


def _part(afn: int, function: int, point: int, values: Sequence[Typed]) -> tuple[int, tuple[Any, ...]]:
    return afn, ((ident([point], [function]), [encode(afn, function, values, uplink=False)]),)


def stamped(whom: Meter, term: Term) -> tuple[dt.datetime, int]:
    """Tp: local time of sending and permitted delay, so that they end together where the command does, or before. Misuse: it is over."""
    left = term.until - term.now
    if left <= np.timedelta64(0, "us"):
        raise Misuse("the command's time ran out")
    delay = min(LONGEST, int(-(-left // _MINUTE)))
    sent = min(term.now, term.until - delay * _MINUTE)
    local: dt.datetime = local_fields(np.array([sent]), whom.zone)[0].astype(dt.datetime)
    return local.replace(microsecond=0), delay


def _groups(values: Sequence[Any], size: int) -> Iterator[tuple[int, Sequence[Any]]]:
    """Groups by number: a byte says which follow, each with `size` values."""
    for place, group in enumerate(numbers(values[0])):
        yield group, values[1 + place * size : 1 + (place + 1) * size]


def _doing(
    group: int, state: _State, power: Sequence[Any] | None, left: Sequence[Any] | None
) -> Mapping[str, Any] | None:
    told: dict[str, Any] = {}
    if power is not None:
        told["power_w"] = _watts(power[0])
    if left is not None:
        told["left"] = left[0]
    doing = (state.doing or {}).get(group)
    if doing is not None:
        setpoint, percent, tripped, month, purchase, power_alarm, energy_alarm = doing
        told |= {
            "setpoint_w": _watts(setpoint), "float_percent": percent, "power_tripped": numbers(tripped), "monthly_tripped": numbers(month),
            "purchase_tripped": numbers(purchase), "power_alarm": _named(POWER, power_alarm), "energy_alarm": _named(ENERGY, energy_alarm),
        }  # fmt: skip
    return told or None


def _named(names: Sequence[str], mask: int) -> list[str]:
    return [names[k - 1] for k in numbers(mask) if k <= len(names)]


# --- one Fn's values <-> what they say ---


def _check(name: str) -> None:
    """Misuse: no such name."""
    what, where = split(name)
    single = what in ("state", "alarms") or (what.startswith("on.") and what[3:] in SWITCHES)
    if name != "keep-power" and not (single and len(where) == 1):
        _place(name, what, where)


def _place(name: str, what: str, where: Sequence[int]) -> tuple[int, int, Any]:
    """Fn, point and what its values mean. Misuse: no such name."""
    if name == "security":
        return SECURITY, 0, lambda values: {"security_w": _watts(values[0])}
    if name == "slots":
        return SLOTS, 0, lambda values: {"slots": unpack_slots(values[0].to_bytes(12, "little"))}
    if what == "period" and len(where) == 2:
        return PERIOD, where[0], lambda values: _scheme(where[1], values)
    if what in _GROUPED and len(where) == 1:
        return _GROUPED[what], where[0], _MEANING[what]
    raise unknown(name)


def _scheme(scheme: int, values: Sequence[Any]) -> Mapping[str, Any] | None:
    """F41: which schemes there are, then of each which periods, then a setpoint each."""
    rest = iter(values[1:])
    for number in numbers(values[0]):
        periods = numbers(next(rest))
        setpoints = [_watts(next(rest)) for _ in periods]
        if number == scheme:
            return {"setpoints_w": setpoints} if periods == list(range(1, len(periods) + 1)) else None
    return None


def _rest(values: Sequence[Any]) -> Mapping[str, Any]:
    setpoint, start, half_hours, weekdays = values
    return {
        "setpoint_w": _watts(setpoint), "start": None if start is None else start.strftime("%H:%M"), "half_hours": half_hours,
        "weekdays": numbers(weekdays >> 1),
    }  # fmt: skip


def _suspension(values: Sequence[Any]) -> Mapping[str, Any]:
    first, last, setpoint = values
    return {
        "first": None if first is None else first.isoformat(), "last": None if last is None else last.isoformat(), "setpoint_w": _watts(setpoint),
    }  # fmt: skip


def _month(values: Sequence[Any]) -> Mapping[str, Any]:
    """The coefficient is missing from some terminals' F46."""
    told = {"limit_kwh": values[0]}
    return told | {"float_percent": values[1]} if len(values) > 1 else told


def _purchase(values: Sequence[Any]) -> Mapping[str, Any]:
    order, mode, value, alarm, trip = values
    names = {code: name for name, code in MODES.items()}
    return {
        "order": order,
        "mode": names.get(mode, f"code {mode}"),
        "value": value,
        "alarm": alarm,
        "trip": trip,
    }


_MEANING: Final = {
    "factory-rest": _rest,
    "sliding": lambda values: {"sliding_minutes": values[0]},
    "suspension": _suspension,
    "power-rounds": lambda values: {"power_rounds": numbers(values[0])},
    "monthly-energy": _month,
    "purchase": _purchase,
    "energy-rounds": lambda values: {"energy_rounds": numbers(values[0])},
}


def _said(what: str, where: Sequence[int], value: Mapping[str, Any]) -> list[Typed]:
    """The values of a parameter's Fn, in their order."""
    if what == "period":
        setpoints = value["setpoints_w"]
        return [1 << where[1] - 1, bits(range(1, len(setpoints) + 1)), *map(_kw, setpoints)]
    return _SAID[what](value)


_SAID: Final[Mapping[str, Callable[[Mapping[str, Any]], list[Typed]]]] = {
    "security": lambda value: [_kw(value["security_w"])],
    "slots": lambda value: [int.from_bytes(pack_slots(value["slots"]), "little")],
    "factory-rest": lambda value: [
        _kw(value["setpoint_w"]), dt.time.fromisoformat(value["start"]), value["half_hours"], bits(value["weekdays"]) << 1,
    ],
    "suspension": lambda value: [
        dt.date.fromisoformat(value["first"]), dt.date.fromisoformat(value["last"]), _kw(value["setpoint_w"]),
    ],
    "sliding": lambda value: [value["sliding_minutes"]],
    "power-rounds": lambda value: [bits(value["power_rounds"])],
    "energy-rounds": lambda value: [bits(value["energy_rounds"])],
    "monthly-energy": lambda value: [value["limit_kwh"], value["float_percent"]],
    "purchase": lambda value: [value["order"], MODES[value["mode"]], value["value"], value["alarm"], value["trip"]],
}  # fmt: skip


def _kw(watts: int) -> Decimal:
    return Decimal(watts).scaleb(-3)


def _watts(kw: Decimal | None) -> int | None:
    return None if kw is None else int(kw.scaleb(3))
