"""Debtors whom nothing protects, real meters on the loopback, and what it takes to send them an order.

Nothing here depends on the kind of server, so one is enough.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headend.collector.commands import Commands
from headend.collector.database import Database
from headend.collector.recorder import Recorder
from headend.collector.tasks import meter_of
from headend.store import db, leases, orders
from headend.store.archive import installed
from headend.store.db import Connection
from headend.store.orders import Fence
from protocols.localtime import as_datetime
from terminals.bus import Bus
from terminals.drivers.driver import Driver
from terminals.links.tcp import connect
from terminals.pace import Pace, Timing
from terminals.simulator.codes import ADDRESSED, terminal_address
from terminals.simulator.fleet import Fleet
from terminals.simulator.meter import Meter as Simulated
from terminals.simulator.scenario import Group, Plan, small
from terminals.simulator.terminal import Terminal
from terminals.simulator.witness import read_acts
from tests.support.arrears import trusted, without_grace
from tests.support.house import SHANGHAI, Place, at, place
from tests.support.notices import told

#: an ordinary Wednesday
NOON = "2026-03-11 11:00"
QUICK = Timing(first=0.4, floor=0.2, ceiling=0.5, gap=0.05, attempts=1, pause=0.0, whole=2.0)
OWNER = "here"
LEASE = 20.0


class HandClock:
    """Domain time that stands still until the test moves it."""

    rate = 1.0

    def __init__(self, text: str = NOON) -> None:
        self.time = at(text)

    def now(self) -> np.datetime64:
        return self.time

    def seconds_until(self, when: np.datetime64) -> float:
        return max(0.0, float((when - self.time) / np.timedelta64(1, "s")))

    def pass_(self, **span: float) -> None:
        self.time = self.time + np.timedelta64(dt.timedelta(**span))


@pytest.fixture(params=["embedded"])
def server_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def database_of(store_dsn: str) -> Iterator[Database]:
    with db.pool(store_dsn) as pool:
        yield Database(store_dsn, pool, SHANGHAI)


def broke(conn: Connection, where: Place, now: np.datetime64, *, fen: int = -500) -> None:
    """The account owes `fen`, surely and freshly, and was told yesterday; the calendar says that these are working days."""
    when = as_datetime(now)
    conn.execute(
        "INSERT INTO calendar_day (day, kind) SELECT d, 'workday' FROM generate_series(%s::date - 1, %s::date + 3, '1 day') d "
        "ON CONFLICT DO NOTHING",
        (when.date(), when.date()),
    )
    conn.execute(
        "INSERT INTO balance (account_id, as_of, ledger_fen, ledger_entry_id, provisional_low_fen, provisional_high_fen, "
        "newest_reading, valid, level, stop_since) "
        "VALUES (%(account)s, %(now)s, %(fen)s, 0, %(fen)s, %(fen)s, %(now)s, true, 'stop', '2026-01-01') "
        "ON CONFLICT (account_id) DO UPDATE SET as_of = %(now)s, newest_reading = %(now)s",
        {"account": where.account, "now": when, "fen": fen},
    )
    told(conn, where.account, when - dt.timedelta(days=1), fen)
    without_grace(conn)
    trusted(conn, where.account, when)
    conn.commit()


def ask(conn: Connection, where: Place, now: np.datetime64, action: str = "trip", hours: int = 4) -> int:
    """An order that may be sent: a trip has been approved by a second person."""
    order = orders.request(
        conn, kind="relay", action=action, asset=where.asset, reason="arrears", who="job:prepaid", now=now,
        expires=now + np.timedelta64(hours, "h"),
    )  # fmt: skip
    if action == "trip":
        orders.approve(conn, order, who="李敏", now=now)
    return order


@dataclass
class Wire:
    """One simulated meter behind its terminal, installed in the store, with the lease on it held by OWNER."""

    conn: Connection
    clock: HandClock
    where: Place
    meter: Simulated
    bus: Bus
    database: Database
    folder: Path
    fence: Fence
    terminal: Terminal

    async def carry_out(self, driver: Driver, order: int) -> dict[str, Any]:
        """Let the order go as far as it goes now; returns it."""
        (row,) = installed(self.conn, self.clock.now(), [self.where.terminal])
        (waiting,) = [o for o in orders.work(self.conn, [self.where.terminal]) if o["order_id"] == order]
        self.conn.commit()
        meter = meter_of(row, SHANGHAI)
        recorder = Recorder(self.where.terminal, row.protocol, driver, self.clock.now)
        commands = Commands(self.database, self.clock, driver, self.fence, lambda: None, recorder)
        await commands.carry_out(self.bus, meter, waiting)
        return self.order(order)

    def order(self, order: int) -> dict[str, Any]:
        found = orders.get(self.conn, order)
        self.conn.commit()
        return found

    @property
    def acts(self) -> list[str]:
        """What the relay did."""
        return [act.act for act in read_acts(self.folder / "acts.jsonl")]


@pytest.fixture(params=["dlt645"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def wire(bare_wire: Wire) -> Wire:
    """With somebody behind it who owes."""
    broke(bare_wire.conn, bare_wire.where, bare_wire.clock.now())
    return bare_wire


@pytest.fixture
async def bare_wire(
    store: Connection, database_of: Database, clock: HandClock, protocol: Any, tmp_path: Path
) -> AsyncIterator[Wire]:
    plan = Plan(dead=0, missing=0, thieves=0, excursions=0, unbalanced=0, prepaid=1, lost=0.0, garbled=0.0)
    scenario = small(7, groups=(Group(protocol, "dial-out", 1),), plan=plan, customers=12)
    fleet = Fleet(scenario, tmp_path, clock, ("127.0.0.1", 9))
    await fleet.start()
    try:
        meter = fleet.terminals[0].meters[2]
        endpoint = fleet.endpoints[0]
        where = place(
            store, meter.asset, address=meter.address, protocol=protocol, endpoint=endpoint, customer="9001",
            password=meter.password, pn=meter.index + 1 if protocol == "gdw376" else None,
            login=terminal_address(protocol, 0) if protocol in ADDRESSED else None, switch=list(filter(None, [meter.area.plan.switch(2)])),
        )  # fmt: skip
        epoch = leases.claim(store, OWNER, quota=1, seconds=LEASE)[where.terminal]
        store.commit()
        host, port = endpoint.rsplit(":", 1)
        bus = Bus(await connect(host, int(port), 2.0), pace=Pace(QUICK))
        fence = Fence(OWNER, where.terminal, epoch)
        yield Wire(store, clock, where, meter, bus, database_of, tmp_path, fence, fleet.terminals[0])
        await bus.close()
    finally:
        await fleet.stop()
