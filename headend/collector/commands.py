"""Orders on the wire: committed before the first byte, proved by reading back, never sent twice."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import psycopg
import structlog

from headend.clock import Clock
from headend.collector.database import Database
from headend.collector.inquiry import inquire
from headend.collector.recorder import Recorder
from headend.collector.tasks import SPOT, script
from headend.control.facts import Refusal
from headend.control.order_state import Event, NoSuchStep, State
from headend.control.readback import Seen, judge
from headend.store import leases, orders
from headend.store.db import Connection
from headend.store.exchanges import NO_TIMES
from headend.store.intake import Delivery, save
from headend.store.orders import Fence, StaleOwner
from headend.store.tables import SPOT_READS
from protocols.errors import Misuse, ProtocolError, Refused
from protocols.localtime import as_datetime, instant
from protocols.quantity import quantities
from terminals.bus import Bus, BusError
from terminals.drivers.driver import Driver, Meter, RelayAction, RelayState
from terminals.links.link import LinkError
from terminals.session import Guard, Session, SessionError
from terminals.turns import Priority

log = structlog.get_logger()

#: what can go wrong between us and a meter, all of it with a one-line message
WireTrouble = (SessionError, LinkError, BusError, ProtocolError)
#: seconds by which a clock may still be off after it was set: it ticks in whole seconds, and the answer takes its time
CLOCK_TOLERANCE = 5.0


class LeaseLost(Exception):
    """The terminal is somebody else's by now: nothing may be written."""


class TooLate(Exception):
    """The command's time ran out before it was written: not a byte of it has left."""


@dataclass(frozen=True, slots=True)
class Validity:
    """Until when a relay command may act: the order's expiry, or the end of the lease if that comes first.

    last   in domain time
    shown  the same instant as the meter's own clock will show it: what stands in the frame
    """

    last: np.datetime64
    shown: np.datetime64


