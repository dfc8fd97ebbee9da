"""Bills as computed: a bill that comes out differently is a further revision, never an overwrite."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.rows import tuple_row

from headend.store import feed
from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime

#: how long a run waits for another of the same span: one whose process was killed is given up by the server within moments
PATIENCE: Final = "5s"


@dataclass(frozen=True, slots=True)
class Bill:
    """One account's bill for local days first_day..last_day."""

    account_id: int
    first_day: dt.date
    last_day: dt.date
    amount_fen: int
    lines: Sequence[dict[str, str]]
    inputs_hash: bytes


@contextmanager
def alone(conn: Connection, first: dt.date, last: dt.date) -> Iterator[None]:
    """Nobody else bills this span meanwhile, here or on another machine. StoreError: somebody does. The connection must not be in a transaction."""
    name = f"{first}/{last}"
    try:
        with conn.transaction():
            conn.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
            # the session's: it outlives this transaction, and ends with the process
            conn.execute("SELECT pg_advisory_lock(hashtext('billing'), hashtext(%s))", (name,))
    except psycopg.errors.LockNotAvailable:
        raise StoreError(
            f"another run bills {first} to {last} now; wait until it has ended: the same data give the same bills"
        ) from None
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("SELECT pg_advisory_unlock(hashtext('billing'), hashtext(%s))", (name,))


def save(conn: Connection, bills: Sequence[Bill], *, now: Any) -> int:
    """Keep bills that are new or differ from their newest revision, in the caller's transaction. Returns how many."""
    if not bills:
        return 0
    # two runs at once would both write the next revision
    conn.execute("SELECT pg_advisory_xact_lock(hashtext('bill'))")
    standing = _newest(conn, bills)
    fresh = []
    for bill in bills:
        revision, digest = standing.get((bill.account_id, bill.first_day, bill.last_day), (0, b""))
        if digest != bill.inputs_hash:
            fresh.append((bill, revision + 1))
    if not fresh:
        return 0
    at = as_datetime(now)
    with (
        conn.cursor() as cursor,
        cursor.copy(
            "COPY bill (account_id, first_day, last_day, revision, amount_fen, lines, inputs_hash, at) FROM STDIN"
        ) as copy,
    ):
        for bill, revision in fresh:
            lines = json.dumps(list(bill.lines), ensure_ascii=False, separators=(",", ":"))
            copy.write_row(
                (
                    bill.account_id,
                    bill.first_day,
                    bill.last_day,
                    revision,
                    bill.amount_fen,
                    lines,
                    bill.inputs_hash,
                    at,
                )
            )
    numbers: dict[int, str] = dict(
        conn.cursor(row_factory=tuple_row)
        .execute(
            "SELECT account_id, number FROM account JOIN customer USING (customer_id) WHERE account_id = ANY(%s)",
            ([bill.account_id for bill, _ in fresh],),
        )
        .fetchall()
    )
    feed.publish(conn, "bill", [(numbers[bill.account_id], bill.last_day) for bill, _ in fresh])
    return len(fresh)


def _newest(conn: Connection, bills: Sequence[Bill]) -> dict[tuple[int, dt.date, dt.date], tuple[int, bytes]]:
    """(account_id, first_day, last_day) -> (revision, hash of the inputs) of the newest revision there is."""
    rows = conn.cursor(row_factory=tuple_row).execute(
        "SELECT DISTINCT ON (account_id, first_day, last_day) account_id, first_day, last_day, revision, inputs_hash FROM bill "
        "WHERE account_id = ANY(%s) AND first_day >= %s AND last_day <= %s ORDER BY account_id, first_day, last_day, revision DESC",
        (
            [bill.account_id for bill in bills],
            min(b.first_day for b in bills),
            max(b.last_day for b in bills),
        ),
    )
    return {
        (account, first, last): (revision, bytes(digest)) for account, first, last, revision, digest in rows
    }


#: newest revisions of bills whose days are not all their account's any more, and the batch each came from; %(since)s: those that end then or later
_FOREIGN: Final = """
    WITH newest AS (
        SELECT DISTINCT ON (b.account_id, b.first_day, b.last_day) b.account_id, b.first_day, b.last_day, b.revision, b.taken_back, opened, closed
        FROM account_days JOIN bill b USING (account_id) WHERE b.last_day >= %(since)s AND (b.first_day < opened OR b.last_day >= closed)
          AND (closed IS NOT NULL OR opened > %(since)s::date - 366)  -- of those who have always been there no bill is looked at
        ORDER BY b.account_id, b.first_day, b.last_day, b.revision DESC)
    SELECT x.first_day, x.last_day, x.change_percent, n.account_id, n.first_day AS first, n.last_day AS last, n.revision, n.opened, n.closed
    FROM newest n JOIN LATERAL (
        SELECT * FROM billing_batch x
        WHERE x.first_day <= n.first_day AND x.last_day >= n.last_day AND (x.first_day = n.first_day OR x.last_day = n.last_day)
        ORDER BY x.last_day - x.first_day LIMIT 1) x ON true
    WHERE NOT n.taken_back
"""


def cut_short(conn: Connection, since: dt.date) -> list[tuple[dt.date, dt.date, float | None]]:
    """As `batches`: the spans of which a bill is for days that are not all its account's: somebody came or went, and the archive learnt it later."""
    rows = conn.execute(_FOREIGN, {"since": since}).fetchall()
    return sorted(
        {(row["first_day"], row["last_day"], row["change_percent"]) for row in rows}, key=lambda s: s[1::-1]
    )


