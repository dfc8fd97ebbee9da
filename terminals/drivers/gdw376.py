"""Q/GDW 376.1 terminals (集中器): what the concentrator has frozen of the meters behind it, and what it passes on to them.

Curves and freezes are the terminal's own records (AFN 0D), present values what it read last (AFN 0C). Nothing of that proves what
a *meter* has: a terminal that denies, leaves out a unit or fills it with EE has not read its meter yet, or never will, and says the
same in both cases. So nothing is ever `absent` here: a point stays owed until the terminal must have overwritten it.

Relay, read-back and the meter's clock go through the terminal to the meter (AFN 10 F1) as DL/T 645 frames; where rounds (轮次) of the terminal cut
the customer off, the terminal itself is told (AFN 05 F1, F2).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protocols.dlt645 import security
from protocols.errors import FrameError, Misuse, Refused
from protocols.gdw376.bulk import Curve, current_reads, curve_reads, freeze_reads
from protocols.gdw376.exchange import Forward, Master, Read, ReadCurve, ReadFrozen, Reply
from protocols.gdw376.frame import Address
from protocols.gdw376.items import Field, items
from protocols.gdw376.units import LAST_POINT
from protocols.gdw376.values import Unit
from protocols.localtime import Times, from_local, local_day, local_fields
from protocols.reading import (
    REGISTER_QUANTITIES,
    SLOT_QUANTITIES,
    Column,
    Reads,
    concatenate,
    empty_column,
    no_reads,
)
from terminals.drivers import events376, rounds376
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.driver import (
    ClockWay,
    Driver,
    EventsOf,
    Meter,
    Outcome,
    RelayAction,
    RelayAnswer,
    RelayState,
    Retention,
    Script,
    T,
)
from terminals.drivers.happening import Happening, News
from terminals.drivers.rounds import ALARM_MINUTES, reached, rounds_of, term
from terminals.drivers.station376 import Station376, password
from terminals.drivers.through import through
from terminals.drivers.without import NoSession

SLOT: Final = np.timedelta64(15, "m")
#: Density m of a curve: 1 is 15 minutes.
QUARTERS: Final = 1
#: Wanted slots this far apart still share a request: the points between cost less than another question.
BRIDGE: Final = 4
#: The register without which a point is none: asked first, and the rest only where it came.
FIRST: Final = "active_import"
#: AFN 0C F2 and AFN 05 F31: the terminal's clock.
#: Ports of a terminal (AFN 04 F10).
LAST_PORT: Final = 31


class Gdw376Driver(NoSession):
    """terminals.drivers.driver.Driver for Q/GDW 376.1.

    quantities           of the curves, by code; those of phases B and C are asked of three-phase meters only
    day_functions        AFN 0D of the day freeze, the forward active register first: F161 and F163 total and by tariff; older terminals
                         have F1 and F2 in their place
    month_functions      the same of the month freeze: F177 and F179; F17 and F18
    present_functions    AFN 0C of the present values, the registers first
    points_per_request   of a curve: 48 registers of 4 bytes make a frame of 219 bytes, and on radio channels 255 are allowed
    functions_per_request  in one identifier; not every terminal takes more than one
    curve_kept, freeze_kept, month_kept  what a terminal keeps is its own; no public source gives a number, so these are cautious defaults
    master               MSA, which the terminal echoes
    port                 of the terminal on which the meters hang; 31, the carrier module, by convention
    alarm_minutes        the terminal warns so long before a round trips
    meter_seconds        the terminal waits for a forwarded frame's answer, 1-127
    machine              as in Dlt645Driver, for relay commands

    Secrets of a meter that stand for its terminal: `port` as above, `terminal_password` the 16 bytes PW as hex digits (zeros without).
    """

    name = "gdw376"
    events_of: EventsOf = "terminal"
    clock_ways = frozenset((ClockWay.BROADCAST, ClockWay.WRITE))

    def __init__(
        self,
        *,
        quantities: Sequence[str] = SLOT_QUANTITIES,
        day_functions: Sequence[int] = (161, 163),
        month_functions: Sequence[int] = (177, 179),
        present_functions: Sequence[int] = (129, 131, 25),
        points_per_request: int = 48,
        functions_per_request: int = 1,
        curve_kept: dt.timedelta = dt.timedelta(days=10),
        freeze_kept: dt.timedelta = dt.timedelta(days=31),
        month_kept: dt.timedelta = dt.timedelta(days=366),
        master: int = 1,
        port: int = 31,
        meter_seconds: int = 10,
        alarm_minutes: int = ALARM_MINUTES,
        machine: security.CipherMachine | None = None,
    ) -> None:
        self.retention = Retention(curve_kept, freeze_kept, month_kept)
        self._quantities = tuple(code for code in quantities if code != FIRST)
        self._day = tuple(day_functions)
        self._month = tuple(month_functions)
        self._present = tuple(present_functions)
        self._points = points_per_request
        self._functions = functions_per_request
        self._port = port
        self._seconds = meter_seconds
        self._alarm = alarm_minutes
        self._meters = Dlt645Driver(wakeup=0, machine=machine)
        #: the terminal itself
        self.station = Station376(master=master)
        self.behind: Driver | None = self._meters

    def known(self, meter: Meter) -> str:
        return ""  # every answer explains itself

    def recall(self, meter: Meter, known: str) -> None:
        if known:
            raise ValueError(f"Q/GDW 376.1 keeps nothing of a meter, and this was kept: {known[:60]!r}")

    def exchange(self, meter: Meter) -> Master:
        """Fresh protocol state. Misuse: the archive does not say where the meter is to be found."""
        self._address(meter)
        return self.station.exchange(meter)

    # --- what the terminal has frozen ---

    def curve(self, meter: Meter, slots: Times) -> Script[Outcome]:
        """AFN 0D curves, quantity by quantity; only what was asked for is kept. Refused: the terminal denied all of it."""
        grid = _Grid(meter, _reachable(slots, meter))
        denial: Refused | None = None
        for run in _runs(grid.times, self._points):
            try:
                yield from self._run(meter, run, grid)
            except Refused as refused:
                denial = refused
        return grid.outcome(denial, SLOT_QUANTITIES)

    def _run(self, meter: Meter, run: Times, grid: _Grid) -> Script[None]:
        """One stretch of slots: the register, then whatever else goes with it. Refused: the register is denied."""
        functions = curve_functions()
        yield from self._curves(meter, run, grid, [functions[FIRST]])
        if not grid.valid(FIRST)[np.isin(grid.times, run)].any():
            return
        asked = [
            functions[code] for code in self._quantities if meter.phases == 3 or code[-2:] not in ("_b", "_c")
        ]
        for some in _chunks(asked, self._functions):
            try:
                yield from self._curves(meter, run, grid, some)
            except Refused:
                continue  # this one is not to be had; the register is

    def _curves(self, meter: Meter, run: Times, grid: _Grid, functions: Sequence[int]) -> Script[None]:
        start: dt.datetime = local_fields(run[:1], meter.zone)[0].astype(dt.datetime)
        points = int((run[-1] - run[0]) // SLOT) + 1
        reply: Reply = yield ReadCurve(
            self._address(meter), (meter.point,), tuple(functions), start, QUARTERS, points
        )
        curves = [Curve(meter.key, unit.function, unit.data) for unit in _units(reply, meter, functions)]
        for curve in curves:  # one by one: two units may begin at different times
            reads, errors = curve_reads([curve], meter.zone)
            for error in errors.values():
                raise error
            grid.take(reads)

    def day_freeze(self, meter: Meter, midnights: Times, now: np.datetime64) -> Script[Outcome]:
        """AFN 0D day freezes: Td_d = D is the register at D+1 00:00. Refused: the terminal denied all of them."""
        return (yield from self._freezes(meter, midnights, self._day, month=False))

    def month_freeze(self, meter: Meter, midnights: Times, now: np.datetime64) -> Script[Outcome]:
        """AFN 0D month freezes at the midnights that close the months."""
        return (yield from self._freezes(meter, midnights, self._month, month=True))

    def _freezes(
        self, meter: Meter, midnights: Times, functions: Sequence[int], *, month: bool
    ) -> Script[Outcome]:
        grid = _Grid(meter, np.unique(midnights.astype("datetime64[us]")))
        denial: Refused | None = None
        for midnight in grid.times:
            day = local_day(midnight, meter.zone)
            for k, some in enumerate(_chunks(functions, self._functions)):
                request = ReadFrozen(self._address(meter), (meter.point,), tuple(some), day, month)
                try:
                    reply: Reply = yield request
                except Refused as refused:
                    denial = refused
                    if k == 0:
                        break  # no register, so nothing that goes with it
                    continue
                for unit in _units(reply, meter, some):
                    reads, errors = freeze_reads(unit.function, [meter.key], [unit.data], meter.zone)
                    for error in errors.values():
                        raise error
                    grid.take(reads)
                if not grid.valid(FIRST)[grid.times == midnight].any():
                    break
        return grid.outcome(denial, REGISTER_QUANTITIES)

    # --- what the terminal read last ---

    def registers(self, meter: Meter, now: np.datetime64) -> Script[Reads]:
        """AFN 0C: a row for each time at which the terminal read the meter, which may lie hours before `now`.

        Refused: it has nothing of this meter.
        """
        parts = []
        for some in _chunks(self._present, self._functions):
            try:
                reply: Reply = yield Read(self._address(meter), (meter.point,), tuple(some))
            except Refused:
                continue
            for unit in _units(reply, meter, some):
                reads, errors = current_reads(unit.function, [meter.key], [unit.data], meter.zone)
                for error in errors.values():
                    raise error
                parts.append(reads)
        found = concatenate(parts)
        if not len(found):
            raise Refused(
                f"terminal {meter.terminal} has no present values of point {meter.point}: it has not read the meter",
                code=1,
            )
        grid = _Grid(meter, np.unique(found.time))
        grid.take(found)
        return grid.outcome(None, ()).reads

    # --- clocks ---

    def clock(self, meter: Meter) -> Script[np.datetime64]:
        """The meter's own clock, through the terminal: a relay command's end is judged by it, not by the terminal's."""
        return (yield from self.through(meter, self._meters.clock(meter)))

    def set_clock(self, meter: Meter, now: np.datetime64) -> Script[None]:
        """DL/T 645 broadcast 08H through the terminal: all meters on that port hear it and nobody answers; read the clock back."""
        yield from self.through(meter, self._meters.set_clock(meter, now))

    def write_clock(self, meter: Meter, now: np.datetime64) -> Script[None]:
        """DL/T 645 14H through the terminal, to this meter alone."""
        yield from self.through(meter, self._meters.write_clock(meter, now))

    # --- events ---

    def events(self, meter: Meter, since: np.datetime64, now: np.datetime64) -> Script[tuple[Happening, ...]]:
        """What the terminal has noted of itself and of the meters behind it (AFN 0E F1 and F2)."""
        return (yield from events376.events(self._address(meter), since, meter.zone))

    def news(self, meter: Meter) -> News:
        """Bit ACD with EC1 and EC2 in whatever it answered, and records that it sent by itself."""
        return self.station.ears.news(meter.terminal)

    # --- hours and prices ---

    def tables(self, meter: Meter, keys: Collection[str] | None = None) -> Script[dict[str, Any]]:
        """Of DL/T 645, through the terminal."""
        return (yield from self.through(meter, self._meters.tables(meter, keys)))

    def write_table(self, meter: Meter, key: str, value: Any, held: Mapping[str, Any]) -> Script[None]:
        """The same."""
        yield from self.through(meter, self._meters.write_table(meter, key, value, held))

    # --- relay ---

    def relay_clock(self, meter: Meter) -> Script[np.datetime64]:
        """Who judges the end of a command: the terminal where its rounds cut the meter off, else the meter."""
        return self.station.clock(meter) if rounds_of(meter.switch) else self.clock(meter)

    def relay(self, meter: Meter, action: RelayAction, expires: np.datetime64) -> Script[RelayAnswer]:
        """DL/T 645 1CH through the terminal, as Dlt645Driver; or its rounds, as rounds376. NotReached, FrameError: what was done is not known."""
        mine = rounds_of(meter.switch)
        if not mine:
            return (yield from self.through(meter, self._meters.relay(meter, action, expires)))
        until = yield from term(self.station.clock(meter), action, expires)
        return (yield from rounds376.command(self.station, meter, mine, action, until, self._alarm))

    def relay_state(self, meter: Meter) -> Script[RelayState]:
        """Run status word 3 and the present power, read from the meter through the terminal; or of rounds what the terminal says, and that power."""
        mine = rounds_of(meter.switch)
        if not mine:
            return (yield from self.through(meter, self._meters.relay_state(meter)))
        load = yield from reached(self.through(meter, self._meters.power(meter)))
        return (yield from rounds376.seen(self.station, meter, mine, load))

    # --- inside ---

    def through(self, meter: Meter, script: Script[T]) -> Script[T]:
        """Of DL/T 645, frame by frame inside AFN 10 F1."""
        return through(
            script, self._meters.exchange(meter), lambda frame: self._forward(meter, frame), Reply.content
        )

    def _forward(self, meter: Meter, frame: bytes) -> Forward:
        wait = 0x80 | self._seconds  # D7: the unit is a second
        return Forward(
            self._address(meter), self._port_of(meter), frame, message_timeout=wait, pw=password(meter)
        )

    def _port_of(self, meter: Meter) -> int:
        said = meter.secrets.get("port", str(self._port))
        if not said.isdecimal() or not 0 < int(said) <= LAST_PORT:
            raise Misuse(f"port of meter {meter.address}: {said!r} is no port of a terminal (1-{LAST_PORT})")
        return int(said)

    def _address(self, meter: Meter) -> Address:
        if not 0 < meter.point <= LAST_POINT:
            raise Misuse(
                f"meter {meter.address} has no point number (pn) in its terminal: the archive must give one"
            )
        return self.station.address(meter)


