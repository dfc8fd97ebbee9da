"""The DL/T 698.45 terminal itself."""

from __future__ import annotations

from typing import Final

import numpy as np

from protocols.dlt698 import clock, values
from protocols.dlt698.exchange import Master
from protocols.dlt698.frame import ANYBODY, Address
from protocols.dlt698.requests import Connect, Get, Release, Set
from protocols.dlt698.values import Data
from protocols.errors import FrameError
from protocols.localtime import from_local, local_fields
from terminals.drivers.driver import Meter, Script
from terminals.drivers.ears import Ears
from terminals.drivers.listening import Listening698

#: date and time (4000, attribute 2)
CLOCK: Final = 0x40000200


class Station698:
    """terminals.drivers.station.Station. Secret: `terminal_password` for a CONNECT; without it the pre-established connection is used.

    ears     told what the terminal says unasked, whoever speaks with it: the driver of the meters behind it has its station
    """

    name = "dlt698"

    def __init__(self) -> None:
        self.ears = Ears()

    def exchange(self, whom: Meter) -> Master:
        """Misuse: the terminal's address has no whole bytes."""
        server = Address(whom.terminal) if whom.terminal else ANYBODY
        return Listening698(server, whom.terminal, whom.zone, self.ears)

    def open(self, whom: Meter) -> Script[None]:
        """CONNECT with the terminal's password, where it has one. Refused: it is wrong."""
        password = whom.secrets.get("terminal_password")
        if password is not None:
            yield Connect(password.encode("ascii"))

    def close(self, whom: Meter) -> Script[None]:
        if "terminal_password" in whom.secrets:
            yield Release()

    def clock(self, whom: Meter) -> Script[np.datetime64]:
        """4000 as UTC. FrameError: no time, or one that does not exist."""
        shown: Data = yield Get(CLOCK)
        if shown.tag != values.DATE_TIME_S:
            raise FrameError(f"clock: {values.NAMES.get(shown.tag, shown.tag)} where a date_time_s must be")
        local = np.array([clock.decode_time_s(shown.value)])
        return np.datetime64(from_local(local, whom.zone)[0], "us")

    def set_clock(self, whom: Meter, now: np.datetime64) -> Script[None]:
        """SET 4000. Refused: the terminal wants security, or none at all."""
        local = local_fields(np.array([now]), whom.zone)[0]
        yield Set(CLOCK, Data(values.DATE_TIME_S, clock.encode_time_s(local)))
