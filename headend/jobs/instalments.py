"""Instalments of debts (欠费分期): what the balances hold of them is taken, night by night; who is behind is told."""

from __future__ import annotations

import datetime as dt

from headend.jobs.frame import Run
from headend.store import debts, notices
from tariffs.instalments import Behind
from tariffs.money import yuan_text

NAME = "instalments"


def job(run: Run, day: dt.date) -> str:
    """Up to a local day that is over, and what late payments and readings change of the days before, in the frame's transaction."""
    posted = told = 0
    found = debts.with_debts(run.conn)
    for account, customer in found.items():
        entries, derived = debts.post(run.conn, account, day, now=run.now)
        posted += entries
        for number, behind in (derived.behind if derived else {}).items():
            told += _notify(run, account, customer, number, behind)
    return f"{posted} entries of {len(found)} accounts with debts; {told} notices"


def _notify(run: Run, account: int, customer: str, number: int, behind: Behind) -> bool:
    fen = yuan_text(behind.fen)
    return notices.write_once(
        run.conn,
        account,
        level="instalment",
        ref=f"{number}/{behind.since}",
        text_zh=f"尊敬的客户(户号{customer}),您{behind.since}应缴的欠费分期款尚有{fen}元未能扣收,请及时充值。",
        text_en=f"Account {customer}: {fen} yuan of the instalment due on {behind.since} could not be taken, please top up.",
        now=run.now,
    )
