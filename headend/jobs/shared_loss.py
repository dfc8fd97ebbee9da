"""One transformer, several billed points behind it (变损分摊): its loss is shared by what they use, and each kWh of it is billed once.

Between two midnights at which the registers of all of them are known the loss of these days is shared by their energies, by differences of one
running quotient in the order of the points' codes: nothing is lost between them, nor between spans that begin and end at such midnights. Who is
billed for the loss, by his plan, has a share; where nobody used anything the first one has it all. That the loss goes by energy is what public
descriptions say of 总分表 (shared metering); the order and the midnights are this program's own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from headend.jobs.frame import Run
from headend.store import blocks, splits, tariffs
from headend.store.blocks import Why
from protocols.localtime import midnight
from protocols.reading import MISSING
from tariffs.money import share

I64 = NDArray[np.int64]
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Counted:
    """Energy since the first midnight, int64[point, midnight], MISSING where not known; `place` of each point."""

    place: Mapping[int, int]
    energy: I64


def charged(run: Run) -> list[str]:
    """The plans that ask for transformer loss."""
    return [name for name, plan in tariffs.load(run.conn).items() if "iron" in plan.needs]


def shares(
    run: Run, points: Sequence[int], plans: Sequence[str], first: dt.date, end: dt.date
) -> dict[int, tuple[int, int]]:
    """(iron, copper) [1e-4 kWh] by point of local days [first, end), of those of `points` that share a transformer with another billed point on any
    of these days; MISSING where something is not known. `plans`: as `charged` says."""
    behind = splits.behind(run.conn, points, plans, first, end - _DAY)
    mine = set(points)
    shared = {
        point
        for days in behind.values()
        for who in days.values()
        if len(who) > 1
        for point in who
        if point in mine
    }
    if not shared:
        return {}
    behind = {t: days for t, days in behind.items() if any(shared & set(who) for who in days.values())}
    losses = splits.day_losses(run.conn, list(behind), first, end - _DAY)
    everybody = sorted({point for days in behind.values() for who in days.values() for point in who})
    counted = _counted(run, everybody, first, end)
    found = {point: [0, 0] for point in shared}
    for transformer, days in behind.items():
        for piece in _pieces(counted, days, first, end):
            for point, parts in _share(
                counted, days[first + piece[0] * _DAY], losses.get(transformer, {}), first, piece
            ).items():
                if point in found:
                    found[point] = [_plus(a, b) for a, b in zip(found[point], parts, strict=True)]
        if not _whole(counted, days, first, end):
            for point in shared & {p for who in days.values() for p in who}:
                found[point] = [MISSING, MISSING]
    return {point: (iron, copper) for point, (iron, copper) in found.items()}


def _counted(run: Run, points: Sequence[int], first: dt.date, end: dt.date) -> _Counted:
    days = (end - first).days
    midnights = np.array(
        [midnight(first + k * _DAY, run.zone) for k in range(days + 1)], dtype="datetime64[us]"
    )
    rows = blocks.rows(
        run.conn, first, run.zone, last=end - _DAY, points=np.array(points, dtype=np.int64)
    ).by_point()
    energy = np.full((len(points), days + 1), MISSING)
    held, counted, _ = blocks.counted(run.conn, rows, midnights, run.zone, ["active_import"])
    if len(held):
        at = np.array([points.index(point) for point in held.tolist()], dtype=np.int64)
        place, known = np.arange(len(held)), counted["active_import"].why == Why.KNOWN
        # from each point's own first midnight that is known, for differences alone are used: who came within the span has none before
        begin = np.where(known.any(axis=1), known.argmax(axis=1), days + 1)
        for k in range(days + 1):
            moved = (
                counted["active_import"].between(place, np.minimum(begin, k), np.full(len(held), k)).energy
            )
            energy[at, k] = np.where(begin <= k, moved, MISSING)
    return _Counted({point: k for k, point in enumerate(points)}, energy)


def _known(counted: _Counted, days: Mapping[dt.date, tuple[int, ...]], first: dt.date, k: int) -> bool:
    """Whether everybody's register of midnight `k` is known, of those behind the transformer on either side of it."""
    who = {*days.get(first + (k - 1) * _DAY, ()), *days.get(first + k * _DAY, ())}
    return all(counted.energy[counted.place[point], k] != MISSING for point in who)


def _pieces(
    counted: _Counted, days: Mapping[dt.date, tuple[int, ...]], first: dt.date, end: dt.date
) -> list[tuple[int, int]]:
    """Spans of midnights that are known to all of the same points."""
    length = (end - first).days
    known = [k for k in range(length + 1) if _known(counted, days, first, k)]
    return [
        (a, b) for a, b in pairwise(known) if len({days.get(first + k * _DAY, ()) for k in range(a, b)}) == 1 and first + a * _DAY in days
    ]  # fmt: skip


def _whole(counted: _Counted, days: Mapping[dt.date, tuple[int, ...]], first: dt.date, end: dt.date) -> bool:
    """Whether the pieces are all of the days on which anybody is behind the transformer."""
    covered = {k for a, b in _pieces(counted, days, first, end) for k in range(a, b)}
    return {(day - first).days for day in days} <= covered


def _share(
    counted: _Counted,
    who: tuple[int, ...],
    losses: Mapping[dt.date, tuple[int, int]],
    first: dt.date,
    piece: tuple[int, int],
) -> dict[int, list[int]]:
    """point -> [iron, copper] of the days of a piece."""
    a, b = piece
    told = [losses.get(first + k * _DAY) for k in range(a, b)]
    if any(each is None for each in told):
        return {point: [MISSING, MISSING] for point in who}
    places = [counted.place[point] for point in who]
    used = np.maximum(counted.energy[places, b] - counted.energy[places, a], 0)
    upto = np.cumsum(used)
    if not upto[-1]:  # all of it is the first one's
        upto = np.ones_like(upto)
    parts = [
        np.diff(
            share(np.full(len(who), sum(each[side] for each in told if each)), upto, upto[-1:]), prepend=0
        ).tolist()
        for side in (0, 1)
    ]
    return {point: [parts[0][k], parts[1][k]] for k, point in enumerate(who)}


def _plus(a: int, b: int) -> int:
    return MISSING if MISSING in (a, b) else a + b
