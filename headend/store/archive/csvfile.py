"""CSV: one file of each kind, named after it; the first line names the columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from headend.store.archive.complaint import Complaints, Spot
from headend.store.archive.sheet import Sheet


def sheets(path: Path, complaints: Complaints) -> Iterator[Sheet]:
    """The one sheet of the file, if it can be read as text at all."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        complaints.add(Spot(path.name, line), "file", f"is not UTF-8 (byte {error.start}); save it as UTF-8")
        return
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header = tuple(next(reader, ()))
    except csv.Error as error:
        complaints.add(Spot(path.name, 1), "row", f"is not CSV: {error}")
        return
    yield Sheet(path.stem, Spot(path.name, 1), header, _records(path.name, header, reader, complaints))


def _records(
    file: str, header: tuple[str, ...], reader: Iterator[list[str]], complaints: Complaints
) -> Iterator[tuple[Spot, Mapping[str, str]]]:
    line = 1
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            # where the broken row begins
            complaints.add(Spot(file, line + 1), "row", f"is not CSV: {error}")
            return
        if record is None:
            return
        line = reader.line_num  # type: ignore[attr-defined]
        if not record:
            continue
        spot = Spot(file, line)
        if len(record) != len(header):
            complaints.add(spot, "row", f"does not have {len(header)} cells")
            continue
        yield spot, dict(zip(header, record, strict=True))
