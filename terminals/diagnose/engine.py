"""Takes the steps: link, protocol and address, clock, registers, voltages, relay.

Reads only; changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import numpy as np

from protocols.errors import Misuse, ProtocolError, Refused
from protocols.exchange import Exchange
from protocols.quantity import quantities
from protocols.reading import Reads
from terminals.diagnose.diagnosis import NAMES, Cause, Diagnosis, State, Step, Trip, Words
from terminals.diagnose.verdict import verdict
from terminals.drivers.driver import Driver, Meter, RelayState
from terminals.links.link import Link, LinkError
from terminals.links.url import Opener, parse, serial_opener
from terminals.pace import Timing
from terminals.session import Garbled, Session, SessionError

T = TypeVar("T")

#: Somebody stands at the meter and waits: two attempts, then the next idea.
TIMING: Final = Timing(first=3.0, floor=1.5, ceiling=15.0, attempts=2)
#: Passwords tried, the right one included. DL/T 645 and most DLMS meters lock at the third to fifth wrong
#: one.
PASSWORDS: Final = 2
#: Beyond this a clock has to be set. DL/T 645's broadcast corrects at most 5 minutes.
CLOCK_LIMIT: Final = 300.0
#: Round trips kept of one step; a step has a dozen, a search of settings more.
TRIPS: Final = 64
#: Serial settings tried, in the order of what is met most, when the address names none.
SETTINGS: Final = ((2400, "E"), (9600, "E"), (1200, "E"), (4800, "E"), (9600, "N"), (2400, "N"))

_NOT_TRIED: Final = Words("not tried", "未检查")
_VOLTAGES: Final = ("voltage_a", "voltage_b", "voltage_c")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A protocol to try.

    find       gives an exchange and the request that any single meter on the line answers with its address
    addresses  tried where the protocol has no such request
    """

    driver: Driver
    find: Callable[[], tuple[Exchange, Any]] | None = None
    addresses: tuple[str, ...] = ()


Report = Callable[[Step], None]


async def diagnose(
    url: str | Opener,
    address: str | None,
    candidates: Sequence[Candidate],
    passwords: Sequence[str],
    report: Report,
    *,
    now: Callable[[], np.datetime64],
    zone: ZoneInfo,
    timing: Timing = TIMING,
    connect_timeout: float = 10.0,
) -> Diagnosis:
    """Find out what is wrong behind `url`. BadAddress if it is none; whatever the wire does becomes a step.

    An Opener in its place is opened as it is: a tapped link, say.

    `report` is told of every step as it ends. `now` gives domain time (UTC), `zone` is the meter's civil
    time.
    """
    openers = [url] if isinstance(url, Opener) else _openers(url)
    examination = _Examination(
        openers[0].url, address, candidates, passwords[:PASSWORDS], report, now, zone, timing
    )
    try:
        await examination.run(openers, connect_timeout)
    finally:
        await examination.leave()
    return examination.diagnosis()


class _Stop(Exception):
    """There is no point in further steps."""


