"""The clock policy: what it never does, whatever the facts; and the cases that a person would name."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from headend.control.clock_policy import ACTS, Do, Facts, Master, Rules, Span, clear_until, decide, room

ZONE = ZoneInfo("Asia/Shanghai")
RIGHT = Master(True, 0.01, "chrony")
ON = Rules(enabled=True)
#: in the middle of a quarter-hour that no full hour is near to
NOON = dt.datetime(2026, 3, 11, 12, 22, 30, tzinfo=ZONE)
METER = Facts(
    NOON, "meter", RIGHT, 120.0, 1.0, NOON - dt.timedelta(minutes=1), frozenset((Do.BROADCAST, Do.WRITE))
)
TERMINAL = replace(METER, subject="terminal", ways=frozenset((Do.SET,)))

moments = st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2026, 12, 31)).map(
    lambda t: t.replace(tzinfo=ZONE)
)
offsets = st.one_of(st.floats(-1200, 1200), st.sampled_from([-900.0, -300.0, -60.0, 60.0, 300.0, 900.0]))
rules_of = st.builds(
    Rules,
    enabled=st.just(True),
    quiet=st.floats(0, 600),
    margin=st.floats(1, 120),
    needed=st.floats(0, 120),
    slot_minutes=st.sampled_from([15, 30, 60]),
)


@st.composite
def facts_of(draw: st.DrawFn, *, likely: bool = False) -> Facts:
    """Anything; or, `likely`, what mostly ends in an act: then the properties look at acts and not at refusals."""
    now = draw(moments)
    ago = dt.timedelta(seconds=draw(st.floats(0, 90_000 if likely else 200_000)))
    subject = draw(st.sampled_from(["meter", "terminal"]))
    ways = (
        {Do.SET}
        if subject == "terminal"
        else draw(st.sets(st.sampled_from([Do.BROADCAST, Do.WRITE]), min_size=int(likely)))
    )
    synchronised = True if likely else draw(st.sampled_from([True, False, None]))
    set_before = st.timedeltas(dt.timedelta(days=1 if likely else 0), dt.timedelta(days=3)).map(
        lambda gone: now - gone
    )
    return Facts(
        now,
        subject,  # type: ignore[arg-type]
        Master(synchronised, draw(st.floats(0, 1 if likely else 3)), "drawn"),
        draw(
            st.floats(60, 400).flatmap(lambda f: st.sampled_from([f, -f])) if likely else st.none() | offsets
        ),
        draw(st.floats(0, 5 if likely else 30)),
        now - ago if likely else draw(st.none() | st.just(now - ago)),
        frozenset(ways),
        draw(st.none() | set_before),
        False if likely else draw(st.booleans()),
        draw(st.sampled_from(["right", "none"] if likely else ["right", "wrong", "unknown", "none"])),
    )


#: with `likely` facts half the draws are acts, and hypothesis would call the other half a waste
acts_only = settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
any_facts = facts_of() | facts_of(likely=True)


def boundaries(first: dt.datetime, last: dt.datetime, minutes: int) -> list[dt.datetime]:
    """Ends of intervals in [first, last], found by walking, not by the policy's arithmetic."""
    at = dt.datetime.combine(first.date(), dt.time(), ZONE) - dt.timedelta(days=1)
    found = []
    while at <= last:
        if at >= first:
            found.append(at)
        at += dt.timedelta(minutes=minutes)
    return found


@acts_only
@given(any_facts, rules_of, st.floats(0, 1))
def test_no_set_ever_crosses_an_interval_or_comes_near_midnight_or_a_full_hour(
    facts: Facts, rules: Rules, part: float
) -> None:
    """At any moment until the order's end, for any clock that the act may move."""
    verdict = decide(facts, rules)
    assume(verdict.do in ACTS)
    assert verdict.until is not None
    assert facts.offset is not None
    left = (verdict.until - facts.now).total_seconds()
    assert left >= rules.needed - 1e-6
    at = facts.now + dt.timedelta(seconds=part * left * 0.999)
    moved = [facts.offset - facts.uncertainty, 0.0, facts.offset + facts.uncertainty]
    if verdict.do is Do.BROADCAST:
        moved += [-rules.broadcast_to, rules.broadcast_to]
    first, last = (at + dt.timedelta(seconds=bound(moved)) for bound in (min, max))
    assert not boundaries(first, last, rules.slot_minutes)  # neither forwards nor backwards
    quiet = dt.timedelta(seconds=rules.quiet * 0.999)
    assert not boundaries(first - quiet, last + quiet, 60)


