"""A small utility in the database, as a duty engineer would find it on an ordinary Wednesday afternoon.

Every kind of state occurs: terminals off-line, back-filled and flapping, dead meters, records a meter never had, losses known and
unknown, findings of each severity, orders in each state. The same arguments give the same rows.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from headend.plans import CURVE, DAY, points
from headend.store import db, findings, intake, migrate, results
from headend.store.coverage import Attempt
from headend.store.db import Connection
from headend.store.findings import Found
from headend.store.intake import Delivery
from headend.store.results import Loss
from headend.store.tables import CURVES, DAYS
from protocols.localtime import as_datetime, instant, midnight
from protocols.reading import REGISTER_QUANTITIES, Reads
from tests.support.notices import told

ZONE = ZoneInfo("Asia/Shanghai")
TODAY = dt.date(2026, 3, 11)
YESTERDAY = TODAY - dt.timedelta(days=1)
NOW = instant(dt.datetime(2026, 3, 11, 14, 37, 20, tzinfo=ZONE))
INSTALLED = dt.datetime(2026, 1, 1, tzinfo=ZONE)

PLACES = (
    "城东路", "人民公园", "滨江花园", "柳林村", "中心小学", "纺织厂宿舍", "幸福里", "新华街", "东风巷", "石桥村", "工业园北", "工业园南",
    "师范学院", "市一医院", "北门市场", "金湖湾", "老火车站", "文昌苑", "西郊泵站", "红旗大队", "翠竹园", "南塘村", "体育场", "凤凰台",
)  # fmt: skip
SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"


@dataclass(frozen=True, slots=True)
class Clock:
    """Domain time that stands still where the test puts it."""

    at: np.datetime64 = NOW

    def now(self) -> np.datetime64:
        return self.at

    def seconds_until(self, when: np.datetime64) -> float:
        return max(0.0, float((when - self.at) / np.timedelta64(1, "s")))


@dataclass(frozen=True, slots=True)
class Seeded:
    """What was made, for tests to ask for: asset numbers by [area][meter], the first of an area being its total meter."""

    assets: list[list[str]]
    meter_ids: list[list[int]]
    customers: list[list[str]]
    orders: dict[str, int]


@contextmanager
def seeded(dsn: str, *, areas: int = 24, meters: int = 20) -> Iterator[tuple[Connection, Seeded]]:
    """Migrate and fill an empty database."""
    with db.connect(dsn) as conn:
        migrate.migrate(conn)
        made = fill(conn, areas=areas, meters=meters)
        conn.commit()
        yield conn, made


def fill(conn: Connection, *, areas: int = 24, meters: int = 20) -> Seeded:
    """Everything, in the caller's transaction."""
    rng = np.random.default_rng(20260311)
    assets, ids, customers = _archive(conn, areas, meters)
    _curve(conn, ids, rng)
    _freezes(conn, ids, rng)
    _results(conn, ids, rng)
    _money(conn, customers)
    orders = _orders(conn, ids)
    return Seeded(assets, ids, customers, orders)


