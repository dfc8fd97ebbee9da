"""The nightly batch: the same data give the same bytes, and the manifest seals them."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
from decimal import Decimal
from pathlib import Path

import pytest

from headend.jobs import billing
from headend.jobs.billing import Batch
from headend.store import bills
from headend.store.db import Connection
from tests.support.house import place, table
from tests.support.household import Home, fen, home, run

FIRST, LAST = dt.date(2026, 3, 1), dt.date(2026, 3, 3)
MIDNIGHTS = ("2026-03-01", "2026-03-04")


@pytest.fixture
def houses(store: Connection) -> dict[str, Home]:
    """Three whole accounts, prepaid or not, one of them behind a CT."""
    made = {}
    for asset, ct in (("1", 1), ("2", 30), ("3", 1)):
        here = place(store, asset, customer=f"C{asset}", ct=ct, prepaid=asset == "1")
        made[asset] = home(here.meter, FIRST, 4)
        made[asset].freeze(store, *MIDNIGHTS)
    return made


def batch(
    conn: Connection, folder: Path, now: str = "2026-03-04 00:40", first: dt.date = FIRST
) -> tuple[Batch, int]:
    with conn.transaction():
        found = billing.run_span(run(conn, now), first, LAST, folder)
    conn.commit()
    return found


def sheet(found: Batch, name: str) -> list[dict[str, str]]:
    return list(
        csv.DictReader(io.StringIO(found.files[f"billing-2026-03-01--2026-03-03-{name}.csv"].decode()))
    )


def test_amounts_and_control_totals(store: Connection, houses: dict[str, Home], tmp_path: Path) -> None:
    found, changed = batch(store, tmp_path)
    assert changed == 3
    expected = {
        f"C{asset}": fen(house.cost("2026-03-01 00:00", "2026-03-04 00:00", 30 if asset == "2" else 1))
        for asset, house in houses.items()
    }
    accounts = sheet(found, "accounts")
    assert {row["customer"]: int(Decimal(row["amount_yuan"]) * 100) for row in accounts} == expected
    assert (found.manifest["billed"], found.manifest["exceptions"], found.manifest["accounts"]) == (3, 0, 3)
    assert found.manifest["total_amount_fen"] == sum(expected.values())
    assert Decimal(found.manifest["total_amount_yuan"]) * 100 == sum(expected.values())
    assert Decimal(found.manifest["total_energy_kwh"]) == sum(Decimal(row["energy_kwh"]) for row in accounts)
    lines = sheet(found, "lines")
    for customer, amount in expected.items():
        mine = [row for row in lines if row["customer"] == customer]
        assert [row["period"] for row in mine] == ["peak", "valley"]
        assert sum(Decimal(row["amount_yuan"]) for row in mine) * 100 == amount
    assert {row["price_yuan_per_kwh"] for row in lines} == {"0.5680", "0.2880"}
    assert (
        accounts[0]["total_from"] == f"{houses['1'].total[0] // 10_000}.{houses['1'].total[0] % 10_000:04d}"
    )
    stored = table(
        store,
        "SELECT number, revision, amount_fen FROM bill JOIN account USING (account_id) JOIN customer USING (customer_id) ORDER BY 1",
    )
    assert stored == [(customer, 1, amount) for customer, amount in sorted(expected.items())]


def test_again_is_the_same_byte_for_byte(store: Connection, houses: dict[str, Home], tmp_path: Path) -> None:
    first, _ = batch(store, tmp_path / "a")
    again, changed = batch(store, tmp_path / "b", "2026-03-09 17:11")
    assert changed == 0
    assert again.files == first.files
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir()) == sorted(first.files)
    assert all((tmp_path / "b" / name).read_bytes() == first.files[name] for name in names)


def test_the_manifest_seals_the_files(store: Connection, houses: dict[str, Home], tmp_path: Path) -> None:
    batch(store, tmp_path)
    manifest = json.loads((tmp_path / "billing-2026-03-01--2026-03-03.manifest.json").read_text())
    assert len(manifest["files"]) == 3
    for told in manifest["files"]:
        body = (tmp_path / told["name"]).read_bytes()
        assert (told["bytes"], told["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
        assert told["rows"] == len(body.splitlines()) - 1


def test_a_corrected_register_is_a_further_revision(
    store: Connection, houses: dict[str, Home], tmp_path: Path
) -> None:
    before, _ = batch(store, tmp_path)
    houses["2"].freeze(store, "2026-03-04", add=10_000)
    after, changed = batch(store, tmp_path)
    assert changed == 1
    assert after.manifest["total_amount_fen"] - before.manifest["total_amount_fen"] == 30 * 5680 // 100
    sql = "SELECT revision FROM bill JOIN account USING (account_id) JOIN customer USING (customer_id) WHERE number = %s ORDER BY 1"
    assert table(store, sql, "C2") == [(1,), (2,)]
    assert table(store, sql, "C1") == [(1,)]
    (newest,) = bills.listing(store, customer="C2")
    assert newest["revision"] == 2


def test_exceptions(store: Connection, houses: dict[str, Home], tmp_path: Path) -> None:
    place(store, "4", customer="C4")  # no freeze at all
    down = place(store, "5", customer="C5")
    backwards = home(down.meter, FIRST, 4)
    backwards.freeze(store, "2026-03-01", add=9_000_000)
    backwards.freeze(store, "2026-03-04")
    young = place(store, "6", customer="C6", since="2026-03-02 00:00")
    home(young.meter, FIRST, 4).freeze(store, *MIDNIGHTS)
    found, changed = batch(store, tmp_path)
    assert changed == 3
    assert [(row["customer"], row["problem"]) for row in sheet(found, "exceptions")] == [
        ("C4", "a day-freeze register is missing at one end"),
        ("C5", "a register went down, or the periods exceed the total"),
        ("C6", "the account does not cover the whole span"),
    ]
    assert {row["customer"] for row in sheet(found, "accounts")} == {"C1", "C2", "C3"}
    assert (found.manifest["billed"], found.manifest["exceptions"]) == (3, 3)


def test_a_plan_that_needs_more_than_registers_is_an_exception(store: Connection, tmp_path: Path) -> None:
    here = place(store, "7", customer="C7", tariff="zhejiang-residential-steps")
    home(here.meter, FIRST, 4).freeze(store, *MIDNIGHTS)
    found, changed = batch(store, tmp_path)
    assert changed == 0
    (row,) = sheet(found, "exceptions")
    assert row["problem"] == "zhejiang-residential-steps needs what this batch does not bring: before"


def test_nobody(store: Connection, tmp_path: Path) -> None:
    found, changed = batch(store, tmp_path, first=LAST)
    assert (changed, found.manifest["accounts"], found.manifest["total_amount_yuan"]) == (0, 0, "0.00")
    assert set(found.files) == {
        f"billing-2026-03-03{end}"
        for end in ("-lines.csv", "-accounts.csv", "-exceptions.csv", ".manifest.json")
    }
