"""What the ledger should hold, derived once more from readings, tariffs and payments, beside what stands.

The charges come out of the same `settle.derive` as every night's, for all days since an account's first charge and for every meter that it
has had; so they can be derived as long as the readings are kept. Payments and reversals are compared with the messages that they rest on.
Nothing is written, unless it is asked for: then a charge that differs gets its correction, as the next settlement would give it if it
looked back that far.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headend.jobs.frame import Run
from headend.jobs.settle import KEPT, Derived, Standing, derive, post
from headend.store import accounts, ledger, tariffs
from headend.store.accounts import Accounts
from headend.store.db import StoreError
from headend.store.ledger import Difference
from tariffs.ledger import LedgerError

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Book:
    """The accounts and meters that charges were made of, and since when. `place`: of each row among the distinct accounts."""

    who: Accounts
    until: NDArray[np.datetime64]
    since: NDArray[np.datetime64]
    distinct: I64
    place: I64
    number: dict[int, str]


def differences(run: Run, day: dt.date, *, write: bool = False) -> Iterator[Difference]:
    """Everything that is not as it should be, up to a local day that is over. With `write`, in the caller's transaction, corrected as well."""
    yield from ledger.payment_differences(run.conn)
    book = _book(run, day)
    if book is None:
        return
    for last in _month_ends(book.since.min().item(), day):
        yield from _month(run, book, last, write)


def _book(run: Run, day: dt.date) -> _Book | None:
    who, until = accounts.history(run.conn, now=run.now, zone=run.zone)
    charged = ledger.charged_since(run.conn)
    chosen = [k for k in range(len(who)) if who.prepaid[k] or int(who.account_id[k]) in charged]
    if not chosen:
        return None
    rows = np.array(chosen, dtype=np.int64)
    who = who.take(rows)
    # before its first charge somebody else charged; of who never was, what the next settlement would begin with
    since = [
        charged.get(int(account), (start if start >= day - KEPT else day).replace(day=1))
        for account, start in zip(who.account_id, who.start, strict=True)
    ]
    distinct, place = np.unique(who.account_id, return_inverse=True)
    return _Book(
        who, np.array([until[k] for k in chosen], dtype="datetime64[D]"), np.array(since, dtype="datetime64[D]"), distinct, place,
        dict(zip(who.account_id.tolist(), who.customer, strict=True)),
    )  # fmt: skip


def _month_ends(first: dt.date, day: dt.date) -> Iterator[dt.date]:
    """The last day of each month from that of `first` on; at the end `day` itself."""
    month = first.replace(day=1)
    while month <= day:
        following = (month + dt.timedelta(days=31)).replace(day=1)
        yield min(following - dt.timedelta(days=1), day)
        month = following


def _month(run: Run, book: _Book, last: dt.date, write: bool) -> Iterator[Difference]:
    first = np.datetime64(last.replace(day=1), "D")
    standing = Standing.of(run, book.distinct, last)
    known = np.zeros_like(standing.fen, dtype=np.bool_)
    starts = np.array(book.who.start, dtype="datetime64[D]")
    there = (book.since <= np.datetime64(last)) & (book.until >= first) & (starts <= np.datetime64(last))
    known_tariffs = tariffs.load(run.conn)
    for name in np.unique(book.who.tariff[there]):
        rows = np.flatnonzero(there & (book.who.tariff == name))
        for derived in derive(run, book.who, rows, last, known_tariffs[str(name)]):
            when = np.datetime64(derived.day)
            at, k = book.place[derived.row], derived.day.day - 1
            mine = (when >= book.since[derived.row]) & (when <= book.until[derived.row])
            known[at[mine], k] = True
            differs = mine & (standing.fen[at, k] != derived.amount)
            for j in np.flatnonzero(differs):
                account, fen = int(book.distinct[at[j]]), int(derived.amount[j])
                stands = int(standing.fen[at[j], k])
                yield Difference(
                    book.number[account], account, "charge", derived.day.isoformat(), -fen, -stands
                )
            if write and differs.any():
                _correct(run, book, derived, at, differs, standing)
    for i, k in np.argwhere(~known & (standing.fen != 0)):
        account = int(book.distinct[i])
        period = last.replace(day=int(k) + 1).isoformat()
        yield Difference(book.number[account], account, "charge", period, None, -int(standing.fen[i, k]))


def _correct(
    run: Run, book: _Book, derived: Derived, at: I64, differs: NDArray[np.bool_], standing: Standing
) -> None:
    chosen = replace(
        derived, at=at[differs], row=derived.row[differs], amount=derived.amount[differs],
        hashes=[derived.hashes[j] for j in np.flatnonzero(differs)], begin=derived.begin[differs], end=derived.end[differs],
        since=derived.since[differs], multiplier=derived.multiplier[differs], to_date=derived.to_date[differs],
    )  # fmt: skip
    try:
        post(run, book.who, chosen, standing)
    except LedgerError as error:
        raise StoreError(
            f"a charge of {derived.day} has the hash of its inputs and another amount ({error}): the ledger was changed by hand; "
            "restore it from a backup, nothing was written"
        ) from None
