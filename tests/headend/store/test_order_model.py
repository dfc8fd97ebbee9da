"""A sample of scripts/model-orders --store: the same lives as on the pure model, through store/orders.py."""

from __future__ import annotations

import pytest

from headend.control import gates
from headend.store.db import Connection
from tests.support.order_model.drive import Driver, Violated
from tests.support.order_model.store import Store
from tests.support.order_model.world import small


def driver(conn: Connection, seed: int) -> Driver:
    world = small()
    return Driver(world, Store(conn, world), seed)


def test_no_trip_leaves_that_must_not_and_the_audit_holds(store: Connection) -> None:
    driven = driver(store, 4)
    driven.run(600)
    assert driven.sent > 2
    assert len(driven.backend.refused) > 6


def test_the_rules_notice_a_store_that_does_not_ask(
    store: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or they would not look at what the store does."""
    monkeypatch.setattr(gates, "GATES", (gates.second_person,))
    with pytest.raises(Violated):
        driver(store, 4).run(600)
