"""Debts and their instalments (欠费分期): agreed by persons, taken by derivation (`tariffs/instalments.py`), kept as ledger entries.

Of a prepaid account the entries are posted here: `debt` (less) and `deferral` (more) with the agreement, `instalment` (less) for each taking. So the
balance stays the sum of all entries, and what is put off is the sum of deferrals and instalments. An account that pays by bills is asked for its
instalments among its arrears (`owed.py`), and the ledger has nothing of it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from headend.control.facts import is_person
from headend.store import fee_terms, ledger, orders, owed
from headend.store.agreed import acts_of, of_account
from headend.store.db import Connection, StoreError
from headend.store.ledger import Charge, Difference
from protocols.localtime import as_datetime
from tariffs.instalments import ARREARS, KINDS, WAYS, Derived, derive, due_days
from tariffs.ledger import inputs_hash
from tariffs.money import yuan_text

#: ten years of months; a default without a source
MOST_MONTHS: Final = 120
#: instalments begin within so many days, or somebody mistyped the year; a default without a source
LATEST: Final = 366
#: what people call them
WORDS: Final = {
    "opening": ("debt of the system before", "旧欠"), "theft": ("recovered from theft", "窃电追补"),
    "correction": ("corrected bill", "电费退补"), "arrears": ("arrears", "欠费"),
}  # fmt: skip


class UnknownDebt(StoreError):
    def __init__(self, number: int) -> None:
        super().__init__(f"no debt {number}; `headend prepaid debt list` shows them")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be agreed. Amount in fen; `part` as tariffs.instalments has it."""

    kind: str
    amount: int
    way: str
    part: int
    due_day: int
    first_day: dt.date
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """`waits`: a second person must say so, too. `void`: trips that were not sent and are void."""

    number: int
    waits: bool
    void: Sequence[int] = ()


def ask(conn: Connection, account: int, wish: Wish, *, who: str, now: Any, zone: ZoneInfo) -> Done:
    """Record a debt with its schedule. Up to the sum that the account's terms let one person agree, what is in force already included, it holds at
    once, else when another person has agreed. Commits."""
    today = as_datetime(now, zone).date()
    _sound(wish, who, today)
    with conn.transaction():
        prepaid = _hold(conn, account)
        if wish.way == "share" and not prepaid:
            raise StoreError("a share of each payment is for prepaid accounts: this one pays its bills first")
        if wish.kind == ARREARS:
            _owing(conn, account, wish.amount, prepaid, today, zone)
        others = sum(debt.amount for debt in of_account(conn, account) if debt.ended is None)
        row = conn.execute(
            "INSERT INTO debt (account_id, kind, amount_fen, way, part, due_day, first_day, reason, who, at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING debt_id",
            (
                account, wish.kind, wish.amount, wish.way, wish.part, wish.due_day, wish.first_day, wish.reason.strip(), who,
                as_datetime(now),
            ),
        ).fetchone()  # fmt: skip
        assert row is not None
        number = int(row["debt_id"])
        waits = others + wish.amount > fee_terms.one(conn, account, now=now).debt_alone_fen
        void = [] if waits else _agree(conn, number, account, who, wish.reason, now, today)
    conn.commit()
    return Done(number, waits, void)


def agree(conn: Connection, number: int, *, who: str, reason: str, now: Any, zone: ZoneInfo) -> Done:
    """The second person: the debt holds from today on. Commits."""
    _person(who, reason)
    today = as_datetime(now, zone).date()
    with conn.transaction():
        row, acts = _locked(conn, number)
        if "agree" in acts or "end" in acts:
            raise StoreError(f"debt {number} {'was given up' if 'end' in acts else 'holds already'}")
        if row["who"] == who:
            raise StoreError(f"{who} has recorded debt {number}; another person must agree")
        _reachable(row)
        if row["kind"] == ARREARS:
            _owing(conn, row["account_id"], row["amount_fen"], row["prepaid"], today, zone)
        void = _agree(conn, number, row["account_id"], who, reason, now, today)
    conn.commit()
    return Done(number, False, void)


