"""What was said is kept, and says the same again: recorded exchanges through today's decoder."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from headend.collector import redecode
from headend.collector.drivers import drivers
from headend.collector.redecode import NotReplayed
from headend.store import exchanges
from headend.store.exchanges import NotAnExchange
from protocols.localtime import Times, as_datetime
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.driver import Driver, Meter, Outcome, Script
from terminals.simulator.scenario import ZONE
from tests.support.collecting import BOTH, BUS, House, Open
from tests.support.house import at, one, table

TODAY = dt.date(2026, 3, 11)
COUNTS = "SELECT count(*), count(DISTINCT evidence), min(evidence) IS NOT NULL FROM "


async def collected(open_house: Open, *groups: Any, **plan: Any) -> House:
    """Two looks at a fleet, so that the second finds sessions open and layouts known."""
    house = await open_house(*groups, alone=False, **plan)
    house.collect()
    for now in ("2026-03-11 02:07", "2026-03-11 03:07"):
        house.clock.set(now)
        await house.until(lambda: house.open_points() == 0)
        await house.until(lambda: house.open_points("2026-03-10") == 0)
    await house.leave()
    return house


def again(house: House, *, by: Mapping[str, Driver] | None = None, **more: Any) -> redecode.Report:
    report = redecode.day(house.conn, by or drivers(), TODAY, ZONE, **more)
    house.conn.commit()
    return report


async def test_every_reading_comes_out_again_as_it_is_stored(open_house: Open) -> None:
    """Both protocols; of DLMS the second conversation has neither the association nor the layouts in it."""
    house = await collected(open_house, *BOTH)
    report = again(house)
    rows = one(house.conn, "SELECT count(*) FROM slot_read")
    assert rows > 100
    assert (report.differences, report.not_replayed, report.said_nothing) == ([], {}, 0)
    assert report.equal == report.readings > 4 * rows
    assert report.exchanges == one(house.conn, "SELECT count(*) FROM exchange")
    # every row names an exchange that is kept, whole
    for name in ("slot_read", "register_read"):
        assert one(house.conn, f"SELECT count(*) FROM {name} WHERE evidence IS NULL") == 0
        lost = f"SELECT count(*) FROM {name} r WHERE NOT EXISTS (SELECT FROM exchange x WHERE x.evidence = r.evidence)"
        assert one(house.conn, lost) == 0
    said = list(
        exchanges.taken(house.conn, as_datetime(at("2026-03-11 00:00")), as_datetime(at("2026-03-12 00:00")))
    )
    assert {e.protocol for e in said} == {"dlt645", "dlms"}
    assert [e.taken for e in said] == sorted(e.taken for e in said)
    for exchange in said:
        assert exchanges.parse(exchange.text).text == exchange.text
    dlms = [e for e in said if e.protocol == "dlms"]
    assert all(e.opening for e in dlms)  # the meter's side of the association
    assert any(e.known for e in dlms)


#: parts in the middle of answers among them
LOST = (8, 14, 20, 22)


async def test_lost_and_spoilt_answers_are_repeated_on_the_tape_too(open_house: Open) -> None:
    house = await open_house(BUS)
    count = 0

    def spoil(data: bytes) -> bytes:
        nonlocal count
        count += 1
        if count in LOST:
            return b""
        return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:] if count in (5, 11, 17) else data

    house.wire.spoil = spoil
    house.collect()
    await house.until(lambda: house.open_points() == 0)
    house.wire.spoil = bytes
    await house.leave()
    report = again(house)
    assert count > 22
    assert report.equal == report.readings > 0
    assert (report.differences, report.not_replayed, report.said_nothing) == ([], {}, 0)


class Halved(Dlt645Driver):
    """A decoder that has changed its mind about voltages, and no longer believes in reverse energy."""

    def curve(self, meter: Meter, slots: Times) -> Script[Outcome]:
        outcome = yield from super().curve(meter, slots)
        columns = dict(outcome.reads.columns)
        columns["voltage_a"] = columns["voltage_a"] / 2
        columns["active_export"] = np.full(len(outcome.reads), np.iinfo(np.int64).min)
        return Outcome(type(outcome.reads)(outcome.reads.meter, outcome.reads.time, columns), outcome.absent)


async def test_a_decoder_that_reads_otherwise_is_found_out(open_house: Open) -> None:
    house = await collected(open_house, BUS)
    by = {**drivers(), "dlt645": Halved()}
    rows = one(house.conn, "SELECT count(*) FROM slot_read")
    report = again(house, by=by)
    told = [(d.quantity, d.decoded is None) for d in report.differences]
    assert told.count(("voltage_a", False)) == rows
    assert told.count(("active_export", True)) == rows
    assert len(told) == 2 * rows
    one_of = next(d for d in report.differences if d.quantity == "voltage_a")
    assert one_of.stored == pytest.approx(2 * one_of.decoded)  # type: ignore[operator]
    assert one(house.conn, "SELECT count(*) FROM revision") == 0  # nothing was applied
    # applied, the first reading stays, and the new one says why and of which bytes
    applied = again(house, by=by, apply=True, who="engineer")
    assert (applied.written.new, applied.written.revised) == (0, rows)
    assert table(house.conn, "SELECT DISTINCT quantity, method, reason, who FROM revision") == [
        ("voltage_a", "read", "decoded again", "engineer")
    ]
    same = (
        "SELECT count(*) FROM revision v JOIN slot_read r USING (meter_id, ts) WHERE v.evidence = r.evidence"
    )
    assert one(house.conn, same) == rows
    assert again(house, by=by, apply=True, who="engineer").written.revised == 0


class Curious(Dlt645Driver):
    """Asks for other blocks than its predecessor did."""

    def __init__(self) -> None:
        super().__init__(blocks_per_request=7)


async def test_a_driver_that_asks_otherwise_says_so(open_house: Open) -> None:
    house = await collected(open_house, BUS)
    report = again(house, by={**drivers(), "dlt645": Curious()})
    assert report.not_replayed == {
        "today's driver asks Read, which was not asked then": sum(report.not_replayed.values())
    }
    assert sum(report.not_replayed.values()) >= 4
    day = (as_datetime(at("2026-03-11 00:00")), as_datetime(at("2026-03-12 00:00")))
    said = next(exchange for exchange in exchanges.taken(house.conn, *day) if exchange.task == "curve")
    with pytest.raises(NotReplayed):
        redecode.replay(said, Curious(), Meter(said.meter, said.address, ZONE))


async def test_bytes_that_have_changed_are_no_evidence(open_house: Open) -> None:
    house = await collected(open_house, BUS)
    house.conn.execute(
        "UPDATE exchange SET body = (SELECT body FROM exchange ORDER BY taken_at DESC LIMIT 1)"
    )
    house.conn.commit()
    with pytest.raises(NotAnExchange, match="is not the one whose hash was kept: its bytes have changed"):
        again(house)
