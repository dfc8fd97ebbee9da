"""What every driver can do, and the words it does it with.

A driver's method returns a *script*: a generator that yields protocol requests and is sent protocol answers. A session
runs it over a link. `Refused` is thrown into the script, so that the script decides what a refusal means; time-outs,
corrupt frames and lost links end the script.

    def clock(self, meter):
        answer = yield Read(meter.address, 0x04000102)
        return ...
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, Protocol, TypeVar
from zoneinfo import ZoneInfo

import numpy as np

from protocols.exchange import Exchange
from protocols.reading import Reads, Times
from terminals.drivers.happening import Happening, News

T = TypeVar("T")
Script = Generator[Any, Any, T]


@dataclass(frozen=True, slots=True)
class Meter:
    """What a driver must know of a meter.

    key       the caller's number for it; comes back in Reads.meter
    address   protocol address: 12 digits for DL/T 645, the wrapper port of the logical device for DLMS
    zone      civil time of the meter's clock
    phases    1 or 3
    secrets   password, operator code, ...; never printed
    terminal  the address of the terminal it hangs behind, where the protocol addresses the terminal; else ''
    point     its point number (测量点号) in that terminal; 0 where there is none
    switch    what cuts its supply off: rounds of that terminal ('round 1'), or a coil on its line ('coil 9:0'); nothing: its own relay
    multiplier  what its power must be multiplied by where it hangs behind transformers (CT × PT): drivers give what the meter shows
    """

    key: int
    address: str
    zone: ZoneInfo
    phases: int = 1
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    terminal: str = ""
    point: int = 0
    switch: tuple[str, ...] = ()
    multiplier: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reading task brought. `absent`: points the meter proved not to have (sorted, UTC); never ask again."""

    reads: Reads
    absent: Times


class RelayAction(Enum):
    """DL/T 645-2007 1CH N1, and its counterparts in the other protocols."""

    TRIP = "trip"
    PERMIT = "permit"  # 合闸允许: closes when the customer presses the key
    CLOSE = "close"
    KEEP_POWER = "keep-power"
    END_KEEP_POWER = "end-keep-power"


@dataclass(frozen=True, slots=True)
class RelayAnswer:
    """The meter took the command. `pending`: it will act later by itself (trip delay, large current)."""

    pending: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RelayState:
    """The read-back. `permitted`: open, but the customer's key may close it. `keep_power`: of the meter; None: it was not asked. `load_kw` is what
    flows now."""

    open: bool
    permitted: bool
    keep_power: bool | None
    load_kw: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Retention:
    """How far back the meter remembers: the deadline of a gap.

    `month_freeze`: 0 where the protocol gives none. `sampled`: it remembers nothing. A point is asked for at its instant, the spans say how
    long after it the present value may still bear its name, and one point is asked at a time.
    """

    curve: dt.timedelta
    day_freeze: dt.timedelta
    month_freeze: dt.timedelta = dt.timedelta(0)
    sampled: bool = False


#: Who keeps the events that are asked for: each meter its own, the terminal those of all behind it, or nobody.
EventsOf = Literal["", "meter", "terminal"]


class ClockWay(Enum):
    """How a meter's clock can be moved."""

    WRITE = "write"  # written to one meter, which says yes or no
    BROADCAST = "broadcast"  # told to all on a line, small corrections only, and nobody answers


class Driver(Protocol):
    """One protocol's way of doing each task. Stateless but for what terminals said unasked; all times are arguments."""

    name: str
    retention: Retention
    events_of: EventsOf
    clock_ways: frozenset[ClockWay]

    @property
    def behind(self) -> Driver | None:
        """The driver of the meters behind the terminal, where what this one brings is the terminal's own record of them; else None."""

    def through(self, meter: Meter, script: Script[T]) -> Script[T]:
        """A script of `behind`, carried to the meter by the terminal. NotReached: the terminal brought nothing back from it."""

    def known(self, meter: Meter) -> str:
        """What it has learned of this meter and need not ask again, as text without a line break; '' if nothing."""

    def recall(self, meter: Meter, known: str) -> None:
        """Know that again: a recorded conversation makes sense only with what was known when it was held. ValueError: not such a text."""

    def exchange(self, meter: Meter) -> Exchange:
        """Fresh protocol state for one session with this meter."""

    def open(self, meter: Meter) -> Script[None]:
        """Whatever must be said before the first request (an association); nothing for DL/T 645."""

    def close(self, meter: Meter) -> Script[None]:
        """Whatever must be said before leaving."""

    def curve(self, meter: Meter, slots: Times) -> Script[Outcome]:
        """The interval rows ending at `slots` (UTC, ascending, all due): SLOT_QUANTITIES."""

    def day_freeze(self, meter: Meter, midnights: Times, now: np.datetime64) -> Script[Outcome]:
        """The registers at the closing midnights (UTC, ascending): REGISTER_QUANTITIES."""

    def month_freeze(self, meter: Meter, midnights: Times, now: np.datetime64) -> Script[Outcome]:
        """The same at the midnights that close months."""

    def registers(self, meter: Meter, now: np.datetime64) -> Script[Reads]:
        """The present registers by tariff and the present voltages, currents and power: one row at `now`."""

    def clock(self, meter: Meter) -> Script[np.datetime64]:
        """The meter's clock as a UTC instant."""

    def set_clock(self, meter: Meter, now: np.datetime64) -> Script[None]:
        """Set the meter's clock: by broadcast where there is one, and all on the line hear it."""

    def write_clock(self, meter: Meter, now: np.datetime64) -> Script[None]:
        """Set this meter's clock alone. Refused: it does not let us; Misuse: it has no password configured, or no such way."""

    def events(self, meter: Meter, since: np.datetime64, now: np.datetime64) -> Script[tuple[Happening, ...]]:
        """What has happened since then, as far as `events_of` keeps it: of this meter, or of the terminal before it and all its meters.
        Nothing where nobody keeps any."""

    def news(self, meter: Meter) -> News:
        """What the terminal before this meter has said unasked since the last call; each thing is told once."""

    def tables(self, meter: Meter, keys: Collection[str] | None = None) -> Script[dict[str, Any]]:
        """The time-of-use tables and prices that the meter holds, present and spare: the document of tariffs/timetable.py, or these keys of
        it. Misuse: nobody reads them in this protocol."""

    def write_table(self, meter: Meter, key: str, value: Any, held: Mapping[str, Any]) -> Script[None]:
        """Write one key of it, no present one; `held`: the document as it stands. Refused: the meter says no. Misuse: no such way."""

    def relay_clock(self, meter: Meter) -> Script[np.datetime64] | None:
        """The clock by which a relay command ends, as a UTC instant: the meter's own, or its terminal's where a round of that cuts it off. None: a
        command carries no end and acts when it arrives."""

    def relay(self, meter: Meter, action: RelayAction, expires: np.datetime64) -> Script[RelayAnswer]:
        """Send the command, valid in the meter until `expires`. Refused if the meter says no."""

    def relay_state(self, meter: Meter) -> Script[RelayState]:
        """Read the relay's status and the load back."""
