"""What terminals said unasked, kept until somebody asks for it: the only thing that a driver remembers of conversations."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final

from terminals.drivers.happening import Happening, News

#: Terminals listened to: more than one collector has. The one that was silent longest goes; its records are read at the next visit.
TERMINALS: Final = 65_536
#: Reports kept of one terminal between two visits: visits follow within minutes, and the records are in the terminal too.
TOLD: Final = 64


@dataclass(slots=True)
class _Ear:
    mark: int = 0
    said: Hashable = None
    told: deque[Happening] = field(default_factory=lambda: deque(maxlen=TOLD))


class Ears:
    """By terminal address."""

    def __init__(self) -> None:
        self._ears: OrderedDict[str, _Ear] = OrderedDict()

    def says(self, terminal: str, what: Hashable) -> None:
        """The terminal says that events wait (its counters, a bit); `what` unlike the last time is news, None is none."""
        ear = self._of(terminal)
        if what is not None and what != ear.said:
            ear.mark += 1
        ear.said = what

    def tells(self, terminal: str, events: Iterable[Happening]) -> None:
        """It told events by itself."""
        ear = self._of(terminal)
        for event in events:
            ear.told.append(event)
            ear.mark += 1

    def news(self, terminal: str) -> News:
        """What there is since the last call; told once."""
        ear = self._ears.get(terminal)
        if ear is None:
            return News()
        told = tuple(ear.told)
        ear.told.clear()
        return News(str(ear.mark or ""), told)

    def _of(self, terminal: str) -> _Ear:
        ear = self._ears.setdefault(terminal, _Ear())
        self._ears.move_to_end(terminal)
        if len(self._ears) > TERMINALS:
            self._ears.popitem(last=False)
        return ear
