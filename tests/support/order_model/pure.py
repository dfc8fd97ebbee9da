"""The program's own decisions without a database: state table, fence and gates over facts taken from the model's world."""

from __future__ import annotations

import datetime as dt
from collections import Counter

from headend.control import gates
from headend.control.facts import Facts, Limits
from headend.control.order_state import OPEN, Event, NoSuchStep, State, after
from tests.support.order_model.world import LIMITS, ZONE, Batch, Home, Order, World

MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)


class Pure:
    """`fenced`, `stateful`: False takes that guard out, to see whether the rules notice."""

    #: a usual day can be forgotten here
    forgets = True

    def __init__(self, world: World, *, fenced: bool = True, stateful: bool = True) -> None:
        self.world = world
        self.fenced, self.stateful = fenced, stateful
        self.limits = Limits(**LIMITS)
        self.states: dict[int, State] = {}
        self.refused: Counter[str] = Counter()
        self._next = 0

    # --- the world has changed: facts are taken from it when they are asked for ---

    def changed(self, what: str, home: Home | None = None) -> None:
        """Nothing to carry over."""

    def morning(self) -> None:
        """Nothing either."""

    def pay(self, home: Home, fen: int) -> None:
        for order in self.world.orders:
            if order.home is home and self.states.get(order.number) in (State.WANTED, State.APPROVED):
                self.states[order.number] = State.CANCELLED

    # --- orders ---

    def open(self, home: Home) -> bool:
        return any(order.home is home and self.states[order.number] in OPEN for order in self.world.orders)

    def request(
        self, home: Home, who: str, expires: dt.datetime, not_before: dt.datetime | None, batch: str | None
    ) -> Order | None:
        if self.open(home) and self.stateful:
            return None
        key = batch or f"{who}/{self.world.now.date()}"
        order = Order(self._next, home, who, expires, not_before, self.world.batch(key, who))
        self._next += 1
        if [no for no in self._ask(order, None, None, sending=False) if no not in gates.WAITS]:
            return None
        order.batch.asked += 1
        self.states[order.number] = State.WANTED
        return order

    def approve(self, order: Order, who: str, accept: bool) -> bool:
        try:
            state = after(self.states[order.number], Event.APPROVE)
        except NoSuchStep:
            return False
        noes = self._ask(order, who, who if accept else order.accepted_by, sending=False)
        if noes:
            if any(no not in gates.WAITS for no in noes) and "second_person" not in noes:
                self.states[order.number] = State.REFUSED
            return False
        self.states[order.number] = state
        return True

    def send(self, order: Order, epoch: int) -> bool:
        if self.fenced and epoch != order.home.epoch:
            return False
        try:
            state = after(self.states[order.number], Event.SEND)
        except NoSuchStep:
            if self.stateful:
                return False
            state = State.SENDING
        noes = self._ask(order, order.approved_by, order.accepted_by, sending=True)
        if noes == [gates.EARLY]:
            return False
        self.states[order.number] = State.REFUSED if noes else state
        return not noes

    def speak(self, order: Order, event: str) -> None:
        try:
            self.states[order.number] = after(self.states[order.number], Event(event))
        except NoSuchStep:
            return

    def cancel(self, order: Order) -> None:
        self.speak(order, "cancel")

    def expire(self) -> None:
        for order in self.world.orders:
            if (
                self.states[order.number] in (State.WANTED, State.APPROVED)
                and self.world.now >= order.expires
            ):
                self.states[order.number] = State.EXPIRED

    def release(self, batch: Batch, who: str) -> bool:
        return not who.startswith("job:") and who != batch.who

    def take(self, home: Home) -> int:
        return home.epoch + 1

    def finish(self) -> None:
        """Nothing is left over."""

    def _ask(
        self, order: Order, approved_by: str | None, accepted_by: str | None, *, sending: bool
    ) -> list[str]:
        found = [
            no.gate for no in gates.ask(self._facts(order, approved_by, accepted_by, sending), self.limits)
        ]
        self.refused.update(found)
        return found

    def _facts(self, order: Order, approved_by: str | None, accepted_by: str | None, sending: bool) -> Facts:
        world, home, now = self.world, order.home, self.world.now
        day = now.date()
        known = home.protected is not None
        paid = home.last_paid
        notices = [at for at in home.notices if paid is None or at > paid]
        before = [b.asked for b in _before(world, order.batch) if b.who == order.batch.who and b.asked][-30:]
        spared = any(
            s.organisation in (None, home.organisation) and s.first <= day + DAY and s.last >= day
            for s in world.spared
        )
        taken = {}
        for scope in ("", "area_", "line_", "organisation_"):
            name = scope.rstrip("_")
            mine = [at for at, other in world.log if not name or getattr(other, name) == getattr(home, name)]
            for span, lasts in (("minute", MINUTE), ("hour", HOUR), ("day", DAY)):
                taken[f"trips_{scope}{span}"] = sum(at > now - lasts for at in mine)
        return Facts(
            now=now, local=now, expires=order.expires, requested_by=order.who, approved_by=approved_by, sending=sending,
            protected=home.protected, day_kind=world.calendar.get(day), next_day_kind=world.calendar.get(day + DAY),
            prepaid=True if known else None,
            balance_high_fen=home.high + home.paid_since if known and home.high is not None else None,
            balance_as_of=home.as_of if known else None, balance_valid=known and home.valid, newest_reading=home.reading if known else None,
            stop_below_fen=0 if known else None,
            grace_until=dt.datetime.combine(home.grace + DAY, dt.time(), ZONE) if known and home.grace
            else min(home.notices, default=None) if known else None,
            noticed_at=max(notices, default=None) if known else None, stopped="by somebody" if world.stopped else "",
            keep_power=home.keep_power, cuts_also=("another",) if home.shared else (),
            no_trip="exams" if spared else "", validated_until=world.validated,
            doubts="vee-spike" if home.doubt else "", same_since=home.same_since,
            usual_day_fen=home.usual if known else None, fall_fen=home.fall if known else None, fall_accepted_by=accepted_by,
            batch_size=order.batch.asked, batch_usual=sorted(before)[(len(before) - 1) // 2] if len(before) >= self.limits.batch_history else None,
            batch_released=order.batch.released or None, batch_released_by=order.batch.released_by or None, not_before=order.not_before,
            **taken,
        )  # fmt: skip


def _before(world: World, batch: Batch) -> list[Batch]:
    found = []
    for other in world.batches.values():
        if other is batch:
            break
        found.append(other)
    return found
