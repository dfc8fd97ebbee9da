"""Fee control (费控) from the first warning to supply given back, on a real meter and with a real bank, and with something lost at each step in turn.

The balance falls, the customer is warned and told, a person approves, the meter trips and is read back open; a bank books a payment, closing is
permitted, the key is pressed, the meter is read back closed. Whatever is lost, and whoever dies: one trip, and nothing is said to have come
about that was not read back.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from headend.collector.commands import Commands
from headend.collector.recorder import Recorder
from headend.jobs import prepaid
from headend.server import ServerSettings, build
from headend.store import banks, keys, leases, ledger, orders
from headend.store.archive import installed
from headend.store.db import Connection
from headend.store.orders import Fence
from terminals.bus import Bus
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.driver import Meter
from terminals.links.link import Link, Wrapper
from terminals.links.tcp import connect
from terminals.pace import Pace
from terminals.simulator.standin import StandInMachine
from tests.support.arrears import without_grace
from tests.support.house import SHANGHAI, at, moment
from tests.support.household import home, run
from tests.support.notices import deliver_all
from tests.support.teller import CUTOFF, Crash, Teller, Trouble, serving
from tests.support.wire import LEASE, QUICK, Wire

DAY = dt.date(2026, 3, 11)
#: 1 kWh in each quarter-hour: 9.22 yuan until eight o'clock, 2.27 an hour from then on
STEADY = 10_000
OPENING = 2_600


class Died(BaseException):
    """kill -9: nothing of ours runs any more. Nobody catches it."""


@dataclass
class Strike:
    """What befalls the nth request to the meter from now on. `how`: 'request' it never leaves; 'answer' its answer never comes; 'before', 'after':
    the collector dies before it leaves, and when it has left; 'database': its connections are cut while the meter answers."""

    nth: int
    how: str
    sent: int = 0
    hit: bool = False


class Struck(Wrapper):
    """A line on which the strike happens."""

    def __init__(self, link: Link, strike: Strike, cut: Any) -> None:
        super().__init__(link)
        self._strike, self._cut, self._deaf = strike, cut, False

    def write(self, data: bytes) -> None:
        strike = self._strike
        strike.sent += 1
        self._deaf = False
        if strike.sent != strike.nth:
            self.link.write(data)
            return
        strike.hit = True
        if strike.how == "before":
            raise Died
        if strike.how != "request":
            self.link.write(data)
        if strike.how == "after":
            raise Died
        if strike.how == "database":
            self._cut()
        self._deaf = strike.how == "answer"

    async def read(self, timeout: float) -> bytes:
        data = await self.link.read(timeout)
        if self._deaf:
            raise TimeoutError
        return data


@dataclass
class Town:
    """The meter's line, who collects from it, the jobs, and a bank."""

    wire: Wire
    teller: Teller
    dsn: str
    strike: Strike
    fence: Fence
    #: connections of those who are not the collector: the test's own, the bank's door
    others: list[int]
    bus: Bus | None = None

    @property
    def conn(self) -> Connection:
        return self.wire.conn

    def jobs(self) -> None:
        """What happens each quarter-hour; and the person who approves trips looks in."""
        now = self.wire.clock.now()
        run_ = run(self.conn, str(now.astype("datetime64[s]")).replace("T", " "))
        run_ = type(run_)(self.conn, run_.zone, now)
        with self.conn.transaction():
            prepaid.job(run_, DAY)
        deliver_all(self.conn, now)
        prepaid.act(run_)
        for order in orders.listing(self.conn, limit=10, open_only=True, kind="relay"):
            if order["state"] == "wanted":
                orders.approve(self.conn, order["order_id"], who="李敏", now=now, accept=("fall",))
        self.conn.commit()

    async def collect(self) -> None:
        """A collector looks at the order there is. One that died is followed by another when its lease has ended."""
        waiting = orders.work(self.conn, [self.wire.where.terminal])
        (row,) = installed(self.conn, self.wire.clock.now(), [self.wire.where.terminal])
        self.conn.commit()
        driver = Dlt645Driver(machine=StandInMachine())
        meter = Meter(row.meter_id, row.address, SHANGHAI, row.phases, row.secrets)
        for order in waiting:
            try:
                await self._carry_out(driver, meter, order)
            except Died:
                await self._next_collector()

    async def _carry_out(self, driver: Dlt645Driver, meter: Meter, order: dict[str, Any]) -> None:
        if self.bus is None or self.bus.link.closed:
            host, port = self.wire.bus.link.name.removeprefix("tcp://").rsplit(":", 1)
            link = Struck(await connect(host, int(port), 2.0), self.strike, self._cut)
            self.bus = Bus(link, pace=Pace(QUICK))
        recorder = Recorder(self.wire.where.terminal, "dlt645", driver, self.wire.clock.now)
        commands = Commands(self.wire.database, self.wire.clock, driver, self.fence, lambda: None, recorder)
        await commands.carry_out(self.bus, meter, order)

    async def _next_collector(self) -> None:
        assert self.bus is not None
        await self.bus.link.close()
        self.bus = None
        self.conn.execute("UPDATE lease SET until = now() - interval '1 second'")
        epoch = leases.claim(self.conn, "the next", quota=1, seconds=LEASE)[self.wire.where.terminal]
        self.conn.commit()
        self.fence = Fence("the next", self.wire.where.terminal, epoch)

    def _cut(self) -> None:
        """All connections of the collector end, as when the server is killed."""
        with psycopg.connect(self.dsn, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> ALL(%s)",
                ([admin.info.backend_pid, *self.others],),
            )

    async def until(self, action: str) -> None:
        """Rounds of the jobs and of a collector, as long as somebody may be cut off that day, until such an order is verified."""
        for _ in range(5):
            self.jobs()
            await self.collect()
            if self.relay()[-1:] == [(action, "verified")]:
                return
            self.wire.clock.pass_(minutes=11)

    def levels(self) -> list[str]:
        found = [
            row["level"]
            for row in self.conn.execute("SELECT level FROM notice ORDER BY notice_id").fetchall()
        ]
        self.conn.commit()
        return found

    def relay(self) -> list[tuple[str, str]]:
        """(action, state) of the relay orders that were sent, oldest first. What is verified was read back."""
        found = []
        for row in reversed(orders.listing(self.conn, limit=50, kind="relay")):
            if row["sent_at"] is None:
                continue
            events = orders.get(self.conn, row["order_id"])["events"]
            if row["state"] == "verified":
                assert any("read back" in event["detail"] for event in events if event["event"] == "prove"), (
                    events
                )
            found.append((row["action"], row["state"]))
        self.conn.commit()
        return found


