"""The figures of a day that is over: was everything collected, how did loads run, was the voltage right, what will areas take, where was it dark.

Success is counted again for the day before: its cycle has ended meanwhile, and what came late is in. Each part commits by itself.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headend.jobs import forecasts, outages
from headend.jobs.frame import Run
from headend.plans import CURVE, DAY, points
from headend.store import blocks, coverage, members, statistics, watch
from headend.store.coverage import today
from headend.store.db import StoreError
from headend.store.members import Members
from lineloss.meterday import nominal_of
from lineloss.statistics import load, success, voltage
from lineloss.statistics.load import Sums
from protocols.localtime import as_datetime

I64 = NDArray[np.int64]

NAME: Final = "statistics"
ONLINE: Final = "online"
#: meters whose ledger is counted at once: their masks of two plans are 25 MB
LEDGER_AT_ONCE: Final = 25_000
_VOLTAGES: Final = ("voltage_a", "voltage_b", "voltage_c")


class NotOver(StoreError):
    def __init__(self, day: dt.date) -> None:
        super().__init__(f"{day} is not over; figures are made of whole days")


def job(run: Run, day: dt.date) -> str:
    """All figures of `day`, which must be over."""
    if day >= today(run.now, run.zone):
        raise NotOver(day)
    told = [success_of(run, one) for one in (day - dt.timedelta(days=1), day)]
    who = members.load(run.conn, day, run.zone)
    return ", ".join(
        [
            told[1],
            load_of(run, day, who),
            voltage_of(run, day, who),
            forecasts.job(run, day),
            outages.job(run, day),
        ]
    )


def online(run: Run, day: dt.date) -> str:
    """A look at which terminals are on line; `day`: today."""
    statistics.prepare(run.conn, day, "terminal_day")
    with run.conn.transaction():
        looked = statistics.look(run.conn, day, run.now)
    return f"{looked} terminals"


# --- success ---


def success_of(run: Run, day: dt.date) -> str:
    """Count a day's ledger."""
    conn = run.conn
    statistics.prepare(conn, day, "success_day", "terminal_day")
    who = members.load(conn, day, run.zone)
    counted, brought = _ledger(run, day, who)
    with conn.transaction():
        statistics.exchanged(conn, day, brought)
        columns = _counts(run, day, who, counted)
        here = columns["points"] > 0
        statistics.save(
            conn, "success_day", day, [key for key, some in zip(who.groups.keys, here, strict=True) if some],
            {name: ("bigint", column[here].tolist()) for name, column in columns.items()},
        )  # fmt: skip
    conn.commit()
    return f"{int(counted[:, 0].sum())} freezes and {int(counted[:, 3].sum())} points due"


def _ledger(run: Run, day: dt.date, who: Members) -> tuple[I64, I64]:
    """(counts int64[member, METER_COUNTS]; the terminals that brought something), some terminals at a time."""
    counted = np.zeros((len(who.point), len(success.METER_COUNTS)), dtype=np.int64)
    brought = [np.empty(0, dtype=np.int64)]
    terminal, meters = watch.terminals(run.conn, day, run.zone)
    piece = (np.cumsum(meters) - 1) // LEDGER_AT_ONCE  # a terminal goes where its last meter falls
    for number in np.unique(piece).tolist():
        some = terminal[piece == number].tolist()
        freeze = coverage.day_matrix(run.conn, DAY, day, now=run.now, zone=run.zone, terminals=some)
        curve = coverage.day_matrix(
            run.conn, CURVE, day, now=run.now, zone=run.zone, terminals=some, reasons=()
        )
        run.conn.commit()
        of_day, of_curve = coverage.marks(freeze), coverage.marks(curve)
        at = who.at[np.searchsorted(who.meter, freeze.meters)]
        np.add.at(counted, at, success.of_meters(of_day, of_curve))
        brought.append(freeze.terminals[success.bringing(of_day, of_curve)])
    return counted, np.unique(np.concatenate(brought))


