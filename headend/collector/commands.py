"""Orders on the wire: committed before the first byte, proved by reading back, never sent twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import structlog

from headend.clock import Clock
from headend.collector.database import Database
from headend.control.order_state import Event, NoSuchStep, State
from headend.control.readback import Seen, judge
from headend.store import feed, orders, reads
from headend.store.db import Connection
from headend.store.orders import Fence, StaleOwner
from protocols.errors import ProtocolError
from protocols.localtime import as_datetime, instant
from protocols.quantity import quantities
from protocols.reading import Reads
from terminals.bus import Bus, BusError
from terminals.drivers.driver import Driver, Meter, RelayAction, RelayState
from terminals.links.link import LinkError
from terminals.session import Session, SessionError
from terminals.turns import Priority

log = structlog.get_logger()

#: what can go wrong between us and a meter, all of it with a one-line message
WireTrouble = (SessionError, LinkError, BusError, ProtocolError)
#: seconds by which a clock may still be off after it was set: it ticks in whole seconds, and the answer takes its time
CLOCK_TOLERANCE = 5.0


class LeaseLost(Exception):
    """The terminal is somebody else's by now: nothing may be written."""


class Commands:
    """Carries out the orders of one terminal, one at a time, as the owner named by `fence`."""

    def __init__(
        self, database: Database, clock: Clock, driver: Driver, fence: Fence, guard: Callable[[], None]
    ) -> None:
        self._database = database
        self._clock = clock
        self._driver = driver
        self._fence = fence
        self._guard = guard

    async def carry_out(self, bus: Bus, meter: Meter, order: dict[str, Any]) -> None:
        """Move one open order as far as it goes now. Whatever happens on the wire ends in the order's state."""
        state = State(order["state"])
        try:
            if state is State.APPROVED:
                await self._send(bus, meter, order)
            elif order["kind"] != "relay":
                # a read or a clock left over by an owner who died: nothing was at stake, so it simply failed
                await self._step(
                    order,
                    Event.REJECT if state is State.SENDING else Event.DISPROVE,
                    "interrupted by a restart",
                )
            else:
                if state is State.SENDING:
                    await self._step(order, Event.LOSE, "interrupted by a restart: the command may have left")
                await self._find_out(bus, meter, order, pending=state is State.PENDING)
        except (StaleOwner, NoSuchStep, LeaseLost) as stale:
            # somebody else moved it, or owns the terminal now: it is his
            log.info("order left to its new owner", order=order["order_id"], why=str(stale))

    async def _send(self, bus: Bus, meter: Meter, order: dict[str, Any]) -> None:
        try:
            async with bus.turn(meter, self._driver, Priority.ORDER, guard=self._guard) as session:
                refusals = await self._database.call(
                    lambda conn: orders.begin(
                        conn, order["order_id"], fence=self._fence, now=self._clock.now()
                    )
                )
                if refusals:
                    log.warning(
                        "order refused at sending", order=order["order_id"], why=[r.why for r in refusals]
                    )
                    return
                order["sent_at"] = as_datetime(self._clock.now())
                await self._act(session, meter, order)
        except WireTrouble as trouble:
            # raised by `turn` itself: the session could not be opened, so the order has not been begun
            log.info("order waits: no session with the meter", order=order["order_id"], why=str(trouble))

    async def _act(self, session: Session, meter: Meter, order: dict[str, Any]) -> None:
        """The order is in state sending. Every way out of here moves it."""
        kind, action = order["kind"], order["action"]
        if kind == "read":
            await self._read(session, meter, order)
        elif kind == "clock":
            await self._clock_order(session, meter, order, set_it=action == "set")
        else:
            await self._relay(session, meter, order)

    async def _relay(self, session: Session, meter: Meter, order: dict[str, Any]) -> None:
        try:
            answer = await session.run(
                self._driver.relay(meter, RelayAction(order["action"]), instant(order["expires_at"])),
                attempts=1,
            )
        except ProtocolError as refusal:
            await self._step(order, Event.REJECT, f"the meter refused: {refusal}")
            return
        except WireTrouble as trouble:
            await self._step(order, Event.LOSE, f"sent, but {trouble}")
            raise
        await self._step(
            order, Event.ANSWER, answer.detail or "the meter took the command", {"pending": answer.pending}
        )
        await self._judge(session, meter, order, pending=answer.pending)

    async def _find_out(self, bus: Bus, meter: Meter, order: dict[str, Any], *, pending: bool) -> None:
        try:
            async with bus.turn(meter, self._driver, Priority.ORDER) as session:
                await self._judge(
                    session, meter, order, pending=pending and order["result"].get("pending", False)
                )
        except WireTrouble as trouble:
            log.info("outcome still unknown", order=order["order_id"], why=str(trouble))
        now = as_datetime(self._clock.now())
        if pending and now >= order["expires_at"]:
            fresh = await self._database.call(lambda conn: orders.get(conn, order["order_id"]))
            if fresh["state"] == State.PENDING:
                await self._step(
                    order,
                    Event.EXPIRE,
                    f"not proved by {order['expires_at'].isoformat()}; {fresh['outcome']}",
                )

    async def _judge(self, session: Session, meter: Meter, order: dict[str, Any], *, pending: bool) -> None:
        """Read the relay and the load back and move the order by what they prove."""
        try:
            seen: RelayState = await session.run(self._driver.relay_state(meter))
        except WireTrouble as trouble:
            log.info("read-back failed", order=order["order_id"], why=str(trouble))
            raise
        now = as_datetime(self._clock.now())
        event, sentence = judge(
            order["action"],
            Seen(seen.open, seen.permitted, seen.keep_power, seen.load_kw),
            now - (order["sent_at"] or now),
            pending,
        )
        result = {"relay": asdict(seen), "read_back_at": now.isoformat()}
        fresh = await self._database.call(lambda conn: orders.get(conn, order["order_id"]))
        if event is Event.HOLD and fresh["state"] == State.PENDING:
            return
        await self._step(order, event, sentence, result)

    async def _read(self, session: Session, meter: Meter, order: dict[str, Any]) -> None:
        now = self._clock.now()
        try:
            row: Reads = await session.run(self._driver.registers(meter, now))
        except WireTrouble as trouble:
            await self._step(order, Event.REJECT, str(trouble))
            return
        values = {
            code: {
                "value": _plain(code, column[0]),
                "unit": quantities()[code].unit,
                "obis": quantities()[code].obis,
            }
            for code, column in row.columns.items()
            if row.valid(code)[0]
        }

        def keep(conn: Connection) -> None:
            reads.write(
                conn, reads.SPOTS, row, now=now, reason="read again, different", who=self._fence.owner
            )
            feed.publish(conn, "spot", [(order["asset"], None)])

        await self._database.call(keep)
        result = {"read_at": as_datetime(now).isoformat(), "values": values}
        await self._step(order, Event.ANSWER, "read", result)
        await self._step(order, Event.PROVE, f"{len(values)} values read")

    async def _clock_order(
        self, session: Session, meter: Meter, order: dict[str, Any], *, set_it: bool
    ) -> None:
        try:
            if set_it:
                await session.run(self._driver.set_clock(meter, self._clock.now()), attempts=1)
            shown = await session.run(self._driver.clock(meter))
        except WireTrouble as trouble:
            await self._step(order, Event.REJECT, str(trouble))
            return
        now = self._clock.now()
        offset = float((shown - now) / np.timedelta64(1, "s"))
        result = {"meter_clock": as_datetime(shown).isoformat(), "offset_seconds": round(offset, 1)}
        await self._step(order, Event.ANSWER, "clock read", result)
        wrong = set_it and abs(offset) > CLOCK_TOLERANCE + getattr(self._clock, "rate", 1.0)
        await self._step(
            order, Event.DISPROVE if wrong else Event.PROVE, f"meter clock off by {offset:+.1f} s"
        )

    async def _step(
        self, order: dict[str, Any], event: Event, detail: str, result: dict[str, Any] | None = None
    ) -> None:
        state = await self._database.call(
            lambda conn: orders.step(
                conn,
                order["order_id"],
                event,
                fence=self._fence,
                now=self._clock.now(),
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
            state=str(state),
            detail=detail,
        )


def _plain(code: str, value: Any) -> str | float:
    """Registers as exact decimal text in kWh, instants as numbers."""
    if quantities()[code].kind == "register":
        return f"{int(value) // 10_000}.{int(value) % 10_000:04d}"
    return round(float(value), 4)
