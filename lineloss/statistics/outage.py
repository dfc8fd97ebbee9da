"""Where the light was out (停电) and when it came back (复电), inferred from what meters and terminals say of themselves.

A meter is *dark* in a slot by its own word alone: it noted a power cut, its voltages are gone, or it proved to have no record of the slot. It is
*lit* where it measured a voltage. Of who cannot be heard nothing is known: a carrier's network that is down leaves everybody unheard and nobody
dark, so it is no outage; nor is one house's fuse, a relay that was opened (its meter stays alive), or a recloser's second.

    certain   the area's own meter was dark, or four fifths of its customers' meters
    likely    a fifth of all its customers' meters, and at least three, by more than missing records
    possible  less was heard of it: the few that could be heard were dark, or its terminal alone told of a cut and fell silent
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.topology import sum_by

I64 = NDArray[np.int64]
Bits = NDArray[np.bool_]
Times = NDArray[np.datetime64]

SURE: Final = ("possible", "likely", "certain")
#: dark meters that make an outage of an area: fewer are their houses' own
LEAST: Final = 3
#: and which share of those heard of they must be: a phase or a branch that failed takes about so many. A default.
SHARE: Final = 0.2
#: share of all customers from which it is certain
MOST: Final = 0.8
#: a power cut that lasted less is a dip: a recloser's second is no outage. A default.
DIP: Final = np.timedelta64(60, "s")
#: a slot in which a meter has less than this share of its nominal voltage on every phase is dark: what is left is induced
GONE: Final = 0.2
#: and lit from this one on, on any phase
LIT: Final = 0.6


@dataclass(frozen=True, slots=True)
class Cuts:
    """Power cuts that meters noted, [cut]: row of the meter, since and until when (UTC); NaT: no end was noted."""

    meter: I64
    since: Times
    until: Times


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known of each meter and slot, bool[meter, slot]; told: by a power cut it noted or by its voltages, not by missing records alone."""

    dark: Bits
    lit: Bits
    told: Bits


def signs(
    times: Times, cuts: Cuts, voltage: NDArray[np.float64], nominal: NDArray[np.float64], absent: Bits
) -> Signs:
    """Of the slots between `times` [slot + 1]; voltage float64[meter, phase, slot] [V], NaN where not read; nominal float64[meter] [V], NaN not
    known: then 220; absent bool[meter, slot]: proved not to be recorded."""
    rated = np.where(np.isnan(nominal), 220.0, nominal)[:, None]
    there = ~np.isnan(voltage)
    highest = np.where(there, voltage, -np.inf).max(axis=1)
    read = there.any(axis=1)
    gone = read & (highest < GONE * rated)
    lit = read & (highest >= LIT * rated)
    told = noted(times, cuts, lit)
    return Signs(dark=told | gone | (absent & ~lit), lit=lit, told=told | gone)


def noted(times: Times, cuts: Cuts, lit: Bits) -> Bits:
    """bool[meter, slot]: a noted cut lies in it. One without an end goes on until the meter is lit again."""
    slots = len(times) - 1
    open_ = np.isnat(cuts.until)
    until = np.where(open_, times[-1], cuts.until)
    some = (until > times[0]) & (cuts.since < times[-1]) & (open_ | (until - cuts.since >= DIP))
    meter, since, until, open_ = cuts.meter[some], cuts.since[some], until[some], open_[some]
    first = np.clip(np.searchsorted(times, since, side="right") - 1, 0, slots - 1)
    last = np.clip(np.searchsorted(times, until, side="left"), 1, slots)
    # of a cut without an end: up to the first slot in which the meter was lit; if that is its own, nobody knows whether it was more than a dip
    after = lit[meter] & (np.arange(slots) >= first[:, None])
    last = np.where(open_ & after.any(axis=1), after.argmax(axis=1), last)
    steps = np.zeros((len(lit), slots + 1), dtype=np.int64)
    np.add.at(steps, (meter, first), 1)
    np.add.at(steps, (meter, last), -1)
    return np.asarray(steps.cumsum(axis=1)[:, :-1] > 0)


@dataclass(frozen=True, slots=True)
class Area:
    """Who is what. area int64[meter] index of the area, -1 none; supply, customer bool[meter]; terminal bool[area, slot]: its terminal told of
    a power cut of its own then. areas: how many there are."""

    area: I64
    supply: Bits
    customer: Bits
    terminal: Bits
    areas: int