@acts_only
@given(any_facts, rules_of)
def test_no_set_without_a_right_master_a_fresh_offset_and_a_day_without_one(
    facts: Facts, rules: Rules
) -> None:
    verdict = decide(facts, rules)
    assume(verdict.do in ACTS)
    assert facts.master.synchronised is True
    assert facts.master.error <= rules.master_error
    assert facts.offset is not None
    assert facts.measured is not None
    assert (facts.now - facts.measured).total_seconds() <= rules.stale
    assert verdict.do in facts.ways
    assert not facts.order_open
    assert facts.last_set is None or facts.last_set.astimezone(ZONE).date() < facts.now.date()
    reach = rules.broadcast_to if verdict.do is Do.BROADCAST else rules.most
    assert rules.meter_from <= abs(facts.offset) + 1e-9
    assert abs(facts.offset) + facts.uncertainty <= reach
    assert verdict.do is not Do.BROADCAST or facts.terminal in ("right", "none")


@given(any_facts)
def test_switched_off_it_sets_nothing(facts: Facts) -> None:
    assert decide(facts, Rules()).do not in ACTS


@acts_only
@given(facts_of(likely=True), rules_of)
def test_whoever_is_told_to_wait_for_the_time_of_day_is_not_told_so_all_day(
    facts: Facts, rules: Rules
) -> None:
    """A window comes within the hour, or it was never promised."""
    verdict = decide(facts, rules)
    assume(verdict.do is Do.WAIT and verdict.why.startswith("too near"))
    later = [
        replace(facts, now=facts.now.replace(minute=0) + dt.timedelta(seconds=s), measured=facts.now)
        for s in range(0, 3600, 5)
    ]
    fresh = [replace(f, last_set=None, measured=f.now) for f in later]
    assert any(decide(f, rules).do in ACTS for f in fresh)


@acts_only
@given(moments, st.floats(-300, 0), st.floats(0, 300), rules_of)
def test_a_window_is_as_long_as_it_can_be(now: dt.datetime, low: float, high: float, rules: Rules) -> None:
    until = clear_until(now, Span(low, high), rules)
    assume(until is not None)
    assert until is not None
    assert (until - now).total_seconds() <= room(rules) - (high - low) + 1e-3
    assert clear_until(until + dt.timedelta(seconds=0.01), Span(low, high), rules) is None


@pytest.mark.parametrize(
    ("facts", "do"),
    [
        (METER, Do.BROADCAST),
        (replace(METER, offset=-250.0), Do.BROADCAST),
        (replace(METER, offset=400.0, now=NOON.replace(minute=16)), Do.WRITE),  # too far for a broadcast
        (replace(METER, offset=400.0, ways=frozenset((Do.BROADCAST,))), Do.REPORT),
        (replace(METER, offset=30.0), Do.LEAVE),
        (replace(METER, offset=65.0, uncertainty=10.0), Do.LEAVE),  # the measurement may have made it
        (replace(METER, offset=1000.0), Do.REPORT),
        (replace(METER, offset=None), Do.MEASURE),
        (replace(METER, measured=NOON - dt.timedelta(days=2)), Do.MEASURE),
        (replace(METER, last_set=NOON - dt.timedelta(minutes=30)), Do.WAIT),
        (replace(METER, last_set=NOON - dt.timedelta(days=1)), Do.BROADCAST),
        (replace(METER, order_open=True), Do.WAIT),
        (replace(METER, terminal="wrong"), Do.WRITE),  # it says nothing to all, but this meter can be told
        (replace(METER, terminal="wrong", ways=frozenset((Do.BROADCAST,))), Do.WAIT),
        (replace(METER, terminal="unknown", ways=frozenset((Do.BROADCAST,))), Do.WAIT),
        (replace(METER, terminal="right"), Do.BROADCAST),
        (replace(METER, ways=frozenset()), Do.REPORT),
        (TERMINAL, Do.SET),
        (replace(TERMINAL, offset=-420.0), Do.WAIT),  # it would come out of the interval before
        (replace(TERMINAL, offset=-420.0, now=NOON.replace(minute=25)), Do.SET),
        (replace(TERMINAL, offset=880.0), Do.REPORT),  # no interval has room for that
        (replace(TERMINAL, offset=3600.0), Do.REPORT),
        (replace(METER, now=NOON.replace(hour=0, minute=2)), Do.WAIT),
        (replace(METER, now=NOON.replace(hour=23, minute=58)), Do.WAIT),
        (replace(METER, now=NOON.replace(minute=29)), Do.WAIT),
        (replace(METER, master=Master(False, 16.0, "no NTP")), Do.WAIT),
        (replace(METER, master=Master(None, 16.0, "no adjtime")), Do.WAIT),
        (replace(METER, master=Master(True, 3.0, "chrony")), Do.WAIT),
        (replace(METER, offset=9999.0, master=Master(False, 16.0, "no NTP")), Do.WAIT),  # perhaps it is we who are wrong
    ],
)  # fmt: skip
def test_what_a_person_would_say(facts: Facts, do: Do) -> None:
    fresh = facts if facts.measured != METER.measured else replace(facts, measured=facts.now)
    verdict = decide(fresh, ON)
    assert verdict.do is do, verdict.why
    assert verdict.why
