"""The collector against terminals on real sockets: what is read, why the rest is not, and commands that are never sent twice.

Between collector and fleet stands a wire of our own that can lose and spoil answers, and counts what reaches the device.
"""

from __future__ import annotations

import datetime as dt
import gc
import json
import re
import weakref
from typing import Any

import numpy as np
import pytest

from headend.control.order_state import State
from headend.store import leases, orders
from protocols.localtime import instant
from protocols.reading import SLOT_QUANTITIES
from terminals.simulator import truth
from tests.support.arrears import trusted, without_grace
from tests.support.collecting import BOTH, RELAY_645, House, Open
from tests.support.house import at, one, table
from tests.support.notices import told


def assets(house: House) -> list[str]:
    return [asset for (asset,) in table(house.conn, "SELECT asset FROM meter ORDER BY asset")]


def stored(house: House, asset: str) -> dict[np.datetime64, tuple[Any, ...]]:
    sql = (
        f"SELECT ts, {', '.join(SLOT_QUANTITIES)} FROM slot_read JOIN meter USING (meter_id) WHERE asset = %s"
    )
    return {instant(ts): tuple(values) for ts, *values in table(house.conn, sql, asset)}


def same(mine: Any, true: Any) -> bool:
    return (mine is None and np.isnan(true)) or mine == pytest.approx(float(true))


async def test_what_the_fleet_has_is_read_and_no_more(open_house: Open) -> None:
    """Both protocols, a dead meter, a record with holes; then an hour passes, and only that hour is read."""
    house = await open_house(*BOTH, alone=False, dead=1)
    house.collect()
    for now, slots in (("2026-03-11 02:07", 8), ("2026-03-11 03:07", 12)):
        house.clock.set(now)
        await house.until(lambda slots=slots: house.open_points() == slots)  # the dead meter's
        await house.until(lambda: house.open_points("2026-03-10") == 4)
        expected = truth.load(house.fleet.directory).expected() if house.fleet else None
        assert expected is not None
        for k, asset in enumerate(expected.meters):
            rows = stored(house, asset)
            chosen = (expected.slots > at("2026-03-10 23:00")) & (expected.slots <= at(now))
            there = expected.slots[chosen & expected.recorded[k]] if expected.answers[k] else []
            assert sorted(rows) == list(there)
            for j in np.flatnonzero(np.isin(expected.slots, list(rows))):
                row = rows[expected.slots[j]]
                assert all(
                    same(row[c], expected.curve[code][k][j]) for c, code in enumerate(SLOT_QUANTITIES)
                ), (asset, expected.slots[j])
    assert one(house.conn, "SELECT count(*) FROM revision") == 0
    told = house.why(house.dead, "2026-03-11")
    assert [hole.reason for hole in told.plans[0].holes] == ["no-answer"]
    assert told.terminal_online or told.terminal_last_seen is None
    # the freeze of the day before came too
    assert one(house.conn, "SELECT count(*) FROM register_read WHERE kind = 2") == len(assets(house)) - 1


async def test_a_dead_meter_is_left_alone_and_its_neighbours_are_not(open_house: Open) -> None:
    house = await open_house(dead=1)
    house.collect()
    detail = "SELECT coalesce(max(detail), '') FROM gap_reason WHERE reason = 'no-answer'"
    await house.until(lambda: "is left alone for another" in one(house.conn, detail))
    seconds = int(re.findall(r"for another (\d+) s", one(house.conn, detail))[0])
    assert 0 < seconds <= 3600  # told in the time that the rest is counted in
    await house.until(lambda: house.open_points() == 8)


async def test_garbage_is_booked_as_garbled(open_house: Open) -> None:
    house = await open_house()
    house.wire.spoil = lambda data: data[:-2] + bytes([data[-2] ^ 0xFF]) + data[-1:]
    house.collect()
    sql = "SELECT count(DISTINCT meter_id) FROM gap_reason WHERE reason = 'garbled' AND detail LIKE 'only garbage from%%'"
    await house.until(lambda: one(house.conn, sql) == len(assets(house)))
    assert one(house.conn, "SELECT count(*) FROM slot_read") == 0
    # those that rest by now are told by what they did, not as if they had been silent
    assert one(house.conn, "SELECT count(*) FROM gap_reason WHERE reason <> 'garbled'") == 0
    house.wire.spoil = bytes
    house.clock.set("2026-03-11 03:37")
    await house.until(lambda: one(house.conn, "SELECT count(*) FROM slot_read") > 0)
    house.clock.set(
        "2026-03-11 05:37"
    )  # and when the line is good and everybody has rested, all of it is read
    await house.until(lambda: house.open_points() == 0)
    assert one(house.conn, "SELECT count(*) FROM slot_read WHERE ts > '2026-03-11 00:00+08'") == 22 * len(
        assets(house)
    )


