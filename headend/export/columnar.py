"""Sheets as Arrow record batches, for Parquet and Arrow files: the same columns as the wide CSV, typed.

Registers are decimal128(18, 4), never floats; every column carries its OBIS code, unit and names as metadata.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headend.export.about import About, ExportError, column, remarks
from headend.export.text import present
from headend.store.sheets import QUALITIES, Sheet
from protocols.quantity import quantities

#: digits and decimals of a register: any int64 that a meter can show fits
PRECISION, SCALE = 18, 4
RULE: Final = "slot_end names a slot by its end 时段以结束时刻命名"


def arrow() -> Any:
    """pyarrow. ExportError says how to get it."""
    try:
        import pyarrow  # noqa: PLC0415 - only who writes or reads such a file needs it
        import pyarrow.compute  # noqa: PLC0415
        import pyarrow.csv  # noqa: PLC0415
        import pyarrow.ipc  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        raise ExportError("Parquet and Arrow files need pyarrow: pip install 'headend[parquet]'") from None
    return pyarrow


def schema(about: About) -> Any:
    pa = arrow()
    stamp = pa.timestamp("us", tz=str(about.zone))
    types = {
        "register": pa.decimal128(PRECISION, SCALE), "event": pa.int64(), "instant": pa.float32(), "demand": pa.float64(), "moment": stamp,
    }  # fmt: skip
    fields = [pa.field("meter", pa.string(), False), pa.field("slot_end", stamp, False)]
    for code in about.codes:
        q = quantities()[code]
        told = {"quantity": code, "obis": q.obis, "unit": q.unit, "name_en": q.name_en, "name_zh": q.name_zh}
        fields.append(pa.field(column(code), types[q.kind], metadata=told))
    fields += [pa.field("quality", pa.string(), False), pa.field("remarks", pa.string())]
    told = {
        "source": about.span.source.name,
        "zone": str(about.zone),
        "rule": RULE,
        "side": "secondary: CT and PT are not applied",
    }
    return pa.schema(fields, metadata=told)


def batch(sheet: Sheet, about: About, shape: Any) -> Any:
    """One record batch of a sheet; slots without any value are left out."""
    pa = arrow()
    m, t = np.nonzero(sheet.there())
    times = sheet.span.times[t].astype("datetime64[us]").astype(np.int64)
    names, said = pa.array(sheet.assets, pa.string()), remarks(sheet)
    made = [names.take(pa.array(m)), pa.array(times, pa.int64()).cast(shape.field("slot_end").type)]
    for code in about.codes:
        values = sheet.columns[code][m, t]
        made.append(_array(pa, code, values, shape.field(column(code)).type))
    made.append(pa.array(list(QUALITIES), pa.string()).take(pa.array(sheet.worst()[m, t].astype(np.int64))))
    texts = [said.get(cell) for cell in zip(m.tolist(), t.tolist(), strict=True)] if said else None
    made.append(pa.nulls(len(m), pa.string()) if texts is None else pa.array(texts, pa.string()))
    return pa.record_batch(made, schema=shape)


def _array(pa: Any, code: str, values: NDArray[Any], type_: Any) -> Any:
    there = present(values)
    if quantities()[code].kind == "register":
        return decimal_array(pa, values, there, type_)
    if quantities()[code].kind == "moment":
        return pa.array(np.where(there, values, 0), pa.int64(), mask=~there).cast(type_)
    return pa.array(values, type_, mask=~there)


def decimal_array(pa: Any, values: NDArray[np.int64], there: NDArray[np.bool_], type_: Any) -> Any:
    """int64 of 1e-4 as decimal128, by its bytes: 16 a value, little-endian, two's complement."""
    words = np.empty((len(values), 2), dtype="<i8")
    words[:, 0] = np.where(there, values, 0)
    words[:, 1] = words[:, 0] >> 63
    valid = pa.py_buffer(np.packbits(there, bitorder="little").tobytes())
    return pa.Array.from_buffers(type_, len(values), [valid, pa.py_buffer(words.tobytes())])
