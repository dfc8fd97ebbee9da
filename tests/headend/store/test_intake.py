"""The door: readings, ledger, feed and evidence agree, whatever comes in which order."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headend.plans import CURVE, DAY, MONTH, PHASE, PLANS, Plan, locate, points
from headend.store import feed, intake, revisions
from headend.store.coverage import Attempt
from headend.store.db import Connection
from headend.store.exchanges import NO_TIMES, Exchange, Said
from headend.store.intake import BadReading, Delivery
from headend.store.reads import Note, Written
from headend.store.revisions import BadRevision
from headend.store.tables import CURVES, DAYS, MONTHS, SLOTS, SPOT_READS, TABLES
from protocols.localtime import as_datetime
from protocols.reading import FREEZE_QUANTITIES, MISSING, PHASE_QUANTITIES, Reads
from tests.support.app import settle
from tests.support.house import SHANGHAI, at, deliver, one, place, rows, table

WEDNESDAY = dt.date(2026, 3, 11)
SLOT = points(CURVE, WEDNESDAY, SHANGHAI)
NOON, NOW = at("2026-03-11 12:00"), at("2026-03-11 12:02")


def said(words: str, meter: int = 1, when: np.datetime64 = NOW) -> Exchange:
    return Exchange(1, meter, "1", "dlt645", "curve", when, when, said=(Said(0.0, True, words.encode()),))


def changes(conn: Connection) -> list[tuple[str, str, str]]:
    settle(conn)
    return [(c.topic, c.change, c.key) for c in feed.read(conn, None, 1000).changes]


def present(conn: Connection, plan: Plan = CURVE) -> list[tuple[int, list[int]]]:
    found = table(
        conn,
        "SELECT meter_id, present::text FROM coverage WHERE plan = %s ORDER BY day, meter_id",
        plan.id,
    )
    return [(meter, [k for k, bit in enumerate(bits) if bit == "1"]) for meter, bits in found]


def disagreements(conn: Connection) -> list[tuple[Any, ...]]:
    """Meter-days of which the ledger says something else than the rows do, counted by SQL alone."""
    found = []
    for plan in PLANS.values():
        where = next(t for t in TABLES.values() if t.plan is plan)
        needs = " AND ".join(f"{code} IS NOT NULL" for code in plan.needs) or "true"
        kind = "" if where.kind is None else f" AND kind = {where.kind}"
        there = table(conn, f"SELECT meter_id, ts FROM {where.name} WHERE {needs}{kind} ORDER BY 1, 2")
        meters = np.array([m for m, _ in there], dtype=np.int64)
        times = np.array([t.replace(tzinfo=None) for _, t in there], dtype="datetime64[us]")
        day, index = locate(plan, times, SHANGHAI)
        mine = {(int(m), int(d), int(k)) for m, d, k in zip(meters, day, index, strict=True) if k >= 0}
        ledger = {
            (m, (d - dt.date(1970, 1, 1)).days, k)
            for m, d, bits in table(
                conn, "SELECT meter_id, day, present::text FROM coverage WHERE plan = %s", plan.id
            )
            for k, bit in enumerate(bits)
            if bit == "1"
        }
        found += sorted((plan.name, *cell) for cell in mine ^ ledger)
    return found


def test_each_quantity_finds_its_table(store: Connection) -> None:
    """A three-phase meter's look at everything: two capture groups, and what has no column of its own."""
    m = place(store, "1", phases=3).meter
    given = rows(
        [m], [NOON], active_import=[10], voltage_a=[230.1], power_factor_a=[0.95], reactive_import=[7], frequency=[50.01],
        max_demand_import=[1.2345], max_demand_import_time=[at("2026-03-11 11:15")], programmings=[3],
    )  # fmt: skip
    assert deliver(store, CURVES, given) == Written(2, 0, 0)
    assert table(store, "SELECT active_import, voltage_a FROM slot_read") == [(10, pytest.approx(230.1))]
    assert table(store, "SELECT reactive_import, power_factor_a FROM slot_phase_read") == [
        (7, pytest.approx(0.95))
    ]
    rare = table(store, "SELECT kind, quantity, count, value, moment FROM other_read ORDER BY quantity")
    assert [(k, q, c, v and float(v), t) for k, q, c, v, t in rare] == [
        (1, "frequency", None, 50.01, None),
        (1, "max_demand_import", None, 1.2345, None),
        (1, "max_demand_import_time", None, None, as_datetime(at("2026-03-11 11:15"))),
        (1, "programmings", 3, None, None),
    ]
    assert present(store) == [(m, [47])]
    assert present(store, PHASE) == [(m, [47])]
    assert changes(store) == [("curve", "new", "1"), ("phase", "new", "1")]
    assert deliver(store, CURVES, given) == Written(0, 2, 0)  # identical: nothing
    assert deliver(store, CURVES, rows([m], [NOON], frequency=[49.99])) == Written(0, 0, 1)
    assert table(store, "SELECT source, quantity, version, value FROM revision") == [
        ("other", "1:frequency", 2, Decimal("49.99"))
    ]


