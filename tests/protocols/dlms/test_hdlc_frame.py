"""HDLC frames: published ones, addresses, control bytes, link parameters, the stream."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms.hdlc_frame import (
    BUFFER,
    LLC_COMMAND,
    LLC_RESPONSE,
    Address,
    HdlcFrame,
    Parameters,
    Receiver,
    checksum,
    client_address,
    control_of,
    decode,
    kind_of,
    negotiated,
    server_address,
)
from protocols.errors import FrameError, Misuse

VECTORS = {
    line["id"].rpartition("-")[2]: bytes.fromhex(line["hex"])
    for line in map(json.loads, (Path(__file__).parents[1] / "vectors" / "dlms.jsonl").read_text("utf-8").splitlines())
    if line["hex"].startswith("7e")
}  # fmt: skip
C16, C1 = client_address(16), client_address(1)
#: destination, source, kind, N(S), N(R), final, LLC, information bytes behind it
EXPECTED = {
    "027": (Address(1, 17, 2), C16, "SNRM", None, None, True, b"", b""),
    "028": (C16, Address(1, 17, 2), "UA", None, None, True, b"",
            bytes.fromhex("81801205019a06019a070400000001080400000001")),
    "029": (Address(1, 17, 2), C16, "I", 0, 0, True, LLC_COMMAND,
            bytes.fromhex("601da109060760857405080101be10040e01000000065f1f0400001e1dffff")),
    "030": (C16, Address(1, 17, 2), "I", 0, 1, True, LLC_RESPONSE,
            bytes.fromhex("6129a109060760857405080101a203020100a305a103020100be10040e0800065f1f0400001e1d04c80007")),
    "031": (C16, Address(1, 17, 4), "UA", None, None, True, b"",
            bytes.fromhex("8180140502008006020080070400000001080400000001")),
    "048": (client_address(0), Address(0, 0, 2), "I", 0, 0, True, LLC_RESPONSE, None),
    "049": (C1, C16, "SNRM", None, None, True, b"", b""),
    "050": (C16, C1, "UA", None, None, True, b"",
            bytes.fromhex("8180140502008006020080070400000001080400000001")),
    "052": (C16, C1, "I", 0, 1, True, LLC_RESPONSE,
            bytes.fromhex("6129a109060760857405080101a203020100a305a103020100be10040e0800065f1f040040121d04000007")),
    "053": (C1, C16, "I", 1, 1, True, LLC_COMMAND, bytes.fromhex("c001c100080000010000ff0200")),
    "056": (C16, C1, "UA", None, None, True, b"", b""),
    "057": (C1, C1, "I", 0, 0, True, LLC_COMMAND, None),
}  # fmt: skip


def test_all_twelve_are_here() -> None:
    assert set(VECTORS) == set(EXPECTED)


@pytest.mark.parametrize("key", EXPECTED)
def test_published(key: str) -> None:
    frame = decode(VECTORS[key])
    *fields, payload = EXPECTED[key]
    got = [
        frame.destination, frame.source, frame.kind, frame.send_sequence, frame.receive_sequence, frame.final, frame.llc,
    ]  # fmt: skip
    assert got == fields
    assert not frame.segmented
    if payload is not None:
        assert frame.payload == payload
    assert frame.encode() == VECTORS[key]


@pytest.mark.parametrize("key", EXPECTED)
def test_offsets(key: str) -> None:
    raw = VECTORS[key]
    frame = decode(raw)
    assert raw[frame.destination_start : frame.source_start] == frame.destination.encode()
    assert raw[frame.source_start : frame.control_start] == frame.source.encode()
    assert raw[frame.control_start] == frame.control
    assert raw[frame.information_start : frame.fcs_start] == frame.information
    assert len(raw) == frame.fcs_start + 3 == frame.length + 2
    assert (frame.hcs_start is None) == (not frame.information)
    if frame.hcs_start is not None:
        assert raw[frame.hcs_start : frame.information_start] == checksum(raw[1 : frame.hcs_start])


def test_the_check_sum_is_the_published_one() -> None:
    """CRC-16/X-25: the check value of "123456789" is 906EH, sent low byte first."""
    assert checksum(b"123456789") == bytes.fromhex("6e90")


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        ("03", Address(1)),
        ("ff", Address(0x7F)),
        ("0223", Address(1, 17, 2)),
        ("0001", Address(0, 0, 2)),
        ("0003", Address(0, 1, 2)),
        ("00020023", Address(1, 17, 4)),
        ("fefefeff", Address(0x3FFF, 0x3FFF, 4)),
        ("0002c469", Address(1, 0x3134 & 0x3FFF, 4)),
    ],
)
def test_addresses(raw: str, address: Address) -> None:
    frame = HdlcFrame(address, C16, control_of("RR"))
    assert address.encode().hex() == raw
    assert decode(frame.encode()) == frame
    turned = HdlcFrame(C16, address, control_of("I"), b"\xe6\xe7\x00\x61")
    assert decode(turned.encode()) == turned


def test_server_addresses_are_as_short_as_they_can_be() -> None:
    assert server_address(1) == Address(1)
    assert server_address(1, 17) == Address(1, 17, 2)
    assert server_address(1, 2000) == Address(1, 2000, 4)
    assert server_address(1, 17, 4) == Address(1, 17, 4)
    assert server_address(1, size=2) == Address(1, 0, 2)
    assert server_address(0x80) == Address(0x80, 0, 4)
    assert server_address(1, 17, 4).same(server_address(1, 17))
    assert not server_address(1, 17).same(server_address(1, 18))


def test_addresses_of_everyone() -> None:
    assert Address(0x7F).everyone
    assert Address(1, 0x7F, 2).everyone
    assert Address(1, 0x3FFF, 4).everyone
    assert not Address(1, 0x7F, 4).everyone


@pytest.mark.parametrize(
    "address",
    [Address(0x80), Address(1, 0x80, 2), Address(-1), Address(1, 1, 3), Address(1, 1, 1), Address(1, None, 4)],
)  # fmt: skip
def test_addresses_that_do_not_fit(address: Address) -> None:
    with pytest.raises(Misuse):
        address.encode()


def test_control_bytes() -> None:
    assert [control_of(kind) for kind in ("SNRM", "DISC", "UA", "DM", "FRMR", "UI")] == [
        0x93, 0x53, 0x73, 0x1F, 0x97, 0x13,
    ]  # fmt: skip
    assert control_of("I", send=1, receive=1) == 0x32
    assert control_of("I", send=9, receive=15, final=False) == 0xE2
    assert control_of("RR", receive=1) == 0x31
    assert control_of("RNR", receive=7, final=False) == 0xE5
    known = {control: kind_of(control) for control in range(256)}
    assert sum(kind == "I" for kind in known.values()) == 128
    assert sum(kind == "RR" for kind in known.values()) == 16
    assert sum(kind == "RNR" for kind in known.values()) == 16
    assert sum(kind in ("SNRM", "DISC", "UA", "DM", "FRMR", "UI") for kind in known.values()) == 12
    assert known[0x09] is None  # REJ is not of this profile


RAW = VECTORS["053"]


@pytest.mark.parametrize(
    ("raw", "offset", "word"),
    [
        (b"", 0, "flag"),
        (b"\x7e\xa0", 2, "shorter"),
        (RAW[1:], 0, "flag"),
        (b"\x7e\x90" + RAW[2:], 1, "format type"),
        (b"\x7e\xa0\x06" + RAW[3:9], 1, "at least 7"),
        (RAW[:-1], 1, "length 25"),
        (RAW + b"\x7e", 1, "length 25"),
        (RAW[:5] + b"\x34" + RAW[6:], 6, "HCS"),
        (RAW[:6] + b"\xff" + RAW[7:], 6, "HCS"),
        (RAW[:12] + b"\xff" + RAW[13:], 24, "FCS"),
        (RAW[:-1] + b"\x7d", 26, "closing flag"),
        (RAW[:5] + b"\x09" + RAW[6:], 5, "control"),
        (RAW[:3] + b"\x02\x02\x03" + RAW[6:], 3, "destination address"),
        (RAW[:3] + b"\x02\x02\x02\x02" + RAW[7:], 3, "destination address"),
        (RAW[:4] + b"\x02\x02\x03" + RAW[7:], 4, "source address"),
    ],
)
def test_what_is_wrong_is_named(raw: bytes, offset: int, word: str) -> None:
    with pytest.raises(FrameError, match=word) as caught:
        decode(raw)
    assert caught.value.offset == offset


def test_a_header_without_room_for_its_information() -> None:
    for extra in (1, 2):
        body = (0xA000 | 7 + extra).to_bytes(2, "big") + b"\x03\x21\x32" + bytes(extra)
        with pytest.raises(FrameError, match="no room for HCS"):
            decode(b"\x7e" + body + checksum(body) + b"\x7e")


def test_what_does_not_fit_a_frame() -> None:
    longest = HdlcFrame(C1, C16, 0x10, bytes(2047 - 9))
    assert decode(longest.encode()) == longest
    with pytest.raises(Misuse):
        HdlcFrame(C1, C16, 0x10, bytes(2047 - 8)).encode()


# --- link parameters ---


@pytest.mark.parametrize(
    ("raw", "parameters"),
    [
        ("", Parameters()),
        ("818000", Parameters()),
        ("81", Parameters()),
        ("81801205019a06019a070400000001080400000001", Parameters(154, 154, 1, 1)),
        ("8180140502008006020080070400000001080400000001", Parameters(128, 128, 1, 1)),
        ("81800e050207ee060207ee070107080107", Parameters(2030, 2030, 7, 7)),
        ("81800405020100", Parameters(256, 128, 1, 1)),  # three are missing
        ("818003080103", Parameters(128, 128, 1, 3)),
        ("81800701020304050140", Parameters(64)),  # 01 is nothing we know
        ("81f00212348003060140", Parameters(128, 64)),  # user data before
    ],
)  # fmt: skip
def test_parameters(raw: str, parameters: Parameters) -> None:
    assert negotiated(bytes.fromhex(raw)) == parameters


@pytest.mark.parametrize(
    ("raw", "offset"),
    [
        ("80", 0), ("8180", 1), ("818005050180", 1), ("8180020502", 3), ("818003050280", 3), ("818003050100", 3),
        ("8180020500", 3), ("81800705050000000080", 3), ("81800105", 3),
    ],
)  # fmt: skip
def test_malformed_parameters(raw: str, offset: int) -> None:
    with pytest.raises(FrameError, match="parameters") as caught:
        negotiated(bytes.fromhex(raw))
    assert caught.value.offset == offset


def test_parameters_of_both_sides_meet() -> None:
    client = Parameters(512, 1024, 1, 7)
    server = Parameters(256, 300, 3, 2).meet(client)
    assert server == Parameters(256, 300, 3, 1)
    assert client.meet(server) == Parameters(300, 256, 1, 3)
    assert negotiated(server.encode()) == server
    assert Parameters(9999, 9999, 9, 9).meet(Parameters(9999, 9999, 9, 9)) == Parameters(2030, 2030, 7, 7)


# --- the stream ---


def cut(*pieces: bytes) -> tuple[list[HdlcFrame], list[str]]:
    receiver, frames, errors = Receiver(), [], []
    for piece in pieces:
        receiver.feed(piece)
        while True:
            try:
                frame = receiver.next()
            except FrameError as error:
                errors.append(str(error))
                continue
            if frame is None:
                break
            frames.append(frame)
        assert receiver.held() <= BUFFER
    return frames, errors


def bytewise(raw: bytes) -> list[bytes]:
    return [raw[at : at + 1] for at in range(len(raw))]


def test_one_flag_may_close_and_open() -> None:
    shared = b"".join(raw[:-1] for raw in VECTORS.values()) + b"\x7e"
    for pieces in ([shared], bytewise(shared)):
        assert cut(*pieces) == ([decode(raw) for raw in VECTORS.values()], [])


def test_flags_inside_a_frame_are_data() -> None:
    """The information is itself a whole frame: the length decides, however the bytes come."""
    outer = HdlcFrame(C1, C16, 0x10, b"\xe6\xe6\x00" + VECTORS["053"] + b"\x7e\x7e").encode()
    for pieces in ([outer], bytewise(outer)):
        assert cut(*pieces) == ([decode(outer)], [])


def test_idle_flags_and_noise() -> None:
    noise = b"\x00\x7e\x7e\x7e\xa0\x7e\x00\xff"
    for pieces in ([noise + RAW], bytewise(noise + RAW)):
        frames, _ = cut(*pieces)
        assert frames == [decode(RAW)]


def test_a_corrupt_frame_is_said_at_once_and_hides_nothing() -> None:
    for bit in range(8, 8 * len(RAW) - 8):
        bad = bytearray(RAW)
        bad[bit // 8] ^= 1 << bit % 8
        frames, errors = cut(bytes(bad), VECTORS["030"])
        assert frames == [decode(VECTORS["030"])], bit
        assert errors, bit


HEADER = b"\xa7\xff\x03\x21\x10"
#: 16 KiB of what looks like a frame at every second byte, at every header, at every check sum.
HOSTILE = [
    b"\x7e\xa0", b"\x7e\xa1", b"\x7e\xa7", b"\x7e\xa7\xff", b"\x7e\xa7\x7e", b"\x7e\x00", b"\x7e\xa0\x07\x03\x03\x11",
    b"\x7e" + HEADER, b"\x7e" + HEADER + checksum(HEADER), RAW[:-3] + b"\x00\x00\x7e", RAW[:6] + b"\x00\x00" + RAW[8:],
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE, ids=bytes.hex)
def test_corrupt_candidates_are_reported_once_together(unit: bytes) -> None:
    """However many there are; a frame behind them is found."""
    raw = (unit * 8192)[: 16384 - len(VECTORS["030"])]
    frames, errors = cut(raw + VECTORS["030"])
    if unit.endswith(
        checksum(HEADER)
    ):  # the last of them may still become whole, and would hold what follows
        assert (frames, len(errors)) == ([], 1)
    else:
        assert (frames, errors) == ([decode(VECTORS["030"])], [])
    assert len(cut(raw)[1]) == 1


@given(
    st.lists(st.sampled_from([*HOSTILE, b"\x7e", b"\x00", *VECTORS.values()]), max_size=30),
    st.integers(1, 60),
)
def test_whatever_comes_is_a_frame_or_a_complaint(units: list[bytes], step: int) -> None:
    raw = b"".join(units)
    receiver, frames = Receiver(), 0
    for at in range(0, len(raw), step):
        receiver.feed(raw[at : at + step])
        for _ in range(2 * step + 2):  # a frame closed by this piece, or one complaint, and what they uncover
            try:
                frame = receiver.next()
            except FrameError:
                continue
            if frame is None:
                break
            frames += 1
        else:
            pytest.fail("one piece brings forth more than it has bytes")
    assert frames <= raw.count(b"\x7e")


def test_what_is_inside_a_proven_frame_is_its_data() -> None:
    """Its header is right and a flag stands where that says, so with a wrong FCS it is dropped whole."""
    bad = bytearray(HdlcFrame(C1, C16, 0x10, b"\xe6\xe6\x00" + VECTORS["053"]).encode())
    bad[-3] ^= 1
    frames, errors = cut(bytes(bad))
    assert (frames, len(errors)) == ([], 1)
    assert "FCS" in errors[0]
    bad[-1] = 0  # no flag: bytes were lost, and the frame inside may be the next
    assert cut(bytes(bad)) == ([decode(VECTORS["053"])], [])


def test_a_frame_cut_short_ends_with_silence() -> None:
    receiver = Receiver()
    receiver.feed(RAW[:20])
    assert receiver.next() is None
    receiver.interrupt()
    receiver.feed(RAW)
    assert receiver.next() == decode(RAW)
    assert receiver.next() is None
    assert receiver.held() == 1  # the closing flag may open the next


def test_what_is_held_is_bounded() -> None:
    receiver = Receiver()
    head = HdlcFrame(C1, C16, 0x10, bytes(2000)).encode()[:9]
    for _ in range(40):
        receiver.feed(head * 200)
        assert receiver.held() <= BUFFER
    assert receiver.skipped > 0


@given(
    st.lists(
        st.sampled_from([*VECTORS.values(), b"\x7e", b"\x00", b"\xa0\x07", b"\x7e\xa7\xff"]), max_size=12
    ),
    st.integers(1, 40),
)
def test_any_mixture_ends(parts: list[bytes], step: int) -> None:
    raw = b"".join(parts)
    frames, _ = cut(*(raw[at : at + step] for at in range(0, len(raw), step)))
    assert all(frame.encode() in raw or frame.encode()[:-1] in raw for frame in frames)


frames_of_any_kind = st.builds(
    HdlcFrame,
    destination=st.builds(Address, st.integers(0, 127)) | st.builds(Address, st.integers(0, 127), st.integers(0, 127), st.just(2)),
    source=st.builds(Address, st.integers(0, 16383), st.integers(0, 16383), st.just(4)),
    control=st.sampled_from([control for control in range(256) if kind_of(control)]),
    information=st.binary(max_size=300),
    segmented=st.booleans(),
)  # fmt: skip


@given(frames_of_any_kind)
def test_there_and_back(frame: HdlcFrame) -> None:
    raw = frame.encode()
    assert decode(raw) == frame
    assert cut(*bytewise(raw)) == ([frame], [])


@given(st.binary(max_size=80))
def test_anything_is_a_frame_or_a_frame_error(raw: bytes) -> None:
    for candidate in (raw, b"\x7e" + raw + b"\x7e", sealed(raw)):
        try:
            frame = decode(candidate)
        except FrameError as error:
            complaint = error
        else:
            assert frame.encode() == candidate
            continue
        assert complaint.offset is not None
        assert 0 <= complaint.offset <= len(candidate)


def sealed(raw: bytes) -> bytes:
    """A frame whose length and FCS are right, whatever is in it."""
    body = (0xA000 | len(raw) + 4).to_bytes(2, "big") + raw
    return b"\x7e" + body + checksum(body) + b"\x7e"
