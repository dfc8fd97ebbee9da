"""One link and one exchange: send, wait, retry. The only place where bytes meet time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Exchange, Ignored, Send
from protocols.machine import AskMachine
from terminals.links.link import Link
from terminals.pace import ALIVE, Pace, Timing

T = TypeVar("T")

#: Called immediately before each write; raises when we may not write any more (a lease has passed to somebody
#: else).
Guard = Callable[[], None]
#: Called once per round trip with the bytes sent, the bytes received and the seconds; for counters and dumps.
OnExchange = Callable[[bytes, bytes, float], None]

#: Called before each attempt of each request: the line may be lent to somebody more urgent while nothing is under way.
Between = Callable[[], Awaitable[None]]

#: A cipher machine that has not answered by then keeps the line from everybody: it is given up.
MACHINE_SECONDS: Final = 10.0

#: A time-out that is seen so much later than it was due says that we stood still, not that the peer was silent.
STOOD: Final = 0.1

#: Bytes of one round trip kept for the observer: the longest message there is, and as much noise before it.
DUMP_LIMIT: Final = 128 * 1024


@dataclass(slots=True)
class Counts:
    """What happened in one session (or one request)."""

    attempts: int = 0  # requests sent, repeats included
    answered: int = 0  # answers and refusals: the peer is alive and understood
    silent: int = 0  # attempts to which no byte came
    garbled: int = 0  # corrupt frames, and attempts whose bytes made no frame
    ignored: int = 0  # whole frames that were not the answer
    sent: int = 0  # bytes
    received: int = 0  # bytes


class SessionError(Exception):
    """A request without a usable answer. `counts` are those of the request, `seconds` all it took."""

    def __init__(self, message: str, name: str, counts: Counts, seconds: float) -> None:
        super().__init__(message)
        self.name = name
        self.counts = counts
        self.seconds = seconds


class NoAnswer(SessionError):
    """Nothing came, or only frames that were not for us."""


class Garbled(SessionError):
    """Something came, but no valid frame."""


class _Timeout(Exception):
    """One attempt is over."""


class Session:
    """Runs requests and scripts over `link`. One request at a time.

    `pace` belongs to the line and outlives the session. `guard` is asked before every write. A `suspect`
    peer, one that failed last time, gets a single attempt until it answers: others wait for the line. `between` is awaited before
    every attempt.
    """

    def __init__(
        self,
        link: Link,
        exchange: Exchange,
        pace: Pace | Timing | None = None,
        *,
        guard: Guard | None = None,
        on_exchange: OnExchange | None = None,
        suspect: bool = False,
    ) -> None:
        self.link = link
        self.exchange = exchange
        self.pace = pace if isinstance(pace, Pace) else Pace(pace or Timing())
        self.counts = Counts()
        self.guard = guard
        self.suspect = suspect
        self.between: Between | None = None
        self._on_exchange = on_exchange
        self._now = asyncio.get_running_loop().time

    async def run(self, script: Generator[Any, Any, T], *, attempts: int | None = None) -> T:
        """Drive a driver's script to its result. Refused goes into the script; every other error ends it: Misuse too, from a cipher
        machine that fails.

        `attempts=1` for what must never be sent twice on suspicion: a relay command.
        """
        try:
            request = next(script)
            while True:
                try:
                    if isinstance(request, AskMachine):
                        answer = await _ask(request)
                    else:
                        answer = await self.request(request, attempts=attempts)
                except Refused as refusal:
                    request = script.throw(refusal)
                else:
                    request = script.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            script.close()

    async def request(self, request: Any, *, attempts: int | None = None) -> Any:
        """The answer's value. Refused, NoAnswer, Garbled, LinkLost, or what the guard raises."""
        attempts = attempts or self._attempts()
        begun = self._now()
        before = _copy(self.counts)
        for attempt in range(attempts):
            if self.between is not None:
                asked = self._now()
                await self.between()
                begun += self._now() - asked  # what others took is not this request's
            try:
                return await self._attempt(request, attempt, begun + self.pace.timing.whole)
            except _Timeout:
                if self._now() - begun >= self.pace.timing.whole:
                    break
        raise self._failure(_since(before, self.counts), self._now() - begun)

    def _attempts(self) -> int:
        if self.suspect:
            return 1
        return self.pace.timing.attempts * (ALIVE if self.counts.answered else 1)

    async def _attempt(self, request: Any, attempt: int, end: float) -> Any:
        await self._settle()
        data = self.exchange.send(request)
        trip = _Trip(self, attempt, end)
        repeat = attempt > 0
        try:
            self.counts.attempts += 1
            trip.begin(data)
            answer = await trip.finish()
        except Refused:
            self._answered(trip, repeat)
            raise
        except BaseException:
            # Also when the task is cancelled: a late answer must not be taken for the next request's.
            self.exchange.abandon()
            raise
        finally:
            trip.report()
            self.pace.quiet_since = self._now()
        self._answered(trip, repeat)
        return answer

    async def _settle(self) -> None:
        """Wait until the line has been quiet for the pause, and let the exchange see what came meanwhile."""
        wait = self.pace.quiet_since + self.pace.timing.pause - self._now()
        if wait > 0:
            await asyncio.sleep(wait)
        late = self.link.discard()
        if not late:
            return
        # Not thrown away: cutting a late frame in half would leave its second half to be taken for something.
        self.counts.received += len(late)
        self.exchange.receive_data(late)
        while True:
            try:
                event = self.exchange.next_event()
            except (FrameError, Refused):
                self.counts.ignored += 1
                continue
            if event is NEED_DATA:
                return
            self.counts.ignored += 1
            if isinstance(event, Send):  # what the peer began by itself and waits for an answer to
                self.write(event.data)

    def write(self, data: bytes) -> None:
        """Guard, then write."""
        if self.guard is not None:
            self.guard()
        self.link.write(data)
        self.counts.sent += len(data)

    def _answered(self, trip: _Trip, repeat: bool) -> None:
        if trip.latency is None:
            return  # a broadcast: done when it was sent, which says nothing about anybody
        self.counts.answered += 1
        self.suspect = False
        if repeat:
            self.pace.answered_late()
        elif trip.clean:
            self.pace.answered(trip.latency)

    def _failure(self, counts: Counts, seconds: float) -> SessionError:
        tries = f"{counts.attempts} attempt{'s' if counts.attempts != 1 else ''} ({seconds:.1f} s)"
        if counts.garbled:
            message = (
                f"only garbage from {self.link.name} in {tries}: {counts.garbled} corrupt and "
                f"{counts.ignored} foreign frames in {counts.received} bytes; check baud rate, parity, wiring"
            )
            return Garbled(message, self.link.name, counts, seconds)
        if counts.ignored:
            message = (
                f"no answer from {self.link.name} in {tries}: only {counts.ignored} frames that were not "
                "for this request; check the address, and whether a second master is on the line"
            )
        elif counts.received:
            message = f"no answer from {self.link.name} in {tries}: the answer broke off after {counts.received} bytes"
        else:
            message = (
                f"no answer from {self.link.name} in {tries}: no byte came; check the address "
                "and that the meter has power"
            )
        return NoAnswer(message, self.link.name, counts, seconds)

    @contextmanager
    def observed(self, also: OnExchange) -> Iterator[None]:
        """Tell `also` of the round trips of the body too."""
        first = self._on_exchange

        def both(sent: bytes, received: bytes, seconds: float) -> None:
            if first is not None:
                first(sent, received, seconds)
            also(sent, received, seconds)

        self._on_exchange = both
        try:
            yield
        finally:
            self._on_exchange = first

    def emit(self, sent: bytes, received: bytes, seconds: float) -> None:
        """Tell the observer of one round trip."""
        if self._on_exchange is not None:
            self._on_exchange(sent, received, seconds)