def test_freezes_with_demand_keep_every_decimal(store: Connection) -> None:
    m = place(store, "1", phases=3).meter
    midnight, month = at("2026-03-12 00:00"), at("2026-04-01 00:00")
    full: dict[str, list[Any]] = {code: [k + 1] for k, code in enumerate(FREEZE_QUANTITIES)}
    full |= {"max_demand_import": [12.3456], "max_demand_import_time": [at("2026-03-11 11:15")]}
    full |= {"max_demand_export": [0.0001], "max_demand_export_time": [at("2026-03-11 12:30")]}
    assert deliver(store, DAYS, rows([m], [midnight], **full)) == Written(1, 0, 0)
    assert deliver(store, MONTHS, rows([m], [month], **full)) == Written(1, 0, 0)
    assert deliver(store, SPOT_READS, rows([m], [NOON], **full)) == Written(1, 0, 0)
    kept = table(store, f"SELECT kind, {', '.join(FREEZE_QUANTITIES)} FROM register_read ORDER BY kind")
    cells = [as_datetime(v[0]) if isinstance(v[0], np.datetime64) else v[0] for v in full.values()]
    assert kept == [(kind, *cells) for kind in (2, 3, 4)]
    assert present(store, DAY) == [(m, [0])]
    assert present(store, MONTH) == [(m, [0])]
    assert table(store, "SELECT plan, day FROM coverage ORDER BY plan") == [
        (2, WEDNESDAY), (3, dt.date(2026, 3, 31)),
    ]  # fmt: skip
    # a demand that occurred at another time is another reading, and a moment can be revised
    full["max_demand_import_time"] = [at("2026-03-11 11:30")]
    assert deliver(store, DAYS, rows([m], [midnight], **full)) == Written(0, 1, 1)
    (value,) = table(store, "SELECT value FROM revision")[0]
    assert np.datetime64(int(value), "us") == at("2026-03-11 11:30")


def test_a_point_without_its_register_is_not_there(store: Connection) -> None:
    """Voltages alone do not close the gap of an energy curve; the energy that comes days later does, and completes the row."""
    m = place(store, "1").meter
    deliver(
        store,
        CURVES,
        rows([m], [NOON], voltage_a=[230.0]),
        NOW,
        attempts=(Attempt(m, CURVE, SLOT[47:48], NO_TIMES, NOW, "missing-in-answer"),),
    )
    assert present(store) == [(m, [])]
    assert table(store, "SELECT reason, slots::text FROM gap_reason") == [
        ("missing-in-answer", "0" * 47 + "1" + "0" * 48)
    ]
    later = NOW + np.timedelta64(3, "D")
    assert deliver(store, CURVES, rows([m], [NOON], active_import=[10]), later) == Written(0, 1, 0)
    assert present(store) == [(m, [47])]
    assert one(store, "SELECT late::text FROM coverage") == "0" * 47 + "1" + "0" * 48
    assert table(store, "SELECT active_import, voltage_a FROM slot_read") == [(10, 230.0)]
    assert changes(store) == [("curve", "new", "1"), ("curve", "completed", "1")]
    assert one(store, "SELECT count(*) FROM revision") == 0