class Commands:
    """Carries out the orders of one terminal, one at a time, as the owner named by `fence`."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        driver: Driver,
        fence: Fence,
        guard: Callable[[], None],
        recorder: Recorder,
    ) -> None:
        self._database = database
        self._clock = clock
        self._driver = driver
        self._fence = fence
        self._guard = guard
        self._recorder = recorder

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
        except psycopg.Error as error:
            # away, or it will not take what we say: the meters go on being read, and the order is looked at again as the store has it
            log.error("order waits for the database", order=order["order_id"], why=str(error).strip())

    async def _send(self, bus: Bus, meter: Meter, order: dict[str, Any]) -> None:
        try:
            async with self._turn(bus, meter, guard=self._guard) as session:
                ahead = await self._clock_ahead(session, meter, order) if order["kind"] == "relay" else None
                asked = self._clock.now()
                left, refusals = await self._database.call(self._begin(order, meter.address))
                if refusals:
                    log.warning(
                        "order refused at sending", order=order["order_id"], why=[r.why for r in refusals]
                    )
                    return
                order["sent_at"] = as_datetime(self._clock.now())
                await self._act(session, meter, order, self._validity(order, asked, left, ahead))
        except WireTrouble as trouble:
            # before `begin` nothing has left and the order waits; after it the order's own state says what is known
            log.info("order interrupted", order=order["order_id"], why=str(trouble))

    @asynccontextmanager
    async def _turn(self, bus: Bus, meter: Meter, *, guard: Guard | None = None) -> AsyncIterator[Session]:
        """The line, perhaps lent by a task in its midst: what is said here is no evidence of that task."""
        async with bus.turn(meter, self._driver, Priority.ORDER, guard=guard) as session:
            with self._recorder.elsewhere():
                yield session

    def _begin(
        self, order: dict[str, Any], address: str
    ) -> Callable[[Connection], tuple[float, list[Refusal]]]:
        def work(conn: Connection) -> tuple[float, list[Refusal]]:
            # asked before: a renewal in between only makes it longer
            left = leases.left(conn, self._fence.owner, self._fence.terminal_id, self._fence.epoch)
            now = self._clock.now()
            return left, orders.begin(conn, order["order_id"], fence=self._fence, now=now, address=address)

        return work

    async def _clock_ahead(
        self, session: Session, meter: Meter, order: dict[str, Any]
    ) -> np.timedelta64 | None:
        """By how much the meter's clock is ahead of ours; negative if it is behind. Asked before anything is sent: a meter that is
        silent now is not told to act.

        None: the meter has no usable clock. Supply is given back all the same, but nobody is cut off by a command whose end the
        meter cannot see."""
        try:
            shown = await session.run(self._driver.clock(meter))
        except ProtocolError:
            if order["action"] == "trip":
                raise
            return None
        # our time after the answer: the difference is rather too small, and the validity with it
        return np.timedelta64(shown - self._clock.now())

    def _validity(
        self, order: dict[str, Any], asked: np.datetime64, left: float, ahead: np.timedelta64 | None
    ) -> Validity:
        """`left` are the real seconds that the lease had at `asked`."""
        expires = instant(order["expires_at"])
        lease = np.timedelta64(int(left * getattr(self._clock, "rate", 1.0) * 1e6), "us")
        last = min(expires, asked + lease)
        return Validity(last, expires if ahead is None else last + ahead)

    async def _act(self, session: Session, meter: Meter, order: dict[str, Any], validity: Validity) -> None:
        """The order is in state sending. Every way out of here moves it."""
        kind, action = order["kind"], order["action"]
        if kind == "read":
            await self._read(session, meter, order)
        elif kind == "clock":
            await self._clock_order(session, meter, order, set_it=action == "set")
        else:
            await self._relay(session, meter, order, validity)

    async def _relay(self, session: Session, meter: Meter, order: dict[str, Any], validity: Validity) -> None:
        def in_time() -> None:
            # a command without an expiry of its own (DLMS) acts when it arrives
            if self._clock.now() >= validity.last:
                raise TooLate("its time ran out before it was written")
            self._guard()

        session.guard = in_time
        try:
            answer = await session.run(
                self._driver.relay(meter, RelayAction(order["action"]), validity.shown), attempts=1
            )
        except Refused as refusal:
            await self._step(order, Event.REJECT, f"the meter refused: {refusal}")
            return
        except Misuse as mistake:
            await self._step(order, Event.REJECT, f"not sent: {mistake}")
            return
        except TooLate as late:
            await self._step(order, Event.LOSE, str(late))
            return
        except WireTrouble as trouble:  # a corrupt answer too: it says nothing about the relay
            await self._step(order, Event.LOSE, f"sent, but {trouble}")
            raise
        finally:
            session.guard = self._guard
        await self._step(
            order, Event.ANSWER, answer.detail or "the meter took the command", {"pending": answer.pending}
        )
        await self._judge(session, meter, order, pending=answer.pending)

    async def _find_out(self, bus: Bus, meter: Meter, order: dict[str, Any], *, pending: bool) -> None:
        try:
            async with self._turn(bus, meter) as session:
                # what the meter said when it answered holds, whether or not it could be read back then
                await self._judge(session, meter, order, pending=order["result"].get("pending", False))
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
        # JSON knows no NaN
        load = None if math.isnan(seen.load_kw) else seen.load_kw
        result = {"relay": asdict(seen) | {"load_kw": load}, "read_back_at": now.isoformat()}
        fresh = await self._database.call(lambda conn: orders.get(conn, order["order_id"]))
        if event is Event.HOLD and fresh["state"] == State.PENDING:
            return
        await self._step(order, event, sentence, result)

    async def _read(self, session: Session, meter: Meter, order: dict[str, Any]) -> None:
        if order["action"]:
            await self._inquire(session, meter, order)
            return
        now = self._clock.now()
        try:
            with self._recorder.listening(meter, SPOT, NO_TIMES, now) as so_far:
                row = (await session.run(script(self._driver, meter, SPOT, NO_TIMES, now))).reads
                said = so_far()
        except WireTrouble as trouble:
            await self._step(order, Event.REJECT, str(trouble))
            return
        # of each quantity the newest: a terminal that tells what it has read earlier may have read them at different times
        newest = {code: found[-1] for code in row.columns if len(found := np.flatnonzero(row.valid(code)))}
        values = {
            code: {
                "value": _plain(code, row.columns[code][k]),
                "unit": quantities()[code].unit,
                "obis": quantities()[code].obis,
            }
            for code, k in newest.items()
        }

        delivery = Delivery(SPOT_READS, now, row, exchange=said)
        zone, owner = self._database.zone, self._fence.owner
        await self._database.call(lambda conn: save(conn, [delivery], zone, who=owner))
        read_at = min((row.time[k] for k in newest.values()), default=now)
        result = {"read_at": as_datetime(read_at).isoformat(), "values": values}
        await self._step(order, Event.ANSWER, "read", result)
        await self._step(order, Event.PROVE, f"{len(values)} values read")

    async def _inquire(self, session: Session, meter: Meter, order: dict[str, Any]) -> None:
        """A survey, or single items: what came is the order's result, and no reading of the store."""
        found = await inquire(session, self._driver, meter, order["action"], self._clock.now)
        if found.failed:
            await self._step(order, Event.REJECT, found.failed, found.result)
            return
        await self._step(order, Event.ANSWER, "read", found.result)
        await self._step(order, Event.PROVE, found.outcome)

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