class _Grid:
    """What one script brings: the times that were asked for, and a column for each quantity that came."""

    def __init__(self, meter: Meter, times: Times) -> None:
        self.times = times
        self._key = meter.key
        self._columns: dict[str, Column] = {}

    def take(self, reads: Reads) -> None:
        """Keep what stands at a time of the grid; a terminal that answers with other times brings nothing."""
        if not len(self.times):
            return
        place = np.minimum(np.searchsorted(self.times, reads.time), len(self.times) - 1)
        hit = self.times[place] == reads.time
        for code, values in reads.columns.items():
            column = self._columns.setdefault(code, empty_column(code, len(self.times)))
            there = hit & reads.valid(code)
            column[place[there]] = values[there]

    def valid(self, code: str) -> NDArray[np.bool_]:
        """bool[times]: where a quantity has come."""
        return self._reads().valid(code)

    def outcome(self, denial: Refused | None, codes: Sequence[str]) -> Outcome:
        """The rows with a value, with at least the columns `codes`. `denial` is raised if there are none: it is then the reason."""
        reads = self._reads()
        filled = np.zeros(len(reads), np.bool_)
        for code in self._columns:
            filled |= reads.valid(code)
        if denial is not None and not filled.any():
            raise denial
        columns = {code: empty_column(code, len(reads)) for code in codes} | dict(reads.columns)
        return Outcome(Reads(reads.meter, reads.time, columns).take(filled), no_reads().time)

    def _reads(self) -> Reads:
        return Reads(np.full(len(self.times), self._key, np.int64), self.times, self._columns)


