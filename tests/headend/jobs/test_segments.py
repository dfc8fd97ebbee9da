"""Customer segments from a real store: curves, notices, bills and payments, findings."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

from headend.jobs import segments as job
from headend.jobs.statistics import NotOver
from headend.plans import CURVE, points
from headend.store import findings, segments
from headend.store.db import Connection
from headend.store.findings import Found
from headend.store.tables import CURVES
from protocols.localtime import midnight
from tests.support.house import SHANGHAI, Place, at, deliver, moment, place, rows
from tests.support.household import run as given

LAST = dt.date(2026, 3, 31)
NOW = "2026-04-01 05:00"


def run(conn: Connection) -> str:
    return job.job(given(conn, NOW), LAST)


def bring(conn: Connection, here: Place, hours: np.ndarray, days: int = 14) -> None:
    """So many kWh in each hour of the last days."""
    first = LAST - dt.timedelta(days=days - 1)
    times = np.concatenate(
        [
            [midnight(first, SHANGHAI)],
            *(points(CURVE, first + dt.timedelta(days=k), SHANGHAI) for k in range(days)),
        ]
    )
    slots = np.tile(np.repeat(hours / 4, 4), days)
    register = np.concatenate([[0], np.cumsum(np.rint(slots * 10_000))]).astype(int).tolist()
    deliver(conn, CURVES, rows([here.meter] * len(times), times, active_import=register), times[-1])


def told(conn: Connection) -> dict[tuple[str, str], dict[str, Any]]:
    found, following = segments.page(conn)
    conn.commit()
    assert following == ""
    return {(row["customer"], row["what"]): row for row in found}


def test_curves(store: Connection) -> None:
    evening = np.full(24, 0.2)
    evening[17:22] += 0.8
    homes = [place(store, f"{k}", customer=f"C{k}") for k in range(4)]
    bring(store, homes[0], evening)
    bring(store, homes[1], np.full(24, 0.5))
    bring(store, homes[2], evening, days=4)
    assert run(store) == "4 customers, 16 labels changed"
    found = told(store)
    assert [found[f"C{k}", "profile"]["label"] for k in range(4)] == ["evening", "even", "unknown", "unknown"]
    assert [found[f"C{k}", "shift"]["label"] for k in range(4)] == ["high", "none", "unknown", "unknown"]
    assert found["C0", "profile"]["facts"]["kwh_a_day"] == pytest.approx(8.8, abs=0.01)
    assert found["C0", "shift"]["facts"]["movable_kwh_a_day"] == pytest.approx(4.0, abs=0.01)
    assert found["C2", "profile"]["facts"]["days"] == 4
    assert (found["C0", "profile"]["first_day"], found["C0", "profile"]["version"]) == (
        dt.date(2026, 3, 18),
        1,
    )
    # nothing new
    assert run(store) == "4 customers, 0 labels changed"
    assert segments.page(store, "profile", "evening")[0][0]["customer"] == "C0"
    first, following = segments.page(store, "profile", limit=2)
    assert ([row["customer"] for row in first], following) == (["C0", "C1"], "C1")
    assert [row["customer"] for row in segments.page(store, "profile", limit=2, after=following)[0]] == [
        "C2",
        "C3",
    ]
    assert {(row["what"], row["label"], row["customers"]) for row in segments.counts(store)} >= {
        ("profile", "unknown", 2),
        ("shift", "high", 1),
    }


def test_a_customer_is_all_his_points(store: Connection) -> None:
    """A shop by day and a flat by night."""
    day, night = np.zeros(24), np.zeros(24)
    day[9:17], night[0:6] = 1.0, 1.0
    for asset, hours in (("1", day), ("2", night)):
        bring(store, place(store, asset, customer="C1"), hours)
    run(store)
    assert told(store)["C1", "profile"]["facts"]["kwh_a_day"] == pytest.approx(14, abs=0.01)


def notices(conn: Connection, here: Place, levels: list[str]) -> None:
    for k, level in enumerate(levels):
        conn.execute(
            "INSERT INTO notice (account_id, level, at, balance_fen, text_zh, text_en) VALUES (%s, %s, %s, 0, '', '')",
            (here.account, level, moment("2026-02-01 10:00") + dt.timedelta(days=k)),
        )


def billed(conn: Connection, here: Place, paid: str) -> None:
    conn.execute(
        "INSERT INTO bill (account_id, first_day, last_day, revision, amount_fen, lines, inputs_hash, at) "
        "VALUES (%s, '2026-02-01', '2026-02-28', 1, 5000, '[]', '', %s)",
        (here.account, moment("2026-03-01 02:00")),
    )
    entry = conn.execute(
        "INSERT INTO ledger_entry (account_id, kind, period, revision, amount_fen, inputs_hash, detail, at) "
        "VALUES (%s, 'payment', %s, 1, 5000, '', '{}', %s) RETURNING entry_id",
        (here.account, f"bank/{here.asset}", moment(paid)),
    ).fetchone()
    assert entry is not None
    conn.execute(
        "INSERT INTO payment (account_id, channel, accounting_date, serial, amount_fen, paid_at, entry_id) "
        "VALUES (%s, 'bank', '2026-03-05', %s, 5000, %s, %s)",
        (here.account, here.asset, moment(paid), entry["entry_id"]),
    )


def test_money(store: Connection) -> None:
    quiet, stopped, prompt, late = (
        place(store, "1", customer="C1"),
        place(store, "2", customer="C2"),
        place(store, "3", customer="C3", prepaid=False),
        place(store, "4", customer="C4", prepaid=False),
    )
    place(store, "5", customer="C5", since="2026-03-20 00:00")
    notices(store, quiet, ["warn1"])
    notices(store, stopped, ["warn1", "stop", "stop"])
    billed(store, prompt, "2026-03-06 12:00")
    billed(store, late, "2026-03-20 12:00")
    store.commit()
    run(store)
    found = told(store)
    labels = [found[f"C{k}", "payment"]["label"] for k in range(1, 6)]
    # two stops in three months; paid after 5 and after 19 days; twelve days a customer
    assert labels == ["good", "late", "good", "tight", "unknown"]
    assert found["C4", "payment"]["score"] == pytest.approx(19.5, abs=0.5)
    assert found["C2", "payment"]["facts"]["stops"] == 2


def test_findings_make_a_risk(store: Connection) -> None:
    homes = [place(store, f"{k}", customer=f"C{k}") for k in range(3)]

    def finding(rule: str, here: Place) -> Found:
        return Found(rule, 1, "meter", here.meter, "alarm", "x", "x", {})

    of = (("theft", 0), ("cover", 0), ("cover", 1), ("voltage", 2))
    seen = [finding(rule, homes[k]) for rule, k in of]
    findings.save(store, LAST, ["theft", "cover", "voltage"], seen, now=at(NOW))
    store.commit()
    run(store)
    found = told(store)
    assert [(found[f"C{k}", "theft"]["label"], found[f"C{k}", "theft"]["score"]) for k in range(3)] == [
        ("high", 8),
        ("medium", 3),
        ("none", 0),
    ]
    # closed: somebody has looked
    store.execute("UPDATE finding SET state = 'closed', closed_day = day WHERE rule = 'cover'")
    store.commit()
    run(store)
    assert told(store)["C1", "theft"]["label"] == "low"


def test_nobody_and_a_day_that_is_not_over(store: Connection) -> None:
    assert run(store) == "no customers"
    with pytest.raises(NotOver):
        job.job(given(store, NOW), dt.date(2026, 4, 1))
