"""No input costs more than a few milliseconds, whatever is repeated in it, and nothing that is kept grows without end."""

import pytest

from protocols.buffer import ReceiveBuffer
from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import bulk, values
from protocols.dlt698.describe import describe, parts
from protocols.dlt698.frame import BUFFER_LIMIT, Address, Frame, decode, find
from protocols.dlt698.parts import MAX_PARTS
from protocols.dlt698.segments import MAX_APDU, Joiner
from protocols.dlt698.wire import MAX_TOLD
from protocols.errors import FrameError
from tests.support.work import MOST, work

SIZE = 16_300
ARRAY = "85010000100200 01 01"
#: What is repeated, and what stands before the count.
REPEATED = [
    *((element, ARRAY) for element in (
        "00", "0100", "1105", "0301", "5c00", "5a00", "6000", "0900", "12ffff", "5c0200", "55020500", "54000001",
        "020100", "58000000", "0600000001", "5a010000000000", "5b0000000000", "5b010000000000", "520000000000",
        "5f0000000000", "5e000000000000", "5c0501000000", "1707800000", "0a0141", "0a02c4e3", "0401ff", "500010",
        "1907e90403040f14050000", "1c07e904030f1405", "010100", "02020000", "5a0300", "01" * 26 + "00",
    )),
    ("0010020004", "850200"), ("001002000100", "850200"), ("00", "850300 50040200 01 00 00100201 01"),
    ("0600000001", "850300 50040200 01 00 00100201 01"), ("02020000", "850300 50040200 01 01 50040200 02 00100201 00200201 01"),
    ("0000", "850300 50040200 01 01 50040200 02 00100201 00200201 01"), ("00100200", "050200"), ("500402000000", "050400"),
    ("015004020000", "050300 50040200 00"), ("0010020000", "060200"), ("001002000000", "870200"), ("00000000", "090100 0000"),
    ("0000", "890100"), ("00", "880300 F2010201"), ("0c68010000000000681c103333", "880300 F2010201"),
]  # fmt: skip


def framed(data, control=0xC3):
    return Frame(Address("000000000001"), 0, control, data[:16_360]).encode()


def repeated(element, head):
    raw = bytes.fromhex(element)
    count = SIZE // len(raw)
    return bytes.fromhex(head) + b"\x82" + count.to_bytes(2, "big") + raw * count + b"\x00\x00"


@pytest.mark.parametrize(("element", "head"), REPEATED)
def test_no_input_of_16_kib_takes_much(element, head):
    data = repeated(element, head)
    raw = framed(data)
    assert decode(raw).data == data
    assert describe(raw)["apdu"]["service"]
    assert parts(raw)[-1].end == len(raw)
    for call, argument in ((describe, raw), (parts, raw), (apdus.decode, data)):
        assert work(call, argument) < MOST
    assert work(bulk.decode_many, [data]) < 2 * MOST


@pytest.mark.parametrize(
    "noise", ["68", "680a00", "681e00c305", "682000430f", "68ff3f", "680a00430000000000000016", "6816"]
)
def test_noise_that_looks_like_frames(noise):
    def drain(raw):
        buffer = ReceiveBuffer(BUFFER_LIMIT)
        buffer.feed(raw)
        for _ in range(len(raw)):
            try:
                if find(buffer) is None:
                    return
            except FrameError:
                continue

    assert work(drain, (bytes.fromhex(noise) * SIZE)[:SIZE]) < MOST


def test_security_inside_security_is_not_followed():
    data = b""
    while len(data) < SIZE:
        length = bytes((len(data),)) if len(data) < 128 else b"\x82" + len(data).to_bytes(2, "big")
        data = b"\x90\x00" + length + data + b"\x00"
    told = describe(framed(data))["apdu"]["apdu"]
    assert told["decode_note"].startswith("apdu: SECURITY inside SECURITY")
    assert "SECURITY" in parts(framed(data), reveal=True)[-4].meaning


def test_what_is_told_is_bounded():
    raw = framed(repeated("12ffff", ARRAY))
    told = describe(raw)["apdu"]
    assert told["service"] == "GET-Response"
    assert told["decode_note"] == "apdu: more values than are read one by one, at offset 26"
    assert bytes.fromhex(told["undecoded"]) == decode(raw).data
    found = parts(raw)
    assert len(found) < MAX_PARTS + 20
    assert found[-3].meaning == f"{found[-3].end - found[-3].start} bytes, not told one by one"
    assert (
        len(describe(framed(repeated("0600000001", ARRAY)))["apdu"]["results"][0]["value"])
        == SIZE // 5
        < MAX_TOLD
    )


def test_a_long_answer_of_segments_is_read_whole():
    row = values.encode(values.Data(values.DOUBLE_LONG_UNSIGNED, 7)) * 12
    data = (
        bytes.fromhex("850300 50040200 0c")
        + b"\x00\x00\x10\x02\x01" * 12
        + b"\x01\x82\x16\x80"
        + row * 5760
        + b"\x00\x00"
    )
    assert len(apdus.decode(data).fields["record"].rows) == 5760


def test_segments_are_bounded():
    joiner = Joiner()
    piece = Frame(Address("01"), 0, 0xE3, bytes(16_000), 0)
    joiner.add(piece)
    for number in range(1, MAX_APDU // 16_000):
        joiner.add(Frame(Address("01"), 0, 0xE3, bytes(16_000), 0xC000 | number))
    with pytest.raises(FrameError, match=str(MAX_APDU)):
        joiner.add(Frame(Address("01"), 0, 0xE3, bytes(16_000), 0xC000 | MAX_APDU // 16_000))
    assert not joiner.begun
