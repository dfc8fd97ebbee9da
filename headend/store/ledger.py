"""Money: append-only entries in fen. A balance is a sum; a correction is a further entry."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from headend.store import feed, orders, purchases
from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime

#: by how much the clock of whoever takes payments may be ahead of ours
AHEAD = dt.timedelta(hours=1)


class UnknownCustomer(StoreError):
    def __init__(self, number: str) -> None:
        super().__init__(
            f"no customer {number!r} with an open account; the number is the marketing system's 户号"
        )


class PaymentConflict(StoreError):
    """The same channel, accounting date and serial came before with other contents."""


class PaymentReversed(StoreError):
    """The payment has been taken back, or its reversal came before it: its name books nothing any more."""


@dataclass(frozen=True, slots=True)
class Payment:
    """`duplicate`: this payment was booked before; nothing was booked now."""

    entry_id: int
    account_id: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Reversal:
    """`entry_id` is None where no such payment has come: it will be refused. `duplicate`: so it was before."""

    entry_id: int | None
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Name:
    """Names a payment for ever."""

    channel: str
    accounting_date: dt.date
    serial: str

    def __str__(self) -> str:
        return f"{self.channel}/{self.accounting_date}/{self.serial}"


def pay(
    conn: Connection,
    *,
    customer: str,
    channel: str,
    accounting_date: dt.date,
    serial: str,
    amount_fen: int,
    paid_at: Any,
    now: Any,
) -> Payment:
    """Book a payment once, however often it is sent; commits. Errors as `book`."""
    with conn.transaction():
        booked = book(
            conn,
            Name(channel, accounting_date, serial),
            customer=customer,
            amount_fen=amount_fen,
            paid_at=paid_at,
            now=now,
        )
    conn.commit()
    return booked


def hold(conn: Connection, name: Name) -> None:
    """Until the caller's transaction ends nobody else books this payment or takes it back: what is asked of it now stays so."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"payment {name}",))


def find(conn: Connection, name: Name) -> dict[str, Any] | None:
    """A booked payment with its customer, its time of booking, whether it was taken back, and how often its receipt was printed."""
    return conn.execute(
        """
        SELECT p.entry_id, p.account_id, p.amount_fen, p.paid_at, e.at, e.detail, c.number, c.name, r.entry_id AS reversal, r.reversed_at,
               (SELECT count(*) FROM receipt WHERE receipt.entry_id = p.entry_id)::int AS prints
        FROM payment p JOIN ledger_entry e USING (entry_id) JOIN account a ON a.account_id = p.account_id JOIN customer c USING (customer_id)
        LEFT JOIN payment_reversal r USING (channel, accounting_date, serial)
        WHERE channel = %s AND accounting_date = %s AND serial = %s
        """,
        (name.channel, name.accounting_date, name.serial),
    ).fetchone()


def find_reversal(conn: Connection, name: Name) -> dict[str, Any] | None:
    """What took this payment back, or will refuse it."""
    return conn.execute(
        "SELECT reversal_serial, amount_fen, reversed_at, entry_id FROM payment_reversal "
        "WHERE channel = %s AND accounting_date = %s AND serial = %s",
        (name.channel, name.accounting_date, name.serial),
    ).fetchone()


