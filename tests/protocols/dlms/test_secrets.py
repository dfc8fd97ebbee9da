"""Passwords and keys inside A-XDR data: masked in fields, line, ranges and complaints; shown when asked for."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from protocols.dlms import apdu as apdus
from protocols.dlms import ciphering, confidential, hdlc_frame, prose, shortnames, values, view, wire
from protocols.dlms import describe as room
from protocols.dlms import frame as frames
from protocols.dlms.apdu import Block, Target
from protocols.dlms.ciphering import IDENTIFIED, WRAPPED, Control, Form, Header, KeyInfo
from protocols.dlms.describe import describe, parts
from protocols.dlms.exchange import Act, Set
from protocols.dlms.frame import Frame
from protocols.dlms.messages import Name, Write
from protocols.dlms.values import Data
from protocols.errors import FrameError, Misuse
from protocols.part import MASK

KEY = bytes(range(0xA0, 0xB0))
TEXT = KEY.hex()
VALUE = values.encode(values.octets(KEY))
#: As key_transfer has it: an array of structures of key id and wrapped key.
TRANSFER = values.encode(values.array(values.structure(Data(values.ENUM, 0), values.octets(KEY))))
OBIS = "0.0.40.0.0.255"
PLAIN = Target(8, "0.0.1.0.0.255", 2)
ROWS = [
    (12, "method", 5), (15, "attribute", 7), (15, "method", 2), (30, "attribute", 4), (30, "attribute", 5),
    (44, "attribute", 5), (45, "attribute", 3), (46, "attribute", 4), (64, "method", 2), (64, "method", 3),
    (72, "method", 7), (72, "method", 8), (91, "attribute", 5),
]  # fmt: skip


def setting(target: Target) -> list[apdus.Apdu]:
    chosen, block = (target, None), Block(False, 1, VALUE)
    return [
        apdus.SetNormal(1, target, VALUE),
        apdus.SetNormal(1, target, TRANSFER),
        apdus.SetList(1, ((PLAIN, None), chosen), (b"\x11\x05", VALUE)),
        apdus.SetFirst(1, target, None, block),
        apdus.SetListFirst(1, ((PLAIN, None), chosen), block),
        apdus.EventNotification(None, target, VALUE),
    ]


def acting(target: Target) -> list[apdus.Apdu]:
    plain, block = Target(70, "0.0.96.3.10.255", 1), Block(False, 1, VALUE)
    return [
        apdus.ActNormal(1, target, VALUE),
        apdus.ActNormal(1, target, TRANSFER),
        apdus.ActList(1, (plain, target), (b"\x0f\x00", TRANSFER)),
        apdus.ActFirst(1, target, block),
        apdus.ActListFirst(1, (plain, target), block),
    ]


SECRET = [
    pytest.param(one, id=f"{class_id}-{kind}-{index}-{type(one).__name__}-{number}")
    for class_id, kind, index in ROWS
    for number, one in enumerate((setting if kind == "attribute" else acting)(Target(class_id, OBIS, index)))
] + [
    pytest.param(one, id=f"any-{type(one).__name__}-{number}")
    for number, one in enumerate([
        apdus.SetNext(1, Block(True, 2, VALUE)),  # of what, only the first block says
        apdus.ActBlock(1, Block(True, 2, VALUE)),
        Write((Name(0x1000), Name(0xFA40)), (b"\x11\x05", VALUE)),
        Write((Name(0xFA40),), (VALUE,), confirmed=False),
        Write((Block(False, 1, b""),), (VALUE,)),
    ])
]  # fmt: skip


def lines(raw: bytes) -> list[bytes]:
    """The APDU bare, in the wrapper, in HDLC, and sealed without being encrypted."""
    frame = hdlc_frame.HdlcFrame(
        hdlc_frame.server_address(1, 17), hdlc_frame.client_address(1), 0x10, hdlc_frame.LLC_COMMAND + raw
    )
    clear = ciphering.seal(
        raw, Form.GENERAL_GLO, Control(0, True, False), 1, title=b"MMM\0\0\0\0\1", key=KEY, authentication=KEY
    )
    return [raw, frames.encode(Frame(1, 17, raw)), frame.encode(), clear]


def said(raw: bytes, *, reveal: bool) -> str:
    """All that is told of a frame: the bytes of a range are shown too, unless it is marked as secret."""
    shown = [raw[one.start : one.end].hex() for one in parts(raw, reveal=reveal) if not one.secret]
    words = [one.meaning for one in parts(raw, reveal=reveal)]
    return json.dumps([describe(raw, reveal=reveal), words, shown])


@pytest.mark.parametrize("apdu", SECRET)
def test_masked_unless_asked_for(apdu: apdus.Apdu) -> None:
    for raw in lines(apdus.encode(apdu)):
        assert TEXT not in said(raw, reveal=False)
        assert MASK in said(raw, reveal=False)
        assert TEXT in said(raw, reveal=True)
        assert MASK not in said(raw, reveal=True)
        told = parts(raw)
        assert [one.start for one in told] == [0, *(one.end for one in told[:-1])]
        assert told[-1].end == len(raw)


def complaint(told: Callable[[bytes], object], raw: bytes) -> str:
    try:
        told(raw)
    except FrameError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("apdu", SECRET)
def test_no_complaint_tells(apdu: apdus.Apdu) -> None:
    raw = apdus.encode(apdu)
    for damaged in [raw[:end] for end in range(1, len(raw))] + [
        raw + b"\0",
        raw.replace(b"\x09\x10", b"\x0a\x10"),
    ]:
        for told in (describe, parts):
            assert TEXT[:8] not in complaint(told, damaged)


def test_the_line_is_masked() -> None:
    assert MASK in describe(apdus.encode(apdus.SetNormal(1, Target(15, OBIS, 7), VALUE)))["text"]
    assert MASK in describe(apdus.encode(apdus.ActNormal(1, Target(64, "0.0.43.0.0.255", 2), VALUE)))["text"]
    assert describe(apdus.encode(apdus.SetNormal(1, PLAIN, VALUE)))["value"] == TEXT


def test_the_table_is_the_list() -> None:
    assert confidential._table() == frozenset(ROWS)
    assert shortnames.method_name(shortnames.BUILT_IN, 12, OBIS, 5) == confidential.CHANGE_SECRET


@pytest.mark.parametrize("kind", [WRAPPED, IDENTIFIED])
def test_a_wrapped_key_is_masked(kind: int) -> None:
    header = Header(b"\0" * 8, b"MMM\0\0\0\0\1", b"CLI\0\0\0\0\1", key=KeyInfo(kind, 0, ciphered=KEY))
    raw = ciphering.seal(
        b"\xc0\x01\xc1", Form.GENERAL, Control(), 1,
        title=b"MMM\0\0\0\0\1", key=bytes(16), authentication=bytes(16), header=header,
    )  # fmt: skip
    assert TEXT not in said(raw, reveal=False)
    assert (MASK in said(raw, reveal=False)) is (kind == WRAPPED)
    assert (TEXT in said(raw, reveal=True)) is (kind == WRAPPED)


def test_a_dedicated_key_is_masked() -> None:
    body = b"\x01\x01\x10" + KEY + bytes.fromhex("0000065f1f0400001e1dffff")
    inner = b"\xbe" + bytes((len(body) + 2, 4, len(body))) + body
    aarq = bytes.fromhex("a109060760857405080101") + inner
    raw = bytes((0x60, len(aarq))) + aarq
    assert describe(raw)["dedicated_key"] == MASK
    assert TEXT not in said(raw, reveal=False)
    assert describe(raw, reveal=True)["dedicated_key"] == TEXT


def test_no_complaint_about_a_value_and_no_request_shows_it() -> None:
    for wrong in (
        Data(values.VISIBLE_STRING, "geheim€"),
        Data(values.BIT_STRING, "geheim"),
        Data(values.LONG, "geheim"),
    ):
        with pytest.raises(Misuse) as complaint:
            values.encode(wrong)
        assert "geheim" not in str(complaint.value)
        assert complaint.value.__cause__ is None
    value = values.octets(b"geheim")
    shown = [Set(15, OBIS, 7, value), Act(15, OBIS, 2, value), apdus.SetNormal(1, PLAIN, b"geheim")]
    shown += [apdus.ActNormal(1, PLAIN, b"geheim"), Block(True, 1, b"geheim")]
    assert "geheim" not in repr(shown)


def test_nothing_is_kept_between_frames() -> None:
    describe(apdus.encode(apdus.SetNormal(1, Target(15, OBIS, 7), VALUE)), reveal=True)
    for module in (room, prose, view, wire):
        assert not [name for name, one in vars(module).items() if hasattr(one, "cache_info")]
