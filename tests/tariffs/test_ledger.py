"""Entries, their hashes, and corrections that only ever add."""

from __future__ import annotations

import datetime as dt
import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tariffs.charge import daily_entry
from tariffs.ledger import (
    Entry,
    LedgerError,
    balance,
    canonical,
    derive,
    derive_many,
    inputs_hash,
    inputs_hashes,
)
from tariffs.money import to_fen

KEY = {"account": 7, "kind": "energy", "period": "2026-03-11"}


def put(existing: list[Entry], amount_fen: int, inputs: object) -> list[Entry]:
    return [
        *existing,
        *derive(existing, **KEY, amount_fen=amount_fen, inputs_hash=inputs_hash({"x": inputs})),
    ]  # type: ignore[arg-type]


def test_the_first_entry_a_repeat_and_a_correction() -> None:
    ledger = put([], 1234, 1)
    assert [(e.revision, e.amount_fen) for e in ledger] == [(0, 1234)]
    ledger = put(ledger, 1234, 1)
    assert len(ledger) == 1
    ledger = put(ledger, 1200, 2)
    assert [(e.revision, e.amount_fen) for e in ledger] == [(0, 1234), (1, -34)]
    ledger = put(ledger, 1200, 3)  # other readings, same money: recorded, moves nothing
    assert [(e.revision, e.amount_fen) for e in ledger] == [(0, 1234), (1, -34), (2, 0)]
    assert put(ledger, 1200, 3) == ledger
    ledger = put(ledger, 1234, 1)  # back to the first inputs is one more correction
    assert sum(e.amount_fen for e in ledger) == 1234


def test_the_same_inputs_cannot_give_other_money() -> None:
    with pytest.raises(LedgerError, match="the same inputs gave 1234 fen before and 1235 fen now"):
        put(put([], 1234, 1), 1235, 1)


def test_a_broken_ledger_is_not_continued() -> None:
    good = put(put([], 5, 1), 6, 2)
    with pytest.raises(LedgerError, match="revision 0"):
        put(good[1:], 7, 3)
    with pytest.raises(LedgerError, match="revision 1"):
        put([good[0], good[0]], 7, 3)
    stranger = Entry(8, "energy", "2026-03-11", 0, 5, "h")
    with pytest.raises(LedgerError, match="does not belong"):
        put([stranger], 7, 3)
    with pytest.raises(LedgerError, match="there twice"):
        balance([good[0], good[0]])


@given(st.lists(st.tuples(st.integers(-(10**9), 10**9), st.integers(0, 5)), min_size=1, max_size=8))
def test_the_ledger_stands_at_the_newest_amount(steps: list[tuple[int, int]]) -> None:
    ledger: list[Entry] = []
    for n, (amount_fen, _) in enumerate(steps):
        ledger = put(ledger, amount_fen, n)
    assert sum(e.amount_fen for e in ledger) == steps[-1][0]
    assert [e.revision for e in ledger] == list(range(len(ledger)))
    assert all(type(e.amount_fen) is int for e in ledger)


def test_any_order_of_arrival_gives_the_same_balance() -> None:
    """Readings of three days and two payments in every order: the same sums, to the fen."""
    charges = {"2026-03-11": 512, "2026-03-12": 498, "2026-03-13": 777}
    results = set()
    for order in itertools.permutations([*charges, "pay-1", "pay-2"]):
        ledger: list[Entry] = []
        for name in order:
            kind = "payment" if name.startswith("pay") else "energy"
            amount_fen = 5000 if kind == "payment" else charges[name]
            same = [e for e in ledger if e.period == name]
            ledger += derive(same, account=7, kind=kind, period=name, amount_fen=amount_fen, inputs_hash=name)
        results.add(balance(ledger))
        results.add(balance(reversed(ledger)))
    assert results == {10_000 - 512 - 498 - 777}


