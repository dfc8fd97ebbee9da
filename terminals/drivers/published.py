"""Terminals that publish: nothing can be asked of them, and what they said is decoded here, today and again from the evidence."""

from __future__ import annotations

import datetime as dt
from typing import Final

import numpy as np

from protocols.errors import FrameError, Refused
from protocols.localtime import local_day, midnight
from protocols.published import message
from protocols.published.exchange import Listen, Listener
from protocols.reading import Reads, Times
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

#: `code` of a Refused that this driver decides: nothing is ever asked.
NOT_POSSIBLE: Final = -1


class PublishedDriver(NoSession, NothingBehind, NoEvents, NoTables):
    """Implements terminals.drivers.driver.Driver. `Meter.address` is the meter's name in the topic.

    retention  how long a terminal may take to publish what it kept while it was cut off. No source gives one: a month, and what comes
               later is taken all the same
    """

    name = "mqtt"
    clock_ways: frozenset[ClockWay] = frozenset()
    retention = Retention(curve=dt.timedelta(days=31), day_freeze=dt.timedelta(days=62))

    def known(self, meter: Meter) -> str:
        return ""

    def recall(self, meter: Meter, known: str) -> None:
        """`known` is the topic, for people; the message says all that is decoded."""

    def exchange(self, meter: Meter) -> Listener:
        return Listener()

    def curve(self, meter: Meter, slots: Times) -> Script[Outcome]:
        """The quarter-hours of the message. What is not in it may still come."""
        return Outcome((yield from self._heard(meter, "curve")), slots[:0])

    def day_freeze(self, meter: Meter, midnights: Times, now: np.datetime64) -> Script[Outcome]:
        """The registers of the message. FrameError for a time that is no midnight where the meter is."""
        reads = yield from self._heard(meter, "day")
        for time in reads.time:
            if midnight(local_day(time, meter.zone) + dt.timedelta(days=1), meter.zone) != time:
                raise FrameError(f"day: {time}Z is no midnight in {meter.zone.key}")
        return Outcome(reads, midnights[:0])

    def month_freeze(self, meter: Meter, midnights: Times, now: np.datetime64) -> Script[Outcome]:
        """Refused: messages have days; a month is closed by the last of its."""
        raise _deaf()
        yield

    def registers(self, meter: Meter, now: np.datetime64) -> Script[Reads]:
        """The values of the message, each row at its own time."""
        return (yield from self._heard(meter, "spot"))

    def _heard(self, meter: Meter, kind: message.Kind) -> Script[Reads]:
        raw: bytes = yield Listen()
        told = message.data(raw)
        if told.kind != kind:
            raise FrameError(f"kind: {told.kind}, {kind} is wanted")
        return Reads(np.full(len(told.time), meter.key, dtype=np.int64), told.time, told.columns)

    def clock(self, meter: Meter) -> Script[np.datetime64]:
        raise _deaf()
        yield

    def set_clock(self, meter: Meter, now: np.datetime64) -> Script[None]:
        raise _deaf()
        yield

    def write_clock(self, meter: Meter, now: np.datetime64) -> Script[None]:
        raise _deaf()
        yield

    def relay_clock(self, meter: Meter) -> None:
        return None

    def relay(self, meter: Meter, action: RelayAction, expires: np.datetime64) -> Script[RelayAnswer]:
        """Refused: no topic for commands is defined, and a broker may deliver one hours later or twice."""
        raise _deaf()
        yield

    def relay_state(self, meter: Meter) -> Script[RelayState]:
        raise _deaf()
        yield


def _deaf() -> Refused:
    return Refused("a terminal that publishes is not asked anything", code=NOT_POSSIBLE)
