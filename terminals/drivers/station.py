"""What can be asked of a terminal itself, not of a meter behind it: its clock, and what it has been told to do.

A station is a driver's other half, in the same words: methods return scripts, and whom they speak with is a `Meter` that stands for the
terminal (`terminal_itself`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol
from zoneinfo import ZoneInfo

import numpy as np

from protocols.exchange import Exchange
from terminals.drivers.driver import Meter, Script

#: the key of the terminal itself on its line; meters count from 1
ITSELF: Final = 0


def terminal_itself(address: str, zone: ZoneInfo, secrets: Mapping[str, str] | None = None) -> Meter:
    """The terminal, as a line and a station want whom they speak with. Of `secrets` its own count: `terminal_password`."""
    return Meter(ITSELF, address, zone, secrets=secrets or {}, terminal=address)


class Station(Protocol):
    """One protocol's way of speaking with the terminal. Stateless; all times are arguments."""

    name: str

    def exchange(self, whom: Meter) -> Exchange:
        """Fresh protocol state for one session."""

    def open(self, whom: Meter) -> Script[None]:
        """Whatever must be said before the first request."""

    def close(self, whom: Meter) -> Script[None]:
        """Whatever must be said before leaving."""

    def clock(self, whom: Meter) -> Script[np.datetime64]:
        """The terminal's clock as a UTC instant."""

    def set_clock(self, whom: Meter, now: np.datetime64) -> Script[None]:
        """Set the terminal's clock."""
