"""Which files an archive consists of: a folder of them or a single one, in any of three formats, read record by record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from headend.store.archive import csvfile, jsonfile, xlsxfile
from headend.store.archive.complaint import Complaints, NotAnArchive
from headend.store.archive.kinds import KINDS
from headend.store.archive.sheet import Sheet

#: per file: a million meters are 150 MB of CSV, and a file is in memory while it is read
MOST_BYTES = 512 << 20
#: a workbook or JSON file with several kinds in it
WHOLE = "archive"

READERS = {".csv": csvfile.sheets, ".xlsx": xlsxfile.sheets, ".json": jsonfile.sheets}


def sheets(path: Path, complaints: Complaints) -> Iterator[Sheet]:
    """Every sheet of an archive. NotAnArchive if there is none to be found; what is wrong inside goes to `complaints`."""
    for file in _files(path):
        if file.stat().st_size > MOST_BYTES:
            raise NotAnArchive(
                f"{file} has more than {MOST_BYTES >> 20} MB; import it in parts, one after the other"
            )
        yield from READERS[file.suffix.lower()](file, complaints)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        if path.suffix.lower() not in READERS or (path.suffix.lower() == ".csv" and path.stem not in KINDS):
            raise NotAnArchive(
                f"{path} is no file of an archive: {', '.join(f'{name}.csv' for name in KINDS)}, or a .xlsx or .json with these inside"
            )
        return [path]
    if not path.is_dir():
        raise NotAnArchive(f"no folder {path}")
    names = [f"{kind}.csv" for kind in KINDS] + [f"{WHOLE}.xlsx", f"{WHOLE}.json"]
    found = [path / name for name in names if (path / name).is_file()]
    if not found:
        raise NotAnArchive(
            f"{path} holds none of areas.csv, terminals.csv, meters.csv, customers.csv or the other files of an archive, nor {WHOLE}.xlsx "
            f"or {WHOLE}.json; `headend archive import --help` names them"
        )
    return found
