"""What some protocols have not: a driver takes from here what it has nothing to say of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from protocols.errors import Misuse
from terminals.drivers.driver import EventsOf, Meter, Script, T
from terminals.drivers.happening import Happening, News


class NoSession:
    """Nothing is said before the first request, nor before leaving."""

    def open(self, meter: Meter) -> Script[None]:
        yield from ()

    def close(self, meter: Meter) -> Script[None]:
        yield from ()


class NothingBehind:
    """Who is asked is the meter itself."""

    behind = None

    def through(self, meter: Meter, script: Script[T]) -> Script[T]:
        """Misuse, always."""
        raise Misuse(f"{meter.address} is no terminal that forwards anything")


class NoEvents:
    """Nobody keeps any, or none with its time."""

    events_of: EventsOf = ""

    def events(self, meter: Meter, since: np.datetime64, now: np.datetime64) -> Script[tuple[Happening, ...]]:
        yield from ()
        return ()

    def news(self, meter: Meter) -> News:
        return News()


class NoTables:
    """Nobody has said how meters of this protocol keep time-of-use tables and prices."""

    name: str

    def tables(self, meter: Meter, keys: Collection[str] | None = None) -> Script[dict[str, Any]]:
        """Misuse, always."""
        raise Misuse(
            f"meter {meter.address}: {self.name} has no tables of hours and prices that are read here"
        )

    def write_table(self, meter: Meter, key: str, value: Any, held: Mapping[str, Any]) -> Script[None]:
        """Misuse, always."""
        raise Misuse(
            f"meter {meter.address}: {self.name} has no tables of hours and prices that are written here"
        )
