"""Golden bills: one small file a case under cases/, its arithmetic written out by hand.

The arithmetic is worked out here with fractions, by a few lines that know nothing of the program, and must give what
stands beside it; then the program must give the same lines, the same money before rounding, and the same fen.
"""

from __future__ import annotations

import ast
import datetime as dt
import operator
import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from protocols.localtime import day_slots
from protocols.reading import MISSING
from tariffs import basic, billing
from tariffs.arrears import DUE_DAYS, Bill, arrears
from tariffs.days import NO_DAYS, Days
from tariffs.determinants import Determinants, of_registers
from tariffs.periods import PERIODS, REGISTERS
from tariffs.plan import Segment, Tariff, load, shipped
from tariffs.tou import energy_by_period, slot_periods

HERE = Path(__file__).parent
SHANGHAI = ZoneInfo("Asia/Shanghai")
PLANS = shipped() | {plan.name: plan for plan in map(load, (HERE / "plans").glob("*.toml"))}
FILES = sorted((HERE / "cases").glob("*.toml"))
BILLS = [path for path in FILES if not path.stem.startswith("penalty-")]
PENALTIES = [path for path in FILES if path.stem.startswith("penalty-")]
OPERATORS: dict[type[ast.operator], Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
#: what is shared by days is cut off at 1e-8 yuan, twice
CUT = Fraction(2, 10**8)


def worked_out(text: str) -> Fraction:
    """'2 * 0.50' -> 1"""

    def go(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](go(node.left), go(node.right))  # type: ignore[no-any-return]
        if isinstance(node, ast.UnaryOp):
            return -go(node.operand)
        return Fraction(ast.get_source_segment(text, node) or "")

    return go(ast.parse(text, mode="eval").body)


def arithmetic(text: str) -> tuple[Fraction, bool]:
    """(amount in yuan, exact) of '2 * 0.50 = 1' or '1 / 3 ≈ 0.33333333'; what stands there must be so."""
    exact = "≈" not in text
    left, _, right = text.partition("=" if exact else "≈")
    value = worked_out(left.strip())
    if right:
        assert value == Fraction(right.strip()) if exact else abs(value - Fraction(right.strip())) < CUT, text
    return value, exact


def units(text: str) -> int:
    """'12.5' -> 125000 [1e-4]"""
    scaled = Fraction(text) * 10_000
    assert scaled.denominator == 1
    return int(scaled)


def column(case: dict[str, Any], name: str, segments: int) -> np.ndarray | None:
    value = case.get(name)
    if value is None:
        return None
    values = value if isinstance(value, list) else [value] * segments
    return np.array([[units(text) for text in values]])


def energies(case: dict[str, Any], tariff: Tariff, segments: tuple[Segment, ...]) -> np.ndarray:
    if "load" in case:
        return curve(case, tariff)[None, None, :]
    rows = [[units(row.get(period, "0")) for period in PERIODS] for row in case["energy"]]
    assert len(rows) == len(segments)
    return np.array([rows])


def curve(case: dict[str, Any], tariff: Tariff) -> np.ndarray:
    """A constant load in some hours of each day -> energy by period [1e-4 kWh]."""
    first, end = case["span"]
    spans = [first + dt.timedelta(days=n) for n in range((end - first).days)]
    slots = np.concatenate([day_slots(day, SHANGHAI) for day in spans])
    quarter = np.zeros(96, dtype=np.int64)
    for begin, until, kw in case["load"]:
        h1, h2 = (int(text[:2]) * 4 for text in (begin, until))
        quarter[h1:h2] += units(kw) // 4
    registers = np.concatenate([[0], np.cumsum(np.tile(quarter, len(spans)))])
    days = Days.of({dt.date.fromisoformat(day): kind for day, kind in case.get("days", {}).items()})
    parts = energy_by_period(registers[None, :], slot_periods(tariff, slots, SHANGHAI, days=days))
    assert (days is NO_DAYS) == ("days" not in case)
    return parts.energy[0]


def given(case: dict[str, Any], tariff: Tariff, segments: tuple[Segment, ...]) -> Determinants:
    count = len(segments)
    more: dict[str, Any] = {
        name: column(case, name, count) for name in ("capacity", "contract", "demand", "iron", "copper")
    }
    if "before" in case:
        more["before"] = np.array([units(case["before"])])
    if "step_months" in case:
        more["step_months"] = np.full((1, count), case["step_months"])
    if "by" in case:
        more["by"] = np.full((1, count), basic.BY.index(case["by"]), dtype=np.int8)
    if "reactive" in case:
        more["reactive"] = np.array([[[units(text) for text in pair] for pair in case["reactive"]]])
    if "registers" not in case:
        return Determinants(energies(case, tariff, segments), np.zeros(1, dtype=np.int8), **more)
    edges = np.array(
        [
            [units(edge[name]) if name in edge else MISSING for name in ("total", *REGISTERS)]
            for edge in case["registers"]
        ]
    )
    ends = np.stack([edges[:-1], edges[1:]], axis=1)[None]
    return of_registers(ends, np.full((1, count), case.get("multiplier", 1)), segments, **more)


@pytest.mark.parametrize("path", BILLS, ids=lambda path: path.stem)
def test_bill(path: Path) -> None:
    case = tomllib.loads(path.read_text(encoding="utf-8"))
    tariff = PLANS[case["plan"]]
    segments = tariff.spans(*case["span"], cuts=case.get("cuts", ()))
    result = billing.bill(tariff, segments, given(case, tariff, segments))
    assert result.problem.tolist() == [0]
    shown = np.flatnonzero(result.shown[0]).tolist()
    several = len(segments) > 1
    names = [
        f"{result.items[k].segment + 1}:{result.items[k].name}" if several else result.items[k].name
        for k in shown
    ]
    assert names == [name for name, _, _ in case["lines"]]
    whole = Fraction(0)
    for k, (name, text, fen) in zip(shown, case["lines"], strict=True):
        yuan, exact = arithmetic(text)
        money = Fraction(int(result.money[0, k]), 10**8)
        assert money == yuan if exact else abs(money - yuan) < CUT, name
        assert result.line_fen[0, k] == fen, name
        whole += money
    assert result.total_fen[0] == case["bill"] == sum(fen for _, _, fen in case["lines"])
    assert Fraction(int(result.charge[0]), 10**8) == whole
    if tariff.rounding == "bill":
        assert abs(whole * 100 - case["bill"]) <= Fraction(1, 2)


@pytest.mark.parametrize("path", PENALTIES, ids=lambda path: path.stem)
def test_penalty(path: Path) -> None:
    case = tomllib.loads(path.read_text(encoding="utf-8"))
    rule = PLANS[case["plan"]].versions[-1].penalty
    assert rule is not None
    text, fen = case["penalty"]
    arithmetic(text)
    last = case["due"] - dt.timedelta(days=DUE_DAYS)
    bill_ = Bill("late", last, last, units(case["arrears"]) // 100)
    assert arrears([bill_], {}, case["until"], [(dt.date.min, rule)]).penalty_fen == fen


def test_every_case_says_what_it_is_for() -> None:
    assert len(FILES) >= 40
    titles = [tomllib.loads(path.read_text(encoding="utf-8")) for path in FILES]
    assert len({case["title"] for case in titles}) == len(FILES)
    assert all(case["words"].strip() for case in titles)


def test_the_arithmetic_can_be_wrong() -> None:
    with pytest.raises(AssertionError):
        arithmetic("2 * 0.50 = 1.01")
    with pytest.raises(AssertionError):
        arithmetic("1 / 3 ≈ 0.3333")
