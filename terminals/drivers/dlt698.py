"""DL/T 698.45 terminals: what they have collected from the meters behind them, and those meters through them.

Readings come from the terminal's record table, by meter and time. That the terminal lacks a record proves nothing about the meter,
so nothing is ever `absent` here: a gap stays open until the terminal has forgotten it. Clock and relay of a meter are its own:
DL/T 645-2007 through the terminal (PROXY, transparent forwarding).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protocols.dlt645 import security
from protocols.dlt698 import bulk, clock
from protocols.dlt698.apdu import RecordResult, Reply, Result, Target
from protocols.dlt698.bulk import Records
from protocols.dlt698.exchange import Master
from protocols.dlt698.frame import Address, tsa
from protocols.dlt698.requests import (
    GetList,
    GetRecords,
    ProxyFrame,
    ProxyGet,
    refusal,
)
from protocols.dlt698.values import Comdcb, Csd, Ms, Road, Rsd, Ti
from protocols.errors import FrameError, Misuse
from protocols.localtime import Times, from_local, local_fields
from protocols.reading import (
    REGISTER_QUANTITIES,
    SLOT_QUANTITIES,
    Column,
    Reads,
    concatenate,
    empty_column,
    no_reads,
)
from terminals.drivers import events698, rounds698, tables698
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
from terminals.drivers.station698 import Station698
from terminals.drivers.through import through

#: Records of all tasks (6012, attribute 3); columns: target server, storage time; in a ROAD, the time of the freeze.
TASK_RECORDS: Final = 0x60120300
SERVER: Final = 0x202A0200
STORED: Final = 0x60420200
FROZEN: Final = 0x20210200
#: What `registers` asks for: import and export by tariff, voltages, currents, active and reactive power.
PRESENT: Final = (0x00100200, 0x00200200, 0x20000200, 0x20010200, 0x20040200, 0x20050200)

#: Points this many steps apart still share a request: the rows between cost less than another question.
BRIDGE: Final = 4
#: How long the range is open behind its last point: whether its end belongs to it is said nowhere, a minute later nothing is stored.
BEHIND: Final = np.timedelta64(1, "m")
#: of a reading that is not kept
NOBODYS: Final = np.datetime64(0, "us")
NEVER: Final = np.empty(0, "datetime64[us]")

#: Seconds that the terminal may take with one meter, and milliseconds between two bytes of its answer: what a published frame asks for
#: on a serial line. Over a power-line carrier 10 s is several hops there and back.
METER_SECONDS: Final = 10
BYTE_MS: Final = 10
#: 2400 baud, even, 8 data bits, 1 stop bit: the line of a DL/T 645-2007 meter; a terminal ignores it where the port is a carrier.
METER_LINE: Final = Comdcb(3, 2, 8, 1, 0)
#: The first RS-485 port (F201), as in published frames. F2090201 would be the power-line carrier; a meter's secret `port` says so.
METER_PORT: Final = 0xF2010201


@dataclass(frozen=True, slots=True)
class Scheme:
    """What a terminal's collection scheme stores for one of our tasks, and how it is asked for.

    freeze   the freeze object whose columns the records carry (a ROAD)
    columns  those columns, beside the time of the freeze
    every    TI of the selector; 0 of them: every record in the range
    earlier  how long before the first point the range begins
    step     between two points;  most: points in one request
    storage  choice of storage time (6014): places records without a time of the freeze. None: those are left alone
    """

    freeze: int
    columns: tuple[int, ...]
    every: Ti
    earlier: np.timedelta64
    step: np.timedelta64
    most: int
    storage: int | None = None

    def asked(self) -> tuple[Csd, ...]:
        """The columns of a request."""
        return (SERVER, STORED, Road(self.freeze, (FROZEN, *self.columns)))


_NONE, _DAY = np.timedelta64(0, "us"), np.timedelta64(1, "D")
#: No public source says what a utility's schemes store, so these are defaults: the columns and selectors of published requests. Nor
#: is it said what a storage time stands for: day and month are asked for from a day before the midnight that closes them, so that the
#: record is found whichever of the midnight, 23:59 or 00:00 of the day before the scheme prints, and the time of the freeze tells whose it is.
CURVE: Final = Scheme(
    0x50020200,
    (0x00100201, 0x00200201, 0x20000200, 0x20010200, 0x20040200, 0x20050200),
    Ti(1, 15),
    _NONE,
    np.timedelta64(15, "m"),
    96,
)
DAY: Final = Scheme(0x50040200, (0x00100200, 0x00200200), Ti(0, 0), _DAY, _DAY, 31)
MONTH: Final = Scheme(0x50060200, (0x00100200, 0x00200200), Ti(0, 0), _DAY, 31 * _DAY, 12)


class Dlt698Driver:
    """terminals.drivers.driver.Driver for meters behind a DL/T 698.45 terminal, and for the terminal's own metering.

    `Meter.terminal` is the terminal's address; '' is whoever is alone on the line. Where it is `Meter.address` too, the terminal itself
    is meant. `Meter.secrets`: those of DL/T 645; `terminal_password` for a CONNECT (without it the pre-established connection is used);
    `port`, 8 hex digits, where the meter hangs.

    curve_kept, freezes_kept, months_kept   how long the terminal keeps records: its schemes decide, so these are cautious defaults
    alarm_minutes              the terminal warns so long before a round trips
    machine                    as in Dlt645Driver
    """

    name = "dlt698"
    events_of: EventsOf = "meter"
    clock_ways = frozenset((ClockWay.BROADCAST, ClockWay.WRITE))

    def __init__(
        self,
        *,
        curve: Scheme = CURVE,
        day: Scheme = DAY,
        month: Scheme = MONTH,
        curve_kept: dt.timedelta = dt.timedelta(days=10),
        freezes_kept: dt.timedelta = dt.timedelta(days=31),
        months_kept: dt.timedelta = dt.timedelta(days=366),
        alarm_minutes: int = ALARM_MINUTES,
        machine: security.CipherMachine | None = None,
    ) -> None:
        self.retention = Retention(curve_kept, freezes_kept, months_kept)
        self._curve, self._day, self._month = curve, day, month
        self._alarm = alarm_minutes
        self._meters = Dlt645Driver(wakeup=0, machine=machine)
        #: the terminal itself
        self.station = Station698()
        self.behind: Driver | None = self._meters

    def known(self, meter: Meter) -> str:
        return ""  # every answer names its columns and its meter

    def recall(self, meter: Meter, known: str) -> None:
        if known:
            raise ValueError(f"DL/T 698.45 keeps nothing of a meter, and this was kept: {known[:60]!r}")

    def exchange(self, meter: Meter) -> Master:
        """Misuse: the terminal's address has no whole bytes."""
        return self.station.exchange(meter)

    def open(self, meter: Meter) -> Script[None]:
        """CONNECT with the terminal's password, where it has one. Refused: it is wrong."""
        yield from self.station.open(meter)

    def close(self, meter: Meter) -> Script[None]:
        yield from self.station.close(meter)

    # --- what the terminal has collected ---

    def curve(self, meter: Meter, slots: Times) -> Script[Outcome]:
        """Minute freezes (5002) from the task records."""
        return (yield from self._collected(meter, self._curve, slots, SLOT_QUANTITIES))

    def day_freeze(self, meter: Meter, midnights: Times, now: np.datetime64) -> Script[Outcome]:
        """Day freezes (5004) from the task records."""
        return (yield from self._collected(meter, self._day, midnights, REGISTER_QUANTITIES))

    def month_freeze(self, meter: Meter, midnights: Times, now: np.datetime64) -> Script[Outcome]:
        """Month freezes (5006) at the midnights that close months."""
        return (yield from self._collected(meter, self._month, midnights, REGISTER_QUANTITIES))

    def _collected(
        self, meter: Meter, scheme: Scheme, points: Times, codes: Sequence[str]
    ) -> Script[Outcome]:
        points = np.unique(points.astype("datetime64[us]"))
        parts: list[Reads] = []
        for run in _runs(points, scheme):
            request = GetRecords(TASK_RECORDS, _selector(meter, scheme, run), scheme.asked(), raw=True)
            answers: tuple[bytes, ...] = yield request
            found, errors = bulk.decode_many(answers)
            for error in errors.values():
                raise error
            parts += [_placed(records, meter, scheme, codes) for records in found]
        return Outcome(_best(concatenate(parts), points, codes), NEVER)

    # --- the present ---

    def registers(self, meter: Meter, now: np.datetime64) -> Script[Reads]:
        """PROXY GET of the meter, or GET of the terminal itself. Refused: not one value came."""
        if _itself(meter):
            results: tuple[Result, ...] = yield GetList(PRESENT)
        else:
            target = Target(_tsa(meter), METER_SECONDS, PRESENT)
            replies: tuple[Reply, ...] = yield ProxyGet(METER_SECONDS, (target,))
            results = next((reply.items for reply in replies if reply.tsa == target.tsa), ())
        given = [result for result in results if result.data is not None and result.oad in PRESENT]
        if not given:
            if results:
                raise refusal(f"get {results[0].oad:08X} of {meter.address}", results[0].dar)
            raise FrameError(f"registers: the terminal's answer is not about {meter.address}")
        row = tuple(result.data for result in given if result.data is not None)
        record = RecordResult(TASK_RECORDS, tuple(result.oad for result in given), rows=(row,))
        columns = bulk.quantity_columns(bulk.columns_of(record))
        return Reads(np.array([meter.key]), np.array([now], "datetime64[us]"), columns)

    def clock(self, meter: Meter) -> Script[np.datetime64]:
        """The meter's own clock, through the terminal: that is the one which ends a relay command."""
        if _itself(meter):
            return (yield from self.station.clock(meter))
        return (yield from self.through(meter, self._meters.clock(meter)))

    def set_clock(self, meter: Meter, now: np.datetime64) -> Script[None]:
        """As of DL/T 645: a broadcast on the meter's port, small corrections only, and nobody answers."""
        if _itself(meter):
            yield from self.station.set_clock(meter, now)
        else:
            yield from self.through(meter, self._meters.set_clock(meter, now))

    def write_clock(self, meter: Meter, now: np.datetime64) -> Script[None]:
        """As of DL/T 645, to this meter alone; of the terminal itself a SET."""
        if _itself(meter):
            yield from self.station.set_clock(meter, now)
        else:
            yield from self.through(meter, self._meters.write_clock(meter, now))

    # --- events ---

    def events(self, meter: Meter, since: np.datetime64, now: np.datetime64) -> Script[tuple[Happening, ...]]:
        """The meter's own logs through the terminal; of the terminal itself the records of its event objects."""
        if _itself(meter):
            return (yield from events698.events(since, meter.zone))
        return (yield from self.through(meter, self._meters.events(meter, since, now)))

    def news(self, meter: Meter) -> News:
        """Reports that were acknowledged, and bit ACD of its answers."""
        return self.station.ears.news(meter.terminal)

    # --- hours and prices ---

    def tables(self, meter: Meter, keys: Collection[str] | None = None) -> Script[dict[str, Any]]:
        """Of DL/T 645, through the terminal; of the terminal's own metering its objects 4008-401B."""
        if _itself(meter):
            return (yield from tables698.read(keys))
        return (yield from self.through(meter, self._meters.tables(meter, keys)))

    def write_table(self, meter: Meter, key: str, value: Any, held: Mapping[str, Any]) -> Script[None]:
        """The same; the terminal's own by SET, with what CONNECT has allowed."""
        if _itself(meter):
            yield from tables698.write(key, value)
        else:
            yield from self.through(meter, self._meters.write_table(meter, key, value, held))

    # --- relay ---

    def relay_clock(self, meter: Meter) -> Script[np.datetime64]:
        """Who judges the end of a command: the terminal where its rounds cut the meter off, else the meter."""
        return self.station.clock(meter) if rounds_of(meter.switch) else self.clock(meter)

    def relay(self, meter: Meter, action: RelayAction, expires: np.datetime64) -> Script[RelayAnswer]:
        """1CH of DL/T 645 through the terminal; or its rounds, as rounds698. NotReached: what became of it is unknown. Misuse: the terminal's own
        metering, of which the archive names no round."""
        mine = rounds_of(meter.switch)
        if not mine:
            _behind(meter)
            return (yield from self.through(meter, self._meters.relay(meter, action, expires)))
        until = yield from term(self.station.clock(meter), action, expires)
        return (yield from rounds698.command(meter, mine, action, until, self._alarm))

    def relay_state(self, meter: Meter) -> Script[RelayState]:
        """The meter's own run status word and power, through the terminal; or of rounds what the terminal says, and that power."""
        mine = rounds_of(meter.switch)
        if not mine:
            _behind(meter)
            return (yield from self.through(meter, self._meters.relay_state(meter)))
        own = _itself(meter)
        load = yield from reached(
            self._power(meter) if own else self.through(meter, self._meters.power(meter))
        )
        return (yield from rounds698.seen(meter, mine, load))

    def _power(self, meter: Meter) -> Script[float]:
        """kW of the terminal's own metering."""
        reads = yield from self.registers(meter, NOBODYS)
        return float(reads.columns["active_power"][0]) if "active_power" in reads.columns else np.nan

    def through(self, meter: Meter, script: Script[T]) -> Script[T]:
        """Of DL/T 645, frame by frame inside PROXY requests. Misuse: the terminal itself has no such line to itself."""
        _behind(meter)
        port = _port(meter)

        def carry(frame: bytes) -> ProxyFrame:
            return ProxyFrame(port, METER_LINE, METER_SECONDS, BYTE_MS, frame)

        return (yield from through(script, self._meters.exchange(meter), carry))