@cache
def curve_functions() -> dict[str, int]:
    """Quantity -> the Fn of AFN 0D whose curve it is."""
    found: dict[str, int] = {}
    for (afn, function), item in items().items():
        field = item.up[0][-1] if item.up and item.up[0] else None
        if afn == 0x0D and item.tag == "Td_c" and isinstance(field, Field) and field.quantity:
            found.setdefault(field.quantity, function)
    return found


def _units(reply: Reply, meter: Meter, functions: Sequence[int]) -> Iterator[Unit]:
    """The units that were asked for and hold something. FrameError: one of them cannot be read."""
    for unit in reply.units:
        if unit.point != meter.point or unit.function not in functions:
            continue
        if not unit.known:
            raise FrameError(f"AFN {reply.afn:02X} p{unit.point} F{unit.function}: {unit.why}")
        if not unit.empty:
            yield unit


def _reachable(slots: Times, meter: Meter) -> Times:
    """Ascending, without the second pass of a repeated hour: it has the local time of the first and cannot be asked for."""
    slots = np.unique(slots.astype("datetime64[us]"))
    return np.asarray(slots[from_local(local_fields(slots, meter.zone), meter.zone) == slots])


def _runs(slots: Times, most: int) -> Iterator[Times]:
    """Slots cut where more than BRIDGE are unasked, or after `most` points."""
    begin = 0
    for i in range(1, len(slots) + 1):
        if (
            i == len(slots)
            or slots[i] - slots[i - 1] > (BRIDGE + 1) * SLOT
            or slots[i] - slots[begin] >= most * SLOT
        ):
            yield slots[begin:i]
            begin = i


def _chunks(functions: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    """At most `most` in one request, and only such as one identifier can name: of one group of eight."""
    chunk: list[int] = []
    for function in functions:
        if chunk and (len(chunk) >= most or (function - 1) // 8 != (chunk[0] - 1) // 8):
            yield chunk
            chunk = []
        chunk.append(function)
    if chunk:
        yield chunk
