"""Customers (用户): search, one, what they used, what they owe, what they paid, whether they have supply."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from headend.api.auth import Cashier, Reader
from headend.api.documents import PAGE, Cursor, Limit, energy, money, pack, page, single, unpack
from headend.api.house import Here
from headend.api.problems import Problem
from headend.api.writes import OnceKey, once
from headend.plans import REASONS
from headend.store import customers, ledger, reclose, series
from headend.store.db import Connection
from headend.store.series import DayEnergy
from protocols.localtime import instant
from protocols.quantity import quantities
from protocols.reading import REGISTER_QUANTITIES

router = APIRouter(prefix="/customers", tags=["customers"])

#: days of usage in one answer: a quarter
MAX_DAYS = 93


@router.get("")
def search(
    request: Request,
    house: Here,
    _: Reader,
    q: Annotated[
        str, Query(min_length=1, max_length=60, description="start of number or phone, or part of the name")
    ],
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Response:
    """Find customers by number, phone or name."""
    position = unpack(cursor, str)
    with house.connection() as conn:
        rows = customers.search(conn, text=q, limit=limit + 1, after=position[0] if position else "")
    following = pack(rows[limit - 1]["number"]) if len(rows) > limit else None
    return page(request, "customers", rows[:limit], following)


@router.get("/{number}")
def one(request: Request, number: str, house: Here, _: Reader) -> Response:
    """One customer with the open accounts, their metering points and meters."""
    with house.connection() as conn:
        return single(request, _public(customers.one(conn, number, now=house.now)))


@router.get("/{number}/balance")
def balance(request: Request, number: str, house: Here, _: Reader) -> Response:
    """What the ledger says, and the running balance (测算) computed over it with its bounds and age."""
    with house.connection() as conn:
        customer = customers.one(conn, number, now=house.now)
        accounts = [
            {"account": a["account_id"], "point": a["point"], "prepaid": a["prepaid"]}
            | _balance(customers.balances(conn, a["account_id"]))
            for a in customer["accounts"]
        ]
    return single(request, {"customer": customer["number"], "accounts": accounts})


@router.get("/{number}/usage")
def usage(
    request: Request,
    number: str,
    house: Here,
    _: Reader,
    first: Annotated[
        dt.date | None, Query(alias="from", description="first local day; default: a week before `to`")
    ] = None,
    last: Annotated[
        dt.date | None, Query(alias="to", description="last local day, included; default: yesterday")
    ] = None,
) -> Response:
    """Energy by local day and tariff period from the day freezes (日冻结); an unknown one says why."""
    last = last or house.today - dt.timedelta(days=1)
    first = first or last - dt.timedelta(days=6)
    if not 0 <= (last - first).days < MAX_DAYS or first.year < 2000 or last.year > 2200:
        raise Problem(
            422, "invalid-request", f"query/from, query/to: from one day to {MAX_DAYS} days, in order"
        )
    with house.connection() as conn:
        customer = customers.one(conn, number, now=house.now)
        accounts = [
            _usage(
                account,
                series.daily_energy(conn, account["point_id"], first, last, now=house.now, zone=house.zone),
            )
            for account in customer["accounts"]
        ]
    return single(
        request,
        {
            "customer": customer["number"],
            "from": first,
            "to": last,
            "unit": "kWh",
            "energy": "primary side (times CT x PT), midnight to midnight of the local day",
            "closing_register": "secondary side, as the meter shows it at the midnight that closes the day",
            "registers": [
                {"quantity": q.code, "obis": q.obis, "name_en": q.name_en, "name_zh": q.name_zh}
                for q in (quantities()[code] for code in REGISTER_QUANTITIES)
            ],
            "accounts": accounts,
        },
    )


@router.get("/{number}/bills")
def bills(
    request: Request, number: str, house: Here, _: Reader, limit: Limit = PAGE, cursor: Cursor = None
) -> Response:
    """Bills, newest period first; a correction is a further revision beside the one before."""
    position = unpack(cursor, str, int, int)
    before = None
    if position is not None:
        try:
            before = (dt.date.fromisoformat(position[0]), position[1], position[2])
        except ValueError:
            raise Problem(400, "bad-cursor", "not a cursor of this list; use `next` of a page") from None
    with house.connection() as conn:
        customer = customers.one(conn, number, now=house.now)
        accounts = [a["account_id"] for a in customer["accounts"]]
        rows = customers.bills(conn, accounts, limit=limit + 1, before=before)
    shown = [
        {
            "account": row["account_id"],
            "first_day": row["first_day"],
            "last_day": row["last_day"],
            "revision": row["revision"],
            "amount": money(row["amount_fen"]),
            "lines": row["lines"],
            "inputs_sha256": row["inputs_hash"],
            "at": row["at"],
        }
        for row in rows[:limit]
    ]
    end = rows[limit - 1] if len(rows) > limit else None
    following = pack(end["last_day"].isoformat(), end["account_id"], end["revision"]) if end else None
    return page(request, "bills", shown, following, customer=customer["number"])


@router.get("/{number}/payments")
def payments(
    request: Request, number: str, house: Here, _: Reader, limit: Limit = PAGE, cursor: Cursor = None
) -> Response:
    """Payments, newest first."""
    position = unpack(cursor, int)
    with house.connection() as conn:
        customer = customers.one(conn, number, now=house.now)
        accounts = [a["account_id"] for a in customer["accounts"]]
        rows = customers.payments(conn, accounts, limit=limit + 1, before=position[0] if position else None)
    shown = [
        {
            "entry": row["entry_id"],
            "account": row["account_id"],
            "channel": row["channel"],
            "accounting_date": row["accounting_date"],
            "serial": row["serial"],
            "amount": money(row["amount_fen"]),
            "paid_at": row["paid_at"],
            "reversed_at": row["reversed_at"],
        }
        for row in rows[:limit]
    ]
    following = pack(rows[limit - 1]["entry_id"]) if len(rows) > limit else None
    return page(request, "payments", shown, following, customer=customer["number"])


class PaymentIn(BaseModel):
    """One payment as the channel booked it; (channel, accounting_date, serial) names it for ever."""

    model_config = ConfigDict(extra="forbid", strict=False)

    # a colon is in the channels of the bank link, which has a door of its own
    channel: str = Field(min_length=1, max_length=40, pattern=r"^[^/:\s]+$")
    accounting_date: dt.date
    serial: str = Field(min_length=1, max_length=80, pattern=r"^[^/\s]+$")
    amount_fen: int = Field(gt=0, le=10**11, strict=True, description="whole fen")
    paid_at: dt.datetime | None = Field(default=None, description="with offset; default: now")


@router.post("/{number}/payments", status_code=201)
def pay(
    request: Request, number: str, body: PaymentIn, house: Here, *, key: Cashier, once_key: OnceKey
) -> Response:
    """Book a payment. The same channel, date and serial again changes nothing; with another amount it is
    refused (409). Who was cut off and has money again gets a permit to close at once.
    """
    if body.paid_at is not None and body.paid_at.tzinfo is None:
        raise Problem(422, "invalid-request", "body/paid_at: it has no offset from UTC")
    now = house.now
    paid_at: np.datetime64 = instant(body.paid_at) if body.paid_at else now

    def book(conn: Connection) -> tuple[int, dict[str, Any]]:
        done = ledger.pay(
            conn,
            customer=number,
            channel=body.channel,
            accounting_date=body.accounting_date,
            serial=body.serial,
            amount_fen=body.amount_fen,
            paid_at=paid_at,
            now=now,
        )
        reclose.after_payment(conn, [done.account_id], now=now)
        return (200 if done.duplicate else 201), {
            "customer": number,
            "entry": done.entry_id,
            "duplicate": done.duplicate,
            "channel": body.channel,
            "accounting_date": body.accounting_date,
            "serial": body.serial,
            "amount": money(body.amount_fen),
        }

    return once(request, house, key, once_key, body=body.model_dump(), act=book)


@router.get("/{number}/relay")
def relay(request: Request, number: str, house: Here, _: Reader) -> Response:
    """Whether there is supply, as far as it is proven: the order that proved it, when, and the load that was
    read.
    """
    with house.connection() as conn:
        customer = customers.one(conn, number, now=house.now)
        accounts = [
            {
                "account": a["account_id"],
                "point": a["point"],
                "meter": a["meter"],
                "protected": a["protected"] or None,
                **_relay(customers.relay(conn, a["meter_id"]) if a["meter_id"] else None),
            }
            for a in customer["accounts"]
        ]
    return single(request, {"customer": customer["number"], "accounts": accounts})


def _public(customer: dict[str, Any]) -> dict[str, Any]:
    """A customer without the store's inner numbers."""
    return {
        "number": customer["number"],
        "name": customer["name"],
        "phone": customer["phone"],
        "accounts": [
            {
                "account": a["account_id"],
                "point": a["point"],
                "tariff": a["tariff"],
                "prepaid": a["prepaid"],
                "fee_control": a["fee_control"],
                "protected": a["protected"] or None,
                "valid_from": a["valid_from"],
                "valid_to": a["valid_to"],
                "meter": a["meter"],
                "phases": a["phases"],
                "ct": a["ct"],
                "pt": a["pt"],
                "terminal": a["terminal"],
                "terminal_online": a["online"],
                "terminal_last_seen": a["last_seen"],
                "area": a["area"],
                "area_name": a["area_name"],
            }
            for a in customer["accounts"]
        ],
    }


