"""What every protocol must stand, said once: a protocol is a `Line`, and `tests/protocols/test_conformance.py` runs them all.

`scripts/fuzz` starts from the same samples.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from protocols import registry
from protocols.errors import FrameError
from protocols.exchange import Exchange

VECTORS = Path(__file__).resolve().parents[1] / "protocols" / "vectors"


class Stream(Protocol):
    """One direction of a line: bytes in, frames out."""

    def feed(self, data: bytes) -> None: ...

    def next(self) -> object | None:
        """The next frame, None when more bytes are needed. FrameError: what has come is corrupt; it has been dropped."""

    def held(self) -> int:
        """How many bytes are kept."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One whole frame. `meaning`: what `headend decode --reveal` must say of it at least; empty where only the shape is checked."""

    id: str
    raw: bytes
    meaning: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One protocol on one kind of line.

    protocol   its name in the registry
    samples    whole and valid frames
    corrupt    whole frames that must be refused
    decode     exactly one frame, FrameError otherwise
    encode     the same bytes again; the raw bytes tell what a Frame does not keep (wake-up bytes)
    stream     a fresh receiver; None where there is no stream (bare APDUs)
    limit      the most bytes that a stream holds
    checked    a check sum covers every bit; where it does not, a flipped bit may give another value
    noise      what may come before a frame without hiding it
    tail       what may come behind it
    waiting    a master that has asked something and waits for the answer
    reseal     the same frame with its lengths and check sums made right, so that mutations reach what is inside
    """

    name: str
    protocol: str
    samples: tuple[Sample, ...]
    decode: Callable[[bytes], object]
    encode: Callable[[Any, bytes], bytes]
    stream: Callable[[], Stream] | None
    limit: int
    corrupt: tuple[Sample, ...] = ()
    checked: bool = True
    noise: tuple[bytes, ...] = (b"",)
    tail: bytes = b""
    reseal: Callable[[bytes], bytes] = bytes
    waiting: Callable[[], Exchange] | None = None

    def describe(self, raw: bytes, *, reveal: bool = True) -> dict[str, Any]:
        return registry.protocol(self.protocol).describe(raw, reveal=reveal)


@cache
def vectors(name: str) -> tuple[dict[str, Any], ...]:
    """The published frames of a file, each with its source."""
    lines = (VECTORS / f"{name}.jsonl").read_text("utf-8").splitlines()
    return tuple(json.loads(line) for line in lines)


def samples(
    name: str, *, valid: bool = True, where: Callable[[bytes], bool] = lambda raw: True
) -> tuple[Sample, ...]:
    """The published frames of a file that are valid, or those that are bad on purpose."""
    return tuple(
        Sample(vector["id"].rpartition("-")[2], raw, vector["meaning"])
        for vector in vectors(name)
        if vector["valid"] is valid and where(raw := bytes.fromhex(vector["hex"]))
    )


def pieces(raw: bytes, step: int) -> Iterator[bytes]:
    for at in range(0, len(raw), step):
        yield raw[at : at + step]


def received(line: Line, raw: bytes, step: int) -> list[object]:
    """What a fresh stream makes of bytes that come in pieces of `step`: frames, and 'corrupt' for each complaint."""
    assert line.stream is not None
    stream = line.stream()
    out: list[object] = []
    for piece in pieces(raw, step):
        stream.feed(piece)
        assert stream.held() <= line.limit
        out += drain(stream)
    return out


def drain(stream: Stream) -> Iterator[object]:
    while True:
        try:
            frame = stream.next()
        except FrameError:
            yield "corrupt"
            continue
        if frame is None:
            return
        yield frame
