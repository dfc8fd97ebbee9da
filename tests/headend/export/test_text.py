"""Columns as text say exactly the number that they were given."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headend.export.daily import exact_sum
from headend.export.text import decimals, floats, joined, lines, quoted, texts

INTEGERS = st.lists(st.integers(-(2**62), 2**62) | st.integers(-20_000, 20_000), min_size=1)
FLOATS = st.lists(
    st.floats(width=32, allow_nan=False, allow_infinity=False) | st.sampled_from([220.1, 0.5, 1e-9, -0.001]),
    min_size=1,
)


def said(column: np.ndarray) -> list[str]:
    return joined(lines([column])).decode().split("\n")[:-1]


@given(INTEGERS, st.integers(0, 6))
def test_decimals_are_exact(values, places):
    column = decimals(np.array(values, dtype=np.int64), np.ones(len(values), dtype=np.bool_), places)
    for text, value in zip(said(column), values, strict=True):
        assert Decimal(text) == Decimal(value).scaleb(-places)
        assert len(text.partition(".")[2]) == places
        assert text.lstrip("-").partition(".")[0] in (str(abs(value) // 10**places),)


@given(FLOATS)
def test_floats_come_back_as_the_very_same_float32(values):
    given_ = np.array(values, dtype=np.float32)
    back = np.array([float(text) for text in said(floats(given_, np.ones(len(values), dtype=np.bool_)))])
    assert np.array_equal(back.astype(np.float32), given_)
    wide = np.array(values, dtype=np.float64)
    assert np.array_equal(
        [float(text) for text in said(floats(wide, np.ones(len(values), dtype=np.bool_)))], wide
    )


def test_floats_are_as_short_as_people_write_them():
    values = np.array([220.1, 49.98, 0.0, -5.25, 0.001, np.nan], dtype=np.float32)
    assert said(floats(values, ~np.isnan(values))) == ["220.1", "49.98", "0", "-5.25", "0.001", ""]


def test_lines_keep_order_and_nothing_is_nothing():
    column = decimals(np.array([1, 20_000, 3]), np.array([True, False, True]))
    assert joined(lines([texts(["a", "长", ""]), column])).decode() == "a,0.0001\n长,\n,0.0003\n"


def test_a_text_is_quoted_where_it_must_be():
    given_ = ("plain", "a,b", 'say "no"', "two\nlines")
    assert [quoted(text) for text in given_] == ["plain", '"a,b"', '"say ""no"""', "two lines"]


@given(st.lists(st.integers(-(2**63) + 1, 2**63 - 1)))
def test_sums_do_not_overflow(values):
    assert exact_sum(np.array(values, dtype=np.int64)) == sum(values)
