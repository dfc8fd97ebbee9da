"""Hours and prices of meters, read and written by real frames: DL/T 645 behind a DL/T 698.45 terminal, and the terminal's own objects."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from protocols.dlt645 import values
from protocols.dlt645.exchange import Read, ReadAnswer, Write
from protocols.dlt698 import values as dlt698
from protocols.dlt698.values import Data
from protocols.errors import FrameError, Misuse, Refused
from terminals.drivers import tables645, tables698
from terminals.drivers.dlms import DlmsDriver
from terminals.drivers.driver import Meter
from terminals.simulator.scenario import ZONE
from terminals.simulator.standin import StandInMachine
from tests.support.terminal698 import Table, civil, world_of

DAY = [[0, 0, 4], [6, 15, 3], [8, 0, 2], [22, 0, 4]]
ZONES = [[1, 1, 1], [7, 1, 2], [9, 1, 1]]
SWITCH = "2026-04-01T00:00"
STEPS = {"limits": [276_000, 480_000], "prices": [0, 500, 3000], "dates": [[1, 1, 0]]}


@pytest.fixture(scope="module")
def world() -> Any:
    return world_of()


@pytest.fixture
def table(world: Any) -> Table:
    return Table(world, 0, "2026-03-11 11:07")


def prepaid(table: Table) -> Meter:
    return table.meters[next(iter(table.plan.prepaid))]


def plain(table: Table) -> Meter:
    return next(meter for k, meter in enumerate(table.meters) if k and k not in table.plan.prepaid)


def read(table: Table, meter: Meter, *keys: str) -> dict[str, Any]:
    found: dict[str, Any] = table.run(meter, table.driver.tables(meter, keys or None))
    return found


def write(table: Table, meter: Meter, key: str, value: Any) -> None:
    held = read(table, meter, "sets", "counts") if meter.address != meter.terminal else {}
    table.run(meter, table.driver.write_table(meter, key, value, held))


def test_a_meter_without_money_tells_its_hours_and_no_prices(table: Table) -> None:
    found = read(table, plain(table))
    assert found["counts"] == {"zones": 14, "days": 8, "slots": 14, "tariffs": 4, "holidays": 6, "steps": 0}
    assert found["zones"] == [[1, 1, 1]]
    assert found["day 1"][:3] == [[0, 0, 4], [7, 0, 3], [8, 0, 2]]
    assert (found["prices"], found["steps"], found["spare prices"], found["spare steps"]) == (None,) * 4
    assert (found["rest"], found["holidays"], found["switch zones"]) == ([0x7F, 1], [], None)
    assert found["sets"] == {"zones": 1, "days": 1}


def test_the_spare_set_is_written_and_the_present_one_stays(table: Table) -> None:
    meter = plain(table)
    before = read(table, meter)
    write(table, meter, "spare day 2", DAY)
    write(table, meter, "spare zones", ZONES)
    write(table, meter, "holidays", [[2026, 5, 1, 2], [2026, 10, 1, 2]])
    write(table, meter, "switch days", SWITCH)
    write(table, meter, "switch zones", SWITCH)
    after = read(table, meter)
    changed = {"spare day 2": DAY, "spare zones": ZONES, "holidays": [[2026, 5, 1, 2], [2026, 10, 1, 2]]}
    assert after == before | changed | {"switch days": SWITCH, "switch zones": SWITCH}
    # at the date the sets change places, and the other of the two is spare from then on
    table.now = civil("2026-04-01 00:01")
    then = read(table, meter)
    assert (then["sets"], then["zones"], then["day 2"]) == ({"zones": 2, "days": 2}, ZONES, DAY)
    assert then["spare zones"] == before["zones"]
    write(table, meter, "spare zones", [[1, 1, 3]])
    assert read(table, meter, "zones", "spare zones") == {
        "sets": {"zones": 2, "days": 2}, "zones": ZONES, "spare zones": [[1, 1, 3]],
    }  # fmt: skip
    # and a switch can be taken back
    write(table, meter, "switch zones", None)
    assert read(table, meter, "switch zones") == {"switch zones": None}


def test_money_of_class_1_goes_with_the_machines_mac_alone(table: Table) -> None:
    meter = prepaid(table)
    present = read(table, meter)["prices"]
    write(table, meter, "spare prices", [9000, 6000, 5000, 3000])
    write(table, meter, "spare steps", STEPS)
    write(table, meter, "switch prices", SWITCH)
    write(table, meter, "switch steps", SWITCH)
    found = read(table, meter)
    assert (found["prices"], found["spare prices"]) == (present, [9000, 6000, 5000, 3000])
    assert (found["spare steps"], found["steps"]["limits"]) == (STEPS, [])
    table.now = civil("2026-04-01 00:01")
    found = read(table, meter)
    assert (found["prices"], found["spare prices"]) == ([9000, 6000, 5000, 3000], present)
    assert found["steps"] == STEPS | {"dates": None}
    old = replace(meter, secrets={**meter.secrets, "relay": "password"})
    with pytest.raises(Refused, match="040502FF at level 02"):
        write(table, old, "spare prices", [1, 1, 1, 1])


def test_without_password_and_with_a_wrong_one(table: Table) -> None:
    meter = plain(table)
    write(table, replace(meter, secrets={}), "spare day 3", DAY)  # class 2, enciphered
    assert read(table, meter, "spare day 3")["spare day 3"] == DAY
    with pytest.raises(Refused, match="not authorised"):
        write(table, replace(meter, secrets={"password": "999999"}), "spare day 4", DAY)
    with pytest.raises(Misuse, match="there is no cipher machine and meter"):
        next(
            tables645.write(
                None,
                replace(meter, secrets={}),
                "spare day 4",
                DAY,
                {"sets": {"zones": 1, "days": 1}, "counts": {}},
            )
        )


class Other(StandInMachine):
    """Another utility's: its MACs are nobody's here."""

    def sign_parameter(self, session: Any, di: int, plain: bytes) -> bytes:
        return bytes(4)


def test_a_wrong_mac_is_refused_and_changes_nothing(table: Table) -> None:
    meter = prepaid(table)
    before = read(table, meter)
    script = tables645.write(Other(), meter, "switch prices", SWITCH, before)
    with pytest.raises(Refused):
        table.run(meter, table.driver.through(meter, script))
    assert read(table, meter) == before


def test_the_present_set_has_no_way_to_be_written() -> None:
    """By its key one could: but whoever writes takes keys from the order of writing, and the bytes go to the set that does not run."""
    held = {"sets": {"zones": 2, "days": 1}, "counts": {"zones": 3}}
    meter = Meter(1, "000000000001", ZONE, secrets={"password": "1" * 6})
    zones = next(tables645.write(None, meter, "spare zones", [[1, 1, 2]], held))
    day = next(tables645.write(None, meter, "spare day 2", DAY, held))
    assert isinstance(zones, Write)
    assert (zones.di, day.di) == (0x04010000, 0x04020002)
    # low byte first, as the standard's table has it; what is not used repeats the last entry
    assert zones.data == values.encode(0x04010000, ["01-01", 2] * 3)
    told = [
        part
        for hour, minute, tariff in [*DAY, *[DAY[-1]] * 10]
        for part in (f"{hour:02d}:{minute:02d}", tariff)
    ]
    assert day.data == values.encode(0x04020002, told)
    switch = next(tables645.write(None, meter, "switch zones", SWITCH, held))
    assert switch.data == values.encode(0x04000106, [dt.datetime(2026, 4, 1)])


@pytest.mark.parametrize("raw", [b"", b"\x01\x01", b"\x01\x0a\x01"])
def test_a_table_that_is_none_is_an_error_of_the_wire(raw: bytes) -> None:
    meter = Meter(1, "000000000001", ZONE)
    script = tables645.read(meter, ["spare zones"])
    assert isinstance(next(script), Read)
    script.send(ReadAnswer(meter.address, tables645.STATUS_3, bytes(2)))
    with pytest.raises(FrameError, match=r"no entries of three|is not BCD"):
        script.send(ReadAnswer(meter.address, 0x04020000, raw or b"\x01"))


TEXT = Data(dlt698.VISIBLE_STRING, "x")


@pytest.mark.parametrize(
    ("key", "data"),
    [
        ("counts", dlt698.structure(*[TEXT] * 5)),
        ("counts", dlt698.structure(*[dlt698.array()] * 5)),
        ("zones", dlt698.array(dlt698.structure(*[Data(dlt698.FLOAT32, 1.5)] * 3))),
        ("prices", dlt698.array(TEXT)),
        ("holidays", dlt698.array(dlt698.structure(Data(dlt698.DATE, bytes(5)), TEXT))),
    ],
)
def test_what_is_no_number_is_an_error_of_the_wire(key: str, data: Data) -> None:
    """Any other exception would end the terminal's reading, again and again until the order's time is over."""

    def only(script: Any) -> None:
        """Whatever is asked for, this is the answer."""
        next(script)
        while True:
            script.send(data)

    with pytest.raises(FrameError, match="where a whole number must be"):
        only(tables698.read([key]))


def test_a_holiday_that_was_never_set_is_none() -> None:
    days = (bytes.fromhex("07ea050105"), b"\xff" * 5, bytes(5))
    rows = [dlt698.structure(Data(dlt698.DATE, day), Data(dlt698.UNSIGNED, 2)) for day in days]
    script = tables698.read(["holidays"])
    next(script)
    with pytest.raises(StopIteration) as told:
        script.send(dlt698.array(*rows))
    assert told.value.value == {"holidays": [[2026, 5, 1, 2]]}


def test_a_terminals_own_tables_are_objects_and_want_its_password(table: Table) -> None:
    own = table.concentrator.address
    meter = Meter(99, own, table.meters[0].zone, 3, {"terminal_password": "00000000"}, own)
    before = read(table, meter)
    assert before["counts"] == {"zones": 14, "days": 8, "slots": 14, "tariffs": 4, "holidays": 6, "steps": 7}
    assert before["rest"] == [0x7F, 1]
    with pytest.raises(Refused):
        write(table, meter, "spare day 2", DAY)
    table.run(meter, table.driver.open(meter))
    things: dict[str, Any] = {
        "spare day 2": DAY, "spare zones": ZONES, "spare prices": [9000, 6000, 5000, 3000], "spare steps": STEPS,
        "holidays": [[2026, 5, 1, 2]], "switch days": SWITCH, "switch zones": SWITCH, "switch prices": SWITCH, "switch steps": SWITCH,
    }  # fmt: skip
    for key, value in things.items():
        write(table, meter, key, value)
    assert read(table, meter) == before | things
    table.now = civil("2026-04-01 00:01")
    then = read(table, meter)
    assert (then["zones"], then["day 2"], then["prices"], then["steps"]) == (
        ZONES,
        DAY,
        [9000, 6000, 5000, 3000],
        STEPS,
    )
    write(table, meter, "switch zones", None)
    assert read(table, meter)["switch zones"] is None


def test_a_protocol_without_such_tables_says_so() -> None:
    with pytest.raises(Misuse, match="has no tables of hours and prices"):
        DlmsDriver().tables(Meter(1, "1", ZONE))
