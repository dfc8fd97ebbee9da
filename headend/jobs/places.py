"""Meters that are archived in the wrong area, line by line: every customer's voltages against the transformers of his line.

It takes a second or two an area, and an archive does not change overnight. So each night has some lines, in turns; a large fleet is once round
in some months. What was said of a meter stays until its line's next turn says otherwise.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headend.jobs import network
from headend.jobs.frame import Run
from headend.jobs.network import Network
from headend.plans import CURVE, points
from headend.store import findings
from headend.store import network as archive
from lineloss.finding import Finding
from lineloss.membership import find_moves
from lineloss.rules import wrong_area
from protocols.localtime import midnight

I64 = NDArray[np.int64]

#: Days looked at together, as for the suspects.
WINDOW: Final = 7
#: Areas looked at in one night, about: a second or two each, and the prepaid balances wait behind it.
AREAS: Final = 40
#: Transformers that one customer's voltages are compared with: those of his line, the first by number where a line has more. A line of 10 kV
#: feeds some tens of areas; two that are not on one line are hardly ever taken for each other by who wrote the archive.
ON_A_LINE: Final = 100


def job(run: Run, day: dt.date) -> str:
    """The lines whose turn it is, over the days up to `day`."""
    if network.slots_due(run, day) < len(points(CURVE, day, run.zone)):
        return "day not over"
    areas, lines = archive.areas_by_line(run.conn, midnight(day, run.zone))
    looked, found, looked_at = 0, [], set[int]()
    for some in turn(areas, lines, day):
        for net in windows(run, day, some):
            looked_at |= set(net.topology.meter.tolist())
            found += judge(net)
        looked += len(some)
    added, over = findings.save(
        run.conn, day, (wrong_area.RULE,), findings.named(run.conn, found), now=run.now, ends=(wrong_area.RULE,),
        meters=sorted(looked_at),
    )  # fmt: skip
    return f"{looked} areas, {len(found)} findings, {added} new, {over} over"


def turn(areas: I64, lines: I64, day: dt.date) -> list[I64]:
    """The areas of each line whose turn it is on `day`; lines that have one area alone have nothing to compare.

    areas, lines  int64[area] by line
    """
    cut = np.flatnonzero(np.diff(lines)) + 1
    groups = [some[:ON_A_LINE] for some in np.split(areas, cut) if len(some) > 1]
    if not groups:
        return []
    full = (np.cumsum([len(some) for some in groups]) - 1) // AREAS
    _, night = np.unique(full, return_inverse=True)  # a long line fills several
    tonight = day.toordinal() % (int(night[-1]) + 1)
    return [some for some, n in zip(groups, night.tolist(), strict=True) if n == tonight]


def windows(run: Run, day: dt.date, areas: I64) -> Iterator[Network]:
    """Blocks of some of a line's areas, each with the supply meters of all of them: a block holds a few thousand meter-days, whatever the line."""
    first = day - dt.timedelta(days=WINDOW - 1)
    return network.window(run, first, day, areas, wrong_area.NEEDS, supplies=True)


def judge(net: Network) -> list[Finding]:
    """What is said of a block of one line. Pure."""
    moves = find_moves(
        net.topology,
        net.phases("voltage"),
        net.phases("current"),
        net.imports,
        net.exports,
        roll_over=net.roll_over,
    )
    return wrong_area.find(net.topology, moves)