def book(
    conn: Connection,
    name: Name,
    *,
    customer: str,
    amount_fen: int,
    paid_at: Any,
    now: Any,
    account_id: int | None = None,
    more: Mapping[str, Any] | None = None,
) -> Payment:
    """Book a payment once, in the caller's transaction. UnknownCustomer, PaymentConflict, PaymentReversed.

    `account_id`: of that account, were it closed meanwhile; without it, of the customer's open one. `more`: what the entry shall tell
    besides."""
    if amount_fen <= 0:
        raise StoreError("a payment must be more than 0 yuan")
    if (
        as_datetime(paid_at) > as_datetime(now) + AHEAD
    ):  # until then no notice would count, and each run would send another
        raise StoreError(f"the payment is dated {as_datetime(paid_at).isoformat()}, which is still to come")
    hold(conn, name)
    # first of all: a repeat is a repeat, also when the account has been closed or a second one opened since
    before = find(conn, name)
    conflict = PaymentConflict(
        f"payment {name} is booked with another customer or amount; nothing was booked"
    )
    if before is not None and before["number"] == customer:
        if before["amount_fen"] != amount_fen:
            raise conflict
        if before["reversal"] is not None:
            raise PaymentReversed(f"payment {name} was reversed; pay anew under another serial")
        return Payment(before["entry_id"], before["account_id"], True)
    # locked: a trip that is about to be sent waits for this payment, and payments of an account are numbered in the order they commit
    accounts = conn.execute(
        "SELECT account_id FROM account JOIN customer USING (customer_id) WHERE number = %(number)s "
        "AND CASE WHEN %(account)s::int IS NULL THEN valid_to > %(now)s ELSE account_id = %(account)s END "
        "ORDER BY account_id FOR NO KEY UPDATE OF account",
        {"number": customer, "account": account_id, "now": as_datetime(now)},
    ).fetchall()
    if not accounts:
        raise UnknownCustomer(customer)
    if len(accounts) > 1:
        raise StoreError(f"customer {customer} has {len(accounts)} open accounts; say which")
    if before is not None:
        raise conflict
    if find_reversal(conn, name) is not None:
        raise PaymentReversed(f"the reversal of payment {name} came before it; it is not booked")
    account: int = accounts[0]["account_id"]
    detail = {
        "channel": name.channel,
        "accounting_date": name.accounting_date.isoformat(),
        "serial": name.serial,
        "amount_fen": amount_fen,
        **(more or {}),
    }
    entry_id = _append(conn, account, "payment", str(name), amount_fen, detail, now)
    conn.execute(
        "INSERT INTO payment (account_id, channel, accounting_date, serial, amount_fen, paid_at, entry_id) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (
            account,
            name.channel,
            name.accounting_date,
            name.serial,
            amount_fen,
            as_datetime(paid_at),
            entry_id,
        ),
    )
    feed.publish(conn, "payment", [(customer, name.accounting_date)])
    purchases.note(conn, account, entry_id, amount_fen, now=now)
    # whoever has paid is not cut off by what was asked for before
    orders.void_paid(conn, account, now=now, who=f"payment:{name.channel}")
    return Payment(entry_id, account, False)


def reverse(
    conn: Connection, name: Name, *, reversal_serial: str, amount_fen: int, reversed_at: Any, now: Any
) -> Reversal:
    """Take a payment back by an entry of its own (冲正), once, in the caller's transaction. Of a payment that has not come it is noted that
    it shall be refused. PaymentCarried where the money is in a meter or may be; PaymentConflict where the amount is another one, or the
    reversal's serial took back another payment."""
    hold(conn, name)
    before = find_reversal(conn, name)
    if before is not None:
        if before["amount_fen"] != amount_fen:
            raise PaymentConflict(f"payment {name} was reversed with another amount; nothing was done")
        return Reversal(before["entry_id"], True)
    payment = find(conn, name)
    entry_id = None
    if payment is not None:
        if payment["amount_fen"] != amount_fen:
            raise PaymentConflict(f"payment {name} is of another amount; nothing was reversed")
        conn.execute("SELECT FROM account WHERE account_id = %s FOR NO KEY UPDATE", (payment["account_id"],))
        purchases.void(conn, payment["entry_id"], who=f"reversal:{name.channel}", now=now)
        detail = {
            "channel": name.channel,
            "accounting_date": name.accounting_date.isoformat(),
            "serial": name.serial,
            "reversal_serial": reversal_serial,
            "amount_fen": -amount_fen,
            "payment": payment["entry_id"],
        }
        entry_id = _append(conn, payment["account_id"], "reversal", str(name), -amount_fen, detail, now)
    try:
        with conn.transaction():
            conn.execute(
                "INSERT INTO payment_reversal (channel, accounting_date, serial, reversal_serial, amount_fen, reversed_at, entry_id) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s)",
                (
                    name.channel, name.accounting_date, name.serial, reversal_serial, amount_fen, as_datetime(reversed_at), entry_id,
                ),
            )  # fmt: skip
    except psycopg.errors.UniqueViolation:
        raise PaymentConflict(
            f"reversal {reversal_serial} of {name.channel}/{name.accounting_date} took back another payment; nothing was done"
        ) from None
    if payment is not None:
        feed.publish(conn, "reversal", [(payment["number"], name.accounting_date)])
    return Reversal(entry_id, False)


