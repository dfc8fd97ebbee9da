"""Limits written into the wallets of real simulated meters: what two persons approved, each byte once, and nobody loses supply by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest

from headend.collector.drivers import drivers
from headend.store import db, orders
from headend.store.orders import Refused, Writing
from protocols.dlt645.requests import Write
from protocols.errors import FrameError
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.driver import Driver, Meter
from terminals.simulator.wallet import Limits, Wallet
from tests.support.house import one
from tests.support.wire import Wire, broke

MACHINE = "terminals.simulator.standin:StandInMachine"


@pytest.fixture
def wallet(bare_wire: Wire) -> Wallet:
    bare_wire.conn.execute("UPDATE account SET fee_control = 'meter'")
    bare_wire.conn.commit()
    bare_wire.meter.wallet = Wallet(
        (8_283, 6_183, 5_483, 3_083), Limits(alarm1=2_000, alarm2=500, overdraft=1_000)
    )
    return bare_wire.meter.wallet


def wants(wire: Wire, becomes: dict[str, int], was: dict[str, int], approved: bool = True) -> int:
    now = wire.clock.now()
    items = [{"key": name, "was": was[name], "becomes": fen} for name, fen in becomes.items()]
    order = orders.request(
        wire.conn, kind="limits", action="write", asset=wire.where.asset, reason="new amounts", who="陈晓", now=now,
        expires=now + np.timedelta64(8, "h"), writing=Writing({"items": items}),
    )  # fmt: skip
    if approved:
        orders.approve(wire.conn, order, who="李敏", now=now)
    return order


def driver_of(wire: Wire) -> Driver:
    return drivers(MACHINE)[wire.meter.area.plan.protocol]


HELD = {"alarm1": 2_000, "alarm2": 500, "overdraft": 1_000, "hoarding": 99_999_999, "permit": 0}


@pytest.mark.parametrize("protocol", ["dlt645", "gdw376", "dlt698"], indirect=True)
async def test_they_are_written_and_read_back(bare_wire: Wire, wallet: Wallet) -> None:
    """Two of class 1, under the machine's MAC; the others at level 02."""
    wanted = {"alarm1": 3_000, "alarm2": 700, "overdraft": 0, "permit": 100}
    order = wants(bare_wire, wanted, HELD, approved=False)
    assert orders.get(bare_wire.conn, order)["state"] == "wanted"
    with pytest.raises(Refused, match="陈晓 asked for it and cannot approve it"):
        orders.approve(bare_wire.conn, order, who="陈晓", now=bare_wire.clock.now())
    orders.approve(bare_wire.conn, order, who="李敏", now=bare_wire.clock.now())
    bare_wire.meter.purchase(bare_wire.clock.now(), "open", 5_000, 1, "9001")
    found = await bare_wire.carry_out(driver_of(bare_wire), order)
    assert (found["state"], found["outcome"]) == ("verified", "4 written, each read back as approved")
    assert wallet.limits == Limits(alarm1=3_000, alarm2=700, overdraft=0, permit=100)


async def test_nobody_who_has_supply_loses_it_by_them(bare_wire: Wire, wallet: Wallet) -> None:
    """The wallet has sunk since the order was approved."""
    order = wants(bare_wire, {"alarm2": 800}, HELD)
    bare_wire.meter.purchase(bare_wire.clock.now(), "open", 750, 1, "9001")
    found = await bare_wire.carry_out(driver_of(bare_wire), order)
    assert (found["state"], found["sent_at"]) == ("refused", None)
    assert found["outcome"] == "limits: 7.50 yuan are left: the meter would cut the customer off at 8.00"
    assert wallet.limits.alarm2 == 500
    assert bare_wire.acts == ["purchase"]


async def test_what_is_no_longer_as_approved_is_not_overwritten(bare_wire: Wire, wallet: Wallet) -> None:
    order = wants(bare_wire, {"alarm2": 0}, HELD | {"alarm2": 400})
    found = await bare_wire.carry_out(driver_of(bare_wire), order)
    assert found["state"] == "refused"
    assert "alarm2 is no longer what was approved" in found["outcome"]


async def test_a_lost_answer_is_found_out_and_nothing_is_written_again(
    bare_wire: Wire, wallet: Wallet
) -> None:
    written: list[int] = []

    class Confused(Dlt645Driver):
        def exchange(self, meter: Meter) -> Any:
            made = super().exchange(meter)
            sends = made.send

            def send(request: Any) -> bytes:
                raw: bytes = sends(request)
                if isinstance(request, Write):
                    written.append(request.di)
                    made.receive_data = lost
                return raw

            def lost(data: bytes) -> None:
                raise FrameError("no sense in it")

            made.send = send
            return made

    bare_wire.meter.purchase(bare_wire.clock.now(), "open", 5_000, 1, "9001")
    order = wants(bare_wire, {"overdraft": 2_000, "permit": 100}, HELD)
    driver = Confused(machine=driver_of(bare_wire).machine)  # type: ignore[attr-defined]
    found = await bare_wire.carry_out(driver, order)
    assert found["state"] == "unknown", found["outcome"]
    found = await bare_wire.carry_out(driver_of(bare_wire), order)
    assert (found["state"], found["result"]["not_as_approved"]) == ("failed", ["permit"])
    assert found["result"]["held"] == {"overdraft": 2_000, "permit": 0}
    assert written == [0x04001003]


