"""Validation and estimation (VEE): every night of the day before, and again of each meter's day that late data touch.

A tile of meters at a time, each in transactions of its own: verdicts become findings, holes get estimates. Nothing that was read changes.
What was worked out from the same readings is the same, so a run that is repeated, or broken off and begun again, changes nothing.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headend.jobs import vee_day, vee_holes
from headend.jobs.frame import Run
from headend.jobs.vee_day import Around, Tile
from headend.jobs.vee_holes import Worked
from headend.store import blocks, feed, findings, vee
from headend.store.blocks import Block
from headend.store.coverage import today
from headend.store.db import StoreError
from headend.store.findings import Found
from lineloss.vee import finding
from lineloss.vee.rules import validate

I64 = NDArray[np.int64]

JOB: Final = "vee"
LATE: Final = "vee-late"
WHO: Final = "job:vee"
#: rows of the feed read at once: each tells of a batch's meters, so that is some ten thousand meter-days, a minute's work to repeat after a kill
FEED_ROWS: Final = 200
#: seconds after which a run over late data stops between two days: the balances of the quarter-hour wait behind it
SECONDS: Final = 60.0
#: how a summary ends when there is more to do at once
MORE: Final = "more waits"
#: days back that late data are followed by themselves: what meters still remember. Of what a file brings from before, `headend vee run
#: --day` is told.
KEPT: Final = 62
#: after a restore, or when the feed was thrown away under it: so many days anew
ANEW: Final = 7
#: what it makes itself need not be told to it
OTHERS: Final = tuple(change for change in feed.CHANGES if change != "estimated")
EPOCH: Final = dt.date(1970, 1, 1)


class NotOver(StoreError):
    """A day that is still running."""

    def __init__(self, day: dt.date) -> None:
        super().__init__(
            f"{day} is not over: its holes may still be filled by the meter; `headend vee show` looks at a running day"
        )


@dataclass(frozen=True, slots=True)
class Done:
    """Meters looked at, findings, estimates laid and withdrawn, holes that stay."""

    meters: int = 0
    found: int = 0
    laid: int = 0
    withdrawn: int = 0
    left: int = 0

    def __add__(self, other: Done) -> Done:
        return Done(*(getattr(self, name) + getattr(other, name) for name in Done.__slots__))

    def __str__(self) -> str:
        return (
            f"{self.meters} meter-days, {self.found} findings, {self.laid} estimates new or changed, {self.withdrawn} withdrawn, "
            f"{self.left} holes stay"
        )


def job(run: Run, day: dt.date) -> str:
    """The whole of a day that is over. Commits tile by tile. NotOver."""
    if day >= today(run.now, run.zone):
        raise NotOver(day)
    return str(whole_day(run, day))


def late(run: Run, day: dt.date) -> str:
    """What has changed since the last run in days before `day`, which `job` looks at, or will, as a whole. Commits step by step."""
    begun = time.monotonic()
    done = Done()
    more = True
    while more and time.monotonic() - begun < SECONDS:
        step, more = _step(run, min(day, today(run.now, run.zone)))
        done += step
    return str(done) + (f", {MORE}" if more else "")


def _step(run: Run, before: dt.date) -> tuple[Done, bool]:
    """(what the next rows of the feed led to, whether more wait). The cursor moves when their work is done: to do it twice changes nothing."""
    where = vee.cursor(run.conn, JOB)
    done, more = Done(), False
    try:
        if not where:
            where = feed.latest(run.conn)  # the first time: changes are followed from now on
        changed = feed.touched(run.conn, where, FEED_ROWS, OTHERS)
        where, more = changed.cursor, changed.more
        run.conn.commit()
        for day, meters in _days(changed, before):
            done += _some(run, day, meters)
    except (feed.StaleCursor, feed.BadCursor):
        where = feed.latest(run.conn)
        run.conn.commit()
        for back in range(ANEW, 0, -1):
            done += whole_day(run, before - dt.timedelta(days=back))
    with run.conn.transaction():
        vee.move(run.conn, JOB, where, run.now)
    run.conn.commit()
    return done, more


def _days(changed: feed.Touched, before: dt.date) -> Iterable[tuple[dt.date, I64]]:
    """Days before one and their meters, ascending: those told of, and the days beside them, since a hole may reach over midnight."""
    last = (before - EPOCH).days - 1
    keys = np.stack([changed.day, changed.meter], axis=1)[
        changed.topic != "phase"
    ]  # of that group no rule asks
    beside = np.concatenate([keys + np.array([k, 0]) for k in (-1, 0, 1)])
    beside = np.unique(beside[(beside[:, 0] <= last) & (beside[:, 0] > last - KEPT)], axis=0)
    for number in np.unique(beside[:, 0]).tolist():
        yield EPOCH + dt.timedelta(days=number), beside[beside[:, 0] == number, 1]


def whole_day(run: Run, day: dt.date) -> Done:
    """Everybody who was installed then."""
    of = vee_day.around(run, day)
    run.conn.commit()
    done, deep = Done(), [np.empty(0, dtype=np.int64)]
    for block in blocks.stream([run.conn], day, run.zone, vee_day.CODES, freezes=(), estimates="others"):
        step, rest = _tile(run, of, block)
        done += step
        deep.append(rest)
    # a meter's number each, of those whose holes the day alone does not settle
    return done + _deep(run, day, np.unique(np.concatenate(deep)))


def _some(run: Run, day: dt.date, meters: I64) -> Done:
    """These meters alone."""
    of = vee_day.around(run, day)
    done = Done()
    size = blocks.CELLS_AT_ONCE // 100  # a day's slots
    for begin in range(0, len(meters), size):
        block = blocks.load(
            run.conn,
            day,
            run.zone,
            vee_day.CODES,
            meters=meters[begin : begin + size],
            freezes=(),
            estimates="others",
        )
        run.conn.commit()
        if len(block.rows):
            step, rest = _tile(run, of, block)
            done += step + _deep(run, day, rest)
    return done


def _tile(run: Run, of: Around, block: Block) -> tuple[Done, I64]:
    """(what was done, the meters whose holes need a look at the weeks around)."""
    tile = vee_day.facts(run, block, of)
    found = _judge(run, tile, block)
    worked = list(vee_holes.within(tile, block.times))
    deep = np.unique(np.concatenate([w.meter[np.unique(w.estimates.left.row)] for w in worked]))
    done = Done(meters=len(tile.facts), found=found)
    for w in worked:
        done += _lay(run, w.without(np.isin(w.meter, deep)))
    return done, deep


def _judge(run: Run, tile: Tile, block: Block) -> int:
    told = list(finding.findings(validate(tile.facts), tile.facts, block.times))
    with run.conn.transaction():
        findings.save(
            run.conn, block.day, finding.NAMES,
            [
                Found(f.rule, f.rule_version, f.subject_kind, f.subject_id, f.severity, f.title_en, f.title_zh, f.evidence)
                for f in told
            ],
            now=run.now, meters=tile.facts.meter.tolist(),
        )  # fmt: skip
    run.conn.commit()
    return len(told)


def _deep(run: Run, day: dt.date, meters: I64) -> Done:
    done = Done()
    for begin in range(0, len(meters), vee_holes.METERS):
        worked = vee_holes.around(run, day, meters[begin : begin + vee_holes.METERS])
        run.conn.commit()
        for w in worked:
            done += _lay(run, w) + Done(left=len(w.estimates.left))
    return done


def _lay(run: Run, worked: Worked) -> Done:
    """The estimates go in where they differ from what stands; what stands and is none of them goes. A transaction of its own: the ledger's
    rows are locked in one go, in their order, so that nobody waits for each other."""
    if not len(worked.meter):
        return Done()
    new = worked.laying()
    with run.conn.transaction():
        stands = vee.standing(run.conn, worked.code, worked.meter, worked.times[0], worked.times[-1])
        same, stale = _compared(worked, new, stands)
        laid, gone = vee.lay(
            run.conn, worked.code, new.take(~same), (stands.meter[stale], stands.time[stale]), now=run.now, who=WHO, zone=run.zone
        )  # fmt: skip
    run.conn.commit()
    return Done(laid=laid, withdrawn=gone)


def _compared(
    worked: Worked, new: vee.Laying, stands: vee.Standing
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(which of the new stand already, which of those that stand are to go)."""
    width = len(worked.times)
    ours = np.searchsorted(worked.meter, new.meter) * width + np.searchsorted(worked.times, new.time)
    theirs = np.searchsorted(worked.meter, stands.meter) * width + np.searchsorted(worked.times, stands.time)
    at = np.minimum(np.searchsorted(theirs, ours), max(len(theirs) - 1, 0))
    if len(theirs):
        same = (theirs[at] == ours) & (stands.value[at] == new.value) & (stands.method[at] == new.method)
    else:
        same = np.zeros(len(ours), dtype=np.bool_)
    stale = worked.considered().ravel()[theirs] & ~np.isin(theirs, ours)
    return np.asarray(same, dtype=np.bool_), np.asarray(stale, dtype=np.bool_)
