"""Cards that hold kWh: nothing is lost or made but by use and purchases, whatever the prices."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tariffs.card import CardError, Image, buy, fold, level, opened, remaining, reprice, settle
from tariffs.registers import ROLL_OVER

KWH = 10_000


def test_by_hand() -> None:
    card = buy(opened(123_0000, 5_380), 10_000)  # 100 yuan at 0.5380: 185.8736 kWh, and 0.00000320 yuan over
    assert (card.energy, card.rest) == (185_8736, 320)
    assert remaining(card, 223_0000) == 85_8736
    card = settle(card, 223_0000)
    assert (card.energy, card.settled) == (85_8736, 223_0000)
    dearer = reprice(card, 233_0000, 5_600)  # 75.8736 kWh at 0.5380 are 72.8928 at 0.5600
    assert (dearer.energy, dearer.price) == (72_8928, 5_600)
    assert dearer.value == 75_8736 * 5_380 + 320
    assert remaining(dearer, 333_0000) == -27_1072
    other = settle(dearer, 243_0000, 1_0000)  # the meter was exchanged
    assert remaining(other, 11_0000) == 52_8928


@pytest.mark.parametrize(
    ("left", "says"),
    [
        (0, "used-up"),
        (-1, "used-up"),
        (1, "warn2"),
        (10 * KWH, "warn2"),
        (10 * KWH + 1, "warn1"),
        (50 * KWH, "warn1"),
        (50 * KWH + 1, "ok"),
    ],
)
def test_levels(left: int, says: str) -> None:
    assert level(left) == says


def test_a_register_that_rolls_over_and_one_that_fell() -> None:
    card = Image(100 * KWH, 999_999_0000, 5_000)
    assert remaining(card, 1_0000) == 98 * KWH
    with pytest.raises(CardError, match="the register fell"):
        remaining(Image(0, 5_000_0000, 5_000), 4_999_0000)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: opened(0, 0),
        lambda: opened(-1, 1),
        lambda: buy(opened(0, 1), 0),
        lambda: reprice(opened(0, 1), 0, 0),
        lambda: opened(ROLL_OVER, 1),
        lambda: opened(0, 1, -ROLL_OVER),
        lambda: opened(0, 100_0001),
        lambda: reprice(opened(0, 1), 10**20, 1),
        lambda: settle(opened(0, 1), 10**20),
        lambda: settle(opened(0, 1), 0, 10**20),
        lambda: settle(opened(0, 1), 0, -1),
    ],
)
def test_what_cannot_be(wrong: Any) -> None:
    with pytest.raises(CardError):
        wrong()


def test_events_without_a_beginning() -> None:
    assert fold([]) is None
    with pytest.raises(CardError, match="before the card was opened"):
        fold([{"kind": "buy", "amount_fen": 1}])


STEPS = st.lists(
    st.one_of(
        st.integers(-5_000, 50_000).filter(bool).map(lambda fen: ("buy", fen)),
        st.integers(0, 100 * KWH).map(lambda used: ("settle", used)),
        st.tuples(st.just("reprice"), st.integers(1_000, 20_000)),
    ),
    max_size=30,
)


@given(STEPS, st.integers(1_000, 20_000))
def test_what_it_is_worth_is_bought_less_used(steps: list[tuple[str, int]], price: int) -> None:
    register, worth = 0, Fraction(0)
    events: list[dict[str, Any]] = [{"kind": "open", "register": 0, "price": price, "energy": None}]
    for kind, value in steps:
        if kind == "buy":
            worth += value * 1_000_000
            events.append({"kind": kind, "amount_fen": value})
        elif kind == "settle":
            register += value
            worth -= value * price
            events.append({"kind": kind, "register": register, "energy": None})
        else:
            price = value
            events.append({"kind": kind, "register": register, "price": price})
    card = fold(events)
    assert card is not None
    assert card.value == worth
    assert 0 <= card.rest < card.price
    assert remaining(card, register) == card.energy
