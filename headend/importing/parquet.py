"""Parquet in: the wide table of our export, or a long one. A line is a row number here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from headend.export.about import code_of
from headend.export.columnar import arrow
from headend.importing.rows import BATCH, Complaints, Rows
from headend.importing.table import Layout, Reader, layout
from headend.store.tables import Source
from protocols.quantity import quantities


def read(path: Path, source: Source, complaints: Complaints) -> Iterator[Rows]:
    """Batches of the file's rows. What is wrong goes to `complaints`; BadFile at once where it is no such table."""
    pa = arrow()
    try:
        with pa.parquet.ParquetFile(path) as file:
            shape = layout(file.schema_arrow.names, source, complaints)
            _check_types(pa, file.schema_arrow, shape, complaints)
            reader, line = Reader(shape, complaints), 1
            for batch in file.iter_batches(batch_size=BATCH):
                yield reader.from_arrow(pa, batch, np.arange(line, line + batch.num_rows))
                line += batch.num_rows
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OSError) as error:
        complaints.add(0, f"cannot be read as Parquet: {str(error).splitlines()[0]}")


def _check_types(pa: Any, schema: Any, shape: Layout, complaints: Complaints) -> None:
    """A float is no register, and an instant has a zone."""
    if not shape.wide:
        complaints.add(0, "a Parquet table is wide: a typed column for each quantity")
    stamp = schema.field("slot_end").type
    if not pa.types.is_timestamp(stamp) or stamp.tz is None:
        complaints.add(0, f"slot_end is {stamp}, not a timestamp with a zone")
    meter = schema.field("meter").type
    if not (pa.types.is_string(meter) or pa.types.is_large_string(meter) or pa.types.is_dictionary(meter)):
        complaints.add(0, f"meter is {meter}, not text: asset numbers keep their zeros")
    for name in schema.names:
        code = code_of(name)
        if shape.wide and code in shape.codes and code is not None:
            type_ = schema.field(name).type
            kind = quantities()[code].kind
            if kind == "register" and not (pa.types.is_decimal(type_) or pa.types.is_integer(type_)):
                complaints.add(0, f"{name} is {type_}; registers are exact: decimal128(18, 4)")
            elif kind == "moment" and (not pa.types.is_timestamp(type_) or type_.tz is None):
                complaints.add(0, f"{name} is {type_}, not a timestamp with a zone")
            elif kind in ("instant", "demand") and not (
                pa.types.is_floating(type_) or pa.types.is_integer(type_) or pa.types.is_decimal(type_)
            ):
                complaints.add(0, f"{name} is {type_}, not a number")
    if complaints.total:
        raise complaints.error()