def take_back(conn: Connection, first: dt.date, last: dt.date, *, now: Any) -> int:
    """A batch's bills for days that are not all their account's ask for nothing by a further revision, in the caller's transaction. How many."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtext('bill'))")
    rows = conn.execute(_FOREIGN, {"since": first}).fetchall()
    mine = [row for row in rows if (row["first_day"], row["last_day"]) == (first, last)]
    for row in mine:
        days = f"{row['opened']} – {row['closed'] - dt.timedelta(days=1) if row['closed'] else ''}"
        line = {
            "kind": "taken back", "item": "", "title_zh": f"户期为 {days},原账单作废", "title_en": f"taken back: the account's days are {days}",
            "from": row["first"].isoformat(), "to": row["last"].isoformat(), "quantity": "", "unit": "", "price_yuan": "", "amount_yuan": "0.00",
        }  # fmt: skip
        text = json.dumps([line], ensure_ascii=False, separators=(",", ":"))
        conn.execute(
            "INSERT INTO bill (account_id, first_day, last_day, revision, amount_fen, lines, inputs_hash, at, taken_back) "
            "VALUES (%s, %s, %s, %s, 0, %s, %s, %s, true)",
            (
                row["account_id"], row["first"], row["last"], row["revision"] + 1, text, hashlib.sha256(text.encode()).digest(),
                as_datetime(now),
            ),
        )  # fmt: skip
    if mine:
        numbers = conn.execute(
            "SELECT account_id, number FROM account JOIN customer USING (customer_id) WHERE account_id = ANY(%s)",
            ([row["account_id"] for row in mine],),
        )
        number = {row["account_id"]: row["number"] for row in numbers}
        feed.publish(conn, "bill", [(number[row["account_id"]], row["last"]) for row in mine])
    return len(mine)


def corrections(conn: Connection, first: dt.date, last: dt.date) -> list[dict[str, Any]]:
    """Every further revision of a batch's bills, beside the one before it, in the order of the files. A bill of a span that was billed by itself,
    such as a day at the month's end, is that batch's."""
    return conn.execute(
        """
        SELECT c.number AS customer, p.code AS point, b.first_day, b.last_day, b.revision, o.amount_fen AS before_fen, b.amount_fen,
               encode(b.inputs_hash, 'hex') AS inputs_sha256
        FROM bill b JOIN bill o USING (account_id, first_day, last_day) JOIN account a USING (account_id) JOIN customer c USING (customer_id)
        JOIN point p ON p.point_id = a.point_id
        WHERE b.revision > 1 AND o.revision = b.revision - 1 AND b.first_day >= %(first)s AND b.last_day <= %(last)s
          AND (b.last_day = %(last)s OR b.first_day = %(first)s)
          AND NOT EXISTS (SELECT FROM billing_batch x WHERE (x.first_day, x.last_day) = (b.first_day, b.last_day)
                          AND (x.first_day, x.last_day) <> (%(first)s, %(last)s))
        ORDER BY c.number COLLATE "C", p.code COLLATE "C", b.first_day, b.last_day, b.revision
        """,
        {"first": first, "last": last},
    ).fetchall()


def note_batch(conn: Connection, first: dt.date, last: dt.date, change: float | None, *, now: Any) -> None:
    """This span was billed now, with that gate, in the caller's transaction."""
    conn.execute(
        "INSERT INTO billing_batch VALUES (%s, %s, %s, %s) "
        "ON CONFLICT (first_day, last_day) DO UPDATE SET at = excluded.at, change_percent = excluded.change_percent",
        (first, last, as_datetime(now), change),
    )


def batches(conn: Connection, since: dt.date) -> list[tuple[dt.date, dt.date, float | None]]:
    """(first day, last day, how far bills might lie off) of the spans that were billed and end on a local day or later, ascending."""
    rows = conn.execute(
        "SELECT first_day, last_day, change_percent FROM billing_batch WHERE last_day >= %s ORDER BY last_day, first_day",
        (since,),
    )
    return [(row["first_day"], row["last_day"], row["change_percent"]) for row in rows]


def before(conn: Connection, accounts: NDArray[np.int64], day: dt.date) -> dict[int, tuple[int, int]]:
    """account_id -> (fen, days) of its last bill that ended before a local day, newest revision."""
    rows = conn.execute(
        "SELECT DISTINCT ON (account_id) account_id, amount_fen, last_day - first_day + 1 AS days FROM bill b "
        "WHERE account_id = ANY(%s) AND last_day < %s AND NOT EXISTS (SELECT FROM bill x WHERE (x.account_id, x.first_day, x.last_day) = "
        "(b.account_id, b.first_day, b.last_day) AND x.revision >= b.revision AND x.taken_back) "
        "ORDER BY account_id, last_day DESC, first_day DESC, revision DESC",
        (accounts.tolist(), day),
    )
    return {row["account_id"]: (row["amount_fen"], row["days"]) for row in rows}


def listing(
    conn: Connection, *, customer: str | None = None, last_day: dt.date | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """Newest revisions of bills, newest days first."""
    return conn.execute(
        """
        SELECT DISTINCT ON (b.last_day, b.first_day, c.number) c.number AS customer, c.name, b.first_day, b.last_day, b.revision,
               b.amount_fen, b.lines, b.at
        FROM bill b JOIN account USING (account_id) JOIN customer c USING (customer_id)
        WHERE (%(customer)s::text IS NULL OR c.number = %(customer)s) AND (%(day)s::date IS NULL OR b.last_day = %(day)s)
        ORDER BY b.last_day DESC, b.first_day, c.number, b.revision DESC LIMIT %(limit)s
        """,
        {"customer": customer, "day": last_day, "limit": limit},
    ).fetchall()