def _archive(
    conn: Connection, areas: int, meters: int
) -> tuple[list[list[str]], list[list[int]], list[list[str]]]:
    conn.execute(
        "INSERT INTO calendar_day (day, kind) SELECT d, CASE WHEN extract(isodow FROM d) > 5 THEN 'weekend' ELSE 'workday' END "
        "FROM generate_series(date '2026-03-01', date '2026-03-31', interval '1 day') d ON CONFLICT DO NOTHING"
    )
    assets, ids, customers = [], [], []
    for a in range(areas):
        place = PLACES[a % len(PLACES)]
        area = _one(
            conn,
            "INSERT INTO area (code, name, capacity_kva) VALUES (%s, %s, %s) RETURNING area_id AS id",
            f"TQ{a + 1:03d}",
            f"{place}{'一二三'[a % 3]}号公变",
            (200, 315, 400, 630)[a % 4],
        )
        link = ("dial-out", "dial-in", "dial-in", "dial-out", "serial")[a % 5]
        terminal = _one(
            conn,
            "INSERT INTO terminal (code, name, protocol, link, endpoint, login, last_seen, online) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING terminal_id AS id",
            f"T{a + 1:03d}",
            f"{place}集中器",
            "dlms" if a % 4 == 3 else "dlt645",
            link,
            None if link == "dial-in" else f"10.20.{a}.7:4059" if link == "dial-out" else f"/dev/ttyS{a}",
            f"3301{a + 1:04d}" if link == "dial-in" else None,
            as_datetime(NOW) - (dt.timedelta(hours=3, minutes=14) if a == 6 else dt.timedelta(seconds=7 + a)),
            a != 6,
        )
        row_assets, row_ids, row_customers = [], [], []
        for m in range(meters):
            asset = f"33{a + 1:03d}{m:05d}"
            phases = 3 if m == 0 or m % 9 == 0 else 1
            meter = _one(
                conn,
                "INSERT INTO meter (asset, phases, accuracy) VALUES (%s, %s, %s) RETURNING meter_id AS id",
                asset,
                phases,
                0.005 if m == 0 else 0.01,
            )
            point = _one(conn, "INSERT INTO point (code) VALUES (%s) RETURNING point_id AS id", f"JLD{asset}")
            conn.execute(
                "INSERT INTO installation (meter_id, point_id, terminal_id, address, ct, pt, valid_from) "
                "VALUES (%s, %s, %s, %s, %s, 1, %s)",
                (meter, point, terminal, f"{a + 1:04d}{m:08d}", 80 if m == 0 else 1, INSTALLED),
            )
            conn.execute(
                "INSERT INTO area_role (point_id, area_id, role, valid_from) VALUES (%s, %s, %s, %s)",
                (point, area, "supply" if m == 0 else "receive", INSTALLED),
            )
            if m:
                number = f"3301{a + 1:03d}{m:04d}"
                customer = _one(
                    conn,
                    "INSERT INTO customer (number, name, phone) VALUES (%s, %s, %s) RETURNING customer_id AS id",
                    number,
                    f"{SURNAMES[(a * 7 + m) % len(SURNAMES)]}{'先生' if m % 2 else '女士'}",
                    f"139{a + 1:03d}{m:05d}",
                )
                conn.execute(
                    "INSERT INTO account (customer_id, point_id, tariff, prepaid, protected, valid_from) "
                    "VALUES (%s, %s, 'residential-tou', %s, %s, %s)",
                    (customer, point, m % 3 != 0, "医疗设备" if m == 2 else "", INSTALLED),
                )
                row_customers.append(number)
            row_assets.append(asset)
            row_ids.append(meter)
        assets.append(row_assets)
        ids.append(row_ids)
        customers.append(row_customers)
    return assets, ids, customers


def _curve(conn: Connection, ids: list[list[int]], rng: np.random.Generator) -> None:
    """What came of today's and yesterday's 15-minute points, and what failed for which reason."""
    deliveries: list[Delivery] = []
    for day in (YESTERDAY, TODAY):
        times = points(CURVE, day, ZONE)
        due = times[times + np.timedelta64(CURVE.settle) <= NOW]
        for a, row in enumerate(ids):
            for m, meter in enumerate(row):
                deliveries += _meter_day(a, m, meter, day, due, rng)
    intake.save(conn, deliveries, ZONE, who="seed")


def _slots(area: int, meter: int, times: Any) -> Reads:
    """A steady customer's rows; the first area's carry everything, the others the register alone."""
    n = len(times)
    slot = (times - midnight(YESTERDAY, ZONE)) // np.timedelta64(15, "m")
    columns: dict[str, Any] = {"active_import": 12_345_6789 + 1875 * (slot - 96).astype(np.int64)}
    if area == 0:
        hour = slot % 96 / 96
        columns |= {
            "active_export": np.zeros(n, dtype=np.int64),
            "voltage_a": (219.5 + 11.9 * hour).round(1),
            "current_a": (0.8 + 4.4 * hour).round(3),
            "active_power": np.full(n, 0.75),
        }
    return Reads(np.full(n, meter, dtype=np.int64), times, columns)


def _came(area: int, meter: int, asked: Any, at: np.datetime64) -> Delivery:
    attempt = Attempt(meter, CURVE, asked, asked[:0], at)
    return Delivery(CURVES, at, _slots(area, meter, asked), (attempt,))


def _failed(
    meter: int, asked: Any, at: np.datetime64, reason: str, detail: str, absent: Any = None
) -> Delivery:
    none = asked[:0] if absent is None else absent
    return Delivery(CURVES, at, attempts=(Attempt(meter, CURVE, asked, none, at, reason, detail),))


