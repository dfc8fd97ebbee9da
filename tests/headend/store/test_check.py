"""The checker finds every harm that is done to a store, and nothing in one that is well."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import numpy as np
import pytest

from headend.plans import CURVE, points
from headend.store import check, db, feed, retention, revisions, rollups
from headend.store.check import Disagreement, snapshot
from headend.store.coverage import Attempt
from headend.store.db import Connection, StoreError
from headend.store.exchanges import Exchange, Said
from headend.store.reads import Note
from headend.store.tables import CURVES, DAYS, MONTHS, SLOTS, SPOT_READS
from protocols.localtime import as_datetime
from tests.support.app import settle
from tests.support.house import SHANGHAI, at, deliver, place, rows

DAY_ = dt.date(2026, 3, 31)
FIRST, LAST = DAY_ - dt.timedelta(days=2), DAY_ + dt.timedelta(days=2)
NOW = at("2026-04-01 01:00")


def said(meter: int, terminal: int, taken: np.datetime64 = NOW, text: bytes = b"\x68\x16") -> Exchange:
    return Exchange(terminal, meter, "1", "dlt645", "curve", taken, taken, said=(Said(0.0, True, text),))


@pytest.fixture
def lived(store: Connection) -> Connection:
    """A store with everything in it: holes, late and absent points, completions, corrections, estimates that stand and that do not."""
    home = place(store, "M1")
    meter, times = home.meter, points(CURVE, DAY_, SHANGHAI)
    attempt = Attempt(meter, CURVE, times[:50], times[40:44], NOW, "missing-in-answer")
    deliver(
        store, CURVES, rows([meter] * 40, times[:40], active_import=range(40), voltage_a=[230.1] * 20 + [None] * 20), NOW,
        attempts=(attempt,), exchange=said(meter, home.terminal),
    )  # fmt: skip
    deliver(
        store,
        CURVES,
        rows([meter] * 2, times[20:22], voltage_a=[231.3, 229.7]),
        NOW,
        exchange=said(meter, home.terminal, text=b"\x01"),
    )
    deliver(store, CURVES, rows([meter] * 2, times[:2], active_import=[7, 8], voltage_a=[230.1, 0.1]), NOW)
    deliver(store, CURVES, rows([meter] * 2, times[:2], active_import=[9, 8]), NOW)
    deliver(store, CURVES, rows([meter], times[70:71], power_factor=[0.95]), NOW)
    deliver(store, CURVES, rows([meter], [at("2026-03-31 10:07")], active_import=[44]), NOW)  # off the grid
    with store.transaction():
        note = Note(NOW, "no answer", "test")
        revisions.revise(
            store,
            SLOTS,
            "active_import",
            np.full(9, meter),
            times[50:59],
            np.arange(50, 59),
            note,
            method="linear",
            zone=SHANGHAI,
        )
        revisions.revise(
            store,
            SLOTS,
            "active_import",
            np.full(1, meter),
            times[52:53],
            np.array([99]),
            note,
            method="edit",
            zone=SHANGHAI,
        )
    deliver(store, CURVES, rows([meter] * 2, times[50:52], active_import=[50, 60]), NOW)
    midnight = at("2026-04-01 00:00")
    for source in (DAYS, MONTHS, SPOT_READS):
        deliver(store, source, rows([meter], [midnight], active_import=[100], max_demand_import=[1.5]), NOW)
    settle(store)
    while True:
        with store.transaction():
            more = rollups.step(store, SHANGHAI, NOW).more
        store.commit()
        if not more:
            return store


def wrong(conn: Connection, **more: Any) -> list[Disagreement]:
    conn.commit()
    return list(check.report(conn, SHANGHAI, FIRST, LAST, **more).wrong)


def test_a_store_that_is_well(lived: Connection) -> None:
    assert wrong(lived) == []
    assert check.whole(lived, SHANGHAI) == (DAY_ - dt.timedelta(days=1), DAY_ + dt.timedelta(days=1))
    lived.commit()
    with snapshot(lived):
        assert check.everything(lived, SHANGHAI, FIRST, LAST) == []


#: harm -> what the checker says of it, and about which point
HARM = {
    "DELETE FROM slot_read WHERE ts = '2026-03-31 01:00+08'": ("ledger", "present, there is no row", "2026-03-31 01:00"),
    "UPDATE slot_read SET active_import = NULL WHERE ts = '2026-03-31 01:00+08'": ("ledger", "present, there is no row", "2026-03-31 01:00"),
    "INSERT INTO slot_read (meter_id, ts, active_import) VALUES (1, '2026-03-31 23:00+08', 1)": ("ledger", "does not know it", "2026-03-31 23:00"),
    "INSERT INTO slot_read (meter_id, ts, active_import) VALUES (77, '2026-03-31 23:00+08', 1)": ("ledger", "does not know it", "2026-03-31 23:00"),
    "DELETE FROM register_read WHERE kind = 2": ("ledger", "present, there is no row", "2026-04-01 00:00"),
    "DELETE FROM register_read WHERE kind = 4": ("ledger", "present, there is no row", "2026-04-01 00:00"),
    "DELETE FROM slot_phase_read": ("ledger", "present, there is no row", "2026-03-31 17:45"),
    "DELETE FROM coverage WHERE plan = 2": ("ledger", "does not know it", "2026-04-01 00:00"),
    "UPDATE coverage SET absent = set_bit(absent, 3, 1) WHERE plan = 1": ("ledger", "absent, and present", "2026-03-31 01:00"),
    "UPDATE coverage SET late = set_bit(late, 90, 1) WHERE plan = 1": ("ledger", "late, and not present", "2026-03-31 22:45"),
    "UPDATE coverage SET estimated = set_bit(estimated, 50, 1) WHERE plan = 1": ("ledger", "none by the revisions", "2026-03-31 12:45"),
    "DELETE FROM revision WHERE method = 'linear' AND ts = '2026-03-31 13:30+08'": ("ledger", "none by the revisions", "2026-03-31 13:30"),
    "UPDATE coverage SET present = present || B'1' WHERE plan = 1": ("ledger", "another number of points than 96", None),
    "DELETE FROM revision WHERE version = 2 AND quantity = 'active_import' AND ts = '2026-03-31 00:15+08'":
        ("versions", "is number 2", "2026-03-31 00:15"),
    "UPDATE revision SET value = 7 WHERE version = 3 AND ts = '2026-03-31 00:15+08'":
        ("versions", "no other than the one before", "2026-03-31 00:15"),
    "UPDATE revision SET value = 1 WHERE version = 2 AND ts = '2026-03-31 00:30+08' AND quantity = 'active_import'":
        ("versions", "read like the first", "2026-03-31 00:30"),
    "INSERT INTO feed (xid, topic, key) VALUES ('99999999999', 'loss', 'x')": ("feed", "without `headend restore`", None),
    "UPDATE cluster SET feed_xid = (SELECT max(xid) FROM feed), feed_seq = 1000000": ("feed", "older than what was thrown away", None),
    "UPDATE feed SET meters = '{4711}' WHERE meters IS NOT NULL": ("feed", "that the archive does not have", None),
    "UPDATE job_cursor SET cursor = 'x'": ("feed", "is not a feed cursor", None),
    "DELETE FROM exchange": ("evidence", "which is not there", "2026-03-31 00:15"),
    "UPDATE exchange SET body = (SELECT body FROM exchange ORDER BY evidence LIMIT 1)":
        ("evidence", "is not the one whose hash was kept", "2026-04-01 01:00"),
    "UPDATE exchange SET evidence = evidence + 1": ("evidence", "filed under another's name", "2026-04-01 01:00"),
    "UPDATE day_rollup SET import_register = 5 WHERE day = '2026-03-31'": ("rollups", "import_register 5 should be 100", None),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARM)
def test_every_harm_is_found(lived: Connection, harm: str) -> None:
    lived.execute(harm.encode())
    name, what, point = HARM[harm]
    found = [d for d in wrong(lived) if d.check == name and what in d.what]
    assert found
    if point is not None:
        assert as_datetime(at(point)) in {d.slot for d in found}
    if name in ("ledger", "versions", "rollups"):
        assert {d.meter for d in found} <= {"M1", "#77"}


def test_two_rows_of_one_key(lived: Connection) -> None:
    """An index that was damaged lets a row in twice."""
    assert wrong(lived, checks=("duplicates",)) == []
    with lived.transaction(force_rollback=True):  # undone: others use this store
        lived.execute("ALTER TABLE slot_read DROP CONSTRAINT slot_read_pkey")
        lived.execute("INSERT INTO slot_read SELECT * FROM slot_read WHERE ts = '2026-03-31 01:00+08'")
        (found,) = check.duplicates(lived, SHANGHAI, FIRST, LAST)
        assert (found.meter, found.slot) == ("M1", as_datetime(at("2026-03-31 01:00")))
        assert found.what == "2 rows of one key in slot_read"


def test_a_partition_that_nobody_listed(lived: Connection, server_kind: str) -> None:
    if server_kind != "embedded":
        pytest.skip("TimescaleDB keeps its own list")
    with lived.transaction(force_rollback=True):
        lived.execute(
            "CREATE TABLE stray PARTITION OF slot_read FOR VALUES FROM ('2040-01-01') TO ('2040-01-02')"
        )
        assert [d.what for d in check.duplicates(lived, SHANGHAI, FIRST, LAST)] == [
            "stray is not in the list of partitions"
        ]


def test_evidence_whose_bytes_were_thrown_away_is_no_disagreement(lived: Connection) -> None:
    later = at("2026-09-01 12:00")
    retention.run(lived, later)
    assert wrong(lived, checks=("evidence",)) == []
    assert wrong(lived) == []


def test_what_retention_took_is_not_missed(lived: Connection) -> None:
    retention.keep(lived, "readings", dt.timedelta(days=50), who="test", really=True)
    lived.commit()
    retention.run(lived, at("2026-07-01 12:00"))
    assert wrong(lived) == []


def test_a_sample_of_the_exchanges(lived: Connection) -> None:
    home = place(lived, "M2")
    for n in range(20):
        deliver(lived, CURVES, rows([home.meter], points(CURVE, DAY_, SHANGHAI)[n : n + 1], active_import=[n]), NOW,
                exchange=said(home.meter, home.terminal, text=bytes([n])))  # fmt: skip
    lived.execute("UPDATE exchange SET body = ''")
    assert len(wrong(lived, checks=("evidence",))) == 22
    assert 3 <= len(wrong(lived, checks=("evidence",), sample=4)) <= 5


def test_writers_in_the_meantime_are_no_disagreement(store: Connection, store_dsn: str) -> None:
    """Ledger and rows are read at different moments, and still of one instant."""
    meters = [place(store, f"M{k}").meter for k in range(3)]
    done = threading.Event()

    def write() -> None:
        with db.connect(store_dsn) as conn:
            n = 0
            while not done.is_set():
                slot = points(CURVE, FIRST + dt.timedelta(days=n // 96 % 5), SHANGHAI)[n % 96 : n % 96 + 1]
                deliver(
                    conn, CURVES, rows([meters[n % 3]], slot, active_import=[n]), NOW + np.timedelta64(5, "D")
                )
                n += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(8):
            assert wrong(store) == []
    finally:
        done.set()
        writer.join()
    assert wrong(store) == []


def test_it_needs_a_moment_of_its_own(store: Connection) -> None:
    store.execute("SELECT 1")
    with pytest.raises(StoreError, match="outside a transaction"), snapshot(store):
        pass
    store.rollback()
    assert check.whole(store, SHANGHAI) is None
    assert feed.latest(store)
