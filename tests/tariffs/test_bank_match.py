"""Both, the bank alone, we alone, different; and what was past the cut-off."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tariffs.bank_match import DECISIONS, WORDS, Day, Outcome, Payment, Reversal, match, split_late, with_late

ZONE = ZoneInfo("Asia/Shanghai")
DATE = dt.date(2026, 3, 11)
TEN = dt.datetime(2026, 3, 11, 10, tzinfo=ZONE)


def payment(serial: str, fen: int = 100, customer: str = "3301", time: dt.datetime = TEN) -> Payment:
    return Payment(serial, customer, fen, time)


def reversal(original: str) -> Reversal:
    return Reversal(f"r{original}", original, "3301", 100, TEN)


def books(*payments: Payment, gone: tuple[str, ...] = ()) -> Day:
    return Day("ICBC", DATE, payments, tuple(reversal(serial) for serial in gone))


def outcomes(bank: Day, ours: Day) -> dict[str, str]:
    return {item.serial: item.outcome.value for item in match(bank, ours)}


def test_the_four_outcomes() -> None:
    bank = books(payment("a"), payment("b"), payment("d"), payment("e"))
    ours = books(payment("a"), payment("c"), payment("d", 101), payment("e", customer="3302"))
    assert outcomes(bank, ours) == {
        "a": "both",
        "b": "bank-only",
        "c": "ours-only",
        "d": "different",
        "e": "different",
    }


def test_the_time_of_a_payment_does_not_matter() -> None:
    assert outcomes(books(payment("a")), books(payment("a", time=TEN + dt.timedelta(seconds=9)))) == {
        "a": "both"
    }


@pytest.mark.parametrize(
    ("bank", "ours", "expected"),
    [
        (books(payment("a"), gone=("a",)), books(payment("a"), gone=("a",)), {}),
        (books(payment("a"), gone=("a",)), books(), {}),
        (books(gone=("a",)), books(), {}),
        (books(gone=("a",)), books(payment("a")), {"a": "ours-only"}),
        (books(payment("a"), gone=("a",)), books(payment("a")), {"a": "ours-only"}),
        (books(payment("a")), books(payment("a"), gone=("a",)), {"a": "bank-only"}),
    ],
)
def test_what_was_reversed_stands_on_no_side(bank: Day, ours: Day, expected: dict[str, str]) -> None:
    assert outcomes(bank, ours) == expected


def test_past_the_cut_off_is_the_next_day() -> None:
    late, gone = payment("l", time=TEN.replace(hour=22)), payment("g", time=TEN.replace(hour=23))
    day, moved = split_late(books(payment("a"), late, gone, gone=("g",)), dt.time(22), ZONE)
    assert day == books(payment("a"), gone, gone=("g",))
    assert moved == (late,)
    # in another zone's words the same instant is the same instant
    utc = replace(late, time=late.time.astimezone(dt.UTC))
    assert split_late(books(utc), dt.time(22), ZONE)[1] == (utc,)
    following = books(payment("b"))
    assert with_late(following, moved).payments == (payment("b"), late)
    assert with_late(books(late), moved) == books(late)  # listed again, it counts once


def test_each_difference_has_its_decisions() -> None:
    assert set(DECISIONS) == set(WORDS) == set(Outcome)
    decided = [decision for possible in DECISIONS.values() for decision in possible]
    assert len(decided) == len(set(decided)) == 5


SERIALS = st.lists(st.sampled_from("abcdefgh"), unique=True)


@given(SERIALS, SERIALS, st.lists(st.sampled_from("abcdefgh"), unique=True), st.integers(0, 3))
def test_the_items_explain_the_difference_of_the_sums(
    bank: list[str], ours: list[str], gone: list[str], extra: int
) -> None:
    theirs = books(
        *(payment(s, 100 + extra * (s == "a")) for s in bank), gone=tuple(s for s in gone if s in bank)
    )
    here = books(*(payment(s) for s in ours))
    items = match(theirs, here)
    explained = sum(
        (i.bank.amount_fen if i.bank else 0) - (i.ours.amount_fen if i.ours else 0) for i in items
    )
    sums = [sum(p.amount_fen for p in side.standing().values()) for side in (theirs, here)]
    assert explained == sums[0] - sums[1]
    assert all((i.outcome is Outcome.BOTH) == (i.bank == i.ours) for i in items)
