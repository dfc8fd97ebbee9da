"""One order while the line is ours: with whom, about what, and how it is moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import structlog

from headend.clock import Clock
from headend.collector.database import Database
from headend.collector.recorder import Recorder
from headend.control.facts import Refusal
from headend.control.order_state import Event, State
from headend.store import orders
from headend.store.orders import Fence
from protocols.errors import ProtocolError
from terminals.bus import BusError
from terminals.drivers.driver import Driver, Meter
from terminals.drivers.station import Station
from terminals.links.link import LinkError
from terminals.session import Session, SessionError

log = structlog.get_logger()

#: what can go wrong between us and a meter, all of it with a one-line message
WireTrouble: Final = (SessionError, LinkError, BusError, ProtocolError)


@dataclass(frozen=True, slots=True)
class Desk:
    """What all orders of one terminal share. `guard` raises where nothing may be written any more."""

    database: Database
    clock: Clock
    driver: Driver
    station: Station | None
    fence: Fence
    guard: Callable[[], None]
    recorder: Recorder

    async def step(
        self, order: dict[str, Any], event: Event, detail: str, result: dict[str, Any] | None = None
    ) -> None:
        """Move an order in the store, on behalf of the terminal's owner. StaleOwner, NoSuchStep."""
        state = await self.database.call(
            lambda conn: orders.step(
                conn,
                order["order_id"],
                event,
                fence=self.fence,
                now=self.clock.now(),
                detail=detail,
                result=result,
            )
        )
        log.info(
            "order",
            order=order["order_id"],
            kind=order["kind"],
            action=order["action"],
            meter=order["asset"],
            terminal=order["terminal"],
            state=str(state),
            detail=detail,
        )


@dataclass(frozen=True, slots=True)
class Job:
    """`whom`: the meter, or the terminal itself where the order is its own. `speaker`: who knows its language."""

    desk: Desk
    session: Session
    whom: Meter
    speaker: Driver | Station
    order: dict[str, Any]

    def now(self) -> np.datetime64:
        return self.desk.clock.now()

    async def step(self, event: Event, detail: str, result: dict[str, Any] | None = None) -> None:
        await self.desk.step(self.order, event, detail, result)

    async def state(self) -> State:
        """As the store has it now."""
        number = self.order["order_id"]
        fresh = await self.desk.database.call(lambda conn: orders.get(conn, number))
        return State(fresh["state"])


@dataclass(frozen=True, slots=True)
class Looked:
    """`against`: what forbids the order now. `known`: what `send` wants to know of it. `kept`: what goes into the order's result with the
    transaction that commits the sending, for whoever has to find out about it later."""

    against: tuple[Refusal, ...] = ()
    known: Any = None
    kept: Mapping[str, Any] | None = None


class Act(Protocol):
    """How orders of one kind are carried out. Methods may raise WireTrouble, and StaleOwner or NoSuchStep of the store."""

    async def look(self, job: Job) -> Looked:
        """What the line shows before anything is sent, and whether it speaks against the order."""

    async def send(self, job: Job, looked: Looked, asked: np.datetime64, left: float) -> None:
        """Order in state sending: every way out of here moves it. The lease had `left` real seconds at `asked`."""

    async def find_out(self, job: Job) -> None:
        """Read what became of an order that was sent, and move it by that."""

    def resolved_by_reading(self, order: dict[str, Any]) -> bool:
        """Whether an interrupted order can have done something: then it is found out by `find_out`. Else it simply failed."""
