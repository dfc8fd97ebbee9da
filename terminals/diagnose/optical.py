"""IEC 62056-21 mode E: at an optical head a meter is woken at 300 bit/s, offers binary mode, and goes on in HDLC at a higher speed."""

from __future__ import annotations

from typing import Final

from protocols.errors import FrameError
from protocols.iec62056_21.frame import BAUD_C, Identification, Receiver, Request, Select, with_parity
from terminals.links.link import Link
from terminals.links.serialport import retune
from terminals.session import OnExchange

#: The option in the identification that offers HDLC (IEC 62056-21, annex E), and how it is chosen: \2, protocol 2, mode 2.
BINARY: Final = "2"
#: A meter begins its identification within 1.5 s; 24 characters at 300 bit/s take 0.8 s more.
WAKING: Final = 3.0
#: Between the choice and the new speed: its 6 characters take 0.2 s at 300 bit/s, a meter reacts within 0.2 to 1.5 s, and some
#: acknowledge first; no public source says at which speed, so what comes meanwhile is thrown away.
TURNING: Final = 0.6


class NoBinaryMode(Exception):
    """The meter woke up and speaks no HDLC here: its identification says so."""


async def wake(link: Link, note: OnExchange) -> Identification | None:
    """None: nobody is there. NoBinaryMode. Afterwards the link is at the meter's speed, and HDLC can begin."""
    sign_on = with_parity(Request().encode())
    link.write(sign_on)
    told = await _identification(link)
    note(sign_on, b"" if told is None else told.encode(), 0.0)
    if told is None:
        return None
    if BINARY not in told.options:
        raise NoBinaryMode(
            f"{told.manufacturer} {told.ident}: the meter offers no binary mode (IEC 62056-21 mode {told.mode})"
        )
    choice = with_parity(Select(BINARY, told.baud, BINARY).encode())
    link.write(choice)
    await retune(link, BAUD_C.get(told.baud, 300), TURNING)
    note(choice, link.discard(), 0.0)
    return told


async def _identification(link: Link) -> Identification | None:
    receiver = Receiver(selects=False)
    while True:
        try:
            receiver.feed(await link.read(WAKING))
        except TimeoutError:
            return None
        while True:
            try:
                frame = receiver.next()
            except FrameError:
                continue
            if frame is None:
                break
            if isinstance(frame, Identification):
                return frame
