"""定值控制 and 保电: what a terminal is told to hold its customer to, as plain values and as the document an order carries.

A `ControlOrder` is one order's request: what is switched off, which parameters are written, what is switched on, in that order; each
is read back before the next. Its `action` says which of kind `control` it is: `release` only switches off, `purchase` only adds
energy or money that was bought; both are in the customer's favour and pass no gate. Anything else is a `write`: a second person, and
gates/behind.py, control_cap.py and the kill switch. So `orders.request(conn, kind="control", action=order.action, terminal=code,
writing=Writing(document(order)), …)` asks for it, and `check_request` is the door of every such order.

Power is W, energy kWh, money li (厘, 0.001 yuan: a fen is ten); times are the terminal's local ones. Controls as Q/GDW 376.1-2009 AFN 04
F17-F49 and AFN 05 F9-F24 have them, and DL/T 698.45 in 8100-8108. Every error is a `ControlError` that names field and wish.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Final, cast

#: half hours of a day
SLOTS: Final = 48
#: periods of a day that can have a setpoint; sets of setpoints; rounds (控制轮次) and aggregate groups (总加组) of a terminal
PERIODS, SCHEMES, ROUNDS, GROUPS = 8, 3, 8, 8
#: a floating coefficient (A.4) has two digits, the higher one 0-7
MOST_PERCENT: Final = 79
#: A.2 has three digits, the unit 10⁴ kW at most
MOST_W: Final = 999 * 10**7
#: A.3 has seven digits of kWh or li, or of a thousand of them
PLAIN_A3, MOST_A3 = 10**7 - 1, (10**7 - 1) * 1000
#: what a terminal of this protocol can be told is narrower than the other's
NARROW: Final = "gdw376"


class ControlError(ValueError):
    """A control that no terminal could be told, in one sentence."""


@dataclass(frozen=True, slots=True)
class PeriodControl:
    """时段控. The day is cut into half hours; the runs of equal digits other than 0 are its periods, each with its setpoint.

    slots       48 digits: 0 no control, 1 and 2 kinds of control. What tells 1 from 2 no public source says; each change begins a period
    setpoints_w one for each period, in the order of the day
    scheme      which of the terminal's three sets they are
    """

    slots: str
    setpoints_w: tuple[int, ...]
    scheme: int = 1

    def __post_init__(self) -> None:
        if len(self.slots) != SLOTS or self.slots.strip("012"):
            raise ControlError(
                f"period: slots must be {SLOTS} digits 0, 1 or 2, one a half hour: {self.slots!r}"
            )
        periods = len(self.periods)
        if not 1 <= periods <= PERIODS:
            raise ControlError(
                f"period: slots have {periods} periods; a terminal controls 1 to {PERIODS} of a day"
            )
        if len(self.setpoints_w) != periods:
            raise ControlError(
                f"period: {len(self.setpoints_w)} setpoints for {periods} periods; each needs one"
            )
        for setpoint in self.setpoints_w:
            _whole("period", "setpoints_w", setpoint, 1, MOST_W)
        _whole("period", "scheme", self.scheme, 1, SCHEMES)

    @property
    def periods(self) -> tuple[tuple[int, int], ...]:
        """(first half hour, the one behind the last) of each period."""
        edges = [k for k in range(SLOTS) if k == 0 or self.slots[k] != self.slots[k - 1]] + [SLOTS]
        return tuple((a, b) for a, b in pairwise(edges) if self.slots[a] != "0")


@dataclass(frozen=True, slots=True)
class FactoryRest:
    """厂休控: on these weekdays (1 Monday - 7 Sunday), from `start` on for so many half hours, no more than the setpoint."""

    setpoint_w: int
    start: dt.time
    half_hours: int
    weekdays: tuple[int, ...]

    def __post_init__(self) -> None:
        _whole("factory-rest", "setpoint_w", self.setpoint_w, 1, MOST_W)
        if not isinstance(self.start, dt.time) or (self.start.second, self.start.microsecond) != (0, 0):
            raise ControlError(f"factory-rest: start must be a time of whole minutes: {self.start!r}")
        _whole("factory-rest", "half_hours", self.half_hours, 1, SLOTS)
        _numbers("factory-rest", "weekdays", self.weekdays, 7, least=1)


@dataclass(frozen=True, slots=True)
class Suspension:
    """营业报停控: from the first day to the last no more than the setpoint."""

    first: dt.date
    last: dt.date
    setpoint_w: int

    def __post_init__(self) -> None:
        for name in ("first", "last"):
            day = getattr(self, name)
            if type(day) is not dt.date or not 2000 <= day.year <= 2099:
                raise ControlError(f"suspension: {name} must be a day of 2000 to 2099: {day!r}")
        if self.last < self.first:
            raise ControlError(f"suspension: last {self.last} is before first {self.first}")
        _whole("suspension", "setpoint_w", self.setpoint_w, 1, MOST_W)


@dataclass(frozen=True, slots=True)
class Reduction:
    """当前功率下浮控: so many per cent below what flows now. A terminal keeps no such parameters: they go with switching it on.

    sliding_minutes    over which the power is averaged
    freeze_delay       minutes after which the power after control is noted
    control_half_hours how long it lasts
    alarm_minutes      warning before each of the four rounds
    """

    down_percent: int
    sliding_minutes: int
    control_half_hours: int
    freeze_delay: int = 5
    alarm_minutes: tuple[int, int, int, int] = (5, 5, 5, 5)

    def __post_init__(self) -> None:
        _whole("reduction", "down_percent", self.down_percent, 1, MOST_PERCENT)
        _whole("reduction", "sliding_minutes", self.sliding_minutes, 1, 60)
        _whole("reduction", "control_half_hours", self.control_half_hours, 1, SLOTS)
        _whole("reduction", "freeze_delay", self.freeze_delay, 0, 255)
        if len(self.alarm_minutes) != 4:
            raise ControlError(f"reduction: alarm_minutes must be four, one a round: {self.alarm_minutes!r}")
        for minutes in self.alarm_minutes:
            _whole("reduction", "alarm_minutes", minutes, 0, 255)


@dataclass(frozen=True, slots=True)
class MonthlyEnergy:
    """月电控: no more than so much a month. alarm_percent: of the limit, where the customer is warned; Q/GDW 376.1 has no such field."""

    limit_kwh: int
    float_percent: int = 0
    alarm_percent: int = 80

    def __post_init__(self) -> None:
        _whole("monthly-energy", "limit_kwh", self.limit_kwh, 1, MOST_A3)
        _whole("monthly-energy", "float_percent", self.float_percent, -MOST_PERCENT, MOST_PERCENT)
        _whole("monthly-energy", "alarm_percent", self.alarm_percent, 1, 100)


@dataclass(frozen=True, slots=True)
class Purchase:
    """购电控: what was bought, in kWh (by energy) or li (by amount).

    order   number of the purchase (购电单号), another for each: it is how one that was lost on the way is told from one that arrived
    mode    add (追加) to what is left, or refresh (刷新): put in its place
    alarm, trip   what is left when the customer is warned, and cut off
    """

    order: int
    value: int
    alarm: int
    trip: int
    mode: str = "add"
    by: str = "energy"

    def __post_init__(self) -> None:
        _whole("purchase", "order", self.order, 1, 2**32 - 1)
        for name in ("value", "alarm", "trip"):
            _whole("purchase", name, getattr(self, name), 0 if name == "value" else -MOST_A3, MOST_A3)
        if self.trip > self.alarm:
            raise ControlError(
                f"purchase: trip {self.trip} is above alarm {self.alarm}: nobody would be warned"
            )
        if self.mode not in ("add", "refresh"):
            raise ControlError(f"purchase: mode must be add or refresh: {self.mode!r}")
        if self.by not in ("energy", "amount"):
            raise ControlError(f"purchase: by must be energy or amount: {self.by!r}")


Control = PeriodControl | FactoryRest | Suspension | Reduction | MonthlyEnergy | Purchase


@dataclass(frozen=True, slots=True)
class Kind:
    """A control by name. power: it holds power, by the rounds for power; else energy."""

    name: str
    zh: str
    type: type[Control]
    power: bool


CONTROLS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("period", "时段控", PeriodControl, True),
        Kind("factory-rest", "厂休控", FactoryRest, True),
        Kind("suspension", "营业报停控", Suspension, True),
        Kind("reduction", "当前功率下浮控", Reduction, True),
        Kind("monthly-energy", "月电控", MonthlyEnergy, False),
        Kind("purchase", "购电控", Purchase, False),
    )
}


def name_of(control: Control) -> str:
    return next(kind.name for kind in CONTROLS.values() if kind.type is type(control))


@dataclass(frozen=True, slots=True)
class ControlOrder:
    """What one order asks of a terminal and one of its aggregate groups (总加组).

    off, on         names of CONTROLS
    controls        parameters to write; a reduction is among them and in `on`, or in neither
    power_rounds    which rounds trip for power (功控轮次), energy_rounds which for energy (电控轮次); None leaves them
    alarm_minutes   warning before round 1, 2, …; () leaves them
    security_w      what is never cut (保安定值); None leaves it
    sliding_minutes over which power is averaged; None leaves it
    """

    controls: tuple[Control, ...] = ()
    on: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    group: int = 1
    power_rounds: tuple[int, ...] | None = None
    energy_rounds: tuple[int, ...] | None = None
    alarm_minutes: tuple[int, ...] = ()
    security_w: int | None = None
    sliding_minutes: int | None = None

    def __post_init__(self) -> None:
        _whole("control", "group", self.group, 1, GROUPS)
        self._check_names()
        for name, rounds in (("power_rounds", self.power_rounds), ("energy_rounds", self.energy_rounds)):
            if rounds is not None:
                _numbers("control", name, rounds, ROUNDS, least=0)
        if len(self.alarm_minutes) > ROUNDS:
            raise ControlError(f"alarm_minutes: {len(self.alarm_minutes)} for {ROUNDS} rounds")
        for minutes in self.alarm_minutes:
            _whole("control", "alarm_minutes", minutes, 0, 255)
        if self.security_w is not None:
            _whole("control", "security_w", self.security_w, 0, MOST_W)
        if self.sliding_minutes is not None:
            _whole("control", "sliding_minutes", self.sliding_minutes, 1, 60)
        if not (self.on or self.off or self._sets):
            raise ControlError(f"the order asks for nothing: say at least one of set, {', '.join(_FRAME)}")

    def _check_names(self) -> None:
        names = tuple(name_of(control) for control in self.controls)
        for what, wished in (("on", self.on), ("off", self.off), ("set", names)):
            for name in wished:
                if name not in CONTROLS:
                    raise ControlError(f"{what}: no control {name!r}; there are {', '.join(CONTROLS)}")
            if len(set(wished)) != len(wished):
                raise ControlError(f"{what}: a control stands there twice: {', '.join(wished)}")
        if both := set(self.on) & set(self.off):
            raise ControlError(f"{min(both)} is to be switched on and off")
        if ("reduction" in names) != ("reduction" in self.on):
            raise ControlError(
                "reduction: its parameters go with switching it on: it stands in 'set' and in 'on', or in neither"
            )
        if "period" in self.on and "period" not in names:
            raise ControlError(
                "period: switching it on says which periods and scheme, so its parameters stand in 'set', too"
            )

    @property
    def _sets(self) -> bool:
        frame = (self.power_rounds, self.energy_rounds, self.security_w, self.sliding_minutes)
        return bool(self.controls or self.alarm_minutes) or any(value is not None for value in frame)

    @property
    def action(self) -> str:
        """release, purchase or write: which action of kind `control` this is."""
        if not self.on and not self._sets:
            return "release"
        (first, *others) = self.controls or (None,)
        bought = isinstance(first, Purchase) and first.mode == "add" and first.value > 0 and not others
        return "purchase" if bought and self == ControlOrder(self.controls, group=self.group) else "write"

    def of(self, name: str) -> Control | None:
        """The parameters of a control that are written, if any."""
        return next((control for control in self.controls if name_of(control) == name), None)


@dataclass(frozen=True, slots=True)
class KeepPower:
    """保电: the terminal trips nothing and nobody for so many half hours; 0: until it is ended. DL/T 698.45 knows no time for it."""

    half_hours: int = 0

    def __post_init__(self) -> None:
        _whole("keep-power", "half_hours", self.half_hours, 0, 255)

    @property
    def action(self) -> str:
        return "keep-power"


def holdable(watts: int) -> int:
    """The next setpoint at or above, of three digits, that a 376.1 terminal can hold: never less than what somebody was promised."""
    step = int("1" + "0" * (len(str(watts)) - 3))
    return -(-watts // step) * step


def check_for(order: ControlOrder | KeepPower, protocol: str | None) -> None:
    """ControlError: terminals of this protocol cannot be told so. None: which it is will be known later."""
    if protocol is None:
        return
    if isinstance(order, KeepPower):
        if order.half_hours and protocol != NARROW:
            raise ControlError(
                f"half_hours: keep-power of a {protocol} terminal has no end of its own; say 0, and end it by an order"
            )
        return
    if protocol != NARROW:
        return
    for name, watts in _setpoints(order):
        if watts != holdable(watts):
            raise ControlError(
                f"{name}: {watts} W has more than three digits, which is all that Q/GDW 376.1 (A.2) has; {holdable(watts)} W has not"
            )
    for name, amount in _amounts(order):
        if abs(amount) > PLAIN_A3 and amount % 1000:
            raise ControlError(
                f"{name}: {amount} is above {PLAIN_A3} and no multiple of 1000, which Q/GDW 376.1 (A.3) cannot say"
            )


def _setpoints(order: ControlOrder) -> Iterable[tuple[str, int]]:
    if order.security_w is not None:
        yield "security_w", order.security_w
    for control in order.controls:
        if isinstance(control, PeriodControl):
            yield from (("period setpoints_w", watts) for watts in control.setpoints_w)
        elif isinstance(control, FactoryRest | Suspension):
            yield f"{name_of(control)} setpoint_w", control.setpoint_w


def _amounts(order: ControlOrder) -> Iterable[tuple[str, int]]:
    for control in order.controls:
        if isinstance(control, MonthlyEnergy):
            yield "monthly-energy limit_kwh", control.limit_kwh
        elif isinstance(control, Purchase):
            yield from ((f"purchase {name}", getattr(control, name)) for name in ("value", "alarm", "trip"))


# --- documents ---------------------------------------------------------------------------------------------------


def document(order: ControlOrder | KeepPower) -> dict[str, Any]:
    """As JSON has it; what is not said is left out."""
    if isinstance(order, KeepPower):
        return {"half_hours": order.half_hours}
    said: dict[str, Any] = {"group": order.group}
    if order.controls:
        said["set"] = {name_of(control): control_document(control) for control in order.controls}
    for name in _FRAME:
        value = getattr(order, name)
        if value is not None and (value or name.endswith("_rounds") or name == "security_w"):
            said[name] = _plain(value)
    return said


def control_document(control: Control) -> dict[str, Any]:
    return {name: _plain(value) for name, value in asdict(control).items()}


def order_of(said: Mapping[str, Any]) -> ControlOrder:
    """The way back; a TOML file says the same. ControlError names the field."""
    _known("control", said, {"group", "set", *_FRAME})
    sets = said.get("set", {})
    if not isinstance(sets, Mapping):
        raise ControlError(f"set: must be tables by the control's name: {sets!r}")
    values: dict[str, Any] = {
        name: _tuple(name, said[name]) if name in _TUPLES else said[name] for name in _FRAME if name in said
    }
    return ControlOrder(
        tuple(control_of(name, sets[name]) for name in sets), group=said.get("group", 1), **values
    )


def control_of(name: str, said: Any) -> Control:
    """One control's parameters from its document. ControlError names the field."""
    kind = CONTROLS.get(name)
    if kind is None:
        raise ControlError(f"set: no control {name!r}; there are {', '.join(CONTROLS)}")
    if not isinstance(said, Mapping):
        raise ControlError(f"{name}: must be a table of its parameters: {said!r}")
    _known(name, said, {field.name for field in fields(kind.type)})
    try:
        return kind.type(
            **{field: _READ.get(field, _as_it_is)(f"{name} {field}", value) for field, value in said.items()}
        )
    except TypeError:
        given = set(said)
        missing = [f.name for f in fields(kind.type) if f.name not in given and f.default is MISSING]
        raise ControlError(f"{name}: {', '.join(missing)} missing") from None


