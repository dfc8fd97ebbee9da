"""Who is next on a shared line. Pure: no time, no waiting."""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Final, Generic, TypeVar

T = TypeVar("T")

#: How often in a row a waiting class is passed over by higher ones before its turn comes: orders stay quick
#: (at most one scheduled job in nine stands before them), scheduled reading keeps at least a ninth of the
#: line.
PATIENCE: Final = 8


class Priority(IntEnum):
    """What goes first: a relay command, then somebody waiting at a screen, then the schedule."""

    ORDER = 0
    ON_DEMAND = 1
    SCHEDULED = 2


class Turns(Generic[T]):
    """A queue per priority.

    Higher ones first, but nobody is passed over more than `patience` times in a row.
    """

    def __init__(self, patience: int = PATIENCE) -> None:
        self._patience = patience
        self._queues: dict[Priority, deque[T]] = {priority: deque() for priority in Priority}
        self._passed = dict.fromkeys(Priority, 0)

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def put(self, priority: Priority, item: T) -> None:
        """Queue at the end of its class."""
        self._queues[priority].append(item)

    def put_first(self, priority: Priority, item: T) -> None:
        """Queue at the beginning of its class: who has lent the line gets it back before his equals."""
        self._queues[priority].appendleft(item)

    def above(self, priority: Priority) -> bool:
        """Whether somebody waits who goes before this class."""
        return any(self._queues[higher] for higher in Priority if higher < priority)

    def remove(self, priority: Priority, item: T) -> None:
        """Take out somebody who no longer waits, wherever he stands."""
        self._queues[priority].remove(item)

    def next(self) -> T | None:
        """Take the one whose turn it is."""
        waiting = [priority for priority in Priority if self._queues[priority]]
        if not waiting:
            return None
        overdue = [priority for priority in waiting if self._passed[priority] >= self._patience]
        chosen = overdue[0] if overdue else waiting[0]
        for priority in waiting:
            if priority > chosen:
                self._passed[priority] += 1
        self._passed[chosen] = 0
        return self._queues[chosen].popleft()

    def drain(self) -> list[T]:
        """Take everybody."""
        everybody = [item for queue in self._queues.values() for item in queue]
        for queue in self._queues.values():
            queue.clear()
        return everybody
