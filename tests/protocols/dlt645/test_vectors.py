"""Published frames with their meaning. Each names its source; `valid: false` must be refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from protocols.buffer import ReceiveBuffer
from protocols.dlt645.describe import describe
from protocols.dlt645.frame import BUFFER_LIMIT, Frame, decode, find
from protocols.errors import FrameError

VECTORS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "vectors" / "dlt645-2007.jsonl").read_text("utf-8").splitlines()
]
VALID = [vector for vector in VECTORS if vector["valid"]]


def stream(raw: bytes, step: int) -> list[Frame | str]:
    """Feed in pieces of `step` bytes; what came out, 'corrupt' for a FrameError."""
    buffer = ReceiveBuffer(BUFFER_LIMIT)
    out: list[Frame | str] = []
    for at in range(0, len(raw), step):
        buffer.feed(raw[at : at + step])
        while True:
            try:
                frame = find(buffer)
            except FrameError:
                out.append("corrupt")
                continue
            if frame is None:
                break
            out.append(frame)
    return out


def by_id(vector: dict[str, Any]) -> str:
    return str(vector["id"].rpartition("-")[2])


def test_the_list_is_whole():
    assert len(VECTORS) == 66
    assert len(VALID) == 65
    assert all(vector["source"] for vector in VECTORS)


@pytest.mark.parametrize("vector", VALID, ids=by_id)
def test_meaning(vector):
    told = describe(bytes.fromhex(vector["hex"]), reveal=True)
    for key, value in vector["meaning"].items():
        assert told[key] == value, key


@pytest.mark.parametrize("vector", [v for v in VECTORS if not v["valid"]], ids=by_id)
def test_bad_on_purpose(vector):
    raw = bytes.fromhex(vector["hex"])
    with pytest.raises(FrameError, match="checksum"):
        describe(raw)
    assert stream(raw, len(raw)) == ["corrupt"]


@pytest.mark.parametrize("vector", VALID, ids=by_id)
def test_encodes_to_the_same_bytes(vector):
    raw = bytes.fromhex(vector["hex"])
    frame = decode(raw)
    wake = len(raw) - len(raw.lstrip(b"\xfe"))
    assert frame.encode(wake) == raw


@pytest.mark.parametrize("vector", VALID, ids=by_id)
@pytest.mark.parametrize(
    "before", [b"", b"\xfe\xfe\xfe\xfe", b"\x00\x16\x68\x11\x22", b"\x68" * 9, b"\xff\x68\x12"]
)
@pytest.mark.parametrize("step", [1, 7, 4096])
def test_is_found_in_noise(vector, before, step):
    raw = bytes.fromhex(vector["hex"])
    found = stream(before + raw + b"\x16\x00\x68", step)
    assert decode(raw) in found
    if step == 4096:
        assert found == [decode(raw)]


@pytest.mark.parametrize("vector", VALID, ids=by_id)
def test_any_flipped_bit_is_corrupt_or_unfinished(vector):
    raw = bytes.fromhex(vector["hex"])
    body = raw.lstrip(b"\xfe")
    for bit in range(8 * len(body)):
        bad = bytearray(body)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FrameError):
            decode(bytes(bad))
        assert all(out == "corrupt" for out in stream(bytes(bad), len(bad)))


@pytest.mark.parametrize("vector", VALID, ids=by_id)
def test_truncated_at_every_length(vector):
    raw = bytes.fromhex(vector["hex"])
    for length in range(len(raw)):
        assert stream(raw[:length], max(length, 1)) == []
        with pytest.raises(FrameError):
            decode(raw[:length])


def test_secrets_are_masked():
    raw = next(bytes.fromhex(v["hex"]) for v in VALID if v["id"].endswith("-076"))
    told = describe(raw)
    assert told["password"] == told["operator"] == "******"
    assert "020637" not in str(told)
    short = Frame("000000000001", 0x1C, bytes.fromhex("02370602"))
    assert "370602" not in str(describe(short.encode()))