def _append(
    conn: Connection, account_id: int, kind: str, period: str, fen: int, detail: Mapping[str, Any], now: Any
) -> int:
    """One entry that rests on nothing but what its detail says."""
    text = json.dumps(detail, sort_keys=True)
    row = conn.execute(
        "INSERT INTO ledger_entry (account_id, kind, period, revision, amount_fen, inputs_hash, detail, at) "
        "VALUES (%s, %s, %s, 1, %s, %s, %s, %s) RETURNING entry_id",
        (account_id, kind, period, fen, hashlib.sha256(text.encode()).digest(), text, as_datetime(now)),
    ).fetchone()
    assert row is not None
    return int(row["entry_id"])


@dataclass(frozen=True, slots=True)
class Charge:
    """One entry to append that was derived: `amount_fen` negative takes money, positive gives it back."""

    account_id: int
    period: str
    revision: int
    amount_fen: int
    inputs_hash: bytes
    detail: Mapping[str, Any]
    kind: str = "charge"


def post(conn: Connection, charges: Sequence[Charge], *, now: Any) -> int:
    """Append charges in the caller's transaction. Returns how many."""
    # numbered in the order they commit, as payments are: whoever sums up to an entry has all that come before it
    conn.execute(
        "SELECT FROM account WHERE account_id = ANY(%s) ORDER BY account_id FOR NO KEY UPDATE",
        (sorted({c.account_id for c in charges}),),
    )
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ledger_entry (account_id, kind, period, revision, amount_fen, inputs_hash, detail, at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    c.account_id,
                    c.kind,
                    c.period,
                    c.revision,
                    c.amount_fen,
                    c.inputs_hash,
                    json.dumps(dict(c.detail)),
                    as_datetime(now),
                )
                for c in charges
            ],
        )
    return len(charges)


def charges(conn: Connection, accounts: Sequence[int], periods: Iterable[str]) -> list[dict[str, Any]]:
    """Charge entries of these accounts for the given periods (local days), by account, period and revision."""
    return conn.execute(
        "SELECT account_id, period, revision, amount_fen, inputs_hash FROM ledger_entry "
        "WHERE account_id = ANY(%s) AND kind = 'charge' AND period = ANY(%s) ORDER BY account_id, period, revision",
        (list(accounts), list(periods)),
    ).fetchall()


@dataclass(frozen=True, slots=True)
class Foreign:
    """A local day's charge that stands with an account whose day it is not. `fen` as in the ledger; the account's days are [opened, closed), None:
    still open."""

    customer: str
    account_id: int
    period: str
    revision: int
    fen: int
    opened: dt.date
    closed: dt.date | None


def foreign(conn: Connection, first: dt.date, last: dt.date) -> list[Foreign]:
    """Of local days first..last: the archive learnt later that somebody had come, or gone. By account and day."""
    rows = conn.execute(
        """
        SELECT account_id, number, period, max(revision) AS revision, sum(amount_fen)::bigint AS fen, opened, closed
        FROM account_days JOIN account USING (account_id) JOIN customer USING (customer_id) JOIN ledger_entry e USING (account_id)
        WHERE (closed <= %(last)s OR opened > %(first)s) AND kind = 'charge' AND period BETWEEN %(first)s::text AND %(last)s::text
          AND (period::date < opened OR period::date >= closed)
        GROUP BY account_id, number, period, opened, closed HAVING sum(amount_fen) <> 0 ORDER BY number, account_id, period
        """,
        {"first": first, "last": last},
    ).fetchall()
    return [
        Foreign(r["number"], r["account_id"], r["period"], r["revision"], r["fen"], r["opened"], r["closed"])
        for r in rows
    ]


