"""The formats by name, imported when asked for, and a file that appears whole or not at all."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from headend.export.about import About
from headend.store.sheets import Sheet

#: name -> module of this room with SUFFIX, write(handle, sheets, about) -> rows, and check(about) where not everything fits
FORMATS: Final = {
    "csv-wide": "csv_wide",
    "csv-long": "csv_long",
    "parquet": "parquet",
    "arrow": "arrow",
    "xlsx": "xlsx",
    "nem12": "nem12",
    "espi": "espi",
}


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written. `rows` are what the format counts: rows, values, 300 records, interval readings."""

    path: Path
    rows: int
    bytes: int
    sha256: str


def module(name: str) -> Any:
    return importlib.import_module(f"headend.export.{FORMATS[name]}")


def write(path: Path, name: str, sheets: Iterable[Sheet], about: About) -> Written:
    """Write a file of a format. ExportError if the format cannot hold it."""
    chosen = module(name)
    if hasattr(chosen, "check"):
        chosen.check(about)
    with whole(path) as handle:
        rows = chosen.write(handle, sheets, about)
    return Written(path, rows, path.stat().st_size, digest(path))


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes its name, and its predecessor's place, when all of it is on the disk."""
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("w+b") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
