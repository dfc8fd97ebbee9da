"""Money is exact, rounds away from zero at half a fen, and refuses floats."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.reading import MISSING
from tariffs.money import FEN, amount, from_fen, price_of, share, text_of, to_fen, total, yuan_text


@given(st.lists(st.integers(-(10**17), 10**17), min_size=1))
def test_rounding_is_decimal_half_up_for_both_signs(values: list[int]) -> None:
    fen = to_fen(np.array(values, dtype=np.int64))
    assert fen.dtype == np.int64
    assert fen.tolist() == [int((Decimal(v) / FEN).quantize(Decimal(1), ROUND_HALF_UP)) for v in values]
    assert np.array_equal(to_fen(-np.array(values, dtype=np.int64)), -fen)


def test_half_a_fen() -> None:
    cases = {499_999: 0, 500_000: 1, 1_499_999: 1, 1_500_000: 2, -499_999: 0, -500_000: -1, -1_500_000: -2}
    assert to_fen(list(cases)).tolist() == list(cases.values())


@given(st.integers(-(10**11), 10**11), st.integers(0, 100_000))
def test_amount_is_exact(energy: int, price: int) -> None:
    result = amount(np.array([energy]), np.array([price]))
    assert result.dtype == np.int64
    assert int(result[0]) == energy * price


def test_missing_stays_missing() -> None:
    energy = np.array([MISSING, 10_000])
    assert amount(energy, np.array([5680])).tolist() == [MISSING, 56_800_000]
    assert to_fen([MISSING, 56_800_000]).tolist() == [MISSING, 57]
    assert from_fen([MISSING, 3]).tolist() == [MISSING, 3 * FEN]
    assert total(np.array([[1, MISSING], [1, 2]]), axis=1).tolist() == [MISSING, 3]


@pytest.mark.parametrize(
    "bad", [1.0, np.array([1.0]), np.array([True]), np.array([1], dtype=np.uint64), "1", None]
)
def test_no_float_and_nothing_else_enters(bad: object) -> None:
    for call in (lambda: amount(bad, 1), lambda: amount(1, bad), lambda: to_fen(bad), lambda: from_fen(bad)):
        with pytest.raises(TypeError, match="must be integers"):
            call()


def test_overflow_is_an_error_not_another_number() -> None:
    with pytest.raises(OverflowError):
        amount(np.array([10**15]), np.array([10**5]))
    with pytest.raises(OverflowError):
        from_fen(np.array([10**13]))


def test_prices() -> None:
    assert price_of("0.5680") == 5680
    assert price_of("1") == 10_000
    for bad in ("0.56801", "abc", "", "1e-2", "nan", "Infinity", " 0.5", "1_0", "٠.٥"):
        with pytest.raises(ValueError, match="decimal"):
            price_of(bad)


@given(st.integers(-(10**15), 10**15), st.lists(st.integers(0, 10**15), min_size=1, max_size=6))
def test_what_is_shared_is_neither_lost_nor_made_more(whole: int, parts: list[int]) -> None:
    """Also where the product is far beyond 64 bits."""
    of = sum(parts) + 1
    upto = np.cumsum([*parts, 1])
    shared = np.diff(share(np.array(whole), upto, np.array(of)), prepend=0)
    assert shared.dtype == np.int64
    assert shared.sum() == whole
    assert share(np.array(whole), upto, np.array(of)).tolist() == [
        whole * edge // of for edge in upto.tolist()
    ]


def test_share_refuses_floats_and_takes_nothing() -> None:
    with pytest.raises(TypeError, match="part must be integers"):
        share(np.array([1]), np.array([0.5]), np.array([1]))
    assert share(np.array([], dtype=np.int64), np.array([1]), np.array([2])).shape == (0,)


def test_text_of() -> None:
    assert [text_of(units) for units in (0, 5, 1_244_400, -5680)] == [
        "0.0000",
        "0.0005",
        "124.4400",
        "-0.5680",
    ]


def test_yuan_text() -> None:
    assert [yuan_text(fen) for fen in (0, 5, 12345, -5, -12345)] == [
        "0.00",
        "0.05",
        "123.45",
        "-0.05",
        "-123.45",
    ]