# --- whom ---


def _tsa(meter: Meter) -> bytes:
    return tsa(Address(meter.address))


def _itself(meter: Meter) -> bool:
    return meter.address == meter.terminal


def _behind(meter: Meter) -> None:
    if _itself(meter):
        raise Misuse(f"relay: {meter.address} is the terminal itself; only meters behind it are switched")


def _port(meter: Meter) -> int:
    text = meter.secrets.get("port", f"{METER_PORT:08X}")
    try:
        return int(text, 16)
    except ValueError:
        raise Misuse(f"port: {text!r} is no OAD of 8 hex digits") from None


# --- what of the records is wanted ---


def _runs(points: Times, scheme: Scheme) -> Iterator[Times]:
    """Ascending points cut where too many in a row are not wanted, and after `most`."""
    cuts = np.flatnonzero(np.diff(points) > (BRIDGE + 1) * scheme.step) + 1
    for part in np.split(points, cuts):
        for begin in range(0, len(part), scheme.most):
            yield part[begin : begin + scheme.most]


def _selector(meter: Meter, scheme: Scheme, run: Times) -> Rsd:
    """Selector 7: storage times from .. until, of one meter."""
    first, last = _local(run[[0, -1]], meter)
    return Rsd(
        7,
        time=clock.encode_time_s(first - scheme.earlier),
        until=clock.encode_time_s(last + BEHIND),
        every=scheme.every,
        meters=Ms(3, (_tsa(meter),)),
    )


