"""A file of readings into the store: parse, check against the archive, and in by the one door that the collector uses.

All or nothing, in one transaction. What is wrong is gathered up to a bound and said with its lines. A file too large for one transaction
may be imported batch by batch: then all of it is checked before the first batch goes in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.importing import csvfile, nem12, parquet
from headend.importing.rows import MOST_COMPLAINTS, Complaints, Mark, Rows, check_marks, check_values
from headend.plans import CURVE, locate
from headend.store import intake, revisions, sheets
from headend.store.db import Connection
from headend.store.exchanges import Exchange, Said
from headend.store.intake import AHEAD, EARLIEST, Delivery
from headend.store.reads import Note
from headend.store.sheets import EDITED
from headend.store.tables import Source
from protocols.localtime import as_datetime
from protocols.quantity import quantities
from protocols.reading import MISSING, Reads

FORMATS: Final = ("csv", "parquet", "nem12")
REASON: Final = "read again from a file, different"
#: a terminal's number in an exchange that is a file
FILE: Final = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """What an import did: rows of the file, rows new and already there, values revised, cells that were no measurements and what came of them."""

    rows: int = 0
    new: int = 0
    repeated: int = 0
    revised: int = 0
    marked: int = 0
    laid_over: int = 0
    notes: tuple[str, ...] = field(default=())


class _DryRun(Exception):
    """Takes everything back."""


@dataclass(frozen=True, slots=True)
class Job:
    """One file to import. `at`: domain time; `opening`: NEM12's registers where the store has none, by meter, '' for all others."""

    path: Path
    format: str
    source: Source
    zone: ZoneInfo
    at: np.datetime64
    who: str
    opening: dict[str, int] = field(default_factory=dict)
    fast: bool = True

    @property
    def name(self) -> str:
        """As complaints and the exchange name it: no line ends."""
        return " ".join(self.path.name.split())

    def exchange(self) -> Exchange:
        """The evidence: which file, by its SHA-256."""
        with self.path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").digest()
        return Exchange(
            FILE,
            0,
            self.name,
            "file",
            f"import {self.source.name}",
            self.at,
            self.at,
            said=(Said(0.0, False, digest),),
        )

    def rows(self, conn: Connection, complaints: Complaints) -> Iterator[Rows]:
        if self.format == "csv":
            return csvfile.read(self.path, self.source, complaints, fast=self.fast)
        if self.format == "parquet":
            return parquet.read(self.path, self.source, complaints)
        return nem12.read(conn, self.path, complaints, self.zone, self.opening)


def guess(path: Path) -> str:
    """The format by the file's name, and its first bytes."""
    if path.suffix == ".parquet":
        return "parquet"
    with csvfile.opened(path) as handle:
        return "nem12" if handle.read(9) == "100,NEM12" else "csv"