def _meter_day(
    a: int, m: int, meter: int, day: dt.date, due: Any, rng: np.random.Generator
) -> Iterator[Delivery]:
    got = np.ones(len(due), dtype=np.bool_)
    never = np.zeros(len(due), dtype=np.bool_)
    reason, detail, late = "", "", np.zeros(len(due), dtype=np.bool_)
    hour = (due - midnight(day, ZONE)) / np.timedelta64(1, "h")
    today = day == TODAY
    if a == 6 and today:
        got = hour <= 11.25
        reason, detail = "offline", "no heartbeat since 11:22"
    elif a == 14 and today:
        late = (hour > 8.75) & (hour <= 10.5)
    elif a in (2, 17) and m in (4, 11):
        got[:] = False
        reason, detail = "no-answer", "3 attempts, 2 s each; quarantined"
    elif a == 9 and m == 5 and today:
        never = (hour > 5) & (hour <= 6.25)
        got &= ~never
    elif a == 18 and today:
        got = (rng.random(len(due)) > 0.3) | (hour < 7.5) | (hour > 10)
        reason, detail = "garbled", "checksum 0x3F, computed 0xA1"
    elif a == 21 and today:
        got = ~((hour > 12.5) & (hour <= 13.25))
        reason, detail = "link-lost", "connection reset after 61 of 148 bytes"
    elif today and rng.random() < 0.02:
        got = rng.random(len(due)) > 0.06
        reason, detail = "missing-in-answer", ""
    if today and a in (3, 11, 20) and m > 12:
        got[-1] = False  # due a moment ago, not asked yet
        reason = ""
    asked = due if got[-1:].all() or reason else due[:-1]
    # taken with its first quarter hour after the end of each slot
    prompt = got & ~late
    for chunk in np.array_split(np.flatnonzero(prompt), 4):
        if len(chunk):
            yield _came(a, meter, due[chunk], due[chunk[-1]] + np.timedelta64(95, "s"))
    if late.any():
        yield _came(a, meter, due[late], due[late][-1] + np.timedelta64(270, "m"))
    vain = asked[~got[: len(asked)] & ~never[: len(asked)]]
    if reason and len(vain):
        yield _failed(meter, vain, NOW - np.timedelta64(4, "m"), reason, detail)
    if never.any():
        yield _failed(meter, due[never], NOW - np.timedelta64(50, "m"), "", "", absent=due[never])


def _freezes(conn: Connection, ids: list[list[int]], rng: np.random.Generator) -> None:
    """Day freezes of the last five days; yesterday's fails for dead meters, and some come only at the second attempt."""
    meters = np.array([meter for row in ids for meter in row], dtype=np.int64)
    dead = {row[m] for a, row in enumerate(ids) if a in (2, 17) for m in (4, 11) if m < len(row)}
    daily = rng.integers(28_000, 140_000, len(meters))
    for back in range(5, 0, -1):
        day = TODAY - dt.timedelta(days=back)
        when = points(DAY, day, ZONE)
        have = np.array([back > 2 or meter not in dead for meter in meters])
        base = 50_000_000 + daily * (6 - back)
        shares = {"": 1.0, "_t1": 0.1, "_t2": 0.3, "_t3": 0.35, "_t4": 0.25}
        columns = {f"active_import{name}": (base * share).astype(np.int64) for name, share in shares.items()}
        columns["active_export"] = np.zeros(len(meters), dtype=np.int64)
        assert set(columns) == set(REGISTER_QUANTITIES)
        first, again = when[0] + np.timedelta64(7, "m"), when[0] + np.timedelta64(130, "m")
        second = rng.random(len(meters)) < 0.012
        failed = [
            Attempt(meter, DAY, when, when[:0], first, "no-answer", "3 attempts, 2 s each")
            for meter in meters[second | ~have].tolist()
        ]
        deliveries = [Delivery(DAYS, first, attempts=tuple(failed))]
        for chosen, at in ((have & ~second, first), (have & second, again)):
            rows = Reads(meters, np.repeat(when, len(meters)), columns).take(np.flatnonzero(chosen))
            attempts = tuple(Attempt(meter, DAY, when, when[:0], at) for meter in rows.meter.tolist())
            deliveries.append(Delivery(DAYS, at, rows, attempts))
        intake.save(conn, deliveries, ZONE, who="seed")


