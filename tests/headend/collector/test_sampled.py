"""Meters that remember nothing (Modbus), collected from pymodbus's server: each quarter-hour is read when it is, or never."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from headend.collector import redecode
from headend.collector.daemon import Daemon, Options
from headend.collector.database import Database
from headend.collector.drivers import drivers
from headend.plans import COLLECTED
from headend.store import coverage, db
from headend.store.db import Connection
from terminals.links.trust import Trust
from tests.support.authority import Authority
from tests.support.collecting import FAST, HandClock
from tests.support.house import SHANGHAI, Place, at, one, place, table
from tests.support.registers import device, over_tcp

SDM630 = {"voltage_a": Decimal("230.2"), "active_power": Decimal(1500), "active_import": Decimal("1234.567")}


@asynccontextmanager
async def collecting(
    store_dsn: str, clock: HandClock, trust: Trust | None = None
) -> AsyncIterator[Callable[[Callable[[], bool]], object]]:
    """A collector, and `until`."""
    with db.pool(store_dsn, size=4) as pool, tempfile.TemporaryDirectory() as spool:
        options = Options(
            None,
            Path(spool),
            lease_seconds=4.0,
            poll_seconds=0.1,
            timing=FAST,
            drivers=drivers(),
            trust=trust or Trust(),
        )
        daemon = Daemon(Database(store_dsn, pool, SHANGHAI), clock, options)
        running = asyncio.create_task(daemon.run())

        async def until(is_so: Callable[[], bool]) -> None:
            async with asyncio.timeout(25):
                while not is_so():
                    assert not running.done()
                    await asyncio.sleep(0.05)

        try:
            yield until
        finally:
            daemon.stop()
            await asyncio.wait_for(running, 20)


def late_in_the_evening(store: Connection, port: int) -> Place:
    """A meter that is there since then."""
    return place(
        store, "1", protocol="modbus-tcp", endpoint=f"127.0.0.1:{port}", address="17@sdm630", phases=3,
        since="2026-03-11 23:20",
    )  # fmt: skip


async def test_points_are_read_at_their_instant_and_the_others_are_lost_with_a_reason(
    store_dsn: str, store: Connection
) -> None:
    async with over_tcp(device(17, "sdm630", SDM630)) as port:
        there = late_in_the_evening(store, port)
        clock = HandClock("2026-03-11 23:29:00")
        lost = (
            "SELECT count(*) FROM gap_reason WHERE reason = 'expired' AND plan = 1 AND bit_count(slots) = %s"
        )
        async with collecting(store_dsn, clock) as until:
            # what ended before anybody was there is lost
            clock.set("2026-03-11 23:31:30")
            await until(lambda: one(store, lost, 1) == 1)
            assert one(store, "SELECT count(*) FROM slot_read") == 0
            clock.set("2026-03-11 23:45:20")
            await until(lambda: one(store, "SELECT count(*) FROM slot_read") == 1)
            clock.set("2026-03-12 00:00:05")
            await until(lambda: one(store, "SELECT count(*) FROM register_read WHERE kind = 2") == 1)
            await until(lambda: one(store, "SELECT count(*) FROM slot_read") == 2)
    rows = table(store, "SELECT ts, active_import, voltage_a, active_power FROM slot_read ORDER BY ts")
    # stamped with the instant they are named by, not with that of the reading
    assert [(str(ts.astimezone(SHANGHAI).time()), *rest) for ts, *rest in rows] == [
        ("23:45:00", 12_345_670, pytest.approx(230.2), 1.5),
        ("00:00:00", 12_345_670, pytest.approx(230.2), 1.5),
    ]
    ((detail,),) = table(store, "SELECT detail FROM gap_reason WHERE reason = 'expired' AND plan = 1")
    assert detail == "the meter keeps no curve: it must be read within 60 s of the instant"
    assert table(
        store, "SELECT count(*), count(DISTINCT evidence) FROM exchange WHERE meter_id = %s", there.meter
    ) == [(3, 3)]
    # and the evidence says the same today
    report = redecode.day(store, drivers(), at("2026-03-11 12:00").astype("datetime64[D]").item(), SHANGHAI)
    assert (report.exchanges, report.differences, dict(report.not_replayed)) == (1, [], {})
    assert report.readings == report.equal > 0


async def test_what_a_long_standstill_took_is_written_down(store_dsn: str, store: Connection) -> None:
    """Nobody is at work for a month, and the collector that begins to write it down is stopped in the midst of that."""
    async with over_tcp(device(17, "sdm630", SDM630)) as port:
        there = late_in_the_evening(store, port)
        clock = HandClock("2026-03-11 23:45:20")
        async with collecting(store_dsn, clock) as until:
            await until(lambda: one(store, "SELECT count(*) FROM slot_read") == 1)
        clock.set("2026-04-12 10:05:00")
        for _ in ("once", "again"):
            async with collecting(store_dsn, clock) as until:
                await until(lambda: bare(store, clock.now()) == 0)
            # as if it had got no further than this
            for name in ("gap_reason", "coverage"):
                store.execute(
                    f"DELETE FROM {name} WHERE meter_id = %s AND day > '2026-03-20'".encode(), (there.meter,)
                )
            store.commit()
        assert bare(store, clock.now()) > 96 * 20


def bare(store: Connection, now: np.datetime64) -> int:
    """Points of the last weeks that are due, missing and without a cause."""
    found = 0
    for plan in COLLECTED:
        for back in range(33):
            day = coverage.today(now - np.timedelta64(back, "D"), SHANGHAI)
            matrix = coverage.day_matrix(store, plan, day, now=now, zone=SHANGHAI)
            cause, names = coverage.causes(matrix)
            missing = cause[matrix.due & (cause >= 0)]
            found += sum(names[k] == "not-asked" for k in missing)
    store.commit()
    return found


async def test_a_terminal_behind_tls(store_dsn: str, store: Connection, tmp_path: object) -> None:
    """The gateway's TLS is a relay of ours before pymodbus; the archive says tls://, the settings whom we believe."""
    authority = Authority(tmp_path)  # type: ignore[arg-type]
    async with over_tcp(device(1, "sdm630", SDM630)) as port:

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            up, down = await asyncio.open_connection("127.0.0.1", port)

            async def one_way(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while data := await source.read(1024):
                    sink.write(data)
                sink.close()

            await asyncio.gather(one_way(reader, down), one_way(up, writer), return_exceptions=True)

        context = authority.sign("gateway", "127.0.0.1").serving()
        relay = await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context)
        endpoint = f"tls://127.0.0.1:{relay.sockets[0].getsockname()[1]}"
        place(
            store, "1", protocol="modbus-tcp", endpoint=endpoint, address="1@sdm630", since="2026-03-11 10:00"
        )
        clock = HandClock("2026-03-11 10:15:10")
        try:
            async with collecting(store_dsn, clock) as until:  # the system's authorities do not know ours
                why = "SELECT coalesce(max(detail), '') FROM gap_reason WHERE reason = 'offline'"
                await until(lambda: "its certificate is not believed" in one(store, why))
            assert one(store, "SELECT count(*) FROM slot_read") == 0
            async with collecting(store_dsn, clock, Trust(ca=authority.ca)) as until:
                await until(lambda: one(store, "SELECT count(*) FROM slot_read") == 1)
        finally:
            relay.close()
            await asyncio.sleep(0.05)
