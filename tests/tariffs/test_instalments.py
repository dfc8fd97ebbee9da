"""Debts in instalments, by hand, and whatever came when."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tariffs.instalments import WAYS, Behind, Debt, derive, due_days, instalment

D = dt.date(2026, 3, 1)
OLD = Debt(1, "opening", 10_000, "months", 3, 5, D, D)


def day(number: int) -> dt.date:
    return D + dt.timedelta(days=number - 1)


def takings(derived: dict[tuple[str, str], int]) -> dict[str, int]:
    return {period: -fen for (kind, period), fen in derived.items() if kind == "instalment"}


def test_equal_instalments_and_the_rest_in_the_last() -> None:
    """100.00 yuan in three: 33.33, 33.33, 33.34, on the 5th; the balance holds 500.00."""
    found = derive([OLD], [(D, 50_000)], {}, dt.date(2026, 6, 30))
    assert takings(dict(found.entries)) == {
        "1/2026-03-05": 3_333,
        "1/2026-04-05": 3_333,
        "1/2026-05-05": 3_334,
    }
    assert (found.entries["debt", "1"], found.entries["deferral", "1"]) == (-10_000, 10_000)
    assert (found.left, found.behind) == ({1: 0}, {})


def test_what_the_balance_does_not_hold_waits_until_it_does() -> None:
    """40.00 paid on the 1st, 2.00 used a day. On 5 March the balance is 30.00: 30.00 of 33.33 are taken, 3.33 stay due; from then on each day makes
    it smaller: -2.00 on the 6th … -20.00 on the 15th, when 50.00 come: 30.00, of which 3.33 are taken."""
    charges = {day(n): 200 for n in range(1, 21)}
    found = derive([OLD], [(D, 4_000)], charges, day(14))
    assert takings(dict(found.entries)) == {"1/2026-03-05": 3_000}
    assert found.behind == {1: Behind(day(5), 333)}
    found = derive([OLD], [(D, 4_000), (day(15), 5_000)], charges, day(20))
    assert takings(dict(found.entries)) == {"1/2026-03-05": 3_000, "1/2026-03-15": 333}
    assert (found.left, found.behind) == ({1: 10_000 - 3_333}, {})


def test_a_share_of_each_payment() -> None:
    """20 % of 100.01 are 20.00; of 0.04 nothing; 30.00 are the debt: the last payment of 100.00 gives 10.00 and no more."""
    debt = replace(OLD, amount=3_000, way="share", part=20)
    paid = [(day(2), 10_001), (day(3), 4), (day(9), 10_000), (day(10), 10_000)]
    assert takings(dict(derive([debt], paid, {}, day(20)).entries)) == {
        "1/2026-03-02": 2_000,
        "1/2026-03-09": 1_000,
    }


def test_a_fixed_sum_a_day_or_a_month() -> None:
    daily = replace(OLD, amount=1_000, way="daily", part=300)
    assert takings(dict(derive([daily], [(D, 5_000)], {}, day(9)).entries)) == {
        "1/2026-03-01": 300, "1/2026-03-02": 300, "1/2026-03-03": 300, "1/2026-03-04": 100
    }  # fmt: skip
    monthly = replace(OLD, amount=1_000, way="monthly", part=600, due_day=28, first_day=day(29))
    assert takings(dict(derive([monthly], [(D, 5_000)], {}, dt.date(2026, 7, 1)).entries)) == {
        "1/2026-04-28": 600,
        "1/2026-05-28": 400,
    }


def test_arrears_leave_the_balance_and_come_back_with_an_early_end() -> None:
    """-90.00 on the 1st, put off whole; 20.00 a month from the 5th on. 100.00 paid on the 3rd: 20.00 are taken on the 5th, and on the 10th the
    agreement ends: 70.00 go back."""
    debt = Debt(7, "arrears", 9_000, "monthly", 2_000, 5, D, D, ended=day(10))
    found = derive([debt], [(day(3), 10_000)], {day(-5): 9_000}, day(12))
    assert dict(found.entries) == {
        ("deferral", "7"): 9_000, ("instalment", "7/2026-03-05"): -2_000, ("deferral", "7/end"): -7_000
    }  # fmt: skip
    assert sum(found.entries.values()) == 0


def test_a_debt_that_is_ended_is_claimed_no_more_and_early_money_is_due_at_once() -> None:
    found = derive([replace(OLD, ended=day(10))], [(D, 50_000)], {}, day(12))
    assert sum(found.entries.values()) == -3_333
    early = derive([replace(OLD, repaid={day(7): 5_000})], [(D, 50_000)], {}, dt.date(2026, 6, 30))
    assert takings(dict(early.entries)) == {
        "1/2026-03-05": 3_333,
        "1/2026-03-07": 5_000,
        "1/2026-04-05": 1_667,
    }


def test_what_falls_due_of_who_pays_by_bills() -> None:
    assert due_days(OLD, dt.date(2026, 4, 30)) == [(day(5), 3_333), (dt.date(2026, 4, 5), 3_333)]
    assert sum(fen for _, fen in due_days(replace(OLD, way="daily", part=17), dt.date(2030, 1, 1))) == 10_000
    assert due_days(replace(OLD, ended=day(5)), dt.date(2026, 4, 30)) == []


@given(st.integers(1, 10**9), st.integers(1, 120))
def test_the_instalments_are_the_debt(amount: int, count: int) -> None:
    parts = [instalment(amount, count, k) for k in range(count + 3)]
    assert sum(parts) == amount
    assert len(set(parts[: count - 1])) <= 1


debts = st.builds(
    lambda kind, amount, way, part, first, ended, early: Debt(
        0, kind, amount, way, part, 5, day(first), D, None if ended is None else day(ended), {day(9): early} if early else {}
    ),
    st.sampled_from(["opening", "arrears"]), st.integers(1, 20_000), st.sampled_from(WAYS), st.integers(1, 100), st.integers(1, 20),
    st.one_of(st.none(), st.integers(1, 80)), st.integers(0, 3_000),
)  # fmt: skip


@given(
    st.lists(debts, min_size=1, max_size=3), st.lists(st.tuples(st.integers(-9, 70), st.integers(1, 9_000)), max_size=8),
    st.lists(st.integers(0, 400), min_size=80, max_size=80), st.integers(0, 99),
)  # fmt: skip
def test_nothing_is_lost_and_no_instalment_makes_a_balance_negative(
    some: list[Debt], paid: list[tuple[int, int]], used: list[int], seed: int
) -> None:
    agreed = [replace(debt, number=k) for k, debt in enumerate(some, 1)]
    payments = [(day(n), fen) for n, fen in paid]
    charges = {day(n - 9): fen for n, fen in enumerate(used)}
    last = day(60)
    found = derive(agreed, payments, charges, last)
    mixed = random.Random(seed)
    again = derive(
        mixed.sample(agreed, len(agreed)), mixed.sample(payments, len(payments)), dict(mixed.sample(list(charges.items()), 80)), last
    )  # fmt: skip
    assert again == found
    for debt in agreed:
        mine = {key: fen for key, fen in found.entries.items() if key[1].split("/")[0] == str(debt.number)}
        taken = -sum(fen for (kind, _), fen in mine.items() if kind == "instalment")
        put_off = sum(fen for (kind, _), fen in mine.items() if kind in ("deferral", "instalment"))
        assert 0 <= taken <= debt.amount
        # what is put off and not taken is what is left; after an end nothing is
        assert put_off == (0 if debt.ended is not None else found.left[debt.number])
    # each day: the sum of everything by then is not below zero after a taking, and without takings it was higher
    for (kind, period), fen in found.entries.items():
        if kind == "instalment":
            assert fen < 0
            then = dt.date.fromisoformat(period.split("/")[1])
            assert _balance(found.entries, agreed, payments, charges, then) >= 0


def _balance(entries, agreed, payments, charges, then) -> int:  # type: ignore[no-untyped-def]
    money = sum(fen for when, fen in payments if when <= then) - sum(
        fen for when, fen in charges.items() if when <= then
    )
    for (kind, period), fen in entries.items():
        number, _, what = period.partition("/")
        debt = next(d for d in agreed if d.number == int(number))
        if kind == "instalment":
            money += fen if dt.date.fromisoformat(what) <= then else 0
        elif kind == "deferral" and debt.kind == "arrears":
            money += fen if (debt.ended if what else debt.agreed) <= then else 0
    return int(money)
