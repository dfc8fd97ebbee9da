"""Orderly use of electricity (有序用电): a plan, and who is called by it, with which setpoint, and why others are not.

A plan names the shortage [kW], days, the hours of each of them, and calls in their order (轮次): whom, and down to what. Customers are called, call
by call, within a call those who would give most first, until the shortage is found; nobody is called beyond that. Whoever may not or cannot be
called is left out with every reason there is, not the first one alone.

    usual     what he would take in the plan's hours: his like days, slot by slot [kW], for each day of the plan
    setpoint  usual mean × share, or kW, or his protected minimum (保安负荷); never below that minimum, and rounded up to what a terminal can
              hold
    reduction the mean of what the usual load is above the setpoint, over the hours of all days of the plan; beside it the day that gives least

What no public text says is a default here: how long a plan may be, how many periods a day, how small a reduction is worth an order.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from headend.control.load_control import MOST_W, SLOTS, ControlOrder, PeriodControl, holdable

#: minutes by which a terminal tells periods apart: 48 half hours a day (376.1 AFN 04 F18)
GRID: Final = 30
#: periods of one scheme in a terminal (376.1 AFN 04 F41)
MOST_PERIODS: Final = 8
#: days of one plan; two months. A default.
LONGEST: Final = 62
#: calls of one plan: people read them
MOST_CALLS: Final = 50
#: what a terminal can be told, in kW
MOST_KW: Final = MOST_W / 1000
#: kW below which nobody is called: no order for a kettle. A default.
LEAST_KW: Final = 1.0

Who = Literal["customers", "group", "industry", "key-users", "everybody"]
Minutes = tuple[int, int]


class BadPlan(ValueError):
    """The plan cannot be; the sentence names what is wrong in it."""


@dataclass(frozen=True, slots=True)
class Setpoint:
    """share: of the usual load, 0 < value < 1; kw: value; minimum: the customer's protected minimum."""

    kind: Literal["share", "kw", "minimum"]
    value: float = 0.0

    def __str__(self) -> str:
        if self.kind == "minimum":
            return "minimum"
        return f"{self.value * 100:.12g}%" if self.kind == "share" else f"{self.value:.12g} kW"


@dataclass(frozen=True, slots=True)
class Call:
    """Whom, and down to what. `of`: a group, an industry, or customer numbers."""

    who: Who
    of: tuple[str, ...]
    setpoint: Setpoint

    def __str__(self) -> str:
        return f"{self.who} {', '.join(self.of)}".strip()


@dataclass(frozen=True, slots=True)
class Plan:
    """organisation, line: whose customers; both '': everybody's. periods: [(begin, end)] minutes of each local day, ends up to 1440.
    own: customer -> his own setpoint, whatever his call says."""

    name: str
    reason: str
    organisation: str
    line: str
    first_day: dt.date
    last_day: dt.date
    periods: tuple[Minutes, ...]
    shortage_kw: float
    calls: tuple[Call, ...]
    own: Mapping[str, Setpoint] = field(default_factory=dict)

    @property
    def days(self) -> list[dt.date]:
        return [
            self.first_day + dt.timedelta(days=k) for k in range((self.last_day - self.first_day).days + 1)
        ]

    @property
    def hours(self) -> float:
        """Of each day."""
        return sum(end - begin for begin, end in self.periods) / 60

    def document(self) -> dict[str, Any]:
        """As `read` takes it."""
        return {
            "name": self.name, "reason": self.reason, "organisation": self.organisation, "line": self.line,
            "first_day": self.first_day.isoformat(), "last_day": self.last_day.isoformat(),
            "periods": [f"{clock(begin)}-{clock(end)}" for begin, end in self.periods], "shortage_kw": self.shortage_kw,
            "calls": [{_KEYS[call.who]: _of(call), "setpoint": str(call.setpoint)} for call in self.calls],
            "setpoints": {number: str(setpoint) for number, setpoint in sorted(self.own.items())},
        }  # fmt: skip


# ---- who is called -----------------------------------------------------------------------------------------------


