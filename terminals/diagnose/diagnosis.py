"""What a diagnosis consists of: steps in the order they were taken, and a verdict with what to do next."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from protocols.reading import Reads
from terminals.diagnose.phasors import Phasors
from terminals.drivers.driver import RelayState


@dataclass(frozen=True, slots=True)
class Words:
    """The same in both languages of the field."""

    en: str
    zh: str


class State(Enum):
    """How a step ended. UNKNOWN: it could not be tried, or the meter would not say."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Cause(Enum):
    """Why a step did not end well, as far as it can be told from here."""

    NONE = "none"
    CANNOT_OPEN = "cannot open"
    LOST = "lost"
    SILENT = "silent"
    UNREACHED = "not reached"  # the terminal answers, and brings nothing from the meter behind it
    ECHO = "echo only"  # nothing but our own bytes comes back
    GARBLED = "garbled"
    REFUSED = "refused"
    LOCKING = "locking"  # one more wrong password may lock the meter: we stopped before it
    NEEDS = "needs more"  # somebody is there, but more must be said of what is meant
    WRONG = "wrong"  # an answer came, and what it says is not right
    DEPARTED = "departed"  # a recording that does not hold what is asked now
    NOT_TRIED = "not tried"


#: The steps, in order.
NAMES: Final = {
    "link": Words("Link", "链路"),
    "address": Words("Protocol and address", "规约与地址"),
    "identity": Words("What it says of itself", "表内信息"),
    "clock": Words("Clock", "时钟"),
    "registers": Words("Registers", "电能示值"),
    "voltages": Words("Voltages", "电压"),
    "phasors": Words("Power and angles", "功率与相角"),
    "status": Words("Status words", "运行状态字"),
    "battery": Words("Clock battery", "时钟电池"),
    "relay": Words("Relay", "继电器"),
    "signal": Words("Signal", "信号强度"),
}
#: Taken only where there is something to ask: a terminal.
OPTIONAL: Final = frozenset(("signal",))


@dataclass(frozen=True, slots=True)
class Trip:
    """One round trip on the wire, as hex. Passwords are blotted out with 2A."""

    sent: str
    received: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Step:
    """One question and what came of it. `key` is one of NAMES."""

    key: str
    state: State
    detail: Words
    cause: Cause = Cause.NONE
    seconds: float = 0.0
    trips: tuple[Trip, ...] = field(default=(), repr=False)

    @property
    def name(self) -> Words:
        return NAMES[self.key]


@dataclass(frozen=True, slots=True)
class Trait:
    """One thing that a meter says of itself. `key`: address, number, asset, model, voltage, constant, ct, pt, version."""

    key: str
    name: Words
    value: str


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of a status word that is set. `doubt`: its meaning stands in one published source only, or another one differs."""

    word: int
    bit: int
    name: Words
    says: str
    alarm: bool
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All of it. `clock_offset` in seconds, meter minus us; NaN-free: None where something is not known.

    notes   what was noticed on the way: an echo, passwords tried, a terminal that spoke by itself
    wiring  what the judgement of the wiring said; None: it was not judged
    battery volts of the clock battery;  signal dBm at the terminal
    """

    url: str
    protocol: str | None
    address: str | None
    steps: tuple[Step, ...]
    verdict: Words
    clock_offset: float | None = None
    reads: Reads | None = None
    relay: RelayState | None = None
    phasors: Phasors | None = None
    traits: tuple[Trait, ...] = ()
    flags: tuple[Flag, ...] = ()
    battery: float | None = None
    signal: float | None = None
    wiring: Words | None = None
    notes: tuple[Words, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing failed."""
        return all(step.state is not State.FAILED for step in self.steps)