async def test_gates_and_doors(bare_wire: Wire, wallet: Wallet) -> None:
    conn = bare_wire.conn
    conn.execute("UPDATE account SET protected = '透析'")
    conn.commit()
    with pytest.raises(Refused, match=r"protected: .*透析"):
        wants(bare_wire, {"alarm2": 0}, HELD)
    conn.execute("UPDATE account SET protected = ''")
    conn.commit()
    first = wants(bare_wire, {"alarm2": 0}, HELD, approved=False)
    with pytest.raises(orders.AlreadyOpen, match=f"limits order {first} of this meter is still open"):
        wants(bare_wire, {"alarm2": 0}, HELD)
    with pytest.raises(orders.OrderError, match="`headend purchase limits METER` works it out"):
        orders.request(
            conn, kind="limits", action="write", asset=bare_wire.where.asset, reason="x", who="陈晓", now=bare_wire.clock.now(),
            expires=bare_wire.clock.now() + np.timedelta64(1, "h"),
        )  # fmt: skip
    assert one(conn, "SELECT count(*) FROM orders WHERE kind = 'limits' AND sent_at IS NOT NULL") == 0


async def test_each_refusal_is_on_record_as_what_it_was(bare_wire: Wire, wallet: Wallet) -> None:
    """A trip and a write of limits, refused on one day for one reason to one person."""
    conn, now = bare_wire.conn, bare_wire.clock.now()
    broke(conn, bare_wire.where, now)
    conn.execute("UPDATE account SET protected = '透析', fee_control = 'master'")
    conn.commit()
    numbers = []
    for kind, action, writing in (
        ("relay", "trip", None),
        ("limits", "write", Writing({"items": [{"key": "alarm2", "was": 500, "becomes": 0}]})),
    ):
        with pytest.raises(Refused) as refused:
            orders.request(
                conn, kind=kind, action=action, asset=bare_wire.where.asset, reason="x", who="陈晓", now=now,
                expires=now + np.timedelta64(1, "h"), writing=writing,
            )  # fmt: skip
        assert refused.value.order_id is not None
        numbers.append(orders.get(conn, refused.value.order_id)["kind"])
    assert numbers == ["relay", "limits"]


@pytest.mark.parametrize(
    ("gate", "meanwhile"),
    [
        ("stopped", "UPDATE trip_stop SET stopped = true, who = '李敏', reason = '高温', at = now()"),
        ("protected", "UPDATE account SET protected = '透析'"),
    ],
)
async def test_what_forbids_it_at_the_very_moment_is_waited_for(
    bare_wire: Wire, wallet: Wallet, store_dsn: str, gate: str, meanwhile: str
) -> None:
    """As before a trip: what is said while the sending is committed comes before it or after it, never past it."""
    order = wants(bare_wire, {"alarm2": 0}, HELD)
    with db.connect(store_dsn) as other:
        other.execute(meanwhile)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            orders.begin(bare_wire.conn, order, fence=bare_wire.fence, now=bare_wire.clock.now())
        bare_wire.conn.rollback()
        other.commit()
    (refusal,) = orders.begin(bare_wire.conn, order, fence=bare_wire.fence, now=bare_wire.clock.now())
    assert refusal.gate == gate


async def test_a_write_that_ends_in_its_midst_leaves_no_meter_that_opens_before_it_warns(
    bare_wire: Wire, wallet: Wallet
) -> None:
    class Deaf(Dlt645Driver):
        def exchange(self, meter: Meter) -> Any:
            made = super().exchange(meter)
            sends, gone = made.send, []

            def send(request: Any) -> bytes:
                if isinstance(request, Write):
                    gone.append(request.di)
                if len(gone) > 1:
                    raise FrameError("the line is dead")
                return bytes(sends(request))

            made.send = send
            return made

    bare_wire.meter.purchase(bare_wire.clock.now(), "open", 5_000, 1, "9001")
    order = wants(bare_wire, {"alarm1": 400, "alarm2": 300}, HELD)
    await bare_wire.carry_out(Deaf(machine=driver_of(bare_wire).machine), order)  # type: ignore[attr-defined]
    assert (wallet.limits.alarm1, wallet.limits.alarm2) == (2_000, 300)
