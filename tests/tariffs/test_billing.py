"""Bills: golden ones by hand, and lines that always sum to the bill."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.reading import MISSING
from tariffs.billing import bill, flat_lines
from tariffs.charge import Problem
from tariffs.money import to_fen
from tariffs.plan import PERIODS, Tariff, shipped

KWH = 10_000
ZHEJIANG = shipped()["zhejiang-residential-peak-valley"].versions[0]


def freezes(*ends: tuple[tuple[float, ...], tuple[float, ...]]) -> np.ndarray:
    """[1, segment, 2, 5] from kWh"""
    return np.array([[[[round(v * KWH) for v in side] for side in pair] for pair in ends]])


def test_golden_zhejiang_month(zhejiang: Tariff) -> None:
    """Register 4210.55 -> 4398.92: 188.37 kWh. Valley 1502.10 -> 1566.03: 63.93 kWh. Peak 188.37 - 63.93 =
    124.44 kWh.

    peak   124.44 x 0.568 = 70.68192 yuan
    valley  63.93 x 0.288 = 18.41184 yuan
    sum                     89.09376 yuan -> 89.09 yuan
    lines: peak 70.68192 -> 70.68; valley 89.09 - 70.68 = 18.41
    """
    ends = freezes(((4210.55, 0, 2708.45, 0, 1502.10), (4398.92, 0, 2832.88, 0, 1566.03)))
    result = bill(ends, np.array([[1]]), [zhejiang.on(dt.date(2026, 3, 1))])
    assert result.energy[0, 0].tolist() == [0, 1_244_400, 0, 639_300]
    assert result.charge.tolist() == [8_909_376_000]
    assert result.line_fen[0, 0].tolist() == [0, 7068, 0, 1841]
    assert result.total_fen.tolist() == [8909]
    assert result.clean.tolist() == [True]
    lines = flat_lines(result, np.array([3301]))
    assert [PERIODS[p] for p in lines.period] == ["peak", "valley"]
    assert lines.account.tolist() == [3301, 3301]
    assert lines.price.tolist() == [5680, 2880]
    assert lines.amount_fen.sum() == 8909


def test_golden_four_periods_behind_a_current_transformer_across_a_price_change(four: Tariff) -> None:
    """CT 200/5 = 40; March 2026 with a new version from the 16th.

    1-15: total 25.00, sharp 2.50, peak 6.00, valley 8.00, flat 25.00 - 16.50 = 8.50 (secondary kWh); x 40:
      sharp 100 x 1.2000 = 120.00; peak 240 x 1.0000 = 240.00; flat 340 x 0.6000 = 204.00; valley 320 x
      0.3000 = 96.00 sum 660.00
    16-31: total 26.01, sharp 2.75, peak 6.25, valley 8.01, flat 26.01 - 17.01 = 9.00; x 40:
      sharp 110 x 1.3000 = 143.00; peak 250 x 1.1000 = 275.00; flat 360 x 0.7000 = 252.00;
      valley 320.4 x 0.3500 = 112.14
      sum 782.14
    bill 1442.14 yuan, 1000 + 1040.4 kWh
    """
    spans = four.spans(dt.date(2026, 3, 1), dt.date(2026, 4, 1))
    zero, middle, end = (10, 1, 2, 3, 4), (35, 3.5, 8, 11.5, 12), (61.01, 6.25, 14.25, 20.5, 20.01)
    result = bill(freezes((zero, middle), (middle, end)), np.array([[40, 40]]), [v for _, _, v in spans])
    assert result.total_fen.tolist() == [144_214]
    assert result.line_fen[0].tolist() == [[12_000, 24_000, 20_400, 9_600], [14_300, 27_500, 25_200, 11_214]]
    assert result.total_energy.tolist() == [round(2040.4 * KWH)]


def test_rounding_is_handed_on_from_line_to_line(four: Tariff) -> None:
    """0.01 kWh a period at 1.2, 1.0, 0.6, 0.3 yuan/kWh; summed up 1.2, 2.2, 2.8, 3.1 fen -> 1, 2, 3, 3 fen.

    The bill is 3 fen. Rounded one by one the lines would be 1 + 1 + 1 + 0 here, but 1.4 + 1.4 would lose a fen.
    """
    ends = freezes(((0, 0, 0, 0, 0), (0.04, 0.01, 0.01, 0.01, 0.01)))
    result = bill(ends, np.array([[1]]), [four.on(dt.date(2026, 3, 1))])
    assert result.line_fen[0, 0].tolist() == [1, 1, 1, 0]
    assert result.total_fen[0] == 3


def test_exceptions_are_reasons_not_numbers(zhejiang: Tariff) -> None:
    good = ((0, 0, 0, 0, 0), (100, 0, 60, 0, 40))
    ends = np.concatenate([freezes(good)] * 5)
    ends[1, 0, 1, 0] = MISSING
    ends[2, 0, 1, 0] = -1
    ends[4, 0, 1, 1] = 5 * KWH
    estimated = np.array([False, False, False, True, False])
    result = bill(ends, np.ones((5, 1), dtype=np.int64), [zhejiang.versions[0]], estimated=estimated)
    reasons = [
        Problem.NONE,
        Problem.MISSING_FREEZE,
        Problem.NEGATIVE,
        Problem.ESTIMATED,
        Problem.UNPRICED_PERIOD,
    ]
    assert result.problem.tolist() == reasons
    assert result.computed.tolist() == [True, False, False, True, True]
    assert result.clean.tolist() == [True, False, False, False, False]
    assert result.total_fen[1] == result.line_fen[1].max() == MISSING
    assert set(flat_lines(result, np.arange(5)).account.tolist()) == {0, 3, 4}


def test_shapes_are_checked(zhejiang: Tariff) -> None:
    with pytest.raises(ValueError, match="disagree"):
        bill(
            np.zeros((1, 1, 2, 5), dtype=np.int64),
            np.ones((1, 2), dtype=np.int64),
            [zhejiang.versions[0]] * 2,
        )
    with pytest.raises(TypeError, match="integers"):
        bill(np.zeros((1, 1, 2, 5)), np.ones((1, 1), dtype=np.int64), [zhejiang.versions[0]])


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_sum_of_lines_is_the_bill(seed: int, segments: int) -> None:
    random = np.random.default_rng(seed)
    accounts = 50
    valley = random.integers(0, 3_000_000, (accounts, segments + 1)).cumsum(axis=1)
    peak = random.integers(0, 3_000_000, (accounts, segments + 1)).cumsum(axis=1)
    zero = np.zeros_like(valley)
    registers = np.stack([valley + peak, zero, peak, zero, valley], axis=-1)
    ends = np.stack([registers[:, :-1], registers[:, 1:]], axis=2)
    ends[random.random(accounts) < 0.1, 0, 0, 0] = MISSING
    result = bill(ends, random.integers(1, 100, (accounts, segments)), [ZHEJIANG] * segments)
    done = result.computed
    assert np.array_equal(result.line_fen[done].sum(axis=(1, 2)), result.total_fen[done])
    assert np.array_equal(to_fen(result.charge), result.total_fen)
    # and no line is further than one fen from its own charge
    own = result.energy[done] * ZHEJIANG.price_array
    assert (np.abs(result.line_fen[done] * 1_000_000 - own) <= 1_000_000).all()
    assert {a.dtype for a in (result.line_fen, result.total_fen, result.charge, result.energy)} == {
        np.dtype(np.int64)
    }