def test_each_row_names_its_exchange_and_each_filled_cell_its_own(store: Connection) -> None:
    m = place(store, "1").meter
    first, second, third = said("energy"), said("volts"), said("again")
    deliver(store, CURVES, rows([m, m], SLOT[:2], active_import=[1, 2]), NOW, exchange=first)
    deliver(store, CURVES, rows([m, m], SLOT[:2], voltage_a=[230.0, 231.0]), NOW, exchange=second)
    deliver(store, CURVES, rows([m, m], SLOT[:2], active_import=[1, 3]), NOW, exchange=third)
    assert table(store, "SELECT DISTINCT evidence FROM slot_read") == [(first.evidence,)]
    assert table(store, "SELECT evidence, codes, cardinality(instants) FROM completion") == [
        (second.evidence, ["voltage_a"], 2)
    ]
    assert table(store, "SELECT quantity, value, evidence FROM revision") == [
        ("active_import", 3, third.evidence)
    ]
    kept = table(store, "SELECT evidence, sha256 FROM exchange")
    assert {(e, bytes(h)) for e, h in kept} == {(x.evidence, x.sha256) for x in (first, second, third)}
    deliver(
        store, CURVES, rows([m], SLOT[2:3], active_import=[9]), NOW, exchange=first
    )  # decoded again: kept once
    assert one(store, "SELECT count(*) FROM exchange") == 3


def test_a_batch_of_many_deliveries_is_one_transaction_with_each_its_evidence(store: Connection) -> None:
    a, b = (place(store, asset).meter for asset in "12")
    batch = [
        Delivery(CURVES, NOW, rows([b] * 3, SLOT[:3], active_import=[7, 8, 9]), exchange=said("b", b)),
        Delivery(CURVES, NOW, rows([a] * 2, SLOT[1:3], active_import=[1, 2]), exchange=said("a", a)),
        Delivery(DAYS, NOW, rows([a], SLOT[-1:], active_import=[5])),
        Delivery(CURVES, NOW, attempts=(Attempt(a, CURVE, SLOT[:1], NO_TIMES, NOW, "no-answer"),)),
    ]
    assert intake.save(store, batch, SHANGHAI, who="test") == Written(6, 0, 0)
    assert table(store, "SELECT meter_id, evidence FROM slot_read ORDER BY meter_id, ts") == [
        *[(a, said("a", a).evidence)] * 2, *[(b, said("b", b).evidence)] * 3,
    ]  # fmt: skip
    assert one(store, "SELECT evidence FROM register_read") is None
    assert present(store) == [(a, [1, 2]), (b, [0, 1, 2])]
    assert disagreements(store) == []


def test_an_estimate_gives_way_to_the_meters_own_value(store: Connection) -> None:
    m = place(store, "1").meter
    deliver(store, CURVES, rows([m], SLOT[0:1], active_import=[100]), NOW)
    note = Note(NOW, "three slots missing", "vee")
    made = revisions.revise(
        store, SLOTS, "active_import", np.full(3, m), SLOT[1:4], np.array([110, 120, 130]), note, method="linear", zone=SHANGHAI
    )  # fmt: skip
    store.commit()
    assert made == 3
    assert one(store, "SELECT estimated::text FROM coverage") == "0111" + "0" * 92
    assert present(store) == [(m, [0])]  # an estimate is not there
    assert deliver(store, CURVES, rows([m] * 2, SLOT[1:3], active_import=[111, 120]), NOW) == Written(2, 0, 0)
    assert one(store, "SELECT estimated::text FROM coverage") == "0001" + "0" * 92
    newest = "SELECT DISTINCT ON (ts) value, method, reason FROM revision ORDER BY ts, version DESC"
    assert table(store, newest) == [
        (111, "read", "the meter's own value came"),
        (120, "read", "the meter's own value came"),
        (130, "linear", "three slots missing"),
    ]
    assert changes(store) == [
        ("curve", "new", "1"), ("curve", "estimated", "1"), ("curve", "actual", "1"), ("curve", "new", "1"),
    ]  # fmt: skip
    deliver(store, CURVES, rows([m], SLOT[3:4], active_import=[131]), NOW)
    assert one(store, "SELECT estimated IS NULL FROM coverage")


