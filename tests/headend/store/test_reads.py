"""Readings in: what came first stays, holes are filled, what differs becomes a revision."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headend.store import reads
from headend.store.db import Connection
from headend.store.reads import Note, Written
from headend.store.tables import DAY_FREEZES, SLOTS, SPOTS
from protocols.reading import MISSING, no_reads
from tests.support.house import at, one, rows, table, write

NOON, LATER = at("2026-03-11 12:00"), at("2026-03-11 12:15")
CELLS = "SELECT meter_id, ts, active_import, voltage_a FROM slot_read ORDER BY meter_id, ts"


def cells(conn: Connection) -> list[tuple[Any, ...]]:
    return [(m, np.datetime64(ts.replace(tzinfo=None), "us"), a, v) for m, ts, a, v in table(conn, CELLS)]


def revisions(conn: Connection) -> list[tuple[Any, ...]]:
    return table(
        conn,
        "SELECT meter_id, source, quantity, version, value, method, reason, who FROM revision ORDER BY 1, ts, 3, 4",
    )


def test_nothing(store: Connection) -> None:
    assert write(store, SLOTS, no_reads(), now=NOON) == Written(0, 0, 0)


def test_new_rows_then_an_identical_repeat_changes_nothing(store: Connection) -> None:
    batch = rows([2, 1], [NOON, NOON], active_import=[20, 10], voltage_a=[None, 230.1])
    assert write(store, SLOTS, batch) == Written(2, 0, 0)
    before = table(store, "SELECT ctid::text, xmin::text FROM slot_read ORDER BY meter_id")
    assert write(store, SLOTS, batch) == Written(0, 2, 0)
    # not even a new version of the row on disk
    assert table(store, "SELECT ctid::text, xmin::text FROM slot_read ORDER BY meter_id") == before
    assert cells(store) == [(1, NOON, 10, pytest.approx(230.1)), (2, NOON, 20, None)]
    assert revisions(store) == []


def test_quantities_arriving_apart_complete_the_row(store: Connection) -> None:
    write(store, SLOTS, rows([1], [NOON], active_import=[10]))
    assert write(store, SLOTS, rows([1], [NOON], voltage_a=[229.5])) == Written(0, 1, 0)
    assert cells(store) == [(1, NOON, 10, 229.5)]
    assert revisions(store) == []


def test_quantities_apart_in_one_batch(store: Connection) -> None:
    batch = rows([1, 2, 1], [NOON] * 3, active_import=[10, 20, None], voltage_a=[None, None, 229.5])
    assert write(store, SLOTS, batch) == Written(2, 1, 0)
    assert cells(store) == [(1, NOON, 10, 229.5), (2, NOON, 20, None)]


def test_a_different_value_is_a_revision_and_the_first_stays(store: Connection) -> None:
    write(store, SLOTS, rows([1], [NOON], active_import=[10], voltage_a=[230.0]))
    assert write(store, SLOTS, rows([1], [NOON], active_import=[11], voltage_a=[230.0])) == Written(0, 1, 1)
    assert write(store, SLOTS, rows([1], [NOON], active_import=[11])) == Written(0, 1, 0)  # the same again
    assert write(store, SLOTS, rows([1], [NOON], active_import=[12])) == Written(0, 1, 1)
    assert cells(store) == [(1, NOON, 10, 230.0)]
    assert revisions(store) == [
        (1, "slot", "active_import", 2, 11, "read", "read again", "test"),
        (1, "slot", "active_import", 3, 12, "read", "read again", "test"),
    ]


def test_a_batch_that_contradicts_itself(store: Connection) -> None:
    batch = rows([1, 1, 1, 1], [NOON] * 4, active_import=[10, 11, 11, 10])
    assert write(store, SLOTS, batch) == Written(1, 3, 1)
    assert cells(store) == [(1, NOON, 10, None)]
    assert [row[3:5] for row in revisions(store)] == [(2, 11)]


def test_one_row_that_exists_does_not_hold_up_the_others(store: Connection) -> None:
    write(store, SLOTS, rows([3], [NOON], active_import=[30]))
    batch = rows(
        [1, 2, 3, 4],
        [NOON, NOON, NOON, LATER],
        active_import=[10, 20, 31, 40],
        voltage_a=[1.5, None, 2.5, None],
    )
    assert write(store, SLOTS, batch) == Written(3, 1, 1)
    assert cells(store) == [(1, NOON, 10, 1.5), (2, NOON, 20, None), (3, NOON, 30, 2.5), (4, LATER, 40, None)]


def test_a_revised_instant_keeps_all_its_digits(store: Connection) -> None:
    """A float4 has up to nine significant digits; two that agree in six are still two values."""
    first, second, third = (np.float32(v) for v in (230.0, 230.12341, 230.12343))
    for value in (first, second, third):
        write(store, SLOTS, rows([1], [NOON], voltage_a=[value]))
    assert [np.float32(row[4]) for row in revisions(store)] == [second, third]


def test_registers_by_kind(store: Connection) -> None:
    row = rows([1], [NOON], active_import=[10], active_import_t2=[4], active_export=[0])
    assert write(store, DAY_FREEZES, row) == Written(1, 0, 0)
    assert write(store, SPOTS, row) == Written(1, 0, 0)  # another kind is another reading
    assert write(store, DAY_FREEZES, rows([1], [NOON], active_import=[11])) == Written(0, 1, 1)
    assert table(
        store,
        "SELECT kind, active_import, active_import_t1, active_import_t2, active_export FROM register_read ORDER BY 1",
    ) == [
        (2, 10, None, 4, 0),
        (3, 10, None, 4, 0),
    ]
    assert [row[1:5] for row in revisions(store)] == [("day", "active_import", 2, 11)]


def test_across_the_edges_of_weeks(store: Connection, server_kind: str) -> None:
    """Partitions begin on Mondays, 00:00 UTC: a batch of three weeks, and its very first and last instants."""
    edges = [
        "2026-03-01T23:45",
        "2026-03-02T00:00",
        "2026-03-08T23:45",
        "2026-03-09T00:00",
        "2026-03-09T00:15",
    ]
    times = np.array(edges, dtype="datetime64[us]")
    assert write(store, SLOTS, rows([1] * 5, times, active_import=list(range(5)))) == Written(5, 0, 0)
    assert write(store, SLOTS, rows([1] * 5, times, active_import=list(range(5)))) == Written(0, 5, 0)
    assert [row[1] for row in cells(store)] == list(times)
    if server_kind == "embedded":
        parts = table(store, "SELECT DISTINCT tableoid::regclass::text FROM slot_read ORDER BY 1")
        assert parts == [(f"slot_read_{monday}t0000",) for monday in ("20260223", "20260302", "20260309")]


def test_rows_are_copied_in_the_order_of_meters(store: Connection) -> None:
    """Among those that lack the same columns: the hot index is filled in order."""
    batch = rows(
        [3, 1, 2, 1],
        [NOON, LATER, NOON, NOON],
        active_import=[30, None, None, 10],
        voltage_a=[None, 1.5, 2.5, 3.5],
    )
    write(store, SLOTS, batch)
    assert table(store, "SELECT meter_id, active_import, voltage_a FROM slot_read ORDER BY tableoid, ctid") == [
        (1, 10, 3.5), (1, None, 1.5), (2, None, 2.5), (3, 30, None),
    ]  # fmt: skip


def test_a_transaction_that_fails_leaves_nothing(store: Connection) -> None:
    with store.transaction(force_rollback=True):
        reads.ensure_partitions(store, "slot_read", np.array([NOON]))
        reads.write(store, SLOTS, rows([1], [NOON], active_import=[10]), Note(NOON, "", "test"))
    assert one(store, "SELECT count(*) FROM slot_read") == 0


def test_two_writers_of_one_meter_lose_nothing(store: Connection, second: Connection) -> None:
    """A terminal changes hands while its old owner still writes: both find the row, each brings another value for its hole."""
    write(store, SLOTS, rows([1], [NOON], active_import=[10]))
    for k, (ours, theirs) in enumerate([(5.5, 6.5), (7.5, 8.5), (9.5, 10.5)]):
        when = NOON + np.timedelta64(15 * (k + 1), "m")
        write(store, SLOTS, rows([1], [when], active_import=[10]))
        with store.transaction():
            reads.write(store, SLOTS, rows([1], [when], voltage_a=[ours]), Note(when, "", "ours"))
            thread = threading.Thread(
                target=write, args=(second, SLOTS, rows([1], [when], voltage_a=[theirs]))
            )
            thread.start()
            thread.join(0.3)
            assert thread.is_alive()  # it waits for our row
        thread.join(10)
        assert not thread.is_alive()
        assert (
            one(store, "SELECT voltage_a FROM slot_read WHERE ts = %s", when.item().replace(tzinfo=None))
            == ours
        )
        assert revisions(store)[-1][3:5] == (2, theirs)


class Model:
    """What the store must hold: the first value of each cell, and later ones that differ from it and from the newest revision."""

    def __init__(self) -> None:
        self.first: dict[tuple[int, np.datetime64, str], float] = {}
        self.later: dict[tuple[int, np.datetime64, str], list[float]] = {}
        self.rows: set[tuple[int, np.datetime64]] = set()

    def put(self, meter: int, time: np.datetime64, code: str, value: float) -> None:
        cell = (meter, time, code)
        if self.first.setdefault(cell, value) == value:
            return
        later = self.later.setdefault(cell, [])
        if not later or later[-1] != value:
            later.append(value)


ROW = st.tuples(
    st.integers(1, 3),
    st.integers(0, 2),
    st.none() | st.integers(0, 2),
    st.none() | st.sampled_from([0.1, 230.25, 230.12341]),
)
DAYS = itertools.count()


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.lists(ROW, min_size=1, max_size=8), max_size=5))
def test_any_sequence_of_batches(
    store: Connection, batches: list[list[tuple[int, int, int | None, float | None]]]
) -> None:
    store.rollback()
    store.execute("DELETE FROM slot_read; DELETE FROM revision")
    model = Model()
    for batch in batches:
        times = [at("2026-03-08 23:45") + np.timedelta64(15 * slot, "m") for _, slot, _, _ in batch]
        before = set(model.rows)
        given = 0
        for (meter, _, energy, voltage), time in zip(batch, times, strict=True):
            if energy is None and voltage is None:
                continue  # nothing was delivered: no row
            given += 1
            model.rows.add((meter, time))
            for code, value in (("active_import", energy), ("voltage_a", voltage)):
                if value is not None:
                    model.put(meter, time, code, value)
        written = write(
            store, SLOTS,
            rows([row[0] for row in batch], times, active_import=[row[2] for row in batch], voltage_a=[row[3] for row in batch]),
        )  # fmt: skip
        assert (written.new, written.new + written.repeated) == (len(model.rows - before), given)
    expected = {
        (m, t, model.first.get((m, t, "active_import")), model.first.get((m, t, "voltage_a")))
        for m, t in model.rows
    }
    found = {(m, t, a, None if v is None else round(v, 5)) for m, t, a, v in cells(store)}
    assert found == expected
    told: dict[tuple[int, np.datetime64, str], list[float]] = {}
    for m, ts, code, version, value in table(
        store, "SELECT meter_id, ts, quantity, version, value FROM revision ORDER BY version"
    ):
        values = told.setdefault((m, np.datetime64(ts.replace(tzinfo=None), "us"), code), [])
        values.append(float(value))
        assert version == len(values) + 1
    assert told == model.later


def test_missing_is_never_zero_and_nothing_is_no_row(store: Connection) -> None:
    nothing = rows([1], [NOON], active_import=[MISSING], voltage_a=[float("nan")])
    assert write(store, SLOTS, nothing) == Written(0, 0, 0)
    assert cells(store) == []
    write(store, SLOTS, rows([1], [NOON], active_import=[MISSING], voltage_a=[0.0]))
    assert cells(store) == [(1, NOON, None, 0.0)]
