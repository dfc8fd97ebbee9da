"""The terms of fee control (费控策略): two warning levels, the level and the strategy of a stop, days of grace, debts. By organisation; more days of
grace by account too.

Each organisation says what is other than above it; at last the defaults hold. Whose customer nobody can say has of each what is best for him. The
practice is 7 days unpaid, then the remote stop (one public description of a local utility); the levels have no source.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final
from zoneinfo import ZoneInfo

from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime, midnight

#: more days of grace than this are a typing error; who is to have more is granted it by name and again
LONGEST: Final = 92


@dataclass(frozen=True, slots=True)
class Terms:
    """The columns of the table fee_terms. Money in fen."""

    warn1_fen: int = 2_000
    warn2_fen: int = 500
    stop_fen: int = 0
    grace_days: int = 7
    trips: bool = True
    debt_trips: bool = False
    debt_alone_fen: int = 100_000


NAMES: Final = tuple(column.name for column in fields(Terms))
#: of several that may be his, a customer whose organisation is not known has the best
_BEST: Final = {
    "warn1_fen": max, "warn2_fen": max, "stop_fen": min, "grace_days": max, "trips": min, "debt_trips": min, "debt_alone_fen": min,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Told:
    """What rows there are, the newest of each subject: what is told differently."""

    everybody: Mapping[str, Any]
    organisation: Mapping[int, Mapping[str, Any]]
    account: Mapping[int, int]


def of(conn: Connection, accounts: Sequence[int], *, now: Any) -> dict[int, Terms]:
    """The terms of each account at `now`."""
    told = _told(conn)
    common = replace(Terms(), **told.everybody)
    found = dict.fromkeys(accounts, common)
    if told.organisation:
        above = _above(conn, accounts, now)
        cache: dict[tuple[int, ...], Terms] = {}
        for account in accounts:
            chain = above.get(account, ())
            if chain not in cache:
                cache[chain] = _resolved(told, common, chain)
            found[account] = cache[chain]
    for account in set(found) & set(told.account):
        days = max(found[account].grace_days, told.account[account])
        found[account] = replace(found[account], grace_days=days)
    return found


def one(conn: Connection, account: int, *, now: Any) -> Terms:
    return of(conn, [account], now=now)[account]


def stop_below(conn: Connection, terms: Mapping[int, Terms]) -> dict[int, int | None]:
    """account_id -> the balance [fen] below which its supply may be stopped; None: it is not stopped for its balance.

    What instalments have taken does not count against who pays for his supply, unless the terms say so: not before a payment has brought the
    balance of a day, that day's charge and takings included, to zero or above. A few fen do not."""
    sparing = [account for account, each in terms.items() if not each.debt_trips]
    spared = {
        row["account_id"]: row["fen"]
        for row in conn.execute(
            """
            WITH taken AS (SELECT account_id, split_part(period, '/', 2)::date AS day, amount_fen FROM ledger_entry
                           WHERE kind = 'instalment' AND account_id = ANY(%s)),
            whose AS (SELECT account_id, (SELECT max(period)::date FROM ledger_entry c
                                          WHERE c.account_id = t.account_id AND c.kind = 'charge') AS charged
                      FROM (SELECT DISTINCT account_id FROM taken) t),
            flow AS (
                SELECT account_id, day, amount_fen, true AS paid FROM standing_payment JOIN whose USING (account_id)
                UNION ALL
                SELECT account_id, day, amount_fen, false FROM taken
                UNION ALL
                SELECT account_id, CASE kind WHEN 'charge' THEN period::date ELSE (at AT TIME ZONE zone)::date END, amount_fen, false
                FROM ledger_entry JOIN whose USING (account_id), cluster WHERE kind IN ('charge', 'debt', 'deferral')),
            balance AS (SELECT account_id, day, bool_or(paid) AS paid, sum(sum(amount_fen)) OVER (PARTITION BY account_id ORDER BY day) AS fen
                        FROM flow GROUP BY account_id, day),
            good AS (SELECT account_id, max(day) AS day FROM balance JOIN whose USING (account_id)
                     WHERE paid AND fen >= 0 AND day <= charged GROUP BY 1)
            SELECT account_id, -sum(amount_fen)::bigint AS fen FROM taken LEFT JOIN good USING (account_id)
            WHERE good.day IS NULL OR taken.day >= good.day GROUP BY 1
            """,
            (sparing,),
        )
    }
    return {
        account: each.stop_fen - max(0, spared.get(account, 0)) if each.trips else None
        for account, each in terms.items()
    }


def _resolved(told: _Told, common: Terms, chain: tuple[int, ...]) -> Terms:
    """Of an organisation and those above it, the nearest first; none: whose it is nobody knows."""
    if chain:
        terms = common
        for organisation in reversed(chain):
            terms = replace(terms, **told.organisation.get(organisation, {}))
        return terms
    everyone = [common, *(replace(common, **row) for row in told.organisation.values())]
    return Terms(**{name: best(getattr(terms, name) for terms in everyone) for name, best in _BEST.items()})


def _told(conn: Connection) -> _Told:
    rows = conn.execute(
        "SELECT DISTINCT ON (account_id, organisation_id) * FROM fee_terms ORDER BY account_id, organisation_id, terms_id DESC"
    ).fetchall()
    said = {
        (row["account_id"], row["organisation_id"]): {n: row[n] for n in NAMES if row[n] is not None}
        for row in rows
    }
    return _Told(
        said.get((None, None), {}),
        {organisation: row for (_, organisation), row in said.items() if organisation is not None},
        {account: row["grace_days"] for (account, _), row in said.items() if account is not None and row},
    )