def test_an_estimate_of_a_day_of_which_nothing_was_read(store: Connection) -> None:
    m = place(store, "1").meter
    note = Note(NOW, "silent", "vee")
    args = (store, SLOTS, "active_import", np.full(96, m), SLOT, np.arange(96))
    assert revisions.revise(*args, note, method="profile", zone=SHANGHAI) == 96
    assert revisions.revise(*args, note, method="profile", zone=SHANGHAI) == 0  # the same again
    store.commit()
    assert one(store, "SELECT bit_count(estimated) FROM coverage") == 96
    assert one(store, "SELECT bit_count(present) FROM coverage") == 0
    assert (
        deliver(
            store, CURVES, rows([m] * 96, SLOT, active_import=list(range(96))), NOW + np.timedelta64(1, "D")
        ).new
        == 96
    )
    assert one(store, "SELECT estimated IS NULL AND bit_count(present) = 96 FROM coverage")
    assert (
        one(
            store,
            "SELECT count(*) FROM (SELECT DISTINCT ON (ts) method FROM revision ORDER BY ts, version DESC) v WHERE method = 'read'",
        )
        == 96
    )
    assert disagreements(store) == []


def test_a_revision_that_says_nothing_is_refused(store: Connection) -> None:
    m, note = place(store, "1").meter, Note(NOW, "why", "who")
    for values, method, code in (
        (np.array([MISSING]), "linear", "active_import"),
        (np.array([5]), "read", "active_import"),
        (np.array([5]), "", "active_import"),
        (np.array([5]), "edit", "frequency"),
    ):
        with pytest.raises(BadRevision):
            revisions.revise(store, SLOTS, code, np.array([m]), SLOT[:1], values, note, method=method, zone=SHANGHAI)  # fmt: skip
    assert one(store, "SELECT (SELECT count(*) FROM revision) + (SELECT count(*) FROM coverage)") == 0


def test_an_edit_is_no_estimate(store: Connection) -> None:
    m = place(store, "1").meter
    deliver(store, CURVES, rows([m], SLOT[:1], active_import=[100], voltage_a=[230.5]), NOW)
    note = Note(NOW, "read at the meter", "chen")
    revisions.revise(store, SLOTS, "voltage_a", np.array([m]), SLOT[:1], np.array([231.25]), note, method="edit", zone=SHANGHAI)  # fmt: skip
    store.commit()
    assert one(store, "SELECT estimated IS NULL FROM coverage")
    assert table(store, "SELECT version, value::float8, method, who FROM revision") == [
        (2, 231.25, "edit", "chen")
    ]
    assert changes(store)[-1] == ("curve", "corrected", "1")
    assert deliver(store, CURVES, rows([m], SLOT[:1], voltage_a=[230.5]), NOW) == Written(0, 1, 0)


@pytest.mark.parametrize("when", ["2026-03-13 00:15", "1970-01-01 08:00"])
def test_a_reading_that_cannot_be_true_is_refused_with_its_meter(store: Connection, when: str) -> None:
    m = place(store, "1").meter
    good = Delivery(CURVES, NOW, rows([m], SLOT[:1], active_import=[1]))
    with pytest.raises(
        BadReading, match=rf"meter {m}: a reading of .* cannot be true; check the meter's clock"
    ):
        intake.save(
            store, [good, Delivery(CURVES, NOW, rows([m], [at(when)], active_import=[1]))], SHANGHAI, who="x"
        )
    store.rollback()
    assert (
        one(
            store,
            "SELECT (SELECT count(*) FROM slot_read) + (SELECT count(*) FROM coverage) + (SELECT count(*) FROM feed)",
        )
        == 0
    )


def test_points_off_the_grid_are_kept_and_mark_nothing(store: Connection) -> None:
    m = place(store, "1").meter
    off = SLOT[:2] + np.timedelta64(7, "m")
    given = rows([m] * 2, off, active_import=[1, 2])
    assert deliver(store, CURVES, given, NOW) == Written(2, 0, 0)
    assert deliver(store, CURVES, given, NOW) == Written(
        0, 2, 0
    )  # the ledger cannot know them; the table does
    assert present(store) == []