@dataclass(frozen=True, slots=True)
class Difference:
    """An entry, or a day's entries together, that are not what they rest on. Amounts as in the ledger; `should_fen` None: nothing is known
    that they could rest on."""

    customer: str
    account_id: int
    kind: str
    period: str
    should_fen: int | None
    stands_fen: int | None


def payment_differences(conn: Connection) -> list[Difference]:
    """Payments and reversals whose entry is missing, of another amount or account, or rests on nothing."""
    rows = conn.execute(
        """
        WITH said AS (
            SELECT p.account_id, 'payment' AS kind, concat_ws('/', channel, accounting_date, serial) AS period, amount_fen AS fen, entry_id
            FROM payment p
            UNION ALL
            SELECT p.account_id, 'reversal', concat_ws('/', channel, accounting_date, serial), -r.amount_fen, r.entry_id
            FROM payment_reversal r JOIN payment p USING (channel, accounting_date, serial) WHERE r.entry_id IS NOT NULL),
        stands AS (SELECT account_id, kind, period, amount_fen AS fen, entry_id FROM ledger_entry WHERE kind IN ('payment', 'reversal'))
        SELECT number, account_id, kind, period, said.fen AS should, stands.fen AS stands
        FROM said FULL JOIN stands USING (account_id, kind, period, entry_id) JOIN account USING (account_id) JOIN customer USING (customer_id)
        WHERE said.fen IS DISTINCT FROM stands.fen ORDER BY number, period, kind
        """
    ).fetchall()
    return [
        Difference(r["number"], r["account_id"], r["kind"], r["period"], r["should"], r["stands"])
        for r in rows
    ]


def entries(conn: Connection, account_id: int, limit: int, before: int | None = None) -> list[dict[str, Any]]:
    """Entries of one account, newest first."""
    return conn.execute(
        "SELECT entry_id, kind, period, revision, amount_fen, inputs_hash, detail, at FROM ledger_entry "
        "WHERE account_id = %s AND (%s::bigint IS NULL OR entry_id < %s) ORDER BY entry_id DESC LIMIT %s",
        (account_id, before, before, limit),
    ).fetchall()


def balance(conn: Connection, account_id: int) -> dict[str, Any] | None:
    """The account's balances: `ledger_fen` is the sum of all entries now; the rest is the newest computed running balance."""
    return conn.execute(
        """
        SELECT a.account_id, a.prepaid, a.protected, coalesce(s.sum, 0)::bigint AS ledger_fen, coalesce(s.newest, 0) AS newest_entry_id,
               b.as_of, b.provisional_low_fen, b.provisional_high_fen, b.newest_reading, b.valid, b.invalid_why, b.level,
               b.ledger_entry_id
        FROM account a LEFT JOIN balance b USING (account_id)
        LEFT JOIN LATERAL (SELECT sum(amount_fen) AS sum, max(entry_id) AS newest FROM ledger_entry e
                           WHERE e.account_id = a.account_id) s ON true
        WHERE a.account_id = %s
        """,
        (account_id,),
    ).fetchone()


def sums(conn: Connection) -> dict[int, tuple[int, int]]:
    """account_id -> (sum of entries in fen, newest entry id), for accounts that have entries."""
    rows = conn.execute("SELECT account_id, amount_fen, entry_id FROM ledger_sum")
    return {row["account_id"]: (row["amount_fen"], row["entry_id"]) for row in rows}


def sum_differences(conn: Connection) -> list[Difference]:
    """Accounts whose sum is not the sum of their entries."""
    rows = conn.execute(
        """
        SELECT number, account_id, e.fen AS should, s.amount_fen AS stands
        FROM (SELECT account_id, sum(amount_fen)::bigint AS fen, max(entry_id) AS newest FROM ledger_entry GROUP BY 1) e
        FULL JOIN ledger_sum s USING (account_id) JOIN account USING (account_id) JOIN customer USING (customer_id)
        WHERE (e.fen, e.newest) IS DISTINCT FROM (s.amount_fen, s.entry_id) ORDER BY number, account_id
        """
    ).fetchall()
    return [Difference(r["number"], r["account_id"], "sum", "all", r["should"], r["stands"]) for r in rows]


