"""Everybody in the story: the meter on its line, and collector, jobs, REST server and PostgreSQL as processes that can be killed."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
import numpy as np
import psycopg
from psycopg.rows import dict_row

from headend.clock import ScaledClock
from headend.store import banks, cluster, db, keys, ledger, migrate, orders
from headend.store.db import StoreError
from headend.store.embedded import Embedded
from terminals.simulator.fleet import Fleet
from terminals.simulator.witness import Act, read_acts
from tests.support.arrears import without_grace
from tests.support.cli import environment, free_port
from tests.support.collecting import STAND_IN
from tests.support.house import at, moment, place
from tests.support.kill_fee_control import meter
from tests.support.kill_fee_control.line import Line
from tests.support.kill_fee_control.meter import Customer
from tests.support.notices import deliver_all
from tests.support.teller import CUTOFF, Lost, Teller

REPOSITORY: Final = Path(__file__).resolve().parents[3]
#: domain time at the start: the reading of ten o'clock is the newest. It stands still until everybody is up, and then runs so many times as fast:
#: a quarter-hour every three seconds
START: Final = f"{meter.DAY} 10:04"
RATE: Final = 300.0
#: seconds until a process answers, and until something happens that has to
AWAKE: Final = 60.0
PATIENCE: Final = 60.0
#: seconds that somebody who was killed stays away
AWAY: Final = 0.5
#: real seconds of a collector's lease
LEASE: Final = 3.0
COLLECTOR, DATABASE, JOBS, SERVER = "collector", "database", "jobs", "server"
CUSTOMER, PAID_FEN = "9001", 5_000
#: a notice must be so old before somebody is cut off: the default is half an hour
NOTICE: Final = dt.timedelta(minutes=10)


class Breach(Exception):
    """Something is not as it must be."""


class Bank(Teller):
    """A bank whose line to us may be dead, and which waits a moment before it says so."""

    def _exchange(self, *message: Any) -> httpx2.Response:
        try:
            answer = super()._exchange(*message)
        except (httpx2.TransportError, ValueError, AttributeError, AssertionError):
            time.sleep(1.0)
            raise Lost(message[0]) from None
        if answer.status_code >= 500:  # the server lives, its database does not
            time.sleep(1.0)
            raise Lost(message[0])
        return answer


def prepare(server: Embedded, seed: int, folder: Path, endpoint: str) -> tuple[str, Customer]:
    """A database in which the morning begins, as a template for all; the bank's key, and the customer."""
    clock = ScaledClock(at(START), time.time() + 10_000, 1.0)
    made = meter.fleet(seed, folder / "template", clock)
    asyncio.run(_once(made))
    who = meter.customer(meter.calmest(made.terminals[0].meters))
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute("CREATE DATABASE morning TEMPLATE template0")
    with db.connect(psycopg.conninfo.make_conninfo(server.dsn, dbname="morning")) as conn:
        migrate.migrate(conn)
        here = place(
            conn, who.meter.asset, address=who.meter.address, endpoint=endpoint, customer=CUSTOMER, password=who.meter.password, ct=who.ct,
            since="2026-03-10 00:00",
        )  # fmt: skip
        conn.execute("UPDATE account SET valid_from = %s", (moment(f"{meter.DAY} 00:00"),))
        conn.execute(
            "INSERT INTO calendar_day (day, kind) SELECT d, 'workday' FROM generate_series(date '2026-03-01', date '2026-03-20', '1 day') d"
        )
        cluster.set_limits(conn, {"notice_before": NOTICE.total_seconds()})
        without_grace(conn)
        ledger.pay(
            conn, customer=CUSTOMER, channel="counter", accounting_date=dt.date(2026, 3, 11), serial="1", amount_fen=who.opening_fen,
            paid_at=at(f"{meter.DAY} 00:00"), now=at(f"{meter.DAY} 00:00"),
        )  # fmt: skip
        banks.add(
            conn,
            "ICBC",
            "工商银行",
            cutoff=CUTOFF,
            free_reversal=dt.timedelta(minutes=30),
            mac_key=None,
        )
        key = keys.issue(conn, person="ICBC", scopes=["bank"], bank="ICBC")
        conn.commit()
        assert here.account is not None
    return key, who


