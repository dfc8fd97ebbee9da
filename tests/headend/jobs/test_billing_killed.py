"""A billing run that breaks off goes on where it was, and leaves what an uninterrupted one leaves, to the byte and to the row.

A process is stopped exactly at a tile by a pipe that stands where it looks for the finished one, and killed there.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headend.jobs import billing
from headend.jobs.billing_files import FileSet
from headend.store import bills, db, migrate
from headend.store.db import Connection
from headend.store.embedded import Embedded
from tests.support.cli import Said, Shell, environment
from tests.support.house import place, table
from tests.support.household import Home, fen, home, run

DAY = dt.date(2026, 3, 9)
STEM = f"billing-{DAY}"
ENDS = ("2026-03-09", "2026-03-10")
#: accounts, and as many tiles; nobody has read the meter of the fourth
ACCOUNTS, SILENT = 6, 3
#: until a process has got somewhere on a busy machine
PATIENCE = 60.0


@pytest.fixture
def server_kind() -> str:
    return "embedded"


def settle(conn: Connection) -> list[Home]:
    """Six accounts, one of them behind a CT."""
    homes = []
    for k in range(ACCOUNTS):
        here = place(conn, str(k + 1), customer=f"C{k + 1}", ct=30 if k == 1 else 1)
        homes.append(home(here.meter, DAY, 2))
        if k != SILENT:
            homes[k].freeze(conn, *ENDS)
    return homes


class Office:
    """Whoever bills: the command, its folder, and what it has left there and in the store."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.folder, self.export = folder, folder / "home" / "export"
        self.work = self.export / f".{STEM}"
        clock = f"2026-03-11T10:00:00+08:00@{time.time()!r}x1.0"
        self.shell = Shell(
            environment(HEADEND_HOME=str(folder / "home"), HEADEND_DSN=dsn, HEADEND_CLOCK=clock)
        )
        self.dsn = dsn

    def bill(self, *more: str) -> Said:
        return self.shell("billing", "run", "--date", str(DAY), "--tile", "1", "--json", *more)

    def gate(self, tile: int) -> Path:
        """Whoever comes to this tile waits."""
        self.work.mkdir(parents=True, exist_ok=True)
        os.mkfifo(self.work / str(tile))
        return self.work / str(tile)

    def start(self) -> subprocess.Popen[bytes]:
        return self.shell.start(self.folder / "log", "billing", "run", "--date", str(DAY), "--tile", "1")

    def files(self) -> dict[str, bytes]:
        """The set that a reader finds, each file as its manifest says."""
        manifest = self.export / f"{STEM}.manifest.json"
        found = {manifest.name: manifest.read_bytes()}
        for told in json.loads(found[manifest.name])["files"]:
            found[told["name"]] = (self.export / told["name"]).read_bytes()
            assert hashlib.sha256(found[told["name"]]).hexdigest() == told["sha256"]
        return found

    def rows(self, conn: Connection) -> list[tuple[Any, ...]]:
        return table(
            conn,
            "SELECT number, first_day, last_day, revision, amount_fen, lines::text, inputs_hash FROM bill JOIN account USING (account_id) "
            "JOIN customer USING (customer_id) ORDER BY 1, 2, 3, 4",
        )

    def afresh(self, conn: Connection) -> tuple[dict[str, bytes], list[tuple[Any, ...]]]:
        """What a run leaves that nothing interrupts, where nothing was billed before. Leaves nothing itself."""
        self._forget(conn)
        assert self.bill().code == 0
        found = self.files(), self.rows(conn)
        shutil.rmtree(self.export)
        self._forget(conn)
        return found

    def _forget(self, conn: Connection) -> None:
        conn.execute("TRUNCATE bill, billing_batch")
        conn.commit()


@pytest.fixture
def homes(store: Connection) -> list[Home]:
    return settle(store)


@pytest.fixture
def office(store_dsn: str, homes: list[Home], tmp_path: Path) -> Office:
    return Office(store_dsn, tmp_path)


