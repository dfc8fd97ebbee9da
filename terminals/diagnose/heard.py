"""Terminals that speak by themselves on a line where a meter was looked for: their login says who they are. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from protocols.buffer import ReceiveBuffer
from protocols.dlt698 import frame as dlt698
from protocols.errors import FrameError
from protocols.gdw376 import frame as gdw376

#: Bytes of a search that are looked through: a login has some 20 to 60, and comes again with the heartbeat.
MOST: Final = 8 * 1024


@dataclass(frozen=True, slots=True)
class Speaker:
    """A terminal that said something nobody had asked for."""

    protocol: str
    address: str


def speakers(data: bytes) -> tuple[Speaker, ...]:
    """Each one once, in the order heard."""
    return tuple(dict.fromkeys((*_of_376(data[-MOST:]), *_of_698(data[-MOST:]))))


def _of_376(data: bytes) -> Iterator[Speaker]:
    buffer = ReceiveBuffer(gdw376.BUFFER_LIMIT)
    buffer.feed(data)
    while True:
        try:
            frame = gdw376.find(buffer)
        except FrameError:
            continue
        if frame is None:
            return
        if frame.control & gdw376.UPLINK:
            yield Speaker("gdw376", frame.address.text)


def _of_698(data: bytes) -> Iterator[Speaker]:
    buffer = ReceiveBuffer(dlt698.BUFFER_LIMIT)
    buffer.feed(data)
    while True:
        try:
            frame = dlt698.find(buffer)
        except FrameError:
            continue
        if frame is None:
            return
        if frame.from_server and not frame.client_started:
            yield Speaker("dlt698", frame.server.digits)
