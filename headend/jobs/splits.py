"""Losses of lines, buses, transformers, regions and voltage levels of whole days and months, and of areas by month.

Yesterday each time, and every earlier day of which there are losses and that the change feed has told of since: late readings make their days'
losses again, those of the areas too, and the months of these.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.jobs import lineloss
from headend.jobs.frame import Run
from headend.plans import CURVE, points
from headend.store import archive, blocks, feed, metered, network, splits
from headend.store.coverage import today
from headend.store.db import Connection
from headend.store.metered import Points
from headend.store.splits import ObjectLoss
from lineloss import hierarchy, transformer
from lineloss.hierarchy import KINDS, LEVELS, Grid
from lineloss.splits import STATUSES, Cause, Metered, Split, rest, split
from lineloss.topology import Links, Pairs, Role, pairs, sum_by
from lineloss.transformer import Losses, Plates
from protocols.localtime import as_datetime, midnight
from protocols.reading import MISSING

I64 = NDArray[np.int64]
Floats = NDArray[np.float64]

NAME: Final = "splits"
#: Days made again in one run: with a million meters each takes a minute or so, and the prepaid balances wait behind it. What is left has its
#: turn with the next run.
DAYS_AT_ONCE: Final = 7
#: Rows of the feed looked at in one run: a row names the meters of a batch's day.
FEED_ROWS: Final = 20_000
#: A transformer that nobody meters is taken to pass at most so much more than its plate says, on average of a day. A default: none is run
#: so for a day on end, and no public source gives a number for all of them.
OVERLOAD: Final = 1.5
_UNITS: Final = 10_000

WHY: Final = {
    Cause.NONE: "",
    Cause.NO_SUPPLY: "the archive does not say what supplies it",
    Cause.NO_RECEIVER: "the archive has nothing that receives from it",
    Cause.SUPPLY_MISSING: "of what supplies it, registers are missing or a role changed within",
    Cause.NO_LIMIT: "registers are missing, or a role changed within, and nothing says how much that may be",
    Cause.PART_MISSING: "registers are missing, or a role changed within: limits by capacity and by what its area was given",
    Cause.UNMETERED: "areas on it have no supply meter: limits by their transformers' capacity",
    Cause.VAGUE: "registers were read too far from its ends: the figure is interpolated",
}


@dataclass(frozen=True, slots=True)
class Span:
    """Whole local days. `hours` of it; one of 23 or 25 hours has as many."""

    first: dt.date
    last: dt.date
    begin: np.datetime64
    end: np.datetime64

    @property
    def hours(self) -> float:
        return float((self.end - self.begin) / np.timedelta64(1, "h"))

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1


def span(first: dt.date, last: dt.date, zone: ZoneInfo) -> Span:
    return Span(first, last, midnight(first, zone), midnight(last + dt.timedelta(days=1), zone))


def job(run: Run, day: dt.date) -> str:
    """Losses of `day`, which must be over, and of what late readings have touched."""
    now = today(run.now, run.zone)
    if day >= now:
        return "the day is not over"
    _follow(run)
    late = [one for one in splits.take_stale(run.conn, now, DAYS_AT_ONCE) if one != day]
    for one in late:
        lineloss.job(run, one)
    days = [day, *late]
    grid = network.grid(run.conn)
    links = hierarchy.links(grid)
    changed = sum(day_losses(run, grid, links, one) for one in days)
    months = sorted({one.replace(day=1) for one in days})
    over = [month for month in months if _next(month) <= now]
    changed += sum(month_losses(run, grid, links, month) for month in over)
    return f"{len(days)} days and {len(over)} months, {changed} losses changed"


def _next(month: dt.date) -> dt.date:
    return (month.replace(day=1) + dt.timedelta(days=32)).replace(day=1)


def _follow(run: Run) -> None:
    """Days that changed since the last run are to be made again; at the first run, and after a restore, all that have losses."""
    conn = run.conn
    conn.execute(
        "INSERT INTO job_cursor VALUES (%s, '', %s) ON CONFLICT DO NOTHING", (NAME, as_datetime(run.now))
    )
    row = conn.execute("SELECT cursor FROM job_cursor WHERE job = %s FOR UPDATE", (NAME,)).fetchone()
    assert row is not None
    try:
        if not row["cursor"]:
            raise feed.StaleCursor("never ran")
        touched = feed.touched(conn, row["cursor"], FEED_ROWS)
        cursor = touched.cursor
        # a register closes one day and opens the next
        numbers = np.unique(np.concatenate([touched.day, touched.day + 1]))
        days = [dt.date(1970, 1, 1) + dt.timedelta(days=int(n)) for n in numbers]
    except (feed.StaleCursor, feed.BadCursor):
        cursor, days = feed.latest(conn), None
    splits.put_off(conn, days)
    conn.execute(
        "UPDATE job_cursor SET cursor = %s, at = %s WHERE job = %s", (cursor, as_datetime(run.now), NAME)
    )


def day_losses(run: Run, grid: Grid, links: dict[str, Links], day: dt.date) -> int:
    """Compute and save one day; how many losses changed. Areas have had theirs (jobs/lineloss.py)."""
    over = span(day, day, run.zone)
    made = compute(run.conn, grid, links, over, run.zone, slots=True)
    kinds = [kind for kind in KINDS if kind != "area"]
    return sum(splits.save(run.conn, kind, "day", day, made[kind], now=run.now) for kind in kinds)


def month_losses(run: Run, grid: Grid, links: dict[str, Links], month: dt.date) -> int:
    """The same of a month: from the registers at its ends, which need no day between; else from its days."""
    over = span(month, _next(month) - dt.timedelta(days=1), run.zone)
    made = compute(run.conn, grid, links, over, run.zone, slots=False)
    changed = 0
    for kind in KINDS:
        summed = splits.days_of_month(run.conn, kind, month, over.days)
        losses = [_or_days(loss, summed.get((loss.object_id, loss.level_v))) for loss in made[kind]]
        changed += splits.save(run.conn, kind, "month", month, losses, now=run.now)
    return changed


def _or_days(loss: ObjectLoss, days: dict[str, Any] | None) -> ObjectLoss:
    """The sum of the days where it says more: of transformers, which their curves tell best, and of what is not known by its ends."""
    if days is None or (loss.status == "known" and (loss.iron is None or loss.method == "registers")):
        return loss
    names = ("supplied", "sold", "loss", "loss_low", "loss_high", "iron", "copper", "load")
    rate = days["loss"] / days["supplied"] if days["supplied"] > 0 else None
    return replace(
        loss,
        **{name: days[name] for name in names},
        rate=rate,
        status="known",
        unmetered=0,
        method="days",
        why="",
    )


def compute(
    conn: Connection, grid: Grid, links: dict[str, Links], over: Span, zone: ZoneInfo, *, slots: bool
) -> dict[str, list[ObjectLoss]]:
    """Every kind's losses in a span. `slots`: transformers by their load curve."""
    found = metered.metered(conn, over.first, over.last, zone)
    of = {
        kind: pairs(some, found.id, found.since, found.until, over.begin, over.end)
        for kind, some in links.items()
    }
    limit = _limits(conn, of["area"], found, over)
    bare = _unmetered(conn, grid, of, over)
    result = {}
    for kind in KINDS:
        told = split(of[kind], found.metered, limit, bare.get(kind))
        result[kind] = _rows(told, found.id, levelled=kind == "voltage")
    result["transformer"] = _transformers(
        conn, of["transformer"], found, over, zone, result["transformer"], slots
    )
    return result