@pytest.fixture
def town(bare_wire: Wire, store_dsn: str) -> Iterator[Town]:
    wire, conn = bare_wire, bare_wire.conn
    conn.execute(
        "INSERT INTO calendar_day (day, kind) SELECT d, 'workday' FROM generate_series(date '2026-03-10', date '2026-03-13', interval '1 day') d"
    )
    conn.execute(
        "INSERT INTO job_run (job, day, started, seconds, ok, summary) VALUES ('vee', '2026-03-10', '2026-03-11', 1, true, '')"
    )
    without_grace(conn)
    conn.execute("UPDATE account SET valid_from = %s", (moment("2026-03-11 00:00"),))
    conn.execute("UPDATE installation SET valid_from = %s", (moment("2026-03-11 00:00"),))
    ledger.pay(
        conn, customer="9001", channel="counter", accounting_date=DAY, serial="1", amount_fen=OPENING, paid_at=at("2026-03-11 00:00"),
        now=at("2026-03-11 00:00"),
    )  # fmt: skip
    home(wire.where.meter, DAY, 1, steady=STEADY).bring(conn, "2026-03-11 00:00", "2026-03-11 18:00")
    banks.add(conn, "ICBC", "工商银行", cutoff=CUTOFF, free_reversal=dt.timedelta(minutes=10), mac_key=None)
    key = keys.issue(conn, person="ICBC", scopes=["bank"], bank="ICBC")
    conn.commit()
    before = set(pids(conn)) - {conn.info.backend_pid}
    app = build(ServerSettings(dsn=store_dsn, zone=SHANGHAI, clock=wire.clock, requests_per_minute=100_000))
    with serving(app) as url:
        teller = Teller(url, key, "ICBC", wire.clock)
        teller.sign_on()
        others = [pid for pid in pids(conn) if pid not in before]
        yield Town(wire, teller, store_dsn, Strike(0, ""), wire.fence, others)