def until(true: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < end, "it does not come so far"
        time.sleep(0.01)


def waits_at(gate: Path) -> bool:
    """A pipe can be opened for writing without waiting when somebody reads."""
    try:
        os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def kill_at(office: Office, tile: int) -> None:
    # opening the pipe to look lets the reader go on: so it is killed by the same look
    gate = office.gate(tile)
    process = office.start()
    until(lambda: waits_at_and(gate, lambda: os.kill(process.pid, signal.SIGSTOP)), process)
    kill(process)
    gate.unlink()


def waits_at_and(gate: Path, act: Callable[[], None]) -> bool:
    """The same, and `act` before the reader learns of it."""
    try:
        handle = os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    act()
    os.close(handle)
    return True


@pytest.mark.parametrize("tile", [0, 2, ACCOUNTS - 1])
def test_killed_at_a_tile(office: Office, store: Connection, homes: list[Home], tile: int) -> None:
    wanted = office.afresh(store)
    kill_at(office, tile)
    assert not (office.export / f"{STEM}.manifest.json").exists()
    assert office.rows(store) == []
    if tile:  # and the kill came in the middle of writing one
        (office.work / str(tile)).write_bytes((office.work / str(tile - 1)).read_bytes()[:-7])
    said = office.bill().json()
    assert (said["tiles"], said["tiles_kept"]) == (ACCOUNTS, tile)
    assert (office.files(), office.rows(store)) == wanted
    assert not office.work.exists()
    assert [(row[0], row[3], row[4]) for row in wanted[1]] == [
        (f"C{k + 1}", 1, fen(each.cost(f"{ENDS[0]} 00:00", f"{ENDS[1]} 00:00", 30 if k == 1 else 1)))
        for k, each in enumerate(homes)
        if k != SILENT
    ]


def test_killed_again_and_again(office: Office, store: Connection) -> None:
    wanted = office.afresh(store)
    for tile in range(ACCOUNTS):
        kill_at(office, tile)
    assert office.bill().json()["tiles_kept"] == ACCOUNTS - 1
    assert (office.files(), office.rows(store)) == wanted


def test_readings_that_came_meanwhile_are_in_it(office: Office, store: Connection, homes: list[Home]) -> None:
    kill_at(office, 5)
    homes[0].freeze(store, ENDS[1], add=10_000)
    homes[SILENT].freeze(store, *ENDS)
    assert office.bill().json()["tiles_kept"] == 3
    found = office.files(), office.rows(store)
    assert found == office.afresh(store)
    assert len(found[1]) == ACCOUNTS


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE installation SET ct = 40 WHERE meter_id = (SELECT meter_id FROM meter WHERE asset = '2')",
        "UPDATE account SET tariff = 'jiangsu-residential-steps' WHERE customer_id = (SELECT customer_id FROM customer WHERE number = 'C2')",
        "UPDATE meter SET asset = '2x' WHERE asset = '2'",
        "UPDATE customer SET number = 'C2x' WHERE number = 'C2'",
    ],
    ids=["multiplier", "tariff", "meter", "customer"],
)
def test_what_the_archive_says_meanwhile_is_in_it(office: Office, store: Connection, change: str) -> None:
    kill_at(office, 4)
    assert store.execute(change.encode()).rowcount == 1
    store.commit()
    assert office.bill().json()["tiles_kept"] == 3
    assert (office.files(), office.rows(store)) == office.afresh(store)


def test_killed_when_all_tiles_are_there(office: Office, store: Connection, second: Connection) -> None:
    wanted = office.afresh(store)
    second.execute(
        "LOCK TABLE billing_batch IN SHARE MODE"
    )  # it wants to write there when the tiles are done
    process = office.start()
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'billing_batch'::regclass AND NOT granted"
    until(lambda: table(store, waiting) == [(1,)], process)
    kill(process)
    second.rollback()
    assert office.rows(store) == []
    assert office.bill().json()["tiles_kept"] == ACCOUNTS
    assert (office.files(), office.rows(store)) == wanted


class Died(BaseException):
    """kill -9 of what runs in this process."""