def _limits(conn: Connection, areas: Pairs, found: Points, over: Span) -> I64:
    """int64[point]: the most that may have flowed through points that are not known."""
    known = (found.metered.forward.value != MISSING) & (found.metered.reverse.value != MISSING)
    limit = rest(areas, found.metered)
    # also of points whose role changed within: they are as good as missing to the objects that they changed
    at = np.flatnonzero(~known)
    kva = network.capacities(conn, found.id[at], over.begin, over.end)
    able = np.where(np.isnan(kva), MISSING, np.nan_to_num(kva) * over.hours * OVERLOAD * _UNITS).astype(
        np.int64
    )
    here = limit[at]
    limit[at] = np.where(here == MISSING, able, np.where(able == MISSING, here, np.minimum(here, able)))
    return limit


def _unmetered(conn: Connection, grid: Grid, of: dict[str, Pairs], over: Span) -> dict[str, I64]:
    """Kind -> int64[object]: what areas without a supply meter may have taken at most."""
    capacity = archive.capacities(conn)
    ids = np.array(sorted(capacity), dtype=np.int64)
    most = np.array([capacity[key] for key in ids.tolist()]) * over.hours * OVERLOAD * _UNITS
    areas = of["area"]
    with_supply = areas.object_id[areas.has(Role.SUPPLY)]
    result = {}
    for kind, hangs in hierarchy.unmetered(grid).items():
        there = hangs.take(
            (hangs.since < over.end) & (hangs.until > over.begin) & ~np.isin(hangs.child, with_supply)
        )
        at = np.searchsorted(of[kind].object_id, there.parent)
        at = np.where(np.isin(there.parent, of[kind].object_id), at, -1)
        at, area = np.unique(np.stack([at, there.child]), axis=1) if len(at) else (at, at)
        result[kind] = sum_by(at, of[kind].objects, most[np.searchsorted(ids, area)].astype(np.int64))
    return result


