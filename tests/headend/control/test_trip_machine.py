"""Whatever happens in whatever order, a trip that must not be sent is not sent.

The machine holds a small world (customer, calendar, clock, balance, caps, people) and one order, and moves the order only as the
table and the gates allow. What it checks at sending is written here without the gates.
"""

from __future__ import annotations

import datetime as dt

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headend.control import gates
from headend.control.facts import Facts, Limits
from headend.control.order_state import OPEN, Event, State, after
from tests.support.trip import NOW, facts

LIMITS = Limits(trips_per_hour=2, trips_per_day=3, trips_per_area_hour=1)
PEOPLE = ["李敏", "陈晓", "job:prepaid"]
KINDS = ["workday", "workday", "workday", "weekend", "holiday", "no-trip", None]


class Trip(RuleBasedStateMachine):
    @initialize(requested_by=st.sampled_from(PEOPLE), lasts=st.integers(1, 300))
    def ask(self, requested_by: str, lasts: int) -> None:
        self.now = NOW
        self.protected: str | None = ""
        self.kinds: dict[dt.date, str | None] = {}
        self.high: int | None = -100
        self.as_of = self.reading = NOW
        self.valid = True
        self.noticed: dt.datetime | None = NOW - dt.timedelta(hours=1)
        self.sent: list[dt.datetime] = []
        self.neighbours: list[dt.datetime] = []
        self.state = State.WANTED
        self.requested_by = requested_by
        self.approved_by: str | None = None
        self.expires = NOW + dt.timedelta(minutes=lasts)

    # --- the world moves ---

    @rule(minutes=st.integers(1, 240))
    def time_passes(self, minutes: int) -> None:
        self.now += dt.timedelta(minutes=minutes)

    @rule(why=st.sampled_from(["透析", "", None]))
    def protect(self, why: str | None) -> None:
        self.protected = why

    @rule(kind=st.sampled_from(KINDS), tomorrow=st.booleans())
    def edit_calendar(self, kind: str | None, tomorrow: bool) -> None:
        self.kinds[self.now.date() + dt.timedelta(days=tomorrow)] = kind

    @rule(fen=st.none() | st.integers(-200, 50), valid=st.sampled_from([True, True, False]))
    def compute_balance(self, fen: int | None, valid: bool) -> None:
        self.high, self.valid, self.as_of = fen, valid, self.now

    @rule()
    def read_meter(self) -> None:
        self.reading = self.now

    @rule(told=st.booleans())
    def tell(self, told: bool) -> None:
        self.noticed = self.now if told else None

    @rule(neighbour=st.booleans())
    def another_trip(self, neighbour: bool) -> None:
        (self.neighbours if neighbour else self.sent).append(self.now)

    # --- the order moves ---

    def facts(self, approved_by: str | None, sending: bool) -> Facts:
        day = self.now.date()
        all_sent = self.sent + self.neighbours
        return facts(
            now=self.now, local=self.now, expires=self.expires, requested_by=self.requested_by, approved_by=approved_by, sending=sending,
            protected=self.protected, day_kind=self.kinds.get(day, "workday"),
            next_day_kind=self.kinds.get(day + dt.timedelta(days=1), "workday"),
            balance_high_fen=self.high, balance_as_of=self.as_of, balance_valid=self.valid, newest_reading=self.reading,
            trips_hour=self.within(all_sent, 1), trips_day=self.within(all_sent, 24), trips_area_hour=self.within(self.neighbours, 1),
            noticed_at=self.noticed,
        )  # fmt: skip

    def within(self, times: list[dt.datetime], hours: int) -> int:
        return sum(when > self.now - dt.timedelta(hours=hours) for when in times)

    @precondition(lambda self: self.state is State.WANTED)
    @rule(who=st.sampled_from(PEOPLE))
    def approve(self, who: str) -> None:
        if not gates.ask(self.facts(who, False), LIMITS):
            self.state = after(self.state, Event.APPROVE)
            self.approved_by = who

    @precondition(lambda self: self.state is State.APPROVED)
    @rule()
    def send(self) -> None:
        refusals = gates.ask(self.facts(self.approved_by, True), LIMITS)
        self.state = after(self.state, Event.REFUSE if refusals else Event.SEND)
        if not refusals:
            self.check()

    @precondition(lambda self: self.state in OPEN and self.state not in (State.WANTED, State.APPROVED))
    @rule(
        event=st.sampled_from(
            [Event.ANSWER, Event.LOSE, Event.REJECT, Event.HOLD, Event.PROVE, Event.DISPROVE, Event.EXPIRE]
        )
    )
    def meter_speaks(self, event: Event) -> None:
        try:
            self.state = after(self.state, event)
        except ValueError:
            return
        assert self.state is not State.APPROVED

    def check(self) -> None:
        """The policy in plain words."""
        day = self.now.date()
        assert self.protected == ""
        assert [self.kinds.get(day + dt.timedelta(days=k), "workday") for k in (0, 1)] == [
            "workday",
            "workday",
        ]
        assert 8 <= self.now.hour < 17
        assert self.now < self.expires
        assert self.high is not None
        assert self.high < 0
        assert self.valid
        assert self.now - self.as_of <= dt.timedelta(hours=2)
        assert self.now - self.reading <= dt.timedelta(hours=4)
        assert self.noticed is not None
        assert self.now - self.noticed >= dt.timedelta(minutes=30)
        assert self.approved_by not in (None, self.requested_by, "job:prepaid")
        last_hour = [t for t in self.sent + self.neighbours if self.now - t < dt.timedelta(hours=1)]
        last_day = [t for t in self.sent + self.neighbours if self.now - t < dt.timedelta(hours=24)]
        assert len(last_hour) < 2
        assert len(last_day) < 3
        assert not [t for t in self.neighbours if self.now - t < dt.timedelta(hours=1)]

    @invariant()
    def nothing_is_sent_unapproved(self) -> None:
        if getattr(self, "state", State.WANTED) not in (State.WANTED, State.APPROVED, State.REFUSED):
            assert self.approved_by in ("李敏", "陈晓")


Trip.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestTrip = Trip.TestCase


def test_the_machine_can_send() -> None:
    """Or its checks would prove nothing."""
    machine = Trip()
    machine.ask("job:prepaid", 60)
    machine.approve("李敏")
    machine.send()
    assert machine.state is State.SENDING