def test_batch_equals_one_by_one() -> None:
    standing = np.array([0, 100, 100, 100])
    revision = np.array([-1, 0, 3, 0])
    append, amount, next_revision = derive_many(
        standing, revision, ["", "a", "a", "a"], np.array([50, 100, 90, 100]), ["a", "a", "b", "c"]
    )
    assert append.tolist() == [True, False, True, True]
    assert amount.tolist() == [50, 0, -10, 0]
    assert next_revision.tolist() == [0, 1, 4, 1]
    assert amount.dtype == np.int64
    with pytest.raises(LedgerError, match="row 1"):
        derive_many(standing, revision, ["", "a", "a", "a"], np.array([50, 101, 90, 100]), ["a"] * 4)
    with pytest.raises(TypeError, match="integers"):
        derive_many(standing, revision, [""] * 4, np.array([50.0, 1, 2, 3]), ["a"] * 4)


def test_canonical_form_is_one_form() -> None:
    when = dt.datetime(2026, 3, 11, 8, tzinfo=dt.timezone(dt.timedelta(hours=8)))
    one = {
        "b": np.int64(5),
        "a": [1, "x", None, True],
        "t": when,
        "r": np.array([[1, 2]]),
        "d": dt.date(2026, 3, 11),
    }
    other = {
        "d": "2026-03-11", "r": [[1, 2]], "a": (1, "x", None, np.bool_(True)), "b": 5,
        "t": np.datetime64("2026-03-11T00:00:00", "us"),
    }  # fmt: skip
    assert canonical(one) == canonical(other)
    assert canonical({"b": 1, "a": "电"}) == '{"a":"电","b":1}'.encode()
    assert inputs_hash({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize(
    "bad", [1.0, np.float64(1), np.array([1.0]), {1: 2}, dt.datetime(2026, 3, 11), {1, 2}, b"x", object()]
)
def test_what_may_not_stand_behind_money(bad: object) -> None:
    with pytest.raises(TypeError, match="inputs of money"):
        inputs_hash({"x": bad})


def test_hashes_of_a_batch_are_the_hashes_of_its_rows() -> None:
    first = np.arange(10).reshape(2, 5)
    common = {"tariff": "t", "begin": dt.date(2026, 3, 1)}
    batch = inputs_hashes(common, {"account": np.array([7, 8]), "first": first})
    shared = {"common": inputs_hash(common)}
    assert batch == [inputs_hash({**shared, "account": 7 + n, "first": first[n].tolist()}) for n in range(2)]
    mixed = {
        "zone": np.array(["A", "Ö"]),
        "at": np.array(["2026-03-01", "2026-03-02"], dtype="datetime64[us]"),
        "few": np.array([[True], [False]]),
    }
    assert inputs_hashes(common, mixed) == [
        inputs_hash({**shared, "zone": "AÖ"[n], "at": mixed["at"][n], "few": mixed["few"][n]})
        for n in range(2)
    ]
    with pytest.raises(ValueError, match="may not be called 'common'"):
        inputs_hashes({"account": 1}, {"common": np.array([7])})


@given(
    charges=st.lists(st.integers(0, 10**9), min_size=1, max_size=8),
    seed=st.randoms(use_true_random=False),
)
def test_running_equals_recomputed_in_any_order_of_arrival(charges: list[int], seed: random.Random) -> None:
    """Day freezes arrive in any order; the month's entry follows the newest freeze there is.

    A late freeze of an earlier day changes nothing, a newer one adds what is missing, and the sum is what a ledger
    made from scratch with all freezes would hold.
    """
    to_date = np.array(charges, dtype=np.int64).cumsum()
    arrivals = list(range(len(charges)))
    seed.shuffle(arrivals)
    ledger: list[Entry] = []
    seen: set[int] = set()
    for day in arrivals:
        seen.add(day)
        newest = max(seen)
        fen = int(to_fen(to_date[newest]))
        ledger += derive(ledger, **KEY, amount_fen=fen, inputs_hash=inputs_hash({"day": newest}))  # type: ignore[arg-type]
        assert -balance(ledger) == fen
        # the two ways of saying what a day's entry is agree
        if len(ledger) > 1:
            earlier = sum(entry.amount_fen for entry in ledger[:-1])
            assert ledger[-1].amount_fen == int(daily_entry(to_fen(to_date[newest]), np.array(earlier)))
    scratch = derive([], **KEY, amount_fen=int(to_fen(to_date[-1])), inputs_hash="scratch")  # type: ignore[arg-type]
    assert balance(ledger) == balance(scratch)
