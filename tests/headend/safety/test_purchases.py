"""Purchases (充值) from the bank's message to the wallet of a real meter, with something lost at each request in turn.

Whatever is lost, and whoever dies: what was paid is in the meter, once, and nothing is said to be there that was not read back.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from headend.collector.commands import Commands
from headend.collector.drivers import drivers
from headend.collector.recorder import Recorder
from headend.jobs import wallets as job
from headend.jobs.frame import Run
from headend.store import leases, ledger, orders, purchases, wallet_rules, wallets
from headend.store.archive import installed
from headend.store.db import Connection
from headend.store.ledger import Name
from headend.store.orders import Fence
from headend.store.purchases import PaymentCarried
from protocols.localtime import as_datetime
from terminals.bus import Bus
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.driver import Meter
from terminals.links.tcp import connect
from terminals.pace import Pace
from terminals.simulator.standin import StandInMachine
from terminals.simulator.wallet import OTHER, Limits, Refusal, Wallet
from tests.headend.safety.test_fee_control import Died, Strike, Struck
from tests.support.house import SHANGHAI
from tests.support.wire import LEASE, QUICK, Wire

DAY = dt.date(2026, 3, 11)
PRICES = (8_283, 6_183, 5_483, 3_083)


@dataclass
class House:
    """A customer whose meter counts down by itself, who collects from it, and the job that asks."""

    wire: Wire
    dsn: str
    strike: Strike
    fence: Fence
    bus: Bus | None = None
    serial: int = 0
    machine: StandInMachine | None = None

    @property
    def conn(self) -> Connection:
        return self.wire.conn

    @property
    def wallet(self) -> Wallet:
        assert self.wire.meter.wallet is not None
        return self.wire.meter.wallet

    def pay(self, fen: int) -> int:
        """The entry of the payment."""
        self.serial += 1
        booked = ledger.pay(
            self.conn, customer="9001", channel="counter", accounting_date=DAY, serial=str(self.serial), amount_fen=fen,
            paid_at=self.wire.clock.now(), now=self.wire.clock.now(),
        )  # fmt: skip
        return booked.entry_id

    def take_back(self, serial: int, fen: int) -> None:
        try:
            with self.conn.transaction():
                ledger.reverse(
                    self.conn, Name("counter", DAY, str(serial)), reversal_serial=f"R{serial}", amount_fen=fen,
                    reversed_at=self.wire.clock.now(), now=self.wire.clock.now(),
                )  # fmt: skip
        finally:
            self.conn.commit()

    def ask(self) -> list[int]:
        return purchases.ask_waiting(self.conn, now=self.wire.clock.now(), who="job:purchase")[0]

    async def collect(self) -> None:
        """A collector looks at the orders there are. One that died is followed by another when its lease has ended."""
        waiting = orders.work(self.conn, [self.wire.where.terminal])
        (row,) = installed(self.conn, self.wire.clock.now(), [self.wire.where.terminal])
        self.conn.commit()
        driver = Dlt645Driver(machine=self.machine)
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
        with psycopg.connect(self.dsn, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> ALL(%s)",
                ([admin.info.backend_pid, self.conn.info.backend_pid],),
            )

    async def rounds(self, n: int = 5) -> None:
        """Quarter-hours of the job and of a collector."""
        for _ in range(n):
            self.ask()
            await self.collect()
            self.wire.clock.pass_(minutes=15)

    def standing(self) -> list[tuple[int, str]]:
        """(fen, how it stands), oldest first. What is carried was read back."""
        found = []
        for row in reversed(purchases.listing(self.conn, limit=50)):
            if row["standing"] == "carried":
                events = orders.get(self.conn, row["order_id"])["events"]
                assert any("read back" in event["detail"] for event in events if event["event"] == "prove"), (
                    events
                )
            found.append((row["amount_fen"], row["standing"]))
        self.conn.commit()
        return found

    @property
    def taken(self) -> list[tuple[int, int]]:
        """(count, fen) of what the meter itself noted, oldest first."""
        return [(record.count, record.fen) for record in self.wallet.records]


@pytest.fixture
def house(bare_wire: Wire, store_dsn: str) -> Iterator[House]:
    bare_wire.conn.execute("UPDATE account SET fee_control = 'meter'")
    bare_wire.conn.commit()
    bare_wire.meter.wallet = Wallet(PRICES, Limits(alarm1=0, alarm2=0))
    return House(bare_wire, store_dsn, Strike(0, ""), bare_wire.fence, machine=StandInMachine())


async def test_what_is_paid_is_carried_in_order(house: House) -> None:
    for fen in (5_000, 300, 300):
        house.pay(fen)
    await house.rounds(4)
    assert house.standing() == [(5_000, "carried"), (300, "carried"), (300, "carried")]
    assert house.taken == [(1, 5_000), (2, 300), (3, 300)]
    assert house.wallet.customer == "000000009001"
    assert house.ask() == []


#: requests of a recharge: four to look, two that carry it, four that read it back
REQUESTS = range(1, 11)
HOWS = ("request", "answer", "before", "after", "database")


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("nth", REQUESTS)
async def test_struck_while_it_is_carried(house: House, nth: int, how: str) -> None:
    house.pay(5_000)
    await house.rounds(1)
    house.pay(700)
    house.pay(800)
    house.strike.nth, house.strike.how, house.strike.sent = nth, how, 0
    await house.rounds(6)
    assert house.strike.hit
    assert house.taken == [(1, 5_000), (2, 700), (3, 800)]
    assert house.standing() == [(5_000, "carried"), (700, "carried"), (800, "carried")]
    assert house.wallet.count == purchases.proved(house.conn, house.wire.where.meter)


@pytest.mark.parametrize("how", ["request", "answer", "before", "after"])
@pytest.mark.parametrize("nth", [5, 6])
async def test_struck_while_the_account_is_opened(house: House, nth: int, how: str) -> None:
    house.pay(5_000)
    house.strike.nth, house.strike.how, house.strike.sent = nth, how, 0
    await house.rounds(4)
    assert house.strike.hit
    assert (house.taken, house.standing()) == ([(1, 5_000)], [(5_000, "carried")])


async def test_nobody_is_cut_off_by_us(house: House) -> None:
    house.conn.execute("UPDATE account SET prepaid = true")
    house.conn.commit()
    facts, _ = orders.facts(house.conn, house.wire.where.asset, house.wire.clock.now())
    assert facts.prepaid is False
    assert ledger.to_act_on(house.conn, now=house.wire.clock.now()) == []


# --- taken back ---


async def test_a_payment_that_was_never_sent_is_taken_back(house: House) -> None:
    house.pay(5_000)
    (order,) = house.ask()
    house.take_back(1, 5_000)
    assert house.wire.order(order)["state"] == "cancelled"
    house.pay(600)
    await house.rounds(2)
    assert house.standing() == [(5_000, "reversed"), (600, "carried")]
    assert house.taken == [(1, 600)]


async def test_a_payment_that_is_in_the_meter_or_may_be_is_not_taken_back(house: House) -> None:
    house.pay(5_000)
    house.ask()
    house.strike.nth, house.strike.how, house.strike.sent = 6, "answer", 0
    await house.collect()
    assert house.standing() == [(5_000, "under way")]
    with pytest.raises(PaymentCarried, match="is unknown"):
        house.take_back(1, 5_000)
    await house.rounds(1)
    assert house.standing() == [(5_000, "carried")]
    with pytest.raises(PaymentCarried, match="headend purchase refund"):
        house.take_back(1, 5_000)


async def test_what_was_proved_absent_may_be_taken_back(house: House) -> None:
    house.pay(5_000)
    house.ask()
    house.strike.nth, house.strike.how, house.strike.sent = 6, "request", 0
    await house.collect()
    await house.collect()  # found out by reading
    assert house.standing() == [(5_000, "waiting")]
    house.take_back(1, 5_000)
    await house.rounds(2)
    assert (house.standing(), house.taken) == ([(5_000, "reversed")], [])


# --- whose wallet it is ---


@pytest.mark.parametrize(
    "meanwhile",
    [
        "UPDATE account SET valid_to = %(now)s",  # moved out, and somebody else may have moved in
        "UPDATE account SET fee_control = 'master'",  # counted down by us from now on
        "UPDATE account SET prepaid = false",
    ],
)
async def test_what_was_asked_for_goes_into_no_wallet_that_is_the_customers_no_more(
    house: House, meanwhile: str
) -> None:
    house.pay(5_000)
    (order,) = house.ask()
    house.conn.execute(meanwhile, {"now": as_datetime(house.wire.clock.now())})
    house.conn.commit()
    house.wire.clock.pass_(minutes=15)
    await house.collect()
    assert (house.wire.order(order)["state"], house.taken) == ("refused", [])
    await house.rounds(2)
    assert house.taken == []


# --- wallets that are not where the ledger thinks ---


async def test_a_wallet_that_somebody_else_has_filled_is_left_alone(house: House) -> None:
    house.pay(5_000)
    await house.rounds(1)
    now = house.wire.clock.now()
    registers = house.wire.meter.registers(now)
    assert registers is not None
    house.wallet.take("recharge", 1_000, 2, "000000009001", registers, now)  # by card
    house.pay(300)
    await house.rounds(3)
    assert house.standing()[-1] == (300, "refused before sending")
    assert house.taken == [(1, 5_000), (2, 1_000)]
    assert (
        len(orders.listing(house.conn, limit=50, kind="purchase")) == 2
    )  # it is not looked at again every quarter-hour
    purchases.settle(
        house.conn,
        house.wire.where.asset,
        count=2,
        carried=[],
        why="bought by card",
        who="李敏",
        now=house.wire.clock.now(),
    )
    purchases.again(
        house.conn,
        purchases.listing(house.conn, limit=1)[0]["purchase_id"],
        who="李敏",
        now=house.wire.clock.now(),
    )
    await house.rounds(1)
    assert house.taken == [(1, 5_000), (2, 1_000), (3, 300)]
    assert house.standing() == [(5_000, "carried"), (300, "carried")]


async def test_what_the_meter_refuses_waits_for_a_person(house: House) -> None:
    house.wallet.limits = Limits(alarm1=0, alarm2=0, hoarding=4_000)
    house.pay(5_000)
    await house.rounds(3)
    assert house.standing() == [(5_000, "refused by the meter")]
    (order,) = orders.listing(house.conn, limit=9, kind="purchase")
    assert "hoarding" in order["outcome"]
    house.wallet.limits = Limits(alarm1=0, alarm2=0)
    (row,) = purchases.listing(house.conn, limit=1)
    purchases.again(house.conn, row["purchase_id"], who="李敏", now=house.wire.clock.now())
    await house.rounds(1)
    assert (house.standing(), house.taken) == ([(5_000, "carried")], [(1, 5_000)])


async def test_a_no_to_what_the_meter_has_taken_is_no_proof(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies between may say it twice: the second time the meter knows the authentication no more, and its no is all that comes back."""
    take = Wallet.take

    def twice(*told: Any) -> None:
        take(*told)
        raise Refusal(OTHER, "no such authentication")

    house.pay(5_000)
    house.ask()
    with monkeypatch.context() as patch:
        patch.setattr(Wallet, "take", twice)
        await house.collect()
    assert (house.taken, house.standing()) == ([(1, 5_000)], [(5_000, "carried")])
    with pytest.raises(PaymentCarried):
        house.take_back(1, 5_000)


