"""Terminals that dial in: so many connections a second, no task and no more than two timers for each that is online."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Final

from terminals.greetings.dtu import DtuText, LineFilter
from terminals.simulator.terminal import Terminal
from terminals.simulator.wires import Line, Surroundings

#: Seconds a registration or heartbeat may stay unanswered before a terminal dials anew.
ANSWER_LIMIT: Final = 10.0
#: Seconds between attempts to dial in: doubled from the first to the last.
BACK_OFF: Final = (0.2, 15.0)
#: Seconds after which the beginning of a head-end's line, nothing following, is taken for a meter's request.
HELD_LIMIT: Final = 0.2
#: Seconds between two looks at who may dial: finer than that no head-end tells the difference.
TICK: Final = 0.02
#: Logins whose time is kept: those of the largest fleet, twice.
WAITS: Final = 20_000
#: Connections that may be on their way at once: more would only stand in the head-end's queue (a listener's is a few hundred long),
#: and those that fall off it come a second late.
MOST_DIALLING: Final = 256


class Dialler:
    """Lets terminals dial, `rate` a second, one after the other."""

    def __init__(self, listener: tuple[str, int], rate: float) -> None:
        self._listener = listener
        self._rate = rate
        self._waiting: deque[DialIn] = deque()
        #: seconds from dialling to the head-end's answer, of the newest logins
        self.waits: deque[float] = deque(maxlen=WAITS)
        self._dialling: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None
        self._allowed = 0.0
        self._counted = 0.0

    def want(self, caller: DialIn) -> None:
        """Queue behind those who wait already. Each caller waits once, so the queue is as long as the fleet at most."""
        self._waiting.append(caller)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._counted = loop.time() - TICK
            self._timer = loop.call_soon(self._tick)

    async def stop(self) -> None:
        """Nobody dials any more."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._dialling:
            task.cancel()
        await asyncio.gather(*self._dialling, return_exceptions=True)

    def _tick(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        # What was not used is not saved for later: after a pause nobody rushes in.
        self._allowed = min(self._allowed % 1.0 + (now - self._counted) * self._rate, max(1.0, self._rate))
        self._counted = now
        while self._waiting and self._allowed >= 1.0 and len(self._dialling) < MOST_DIALLING:
            self._allowed -= 1.0
            task = loop.create_task(self._dial(self._waiting.popleft()))
            self._dialling.add(task)
            task.add_done_callback(self._dialling.discard)
        if self._waiting:
            self._timer = loop.call_later(TICK, self._tick)

    async def _dial(self, caller: DialIn) -> None:
        if caller.stopped:
            return
        if caller.terminal.away or caller.terminal.silent:
            caller.lost()  # no network: he tries again later
            return
        loop = asyncio.get_running_loop()
        caller.dialled = loop.time()
        try:
            await loop.create_connection(caller.line, *self._listener, local_addr=caller.source)
        except OSError:
            caller.lost()


class DialIn:
    """A terminal that connects to the head-end, registers, sends heartbeats, and comes back when dropped.

    heartbeat   seconds between heartbeats
    phase       0..1: which part of its first heartbeat's time it waits, so that those who came together do not beat together
    source      the address it dials from; None: any
    """

    __slots__ = (
        "_around", "_dialler", "_heartbeat", "_line", "_phase", "_retry", "_text", "_wait", "dialled", "identity", "logins", "source",
        "stopped", "terminal",
    )  # fmt: skip

    def __init__(
        self,
        terminal: Terminal,
        around: Surroundings,
        identity: str,
        dialler: Dialler,
        heartbeat: float,
        phase: float = 1.0,
    ) -> None:
        self.terminal = terminal
        self.identity = identity
        self.logins = 0
        self.source: tuple[str, int] | None = None
        self.stopped = False
        self._around = around
        self._dialler = dialler
        self.dialled = 0.0
        self._heartbeat = heartbeat
        self._phase = phase
        self._text = _TEXT
        self._wait = BACK_OFF[0]
        self._line: _Called | None = None
        self._retry: asyncio.TimerHandle | None = None

    @property
    def online(self) -> bool:
        """Whether the head-end has answered its login on the present connection."""
        return self._line is not None and self._line.confirmed

    async def start(self) -> None:
        """Begin to dial; does not wait for the head-end to be there."""
        self._dialler.want(self)

    async def stop(self) -> None:
        self.stopped = True
        if self._retry is not None:
            self._retry.cancel()
        if self._line is not None:
            self._line.drop()

    def hang_up(self, seconds: float) -> None:
        """Dial anew after so many seconds, as soon as the dialler allows it."""
        if self._line is not None:
            self._wait = seconds
            self._line.drop()

    def move(self) -> None:
        """Dial anew from the next address of the loopback's net 127.0.0.0/8, of which all are this machine on Linux."""
        turn = 1 if self.source is None else int(self.source[0].split(".")[1]) % 254 + 1
        area = self.terminal.plan.area
        self.source = (f"127.{turn}.{area // 250 % 250}.{area % 250 + 1}", 0)
        self.hang_up(0.0)

    def line(self) -> _Called:
        """A fresh connection's protocol."""
        own = self.terminal.line is not None
        self._line = (_Logging if own else _Registering)(self)
        return self._line

    def lost(self) -> None:
        """The connection is gone, or never came to be."""
        self._line = None
        if self.stopped:
            return
        wait, self._wait = self._wait, min(max(2 * self._wait, BACK_OFF[0]), BACK_OFF[1])
        self._retry = asyncio.get_running_loop().call_later(wait, self._dialler.want, self)

    def confirmed(self, line: _Called) -> None:
        """The head-end has answered."""
        first, line.confirmed = not line.confirmed, True
        if first:
            self.logins += 1
            self._dialler.waits.append(asyncio.get_running_loop().time() - self.dialled)
            self._wait = BACK_OFF[0]
        line.later(self._heartbeat * (self._phase if first else 1.0), line.heartbeat)

    @property
    def heartbeat(self) -> float:
        return self._heartbeat

    @property
    def text(self) -> DtuText:
        return self._text

    @property
    def around(self) -> Surroundings:
        return self._around


_TEXT: Final = DtuText()


class _Called(Line, ABC):
    """A line on which the terminal says who it is and that it lives, and expects an answer to that."""

    __slots__ = ("_caller", "_timer", "confirmed")

    def __init__(self, caller: DialIn) -> None:
        super().__init__(caller.terminal, caller.around)
        self.confirmed = False
        self._caller = caller
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.say(self.login())

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()
        self._caller.lost()

    @abstractmethod
    def login(self) -> bytes:
        """What it says first."""

    @abstractmethod
    def beat(self) -> bytes:
        """What it says to show that it lives."""

    def heartbeat(self) -> None:
        self.say(self.beat())

    def say(self, frame: bytes) -> None:
        """Send a login or heartbeat, and expect its answer. A silent terminal does not know that nothing arrives."""
        if self.terminal.silent:
            self.later(self._caller.heartbeat, self.heartbeat)
            return
        self.later(ANSWER_LIMIT, self._unanswered)
        if self.transport is not None:
            self.transport.write(frame)

    def _unanswered(self) -> None:
        if self.terminal.silent:
            self.later(self._caller.heartbeat, self.heartbeat)
        else:
            self.drop()

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Instead of what was to happen."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, what)


class _Registering(_Called):
    """A transparent terminal: the head-end's OK lines stand between the requests."""

    __slots__ = ("_filter", "_held")

    def __init__(self, caller: DialIn) -> None:
        super().__init__(caller)
        self._filter = LineFilter(caller.text.answer_to(caller.identity))
        self._held: asyncio.TimerHandle | None = None

    def login(self) -> bytes:
        return f"REG,{self._caller.identity}\r\n".encode("ascii")

    def beat(self) -> bytes:
        return self._caller.text.heartbeat_of(self._caller.identity)

    def data_received(self, data: bytes) -> None:
        if self.terminal.silent:
            return
        if self._held is not None:
            self._held.cancel()
            self._held = None
        sifted = self._filter.feed(data)
        if sifted.beats:
            self._caller.confirmed(self)
        if sifted.clean:
            super().data_received(sifted.clean)
        if self._filter.held:
            self._held = asyncio.get_running_loop().call_later(HELD_LIMIT, self._release)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._held is not None:
            self._held.cancel()
        super().connection_lost(exc)

    def _release(self) -> None:
        self._held = None
        super().data_received(self._filter.release().clean)


class _Logging(_Called):
    """A concentrator, which logs in and keeps itself known with frames of its own protocol (Q/GDW 376.1, AFN 02; DL/T 698.45, LINK-Request)."""

    __slots__ = ()

    def login(self) -> bytes:
        line = self.terminal.line
        return b"" if line is None else line.login(self._caller.around.now(), self._caller.heartbeat)

    def beat(self) -> bytes:
        line = self.terminal.line
        return b"" if line is None else line.heartbeat(self._caller.around.now(), self._caller.heartbeat)

    def data_received(self, data: bytes) -> None:
        if self.terminal.silent:
            return
        line = self.terminal.line
        before = line.confirmed if line is not None else 0
        super().data_received(data)
        if line is not None and line.confirmed > before:
            self._caller.confirmed(self)
