"""The basic charge: choices, limit, discount, and days that add up to the month."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tariffs.basic import CAPACITY, CONTRACT, DEMAND, Basic, Discount, Stretch, charges, offered

UNIT = 10_000
MARCH = Stretch(0, 31, 31)
RULE = Basic(250_000, 400_000, 105, 2, "contract", "calendar", Discount(260, 90))


def of(
    rule: Basic,
    by: int,
    *,
    capacity: int = 0,
    contract: int = 0,
    demand: int = 0,
    energy: int = 0,
    at: Stretch = MARCH,
) -> list[tuple[int, int, int]]:
    """(quantity, price, money) of the three parts."""
    columns = (np.array([value]) for value in (capacity, contract, demand, energy))
    parts = charges(rule, np.array([by], dtype=np.int8), *columns, at)
    return [(int(part.quantity[0]), int(part.price[0]), int(part.money[0])) for part in parts]


def test_only_the_chosen_part_is_charged() -> None:
    everything = {"capacity": 100 * UNIT, "contract": 50 * UNIT, "demand": 40 * UNIT}
    assert of(RULE, CAPACITY, **everything)[0] == (100 * UNIT, 250_000, 100 * UNIT * 250_000)
    assert [part[2] for part in of(RULE, CAPACITY, **everything)[1:]] == [0, 0]
    assert [part[0] for part in of(RULE, CONTRACT, **everything)] == [0, 50 * UNIT, 0]
    assert [part[0] for part in of(RULE, DEMAND, **everything)] == [0, 40 * UNIT, 0]
    # actual demand has no limit, whatever contract is on record
    assert [part[0] for part in of(RULE, DEMAND, contract=50 * UNIT, demand=90 * UNIT)] == [0, 90 * UNIT, 0]


def test_a_limit_between_digits_favours_the_customer() -> None:
    # 105 % of 0.0001 kW is 0.000105 kW: the limit is 0.0002
    assert of(RULE, CONTRACT, contract=1, demand=2)[2][0] == 0
    assert of(RULE, CONTRACT, contract=1, demand=3)[2][0] == 1


@pytest.mark.parametrize(("energy", "price"), [(26_000 * UNIT - 1, 400_000), (26_000 * UNIT, 360_000)])
def test_discount(energy: int, price: int) -> None:
    assert of(RULE, DEMAND, capacity=100 * UNIT, demand=UNIT, energy=energy)[1][1] == price
    assert of(RULE, CAPACITY, capacity=100 * UNIT, energy=energy)[0][1] == 250_000


def test_without_capacity_there_is_no_discount() -> None:
    assert of(RULE, DEMAND, demand=UNIT, energy=UNIT)[1][1] == 400_000


def test_what_a_plan_does_not_offer() -> None:
    choices = np.array([CAPACITY, CONTRACT, DEMAND], dtype=np.int8)
    assert offered(RULE, choices).tolist() == [True, True, True]
    only = Basic(None, 400_000, 105, 2, "contract", "calendar", None)
    assert offered(only, choices).tolist() == [False, True, True]


@given(
    st.integers(0, 10**9),
    st.integers(28, 31),
    st.lists(st.integers(0, 31), max_size=5),
    st.integers(1, 1_000_000),
)
def test_the_pieces_of_a_month_add_up_to_it(capacity: int, length: int, cuts: list[int], price: int) -> None:
    rule = Basic(price, None, 105, 2, "contract", "calendar", None)
    edges = sorted({0, length, *(min(cut, length) for cut in cuts)})
    parts = [
        of(rule, CAPACITY, capacity=capacity, at=Stretch(a, b, length))[0][2]
        for a, b in itertools.pairwise(edges)
    ]
    assert sum(parts) == capacity * price
