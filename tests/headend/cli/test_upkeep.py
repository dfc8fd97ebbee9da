"""check, retention, backup, restore, rehearse and what the doctor says of them."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headend.collector.spool import Spool
from headend.store import db, health
from headend.store.migrate import Server
from tests.support.app import settle
from tests.support.cli import Shell, environment
from tests.support.house import one, table
from tests.support.seed import seeded
from tests.support.spooled import items

OWN = "retention and roll-ups by our own jobs"
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def shell(database: str, server_kind: str, tmp_path: Path) -> Shell:
    """A shell on a store in which much has happened."""
    more = {}
    if server_kind == "timescaledb":
        found = subprocess.run(
            [REPOSITORY / "scripts" / "timescaledb", "prepare"], capture_output=True, text=True, check=True
        )
        more["HEADEND_PG_BIN"] = found.stdout.strip()
    with seeded(database, areas=2, meters=4):
        pass
    clock = f"2026-03-12T09:00:00+08:00@{time.time()!r}x1.0"
    return Shell(
        environment(HEADEND_HOME=str(tmp_path / "home"), HEADEND_DSN=database, HEADEND_CLOCK=clock, **more)
    )


def finding(shell: Shell, what: str) -> tuple[str, str]:
    row = next(row for row in shell("doctor", "--json").json() if row["what"] == what)
    return row["state"], row["detail"]


def test_check_finds_what_is_wrong_and_says_where(shell: Shell, database: str) -> None:
    assert shell("jobs", "once", "rollup").code == 0
    said = shell("check")
    assert (said.code, said.err) == (0, "")
    assert "nothing disagrees from 2026-03-" in said.out
    with db.connect(database) as conn:
        asset, slot = table(
            conn, "SELECT asset, ts FROM slot_read JOIN meter USING (meter_id) ORDER BY ts, meter_id LIMIT 1"
        )[0]
        conn.execute(
            "DELETE FROM slot_read WHERE ts = %s AND meter_id = (SELECT meter_id FROM meter WHERE asset = %s)",
            (slot, asset),
        )
        conn.commit()
    said = shell("check", "ledger")
    assert said.code == 1
    assert asset in said.out
    assert "there is no" in " ".join(said.out.split())
    told = shell("check", "all", "--json").json()
    assert {d["check"] for d in told["wrong"]} == {"ledger", "rollups"}
    (point,) = [d for d in told["wrong"] if d["check"] == "ledger"]
    assert (point["meter"], point["slot"]) == (asset, slot.isoformat())
    assert shell("check", "ledger", "--from", "2026-03-11", "--to", "2026-03-11").code == 0
    assert (
        "--to 2026-03-01 is before --from"
        in shell("check", "--from", "2026-03-11", "--to", "2026-03-01").line
    )


def test_retention_is_shown_set_and_run(shell: Shell, database: str) -> None:
    kinds = {row["kind"]: row for row in shell("retention", "show", "--json").json()}
    assert kinds["readings"]["days"] >= 3 * 365
    said = shell("retention", "set", "readings", "1")
    assert (said.code, "--really if it is meant" in said.line) == (1, True)
    assert shell("retention", "set", "readings", "1", "--really").code == 0
    assert shell("retention", "set", "exchanges", "30").out == "exchanges is kept for 30 days\n"
    assert "never thrown away" in " ".join(shell("retention", "show").out.split())
    with db.connect(database) as conn:
        before = one(conn, "SELECT count(*) FROM slot_read")
        dry = {row["kind"]: row for row in shell("retention", "run", "--dry-run", "--json").json()}
        assert one(conn, "SELECT count(*) FROM slot_read") == before
        wet = {row["kind"]: row for row in shell("retention", "run", "--json").json()}
        assert wet["readings"]["dropped"] == dry["readings"]["dropped"]
    assert shell("retention", "run").code == 0


def test_a_backup_is_rehearsed_restored_and_the_doctor_knows(
    shell: Shell, database: str, server_kind: str, tmp_path: Path
) -> None:
    assert finding(shell, "backup") == ("note", "never; `headend backup FOLDER` makes one")
    folder = tmp_path / "saved"
    said = shell("backup", str(folder))
    assert (said.code, said.err) == (0, "")
    assert "proves that it can be brought back" in said.out
    assert shell("backup", str(folder)).line.endswith("a backup never overwrites another; name a new folder")
    assert finding(shell, "backup") == ("ok", f"0 minutes old, {folder}")
    said = shell("rehearse", str(folder))  # on an embedded server of its own
    assert (said.code, said.err) == (0, "")
    assert "can be brought back" in said.out
    assert [path.name for path in (tmp_path / "home").iterdir() if path.name.startswith("rehearsal")] == []
    told = shell("rehearse", str(folder), "--on", database, "--json").json()
    assert told["rows"] > 1000
    assert finding(shell, "rehearsal")[0] == "ok"
    beside = psycopg.conninfo.make_conninfo(
        database, dbname=psycopg.conninfo.conninfo_to_dict(database)["dbname"] + "_cli"
    )
    try:
        said = shell("restore", str(folder), "--into", beside)
        assert (said.code, said.err) == (0, "")
        before = "trips_per_hour=20 trips_per_day=100 controls_per_hour=50 controls_per_day=200"
        assert f"`headend relay limits {before}`" in said.out
        assert shell("check", HEADEND_DSN=beside).code == 0
        assert "cap" in shell("relay", "check", table_asset(beside), HEADEND_DSN=beside).out
    finally:
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute(
                f"DROP DATABASE IF EXISTS {psycopg.conninfo.conninfo_to_dict(beside)['dbname']} WITH (FORCE)".encode()
            )
    with tempfile.TemporaryDirectory(prefix="headend-test-", dir="/tmp") as top:
        Path(top).chmod(0o755)  # else root's server is placed under /var/lib/headend, and stays there
        new = f"{top}/new"
        said = shell("restore", str(folder), "--home", new)
        if server_kind == "timescaledb":
            assert "name a server with --into" in said.line
        else:
            assert (said.code, said.err) == (0, "")
            assert shell("--home", new, "check", HEADEND_DSN="").code == 0
            assert "is not empty" in shell("restore", str(folder), "--home", new).line
    (folder / "manifest.json").write_text("{")
    assert "cannot be read" in shell("rehearse", str(folder)).line
    assert finding(shell, "rehearsal")[0] == "wrong"
    assert "say where to" in shell("restore", str(folder)).line
    assert "is no backup" in shell("restore", str(tmp_path), "--into", beside).line


def table_asset(dsn: str) -> str:
    with db.connect(dsn) as conn:
        found = "FROM meter JOIN installation USING (meter_id) JOIN account USING (point_id) WHERE prepaid ORDER BY 1 LIMIT 1"
        return str(one(conn, f"SELECT asset {found}"))


def test_the_doctor_on_upkeep(shell: Shell, database: str, server_kind: str) -> None:
    assert finding(shell, "roll-ups")[0] == "note"
    with db.connect(database) as conn:
        settle(conn)
    assert shell("jobs", "once", "rollup").code == 0
    assert shell("jobs", "once", "retention").code == 0
    told = {row["what"]: row for row in shell("doctor", "--json").json()}
    assert {"ok", "note"} >= {row["state"] for row in told.values()}
    what = {
        "embedded": "without TimescaleDB: native partitions",
        "timescaledb": f"Apache edition: hypertables; {OWN}; no compression",
    }
    assert what[server_kind] in told["database"]["detail"]
    assert "of slot_read" in told["partitions"]["detail"]
    assert "a day" in told["disk"]["detail"]
    assert told["roll-ups"]["detail"] == "rollup: 0 changes wait"
    with db.connect(database) as conn:
        conn.execute("UPDATE job_cursor SET cursor = '1.3.0.0'")
        conn.execute("UPDATE feed SET at = at - interval '5 hours'")
        conn.execute("INSERT INTO retention VALUES ('readings', '1 day', 'test')")
        conn.execute(
            "INSERT INTO backup_run (kind, at, folder, seconds, bytes, ok, detail) "
            "VALUES ('backup', clock_timestamp() - interval '3 days', '/b', 1, 1, true, '')"
        )
        conn.commit()
    assert finding(shell, "roll-ups")[0] == "wrong"
    state, detail = finding(shell, "backup")
    assert (state, detail.startswith("3 days old, /b; ")) == ("wrong", True)
    assert shell("doctor").code == 1
    late = f"2026-08-12T09:00:00+08:00@{time.time()!r}x1.0"
    row = next(r for r in shell("doctor", "--json", HEADEND_CLOCK=late).json() if r["what"] == "retention")
    assert (row["state"], "readings: " in row["detail"]) == ("wrong", True)


@pytest.mark.parametrize(
    ("found", "hypertables", "told"),
    [
        (Server("17.5", None, None), False, "without TimescaleDB: native partitions; retention and roll-ups by our own jobs; no compression"),
        (Server("17.5", "2.19.3", "apache"), True, f"TimescaleDB 2.19.3, Apache edition: hypertables; {OWN}; no compression"),
        (Server("17.5", "2.23.0", "timescale"), True,
         "TimescaleDB 2.23.0, licence timescale: hypertables, compression, continuous aggregates; retention and roll-ups by our own jobs"),
        (Server("17.5", "2.19.3", "apache"), False,
         f"without TimescaleDB (TimescaleDB 2.19.3 was installed after the tables were made): native partitions; {OWN}; no compression"),
    ],
)  # fmt: skip
def test_what_follows_from_the_server(found: Any, hypertables: bool, told: str) -> None:
    assert health.consequences(found, hypertables=hypertables) == told


def test_the_doctor_tells_of_readings_that_wait_on_the_disk(bare: Shell, tmp_path: Path) -> None:
    """Also, and above all, when there is no database to ask."""
    place = tmp_path / "home" / "spool"

    def told() -> tuple[str, str]:
        said = bare("doctor", "--json", HEADEND_SPOOL_MIB="16")
        assert said.code == 1
        found = {row["what"]: (row["state"], row["detail"]) for row in said.json()}
        assert found["database"][0] == "wrong"
        return found["spool"]

    assert told() == ("ok", f"empty: no reading waits in {place}")
    gone = Spool(place, "gone:1", 2**24)
    gone.append(items(1, 2))
    state, detail = told()
    assert (state, "gone-1: 0.0 MiB" in detail, "is gone" in detail) == ("note", True, False)
    gone.close()
    state, detail = told()
    assert state == "note"
    assert "its collector is gone: the next `headend collect` here writes it" in detail
    more = place / "gone-1" / "0000000002.seg"
    more.touch()
    os.truncate(more, 14 << 20)  # a file with a hole: it is as large as it says
    state, detail = told()
    assert (state, "87 % of HEADEND_SPOOL_MIB" in detail) == ("wrong", True)
    more.unlink()
    (place / "gone-1-0000000001.bad").touch()
    state, detail = told()
    assert (state, "gone-1-0000000001.bad could not be read" in detail) == ("wrong", True)