class _Examination:
    """One diagnosis as it proceeds."""

    def __init__(
        self,
        url: str,
        address: str | None,
        candidates: Sequence[Candidate],
        passwords: Sequence[str],
        report: Report,
        now: Callable[[], np.datetime64],
        zone: ZoneInfo,
        timing: Timing,
    ) -> None:
        self._url = url
        self._address = address
        self._candidates = candidates
        self._passwords = passwords
        self._report = report
        self._now = now
        self._zone = zone
        self._timing = timing
        self._loop_time = asyncio.get_running_loop().time
        self._begun = self._loop_time()
        self._steps: list[Step] = []
        self._trips: deque[Trip] = deque(maxlen=TRIPS)
        self._link: Link | None = None
        self._session: Session | None = None
        self._driver: Driver | None = None
        self._meter: Meter | None = None
        self._offset: float | None = None
        self._reads: Reads | None = None
        self._relay: RelayState | None = None

    async def run(self, openers: Sequence[Opener], connect_timeout: float) -> None:
        with contextlib.suppress(_Stop):
            await self._reach(openers, connect_timeout)
            await self._clock()
            await self._registers()
            await self._relay_state()
        done = {step.key for step in self._steps}
        for key in NAMES:
            if key not in done:
                self._end(key, State.UNKNOWN, _NOT_TRIED, Cause.NOT_TRIED)

    async def leave(self) -> None:
        """Say goodbye where the protocol has one; close the link."""
        if self._session is not None and self._driver is not None and self._meter is not None:
            # A courtesy: the diagnosis stands, whatever becomes of it.
            with contextlib.suppress(SessionError, LinkError, ProtocolError):
                await self._session.run(self._driver.close(self._meter), attempts=1)
        if self._link is not None:
            await self._link.close()

    def diagnosis(self) -> Diagnosis:
        return Diagnosis(
            url=self._link.name if self._link is not None else self._url,
            protocol=self._driver.name if self._driver else None,
            address=self._meter.address if self._meter else None,
            steps=tuple(self._steps),
            verdict=verdict(self._steps),
            clock_offset=self._offset,
            reads=self._reads,
            relay=self._relay,
        )

    # --- link, protocol, address ----------------------------------------------------------------------------

    async def _reach(self, openers: Sequence[Opener], connect_timeout: float) -> None:
        """Try the settings until a meter answers. The steps tell of the last ones tried."""
        worst = Cause.SILENT
        for opener in openers:
            last = opener is openers[-1]
            try:
                self._link = await opener.open(connect_timeout)
            except LinkError as error:
                if last and self._link is None:
                    self._end("link", State.FAILED, _both(str(error)), Cause.CANNOT_OPEN)
                    raise _Stop from None
                continue
            opened = self._loop_time() - self._begun
            cause, detail = await self._identify(self._link)
            if cause is Cause.NONE or last:
                self._end("link", State.OK, _both(self._link.name), seconds=opened)
            if cause is Cause.NONE:
                self._end("address", State.OK, detail)
                return
            if cause is not Cause.SILENT:
                worst = cause  # somebody said something: that tells more than the silence at other settings
            if not last:
                await self._link.close()
        self._end("address", State.FAILED, detail, worst)
        raise _Stop

    async def _identify(self, link: Link) -> tuple[Cause, Words]:
        """Find the protocol and the address that answer on this link."""
        worst, why = Cause.SILENT, Words("no protocol was given", "未指定规约")
        for candidate in self._candidates:
            try:
                address = self._address or await self._ask_address(link, candidate)
                for meter in self._meters(candidate, address):
                    try:
                        await self._try(link, candidate.driver, meter)
                    except Refused as error:
                        worst, why = Cause.REFUSED, _both(str(error))
                        continue
                    name = candidate.driver.name
                    return Cause.NONE, Words(
                        f"{name}, address {meter.address}", f"{name}，地址 {meter.address}"
                    )
            except Misuse:
                continue  # this protocol has no such address
            except (SessionError, ProtocolError, LinkError) as error:
                cause = _cause(error)
                if worst is not Cause.REFUSED and (cause is not Cause.SILENT or worst is Cause.SILENT):
                    worst, why = cause, _both(str(error))
                if cause is Cause.LOST:
                    break
        return worst, why

    async def _ask_address(self, link: Link, candidate: Candidate) -> str | None:
        if candidate.find is None:
            return None
        exchange, request = candidate.find()
        session = Session(link, exchange, self._timing, on_exchange=self._note)
        return str(await session.request(request))

    def _meters(self, candidate: Candidate, address: str | None) -> Iterator[Meter]:
        for chosen in (address,) if address else candidate.addresses:
            for password in self._passwords or ("",):
                secrets = {"password": password} if password else {}
                yield Meter(0, chosen, self._zone, phases=3, secrets=secrets)

    async def _try(self, link: Link, driver: Driver, meter: Meter) -> None:
        """Open the session and ask for the clock, which every meter has: an answer proves the address."""
        session = Session(link, driver.exchange(meter), self._timing, on_exchange=self._note)
        await session.run(driver.open(meter), attempts=1 if meter.secrets else None)
        try:
            await session.run(driver.clock(meter))
        except Misuse:
            raise  # nothing was asked: no meter of this protocol has such an address
        except ProtocolError:
            pass  # no, or nonsense: an answer all the same
        self._session, self._driver, self._meter = session, driver, meter

    # --- what the meter says --------------------------------------------------------------------------------

    async def _clock(self) -> None:
        driver, meter, _ = self._reached()
        clock = await self._ask("clock", driver.clock(meter))
        if clock is None:
            return
        offset = self._offset = float((clock - self._now()) / np.timedelta64(1, "s"))
        good = abs(offset) <= CLOCK_LIMIT
        shown = str(clock.astype("datetime64[s]"))
        detail = Words(
            f"{shown} UTC, {offset:+.0f} s against us", f"{shown} UTC，与本机相差 {offset:+.0f} 秒"
        )
        self._end("clock", State.OK if good else State.FAILED, detail, Cause.NONE if good else Cause.WRONG)

    async def _registers(self) -> None:
        driver, meter, _ = self._reached()
        reads = await self._ask("registers", driver.registers(meter, self._now()))
        if reads is None:
            self._end("voltages", State.UNKNOWN, _NOT_TRIED, Cause.NOT_TRIED)
            return
        self._reads = reads
        registers = [c for c in reads.columns if quantities()[c].kind == "register" and reads.valid(c).any()]
        if registers:
            self._end("registers", State.OK, _listed(reads, registers))
        else:
            self._end("registers", State.UNKNOWN, Words("the meter gives none", "电表未给出"), Cause.REFUSED)
        self._voltages(reads)

    def _voltages(self, reads: Reads) -> None:
        present = [code for code in _VOLTAGES if reads.valid(code).any()]
        if not present:
            self._end("voltages", State.UNKNOWN, Words("the meter gives none", "电表未给出"), Cause.REFUSED)
            return
        values = [float(reads.columns[code][0]) for code in present]
        # The nominal voltage is not known here (57.7, 100 or 220 V): a phase far below the others has lost
        # its supply.
        good = min(values) > 0.5 * max(values) > 0
        self._end(
            "voltages",
            State.OK if good else State.FAILED,
            _listed(reads, present),
            Cause.NONE if good else Cause.WRONG,
        )

    async def _relay_state(self) -> None:
        driver, meter, _ = self._reached()
        relay = await self._ask("relay", driver.relay_state(meter))
        if relay is None:
            return
        self._relay = relay
        en = "open, the key may close it" if relay.permitted else "open" if relay.open else "closed"
        zh = "断开（合闸允许）" if relay.permitted else "断开" if relay.open else "闭合"
        kept = (", keep-power", "，保电") if relay.keep_power else ("", "")
        load = "" if np.isnan(relay.load_kw) else f", {relay.load_kw:.3f} kW"
        detail = Words(f"{en}{kept[0]}{load}", f"{zh}{kept[1]}{load.replace(', ', '，')}")
        self._end("relay", State.OK, detail)

    def _reached(self) -> tuple[Driver, Meter, Session]:
        if self._driver is None or self._meter is None or self._session is None:
            raise _Stop
        return self._driver, self._meter, self._session

    async def _ask(self, key: str, script: Generator[Any, Any, T]) -> T | None:
        """The script's result; None when the step has ended badly. _Stop when the wire is gone."""
        session = self._reached()[2]
        try:
            return await session.run(script)
        except Refused as error:
            self._end(key, State.UNKNOWN, _both(str(error)), Cause.REFUSED)
        except LinkError as error:
            self._end(key, State.FAILED, _both(str(error)), Cause.LOST)
            raise _Stop from None
        except (SessionError, ProtocolError) as error:
            self._end(key, State.FAILED, _both(str(error)), _cause(error))
        return None

    # --- bookkeeping ----------------------------------------------------------------------------------------

    def _end(
        self, key: str, state: State, detail: Words, cause: Cause = Cause.NONE, seconds: float | None = None
    ) -> None:
        now = self._loop_time()
        taken = now - self._begun if seconds is None else seconds
        # The link has no round trips of its own: those made while looking for the meter belong to the
        # address.
        trips = () if key == "link" else tuple(self._trips)
        step = Step(key, state, detail, cause, taken, trips)
        self._begun = self._begun + taken if seconds is not None else now
        if key != "link":
            self._trips.clear()
        self._steps.append(step)
        self._report(step)

    def _note(self, sent: bytes, received: bytes, seconds: float) -> None:
        self._trips.append(Trip(self._hidden(sent), self._hidden(received), seconds))

    def _hidden(self, data: bytes) -> str:
        for password in self._passwords:
            secret = password.encode()
            if secret:
                data = data.replace(secret, b"*" * len(secret))
        return data.hex(" ").upper()