@dataclass(frozen=True, slots=True)
class Outages:
    """[outage], by area and time.

    area       int64, index
    first, last  int64, slots (from 0) between which it lasted
    began, ended datetime64[us] UTC; exact bool[outage, 2]: by what meters noted to the second, else by slots
    open       bool: it lasts at the end of what was looked at
    sure       int64, index into SURE
    dark       int64, customers' meters that were dark at most at a time
    customers  int64, all customers' meters of the area
    heard      int64, those of which anything was known at that time
    supply     bool, the area's own meter was dark
    """

    area: I64
    first: I64
    last: I64
    began: Times
    ended: Times
    exact: Bits
    open: Bits
    sure: I64
    dark: I64
    customers: I64
    heard: I64
    supply: Bits

    def __len__(self) -> int:
        return len(self.area)


def find(times: Times, signs: Signs, cuts: Cuts, who: Area) -> Outages:
    """The outages of the areas between times[0] and times[-1]."""

    def count(bits: Bits, rows: Bits) -> I64:
        return np.asarray(sum_by(np.where(rows, who.area, -1), who.areas, bits.astype(np.int64)))

    customers = np.bincount(who.area[who.customer & (who.area >= 0)], minlength=who.areas)
    dark = count(signs.dark, who.customer)
    told = count(signs.told, who.customer)
    own = count(signs.dark & signs.told, who.supply) > 0
    own_lit = count(signs.lit, who.supply) > 0
    heard = count(signs.dark | signs.lit, who.customer)
    many = (dark >= LEAST) & (dark >= SHARE * heard)
    alone = who.terminal & (heard == 0) & ~own_lit
    out = own | many | alone
    sure = np.zeros(out.shape, dtype=np.int64)
    sure[many & (dark >= SHARE * customers[:, None]) & (told > 0)] = 1
    # what is certain does not rest on missing records alone
    sure[own & ~(own_lit & (dark < LEAST)) | (many & (told >= MOST * customers[:, None]))] = 2
    area, first, last = _runs(out)
    began, ended, exact = _ends(times, cuts, who.area, area, first, last)
    rows = list(zip(area.tolist(), first.tolist(), (last + 1).tolist(), strict=True))
    peak = np.array([a * out.shape[1] + f + int(dark[a, f:e].argmax()) for a, f, e in rows], dtype=np.int64)
    return Outages(
        area, first, last, began, ended, exact,
        open=last == out.shape[1] - 1,
        sure=np.array([sure[a, f:e].max() for a, f, e in rows], dtype=np.int64),
        dark=dark.ravel()[peak],
        customers=customers[area],
        heard=heard.ravel()[peak],
        supply=np.array([own[a, f:e].any() for a, f, e in rows], dtype=np.bool_),
    )  # fmt: skip


def _runs(mask: Bits) -> tuple[I64, I64, I64]:
    """(row, first column, last column) of each run of True."""
    edge = np.zeros((len(mask), 1), dtype=np.int8)
    change = np.diff(np.concatenate([edge, mask.astype(np.int8), edge], axis=1), axis=1)
    row, first = np.nonzero(change == 1)
    _, end = np.nonzero(change == -1)
    return row, first, end - 1


def _ends(
    times: Times, cuts: Cuts, area_of: I64, area: I64, first: I64, last: I64
) -> tuple[Times, Times, Bits]:
    """(began, ended, exact [outage, 2]): the median of what meters noted within the first and the last slot, else the slots' own ends."""
    began, ended = times[first].copy(), times[last + 1].copy()
    exact = np.zeros((len(area), 2), dtype=np.bool_)
    of = area_of[cuts.meter]
    for k, (a, f, e) in enumerate(zip(area.tolist(), first.tolist(), last.tolist(), strict=True)):
        mine = of == a  # outages of a day are few
        for side, when, slot in ((0, cuts.since, f), (1, cuts.until, e)):
            noted = when[mine & (when >= times[slot]) & (when <= times[slot + 1])]
            if len(noted):
                (began if side == 0 else ended)[k] = np.sort(noted)[len(noted) // 2]
                exact[k, side] = True
    return began, ended, exact


def together(area: I64, began: Times, line: I64) -> I64:
    """int64[outage]: how many areas of the same line went out within a quarter-hour of each, itself counted; line -1: none is said."""
    count = np.ones(len(area), dtype=np.int64)
    if not len(area):
        return count
    order = np.lexsort((began, line))
    edges = np.flatnonzero(np.diff(line[order], prepend=-2))
    near = np.timedelta64(15, "m")
    for begin, end in zip(edges.tolist(), [*edges.tolist()[1:], len(order)], strict=True):
        if line[order[begin]] < 0:
            continue
        rows = order[begin:end]
        low = np.searchsorted(began[rows], began[rows] - near)
        high = np.searchsorted(began[rows], began[rows] + near, side="right")
        for k, (first, last) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            count[rows[k]] = len(np.unique(area[rows[first:last]]))
    return count
