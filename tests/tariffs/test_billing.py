"""Bills: lines that always sum to the bill, spans that add up, entries in any order. Golden ones are in test_cases.py."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.reading import MISSING
from tariffs.billing import ENERGY, KINDS, Bill, bill, flat_lines, words
from tariffs.charge import Problem, daily_entry
from tariffs.determinants import Determinants, of_registers
from tariffs.ledger import Entry, balance, derive
from tariffs.money import to_fen
from tariffs.periods import PERIODS
from tariffs.plan import Segment, Tariff, load, shipped

KWH = 10_000
DAY = dt.timedelta(days=1)
PLANS = shipped() | {plan.name: plan for plan in map(load, (Path(__file__).parent / "plans").glob("*.toml"))}
#: whose unrounded bill of a span is not that of its parts: a month's demand and power factor, thirtieths, and loss
#: that is shared by energies to the last digit
NOT_LINEAR = {"thirtieth", "loss-shared"} | {
    name
    for name, plan in PLANS.items()
    for version in plan.versions
    if version.power_factor is not None
    or (version.basic is not None and version.basic.demand_price is not None)
}
MARCH = (dt.date(2026, 3, 1), dt.date(2026, 4, 1))


def freezes(*ends: tuple[tuple[float, ...], tuple[float, ...]]) -> np.ndarray:
    """[1, segment, 2, 5] from kWh"""
    return np.array([[[[round(v * KWH) for v in side] for side in pair] for pair in ends]])


def one(accounts: int, segments: int) -> np.ndarray:
    return np.ones((accounts, segments), dtype=np.int64)


def test_four_periods_behind_a_current_transformer_across_a_price_change(four: Tariff) -> None:
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
    spans = four.spans(*MARCH)
    zero, middle, end = (10, 1, 2, 3, 4), (35, 3.5, 8, 11.5, 12), (61.01, 6.25, 14.25, 20.5, 20.01)
    result = bill(four, spans, of_registers(freezes((zero, middle), (middle, end)), 40 * one(1, 2), spans))
    assert result.total_fen.tolist() == [144_214]
    assert result.line_fen[0].tolist() == [12_000, 24_000, 20_400, 9_600, 14_300, 27_500, 25_200, 11_214]
    assert result.energy.tolist() == [round(2040.4 * KWH)]
    lines = flat_lines(result, np.array([3301]))
    assert [result.items[k].name for k in lines.item] == ["sharp", "peak", "flat", "valley"] * 2
    assert lines.account.tolist() == [3301] * 8
    assert lines.price.tolist() == [12_000, 10_000, 6_000, 3_000, 13_000, 11_000, 7_000, 3_500]
    assert lines.amount_fen.sum() == 144_214


def test_exceptions_are_reasons_not_numbers(zhejiang: Tariff) -> None:
    good = ((0, 0, 0, 0, 0), (100, 0, 60, 0, 40))
    ends = np.concatenate([freezes(good)] * 5)
    ends[1, 0, 1, 0] = MISSING
    ends[2, 0, 1, 0] = -1
    ends[4, 0, 1, 1] = 5 * KWH
    estimated = np.array([False, False, False, True, False])
    spans = zhejiang.spans(*MARCH)
    result = bill(zhejiang, spans, of_registers(ends, one(5, 1), spans, estimated=estimated))
    assert result.problem.tolist() == [
        Problem.NONE,
        Problem.MISSING_FREEZE,
        Problem.NEGATIVE,
        Problem.ESTIMATED,
        Problem.UNPRICED_PERIOD,
    ]
    assert result.computed.tolist() == [True, False, False, True, True]
    assert (result.problem == 0).tolist() == [True, False, False, False, False]
    assert result.total_fen[1] == result.line_fen[1].max() == result.quantity[1].max() == MISSING
    assert set(flat_lines(result, np.arange(5)).account.tolist()) == {0, 3, 4}


def test_segments_must_be_those_of_the_energies(zhejiang: Tariff) -> None:
    spans = zhejiang.spans(*MARCH)
    with pytest.raises(ValueError, match="1 segments of energy for 2 segments of the plan"):
        bill(zhejiang, spans * 2, of_registers(freezes(((0,) * 5, (0,) * 5)), one(1, 1), spans))


@pytest.mark.parametrize(
    ("name", "begin", "end"),
    [
        ("guangdong-residential-steps", dt.date(2026, 3, 1), dt.date(2026, 4, 2)),  # over a month
        ("zhejiang-residential-steps", dt.date(2025, 12, 1), dt.date(2026, 2, 1)),  # over a year
        ("two-part-price-change", dt.date(2026, 3, 1), dt.date(2026, 4, 1)),  # over a version
    ],
)
def test_a_segment_lies_where_nothing_changes(name: str, begin: dt.date, end: dt.date) -> None:
    plan = PLANS[name]
    given_ = Determinants(
        np.zeros((1, 1, len(PERIODS)), dtype=np.int64), np.zeros(1, dtype=np.int8), before=np.array([0])
    )
    with pytest.raises(ValueError, match=f"{name} cannot be billed from {begin} to {end} in one piece"):
        bill(plan, [Segment(begin, end, plan.on(begin))], given_)


def random_determinants(
    plan: Tariff,
    random: np.random.Generator,
    accounts: int,
    begin: dt.date,
    end: dt.date,
    cuts: tuple[dt.date, ...] = (),
) -> Determinants:
    """Everything that any plan may need, with some energies MISSING."""
    segments = plan.spans(begin, end, cuts)
    used = np.stack([segment.version.used for segment in segments])
    energy = random.integers(0, 900 * KWH, (accounts, len(segments), len(PERIODS))) * used[None]
    shape = (accounts, len(segments))
    return Determinants(
        energy,
        np.zeros(accounts, dtype=np.int8),
        before=random.integers(0, 5000 * KWH, accounts),
        step_months=np.repeat(random.integers(1, 13, (accounts, 1)), len(segments), axis=1),
        by=np.repeat(_choices(plan, random, accounts), len(segments), axis=1),
        capacity=np.repeat(random.integers(1, 2000, (accounts, 1)) * KWH, len(segments), axis=1),
        contract=random.integers(0, 900 * KWH, shape),
        demand=random.integers(0, 900 * KWH, shape),
        reactive=random.integers(-900 * KWH, 900 * KWH, (*shape, 2)),
        iron=random.integers(0, 9 * KWH, shape),
        copper=random.integers(0, 9 * KWH, shape),
    )


def _choices(plan: Tariff, random: np.random.Generator, accounts: int) -> np.ndarray:
    rule = plan.versions[0].basic
    choices = (
        [0]
        if rule is None or rule.demand_price is None
        else [1, 2]
        if rule.capacity_price is None
        else [0, 1, 2]
    )
    return random.choice(np.array(choices, dtype=np.int8), (accounts, 1))


def billed(
    plan: Tariff, begin: dt.date, end: dt.date, given: Determinants, cuts: tuple[dt.date, ...] = ()
) -> Bill:
    return bill(plan, plan.spans(begin, end, cuts), given)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(PLANS)), st.integers(1, 90))
def test_sum_of_lines_is_the_bill(seed: int, name: str, days: int) -> None:
    random, plan = np.random.default_rng(seed), PLANS[name]
    begin = dt.date(2025, 11, 1) + int(random.integers(0, 260)) * DAY
    end = begin + days * DAY
    given_ = random_determinants(plan, random, 40, begin, end)
    given_.energy[random.random(40) < 0.1, 0, 0] = MISSING
    result = billed(plan, begin, end, given_)
    done = result.computed
    assert np.array_equal(done, given_.energy[:, 0, 0] != MISSING)
    assert np.array_equal(result.line_fen[done].sum(axis=1), result.total_fen[done])
    assert np.array_equal(result.money[done].sum(axis=1), result.charge[done])
    if plan.rounding == "bill":
        assert np.array_equal(to_fen(result.charge), result.total_fen)
    # no line is further than one fen from its own charge
    assert (np.abs(result.line_fen[done] * 1_000_000 - result.money[done]) <= 1_000_000).all()
    columns = (result.quantity, result.price, result.money, result.line_fen, result.total_fen, result.charge)
    assert {column.dtype for column in columns} == {np.dtype(np.int64)}
    # quantity x price is the money of every line that is not a part of a month
    whole = [k for k, item in enumerate(result.items) if item.days is None]
    assert np.array_equal((result.quantity * result.price)[done][:, whole], result.money[done][:, whole])
    assert {item.kind for item in result.items} <= set(KINDS)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(sorted(PLANS.keys() - NOT_LINEAR)),
    st.integers(1, 400),
    st.integers(1, 400),
)
def test_a_span_is_the_sum_of_its_parts(seed: int, name: str, first: int, second: int) -> None:
    """bill(a..c) == bill(a..b) + bill(b..c) before rounding, over price changes and turns of the year alike, when
    the second bill is told what the running year or month had brought by then.
    """
    random, plan = np.random.default_rng(seed), PLANS[name]
    a = dt.date(2025, 1, 1) + int(random.integers(0, 300)) * DAY
    b, c = a + first * DAY, a + (first + second) * DAY
    whole = random_determinants(plan, random, 5, a, c, (b,))
    spans = plan.spans(a, c, (b,))
    at = [segment.begin for segment in spans].index(b)
    parts = [_cut(whole, slice(None, at)), _cut(whole, slice(at, None))]
    parts[1] = replace(parts[1], before=_used_before(plan, whole, a, b))
    sums = sum(billed(plan, x, y, part).charge for x, y, part in ((a, b, parts[0]), (b, c, parts[1])))
    # cut at b the whole has the same lines; not cut there, the same money
    assert np.array_equal(billed(plan, a, c, whole, (b,)).charge, sums)
    uncut = plan.spans(a, c)
    if len(uncut) < len(spans):
        assert np.array_equal(billed(plan, a, c, _joined(whole, at)).charge, sums)


def _cut(whole: Determinants, piece: slice) -> Determinants:
    names = ("energy", "step_months", "by", "capacity", "contract", "demand", "reactive", "iron", "copper")
    return replace(whole, **{name: getattr(whole, name)[:, piece] for name in names})


def _joined(whole: Determinants, at: int) -> Determinants:
    """Segments at - 1 and at as one: energies are added, what holds for both stays."""
    columns = {}
    for name in ("energy", "reactive", "iron", "copper"):
        column = getattr(whole, name).copy()
        column[:, at - 1] += column[:, at]
        columns[name] = np.delete(column, at, axis=1)
    for name in ("step_months", "by", "capacity", "contract", "demand"):
        columns[name] = np.delete(getattr(whole, name), at, axis=1)
    return replace(whole, **columns)


def _used_before(plan: Tariff, whole: Determinants, a: dt.date, b: dt.date) -> np.ndarray:
    """What the running year or month had brought by b."""
    assert whole.before is not None
    basis = next((v.steps.basis for v in plan.versions if v.steps is not None), "year")
    turn = b.replace(month=1, day=1) if basis == "year" else b.replace(day=1)
    own = [n for n, span in enumerate(plan.spans(a, b)) if span.begin >= turn]
    used = whole.energy[:, own].sum(axis=(1, 2))
    return used if turn > a else used + whole.before


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(
        ["zhejiang-residential-steps", "guangdong-residential-steps", "line-rounding", "steps-price-change"]
    ),
    st.permutations(range(12)),
)
def test_daily_entries_sum_to_the_bill_whatever_comes_when(seed: int, name: str, order: list[int]) -> None:
    """Registers of twelve days arrive in any order; after each arrival all days are derived again. The ledger ends
    where it ends when they come in order, and stands at the bill.
    """
    random, plan = np.random.default_rng(seed), PLANS[name]
    first = dt.date(2026, 6, 25)
    used = random.integers(0, 90 * KWH, (12, len(PERIODS))) * plan.on(first).used
    before = random.integers(0, 3000 * KWH, 1)

    def to_date(days: int) -> int:
        spans = plan.spans(first, first + days * DAY)
        edges = [(span.begin - first).days for span in spans] + [days]
        energy = np.stack([used[a:b].sum(axis=0) for a, b in itertools.pairwise(edges)])
        given_ = Determinants(energy[None], np.zeros(1, dtype=np.int8), before=before)
        return int(bill(plan, spans, given_).total_fen[0])

    def ledger(arrivals: list[int]) -> list[Entry]:
        entries: list[Entry] = []
        there: set[int] = set()
        for arrived in arrivals:
            there.add(arrived)
            earlier = 0
            for day in range(12):
                if day not in there:
                    continue
                entry = daily_entry(np.array([to_date(day + 1)]), np.array([earlier]))
                own = [e for e in entries if e.period == str(day)]
                amount = int(entry[0])
                hashed = f"{earlier} {amount}"
                entries += derive(
                    own, account=1, kind="energy", period=str(day), amount_fen=amount, inputs_hash=hashed
                )
                earlier += amount
        return entries

    late, running = ledger(order), ledger(list(range(12)))
    assert balance(late) == balance(running) == -to_date(12)


def test_words_explain_each_line() -> None:
    plan = PLANS["hunan-large-industry"]
    begin, end = dt.date(2026, 3, 1), dt.date(2026, 3, 16)
    energy = np.zeros((1, 1, len(PERIODS)), dtype=np.int64)
    energy[0, 0, PERIODS.index("flat")] = 1000 * KWH
    given_ = Determinants(
        energy,
        np.zeros(1, dtype=np.int8),
        by=np.zeros((1, 1), dtype=np.int8),
        capacity=np.full((1, 1), 62 * KWH),
        reactive=np.array([[[620 * KWH, 0]]]),
        iron=np.full((1, 1), 5000),
        copper=np.zeros((1, 1), dtype=np.int64),
    )
    result = billed(plan, begin, end, given_)
    said = {item.name: words(result, 0, k) for k, item in enumerate(result.items)}
    assert said["flat"] == (
        "Flat energy: 1000 kWh x 0.65 yuan/kWh = 650 yuan",
        "平段电量电费:1000 千瓦时 × 0.65 元/千瓦时 = 650 元",
    )
    assert said["loss flat"][0] == "Transformer loss, flat: 0.5 kWh x 0.65 yuan/kWh = 0.325 yuan"
    assert said["renewable"][1] == "可再生能源电价附加:1000.5 千瓦时 × 0.019 元/千瓦时 = 19.0095 元"
    assert said["capacity"] == (
        "Basic charge by capacity: 62 kVA x 25 yuan/kVA x 15/31 days = 750 yuan",
        "容量基本电费:62 千伏安 × 25 元/千伏安 × 15/31 天 = 750 元",
    )
    # 1000.5 / sqrt(1000.5^2 + 620^2) = 0.8500; base 650 + 0.325 + 750 = 1400.325, half a fen up
    assert said["power factor"] == (
        "Power factor adjustment (mean 0.85): 1400.33 yuan x 2.5 % = 35.00825 yuan",
        "力调电费(平均 0.85):1400.33 元 × 2.5 % = 35.00825 元",
    )
    steps = PLANS["beijing-residential-steps"]
    month = Determinants(
        np.array([[[0, 0, 20 * KWH, 0, 0]]]), np.zeros(1, dtype=np.int8), before=np.array([2870 * KWH])
    )
    result = billed(steps, *MARCH, month)
    assert words(result, 0, 1) == (
        "Step 2: 10 kWh x 0.05 yuan/kWh = 0.5 yuan",
        "第2档加价:10 千瓦时 × 0.05 元/千瓦时 = 0.5 元",
    )
    # what has nothing to say makes no line, but energy always does
    assert [result.items[k].name for k in np.flatnonzero(result.shown[0])] == ["flat", "step 2"]
    assert result.items[0].kind == ENERGY