async def test_a_no_is_read_back_before_the_payment_may_go_back(house: House) -> None:
    house.wallet.limits = Limits(alarm1=0, alarm2=0, hoarding=4_000)
    house.pay(5_000)
    house.ask()
    house.strike.nth, house.strike.how, house.strike.sent = 7, "after", 0  # the first that reads it back
    await house.collect()
    assert house.standing() == [(5_000, "under way")]
    with pytest.raises(PaymentCarried):
        house.take_back(1, 5_000)
    await house.collect()
    assert house.standing() == [(5_000, "refused by the meter")]
    assert "hoarding" in orders.listing(house.conn, limit=1, kind="purchase")[0]["outcome"]
    house.take_back(1, 5_000)
    assert house.standing() == [(5_000, "reversed")]


async def test_without_a_cipher_machine_nothing_is_sent(house: House) -> None:
    house.machine = None
    house.pay(5_000)
    await house.rounds(2)
    assert house.standing() == [(5_000, "refused before sending")]
    house.machine = StandInMachine()
    house.wire.clock.pass_(hours=24)
    await house.rounds(1)
    assert house.standing() == [(5_000, "carried")]


# --- refunds ---


async def test_a_refund_needs_a_second_person_and_is_read_back(house: House) -> None:
    house.pay(5_000)
    house.pay(700)
    await house.rounds(2)
    first, second = (row["purchase_id"] for row in reversed(purchases.listing(house.conn, limit=2)))
    with pytest.raises(purchases.CannotPurchase, match="not the newest"):
        purchases.refund(house.conn, first, reason="moved out", who="李敏", now=house.wire.clock.now())
    order = purchases.refund(house.conn, second, reason="moved out", who="李敏", now=house.wire.clock.now())
    await house.rounds(1)
    assert house.wire.order(order)["state"] == "wanted"
    with pytest.raises(orders.Refused):
        orders.approve(house.conn, order, who="李敏", now=house.wire.clock.now())
    orders.approve(house.conn, order, who="陈晓", now=house.wire.clock.now())
    left = house.wallet._paid
    await house.rounds(1)
    assert (house.wire.order(order)["state"], house.wallet._paid) == ("verified", left - 700)
    house.take_back(2, 700)
    assert house.standing() == [(5_000, "carried"), (700, "refunded")]
    house.pay(900)
    await house.rounds(1)
    assert house.taken[-1] == (3, 900)


