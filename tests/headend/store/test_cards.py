"""The events of a card, and who writes them at the same time."""

from __future__ import annotations

import datetime as dt
import threading

import numpy as np
import pytest

from headend.store import cards, db, ledger
from headend.store.db import Connection
from headend.store.ledger import Name
from tests.support.house import at, place

DAY = dt.date(2026, 3, 11)
NOW = at("2026-03-11 10:00")
WAITS = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture
def server_kind() -> str:
    return "embedded"


def home(conn: Connection) -> None:
    place(conn, "410000010003", customer="9001")
    conn.execute("UPDATE account SET fee_control = 'card'")
    conn.commit()


def pay(conn: Connection, serial: str, now: np.datetime64 = NOW) -> None:
    ledger.pay(
        conn, customer="9001", channel="counter", accounting_date=DAY, serial=serial, amount_fen=5_000, paid_at=now, now=now
    )  # fmt: skip


def test_what_never_became_energy_is_not_taken_off(store: Connection) -> None:
    """Paid before the image begins, and taken back after: what the meter shows as left is all that was bought until then."""
    home(store)
    pay(store, "1")
    later = NOW + np.timedelta64(1, "h")
    cards.add(store, "9001", "open", who="李敏", now=later, register=0, price=5_000, energy=20 * 10_000)
    pay(store, "2", later)
    for serial in ("1", "2"):
        with store.transaction():
            ledger.reverse(
                store, Name("counter", DAY, serial), reversal_serial=f"R{serial}", amount_fen=5_000, reversed_at=later, now=later
            )  # fmt: skip
    cards.convert(store, now=later)
    (card,) = cards.every(store, now=later)
    assert card.remaining == 20 * 10_000


def test_a_payment_becomes_energy_once_however_many_convert(store: Connection, store_dsn: str) -> None:
    """The job waits for somebody who changes the price, and finds the payment converted already."""
    home(store)
    cards.add(store, "9001", "open", who="李敏", now=NOW, register=0, price=5_000, energy=0)
    pay(store, "1")
    came: list[object] = []

    def job() -> None:
        with db.connect(store_dsn) as other:
            try:
                with other.transaction():
                    cards.convert(other, now=NOW)
                other.commit()
                came.append("done")
            except Exception as error:
                came.append(error)

    thread = threading.Thread(target=job)
    with db.connect(store_dsn) as watcher, store.transaction():
        assert cards.convert(store, now=NOW) == 1
        thread.start()
        while watcher.execute(WAITS).fetchone() != {"n": 1}:
            watcher.rollback()
            assert thread.is_alive(), came
    store.commit()
    thread.join(10)
    assert came == ["done"]
    (card,) = cards.every(store, now=NOW)
    assert card.remaining == 100 * 10_000