async def test_a_terminal_that_cannot_be_reached(open_house: Open) -> None:
    house = await open_house()
    await house.wire.stop()
    house.collect()
    sql = "SELECT count(DISTINCT meter_id) FROM gap_reason WHERE reason = 'offline'"
    await house.until(lambda: one(house.conn, sql) == len(assets(house)))
    told = house.why(assets(house)[0], "2026-03-11")
    assert [(hole.reason, hole.points) for hole in told.plans[0].holes] == [("offline", 8)]
    assert not told.terminal_online


# --- orders ----------------------------------------------------------------------------------------------------


def consumer(house: House) -> str:
    """A meter with a relay that serves a customer."""
    return one(
        house.conn,
        "SELECT min(asset) FROM meter JOIN installation USING (meter_id) JOIN area_role USING (point_id) WHERE role = 'receive'",
    )


def may_be_tripped(house: House, asset: str) -> None:
    """The calendar, a balance below zero and a notice, as of an hour ago."""
    conn, now = house.conn, house.clock.now().item().replace(tzinfo=dt.UTC)
    conn.execute(
        "INSERT INTO calendar_day (day, kind) VALUES ('2026-03-11', 'workday'), ('2026-03-12', 'workday')"
    )
    account = conn.execute(
        "UPDATE account SET prepaid = true, protected = '' FROM installation JOIN meter USING (meter_id) "
        "WHERE installation.point_id = account.point_id AND asset = %s RETURNING account_id",
        (asset,),
    ).fetchone()
    assert account is not None
    conn.execute(
        "INSERT INTO balance (account_id, as_of, ledger_fen, ledger_entry_id, provisional_low_fen, provisional_high_fen, newest_reading, "
        "valid, level, stop_since) VALUES (%s, %s, -9, 0, -9, -9, %s, true, 'stop', '2026-01-01')",
        (account["account_id"], now, now),
    )
    told(conn, account["account_id"], now - dt.timedelta(hours=1), -9)
    without_grace(conn)
    trusted(conn, account["account_id"], now)
    conn.commit()


def acts(house: House) -> list[tuple[str, str]]:
    """What the simulated relays did."""
    assert house.fleet is not None
    lines = (house.fleet.directory / "acts.jsonl").read_text().splitlines()
    return [(act["meter"], act["act"]) for act in map(json.loads, lines)]


async def test_a_trip_whose_answer_is_lost_is_proved_by_reading_and_sent_once(open_house: Open) -> None:
    house = await open_house(now="2026-03-11 10:07")
    asset = consumer(house)
    may_be_tripped(house, asset)
    house.collect()
    await house.until(lambda: house.open_points() == 0)
    order = house.ask(asset, "trip")
    house.wire.lose_answer_to = RELAY_645
    orders.approve(house.conn, order, who="李敏", now=house.clock.now())
    await house.until(lambda: house.state(order) is not State.APPROVED)
    await house.until(lambda: house.state(order) in (State.UNKNOWN, State.VERIFIED))
    house.clock.set("2026-03-11 10:10")
    await house.until(lambda: house.state(order) is State.VERIFIED)
    found = orders.get(house.conn, order)
    house.conn.commit()
    assert [event["event"] for event in found["events"]] == ["request", "approve", "send", "lose", "prove"]
    assert found["result"]["relay"]["open"] is True
    assert found["result"]["relay"]["load_kw"] == 0
    assert house.wire.commands == 1
    assert acts(house) == [(asset, "trip")]


