"""Whatever 16 KiB come in: an answer within milliseconds, and nothing but FrameError."""

from __future__ import annotations

import contextlib
import time

import pytest

from protocols.dlms import values
from protocols.dlms.describe import describe, parts
from protocols.errors import FrameError

SIZE = 16_384
#: What may be spent on one input; the allowance for a busy machine is in `worst`, which takes the best of some runs.
LIMIT = 0.010

UNITS = {
    "null": b"\x00", "unsigned": b"\x11\x01", "long-unsigned": b"\x12\x01\x02", "structures": b"\x02\x01\x00",
    "strings": b"\x09\x01a", "bits": b"\x04\x08a", "deep": b"\x01\x01" * 13 + b"\x00", "compact": b"\x13\x11\x01a",
    "floats": b"\x17" + bytes(4), "empty": b"\x01\x00",
}  # fmt: skip
SHAPES = ["11", "12", "09", "020111", "020109", "02050000000011", "01ffff00", "02010201020111", "04"]


def worst(call: object, raw: bytes) -> float:
    best = 1.0
    for _ in range(5):
        begin = time.thread_time()
        with contextlib.suppress(FrameError):
            call(raw)  # type: ignore[operator]
        best = min(best, time.thread_time() - begin)
    return best


def array_of(unit: bytes) -> bytes:
    count = (SIZE - 16) // len(unit)
    return b"\x01" + values.encode_length(count) + unit * count


def compact(shape: str) -> bytes:
    return b"\x13" + bytes.fromhex(shape) + values.encode_length(SIZE - 32) + bytes(SIZE - 32)


HOSTILE = {name: array_of(unit) for name, unit in UNITS.items()} | {
    f"compact {shape}": compact(shape) for shape in SHAPES
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("head", ["c401c100", "0f0000000100"], ids=["get-response", "data-notification"])
def test_many_small_elements(name: str, head: str) -> None:
    raw = bytes.fromhex(head) + HOSTILE[name]
    assert len(raw) <= SIZE
    assert worst(parts, raw) < LIMIT
    assert worst(describe, raw) < LIMIT


@pytest.mark.parametrize("head", ["c003c1", "c403c1", "c505c1", "c703c1", "05", "06", "0c", "0d"])
@pytest.mark.parametrize("count", [512, 16_000, 2**31])
def test_long_lists(head: str, count: int) -> None:
    raw = bytes.fromhex(head) + values.encode_length(count) + bytes(SIZE - 16)
    assert worst(describe, raw) < LIMIT
    assert worst(parts, raw) < LIMIT
