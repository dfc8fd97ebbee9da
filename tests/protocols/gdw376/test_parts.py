"""Frames range by range, what is capped, and what a hostile frame may cost."""

import datetime as dt
import json

import pytest

from protocols.gdw376.describe import FIELD_LIMIT, MASK, describe, parts
from protocols.gdw376.frame import PW_SIZE, Address, Frame
from protocols.gdw376.items import Field, Group, events, items
from protocols.gdw376.parts import PART_LIMIT
from protocols.gdw376.spelling import in_chinese
from protocols.gdw376.units import ident
from protocols.gdw376.values import UNIT_LIMIT, decode_units, encode, encode_event
from tests.support.work import MOST, work

OWN = Address("0171", 0x0822, 1)
CLOCK = bytes.fromhex("512023071018")


def up(afn: int, body: bytes) -> bytes:
    return Frame(OWN, 0x88, afn, 0x60, body).encode()


def down(afn: int, body: bytes, pw: bytes = b"") -> bytes:
    return Frame(OWN, 0x4A, afn, 0x60, body, pw).encode()


def covers(raw: bytes) -> None:
    at = 0
    for part in parts(raw):
        assert part.start == at < part.end
        at = part.end
    assert at == len(raw)


def within(raw: bytes, name: str) -> tuple[str, int]:
    (part,) = [part for part in parts(raw) if part.name == name]
    return part.meaning, part.level


def test_units_and_their_fields():
    raw = up(0x0C, ident([0], [2, 7]).raw + CLOCK + b"\x03\x04")
    covers(raw)
    assert within(raw, "data unit DA") == ("p0", 1)
    assert within(raw, "data unit DT") == ("F2, F7", 1)
    assert within(raw, "terminal clock") == ("2018-10-07 23:20:51", 2)
    assert within(raw, "EC1") == ("3", 2)


def test_an_unknown_function_is_one_range_that_says_so():
    raw = up(0x0C, ident([0], [240]).raw + b"\xaa\xbb" + ident([0], [7]).raw + b"\x03\x04")
    covers(raw)
    assert within(raw, "data area") == ("the table has no such function", 1)
    assert within(raw, "EC2") == ("4", 2)


def test_two_halves_of_a_byte_are_one_range():
    raw = down(0x05, ident([1], [1]).raw + b"\x52", bytes(PW_SIZE))
    assert within(raw, "alarm delay, limit time") == ("alarm delay 5 min, limit time 2 × 0.5h", 2)
    assert within(raw, "authentication code PW") == (MASK, 0)
    assert {part.name: part.meaning for part in parts(raw, reveal=True)}[
        "authentication code PW"
    ] == "00" * 16


def test_event_records_are_taken_apart_and_quote_no_code():
    when = dt.datetime(2024, 5, 6, 7, 8)
    records = [
        encode_event(20, [when, bytes(range(16)), 3]),
        encode_event(35, [when, 1, 1, "000123456789", b"\1\2"]),
    ]
    raw = up(0x0E, ident([0], [1]).raw + encode(0x0E, 1, [1, 2, 0, 2, *records]))
    covers(raw)
    assert within(raw, "authentication code PW") == (MASK, 3)
    assert within(raw, "unknown meter 1 address") == ("000123456789", 3)
    assert bytes(range(16)).hex() not in json.dumps(describe(raw))
    assert bytes(range(16)).hex() not in repr(decode_units(0x0E, raw[14:-2], uplink=True))
    assert bytes(range(16)).hex() in json.dumps(describe(raw, reveal=True))


def test_a_forwarded_order_is_hidden_and_a_forwarded_read_is_not():
    read = bytes.fromhex("68611001301215681104333334337b16")
    order = read[:8] + b"\x1c" + read[9:]
    for content, shown in ((read, read.hex()), (order, MASK), (b"anything else at all", MASK)):
        raw = down(
            0x10,
            ident([0], [1]).raw + encode(0x10, 1, [31, 0x6B, 1, 1, len(content), content], uplink=False),
            bytes(PW_SIZE),
        )
        assert within(raw, "content") == (shown, 2)
        assert describe(raw)["forward"]["frame"] == shown


def leaves(nodes: tuple[Field | Group, ...]) -> list[Field]:
    return [leaf for node in nodes for leaf in (leaves(node.nodes) if isinstance(node, Group) else [node])]