def repay(
    conn: Connection, number: int, fen: int, *, who: str, reason: str, now: Any, zone: ZoneInfo
) -> None:
    """So much more falls due today, and is taken with the day, as far as the balance holds it. Commits."""
    _person(who, reason)
    today = as_datetime(now, zone).date()
    with conn.transaction():
        row, acts = _locked(conn, number)
        if "agree" not in acts or "end" in acts:
            raise StoreError(f"debt {number} is not in force")
        left = _left(conn, row, today)
        if not 0 < fen <= left:
            raise StoreError(f"{yuan_text(fen)} yuan: {yuan_text(left)} are left of debt {number}")
        if row["prepaid"]:
            held = _sum(conn, row["account_id"])
            if held < fen:
                raise StoreError(
                    f"the balance holds {yuan_text(held)} yuan, not {yuan_text(fen)}: book the payment first"
                )
        _act(conn, number, "repay", today, who, reason, now, fen)
    conn.commit()


def end(conn: Connection, number: int, *, who: str, reason: str, now: Any, zone: ZoneInfo) -> Done:
    """Claim what is left no more; arrears go back to the balance. More than the sum that one person may agree needs a second one, who says the
    same, unless it never held. Commits."""
    _person(who, reason)
    today = as_datetime(now, zone).date()
    with conn.transaction():
        row, acts = _locked(conn, number)
        if "end" in acts:
            raise StoreError(f"debt {number} was given up already")
        account, left = row["account_id"], _left(conn, row, today)
        asked = acts.get("end-ask")
        alone = "agree" not in acts or left <= fee_terms.one(conn, account, now=now).debt_alone_fen
        if asked is not None and asked["who"] == who and not alone:
            raise StoreError(f"{who} has asked for it; another person must say so, too")
        waits = asked is None and not alone
        _act(conn, number, "end-ask" if waits else "end", today, who, reason, now)
        if not waits:
            post(conn, account, today - dt.timedelta(days=1), now=now)
    conn.commit()
    return Done(number, waits)


def post(conn: Connection, account: int, until: dt.date, *, now: Any) -> tuple[int, Derived | None]:
    """Append what is not yet in the ledger of a prepaid account's debts, takings up to a local day, in the caller's transaction: (how many, what
    is derived). Takings wait for the charges of their day."""
    if not _hold(conn, account):
        return 0, None
    derived = _derived(conn, account, until)
    stands = _standing(conn, account)
    entries = []
    for kind, period in sorted({*derived.entries, *stands}):
        fen = derived.entries.get((kind, period), 0)
        standing, revision = stands.get((kind, period), (0, 0))
        if fen != standing:
            number = int(period.split("/")[0])
            detail = {"debt": number, "reaches": until.isoformat(), "stands_at": fen}
            digest = inputs_hash({"account": account, "kind": kind, "period": period, **detail})
            entries.append(
                Charge(account, period, revision + 1, fen - standing, bytes.fromhex(digest), detail, kind)
            )
    return ledger.post(conn, entries, now=now), derived


def differences(conn: Connection, day: dt.date) -> Iterator[Difference]:
    """What the ledger should have of debts, takings up to a local day, and has not."""
    for account, number in with_debts(conn).items():
        should, stands = _derived(conn, account, day).entries, _standing(conn, account)
        for kind, period in sorted({*should, *stands}):
            fen, standing = should.get((kind, period), 0), stands.get((kind, period), (0, 0))[0]
            if fen != standing:
                yield Difference(number, account, kind, period, fen, standing)


def is_of(conn: Connection, number: int, customer: str) -> bool:
    """Whether a debt is that customer's."""
    row = conn.execute(
        "SELECT FROM debt JOIN account USING (account_id) JOIN customer c USING (customer_id) WHERE debt_id = %s AND c.number = %s",
        (number, customer),
    ).fetchone()
    return row is not None


def with_debts(conn: Connection) -> dict[int, str]:
    """account_id -> customer number of prepaid accounts that have, or had, a debt."""
    rows = conn.execute(
        "SELECT account_id, number FROM account JOIN customer USING (customer_id) WHERE prepaid AND account_id IN "
        "(SELECT account_id FROM debt JOIN debt_act USING (debt_id) WHERE act = 'agree' "
        " UNION SELECT account_id FROM ledger_entry WHERE kind IN ('debt', 'deferral', 'instalment')) ORDER BY account_id"
    )
    return {row["account_id"]: row["number"] for row in rows}


