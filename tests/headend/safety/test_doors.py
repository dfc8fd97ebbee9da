"""What must not come in: a second account on a point, a payment from the future, hours of another zone; and what must not fall out."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headend.control.order_state import Event
from headend.control.readback import Seen, judge
from headend.jobs import prepaid
from headend.jobs.schedule import Schedule
from headend.store import archive, cluster, ledger
from headend.store.db import Connection, StoreError
from tests.support.house import SHANGHAI, at, moment, one, place, table
from tests.support.wire import HandClock

NOW = at("2026-03-11 11:00")


def customers(folder: Path, *rows: str) -> Path:
    folder.mkdir(exist_ok=True)
    header = "customer,name,phone,point,tariff,prepaid,protected"
    (folder / "customers.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder


def test_a_point_has_one_open_account(store: Connection, tmp_path: Path) -> None:
    """Both would be charged for the same energy, from the point's first day, and neither could be judged."""
    place(store, "1", customer="C1", point="P1", since="2026-01-01 00:00")
    folder = customers(tmp_path / "in", "C2,Li,,P1,zhejiang-residential-peak-valley,yes,")
    with pytest.raises(archive.ArchiveError) as refused:
        archive.load(store, folder, zone=SHANGHAI)
    assert str(refused.value.complaints[0]).startswith(
        "customers.csv:2: point: 'P1' has an open account of customer C1"
    )
    assert one(store, "SELECT count(*) FROM customer") == 1
    store.execute("UPDATE account SET valid_to = %s", (moment("2026-03-05 00:00"),))
    archive.load(store, folder, zone=SHANGHAI)
    assert table(
        store, "SELECT number, valid_from FROM account JOIN customer USING (customer_id) ORDER BY 1"
    )[1] == (
        "C2",
        moment("2026-03-05 00:00"),
    )


def pay(conn: Connection, **more: Any) -> ledger.Payment:
    given: dict[str, Any] = {
        "customer": "C1", "channel": "bank", "accounting_date": dt.date(2026, 3, 11), "serial": "1", "amount_fen": 100,
        "paid_at": NOW, "now": NOW,
    }  # fmt: skip
    return ledger.pay(conn, **(given | more))


def test_a_repeat_is_a_repeat_after_the_account_was_closed(store: Connection) -> None:
    """Told that the customer is unknown, the bank would give back what has been booked."""
    where = place(store, "1", customer="C1")
    first = pay(store)
    store.execute("UPDATE account SET valid_to = %s", (moment("2026-03-11 10:59"),))
    again = pay(store)
    assert (again.entry_id, again.account_id, again.duplicate) == (first.entry_id, where.account, True)
    with pytest.raises(ledger.PaymentConflict):
        pay(store, amount_fen=200)
    with pytest.raises(ledger.UnknownCustomer):
        pay(store, serial="2")


def test_a_payment_is_not_dated_in_the_future(store: Connection) -> None:
    place(store, "1", customer="C1")
    with pytest.raises(StoreError, match="still to come"):
        pay(store, paid_at=NOW + np.timedelta64(2, "h"))
    pay(store, paid_at=NOW + np.timedelta64(1, "m"))


def test_trip_hours_have_no_zone(store: Connection) -> None:
    """Compared with civil time they would raise at each trip, in the collector."""
    for bad in ({"trip_from": "08:00+08:00"}, {"balance_age": float("inf")}):
        with pytest.raises(StoreError):
            cluster.set_limits(store, bad)


@pytest.mark.parametrize("load", [0.5, -0.5])
def test_power_through_an_open_relay_is_no_proof_whichever_way_it_flows(load: float) -> None:
    assert judge("trip", Seen(True, False, False, load), dt.timedelta(0), False)[0] is Event.DISPROVE


def test_a_mistake_while_asking_for_orders_does_not_end_the_jobs(
    store_dsn: str, store: Connection, clock: HandClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(run: Any) -> None:
        run.conn.execute("SELECT 1")
        raise KeyError("a mistake of ours")

    monkeypatch.setattr(prepaid, "act", mistaken)
    Schedule(store_dsn, SHANGHAI, clock, tmp_path).once(store)
    assert one(store, "SELECT count(*) FROM job_run WHERE job = 'settle'") == 1
