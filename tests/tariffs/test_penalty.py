"""Doors of the late-payment penalty; what it comes to is in cases/penalty-*.toml."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tariffs.penalty import Penalty, penalty

OTHER = Penalty(2, 3, 100, cap=False)


def day(text: str) -> np.ndarray:
    return np.array([text], dtype="datetime64[D]")


def test_doors() -> None:
    with pytest.raises(TypeError, match="integers"):
        penalty(OTHER, np.array([1.0]), day("2026-01-01"), day("2026-01-02"))
    with pytest.raises(ValueError, match="owes no penalty"):
        penalty(OTHER, np.array([-1]), day("2026-01-01"), day("2026-01-02"))
    with pytest.raises(ValueError, match="due date"):
        penalty(OTHER, np.array([1]), day("NaT"), day("2026-01-02"))


def test_who_owes_nothing_or_pays_early_pays_nothing() -> None:
    assert penalty(OTHER, np.array([0]), day("2026-01-01"), day("2027-01-01")).tolist() == [0]
    assert penalty(OTHER, np.array([5]), day("2026-01-02"), day("2026-01-01")).tolist() == [0]


@given(st.integers(0, 10**9), st.integers(0, 800), st.integers(0, 800))
def test_a_later_day_is_never_cheaper(arrears: int, first: int, second: int) -> None:
    due = day("2026-11-20")
    early, late = sorted((first, second))
    fen = [int(penalty(OTHER, np.array([arrears]), due, due + days)[0]) for days in (early, late)]
    assert fen[0] <= fen[1]
    assert int(penalty(Penalty(2, 3, 100, cap=True), np.array([arrears]), due, due + late)[0]) == min(
        fen[1], arrears
    )