def pids(conn: Connection) -> list[int]:
    rows = conn.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()").fetchall()
    conn.commit()
    return [row["pid"] for row in rows]


async def falls(town: Town) -> None:
    """Until the trip is approved: each level is told once, on its way down."""
    told = []
    for when in ("11:00", "12:00", "13:30", "15:40"):
        town.wire.clock.time = at(f"2026-03-11 {when}")
        town.jobs()
        town.jobs()
        told.append(town.levels())
    assert told == [["warn1"], ["warn1"], ["warn1", "warn2"], ["warn1", "warn2", "stop"]]
    assert town.relay() == []
    town.wire.clock.time = at("2026-03-11 16:11")
    town.jobs()


async def pays(town: Town, trouble: Trouble | None = None) -> None:
    town.teller.trouble, town.teller.sent = trouble, 0
    paid = town.teller.pay("9001", 5_000)
    town.teller.trouble = None
    if not paid.standing:  # lost and taken back: the customer comes again
        assert town.teller.pay("9001", 5_000).standing


TRIPPED = [("trip", "verified")]


async def test_nothing_is_lost(town: Town) -> None:
    await falls(town)
    await town.until("trip")
    assert (town.relay(), town.wire.acts) == (TRIPPED, ["trip"])
    await pays(town)
    await town.until("permit")
    assert town.relay() == [*TRIPPED, ("permit", "verified")]
    assert town.wire.acts == ["trip", "permit", "key"]


#: requests of a trip with its read-back: what it looks at first, the command, relay and load
TRIP = range(1, 7)
PERMIT = range(1, 9)
HOWS = ("request", "answer", "before", "after", "database")


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("nth", TRIP)
async def test_struck_while_it_is_cut_off(town: Town, nth: int, how: str) -> None:
    await falls(town)
    town.strike.nth, town.strike.how, town.strike.sent = nth, how, 0
    await town.until("trip")
    assert town.strike.hit
    assert town.wire.acts == ["trip"]
    assert town.relay()[-1] == TRIPPED[0]
    assert all(state == "failed" for _, state in town.relay()[:-1])
    await pays(town)
    await town.until("permit")
    assert town.relay()[-1] == ("permit", "verified")
    assert town.wire.acts == ["trip", "permit", "key"]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("nth", PERMIT)
async def test_struck_while_supply_is_given_back(town: Town, nth: int, how: str) -> None:
    await falls(town)
    await town.until("trip")
    await pays(town)
    town.strike.nth, town.strike.how, town.strike.sent = nth, how, 0
    await town.until("permit")
    assert town.strike.hit
    assert town.wire.acts.count("trip") == 1
    assert town.wire.acts[-1] == "key"
    assert town.relay()[0] == TRIPPED[0]
    assert town.relay()[-1] == ("permit", "verified")
    assert {state for _, state in town.relay()[1:-1]} <= {"failed"}


@pytest.mark.parametrize("how", ["request", "answer", "hang up", "twice", "late", "crash"])
async def test_struck_while_he_pays(town: Town, how: str) -> None:
    await falls(town)
    await town.until("trip")
    if how == "crash":  # the bank's front machine dies, and clears up when it is back
        with pytest.raises(Crash):
            await pays(town, Trouble(1, how))
        town.teller.trouble = None
        town.teller.restart()
    else:
        await pays(town, Trouble(1, how))
    await town.until("permit")
    town.teller.deliver_late()
    assert town.relay() == [*TRIPPED, ("permit", "verified")]
    assert town.wire.acts == ["trip", "permit", "key"]
    standing = sum(p.payment.amount_fen for p in town.teller.books.values() if p.standing)
    assert ledger.payment_differences(town.conn) == []
    assert standing == 5_000
