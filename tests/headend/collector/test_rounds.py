"""The rounds on real sockets: what happened is in the store once, clocks are data, and a clock is set only where the policy says so."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

from headend.collector.clockwork import WHO
from headend.collector.rounds import Rhythm
from headend.control.clock_policy import Master
from headend.control.order_state import State
from headend.store import clocks, orders
from protocols.dlt698 import clock, values
from protocols.dlt698.apdu import Result
from protocols.dlt698.values import Data
from protocols.localtime import as_datetime, instant
from terminals.simulator import diary
from terminals.simulator.meter import Meter
from terminals.simulator.scenario import ZONE, Group
from terminals.simulator.terminal import Terminal
from tests.support.collecting import House, Open
from tests.support.house import one, table

#: seconds by which a simulated clock is off from the beginning, and a second of rounding
OFF = np.timedelta64(4, "s")
MINUTE = np.timedelta64(61, "s")
AT_ONCE = Rhythm(np.timedelta64(0, "s"), np.timedelta64(0, "s"))
#: what the concentrator tells of the meters behind it, and how often
CONCENTRATOR = {"cover-open": 1, "voltage-loss": 2}


def meters_of(house: House) -> dict[str, Meter]:
    """Those in the archive, by asset."""
    assert house.fleet is not None
    there = {asset for (asset,) in table(house.conn, "SELECT asset FROM meter")}
    return {m.asset: m for t in house.fleet.terminals for m in t.meters if m.asset in there}


def terminal_of(house: House) -> Terminal:
    """The only one of a house that has one."""
    assert house.fleet is not None
    there = meters_of(house)
    return next(t for t in house.fleet.terminals if t.meters[0].asset in there)


def planned(house: House, now: np.datetime64) -> list[tuple[str, diary.Entry]]:
    """Asset and event, of all that is over by now."""
    assert house.fleet is not None
    there = meters_of(house)
    return [
        (terminal.plan.asset(index), entry)
        for terminal in house.fleet.terminals
        for index, entries in diary.planned(house.fleet.scenario, terminal.plan).items()
        for entry in entries
        if entry.end <= now and terminal.plan.asset(index) in there
    ]


def stored(house: House) -> list[tuple[str, str, np.datetime64, Any, int, Any]]:
    rows = table(
        house.conn,
        "SELECT asset, detail->>'kind', occurred, ended, evidence, detail FROM event JOIN meter ON subject_id = meter_id "
        "WHERE subject_kind = 'meter' ORDER BY asset, occurred, code, seq",
    )
    return [
        (asset, kind, instant(at), ended, evidence, detail)
        for asset, kind, at, ended, evidence, detail in rows
    ]


def visited(house: House, what: str) -> int:
    return int(
        one(
            house.conn,
            f"SELECT count(*) FROM visit WHERE what = '{what}' AND answered_at IS NOT NULL AND why = ''",
        )
    )


def switch_on(house: House, **changes: Any) -> None:
    clocks.set_rules(house.conn, {"enabled": True, **changes})
    house.conn.commit()


def ours(house: House) -> list[tuple[Any, ...]]:
    """Orders that the policy made: asset, way, state, outcome."""
    return table(
        house.conn,
        f"SELECT asset, request->>'way', state, outcome FROM orders LEFT JOIN meter USING (meter_id) WHERE requested_by = '{WHO}' ORDER BY order_id",
    )


@pytest.mark.parametrize("protocol", ["dlt645", "dlms", "dlt698", "gdw376"])
async def test_what_happened_is_in_the_store_once_and_equal_to_the_truth(
    open_house: Open, protocol: str
) -> None:
    house = await open_house(Group(protocol, "dial-out", 4), now="2026-03-12 20:07", events=40)  # type: ignore[arg-type]
    house.collect(AT_ONCE)
    alive = [m for m in meters_of(house).values() if not m.dead]
    visits = 1 if protocol == "gdw376" else len(alive)
    await house.until(lambda: visited(house, "events") == visits)
    now, found = house.clock.now(), stored(house)
    truth = planned(house, now)
    if protocol == "gdw376":
        truth = [(asset, entry) for asset, entry in truth if entry.kind in CONCENTRATOR]
        assert len(found) == sum(CONCENTRATOR[entry.kind] for _, entry in truth) > 10
    else:
        assert len([row for row in found if row[1] in diary.KINDS]) == len(truth) > 20
    for asset, entry in truth:
        near = MINUTE + OFF if protocol == "gdw376" else OFF
        # the concentrator notes an opened cover when the meter has told it
        at = entry.end if (protocol, entry.kind) == ("gdw376", "cover-open") else entry.begin
        assert any(row[0] == asset and row[1] == entry.kind and abs(row[2] - at) <= near for row in found), (
            asset,
            entry,
        )
    # each is evidence of an exchange that is kept, with the bytes that said so
    kept = {
        evidence for (evidence,) in table(house.conn, "SELECT evidence FROM exchange WHERE task = 'events'")
    }
    assert {row[4] for row in found} <= kept
    # another day: the same records are told again, and nothing is there twice
    house.clock.set("2026-03-13 20:10")
    await house.until(
        lambda: (
            one(house.conn, "SELECT min(answered_at) FROM visit WHERE what = 'events' AND why = ''")
            > dt.datetime(2026, 3, 13, 12, tzinfo=dt.UTC)
        )
    )
    again = stored(house)
    assert [row[:5] for row in again if row[2] <= now - OFF] == [
        row[:5] for row in found if row[2] <= now - OFF
    ]
    more = [entry for _, entry in planned(house, house.clock.now()) if entry.end > now]
    assert (len(again) > len(found)) == any(
        protocol != "gdw376" or entry.kind in CONCENTRATOR for entry in more
    )


async def test_clocks_are_measured_and_drift_follows_from_the_days(open_house: Open) -> None:
    house = await open_house(Group("dlt645", "dial-out", 4), now="2026-03-11 10:07", dead=1)
    meters = {a: m for a, m in meters_of(house).items() if not m.dead}
    fast = sorted(meters)[1]
    begin = house.clock.now()
    for asset, meter in meters.items():
        meter.rate = 8.0 if asset == fast else 0.0
        meter.wander(begin, np.timedelta64(7 if asset == fast else 1, "s"))
    house.collect(AT_ONCE)
    for day in range(11, 18):
        house.clock.set(f"2026-03-{day} 10:07")
        at = as_datetime(house.clock.now())
        sql = f"SELECT count(*) FROM clock WHERE read_at >= '{at.isoformat()}'"
        await house.until(lambda sql=sql: one(house.conn, sql) == len(meters))  # type: ignore[misc]
    known = {row["asset"]: row for row in clocks.meters(house.conn, as_datetime(house.clock.now()))}
    house.conn.commit()
    for asset, meter in meters.items():
        row, ahead = (
            known[asset],
            float((meter.clock(house.clock.now()) - house.clock.now()) / np.timedelta64(1, "s")),
        )
        assert abs(row["ahead"] - ahead) <= row["uncertainty"] + 0.01
        assert row["uncertainty"] < 1.0
        assert abs(row["drift"] - (8.0 if asset == fast else 0.0)) < 0.5
    assert known[fast]["ahead"] > 40
    assert known[house.dead]["ahead"] is None
    (all_of_them,) = clocks.spread(house.conn, as_datetime(house.clock.now()))
    assert all_of_them["meters"] == len(meters) + 1
    assert all_of_them["never"] == 1
    assert all_of_them["within"] == [len(meters) - 1, 1, 0, 0, 0]
    # nothing was set: it is off until somebody switches it on
    assert ours(house) == []


async def test_one_broadcast_sets_a_line_once_a_day_and_marks_the_interval(open_house: Open) -> None:
    house = await open_house(Group("dlt645", "dial-out", 4), now="2026-03-11 10:22")
    meters = {a: m for a, m in meters_of(house).items() if not m.dead}
    off, other = sorted(meters)[1:3]
    meters[off].wander(house.clock.now(), np.timedelta64(-200, "s"))
    meters[other].wander(house.clock.now(), np.timedelta64(-90, "s"))
    switch_on(house)
    house.collect(AT_ONCE)
    await house.until(lambda: [row[2] for row in ours(house)] == [State.VERIFIED])
    ((asset, way, _, outcome),) = ours(house)
    assert (asset, way) == (off, "broadcast")
    assert "clock off by" in outcome
    now = house.clock.now()
    for meter in meters.values():
        assert abs(meter.clock(now) - now) < np.timedelta64(2, "s")
    # the other heard it too: its next offset, taken at once, is the proof
    house.clock.set("2026-03-11 10:29")
    number = one(house.conn, f"SELECT meter_id FROM meter WHERE asset = '{other}'")
    await house.until(lambda: abs(clocks.known(house.conn, "meter", [number])[number].ahead or 99.0) < 2.0)
    first, last = (dt.datetime(2026, 3, 11, hour, tzinfo=ZONE) for hour in (10, 11))
    low, high, code = clocks.disturbed(house.conn, number, first, last)[0]
    assert code == clocks.CODE
    assert (high - low).total_seconds() == pytest.approx(90, abs=2)
    assert low >= first.replace(minute=15)
    assert high <= first.replace(minute=30)
    house.conn.commit()
    # off again on the same day: not again today, and tomorrow it is
    meters[off].wander(house.clock.now(), np.timedelta64(150, "s"))
    house.clock.set("2026-03-11 15:22")
    house.conn.execute("UPDATE visit SET asked_at = asked_at - interval '1 day'")
    house.conn.commit()
    await house.leave()
    house.collect(AT_ONCE)
    number = one(house.conn, f"SELECT meter_id FROM meter WHERE asset = '{off}'")
    await house.until(lambda: (clocks.known(house.conn, "meter", [number])[number].ahead or 0.0) > 100)
    assert len(ours(house)) == 1
    house.clock.set("2026-03-12 15:22")
    await house.until(lambda: [row[2] for row in ours(house)] == [State.VERIFIED] * 2)


async def test_a_meter_too_far_off_for_a_broadcast_is_written_and_a_lost_one_is_left(
    open_house: Open,
) -> None:
    house = await open_house(Group("dlms", "dial-out", 4), now="2026-03-11 10:18")
    meters = {a: m for a, m in meters_of(house).items() if not m.dead}
    off, lost = sorted(meters)[1:3]
    meters[off].wander(house.clock.now(), np.timedelta64(400, "s"))
    meters[lost].wander(house.clock.now(), np.timedelta64(4000, "s"))
    switch_on(house)
    house.collect(AT_ONCE)
    await house.until(lambda: [row[:3] for row in ours(house)] == [(off, "write", State.VERIFIED)])
    now = house.clock.now()
    assert abs(meters[off].clock(now) - now) < np.timedelta64(2, "s")
    assert meters[lost].clock(now) - now > np.timedelta64(3999, "s")


@pytest.mark.parametrize("protocol", ["dlt698", "gdw376"])
async def test_a_terminal_is_set_first_and_tells_its_meters_nothing_before(
    open_house: Open, protocol: str
) -> None:
    house = await open_house(Group(protocol, "dial-out", 4), now="2026-03-11 10:22")  # type: ignore[arg-type]
    meters = {a: m for a, m in meters_of(house).items() if not m.dead}
    off = sorted(meters)[1]
    meters[off].wander(house.clock.now(), np.timedelta64(200, "s"))
    terminal = terminal_of(house)
    terminal.wander(np.timedelta64(-120, "s"))
    switch_on(house)
    house.collect(AT_ONCE)
    await house.until(lambda: len(ours(house)) == 2 and ours(house)[1][2] == State.VERIFIED, seconds=40)
    (_, first_way, first_state, _), (asset, way, _, _) = ours(house)
    assert (first_way, first_state) == ("set", State.VERIFIED)
    assert (asset, way) == (off, "broadcast")
    sent = table(house.conn, "SELECT ended_at, sent_at FROM orders ORDER BY order_id")
    assert sent[0][0] <= sent[1][1]
    assert (
        one(
            house.conn,
            "SELECT count(*) FROM event WHERE subject_kind = 'terminal' AND code = 'headend.clock-set'",
        )
        == 1
    )


async def test_a_report_is_kept_at_once_and_has_the_events_asked_for(open_house: Open) -> None:
    """The terminal reports in the middle of a reading; what it told is stored, and the meters are asked for theirs long before tomorrow."""
    house = await open_house(Group("dlt698", "dial-out", 4), now="2026-03-12 10:07")
    house.collect(AT_ONCE)
    meters = meters_of(house)
    await house.until(lambda: visited(house, "events") == len(meters))
    before = one(house.conn, "SELECT min(asked_at) FROM visit WHERE what = 'events'")
    station = terminal_of(house).concentrator
    assert station is not None
    begin, end = (
        Data(values.DATE_TIME_S, clock.encode_time_s(np.datetime64(text, "us")))
        for text in ("2026-03-12T10:08", "2026-03-12T10:09")
    )
    record = (Data(values.DOUBLE_LONG_UNSIGNED, 1), begin, end, Data(values.NULL))
    station.reports.append((1, {"results": (Result(0x31060201, 0, Data(values.STRUCTURE, record)),)}))
    house.clock.set("2026-03-12 10:17")
    sql = "SELECT code, occurred, ended, detail FROM event WHERE subject_kind = 'terminal'"
    await house.until(lambda: len(table(house.conn, sql)) == 1)
    ((code, occurred, ended, detail),) = table(house.conn, sql)
    assert code == "dlt698.3106"
    assert (ended - occurred).total_seconds() == 60
    assert occurred == dt.datetime(2026, 3, 12, 10, 8, tzinfo=ZONE)
    assert detail == {"kind": "power-down", "number": 1}
    assert not station.reports
    await house.until(
        lambda: one(house.conn, "SELECT min(asked_at) FROM visit WHERE what = 'events'") > before
    )


async def test_a_master_that_is_not_synchronised_sets_nothing_and_says_so(open_house: Open) -> None:
    house = await open_house(Group("dlt645", "dial-out", 4), now="2026-03-11 10:22")
    house.clock.master = Master(False, 16.0, "no NTP daemon")  # type: ignore[attr-defined]
    meters = {a: m for a, m in meters_of(house).items() if not m.dead}
    off = sorted(meters)[1]
    meters[off].wander(house.clock.now(), np.timedelta64(200, "s"))
    switch_on(house)
    house.collect(AT_ONCE)
    asked = house.ask(off, "set", "clock")
    await house.until(lambda: house.state(asked) is State.REFUSED)
    assert "no NTP daemon" in orders.get(house.conn, asked)["outcome"]
    house.conn.commit()
    await house.until(lambda: visited(house, "clock") == len(meters))
    assert ours(house) == []
    now = house.clock.now()
    assert meters[off].clock(now) - now == np.timedelta64(200, "s")
