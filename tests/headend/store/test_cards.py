"""The events of a card, and who writes them at the same time."""

from __future__ import annotations

import datetime as dt
import threading

import pytest

from headend.store import cards, db, ledger
from headend.store.db import Connection
from tests.support.house import at, place

NOW = at("2026-03-11 10:00")
WAITS = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture
def server_kind() -> str:
    return "embedded"


def test_a_payment_becomes_energy_once_however_many_convert(store: Connection, store_dsn: str) -> None:
    """The job waits for somebody who changes the price, and finds the payment converted already."""
    place(store, "410000010003", customer="9001")
    store.execute("UPDATE account SET fee_control = 'card'")
    store.commit()
    cards.add(store, "9001", "open", who="李敏", now=NOW, register=0, price=5_000, energy=0)
    ledger.pay(
        store, customer="9001", channel="counter", accounting_date=dt.date(2026, 3, 11), serial="1", amount_fen=5_000, paid_at=NOW, now=NOW
    )  # fmt: skip
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
