"""Whether a clock is set now, and how: a table of rules, asked in order. Pure: the time is an argument.

Why so careful: a clock that is set wrongly makes every later interval wrong, and a set that crosses the end of an interval makes one too
short or counts it twice. So the master comes first; a set stays inside one interval; nothing is set near midnight or a full hour, when
freezes and tariffs switch; and nobody is set twice a day. DL/T 645-2007 lets a meter take a broadcast (08H) once a day and for a small
error only, and nobody answers it: its proof is the next offset.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

Subject = Literal["meter", "terminal"]
#: `none`: nothing between us and the meters has a clock of its own; `unknown`: it has, and nobody has read it lately
TerminalClock = Literal["right", "wrong", "unknown", "none"]


class Do(StrEnum):
    """What follows from it."""

    LEAVE = "leave"  # nothing to do
    MEASURE = "measure"  # the offset is not known well enough
    WAIT = "wait"  # something forbids it now, and will not for ever
    REPORT = "report"  # a person must go there or decide
    SET = "set"  # the terminal's clock, directly
    BROADCAST = "broadcast"  # all meters on the line
    WRITE = "write"  # this meter alone, authenticated


ACTS: Final = frozenset((Do.SET, Do.BROADCAST, Do.WRITE))


@dataclass(frozen=True, slots=True)
class Master:
    """Our own clock. `synchronised` None: this machine cannot say. `error`: seconds by which it may be off."""

    synchronised: bool | None
    error: float
    why: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What a utility decides; all times in seconds. No public source says where these limits lie but for the five minutes of a broadcast,
    which smart meters of the State Grid keep; the others are defaults.

    enabled        off until somebody has looked at the fleet's offsets and at the master: a wrong master would set every meter wrong
    meter_from     below this a meter is left alone: setting a clock costs an interval's certainty
    terminal_from  the same for a terminal
    broadcast_to   a meter takes a broadcast up to this error
    most           beyond this nothing is set: such a clock is broken, or ours is, and a person looks first
    master_error   the most by which our own clock may be off
    quiet          distance from midnight and full hours
    margin         distance from the end of an interval; it also covers the way on the wire
    needed         what an order needs to be sent: no set is begun with less time left
    stale          an offset that is older is measured again
    slot_minutes   the meters' interval
    """

    enabled: bool = False
    meter_from: float = 60.0
    terminal_from: float = 60.0
    broadcast_to: float = 300.0
    most: float = 900.0
    master_error: float = 1.0
    quiet: float = 300.0
    margin: float = 30.0
    needed: float = 60.0
    stale: float = 93_600.0
    slot_minutes: int = 15


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one clock. `now` is civil time with its offset.

    offset       seconds by which the clock is ahead of ours, None if never read; right to within `uncertainty`
    measured     when that was
    ways         how the clock can be moved at all, of ACTS
    last_set     when it was set last, by anybody we know of
    order_open   an order to set it, or all on its line, is under way
    terminal     of a meter: the clock of the terminal before it
    """

    now: dt.datetime
    subject: Subject
    master: Master
    offset: float | None
    uncertainty: float = 0.0
    measured: dt.datetime | None = None
    ways: frozenset[Do] = frozenset()
    last_set: dt.datetime | None = None
    order_open: bool = False
    terminal: TerminalClock = "none"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`until`: the set must be over by then, or be decided anew."""

    do: Do
    why: str
    until: dt.datetime | None = None


def decide(facts: Facts, rules: Rules) -> Verdict:
    """The first rule that has something to say says it."""
    for rule in TABLE:
        verdict = rule(facts, rules)
        if verdict is not None:
            return verdict
    raise AssertionError("the last rule always answers")


def _master(facts: Facts, rules: Rules) -> Verdict | None:
    """Before anything else: an offset from a wrong clock says nothing, not even that somebody must go there."""
    if facts.master.synchronised is None:
        return Verdict(Do.WAIT, f"nobody can say whether our own clock is right: {facts.master.why}")
    if not facts.master.synchronised:
        return Verdict(Do.WAIT, f"our own clock is not synchronised: {facts.master.why}")
    if facts.master.error > rules.master_error:
        return Verdict(Do.WAIT, f"our own clock may be off by {facts.master.error:.1f} s")
    return None


def _known(facts: Facts, rules: Rules) -> Verdict | None:
    if facts.offset is None or facts.measured is None:
        return Verdict(Do.MEASURE, "its clock was never read")
    if (facts.now - facts.measured).total_seconds() > rules.stale:
        return Verdict(Do.MEASURE, f"its clock was last read {facts.measured:%Y-%m-%d %H:%M}")
    if facts.last_set is not None and facts.last_set > facts.measured:
        return Verdict(Do.MEASURE, "it was set since it was read")
    return None


def _small(facts: Facts, rules: Rules) -> Verdict | None:
    """An error that the measurement may have made itself is none."""
    least = rules.terminal_from if facts.subject == "terminal" else rules.meter_from
    if _least(facts) < least:
        return Verdict(Do.LEAVE, f"off by {facts.offset:+.1f} s, below {least:.0f} s")
    return None


