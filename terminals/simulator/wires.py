"""The sockets and the pty a fleet is reached by. One live connection per terminal: the newest wins."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import numpy as np

from terminals.greetings.dtu import DtuText, LineFilter
from terminals.links.link import CannotListen
from terminals.simulator.terminal import Terminal

#: Seconds a registration or heartbeat may stay unanswered before a terminal dials anew.
ANSWER_LIMIT: Final = 10.0
#: Seconds between attempts to dial in: doubled from the first to the last.
BACK_OFF: Final = (0.2, 15.0)
#: Seconds after which the beginning of a head-end's line, nothing following, is taken for a meter's request.
HELD_LIMIT: Final = 0.2

#: Told after every piece served: relay keys may have been promised.
OnServed = Callable[[Terminal], None]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every wire needs: domain time, and whom to tell."""

    now: Callable[[], np.datetime64]
    served: OnServed


class _Line(asyncio.Protocol):
    """One connection of a terminal."""

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
        self._line: _Line | None = None
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

    def _accept(self) -> _Line:
        if self._line is not None:
            self._line.drop()
        self._line = _Line(self.terminal, self._around)
        return self._line


class _DialledLine(_Line):
    """A line on which the head-end's OK lines stand between the requests."""

    def __init__(self, terminal: Terminal, around: Surroundings, identity: str, text: DtuText) -> None:
        super().__init__(terminal, around)
        self.gone = asyncio.Event()
        self.answered = asyncio.Event()
        self._text = text
        self._identity = identity
        self._filter = LineFilter(text.answer_to(identity))
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.say(f"REG,{self._identity}\r\n".encode("ascii"))

    def data_received(self, data: bytes) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        sifted = self._filter.feed(data)
        if sifted.beats:
            self.answered.set()
        if sifted.clean:
            super().data_received(sifted.clean)
        if self._filter.held:
            self._timer = asyncio.get_running_loop().call_later(HELD_LIMIT, self._release)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.gone.set()

    def say(self, line: bytes) -> None:
        """Send a registration or heartbeat, and expect its answer."""
        self.answered.clear()
        if self.transport is not None:
            self.transport.write(line)

    def heartbeat(self) -> None:
        self.say(self._text.heartbeat_of(self._identity))

    def _release(self) -> None:
        self._timer = None
        super().data_received(self._filter.release().clean)


class _LoggingLine(_Line):
    """A line on which the terminal logs in, and keeps itself known, with frames of its own protocol (Q/GDW 376.1, AFN 02)."""

    def __init__(self, terminal: Terminal, around: Surroundings) -> None:
        super().__init__(terminal, around)
        self.gone = asyncio.Event()
        self.answered = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.terminal.line is not None:
            self._say(self.terminal.line.login())

    def data_received(self, data: bytes) -> None:
        line = self.terminal.line
        before = line.confirmed if line is not None else 0
        super().data_received(data)
        if line is not None and line.confirmed > before:
            self.answered.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()

    def heartbeat(self) -> None:
        if self.terminal.line is not None:
            self._say(self.terminal.line.heartbeat())

    def _say(self, frame: bytes) -> None:
        self.answered.clear()
        if self.transport is not None:
            self.transport.write(frame)


class DialIn:
    """A terminal that connects to the head-end, registers, sends heartbeats, and comes back when dropped.

    `heartbeat`: seconds between heartbeats.
    """

    def __init__(
        self,
        terminal: Terminal,
        around: Surroundings,
        identity: str,
        listener: tuple[str, int],
        heartbeat: float,
    ) -> None:
        self.terminal = terminal
        self.identity = identity
        self.logins = 0
        self._around = around
        self._listener = listener
        self._heartbeat = heartbeat
        self._text = DtuText()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to dial; does not wait for the head-end to be there."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        wait = BACK_OFF[0]
        while True:
            before = self.logins
            with contextlib.suppress(OSError):
                line = await self._dial()
                try:
                    await self._keep(line)
                finally:
                    line.drop()
            if self.logins > before:
                wait = BACK_OFF[0]
            await asyncio.sleep(wait)
            wait = min(2 * wait, BACK_OFF[1])

    async def _dial(self) -> _DialledLine | _LoggingLine:
        loop = asyncio.get_running_loop()
        host, port = self._listener

        def line() -> _DialledLine | _LoggingLine:
            if self.terminal.line is not None:
                return _LoggingLine(self.terminal, self._around)
            return _DialledLine(self.terminal, self._around, self.identity, self._text)

        return (await loop.create_connection(line, host, port))[1]

    async def _keep(self, line: _DialledLine | _LoggingLine) -> None:
        if not await _within(line.answered, line.gone, ANSWER_LIMIT):
            return
        self.logins += 1
        while not await _elapsed(line.gone, self._heartbeat):
            line.heartbeat()
            if not await _within(line.answered, line.gone, ANSWER_LIMIT):
                return


async def _within(event: asyncio.Event, gone: asyncio.Event, limit: float) -> bool:
    """Whether the event came before the connection went and before the limit."""
    waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(gone.wait())]
    try:
        await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return event.is_set() and not gone.is_set()


async def _elapsed(gone: asyncio.Event, seconds: float) -> bool:
    """Wait for so long; True if the connection went meanwhile."""
    try:
        async with asyncio.timeout(seconds):
            await gone.wait()
    except TimeoutError:
        return False
    return True


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
