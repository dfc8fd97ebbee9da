"""What the licence `timescale` brings: compressed readings that can still be added to, and hours aggregated ahead.

On a server compiled to WebAssembly (scripts/timescale-licensed). It has no background workers: the policies' jobs are run by hand.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import psycopg
import pytest

from headend.store import migrate
from headend.store.db import Connection
from headend.store.migrate import MigrationError, Server
from headend.store.tables import CURVES, PHASES, SLOTS
from protocols.localtime import day_slots
from protocols.reading import Reads
from tests.support.house import SHANGHAI, at, deliver, one, place, rows, table, write

MONDAY = dt.date(2026, 2, 2)
DAY = dt.timedelta(days=1)
CELLS = "SELECT meter_id, ts, active_import, voltage_a::numeric, current_a::numeric, evidence FROM slot_read ORDER BY meter_id, ts"
PLAIN = """
    SELECT meter_id, date_bin('1 hour', ts - interval '1 microsecond', timestamptz '2001-01-01 00:00:00+00') AS hour, count(*) AS n,
           min(voltage_a), round(avg(voltage_a)::numeric, 9), max(voltage_a), round(avg(active_power)::numeric, 9), max(active_power)
    FROM slot_read GROUP BY 1, 2 ORDER BY 1, 2"""
HOURS = """
    SELECT meter_id, hour, n, voltage_a_min, round(voltage_a_avg::numeric, 9), voltage_a_max, round(active_power_avg::numeric, 9), active_power_max
    FROM slot_hour ORDER BY 1, 2"""


def day(of: dt.date, meters: list[int], slots: slice = slice(None), **columns: Any) -> Reads:
    """Rows of those meters in that local day; a column's value is one for all, or a function of the slot's number."""
    times = day_slots(of, SHANGHAI)[slots]
    number = np.arange(len(times))
    filled = {
        code: np.tile(made(number) if callable(made) else np.full(len(times), made), len(meters)).tolist()
        for code, made in columns.items()
    }
    return rows(np.repeat(meters, len(times)).tolist(), np.tile(times, len(meters)), **filled)


def call(conn: Connection, sql: str) -> None:
    """What must not run in a transaction."""
    conn.commit()
    conn.autocommit = True
    conn.execute(sql.encode())
    conn.autocommit = False


def run_jobs(conn: Connection, name: str) -> int:
    """Run the policies of that kind as the server would; how many there are."""
    jobs = [
        n
        for (n,) in table(conn, "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = %s", name)
    ]
    for job in jobs:
        call(conn, f"CALL run_job({job})")
    return len(jobs)


def compressed(conn: Connection, name: str = "slot_read") -> list[bool]:
    """Of each chunk in order of time: is it?"""
    found = table(
        conn,
        "SELECT is_compressed FROM timescaledb_information.chunks WHERE hypertable_name = %s ORDER BY range_start",
        name,
    )
    return [is_compressed for (is_compressed,) in found]


def loose(conn: Connection) -> int:
    """Rows of slot_read that stand outside compressed batches."""
    conn.execute("SET timescaledb.enable_transparent_decompression = off")
    pieces = [name for (name,) in table(conn, "SELECT c::text FROM show_chunks('slot_read') c")]
    found = sum(one(conn, f"SELECT count(*) FROM ONLY {name}") for name in pieces)
    conn.execute("RESET timescaledb.enable_transparent_decompression")
    conn.commit()
    return found


def house(conn: Connection, meters: int) -> list[int]:
    return [place(conn, f"M{n}", phases=3).meter for n in range(meters)]


def test_the_schema_applies_and_what_the_licence_offers_is_on(licensed: Connection) -> None:
    found = migrate.detect(licensed)
    assert found.licence == "timescale"
    assert found.licensed
    licensed.commit()
    jobs = "SELECT proc_name, hypertable_name FROM timescaledb_information.jobs WHERE job_id >= 1000 ORDER BY job_id"
    before = table(licensed, jobs)
    assert sorted(name for name, _ in before) == [
        "policy_compression", "policy_compression", "policy_refresh_continuous_aggregate",
    ]  # fmt: skip
    assert migrate.migrate(licensed) == []  # again, as at every start
    assert table(licensed, jobs) == before
    on = (
        "SELECT hypertable_name FROM timescaledb_information.hypertables WHERE compression_enabled ORDER BY 1"
    )
    assert table(licensed, on) == [("slot_phase_read",), ("slot_read",)]


def test_what_comes_late_goes_into_compressed_chunks(licensed: Connection) -> None:
    """New rows, repeats, completions and corrections end as they would in an open table."""
    meters = house(licensed, 4)
    for k in (0, 1, 3):
        deliver(
            licensed,
            CURVES,
            day(MONDAY + k * DAY, meters, active_import=5, voltage_a=230.1, active_power_a=0.2),
        )
    assert run_jobs(licensed, "policy_compression") == 2
    assert compressed(licensed) == [True, True]  # the week's chunks begin on UTC's Thursdays
    assert compressed(licensed, "slot_phase_read") == [True, True]
    before = table(licensed, CELLS)

    assert deliver(licensed, CURVES, day(MONDAY, meters, active_import=5)).new == 0
    # the same without the ledger's word that it is there: the COPY meets the compressed row
    assert write(licensed, SLOTS, day(MONDAY, meters[:2], active_import=5)).repeated == 2 * 96
    assert table(licensed, CELLS) == before
    assert loose(licensed) == 0

    late = deliver(licensed, CURVES, day(MONDAY + 2 * DAY, meters, active_import=6, voltage_a=229.9))
    assert (late.new, late.repeated, late.revised) == (4 * 96, 0, 0)
    filled = deliver(licensed, CURVES, day(MONDAY, meters[:2], slice(0, 8), current_a=1.5))
    assert (filled.new, filled.repeated, filled.revised) == (0, 16, 0)
    phases = day(MONDAY, meters[:1], active_power_a=0.2, reactive_power_a=0.125)
    assert write(licensed, PHASES, phases).repeated == 96
    other = deliver(
        licensed, CURVES, day(MONDAY + DAY, meters[1:2], slice(0, 2), active_import=7, voltage_a=230.1)
    )
    assert (other.new, other.repeated, other.revised) == (0, 2, 2)

    got = table(
        licensed,
        "SELECT meter_id, ts, active_import, voltage_a::numeric, current_a::numeric FROM slot_read ORDER BY 1, 2",
    )
    filled_until = at("2026-02-02 02:00").astype(dt.datetime).replace(tzinfo=dt.UTC)
    expected = []
    for meter in meters:
        for k in range(4):
            for when in day_slots(MONDAY + k * DAY, SHANGHAI).astype("datetime64[us]").tolist():
                aware = when.replace(tzinfo=dt.UTC)
                current = 1.5 if meter in meters[:2] and aware <= filled_until else None
                expected.append((meter, aware, 6 if k == 2 else 5, 229.9 if k == 2 else 230.1, current))
    assert [(m, t, a, float(v), None if c is None else float(c)) for m, t, a, v, c in got] == expected
    assert (
        table(licensed, "SELECT meter_id, quantity, version, value FROM revision")
        == [(meters[1], "active_import", 2, 7)] * 2
    )
    assert one(licensed, "SELECT count(*) FROM slot_phase_read WHERE reactive_power_a = 0.125") == 96
    again = run_jobs(licensed, "policy_compression")  # and it is put together again
    assert again == 2
    assert [row[:3] for row in table(licensed, CELLS)] == [row[:3] for row in got]
    assert loose(licensed) == 0


def test_a_completion_unpacks_the_meters_that_it_touches_and_no_others(licensed: Connection) -> None:
    meters = house(licensed, 40)
    write(licensed, SLOTS, day(MONDAY, meters, active_import=5))
    run_jobs(licensed, "policy_compression")
    assert loose(licensed) == 0
    write(licensed, SLOTS, day(MONDAY, [meters[3], meters[30]], slice(4, 5), voltage_a=230.0))
    assert 0 < loose(licensed) <= 2 * 96


def test_a_batch_may_unpack_more_than_timescaledb_would_like(licensed: Connection) -> None:
    """Its own limit is 100,000 rows a statement: a batch of 170 meters that lacked one quantity would be refused for ever."""
    meters = list(range(1, 171))
    for k in range(7):
        write(licensed, SLOTS, day(dt.date(2026, 1, 30) + k * DAY, meters, active_import=5))
    run_jobs(licensed, "policy_compression")
    assert compressed(licensed).count(True) == 2
    lacking = day(MONDAY, meters, slice(20, 21), voltage_a=230.0)
    licensed.execute("SET timescaledb.max_tuples_decompressed_per_dml_transaction TO 100000")
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match="tuple decompression limit exceeded"):
        write(licensed, SLOTS, lacking)
    licensed.rollback()
    assert write(licensed, SLOTS, lacking).repeated == 170
    assert loose(licensed) > 100_000
    assert one(licensed, "SELECT count(voltage_a) FROM slot_read") == 170


def test_hours_are_those_of_a_plain_group_by(licensed: Connection) -> None:
    meters = house(licensed, 3)
    shape: dict[str, Any] = {
        "active_import": lambda k: k, "voltage_a": lambda k: 219.0 + k % 7, "active_power": lambda k: 0.1 * (k % 11),
    }  # fmt: skip
    for k in range(3):
        deliver(licensed, CURVES, day(MONDAY + k * DAY, meters, **shape))
    assert run_jobs(licensed, "policy_refresh_continuous_aggregate") == 1
    first = table(licensed, HOURS)
    assert first == table(licensed, PLAIN)
    assert len(first) == 3 * 3 * 24
    # the slot that ends at 11:00 lies in the hour that begins at 10:00
    hour = at("2026-02-02 10:00").astype(dt.datetime).replace(tzinfo=dt.UTC)
    assert [row[2] for row in first if row[0] == meters[0] and row[1] == hour] == [4]

    run_jobs(licensed, "policy_compression")
    deliver(licensed, CURVES, day(MONDAY + 5 * DAY, meters, **shape))
    deliver(licensed, CURVES, day(MONDAY, meters, voltage_b=231.0))
    odd = rows([meters[0]], [at("2026-02-02 10:07")], active_import=[1], voltage_a=[199.0])
    deliver(licensed, CURVES, odd)
    run_jobs(licensed, "policy_refresh_continuous_aggregate")
    assert table(licensed, HOURS) == table(licensed, PLAIN)
    assert (
        one(
            licensed, "SELECT voltage_a_min FROM slot_hour WHERE meter_id = %s AND hour = %s", meters[0], hour
        )
        == 199.0
    )
    assert one(licensed, "SELECT count(*) FROM slot_hour WHERE voltage_b_avg = 231") == 3 * 24


def test_old_chunks_are_dropped_compressed_or_not(licensed: Connection) -> None:
    meters = house(licensed, 2)
    for k in range(0, 28, 7):
        deliver(licensed, CURVES, day(MONDAY + k * DAY, meters, active_import=5, voltage_a=230.0))
    run_jobs(licensed, "policy_compression")
    run_jobs(licensed, "policy_refresh_continuous_aggregate")
    assert all(compressed(licensed))
    table(licensed, "SELECT drop_chunks('slot_read', timestamptz '2026-02-20 00:00Z')")
    left = table(licensed, "SELECT DISTINCT ts::date FROM slot_read ORDER BY 1")
    assert left[-1][0] == dt.date(2026, 2, 23)
    assert one(licensed, "SELECT count(*) FROM slot_read") == 2 * 96
    run_jobs(licensed, "policy_refresh_continuous_aggregate")
    assert table(licensed, HOURS) == table(licensed, PLAIN)
    # and what comes for the time that was dropped makes a chunk anew
    assert deliver(licensed, CURVES, day(MONDAY, meters, active_import=5)).repeated == 0


def test_a_licence_that_was_lost_is_one_clear_error(
    licensed: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under 'apache' a compressed row is not refused, it is not there: nothing may start on such a server."""
    meters = house(licensed, 2)
    deliver(licensed, CURVES, day(MONDAY, meters, active_import=5, voltage_a=230.0))
    run_jobs(licensed, "policy_compression")
    run_jobs(licensed, "policy_refresh_continuous_aggregate")
    before, hours = table(licensed, CELLS), table(licensed, HOURS)
    real = migrate.detect(licensed)
    licensed.commit()
    monkeypatch.setattr(migrate, "detect", lambda conn: Server(real.postgres, real.timescaledb, "apache"))
    with pytest.raises(
        MigrationError, match=r"compressed.*'apache': set timescaledb\.license = 'timescale'.*leave_licence"
    ):
        migrate.migrate(licensed)

    call(licensed, "CALL leave_licence()")
    assert not any(compressed(licensed))
    assert table(licensed, CELLS) == before
    assert table(licensed, HOURS) == hours
    assert table(licensed, "SELECT job_id FROM timescaledb_information.jobs WHERE job_id >= 1000") == []
    assert migrate.migrate(licensed) == []  # nothing is in the way of 'apache' any more
    # and with the licence it all begins anew
    monkeypatch.undo()
    migrate.migrate(licensed)
    assert "slot_hour_kept" in one(licensed, "SELECT pg_get_viewdef('slot_hour'::regclass)")
    assert run_jobs(licensed, "policy_compression") == 2
    assert any(compressed(licensed))


def test_a_later_schema_can_still_add_columns(licensed: Connection) -> None:
    deliver(licensed, CURVES, day(MONDAY, house(licensed, 1), active_import=5))
    run_jobs(licensed, "policy_compression")
    licensed.execute("ALTER TABLE slot_read ADD COLUMN added real")
    licensed.execute("UPDATE slot_read SET added = 1 WHERE meter_id = 1 AND ts < '2026-02-02 00:00Z'")
    found = licensed.execute("SELECT count(*) AS n, count(added) AS added FROM slot_read").fetchone()
    assert found is not None
    assert found["n"] == 96
    assert found["added"] == 31
    licensed.rollback()
