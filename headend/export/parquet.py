"""Parquet: the wide table, typed, one row group a sheet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO, Final

from headend.export.about import About
from headend.export.columnar import arrow, batch, schema
from headend.store.sheets import Sheet

SUFFIX: Final = ".parquet"


def write(handle: BinaryIO, sheets: Iterable[Sheet], about: About) -> int:
    """Returns the rows written."""
    pa = arrow()
    shape, rows = schema(about), 0
    with pa.parquet.ParquetWriter(handle, shape, compression="zstd") as writer:
        for sheet in sheets:
            made = batch(sheet, about, shape)
            rows += made.num_rows
            if made.num_rows:
                writer.write_batch(made, row_group_size=made.num_rows)
    return rows
