"""Steps: additive over whatever pieces, exact at the limits."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tariffs.plan import shipped
from tariffs.steps import Steps, months_there, quantities

KWH = 10_000
ZHEJIANG = shipped()["zhejiang-residential-steps"].versions[0].steps
GUANGDONG = shipped()["guangdong-residential-steps"].versions[0].steps
assert ZHEJIANG is not None
assert GUANGDONG is not None


def split(
    steps: Steps, before: float, energy: float, month: int = 1, months: int | None = None
) -> list[float]:
    each = None if months is None else np.array([months])
    parts = quantities(steps, np.array([round(before * KWH)]), np.array([round(energy * KWH)]), month, each)
    return [part / KWH for part in parts[0].tolist()]


def test_limits_belong_to_the_lower_step() -> None:
    assert split(ZHEJIANG, 0, 2760) == [2760, 0, 0]
    assert split(ZHEJIANG, 2760, 0.0001) == [0, 0.0001, 0]
    assert split(ZHEJIANG, 0, 4800.0001) == [2760, 2040, 0.0001]
    assert split(ZHEJIANG, 4800.0001, -2040.0002) == [-0.0001, -2040, -0.0001]


def test_limits_by_season_and_by_months_there() -> None:
    assert split(GUANGDONG, 0, 500, month=4) == [260, 140, 100]
    assert split(GUANGDONG, 0, 500, month=5) == [400, 100, 0]
    assert split(ZHEJIANG, 0, 3000, months=1) == [230, 170, 2600]
    assert split(ZHEJIANG, 0, 3000, months=0) == [0, 0, 3000]
    assert split(GUANGDONG, 0, 500, month=5, months=1) == [
        400,
        100,
        0,
    ]  # a month's limits are nobody's by halves


def test_months_there() -> None:
    days = np.array(
        ["2020-01-01", "2026-05-31", "2026-01-01", "2026-12-31", "2027-01-01"], dtype="datetime64[D]"
    )
    left = np.array(["NaT", "NaT", "2026-04-01", "2027-01-01", "NaT"], dtype="datetime64[D]")
    assert months_there(days, left, 2026).tolist() == [12, 8, 3, 1, 0]
    assert months_there(days[2:3], np.array(["2026-04-02"], dtype="datetime64[D]"), 2026).tolist() == [4]


@given(
    st.integers(0, 6000 * KWH),
    st.lists(st.integers(-50 * KWH, 900 * KWH), min_size=1, max_size=9),
    st.integers(0, 12),
)
def test_any_pieces_in_any_order_give_the_same_money(before: int, pieces: list[int], months: int) -> None:
    """The charge from x to y is F(y) - F(x): pieces add up to the whole, forwards and backwards."""
    there = np.array([months])
    whole = quantities(ZHEJIANG, np.array([before]), np.array([sum(pieces)]), 3, there)
    for order in (pieces, pieces[::-1]):
        at, parts = before, np.zeros_like(whole)
        for piece in order:
            parts = parts + quantities(ZHEJIANG, np.array([at]), np.array([piece]), 3, there)
            at += piece
        assert np.array_equal(parts, whole)
    assert whole.sum() == sum(pieces)
    assert whole.dtype == np.int64
