"""Wallets (钱包) of customers whose meter executes the fee control, and the purchases (充值) on their way into them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from headend.api.auth import Reader
from headend.api.documents import PAGE, Cursor, Limit, energy, money, pack, page, single, unpack
from headend.api.house import Here
from headend.store import customers, purchases, wallets

router = APIRouter(prefix="/customers", tags=["customers"])

#: readings of a wallet in one answer: a month of days
READINGS = 31


@router.get("/{number}/wallet")
def wallet(request: Request, number: str, house: Here, _: Reader) -> Response:
    """What the meter says that is left, by its own word: newest readings first. No balance of the ledger."""
    with house.connection() as conn:
        customer = customers.one(conn, number, now=house.now)
        found = wallets.of_accounts(conn, customer["accounts"], limit=READINGS)
    return single(
        request,
        {
            "customer": customer["number"],
            "wallets": [{**one, "readings": [_reading(row) for row in one["readings"]]} for one in found],
        },
    )


@router.get("/{number}/purchases")
def purchased(
    request: Request, number: str, house: Here, _: Reader, limit: Limit = PAGE, cursor: Cursor = None
) -> Response:
    """Payments that belong into the customer's meter, newest first, and whether each is there: only what was read back is `carried`."""
    position = unpack(cursor, int)
    with house.connection() as conn:
        customers.one(conn, number, now=house.now)
        rows = purchases.listing(
            conn, limit=limit + 1, before=position[0] if position else None, customer=number
        )
    following = pack(rows[limit - 1]["purchase_id"]) if len(rows) > limit else None
    return page(request, "purchases", [_purchase(row) for row in rows[:limit]], following)


def _reading(row: dict[str, Any]) -> dict[str, Any]:
    registers = row["registers"]
    return {
        "at": row["at"],
        "remaining": money(row["remaining_fen"]),
        "overdrawn": money(row["overdrawn_fen"]),
        "purchases": row["count"],
        "register": None if registers is None else energy(registers[0]),
        "relay": None if row["is_open"] is None else "open" if row["is_open"] else "closed",
        "limits": {name: money(fen) for name, fen in row["settings"].items()},
    }


def _purchase(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "purchase": row["purchase_id"],
        "account": row["account_id"],
        "payment": {
            "channel": row["channel"],
            "accounting_date": row["accounting_date"],
            "serial": row["serial"],
            "entry": row["entry_id"],
        },
        "amount": money(row["amount_fen"]),
        "at": row["at"],
        "standing": row["standing"],
        "meter": row["meter"],
        "count": row["count"],
        "command": row["order_id"] and f"/api/v1/commands/{row['order_id']}",
        "why": row["settled_why"] or row["outcome"] or "",
    }
