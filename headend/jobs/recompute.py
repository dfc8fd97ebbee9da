"""What the ledger should hold, derived once more from readings, tariffs and payments, beside what stands.

The charges come out of the same `settle.derive` as every night's, for all days since an account's first charge; so they can be derived as long
as the readings are kept. Payments and reversals are compared with the messages that they rest on; debts are derived from their agreements, the
payments and the charges that stand. Nothing is written, unless it is asked for: then a charge that differs gets its correction, as the next
settlement would give it if it looked back that far.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from headend.jobs.frame import Run
from headend.jobs.settle import KEPT, Derived, Month, Standing, derive, first_charged, post, take_back
from headend.store import billed, debts, ledger, tariffs
from headend.store.billed import Billed
from headend.store.db import StoreError
from headend.store.ledger import Difference, Since
from tariffs.ledger import LedgerError
from tariffs.plan import Tariff


def differences(run: Run, day: dt.date, *, write: bool = False) -> Iterator[Difference]:
    """Everything that is not as it should be, up to a local day that is over. With `write`, in the caller's transaction, corrected as well."""
    yield from ledger.payment_differences(run.conn)
    yield from ledger.sum_differences(run.conn)
    yield from debts.differences(run.conn, day)
    charged, known = ledger.charged_since(run.conn), tariffs.load(run.conn)
    first = min([*charged.account.values(), day - KEPT])
    others = ledger.foreign(run.conn, first, day)
    for each in others:
        yield Difference(each.customer, each.account_id, "charge", each.period, 0, each.fen)
    if write:
        take_back(run, others)
    month = first.replace(day=1)
    while month <= day:
        following = (month + dt.timedelta(days=31)).replace(day=1)
        last = min(following - dt.timedelta(days=1), day)
        for who in billed.stream(run.conn, month, last, run.zone):
            yield from _month(run, who, last, day, charged, known, write)
        month = following
    if write:
        for account in debts.with_debts(run.conn):
            debts.post(run.conn, account, day, now=run.now)


def _month(
    run: Run,
    who: Billed,
    last: dt.date,
    day: dt.date,
    charged: Since,
    known: dict[str, Tariff],
    write: bool,
) -> Iterator[Difference]:
    # before its first charge somebody else charged; a settlement posts the whole of the month that it begins in
    since = first_charged(who, charged, day).astype("datetime64[M]").astype("datetime64[D]")
    mine = np.array(
        [
            bool(prepaid) or account in charged.account
            for prepaid, account in zip(who.prepaid, who.account_id.tolist(), strict=True)
        ],
        dtype=np.bool_,
    )
    mine &= since <= np.datetime64(last)
    standing = Standing.of(run, who.account_id, last)
    found = np.zeros_like(standing.fen, dtype=np.bool_)
    for name in np.unique(who.tariff[mine]):
        rows = np.flatnonzero(mine & (who.tariff == name))
        for derived in derive(
            run, Month(who, rows, since[rows], known[str(name)], last), standing.take(rows)
        ):
            at, k = derived.row, derived.day.day - 1
            inside = np.datetime64(derived.day) >= since[at]
            found[at[inside], k] = True
            differs = inside & (standing.fen[at, k] != derived.amount)
            for j in np.flatnonzero(differs):
                row, fen = int(at[j]), int(derived.amount[j])
                yield Difference(
                    who.customer[row],
                    int(who.account_id[row]),
                    "charge",
                    derived.day.isoformat(),
                    -fen,
                    -int(standing.fen[row, k]),
                )
            if write and differs.any():
                _correct(run, who, derived.take(differs), standing)
    days = np.datetime64(last.replace(day=1)) + np.arange(last.day)
    his = (who.first[:, None] <= days) & (days <= who.last[:, None])  # another's were told already
    for row, k in np.argwhere(~found & his & (standing.fen != 0)):
        period = last.replace(day=int(k) + 1).isoformat()
        yield Difference(
            who.customer[row], int(who.account_id[row]), "charge", period, None, -int(standing.fen[row, k])
        )


def _correct(run: Run, who: Billed, derived: Derived, standing: Standing) -> None:
    try:
        post(run, who, replace(derived, at=derived.row), standing, strict=True)
    except LedgerError as error:
        raise StoreError(
            f"a charge of {derived.day} has the hash of its inputs and another amount ({error}): the ledger was changed by hand; "
            "restore it from a backup, nothing was written"
        ) from None
