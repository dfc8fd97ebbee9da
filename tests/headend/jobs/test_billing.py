"""The nightly batch: the same data give the same bytes, and the manifest seals them."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from headend.jobs import billing
from headend.jobs.billing import Batch, Gates
from headend.store import bills, tariffs
from headend.store.db import Connection
from headend.store.tables import DAY_FREEZES
from tests.headend.store.test_tariffs import offered
from tests.support.house import at, moment, place, rows, table, write
from tests.support.household import Home, fen, home, run

FIRST, LAST = dt.date(2026, 3, 1), dt.date(2026, 3, 3)
KWH = 10_000
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
    conn: Connection,
    folder: Path,
    now: str = "2026-03-04 00:40",
    first: dt.date = FIRST,
    last: dt.date = LAST,
    **more: Any,
) -> Batch:
    conn.commit()
    return billing.run_span(run(conn, now), first, last, folder, **more)


def files(found: Batch) -> dict[str, bytes]:
    """The set, by its manifest."""
    (manifest,) = found.folder.glob("*.manifest.json")
    told = json.loads(manifest.read_bytes())
    assert told == found.manifest
    names = [manifest.name, *(file["name"] for file in told["files"])]
    return {name: (found.folder / name).read_bytes() for name in names}


def sheet(found: Batch, name: str) -> list[dict[str, str]]:
    told = next(file for file in found.manifest["files"] if f"-{name}." in file["name"])
    return list(csv.DictReader(io.StringIO((found.folder / told["name"]).read_text(encoding="utf-8"))))


def test_amounts_and_control_totals(store: Connection, houses: dict[str, Home], tmp_path: Path) -> None:
    found = batch(store, tmp_path)
    assert found.changed == 3
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
        assert [(row["kind"], row["item"]) for row in mine] == [("energy", "peak"), ("energy", "valley")]
        assert sum(Decimal(row["amount_yuan"]) for row in mine) * 100 == amount
    assert {row["price_yuan"] for row in lines} == {"0.5680", "0.2880"}
    assert (
        accounts[0]["total_from"] == f"{houses['1'].total[0] // 10_000}.{houses['1'].total[0] % 10_000:04d}"
    )
    stored = table(
        store,
        "SELECT number, revision, amount_fen FROM bill JOIN account USING (account_id) JOIN customer USING (customer_id) ORDER BY 1",
    )
    assert stored == [(customer, 1, amount) for customer, amount in sorted(expected.items())]


def test_again_is_the_same_byte_for_byte(store: Connection, houses: dict[str, Home], tmp_path: Path) -> None:
    first = batch(store, tmp_path / "a")
    again = batch(store, tmp_path / "b", "2026-03-09 17:11")
    assert again.changed == 0
    assert files(again) == files(first)
    # and in however small pieces
    pieces = batch(store, tmp_path / "c", "2026-03-09 17:11", tile=1)
    assert (pieces.changed, files(pieces)) == (0, files(first))


def test_the_manifest_seals_the_files(store: Connection, houses: dict[str, Home], tmp_path: Path) -> None:
    batch(store, tmp_path)
    manifest = json.loads((tmp_path / "billing-2026-03-01--2026-03-03.manifest.json").read_text())
    assert len(manifest["files"]) == 4
    for told in manifest["files"]:
        body = (tmp_path / told["name"]).read_bytes()
        assert (told["bytes"], told["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
        assert told["rows"] == len(body.splitlines()) - 1


def test_a_corrected_register_is_a_further_revision(
    store: Connection, houses: dict[str, Home], tmp_path: Path
) -> None:
    before = batch(store, tmp_path)
    assert sheet(before, "corrections") == []
    houses["2"].freeze(store, "2026-03-04", add=10_000)
    after = batch(store, tmp_path)
    assert after.changed == 1
    assert after.manifest["total_amount_fen"] - before.manifest["total_amount_fen"] == 30 * 5680 // 100
    sql = "SELECT revision FROM bill JOIN account USING (account_id) JOIN customer USING (customer_id) WHERE number = %s ORDER BY 1"
    assert table(store, sql, "C2") == [(1,), (2,)]
    assert table(store, sql, "C1") == [(1,)]
    (newest,) = bills.listing(store, customer="C2")
    assert newest["revision"] == 2
    # the difference alone, and the same whenever it is asked for
    (told,) = sheet(after, "corrections")
    assert (told["customer"], told["revision"], told["difference_yuan"]) == ("C2", "2", "17.04")
    assert after.manifest["corrections_fen"] == 30 * 5680 // 100
    assert files(batch(store, tmp_path)) == files(after)
    assert bills.batches(store, FIRST) == [(FIRST, LAST, None)]


def test_exceptions(store: Connection, houses: dict[str, Home], tmp_path: Path) -> None:
    place(store, "4", customer="C4")  # no freeze at all
    down = place(store, "5", customer="C5")
    backwards = home(down.meter, FIRST, 4)
    backwards.freeze(store, "2026-03-01", add=9_000_000)
    backwards.freeze(store, "2026-03-04")
    found = batch(store, tmp_path)
    assert found.changed == 3
    assert [(row["customer"], row["billed"], row["problem"]) for row in sheet(found, "exceptions")] == [
        ("C4", "no", "a day-freeze register is missing at one end"),
        ("C5", "no", "a register went down, or the periods exceed the total"),
    ]
    assert {row["customer"] for row in sheet(found, "accounts")} == {"C1", "C2", "C3"}
    assert (found.manifest["billed"], found.manifest["without_bill"], found.manifest["exceptions"]) == (
        3,
        2,
        2,
    )
    assert found.released


def test_a_plan_without_a_price_stops_nobody_else(
    store: Connection, houses: dict[str, Home], tmp_path: Path
) -> None:
    text = offered(("2026-03-02", "0.5"), name="late")
    tariffs.put(
        store, [text], who="wang", reason="notice 8", now=at("2026-02-01 10:00"), today=dt.date(2026, 2, 1)
    )
    here = place(store, "4", customer="C4", tariff="late")
    home(here.meter, FIRST, 4).freeze(store, *MIDNIGHTS)
    found = batch(store, tmp_path)
    assert found.changed == 3
    (told,) = sheet(found, "exceptions")
    assert (told["customer"], told["problem"]) == ("C4", "the tariff late has no price on 2026-03-01")


def test_a_register_that_nobody_can_have_stops_nobody_else(
    store: Connection, houses: dict[str, Home], tmp_path: Path
) -> None:
    here = place(store, "4", customer="C4", ct=6000, pt=10_000)
    wild = home(here.meter, FIRST, 4)
    wild.freeze(store, "2026-03-01")
    wild.freeze(store, "2026-03-04", add=9_000_000_000)
    found = batch(store, tmp_path)
    assert found.changed == 3
    assert {(row["customer"], row["billed"]) for row in sheet(found, "exceptions")} == {("C4", "no")}


def test_a_batch_with_too_many_exceptions_is_not_released(
    store: Connection, houses: dict[str, Home], tmp_path: Path
) -> None:
    place(store, "4", customer="C4")
    assert batch(store, tmp_path, gates=Gates(exceptions=25)).released
    assert not batch(store, tmp_path, gates=Gates(exceptions=24.9)).released


def test_a_bill_far_off_the_last_one_is_held_back(
    store: Connection, houses: dict[str, Home], tmp_path: Path
) -> None:
    day = dt.timedelta(days=1)
    for asset in "13":
        houses[asset].freeze(store, "2026-03-02", "2026-03-03")
    houses["2"].freeze(store, "2026-03-02")
    houses["2"].freeze(store, "2026-03-03", add=2_000_000)
    batch(store, tmp_path, last=FIRST, gates=Gates(change=100))
    found = batch(store, tmp_path, first=FIRST + day, last=FIRST + day, gates=Gates(change=100))
    assert {row["customer"] for row in sheet(found, "accounts")} == {"C1", "C3"}
    (held,) = sheet(found, "exceptions")
    assert (held["customer"], held["billed"]) == ("C2", "no")
    assert "more than 100 % off the last bill" in held["problem"]
    assert table(store, "SELECT count(*) FROM bill WHERE first_day = '2026-03-02'") == [(2,)]
    assert batch(store, tmp_path, first=FIRST + day, last=FIRST + day).changed == 1  # the clerk lets it pass


def test_an_account_is_billed_for_its_own_days(store: Connection, tmp_path: Path) -> None:
    young = place(store, "6", customer="C6", since="2026-03-02 00:00")
    house = home(young.meter, FIRST, 4)
    house.freeze(store, "2026-03-02", "2026-03-04")
    store.execute("UPDATE account SET valid_to = %s", (moment("2026-03-02 15:00"),))
    store.execute(
        "INSERT INTO account (customer_id, point_id, tariff, prepaid, valid_from) SELECT customer_id, %s, tariff, true, %s FROM account",
        (young.point, moment("2026-03-02 15:00")),
    )
    house.freeze(store, "2026-03-03")
    store.commit()
    found = batch(store, tmp_path)
    # who leaves in the afternoon pays for the day, who comes from midnight on
    assert [(row["first_day"], row["last_day"]) for row in sheet(found, "accounts")] == [
        ("2026-03-02", "2026-03-02"), ("2026-03-03", "2026-03-03"),
    ]  # fmt: skip
    expected = [fen(house.cost(f"2026-03-0{k} 00:00", f"2026-03-0{k + 1} 00:00")) for k in (2, 3)]
    assert [int(Decimal(row["amount_yuan"]) * 100) for row in sheet(found, "accounts")] == expected


def test_a_meter_is_exchanged_within_the_span(store: Connection, tmp_path: Path) -> None:
    old = place(store, "7", customer="C7", point="P7", until="2026-03-02 10:00", ct=1)
    new = place(store, "8", point="P7", since="2026-03-02 10:00", ct=20)
    before, after = home(old.meter, FIRST, 4), home(new.meter, FIRST, 4, seed=2)
    before.freeze(store, "2026-03-01", "2026-03-02")
    after.freeze(store, "2026-03-03", "2026-03-04")
    found = batch(store, tmp_path)
    (told,) = sheet(found, "exceptions")
    assert told["problem"] == "a meter came or went, and nobody read its register then"
    for house in (before, after):
        house.spot(store, "2026-03-02 10:00")
    found = batch(store, tmp_path)
    (account,) = sheet(found, "accounts")
    assert account["meter"] == "7 8"
    cost = before.cost("2026-03-01 00:00", "2026-03-02 10:00") + after.cost(
        "2026-03-02 10:00", "2026-03-04 00:00", 20
    )
    assert int(Decimal(account["amount_yuan"]) * 100) == fen(cost)


def test_the_steps_of_a_year_count_from_its_first_day(store: Connection, tmp_path: Path) -> None:
    here = place(store, "9", customer="C9", tariff="zhejiang-residential-steps", since="2025-06-01 00:00")
    # 2,700 kWh until the span, 160 in it: 60 of the first step, 100 of the second
    registers = {"2026-01-01": 1_000, "2026-03-01": 3_700, "2026-03-04": 3_860}
    for day, kwh in registers.items():
        valley = kwh // 4
        given = rows(
            [here.meter], [at(f"{day} 00:00")], active_import=[kwh * KWH], active_import_t2=[(kwh - valley) * KWH], active_import_t4=[valley * KWH]
        )  # fmt: skip
        write(store, DAY_FREEZES, given)
    found = batch(store, tmp_path)
    lines = sheet(found, "lines")
    assert [(row["item"], row["quantity"], row["price_yuan"]) for row in lines] == [
        ("peak", "120.0000", "0.5680"), ("valley", "40.0000", "0.2880"), ("step 2", "100.0000", "0.0500"),
    ]  # fmt: skip
    assert sheet(found, "accounts")[0]["amount_yuan"] == "84.68"  # 68.16 + 11.52 + 5.00


def test_what_a_year_had_brought_before_the_head_end_began(store: Connection, tmp_path: Path) -> None:
    here = place(store, "9", customer="C9", tariff="zhejiang-residential-steps", since="2025-06-01 00:00")
    home(here.meter, FIRST, 4, steady=1_000).freeze(store, *MIDNIGHTS)
    (told,) = sheet(batch(store, tmp_path), "exceptions")
    assert "the year's energy before" in told["problem"]
    store.execute("INSERT INTO account_opening VALUES (%s, '2026-03-01', %s)", (here.account, 4_795 * KWH))
    store.commit()
    found = batch(store, tmp_path)
    assert sheet(found, "exceptions") == []
    # 3 days of 9.6 kWh: 5 of them of the second step, 23.8 of the third
    assert [(row["item"], row["quantity"]) for row in sheet(found, "lines")][2:] == [
        ("step 2", "5.0000"),
        ("step 3", "23.8000"),
    ]


def test_nobody(store: Connection, tmp_path: Path) -> None:
    found = batch(store, tmp_path, first=LAST)
    assert (found.changed, found.manifest["accounts"], found.manifest["total_amount_yuan"]) == (0, 0, "0.00")
    assert {name.split(".")[0] for name in files(found)} == {
        f"billing-2026-03-03{end}" for end in ("-lines", "-accounts", "-exceptions", "-corrections", "")
    }


def industry(conn: Connection) -> None:
    """A works of 100 kVA by capacity on the shipped two-part plan: 1000 kWh in four periods and 750 kvarh in the first three days of March, and a
    transformer of its own that loses 1 kWh of iron and 2 of copper a day."""
    here = place(conn, "9", customer="C9", tariff="hunan-large-industry", prepaid=False)
    conn.execute(
        "INSERT INTO customer_span (customer_id, industry, capacity_kva, basic_by, valid_from) "
        "SELECT customer_id, 'C13', 100, 'capacity', '2026-01-01' FROM customer WHERE number = 'C9'"
    )
    conn.execute(
        "WITH own AS (INSERT INTO transformer (code, name, owner, capacity_kva) VALUES ('T9', 'T9', 'customer', 100) RETURNING transformer_id), "
        "role AS (INSERT INTO loss_role (point_id, transformer_id, role, valid_from) SELECT %s, transformer_id, 'receive', '2026-01-01' FROM own) "
        "INSERT INTO object_loss (kind, object_id, period, first_day, status, iron, copper, method, points_due, points_have, computed_at) "
        "SELECT 'transformer', transformer_id, 'day', day, 'unknown', 10000, 20000, 'energy', 1, 1, '2026-04-01' "
        "FROM own, generate_series('2026-03-01'::date, '2026-03-31', '1 day') AS day",
        (here.point,),
    )
    for day, used in (("2026-03-01", 0), ("2026-03-04", KWH), ("2026-04-01", KWH)):
        split = {f"active_import_t{k}": [k * 100 * used] for k in range(1, 5)}
        write(
            conn, DAY_FREEZES,
            rows([here.meter], [at(f"{day} 00:00")], active_import=[1000 * used], reactive_import=[700 * used], reactive_export=[50 * used], **split),
        )  # fmt: skip


def test_a_two_part_plan_with_a_power_factor(store: Connection, tmp_path: Path) -> None:
    """By hand: 635 yuan of energy, 93 kWh lost at 0.65, 100 kVA x 25 yuan; 1093 kWh and 750 kvarh are a power factor of 0.82, 4 % of the 3195.45
    more; 0.0252 yuan a kWh of funds. 3350.8116, rounded once."""
    industry(store)
    found = batch(store, tmp_path, "2026-04-02 00:40", dt.date(2026, 3, 1), dt.date(2026, 3, 31))
    assert sheet(found, "exceptions") == []
    assert [row["amount_yuan"] for row in sheet(found, "accounts")] == ["3350.81"]
    lines = {(row["kind"], row["item"]): Decimal(row["amount_yuan"]) for row in sheet(found, "lines")}
    assert sum(lines.values()) == Decimal("3350.81")
    assert (lines["energy", "sharp"], lines["basic", "capacity"]) == (Decimal("120.00"), Decimal("2500.00"))
    assert Decimal("127.82") in lines.values()


def test_a_part_of_a_month_says_which_part(store: Connection, tmp_path: Path) -> None:
    industry(store)
    found = batch(store, tmp_path, "2026-03-05 00:40")
    (basic,) = [row for row in sheet(found, "lines") if row["kind"] == "basic"]
    # 241.9355; what the lines lose or win to make the sum is at most a fen
    assert abs(Decimal(basic["amount_yuan"]) - Decimal(2500 * 3) / 31) < Decimal("0.01")
    (told,) = bills.listing(store, customer="C9")
    assert "3/31" in json.dumps(told, default=str, ensure_ascii=False)