async def _once(made: Fleet) -> None:
    await made.start()
    await made.stop()


@dataclass(slots=True)
class Town:
    """One telling of the story, in a database and a folder of its own."""

    server: Embedded
    name: str
    folder: Path
    seed: int
    key: str
    wire: Line
    rest: Line
    #: real seconds until the clock begins to run: everybody must be up by then
    lead: float
    clock: ScaledClock = field(init=False)
    teller: Bank = field(init=False)
    fleet: Fleet = field(init=False)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    spoken: dict[str, int] = field(default_factory=dict)
    _looking: psycopg.Connection[dict[str, Any]] | None = None

    @property
    def dsn(self) -> str:
        return psycopg.conninfo.make_conninfo(self.server.dsn, dbname=self.name)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    # -- coming and going

    async def open(self) -> None:
        self.folder.mkdir()
        with psycopg.connect(self.server.dsn, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {self.name} TEMPLATE morning STRATEGY file_copy".encode())
        self.clock = ScaledClock(at(START), time.time() + self.lead, RATE)
        self.fleet = meter.fleet(self.seed, self.folder / "meter", self.clock)
        await self.fleet.start()
        host, port = self.fleet.endpoints[0].rsplit(":", 1)
        self.wire.target = (host, int(port))
        self.rest.target = ("127.0.0.1", free_port())
        self.teller = Bank(f"http://127.0.0.1:{self.rest.port}", self.key, "ICBC", self.clock)  # type: ignore[arg-type]
        for name in (COLLECTOR, SERVER):
            self.start(name)
        for name in (COLLECTOR, SERVER):
            await self.up(name)
        await self.until(self._read, AWAKE, "the collector does not read what there is")
        self.start(JOBS)

    def _read(self) -> bool:
        """The newest point of the curve is there."""
        found = self.ask("SELECT count(*) AS n FROM slot_read WHERE ts >= %s", moment(f"{meter.DAY} 10:00"))
        return bool(found and found[0]["n"])

    def start(self, name: str) -> None:
        command = {
            COLLECTOR: ["collect", "--listen", "none"], JOBS: ["jobs", "run"],
            SERVER: ["serve", "--listen", f"127.0.0.1:{self.rest.target[1]}"],
        }[name]  # fmt: skip
        settings = environment(
            HEADEND_HOME=str(self.folder / "home"), HEADEND_DSN=self.dsn, HEADEND_CLOCK=self.clock.text(), HEADEND_LEASE_SECONDS=str(LEASE),
            HEADEND_POLL_SECONDS="0.2", HEADEND_ANSWER_SECONDS="1", HEADEND_CIPHER_MACHINE=STAND_IN, PYTHONUNBUFFERED="1", PGAPPNAME=name,
        )  # fmt: skip
        with self.log(name).open("ab") as log:
            self.spoken[name] = log.tell()
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "headend", *command], cwd=REPOSITORY, env=settings, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    async def up(self, name: str) -> None:
        word = {COLLECTOR: b"collecting", SERVER: b"console"}.get(name, b"")
        await self.until(
            lambda: word in self.log(name).read_bytes()[self.spoken[name] :],
            AWAKE,
            f"the {name} does not begin",
        )

    def kill(self, name: str) -> None:
        """kill -9."""
        if name == DATABASE:
            os.kill(int((self.server.data / "postmaster.pid").read_text().split("\n", 1)[0]), signal.SIGKILL)
            self._look_away()
        else:
            process = self.running.pop(name)
            process.kill()
            process.wait()

    async def back(self, name: str) -> None:
        """Whoever was killed comes back after a moment."""
        await asyncio.sleep(AWAY)
        if name == DATABASE:
            self.server.release()  # there is nothing to stop; and taken again it must find its way back by itself
            await asyncio.to_thread(self.server.acquire)
        else:
            self.start(name)
            await self.up(name)

    async def close(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            try:
                await asyncio.to_thread(process.wait, 20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()
        await self.fleet.stop()
        await self.wire.cut()
        await self.rest.cut()
        self._look_away()

    def forget(self) -> None:
        """What nobody needs any more."""
        with psycopg.connect(self.server.dsn, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {self.name} WITH (FORCE)".encode())

    # -- looking

    def ask(self, sql: str, *values: Any) -> list[dict[str, Any]] | None:
        """Rows; None while the database is away."""
        try:
            if self._looking is None:
                self._looking = psycopg.connect(self.dsn, autocommit=True, row_factory=dict_row)
            return self._looking.execute(sql.encode(), values).fetchall()
        except psycopg.OperationalError:
            self._look_away()
            return None

    def _look_away(self) -> None:
        if self._looking is not None:
            self._looking.close()
        self._looking = None

    def watch(self) -> None:
        for name, process in self.running.items():
            if process.poll() is not None:
                lines = self.log(name).read_text(errors="replace").strip().splitlines()
                raise Breach(
                    f"the {name} ended by itself with {process.returncode}: {' | '.join(lines[-3:])}"
                )

    async def until(self, true: Callable[[], object], seconds: float, otherwise: str) -> None:
        end = time.monotonic() + seconds
        while not true():
            self.watch()
            if time.monotonic() > end:
                raise Breach(f"{otherwise} within {seconds:.0f} s")
            await asyncio.sleep(0.02)

    @property
    def acts(self) -> list[Act]:
        return read_acts(self.folder / "meter" / "acts.jsonl")

    def real(self, when: np.datetime64) -> float:
        """Domain time as Unix seconds."""
        return self.clock.anchor + float((when - self.clock.start) / np.timedelta64(1, "us")) / 1e6 / RATE

    def orders(self, action: str, state: str | None = None) -> int:
        """How many of them there are."""
        found = self.ask(
            "SELECT count(*) AS n FROM orders WHERE kind = 'relay' AND action = %s AND state = coalesce(%s, state)",
            action,
            state,
        )
        return int(found[0]["n"]) if found else 0

    def levels(self) -> Sequence[str]:
        return [row["level"] for row in self.ask("SELECT level FROM notice ORDER BY notice_id") or ()]

    def told(self) -> bool:
        """Whether the CRM has reported that the customer knows of being cut off."""
        return bool(self.ask("SELECT FROM notice n WHERE level = 'stop' AND notice_reached(n) IS NOT NULL"))

    # -- what persons do

    def deliver(self) -> None:
        """The CRM sends what it is told to, and says so."""
        try:
            with db.connect(self.dsn) as conn:
                conn.execute("SET lock_timeout = '2s'")  # whoever holds a lock here may wait for us
                deliver_all(conn, self.clock.now())
        except (psycopg.OperationalError, StoreError):
            pass  # the database is away: it comes again

    def approve(self) -> None:
        """A person looks through what waits for him, and accepts that the balance has fallen so fast."""
        try:
            with db.connect(self.dsn) as conn:
                for order in orders.listing(conn, limit=10, open_only=True, kind="relay"):
                    if order["state"] == "wanted" and order["action"] == "trip":
                        orders.approve(
                            conn, order["order_id"], who="李敏", now=self.clock.now(), accept=("fall",)
                        )
                conn.commit()
        except (psycopg.OperationalError, StoreError):
            pass  # the database is away, or the order has moved on: he looks again

    def pay(self) -> None:
        """The customer pays at the bank, and again if he is told that it came to nothing."""
        for _ in range(3):
            if self.teller.pay(CUSTOMER, PAID_FEN).standing:
                return
        raise Breach("the bank cannot book a payment")
