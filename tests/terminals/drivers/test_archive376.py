"""The archive of a 376.1 terminal, byte by byte, and all that must never be written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer
from protocols.gdw376.exchange import Device, DeviceRequest
from protocols.gdw376.frame import parse_address
from protocols.gdw376.units import ident
from terminals.drivers.archive376 import BLANK, Archive376
from terminals.drivers.driver import Script
from terminals.drivers.entry import Entry
from terminals.drivers.station import terminal_itself
from terminals.drivers.station376 import Station376
from terminals.simulator.told376 import Told376

PW = "00112233445566778899aabbccddeeff"
WHOM = terminal_itself("33010001", ZoneInfo("Asia/Shanghai"), {"terminal_password": PW})
FIRST = replace(
    BLANK, number=5, point=7, address="410000010002", baud=9600, port="2", password="665544332211"
)
#: serial, point, 9600 baud on port 2, DL/T 645-2007, address and password low byte first, 4 tariffs, 6.2 digits, no collector, class 0
ROW = bytes.fromhex("0500 0700 c2 1e 020001000041 665544332211 04 09 000000000000 00")


class Table:
    """A terminal on the table: real frames both ways. `answer` stands in for what it would say."""

    def __init__(self, *addresses: str) -> None:
        self.told = Told376(addresses)
        self.device = Device(parse_address(WHOM.terminal))
        self.frames: list[bytes] = []
        self.answer: Callable[[DeviceRequest], bytes] = self._answer

    def run(self, script: Script[Any]) -> Any:
        master = Station376().exchange(WHOM)
        try:
            request = next(script)
            while True:
                raw = master.send(request)
                self.frames.append(raw)
                self.device.receive_data(raw)
                asked = self.device.next_event()
                assert isinstance(asked, DeviceRequest)
                master.receive_data(self.answer(asked))
                try:
                    event = master.next_event()
                    assert isinstance(event, Answer), event
                    request = script.send(event.value)
                except Refused as refused:
                    request = script.throw(refused)
        except StopIteration as done:
            return done.value
        finally:
            assert self.device.next_event() is NEED_DATA

    def _answer(self, asked: DeviceRequest) -> bytes:
        if asked.afn == 0x04:
            return self.device.confirm() if self.told.tell(asked.units) else self.device.deny()
        parts = list(self.told.told(asked.units))
        return self.device.answer(parts) if parts else self.device.deny()


def shelf(**more: Any) -> Archive376:
    return Archive376(Station376(), **more)


def test_the_bytes_of_a_write() -> None:
    table = Table()
    table.run(shelf().write(WHOM, [FIRST]))
    (raw,) = table.frames
    # C 4A: PRM, function 10; A 3301 0001 and master 1; AFN 04; a single frame; p0 F10; one entry; PW of AUX
    assert raw[6:].hex() == (
        "4a" + "01330100" + "02" + "04" + "60" + "00000201" + "0100" + ROW.hex() + PW + raw[-2:].hex()
    )
    assert table.told.rows() == {5: ROW}


def test_the_question_and_what_comes_back() -> None:
    table = Table("410000010001", "410000010002")
    held = table.run(shelf(last=100).held(WHOM))
    assert [(e.number, e.point, e.address, e.protocol, e.port, e.baud) for e in held.entries] == [
        (1, 1, "410000010001", "dlt645-2007", "31", 0),
        (2, 2, "410000010002", "dlt645-2007", "31", 0),
    ]
    assert held.denied == ((65, 100),)
    assert (
        table.frames[0][12:]
        .hex()
        .startswith("0a" + table.frames[0][13:14].hex() + "00000201" + "4000" + "0100" + "0200" + "0300")
    )
    assert table.run(shelf().held(WHOM, [2])).entries == held.entries[1:]
    assert table.run(shelf().held(WHOM, [9])) == type(held)((), ((9, 9),))


def test_what_was_written_is_what_is_read() -> None:
    table = Table()
    entries = [
        replace(FIRST, number=k, point=2041 - k, address=f"{k:012d}", protocol="code 32") for k in range(1, 9)
    ]
    table.run(shelf().write(WHOM, entries))
    held = table.run(shelf(last=64).held(WHOM))
    assert list(held.entries) == entries
    assert {e.password for e in held.entries} == {"665544332211"}


def test_the_longest_write_passes_a_radio() -> None:
    table = Table()
    table.run(shelf().write(WHOM, [replace(FIRST, number=k, point=k) for k in range(1, 9)]))
    length = int.from_bytes(table.frames[0][1:3], "little") >> 2
    assert length == 246  # 255 are allowed there


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [replace(FIRST, point=0)],
        [FIRST, replace(FIRST, number=6, point=0)],
        [replace(FIRST, number=0)],
        [replace(FIRST, number=2041)],
        [FIRST] * 9,
        [replace(FIRST, port="32")],
        [replace(FIRST, port="F2010201")],
        [replace(FIRST, baud=38400)],
        [replace(FIRST, protocol="dlt698")],
        [replace(FIRST, protocol="code 300")],
    ],
)
def test_what_is_never_written(entries: list[Entry]) -> None:
    table = Table("410000010001")
    with pytest.raises(Misuse):
        table.run(shelf().write(WHOM, entries))
    assert table.frames == []


def test_erasing_is_writing_point_0_and_nothing_else() -> None:
    table = Table("410000010001", "410000010002")
    entry = table.run(shelf().held(WHOM, [2])).entries[0]
    table.run(shelf().erase(WHOM, entry))
    assert bytes.fromhex("0100" + "0200" + "0000" + "1f1e" + "020001000041") in table.frames[-1]
    assert set(table.told.rows()) == {1}
    with pytest.raises(Misuse, match="there is no entry 0"):
        table.run(shelf().erase(WHOM, replace(entry, number=0)))


def test_an_answer_about_other_entries_is_none() -> None:
    table = Table()
    table.answer = lambda asked: table.device.answer([(ident([0], [10]), [b"\x01\x00" + ROW])])
    with pytest.raises(FrameError, match="entry 5 was not asked for"):
        table.run(shelf().held(WHOM, [1, 2]))


def test_a_row_with_point_0_is_no_entry() -> None:
    table = Table()
    empty = ROW[:2] + b"\0\0" + ROW[4:]
    table.answer = lambda asked: table.device.answer([(ident([0], [10]), [b"\x01\x00" + empty])])
    assert table.run(shelf().held(WHOM, [5])).entries == ()


def test_an_unset_collector_is_zeros() -> None:
    table = Table()
    filled = ROW[:-7] + b"\xee" * 6 + ROW[-1:]
    table.answer = lambda asked: table.device.answer([(ident([0], [10]), [b"\x01\x00" + filled])])
    (entry,) = table.run(shelf().held(WHOM, [5])).entries
    assert entry.more["collector"] in ("000000000000", "EEEEEEEEEEEE")