#: why somebody is left out: code -> what people call it
REASONS: Final = {
    "protected": ("protected", "保电用户"),
    "protected-behind": ("a protected customer behind the same terminal", "同终端下有保电用户"),
    "not-known": ("nobody can say whether he is protected", "保电属性未知"),
    "others-behind": ("other customers behind the same terminal", "同终端下有其他用户"),
    "no-terminal": ("no terminal that can be controlled", "无可控终端"),
    "offline": ("the terminal is offline", "终端离线"),
    "keep-power": ("the terminal is in keep-power", "终端处于保电状态"),
    "no-curve": ("no load curve of enough like days", "无同类日负荷曲线"),
    "no-minimum": ("no protected minimum is known", "保安负荷未知"),
    "other-plan": ("called by another plan", "已列入其他方案"),
    "nothing-to-give": ("nothing to give above the setpoint", "无可压负荷"),
    "not-needed": ("the shortage is found without him", "缺口已满足"),
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A customer behind one terminal, as the store knows both now. None means not known, and not known never allows.

    call        index of the first call that names him
    terminal    its code; '': he hangs behind none
    controlled  the terminal speaks a protocol that knows setpoints
    protected   why he must not be touched; '': nothing is recorded
    behind      customers behind the same terminal who are protected, or of whom nobody can say
    others      other customers behind the same terminal: its setpoint would be theirs as well
    minimum_w   his protected minimum (保安负荷): kept at every terminal of his in full
    usual       [day of the plan][slot of the periods], kW; looked at only where a terminal can be told, and for him alone
    elsewhere   the other plan that has called him
    """

    customer: str
    terminal: str
    call: int
    controlled: bool
    online: bool
    keep_power: bool | None
    protected: str | None
    behind: tuple[str, ...]
    others: int
    minimum_w: int | None
    usual: tuple[tuple[float, ...], ...] | None
    elsewhere: str = ""


@dataclass(frozen=True, slots=True)
class Participant:
    """Who is called. `raised`: the plan asked for less than his protected minimum, which is his setpoint now."""

    customer: str
    terminal: str
    call: int
    usual_kw: float
    minimum_w: int
    setpoint_w: int
    reduce_kw: float
    least_kw: float
    raised: bool


@dataclass(frozen=True, slots=True)
class Left:
    """Who is not, and why: codes of REASONS with what stands behind each."""

    customer: str
    terminal: str
    call: int
    reasons: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """participants in the order in which they are called; left by call and customer."""

    participants: tuple[Participant, ...]
    left: tuple[Left, ...]

    @property
    def reduce_kw(self) -> float:
        return math.fsum(one.reduce_kw for one in self.participants)


def choose(plan: Plan, candidates: Iterable[Candidate]) -> Selection:
    """Who of them is called."""
    able: list[Participant] = []
    left: list[Left] = []
    for one in candidates:
        reasons = why_not(one)
        if not reasons:
            participant = _asked(plan, one)
            if participant.reduce_kw >= LEAST_KW:
                able.append(participant)
                continue
            says = f"{participant.usual_kw:g} kW usual, setpoint {participant.setpoint_w / 1000:g} kW"
            reasons = [("nothing-to-give", says)]
        left.append(Left(one.customer, one.terminal, one.call, tuple(reasons)))
    able.sort(key=lambda p: (p.call, -p.reduce_kw, p.customer, p.terminal))
    called: list[Participant] = []
    found = 0.0
    for asked in able:
        if found >= plan.shortage_kw:
            why = (("not-needed", f"{found:g} kW are found"),)
            left.append(Left(asked.customer, asked.terminal, asked.call, why))
        else:
            called.append(asked)
            found += asked.reduce_kw
    left.sort(key=lambda one: (one.call, one.customer, one.terminal))
    return Selection(tuple(called), tuple(left))


def why_not(one: Candidate) -> list[tuple[str, str]]:
    """Every reason for leaving him out that does not hang on setpoints."""
    found: list[tuple[str, str]] = []
    if one.protected is None:
        found.append(("not-known", ""))
    elif one.protected:
        found.append(("protected", one.protected))
    if one.behind:
        found.append(("protected-behind", ", ".join(one.behind)))
    if one.others:
        found.append(("others-behind", f"{one.others}"))
    if not one.controlled:
        found.append(("no-terminal", one.terminal))
    else:
        if not one.online:
            found.append(("offline", one.terminal))
        if one.keep_power is not False:
            found.append(("keep-power", one.terminal if one.keep_power else "not known"))
    if one.controlled and not one.others and (not one.usual or not all(one.usual)):
        found.append(("no-curve", ""))
    if one.minimum_w is None:
        found.append(("no-minimum", ""))
    if one.elsewhere:
        found.append(("other-plan", one.elsewhere))
    return found


#: what speaks against calling somebody, and not against holding one who was called: his terminal's state, and what was known when he was
_PASSING: Final = ("offline", "no-curve", "other-plan")


def stays(one: Candidate, setpoint_w: int, *, held: bool = False) -> list[tuple[str, str]]:
    """Every reason against telling a participant's terminal now what was approved, or, once it is told, against leaving it so: a terminal may be
    offline, and no curve is asked for again. One that keeps power holds nobody."""
    passing = (*_PASSING, "keep-power", "no-terminal") if held else _PASSING
    found = [(code, behind) for code, behind in why_not(one) if code not in passing]
    if one.minimum_w is not None and setpoint_w < one.minimum_w:
        found.append(("no-minimum", f"it is {one.minimum_w / 1000:g} kW by now, above the setpoint"))
    return found


def _asked(plan: Plan, one: Candidate) -> Participant:
    """Of somebody who may be called."""
    assert one.usual
    assert one.minimum_w is not None
    mean = math.fsum(kw for day in one.usual for kw in day) / sum(len(day) for day in one.usual)
    wanted = plan.own.get(one.customer, plan.calls[one.call].setpoint)
    target = {"share": mean * wanted.value * 1000, "kw": wanted.value * 1000, "minimum": one.minimum_w}[
        wanted.kind
    ]
    watts = holdable(max(math.ceil(round(target, 6)), one.minimum_w, 1))
    days = [math.fsum(max(0.0, kw - watts / 1000) for kw in day) / len(day) for day in one.usual]
    return Participant(
        one.customer, one.terminal, one.call, round(mean, 3), one.minimum_w, watts, round(math.fsum(days) / len(days), 3), round(min(days), 3),
        target < one.minimum_w,
    )  # fmt: skip


def control(plan: Plan, setpoint_w: int, minimum_w: int) -> ControlOrder:
    """What the terminal of a participant is told: period control (时段控) in the plan's hours of every day until it is switched off, and what is
    never cut (保安定值)."""
    slots = ["0"] * SLOTS
    for begin, end in plan.periods:
        slots[begin // GRID : end // GRID] = "1" * ((end - begin) // GRID)
    text = "".join(slots)
    runs = sum(text[k] == "1" and (k == 0 or text[k - 1] == "0") for k in range(SLOTS))
    return ControlOrder(
        (PeriodControl(text, (setpoint_w,) * runs),),
        on=("period",),
        security_w=holdable(minimum_w) if minimum_w else None,
    )


#: and how it is let go
RELEASE: Final = ControlOrder(off=("period",))


# ---- a plan as people write it -------------------------------------------------------------------------------------


_KEYS: Final[dict[Who, str]] = {
    "customers": "customers", "group": "group", "industry": "industry", "key-users": "key_users", "everybody": "everybody",
}  # fmt: skip
_FIELDS: Final = (
    "name", "reason", "organisation", "line", "first_day", "last_day", "periods", "shortage_kw", "calls", "setpoints",
)  # fmt: skip


def read(said: Mapping[str, Any]) -> Plan:
    """A document (TOML, JSON) as a plan. BadPlan names the first thing that is wrong."""
    _known(said, _FIELDS, "plan")
    if "\\u0000" in json.dumps(said, default=str):
        raise BadPlan("plan: a text with a NUL in it, which no store keeps")
    name, reason = _text(said, "name", needed=True), _text(said, "reason", needed=True)
    organisation, line = _text(said, "organisation"), _text(said, "line")
    if organisation and line:
        raise BadPlan("a plan is of an organisation or of a line, not of both")
    first, last = _day(said, "first_day"), _day(said, "last_day")
    if not 0 <= (last - first).days < LONGEST:
        raise BadPlan(f"{first} to {last} is no span of 1 to {LONGEST} days")
    if first.year < 2000 or last.year > 2099:  # beyond, half the calendar's sums cannot be made
        raise BadPlan(f"{first} to {last}: days of 2000 to 2099")
    calls = said.get("calls")
    if not isinstance(calls, list) or not 1 <= len(calls) <= MOST_CALLS:
        raise BadPlan(f"calls: a list of 1 to {MOST_CALLS}, in the order in which they are called")
    own = said.get("setpoints", {})
    if not isinstance(own, Mapping):
        raise BadPlan("setpoints: a table of customer numbers and setpoints")
    return Plan(
        name, reason, organisation, line, first, last, periods(said.get("periods")), _kw(said.get("shortage_kw"), "shortage_kw"),
        tuple(_call(one, f"call {k}") for k, one in enumerate(calls, 1)),
        {str(number): setpoint(text, f"setpoint of {number}") for number, text in own.items()},
    )  # fmt: skip


def setpoint(text: Any, where: str = "setpoint") -> Setpoint:
    """'60%', '800 kW', 'minimum'. BadPlan."""
    words = str(text).strip()
    if words == "minimum":
        return Setpoint("minimum")
    for end, kind in (("%", "share"), ("kW", "kw")):
        if words.endswith(end):
            value = _number(words.removesuffix(end).strip())
            if value is None or not 0 <= value <= MOST_KW or (kind == "share" and not 0 < value < 100):
                break
            return Setpoint("share", value / 100) if kind == "share" else Setpoint("kw", value)
    raise BadPlan(f"{where}: {words[:40]!r} is none; write '60%' of the usual load, '800 kW', or 'minimum'")


def periods(said: Any) -> tuple[Minutes, ...]:
    """['10:00-12:00', …] as minutes of the day, one after the other. BadPlan."""
    if not isinstance(said, list) or not 1 <= len(said) <= MOST_PERIODS:
        raise BadPlan(f"periods: a list of 1 to {MOST_PERIODS} such as '10:00-12:00'")
    found: list[Minutes] = []
    for text in said:
        begin, dash, end = str(text).partition("-")
        minutes = _minutes(begin), _minutes(end)
        if not dash or minutes[0] is None or minutes[1] is None or minutes[0] >= minutes[1]:
            raise BadPlan(
                f"period {text!r}: none such as '10:00-12:00' within one day; midnight is 24:00 at its end"
            )
        if minutes[0] % GRID or minutes[1] % GRID:
            raise BadPlan(f"period {text!r}: terminals tell half hours apart: begin and end at :00 or :30")
        if found and minutes[0] < found[-1][1]:
            raise BadPlan(f"period {text!r} begins before the one in front of it has ended")
        found.append((minutes[0], minutes[1]))
    return tuple(found)


def clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _call(said: Any, where: str) -> Call:
    if not isinstance(said, Mapping):
        raise BadPlan(f"{where}: a table with whom and a setpoint")
    _known(said, (*_KEYS.values(), "setpoint"), where)
    named = [who for who, key in _KEYS.items() if key in said]
    if len(named) != 1:
        raise BadPlan(f"{where}: name one of {', '.join(_KEYS.values())}")
    (who,) = named
    value = said[_KEYS[who]]
    of: tuple[str, ...] = ()
    if who == "customers":
        if (
            not isinstance(value, list)
            or not value
            or not all(isinstance(one, str) and one.strip() for one in value)
        ):
            raise BadPlan(f"{where}: customers is a list of customer numbers in quotation marks")
        of = tuple(dict.fromkeys(one.strip() for one in value))
    elif who in ("group", "industry"):
        of = (_text(said, who, needed=True, where=f"{where}: "),)
    elif value is not True:
        raise BadPlan(f"{where}: {_KEYS[who]} is true, or not there")
    if "setpoint" not in said:
        raise BadPlan(f"{where}: a setpoint is missing: '60%', '800 kW' or 'minimum'")
    return Call(who, of, setpoint(said["setpoint"], f"{where}: setpoint"))


def _of(call: Call) -> Any:
    return list(call.of) if call.who == "customers" else call.of[0] if call.of else True


def _known(said: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    known = tuple(known)
    for key in said:
        if key not in known:
            raise BadPlan(f"{where}: unknown key {key!r}; there are {', '.join(known)}")


def _text(said: Mapping[str, Any], key: str, *, needed: bool = False, where: str = "") -> str:
    value = said.get(key, "")
    if not isinstance(value, str) or len(value) > 400 or (needed and not value.strip()):
        raise BadPlan(f"{where}{key}: a text{' is needed' if needed else ''}")
    return value.strip()


def _day(said: Mapping[str, Any], key: str) -> dt.date:
    value = said.get(key)
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    try:
        return dt.date.fromisoformat(str(value))
    except ValueError:
        raise BadPlan(f"{key}: {value!r} is no day such as 2026-07-15") from None


def _kw(value: Any, where: str) -> float:
    if (
        isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_KW  # no NaN is
    ):
        raise BadPlan(f"{where}: {value!r:.40} is no number of kW above 0, and of {MOST_KW:.0f} at most")
    return float(value)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _minutes(text: str) -> int | None:
    hours, colon, rest = text.strip().partition(":")
    if not colon or len(rest) != 2 or not (hours.isdecimal() and rest.isdecimal()):
        return None
    minutes = int(hours) * 60 + int(rest)
    return minutes if int(rest) < 60 and minutes <= 24 * 60 else None
