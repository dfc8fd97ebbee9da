"""Hours and prices written into real simulated meters: nothing but what was approved, each byte once, and never half of a table in force."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from headend.control.facts import Limits
from headend.store import orders, price_tables, tariffs
from headend.store.orders import Refused, Writing
from headend.store.price_tables import Proposal
from protocols.errors import FrameError
from protocols.localtime import as_datetime
from tariffs.timetable import clashes, hours
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.driver import Meter, Script
from terminals.simulator.standin import StandInMachine
from tests.support.house import SHANGHAI, one
from tests.support.wire import Wire

AT = dt.date(2026, 4, 1)
LIMITS = Limits()
PLAN = "zhejiang-residential-peak-valley"
UNTIL = AT + dt.timedelta(days=30)


def driver() -> Dlt645Driver:
    return Dlt645Driver(machine=StandInMachine())


def wants(wire: Wire, kind: str, writing: Writing | None = None) -> int:
    now = wire.clock.now()
    return orders.request(
        wire.conn, kind="prices", action=kind, asset=wire.where.asset, reason="new hours", who="陈晓", now=now,
        expires=now + np.timedelta64(8, "h"), writing=writing,
    )  # fmt: skip


async def held(wire: Wire) -> dict[str, Any]:
    found = await wire.carry_out(driver(), wants(wire, "read"))
    assert found["state"] == "verified", found
    document: dict[str, Any] = found["result"]["held"]
    return document


def local(wire: Wire) -> dt.datetime:
    return as_datetime(wire.clock.now(), SHANGHAI).replace(tzinfo=None)


async def proposed(wire: Wire, at: dt.date = AT) -> Proposal:
    whose = price_tables.contract(wire.conn, wire.where.asset, wire.clock.now())
    found = price_tables.propose(wire.conn, whose, await held(wire), at, local(wire), LIMITS)
    wire.conn.commit()
    return found


async def approved(wire: Wire, at: dt.date = AT) -> tuple[int, Proposal]:
    proposal = await proposed(wire, at)
    order = wants(wire, "write", proposal.writing())
    orders.approve(wire.conn, order, who="李敏", now=wire.clock.now())
    return order, proposal


def mismatches(wire: Wire, document: Mapping[str, Any], at: dt.date = AT) -> list[Any]:
    return clashes(PLAN, tariffs.one(wire.conn, PLAN).on(at), document, at, UNTIL)


async def test_a_plan_comes_into_force_at_its_date_and_not_before(bare_wire: Wire) -> None:
    wire = bare_wire
    order, proposal = await approved(wire)
    assert [item["key"] for item in proposal.items][-1] == "switch zones"
    before = proposal.held
    done = await wire.carry_out(driver(), order)
    assert (done["state"], done["outcome"]) == (
        "verified",
        f"{len(proposal.items)} written, all read back as approved",
    )
    assert (
        hours(done["result"]["held"], local(wire).date(), AT) == hours(before, local(wire).date(), AT)
    ).all()
    assert mismatches(wire, done["result"]["held"])  # until then it counts as it did
    wire.clock.pass_(days=21)
    assert mismatches(wire, await held(wire)) == []
    # and there is nothing to be written any more
    assert (await proposed(wire, dt.date(2026, 5, 1))).items == ()


async def test_one_person_is_not_enough(bare_wire: Wire) -> None:
    wire = bare_wire
    order = wants(wire, "write", (await proposed(wire)).writing())
    with pytest.raises(Refused, match="陈晓 asked for it"):
        orders.approve(wire.conn, order, who="陈晓", now=wire.clock.now())
    with pytest.raises(orders.AlreadyOpen, match=f"prices order {order} of this meter"):
        wants(wire, "write", (await proposed(wire)).writing())
    with pytest.raises(orders.OrderError, match="a write of hours and prices says which"):
        wants(wire, "write")


async def test_what_stands_there_otherwise_than_it_was_approved_is_not_written_over(bare_wire: Wire) -> None:
    """Somebody with a hand-held unit was there between the approval and the sending."""
    wire = bare_wire
    order, _ = await approved(wire)
    tables = wire.meter.tables(wire.clock.now())
    assert tables.write(0x04020003, tables.read(0x04020003)[3:] + bytes.fromhex("040022"), local(wire))  # type: ignore[index]
    done = await wire.carry_out(driver(), order)
    assert done["state"] == "refused"
    assert done["outcome"].startswith("difference: spare day 3 is no longer what was approved")


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("late", "at least 24 hours must be left"),
        ("clock", "the meter's clock is off by +598 s, 300 s at most"),
        ("midnight", "within 30 minutes of midnight nothing is written"),
    ],
)
async def test_what_has_changed_since_it_was_approved_is_asked_again(
    bare_wire: Wire, what: str, why: str
) -> None:
    wire = bare_wire
    order, _ = await approved(wire, dt.date(2026, 3, 13))
    if what == "clock":
        wire.meter.wander(wire.clock.now(), np.timedelta64(598, "s"))
    else:
        wire.conn.execute("UPDATE orders SET expires_at = '2026-03-13'")
        wire.conn.commit()
        wire.clock.pass_(hours=14 if what == "late" else 12, minutes=45)
    done = await wire.carry_out(driver(), order)
    assert (done["state"], done["sent_at"]) == ("refused", None)
    assert why in done["outcome"]
    assert not await changed(wire)


async def test_the_plan_of_somebody_else_is_not_written(bare_wire: Wire) -> None:
    """Approved, and before it was sent the customer went over to another plan."""
    wire = bare_wire
    order, _ = await approved(wire)
    wire.conn.execute("UPDATE account SET tariff = 'zhejiang-residential-steps'")
    wire.conn.commit()
    done = await wire.carry_out(driver(), order)
    assert (done["state"], done["outcome"]) == ("refused", "prices: its account is on this plan no more")
    assert not await changed(wire)


async def changed(wire: Wire) -> bool:
    found = await held(wire)
    return any(found[key] for key in ("switch zones", "switch days"))


class Cut(Dlt645Driver):
    """The `at`-th write is the last one that arrives: its answer is lost, or it never comes to the meter at all."""

    def __init__(self, at: int, *, arrives: bool) -> None:
        super().__init__(machine=StandInMachine())
        self.left, self.arrives, self.deaf = at, arrives, False
        self.writes = 0

    def write_table(self, meter: Meter, key: str, value: Any, held: Mapping[str, Any]) -> Script[None]:
        self.left -= 1
        if self.left >= 0 or self.arrives:
            self.writes += 1
            yield from super().write_table(meter, key, value, held)
        if self.left < 0:
            self.deaf = True
            raise FrameError("lost")

    def tables(self, meter: Meter, keys: Any = None) -> Script[dict[str, Any]]:
        if self.deaf:
            raise FrameError("lost")
        return (yield from super().tables(meter, keys))


CUTS = [(at, arrives) for at in range(4) for arrives in (True, False)]


@pytest.mark.parametrize(("at", "arrives"), CUTS)
async def test_lost_at_each_write_in_turn(bare_wire: Wire, at: int, arrives: bool) -> None:
    """The order is unknown until it has been read; then it is what the meter says, nothing is sent again, and the hours are those of before or,
    where all of it is there, the plan's."""
    wire = bare_wire
    order, proposal = await approved(wire)
    assert len(proposal.items) == len(CUTS) / 2
    cut = Cut(at, arrives=arrives)
    found = await wire.carry_out(cut, order)
    assert found["state"] == "unknown"
    assert cut.writes == at + arrives
    again = Cut(0, arrives=True)
    ended = await wire.carry_out(again, order)
    assert again.writes == 0
    whole = at + arrives == len(proposal.items)
    assert ended["state"] == ("verified" if whole else "failed")
    before = hours(proposal.held, AT, UNTIL)
    wire.clock.pass_(days=21)
    after = await held(wire)
    if whole:
        assert mismatches(wire, after) == []
    else:
        assert (hours(after, AT, UNTIL) == before).all()


