"""The table of 1983 against the decree's slopes, and the mean power factor against whole numbers of any size."""

from __future__ import annotations

import csv
from fractions import Fraction
from importlib.resources import files
from math import isqrt

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tariffs.power_factor import NONE, STANDARDS, PowerFactor, counted, mean, percent

#: (83)水电财字第215号 as slopes, [standard in hundredths] -> (per hundredth above, from the standard up), (below, down):
#: each so many hundredths at so many hundredths of a percent; what is left goes on at the last one's.
ABOVE = {90: [(5, 15)], 85: [(5, 10), (4, 15)], 80: [(10, 10), (2, 15)]}
BELOW = {90: [(20, 50), (5, 100)], 85: [(20, 50), (5, 100)], 80: [(20, 50), (5, 100)]}
REST_BELOW = 200


def by_slopes(standard: int, factor: int) -> int:
    """Adjustment [1e-4], positive a surcharge."""
    away, total = abs(factor - standard), 0
    for width, slope in (ABOVE if factor > standard else BELOW)[standard]:
        taken = min(away, width)
        total, away = total + taken * slope, away - taken
    return -total if factor > standard else total + away * REST_BELOW


def rule(standard: str, top: str = "-1.10", reactive: str = "both") -> PowerFactor:
    return PowerFactor(standard, "without funds", reactive, top)


@pytest.mark.parametrize("standard", STANDARDS)
def test_the_whole_table_follows_the_slopes(standard: str) -> None:
    hundredths = np.arange(1, 101)
    hundred = int(standard[2:])
    assert percent(rule(standard), hundredths).tolist() == [
        by_slopes(hundred, n) for n in hundredths.tolist()
    ]


def test_the_table_is_complete_and_every_row_has_a_source() -> None:
    text = files("tariffs").joinpath("data", "power_factor_1983.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert {(row["standard"], row["power_factor"]) for row in rows} == {
        (standard, f"{n / 100:.2f}") for standard in STANDARDS for n in range(1, 101)
    }
    assert len(rows) == 300
    assert all(row["source"] for row in rows)


def test_the_one_disagreement_is_a_choice() -> None:
    top = np.arange(93, 101)
    assert percent(rule("0.85", "-1.10"), top).tolist() == [-95, *[-110] * 7]
    assert percent(rule("0.85", "-1.00"), top).tolist() == [-95, *[-100] * 7]
    assert percent(rule("0.90", "-1.00"), top).tolist() == percent(rule("0.90"), top).tolist()


def test_no_energy_no_adjustment_and_zero_is_the_last_row() -> None:
    assert mean(np.array([0, 0, 5]), np.array([0, 7, 0])).tolist() == [NONE, 0, 100]
    assert percent(rule("0.90"), np.array([NONE, 0, 1])).tolist() == [0, 14_300, 14_300]


def test_what_is_fed_back_counts_where_the_plan_says_so() -> None:
    reactive = np.array([[30, -40], [30, 40]])
    assert counted(rule("0.90"), reactive).tolist() == [70, 70]
    assert counted(rule("0.90", reactive="forward"), reactive).tolist() == [30, 30]


def by_hand(p: int, q: int) -> int:
    """Half up, by the root of a whole number big enough to tell."""
    if p == q == 0:
        return NONE
    scale = 10**60
    root = isqrt((p * p + q * q) * scale * scale)
    return int(Fraction(p * scale * 100, root) + Fraction(1, 2))


@given(st.lists(st.tuples(st.integers(0, 10**14), st.integers(0, 10**14)), min_size=1, max_size=20))
@example([(10**14, 10**14), (10**14, 0), (0, 10**14), (1, 10**14)])
def test_mean_power_factor(energies: list[tuple[int, int]]) -> None:
    p, q = (np.array(side) for side in zip(*energies, strict=True))
    assert mean(p, q).tolist() == [by_hand(*pair) for pair in energies]


@given(st.integers(1, 100), st.integers(10**3, 10**13))
def test_mean_power_factor_beside_half_a_hundredth(n: int, p: int) -> None:
    """The least Q that is too much for n - 1/2 hundredths, and the one below it, which no float tells apart."""
    odd = (2 * n - 1) ** 2
    most = isqrt(p * p * (40_000 - odd) // odd)
    q = np.array([most, most + 1])
    assert mean(np.array([p, p]), q).tolist() == [by_hand(p, most), by_hand(p, most + 1)]
    assert by_hand(p, most) >= n > by_hand(p, most + 1)


def test_doors() -> None:
    with pytest.raises(TypeError, match="integers"):
        mean(np.array([1.0]), np.array([1]))
    with pytest.raises(ValueError, match="not negative"):
        mean(np.array([-1]), np.array([1]))