CELL = st.tuples(
    st.integers(1, 3),  # meter
    st.integers(0, 4),  # slot
    st.none() | st.integers(0, 2),  # register
    st.none() | st.sampled_from([0.5, 230.25]),  # voltage
    st.none() | st.integers(0, 1),  # reactive register: the other group
)


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.lists(st.lists(CELL, max_size=6), min_size=1, max_size=4), max_size=4))
def test_the_ledger_agrees_after_any_sequence(
    store: Connection, batches: Sequence[Sequence[Sequence[Any]]]
) -> None:
    store.rollback()
    store.execute("TRUNCATE slot_read, slot_phase_read, revision, coverage, feed, completion, exchange")
    first: dict[tuple[int, int, str], float] = {}
    for number, batch in enumerate(batches):
        deliveries = []
        for k, cells in enumerate(batch):
            given = rows(
                [c[0] for c in cells], [SLOT[c[1]] for c in cells], active_import=[c[2] for c in cells],
                voltage_a=[c[3] for c in cells], reactive_import=[c[4] for c in cells],
            )  # fmt: skip
            deliveries.append(Delivery(CURVES, NOW, given, exchange=said(f"{number}.{k}")))
        intake.save(store, deliveries, SHANGHAI, who="test")
        # deliveries of a batch come in the order of their first meters; within one meter's cell the first keeps
        ordered = sorted(batch, key=lambda cells: cells[0][0] if cells else 0)
        for cells in ordered:
            for meter, slot, *values in cells:
                for code, value in zip(
                    ("active_import", "voltage_a", "reactive_import"), values, strict=True
                ):
                    if value is not None:
                        first.setdefault((meter, slot, code), value)
    assert disagreements(store) == []
    kept = {}
    for name, codes in (
        ("slot_read", ("active_import", "voltage_a")),
        ("slot_phase_read", ("reactive_import",)),
    ):
        for meter, ts, *values in table(store, f"SELECT meter_id, ts, {', '.join(codes)} FROM {name}"):
            slot = int(np.searchsorted(SLOT, np.datetime64(ts.replace(tzinfo=None), "us")))
            kept |= {(meter, slot, code): v for code, v in zip(codes, values, strict=True) if v is not None}
    assert kept == first
    # whatever differed is in a revision, and every row and revision names an exchange that is kept
    for name in ("slot_read", "slot_phase_read", "revision", "completion"):
        assert (
            one(
                store,
                f"SELECT count(*) FROM {name} r WHERE NOT EXISTS (SELECT FROM exchange x WHERE x.evidence = r.evidence)",
            )
            == 0
        )


def test_every_table_has_the_columns_that_the_program_writes(store: Connection) -> None:
    for where in TABLES.values():
        found = table(
            store,
            "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            where.name,
        )
        types = {
            "int8": "bigint",
            "float4": "real",
            "float8": "double precision",
            "timestamptz": "timestamp with time zone",
        }
        assert dict(found) == {
            "meter_id": "integer", "ts": types["timestamptz"], **({"kind": "smallint"} if where.kind else {}),
            **{code: types[where.type(code)] for code in where.codes}, "evidence": "bigint",
        }  # fmt: skip
    assert {code for where in (SLOTS, *TABLES.values()) for code in where.codes} >= set(PHASE_QUANTITIES)


def test_a_first_load_is_nothing_but_copy(store: Connection) -> None:
    """No stage, no comparison, and as many statements for a thousand meters as for ten."""
    counts = []
    for n, first in ((10, 1), (400, 1000)):
        told = count_statements(store)
        times = np.tile(SLOT, n)
        meters = np.repeat(np.arange(first, first + n), 96)
        reads = Reads(meters, times, {"active_import": np.arange(len(times))})
        intake.save(store, [Delivery(CURVES, NOW, reads)], SHANGHAI, who="test")
        counts.append(len(told))
        assert not any("stage" in sql or "TO STDOUT" in sql for sql in told)
    assert counts[0] == counts[1] < 20


def count_statements(conn: Connection) -> list[str]:
    """The statements that the connection sends from now on."""
    told: list[str] = []

    class Watched(psycopg.Cursor[Any]):
        def execute(self, query: Any, *args: Any, **more: Any) -> Any:
            told.append(str(query))
            return super().execute(query, *args, **more)

        def copy(self, statement: Any, *args: Any, **more: Any) -> Any:
            told.append(str(statement))
            return super().copy(statement, *args, **more)

    conn.cursor_factory = Watched
    return told
