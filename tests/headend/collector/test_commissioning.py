"""A terminal from the factory is told its meters and tasks, and then collects: on real sockets, with what can go wrong in between."""

from __future__ import annotations

import re
from typing import Any

import pytest

from headend.collector import wanted
from headend.collector.books import Item, items_of
from headend.control.order_state import OPEN, State
from headend.store import archive, orders
from headend.store.orders import Writing
from protocols.localtime import as_datetime
from terminals.drivers.entry import Difference, erasing
from terminals.drivers.settings376 import changed
from terminals.simulator.scenario import ZONE, Group
from terminals.simulator.told376 import Told376
from tests.headend.collector.test_terminal_orders import ask
from tests.support.collecting import House, Open

KINDS = ["gdw376", "dlt698"]
#: AFN 04 F10 of the master, and ACTION 6000 128
WRITES = {
    "gdw376": re.compile(rb"\x68....\x68.{6}\x04.\x00\x00\x02\x01", re.DOTALL),
    "dlt698": re.compile(rb"\x07\x01.\x60\x00\x80\x00", re.DOTALL),
}


def group(protocol: str) -> Group:
    return Group(protocol, "dial-out", 4)  # type: ignore[arg-type]


async def done(house: House, order: int, state: State = State.VERIFIED) -> dict[str, Any]:
    await house.until(lambda: house.state(order) not in OPEN)
    found = orders.get(house.conn, order)
    house.conn.commit()
    assert found["state"] == state, found["outcome"]
    return found


async def held(house: House, kind: str = "archive") -> dict[str, Any]:
    found: dict[str, Any] = (await done(house, ask(house, kind, "read")))["result"]["held"]
    return found


async def difference(house: House, protocol: str) -> Difference:
    there = await held(house)
    rows = archive.installed(house.conn, house.clock.now())
    house.conn.commit()
    return wanted.compare(protocol, there, rows)


def write(house: House, items: list[Item], kind: str = "archive", adds: int = 0, replaces: int = 0) -> int:
    """Asked for by one person, approved by another."""
    request = {"items": [item.document() for item in items]}
    order = ask(house, kind, "write", writing=Writing(request, adds, replaces))
    orders.approve(house.conn, order, who="李敏", now=house.clock.now())
    return order


@pytest.mark.parametrize("protocol", KINDS)
async def test_a_terminal_from_the_factory_is_told_and_then_collects(open_house: Open, protocol: str) -> None:
    house = await open_house(group(protocol), now="2026-03-11 02:07", bare=True)
    house.collect()
    owed = house.open_points()
    assert owed == 6 * 8
    found = await difference(house, protocol)
    assert (len(found.missing), found.changes, found.superfluous, found.same) == (6, found.missing, (), 0)
    order = write(house, items_of(found.changes), adds=6)
    assert (await done(house, order))["outcome"] == "6 written, each read back as approved"
    again = await difference(house, protocol)
    assert (again.changes, again.superfluous, again.same) == ((), (), 6)
    if protocol == "dlt698":
        house.clock.set("2026-03-11 02:11")
        assert house.open_points() == owed  # it knows its meters, and has no task
        begin = as_datetime(house.clock.now(), ZONE).replace(tzinfo=None)
        items = wanted.tasks(await held(house, "tasks"), begin)
        assert [item.key for item in items] == ["6014.1", "6014.2", "6014.3", "6012.1", "6012.2", "6012.3"]
        await done(house, write(house, items, "tasks", adds=6))
        later = begin.replace(hour=9)
        assert wanted.tasks(await held(house, "tasks"), later) == []  # whenever a task began, it is the same
    house.clock.set("2026-03-11 02:16")
    await house.until(lambda: house.open_points() == 0)