@pytest.mark.parametrize("how", ["request", "answer", "before", "after"])
@pytest.mark.parametrize("nth", [6, 7])
async def test_struck_while_it_is_refunded(house: House, nth: int, how: str) -> None:
    house.pay(5_000)
    house.pay(700)
    await house.rounds(2)
    (row,) = purchases.listing(house.conn, limit=1)
    order = purchases.refund(
        house.conn, row["purchase_id"], reason="moved out", who="李敏", now=house.wire.clock.now()
    )
    orders.approve(house.conn, order, who="陈晓", now=house.wire.clock.now())
    house.strike.nth, house.strike.how, house.strike.sent = nth, how, 0
    await house.rounds(3)
    assert house.strike.hit
    state = house.wire.order(order)["state"]
    assert (house.wallet._paid, state) in ((5_000, "verified"), (5_700, "failed"))
    arrived = nth == 7 and how in ("answer", "after")
    assert state == ("verified" if arrived else "failed")


# --- read, and compared ---


async def test_a_wallet_is_read_and_follows_from_what_its_registers_say(house: House) -> None:
    """Its own prices are another utility's: what is left differs from what our tariff makes of its registers, once enough was used."""
    wallet_rules.set_rules(house.conn, {"tolerance": 0})
    house.pay(5_000)
    await house.rounds(1)
    for hours in (1, 23):
        house.wire.clock.pass_(hours=hours)
        run = Run(house.conn, SHANGHAI, house.wire.clock.now())
        job.job(run, DAY)
        await house.collect()
    readings = wallets.newest(house.conn, house.wire.where.meter, limit=9)
    now = house.wire.clock.now()
    registers = house.wire.meter.registers(now)
    assert registers is not None
    shown = house.wallet.shown(registers)
    assert (readings[0]["remaining_fen"], readings[0]["overdrawn_fen"], readings[0]["count"]) == (*shown, 1)
    assert readings[0]["registers"] == registers.tolist()
    assert readings[0]["is_open"] is False
    assert readings[0]["settings"] == {
        "alarm1": 0,
        "alarm2": 0,
        "overdraft": 0,
        "hoarding": 99_999_999,
        "permit": 0,
    }
    job.job(Run(house.conn, SHANGHAI, now), DAY)
    rules = [
        row["rule"] for row in house.conn.execute("SELECT rule FROM finding WHERE state = 'new'").fetchall()
    ]
    assert rules == ["wallet-remaining"]


@pytest.mark.parametrize("protocol", ["gdw376", "dlt698"])
async def test_through_a_terminal(bare_wire: Wire, protocol: str) -> None:
    """The same frames, carried by the terminal in front of the meter."""
    wire, conn = bare_wire, bare_wire.conn
    conn.execute("UPDATE account SET fee_control = 'meter'")
    conn.commit()
    wire.meter.wallet = Wallet(PRICES, Limits(alarm1=0, alarm2=0))
    now = wire.clock.now()
    ledger.pay(
        conn,
        customer="9001",
        channel="counter",
        accounting_date=DAY,
        serial="1",
        amount_fen=800,
        paid_at=now,
        now=now,
    )
    (order,), _ = purchases.ask_waiting(conn, now=now, who="job:purchase")
    driver = drivers("terminals.simulator.standin:StandInMachine")[protocol]
    assert (await wire.carry_out(driver, order))["state"] == "verified"
    assert [(record.count, record.fen) for record in wire.meter.wallet.records] == [(1, 800)]
