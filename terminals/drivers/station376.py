"""The Q/GDW 376.1 terminal itself."""

from __future__ import annotations

import datetime as dt
from itertools import count
from typing import Final

import numpy as np

from protocols.errors import FrameError, Misuse
from protocols.gdw376.exchange import Master, Order, Read, Reply
from protocols.gdw376.frame import PW_SIZE, Address, parse_address
from protocols.gdw376.units import ident
from protocols.gdw376.values import Clock, encode
from protocols.localtime import from_local, local_fields
from terminals.drivers.driver import Meter, Script
from terminals.drivers.ears import Ears
from terminals.drivers.listening import Listening376
from terminals.drivers.without import NoSession

#: AFN 0C F2 and AFN 05 F31: the terminal's clock.
CLOCK: Final = 2
SET_CLOCK: Final = 31
#: Every session begins with another frame number, so that an answer that comes late to the one before is known by it. Odd: all 16 come.
STRIDE: Final = 5


class Station376(NoSession):
    """terminals.drivers.station.Station. Secret: `terminal_password`, the 16 bytes PW of AUX as hex digits; zeros without.

    master   MSA, which the terminal echoes
    ears     told what the terminal says unasked, whoever speaks with it: the driver of the meters behind it has its station
    """

    name = "gdw376"

    def __init__(self, *, master: int = 1) -> None:
        self._master = master
        self._sessions = count()
        self.ears = Ears()

    def exchange(self, whom: Meter) -> Master:
        """Fresh protocol state. Misuse: the archive gives no address."""
        self.address(whom)
        return Listening376(next(self._sessions) * STRIDE & 0xFF, whom.terminal, whom.zone, self.ears)

    def clock(self, whom: Meter) -> Script[np.datetime64]:
        """AFN 0C F2, as UTC. FrameError: it gives no time."""
        reply: Reply = yield Read(self.address(whom), (0,), (CLOCK,))
        for unit in reply.units:
            told = unit.values[0].value if unit.values else None
            if (unit.point, unit.function) == (0, CLOCK) and isinstance(told, Clock):
                local = np.array([told.time], "datetime64[us]")
                return np.datetime64(from_local(local, whom.zone)[0], "us")
        raise FrameError(f"clock: terminal {whom.terminal} gives no time")

    def set_clock(self, whom: Meter, now: np.datetime64) -> Script[None]:
        """AFN 05 F31. Without Tp: a terminal whose clock is wrong would find the frame expired."""
        local: dt.datetime = local_fields(np.array([now]), whom.zone)[0].astype(dt.datetime)
        data = encode(
            0x05, SET_CLOCK, [Clock(local.replace(microsecond=0), local.isoweekday())], uplink=False
        )
        yield Order(self.address(whom), 0x05, ((ident([0], [SET_CLOCK]), [data]),), password(whom))

    def address(self, whom: Meter) -> Address:
        """A1 A2 and our MSA. Misuse: the archive gives none."""
        if not whom.terminal:
            raise Misuse("terminal: the archive must give its address (login): eight hex digits, A1 A2")
        return parse_address(whom.terminal, self._master)


def password(whom: Meter) -> bytes:
    """PW. Misuse: not 16 bytes of hex digits."""
    try:
        pw = bytes.fromhex(whom.secrets.get("terminal_password", "00" * PW_SIZE))
    except ValueError:
        pw = b""
    if len(pw) != PW_SIZE:
        raise Misuse(f"terminal_password of terminal {whom.terminal}: it must be {2 * PW_SIZE} hex digits")
    return pw