def test_every_field_has_a_chinese_name():
    layouts = [layout for found in items().values() for layout in (*(found.down or ()), *(found.up or ()))]
    layouts += [kind.layout for kind in events().values()]
    for field in [leaf for layout in layouts for leaf in leaves(layout)]:
        chinese = in_chinese(field.name.replace("{n}", "3").replace("{m}", "2").replace("{p}", "A"))
        left = "".join(c for c in chinese if c.isascii() and c.islower())
        assert left in ("", "n", "m"), f"{field.name}: {chinese}"  # pointers Pm and Pn, functions Fn


def filled(unit: bytes) -> bytes:
    size = 16_000
    return (unit * (size // len(unit) + 1))[:size]


EVENTS = ident([0], [1]).raw + b"\1\1\0\xff"
#: What was found to be dear: many units, many fields, many unknown ones, counts within counts, records of nothing.
HOSTILE = {
    "tiny units": up(0x0C, filled(ident([0], [7]).raw + b"\1\2")),
    "identifiers": down(0x0C, filled(b"\xff\1\xff\3")),
    "dates": down(0x0D, filled(ident([1], [1]).raw + b"\x27\x08\x18")),
    "unknown": up(0x0C, filled(ident([0], [240]).raw + b"\1\2\3\4\5")),
    "unknown and known": up(0x0C, filled(ident([0], [240]).raw + b"\1\2\3\4\5" + ident([0], [7]).raw + b"\1\2")),
    "ones": up(0x0C, b"\1" * 16_000),
    "counts": down(0x04, filled(ident([0], [38]).raw + b"\1\xff" + b"\1\0" * 255), bytes(PW_SIZE)),
    "records of nothing": up(0x0E, filled(EVENTS + b"\2\0" * 255)),
    "records": up(0x0E, filled(EVENTS + (b"\3\xfe" + b"\1" * 254) * 60)),
    "results": up(0x00, ident([0], [3]).raw + b"\4" + filled(b"\1\1\1\1\0")),
    "curves": up(0x0D, filled(ident([1], [81]).raw + bytes.fromhex("0000270818") + b"\1\xff" + b"\x12" * 765)),
    "archive": up(0x0A, ident([0], [10]).raw + (580).to_bytes(2, "little") + b"\x12" * 27 * 580),
    "forwards": up(0x10, filled(ident([0], [1]).raw + b"\1\4\0\x68\1\2\3")),
    "empty forwards": up(0x10, filled(ident([0], [1]).raw + b"\1\0\0")),
}  # fmt: skip


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_frame_costs_little(raw):
    covers(raw)
    assert len(parts(raw)) <= PART_LIMIT + 30
    told = describe(raw)
    assert len(told.get("data_units", ())) <= UNIT_LIMIT
    for look in (describe, parts):
        assert work(look, raw) < MOST


def test_what_is_left_out_is_said():
    told = describe(HOSTILE["archive"])
    assert len(told["parameters"]) == FIELD_LIMIT
    assert "left_out" in told
    assert told["remaining_data"] == MASK  # the archive holds passwords
    told = describe(HOSTILE["tiny units"])
    assert told["data_units_left_out"] == UNIT_LIMIT - len(told["data_units"])
    assert parts(HOSTILE["curves"])[-3].name_zh == "其余数据"


def test_only_some_forwarded_frames_are_opened():
    opened: list[bytes] = []

    def inner(frame: bytes) -> None:
        opened.append(frame)

    describe(HOSTILE["forwards"], inner=inner)
    assert len(opened) == 4
    opened.clear()
    large = up(0x10, ident([0], [1]).raw + b"\1" + (9000).to_bytes(2, "little") + bytes(9000))
    describe(large, inner=inner)
    assert opened == []


def test_two_unknown_functions_in_one_frame():
    body = (
        ident([0], [240]).raw
        + b"\xaa" * 5
        + ident([0], [2, 7]).raw
        + CLOCK
        + b"\3\4"
        + ident([0], [239]).raw
        + b"\xbb" * 3
    )
    units = decode_units(0x0C, body, uplink=True)
    assert [(unit.function, unit.known) for unit in units] == [
        (240, False),
        (2, True),
        (7, True),
        (239, False),
    ]
    assert units[3].data == b"\xbb" * 3


def test_why_names_the_offset_in_the_frame():
    raw = up(0x0C, ident([1], [33]).raw + bytes.fromhex("4716280818") + b"\x04" + bytes(20))
    assert describe(raw)["why"] == "forward active tariff 4: 0 bytes are left, 5 are needed, at offset 44"