class _Trip:
    """One attempt: round trips until the answer is whole.

    Each has a deadline that bytes can move, but only so far. A part that is lost in the middle is asked for again by itself, where the
    protocol can: of five parts on a line that loses 30 %, one try in six brings all of them.
    """

    def __init__(self, session: Session, attempt: int, end: float) -> None:
        self.session = session
        self.attempt = attempt
        self.end = end
        self.latency: float | None = None  # until the first byte of the first round trip
        self.clean = True  # nothing but the answer came, so `latency` is the answer's
        self._now = asyncio.get_running_loop().time
        self._begun = self._deadline = self._limit = 0.0
        self._sent = b""
        self._part = b""  # the request for a part of the answer that may be sent again
        self._again = 0  # how often it was
        self._excused = False  # the peer was given the time in which we stood still
        self._received = bytearray()  # the dump of one round trip, up to DUMP_LIMIT
        self._framed = False

    def begin(self, data: bytes) -> None:
        """Write the request or the request for the next block; the clock starts anew."""
        self.report()
        self.session.write(data)
        self._sent = data
        self._framed = self._excused = False
        self._begun = self._now()
        patience = self.session.pace.patience(self.attempt + self._again)
        self._deadline = min(self._begun + patience, self.end)
        self._limit = min(self._begun + self.session.pace.timing.ceiling, self.end)

    async def finish(self) -> Any:
        """The answer's value; _Timeout when this attempt is over, Refused when the peer says no."""
        session = self.session
        while True:
            try:
                event = session.exchange.next_event()
            except FrameError:
                # The answer is spoilt and will not come again by itself: one gap of silence, then ask anew.
                session.counts.garbled += 1
                self._framed, self.clean = True, False
                self._deadline = min(self._deadline, self._now() + session.pace.timing.gap)
                continue
            except Refused:
                if self._again:  # it knows no repeats: then all of it anew
                    raise _Timeout from None
                raise
            if event is NEED_DATA:
                await self._receive()
            elif isinstance(event, Answer):
                return event.value
            elif isinstance(event, Send):
                self._part, self._again = event.data if event.again else b"", 0
                self.begin(event.data)
            elif isinstance(event, Ignored):
                session.counts.ignored += 1
                self._framed, self.clean = True, False

    async def _receive(self) -> None:
        session = self.session
        wait = self._deadline - self._now()
        try:
            if wait <= 0:
                raise TimeoutError
            data = await session.link.read(wait)
        except TimeoutError:
            late = self._now() - self._deadline
            waited = self._deadline > self._begun  # else the request's whole time is over
            if (
                late > STOOD and waited and not self._excused
            ):  # once: who is dead is dead on a slow machine too
                self._excused = True
                self._deadline = self._now() + late
                self._limit = max(self._limit, self._deadline)
                return
            if self.latency is None:
                session.counts.silent += 1
            elif self._received and not self._framed:
                session.counts.garbled += 1
            if not self._part or self._again + 1 >= session.pace.timing.attempts or self._now() >= self.end:
                raise _Timeout from None
            self._again += 1
            self.begin(self._part)
            return
        now = self._now()
        if self.latency is None:
            self.latency = now - self._begun
        self._received += data[: max(0, DUMP_LIMIT - len(self._received))]
        session.counts.received += len(data)
        # Bytes are coming: give the rest of the frame its gap, but never beyond the limit of this round trip,
        # or a babbling neighbour would hold the line for ever.
        self._deadline = min(max(self._deadline, now + session.pace.timing.gap), self._limit)
        session.exchange.receive_data(data)

    def report(self) -> None:
        """Hand the finished round trip to the observer."""
        if self._sent:
            self.session.emit(self._sent, bytes(self._received), self._now() - self._begun)
        self._sent = b""
        self._received.clear()


async def _ask(request: AskMachine) -> Any:
    """The machine's answer. It may block, so a thread waits for it; Misuse if it fails, without its words: they may be secret."""
    try:
        asking = asyncio.to_thread(request.question.ask, request.machine)
        return await asyncio.wait_for(asking, MACHINE_SECONDS)
    except Exception as error:
        raise Misuse(f"the cipher machine did not answer ({type(error).__name__})") from None


def _copy(counts: Counts) -> Counts:
    return Counts(**{name: getattr(counts, name) for name in Counts.__slots__})


def _since(before: Counts, after: Counts) -> Counts:
    return Counts(**{name: getattr(after, name) - getattr(before, name) for name in Counts.__slots__})