async def test_a_restart_between_two_writes_sends_nothing_again(bare_wire: Wire) -> None:
    """The collector died while it wrote: the order stands as sending, and is found out about by reading."""
    wire = bare_wire
    order, proposal = await approved(wire)
    wire.conn.execute("UPDATE orders SET state = 'sending', sent_at = %s", (as_datetime(wire.clock.now()),))
    wire.conn.commit()
    heir = Cut(0, arrives=True)
    found = await wire.carry_out(heir, order)
    assert (found["state"], heir.writes) == ("failed", 0)
    assert found["outcome"].startswith(f"read back: 0 of {len(proposal.items)} as approved")


async def test_what_a_broken_write_has_left_is_completed_or_taken_back(bare_wire: Wire) -> None:
    wire = bare_wire
    order, proposal = await approved(wire)
    cut = Cut(len(proposal.items) - 1, arrives=False)
    await wire.carry_out(cut, order)
    assert (await wire.carry_out(driver(), order))["state"] == "failed"
    rest = await proposed(wire)
    assert [item["key"] for item in rest.items] == ["switch zones"]
    whose = rest.contract
    # another day would change the spare set under a switch that is programmed
    with pytest.raises(
        price_tables.StoreError,
        match="switch days is programmed for 2026-04-01 00:00 already: take it back first",
    ):
        price_tables.propose(wire.conn, whose, await held(wire), dt.date(2026, 5, 1), local(wire), LIMITS)
    wire.clock.pass_(
        hours=12, minutes=58
    )  # a switch is taken back at any time, two minutes before midnight too
    back = wants(wire, "write", price_tables.taking_back(whose, await held(wire), local(wire)).writing())
    orders.approve(wire.conn, back, who="李敏", now=wire.clock.now())
    assert (await wire.carry_out(driver(), back))["state"] == "verified"
    assert not await changed(wire)


