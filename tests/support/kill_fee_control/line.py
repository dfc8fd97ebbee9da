"""A line between two processes on which whoever asks, or is asked, can be killed at a request: before it has arrived, or after it was answered and
before the answer has."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Said:
    """One request, when it came (Unix seconds), and when its answer was handed on; None: never."""

    asked: float
    request: bytes
    answered: float | None = None


@dataclass(slots=True)
class Halt:
    """The nth request that counts stands still, `after` it has been answered or before it has arrived, until somebody lets it go on."""

    nth: int
    after: bool
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    request: bytes = b""
    _go_on: asyncio.Event = field(default_factory=asyncio.Event)
    _lost: bool = False

    def let_go(self, *, lost: bool) -> None:
        """`lost`: with the end that was killed."""
        self._lost = lost
        self._go_on.set()

    async def stand(self) -> bool:
        """True if it goes on."""
        self.reached.set()
        await self._go_on.wait()
        return not self._lost


class Line:
    """A relay on a port that stays the same, whoever is behind it. `counts`: which requests do."""

    def __init__(self, counts: Callable[[bytes], bool]) -> None:
        self.target = ("127.0.0.1", 9)
        self.port = 0
        self.said: list[Said] = []
        #: requests since it was armed
        self.counted: list[bytes] = []
        self._counts = counts
        self._halt: Halt | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        await self.cut()
        if self._server is not None:
            self._server.close()

    async def cut(self) -> None:
        """Every connection ends, and what was said is forgotten."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.said.clear()
        self.arm(None)

    def arm(self, halt: Halt | None) -> None:
        """Count from here."""
        self._halt = halt
        self.counted.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends = [writer]
        try:
            up, down = await asyncio.open_connection(*self.target)
            ends.append(down)
            told = _Told()
            sides = [
                asyncio.ensure_future(self._up(reader, down, told)), asyncio.ensure_future(self._down(up, writer, told))
            ]  # fmt: skip
            try:
                await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for side in sides:
                    side.cancel()
                await asyncio.gather(*sides, return_exceptions=True)
        except OSError:  # nobody is there yet: whoever calls sees the line closed
            pass
        finally:
            self._tasks.discard(task)
            for end in ends:
                end.close()

    async def _up(self, reader: asyncio.StreamReader, device: asyncio.StreamWriter, told: _Told) -> None:
        while data := await reader.read(65536):
            told.now = Said(time.time(), data)
            self.said.append(told.now)
            halt = self._strike(data)
            if halt is not None and halt.after:
                told.halt = halt
            elif halt is not None and not await halt.stand():
                return
            device.write(data)

    async def _down(self, device: asyncio.StreamReader, writer: asyncio.StreamWriter, told: _Told) -> None:
        while data := await device.read(65536):
            halt, told.halt = told.halt, None
            if halt is not None and not await halt.stand():
                return
            if told.now is not None and not writer.is_closing():
                told.now.answered = (
                    time.time()
                )  # before it goes: whoever waits for it may be quicker than we are
            with contextlib.suppress(ConnectionError):
                writer.write(data)

    def _strike(self, data: bytes) -> Halt | None:
        """The halt, if this is its request."""
        if not self._counts(data):
            return None
        self.counted.append(data)
        halt = self._halt
        if halt is None or halt.nth != len(self.counted):
            return None
        self._halt, halt.request = None, data
        return halt


@dataclass(slots=True)
class _Told:
    """What one connection is in the middle of."""

    now: Said | None = None
    halt: Halt | None = None
