"""Terminals that publish: one collector listens at the broker for all, and what it hears goes through the same door as what is read.

One, by a duty in the store, and not each its share (MQTT 5.0, clause 4.8.2, shared subscriptions): the session of one fixed client id stays
at the broker when its owner dies, with all that was not acknowledged, and its heir gets it in order; what hangs on a share that dies with its
collector, a broker is free to lose. Acknowledged is what is committed, never before. While two listen for a moment, what both bring is free.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections import OrderedDict
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Final

import numpy as np
import psycopg
import structlog

from headend.clock import Clock
from headend.collector.database import Database
from headend.collector.redecode import Silent, replay
from headend.collector.writer import Writer
from headend.plans import COLLECTED, CURVE, DAY
from headend.store import archive, coverage, duties, events, refused, tables
from headend.store.archive import TerminalState
from headend.store.coverage import Attempt
from headend.store.db import Connection
from headend.store.events import Event
from headend.store.exchanges import NO_TIMES, Exchange, Said
from headend.store.intake import AHEAD, Delivery
from headend.store.refused import Refusal
from protocols.errors import FrameError, ProtocolError
from protocols.localtime import as_datetime, instant
from protocols.published import message as published
from protocols.published.topic import Template, Topic
from terminals.drivers.driver import Driver, Meter
from terminals.drivers.published import PublishedDriver
from terminals.links.link import LinkError, LinkLost
from terminals.links.mqtt import Broker, Message, MqttLink, Will, connect

log = structlog.get_logger()

#: real seconds for connecting and subscribing
DIAL: Final = 10.0
#: real seconds until the next try, doubled up to the cap
AGAIN, AGAIN_CAP = 1.0, 60.0
#: messages written and acknowledged together; the broker sends twice as many ahead
BATCH: Final = 256
#: messages remembered by hash, so that one told again costs a look: a broker repeats what was not acknowledged, some hundreds
REMEMBERED: Final = 8192
#: real seconds after which the archive is looked at again: in any case, and if a name was not found in it
STALE, FRESH = 60.0, 5.0
#: domain time between looks at what should have been published by now
LOOK: Final = np.timedelta64(15 * 60, "s")


@dataclass(frozen=True, slots=True)
class Subscription:
    """What is listened to. `client`: the name at the broker, one for all collectors. `status`: topic of our own last will; '': none."""

    broker: Broker
    client: str = "headend"
    template: Template = field(default_factory=Template)
    status: str = ""


@dataclass(slots=True)
class Heard:
    """What came of the messages since the process began."""

    messages: int = 0
    taken: int = 0
    repeated: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Batch:
    """What one batch of messages brings."""

    deliveries: list[Delivery] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    online: dict[int, bool] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)


class Subscriber:
    """Runs until cancelled. `driver` decodes; the same one decodes the evidence again."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        clock: Clock,
        owner: str,
        subscription: Subscription,
        *,
        driver: Driver | None = None,
        seconds: float = 20.0,
    ) -> None:
        self.heard = Heard()
        self._database = database
        self._writer = writer
        self._clock = clock
        self._owner = owner
        self._what = subscription
        self._driver = driver or PublishedDriver()
        self._seconds = seconds
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._terminals: dict[str, int] = {}
        self._meters: dict[tuple[int, str], Meter] = {}
        self._archive_read = -np.inf
        self._looked = clock.now()

    async def run(self) -> None:
        """Wait for the duty, listen while it is ours, and again."""
        wait = AGAIN
        while True:
            if await self._hold():
                try:
                    await self._listen()
                    wait = AGAIN
                except LinkError as error:
                    if isinstance(error, LinkLost):  # it had been there
                        wait = AGAIN
                    log.warning("not listening to the broker", why=str(error), again_in=wait)
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, AGAIN_CAP)
                    continue
            await asyncio.sleep(self._seconds / 4)

    async def leave(self) -> None:
        """Give the duty back."""
        log.info("subscription left", **asdict(self.heard))
        with contextlib.suppress(psycopg.Error):
            await self._database.call(lambda conn: duties.release(conn, duties.SUBSCRIPTION, self._owner))

    async def _hold(self) -> bool:
        return await self._database.at_once(
            lambda conn: duties.hold(conn, duties.SUBSCRIPTION, self._owner, seconds=self._seconds)
        )

    async def _listen(self) -> None:
        """Until the duty is somebody else's. LinkError when the broker cannot be reached, or is lost."""
        what = self._what
        will = _will(what.status, self._owner) if what.status else None
        link = await connect(what.broker, what.client, what.template.filter, DIAL, will)
        log.info(
            "listening to the broker", broker=link.name, topics=what.template.filter, resumed=link.resumed
        )
        lost: LinkLost | None = None
        try:
            async with asyncio.TaskGroup() as group:
                work = [
                    group.create_task(self._read_for_ever(link)),
                    group.create_task(self._look_for_ever()),
                ]
                await self._keep()
                for task in work:
                    task.cancel()
        except* LinkLost as why:
            lost = LinkLost(link.name, str(getattr(why.exceptions[0], "reason", why)))
        finally:
            await link.close()
        me = asyncio.current_task()
        if (
            me is not None and me.cancelling()
        ):  # a task group that fails while it is cancelled tells of the failure only
            raise asyncio.CancelledError
        if lost is not None:
            raise lost

    async def _keep(self) -> None:
        """Until the duty is somebody else's. With the database away it is nobody else's, and readings are facts: listening goes on."""
        while True:
            await asyncio.sleep(self._seconds / 4)
            try:
                if not await self._hold():
                    log.warning("the subscription is another collector's now")
                    return
            except psycopg.OperationalError:
                continue

    # --- messages -----------------------------------------------------------------------------------------------

    async def _read_for_ever(self, link: MqttLink) -> None:
        dropped = 0
        while True:
            try:
                messages = [await link.read(self._seconds)]
            except TimeoutError:
                continue
            while len(link) and len(messages) < BATCH:
                messages.append(link.take())
            await self._take(messages)
            for message in messages:
                link.acknowledge(message)
            if link.dropped > dropped:
                log.error(
                    "messages at QoS 0 dropped: they came faster than they are written",
                    count=link.dropped - dropped,
                )
                dropped = link.dropped

    async def _take(self, messages: list[Message]) -> None:
        """Write what they bring; it is all committed, or listed as refused, when this returns."""
        batch = _Batch()
        await self._read_archive(STALE)
        for message in messages:
            self.heard.messages += 1
            mark = hashlib.blake2b(
                message.topic.encode("utf-8", "replace") + b"\0" + message.payload
            ).digest()
            if mark in self._known or mark in batch.hashes:
                self.heard.repeated += 1
                continue
            try:
                await self._understand(message, batch)
            except ProtocolError as error:
                # not remembered: said again, it may fit an archive that was mended
                batch.refusals.append(self._refusal(message, str(error)))
                continue
            self.heard.taken += 1
            batch.hashes.append(mark)
        for delivery in batch.deliveries:
            await self._writer.put(delivery)
        await self._writer.flush()
        self.heard.refused += len(batch.refusals)
        now, zone = self._clock.now(), self._database.zone

        def keep(conn: Connection) -> None:
            with conn.transaction():
                events.write(conn, batch.events, zone)
                archive.seen(conn, {k: TerminalState(there, now) for k, there in batch.online.items()}, now)
                refused.note(conn, batch.refusals)

        await self._database.persist(keep)
        for mark in batch.hashes:
            self._known[mark] = None
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    async def _understand(self, message: Message, batch: _Batch) -> None:
        """One message into the batch. ProtocolError says why it is kept out."""
        topic = self._what.template.match(message.topic)
        terminal = await self._terminal(topic)
        if topic.kind == "status":
            batch.online[terminal] = published.status(message.payload)
            return
        meter = await self._meter(terminal, topic)
        batch.online.setdefault(terminal, True)
        now = self._clock.now()
        if topic.kind == "event":
            batch.events.append(_event(meter, published.event(message.payload), now))
            return
        told = published.data(message.payload)
        if told.refused:
            kept_out = ", ".join(f"{count} {quality}" for quality, count in sorted(told.refused.items()))
            batch.refusals.append(self._refusal(message, f"rows kept out by their quality: {kept_out}"))
        if len(told.time) and told.time[-1] > now + AHEAD:
            raise FrameError(f"time: {told.time[-1]}Z lies ahead of {now}Z; check the terminal's clock")
        exchange = Exchange(
            terminal, meter.key, meter.address, self._driver.name, told.kind, now, now,
            said=(Said(0.0, True, b""), Said(0.0, False, message.payload)), known=message.topic,
        )  # fmt: skip
        try:
            reads = replay(exchange, self._driver, meter).reads
        except Silent:
            raise FrameError("message: nothing in it") from None
        if len(reads):
            batch.deliveries.append(Delivery(tables.SOURCES[told.kind], now, reads, exchange=exchange))

    def _refusal(self, message: Message, why: str) -> Refusal:
        log.warning("message kept out", topic=message.topic[:200], why=why)
        return Refusal(message.topic, why, as_datetime(self._clock.now()), message.payload)

    # --- who it is ----------------------------------------------------------------------------------------------

    async def _terminal(self, topic: Topic) -> int:
        if topic.terminal not in self._terminals:
            await self._read_archive()
        found = self._terminals.get(topic.terminal)
        if found is None:
            raise FrameError(f"topic: no terminal of the archive publishes as {topic.terminal!r}")
        return found

    async def _meter(self, terminal: int, topic: Topic) -> Meter:
        if (terminal, topic.meter) not in self._meters:
            await self._read_archive()
        found = self._meters.get((terminal, topic.meter))
        if found is None:
            raise FrameError(f"topic: no meter {topic.meter!r} hangs behind {topic.terminal!r} now")
        return found

    async def _read_archive(self, age: float = FRESH) -> None:
        """Anew, unless it has just been: names that nobody knows must not become questions to the database."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._archive_read < age:
            return
        now, zone = self._clock.now(), self._database.zone

        def look(conn: Connection) -> tuple[list[archive.Terminal], list[archive.Installed]]:
            mine = [t for t in archive.terminals(conn) if t.link == "mqtt"]
            return mine, archive.installed(conn, now, [t.terminal_id for t in mine])

        terminals, installed = await self._database.persist(look)
        self._terminals = {t.login: t.terminal_id for t in terminals if t.login}
        self._meters = {
            (row.terminal_id, row.address): Meter(row.meter_id, row.address, zone, row.phases)
            for row in installed
        }
        self._archive_read = loop.time()

    # --- what should have come ----------------------------------------------------------------------------------

    async def _look_for_ever(self) -> None:
        """Points that are due and were not published have that cause."""
        while True:
            await asyncio.sleep(max(0.05, self._clock.seconds_until(self._looked + LOOK)))
            self._looked = now = self._clock.now()
            await self._read_archive()
            for delivery in await self._database.persist(partial(self._missing, now=now)):
                await self._writer.put(delivery)

    def _missing(self, conn: Connection, now: np.datetime64) -> list[Delivery]:
        zone = self._database.zone
        terminals = sorted(set(self._terminals.values()))
        days = (coverage.today(now, zone), coverage.today(now - np.timedelta64(1, "D"), zone))
        found = []
        for plan in COLLECTED:
            if not terminals or plan not in (CURVE, DAY):
                continue
            for day in days:
                matrix = coverage.day_matrix(conn, plan, day, now=now, zone=zone, terminals=terminals)
                for row in np.flatnonzero(matrix.open.any(axis=1)):
                    attempt = Attempt(
                        int(matrix.meters[row]), plan, matrix.times[matrix.open[row]], NO_TIMES, now,
                        "not-published", "nothing came from the broker",
                    )  # fmt: skip
                    found.append(Delivery(tables.SOURCES[plan.name], now, attempts=(attempt,)))
        return found


def _event(meter: Meter, told: published.Happened, now: np.datetime64) -> Event:
    if instant(told.time) > now + AHEAD:
        raise FrameError(f"time: {told.time.isoformat()} lies ahead; check the terminal's clock")
    code = f"mqtt {told.code}"
    return Event("meter", meter.key, told.time, code, as_datetime(now), told.seq, told.ended, told.detail)


def _will(topic: str, owner: str) -> Will:
    def said(online: bool) -> bytes:
        return json.dumps({"online": online, "collector": owner}).encode()

    return Will(topic, gone=said(False), alive=said(True))