def _above(conn: Connection, accounts: Sequence[int], now: Any) -> dict[int, tuple[int, ...]]:
    """account_id -> its organisation and those above it, the nearest first."""
    rows = conn.execute(
        """
        WITH RECURSIVE above (account_id, id, depth) AS (
            SELECT a.account_id, organisation_of(a.point_id, i.terminal_id, %(now)s), 0 FROM account a
            LEFT JOIN installation i ON i.point_id = a.point_id AND i.valid_from <= %(now)s AND i.valid_to > %(now)s
            WHERE a.account_id = ANY(%(accounts)s)
            UNION ALL
            SELECT above.account_id, s.parent_id, depth + 1 FROM above JOIN organisation_span s ON s.organisation_id = above.id
            WHERE s.parent_id IS NOT NULL AND s.valid_from <= %(now)s AND s.valid_to > %(now)s AND depth < 10)
        SELECT account_id, array_agg(id ORDER BY depth) AS ids FROM above WHERE id IS NOT NULL GROUP BY account_id
        """,
        {"accounts": list(accounts), "now": as_datetime(now)},
    )
    return {row["account_id"]: tuple(row["ids"]) for row in rows}


def change(
    conn: Connection,
    changes: Mapping[str, Any],
    *,
    reason: str,
    who: str,
    now: Any,
    organisation: str = "",
    account: int | None = None,
) -> None:
    """Say some terms anew, of everybody, an organisation (its code) or an account; None: as above it. Commits."""
    unknown = sorted(set(changes) - set(NAMES))
    if unknown:
        raise StoreError(f"unknown term {unknown[0]!r}; there are {', '.join(NAMES)}")
    if not reason.strip():
        raise StoreError("say why the terms change: it stays in the audit")
    if account is not None and set(changes) - {"grace_days"}:
        raise StoreError(
            "an account's own terms are its days of grace alone; the others are its organisation's"
        )
    if account is not None and organisation:
        raise StoreError("terms are an organisation's or an account's: name one of them")
    with conn.transaction():
        # two changes of one subject at once: the later one knows the earlier
        conn.execute("SELECT pg_advisory_xact_lock(hashtext('fee_terms'))")
        owner = _organisation(conn, organisation) if organisation else None
        row = conn.execute(
            "SELECT * FROM fee_terms WHERE organisation_id IS NOT DISTINCT FROM %s AND account_id IS NOT DISTINCT FROM %s "
            "ORDER BY terms_id DESC LIMIT 1",
            (owner, account),
        ).fetchone()
        values = {name: row[name] if row else None for name in NAMES} | dict(changes)
        _sound(replace(Terms(), **{n: v for n, v in values.items() if v is not None}))
        conn.execute(
            f"INSERT INTO fee_terms (organisation_id, account_id, {', '.join(NAMES)}, reason, who, at) "
            f"VALUES (%s, %s, {', '.join(['%s'] * len(NAMES))}, %s, %s, %s)".encode(),
            (owner, account, *values.values(), reason.strip(), who, as_datetime(now)),
        )
    conn.commit()


def grace_until(
    told_at: dt.datetime | None,
    days: int,
    promised: dt.datetime | None,
    granted: dt.date | None,
    zone: ZoneInfo,
) -> dt.datetime | None:
    """The first moment at which a trip may be asked for. `told_at`: the first stop notice since the balance reached the level; None: nobody can
    say. `promised`: what the notices say. `granted`: the last local day of what was granted."""
    if told_at is None:
        return None
    over = max(told_at + dt.timedelta(days=days), promised or told_at)
    if granted is None:
        return over
    return max(over, as_datetime(midnight(granted + dt.timedelta(days=1), zone)))


def _sound(terms: Terms) -> None:
    if not 0 <= terms.grace_days <= LONGEST:
        raise StoreError(f"{terms.grace_days} days of grace: 0 to {LONGEST}")
    if terms.stop_fen > 0:
        raise StoreError("the stop level cannot lie above zero: nobody is cut off who has money")
    if not terms.stop_fen <= terms.warn2_fen <= terms.warn1_fen:
        raise StoreError("the levels must go down: first warning, second warning, stop")
    if terms.debt_alone_fen < 0:
        raise StoreError("the sum that one person may agree alone cannot be below zero")


def _organisation(conn: Connection, code: str) -> int:
    row = conn.execute("SELECT organisation_id FROM organisation WHERE code = %s", (code,)).fetchone()
    if row is None:
        raise StoreError(
            f"no organisation {code} in the archive; `headend archive list organisations` shows them"
        )
    return int(row["organisation_id"])


def listing(conn: Connection) -> list[dict[str, Any]]:
    """What holds of everybody, then what organisations and accounts say differently."""
    rows = conn.execute(
        "SELECT DISTINCT ON (f.account_id, f.organisation_id) o.code AS organisation, c.number AS customer, f.warn1_fen, f.warn2_fen, "
        "f.stop_fen, f.grace_days, f.trips, f.debt_trips, f.debt_alone_fen, f.reason, f.who, f.at FROM fee_terms f "
        "LEFT JOIN organisation o USING (organisation_id) LEFT JOIN account a ON a.account_id = f.account_id "
        "LEFT JOIN customer c USING (customer_id) ORDER BY f.account_id, f.organisation_id, f.terms_id DESC"
    ).fetchall()
    common = asdict(Terms()) | {"organisation": None, "customer": None, "reason": "", "who": "", "at": None}
    for row in rows:
        if row["organisation"] is None and row["customer"] is None:
            common |= {name: value for name, value in row.items() if value is not None}
    return [common, *(row for row in rows if row["organisation"] or row["customer"])]
