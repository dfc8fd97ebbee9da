"""Orders on the wire: committed before the first byte, proved by reading back, never sent twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import structlog

from headend.clock import Clock
from headend.collector.acts import ACTS
from headend.collector.database import Database
from headend.collector.job import Act, Desk, Job, WireTrouble
from headend.collector.recorder import Recorder
from headend.control.facts import Refusal
from headend.control.order_state import Event, NoSuchStep, State
from headend.store import leases, orders
from headend.store.db import Connection
from headend.store.orders import Fence, StaleOwner
from protocols.localtime import as_datetime
from terminals.bus import Bus
from terminals.drivers.driver import Driver, Meter
from terminals.drivers.station import Station
from terminals.session import Guard, Session
from terminals.turns import Priority

log = structlog.get_logger()


class LeaseLost(Exception):
    """The terminal is somebody else's by now: nothing may be written."""


class Commands:
    """Carries out the orders of one terminal, one at a time, as the owner named by `fence`.

    `station`: who speaks with the terminal itself; None where it has no address of its own."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        driver: Driver,
        fence: Fence,
        guard: Callable[[], None],
        recorder: Recorder,
        station: Station | None = None,
    ) -> None:
        self._desk = Desk(database, clock, driver, station, fence, guard, recorder)

    async def carry_out(self, bus: Bus, whom: Meter, order: dict[str, Any]) -> None:
        """Move one open order as far as it goes now. Whatever happens on the wire ends in the order's state."""
        state, act = State(order["state"]), ACTS[order["kind"]]
        try:
            if order["meter_id"] is None and self._desk.station is None:
                await self._nobody(whom, order, state)
            elif state is State.APPROVED:
                await self._send(bus, whom, order, act)
            elif not act.resolved_by_reading(order):
                # left over by an owner who died: nothing was at stake, so it simply failed
                await self._desk.step(
                    order,
                    Event.REJECT if state is State.SENDING else Event.DISPROVE,
                    "interrupted by a restart",
                )
            else:
                if state is State.SENDING:
                    await self._desk.step(
                        order, Event.LOSE, "interrupted by a restart: the command may have left"
                    )
                await self._find_out(bus, whom, order, act, pending=state is State.PENDING)
        except (StaleOwner, NoSuchStep, LeaseLost) as stale:
            # somebody else moved it, or owns the terminal now: it is his
            log.info("order left to its new owner", order=order["order_id"], why=str(stale))
        except psycopg.Error as error:
            # away, or it will not take what we say: the meters go on being read, and the order is looked at again as the store has it
            log.error("order waits for the database", order=order["order_id"], why=str(error).strip())

    async def _send(self, bus: Bus, whom: Meter, order: dict[str, Any], act: Act) -> None:
        speaker, clock = self._speaker(order), self._desk.clock
        try:
            async with self._turn(bus, whom, speaker, guard=self._desk.guard) as session:
                job = Job(self._desk, session, whom, speaker, order)
                looked = await act.look(job)
                asked = clock.now()
                left, refusals = await self._desk.database.call(
                    self._begin(order, whom, looked.against, looked.kept)
                )
                if refusals:
                    log.warning(
                        "order refused at sending", order=order["order_id"], why=[r.why for r in refusals]
                    )
                    return
                order["sent_at"] = as_datetime(clock.now())
                await act.send(job, looked, asked, left)
        except WireTrouble as trouble:
            # before `begin` nothing has left and the order waits; after it the order's own state says what is known
            log.info("order interrupted", order=order["order_id"], why=str(trouble))

    async def _nobody(self, whom: Meter, order: dict[str, Any], state: State) -> None:
        """The archive says by now that the terminal speaks another protocol, one that has no terminal."""
        log.warning("order of a terminal that is a mere line now", order=order["order_id"], state=str(state))
        if state is State.APPROVED:
            why = Refusal("route", "the archive says now that the terminal only passes bytes on")
            await self._desk.database.call(self._begin(order, whom, [why]))

    def _speaker(self, order: dict[str, Any]) -> Driver | Station:
        if order["meter_id"] is not None:
            return self._desk.driver
        assert self._desk.station is not None  # `_nobody` has seen to it
        return self._desk.station

    @asynccontextmanager
    async def _turn(
        self, bus: Bus, whom: Meter, speaker: Driver | Station, *, guard: Guard | None = None
    ) -> AsyncIterator[Session]:
        """The line, perhaps lent by a task in its midst: what is said here is no evidence of that task."""
        async with bus.turn(whom, speaker, Priority.ORDER, guard=guard) as session:
            with self._desk.recorder.elsewhere():
                yield session

    def _begin(
        self,
        order: dict[str, Any],
        whom: Meter,
        found: Sequence[Refusal],
        kept: Mapping[str, Any] | None = None,
    ) -> Callable[[Connection], tuple[float, list[Refusal]]]:
        fence = self._desk.fence

        def work(conn: Connection) -> tuple[float, list[Refusal]]:
            # asked before: a renewal in between only makes it longer
            left = leases.left(conn, fence.owner, fence.terminal_id, fence.epoch)
            now = self._desk.clock.now()
            return left, orders.begin(
                conn,
                order["order_id"],
                fence=fence,
                now=now,
                address=whom.address,
                login=whom.terminal if order["meter_id"] is not None else None,
                switch=whom.switch,
                found=found,
                kept=kept,
            )

        return work

    async def _find_out(
        self, bus: Bus, whom: Meter, order: dict[str, Any], act: Act, *, pending: bool
    ) -> None:
        speaker = self._speaker(order)
        try:
            async with self._turn(bus, whom, speaker) as session:
                await act.find_out(Job(self._desk, session, whom, speaker, order))
        except WireTrouble as trouble:
            log.info("outcome still unknown", order=order["order_id"], why=str(trouble))
        now = as_datetime(self._desk.clock.now())
        if pending and now >= order["expires_at"]:
            fresh = await self._desk.database.call(lambda conn: orders.get(conn, order["order_id"]))
            if fresh["state"] == State.PENDING:
                await self._desk.step(
                    order,
                    Event.EXPIRE,
                    f"not proved by {order['expires_at'].isoformat()}; {fresh['outcome']}",
                )
