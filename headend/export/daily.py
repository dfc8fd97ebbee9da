"""The daily file: a local day's curve and its freezes, as gzip of the wide CSV, sealed by a manifest that is written last.

    curve-2026-03-11.csv.gz    the slots of the day
    day-2026-03-11.csv.gz      the freezes at its opening and its closing midnight, so that its energy can be computed from the file alone
    daily-2026-03-11.json      rows, control totals, SHA-256 of each, the feed's cursor

The same data give the same bytes: nothing in the files tells when they were made. A day that was written before and is the same now stays
as it is; one that changed is written beside, as revision 2 and on (`….r2.…`), with a count of what changed. The cursor was taken in the
snapshot that the files were read in: who takes the files and then follows the feed from there misses nothing, and may hear again of a
change that is in the files already.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, Final
from zoneinfo import ZoneInfo

import numpy as np

from headend import __version__
from headend.export import csv_wide
from headend.export.about import About, ExportError
from headend.export.formats import digest, whole
from headend.export.text import present
from headend.store import feed, sheets
from headend.store.db import Connection
from headend.store.sheets import ESTIMATED, Sheet
from headend.store.tables import CURVES, DAY_FREEZES, SLOTS
from protocols.localtime import midnight
from protocols.quantity import quantities

#: gzip's usual level: the night has time, the receiver's line may not
LEVEL: Final = 6
FORMAT: Final = "headend daily 1"


@dataclass(slots=True)
class Totals:
    """Control totals of one file, all exact: per quantity how many values and, of registers, their sum in 1e-4 of the unit."""

    rows: int = 0
    values: dict[str, int] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)
    estimated: int = 0
    #: registers at the closing midnight, and the day's energy of the meters that have both midnights: (meters, sum)
    closing: dict[str, tuple[int, int]] = field(default_factory=dict)
    energy: dict[str, tuple[int, int]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For the manifest: what there is none of is left out."""
        values = {code: n for code, n in sorted(self.values.items()) if n}
        told: dict[str, Any] = {"rows": self.rows, "estimated": self.estimated, "values": values}
        told["sums"] = {code: decimal(self.sums[code]) for code in values if code in self.sums}
        for name, sums in (("closing", self.closing), ("energy", self.energy)):
            if any(n for n, _ in sums.values()):
                told[name] = {
                    code: {"meters": n, "sum": decimal(total)}
                    for code, (n, total) in sorted(sums.items())
                    if n
                }
        return told


def decimal(units: int) -> str:
    """1e-4 units, exactly."""
    return f"{'-' if units < 0 else ''}{abs(units) // 10_000}.{abs(units) % 10_000:04d}"


@dataclass(slots=True)
class _Counted:
    """Sheets on their way to a file, counted as they pass."""

    totals: Totals
    expected: int = 0
    missing: int = 0

    def through(self, given: Iterable[Sheet], ends: bool) -> Iterator[Sheet]:
        for sheet in given:
            self.expected += int(sheet.expected.sum())
            self.missing += int((sheet.expected & (sheet.quality["active_import"] == sheets.GONE)).sum())
            self.totals.estimated += sum(
                int((quality == ESTIMATED).sum()) for quality in sheet.quality.values()
            )
            for code, values in sheet.columns.items():
                there = present(values)
                add(self.totals.values, code, int(there.sum()))
                if quantities()[code].kind == "register":
                    add(self.totals.sums, code, exact_sum(values[there]))
                    if ends:
                        self._ends(code, values, there)
            yield sheet

    def _ends(self, code: str, values: np.ndarray, there: np.ndarray) -> None:
        both = there.all(axis=1)
        closing = there[:, 1]
        pair(self.totals.closing, code, int(closing.sum()), exact_sum(values[closing, 1]))
        pair(
            self.totals.energy, code, int(both.sum()), exact_sum(values[both, 1]) - exact_sum(values[both, 0])
        )


def exact_sum(values: np.ndarray) -> int:
    """Of int64 that may add up to more than int64 holds: high and low words apart."""
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


def add(sums: dict[str, int], code: str, n: int) -> None:
    sums[code] = sums.get(code, 0) + n


def pair(sums: dict[str, tuple[int, int]], code: str, n: int, total: int) -> None:
    before = sums.get(code, (0, 0))
    sums[code] = before[0] + n, before[1] + total


@dataclass(frozen=True, slots=True)
class Daily:
    """What came of it: the manifest in force, its path, and whether it is a new one."""

    path: Path
    manifest: dict[str, Any]
    written: bool