async def test_who_is_found_out_about_after_the_date_is_judged_by_the_present_set(bare_wire: Wire) -> None:
    wire = bare_wire
    order, proposal = await approved(wire)
    await wire.carry_out(Cut(len(proposal.items) - 1, arrives=True), order)
    wire.clock.pass_(days=21)
    assert (await wire.carry_out(driver(), order))["state"] == "verified"


async def test_the_exchange_of_a_write_is_on_the_order_and_holds_no_password(bare_wire: Wire) -> None:
    wire = bare_wire
    order, _ = await approved(wire)
    done = await wire.carry_out(driver(), order)
    assert wire.meter.password not in repr(done)
    assert one(wire.conn, "SELECT count(*) FROM order_event WHERE order_id = %s", order) == 5


def counting_money(wire: Wire) -> None:
    """A meter that counts money by itself, of a customer on steps."""
    wire.meter.prepaid = True
    wire.conn.execute("UPDATE account SET tariff = 'beijing-residential-steps'")
    wire.conn.commit()


async def test_prices_and_steps_go_sealed_and_come_into_force_with_the_hours(bare_wire: Wire) -> None:
    wire = bare_wire
    counting_money(wire)
    order, proposal = await approved(wire)
    keys = [item["key"] for item in proposal.items]
    assert keys == [
        "spare day 2",
        "spare zones",
        "spare prices",
        "spare steps",
        "switch days",
        "switch prices",
        "switch steps",
        "switch zones",
    ]
    done = await wire.carry_out(driver(), order)
    assert done["state"] == "verified", done["outcome"]
    wire.clock.pass_(days=21)
    found = await held(wire)
    assert found["prices"] == [4883] * 4
    assert found["steps"] == {"limits": [288_000, 480_000], "prices": [0, 500, 3000], "dates": None}
    assert (await proposed(wire, dt.date(2026, 5, 1))).items == ()


async def test_without_a_cipher_machine_no_money_is_written_and_no_switch_after_it(bare_wire: Wire) -> None:
    wire = bare_wire
    counting_money(wire)
    order, _ = await approved(wire)
    done = await wire.carry_out(Dlt645Driver(), order)
    assert done["state"] == "failed"
    assert next(event["detail"] for event in done["events"] if event["event"] == "lose").endswith(
        "parameter 040502FF at level 02"
    )
    assert not await changed(wire)
