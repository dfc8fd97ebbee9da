"""What bills still ask for, by hand, and whatever the order."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tariffs.arrears import DUE_DAYS, Bill, arrears, whole
from tariffs.penalty import Penalty

EVER = dt.date.min
RESIDENTS = [(EVER, Penalty(1, 1, 100, cap=False))]
OTHERS = [(EVER, Penalty(2, 3, 100, cap=False))]
CAPPED = [(EVER, Penalty(2, 3, 100, cap=True))]


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(f"2026-{text}")


def month(number: int, fen: int) -> Bill:
    first = dt.date(2026, number, 1)
    last = (first + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1)
    return Bill(f"{number}", first, last, fen)


def test_nothing_is_owed_before_a_bill_is_over_and_no_penalty_until_it_is_due() -> None:
    bill = month(1, 10_000)
    assert arrears([bill], {}, day("01-31"), RESIDENTS).open == ()
    (found,) = arrears([bill], {}, day("02-01"), RESIDENTS).open
    assert (found.principal_fen, found.penalty_fen) == (10_000, 0)
    assert arrears([bill], {}, day("02-20"), RESIDENTS).penalty_fen == 0  # the last day to pay


def test_the_penalty_by_hand() -> None:
    # due on 20 February; until 2 April 41 days: 100.00 yuan x 41 x 1 permille = 4.10 yuan
    assert arrears([month(1, 10_000)], {}, day("04-02"), RESIDENTS).penalty_fen == 410
    # the first day asks for ten fen, and at least one yuan is taken
    assert arrears([month(1, 10_000)], {}, day("02-21"), RESIDENTS).penalty_fen == 100
    # others: until 31 December 314 days at 2 permille, then 10 at 3: 100.00 x (0.628 + 0.030)
    assert arrears([month(1, 10_000)], {}, dt.date(2027, 1, 10), OTHERS).penalty_fen == 6_580
    # half a fen upwards: 10.05 yuan x 100 days x 1 permille = 100.5 fen
    assert arrears([month(1, 1_005)], {}, dt.date(2026, 5, 31), RESIDENTS).penalty_fen == 101
    assert arrears([month(1, 10_000)], {}, dt.date(2028, 1, 10), OTHERS).penalty_fen > 10_000
    assert arrears([month(1, 10_000)], {}, dt.date(2028, 1, 10), CAPPED).penalty_fen == 10_000


def test_a_bill_that_is_made_after_it_was_due_is_due_as_much_later() -> None:
    """January's, made on 10 March: due on 30 March, so until 2 April three days. Made in time it makes no difference when."""
    bill = month(1, 100_000)
    late, early = (replace(bill, made=day(text)) for text in ("03-10", "02-05"))
    assert arrears([late], {}, day("03-30"), RESIDENTS).penalty_fen == 0
    assert arrears([late], {}, day("04-02"), RESIDENTS).penalty_fen == 300
    assert (
        arrears([early], {}, day("04-02"), RESIDENTS).penalty_fen
        == arrears([bill], {}, day("04-02"), RESIDENTS).penalty_fen
        == 4_100
    )


@given(st.integers(0, 10**9), st.integers(0, 800), st.integers(0, 800))
def test_a_later_day_is_never_cheaper(fen: int, first: int, second: int) -> None:
    bill, due = month(1, fen), day("01-31") + dt.timedelta(days=DUE_DAYS)
    early, late = (
        arrears([bill], {}, due + dt.timedelta(days=days), OTHERS).penalty_fen
        for days in sorted((first, second))
    )
    assert early <= late
    capped = arrears([bill], {}, due + dt.timedelta(days=max(first, second)), CAPPED)
    assert capped.penalty_fen == min(late, fen)


def test_the_oldest_bill_first_its_principal_before_its_penalty() -> None:
    bills = [month(1, 10_000), month(2, 20_000)]
    # on 2 March January has cost one yuan at least; 105 yuan pay it, its penalty and 4 yuan of February
    found = arrears(bills, {day("03-02"): 10_500}, day("03-02"), RESIDENTS)
    assert [(o.bill.name, o.principal_fen, o.penalty_fen) for o in found.open] == [("2", 19_600, 0)]
    assert found.credit_fen == 0
    # 99 yuan leave one yuan of principal, and the penalty goes on with that alone
    part = arrears(bills, {day("03-02"): 9_900}, day("03-12"), RESIDENTS)
    assert [(o.principal_fen, o.penalty_fen) for o in part.open] == [(100, 101), (20_000, 0)]
    # 10,000 x 10 days + 100 x 10 days, in thousandths of a fen: 101 fen


def test_credit_waits_for_the_next_bill_and_then_costs_no_penalty() -> None:
    found = arrears([month(2, 8_000)], {day("01-10"): 10_000}, day("06-30"), RESIDENTS)
    assert found.open == ()
    assert found.credit_fen == 2_000
    assert arrears([], {day("01-10"): 10_000}, day("06-30"), RESIDENTS).credit_fen == 10_000


def test_what_was_paid_after_the_day_does_not_count() -> None:
    assert arrears([month(1, 10_000)], {day("03-02"): 10_000}, day("02-10"), RESIDENTS).total_fen == 10_000


def test_a_bill_below_zero_gives() -> None:
    found = arrears([month(1, -500), month(2, 800)], {}, day("03-01"), RESIDENTS)
    assert [(o.bill.name, o.principal_fen) for o in found.open] == [("2", 300)]


