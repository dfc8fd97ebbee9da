"""The ports and the pty a fleet is reached by. One live connection per terminal: the newest wins."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np

from terminals.links.link import CannotListen
from terminals.simulator.terminal import Terminal

#: Told after every piece served: relay keys may have been promised.
OnServed = Callable[[Terminal], None]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every wire needs: domain time, and whom to tell."""

    now: Callable[[], np.datetime64]
    served: OnServed


class Line(asyncio.Protocol):
    """One connection of a terminal."""

    __slots__ = ("_around", "terminal", "transport")

    def __init__(self, terminal: Terminal, around: Surroundings) -> None:
        self.terminal = terminal
        self.transport: asyncio.Transport | None = None
        self._around = around

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.terminal.attach()

    def data_received(self, data: bytes) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        for answer in self.terminal.exchange(data, self._around.now):
            self.transport.write(answer)
        self._around.served(self.terminal)

    def drop(self) -> None:
        """Cut the connection."""
        if self.transport is not None:
            self.transport.abort()


class DialOut:
    """A terminal that waits on a port of the loopback."""

    def __init__(self, terminal: Terminal, around: Surroundings) -> None:
        self.terminal = terminal
        self.port = 0
        self._around = around
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
        if self._line is not None:
            self._line.drop()

    def _accept(self) -> Line:
        if self._line is not None:
            self._line.drop()
        self._line = Line(self.terminal, self._around)
        return self._line


class SerialLine:
    """A terminal on a serial line: a pty whose other end the head-end opens."""

    def __init__(self, terminal: Terminal, around: Surroundings) -> None:
        self.terminal = terminal
        self._around = around
        self._master = self._slave = -1

    async def start(self) -> str:
        """Open the pty; returns the serial URL of its other end."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)  # an echo would be taken for another master
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._readable)
        # We keep the slave open too: else the master reports an error whenever the head-end closes the port.
        # A pty has no parity, and refuses the settings of a port that asks for one.
        return f"serial://{os.ttyname(self._slave)}?baud=9600&parity=N"

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
        for answer in self.terminal.exchange(data, self._around.now):
            # A full buffer means nobody listens: on a real line the bytes would be gone as well.
            with contextlib.suppress(BlockingIOError):
                os.write(self._master, answer)
        self._around.served(self.terminal)
