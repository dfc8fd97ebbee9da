"""Transformer loss: where it goes, and that none of it is lost."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tariffs.periods import PERIODS
from tariffs.transformer import TransformerLoss, by_period

FLAT = PERIODS.index("flat")


def test_to_one_period() -> None:
    energy = np.array([[1, 2, 3, 4, 0]])
    assert by_period(TransformerLoss(FLAT), np.array([7]), energy, FLAT).tolist() == [[0, 0, 7, 0, 0]]


def test_nothing_used_leaves_it_to_the_remainder() -> None:
    rule = TransformerLoss(None)
    assert by_period(rule, np.array([7]), np.zeros((1, 5), dtype=np.int64), FLAT).tolist() == [
        [0, 0, 7, 0, 0]
    ]
    # a remainder that is negative by a cut-off digit takes no share
    assert by_period(rule, np.array([6]), np.array([[0, 5, -1, 5, 0]]), FLAT).tolist() == [[0, 3, 0, 3, 0]]


@given(st.integers(0, 10**14), st.lists(st.integers(0, 10**15), min_size=5, max_size=5))
def test_shares_add_up(loss: int, energy: list[int]) -> None:
    shared = by_period(TransformerLoss(None), np.array([loss]), np.array([energy]), FLAT)
    assert shared.sum() == loss
    assert (shared >= 0).all()
    if sum(energy):
        for part, own in zip(shared[0].tolist(), energy, strict=True):
            assert abs(part * sum(energy) - loss * own) <= sum(energy)