def _far(facts: Facts, rules: Rules) -> Verdict | None:
    if _most(facts) > rules.most:
        return Verdict(
            Do.REPORT, f"off by {facts.offset:+.0f} s, more than {rules.most:.0f} s: a person must look at it"
        )
    return None


def _never(facts: Facts, rules: Rules) -> Verdict | None:
    """No way, now or later."""
    if not _possible(facts, rules):
        return Verdict(Do.REPORT, f"off by {facts.offset:+.0f} s, and there is no way to set it from here")
    if all(_span(facts, rules, way).width + rules.needed >= room(rules) for way in _possible(facts, rules)):
        return Verdict(
            Do.REPORT,
            f"off by {facts.offset:+.0f} s: setting it would cut an interval of {rules.slot_minutes} minutes",
        )
    return None


def _off(facts: Facts, rules: Rules) -> Verdict | None:
    return None if rules.enabled else Verdict(Do.LEAVE, "setting clocks is switched off here")


def _once(facts: Facts, rules: Rules) -> Verdict | None:
    if facts.order_open:
        return Verdict(Do.WAIT, "an order to set it is under way")
    if facts.last_set is not None and facts.last_set.astimezone(facts.now.tzinfo).date() >= facts.now.date():
        return Verdict(
            Do.WAIT, f"it was set today already, {facts.last_set.astimezone(facts.now.tzinfo):%H:%M}"
        )
    return None


def _terminal_first(facts: Facts, rules: Rules) -> Verdict | None:
    """A terminal that does not know the time broadcasts nothing, whoever's time is in the frame: it also broadcasts by itself."""
    if _now_possible(facts, rules):
        return None
    return Verdict(Do.WAIT, f"the clock of its terminal is {facts.terminal}: that one first")


def _window(facts: Facts, rules: Rules) -> Verdict:
    """Last: now, if what would move stays inside one interval and away from midnight and full hours."""
    for way in _now_possible(facts, rules):
        until = clear_until(facts.now, _span(facts, rules, way), rules)
        if until is not None and (until - facts.now).total_seconds() >= rules.needed:
            return Verdict(way, f"off by {facts.offset:+.1f} s", until)
    return Verdict(Do.WAIT, "too near to the end of an interval, to midnight or to a full hour")


#: The policy, in the order in which it is asked.
TABLE: Final[tuple[Callable[[Facts, Rules], Verdict | None], ...]] = (
    _master, _known, _small, _far, _never, _off, _once, _terminal_first, _window,
)  # fmt: skip


# --- what the rules are made of ---


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds around our time that clocks may show before or after a set: from `low` (at most 0) to `high` (at least 0)."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


def clear_until(now: dt.datetime, span: Span, rules: Rules) -> dt.datetime | None:
    """Until when a set moves no clock over the end of an interval, nor near midnight or a full hour; None: it would now.

    Midnight is a full hour. Civil time counts: where clocks change, they do so on the hour.
    """
    hour = now.replace(minute=0, second=0, microsecond=0)
    into = (now - hour).total_seconds()
    ends = []
    for step, distance in ((60 * rules.slot_minutes, rules.margin), (3600, max(rules.quiet, rules.margin))):
        first = into + span.low - distance
        # the first boundary not before the beginning of what must be clear; `first` may be negative
        ends.append(-(-first // step) * step - span.high - distance)
    last = min(ends)
    if last <= into:
        return None
    return now + dt.timedelta(seconds=last - into)


def room(rules: Rules) -> float:
    """Seconds of the longest stretch that no end of an interval, no midnight and no full hour is near to."""
    step, quiet = 60 * rules.slot_minutes, max(rules.quiet, rules.margin)
    return max(
        step - (quiet if begin == 0 else rules.margin) - (quiet if begin + step >= 3600 else rules.margin)
        for begin in range(0, 3600, step)
    )


def _span(facts: Facts, rules: Rules, way: Do) -> Span:
    offset, doubt = facts.offset or 0.0, facts.uncertainty
    low, high = min(0.0, offset - doubt), max(0.0, offset + doubt)
    if way is Do.BROADCAST:  # all on the line hear it, and each that takes it is off by no more than this
        low, high = min(low, -rules.broadcast_to), max(high, rules.broadcast_to)
    return Span(low, high)


def _possible(facts: Facts, rules: Rules) -> tuple[Do, ...]:
    """Ways that reach so far, the gentlest first."""
    ways = [Do.SET, Do.BROADCAST, Do.WRITE]
    reach = {Do.SET: rules.most, Do.BROADCAST: rules.broadcast_to, Do.WRITE: rules.most}
    return tuple(way for way in ways if way in facts.ways and _most(facts) <= reach[way])


def _now_possible(facts: Facts, rules: Rules) -> tuple[Do, ...]:
    trusted = facts.terminal in ("right", "none")
    return tuple(way for way in _possible(facts, rules) if trusted or way is not Do.BROADCAST)


def _least(facts: Facts) -> float:
    return max(0.0, abs(facts.offset or 0.0) - facts.uncertainty)


def _most(facts: Facts) -> float:
    return abs(facts.offset or 0.0) + facts.uncertainty
