"""Messages: published ones, their parity and checks, what a stream makes of them, what they must not say."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import FrameError, Misuse
from protocols.iec62056_21.describe import SHOWN, describe, parts
from protocols.iec62056_21.frame import (
    BUFFER_LIMIT,
    Ack,
    Block,
    Command,
    Frame,
    Identification,
    Nak,
    Receiver,
    Request,
    Select,
    bcc,
    decode,
    stripped,
    with_parity,
)
from protocols.part import MASK
from tests.support.work import MOST, work

VECTORS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "vectors" / "iec62056-21.jsonl").read_text("utf-8").splitlines()
]
VALID = [vector for vector in VECTORS if vector["valid"]]
each = pytest.mark.parametrize("vector", VALID, ids=lambda v: v["id"].rpartition("-")[2])


def raw_of(vector: dict[str, Any]) -> bytes:
    return bytes.fromhex(vector["hex"])


def covers(raw: bytes, **how: bool) -> list[str]:
    """The meanings of all parts, having seen that every byte has exactly one."""
    at = 0
    found = parts(raw, **how)
    for part in found:
        assert part.start == at < part.end
        assert part.name
        assert part.name_zh
        at = part.end
    assert at == len(raw)
    return [part.meaning for part in found]


def stream(raw: bytes, step: int, **how: bool) -> list[Frame | str]:
    receiver = Receiver(**how)
    out: list[Frame | str] = []
    for at in range(0, len(raw), step):
        receiver.feed(raw[at : at + step])
        while True:
            try:
                frame = receiver.next()
            except FrameError:
                out.append("corrupt")
                continue
            if frame is None:
                break
            out.append(frame)
    return out


@each
def test_meaning(vector):
    assert describe(raw_of(vector), reveal=True) == vector["meaning"]


@each
def test_encodes_back_with_and_without_parity_bits(vector):
    raw = raw_of(vector)
    text = stripped(raw)
    assert decode(raw).encode() == text
    assert decode(with_parity(text)) == decode(text) == decode(raw)
    covers(raw)
    covers(with_parity(text))


def test_the_block_checks_of_published_messages_are_right():
    for number, check in (("006", 0x67), ("007", 0x0A)):
        raw = next(raw_of(vector) for vector in VALID if vector["id"].endswith(number))
        assert bcc(raw[1:-1]) == raw[-1] == check


@pytest.mark.parametrize("vector", [v for v in VECTORS if not v["valid"]], ids=lambda v: v["id"])
def test_bad_on_purpose(vector):
    raw = raw_of(vector)
    with pytest.raises(FrameError, match="BCC") as caught:
        describe(raw)
    assert caught.value.offset == len(raw) - 1
    assert stream(raw, len(raw)) == ["corrupt"]


@pytest.mark.parametrize(
    ("frame", "mode", "rate", "pause"),
    [
        (Identification("LGZ", "5", "ZMD", ("2",)), "C", 9600, 200),
        (Identification("LGz", "0"), "C", 300, 20),
        (Identification("ABB", "E", "x"), "B", 9600, 200),
        (Identification("EMH", "@", "x"), "A", 300, 200),
        (Identification("EMH", "9", "x"), "A", 300, 200),
    ],
)
def test_the_baud_character_says_mode_and_rate(frame, mode, rate, pause):
    assert (frame.mode, frame.rate, frame.reaction_ms) == (mode, rate, pause)
    assert decode(frame.encode()) == frame


def test_one_wrong_parity_bit_is_found():
    raw = bytearray(with_parity(b"/LGZ5ZMD\r\n"))
    for at in range(len(raw)):
        raw[at] ^= 0x80
        with pytest.raises(FrameError, match="parity") as caught:
            decode(bytes(raw))
        assert caught.value.offset == at
        raw[at] ^= 0x80
    assert stream(bytes(raw), 3) == [Identification("LGZ", "5", "ZMD")]


def test_any_changed_bit_of_a_checked_message_is_found_out():
    raw = Command("R1", b"1.8.0()").encode()
    wanted = decode(raw)
    for text in (raw, with_parity(raw)):
        for bit in range(8 * len(text)):
            bad = bytearray(text)
            bad[bit // 8] ^= 1 << bit % 8
            with pytest.raises(FrameError):
                decode(bytes(bad))
            assert all(
                out in ("corrupt", wanted) or isinstance(out, Ack | Nak) for out in stream(bytes(bad), 99)
            )


@pytest.mark.parametrize(
    ("raw", "complaint", "offset"),
    [
        (b"", "nothing", 0),
        (b"\x00", "begins no message", 0),
        (b"/?12", "CR LF is missing", 4),
        (b"/?12\r\n", "neither a sign-on", 0),
        (b"/LG5x\r\n", "neither a sign-on", 0),
        (b"/?!\r\n\x00", "too many", 5),
        (b"/" + b"?" * 90, "no CR LF within", 0),
        (b"\x02abc", "is missing", 4),
        (b"\x02a\x00b\x03\x00", "no character of a text", 2),
        (b"\x01R\x03\x00", "letter and a digit", 1),
        (b"\x01R1(x)\x03" + bytes((bcc(b"R1(x)\x03"),)), "STX or ETX", 3),
        (b"/LGZ5x\r\n\x01B0\x03q", "data block must stand", 8),
        (Block(b"1.8.0(1)\r\n1.8.1)\r\n").encode(), "ID\\(value\\)", 11),
        (b"1.8.0(1)\r\n", "! CR LF", 10),
    ],
)
def test_complaints_name_rule_and_place(raw, complaint, offset):
    for view in (describe, parts):
        with pytest.raises(FrameError, match=complaint) as caught:
            view(raw)
        assert caught.value.offset == offset


SECRET = "GEHEIM77"
SECRETS = [
    Command("P1", f"({SECRET})".encode()),
    Command("P2", SECRET.encode()),
    Command("P0", f"({SECRET}".encode()),
    Command("W1", f"C003({SECRET})".encode()),
    Command("W1", f"C003({SECRET}".encode()),
    Command("W5", f"1.99.77({SECRET})".encode()),
]


@pytest.mark.parametrize("frame", SECRETS, ids=lambda f: f.name)
def test_secrets_are_masked_unless_revealed(frame):
    raw = frame.encode()
    shown = f"{describe(raw)} {covers(raw)} {frame!r}"
    assert SECRET not in shown
    assert MASK in shown
    assert SECRET in f"{describe(raw, reveal=True)}"
    assert SECRET in f"{covers(raw, reveal=True)}"
    spoilt = raw[:-1] + bytes((raw[-1] ^ 1,))
    with pytest.raises(FrameError) as caught:
        describe(spoilt)
    assert SECRET not in str(caught.value)


@each
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_is_found_in_noise(vector, step):
    raw = raw_of(vector)
    wanted = decode(raw)
    if vector["id"].endswith(("008", "009", "010")):  # two messages on a line
        return
    for before in (b"", b"\r\n\x00", b"\x02\x02//\x01", b"/?!x", b"\x01R", b"/ABC\r\n/", b"\xff\xfe"):
        assert [out for out in stream(before + raw, step) if out != "corrupt"] == [wanted], before
        assert stream(raw + raw, step) == [wanted, wanted]


@each
def test_truncated_nothing_comes_out(vector):
    raw = raw_of(vector)
    if not vector["id"].endswith(("008", "009", "010")):
        for length in range(0, len(raw), 1 + len(raw) // 400):
            assert stream(raw[:length], max(length, 1)) == []
            if raw[:length] != b"\x06":  # an acknowledgement, which an option select begins with
                with pytest.raises(FrameError):
                    describe(raw[:length])


def test_a_message_behind_a_block_that_never_ends_is_found():
    assert stream(b"\x02abc" + b"/LGZ5ZMD\r\n", 1) == [Identification("LGZ", "5", "ZMD")]


def test_an_acknowledgement_is_whole_by_itself_where_no_option_select_can_come():
    assert stream(b"\x06", 1, selects=False) == [Ack()]
    assert stream(b"\x06", 1) == []
    assert stream(b"\x06050\r\n", 1) == [Select("0", "5", "0")]
    assert stream(b"\x06\x15", 1) == [Ack(), Nak()]


def test_plain_lines_are_taken_where_they_are_expected():
    lines = b"1-0:1.8.0(1*kWh)\r\n!\r\n"
    assert stream(b"\r\n" + lines, 1, plain=True) == [Block(lines, plain=True)]
    assert stream(lines, 1) == []


def test_what_is_held_is_bounded():
    receiver = Receiver()
    for piece in (b"\x02" + b"1" * 5000, b"x" * 4096, b"\x01R1\x02" + b"(" * 9999):
        for _ in range(2 * BUFFER_LIMIT // len(piece)):
            receiver.feed(piece)
            try:
                receiver.next()
            except FrameError:
                continue
            assert receiver.held() <= BUFFER_LIMIT


@given(st.binary(max_size=200), st.sampled_from(VALID), st.integers(0, 400))
def test_anything_is_a_value_or_a_frame_error(noise, vector, at):
    raw = raw_of(vector)
    for data in (noise, raw[:at] + noise + raw[at + len(noise) :], Block(stripped_printable(noise)).encode()):
        complaint = None
        try:
            json.dumps(describe(data))
            covers(data)
        except FrameError as error:
            complaint = error
        if complaint is not None:
            assert complaint.offset is not None
            assert 0 <= complaint.offset <= len(data)
            with pytest.raises(FrameError):
                parts(data)
        stream(data, max(1, len(data)))


def stripped_printable(noise: bytes) -> bytes:
    """Noise made of what texts are made of."""
    return bytes(b"()*.!:-019AFP\r\n"[byte % 15] for byte in noise)


@pytest.mark.parametrize(
    "unit",
    [b"()", b"1()", b"1.8.0(1*kWh)\r\n", b"P.01(1220823161500)(0)(15)(0)\r\n", b"(1)\r\n", b"\x02", b"\x01R1\x02", b"/?!", b"/ABC5x"],
)  # fmt: skip
def test_sixteen_kib_of_anything_take_little_work_and_are_capped(unit):
    for raw in (Block((unit * 16384)[:16380]).encode() if unit[0] > 2 else b"", (unit * 16384)[:16384]):
        for view in (describe, parts):
            assert work(view, raw) < MOST
            try:
                told: Any = view(raw)
            except FrameError:
                continue
            values = told.get("values", []) if isinstance(told, dict) else []
            assert len(values) <= SHOWN * SHOWN
        assert work(stream, raw, 16384) < 2 * MOST


def test_what_is_left_out_is_counted():
    told = describe(Block(b"1.8.0(1*kWh)\r\n" * 1000).encode())
    assert len(told["values"]) == SHOWN
    assert told["values_left_out"] == 1000 - SHOWN


@pytest.mark.parametrize(
    "make",
    [
        lambda: Request("x" * 33).encode(),
        lambda: Request("a/b").encode(),
        lambda: Identification("LG", "5").encode(),
        lambda: Select("x", "5", "0").encode(),
        lambda: Command("11").encode(),
        lambda: Block(b"\x03").encode(),
        lambda: Request("ä").encode(),
    ],
)
def test_what_cannot_be_sent_is_a_misuse(make):
    with pytest.raises(Misuse):
        make()


# --- a stream that costs as little as it says ---


def drained(raw: bytes, *pieces: int, selects: bool = True) -> tuple[list[object], int, int]:
    """The frames, the number of complaints and what was skipped; `pieces`: where the stream is cut."""
    receiver, frames, complaints = Receiver(selects=selects), [], 0
    for begin, end in pairwise((0, *pieces, len(raw))):
        receiver.feed(raw[begin:end])
        while True:
            try:
                frame = receiver.next()
            except FrameError:
                complaints += 1
                continue
            if frame is None:
                break
            frames.append(frame)
    return frames, complaints, receiver.skipped


@pytest.mark.parametrize("selects", [True, False])
def test_acknowledgements_in_a_row_are_as_many_as_came(selects: bool) -> None:
    raw = b"\x06\x15\x95\x00\x06x\x06" * 2000 + b"\x15"
    frames, complaints, skipped = drained(raw, selects=selects)
    assert frames == [Ack(), Nak(), Nak(), Ack(), Ack()] * 2000 + [Nak()]
    assert (complaints, skipped) == (0, 4000)
    assert drained(raw, *range(1, len(raw)), selects=selects) == (frames, 0, 4000)


@pytest.mark.parametrize("cut", range(1, 9))
def test_an_option_select_behind_acknowledgements_stays_one(cut: int) -> None:
    raw = b"\x15\x06" + Select("0", "5", "1").encode() + b"\x06\x15"
    assert drained(raw, cut)[0] == [Nak(), Ack(), Select("0", "5", "1"), Ack(), Nak()]
    assert drained(with_parity(raw), cut)[0] == [Nak(), Ack(), Select("0", "5", "1"), Ack(), Nak()]


@pytest.mark.parametrize(
    "unit",
    [b"\x86", b"\x02a", b"\x02ab\x03c", b"\x01P1", b"\x01B0\x03\x00", b"\x02/?!\r", b"\x02\x03\x04", b"/ABC"],
    ids=bytes.hex,
)
def test_corrupt_messages_are_reported_once_together_and_hide_nothing(unit: bytes) -> None:
    raw = (unit * 16384)[:16000]
    assert drained(raw)[1] <= 1
    frames, complaints, _ = drained(raw + b"\x00" + Block(b"1(2)").encode())
    assert frames[-1:] == [Block(b"1(2)")]
    assert complaints == 0
