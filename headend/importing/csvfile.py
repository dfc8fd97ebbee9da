"""CSV in, wide or long, plain or gzip. pyarrow reads it where it is installed; what it stumbles over, and every file where it is not, is
read cell by cell, which is slower and names the line of everything that is wrong."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np

from headend.export.about import ExportError
from headend.export.columnar import arrow
from headend.importing.rows import BATCH, Complaints, Rows
from headend.importing.table import Layout, Reader, layout
from headend.store.tables import Source
from protocols.quantity import quantities

#: bytes that pyarrow parses at once
BLOCK: Final = 8 * 2**20
#: of the first line: a header of ours has a thousand
MOST_HEADER: Final = 65_536


def read(path: Path, source: Source, complaints: Complaints, *, fast: bool = True) -> Iterator[Rows]:
    """Batches of the file's rows. What is wrong goes to `complaints`; BadFile at once where the header is none."""
    with opened(path) as handle:
        try:
            first = handle.readline(MOST_HEADER)
        except (OSError, EOFError, zlib.error) as error:
            complaints.add(1, f"cannot be read: {error}")
            raise complaints.error() from None
    if any("\udc80" <= char <= "\udcff" for char in first):
        complaints.add(1, "is not UTF-8 text")
        raise complaints.error()
    names = next(csv.reader([first.rstrip("\r\n")]), [])
    reader = Reader(layout(names, source, complaints), complaints)
    done = 0
    pa = _arrow() if fast else None
    if pa is not None:
        said = complaints.mark()
        try:
            for rows, count in _fast(pa, path, reader):
                done += count
                yield rows
                said = complaints.mark()
            return
        except (pa.ArrowInvalid, OSError):
            complaints.back_to(said)  # from this batch on, cell by cell, which says it again
    yield from _slow(path, reader, done)


def _arrow() -> Any:
    try:
        return arrow()
    except ExportError:
        return None


def _fast(pa: Any, path: Path, reader: Reader) -> Iterator[tuple[Rows, int]]:
    """(rows, lines used up) by pyarrow; ArrowInvalid at the first text that is not what its column holds."""
    shape = reader.layout
    options = pa.csv.ConvertOptions(
        column_types=_types(pa, shape), null_values=[""], strings_can_be_null=True
    )
    with pa.input_stream(str(path), compression="gzip" if path.suffix == ".gz" else None) as raw:
        stream = pa.csv.open_csv(
            raw,
            read_options=pa.csv.ReadOptions(block_size=BLOCK, column_names=list(shape.names), skip_rows=1),
            parse_options=pa.csv.ParseOptions(ignore_empty_lines=False),
            convert_options=options,
        )
        line = 2
        for whole in stream:
            for begin in range(0, whole.num_rows, BATCH):
                batch = whole.slice(begin, BATCH)
                yield reader.from_arrow(pa, batch, np.arange(line, line + batch.num_rows)), batch.num_rows
                line += batch.num_rows


def _types(pa: Any, shape: Layout) -> dict[str, Any]:
    types = {name: pa.string() for name in shape.names}
    stamp = pa.timestamp("us", "UTC")
    types["slot_end"] = stamp
    if shape.wide:
        kinds = {"register": pa.decimal128(38, 4), "event": pa.int64(), "moment": stamp}
        for code in shape.codes:
            types[shape.names[shape.column_of(code)]] = kinds.get(quantities()[code].kind, pa.float64())
    return types


def _slow(path: Path, reader: Reader, skip: int) -> Iterator[Rows]:
    """The rows after the first `skip`, cell by cell."""
    complaints, width = reader.complaints, len(reader.layout.names)
    rows: list[list[str]] = []
    lines: list[int] = []
    with opened(path) as handle:
        table = csv.reader(handle)
        try:
            next(table, None)
            for row in table:
                if not row:
                    continue
                if skip:
                    skip -= 1
                    continue
                if len(row) != width:
                    complaints.add(table.line_num, f"{len(row)} columns, the header has {width}")
                elif any("\udc80" <= char <= "\udcff" for cell in row for char in cell if char > "\ud7ff"):
                    complaints.add(table.line_num, "is not UTF-8 text")
                else:
                    rows.append(row)
                    lines.append(table.line_num)
                if len(rows) == BATCH:
                    yield reader.from_text(rows, lines)
                    rows, lines = [], []
        except (csv.Error, OSError, EOFError, zlib.error) as error:
            complaints.add(table.line_num + 1, f"cannot be read: {error}")
    if rows:
        yield reader.from_text(rows, lines)


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """The file as text; what is not UTF-8 comes as surrogates, so that its line can be named."""
    raw: Any = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115
    with raw, io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
        yield handle