async def test_an_owner_dies_in_sending_and_the_next_one_finds_out(open_house: Open) -> None:
    """Nothing had left: the relay is read, and read again, and the order fails. Nothing is ever sent."""
    house = await open_house(now="2026-03-11 10:07")
    asset = consumer(house)
    terminal = one(house.conn, "SELECT terminal_id FROM terminal")
    order = house.ask(asset, "keep-power")
    epoch = leases.take(house.conn, "the dead", [terminal], seconds=1.0)[terminal]
    fence = orders.Fence("the dead", terminal, epoch)
    house.conn.commit()
    assert orders.begin(house.conn, order, fence=fence, now=house.clock.now()) == []
    house.collect()
    await house.until(lambda: house.state(order) is State.PENDING)  # not yet, but it may be on its way
    house.clock.set("2026-03-11 10:18")
    await house.until(lambda: house.state(order) is State.FAILED)
    found = orders.get(house.conn, order)
    house.conn.commit()
    assert [event["event"] for event in found["events"]] == ["request", "send", "lose", "hold", "disprove"]
    assert (
        {event["who"] for event in found["events"][2:]}
        == {event["who"] for event in found["events"][4:]}
        != {"the dead"}
    )
    assert found["outcome"] == "keep-power not changed"
    assert house.wire.commands == 0
    with pytest.raises(orders.StaleOwner):  # and the dead, coming back, move nothing
        orders.step(
            house.conn, house.ask(asset, "keep-power"), orders.Event.LOSE, fence=fence, now=house.clock.now()
        )


async def test_a_read_and_a_clock_order(open_house: Open) -> None:
    house = await open_house(now="2026-03-11 10:07")
    asset = consumer(house)
    house.collect()
    read = house.ask(asset, "", "read")
    await house.until(lambda: house.state(read) is State.VERIFIED)
    values = orders.get(house.conn, read)["result"]["values"]
    (register,) = table(house.conn, "SELECT active_import FROM register_read WHERE kind = 3")
    assert values["active_import"]["value"] == f"{register[0] // 10_000}.{register[0] % 10_000:04d}"
    told = (
        "SELECT count(*) FROM feed JOIN meter ON meter_id = ANY(meters) WHERE topic = 'spot' AND asset = %s"
    )
    assert one(house.conn, told, asset) == 1
    # what was said is kept, and named beside what came of it
    assert table(
        house.conn, "SELECT x.task FROM exchange x JOIN register_read r USING (evidence) WHERE r.kind = 3"
    ) == [("spot",)]
    clock = house.ask(asset, "read", "clock")
    await house.until(lambda: house.state(clock) is State.VERIFIED)
    assert abs(orders.get(house.conn, clock)["result"]["offset_seconds"]) <= 4
    house.conn.commit()


async def test_a_meter_that_does_not_answer_is_told_nothing(open_house: Open) -> None:
    house = await open_house(now="2026-03-11 10:07", dead=1)
    house.collect()
    order = house.ask(house.dead, "keep-power")
    read = house.ask(house.dead, "", "read")
    await house.until(lambda: house.state(read) is State.FAILED)
    assert house.state(order) in (State.APPROVED, State.SENDING, State.UNKNOWN)
    assert house.wire.commands <= 1


async def test_two_collectors_share_and_inherit(open_house: Open) -> None:
    house = await open_house(*BOTH, alone=False)
    first, second = house.collect(), house.collect()
    await house.until(lambda: house.open_points() == 0)
    assert (
        one(house.conn, "SELECT count(*) FROM lease WHERE owner = ANY(%s)", [first.owner, second.owner]) == 4
    )
    read = one(house.conn, "SELECT count(*) FROM slot_read")
    assert one(house.conn, "SELECT count(*) FROM revision") == 0
    await house.leave()
    assert one(house.conn, "SELECT count(*) FROM lease WHERE until > clock_timestamp()") == 0
    assert one(house.conn, "SELECT count(*) FROM terminal WHERE online") == 0
    house.clock.set("2026-03-11 02:37")
    third = house.collect()  # and nothing need wait for a lease to run out
    await house.until(lambda: house.open_points() == 0)
    assert one(house.conn, "SELECT count(*) FROM slot_read") == read + 2 * len(assets(house))
    assert one(house.conn, "SELECT count(*) FROM lease WHERE owner = %s AND epoch >= 2", third.owner) == 4


async def test_a_worker_that_has_been_ended_is_gone(open_house: Open) -> None:
    """A terminal that dials in anew ends the worker of its last call, a dozen times a day; one that only Python's search for circles would
    free stays for a day."""
    house = await open_house(*BOTH)
    daemon = house.collect()
    await house.until(lambda: house.open_points() == 0)
    (held,) = daemon._held.values()
    terminal, worker = held.worker.terminal.terminal_id, weakref.ref(held.worker)
    del held
    gc.disable()
    try:
        daemon._end(terminal)
        await house.until(lambda: worker() is None)
    finally:
        gc.enable()
