"""Cards that hold kWh (卡表): the events that an image is folded from, append-only, and the register that it is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime
from tariffs import card
from tariffs.card import CardError, Image


@dataclass(frozen=True, slots=True)
class Card:
    """An account whose meter holds kWh. `register`: the newest we have [1e-4 kWh], with its time; None: none since the card was settled."""

    account_id: int
    customer: str
    meter_id: int
    asset: str
    image: Image
    register: int | None
    read_at: Any

    @property
    def remaining(self) -> int:
        """[1e-4 kWh] as of the newest register. CardError."""
        return card.remaining(self.image, self.image.settled if self.register is None else self.register)


def add(conn: Connection, customer: str, kind: str, *, who: str, now: Any, **told: int | None) -> Image:
    """Note that a card was opened, settled or given another price; commits. The image that follows. StoreError, and nothing is noted."""
    with conn.transaction():
        row = conn.execute(
            "SELECT a.account_id FROM account a JOIN customer c USING (customer_id) WHERE c.number = %s AND a.fee_control = 'card' "
            "AND a.valid_from <= %s AND a.valid_to > %s FOR NO KEY UPDATE OF a",
            (customer, as_datetime(now), as_datetime(now)),
        ).fetchone()
        if row is None:
            raise StoreError(
                f"customer {customer} has no account whose meter holds kWh by card; the archive's fee_control says so"
            )
        # what was paid before a price changes became energy at the price of then
        convert(conn, now=now, account_id=row["account_id"])
        events = _events(conn, row["account_id"])
        if kind == "open" and events:
            raise StoreError(f"the card of {customer} is open already; settle it, or change its price")
        event = {
            "register": None,
            "energy": None,
            "amount_fen": None,
            "price": None,
            "entry_id": None,
            **told,
            "kind": kind,
        }
        try:
            image = card.fold([*events, event])
        except CardError as error:
            raise StoreError(str(error)) from None
        _note(conn, row["account_id"], event, who, now)
    conn.commit()
    assert image is not None
    return image


def convert(conn: Connection, *, now: Any, account_id: int | None = None) -> int:
    """Payments of open cards that have not become energy yet do so, at the price of this moment; reversals of such take it back at the present
    price. In the caller's transaction. How many."""
    rows = conn.execute(
        """
        SELECT e.entry_id, e.account_id, e.amount_fen FROM ledger_entry e JOIN account a USING (account_id)
        WHERE a.fee_control = 'card' AND e.kind IN ('payment', 'reversal') AND (%(account)s::int IS NULL OR e.account_id = %(account)s)
          AND coalesce((SELECT paid.at FROM ledger_entry paid WHERE paid.entry_id = (e.detail ->> 'payment')::bigint), e.at)
              >= (SELECT min(at) FROM card_event c WHERE c.account_id = e.account_id)
          AND NOT EXISTS (SELECT FROM card_event c WHERE c.entry_id = e.entry_id)
        ORDER BY e.entry_id FOR NO KEY UPDATE OF a
        """,
        {"account": account_id},
    ).fetchall()
    for row in rows:
        image = card.fold(_events(conn, row["account_id"]))
        if image is not None:
            event = {
                "kind": "buy", "register": None, "energy": None, "amount_fen": row["amount_fen"], "price": image.price,
                "entry_id": row["entry_id"],
            }  # fmt: skip
            _note(conn, row["account_id"], event, "headend", now)
    return len(rows)


def every(conn: Connection, *, now: Any, customer: str | None = None) -> list[Card]:
    """The open cards and their newest registers."""
    rows = conn.execute(
        """
        SELECT a.account_id, c.number AS customer, i.meter_id, m.asset, r.ts AS read_at, r.active_import AS register
        FROM account a JOIN customer c USING (customer_id)
        JOIN installation i ON i.point_id = a.point_id AND i.valid_from <= %(now)s AND i.valid_to > %(now)s JOIN meter m USING (meter_id)
        LEFT JOIN LATERAL (SELECT ts, active_import FROM register_read r WHERE r.meter_id = i.meter_id AND r.active_import IS NOT NULL
                           AND r.ts <= %(now)s AND r.ts >= (SELECT max(at) FROM card_event e WHERE e.account_id = a.account_id
                                                            AND e.kind <> 'buy') ORDER BY ts DESC LIMIT 1) r ON true
        WHERE a.fee_control = 'card' AND a.valid_from <= %(now)s AND a.valid_to > %(now)s
          AND (%(customer)s::text IS NULL OR c.number = %(customer)s)
          AND EXISTS (SELECT FROM card_event e WHERE e.account_id = a.account_id) ORDER BY i.meter_id
        """,
        {"now": as_datetime(now), "customer": customer},
    ).fetchall()
    found = []
    for row in rows:
        image = card.fold(_events(conn, row["account_id"]))
        assert image is not None
        found.append(
            Card(
                row["account_id"],
                row["customer"],
                row["meter_id"],
                row["asset"],
                image,
                row["register"],
                row["read_at"],
            )
        )
    return found


def _events(conn: Connection, account_id: int) -> list[dict[str, Any]]:
    return conn.execute(
        "SELECT kind, register, energy, amount_fen, price FROM card_event WHERE account_id = %s ORDER BY card_event_id",
        (account_id,),
    ).fetchall()


def _note(conn: Connection, account_id: int, event: dict[str, Any], who: str, now: Any) -> None:
    conn.execute(
        "INSERT INTO card_event (account_id, kind, at, register, energy, amount_fen, price, entry_id, who) "
        "VALUES (%(account)s, %(kind)s, %(at)s, %(register)s, %(energy)s, %(amount_fen)s, %(price)s, %(entry_id)s, %(who)s) "
        # who waited for another one to convert it finds it converted
        "ON CONFLICT (entry_id) DO NOTHING",
        {**event, "account": account_id, "at": as_datetime(now), "who": who},
    )
