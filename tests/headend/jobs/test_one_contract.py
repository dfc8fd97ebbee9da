"""One customer with two accounts on a two-part plan, two billed points behind one transformer: what is one is charged once.

The golden case, on the shipped two-part plan: 100 kVA at 25 yuan, charged on the older account alone: 2,500 yuan and not 5,000. Point P1 uses 1,000
kWh in March and P2 500. Their transformer loses 1 kWh of iron and 2 of copper a day, 93 kWh in March: P1 has 93 x 1,000 / 1,500 = 62 kWh, P2 31.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from headend.jobs import settle
from headend.store.db import Connection
from headend.store.tables import DAY_FREEZES
from tests.headend.jobs.test_billing import batch, sheet
from tests.support.house import Place, at, moment, one, place, rows, write
from tests.support.household import run

KWH = 10_000
FIRST, LAST = dt.date(2026, 3, 1), dt.date(2026, 3, 31)


def used(conn: Connection, where: Place, registers: dict[str, int]) -> None:
    """kWh at midnights, a tenth, two, three and four tenths of it in the four periods; a fifth of it reactive."""
    for day, kwh in registers.items():
        split = {f"active_import_t{k}": [kwh * KWH * k // 10] for k in range(1, 5)}
        write(
            conn, DAY_FREEZES,
            rows([where.meter], [at(f"{day} 00:00")], active_import=[kwh * KWH], reactive_import=[kwh * KWH // 5], reactive_export=[0], **split),
        )  # fmt: skip


def works(conn: Connection, by: str = "capacity", **second: Any) -> tuple[Place, Place]:
    """Both accounts are C1's; the one at P1 is the older."""
    older = place(
        conn, "1", customer="C1", tariff="hunan-large-industry", prepaid=False, since="2026-01-01 00:00"
    )
    newer = place(
        conn, "2", **{"customer": "C1", "tariff": "hunan-large-industry", "prepaid": False, "since": "2026-02-01 00:00", **second}
    )  # fmt: skip
    conn.execute(
        "INSERT INTO customer_span (customer_id, industry, capacity_kva, contract_kw, basic_by, valid_from) "
        "SELECT customer_id, 'C13', 100, 80, %s, '2026-01-01' FROM customer WHERE number = 'C1'",
        (by,),
    )
    own = one(
        conn,
        "INSERT INTO transformer (code, name, owner, capacity_kva) VALUES ('T', 'T', 'customer', 100) RETURNING transformer_id",
    )
    for where in (older, newer):
        conn.execute(
            "INSERT INTO loss_role (point_id, transformer_id, role, valid_from) VALUES (%s, %s, 'receive', '2026-01-01')",
            (where.point, own),
        )
    conn.execute(
        "INSERT INTO object_loss (kind, object_id, period, first_day, status, iron, copper, method, points_due, points_have, computed_at) "
        "SELECT 'transformer', %s, 'day', day, 'unknown', 10000, 20000, 'energy', 1, 1, '2026-04-01' "
        "FROM generate_series('2026-03-01'::date, '2026-03-31', '1 day') AS day",
        (own,),
    )
    return older, newer


def lines(
    conn: Connection, folder: Path, kind: str, last: dt.date = LAST
) -> dict[str, list[tuple[str, Decimal, str]]]:
    found = batch(conn, folder, "2026-04-02 00:40", FIRST, last)
    assert sheet(found, "exceptions") == []
    told: dict[str, list[tuple[str, Decimal, str]]] = {}
    for row in sheet(found, "lines"):
        if row["kind"] == kind:
            told.setdefault(row["point"], []).append(
                (row["item"], Decimal(row["amount_yuan"]), row["title_en"])
            )
    return told


def quantities(
    conn: Connection, folder: Path, last: dt.date = LAST, first: dt.date = FIRST
) -> dict[str, Decimal]:
    """point -> kWh of loss."""
    found = batch(conn, folder, "2026-04-02 00:40", first, last)
    assert sheet(found, "exceptions") == []
    told: dict[str, Decimal] = {}
    for row in sheet(found, "lines"):
        if row["kind"] == "loss":
            told[row["point"]] = told.get(row["point"], Decimal(0)) + Decimal(row["quantity"])
    return told


def near(found: dict[str, Decimal], **kwh: int) -> bool:
    """Iron and copper are each shared in whole ten-thousandths; together they are what was lost, exactly."""
    return sum(found.values()) == sum(kwh.values()) and all(
        abs(found[point] - value) <= Decimal("0.0002") for point, value in kwh.items()
    )


def test_the_capacity_is_charged_on_the_older_account_and_the_other_says_so(
    store: Connection, tmp_path: Path
) -> None:
    older, newer = works(store)
    used(store, older, {"2026-03-01": 0, "2026-04-01": 1_000})
    used(store, newer, {"2026-03-01": 0, "2026-04-01": 500})
    assert lines(store, tmp_path, "basic") == {
        "P1": [("capacity", Decimal("2500.00"), "Basic charge by capacity")],
        "P2": [("capacity", Decimal("0.00"), "Basic charge: charged once, on the account at P1")],
    }
    (file,) = tmp_path.glob("billing-2026-03-01--2026-03-31-lines.*.csv")
    body = file.read_text(encoding="utf-8")
    assert "基本电费:并入计量点P1户计收,本户不重复计收" in body


