"""DL/T 645-1997 meters: present registers and instants, and the clock.

The edition has no load record that public sources lay out and no daily freeze, so such a meter is *sampled*: a quarter-hour and a
midnight are read when they are, or never. It has no relay.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

import numpy as np

from protocols.dlt645.edition1997.exchange import Master, Read, ReadAnswer, SetTimeBroadcast
from protocols.dlt645.edition1997.values import decode, quantity_values
from protocols.errors import FrameError, Misuse, Refused
from protocols.localtime import from_local, local_fields
from protocols.reading import Reads, Times, empty_column, no_reads
from terminals.drivers.driver import (
    ClockWay,
    Meter,
    Outcome,
    RelayAction,
    RelayAnswer,
    RelayState,
    Retention,
    Script,
)
from terminals.drivers.without import NoEvents, NoSession, NoTables, NothingBehind

DATE: Final = 0xC010
TIME: Final = 0xC011
#: Present values: each block, and the single items where a meter knows no blocks.
PRESENT: Final = (
    (0x901F, (0x9010,)),
    (0x902F, (0x9020,)),
    (0xB61F, (0xB611, 0xB612, 0xB613)),
    (0xB62F, (0xB621, 0xB622, 0xB623)),
    (0xB63F, (0xB630,)),
    (0xB640, ()),
)
#: As of Modbus meters, which remember nothing either.
TOLERANCE: Final = dt.timedelta(seconds=60)
#: `code` of a Refused that this driver decides: the edition has no such thing.
NOT_POSSIBLE: Final = -1


class Dlt645Driver1997(NoSession, NothingBehind, NoEvents, NoTables):
    """terminals.drivers.driver.Driver for DL/T 645-1997. `tolerance`: how late a point may be read and still bear its name."""

    name = "dlt645-1997"
    clock_ways = frozenset({ClockWay.BROADCAST})

    def __init__(self, *, wakeup: int = 4, tolerance: dt.timedelta = TOLERANCE) -> None:
        self.retention = Retention(tolerance, tolerance, tolerance, sampled=True)
        self._wakeup = wakeup

    def known(self, meter: Meter) -> str:
        return ""  # every answer explains itself

    def recall(self, meter: Meter, known: str) -> None:
        if known:
            raise ValueError(f"DL/T 645 keeps nothing of a meter, and this was kept: {known[:60]!r}")

    def exchange(self, meter: Meter) -> Master:
        return Master(self._wakeup)

    def curve(self, meter: Meter, slots: Times) -> Script[Outcome]:
        """The quarter-hour that ends now. Misuse: more than one."""
        return (yield from self._sample(meter, slots))

    def day_freeze(self, meter: Meter, midnights: Times, now: np.datetime64) -> Script[Outcome]:
        """The registers of a midnight that is now."""
        return (yield from self._sample(meter, midnights))

    def month_freeze(self, meter: Meter, midnights: Times, now: np.datetime64) -> Script[Outcome]:
        """The registers of a midnight that closes a month and is now."""
        return (yield from self._sample(meter, midnights))

    def _sample(self, meter: Meter, points: Times) -> Script[Outcome]:
        if len(points) > 1:
            raise Misuse(f"{len(points)} points asked of a meter that remembers none: one, when it is now")
        if not len(points):
            return Outcome(no_reads(), points)
        return Outcome((yield from self.registers(meter, points[0])), points[:0])

    def registers(self, meter: Meter, now: np.datetime64) -> Script[Reads]:
        """What the meter has of PRESENT. Reactive powers come with their total only."""
        found: dict[str, int | float | np.datetime64] = {}
        for block, singles in PRESENT:
            answer = yield from read_or_none(meter, block)
            if answer is not None:
                found |= quantity_values(block, answer)
                continue
            for di in singles:
                answer = yield from read_or_none(meter, di)
                if answer is not None:
                    found |= quantity_values(di, answer)
        columns = {}
        for code, value in found.items():
            columns[code] = empty_column(code, 1)
            columns[code][0] = value
        if not columns:
            return no_reads()
        return Reads(np.array([meter.key]), np.array([now], "datetime64[us]"), columns)

    def clock(self, meter: Meter) -> Script[np.datetime64]:
        """Date and time are two reads, and midnight may fall between them: then the date is read again."""
        date: ReadAnswer = yield Read(meter.address, DATE)
        time: ReadAnswer = yield Read(meter.address, TIME)
        clock = decode(TIME, time.data).values[0].value
        if isinstance(clock, dt.time) and clock < dt.time(0, 5):
            date = yield Read(meter.address, DATE)
        day = decode(DATE, date.data).values[0].value
        if not isinstance(day, dt.date) or not isinstance(clock, dt.time):
            raise FrameError("clock: the meter gives no date or time")
        local = np.array([dt.datetime.combine(day, clock)], "datetime64[us]")
        return np.datetime64(from_local(local, meter.zone)[0], "us")

    def set_clock(self, meter: Meter, now: np.datetime64) -> Script[None]:
        """Broadcast 08H: nobody answers, all meters on the line hear it; read the clock back to know."""
        yield SetTimeBroadcast(local_fields(np.array([now]), meter.zone)[0])

    def write_clock(self, meter: Meter, now: np.datetime64) -> Script[None]:
        """Misuse: no source has the password that a write to C010 and C011 would need."""
        raise Misuse(f"the clock of {meter.address} can be told by broadcast only")
        yield

    def relay_clock(self, meter: Meter) -> Script[np.datetime64]:
        """Its own."""
        return self.clock(meter)

    def relay(self, meter: Meter, action: RelayAction, expires: np.datetime64) -> Script[RelayAnswer]:
        raise _no_relay()
        yield

    def relay_state(self, meter: Meter) -> Script[RelayState]:
        raise _no_relay()
        yield


def _no_relay() -> Refused:
    return Refused("DL/T 645-1997 has no relay", code=NOT_POSSIBLE)


def read_or_none(meter: Meter, di: int) -> Script[bytes | None]:
    """The data, or None where the meter says it has none. Any other refusal goes up."""
    try:
        answer: ReadAnswer = yield Read(meter.address, di)
    except Refused as refused:
        if not refused.absent:
            raise
        return None
    return answer.data
