"""Random lives of trips: the world changes, people ask, approve and send, owners change, answers are lost; after each trip that leaves the
rules are asked."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.support.order_model import rules
from tests.support.order_model.world import JOBS, PEOPLE, Home, Order, Spared, World

#: orders that are still touched: ended ones too, so that a replay is tried
NEWEST = 10
WEIGHTS = {
    "heal": 8, "request": 14, "approve": 14, "send": 16, "speak": 12, "minutes": 5, "hour": 0.5, "tomorrow": 1, "balance": 2, "notice": 2,
    "protect": 1, "grace": 0.5,
    "calendar": 0.4, "spare": 0.5, "validate": 2, "doubt": 1, "exchange": 0.1, "fall": 1, "keep": 0.7, "pay": 0.7, "stop": 0.6,
    "share": 0.5, "release": 2,
    "lease": 1, "cancel": 0.5, "expire": 1,
}  # fmt: skip
#: one of these may happen between an approval and the sending
MEANWHILE = (
    "minutes", "hour", "tomorrow", "balance", "notice", "protect", "grace", "calendar", "spare", "doubt", "exchange", "fall", "pay", "stop", "lease",
    "speak", "request", "cancel",
)  # fmt: skip
OUTCOMES = ("answer", "lose", "reject", "hold", "prove", "disprove", "expire")


class Violated(AssertionError):
    """A trip left that must not have left."""


@dataclass
class Driver:
    """`backend`: the program's decisions, on the world or on a store that mirrors it."""

    world: World
    backend: Any
    seed: int
    steps: int = 0
    sent: int = 0
    told: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._acts = {name: getattr(self, name) for name in WEIGHTS}
        self._names = list(WEIGHTS)
        self._weights = list(WEIGHTS.values())
        self._spared = 0

    def run(self, steps: int) -> None:
        """Violated names the step and the rules."""
        names = self.rng.choices(self._names, self._weights, k=steps)
        for name in names:
            self.steps += 1
            self.told[name] += 1
            self._acts[name]()
        self.backend.finish()

    # --- orders ---

    def home(self) -> Home:
        return self.rng.choice(self.world.homes)

    def order(self) -> Order | None:
        return self.rng.choice(self.world.orders) if self.world.orders else None

    def request(self) -> None:
        rng, now = self.rng, self.world.now
        who = rng.choice((*PEOPLE, *JOBS, "job:prepaid"))
        expires = now + dt.timedelta(minutes=rng.randint(5, 240))
        batch = f"list:{who}:{now.date()}" if rng.random() < 0.2 else None
        self._request(self.home(), who, expires, self._later(0.2), batch)

    def _request(
        self, home: Home, who: str, expires: dt.datetime, not_before: dt.datetime | None, batch: str | None
    ) -> None:
        if not_before is not None and not_before >= expires:
            return
        order = self.backend.request(home, who, expires, not_before, batch)
        if order is not None:
            self.world.orders = [*self.world.orders[1 - NEWEST :], order]

    def approve(self) -> None:
        order = self.order()
        if order is None:
            return
        rng = self.rng
        who = order.who if rng.random() < 0.15 else rng.choice((*PEOPLE, *PEOPLE, *JOBS))
        self._approve(order, who, rng.random() < 0.1)

    def _approve(self, order: Order, who: str, accept: bool) -> None:
        if self.backend.approve(order, who, accept):
            order.approved_by = who
            order.accepted_by = who if accept else order.accepted_by

    def heal(self) -> None:
        """Everything is put right for one customer, a trip of his is asked for and approved; perhaps something happens, then it is sent."""
        world, rng, home = self.world, self.rng, self.home()
        if not 8 <= world.now.hour < 16:
            self.tomorrow()
            world.now = world.now.replace(hour=9)
        today = world.now.date()
        self._put_right(home, today)
        who = rng.choice((*PEOPLE, *JOBS))
        before = world.orders
        self._request(
            home, who, world.now + dt.timedelta(minutes=rng.randint(5, 120)), self._later(0.3), None
        )
        if world.orders is before:
            return
        order = world.orders[-1]
        accept = rng.random() < 0.1
        self._approve(order, rng.choice((*PEOPLE, order.who)), accept)
        if rng.random() < 0.6:
            self._acts[rng.choice(MEANWHILE)]()
        self._send(order)

    def _put_right(self, home: Home, today: dt.date) -> None:
        world = self.world
        for day in (today, today + dt.timedelta(days=1)):
            world.calendar[day] = "workday"
        self.backend.changed("calendar")
        self.validate()
        if world.stopped:
            world.stopped = False
            self.backend.changed("stop")
        if world.spared and self.rng.random() < 0.7:
            world.spared.clear()
            self.backend.changed("spare")
        home.protected, home.fall = "", 1000
        home.usual = 2000
        self.backend.changed("protect", home)
        self._balance(home, -100, True, world.now, world.now)
        home.notices = [*home.notices[-3:], world.now - dt.timedelta(minutes=31)]
        self.backend.changed("notice", home)
        if home.grace and self.rng.random() < 0.7:
            home.grace = None
            self.backend.changed("grace", home)
        if home.doubt:
            home.doubt = False
            self.backend.changed("doubt", home)
        if home.keep_power and self.rng.random() < 0.5 and not self.backend.open(home):
            home.keep_power = False
            self.backend.changed("keep", home)

        if home.shared and self.rng.random() < 0.5:
            home.shared = False
            self.backend.changed("share", home)

    def _later(self, chance: float) -> dt.datetime | None:
        if self.rng.random() >= chance:
            return None
        return self.world.now + dt.timedelta(minutes=self.rng.randint(1, 30))

    def send(self) -> None:
        order = self.order()
        if order is not None:
            self._send(order)

    def _send(self, order: Order) -> None:
        epoch = order.home.epoch - (self.rng.random() < 0.1)
        if not self.backend.send(order, epoch):
            return
        self.sent += 1
        order.sent += 1
        day = self.world.now - dt.timedelta(days=1)
        self.world.log = [(at, home) for at, home in self.world.log if at > day]
        self.world.log.append((self.world.now, order.home))
        broken = rules.broken(self.world, order, epoch)
        if broken:
            raise Violated(f"seed {self.seed}, step {self.steps}: a trip left {'; '.join(broken)}")

    def speak(self) -> None:
        order = self.order()
        if order is not None:
            self.backend.speak(order, self.rng.choice(OUTCOMES))

    def cancel(self) -> None:
        order = self.order()
        if order is not None:
            self.backend.cancel(order)

    def expire(self) -> None:
        self.backend.expire()

    def release(self) -> None:
        order = self.order()
        if order is None:
            return
        who = order.batch.who if self.rng.random() < 0.2 else self.rng.choice((*PEOPLE, *JOBS))
        if self.backend.release(order.batch, who):
            order.batch.released, order.batch.released_by = order.batch.asked, who

    # --- time ---

    def minutes(self) -> None:
        self.world.now += dt.timedelta(seconds=self.rng.randint(10, 1500))

    def hour(self) -> None:
        self.world.now += dt.timedelta(hours=self.rng.randint(1, 5))

    def tomorrow(self) -> None:
        """The next morning; most of what was amiss has been put right over night."""
        world, rng = self.world, self.rng
        world.now = (world.now + dt.timedelta(days=rng.randint(1, 2))).replace(
            hour=rng.randint(6, 11), minute=rng.randint(0, 59)
        )
        today = world.now.date()
        world.calendar = {day: kind for day, kind in world.calendar.items() if day >= today}
        for k in range(3):
            world.calendar.setdefault(today + dt.timedelta(days=k), "workday")
        world.spared = [s for s in world.spared if s.last >= today]
        if rng.random() < 0.8:
            world.validated = today - dt.timedelta(days=1)
        self.backend.morning()
        for home in world.homes:
            if rng.random() < 0.8:
                self._balance(home, -rng.randint(1, 200), True, world.now, world.now)
            if rng.random() < 0.6:
                home.notices = [*home.notices[-3:], world.now - dt.timedelta(hours=1)]
                self.backend.changed("notice", home)

    # --- the world ---

    def balance(self) -> None:
        rng, now, home = self.rng, self.world.now, self.home()
        if rng.random() < 0.08:
            home.high = None
            self.backend.changed("balance", home)
            return
        high = rng.choice((-100, -1, -1, -50, 0, 30)) if rng.random() < 0.4 else -100
        reading = (
            now - dt.timedelta(minutes=rng.choice((0, 10, 60, 239, 241, 300))) if rng.random() < 0.4 else now
        )
        self._balance(home, high, rng.random() < 0.85, now, reading)

    def _balance(self, home: Home, high: int, valid: bool, as_of: dt.datetime, reading: dt.datetime) -> None:
        home.high, home.paid_since, home.valid, home.as_of, home.reading = high, 0, valid, as_of, reading
        self.backend.changed("balance", home)

    def notice(self) -> None:
        home = self.home()
        home.notices = [*home.notices[-3:], self.world.now]
        self.backend.changed("notice", home)

    def protect(self) -> None:
        home = self.home()
        home.protected = self.rng.choice(("透析", None, "", "", "", ""))
        self.backend.changed("protect", home)

    def grace(self) -> None:
        home, today = self.home(), self.world.now.date()
        home.grace = None if home.grace else today + dt.timedelta(days=self.rng.randint(0, 1))
        self.backend.changed("grace", home)

    def calendar(self) -> None:
        day = self.world.now.date() + dt.timedelta(days=self.rng.randint(0, 1))
        kind = self.rng.choice(("workday", "workday", "workday", "weekend", "holiday", "no-trip", None))
        if kind is None:
            self.world.calendar.pop(day, None)
        else:
            self.world.calendar[day] = kind
        self.backend.changed("calendar")

    def spare(self) -> None:
        world, rng = self.world, self.rng
        if world.spared and rng.random() < 0.8:
            world.spared.pop()
        else:
            first = world.now.date() + dt.timedelta(days=rng.randint(0, 2))
            whose = rng.choice((None, 0, 1))
            self._spared += 1
            world.spared.append(
                Spared(self._spared, first, first + dt.timedelta(days=rng.randint(0, 1)), whose)
            )
        self.backend.changed("spare")

    def validate(self) -> None:
        self.world.validated = self.world.now.date() - dt.timedelta(days=1)
        self.backend.changed("validate")

    def doubt(self) -> None:
        home = self.home()
        home.doubt = self.rng.random() < 0.3
        self.backend.changed("doubt", home)

    def exchange(self) -> None:
        home = self.home()
        home.same_since = self.world.now
        self.backend.changed("exchange", home)

    def fall(self) -> None:
        home = self.home()
        home.fall = self.rng.choice((1000, 0, 2000, 10_000, 10_001, 50_000))
        if self.backend.forgets:
            home.usual = self.rng.choice((2000, 2000, 2000, None))
        self.backend.changed("balance", home)

    def keep(self) -> None:
        home = self.home()
        if not self.backend.open(home):
            home.keep_power = self.rng.random() < 0.3
            self.backend.changed("keep", home)

    def share(self) -> None:
        home = self.home()
        home.shared = self.rng.random() < 0.3
        self.backend.changed("share", home)

    def pay(self) -> None:
        home = self.home()
        if home.protected is not None:
            fen = self.rng.choice((1, 99, 100, 5000))
            home.last_paid = self.world.now
            home.paid_since += fen
            self.backend.pay(home, fen)

    def stop(self) -> None:
        self.world.stopped = self.rng.random() < 0.25
        self.backend.changed("stop")

    def lease(self) -> None:
        home = self.home()
        home.epoch = self.backend.take(home)
