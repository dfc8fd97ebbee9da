"""The archive and the tasks of a 698.45 terminal against published frames, and what is never sent."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from protocols.dlt698 import values
from protocols.dlt698.requests import Act, Get
from protocols.dlt698.values import Data
from protocols.errors import FrameError, Misuse
from terminals.drivers.archive698 import BLANK, Archive698, entry_at, row_of
from terminals.drivers.driver import Script
from terminals.drivers.settings698 import Settings698, same_task, wanted
from terminals.drivers.station import terminal_itself
from terminals.drivers.station698 import Station698

WHOM = terminal_itself("330000000001", ZoneInfo("Asia/Shanghai"))
#: The parameter of a published ACTION 60007F00, 下装档案.
PUBLISHED = bytes.fromhex(
    "0204120001020A5507050000000000011603160351F2010201090600000000000011041100160312089812000F"
    "02045507050000000000000906000000000000120001120001" + "0100"
)
#: Of a published ACTION 60127F00, 下装任务, the row of its array.
TASK = bytes.fromhex(
    "020C110154010005160111011C07E108150000001C083309090909095401000211021601120000120000020216000101020411001100"
    + "1117113B"
)
FIRST = replace(BLANK, number=3, point=3, address="410000010003")


def asked(script: Script[Any], *answers: Any) -> tuple[list[Any], Any]:
    """What a script asks, given these answers, and what it returns."""
    requests = []
    answer: Any = None
    given = list(answers)
    try:
        while True:
            requests.append(script.send(answer))
            answer = given.pop(0) if given else None
    except StopIteration as done:
        return requests, done.value


def shelf() -> Archive698:
    return Archive698(Station698())


def test_a_published_entry_both_ways() -> None:
    entry = entry_at(values.decode(PUBLISHED))
    assert (entry.number, entry.point, entry.address, entry.protocol, entry.port, entry.baud) == (
        1, 1, "000000000001", "dlt698", "F2010201", 2400,
    )  # fmt: skip
    assert entry.more | {"volts": 0} == {
        "tariffs": 4, "user": 0, "wiring": 3, "volts": 0, "amps": 15, "collector": "000000000000", "asset": "000000000000", "pt": 1, "ct": 1,
        "annex": "0100",
    }  # fmt: skip
    assert values.encode(row_of(entry)) == PUBLISHED


def test_new_entries_are_added_and_held_ones_updated() -> None:
    held = replace(FIRST, number=1, point=1)
    requests, _ = asked(shelf().write(WHOM, [held, FIRST], [held]))
    assert [request.omd for request in requests] == [0x60008100, 0x60008000]
    number, basic = requests[0].data.value
    assert (number, basic) == (Data(values.LONG_UNSIGNED, 1), row_of(held).value[1])
    assert requests[1].data == values.array(row_of(FIRST))


def test_an_entry_is_taken_out_by_its_number() -> None:
    requests, _ = asked(shelf().erase(WHOM, FIRST))
    assert requests == [Act(0x60008300, Data(values.LONG_UNSIGNED, 3))]


def test_the_table_is_read_whole() -> None:
    table = values.array(values.decode(PUBLISHED), row_of(FIRST))
    requests, held = asked(shelf().held(WHOM), table)
    assert requests == [Get(0x60000200)]
    assert [entry.number for entry in held.entries] == [1, 3]
    assert [entry.number for entry in asked(shelf().held(WHOM, [3, 4]), table)[1].entries] == [3]


@pytest.mark.parametrize(
    "table",
    [
        Data(values.NULL),
        values.array(Data(values.NULL)),
        values.array(values.structure(Data(values.UNSIGNED, 1))),
    ],
)
def test_what_is_no_table(table: Data) -> None:
    with pytest.raises(FrameError):
        asked(shelf().held(WHOM), table)


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [FIRST] * 9,
        [replace(FIRST, number=0)],
        [replace(FIRST, port="31x")],
        [replace(FIRST, baud=7)],
        [replace(FIRST, protocol="x")],
    ],
)
def test_what_is_never_written(entries: list[Any]) -> None:
    script = shelf().write(WHOM, entries)
    with pytest.raises(Misuse):
        next(script)


def test_a_task_is_shaped_as_a_published_one() -> None:
    begin = dt.datetime(2017, 8, 21)
    ours, theirs = values.decode(wanted(begin)["6012.1"]), values.decode(TASK)
    tags = [[field.tag for field in task.value] for task in (ours, theirs)]
    assert tags[0] == tags[1]
    same = [k for k in range(12) if ours.value[k] == theirs.value[k]]
    assert same == [0, 2, 3, 4, 5, 8, 9, 10, 11]  # all but how often, the delay and the priority


def test_a_scheme_is_shaped_as_published_ones() -> None:
    """方案 6: number, depth, {type, content}, columns, meters, storage time; by the freeze (2, NULL), by interval (3, TI)."""
    found = wanted(dt.datetime(2026, 3, 11))
    day, curve = found["6014.2"].hex(), found["6014.1"].hex()
    head, column = "0206" + "1102" + "12001f" + "0202" + "1102" + "00", "5b0150040200" + "03"
    assert day == head + "0101" + column + "20210200" + "00100200" + "00200200" + "5c01" + "1606"
    assert curve.startswith("0206" + "1101" + "1203c0" + "0202" + "1103" + "5401000f")


def test_a_task_that_began_otherwise_is_the_same() -> None:
    one, other = (wanted(dt.datetime(2026, 3, day)) for day in (11, 12))
    assert one["6012.1"] != other["6012.1"]
    assert same_task("6012.1", one["6012.1"], other["6012.1"])
    assert not same_task("6012.1", one["6012.1"], other["6012.2"])
    assert not same_task("6012.1", None, one["6012.1"])
    assert same_task("6014.1", one["6014.1"], other["6014.1"])


def test_settings_are_added_one_by_one_under_their_own_number() -> None:
    raw = wanted(dt.datetime(2026, 3, 11))["6014.2"]
    requests, _ = asked(Settings698(Station698()).write(WHOM, "6014.2", raw))
    assert requests == [Act(0x60147F00, values.array(values.decode(raw)))]
    for name in ("6014.1", "6016.2", "6000.2"):
        with pytest.raises(Misuse):
            asked(Settings698(Station698()).write(WHOM, name, raw))
