"""What is said on a line while a task has it: the evidence behind its readings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

from headend.store.exchanges import Exchange, Said
from protocols.localtime import Times
from terminals.drivers.driver import Driver, Meter

#: bytes kept of one task's conversation: a day of load records with every repeat is some 20 KiB; what goes beyond is a line gone mad
MOST: Final = 1 << 20
#: answers kept of the opening of a session: an association takes two or three
OPENING: Final = 16


class Recorder:
    """Listens to one line. One task at a time has it, so whatever is said while a task listens is the task's, unless it has lent the
    line (`elsewhere`); what is said between tasks is the end of one meter's session and the opening of the next one's."""

    def __init__(
        self, terminal: int, protocol: str, driver: Driver, now: Callable[[], np.datetime64]
    ) -> None:
        self._terminal = terminal
        self._protocol = protocol
        self._driver = driver
        self._now = now
        self._said: list[Said] | None = None
        self._begun = 0.0
        self._kept = 0
        self._between: list[bytes] = []
        self._opened: tuple[Meter, tuple[bytes, ...]] | None = None

    def note(self, sent: bytes, received: bytes, seconds: float) -> None:
        """One round trip, when it is over."""
        if self._said is None:
            if received and len(self._between) < OPENING:
                self._between.append(received)
            return
        if self._kept > MOST:
            return
        after = time.monotonic() - self._begun
        self._kept += len(sent) + len(received)
        self._said.append(Said(max(0.0, after - seconds), True, sent))
        if received:
            self._said.append(Said(after, False, received))

    @contextmanager
    def listening(
        self, meter: Meter, task: str, asked: Times, began: np.datetime64
    ) -> Iterator[Callable[[], Exchange | None]]:
        """Listen during the body; what is yielded gives the exchange so far, None if nothing was said.

        Of the opening of a session only the answers are in it: what was sent may carry a password."""
        if self._between or self._opened is None or self._opened[0] != meter:
            self._opened = (meter, tuple(self._between))
        opening, known = self._opened[1], self._driver.known(meter)
        said: list[Said] = []
        outer = self._said, self._begun, self._kept
        self._said, self._begun, self._kept = said, time.monotonic(), 0

        def exchange() -> Exchange | None:
            if not said:
                return None
            return Exchange(
                self._terminal, meter.key, meter.address, self._protocol, task, began, self._now(), asked, tuple(said), opening, known,
            )  # fmt: skip

        try:
            yield exchange
        finally:
            self._said, self._begun, self._kept = outer
            self._between.clear()

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """During the body the line is lent to another job: what it says is not the listening task's."""
        outer = self._said, self._begun, self._kept
        self._said = None
        try:
            yield
        finally:
            self._said, self._begun, self._kept = outer