def _results(conn: Connection, ids: list[list[int]], rng: np.random.Generator) -> None:
    areas = [r["area_id"] for r in conn.execute("SELECT area_id FROM area ORDER BY code")]
    terminals = [r["terminal_id"] for r in conn.execute("SELECT terminal_id FROM terminal ORDER BY code")]
    losses = []
    for a, (area, row) in enumerate(zip(areas, ids, strict=True)):
        due = len(row)
        if a in (2, 17):
            missing = [row[m] for m in (4, 11) if m < due]
            losses.append(
                Loss(area, "unknown", *[None] * 10, due, due - len(missing), missing,
                     f"{len(missing)} of {due} day freezes missing (no answer)")
            )  # fmt: skip
            continue
        supplied = int(rng.integers(9_000_000, 31_000_000))
        rate = (
            0.118 if a == 12 else -0.006 if a == 19 else 0.062 if a == 7 else float(rng.uniform(0.012, 0.041))
        )
        loss = int(supplied * rate)
        half = int(supplied * 0.0047)
        losses.append(
            Loss(area, "known", supplied, supplied - loss, loss, loss - half, loss + half, loss - half // 2, loss + half // 2,
                 None, None, loss / supplied, due, due, [], "")
        )  # fmt: skip
    results.save_losses(conn, YESTERDAY, losses, now=NOW - np.timedelta64(13, "h"))

    def meter(a: int, m: int) -> int:
        row = ids[a % len(ids)]
        return row[m % len(row)]

    found = [
        Found("bypass-suspect", 1, "meter", meter(12, 8), "alarm", "probably a bypass: explains 87 % of the unexplained loss",
              "疑似窃电：解释87%的不明损失",
              {"area": "TQ013", "unexplained_kwh": "168.4", "share": 0.87, "p_value": 0.0004, "slots": 96, "curve_correlation": 0.93}),
        Found("dead-meter", 1, "meter", meter(2, 4), "warning", "no answer for 38 hours, terminal on-line",
              "电表38小时无应答，终端在线", {"since": "2026-03-10T00:45:00+08:00", "attempts": 114, "last_reason": "no-answer"}),
        Found("dead-meter", 1, "meter", meter(17, 11), "warning", "no answer for 38 hours, terminal on-line",
              "电表38小时无应答，终端在线", {"since": "2026-03-10T00:45:00+08:00", "attempts": 114, "last_reason": "no-answer"}),
        Found("terminal-offline", 1, "terminal", terminals[6 % len(terminals)], "alarm", "off-line for 3 h 14 min, 20 meters behind it",
              "终端离线3小时14分，影响20块表", {"since": "2026-03-11T11:22:41+08:00", "meters": 20, "points_waiting": 260}),
        Found("voltage-high", 2, "meter", meter(5, 9), "warning", "phase A over 235.4 V for 195 min of the day",
              "A相电压越上限195分钟", {"limit_v": 235.4, "max_v": 241.7, "minutes": 195, "standard": "GB/T 12325-2008",
                               "curve_v": [231.2, 233.8, 236.1, 238.9, 241.7, 240.3, 237.0, 234.4, 232.1]}),
        Found("phase-unbalance", 1, "meter", meter(11, 0), "info", "current unbalance 42 % over 5 h",
              "三相电流不平衡度42%，持续5小时", {"limit": 0.15, "unbalance": 0.42, "hours": 5.0}),
        Found("loss-high", 1, "area", areas[7 % len(areas)], "warning", "line loss 6.2 %, usual 2.9 %",
              "线损率6.2%，常态2.9%", {"rate": 0.062, "usual": 0.029, "days": 14, "bounds": [0.057, 0.067]}),
        Found("loss-negative", 1, "area", areas[19 % len(areas)], "warning", "negative line loss −0.6 %: a meter or its role is wrong",
              "负线损−0.6%：计量或档案有误", {"rate": -0.006, "bounds": [-0.011, -0.001]}),
    ]  # fmt: skip
    unique = {(f.rule, f.subject_kind, f.subject_id): f for f in found}
    findings.save(
        conn,
        YESTERDAY,
        sorted({f.rule for f in found}),
        list(unique.values()),
        now=NOW - np.timedelta64(12, "h"),
    )


