"""The three ways of reading a load record agree: all at once, by a shape that is known, and field by field."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlt645 import bulk
from protocols.dlt645.blocks import class_fields, decode_blocks, encode_block
from protocols.dlt645.fields import Typed, size_of
from protocols.dlt645.items import Field
from protocols.errors import FrameError


def value_of(field: Field) -> st.SearchStrategy[Typed]:
    digits = 2 * size_of(field.form)
    most = 10**digits - 1 if not field.signed else 8 * 10 ** (digits - 1) - 1
    places = len(field.form.partition(".")[2])
    numbers = st.integers(-most if field.signed else 0, most).map(
        lambda n: Decimal(n).scaleb(-places) if places else n
    )
    return st.none() | numbers


CLASSES = st.dictionaries(
    st.integers(1, 6),
    st.none(),
    min_size=1,
).flatmap(
    lambda chosen: st.fixed_dictionaries(
        {number: st.tuples(*(value_of(field) for field in class_fields()[number])) for number in chosen}
    )
)
MOMENTS = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2099, 12, 31)).map(
    lambda when: when.replace(second=0, microsecond=0)
)


def same(one: Any, other: Any) -> bool:
    (owner, time, columns), (owner2, time2, columns2) = one, other
    return bool(
        (owner == owner2).all()
        and (time == time2).all()
        and columns.keys() == columns2.keys()
        and all(
            np.array_equal(columns[c], columns2[c], equal_nan=columns[c].dtype.kind == "f") for c in columns
        )
    )


@given(st.lists(st.tuples(MOMENTS, CLASSES), min_size=1, max_size=3))
def test_a_known_shape_says_what_its_fields_say(blocks: list[Any]) -> None:
    data = b"".join(encode_block(time, classes) for time, classes in blocks)
    quick = bulk._known_shape(5, data)
    assert quick is not None
    assert same(quick, bulk._one_by_one(5, decode_blocks(data)))


@given(MOMENTS, CLASSES, st.data())
def test_what_is_corrupt_or_odd_is_left_to_the_general_decoder(
    time: dt.datetime, classes: Any, data: st.DataObject
) -> None:
    raw = bytearray(encode_block(time, classes))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):  # with a sum that fits again
        raw[-2] = sum(raw[:-2]) & 0xFF
    quick = bulk._known_shape(0, bytes(raw))
    try:
        slow = bulk._one_by_one(0, decode_blocks(bytes(raw)))
    except FrameError:
        slow = None
    assert quick is None or (slow is not None and same(quick, slow))
