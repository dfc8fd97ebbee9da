"""The one shape of every protocol's conversation: bytes in, events out, no I/O.

A master (`Exchange`) may have one request outstanding. The caller writes what `send` returns, feeds what arrives to
`receive_data` and drains `next_event` until it says NEED_DATA:

    wire.write(exchange.send(request))
    while True:
        event = exchange.next_event()          # may raise FrameError or Refused; the exchange stays usable
        if event is NEED_DATA: exchange.receive_data(await wire.read(timeout))
        elif isinstance(event, Send): wire.write(event.data)      # a follow-up, a next block
        elif isinstance(event, Ignored): count(event.why)
        elif isinstance(event, Answer): return event.value
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol


class _Signal(Enum):
    NEED_DATA = "need data"


NEED_DATA: Final = _Signal.NEED_DATA


@dataclass(frozen=True, slots=True)
class Send:
    """The protocol wants these bytes on the wire now, as part of the running request.

    again   they may be sent once more where their answer is lost: the peer knows by a number in them that it is the same question
    """

    data: bytes
    again: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The running request is complete."""

    value: Any


@dataclass(frozen=True, slots=True)
class Ignored:
    """A whole and valid frame that is not the answer to the running request: stale, foreign, unexpected."""

    why: str
    frame: bytes


Event = _Signal | Send | Answer | Ignored


class Exchange(Protocol):
    """The master's side. `Request` types are each protocol's own."""

    def send(self, request: Any) -> bytes:
        """Begin a request and return its bytes. Misuse if one is outstanding."""

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size. Bounded: noise is skipped and counted."""

    def next_event(self) -> Event:
        """What the bytes so far mean. FrameError: the answer is corrupt; Refused: the peer said no."""

    def abandon(self) -> None:
        """The caller gave up waiting. A late answer to the old request must come out as Ignored."""