def _balance(found: dict[str, Any]) -> dict[str, Any]:
    running = found["running"]
    document: dict[str, Any] = {"ledger": money(found["ledger_fen"]), "running": None}
    if running is not None:
        document["running"] = {
            "as_of": running["as_of"],
            "low": money(running["provisional_low_fen"]),
            "high": money(running["provisional_high_fen"]),
            "newest_reading": running["newest_reading"],
            "valid": running["valid"],
            "invalid_why": running["invalid_why"] or None,
            "level": running["level"],
            # a payment or charge since then is in the ledger but not yet in the running balance
            "complete": running["ledger_entry_id"] >= found["newest_entry"],
        }
    return document


def _usage(account: dict[str, Any], days: list[DayEnergy]) -> dict[str, Any]:
    return {
        "account": account["account_id"],
        "point": account["point"],
        "days": [
            {
                "day": day.day,
                "meters": day.meters,
                "energy": {code: energy(value) for code, value in day.energy.items()},
                "closing_register": {code: energy(value) for code, value in day.closing.items()},
                "quality": day.qualities,
                "missing": {code: _reason(why) for code, why in day.reasons.items()},
            }
            for day in days
        ],
        "total": {code: _total(days, code) for code in REGISTER_QUANTITIES},
    }


def _total(days: list[DayEnergy], code: str) -> dict[str, Any]:
    """The sum of the known days, and how many days are not in it: an incomplete sum is never passed off as
    whole.
    """
    known = [value for day in days if (value := day.energy[code]) is not None]
    return {
        "energy": energy(sum(known)) if known else None,
        "days": len(known),
        "days_unknown": len(days) - len(known),
    }


_USAGE_REASONS = {
    "register-fell": ("the register fell", "电能示值倒走"),
    "meter-exchanged": ("meter exchanged, no register read at that moment", "换表时刻无示值"),
}


def _reason(code: str) -> dict[str, str]:
    en, zh = _USAGE_REASONS.get(code) or REASONS[code]
    return {"reason": code, "en": en, "zh": zh}


def _relay(found: dict[str, Any] | None) -> dict[str, Any]:
    if found is None:  # no meter hangs on the point now
        return {"relay": "unknown", "proof": None, "open_command": None}
    proof, running = found["proof"], found["running"]
    return {
        "relay": found["state"],
        "proof": proof
        and {
            "command": f"/api/v1/commands/{proof['order_id']}",
            "action": proof["action"],
            "state": proof["state"],
            "outcome": proof["outcome"],
            "verified_at": proof["result"]["read_back_at"],
            "load_kw": proof["result"]["relay"]["load_kw"],
            "read_back": proof["result"]["relay"],
        },
        "open_command": running
        and {
            "command": f"/api/v1/commands/{running['order_id']}",
            "action": running["action"],
            "state": running["state"],
        },
    }