def _money(conn: Connection, customers: list[list[str]]) -> None:
    conn.execute(
        "INSERT INTO job_run (job, day, started, seconds, ok, summary) VALUES ('vee', %s, %s, 1, true, '')",
        (YESTERDAY, as_datetime(NOW)),
    )
    # a utility that grants a day and no week: its customers below zero were told yesterday
    conn.execute(
        "INSERT INTO fee_terms (grace_days, reason, who, at) VALUES (1, 'board', '陈晓', %s)", (as_datetime(NOW),)
    )  # fmt: skip
    accounts = conn.execute(
        "SELECT account_id, number, prepaid FROM account JOIN customer USING (customer_id) ORDER BY account_id"
    ).fetchall()
    for k, row in enumerate(accounts):
        level = ("ok", "ok", "ok", "warn1", "ok", "warn2", "ok", "ok", "stop", "ok")[k % 10]
        bought, used = (
            20_000,
            9_000
            if level == "ok"
            else 16_500
            if level == "warn1"
            else 18_200
            if level == "warn2"
            else 20_480,
        )
        for kind, period, fen in (
            ("payment", f"bank/2026-03-01/{k:06d}", bought),
            *(
                ("charge", f"2026-03-{day:02}", -(used // 10) if day < 10 else -(used - 9 * (used // 10)))
                for day in range(1, 11)
            ),
        ):
            entry = _one(
                conn,
                "INSERT INTO ledger_entry (account_id, kind, period, revision, amount_fen, inputs_hash, detail, at) "
                "VALUES (%s, %s, %s, 1, %s, %s, '{}', %s) RETURNING entry_id AS id",
                row["account_id"], kind, period, fen, bytes(32),
                as_datetime(NOW) - dt.timedelta(hours=2) if kind == "payment" else _night_after(period),
            )  # fmt: skip
            if kind == "payment":
                conn.execute(
                    "INSERT INTO payment (account_id, channel, accounting_date, serial, amount_fen, paid_at, entry_id) "
                    "VALUES (%s, 'bank', '2026-03-01', %s, %s, %s, %s)",
                    (row["account_id"], f"{k:06d}", fen, as_datetime(NOW) - dt.timedelta(days=10), entry),
                )
        conn.execute(
            "INSERT INTO balance (account_id, as_of, ledger_fen, ledger_entry_id, provisional_low_fen, provisional_high_fen, "
            "newest_reading, valid, level, stop_since) VALUES (%s, %s, %s, %s, %s, %s, %s, true, %s, %s)",
            (
                row["account_id"], as_datetime(NOW) - dt.timedelta(minutes=7), bought - used, entry, bought - used - 130,
                bought - used - 85, as_datetime(NOW) - dt.timedelta(minutes=22), level, as_datetime(NOW) - dt.timedelta(days=3),
            ),
        )  # fmt: skip
        if level == "stop":
            told(conn, row["account_id"], as_datetime(NOW) - dt.timedelta(hours=26), bought - used)
        conn.execute(
            "INSERT INTO bill (account_id, first_day, last_day, revision, amount_fen, lines, inputs_hash, at) "
            "VALUES (%s, '2026-02-01', '2026-02-28', 1, %s, %s, %s, %s)",
            (
                row["account_id"], 11_337, json.dumps([{"period": "flat", "kwh": "120.00", "fen": 6_456}]), bytes(32),
                as_datetime(NOW) - dt.timedelta(days=10),
            ),
        )  # fmt: skip


def _seen(is_open: bool, permitted: bool, load_kw: float) -> dict[str, Any]:
    seen = {"open": is_open, "permitted": permitted, "keep_power": False, "load_kw": load_kw, "detail": ""}
    return {"relay": seen, "read_back_at": as_datetime(NOW).isoformat()}


#: name -> (kind, action, steps (state, event), outcome, result, minutes ago)
_ORDERS: dict[str, tuple[str, str, list[tuple[str, str]], str, dict[str, Any], int]] = {
    "verified-close": ("relay", "close", [("approved", "request"), ("sending", "send"), ("answered", "answer"), ("verified", "prove")],
                       "relay closed, load 0.84 kW", _seen(False, False, 0.84), 190),
    "failed-read": ("read", "", [("approved", "request"), ("sending", "send"), ("failed", "reject")],
                    "meter refused: no such data", {}, 171),
    "refused-trip": ("relay", "trip", [("refused", "request")],
                     "protected: the customer is protected: 医疗设备", {}, 160),
    "expired-clock": ("clock", "set", [("approved", "request"), ("expired", "expire")], "not sent by 13:05", {}, 150),
    "cancelled-trip": ("relay", "trip", [("wanted", "request"), ("cancelled", "cancel")], "withdrawn by 李敏", {}, 120),
    "verified-trip": ("relay", "trip",
                      [("wanted", "request"), ("approved", "approve"), ("sending", "send"), ("answered", "answer"), ("verified", "prove")],
                      "relay open, load 0.00 kW", _seen(True, False, 0.0), 96),
    "verified-read": ("read", "", [("approved", "request"), ("sending", "send"), ("answered", "answer"), ("verified", "prove")],
                      "6 registers read", {"active_import": "12345.6789"}, 55),
    "unknown-trip": ("relay", "trip", [("wanted", "request"), ("approved", "approve"), ("sending", "send"), ("unknown", "lose")],
                     "answer lost: the relay is being read", {}, 11),
    "pending-permit": ("relay", "permit", [("approved", "request"), ("sending", "send"), ("answered", "answer"), ("pending", "hold")],
                       "permitted, waiting for the customer's key", _seen(True, True, 0.0), 9),
    "answered-close": ("relay", "close", [("approved", "request"), ("sending", "send"), ("answered", "answer")], "", {}, 4),
    "sending-read": ("read", "", [("approved", "request"), ("sending", "send")], "", {}, 2),
    "approved-clock": ("clock", "set", [("approved", "request")], "", {}, 2),
    "wanted-trip": ("relay", "trip", [("wanted", "request")], "", {}, 1),
}  # fmt: skip


def _orders(conn: Connection, ids: list[list[int]]) -> dict[str, int]:
    """One order in each state; every order has its own meter (customer number k of area k)."""
    made = {}
    for k, (name, (kind, action, steps, outcome, result, ago)) in enumerate(_ORDERS.items()):
        row = ids[(k * 5) % len(ids)]
        meter = row[1 + k % (len(row) - 1)]
        at = as_datetime(NOW) - dt.timedelta(minutes=ago)
        state = steps[-1][0]
        is_open = state in ("wanted", "approved", "sending", "answered", "pending", "unknown")
        trip = action == "trip"
        ended = at + dt.timedelta(seconds=20 * len(steps))
        made[name] = order = _one(
            conn,
            "INSERT INTO orders (kind, action, meter_id, terminal_id, state, is_open, reason, requested_by, requested_at, approved_by, "
            "approved_at, expires_at, sent_at, ended_at, outcome, result) SELECT %s, %s, %s, terminal_id, %s, %s, %s, %s, %s, %s, %s, "
            "%s, %s, %s, %s, %s FROM installation WHERE meter_id = %s RETURNING order_id AS id",
            kind, action, meter, state, is_open, "欠费停电" if trip else "客户申请", "job:prepaid" if trip else "陈晓", at,
            None if state in ("wanted", "refused", "cancelled") else "李敏" if trip else "陈晓", at,
            at + dt.timedelta(hours=1), at + dt.timedelta(seconds=40) if len(steps) > 2 else None,
            None if is_open else ended, outcome, json.dumps(result), meter,
        )  # fmt: skip
        for s, (state_then, event) in enumerate(steps):
            who = (
                "job:prepaid"
                if trip and s == 0
                else "李敏"
                if event in ("approve", "cancel")
                else "陈晓"
                if s == 0
                else "collector-1"
            )
            conn.execute(
                "INSERT INTO order_event (order_id, seq, at, event, state, who, detail) VALUES (%s, %s, %s, %s, %s, %s, %s)",
                (
                    order,
                    s + 1,
                    at + dt.timedelta(seconds=20 * s),
                    event,
                    state_then,
                    who,
                    outcome if s == len(steps) - 1 else "",
                ),
            )
    return made


def _night_after(period: str) -> dt.datetime:
    """When a day's charge is posted."""
    return as_datetime(midnight(dt.date.fromisoformat(period) + dt.timedelta(days=1), ZONE)) + dt.timedelta(
        minutes=40
    )


def _one(conn: Connection, sql: str, *parameters: Any) -> int:
    row = conn.execute(sql, parameters).fetchone()
    assert row is not None
    return int(row["id"])


if __name__ == "__main__":  # python -m tests.support.seed DSN: a store to look at the console with
    import sys

    with seeded(sys.argv[1]) as (_, made):
        print(
            f"{sum(map(len, made.assets))} meters in {Path(__file__).name}'s utility; domain time {as_datetime(NOW, ZONE)}"
        )
