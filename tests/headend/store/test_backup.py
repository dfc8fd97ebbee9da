"""A backup comes back exactly, or not at all; and what comes back does nothing by itself."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headend.control.order_state import State
from headend.plans import CURVE, points
from headend.store import (
    audit,
    backup,
    check,
    cluster,
    db,
    feed,
    intake,
    manifest,
    migrate,
    orders,
    pgtools,
    rollups,
)
from headend.store.backup import BackupError
from headend.store.db import Connection
from headend.store.intake import Delivery
from headend.store.manifest import Sum, TornBackup
from headend.store.tables import CURVES, DAYS
from tests.support import kept
from tests.support.house import SHANGHAI, at, deliver, one, place, rows, table
from tests.support.seed import seeded

NOW = at("2026-03-12 09:00")


@pytest.fixture
def pg_bin(server_kind: str) -> Path | None:
    if server_kind != "timescaledb":
        return None
    from tests.conftest import _timescaledb  # noqa: PLC0415

    found = _timescaledb()
    return found if isinstance(found, Path) else None


@pytest.fixture
def utility(database: str) -> Iterator[Connection]:
    """A store in which everything has happened: orders in each state, readings, losses."""
    with seeded(database, areas=4, meters=6) as (conn, _):
        conn.commit()
        while True:
            with conn.transaction():
                more = rollups.step(conn, SHANGHAI, NOW).more
            conn.commit()
            if not more:
                break
        yield conn


@pytest.fixture
def beside(database: str) -> Iterator[str]:
    """The DSN of a database that does not exist yet."""
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"] + "_back"
    dsn = psycopg.conninfo.make_conninfo(database, dbname=name)
    yield dsn
    with psycopg.connect(
        psycopg.conninfo.make_conninfo(database, dbname="postgres"), autocommit=True
    ) as admin:
        for left in (name, name + "_restoring"):
            admin.execute(f"DROP DATABASE IF EXISTS {left} WITH (FORCE)".encode())


def databases(dsn: str) -> set[str]:
    with psycopg.connect(psycopg.conninfo.make_conninfo(dsn, dbname="postgres"), autocommit=True) as admin:
        return {row[0] for row in admin.execute("SELECT datname FROM pg_database")}


def test_everything_comes_back_and_nothing_acts(
    utility: Connection, beside: str, tmp_path: Path, pg_bin: Path | None
) -> None:
    before = {row[0]: row[1:] for row in table(utility, "SELECT order_id, state, action FROM orders")}
    cursor = feed.read(utility, None, 10_000).cursor
    epoch = one(utility, "SELECT epoch FROM cluster")
    utility.execute(
        "INSERT INTO lease SELECT min(terminal_id), 'collector-1', 7, clock_timestamp() + interval '1 hour' FROM terminal"
    )
    utility.commit()
    head = audit.head(utility)
    assert head is not None
    utility.commit()
    made = backup.back_up(utility, tmp_path / "b1", pg_bin)
    assert made.tables["slot_read"]
    assert sum(part.rows for part in made.tables["slot_read"].values()) == one(
        utility, "SELECT count(*) FROM slot_read"
    )
    assert (tmp_path / "b1").stat().st_mode & 0o777 == 0o700
    assert one(utility, "SELECT count(*) FROM backup_run WHERE ok AND kind = 'backup'") == 1
    done = backup.restore(tmp_path / "b1", beside, now=NOW, who="test", pg_bin=pg_bin)
    assert manifest.compare(made.tables, done.found) == []
    with db.connect(beside) as back:
        # readings and their ledger, to the last bit
        with back.transaction():
            found = manifest.contents(back)
        for name in (
            "slot_read",
            "register_read",
            "coverage",
            "gap_reason",
            "revision",
            "ledger_entry",
            "day_rollup",
            "installation",
        ):
            assert manifest.compare({name: made.tables[name]}, {name: found[name]}) == [], name
        back.commit()
        days = check.whole(back, SHANGHAI)
        back.commit()
        assert days is not None
        assert check.report(back, SHANGHAI, *days).wrong == ()
        # orders: what was not sent is expired, what was is found out about, nothing is approved
        after = {row[0]: row[1] for row in table(back, "SELECT order_id, state FROM orders")}
        fate = {
            State.WANTED: State.EXPIRED,
            State.APPROVED: State.EXPIRED,
            State.SENDING: State.UNKNOWN,
            State.ANSWERED: State.UNKNOWN,
        }
        assert {state for state, _ in before.values()} >= set(fate)
        assert after == {number: fate.get(State(state), state) for number, (state, _) in before.items()}
        assert done.orders["expired"] == sorted(
            n for n, (state, _) in before.items() if state in ("wanted", "approved")
        )
        terminals = [row[0] for row in table(back, "SELECT terminal_id FROM terminal")]
        assert all(order["state"] in ("unknown", "pending") for order in orders.work(back, terminals))
        assert all(row[0] == after[row[1]] for row in table(
            back, "SELECT DISTINCT ON (order_id) state, order_id FROM order_event JOIN orders o USING (order_id, state) ORDER BY order_id, seq DESC"
        ))  # fmt: skip
        # nobody holds a terminal, nobody is tripped, old cursors are stale, the feed can be read from its beginning
        assert table(back, "SELECT owner, until < clock_timestamp(), epoch > 7 FROM lease") == [
            ("restore", True, True)
        ]
        assert done.limits == {
            "trips_per_hour": "20", "trips_per_day": "100", "controls_per_hour": "50", "controls_per_day": "200",
        }  # fmt: skip
        assert one(back, "SELECT limits FROM cluster") == dict.fromkeys(done.limits, 0)
        assert one(back, "SELECT epoch FROM cluster") == epoch + 1
        # the audit goes on: what had been said is there, and that it was restored, by whom and of when
        told = audit.verify(back, head)
        assert (told.broken, told.head is not None and told.head.seq > head.seq) == (None, True)
        restored = [record["body"] for record in audit.records(back, limit=1000, kind="restore")]
        assert [(body["who"], body["taken"]) for body in restored] == [("test", made.taken)]
        with pytest.raises(feed.StaleCursor, match="since a restore"):
            feed.read(back, cursor, 10)
        back.rollback()
        assert feed.read(back, None, 10).changes
        back.commit()
        # and it goes on: readings come in, the feed tells of them after all that was before
        latest = feed.latest(back)
        meter = one(back, "SELECT min(meter_id) FROM installation WHERE valid_to = 'infinity'")
        deliver(
            back,
            CURVES,
            rows([meter], points(CURVE, dt.date(2026, 3, 13), SHANGHAI)[:1], active_import=[9_999_999]),
        )
        back.commit()
        assert table(back, "SELECT xid > '2' FROM feed ORDER BY xid DESC, seq DESC LIMIT 1") == [(True,)]
        assert latest
        place(back, "NEW")  # identity columns have not begun again
    assert not [name for name in databases(beside) if name.endswith("_restoring")]


def test_a_restore_overwrites_nothing(
    utility: Connection, database: str, beside: str, tmp_path: Path, pg_bin: Path | None
) -> None:
    backup.back_up(utility, tmp_path / "b", pg_bin)
    with pytest.raises(BackupError, match="is not empty: a restore overwrites nothing"):
        backup.restore(tmp_path / "b", database, now=NOW, who="test", pg_bin=pg_bin)
    with pytest.raises(BackupError, match="never overwrites another"):
        backup.back_up(utility, tmp_path / "b", pg_bin)
    (tmp_path / "c.part").mkdir()
    with pytest.raises(BackupError, match="another backup is being written, or one was broken off"):
        backup.back_up(utility, tmp_path / "c", pg_bin)
    with psycopg.connect(
        psycopg.conninfo.make_conninfo(database, dbname="postgres"), autocommit=True
    ) as admin:
        name = psycopg.conninfo.conninfo_to_dict(beside)["dbname"]
        admin.execute(f"CREATE DATABASE {name}_restoring".encode())
    with pytest.raises(BackupError, match="another restore runs, or one was broken off"):
        backup.restore(tmp_path / "b", beside, now=NOW, who="test", pg_bin=pg_bin)
    assert name not in databases(database)


def small(conn: Connection) -> int:
    """A store that is saved in a moment."""
    migrate.migrate(conn)
    home = place(conn, "M1")
    deliver(
        conn,
        CURVES,
        rows([home.meter] * 96, points(CURVE, dt.date(2026, 3, 11), SHANGHAI), active_import=range(96)),
    )
    deliver(conn, DAYS, rows([home.meter], [at("2026-03-01 00:00")], active_import=[1]))
    return home.meter


def test_a_torn_or_altered_backup_is_one_clear_error(
    database: str, beside: str, tmp_path: Path, pg_bin: Path | None
) -> None:
    with db.connect(database) as conn:
        small(conn)
        backup.back_up(conn, tmp_path / "good", pg_bin)
    whole = tmp_path / "good"

    def spoilt(name: str) -> Path:
        shutil.copytree(whole, tmp_path / name)
        return tmp_path / name

    def complains(folder: Path, what: str) -> None:
        with pytest.raises(TornBackup, match=what):
            backup.restore(folder, beside, now=NOW, who="test", pg_bin=pg_bin)

    flipped = spoilt("flipped")
    data = max((flipped / "dump").glob("*.dat*"), key=lambda p: p.stat().st_size)
    raw = bytearray(data.read_bytes())
    raw[len(raw) // 2] ^= 1
    data.write_bytes(raw)
    complains(flipped, "is not as it was written")
    short = spoilt("short")
    toc = short / "dump" / "toc.dat"
    os.truncate(toc, toc.stat().st_size - 1)
    complains(short, "toc.dat is not as it was written")
    missing = spoilt("missing")
    next((missing / "dump").glob("*.dat*")).unlink()
    complains(missing, "is missing")
    more = spoilt("more")
    (more / "dump" / "x").touch()
    complains(more, "does not belong to it")
    for name, change in {
        "cut": lambda text: text[:-20], "edited": lambda text: text.replace('"rows": 96', '"rows": 97'), "empty": lambda text: "",
        "list": lambda text: "[]", "other": lambda text: json.dumps({"format": 1, "sha256": "x"}),
    }.items():  # fmt: skip
        folder = spoilt(name)
        (folder / "manifest.json").write_text(change((folder / "manifest.json").read_text()))
        complains(folder, "cannot be read|has been changed|is no manifest")
    complains(tmp_path, "is no backup")
    assert not {name for name in databases(database) if "_back" in name}


def test_what_differs_is_located_and_not_kept(
    database: str, beside: str, tmp_path: Path, pg_bin: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.connect(database) as conn:
        small(conn)
        backup.back_up(conn, tmp_path / "b", pg_bin)
    load = backup._load

    def lossy(conn: Connection, *more: Any) -> None:
        load(conn, *more)
        conn.execute("UPDATE slot_read SET active_import = 8 WHERE active_import = 7")
        conn.execute("DELETE FROM register_read")

    monkeypatch.setattr(backup, "_load", lossy)
    with pytest.raises(
        BackupError,
        match=r"register_read 2026-02: 1 rows were saved, 0 are there; slot_read 2026-03: as many rows, and not the same",
    ):
        backup.restore(tmp_path / "b", beside, now=NOW, who="test", pg_bin=pg_bin)
    assert not {name for name in databases(database) if "_back" in name}


def test_older_and_newer_schemas(
    database: str, beside: str, tmp_path: Path, pg_bin: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.connect(database) as conn:
        small(conn)
        backup.back_up(conn, tmp_path / "b", pg_bin)
    made = manifest.read(tmp_path / "b")
    manifest.write(tmp_path / "b", replace(made, schema={**made.schema, 9999: "x"}))
    with pytest.raises(BackupError, match="made by a newer headend"):
        backup.restore(tmp_path / "b", beside, now=NOW, who="test", pg_bin=pg_bin)
    manifest.write(tmp_path / "b", replace(made, postgres="99.1"))
    with pytest.raises(BackupError, match="an older one cannot read it"):
        backup.restore(tmp_path / "b", beside, now=NOW, who="test", pg_bin=pg_bin)
    manifest.write(tmp_path / "b", replace(made, timescaledb="9.9.9"))
    with pytest.raises(BackupError, match=r"of TimescaleDB 9\.9\.9, the server to restore on has"):
        backup.restore(tmp_path / "b", beside, now=NOW, who="test", pg_bin=pg_bin)
    manifest.write(tmp_path / "b", made)
    asked = []
    monkeypatch.setattr(
        backup, "migrate", lambda conn: asked.append(one(conn, "SELECT epoch FROM cluster")) or [4711]
    )
    done = backup.restore(tmp_path / "b", beside, now=NOW, who="test", pg_bin=pg_bin)
    assert (done.migrations, asked) == (
        [4711],
        [1],
    )  # before it is made safe, which names what today's schema has


@pytest.mark.parametrize("version", kept.versions()[-2:])
def test_a_backup_of_an_older_schema_comes_back_and_acts_no_more(
    database: str, beside: str, tmp_path: Path, pg_bin: Path | None, version: int
) -> None:
    """Its schema has not all that is made safe."""
    (tmp_path / "schema").mkdir()
    kept.make(database, version, tmp_path / "schema")
    with db.connect(database) as conn:
        backup.back_up(conn, tmp_path / "b", pg_bin)
    done = backup.restore(tmp_path / "b", beside, now=NOW, who="test", pg_bin=pg_bin)
    assert done.migrations == [number for number in migrate.known() if number > version]
    with db.connect(beside) as back:
        assert one(back, "SELECT count(*) FROM orders WHERE state IN ('wanted', 'approved', 'sending')") == 0
        limits = cluster.limits(back)
        assert (limits.trips_per_day, limits.controls_per_hour, limits.controls_per_day) == (0, 0, 0)
        back.commit()
        assert audit.verify(back).broken is None


def test_writers_go_on_and_the_manifest_is_of_one_instant(
    database: str, tmp_path: Path, pg_bin: Path | None
) -> None:
    with db.connect(database) as conn:
        meter = small(conn)
        done = threading.Event()

        def write() -> None:
            with db.connect(database) as mine:
                n = 0
                while not done.is_set():
                    day = dt.date(2026, 3, 12) + dt.timedelta(days=n // 96)
                    given = rows(
                        [meter], points(CURVE, day, SHANGHAI)[n % 96 : n % 96 + 1], active_import=[n]
                    )
                    intake.save(mine, [Delivery(CURVES, given.time[0], given)], SHANGHAI, who="test")
                    mine.commit()
                    n += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            backup.back_up(conn, tmp_path / "b", pg_bin)
        finally:
            done.set()
            writer.join()
        rehearsed = backup.rehearse(tmp_path / "b", database, now=NOW, who="test", pg_bin=pg_bin)
        assert rehearsed.manifest.rows > 0
        assert set(rehearsed.seconds) == {"files", "load", "analyse", "compare", "make safe", "migrate"}
        backup.note_rehearsal(conn, tmp_path / "b", rehearsed)
        assert one(conn, "SELECT ok FROM backup_run WHERE kind = 'rehearsal'")
    assert not {name for name in databases(database) if "rehearsal" in name}


def test_a_backup_that_fails_leaves_nothing_but_a_note(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pg_bin: Path | None
) -> None:
    with db.connect(database) as conn:
        small(conn)
        monkeypatch.setattr(backup, "COMPRESSION", "nonsense")
        with pytest.raises(pgtools.ToolError, match=r"pg_dump failed: .*nonsense"):
            backup.back_up(conn, tmp_path / "b", pg_bin)
        assert list(tmp_path.iterdir()) == []
        assert table(conn, "SELECT ok, detail LIKE '%%nonsense%%' FROM backup_run") == [(False, True)]


def test_tools_of_another_version(tmp_path: Path) -> None:
    with pytest.raises(
        pgtools.ToolError,
        match=r"the server is PostgreSQL 12, and there is no pg_dump of that version .*HEADEND_PG_BIN",
    ):
        pgtools.find(12, tmp_path)


def test_hashes_hang_on_nothing_but_the_rows(store: Connection) -> None:
    home = place(store, "M1")
    deliver(
        store,
        CURVES,
        rows(
            [home.meter] * 3,
            points(CURVE, dt.date(2026, 3, 31), SHANGHAI)[[0, 50, 95]],
            voltage_a=[230.1, 229.9, 231.2],
        ),
    )
    with store.transaction():
        first = manifest.contents(store)["slot_read"]
    assert {month: part.rows for month, part in first.items()} == {"2026-03": 3}
    store.execute("SET timezone = 'Asia/Tokyo'; SET extra_float_digits = -5; SET datestyle = 'German'")
    store.commit()
    with store.transaction():
        assert manifest.contents(store)["slot_read"] == first
    store.execute(
        "UPDATE slot_read SET voltage_a = voltage_a + 0.00002 WHERE ts = (SELECT max(ts) FROM slot_read)"
    )
    with store.transaction():
        (found,) = manifest.compare(
            {"slot_read": first}, {"slot_read": manifest.contents(store)["slot_read"]}
        )
    assert (found.month, found.saved.rows, found.found.rows) == ("2026-03", 3, 3)
    assert manifest.compare({"a": {"": Sum(0, "0")}}, {}) == []