@pytest.mark.parametrize("protocol", KINDS)
async def test_an_exchanged_meter_is_one_difference_and_the_rest_stays(
    open_house: Open, protocol: str
) -> None:
    house = await open_house(group(protocol), now="2026-03-11 02:07")
    house.collect()
    before = await held(house)
    # the archive hangs another meter on the second point, under the number that the terminal has for it
    house.conn.execute(
        "UPDATE installation SET address = '419999999999', pn = 2 WHERE meter_id = (SELECT meter_id FROM meter ORDER BY asset OFFSET 1 LIMIT 1)"
    )
    house.conn.commit()
    found = await difference(house, protocol)
    (change,) = found.changes
    assert change.cells == {"address": (before["2"]["address"], "419999999999")}
    order = write(house, items_of([change]), replaces=1)
    await done(house, order)
    after = await held(house)
    assert after == before | {"2": before["2"] | {"address": "419999999999"}}


@pytest.mark.parametrize("protocol", KINDS)
async def test_what_is_not_what_was_approved_any_more_is_not_written(open_house: Open, protocol: str) -> None:
    house = await open_house(group(protocol), now="2026-03-11 02:07", bare=True)
    house.collect()
    found = await difference(house, protocol)
    items = items_of(found.changes)
    first = write(house, items[:1], adds=1)
    await done(house, first)
    order = write(house, items, adds=6)  # approved from what was seen before the first was written
    refused = await done(house, order, State.REFUSED)
    assert "archive 1 is no longer what was approved" in refused["outcome"]
    assert refused["sent_at"] is None
    assert set(await held(house)) == {"1"}


@pytest.mark.parametrize("protocol", KINDS)
async def test_a_write_whose_answer_is_lost_is_found_out_about_and_never_sent_again(
    open_house: Open, protocol: str
) -> None:
    house = await open_house(group(protocol), now="2026-03-11 02:07", bare=True)
    house.collect()
    items = items_of((await difference(house, protocol)).changes)
    house.wire.lose_answer_to = WRITES[protocol]
    order = write(house, items, adds=6)
    await house.until(lambda: house.state(order) in (State.UNKNOWN, State.VERIFIED))
    house.clock.set("2026-03-11 02:12")
    await house.until(lambda: house.state(order) is State.VERIFIED)
    found = orders.get(house.conn, order)
    house.conn.commit()
    assert [event["event"] for event in found["events"]] == ["request", "approve", "send", "lose", "prove"]
    assert sent(house, protocol) == 1
    assert len(await held(house)) == 6


def sent(house: House, protocol: str) -> int:
    return len(WRITES[protocol].findall(b"".join(house.wire.requests)))


@pytest.mark.parametrize("protocol", KINDS)
@pytest.mark.parametrize("left", [True, False])
async def test_a_collector_killed_while_it_wrote(open_house: Open, protocol: str, left: bool) -> None:
    """As kill -9 leaves it: state sending. Whether the bytes had left, only reading can tell."""
    house = await open_house(group(protocol), now="2026-03-11 02:07", bare=True)
    first = house.collect()
    items = items_of((await difference(house, protocol)).changes)
    if left:
        await done(house, write(house, items, adds=6))
    del first
    await house.leave()
    order = write(house, [Item(i.key, i.was, i.becomes) for i in items], adds=6)
    house.conn.execute(
        "UPDATE orders SET state = 'sending', sent_at = %s, epoch = 1 WHERE order_id = %s",
        (as_datetime(house.clock.now()), order),
    )
    house.conn.commit()
    before = sent(house, protocol)
    house.collect()
    await house.until(lambda: house.state(order) in (State.VERIFIED, State.FAILED))
    found = orders.get(house.conn, order)
    house.conn.commit()
    assert (found["state"], sent(house, protocol)) == ("verified" if left else "failed", before)
    assert found["events"][-2]["event"] == "lose"
    if not left:
        assert found["outcome"] == "read back: 0 of 6 as approved; not so: 1, 2, 3, 4, 5, 6"


@pytest.mark.parametrize("protocol", KINDS)
async def test_superfluous_entries_are_erased_by_name_alone(open_house: Open, protocol: str) -> None:
    house = await open_house(group(protocol), now="2026-03-11 02:07")
    house.collect()
    house.conn.execute(
        "UPDATE installation SET valid_to = '2026-03-11 01:00+08' WHERE meter_id = (SELECT max(meter_id) FROM meter)"
    )
    house.conn.commit()
    found = await difference(house, protocol)
    assert (found.changes, [entry.number for entry in found.superfluous], found.same) == ((), [6], 5)
    (change,) = erasing(found.superfluous, [6])
    await done(house, write(house, items_of([change]), replaces=1))
    assert set(await held(house)) == {"1", "2", "3", "4", "5"}


