"""Many 1997 answers to one kind of read into numpy columns; where shapes differ, the general decoder steps in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protocols.dlt645.bulk import Bytes, Columns, Mask, number_column
from protocols.dlt645.edition1997.values import plain_fields, quantity_values, width
from protocols.dlt645.items import Field
from protocols.errors import FrameError
from protocols.quantity import quantities
from protocols.reading import MISSING, Column, empty_column


def answer_columns(
    di: int, answers: Sequence[bytes], codes: Sequence[str], until: np.datetime64 | None = None
) -> tuple[Columns, dict[int, FrameError]]:
    """Answers without their DI -> (code -> [m], answer index -> error). Row i is answer i.

    dtype and missing value by the quantity's kind (protocols.quantity). A corrupt answer is missing in every column and
    named in the errors. `until` as in values.quantity_values.
    """
    columns = {code: empty_column(code, len(answers)) for code in codes}
    errors: dict[int, FrameError] = {}
    sizes: dict[int, list[int]] = {}
    for index, answer in enumerate(answers):
        sizes.setdefault(len(answer), []).append(index)
    for length, members in sizes.items():
        fields = plain_fields(di, length)
        raw = np.frombuffer(b"".join(answers[i] for i in members), np.uint8).reshape(len(members), length)
        rows, good = np.array(members), np.full(len(members), bool(fields))
        at = 0
        for field in fields:
            size = width(field.form)
            column, fine = _column(field, raw[:, at : at + size])
            good &= fine
            at += size
            if field.quantity in columns:
                columns[field.quantity][rows] = column
        for index in rows[~good].tolist():
            _single(di, answers[index], index, columns, errors, until)
    return columns, errors


def _column(field: Field, raw: Bytes) -> tuple[Column, Mask]:
    """uint8[n, size] -> (column[n], bool[n] digits in order); of `A|B` each row by the form it was sent in."""
    first, _, second = field.form.partition("|")
    column, good = number_column(_of(field, first.replace("0", "X")), raw)
    if second:
        other = raw[:, -1] >> 4 != 0
        column = np.where(other, number_column(_of(field, second), raw)[0], column)
    if field.quantity and quantities()[field.quantity].kind == "event" and column.dtype != np.int64:
        column = np.where(np.isnan(column), float(MISSING), column).astype(
            np.int64
        )  # -2**63 is exact as a float
    return column, good


def _of(field: Field, form: str) -> Field:
    return Field(field.name, form, field.unit, False, field.quantity)


def _single(
    di: int,
    answer: bytes,
    index: int,
    columns: Columns,
    errors: dict[int, FrameError],
    until: np.datetime64 | None,
) -> None:
    """One answer through the general decoder, over whatever the bulk put into its row."""
    found: dict[str, int | float | np.datetime64] = {}
    try:
        found = quantity_values(di, answer, until)
    except FrameError as error:
        errors[index] = error
    for code, column in columns.items():
        column[index] = found.get(code, empty_column(code, 1)[0])