def _rows(told: Split, point: I64, *, levelled: bool) -> list[ObjectLoss]:
    """As they are stored: a row an object is a result, not a reading."""
    rows = []
    order = np.argsort(told.missing[0], kind="stable")
    which, who = told.missing[0][order], point[told.missing[1][order]]
    start = np.searchsorted(which, np.arange(len(told) + 1))
    for k in range(len(told)):
        object_id, level = divmod(int(told.object_id[k]), LEVELS) if levelled else (int(told.object_id[k]), 0)
        gone = who[start[k] : min(start[k + 1], start[k] + splits.MOST_MISSING)].tolist()
        cause, absent = Cause(int(told.cause[k])), int(told.due[k] - told.have[k])
        why = WHY[cause] + (f" ({absent} of {int(told.due[k])} points)" if absent else "")
        columns = {
            name: _or_none(getattr(told, name)[k]) for name in ("supplied", "sold", "loss", "low", "high")
        }
        rows.append(
            ObjectLoss(
                object_id, level, STATUSES[told.status[k]], columns["supplied"], columns["sold"], columns["loss"], columns["low"],
                columns["high"], int(told.unmetered[k]), None if np.isnan(told.rate[k]) else float(told.rate[k]), None, None, None,
                "registers", int(told.due[k]), int(told.have[k]), gone, why,
            )
        )  # fmt: skip
    return rows


def _or_none(value: np.int64) -> int | None:
    return None if value == MISSING else int(value)


def _transformers(
    conn: Connection,
    of: Pairs,
    found: Points,
    over: Span,
    zone: ZoneInfo,
    measured: list[ObjectLoss],
    slots: bool,
) -> list[ObjectLoss]:
    """What plates say of the transformers; where both sides are metered, the loss is that of the meters."""
    supplied = of.has(Role.SUPPLY)
    side = np.where(supplied, Role.SUPPLY, Role.RECEIVE)[of.object]
    mine = of.role == side
    taking = Pairs(of.point[mine], of.object[mine], of.role[mine], of.moved[mine], of.object_id)
    net = _net(taking, found.metered)
    active, reactive = _slots(conn, taking, found, over, zone) if slots else (np.zeros((of.objects, 0)),) * 2
    told = transformer.losses(
        Plates(**network.plates(conn, of.object_id)),
        over.hours,
        net,
        np.full(len(net), np.nan),
        active,
        reactive,
    )
    wrong = np.zeros(of.objects)
    np.maximum.at(wrong, taking.object, found.accuracy[taking.point])
    return [
        _by_plate(row, told, k, float(net[k]), bool(supplied[k]), float(wrong[k]))
        for k, row in enumerate(measured)
    ]


