"""Collection rates, counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lineloss.statistics.success import COUNTS, METER_COUNTS, Counts, Marks, bringing, of_meters, rates


def bits(*rows: str) -> np.ndarray:
    return np.array([[digit == "1" for digit in row] for row in rows])


#: five meters: at once, at the second attempt, late, not at all, not due
FREEZE = Marks(
    due=bits("1", "1", "1", "1", "0"),
    present=bits("1", "1", "1", "0", "1"),
    late=bits("0", "0", "1", "0", "0"),
    absent=bits("0", "0", "0", "1", "0"),
    vain=bits("0", "1", "0", "1", "0"),
)
CURVE = Marks(
    due=bits("1110", "1110", "1110", "1110", "0000"),
    present=bits("1111", "1100", "1010", "0000", "0000"),
    late=bits("0000", "1000", "1010", "0000", "0000"),
    absent=bits("0000", "0010", "0000", "0001", "0000"),
    vain=bits("0000", "0010", "0000", "0000", "0000"),
)


def test_counts_of_meters() -> None:
    told = of_meters(FREEZE, CURVE)
    assert told.tolist() == [
        [1, 1, 1, 3, 3, 0, 0],
        [1, 0, 1, 3, 2, 1, 1],  # what was asked in vain once is not got by the first attempt
        [1, 0, 0, 3, 2, 2, 0],
        [1, 0, 0, 3, 0, 0, 0],  # its absent point is not due yet
        [0, 0, 0, 0, 0, 0, 0],  # who is not due is not counted, whatever came
    ]
    # only late data came of the third: its terminal was not there that day
    assert bringing(FREEZE, CURVE).tolist() == [True, True, False, False, True]


def counts(**given: list[int]) -> Counts:
    rows = len(next(iter(given.values())))
    return Counts(**{name: np.array(given.get(name, [0] * rows)) for name in COUNTS})


def test_rates_of_a_period() -> None:
    given = counts(
        freeze_due=[10, 10, 4],
        freeze_once=[9, 6, 0],
        freeze_cycle=[10, 9, 0],
        curve_due=[960, 960, 0],
        curve_present=[960, 864, 0],
        commissioned=[4, 2, 0],
        exchanging=[4, 1, 0],
        looks=[24, 48, 0],
        online=[24, 30, 0],
        points=[20, 25, 5],
        covered=[10, 20, 0],
    )
    told = rates(given, np.array([0, 0, 1]), np.array([5, 6, 5]), 2)
    assert told.once.tolist() == [15 / 20, 0]
    assert told.cycle.tolist() == [19 / 20, 0]
    assert told.integrity[0] == 1824 / 1920
    assert np.isnan(told.integrity[1])
    # the mean of the days, not of the terminals: (4/4 + 1/2) / 2
    assert told.operation[0] == 0.75
    assert np.isnan(told.operation[1])
    assert told.online[0] == pytest.approx(54 / 72)
    # of the last day, wherever it stands
    assert told.coverage.tolist() == [20 / 25, 0]
    turned = Counts(*(getattr(given, name)[[1, 0, 2]] for name in COUNTS))
    assert rates(turned, np.array([0, 0, 1]), np.array([6, 5, 5]), 2).coverage[0] == 20 / 25


def test_a_day_without_commissioned_terminals_is_no_day_of_the_mean() -> None:
    given = counts(commissioned=[0, 2], exchanging=[0, 2])
    assert rates(given, np.array([0, 0]), np.array([1, 2]), 1).operation.tolist() == [1.0]


def test_nothing() -> None:
    none = replace(counts(points=[]))
    told = rates(none, np.array([], dtype=np.int64), np.array([], dtype=np.int64), 0)
    assert len(told.once) == 0
    assert len(METER_COUNTS) == 7