def _counts(run: Run, day: dt.date, who: Members, counted: I64) -> dict[str, I64]:
    """By success.COUNTS, int64[group] each."""
    groups = who.groups
    summed = groups.sum(counted)
    columns = {name: summed[:, k] for k, name in enumerate(success.METER_COUNTS)}
    ids = np.unique(who.terminal[who.terminal >= 0])
    told = statistics.terminals(run.conn, day, ids)
    index = np.where(who.terminal >= 0, np.searchsorted(ids, who.terminal), -1)
    terminals = groups.over(index, len(ids))
    in_service = told["commissioned"]
    for name in ("commissioned", "exchanging", "looks", "online"):
        columns[name] = terminals.sum(told[name] * in_service)
    covered = np.zeros(len(who.point), dtype=np.int64)
    covered[index >= 0] = in_service[index[index >= 0]]
    columns["points"] = groups.sum(np.ones(len(who.point), dtype=np.int64))
    columns["covered"] = groups.sum(covered)
    return columns


# --- load and voltage ---


def load_of(run: Run, day: dt.date, who: Members) -> str:
    """How the customers' loads ran, by group. Estimates count: a load is not a bill."""
    conn = run.conn
    statistics.prepare(conn, day, "load_day")
    times = points(CURVE, day, run.zone)
    empty = np.zeros(len(who.groups.keys), dtype=np.int64)
    sums = Sums(empty, empty, np.zeros((len(empty), len(times)), dtype=np.int64), empty)
    for block in blocks.stream_energies([conn], day, run.zone, ("active_import",)):
        at = np.searchsorted(who.point, block.point)
        known = at < len(who.point)
        known[known] = (who.point[at[known]] == block.point[known]) & who.customer[at[known]]
        sums = sums + load.gather(block.energies["active_import"].energy[known], who.groups.part(at[known]))
    conn.commit()
    shape, simultaneity = load.of_groups(sums)
    here = sums.members > 0
    columns: dict[str, tuple[str, list[Any]]] = {
        "members": ("int", sums.members[here].tolist()),
        "whole": ("int", sums.whole[here].tolist()),
        **{name: ("float8", _or_none(getattr(shape, name)[here])) for name in ("energy", "mean", "high", "low", "factor")},
        "high_at": ("timestamptz", [as_datetime(times[k]) if k >= 0 else None for k in shape.high_slot[here].tolist()]),
        "low_at": ("timestamptz", [as_datetime(times[k]) if k >= 0 else None for k in shape.low_slot[here].tolist()]),
        "simultaneity": ("float8", _or_none(simultaneity[here])),
    }  # fmt: skip
    with conn.transaction():
        statistics.save(
            conn,
            "load_day",
            day,
            [key for key, some in zip(who.groups.keys, here, strict=True) if some],
            columns,
        )
    conn.commit()
    return f"loads of {int(here.sum())} groups"


def voltage_of(run: Run, day: dt.date, who: Members) -> str:
    """Minutes in and out of limits, by group and class."""
    conn = run.conn
    statistics.prepare(conn, day, "voltage_day")
    total = np.zeros((len(who.groups.keys), len(voltage.CLASSES), 1 + len(voltage.MINUTES)), dtype=np.int64)
    for block in blocks.stream([conn], day, run.zone, _VOLTAGES, freezes=()):
        # a meter on several roles is in several rows
        meter, first = np.unique(block.rows.meter, return_index=True)
        volts = np.stack([block.instants[code][first] for code in _VOLTAGES], axis=1).astype(np.float64)
        nominal, at = nominal_of(volts), who.at[np.searchsorted(who.meter, meter)]
        order = np.argsort(at, kind="stable")
        volts, nominal, at = volts[order], nominal[order], at[order]
        for k in range(len(voltage.CLASSES)):
            mine = who.level[at] == k
            if mine.any():
                part = who.groups.part(at[mine])
                total[:, k] += voltage.minutes(volts[mine], nominal[mine], who.high[at[mine]], part)
    conn.commit()
    flat = total.reshape(-1, total.shape[2])
    here = flat[:, 0] > 0
    keys = [key for key, some in zip(statistics.with_class(who.groups.keys), here, strict=True) if some]
    columns = {"meters": ("int", flat[here, 0].tolist())}
    columns |= {name: ("bigint", flat[here, 1 + k].tolist()) for k, name in enumerate(voltage.MINUTES)}
    with conn.transaction():
        statistics.save(conn, "voltage_day", day, keys, columns)
    conn.commit()
    return f"voltages of {len(keys)} groups and classes"


def _or_none(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values.tolist()]