def listing(conn: Connection, *, account: int | None = None, today: dt.date) -> list[dict[str, Any]]:
    """Debts with what was done about each, what is left, and since when an instalment is behind; newest first."""
    rows = conn.execute(
        "SELECT d.*, c.number AS customer, a.prepaid FROM debt d JOIN account a USING (account_id) JOIN customer c USING (customer_id) "
        "WHERE %s::int IS NULL OR d.account_id = %s ORDER BY d.debt_id DESC",
        (account, account),
    ).fetchall()
    told: dict[int, Derived] = {}
    found = []
    for row in rows:
        acts, number = acts_of(conn, row["debt_id"]), row["debt_id"]
        if row["account_id"] not in told:
            told[row["account_id"]] = _derived(conn, row["account_id"], today - dt.timedelta(days=1))
        derived = told[row["account_id"]]
        behind = derived.behind.get(number) if row["prepaid"] else None
        state = "ended" if "end" in acts else "in force" if "agree" in acts else "waits for a second person"
        found.append(
            {
                "id": number, "customer": row["customer"], "account": row["account_id"], "kind": row["kind"], "amount_fen": row["amount_fen"],
                "way": row["way"], "part": row["part"], "due_day": row["due_day"], "first_day": row["first_day"], "reason": row["reason"],
                "who": row["who"], "at": row["at"],
                "state": "paid" if state == "in force" and not _left(conn, row, today) else state,
                "end_asked_by": acts["end-ask"]["who"] if "end-ask" in acts and "end" not in acts else None,
                "left_fen": 0 if state == "ended" else _left(conn, row, today),
                "behind_fen": behind.fen if behind else 0, "behind_since": behind.since if behind else None,
                "acts": [
                    {k: act[k] for k in ("act", "day", "fen", "reason", "who", "at")}
                    for act in conn.execute("SELECT * FROM debt_act WHERE debt_id = %s ORDER BY seq", (number,))
                ],
            }
        )  # fmt: skip
    return found


def _sound(wish: Wish, who: str, today: dt.date) -> None:
    _person(who, wish.reason)
    if wish.kind not in KINDS:
        raise StoreError(f"no kind of debt {wish.kind!r}; there are {', '.join(KINDS)}")
    if wish.way not in WAYS:
        raise StoreError(f"no way to pay {wish.way!r}; there are {', '.join(WAYS)}")
    if wish.amount <= 0:
        raise StoreError("a debt must be more than 0 yuan")
    if not 1 <= wish.due_day <= 28:
        raise StoreError(f"day {wish.due_day} of the month: 1 to 28, which every month has")
    most = {"months": min(MOST_MONTHS, wish.amount), "share": 100}.get(wish.way, wish.amount)
    if not 1 <= wish.part <= most:
        raise StoreError(f"{wish.way}: {wish.part} is not between 1 and {most}")
    if not today <= wish.first_day <= today + dt.timedelta(days=LATEST):
        raise StoreError(f"instalments from {wish.first_day} on: today or one of the {LATEST} days after it")


def _person(who: str, reason: str) -> None:
    if not is_person(who):
        raise StoreError("a person must answer for a debt")
    if not reason.strip():
        raise StoreError("say why: it stays in the audit")


def _hold(conn: Connection, account: int) -> bool:
    """The account, until the transaction ends; whether it is prepaid."""
    row = conn.execute(
        "SELECT prepaid, fee_control FROM account WHERE account_id = %s FOR NO KEY UPDATE", (account,)
    ).fetchone()
    if row is None:
        raise StoreError(f"no account {account}")
    _reachable(row)
    return bool(row["prepaid"])


def _reachable(row: Mapping[str, Any]) -> None:
    """StoreError: the money is in the meter's wallet, where no instalment can be taken out of it."""
    if row["prepaid"] and row["fee_control"] != "master":
        raise StoreError(
            f"this account's money is kept by the {row['fee_control']}: no instalment can be taken out of it there; collect the debt otherwise"
        )