def _openers(url: str) -> list[Opener]:
    """The link, or for a serial port that names no settings the usual ones in turn."""
    opener = parse(url)
    options = dict(parse_qsl(urlsplit(url).query))
    if opener.port is None or "baud" in options or "parity" in options:
        return [opener]
    return [serial_opener(replace(opener.port, baud=baud, parity=parity)) for baud, parity in SETTINGS]


def _cause(error: Exception) -> Cause:
    if isinstance(error, Refused):
        return Cause.REFUSED
    if isinstance(error, Garbled):
        return Cause.GARBLED
    if isinstance(error, LinkError):
        return Cause.LOST
    return Cause.WRONG if isinstance(error, ProtocolError) else Cause.SILENT


def _listed(reads: Reads, codes: Sequence[str]) -> Words:
    """Values with names and units in both languages."""
    rows = [(quantities()[code], float(reads.columns[code][0]) * quantities()[code].scale) for code in codes]
    return Words(
        "; ".join(
            f"{q.name_en} {value:.4g} {q.unit}"
            if q.kind == "instant"
            else f"{q.name_en} {value:.2f} {q.unit}"
            for q, value in rows
        ),
        "；".join(
            f"{q.name_zh} {value:.4g} {q.unit}"
            if q.kind == "instant"
            else f"{q.name_zh} {value:.2f} {q.unit}"
            for q, value in rows
        ),
    )


def _both(text: str) -> Words:
    """A message that exists in one language only: the wire's and the meter's own words."""
    return Words(text, text)
