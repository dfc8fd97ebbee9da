"""Wallets (钱包): purchases asked for, refunds booked, wallets read once a day and compared with the ledger (钱包对账)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from headend.jobs.frame import Run
from headend.store import cards, findings, ledger, orders, purchases, tariffs, wallet_rules, wallets
from headend.store.db import StoreError
from headend.store.ledger import Name
from lineloss.finding import Finding, Severity
from protocols.localtime import as_datetime
from tariffs import card, wallet
from tariffs.card import CardError
from tariffs.money import text_of, yuan_text
from tariffs.wallet import Difference, Look

NAME: Final = "wallets"
WHO: Final = "job:wallets"
VERSION: Final = 1
#: a wallet is read again after, so that it is read about the same hour each day whatever day it was begun
DAILY: Final = dt.timedelta(hours=23)
#: after a reading that came to nothing: a meter without a wallet is not asked every hour
AGAIN: Final = dt.timedelta(hours=4)
#: how long a reading may wait for its meter
READ_LASTS: Final = np.timedelta64(12 * 3600, "s")
#: read orders of one run: a bus line reads some twenty wallets a minute, and relays go first anyway
MOST: Final = 5_000

#: what was paid so long ago belongs in the meter: a default without a source
LATE: Final = dt.timedelta(hours=24)

#: wallets looked at in one query: a second's work
TILE: Final = 2_000

#: rule -> severity and what it says
RULES: Final[dict[str, tuple[Severity, str, str]]] = {
    "wallet-count": ("alarm", "The wallet has another number of purchases than the ledger", "钱包购电次数与主站不符"),
    "wallet-remaining": ("warning", "What is left in the wallet does not follow from purchases and use", "钱包剩余金额对账不符"),
    "wallet-overdrawn": ("alarm", "The wallet is overdrawn beyond its limit and the relay is closed", "钱包透支超限而表计未跳闸"),
    "wallet-settings": ("warning", "The meter's amounts are not those that are wanted", "表内费控金额参数与主站不符"),
    "wallet-unread": ("warning", "The wallet has not been read for too long", "钱包数据长期未采到"),
    "card-low": ("info", "Little is left on the card", "卡表剩余电量不足"),
    "card-used-up": ("warning", "More was used than was bought by card, as far as we know", "卡表用电超过已购电量"),
    "card-register": ("warning", "The register does not follow from the last settled one", "卡表示数与上次结算示数不符"),
    "wallet-late": ("alarm", "What was paid a day ago is not in the meter yet", "充值款项超过一天未到表"),
    "wallet-refused": ("alarm", "A purchase is not in the meter and waits for a person", "充值未成功, 待人工处理"),
}  # fmt: skip


def act(run: Run) -> tuple[int, int, list[str]]:
    """Ask for purchases that are due, and book refunds that are proved. Each commits by itself. (purchases, refunds, why others not)."""
    asked, failed = purchases.ask_waiting(run.conn, now=run.now, who=WHO)
    booked = 0
    for row in purchases.refunded(run.conn):
        name = Name(row["channel"], row["accounting_date"], row["serial"])
        with run.conn.transaction():
            ledger.reverse(
                run.conn,
                name,
                reversal_serial=f"refund/{row['order_id']}",
                amount_fen=row["amount_fen"],
                reversed_at=run.now,
                now=run.now,
            )
        booked += 1
    run.conn.commit()
    return len(asked), booked, failed


def job(run: Run, day: dt.date) -> str:
    """Stepwise: ask for readings, then say what differs now."""
    asked = _ask_readings(run)
    found, silent = _differences(run)
    found += _cards(run)
    with run.conn.transaction():
        new, gone = findings.save(
            run.conn, day, list(RULES), findings.named(run.conn, found), now=run.now, ends=tuple(RULES)
        )
    run.conn.commit()
    return f"{asked} readings asked for, {len(found)} findings ({new} new, {gone} over), {silent} wallets not read yet"


def _ask_readings(run: Run) -> int:
    asked = 0
    since = as_datetime(run.now) - DAILY
    for asset in wallets.unread(run.conn, now=run.now, since=since, again=AGAIN)[:MOST]:
        try:
            orders.request(
                run.conn, kind="purchase", action="read", asset=asset, reason="daily reading of the wallet", who=WHO, now=run.now,
                expires=run.now + READ_LASTS, priority=8,
            )  # fmt: skip
            asked += 1
        except StoreError:  # it went away meanwhile
            run.conn.rollback()
    return asked


def _differences(run: Run) -> tuple[list[Finding], int]:
    rules, known = wallet_rules.rules(run.conn), tariffs.load(run.conn)
    found: list[Finding] = []
    silent = 0
    oldest = as_datetime(run.now) - dt.timedelta(hours=rules.age_hours)
    for row in _each(run):
        if row["now_at"] is None:
            silent += 1
            continue
        if row["now_at"] < oldest:
            numbers = {"read_at": row["now_at"].isoformat(), "age_hours": rules.age_hours}
            found.append(_finding("wallet-unread", row, numbers))
        elif not row["under_way"]:
            found += [
                _finding(f"wallet-{d.kind}", row, _numbers(d)) for d in _compare(run, row, known, rules)
            ]
    oldest_of: dict[tuple[int, int | None], dict[str, Any]] = {}
    for row in wallets.stuck(run.conn):  # one finding: the oldest purchase of a wallet holds the others up
        oldest_of.setdefault((row["terminal_id"], row["meter_id"]), row)
    for row in oldest_of.values():
        found.append(_finding("wallet-refused", row, _purchase(row)))
    for row in purchases.late(run.conn, now=run.now, since=as_datetime(run.now) - LATE):
        if (row["terminal_id"], row["meter_id"]) not in oldest_of:
            paid = {"paid": row["at"].astimezone(run.zone).isoformat(timespec="minutes")}
            found.append(_finding("wallet-late", row, _purchase(row) | paid))
    run.conn.commit()
    return found, silent


def _purchase(row: dict[str, Any]) -> dict[str, Any]:
    silent = "under way" if row["order_id"] else "not asked for; `headend purchase reconcile` says why not"
    return {
        "purchase": row["purchase_id"],
        "yuan": yuan_text(row["amount_fen"]),
        "order": row["order_id"],
        "why": row["outcome"] or silent,
    }


def _cards(run: Run) -> list[Finding]:
    """Cards by their image: warnings, and nothing else ever follows from them."""
    with run.conn.transaction():
        cards.convert(run.conn, now=run.now)
    found = []
    for one in cards.every(run.conn, now=run.now):
        row = {"customer": one.customer, "meter_id": one.meter_id}
        try:
            level = card.level(one.remaining)
        except CardError as why:
            found.append(_finding("card-register", row, {"why": str(why)}))
            continue
        if level != "ok":
            rule = "card-used-up" if level == "used-up" else "card-low"
            found.append(_finding(rule, row, {"level": level, "remaining_kwh": text_of(one.remaining)}))
    run.conn.commit()
    return found


def _each(run: Run) -> Iterator[dict[str, Any]]:
    """All wallets, a tile at a time."""
    after = 0
    while rows := wallets.compared(run.conn, now=run.now, after=after, limit=TILE):
        yield from rows
        after = rows[-1]["meter_id"]


def _compare(
    run: Run, row: dict[str, Any], known: dict[str, Any], rules: wallet.Rules
) -> Iterator[Difference]:
    now = Look(row["now_fen"], row["now_count"], row["now_registers"], row["now_open"])
    before = spent = None
    tariff = known.get(row["tariff"])
    if (
        row["then_at"] is not None
        and not row["started"]
        and row["then_registers"]
        and row["now_registers"]
        and tariff
    ):
        before = Look(row["then_fen"], row["then_count"], row["then_registers"])
        first, last = (row[name].astimezone(run.zone).date() for name in ("then_at", "now_at"))
        try:
            spent = wallet.used(
                tariff, first, last, row["then_registers"], row["now_registers"], row["multiplier"]
            )
        except LookupError:  # no price on a day of these
            spent = None
    yield from wallet.compare(
        now,
        proved=row["proved"],
        before=before,
        bought_fen=row["bought_fen"],
        spent_fen=spent,
        rules=rules,
        settings=row["now_settings"],
    )


def _numbers(difference: Difference) -> dict[str, Any]:
    """Evidence for people: amounts in yuan."""
    return {
        name.removesuffix("_fen"): yuan_text(value) if name.endswith("_fen") and value is not None else value
        for name, value in difference.numbers.items()
    }


def _finding(rule: str, row: dict[str, Any], numbers: dict[str, Any]) -> Finding:
    severity, en, zh = RULES[rule]
    evidence = {"customer": row["customer"], **numbers}
    if row["meter_id"] is None:
        return Finding(rule, VERSION, "terminal", row["terminal_id"], severity, evidence, en, zh)
    return Finding(rule, VERSION, "meter", row["meter_id"], severity, evidence, en, zh)