def _locked(conn: Connection, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A debt with its account held, and what was done about it."""
    row = conn.execute(
        "SELECT d.*, a.prepaid, a.fee_control FROM debt d JOIN account a USING (account_id) WHERE debt_id = %s FOR NO KEY UPDATE OF a", (number,)
    ).fetchone()  # fmt: skip
    if row is None:
        raise UnknownDebt(number)
    return row, acts_of(conn, number)


def _act(
    conn: Connection, number: int, act: str, day: dt.date, who: str, reason: str, now: Any, fen: int | None = None
) -> None:  # fmt: skip
    conn.execute(
        "INSERT INTO debt_act (debt_id, seq, act, day, fen, reason, who, at) "
        "SELECT %s, count(*) + 1, %s, %s, %s, %s, %s, %s FROM debt_act WHERE debt_id = %s",
        (number, act, day, fen, reason.strip(), who, as_datetime(now), number),
    )


def _agree(
    conn: Connection, number: int, account: int, who: str, reason: str, now: Any, today: dt.date
) -> list[int]:
    """The entries of the agreement; trips of arrears that are put off are void."""
    _act(conn, number, "agree", today, who, reason, now)
    post(conn, account, today - dt.timedelta(days=1), now=now)
    row = conn.execute("SELECT kind FROM debt WHERE debt_id = %s", (number,)).fetchone()
    if row is not None and row["kind"] == ARREARS:
        return orders.void_paid(
            conn, account, now=now, who=who, why=f"the arrears are put off by debt {number}"
        )
    return []


def _owing(conn: Connection, account: int, fen: int, prepaid: bool, today: dt.date, zone: ZoneInfo) -> None:
    """Arrears of that much are there."""
    bills = () if prepaid else owed.of_account(conn, account, today, zone).arrears.open
    most = max(0, -_sum(conn, account)) if prepaid else sum(item.principal_fen for item in bills)
    if fen > most:
        raise StoreError(
            f"the account owes {yuan_text(most)} yuan, not {yuan_text(fen)}: no more can be put off"
        )


def _sum(conn: Connection, account: int) -> int:
    row = conn.execute(
        "SELECT coalesce(sum(amount_fen), 0)::bigint AS fen FROM ledger_entry WHERE account_id = %s",
        (account,),
    ).fetchone()
    assert row is not None
    return int(row["fen"])


def _left(conn: Connection, row: Mapping[str, Any], today: dt.date) -> int:
    """Of a debt: what is not taken, or, of one who pays by bills, not due yet."""
    if not row["prepaid"]:
        mine = [debt for debt in of_account(conn, row["account_id"]) if debt.number == row["debt_id"]]
        return int(row["amount_fen"]) - sum(fen for debt in mine for _, fen in due_days(debt, today))
    derived = _derived(conn, row["account_id"], today - dt.timedelta(days=1))
    return int(derived.left.get(row["debt_id"], row["amount_fen"]))


def _derived(conn: Connection, account: int, until: dt.date) -> Derived:
    """Takings up to the newest charged day: what a day has cost comes before its instalment. Those that stand are looked at in any case."""
    row = conn.execute(
        "SELECT max(split_part(period, '/', 2))::date AS day FROM ledger_entry WHERE account_id = %s AND kind = 'instalment'", (account,)
    ).fetchone()  # fmt: skip
    until = max(until, row["day"]) if row and row["day"] else until
    payments = [
        (row["day"], row["amount_fen"])
        for row in conn.execute(
            "SELECT day, amount_fen FROM standing_payment WHERE account_id = %s", (account,)
        )
    ]
    charges = {
        dt.date.fromisoformat(row["period"]): row["fen"]
        for row in conn.execute(
            "SELECT period, -sum(amount_fen)::bigint AS fen FROM ledger_entry WHERE account_id = %s AND kind = 'charge' GROUP BY 1",
            (account,),
        )
    }
    return derive(of_account(conn, account), payments, charges, min(until, max(charges, default=dt.date.min)))


def _standing(conn: Connection, account: int) -> dict[tuple[str, str], tuple[int, int]]:
    """(kind, period) -> (fen, newest revision) of what the ledger has of debts."""
    rows = conn.execute(
        "SELECT kind, period, sum(amount_fen)::bigint AS fen, max(revision) AS revision FROM ledger_entry "
        "WHERE account_id = %s AND kind IN ('debt', 'deferral', 'instalment') GROUP BY 1, 2",
        (account,),
    )
    return {(row["kind"], row["period"]): (row["fen"], row["revision"]) for row in rows}
