"""What every kind of caller is to the roster: an interface, and what passes through it. Pure.

A greeting reads a caller's first bytes, answers what a terminal says for itself, and makes the filter that takes such
frames out of everything that follows. One instance serves all callers; it keeps nothing of any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

#: Bytes in which a caller must be known. The longest greeting is a DLMS push, which its meter is told to keep below an APDU of 1-2 KB.
FIRST_LIMIT: Final = 2048
#: Bytes of nothing that are put up with before a greeting: what a modem says (CONNECT, its banner) and wake-up bytes.
NOISE_LIMIT: Final = 256


@dataclass(frozen=True, slots=True)
class Beat:
    """One frame or line that a terminal says for itself: login, heartbeat, logout. `leaves`: it says good-bye."""

    frame: bytes
    leaves: bool = False


@dataclass(frozen=True, slots=True)
class Sifted:
    """What a filter makes of some bytes: the session's, and the terminal's own frames among them, in order."""

    clean: bytes = b""
    beats: tuple[Beat, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """Who calls.

    identity   as the archive spells the terminal's login
    at         where in the first bytes it stands; what comes before is noise
    beat       the frame that said it, to be answered; None where it is the session's business (a report, a push)
    rest       what follows, with the frame itself where it is the session's
    heartbeat  seconds between its heartbeats, where the terminal says so
    """

    identity: str
    at: int
    beat: Beat | None
    rest: bytes
    heartbeat: float | None = None


class Verdict(Enum):
    """What else first bytes may be. MORE: a frame has begun. NOTHING: none has, so far. STRANGER: it is too late."""

    MORE = "more"
    NOTHING = "nothing"
    STRANGER = "stranger"


class Filter(Protocol):
    """Takes a terminal's own frames out of its stream, wherever they stand and however they are cut; all else passes unchanged."""

    @property
    def held(self) -> bytes:
        """The end of what came so far, if it may be the beginning of such a frame; shorter than one."""

    def feed(self, data: bytes) -> Sifted:
        """What has come."""

    def release(self) -> Sifted:
        """Nothing followed what is held: it was the session's."""


class Greeting(Protocol):
    """One kind of caller."""

    @property
    def kind(self) -> str:
        """How its transport speaks: `dtu` for whoever passes any protocol on, else the protocol's name in the archive."""

    def identify(self, data: bytes) -> Said | Verdict:
        """A caller's first bytes, all of them from the first on."""

    def answer(self, identity: str, beat: Beat, received: float, now: float) -> bytes:
        """What the terminal is told. received, now: when the beat came and when this leaves, UTC seconds since 1970."""

    def filter(self, said: Said) -> Filter:
        """For all that follows from this caller."""


def recognise(greetings: Sequence[Greeting], data: bytes) -> tuple[Greeting, Said] | Verdict:
    """Whom the first bytes name: the first greeting in them. MORE: wait for more bytes. STRANGER: no use in waiting."""
    verdicts = [(greeting, greeting.identify(data)) for greeting in greetings]
    named = [(greeting, found) for greeting, found in verdicts if isinstance(found, Said)]
    if named:
        return min(named, key=lambda pair: pair[1].at)
    begun = any(found is Verdict.MORE for _, found in verdicts)
    return Verdict.STRANGER if len(data) >= (FIRST_LIMIT if begun else NOISE_LIMIT) else Verdict.MORE
