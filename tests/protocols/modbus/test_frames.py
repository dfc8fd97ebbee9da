"""Frames of both lines: every function's form, what is refused, streams, and what a stream costs.

Published frames, each with its source, are in ../vectors/modbus-rtu.jsonl and modbus-tcp.jsonl; here all are put together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from protocols.errors import FrameError
from protocols.modbus.frame import Frame
from protocols.modbus.rtu import describe as rtu_words
from protocols.modbus.rtu import frame as rtu
from protocols.modbus.tcp import describe as tcp_words
from protocols.modbus.tcp import frame as tcp

#: Two registers from 0 asked, and 230.2 V told. The answer is published (Eastron SDM320Y manual, page 42), the request put together.
ASKED = bytes.fromhex("01 04 0000 0002 71CB")
TOLD = bytes.fromhex("01 04 04 43663334 1B38")


def pdu(text: str) -> bytes:
    """An RTU frame of unit 1."""
    raw = bytes.fromhex("01" + text)
    return raw + rtu.crc16(raw).to_bytes(2, "little")


def test_a_voltage_asked_and_told() -> None:
    assert rtu.decode(ASKED) == Frame(1, 4, bytes.fromhex("00000002"))
    assert rtu.encode(rtu.decode(TOLD)) == TOLD
    assert rtu_words.describe(ASKED, model="sdm630")["asks_for"] == ["voltage phase A"]
    told = rtu_words.describe(TOLD, model="sdm630", address=0)
    assert told["values"] == [{"name": "voltage phase A", "value": 230.2, "unit": "V"}]
    assert told["direction"] == "meter->master"


@pytest.mark.parametrize(
    ("asked", "told"),
    [  # put together: one request and one answer of each function, by Application Protocol V1.1b3 clauses 6.1 to 6.21
        ("01 0013 0013", "01 03 CD6B05"),
        ("02 00C4 0016", "02 03 ACDB35"),
        ("03 006B 0003", "03 06 022B 0000 0064"),
        ("04 0008 0001", "04 02 000A"),
        ("05 00AC FF00", "05 00AC FF00"),
        ("06 0001 0003", "06 0001 0003"),
        ("0F 0013 000A 02 CD01", "0F 0013 000A"),
        ("10 0001 0002 04 000A 0102", "10 0001 0002"),
        ("17 0003 0006 000E 0003 06 00FF 00FF 00FF", "17 0C 00FE 0ACD 0001 0003 000D 00FF"),
        ("2B 0E 01 00", "2B 0E 01 01 00 00 03 00 03 414243 01 01 44 02 02 5631"),
    ],
)  # fmt: skip
def test_every_function(asked: str, told: str) -> None:
    for text, direction in ((asked, "request"), (told, "answer")):
        raw = pdu(text)
        frame = rtu.decode(raw)
        assert direction in frame.readings
        assert rtu.encode(frame) == raw
        for words, whole in ((rtu_words, raw), (tcp_words, tcp.encode(frame))):
            at = 0
            for part in words.parts(whole):
                assert part.start == at < part.end
                at = part.end
            assert at == len(whole)
            assert words.describe(whole)["address"] == "1"


def test_a_lone_frame_may_be_read_both_ways() -> None:
    assert rtu_words.describe(pdu("06 0001 0003"))["direction"].startswith("request or answer")
    refused = rtu_words.describe(pdu("83 02"))
    assert refused["error_word"] == "02H"
    assert refused["error_bits"] == ["illegal data address"]


@pytest.mark.parametrize(
    ("raw", "says", "offset"),
    [
        (ASKED[:3], "frame", 3),
        (ASKED[:-1] + b"\0", "CRC", 6),
        (pdu("03 0000 0000"), "quantity 0", 4),
        (pdu("03 0000 007E"), "quantity 126", 4),
        (pdu("03 FFFF 0002"), "beyond FFFFH", 2),
        (pdu("05 0000 1234"), "value 1234", 4),
        (pdu("10 0000 0002 03 000000"), "byte count 3", 6),
        (pdu("83 02 03"), "exception", 2),
        (pdu("00 02 03"), "function", 1),
        (b"\xf8\x03\x02\x00\x01", "CRC", 3),
    ],
)
def test_what_is_refused_says_where(raw: bytes, says: str, offset: int) -> None:
    with pytest.raises(FrameError, match=says) as caught:
        rtu.decode(raw)
    assert caught.value.offset == offset


def test_a_zero_byte_behind_a_frame() -> None:
    """Its CRC is right again, whatever the frame: of all requests only that of 07 becomes an answer by it."""
    whole = [pdu("03 0000 0002"), pdu("0B"), pdu("0C"), pdu("11"), ASKED, TOLD]
    for raw in whole:
        assert rtu.crc16(raw[:-1]) == raw[-1]
        with pytest.raises(FrameError):
            rtu.decode(raw + b"\0")
    status = rtu.decode(pdu("07") + b"\0")
    assert status.readings == ("answer",)
    assert status.data == b"\x41"


def test_tcp_header() -> None:
    good = tcp.encode(Frame(1, 3, bytes.fromhex("006B0003"), 1))
    assert good.hex() == "000100000006010300 6b0003".replace(" ", "")
    for raw, offset in ((good[:7], 7), (good[:3] + b"\1" + good[4:], 2), (good + b"\0", 4), (good[:5] + b"\0" + good[6:], 4)):  # fmt: skip
        with pytest.raises(FrameError) as caught:
            tcp.decode(raw)
        assert caught.value.offset == offset


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize(
    "noise", [b"", b"\x00", b"\x01\x03", b"\xff" * 40, TOLD[:5], b"\x01\x10\x00\x00\x00\x7b\xf6"]
)
def test_rtu_in_noise(step: int, noise: bytes) -> None:
    receiver, found = rtu.Receiver(), []
    raw = noise + ASKED + TOLD
    for at in range(0, len(raw), step):
        receiver.feed(raw[at : at + step])
        while True:
            try:
                frame = receiver.next()
            except FrameError:
                continue
            if frame is None:
                break
            found.append(frame)
    assert found == [rtu.decode(ASKED), rtu.decode(TOLD)]


def test_tcp_finds_its_step_again() -> None:
    good = tcp.encode(Frame(1, 3, bytes.fromhex("006B0003"), 1))
    receiver = tcp.Receiver()
    receiver.feed(b"GET / HTTP/1.1\r\n" + good)
    with pytest.raises(FrameError, match="protocol identifier"):
        receiver.next()
    assert receiver.next() == tcp.decode(good)
    assert receiver.next() is None


UNITS = [
    b"\x01\x03", b"\x00", b"\x01\x01\xf0", ASKED, TOLD, b"\x01\x2b\x0e\x01\x01\x00\x00\xff\x00\x00", b"\0\1\0\0\0\xfe\1\3",
    b"\x01\x07\x41\xe2", b"\x01\x2b\x0e\x01\x01\x00\x00\x60\x00\x01\x41", b"\0\0\0\0\0\3\1\x83\2", bytes(range(97)),
]  # fmt: skip


@pytest.mark.parametrize("step", [1, 16384])
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.hex()[:12])
@pytest.mark.parametrize("module", [rtu, tcp])
def test_streams_are_bounded_and_do_little(
    module: Any, unit: bytes, step: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Counted is how often a place is looked at as the beginning of a frame: a few times a byte, however it comes."""
    looks = 0

    def counted(inner: Callable[..., Any]) -> Callable[..., Any]:
        def outer(*args: Any) -> Any:
            nonlocal looks
            looks += 1
            return inner(*args)

        return outer

    monkeypatch.setattr(rtu.Receiver, "_sizes", counted(rtu.Receiver._sizes))
    monkeypatch.setattr(tcp, "_check_header", counted(tcp._check_header))
    receiver, raw = module.Receiver(), (unit * 16384)[: 4096 if step == 1 else 16384]
    with caplog.at_level(logging.DEBUG):
        for at in range(0, len(raw), step):
            receiver.feed(raw[at : at + step])
            drained(receiver)
            assert receiver.held() <= module.BUFFER_LIMIT
    # What is too much for the buffer is not looked at at all.
    seen = len(raw) if step == 1 else module.BUFFER_LIMIT
    assert looks <= 8 * seen, looks / seen
    assert not caplog.records


def drained(receiver: rtu.Receiver | tcp.Receiver) -> None:
    while True:
        try:
            if receiver.next() is None:
                return
        except FrameError:
            continue