@dataclass(frozen=True, slots=True)
class Balances:
    """Columns of computed running balances, one row an account. `good`: it is known, and not below the stop level."""

    account_id: Sequence[int]
    ledger_fen: Sequence[int]
    ledger_entry_id: Sequence[int]
    low_fen: Sequence[int]
    high_fen: Sequence[int]
    newest_reading: Sequence[dt.datetime | None]
    valid: Sequence[bool]
    why: Sequence[str]
    level: Sequence[str]
    good: Sequence[bool]


def save_balances(conn: Connection, computed: Balances, *, now: Any) -> None:
    """Replace the running balances of these accounts, in the caller's transaction; changed ones go to the feed."""
    changed = conn.execute(
        """
        INSERT INTO balance AS b (account_id, as_of, ledger_fen, ledger_entry_id, provisional_low_fen, provisional_high_fen,
                                  newest_reading, valid, invalid_why, level, stop_since)
        SELECT a, %(now)s, l, e, lo, hi, r, v, w, k,
               CASE WHEN g THEN NULL WHEN k = 'stop' THEN coalesce(o.stop_since, %(now)s) ELSE o.stop_since END
        FROM unnest(%(a)s::int[], %(l)s::bigint[], %(e)s::bigint[], %(lo)s::bigint[], %(hi)s::bigint[], %(r)s::timestamptz[],
                    %(v)s::boolean[], %(w)s::text[], %(k)s::text[], %(g)s::boolean[]) AS u(a, l, e, lo, hi, r, v, w, k, g)
        -- one that was not ours to compute for a week begins anew
        LEFT JOIN balance o ON o.account_id = a AND o.as_of > %(now)s - interval '7 days'
        ORDER BY a
        ON CONFLICT (account_id) DO UPDATE SET as_of = excluded.as_of, ledger_fen = excluded.ledger_fen,
            ledger_entry_id = excluded.ledger_entry_id, provisional_low_fen = excluded.provisional_low_fen,
            provisional_high_fen = excluded.provisional_high_fen, newest_reading = excluded.newest_reading,
            valid = excluded.valid, invalid_why = excluded.invalid_why, level = excluded.level, stop_since = excluded.stop_since
        WHERE b.as_of <= excluded.as_of
        RETURNING account_id
        """,
        {
            "now": as_datetime(now), "a": list(computed.account_id), "l": list(computed.ledger_fen),
            "e": list(computed.ledger_entry_id), "lo": list(computed.low_fen), "hi": list(computed.high_fen),
            "r": list(computed.newest_reading), "v": list(computed.valid), "w": list(computed.why), "k": list(computed.level),
            "g": list(computed.good),
        },
    ).fetchall()  # fmt: skip
    numbers = conn.execute(
        "SELECT number FROM account JOIN customer USING (customer_id) WHERE account_id = ANY(%s) ORDER BY account_id",
        ([row["account_id"] for row in changed],),
    ).fetchall()
    feed.publish(conn, "balance", [(row["number"], None) for row in numbers])


def settled_until(conn: Connection) -> dict[int, dt.date]:
    """account_id -> the day after the newest charged day: registers up to its midnight are in the ledger."""
    # one look into the index for each account, not at each of its days
    rows = conn.execute(
        "SELECT account_id, period::date + 1 AS day FROM account a, LATERAL (SELECT period FROM ledger_entry e "
        "WHERE e.account_id = a.account_id AND kind = 'charge' ORDER BY period DESC LIMIT 1) newest"
    )
    return {row["account_id"]: row["day"] for row in rows}


@dataclass(frozen=True, slots=True)
class Since:
    """First charged days: `account` of an account, `point` (by account too) of whoever had its point."""

    account: Mapping[int, dt.date]
    point: Mapping[int, dt.date]