def _placed(records: Records, meter: Meter, scheme: Scheme, codes: Sequence[str]) -> Reads:
    """The records of this meter that have a time, at the instants they are of."""
    local = _times(records, scheme)
    rows = np.flatnonzero(~np.isnat(local) & _of(records, _tsa(meter)))
    found: Mapping[str, Column] = bulk.quantity_columns(records)
    columns = {code: found.get(code, empty_column(code, len(records)))[rows] for code in codes}
    return Reads(np.full(len(rows), meter.key, np.int64), from_local(local[rows], meter.zone), columns)


def _times(records: Records, scheme: Scheme) -> Times:
    """Naive local time of each record, NaT where it has none: of the freeze, else by the scheme's storage time, if that is known."""
    local = np.full(len(records), "NaT", "datetime64[us]")
    for cell in records.cells:
        if len(cell.leaves) != 1:
            continue
        if cell.oad == FROZEN:
            own = bulk.civil(cell.leaves[0])[0]
            local = np.where(np.isnat(own), local, own)
        elif cell.oad == STORED and scheme.storage is not None:
            stored = bulk.slots(bulk.civil(cell.leaves[0])[0], scheme.storage)
            local = np.where(np.isnat(local), stored, local)
    return local


def _of(records: Records, server: bytes) -> NDArray[np.bool_]:
    """bool[n]: the record is about this server; a record that does not say whose it is belongs to nobody."""
    for cell in records.cells:
        if cell.oad == SERVER and len(cell.leaves) == 1:
            leaf = cell.leaves[0]
            if leaf.values.ndim == 2 and leaf.values.shape[1] == len(server):
                same = (leaf.values == np.frombuffer(server, np.uint8)).all(axis=1)
                return np.asarray(same & leaf.present)
    return np.zeros(len(records), np.bool_)


def _best(reads: Reads, points: Times, codes: Sequence[str]) -> Reads:
    """One row a point, of several tasks the one that has the register; a row that holds nothing is none."""
    if not len(reads):
        return no_reads()
    filled = np.logical_or.reduce([reads.valid(code) for code in codes])
    reads = reads.take(filled & np.isin(reads.time, points))
    reads = reads.take(np.lexsort((~reads.valid("active_import"), reads.time)))
    return reads.take(np.unique(reads.time, return_index=True)[1])


def _local(times: Times, meter: Meter) -> Times:
    return local_fields(times, meter.zone)
