"""What a diagnosis consists of: steps in the order they were taken, and a verdict with what to do next."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from protocols.reading import Reads
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
    GARBLED = "garbled"
    REFUSED = "refused"
    WRONG = "wrong"  # an answer came, and what it says is not right
    NOT_TRIED = "not tried"


#: The steps, in order.
NAMES: Final = {
    "link": Words("Link", "链路"),
    "address": Words("Protocol and address", "规约与地址"),
    "clock": Words("Clock", "时钟"),
    "registers": Words("Registers", "电能示值"),
    "voltages": Words("Voltages", "电压"),
    "relay": Words("Relay", "继电器"),
}


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
class Diagnosis:
    """All of it. `clock_offset` in seconds, meter minus us; None where it is not known."""

    url: str
    protocol: str | None
    address: str | None
    steps: tuple[Step, ...]
    verdict: Words
    clock_offset: float | None = None
    reads: Reads | None = None
    relay: RelayState | None = None

    @property
    def ok(self) -> bool:
        """Nothing failed."""
        return all(step.state is not State.FAILED for step in self.steps)
