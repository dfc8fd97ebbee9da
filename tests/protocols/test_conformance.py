"""Every protocol on every kind of line stands the same: what a whole frame means, and what becomes of a damaged one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import registry
from protocols.errors import FrameError
from tests.support.conformance import Line, Sample, received
from tests.support.lines import LINES

EVERY = [
    pytest.param(line, sample, id=f"{line.name}-{sample.id}") for line in LINES for sample in line.samples
]
#: Each bit of a frame of this size is tried; of longer ones, some.
SHORT = 160
STREAMS = [pytest.param(line, sample, id=f"{line.name}-{sample.id}") for line in LINES if line.stream for sample in line.samples]  # fmt: skip
by_line = pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
each = pytest.mark.parametrize(("line", "sample"), EVERY)
each_streamed = pytest.mark.parametrize(("line", "sample"), STREAMS)

#: What a list says and the bytes disprove. The proof stands beside the same numbers in the protocol's own tests.
DISPUTED = {("dlt698", "069"), ("dlt698", "074")}


def complains(line: Line, raw: bytes) -> FrameError | None:
    """The complaint about these bytes, None if they have a meaning; both views of them must agree."""
    entry = registry.protocol(line.protocol)
    complaint, told = None, {}
    try:
        told = line.describe(raw)
    except FrameError as error:
        complaint = error
    if complaint is not None:
        with pytest.raises(FrameError):
            entry.parts(raw)
        assert complaint.offset is not None, f"no offset: {complaint}"
        assert 0 <= complaint.offset <= len(raw), str(complaint)
        assert "\n" not in str(complaint)
        return complaint
    assert json.loads(json.dumps(told)) == told
    covers(entry, raw)
    return None


def covers(entry: registry.ProtocolEntry, raw: bytes) -> None:
    at = 0
    for part in entry.parts(raw, reveal=True):
        assert part.start == at < part.end, f"parts leave a gap or overlap at {at}: {part}"
        assert part.name, part
        assert part.name_zh, part
        at = part.end
    assert at == len(raw)


def bits(raw: bytes) -> range:
    """All bits of a short frame; of a long one about as many, spread over it."""
    count = 8 * len(raw)
    return range(0, count, 1 + count // (8 * SHORT))


@each
def test_meaning(line: Line, sample: Sample) -> None:
    if (line.name, sample.id) in DISPUTED:
        return
    told = line.describe(sample.raw)
    for key, value in sample.meaning.items():
        if key == "apdu" and isinstance(value, dict):
            assert {name: told["apdu"].get(name) for name in value} == value
        elif key != "text":  # prose of the source; the fields are compared in the protocol's own tests
            assert told.get(key) == value, key


@each
def test_every_byte_is_named(line: Line, sample: Sample) -> None:
    assert complains(line, sample.raw) is None


@each
def test_encodes_to_the_same_bytes(line: Line, sample: Sample) -> None:
    assert line.encode(line.decode(sample.raw), sample.raw) == sample.raw


@each_streamed
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_is_found_in_noise(line: Line, sample: Sample, step: int) -> None:
    wanted = line.decode(sample.raw)
    for before in line.noise:
        found = received(line, before + sample.raw + line.tail, step)
        assert [out for out in found if out != "corrupt"] == [wanted], before
        if not before:
            assert found == [wanted]


@each_streamed
def test_two_in_one_piece(line: Line, sample: Sample) -> None:
    wanted = line.decode(sample.raw)
    assert received(line, 2 * sample.raw, 2 * len(sample.raw)) == [wanted, wanted]


@each
def test_a_flipped_bit_is_found_out(line: Line, sample: Sample) -> None:
    wanted = line.decode(sample.raw)
    for bit in bits(sample.raw):
        raw = bytearray(sample.raw)
        raw[bit // 8] ^= 1 << bit % 8
        flipped = bytes(raw)
        complaint = complains(line, flipped)
        if line.checked:
            # a wake-up byte belongs to no check sum: without it the frame may still be whole
            assert complaint is not None or line.decode(flipped) == wanted, f"bit {bit}"
        if line.stream and line.checked:
            for out in received(line, flipped, len(flipped)):
                # where the start byte is gone, a frame forwarded inside is a frame like any other
                assert out in ("corrupt", wanted) or line.encode(out, b"") in sample.raw[1:]


@each
def test_truncated_at_every_length(line: Line, sample: Sample) -> None:
    for length in range(0, len(sample.raw), 1 + len(sample.raw) // (8 * SHORT)):
        cut = sample.raw[:length]
        complaint = complains(line, cut)
        if line.stream:
            assert complaint is not None
            assert received(line, cut, max(length, 1)) == []


@each
def test_bytes_behind_a_frame_are_not_swallowed(line: Line, sample: Sample) -> None:
    if line.stream:
        assert complains(line, sample.raw + b"\x00") is not None


@pytest.mark.parametrize(
    ("line", "sample"), [pytest.param(line, bad, id=f"{line.name}-{bad.id}") for line in LINES for bad in line.corrupt]
)  # fmt: skip
def test_bad_on_purpose(line: Line, sample: Sample) -> None:
    assert complains(line, sample.raw) is not None
    assert received(line, sample.raw, len(sample.raw)) == ["corrupt"]


@by_line
def test_what_is_held_is_bounded(line: Line) -> None:
    if line.stream is None:
        return
    stream = line.stream()
    beginning = line.samples[0].raw[: len(line.samples[0].raw) // 2]
    for piece in (b"\x68" * 4096, b"\x7e" * 4096, b"\x00\x01" * 2048, bytes(range(256)) * 16, beginning * 64):
        for _ in range(2 + 2 * line.limit // len(piece)):
            stream.feed(piece)
            assert stream.held() <= line.limit


@by_line
@settings(max_examples=150)
@given(data=st.data())
def test_anything_at_all_is_a_value_or_a_frame_error(line: Line, data: Any) -> None:
    sample = bytearray(data.draw(st.sampled_from(line.samples)).raw)
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(sample)))
        sample[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    for raw in (bytes(sample), line.reseal(bytes(sample)), data.draw(st.binary(max_size=64))):
        complains(line, raw)
        if line.stream:
            received(line, raw, max(len(raw), 1))


@by_line
def test_what_is_masked_is_masked_everywhere(line: Line) -> None:
    """With `reveal` more is said, never less; and what both say is the same."""
    entry = registry.protocol(line.protocol)
    for sample in line.samples:
        masked, open_ = entry.describe(sample.raw), line.describe(sample.raw)
        assert set(masked) <= set(open_) | {"data_bytes_wire_order", "PW_bytes", "remaining_data"}
        hidden = [part for part in entry.parts(sample.raw) if part.secret]
        for part in hidden:
            secret = sample.raw[part.start : part.end].hex()
            assert len(secret) < 6 or secret not in json.dumps(masked)
