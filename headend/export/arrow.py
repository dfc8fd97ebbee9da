"""Arrow IPC file: the wide table, typed, one record batch a sheet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO, Final

from headend.export.about import About
from headend.export.columnar import arrow, batch, schema
from headend.store.sheets import Sheet

SUFFIX: Final = ".arrow"


def write(handle: BinaryIO, sheets: Iterable[Sheet], about: About) -> int:
    """Returns the rows written."""
    shape, rows = schema(about), 0
    with arrow().ipc.new_file(handle, shape) as writer:
        for sheet in sheets:
            made = batch(sheet, about, shape)
            rows += made.num_rows
            if made.num_rows:
                writer.write_batch(made)
    return rows
