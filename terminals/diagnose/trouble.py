"""What went wrong on the way, as a cause and in words that do not change from one run to the next. Pure."""

from __future__ import annotations

from typing import Final

from protocols.errors import ProtocolError, Refused
from terminals.diagnose.diagnosis import Cause, Words
from terminals.diagnose.optical import NoBinaryMode
from terminals.drivers.through import NotReached
from terminals.links.link import LinkError
from terminals.links.script import Departed
from terminals.session import Garbled, SessionError

#: The first that fits.
_CAUSES: Final = (
    (Refused, Cause.REFUSED),
    (NotReached, Cause.UNREACHED),
    (Garbled, Cause.GARBLED),
    (SessionError, Cause.SILENT),
    (Departed, Cause.DEPARTED),
    (LinkError, Cause.LOST),
    (NoBinaryMode, Cause.WRONG),
    (ProtocolError, Cause.WRONG),
)


def cause_of(error: Exception) -> Cause:
    """Who or what is at fault, as far as it can be told from here."""
    return next((cause for kind, cause in _CAUSES if isinstance(error, kind)), Cause.SILENT)


def told(error: Exception) -> Words:
    """The complaint. Of a session it is made anew from its counts: the seconds it took are told with the step."""
    if not isinstance(error, SessionError):
        return both(str(error))
    counts = error.counts
    tries = f"{counts.attempts} attempt{'s' if counts.attempts != 1 else ''}"
    if counts.garbled:
        return Words(
            f"no valid frame in {tries}: {counts.garbled} corrupt, {counts.received} bytes",
            f"{counts.attempts} 次召测未收到有效帧：错帧 {counts.garbled}，共 {counts.received} 字节",
        )
    if counts.ignored:
        return Words(
            f"no answer in {tries}: only {counts.ignored} frames of others",
            f"{counts.attempts} 次召测无应答：仅收到 {counts.ignored} 帧他人报文",
        )
    if counts.received:
        return Words(
            f"no answer in {tries}: it broke off after {counts.received} bytes",
            f"{counts.attempts} 次召测无应答：收到 {counts.received} 字节后中断",
        )
    return Words(
        f"no answer in {tries}: not one byte came", f"{counts.attempts} 次召测无应答：未收到任何字节"
    )


def both(text: str) -> Words:
    """A message that exists in one language only: the wire's and the meter's own words."""
    return Words(text, text)