def keep_power_of(said: Mapping[str, Any]) -> KeepPower:
    _known("keep-power", said, {"half_hours"})
    return KeepPower(said.get("half_hours", 0))


def check_request(action: str, said: Mapping[str, Any], protocol: str | None = None) -> None:
    """The door of every order of kind control. ControlError: no such request, or one that asks for more than its action may."""
    if action == "keep-power":
        check_for(keep_power_of(said), protocol)
    elif action in ("write", "release", "purchase"):
        order = order_of(said)
        if action not in ("write", order.action):
            raise ControlError(f"this is no {action} but a {order.action}")
        check_for(order, protocol)
    else:  # read, end-keep-power
        _known(action, said, {"group"})
        _whole(action, "group", said.get("group", 1), 1, GROUPS)


_FRAME: Final = (
    "off",
    "on",
    "power_rounds",
    "energy_rounds",
    "alarm_minutes",
    "security_w",
    "sliding_minutes",
)
_TUPLES: Final = frozenset(_FRAME[:5])


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, dt.time):
        return value.strftime("%H:%M")
    return value.isoformat() if isinstance(value, dt.date) else value


def _tuple(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ControlError(f"{name}: must be a list: {value!r}")
    return tuple(value)


def _time(name: str, value: Any) -> dt.time:
    if isinstance(value, dt.time):
        return value
    try:
        return dt.time.fromisoformat(value)
    except (ValueError, TypeError):
        raise ControlError(f"{name}: must be a time such as 08:00: {value!r}") from None


def _day(name: str, value: Any) -> dt.date:
    if type(value) is dt.date:
        return value
    try:
        return dt.date.fromisoformat(value)
    except (ValueError, TypeError):
        raise ControlError(f"{name}: must be a day such as 2026-12-01: {value!r}") from None


def _as_it_is(name: str, value: Any) -> Any:
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ControlError(f"{name}: must be text: {value!r}")
    return value


_READ: Final = cast(
    "dict[str, Callable[[str, Any], Any]]",
    {
        "slots": _text, "setpoints_w": _tuple, "start": _time, "weekdays": _tuple, "first": _day, "last": _day, "alarm_minutes": _tuple,
        "mode": _text, "by": _text,
    },
)  # fmt: skip


def _known(where: str, said: Mapping[str, Any], names: set[str]) -> None:
    if unknown := sorted(set(said) - names):
        raise ControlError(f"{where}: no field {unknown[0]!r}; there are {', '.join(sorted(names))}")


def _whole(where: str, name: str, value: Any, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ControlError(f"{where}: {name} must be a whole number from {least} to {most}: {value!r}")


def _numbers(where: str, name: str, values: tuple[Any, ...], most: int, *, least: int) -> None:
    for value in values:
        _whole(where, name, value, 1, most)
    if list(values) != sorted(set(values)) or len(values) < least:
        raise ControlError(
            f"{where}: {name} must be rising numbers, each once{', one at least' if least else ''}: {list(values)!r}"
        )
