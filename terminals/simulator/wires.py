"""The ports and the pty a fleet is reached by. One live connection per terminal: the newest wins."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

import numpy as np

from terminals.links.link import CannotListen
from terminals.simulator.terminal import Terminal
from terminals.simulator.weather import GLUED, Passage, Piece

#: Answers of one line that may be on their way at once: a head-end asks one question at a time, and gives each up after some seconds.
QUEUE_LIMIT: Final = 64

#: Told after every piece served: relay keys may have been promised.
OnServed = Callable[[Terminal], None]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every wire needs: domain time, and whom to tell."""

    now: Callable[[], np.datetime64]
    served: OnServed


class Line(asyncio.Protocol):
    """One connection of a terminal."""

    __slots__ = ("_around", "_due", "_queued", "shut", "terminal", "transport")

    def __init__(self, terminal: Terminal, around: Surroundings) -> None:
        self.terminal = terminal
        self.transport: asyncio.Transport | None = None
        self._around = around
        self._due = 0.0
        self._queued = 0
        #: nobody is behind it yet
        self.shut = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self.terminal.away or self.shut:
            self.transport.abort()
            return
        self.terminal.attach()

    def data_received(self, data: bytes) -> None:
        if self.transport is None or self.transport.is_closing() or self.terminal.silent:
            return
        passage = self.terminal.passage
        for answer in self.terminal.exchange(data, self._around.now):
            if passage is None and not self._queued:
                self.transport.write(answer)
            else:
                self._pass(passage, answer)
        self._around.served(self.terminal)

    def _pass(self, passage: Passage | None, answer: bytes) -> None:
        """Through what the line does to it."""
        pieces = [Piece(answer)] if passage is None else passage.leave(answer)
        if not pieces and not (passage is not None and passage.holds):
            self.terminal.swallowed += 1
        loop = asyncio.get_running_loop()
        for piece in pieces:
            # A microsecond apart: the loop does not promise an order for timers of one instant.
            self._due = max(self._due + 1e-6, loop.time() + piece.after)
            if self._queued >= QUEUE_LIMIT:
                self.terminal.swallowed += 1
                continue
            self._queued += 1
            loop.call_at(self._due, self._write, piece.data)
        if passage is not None and passage.holds:
            loop.call_later(GLUED, self._flush, passage)

    def _flush(self, passage: Passage) -> None:
        held = passage.flush()
        if held:
            self._queued += 1
            self._write(held)

    def _write(self, data: bytes) -> None:
        self._queued -= 1
        if self.transport is not None and not self.transport.is_closing() and not self.terminal.silent:
            self.transport.write(data)

    def drop(self) -> None:
        """Cut the connection."""
        if self.transport is not None:
            self.transport.abort()


class Wire(Protocol):
    """How a terminal is reached."""

    def hang_up(self, seconds: float) -> None:
        """Cut the line, and be reachable again after so many seconds."""

    def move(self) -> None:
        """Be reached from another address from now on, where the wire has one."""

    async def stop(self) -> None:
        """For good."""


class DialOut:
    """A terminal that waits on a port of the loopback."""

    def __init__(self, terminal: Terminal, around: Surroundings) -> None:
        self.terminal = terminal
        self.port = 0
        self._around = around
        self._closed_until = 0.0
        self._line: Line | None = None
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> str:
        """Listen (0: any free port); returns host:port. CannotListen when the port is taken."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._accept, "127.0.0.1", port)
        except OSError as error:
            reason = error.strerror or str(error)
            raise CannotListen(f"tcp://127.0.0.1:{port}", reason, "choose another first port") from error
        self.port = self._server.sockets[0].getsockname()[1]
        return f"127.0.0.1:{self.port}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._drop()

    def hang_up(self, seconds: float) -> None:
        """Cut the present connection, and take none for so many seconds."""
        self._closed_until = asyncio.get_running_loop().time() + seconds
        self._drop()

    def move(self) -> None:
        """It is called where it is."""
        self.hang_up(0.0)

    def _drop(self) -> None:
        if self._line is not None:
            self._line.drop()

    def _accept(self) -> Line:
        if self._line is not None:
            self._line.drop()
        self._line = Line(self.terminal, self._around)
        if asyncio.get_running_loop().time() < self._closed_until:
            self._line.shut = True
        return self._line


class SerialLine:
    """A terminal on a serial line: a pty whose other end the head-end opens."""

    def __init__(self, terminal: Terminal, around: Surroundings) -> None:
        self.terminal = terminal
        self._around = around
        self._master = self._slave = -1
        self._closed_until = 0.0

    async def start(self) -> str:
        """Open the pty; returns the serial URL of its other end."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)  # an echo would be taken for another master
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._readable)
        # We keep the slave open too: else the master reports an error whenever the head-end closes the port.
        # A pty has no parity, and refuses the settings of a port that asks for one.
        return f"serial://{os.ttyname(self._slave)}?baud=9600&parity=N"

    def hang_up(self, seconds: float) -> None:
        """Nobody answers for so many seconds; a serial line cannot be cut."""
        self._closed_until = asyncio.get_running_loop().time() + seconds

    def move(self) -> None:
        """It has no address."""

    async def stop(self) -> None:
        if self._master >= 0:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)
            os.close(self._slave)
            self._master = self._slave = -1

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except BlockingIOError:
            return
        if self.terminal.silent or self.terminal.away or self._closed():
            return
        passage = self.terminal.passage
        for answer in self.terminal.exchange(data, self._around.now):
            for piece in [Piece(answer)] if passage is None else passage.leave(answer):
                # Pieces on a bus stand as close as it lets them: the pause between two requests is the master's.
                asyncio.get_running_loop().call_later(piece.after, self._write, piece.data)
        self._around.served(self.terminal)

    def _closed(self) -> bool:
        return asyncio.get_running_loop().time() < self._closed_until

    def _write(self, data: bytes) -> None:
        # A full buffer means nobody listens: on a real line the bytes would be gone as well.
        with contextlib.suppress(OSError):
            os.write(self._master, data)
