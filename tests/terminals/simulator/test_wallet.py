"""A simulated meter that counts its customer's money down and cuts off by itself."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlt645.exchange import Master, Secure
from protocols.dlt645.security import OPEN_ACCOUNT, RECHARGE, REFUND, STATUS_QUERY, Purse
from protocols.dlt645.values import decode
from protocols.errors import Refused
from tariffs import purchase as rules
from terminals.simulator.fleet import Fleet
from terminals.simulator.scenario import small
from terminals.simulator.standin import StandInMachine
from terminals.simulator.wallet import Limits, Refusal, Stage, Wallet
from tests.terminals.simulator.test_devices import Bench

MACHINE = StandInMachine()
NOON = "2026-03-11 12:00"
PRICES = (8_283, 6_183, 5_483, 3_083)
FLAT = np.zeros(5, dtype=np.int64)


@pytest.fixture
def bench(quiet_world, at):
    dead = {spot.area for spot in quiet_world.faults.dead}
    area = next(
        p.area for p in quiet_world.plans if p.protocol == "dlt645" and p.area not in dead and p.area != 3
    )
    return Bench(quiet_world, area, at(NOON))


@pytest.fixture
def meter(bench):
    bench.meters[1].wallet = Wallet(PRICES, Limits(alarm1=300, alarm2=200, overdraft=100, permit=50))
    return bench.meters[1]


def acts(bench):
    """What was done, refusals aside."""
    return [act for act in bench.acts if act.act != "refused"]


def offer(bench, di, fen, count, customer="9001", spoil=b""):
    session = bench.authenticate(1)
    purse = Purse(fen, count, customer)
    data = purse.encode(MACHINE.sign_purchase(session, di, purse))
    return bench.ask(Master(), Secure(bench.meters[1].address, di, spoil + data[len(spoil) :])).data


def refused(bench, *args, **more) -> int:
    with pytest.raises(Refused) as refusal:
        offer(bench, *args, **more)
    return refusal.value.code


def amount(bench, di) -> str:
    return str(decode(di, bench.read(1, di))[0].value)


def test_an_account_is_opened_and_recharged_by_the_rules(bench, meter):
    assert amount(bench, 0x00900200) == "0.00"
    assert refused(bench, RECHARGE, 5_000, 1) == 0x0001
    assert refused(bench, OPEN_ACCOUNT, 5_000, 2) == 0x0020
    assert offer(bench, OPEN_ACCOUNT, 5_000, 1) == b""
    assert (amount(bench, 0x00900200), amount(bench, 0x03330201), amount(bench, 0x03330301)) == (
        "50.00",
        "1",
        "50.00",
    )
    assert refused(bench, OPEN_ACCOUNT, 5_000, 1) == 0x0002
    assert refused(bench, RECHARGE, 5_000, 1) == 0x0002
    assert refused(bench, RECHARGE, 5_000, 3) == 0x0020
    assert refused(bench, RECHARGE, 5_000, 2, "9002") == 0x0010
    assert refused(bench, RECHARGE, 99_999_999, 2) == 0x0040
    assert offer(bench, RECHARGE, 1_050, 2) == b""
    assert (amount(bench, 0x00900200), amount(bench, 0x03330601)) == ("60.50", "60.50")
    assert refused(bench, REFUND, 1_050, 1) == 0x0020
    assert offer(bench, REFUND, 1_050, 2) == b""
    assert (amount(bench, 0x00900200), amount(bench, 0x03330201)) == ("50.00", "2")


def test_the_macs_are_of_one_authentication_and_of_every_byte(bench, meter):
    assert refused(bench, OPEN_ACCOUNT, 5_000, 1, spoil=b"\x89") == 0x0004
    address = meter.address
    session = bench.authenticate(1)
    purse = Purse(5_000, 1, "9001")
    data = purse.encode(MACHINE.sign_purchase(session, OPEN_ACCOUNT, purse))
    bench.authenticate(1)  # whoever authenticates anew bars what was signed before
    for code in (0x0004, 0x0008):
        with pytest.raises(Refused) as refusal:
            bench.ask(Master(), Secure(address, OPEN_ACCOUNT, data))
        assert refusal.value.code == code
    assert amount(bench, 0x00900200) == "0.00"
    offer(bench, OPEN_ACCOUNT, 5_000, 1)
    bench.authenticate(1)
    status = bench.ask(Master(), Secure(address, STATUS_QUERY, b"")).data
    assert (int.from_bytes(status[:4], "little"), int.from_bytes(status[8:12], "little")) == (5_000, 1)
    assert status[16:22][::-1].hex() == "000000009001"


def test_it_counts_down_warns_trips_and_closes_again(bench, meter):
    offer(bench, OPEN_ACCOUNT, 1_000, 1)
    opened = bench.now
    states, left = [], []
    while len(acts(bench)) < 9 and bench.now < opened + np.timedelta64(30, "D"):
        bench.now += np.timedelta64(10, "m")
        left.append((amount(bench, 0x00900200), amount(bench, 0x00900201)))
        states.append(meter.wallet.stage)
        if meter.wallet.tripped:
            break
    assert states == sorted(states)
    assert set(states) == set(Stage)
    assert [act.act for act in acts(bench)] == [
        "purchase",
        "trip",
        "permit",
        "key",
        "trip",
        "permit",
        "key",
        "trip",
    ]
    # by its own prices, from the registers at the opening
    then, now = (meter.area.registers(t)[:, 1].tolist() for t in (opened, bench.now))
    total, sharp, peak, _, valley = (b - a for a, b in zip(then, now, strict=True))
    cost = sharp * 8_283 + peak * 6_183 + (total - sharp - peak - valley) * 5_483 + valley * 3_083
    owed = -((1_000 * 1_000_000 - cost) // 1_000_000)
    assert left[-1] == ("0.00", f"{owed // 100}.{owed % 100:02d}")
    assert owed in (100, 101)  # the second in which the overdraft was used up
    bench.now += np.timedelta64(1, "h")
    assert (amount(bench, 0x00900200), amount(bench, 0x00900201)) == left[-1]  # dark: nothing is used
    offer(bench, RECHARGE, owed + 49, 2)  # not more than the close-permit amount
    bench.now += np.timedelta64(1, "h")
    assert amount(bench, 0x00900200) == "0.49"
    assert meter.relay.open
    offer(bench, RECHARGE, 2_000, 3)
    bench.now += np.timedelta64(10, "m")
    bench.read(1, 0x00900200)
    assert not meter.relay.open


def test_keep_power_and_no_account_trip_nobody(bench, meter):
    bench.control(1, 0x3A)
    offer(bench, OPEN_ACCOUNT, 10, 1)
    bench.now += np.timedelta64(1, "D")
    assert amount(bench, 0x00900200) == "0.00"
    assert not meter.relay.open
    other = bench.meters[2]
    other.wallet = Wallet(PRICES)
    bench.read(2, 0x00900200)
    assert not other.relay.open


WALLETS = st.builds(
    lambda count, paid, customer: (count, paid, customer if count else ""),
    st.integers(0, 3), st.integers(0, 3_000), st.sampled_from(["9001", "9002"]),
)  # fmt: skip


@given(
    WALLETS,
    st.sampled_from(list(rules.Kind)),
    st.integers(0, 4),
    st.integers(1, 3_000),
    st.sampled_from(["9001", "9002"]),
)
def test_its_rules_are_the_head_ends(held, kind, count, fen, customer):
    """Written twice, so that one's mistake is not the other's; the words are those of SERR."""
    stored, paid, whose = held
    wallet = Wallet(PRICES, Limits(hoarding=4_000), whose, stored)
    wallet._paid, wallet._base = paid, FLAT
    ours = rules.Wallet(stored, paid, whose, 4_000)
    said = rules.answer(ours, rules.Purchase(kind, count, fen, customer))
    words = {"repeated": 0x02, "customer number": 0x10, "count": 0x20, "hoarding": 0x40}
    word = 0
    try:
        wallet.take(str(kind), fen, count, customer, FLAT, np.datetime64("2026-03-11"))
    except Refusal as why:
        word = why.word
    assert word == (0 if said is rules.Answer.TAKEN else words.get(said.value, 0x01))
    changed = rules.after(ours, rules.Purchase(kind, count, fen, customer))
    assert (wallet.count, wallet.shown(FLAT)[0], wallet.customer) == (
        changed.count,
        changed.fen,
        changed.customer,
    )


def test_a_restarted_meter_goes_on(bench, meter):
    offer(bench, OPEN_ACCOUNT, 1_000, 1)
    offer(bench, RECHARGE, 500, 2)
    held = dataclasses.replace(meter.wallet)
    meter.wallet = Wallet(PRICES, held.limits)
    for act in acts(bench):
        meter.restore(act)
    assert (meter.wallet.count, meter.wallet.customer) == (2, "000000009001")
    assert amount(bench, 0x00900200) == "15.00"


async def test_a_fleet_of_them_and_its_restart(tmp_path, at):
    """The archive says who executes; what was put in is there after a restart."""
    scenario = small(7, wallets=True)
    clock = Frozen(at(NOON))
    for again in (False, True):
        fleet = Fleet(scenario, tmp_path, clock, ("127.0.0.1", 9))
        await fleet.start()
        try:
            own = [
                meter for terminal in fleet.terminals for meter in terminal.meters if meter.wallet is not None
            ]
            assert own
            assert all(meter.prepaid for meter in own)
            if not again:
                own[0].purchase(clock.now(), "open", 5_000, 1, "000000009001")
            registers = own[0].registers(clock.now())
            assert (own[0].wallet.count, own[0].wallet.shown(registers)) == (1, (5_000, 0))
        finally:
            await fleet.stop()
    text = (tmp_path / "archive" / "customers.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert {row["fee_control"] for row in rows} == {"master", "meter"}
    assert sum(row["fee_control"] == "meter" for row in rows) == len(own)


class Frozen:
    """Time that stands still."""

    rate = 1.0

    def __init__(self, time):
        self.time = time

    def now(self):
        return self.time

    def seconds_until(self, when):
        return max(0.0, float((when - self.time) / np.timedelta64(1, "s")))