def test_a_days_statement_is_part_of_its_months_bill() -> None:
    days = [Bill(f"d{k}", day(f"02-{k:02}"), day(f"02-{k:02}"), 100) for k in range(1, 29)]
    assert whole(days) == days
    assert whole([*days, month(2, 2_800)]) == [month(2, 2_800)]
    march = Bill("m", day("03-01"), day("03-01"), 7)
    assert whole([*days, month(2, 2_800), march]) == [month(2, 2_800), march]


@given(
    amounts=st.lists(st.integers(1, 50_000), min_size=1, max_size=5),
    paid=st.lists(st.tuples(st.integers(0, 240), st.integers(1, 60_000)), max_size=8),
    seed=st.integers(0, 99),
)
def test_whatever_the_order_and_nothing_is_lost(
    amounts: list[int], paid: list[tuple[int, int]], seed: int
) -> None:
    bills = [month(k, fen) for k, fen in enumerate(amounts, 1)]
    by_day: dict[dt.date, int] = {}
    for after, fen in paid:
        when = day("01-01") + dt.timedelta(days=after)
        by_day[when] = by_day.get(when, 0) + fen
    at = day("09-30")
    found = arrears(bills, by_day, at, OTHERS)
    shuffled = random.Random(seed).sample(bills, len(bills))
    assert arrears(shuffled, dict(sorted(by_day.items(), reverse=True)), at, OTHERS) == found
    # money in = principal settled + penalties settled + credit; without penalties nothing else can be settled
    free = arrears(bills, by_day, at, ())
    assert free.credit_fen - free.total_fen == sum(by_day.values()) - sum(amounts)
    assert min(free.credit_fen, free.total_fen) == 0
    assert found.total_fen >= free.total_fen


def test_part_payments_by_hand() -> None:
    """January 100.00 yuan, due on 20 February; others, 2 permille. 30.00 on 2 March, 50.00 on 12 March, seen on 22 March.

    21 February to 2 March: 10 days on 100.00 = 2.00; the payment leaves 70.00
    3 to 12 March: 10 days on 70.00 = 1.40; the payment leaves 20.00
    13 to 22 March: 10 days on 20.00 = 0.40
    owed: 20.00 and 3.80
    """
    paid = {day("03-02"): 3_000, day("03-12"): 5_000}
    (found,) = arrears([month(1, 10_000)], paid, day("03-22"), OTHERS).open
    assert (found.principal_fen, found.penalty_fen) == (2_000, 380)
    # the first payment is taken back: 20 days on 100.00 = 4.00, 10 days on 50.00 = 1.00
    (found,) = arrears([month(1, 10_000)], {day("03-12"): 5_000}, day("03-22"), OTHERS).open
    assert (found.principal_fen, found.penalty_fen) == (5_000, 500)
    # 24 yuan more: 20.00 and 3.80, and 20 fen wait for the next bill
    done = arrears([month(1, 10_000)], paid | {day("03-22"): 2_400}, day("03-31"), OTHERS)
    assert (done.open, done.credit_fen) == ((), 20)


def test_each_day_at_the_rates_of_its_version() -> None:
    """100.00 yuan, due on 20 February. 1 permille until the end of March, 2 from April on, none from May on.

    21 February to 31 March: 39 days at 1 permille = 3.90; April: 30 days at 2 = 6.00; nothing more in May.
    """
    rules = [
        (dt.date(2025, 1, 1), Penalty(1, 1, 100, cap=False)),
        (day("04-01"), Penalty(2, 3, 500, cap=True)),
        (day("05-01"), None),
    ]
    for last, fen in (("03-31", 390), ("04-01", 410), ("04-30", 990), ("06-30", 990)):
        assert arrears([month(1, 10_000)], {}, day(last), rules).penalty_fen == fen
    # its first day in arrears was the old version's: its minimum and no cap; February's, due on 20 March, likewise; March's, on 20 April
    assert arrears([month(1, 10_000)], {}, day("02-21"), rules).penalty_fen == 100
    assert arrears([month(3, 10_000)], {}, day("04-21"), rules).penalty_fen == 500
    late = [(day("04-01"), Penalty(1, 1, 100, cap=False))]
    assert arrears([month(1, 10_000)], {}, day("03-31"), late).penalty_fen == 0
    assert arrears([month(1, 10_000)], {}, day("04-30"), late).penalty_fen == 300


@given(st.lists(st.tuples(st.integers(1, 120), st.integers(1, 3_000)), max_size=6))
def test_the_penalty_is_the_sum_of_what_each_day_asks_for(paid: list[tuple[int, int]]) -> None:
    """Walked day by day by another hand: the penalty of one bill is the sum over its days of what was still owed, whatever came when."""
    due, amount = day("01-31") + dt.timedelta(days=DUE_DAYS), 10_000
    by_day: dict[dt.date, int] = {}
    for after, fen in paid:
        by_day[due + dt.timedelta(days=after)] = by_day.get(due + dt.timedelta(days=after), 0) + fen
    principal, thousandths, credit = amount, 0, 0
    for k in range(1, 121):
        when = due + dt.timedelta(days=k)
        thousandths += principal * 2
        credit += by_day.get(when, 0)
        taken = min(credit, principal)
        principal, credit = principal - taken, credit - taken
    found = arrears([month(1, amount)], by_day, due + dt.timedelta(days=120), OTHERS)
    penalty = max((thousandths + 500) // 1000, 100)
    assert found.total_fen == principal + max(0, penalty - credit)
