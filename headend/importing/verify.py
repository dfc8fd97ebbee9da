"""A daily file read back: hashes, counts and totals, from the files alone."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from headend.export.daily import FORMAT, Totals, add, exact_sum, pair
from headend.export.formats import digest
from headend.importing import csvfile
from headend.importing.rows import Complaints, Rows
from headend.store.db import StoreError
from headend.store.sheets import ESTIMATED
from headend.store.tables import SOURCES
from protocols.localtime import midnight
from protocols.quantity import quantities
from protocols.reading import Reads


class NotTheFile(StoreError):
    """A file is not what its manifest says."""


def verify(path: Path) -> dict[str, Any]:
    """The manifest, if every file is what it says. NotTheFile names the first that is not, and how."""
    try:
        manifest = json.loads(path.read_text("utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError
        closing = midnight(
            dt.date.fromisoformat(manifest["day"]) + dt.timedelta(days=1), ZoneInfo(manifest["zone"])
        )
        files = [(file["name"], file["source"], file["sha256"], file["totals"]) for file in manifest["files"]]
    except (ValueError, KeyError, TypeError):
        raise NotTheFile(f"{path} is no manifest of a daily file") from None
    for name, source, sha256, totals in files:
        file = path.parent / Path(name).name
        if not file.exists():
            raise NotTheFile(f"{file} is missing; ask for it again")
        if digest(file) != sha256:
            raise NotTheFile(
                f"{file} is not the one that {path.name} was written for: its SHA-256 differs; ask for it again"
            )
        found = _totals(file, source, closing)
        for key, value in totals.items():
            if found.get(key) != value:
                raise NotTheFile(
                    f"{file}: {key} {_shown(found.get(key))}, but {path.name} says {_shown(value)}"
                )
    return dict(manifest)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:200]


def _totals(path: Path, source: str, closing: np.datetime64) -> dict[str, Any]:
    """The totals of a file, counted again."""
    complaints, totals = Complaints(path.name), Totals()
    openings: dict[str, dict[str, int]] = {}
    for rows in csvfile.read(path, SOURCES[source], complaints):
        totals.rows += len(rows)
        totals.estimated += sum(mark.quality == ESTIMATED for mark in rows.marks)
        reads = Reads(rows.meter, rows.time, rows.columns)
        for code, values in rows.columns.items():
            there = reads.valid(code)
            add(totals.values, code, int(there.sum()))
            if quantities()[code].kind == "register":
                add(totals.sums, code, exact_sum(values[there]))
                if source == "day":
                    _ends(totals, code, rows, there, closing, openings.setdefault(code, {}))
    if complaints.total:
        raise complaints.error()
    return totals.to_dict()


def _ends(
    totals: Totals, code: str, rows: Rows, there: np.ndarray, closing: np.datetime64, openings: dict[str, int]
) -> None:
    """Closing registers, and energies of the meters whose opening came before: a meter's two rows follow each other."""
    for k in np.flatnonzero(there).tolist():
        asset, value = rows.assets[rows.meter[k]], int(rows.columns[code][k])
        if rows.time[k] != closing:
            openings[asset] = value
            continue
        pair(totals.closing, code, 1, value)
        if asset in openings:
            pair(totals.energy, code, 1, value - openings.pop(asset))