def test_killed_between_the_bills_and_the_manifest(
    office: Office, store: Connection, homes: list[Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Died

    assert office.bill().code == 0
    before = office.files()
    homes[0].freeze(store, ENDS[1], add=10_000)
    with monkeypatch.context() as patch:
        patch.setattr(FileSet, "publish", die)
        with pytest.raises(Died):
            billing.run_span(run(store, "2026-03-11 10:00"), DAY, DAY, office.export, tile=1)
    assert len(office.rows(store)) == ACCOUNTS  # a further revision of the first
    assert office.files() == before
    said = office.bill().json()
    assert (said["bills_new_or_changed"], said["tiles_kept"], said["corrections"]) == (0, ACCOUNTS, 1)
    after = office.files()
    assert office.bill().code == 0
    assert office.files() == after


def test_a_reader_sees_one_whole_set(office: Office, store: Connection, homes: list[Home]) -> None:
    assert office.bill().code == 0
    sets = [office.files()]
    for add in (10_000, 20_000):
        homes[0].freeze(store, ENDS[1], add=add)
        kill_at(office, 4)
        assert office.files() == sets[-1]
        assert office.bill().code == 0
        sets.append(office.files())
    oldest, before, now = ({name for name in each if name.endswith(".csv")} for each in sets)
    there = {path.name for path in office.export.glob("*.csv")}
    assert there == before | now  # who has read the last manifest still finds its files
    assert oldest - there


def test_two_at_once(office: Office, monkeypatch: pytest.MonkeyPatch, store: Connection) -> None:
    wanted = office.afresh(store)
    gate = office.gate(1)
    process = office.start()
    until((office.work / "0").exists, process)
    monkeypatch.setattr(bills, "PATIENCE", "200ms")
    said = office.bill()
    assert (said.code, said.line) == (
        1, "headend: another run bills 2026-03-09 to 2026-03-09 now; wait until it has ended: the same data give the same bills",
    )  # fmt: skip
    until(lambda: waits_at(gate), process)
    assert process.wait(PATIENCE) == 0
    assert (office.files(), office.rows(store)) == wanted


def test_a_full_disk(office: Office, store: Connection) -> None:
    wanted = office.afresh(store)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_400, before[1]))  # no file may be larger: the lines are
    try:
        said = office.bill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (said.code, said.line) == (
        1, f"headend: {office.export} cannot be written: File too large; the files that were there stand. Make room, or name another folder, "
        f"and run {STEM} again: {ACCOUNTS} tiles are finished and kept",
    )  # fmt: skip
    assert office.rows(store) == []
    assert [path.name for path in office.export.iterdir()] == [f".{STEM}"]
    assert office.bill().json()["tiles_kept"] == ACCOUNTS
    assert (office.files(), office.rows(store)) == wanted


@pytest.fixture
def own_server() -> Iterator[Embedded]:
    """A server that may be killed."""
    folder = Path(tempfile.mkdtemp(prefix="headend-billing-"))
    folder.chmod(0o755)  # root's server runs as somebody else, who must reach it
    server = Embedded(folder)
    server.acquire()
    yield server
    server.release()
    shutil.rmtree(folder)
    shutil.rmtree(server.place, ignore_errors=True)


def kill_server(server: Embedded) -> None:
    """kill -9, and wait until nobody of it is left."""
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        backends = [row[0] for row in conn.execute("SELECT pid FROM pg_stat_activity").fetchall()]
    os.kill(int((server.data / "postmaster.pid").read_text().split("\n", 1)[0]), signal.SIGKILL)
    end = time.monotonic() + PATIENCE
    while any(Path(f"/proc/{pid}").exists() for pid in backends):
        assert time.monotonic() < end, "the server does not die"
        time.sleep(0.01)


def test_the_database_is_killed(own_server: Embedded, tmp_path: Path) -> None:
    with psycopg.connect(own_server.dsn, autocommit=True) as admin:
        admin.execute("CREATE DATABASE bills TEMPLATE template0")
    dsn = psycopg.conninfo.make_conninfo(own_server.dsn, dbname="bills")
    office = Office(dsn, tmp_path)
    with db.connect(dsn) as conn:
        migrate.migrate(conn)
        settle(conn)
        wanted = office.afresh(conn)
    gate = office.gate(4)
    process = office.start()
    until(lambda: waits_at_and(gate, lambda: kill_server(own_server)), process)
    assert process.wait(PATIENCE) == 1
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line.startswith("headend: the database broke off: ")
    assert line.endswith(
        f"it goes on at the tile where it was, and the files in {office.export} are the old ones until all are there"
    )
    own_server.release()
    own_server.acquire()
    with db.connect(dsn) as conn:
        assert office.rows(conn) == []
        # the tile at which it stood was finished without the database: all that it needs had been read
        assert office.bill().json()["tiles_kept"] == 5
        assert (office.files(), office.rows(conn)) == wanted