def write(conn: Connection, day: dt.date, zone: ZoneInfo, folder: Path, now: np.datetime64) -> Daily:
    """Write a day's files and manifest into a folder. ExportError if the day is not over."""
    if midnight(day + dt.timedelta(days=1), zone) > now:
        raise ExportError(f"{day} is not over yet; name a day that is")
    before = latest(folder, day)
    revision = 1 if before is None else int(before[1]["revision"]) + 1
    paths = [folder / name(source, day, revision) for source in ("curve", "day")]
    made: list[tuple[Path, dict[str, Any]]] = []
    conn.rollback()
    try:
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor = feed.newest(conn)
        for source, begin, codes in (
            ("curve", day, SLOTS.codes),
            ("day", day - dt.timedelta(days=1), DAY_FREEZES.codes),
        ):
            span = sheets.local_span(source, begin, day, zone)
            made.append(_file(conn, folder / name(source, day, revision), span, codes, zone, now))
        manifest = {
            "format": FORMAT, "day": day.isoformat(), "zone": str(zone), "revision": revision, "program": __version__,
            "feed_cursor": cursor, "files": [told for _, told in made],
        }  # fmt: skip
        if before is not None:
            if _same(before[1], manifest):
                return Daily(before[0], before[1], False)
            manifest["replaces"] = {
                "revision": before[1]["revision"], "manifest": before[0].name, "sha256": digest(before[0]),
                "changed": {
                    told["source"]: changes(folder / old["name"], _part(path)).to_dict()
                    for (path, told), old in zip(made, before[1]["files"], strict=True)
                },
            }  # fmt: skip
        for path, _ in made:
            _part(path).replace(path)
        final = folder / manifest_name(day, revision)
        with whole(final) as handle:
            handle.write((json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())
        return Daily(final, manifest, True)
    finally:
        conn.rollback()
        for path in paths:
            _part(path).unlink(missing_ok=True)


def name(source: str, day: dt.date, revision: int) -> str:
    return f"{source}-{day}{'' if revision == 1 else f'.r{revision}'}.csv.gz"


def manifest_name(day: dt.date, revision: int) -> str:
    return f"daily-{day}{'' if revision == 1 else f'.r{revision}'}.json"


def latest(folder: Path, day: dt.date) -> tuple[Path, dict[str, Any]] | None:
    """The newest manifest of a day in a folder."""
    found = None
    revision = 1
    while (path := folder / manifest_name(day, revision)).exists():
        try:
            found = path, json.loads(path.read_text("utf-8"))
            if found[1]["format"] != FORMAT or found[1]["revision"] != revision:
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise ExportError(f"{path} is no manifest of ours; move it away") from None
        revision += 1
    return found


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _same(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two manifests tell of the same content, whatever the files are called."""

    def content(manifest: dict[str, Any]) -> Any:
        files = [{key: value for key, value in file.items() if key != "name"} for file in manifest["files"]]
        return manifest["day"], manifest["zone"], files

    return bool(content(before) == content(now))


def _file(
    conn: Connection,
    path: Path,
    span: sheets.Span,
    codes: tuple[str, ...],
    zone: ZoneInfo,
    now: np.datetime64,
) -> tuple[Path, dict[str, Any]]:
    """Write one file under its provisional name; what the manifest tells of it."""
    who = sheets.roster(conn, span)
    counted = _Counted(Totals())
    about = About(span, codes, zone, len(who), now)
    with whole(_part(path)) as raw, zipped(raw) as handle:
        given = sheets.sheets(conn, span, codes, who)
        counted.totals.rows = csv_wide.write(handle, counted.through(given, span.source is not CURVES), about)
    return path, {
        "name": path.name, "source": span.source.name, "bytes": _part(path).stat().st_size, "sha256": digest(_part(path)),
        "content_sha256": _content(_part(path)), "meters": len(who), "expected": counted.expected, "missing": counted.missing,
        "totals": counted.totals.to_dict(),
    }  # fmt: skip


def zipped(raw: BinaryIO) -> Any:
    """gzip that says neither when nor under which name it was made."""
    return gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=raw, mtime=0)


def _content(path: Path) -> str:
    """SHA-256 of what was compressed: the same whatever zlib made of it."""
    with gzip.open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@dataclass(slots=True)
class Changes:
    """Rows that a file has, has no longer, or has with something else in them."""

    added: int = 0
    removed: int = 0
    changed: int = 0

    def to_dict(self) -> dict[str, int]:
        return {"added": self.added, "removed": self.removed, "changed": self.changed}


def changes(old: Path, new: Path) -> Changes:
    """What became of a file's rows, meter by meter side by side: both are in order of asset number."""
    found = Changes()
    if not old.exists():
        raise ExportError(
            f"{old} is gone, so nobody can tell what changed; bring it back, or name another folder"
        )
    olds, news = _by_meter(old), _by_meter(new)
    a, b = next(olds, None), next(news, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a[0] < b[0]):
            assert a is not None
            found.removed += len(a[1])
            a = next(olds, None)
        elif a is None or b[0] < a[0]:
            found.added += len(b[1])
            b = next(news, None)
        else:
            found.removed += len(a[1].keys() - b[1].keys())
            found.added += len(b[1].keys() - a[1].keys())
            found.changed += sum(a[1][key] != b[1][key] for key in a[1].keys() & b[1].keys())
            a, b = next(olds, None), next(news, None)
    return found


def _by_meter(path: Path) -> Iterator[tuple[bytes, dict[str, list[str]]]]:
    """(asset, slot -> cells) of each meter."""
    with gzip.open(path, "rb") as raw, io.TextIOWrapper(raw, encoding="utf-8", newline="") as handle:
        table = csv.reader(handle)
        next(table)
        for asset, rows in groupby(table, key=lambda row: row[0]):
            yield asset.encode(), {row[1]: row[2:] for row in rows}
