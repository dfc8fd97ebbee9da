"""What a bill rests on: shapes, floats, and columns that a plan needs."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from protocols.reading import MISSING
from tariffs.basic import BY
from tariffs.billing import bill
from tariffs.charge import Problem
from tariffs.determinants import Determinants, of_registers
from tariffs.plan import Tariff, shipped

HUNAN = shipped()["hunan-large-industry"]
MARCH = HUNAN.spans(dt.date(2026, 3, 1), dt.date(2026, 4, 1))
COLUMNS = ("by", "capacity", "contract", "demand", "reactive", "iron", "copper")


def three() -> Determinants:
    """One account by capacity, one by contract, one by actual demand."""
    each = np.full((3, 1), 10_000)
    return Determinants(
        np.full((3, 1, 5), 10_000),
        np.zeros(3, dtype=np.int8),
        by=np.array([[0], [1], [2]], dtype=np.int8),
        capacity=each,
        contract=each,
        demand=each,
        reactive=np.zeros((3, 1, 2), dtype=np.int64),
        iron=each,
        copper=each,
    )


def test_shapes_and_floats_are_refused(zhejiang: Tariff) -> None:
    freezes, one = np.zeros((1, 1, 2, 5), dtype=np.int64), np.ones((1, 1), dtype=np.int64)
    segments = zhejiang.spans(dt.date(2026, 3, 1), dt.date(2026, 4, 1))
    with pytest.raises(ValueError, match="disagree"):
        of_registers(freezes, np.ones((1, 2), dtype=np.int64), segments)
    with pytest.raises(ValueError, match="disagree"):
        of_registers(freezes, one, segments * 2)
    with pytest.raises(TypeError, match="freezes must be integers"):
        of_registers(freezes.astype(float), one, segments)
    with pytest.raises(TypeError, match="multiplier must be integers"):
        of_registers(freezes, one.astype(float), segments)
    with pytest.raises(ValueError, match="disagree"):
        Determinants(np.zeros((1, 1, 4), dtype=np.int64), np.zeros(1, dtype=np.int8))
    with pytest.raises(ValueError, match=r"capacity is \(1,\), \(1, 1\) is needed"):
        Determinants(
            np.zeros((1, 1, 5), dtype=np.int64),
            np.zeros(1, dtype=np.int8),
            capacity=np.zeros(1, dtype=np.int64),
        )


@pytest.mark.parametrize("name", ["energy", *COLUMNS, "before", "step_months"])
def test_no_float_comes_in(name: str) -> None:
    whole = three()
    column = getattr(whole, name)
    shape = {"before": (3,), "step_months": (3, 1)}.get(name) or column.shape
    with pytest.raises(TypeError, match=f"{name} must be integers"):
        replace(whole, **{name: np.zeros(shape)})


@pytest.mark.parametrize("name", COLUMNS)
def test_a_plan_names_the_column_that_was_not_given(name: str) -> None:
    with pytest.raises(ValueError, match=f"hunan-large-industry needs the determinant '{name}'"):
        bill(HUNAN, MARCH, replace(three(), **{name: None}))


def test_steps_need_what_was_used_before() -> None:
    plan = shipped()["zhejiang-residential-steps"]
    span = plan.spans(dt.date(2026, 3, 1), dt.date(2026, 4, 1))
    with pytest.raises(ValueError, match="zhejiang-residential-steps needs the determinant 'before'"):
        bill(plan, span, Determinants(np.zeros((1, 1, 5), dtype=np.int64), np.zeros(1, dtype=np.int8)))
    with pytest.raises(ValueError, match=r"step_months must lie within 0\.\.12"):
        bill(
            plan, span, replace(three(), before=np.zeros(3, dtype=np.int64), step_months=np.full((3, 1), 13))
        )


@pytest.mark.parametrize(
    ("name", "whose"),
    [
        ("by", [True] * 3),
        ("capacity", [True] * 3),  # for the discount, whatever was chosen
        ("contract", [False, True, False]),
        ("demand", [False, True, True]),
        ("reactive", [True] * 3),
        ("iron", [True] * 3),
        ("copper", [True] * 3),
    ],
)
def test_an_account_without_its_own_gets_no_bill(name: str, whose: list[bool]) -> None:
    whole = three()
    gone = np.full_like(getattr(whole, name), MISSING)
    result = bill(HUNAN, MARCH, replace(whole, **{name: gone}))
    assert (result.problem == Problem.MISSING_DETERMINANT).tolist() == whose
    assert (result.total_fen == MISSING).tolist() == whose


def test_negative_determinants_are_a_problem() -> None:
    whole = three()
    demand = np.array([[-1], [10_000], [-1]])
    result = bill(HUNAN, MARCH, replace(whole, demand=demand))
    assert result.problem.tolist() == [0, 0, Problem.NEGATIVE]
    assert result.computed.tolist() == [True, True, False]
    with pytest.raises(ValueError, match=r"by knows 0\.\.3: capacity, contract, demand, elsewhere"):
        bill(HUNAN, MARCH, replace(whole, by=np.full((3, 1), len(BY) + 1)))


def test_what_the_plan_does_not_offer_is_an_exception() -> None:
    version = HUNAN.versions[0]
    assert version.basic is not None
    only = replace(HUNAN, versions=(replace(version, basic=replace(version.basic, capacity_price=None)),))
    result = bill(only, only.spans(dt.date(2026, 3, 1), dt.date(2026, 4, 1)), three())
    assert result.problem.tolist() == [Problem.NOT_OFFERED, 0, 0]
    assert result.computed.tolist() == [False, True, True]
