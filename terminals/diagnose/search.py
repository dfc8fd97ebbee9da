"""Finds out who is on the line: settings, protocol, address, password. Reads only, and tries no password too many."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

from protocols.errors import Misuse, ProtocolError, Refused
from terminals.diagnose.candidates import Candidate, Line
from terminals.diagnose.diagnosis import Cause, Words
from terminals.diagnose.heard import MOST, Speaker, speakers
from terminals.diagnose.lockout import Lockout
from terminals.diagnose.optical import NoBinaryMode, wake
from terminals.diagnose.trouble import both, cause_of, told
from terminals.diagnose.wire import Wire
from terminals.drivers.driver import Meter
from terminals.links.link import Link, LinkError
from terminals.links.trust import Trust
from terminals.links.url import Opener, parse, serial_opener
from terminals.pace import Pace, Timing
from terminals.session import OnExchange, Session, SessionError

#: (baud, parity, stop bits) tried in the order of what is met most, when the address names none: DL/T 645-2007's and 1997's, those of
#: newer meters and of Modbus meters.
SETTINGS: Final = (
    (2400, "E", 1),
    (9600, "E", 1),
    (1200, "E", 1),
    (4800, "E", 1),
    (9600, "N", 1),
    (2400, "N", 1),
    (9600, "N", 2),
)
#: Where every IEC 62056-21 optical port begins; parity is put into the characters themselves (7E1 is 8N1 with the parity in bit 7).
OPTICAL: Final = (300, "N", 1)
#: Seconds for an answer while several settings are tried in turn: on a line of its own a DL/T 645 meter begins within half a second (Td),
#: and 20 bytes at 1200 bit/s take 0.2 s more.
SOON: Final = 1.5


@dataclass(frozen=True, slots=True)
class Target:
    """Who is meant. All may be empty: then whoever answers.

    terminal   address of a terminal on the line; point  the meter's number in it
    passwords  to try where a protocol wants one
    """

    address: str = ""
    terminal: str = ""
    point: int = 0
    passwords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """Somebody answered."""

    candidate: Candidate
    meter: Meter
    session: Session
    link: Link


@dataclass(frozen=True, slots=True)
class Failure:
    """Nobody did, or not so that we can go on."""

    cause: Cause
    detail: Words


#: Ends the search: somebody understood us, or the line is gone, and other settings and protocols would only disturb.
_LAST: Final = (Cause.UNREACHED, Cause.NEEDS, Cause.LOCKING, Cause.REFUSED, Cause.LOST, Cause.DEPARTED)

#: Told what is tried next, for a person who waits.
Progress = Callable[[Words], None]


class Search:
    """One search as it proceeds. `notes` are what a person must be told of it, whatever came of it."""

    def __init__(
        self,
        wire: Wire,
        target: Target,
        candidates: Sequence[Candidate],
        lockout: Lockout,
        zone: ZoneInfo,
        timing: Timing,
        note: OnExchange,
        progress: Progress,
    ) -> None:
        self.notes: list[Words] = []
        self.opened: Link | None = None
        self.connected = 0.0
        self._wire = wire
        self._target = target
        self._candidates = [c for c in candidates if c.behind == bool(target.terminal)]
        self._lockout = lockout
        self._zone = zone
        self._timing = timing
        self._note = note
        self._progress = progress
        self._patience = timing
        self._heard = b""
        self._echoed = self._answered = self._exposed = False

    async def run(self, openers: Sequence[Opener], connect_timeout: float) -> Found | Failure:
        """Try the settings until somebody answers. What fails is told of the last ones tried, unless others told more."""
        worst = Failure(Cause.SILENT, Words("nothing was tried", "未做任何尝试"))
        if len(openers) > 1:
            first = min(self._timing.first, SOON)
            self._patience = replace(
                self._timing, first=first, floor=min(self._timing.floor, first), attempts=1
            )
        for opener in openers:
            outcome = await self._with(opener, connect_timeout)
            if isinstance(outcome, Found):
                return outcome
            if outcome.cause in _LAST and outcome.cause is not Cause.LOST:
                return outcome
            if worst.cause in (Cause.SILENT, Cause.CANNOT_OPEN) or outcome.cause is Cause.ECHO:
                worst = outcome
        return self._spoken(worst)

    async def _with(self, opener: Opener, connect_timeout: float) -> Found | Failure:
        """One setting; once more with the echo taken out if there turns out to be one."""
        if opener.port is not None:
            self._progress(Words(f"trying {opener.url}", f"正在尝试 {opener.url}"))
        began = self._wire.at
        try:
            link = await self._wire.open(opener, connect_timeout)
        except LinkError as error:
            return Failure(Cause.CANNOT_OPEN, both(str(error)))
        self.opened, self.connected = link, self._wire.at - began
        self._echoed = self._answered = False
        outcome = await self._identify(opener, connect_timeout)
        link = self.opened
        again = _with_echo(opener) if self._echoed else None
        if again is not None:
            await link.close()
            if _ECHO not in self.notes:
                self.notes.append(_ECHO)
            without = await self._with(again, connect_timeout)
            silent = isinstance(without, Failure) and without.cause is Cause.SILENT
            return Failure(Cause.ECHO, _ECHO_ONLY) if silent else without
        if isinstance(outcome, Failure):
            await link.close()
        return outcome

    async def _identify(self, opener: Opener, connect_timeout: float) -> Found | Failure:
        """Find the protocol and the address that answer on the open link."""
        worst = Failure(Cause.SILENT, Words("no protocol fits this line", "该链路无适用规约"))
        line, address = _line_of(opener), self._target.address
        fitting = [
            c for c in self._candidates if c.fits(line) and (not address or re.fullmatch(c.shape, address))
        ]
        for number, candidate in enumerate(fitting):
            self._progress(Words(f"trying {candidate.name}", f"正在尝试规约 {candidate.name}"))
            try:
                link = await self._clean(opener, connect_timeout, candidate, first=number == 0)
                attempts = self._patience.attempts if number == 0 else 1
                outcome = await self._candidate(link, candidate, attempts)
            except Misuse:
                continue  # this protocol has no such address
            except (SessionError, ProtocolError, LinkError, NoBinaryMode) as error:
                outcome = Failure(cause_of(error), told(error))
            if isinstance(outcome, Found) or outcome.cause in _LAST:
                return outcome
            if self._echoed and line is Line.SERIAL:
                break  # everything that follows would be muddled by it
            if outcome.cause is not Cause.SILENT or worst.cause is Cause.SILENT:
                worst = outcome
        if self._echoed and not self._answered:
            return Failure(Cause.ECHO, _ECHO_ONLY)
        return worst

    async def _clean(self, opener: Opener, timeout: float, candidate: Candidate, *, first: bool) -> Link:
        """The link, or a new one: who frames TCP by lengths waits for ever behind another protocol's bytes."""
        assert self.opened is not None
        if candidate.line is Line.STREAM and not first:
            await self.opened.close()
            self.opened = await self._wire.open(opener, timeout)
        return self.opened

    async def _candidate(self, link: Link, candidate: Candidate, attempts: int) -> Found | Failure:
        if candidate.line is Line.OPTICAL and await wake(link, self._note) is None:
            return Failure(
                Cause.SILENT, Words("no meter wakes up at 300 bit/s", "300 bit/s 下电表无唤醒应答")
            )
        address = self._target.address
        if not address and candidate.find is not None:
            try:
                address = await self._ask_address(link, candidate, attempts)
            except Refused:
                if candidate.needs is None:
                    raise
            if candidate.needs is not None:
                return Failure(Cause.NEEDS, candidate.needs)
        last: Failure | None = None
        for meter in self._meters(candidate, address):
            secret = meter.secrets.get(candidate.secret, "")
            if secret and not self._lockout.may_try(candidate.name):
                return Failure(Cause.LOCKING, self._lockout.words(candidate.name))
            self._exposed = False
            try:
                found = await self._try(link, candidate, meter, attempts)
            except Refused as error:
                last = Failure(Cause.REFUSED, told(error))
                if secret:
                    self._lockout.wrong(candidate.name)
                continue
            except (SessionError, LinkError):
                if self._exposed:  # it may have been heard and counted, though no answer came
                    self._lockout.wrong(candidate.name)
                raise
            self._tell_tried(candidate)
            return found
        if last is not None:
            self._tell_tried(candidate)
        return last or Failure(
            Cause.SILENT, Words(f"{candidate.name}: no address to try", f"{candidate.name}：无可用地址")
        )

    def _tell_tried(self, candidate: Candidate) -> None:
        if self._lockout.tried.get(candidate.name):
            self.notes.append(self._lockout.words(candidate.name))

    async def _ask_address(self, link: Link, candidate: Candidate, attempts: int) -> str:
        assert candidate.find is not None
        exchange, request = candidate.find()
        session = Session(link, exchange, self._patience, on_exchange=self._listen)
        return candidate.found(await session.request(request, attempts=attempts))

    def _meters(self, candidate: Candidate, address: str) -> Iterator[Meter]:
        target = self._target
        terminal = target.terminal if candidate.behind else ""
        point = max(target.point, 1) if candidate.behind else 0  # frames are passed on to any point
        if candidate.name == "dlt698":  # the device itself, be it terminal or meter, is its own terminal
            terminal, address = terminal or address, address or terminal
        chosen = (address,) if address or candidate.behind else candidate.addresses
        passwords = target.passwords if candidate.secret else ()
        for one in chosen:
            for password in passwords or ("",):
                secrets = {candidate.secret: password} if password else {}
                yield Meter(0, one, self._zone, phases=3, secrets=secrets, terminal=terminal, point=point)

    async def _try(self, link: Link, candidate: Candidate, meter: Meter, attempts: int) -> Found:
        """Open the session and ask for the clock, which every meter has: an answer proves the address. A password goes out once."""
        session = Session(link, candidate.driver.exchange(meter), self._patience, on_exchange=self._listen)
        await session.run(candidate.driver.open(meter), attempts=1 if meter.secrets else attempts)
        try:
            await session.run(candidate.probe.clock(meter), attempts=attempts)
        except Misuse:
            raise  # nothing was asked: no meter of this protocol has such an address
        except ProtocolError as error:
            if cause_of(error) is Cause.UNREACHED:  # a terminal that brought nothing of the meter
                raise
        session.pace = Pace(self._timing)
        return Found(candidate, meter, session, link)

    def _listen(self, sent: bytes, received: bytes, seconds: float) -> None:
        if received.startswith(sent) and sent:
            self._echoed = True
            self._answered |= len(received) > len(sent)
        elif received:
            self._answered = True
        self._exposed |= any(password.encode() in sent for password in self._target.passwords if password)
        self._heard = (self._heard + received)[-MOST:]
        self._note(sent, received, seconds)

    def _spoken(self, failure: Failure) -> Failure:
        """A terminal that spoke by itself explains why no meter answered."""
        if self._target.terminal:
            return failure
        others = speakers(self._heard)
        return Failure(Cause.NEEDS, _named(others[0])) if others else failure