def test_when_the_older_one_closes_the_other_goes_on(store: Connection, tmp_path: Path) -> None:
    """Ten days and 21: 2,500 x 10 / 31 = 806.45 and 2,500 x 21 / 31 = 1,693.55."""
    older, newer = works(store)
    used(store, older, {"2026-03-01": 0, "2026-03-11": 300})
    used(store, newer, {"2026-03-01": 0, "2026-03-11": 100, "2026-04-01": 500})
    store.execute(
        "UPDATE account SET valid_to = %s WHERE account_id = %s", (moment("2026-03-11 00:00"), older.account)
    )
    found = lines(store, tmp_path, "basic")
    amounts = {point: [amount for _, amount, _ in told] for point, told in found.items()}
    assert amounts["P2"][0] == 0
    assert abs(amounts["P1"][0] - Decimal("806.45")) <= Decimal("0.01")
    assert abs(amounts["P2"][1] - Decimal("1693.55")) <= Decimal("0.01")


@pytest.mark.parametrize("plan", ["zhejiang-residential-peak-valley"])
def test_an_account_on_another_kind_of_plan_bears_nothing(
    store: Connection, tmp_path: Path, plan: str
) -> None:
    older, newer = works(store)
    store.execute("UPDATE account SET tariff = %s WHERE account_id = %s", (plan, older.account))
    used(store, older, {"2026-03-01": 0, "2026-04-01": 1_000})
    used(store, newer, {"2026-03-01": 0, "2026-04-01": 500})
    found = batch(store, tmp_path, "2026-04-02 00:40", FIRST, LAST)
    basic = [(row["point"], row["amount_yuan"]) for row in sheet(found, "lines") if row["kind"] == "basic"]
    assert basic == [("P2", "2500.00")]
    # and his plan does not ask for loss: all of it is the other's
    assert sum(Decimal(row["quantity"]) for row in sheet(found, "lines") if row["kind"] == "loss") == 93


def test_the_loss_of_one_transformer_is_shared_by_energy(store: Connection, tmp_path: Path) -> None:
    older, newer = works(store)
    used(store, older, {"2026-03-01": 0, "2026-04-01": 1_000})
    used(store, newer, {"2026-03-01": 0, "2026-04-01": 500})
    assert near(quantities(store, tmp_path), P1=62, P2=31)


def test_days_and_their_month_share_the_same(store: Connection, tmp_path: Path) -> None:
    """10 kWh and 20 the first day, 100 and 0 in the rest of the month: 3 kWh as 1 : 2, 90 all P1's. Day and rest give together, to the last digit,
    what the month gives."""
    older, newer = works(store)
    used(store, older, {"2026-03-01": 0, "2026-03-02": 10, "2026-04-01": 110})
    used(store, newer, {"2026-03-01": 0, "2026-03-02": 20, "2026-04-01": 20})
    month = quantities(store, tmp_path)
    day, rest = (
        quantities(store, tmp_path, FIRST),
        quantities(store, tmp_path, LAST, FIRST + dt.timedelta(days=1)),
    )
    assert near(month, P1=91, P2=2)
    assert near(day, P1=1, P2=2)
    assert {point: day[point] + rest.get(point, 0) for point in day} == month


def test_nothing_is_lost_by_rounding(store: Connection, tmp_path: Path) -> None:
    """1 kWh and 2 of 93: shares of 31.0000 and 62.0000; of 7 and 6: 50.0769 and 42.9231, cut off and the rest given to the last."""
    older, newer = works(store)
    used(store, older, {"2026-03-01": 0, "2026-04-01": 7})
    used(store, newer, {"2026-03-01": 0, "2026-04-01": 6})
    found = quantities(store, tmp_path)
    assert sum(found.values()) == 93
    assert abs(found["P1"] - Decimal("50.0769")) <= Decimal("0.0002")


def test_who_comes_within_the_month_shares_from_his_first_day(store: Connection, tmp_path: Path) -> None:
    """Nine days are all P1's, 27 kWh; 66 of the other 22 days as 700 : 350."""
    older, newer = works(store, since="2026-03-10 00:00")
    store.execute(
        "UPDATE loss_role SET valid_from = %s WHERE point_id = %s", (moment("2026-03-10 00:00"), newer.point)
    )
    used(store, older, {"2026-03-01": 0, "2026-03-10": 300, "2026-04-01": 1_000})
    used(store, newer, {"2026-03-10": 0, "2026-04-01": 350})
    assert near(quantities(store, tmp_path), P1=71, P2=22)


def test_a_register_that_is_not_known_waits_for_it(store: Connection, tmp_path: Path) -> None:
    older, newer = works(store)
    used(store, older, {"2026-03-01": 0, "2026-04-01": 1_000})
    used(store, newer, {"2026-03-01": 0})
    found = batch(store, tmp_path, "2026-04-02 00:40", FIRST, LAST)
    assert {row["point"] for row in sheet(found, "exceptions") if row["billed"] == "no"} == {"P1", "P2"}


def test_the_settlement_of_prepaid_accounts_charges_it_once_too(store: Connection) -> None:
    older, newer = works(store)
    store.execute("UPDATE account SET prepaid = true")
    store.execute("UPDATE account SET valid_from = %s", (moment("2026-03-01 00:00"),))
    used(store, older, {"2026-03-01": 0, "2026-03-02": 10})
    used(store, newer, {"2026-03-01": 0, "2026-03-02": 10})
    with store.transaction():
        settle.job(run(store, "2026-03-02 00:40"), FIRST)
    fen = {
        row["account_id"]: row["fen"]
        for row in store.execute(
            "SELECT account_id, -sum(amount_fen)::int AS fen FROM ledger_entry GROUP BY 1"
        ).fetchall()
    }
    # 2,500 x 1 / 31 is 80.65 yuan, with the power factor's discount a little less
    assert 7_500 < fen[older.account] - fen[newer.account] < 8_200  # type: ignore[index]
