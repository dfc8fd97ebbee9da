"""The banks that the utility has a link with, and their sessions: who has signed on for which accounting date."""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from headend.store.db import Connection, StoreError
from headend.store.ledger import Name
from protocols.localtime import as_datetime
from tariffs.bank import Code, accounting_date, day_key

#: signed on for a date further from the present accounting date than this is a mistake
DAYS_OFF = 1


class UnknownBank(StoreError):
    def __init__(self, code: str) -> None:
        super().__init__(f"no bank {code!r}; `headend bank list` shows them, `headend bank add` makes one")


class BankRefused(StoreError):
    """A message that the bank must not take for done. `code` says why, for programs."""

    def __init__(self, code: Code, detail: str = "") -> None:
        self.code = code
        super().__init__(detail or code.value.en)


@dataclass(frozen=True, slots=True)
class Bank:
    """`cutoff`: local time; `free_reversal`: so long a reversal is taken whatever was used; `mac_key`: None where no MAC is asked for."""

    bank_id: int
    code: str
    title: str
    cutoff: dt.time
    free_reversal: dt.timedelta
    mac_key: bytes | None

    @property
    def channel(self) -> str:
        """Of its payments in the ledger."""
        return f"bank:{self.code}"

    @property
    def debits(self) -> str:
        """The channel of what it drew for us: compared by the result file, not by the day's details."""
        return f"debit:{self.code}"

    def name(self, date: dt.date, serial: str) -> Name:
        return Name(self.channel, date, serial)

    def date_of(self, when: Any, zone: ZoneInfo) -> dt.date:
        """The accounting date of a transaction at this instant (datetime, datetime64 UTC)."""
        moment = when.astimezone(zone) if isinstance(when, dt.datetime) else as_datetime(when, zone)
        return accounting_date(moment, self.cutoff)


@dataclass(frozen=True, slots=True)
class Session:
    """`key`: what the messages of this date are authenticated with, None where no MAC is asked for. `on`: signed on, and not off again."""

    seed: str
    on: bool
    key: bytes | None


_COLUMNS = "bank_id, code, name AS title, cutoff, free_reversal, mac_key"


def add(
    conn: Connection,
    code: str,
    title: str,
    *,
    cutoff: dt.time,
    free_reversal: dt.timedelta,
    mac_key: bytes | None,
) -> None:
    """A new bank, in the caller's transaction. StoreError."""
    try:
        with conn.transaction():
            conn.execute(
                "INSERT INTO bank (code, name, cutoff, free_reversal, mac_key) VALUES (%s, %s, %s, %s, %s)",
                (code, title, cutoff, free_reversal, mac_key),
            )
    except psycopg.errors.UniqueViolation:
        raise StoreError(f"there is a bank {code} already; `headend bank list` shows it") from None
    except psycopg.errors.CheckViolation:
        raise StoreError(f"{code!r} is no code of a bank: 1 to 20 letters, digits, _ and -") from None


def listing(conn: Connection) -> list[Bank]:
    return [_bank(row) for row in conn.execute(f"SELECT {_COLUMNS} FROM bank ORDER BY code")]


def get(conn: Connection, code: str, *, lock: str = "") -> Bank:
    """A bank by its code; `lock`: 'SHARE' holds off the closing of a day until the caller's transaction ends, 'UPDATE' is that closing."""
    row = conn.execute(
        f"SELECT {_COLUMNS} FROM bank WHERE code = %s{f' FOR {lock}' if lock else ''}", (code,)
    ).fetchone()
    if row is None:
        raise UnknownBank(code)
    return _bank(row)


def _bank(row: dict[str, Any]) -> Bank:
    key = row["mac_key"]
    return Bank(**{**row, "mac_key": None if key is None else bytes(key)})


def sign_on(
    conn: Connection, bank: Bank, date: dt.date, operator: str, *, now: Any, zone: ZoneInfo
) -> Session:
    """Open an accounting date for messages, in the caller's transaction; again, and after a sign-off, with the same seed. BankRefused."""
    present = bank.date_of(now, zone)
    if abs((date - present).days) > DAYS_OFF:
        raise BankRefused(Code.WRONG_DATE, f"{date} is not near {present}, the present accounting date")
    conn.execute(
        "INSERT INTO bank_session (bank_id, accounting_date, operator, seed, signed_on) VALUES (%s, %s, %s, %s, %s) "
        "ON CONFLICT (bank_id, accounting_date) DO UPDATE SET operator = excluded.operator, signed_off = NULL",
        (bank.bank_id, date, operator, secrets.token_hex(16), as_datetime(now)),
    )
    found = session(conn, bank, date)
    assert found is not None
    return found


def sign_off(conn: Connection, bank: Bank, date: dt.date, *, now: Any) -> None:
    """No more payments on this date; what resolves time-outs is still answered. In the caller's transaction."""
    conn.execute(
        "UPDATE bank_session SET signed_off = coalesce(signed_off, %s) WHERE bank_id = %s AND accounting_date = %s",
        (as_datetime(now), bank.bank_id, date),
    )


def session(conn: Connection, bank: Bank, date: dt.date) -> Session | None:
    """The session of an accounting date, None where nobody has ever signed on for it."""
    row = conn.execute(
        "SELECT seed, signed_off IS NULL AS is_on FROM bank_session WHERE bank_id = %s AND accounting_date = %s",
        (bank.bank_id, date),
    ).fetchone()
    if row is None:
        return None
    key = None if bank.mac_key is None else day_key(bank.mac_key, bank.code, date, row["seed"])
    return Session(row["seed"], row["is_on"], key)
