"""A toy protocol, so that sessions and buses are tested apart from the real ones, and places to put it.

A frame is `<KIND TO TEXT>`: `<? 7 volts>` asks meter 7, `<= 7 volts:230>` answers, `<! 7 volts>` refuses,
`<+ 7 volts:..>` answers with more to come (fetched by `<+ 7 volts>`). Anything else between < and > is corrupt.
"""

from __future__ import annotations

import asyncio
import os
import re
import tty
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from protocols.dlt645.exchange import AddressRequest, Device, ReadRequest
from protocols.dlt645.words import NO_DATA
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Event, Ignored, Send
from terminals.links.link import Link, LinkLost, Volume

FRAME = re.compile(rb"<([?=!+]) (\d+) ([a-z]+)(?::(\w*))?>")


class ToyExchange:
    """The master's side."""

    def __init__(self, meter: int, *, again: bool = False) -> None:
        """`again`: its follow-ups may be repeated."""
        self.meter = meter
        self.again = again
        self.abandoned = 0
        self._asked: str | None = None
        self._parts = ""
        self._buffer = bytearray()

    def send(self, request: str) -> bytes:
        if self._asked is not None:
            raise Misuse("a request is outstanding")
        self._asked, self._parts = request, ""
        return b"<? %d %s>" % (self.meter, request.encode())

    def receive_data(self, data: bytes) -> None:
        self._buffer += data

    def abandon(self) -> None:
        self.abandoned += 1
        self._asked = None

    def next_event(self) -> Event:
        begin, end = self._buffer.find(b"<"), self._buffer.find(b">")
        if end < 0:
            return NEED_DATA
        frame = bytes(self._buffer[max(begin, 0) : end + 1])
        del self._buffer[: end + 1]
        found = FRAME.fullmatch(frame)
        if not found:
            raise FrameError(f"corrupt: {frame!r}")
        kind, meter, name, text = found[1], int(found[2]), found[3].decode(), (found[4] or b"").decode()
        if meter != self.meter or name != self._asked:
            return Ignored(f"meter {meter}, {name}", frame)
        if kind == b"!":
            self._asked = None
            raise Refused("no", code=1)
        self._parts += text
        if kind == b"+":
            return Send(b"<+ %d %s>" % (meter, name.encode()), self.again)
        self._asked = None
        return Answer(self._parts)


@dataclass(frozen=True)
class ToyMeter:
    key: int


class ToyDriver:
    """With `association` on it says hello and bye, like a protocol with sessions."""

    name = "toy"

    def __init__(self, *, association: bool = False) -> None:
        self.association = association

    def exchange(self, meter: ToyMeter) -> ToyExchange:
        return ToyExchange(meter.key)

    def open(self, meter: ToyMeter) -> Generator[Any, Any, None]:
        if self.association:
            yield "hello"

    def close(self, meter: ToyMeter) -> Generator[Any, Any, None]:
        if self.association:
            yield "bye"


class ToyLine:
    """Meters on a line that answers within the loop's next turn. `asked` is what they heard."""

    def __init__(self, *meters: int) -> None:
        self.meters = set(meters)
        self.asked: list[str] = []
        self.heard: list[str] = []  # their kinds
        self.name = "toy"
        self.closed = False
        self.volume = Volume()
        self.answers: dict[str, str | bytes] = {}
        self.lost = False
        self._inbox: asyncio.Queue[bytes] = asyncio.Queue()

    def write(self, data: bytes) -> None:
        for kind, meter, name, _ in FRAME.findall(data):
            asked = f"{meter.decode()} {name.decode()}"
            self.asked.append(asked)
            self.heard.append(kind.decode())
            if int(meter) in self.meters and kind in b"?+":
                default = f"<= {asked}:{len(self.asked)}>"
                answer = self.answers.get(asked, default)
                if answer:
                    self._inbox.put_nowait(answer.encode() if isinstance(answer, str) else answer)

    def say(self, data: bytes) -> None:
        self._inbox.put_nowait(data)

    async def read(self, timeout: float) -> bytes:
        if self.lost:
            self.closed = True
            raise LinkLost(self.name, "cut")
        await asyncio.sleep(0)  # a real line never answers before the loop has turned
        async with asyncio.timeout(timeout):
            return await self._inbox.get()

    def discard(self) -> bytes:
        data = b""
        while not self._inbox.empty():
            data += self._inbox.get_nowait()
        return data

    async def close(self) -> None:
        self.closed = True


class Meter645:
    """DL/T 645 meters on one line: `answer(bytes) -> bytes`. `data` are the reads they answer, by DI."""

    def __init__(self, *addresses: str) -> None:
        self.devices = [Device(address) for address in addresses]
        self.data: dict[int, bytes] = {}
        self.asked: list[Any] = []

    def answer(self, data: bytes) -> bytes:
        answers = b""
        for device in self.devices:
            device.receive_data(data)
            while (event := device.next_event()) is not NEED_DATA:
                answers += self._one(device, event)
        return answers

    def _one(self, device: Device, event: Any) -> bytes:
        if isinstance(event, Send):
            return event.data
        self.asked.append(event)
        if isinstance(event, AddressRequest):
            return device.answer()
        if isinstance(event, ReadRequest) and event.di in self.data:
            return device.answer(self.data[event.di])
        return device.refuse(NO_DATA)


class Server:
    """A TCP server whose `answer(data)` gives the reply to what arrives; the links it has seen are kept."""

    def __init__(self) -> None:
        self.answer: Callable[[bytes], bytes] = lambda data: data
        self.port = 0
        self.transports: list[asyncio.Transport] = []

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def factory(self) -> asyncio.Protocol:
        return _ServerSide(self)


class _ServerSide(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.transports.append(transport)

    def data_received(self, data: bytes) -> None:
        answer = self._server.answer(data)
        if answer:
            self._transport.write(answer)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.get_running_loop().create_server(server.factory, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()
    for transport in server.transports:
        transport.abort()
    await asyncio.sleep(0.01)


@pytest.fixture
def meter645() -> type[Meter645]:
    return Meter645


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    """(descriptor of the far end, name of the serial port)."""
    far, near = os.openpty()
    tty.setraw(near)
    os.set_blocking(far, False)
    yield far, os.ttyname(near)
    # Kept until now: without anybody on the near side, reading the far side is an error.
    os.close(near)
    os.close(far)


@pytest.fixture
async def closing() -> AsyncIterator[Callable[[Link], Link]]:
    """closing(link) -> link, closed at the end of the test."""
    links: list[Link] = []

    def keep(link: Link) -> Link:
        links.append(link)
        return link

    yield keep
    for link in links:
        await link.close()


@pytest.fixture
def toy_exchange() -> type[ToyExchange]:
    return ToyExchange


@pytest.fixture
def toy_meter() -> type[ToyMeter]:
    return ToyMeter


@pytest.fixture
def toy_driver() -> type[ToyDriver]:
    return ToyDriver


@pytest.fixture
def toy_line() -> type[ToyLine]:
    return ToyLine