_ECHO: Final = Words(
    "RS-485 echo: the adapter returns what we send (its receiver stays on); the copy is taken out, nothing need be done",
    "RS-485 自发自收（回显）：转换器收到自己发出的字节（接收未关断）；程序已剔除，不影响使用",
)
_ECHO_ONLY: Final = Words("only our own bytes come back (echo)", "只收到自己发出的字节（自发自收）")


def _named(speaker: Speaker) -> Words:
    return Words(
        f"a {speaker.protocol} terminal with address {speaker.address} speaks here by itself; "
        f"ask it: --terminal {speaker.address}, with --address for a meter behind it",
        f"线上有 {speaker.protocol} 终端主动上报，终端地址 {speaker.address}；请加 --terminal {speaker.address}，查其下电表再加 --address",
    )


def openers_of(url: str, trust: Trust | None = None) -> list[Opener]:
    """The link, or for a serial port that names no settings the usual ones in turn. BadAddress."""
    opener = parse(url, trust)
    options = dict(parse_qsl(urlsplit(url).query))
    if opener.port is None or "baud" in options or "parity" in options:
        return [opener]
    return [
        serial_opener(replace(opener.port, baud=baud, parity=parity, stop_bits=stop))
        for baud, parity, stop in (*SETTINGS, OPTICAL)
    ]


def _line_of(opener: Opener) -> Line:
    if opener.port is None:
        return Line.STREAM
    return Line.OPTICAL if opener.port.baud == OPTICAL[0] else Line.SERIAL


def _with_echo(opener: Opener) -> Opener | None:
    """The same port with its echo taken out; None where that is not ours to do."""
    if opener.port is None or opener.port.echo:
        return None
    return serial_opener(replace(opener.port, echo=True))