def load(
    conn: Connection,
    job: Job,
    *,
    dry_run: bool = False,
    batches: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> Summary:
    """Import a file. BadFile says what is wrong with it; then nothing was imported, or (batches) what was committed before."""
    if batches and not dry_run:
        load(conn, job, dry_run=True)  # nothing can be taken back later, so everything is looked at first
        return _run(conn, job, progress, commit=True)
    summary = Summary()
    try:
        with conn.transaction():
            summary = _run(conn, job, progress, commit=False)
            if dry_run:
                raise _DryRun
    except _DryRun:
        pass
    return summary


def _run(conn: Connection, job: Job, progress: Callable[[int], None], *, commit: bool) -> Summary:
    complaints = Complaints(job.name)
    exchange, total = job.exchange(), Summary()
    for rows in job.rows(conn, complaints):
        meters = _known(conn, rows, complaints)
        _check(job, rows, complaints)
        check_values(rows, complaints)
        check_marks(rows, complaints)
        if complaints.total:  # nothing will be imported: only what else is wrong is of interest
            continue
        with conn.transaction():
            done = _save(conn, job, rows, meters, exchange)
        if commit:
            conn.commit()
        total = replace(
            total, rows=total.rows + done.rows, new=total.new + done.new, repeated=total.repeated + done.repeated,
            revised=total.revised + done.revised, marked=total.marked + done.marked, laid_over=total.laid_over + done.laid_over,
        )  # fmt: skip
        progress(total.rows)
    if complaints.total:
        raise complaints.error(total.rows if commit else 0)
    return total


def _known(conn: Connection, rows: Rows, complaints: Complaints) -> NDArray[np.int64]:
    """int64[n]: the meter_id of each row."""
    ids = sheets.meter_ids(conn, rows.assets)
    numbers = np.array([ids.get(asset, -1) for asset in rows.assets], dtype=np.int64)
    for k in np.flatnonzero(numbers < 0).tolist():
        mine = np.flatnonzero(rows.meter == k)
        if len(mine) and rows.assets[k]:
            more = f" ({len(mine)} rows)" if len(mine) > 1 else ""
            complaints.add(int(rows.line[mine[0]]), f"no meter {rows.assets[k]!r} in the archive{more}")
    return numbers[rows.meter] if len(rows) else rows.meter


def _check(job: Job, rows: Rows, complaints: Complaints) -> None:
    """Times: on the source's grid, and neither before there were such meters nor after now."""
    there = ~np.isnat(rows.time)
    _, index = locate(job.source.tables[0].plan or CURVE, rows.time[there], job.zone)
    grid = {
        "curve": "the end of a quarter-hour",
        "day": "a midnight",
        "month": "the midnight that closes a month",
    }
    for k in np.flatnonzero(there)[index < 0][:MOST_COMPLAINTS].tolist():
        complaints.add(
            int(rows.line[k]),
            f"{as_datetime(rows.time[k], job.zone).isoformat()} is not {grid[job.source.name]} in {job.zone}",
        )
    wrong = there & ((rows.time > job.at + AHEAD) | (rows.time < EARLIEST))
    for k in np.flatnonzero(wrong)[:MOST_COMPLAINTS].tolist():
        complaints.add(
            int(rows.line[k]),
            f"{as_datetime(rows.time[k], job.zone).isoformat()} cannot be: it is before 1990 or has not come yet",
        )


def _save(conn: Connection, job: Job, rows: Rows, meters: NDArray[np.int64], exchange: Exchange) -> Summary:
    """What was measured goes in as readings, what was not as revisions over them."""
    columns = {code: values.copy() for code, values in rows.columns.items()}
    for mark in rows.marks:
        columns[mark.code][mark.row] = _nothing(mark.code)
    reads = Reads(meters, rows.time, columns)
    held = np.logical_or.reduce(
        [np.zeros(len(rows), dtype=np.bool_), *(reads.valid(code) for code in columns)]
    )
    delivery = Delivery(job.source, job.at, reads if held.all() else reads.take(held), exchange=exchange)
    written = intake.save(conn, [delivery], job.zone, who=job.who, reason=REASON)
    laid = _lay_over(conn, job, rows, meters, exchange.evidence)
    return Summary(len(rows), written.new, written.repeated, written.revised, len(rows.marks), laid)


def _nothing(code: str) -> object:
    kind = quantities()[code].kind
    if kind in ("register", "event"):
        return MISSING
    return np.datetime64("NaT") if kind == "moment" else np.nan


def _lay_over(conn: Connection, job: Job, rows: Rows, meters: NDArray[np.int64], evidence: int) -> int:
    """Estimates and edits, those of one quantity, method and reason at a time."""
    groups: dict[tuple[str, str, str], list[Mark]] = {}
    for mark in rows.marks:
        method = revisions.EDIT if mark.quality == EDITED else mark.method
        groups.setdefault((mark.code, method, mark.reason), []).append(mark)
    made = 0
    for (code, method, reason), marks in sorted(groups.items()):
        table = next(table for table in job.source.tables if code in table.codes)
        k = np.array([mark.row for mark in marks], dtype=np.int64)
        k = k[np.lexsort((rows.time[k], meters[k]))]
        if (
            method != revisions.EDIT
        ):  # a file's estimate never displaces what the meter said, or a person decided
            k = k[~sheets.own_value(conn, table, code, meters[k], rows.time[k])]
        note = Note(job.at, reason or f"from {job.name}", job.who)
        values = rows.columns[code][k]
        made += revisions.revise(
            conn, table, code, meters[k], rows.time[k], values, note, method=method, zone=job.zone, evidence=evidence
        )  # fmt: skip
    return made