async def test_the_parameters_of_a_376_terminal(open_house: Open) -> None:
    house = await open_house(group("gdw376"), now="2026-03-11 02:07")
    house.collect()
    there = await held(house, "parameters")
    assert set(there) == {"F1", "F3", "F9"}
    now = bytes.fromhex(there["F3"])
    becomes = changed("F3", now, {"main address": "10.1.2.3", "main port": 7040})
    order = write(house, [Item("F3", there["F3"], becomes.hex())], "parameters", replaces=1)
    await done(house, order)
    assert (await held(house, "parameters"))["F3"] == becomes.hex()
    assert becomes[:6] == bytes((10, 1, 2, 3)) + (7040).to_bytes(2, "little")
    assert becomes[6:] == now[6:]


TASK = re.compile(rb"\x07\x01.\x60\x12\x7f\x00", re.DOTALL)


async def test_what_broke_off_half_way_is_told_to_the_last_piece_and_finished_anew(open_house: Open) -> None:
    """Three schemes are written, then the first task; its answer is lost. It is not sent again, nor is what would have come after it."""
    house = await open_house(group("dlt698"), now="2026-03-11 02:07", bare=True)
    house.collect()
    begin = as_datetime(house.clock.now(), ZONE).replace(tzinfo=None)
    items = wanted.tasks(await held(house, "tasks"), begin)
    house.wire.lose_answer_to = TASK
    order = write(house, items, "tasks", adds=6)
    await house.until(lambda: house.state(order) is State.UNKNOWN)
    house.clock.set("2026-03-11 02:12")
    await house.until(lambda: house.state(order) is State.FAILED)
    found = orders.get(house.conn, order)
    house.conn.commit()
    assert found["outcome"] == "read back: 4 of 6 as approved; not so: 6012.2, 6012.3"
    assert found["result"]["not_as_approved"] == ["6012.2", "6012.3"]
    assert len(TASK.findall(b"".join(house.wire.requests))) == 1
    rest = wanted.tasks(await held(house, "tasks"), begin)
    assert [item.key for item in rest] == ["6012.2", "6012.3"]
    await done(house, write(house, rest, "tasks", adds=2))


class Willful(Told376):
    """Says yes, and keeps another port."""

    def _take(self, data: bytes) -> None:
        super()._take(data[:6] + bytes((7,)) + data[7:])


async def test_a_terminal_that_says_yes_and_does_something_else(open_house: Open) -> None:
    house = await open_house(group("gdw376"), now="2026-03-11 02:07", bare=True)
    assert house.fleet is not None
    for each in house.fleet.terminals:
        assert each._station is not None
        each._station.told = Willful([])
    house.collect()
    items = items_of((await difference(house, "gdw376")).changes)
    found = await done(house, write(house, items, adds=6), State.FAILED)
    assert [event["event"] for event in found["events"][-3:]] == ["send", "lose", "disprove"]
    assert (
        found["events"][-2]["detail"]
        == "archive 1 reads back other than it was written; nothing further was sent"
    )
    assert found["outcome"] == "read back: 5 of 6 as approved; not so: 1"


@pytest.mark.parametrize("protocol", KINDS)
async def test_what_the_protocol_cannot_say(open_house: Open, protocol: str) -> None:
    """What the protocol has no word for is not sent, and the order says so."""
    house = await open_house(group(protocol), now="2026-03-11 02:07", bare=True)
    house.collect()
    (item, *_) = items_of((await difference(house, protocol)).changes)
    wrong = Item(item.key, None, item.becomes | {"protocol": "smoke signals"})
    before = sent(house, protocol)
    found = await done(house, write(house, [wrong], adds=1), State.FAILED)
    assert "no code for 'smoke signals'" in found["events"][-2]["detail"]
    assert sent(house, protocol) == before