def charged_since(conn: Connection) -> Since:
    rows = conn.execute(
        "SELECT a.account_id, period::date AS day, min(period::date) OVER (PARTITION BY point_id) AS first FROM account a "
        "LEFT JOIN LATERAL (SELECT period FROM ledger_entry e WHERE e.account_id = a.account_id AND kind = 'charge' "
        "ORDER BY period LIMIT 1) oldest ON true"
    ).fetchall()
    return Since(
        {row["account_id"]: row["day"] for row in rows if row["day"]},
        {row["account_id"]: row["first"] for row in rows if row["first"]},
    )


#: Relay orders of what hangs there (installation i). A round or a coil stays as it is when the meter is exchanged, so that of its
#: predecessors on the same point count, too; a relay goes with its meter.
_SWITCHED: Final = """(
    SELECT o.order_id, o.action, o.state, o.sent_at, o.result FROM orders o WHERE o.meter_id = i.meter_id AND o.kind = 'relay'
    UNION ALL
    SELECT o.order_id, o.action, o.state, o.sent_at, o.result FROM installation e
    JOIN orders o ON o.meter_id = e.meter_id AND o.kind = 'relay' AND o.requested_at >= e.valid_from AND o.requested_at < e.valid_to
    WHERE i.switch <> '{}' AND e.point_id = i.point_id AND e.terminal_id = i.terminal_id AND e.switch && i.switch AND e.meter_id <> i.meter_id)"""


def to_act_on(conn: Connection, *, now: Any, accounts: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """Prepaid accounts whose fee control we execute, below the stop level or cut off: what a trip or a permit needs to know. Payments since
    are included, those taken back are not. `accounts`: only these.

    `last_*` is the newest relay order of the meter that did something: it was sent and has not failed, or it failed with the relay
    open (bypassed, load not known). `newest_order` is the newest relay order of all; both as _SWITCHED. `switch`: what cuts the meter off, as the
    archive has it."""
    return conn.execute(
        f"""
        SELECT a.account_id, m.asset, i.switch, b.level, told_at(a.account_id) AS noticed_at, n.told_at, n.promised,
               o.action AS last_action, o.state AS last_state,
               o.order_id AS last_order,
               (SELECT max(order_id) FROM {_SWITCHED} s) AS newest_order,
               (SELECT max(g.last_day) FROM grace g WHERE g.account_id = a.account_id AND g.revoked_at IS NULL) AS granted,
               b.provisional_high_fen + coalesce((SELECT sum(e.amount_fen) FROM ledger_entry e WHERE e.account_id = a.account_id
                   AND e.entry_id > b.ledger_entry_id AND (e.amount_fen > 0 OR e.kind IN ('reversal', 'debt', 'deferral'))), 0)::bigint AS high_fen
        FROM account a JOIN balance b USING (account_id)
        JOIN installation i ON i.point_id = a.point_id AND i.valid_from <= %(now)s AND i.valid_to > %(now)s
        JOIN meter m USING (meter_id)
        LEFT JOIN LATERAL (SELECT action, state, order_id FROM {_SWITCHED} s WHERE sent_at IS NOT NULL
                             AND (state <> 'failed' OR action = 'trip' AND result #>> '{{relay,open}}' = 'true')
                           ORDER BY order_id DESC LIMIT 1) o ON true
        LEFT JOIN LATERAL (SELECT min(notice_reached(notice)) AS told_at, max(until) AS promised FROM notice
                           WHERE notice.account_id = a.account_id AND level = 'stop' AND at >= b.stop_since) n ON true
        WHERE a.prepaid AND a.fee_control = 'master' AND a.valid_from <= %(now)s AND a.valid_to > %(now)s
          AND (%(accounts)s::int[] IS NULL OR a.account_id = ANY(%(accounts)s)) AND (b.level = 'stop' OR o.action = 'trip')
          AND NOT EXISTS (SELECT FROM orders p WHERE p.meter_id = i.meter_id AND p.kind = 'relay' AND p.is_open)
        ORDER BY a.account_id
        """,
        {"now": as_datetime(now), "accounts": None if accounts is None else list(accounts)},
    ).fetchall()