def _net(taking: Pairs, flows: Metered) -> Floats:
    """float64[transformer] [kWh]: what went through it; NaN where a point is not known."""
    forward, reverse = flows.forward.value[taking.point], flows.reverse.value[taking.point]
    bad = taking.moved | (forward == MISSING) | (reverse == MISSING)
    energy = taking.sum(np.where(bad, 0, forward) - np.where(bad, 0, reverse))
    some = np.bincount(taking.object, minlength=taking.objects) > 0
    return np.where(some & (taking.sum(bad.astype(np.int64)) == 0), energy / _UNITS, np.nan)


def _slots(
    conn: Connection, taking: Pairs, found: Points, over: Span, zone: ZoneInfo
) -> tuple[Floats, Floats]:
    """Net active [kWh] and reactive [kvarh] energy by quarter-hour, float64[transformer, slot]; NaN where a point lacks it."""
    codes = ("active_import", "active_export", "reactive_import", "reactive_export")
    width = sum(len(points(CURVE, over.first + dt.timedelta(days=k), zone)) for k in range(over.days))
    ids = np.unique(found.id[taking.point])
    if not len(ids):
        return np.full((taking.objects, width), np.nan), np.full((taking.objects, width), np.nan)
    block = blocks.energies(conn, over.first, zone, codes, last=over.last, points=ids)
    at = np.searchsorted(block.point, found.id[taking.point])
    summed = []
    for taken, given in (codes[:2], codes[2:]):
        forward, reverse = (block.energies[code].energy[at] for code in (taken, given))
        # who feeds nothing in has no such register
        never = (reverse == MISSING).all(axis=1) & ~found.metered.exports[taking.point]
        reverse = np.where(never[:, None], 0, reverse)
        bad = (forward == MISSING) | (reverse == MISSING) | taking.moved[:, None]
        energy = taking.sum(np.where(bad, 0, forward) - np.where(bad, 0, reverse))
        summed.append(np.where(taking.sum(bad.astype(np.int64)) > 0, np.nan, energy / _UNITS))
    return summed[0], summed[1]


def _by_plate(
    row: ObjectLoss, told: Losses, k: int, through: float, high_side: bool, wrong: float
) -> ObjectLoss:
    """The transformer's row with what its plate says, in the place of the meters' loss where they do not tell it.

    `wrong`: class of the meters as a fraction; load loss goes with the square of what they show."""
    if np.isnan(told.iron[k]) or np.isnan(through):
        return row if row.status != "unknown" else replace(row, why=row.why or WHY[Cause.SUPPLY_MISSING])
    iron, copper = round(told.iron[k] * _UNITS), round(told.copper[k] * _UNITS)
    plate = replace(row, iron=iron, copper=copper, load=float(told.load[k]))
    if row.loss is not None:
        return plate
    loss, energy = iron + copper, round(through * _UNITS)
    supplied = energy if high_side else energy + loss
    low = told.iron[k] + (told.low[k] - told.iron[k]) * (1 - wrong) ** 2
    high = told.iron[k] + (told.high[k] - told.iron[k]) * (1 + wrong) ** 2
    return replace(
        plate, status="known", supplied=supplied, sold=supplied - loss, loss=loss, loss_low=int(np.floor(low * _UNITS)),
        loss_high=int(np.ceil(high * _UNITS)), unmetered=0, rate=loss / supplied if supplied > 0 else None,
        method="curve" if told.by_curve[k] > 0.999 else "energy", missing=(), why="",
    )  # fmt: skip
