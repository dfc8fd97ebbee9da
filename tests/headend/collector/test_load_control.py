"""Load control and keep-power of a terminal, through a collector, on real sockets, for both protocols."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from headend.control.load_control import (
    ControlOrder,
    KeepPower,
    MonthlyEnergy,
    PeriodControl,
    Purchase,
    Reduction,
    document,
)
from headend.control.order_state import State
from headend.store import orders
from headend.store.orders import Refused, Writing
from terminals.simulator.scenario import Group
from tests.support.collecting import House, Open

BOTH = pytest.mark.parametrize("protocol", ["gdw376", "dlt698"])
DAY = "0" * 16 + "1" * 8 + "2" * 8 + "0" * 16
PLAN = ControlOrder(
    (PeriodControl(DAY, (40_000, 30_000), scheme=2), MonthlyEnergy(120_000, -10, 90)),
    on=("period", "monthly-energy"),
    power_rounds=(1, 2),
    alarm_minutes=(5, 5),
    security_w=3_000,
    sliding_minutes=15,
)
#: AFN 05 of 376.1 from the master (C = 4AH), ACTION of 698.45
SWITCHES = {
    "gdw376": re.compile(rb"\x68\x4a.{5}\x05", re.DOTALL),
    "dlt698": re.compile(rb"\x07\x01.\x81[\x03-\x08][\x06\x07\x7f]", re.DOTALL),
}


async def opened(open_house: Open, protocol: str, now: str = "2026-03-11 10:07") -> House:
    """One terminal; every customer behind it has an account, and nobody is protected."""
    house = await open_house(Group(protocol, "dial-out", 1), now=now)  # type: ignore[arg-type]
    house.conn.execute("UPDATE account SET protected = ''")
    house.conn.execute(
        "INSERT INTO account (customer_id, point_id, tariff, prepaid, valid_from) "
        "SELECT (SELECT min(customer_id) FROM customer), i.point_id, 'zhejiang-residential-peak-valley', false, min(i.valid_from) "
        "FROM installation i WHERE NOT EXISTS (SELECT FROM account a WHERE a.point_id = i.point_id) GROUP BY i.point_id"
    )
    house.conn.commit()
    return house


def code(house: House) -> str:
    row = house.conn.execute("SELECT code FROM terminal").fetchone()
    house.conn.commit()
    assert row is not None
    return str(row["code"])


def ask(house: House, action: str, request: dict[str, Any] | None = None, **options: Any) -> int:
    now = house.clock.now()
    return orders.request(
        house.conn, kind="control", action=action, terminal=code(house), reason="test", who="陈晓", now=now,
        expires=now + np.timedelta64(3, "h"), writing=Writing(request or {}), **options,
    )  # fmt: skip


def approve(house: House, order: int) -> None:
    orders.approve(house.conn, order, who="李敏", now=house.clock.now())


def found(house: House, order: int) -> dict[str, Any]:
    row = orders.get(house.conn, order)
    house.conn.commit()
    return row


async def done(house: House, order: int, state: State = State.VERIFIED) -> dict[str, Any]:
    await house.until(lambda: house.state(order) is state or not found(house, order)["is_open"])
    row = found(house, order)
    assert row["state"] == state, row["outcome"]
    return row


async def lost(house: House, order: int) -> dict[str, Any]:
    """Its answer was lost; some minutes later it is looked into."""
    await house.until(lambda: house.state(order) in (State.UNKNOWN, State.VERIFIED))
    house.clock.time += np.timedelta64(5, "m")
    return await done(house, order)


def told(house: House) -> Any:
    """What the simulated terminal was told."""
    assert house.fleet is not None
    (terminal,) = house.fleet.terminals
    assert terminal.holding is not None
    return terminal.holding.held


def on(house: House) -> set[str]:
    switched: set[str] = told(house).switched(1, house.clock.now())
    return switched


@BOTH
async def test_a_plan_is_written_switched_on_and_read_back(open_house: Open, protocol: str) -> None:
    house = await opened(open_house, protocol)
    house.collect()
    if protocol == "dlt698":  # an array that is there, of four rounds
        told(house).put("set.81020200", bytes.fromhex("0104" + "1101" * 4))
    order = ask(house, PLAN.action, document(PLAN))
    assert house.state(order) is State.WANTED
    with pytest.raises(Refused, match="陈晓 asked for it"):
        orders.approve(house.conn, order, who="陈晓", now=house.clock.now())
    assert on(house) == set()
    approve(house, order)
    row = await done(house, order)
    assert row["outcome"] == "9 written, each read back as approved"
    assert [event["event"] for event in row["events"]] == ["request", "approve", "send", "answer", "prove"]
    assert row["result"]["before"]["on.period.1"] == {"on": False}
    assert on(house) == {"period", "monthly-energy"}
    # each command says until when it may act: SEQ has TpV, the APDU a time tag of that day
    frames = b"".join(house.wire.requests)
    if protocol == "gdw376":
        marks = re.findall(rb"\x68\x4a.{5}[\x04\x05](.)", frames, re.DOTALL)
        assert len(marks) == 9
        assert all(mark[0] & 0x80 for mark in marks)
    else:
        assert len(re.findall(rb"\x01\x07\xea\x03\x0b\x0a\x07.\x00..", frames, re.DOTALL)) == 10
    read = await done(house, ask(house, "read", {"group": 1}))
    held = read["result"]["held"]
    assert held["on.period.1"] == {"on": True, "scheme": 2, "periods": [1, 2]}
    assert held["period.1.2"] == {"setpoints_w": [40_000, 30_000]}
    assert (held["slots"]["slots"], held["security"]) == (DAY, {"security_w": 3_000})
    assert (held["power-rounds.1"], held["on.reduction.1"]) == ({"power_rounds": [1, 2]}, {"on": False})
    assert held["state.1"]["power_w"] > 0
    # off again: nobody else is needed
    off = ControlOrder(off=("period",))
    await done(house, ask(house, off.action, document(off)))
    assert on(house) == {"monthly-energy"}


MIXED = ControlOrder((PeriodControl("0" * 40 + "1" * 8, (50_000,), scheme=2),), on=("period",))


@BOTH
async def test_a_plan_that_breaks_off_half_way_holds_nobody(open_house: Open, protocol: str) -> None:
    """Another period control is on: new hours with old setpoints would be neither this plan nor that one."""
    house = await opened(open_house, protocol)
    house.collect()
    if protocol == "dlt698":  # an array that is there, of four rounds
        told(house).put("set.81020200", bytes.fromhex("0104" + "1101" * 4))
    order = ask(house, "write", document(PLAN))
    approve(house, order)
    await done(house, order)
    held, name = told(house), {"gdw376": "set.1.41.2", "dlt698": "set.1.8103"}[protocol]
    put = held.put
    held.put = lambda key, raw: None if key == name else put(key, raw)  # it keeps no other setpoints
    order = ask(house, "write", document(MIXED))
    approve(house, order)
    row = await done(house, order, State.FAILED)
    assert row["result"]["not_as_approved"] == ["on.period.1", "period.1.2"]
    assert on(house) == {"monthly-energy"}


@BOTH
async def test_a_terminal_whose_clock_is_wrong_is_held_to_no_hours(open_house: Open, protocol: str) -> None:
    house = await opened(open_house, protocol)
    assert house.fleet is not None
    (terminal,) = house.fleet.terminals
    terminal.wander(np.timedelta64(3, "h"))
    house.collect()
    order = ask(house, "write", document(PLAN))
    approve(house, order)
    row = await done(house, order, State.REFUSED)
    assert re.fullmatch(
        "clock: the terminal's clock is (3:00:0[0-9]|2:59:5[0-9]) ahead, and it would hold at other hours",
        row["outcome"],
    )
    assert on(house) == set()
    await done(house, ask(house, "release", document(ControlOrder(off=("period",)))))


async def test_keep_power_with_an_end_does_not_end_one_without(open_house: Open) -> None:
    house = await opened(open_house, "gdw376")
    house.collect()
    await done(house, ask(house, "keep-power", document(KeepPower(2))))
    told(house).switch_on("suspension", 3, house.clock.now())
    await done(house, ask(house, "keep-power", document(KeepPower())))
    row = await done(house, ask(house, "keep-power", document(KeepPower(1))), State.REFUSED)
    assert row["outcome"].startswith("controls_on: suspension of group 3 is on and would act at once")
    house.clock.time += np.timedelta64(1, "D")
    assert told(house).kept(house.clock.now())


@BOTH
async def test_keep_power_waits_for_nobody_and_bars_what_would_cut_off(
    open_house: Open, protocol: str
) -> None:
    house = await opened(open_house, protocol)
    house.collect()
    await done(house, ask(house, "keep-power", document(KeepPower())))
    assert told(house).kept(house.clock.now())
    order = ask(house, PLAN.action, document(PLAN))
    approve(house, order)
    row = await done(house, order, State.REFUSED)
    assert (
        row["outcome"]
        == "keep_power: the terminal is in keep-power; `headend control end-keep-power` ends it"
    )
    assert on(house) == set()
    await done(house, ask(house, "end-keep-power"))
    assert not told(house).kept(house.clock.now())


@BOTH
async def test_keep_power_does_not_end_over_a_control_that_is_on(open_house: Open, protocol: str) -> None:
    house = await opened(open_house, protocol)
    house.collect()
    told(house).switch_on("suspension", 3, house.clock.now())
    await done(house, ask(house, "keep-power"))
    row = await done(house, ask(house, "end-keep-power"), State.REFUSED)
    assert row["outcome"].startswith("controls_on: suspension of group 3 is on and would act at once")
    off = ControlOrder(off=("suspension",), group=3)
    await done(house, ask(house, "release", document(off)))
    await done(house, ask(house, "end-keep-power"))


@BOTH
async def test_a_protected_customer_behind_the_terminal_forbids_it(open_house: Open, protocol: str) -> None:
    house = await opened(open_house, protocol)
    house.conn.execute(
        "UPDATE account SET protected = '透析' WHERE account_id = (SELECT max(account_id) FROM account)"
    )
    house.conn.commit()
    with pytest.raises(Refused, match=r"behind: a protected customer hangs behind it: meter .*, 透析"):
        ask(house, "write", document(PLAN))
    house.collect()
    # keeping power and switching off pass all the same
    await done(house, ask(house, "keep-power"))
    off = ControlOrder(off=("period",))
    await done(house, ask(house, "release", document(off)))


@BOTH
async def test_one_who_is_protected_by_the_time_of_sending_is_spared(open_house: Open, protocol: str) -> None:
    house = await opened(open_house, protocol)
    order = ask(house, "write", document(PLAN))
    approve(house, order)
    house.conn.execute(
        "UPDATE account SET protected = '透析' WHERE account_id = (SELECT max(account_id) FROM account)"
    )
    house.conn.commit()
    house.collect()
    row = await done(house, order, State.REFUSED)
    assert "a protected customer hangs behind it" in row["outcome"]
    assert not SWITCHES[protocol].search(b"".join(house.wire.requests))


@BOTH
async def test_a_lost_answer_is_found_out_by_reading_and_nothing_is_sent_twice(
    open_house: Open, protocol: str
) -> None:
    house = await opened(open_house, protocol)
    down = ControlOrder((Reduction(20, 15, 4),), on=("reduction",))
    order = ask(house, "write", document(down))
    approve(house, order)
    house.wire.lose_answer_to = SWITCHES[protocol]
    house.collect()
    row = await lost(house, order)
    assert [event["event"] for event in row["events"]] == ["request", "approve", "send", "lose", "prove"]
    assert row["outcome"] == "read back: all 1 as approved"
    assert len(SWITCHES[protocol].findall(b"".join(house.wire.requests))) == 1
    assert on(house) == {"reduction"}


@BOTH
@pytest.mark.parametrize("obeyed", [True, False])
async def test_a_restart_after_the_sending_is_found_out_by_reading(
    open_house: Open, protocol: str, obeyed: bool
) -> None:
    """The order was begun, and the collector died: whether the frame has left is read off the terminal, and none is sent."""
    house = await opened(open_house, protocol)
    order = ask(house, "keep-power")
    if obeyed:
        told(house).keep(house.clock.now(), 0)
    house.conn.execute(
        "UPDATE orders SET state = 'sending', sent_at = requested_at, epoch = 1 WHERE order_id = %s", (order,)
    )
    house.conn.commit()
    house.collect()
    row = await done(house, order, State.VERIFIED if obeyed else State.FAILED)
    assert [event["event"] for event in row["events"]][1:] == ["lose", "prove" if obeyed else "disprove"]
    assert told(house).kept(house.clock.now()) is obeyed


@BOTH
async def test_a_plan_lowers_no_security_that_somebody_set_in_the_terminal(
    open_house: Open, protocol: str
) -> None:
    """Two persons who ask for it by name may."""
    house = await opened(open_house, protocol)
    house.collect()
    higher = ControlOrder((), security_w=5_000)
    order = ask(house, "write", document(higher))
    approve(house, order)
    await done(house, order)
    lower = document(ControlOrder((), security_w=3_000))
    order = ask(house, "write", lower, request_key="orderly:1:T:on:1")
    approve(house, order)
    row = await done(house, order, State.REFUSED)
    assert row["outcome"].startswith(
        "security: the terminal never cuts below 5000 W, and the order would make that 3000 W"
    )
    order = ask(house, "write", lower)
    approve(house, order)
    await done(house, order)


@BOTH
async def test_a_purchase_is_added_once(open_house: Open, protocol: str) -> None:
    house = await opened(open_house, protocol)
    house.collect()
    first = ControlOrder((Purchase(1, 500, 50, 0, "refresh"),), on=("purchase",))
    opening = ask(house, first.action, document(first))
    approve(house, opening)
    await done(house, opening)
    more = ControlOrder((Purchase(2, 300, 50, 0),))
    assert more.action == "purchase"
    house.wire.lose_answer_to = re.compile(
        rb"\x68\x4a.{5}\x04" if protocol == "gdw376" else rb"\x07\x01.\x81\x07", re.DOTALL
    )
    row = await lost(house, ask(house, "purchase", document(more)))
    assert [event["event"] for event in row["events"]] == ["request", "send", "lose", "prove"]
    left = 800 * (1 if protocol == "gdw376" else 10_000)
    assert int.from_bytes(told(house).get("left.1"), "big") == left
    again = await done(house, ask(house, "purchase", document(more)), State.REFUSED)
    assert again["outcome"] == "purchase: the terminal has purchase 2 already; each has a number of its own"
    dearer = ControlOrder((Purchase(3, 300, 60, 0),))
    row = await done(house, ask(house, "purchase", document(dearer)), State.REFUSED)
    assert row["outcome"].startswith("purchase: it would raise the limits")
    assert int.from_bytes(told(house).get("left.1"), "big") == left


@BOTH
async def test_what_reads_back_otherwise_ends_the_order_before_anything_is_on(
    open_house: Open, protocol: str
) -> None:
    """A terminal that confirms and keeps something else."""
    house = await opened(open_house, protocol)
    held = told(house)
    name = {"gdw376": "set.17", "dlt698": "set.81000200"}[protocol]
    put = held.put
    held.put = lambda key, raw: put(key, raw[:-1] + bytes((raw[-1] ^ 1,)) if key == name else raw)
    order = ask(house, "write", document(PLAN))
    approve(house, order)
    house.collect()
    row = await done(house, order, State.FAILED)
    assert row["outcome"].startswith("read back: ")
    assert "security" in row["result"]["not_as_approved"]
    lost = next(event for event in row["events"] if event["event"] == "lose")
    assert lost["detail"] == "control security reads back other than it was written; nothing further was sent"
    assert on(house) == set()


@BOTH
async def test_a_plan_whose_time_runs_out_half_way_switches_nothing_on(
    open_house: Open, protocol: str
) -> None:
    house = await opened(open_house, protocol)
    order = ask(house, "write", document(PLAN))
    approve(house, order)
    writes = re.compile(
        rb"\x68\x4a.{5}\x04" if protocol == "gdw376" else rb"\x06\x01.\x81\x00\x02", re.DOTALL
    )

    def late(data: bytes) -> bytes:
        """The first answer to a write comes four hours later."""
        if writes.search(house.wire.requests[-1]) and house.state(order) is State.SENDING:
            house.wire.spoil = bytes
            house.clock.time += np.timedelta64(4, "h")
        return data

    house.wire.spoil = late
    house.collect()
    row = await done(house, order, State.FAILED)
    assert [event["detail"] for event in row["events"] if event["event"] == "lose"] == [
        "its time ran out after 1 of 9"
    ]
    assert len(row["result"]["not_as_approved"]) == 8
    assert on(house) == set()


@BOTH
async def test_a_terminal_that_denies_is_told_nothing_further(open_house: Open, protocol: str) -> None:
    house = await opened(open_house, protocol)
    held = told(house)
    held.tell = lambda units: False
    held.set = lambda oad, data: False
    order = ask(house, "write", document(PLAN))
    approve(house, order)
    house.collect()
    row = await done(house, order, State.FAILED)
    assert row["outcome"].startswith("read back: 0 of 9 as approved")
    assert on(house) == set()
