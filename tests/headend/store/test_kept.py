"""Every earlier schema, kept with data, comes to today's with nothing lost, and is a working store afterwards."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from headend.plans import CURVE, DAY
from headend.store import coverage, db, feed, intake, series
from headend.store.intake import Delivery
from headend.store.migrate import migrate
from headend.store.rows import fetch
from headend.store.tables import CURVES, SLOTS
from protocols.localtime import instant
from protocols.reading import Reads
from tests.support import kept
from tests.support.app import settle
from tests.support.seed import NOW, TODAY, YESTERDAY, ZONE

SUMS = {
    "slot_read": "count(*), sum(active_import), sum(voltage_a::numeric), max(ts)",
    "register_read": "count(*), sum(active_import), sum(active_import_t3), max(ts)",
    "coverage": "count(*), sum(bit_count(present)), sum(bit_count(late)), sum(attempts)",
    "gap_reason": "count(*), sum(bit_count(slots)), sum(attempts), max(last_at)",
    "revision": "count(*), sum(value), max(version), max(at)",
    "ledger_entry": "count(*), sum(amount_fen), max(entry_id), max(at)",
    "orders": "count(*), count(*) FILTER (WHERE is_open), max(order_id), max(expires_at)",
    "bill": "count(*), sum(amount_fen), max(revision), max(at)",
}


def sums(conn: psycopg.Connection[Any]) -> dict[str, tuple[Any, ...]]:
    return {
        name: conn.execute(f"SELECT {what} FROM {name}".encode()).fetchone() or ()
        for name, what in SUMS.items()
    }


def test_the_first_schema_that_left_this_house_is_kept() -> None:
    assert 7 in kept.versions()


@pytest.mark.parametrize("version", kept.versions())
def test_an_earlier_schema_comes_to_todays(version: int, database: str, tmp_path: Path) -> None:
    counts = kept.make(database, version, tmp_path)
    assert counts["slot_read"] > 300
    with psycopg.connect(database, options="-c timezone=UTC") as conn:
        before = sums(conn)
        conn.commit()
        migrate(conn)
        assert sums(conn) == before
        renamed = {"point_role": "loss_role"}
        for table, rows in {renamed.get(name, name): n for name, n in counts.items()}.items():
            if table != "cluster":
                assert conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (rows,), table
        # native partitions are all in the list that decides whether one must be made
        unlisted = conn.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent "
            "WHERE p.relkind = 'p' AND c.relkind = 'r' AND c.relname NOT IN (SELECT name FROM partition)"
        ).fetchall()
        assert unlisted == []
    with db.connect(database) as store:
        works(store)


def test_a_coil_in_an_address_becomes_the_meters_switch(database: str, tmp_path: Path) -> None:
    kept.make(database, 30, tmp_path)
    with psycopg.connect(database, options="-c timezone=UTC") as conn:
        (first, other) = conn.execute(
            "UPDATE installation SET address = a.address FROM (VALUES (1, '17@sdm630+9:0/trips'), (2, '18@sdm630')) a(n, address), "
            "(SELECT installation_id, row_number() OVER (ORDER BY installation_id) AS n FROM installation) i "
            "WHERE a.n = i.n AND installation.installation_id = i.installation_id RETURNING installation.installation_id"
        ).fetchall()
        conn.commit()
        migrate(conn)
        found = conn.execute(
            "SELECT address, switch FROM installation WHERE installation_id = ANY(%s) ORDER BY address",
            ([first[0], other[0]],),
        ).fetchall()
        assert found == [("17@sdm630", ["coil 9:0/trips"]), ("18@sdm630", [])]
        assert conn.execute("SELECT count(*) FROM installation WHERE switch <> '{}'").fetchone() == (1,)


def works(conn: db.Connection) -> None:
    """The ledger explains a day, the feed tells its rows, and the same readings again are no news; new ones are."""
    curve = coverage.day_matrix(conn, CURVE, TODAY, now=NOW, zone=ZONE)
    assert int(curve.present.sum()) > 300
    freezes = coverage.day_matrix(conn, DAY, YESTERDAY, now=NOW, zone=ZONE)
    assert int(freezes.present.sum()) > 10
    asset = "3300100001"
    why = coverage.why(conn, asset=asset, day=TODAY, now=NOW, zone=ZONE)
    assert why.plans[0].present > 0
    first, last = instant(dt.datetime(2026, 3, 10, tzinfo=ZONE)), NOW
    meter = series.meter(conn, asset, first=first, last=last)
    page = series.page(
        conn, meter, "curve", ("active_import", "voltage_a"), first=first, last=last, limit=500, now=NOW, zone=ZONE
    )  # fmt: skip
    assert any(reading.quality == "revised" for reading in page.readings)
    settle(conn)
    told = feed.read(conn, None, 1000)
    assert {change.topic for change in told.changes} >= {"curve", "loss", "finding"}
    found = fetch(
        conn, SLOTS, ["active_import", "voltage_a"], first=first, last=last, meters=np.array([meter.meter_id]), order=True
    )  # fmt: skip
    again = Reads(
        found["meter_id"], found["ts"], {code: found[code] for code in ("active_import", "voltage_a")}
    )
    assert intake.save(conn, [Delivery(CURVES, NOW, again)], ZONE, who="test").new == 0
    rows = Reads(
        np.array([meter.meter_id]), np.array([NOW.astype("datetime64[D]")]).astype("datetime64[us]") + np.timedelta64(7, "h"),
        {"active_import": np.array([1])},
    )  # fmt: skip
    assert intake.save(conn, [Delivery(CURVES, NOW, rows)], ZONE, who="test").new == 1
    settle(conn)
    fresh = feed.read(conn, told.cursor, 1000).changes
    assert [(c.topic, c.key, c.change) for c in fresh][-1] == ("curve", asset, "new")
