"""Blocks of everybody in bounded memory: some thousand meters at a time, over one connection or several at once."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

import numpy as np

from headend.store.blocks.block import CELLS_AT_ONCE, Block, fill
from headend.store.blocks.grid import choose
from headend.store.blocks.installed import Rows, rows
from headend.store.blocks.overlay import Estimates
from headend.store.blocks.points import ENERGIES, PointBlock, choose_registers, fill_points
from headend.store.db import Connection
from headend.store.tables import CURVES
from protocols.localtime import midnight
from protocols.reading import REGISTER_QUANTITIES

#: Blocks asked for before the consumer wants them, for each connection: one is being read while one waits.
_AHEAD: Final = 2

Made = TypeVar("Made")


def stream(
    conns: Sequence[Connection],
    day: dt.date,
    zone: ZoneInfo,
    codes: Sequence[str],
    *,
    last: dt.date | None = None,
    until: np.datetime64 | None = None,
    freezes: Sequence[str] = REGISTER_QUANTITIES,
    estimates: Estimates = "all",
    meters_at_once: int | None = None,
) -> Iterator[Block]:
    """`load` of all meters of local days `day` to `last` (that day alone), in blocks of so many meters, meters ascending.

    With one connection a block is read when it is asked for. With several, blocks are read ahead, two for each; until the stream is at
    its end, or closed, these connections are its own. At most 2 × connections + 1 blocks exist at once. Each block is a look of its own: what
    is written meanwhile is in the later ones.
    """
    chosen = choose(CURVES.tables, codes)
    with conns[0].transaction():  # no transaction stays open while the consumer works
        who = rows(conns[0], day, zone, last=last)
    size = meters_at_once or _meters(day, last or day, zone)
    change = np.concatenate([[0], np.cumsum(who.meter[1:] != who.meter[:-1])]) if len(who) else who.meter
    yield from _ahead(
        conns,
        _cut(who, change // size),
        lambda conn, part: fill(
            conn, part, day, last or day, zone, chosen, until=until, freezes=freezes, estimates=estimates
        ),
    )


def stream_energies(
    conns: Sequence[Connection],
    day: dt.date,
    zone: ZoneInfo,
    codes: Sequence[str] = ENERGIES,
    *,
    last: dt.date | None = None,
    until: np.datetime64 | None = None,
    points_at_once: int | None = None,
) -> Iterator[PointBlock]:
    """`energies` of all points, in blocks of so many points, points ascending; all else as in `stream`."""
    chosen = choose_registers(codes)
    with conns[0].transaction():  # no transaction stays open while the consumer works
        who = rows(conns[0], day, zone, last=last).by_point()
    size = points_at_once or _meters(day, last or day, zone)
    change = np.concatenate([[0], np.cumsum(who.point[1:] != who.point[:-1])]) if len(who) else who.point
    yield from _ahead(
        conns,
        _cut(who, change // size),
        lambda conn, part: fill_points(conn, part, day, last or day, zone, chosen, until=until),
    )


def stream_areas(
    conn: Connection,
    who: Rows,
    day: dt.date,
    zone: ZoneInfo,
    codes: Sequence[str],
    *,
    last: dt.date | None = None,
    until: np.datetime64 | None = None,
    freezes: Sequence[str] = REGISTER_QUANTITIES,
    estimates: Estimates = "all",
    beside: Rows | None = None,
    meters_at_once: int | None = None,
) -> Iterator[Block]:
    """`load` of these rows of local days `day` to `last` (that day alone) in blocks of whole transformer areas: what is computed of an area never
    needs two of them.

    beside  rows that every block has as well, where it has nothing of their areas

    A meter with roles in two areas has a row in each one's block. An area larger than a block is one all the same; who belongs to no area comes
    last. A block is read when it is asked for.
    """
    chosen = choose(CURVES.tables, codes)
    for part in by_area(who, meters_at_once or _meters(day, last or day, zone)):
        wanted = part if beside is None else part.beside(beside.take(~np.isin(beside.area, part.area)))
        yield fill(
            conn, wanted, day, last or day, zone, chosen, until=until, freezes=freezes, estimates=estimates
        )


def by_area(who: Rows, size: int) -> Iterator[Rows]:
    """The rows in pieces of whole areas, as many as fit into `size` rows; each piece in order of meter and time. Those without an area last."""
    last = np.where(who.area < 0, np.iinfo(np.int64).max, who.area)
    ordered = who.take(np.argsort(last, kind="stable"))
    inside = ordered.area >= 0
    _, area, count = np.unique(ordered.area[inside], return_inverse=True, return_counts=True)
    # an area goes where its last row falls; those of none are cut anywhere
    number = (np.cumsum(count) - 1) // size
    rest = np.arange(len(ordered) - len(area)) // size + (number[-1] + 1 if len(number) else 0)
    for part in _cut(ordered, np.concatenate([number[area.ravel()], rest])):
        yield part.take(np.lexsort((part.since, part.meter)))


def _meters(day: dt.date, last: dt.date, zone: ZoneInfo) -> int:
    slots = (midnight(last + dt.timedelta(days=1), zone) - midnight(day, zone)) // np.timedelta64(15, "m")
    return max(1, CELLS_AT_ONCE // int(slots))


def _cut(who: Rows, number: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Iterator[Rows]:
    """The rows in pieces of the same number (ascending)."""
    edges = np.flatnonzero(np.diff(number)) + 1
    for begin, end in zip([0, *edges.tolist()], [*edges.tolist(), len(who)], strict=True):
        if end > begin:
            yield who.take(slice(begin, end))


def _ahead(
    conns: Sequence[Connection], parts: Iterator[Rows], make: Callable[[Connection, Rows], Made]
) -> Iterator[Made]:
    """What is made of each part, in their order; with several connections in as many threads, each with a connection of its own."""
    if len(conns) == 1:
        for part in parts:
            yield make(conns[0], part)
        return
    waiting: deque[Future[Made]] = deque()
    with ExitStack() as stack:
        threads = [stack.enter_context(ThreadPoolExecutor(1, "block")) for _ in conns]
        try:
            for k, part in enumerate(parts):
                if len(waiting) == _AHEAD * len(conns):
                    yield waiting.popleft().result()
                turn = k % len(conns)
                waiting.append(threads[turn].submit(make, conns[turn], part))
            while waiting:
                yield waiting.popleft().result()
        finally:  # closed early, or one of them failed: what has not begun is not begun any more
            for future in waiting:
                future.cancel()
