"""Whatever 16 KiB come in: an answer after little work, and nothing but FrameError."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from protocols.dlms import values
from protocols.dlms.describe import describe, parts
from tests.support.work import MOST, work

SIZE = 16_384

UNITS = {
    "null": b"\x00", "unsigned": b"\x11\x01", "long-unsigned": b"\x12\x01\x02", "structures": b"\x02\x01\x00",
    "strings": b"\x09\x01a", "bits": b"\x04\x08a", "deep": b"\x01\x01" * 13 + b"\x00", "compact": b"\x13\x11\x01a",
    "floats": b"\x17" + bytes(4), "empty": b"\x01\x00",
}  # fmt: skip
SHAPES = ["11", "12", "09", "020111", "020109", "02050000000011", "01ffff00", "02010201020111", "04"]


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
    assert work(parts, raw) < MOST
    assert work(describe, raw) < MOST


@pytest.mark.parametrize("head", ["c003c1", "c403c1", "c505c1", "c703c1", "05", "06", "0c", "0d"])
@pytest.mark.parametrize("count", [512, 16_000, 2**31])
def test_long_lists(head: str, count: int) -> None:
    raw = bytes.fromhex(head) + values.encode_length(count) + bytes(SIZE - 16)
    assert work(describe, raw) < MOST
    assert work(parts, raw) < MOST


#: Elements none of which is like another: nothing that was decoded before helps.
DIFFERENT: dict[str, Callable[[random.Random], bytes]] = {
    "numbers": lambda chance: b"\x12" + chance.randbytes(2),
    "strings": lambda chance: b"\x09\x02" + chance.randbytes(2),
    "bits": lambda chance: b"\x04\x0f" + chance.randbytes(2),
    "structures": lambda chance: b"\x02\x02\x11" + chance.randbytes(1) + b"\x12" + chance.randbytes(2),
    "arrays": lambda chance: b"\x01\x01\x01\x01\x12" + chance.randbytes(2),
    "deep": lambda chance: b"\x02\x01" * 12 + b"\x12" + chance.randbytes(2),
    "compact arrays": lambda chance: b"\x13\x12\x02" + chance.randbytes(2),
    "compact structures": lambda chance: b"\x13\x02\x01\x12\x02" + chance.randbytes(2),
}


def different(name: str, head: str, seed: int) -> bytes:
    """One array of 16 KiB, or a list of as many results as there may be, each with a few elements."""
    chance, unit = random.Random(seed), DIFFERENT[name]
    if head == "c403c1":
        each = [b"\x00\x01\x05" + b"".join(unit(chance) for _ in range(5)) for _ in range(400)]
        each = each[: (SIZE - 16) // len(each[0])]
        return bytes.fromhex(head) + values.encode_length(len(each)) + b"".join(each)
    count = (SIZE - 24) // len(unit(chance))
    elements = b"".join(unit(chance) for _ in range(count))
    return bytes.fromhex(head) + b"\x01" + values.encode_length(count) + elements


@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize("head", ["c401c100", "c101c1000f0000280000ff0700", "c403c1"])
@pytest.mark.parametrize("call", [describe, parts])
def test_cold(name: str, head: str, call: Callable[[bytes], object]) -> None:
    """Each input is seen once: what is counted is the first look at it."""
    raw = different(name, head, 1)
    assert len(raw) <= SIZE
    assert work(call, raw) < MOST
