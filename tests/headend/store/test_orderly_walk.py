"""Random lives of a plan: jobs, wires, people and kills in any order. Nobody is switched on whom no running plan calls, or who was let go by hand;
in the end everybody is let go, and known to be."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from headend.control import orderly as pure
from headend.control.load_control import document
from headend.control.order_state import Event, NoSuchStep, State
from headend.store import orderly, orderly_orders, orders
from headend.store.db import Connection, StoreError
from headend.store.orderly_orders import carry_out
from headend.store.orders import Fence, Writing
from tests.support.arrears import fence
from tests.support.factories import PLANNED, WRITTEN, curve, factory, flat
from tests.support.house import Place, at, moment, one, table

ENDS = at("2026-03-11 19:00")
#: what is killed before or after it was done
STEPS = (
    (orders, "request"), (orders, "approve"), (orders, "cancel"), (orders, "withdraw"), (orderly_orders, "_told"), (orderly_orders, "_move"),
)  # fmt: skip


class Killed(BaseException):
    """By -9."""


@dataclass
class Killer:
    """Whoever takes the `left`th step from now on is killed; 0: nobody."""

    left: int = 0

    def strikes(self) -> None:
        if self.left:
            self.left -= 1
            if not self.left:
                raise Killed

    def around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **named: Any) -> Any:
            self.strikes()
            done = real(*given, **named)
            self.strikes()
            return done

        return step


@dataclass
class Life:
    """One plan, two terminals. on: what a terminal has obeyed; by_hand: let go by a person after the plan had asked for it."""

    conn: Connection
    dice: random.Random
    here: dict[str, Place]
    fences: dict[str, Fence]
    plan: int
    killer: Killer
    now: np.datetime64 = field(default_factory=lambda: at("2026-03-11 09:20"))
    on: dict[str, bool] = field(default_factory=dict)
    by_hand: set[str] = field(default_factory=set)

    def state(self) -> str:
        found = orderly.get(self.conn, self.plan)["state"]
        self.conn.commit()
        return str(found)

    def job(self) -> None:
        self.tried(lambda: carry_out(self.conn, now=self.now))

    def hand(self) -> None:
        terminal = self.dice.choice(list(self.here))
        asked = [
            row["on_order"]
            for row in orderly.get(self.conn, self.plan)["participants_list"]
            if row["terminal"] == terminal
        ]
        running = self.state() == "running"
        orders.request(
            self.conn, kind="control", action="release", terminal=terminal, reason="x", who="王芳", now=self.now,
            expires=self.now + np.timedelta64(10, "h"), writing=Writing(document(pure.RELEASE)),
        )  # fmt: skip
        if running and asked[0] is not None:
            self.by_hand.add(terminal)

    def cancel(self) -> None:
        waiting = table(self.conn, "SELECT order_id FROM orders WHERE action = 'write' AND state IN ('wanted', 'approved')")  # fmt: skip
        self.conn.commit()
        if waiting:
            orders.cancel(self.conn, waiting[0][0], who="王芳", now=self.now)

    def withdraw(self) -> None:
        def both() -> None:
            orderly.withdraw(self.conn, self.plan, who="王芳", why="rain", now=self.now)
            orderly_orders.settle(self.conn, self.plan, who="王芳", now=self.now)

        self.tried(both)

    def tried(self, act: Callable[[], Any]) -> None:
        """With a kill in the midst, now and then."""
        self.killer.left = self.dice.randint(1, 8) if self.dice.random() < 0.3 else 0
        try:
            act()
        except (Killed, StoreError, NoSuchStep):
            self.conn.rollback()
        finally:
            self.killer.left = 0

    def wire(self, *, well: bool = False) -> None:
        """Collectors do what is due, some of it, some of it lost on the way; `well`: all of it."""
        for terminal, here in self.here.items():
            for order in orders.work(self.conn, [here.terminal], now=self.now):
                self.conn.commit()
                if well or self.dice.random() < 0.6:
                    self._order(terminal, order, well=well)
        self.conn.commit()

    def _order(self, terminal: str, order: dict[str, Any], *, well: bool) -> None:
        held, number, state = self.fences[terminal], order["order_id"], State(order["state"])
        writes = order["action"] == "write"
        if state is State.APPROVED:
            if orders.begin(self.conn, number, fence=held, now=self.now, address=None):
                return
            if well or self.dice.random() < 0.7:
                assert not writes or (self.state() == "running" and terminal not in self.by_hand)
                self.on[terminal] = writes
            if not well and self.dice.random() < 0.6:  # its answer is lost, or the collector
                if self.dice.random() < 0.5:
                    orders.step(self.conn, number, Event.LOSE, fence=held, now=self.now)
                return
            orders.step(self.conn, number, Event.ANSWER, fence=held, now=self.now)
        elif state is State.SENDING:
            orders.step(self.conn, number, Event.LOSE, fence=held, now=self.now)
        proved = self.on.get(terminal, False) is writes
        orders.step(self.conn, number, Event.PROVE if proved else Event.DISPROVE, fence=held, now=self.now)


@pytest.mark.parametrize("seed", range(25))
def test_whatever_happens_everybody_is_let_go(
    store: Connection, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    here = {f"T{number}": factory(store, number) for number in (1, 2)}
    for place in here.values():
        curve(store, place, flat(1000))
    plan = orderly.draft(store, orderly.read({**WRITTEN, "shortage_kw": 5000}), who="陈晓", now=PLANNED)
    orderly.approve(store, plan, who="李敏", now=PLANNED)
    killer = Killer()
    for module, name in STEPS:
        monkeypatch.setattr(module, name, killer.around(getattr(module, name)))
    dice = random.Random(seed)
    life = Life(store, dice, here, {code: fence(store, place) for code, place in here.items()}, plan, killer)
    rare = [life.hand, life.cancel, life.withdraw]
    for _ in range(dice.randint(5, 25)):
        life.now += np.timedelta64(dice.choice([1, 1, 3, 10, 20, 40]), "m")
        dice.choice([life.job, life.wire] * 3 + (rare if dice.random() < 0.5 else []))()
    life.now = max(life.now, ENDS)
    for _ in range(8):
        life.now += np.timedelta64(16, "m")
        orders.expire(store, now=life.now, who="x")
        carry_out(store, now=life.now)
        life.wire(well=True)
    assert not any(life.on.values())
    found = orderly.get(store, plan)
    assert found["state"] in ("ended", "withdrawn")
    for row in found["participants_list"]:
        assert (row["held"], row["released"]) == (False, row["touched"] or row["off_order"] is not None)
    assert orderly.not_let_go(store, before=moment("2026-03-13 00:00")) == []
    assert one(store, "SELECT count(*) FROM orders WHERE is_open") == 0
