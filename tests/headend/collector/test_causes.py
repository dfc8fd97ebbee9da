"""Holes and their causes: what is planted in the fleet is what the ledger says, hole by hole, and nothing else is missing."""

from __future__ import annotations

import datetime as dt

import numpy as np

from headend.plans import CURVE
from headend.store import coverage
from terminals.simulator import troubles, truth
from terminals.simulator.codes import asset_code, terminal_code
from terminals.simulator.scenario import ZONE, Group
from tests.support.collecting import House, Open

DAY = dt.date(2026, 3, 11)
#: area -> the trouble of its terminal, and what its holes must be called
LINES = {
    0: ("loss", "no-answer"),
    1: ("silence", "no-answer"),
    2: ("foreign", "no-answer"),
    3: ("garble", "garbled"),
    8: ("away", "offline"),
}
#: The one meter whose memory is short, of an area that has no other trouble; hours.
SHORT, HOURS = asset_code(5, 1), 1.0
#: Lines that spoil some answers: a patient head-end gets everything through.
ROUGH = {4: ("noise", 0.2), 6: ("stale", 0.3), 7: ("duplicate", 0.3)}


def ledger(house: House) -> tuple[coverage.DayMatrix, dict[int, str]]:
    """The day, and meter number -> asset number."""
    matrix = coverage.day_matrix(house.conn, CURVE, DAY, now=house.clock.now(), zone=ZONE)
    assets = {
        row["meter_id"]: row["asset"] for row in house.conn.execute("SELECT meter_id, asset FROM meter")
    }
    house.conn.commit()
    return matrix, assets


def holes(house: House) -> dict[str, dict[np.datetime64, str]]:
    """Asset number -> the points that are due and missing, and the cause of each."""
    matrix, assets = ledger(house)
    cause, names = coverage.causes(matrix)
    return {
        assets[int(meter)]: {
            time: names[cause[k, j]]
            for j, time in enumerate(matrix.times)
            if cause[k, j] >= 0 and matrix.due[k, j]
        }
        for k, meter in enumerate(matrix.meters)
    }


async def test_every_hole_has_the_cause_that_was_planted(open_house: Open) -> None:
    house = await open_house(Group("dlt645", "dial-out", 9), alone=False, dead=1)
    assert house.fleet is not None
    mischief = house.fleet.mischief
    assert mischief is not None
    for area, (kind, _) in LINES.items():
        mischief.plant(kind, [terminal_code(area)], 1.0)
    await house.wires[terminal_code(8)].stop()  # who is away takes no call, and the wire before him would
    for area, (kind, share) in ROUGH.items():
        mischief.plant(kind, [terminal_code(area)], share)
    mischief.plant("overwrite", [SHORT], HOURS)
    house.collect()

    def settled() -> bool:
        found = holes(house)
        return all(
            cause in wanted(house, asset) for asset, times in found.items() for cause in times.values()
        )

    await house.until(settled, seconds=40.0)
    found = holes(house)
    record = troubles.read(house.fleet.directory / "troubles.jsonl")
    expected = truth.load(house.fleet.directory).expected()
    now = house.clock.now()
    for k, asset in enumerate(expected.meters):
        area, times = int(expected.area_of[k]), found[asset]
        if not expected.answers[k] or area in LINES:
            assert len(times) == 8, asset
            assert set(times.values()) == wanted(house, asset), asset
        elif asset == SHORT:
            assert sorted(times) == holes_of_the_short(now)
            assert set(times.values()) == {"not-recorded"}
        else:
            assert times == {}, asset
        if area in LINES or asset == SHORT:
            assert set(times.values()) <= troubles.causes(record, [asset, terminal_code(area)], now, now)


def holes_of_the_short(now: np.datetime64) -> list[np.datetime64]:
    """The points of the day that its memory no longer holds."""
    midnight = np.datetime64("2026-03-10T16:00", "us")
    points = midnight + np.arange(1, 9) * np.timedelta64(15, "m")
    return list(points[points <= now - np.timedelta64(int(HOURS * 60), "m")])


def wanted(house: House, asset: str) -> set[str]:
    """What a hole may finally be called."""
    assert house.fleet is not None
    area = int(asset[2:8]) - 1
    if asset == house.dead:
        return {"no-answer"}
    if area in LINES:
        return {LINES[area][1]}
    return {"not-recorded"}
