"""Who is a key user, and why."""

from __future__ import annotations

import numpy as np
import pytest

from lineloss.statistics.keyusers import Because, choose

ENERGY = np.array([10.0, 500, 300, np.nan, 190, 0])
CAPACITY = np.array([np.nan, 100, 1000, 2000, 999.9, np.nan])
NAMED = np.array([True, False, False, False, False, False])


def test_each_reason_is_told() -> None:
    told = choose(ENERGY, CAPACITY, NAMED, share=0.6)
    assert told.row.tolist() == [1, 2, 0, 3]
    assert told.because.tolist() == [
        Because.ENERGY,
        Because.ENERGY | Because.CAPACITY,  # with him 80 % are reached, without him 50 %
        Because.NAMED,
        Because.CAPACITY,
    ]
    assert told.share[:3].tolist() == [0.5, 0.3, 0.01]
    assert np.isnan(told.share[3])


def test_no_more_than_a_list_has_room_for() -> None:
    told = choose(ENERGY, np.full(6, np.nan), np.zeros(6, dtype=np.bool_), share=1.0, most=2)
    assert told.row.tolist() == [1, 2]


def test_who_takes_nothing_is_no_key_user_for_it() -> None:
    none = choose(np.zeros(3), np.full(3, np.nan), np.zeros(3, dtype=np.bool_), share=1.0)
    assert len(none.row) == 0
    named = choose(np.zeros(3), np.full(3, np.nan), np.array([False, True, False]))
    assert named.row.tolist() == [1]
    assert np.isnan(named.share).all()


def test_equals_are_in_the_order_they_come_in() -> None:
    told = choose(np.array([5.0, 5, 5]), np.full(3, np.nan), np.zeros(3, dtype=np.bool_), share=0.5)
    assert told.row.tolist() == [0, 1]
    assert told.share.tolist() == pytest.approx([1 / 3, 1 / 3])
