"""The embedded server: who starts it, who stops it, and what kill -9 leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from headend.store import embedded
from headend.store.embedded import Embedded, EmbeddedError

FAST = {"fsync": "off", "shared_buffers": "16MB"}
ROOT = os.geteuid() == 0

#: Holds the server until killed.
USER = """
import sys, time
from pathlib import Path
from headend.store.embedded import Embedded
print(Embedded(Path(sys.argv[1]), settings={"fsync": "off"}).acquire(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that the server's account reaches, unlike root's tmp_path. Whatever runs is ended."""
    top = Path(tempfile.mkdtemp(prefix="headend-test-", dir="/tmp"))
    top.chmod(0o755)
    yield top / "home"
    for path in top.rglob("postmaster.pid"):
        lines = path.read_text().splitlines()
        os.kill(int(lines[0]), signal.SIGQUIT)
        until(partial(_missing, path))
        shutil.rmtree(lines[4])
    shutil.rmtree(top)


def _missing(path: Path) -> bool:
    return not path.exists()


def until(done: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def postmaster(server: Embedded) -> int:
    return int((server.data / "postmaster.pid").read_text().split("\n", 1)[0])


def runs(pid: int) -> bool:
    """Neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def scalar(dsn: str, query: str) -> object:
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute(query.encode()).fetchone()
        return row[0] if row else None


def change(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(statement.encode())


def test_starts_answers_stops_and_keeps_its_data(home: Path) -> None:
    server = Embedded(home)
    with server as dsn:
        pid = postmaster(server)
        change(dsn, "CREATE TABLE kept AS SELECT 42 AS n")
        assert scalar(dsn, "SELECT current_user || current_database()") == "headendheadend"
        assert scalar(dsn, "SHOW fsync") == "on"
        assert scalar(dsn, "SHOW synchronous_commit") == "on"
        assert scalar(dsn, "SHOW full_page_writes") == "on"
        assert scalar(dsn, "SHOW listen_addresses") == ""
        assert scalar(dsn, "SHOW server_encoding") == "UTF8"
        assert scalar(dsn, "SELECT datcollate FROM pg_database WHERE datname = 'headend'") == "C.UTF-8"
    until(lambda: not runs(pid))  # it has let go of everything, and is gone in a moment
    assert not server.socket_folder.exists()
    with Embedded(home) as dsn:
        assert scalar(dsn, "SELECT n FROM kept") == 42
    assert not server.release(), "letting go twice does nothing"


def test_settings_are_the_callers(home: Path) -> None:
    with Embedded(home, settings={**FAST, "application_name": "it's a \\ test"}) as dsn:
        assert scalar(dsn, "SHOW fsync") == "off"
        assert scalar(dsn, "SHOW max_connections") == "60"
        assert scalar(dsn, "SHOW application_name") == "it's a \\ test"


def test_the_environment_does_not_leak_in(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "6000")
    monkeypatch.setenv("PGDATA", "/nonexistent")
    monkeypatch.setenv("LANG", "xx_YY.UTF-8")
    monkeypatch.chdir("/")
    with Embedded(home, settings=FAST) as dsn:
        assert scalar(dsn, "SELECT 1") == 1


def test_the_last_user_stops_it(home: Path) -> None:
    first, second = Embedded(home, settings=FAST), Embedded(home)
    first.acquire()
    pid = postmaster(first)
    dsn = second.acquire()
    assert postmaster(second) == pid
    assert first.release() is False
    assert scalar(dsn, "SELECT 1") == 1
    assert second.release() is True
    until(lambda: not runs(pid))  # it has let go of everything, and is gone in a moment


def test_many_at_once_share_one_server(home: Path) -> None:
    command = [sys.executable, "-c", USER, str(home)]
    users = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(5)]
    try:
        dsns = {user.stdout.readline() for user in users if user.stdout}
        assert len(dsns) == 1
        with Embedded(home) as dsn:
            assert {dsn + "\n"} == dsns
    finally:
        for user in users:
            user.kill()
            user.communicate()


def test_a_user_killed_leaves_a_server_that_the_next_one_uses_and_stops(home: Path) -> None:
    user = subprocess.Popen([sys.executable, "-c", USER, str(home)], stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None
    dsn = user.stdout.readline().strip()
    server = Embedded(home)
    server.acquire()
    pid = postmaster(server)
    user.kill()
    user.communicate()
    assert scalar(dsn, "SELECT 1") == 1
    assert server.release() is True
    until(lambda: not runs(pid))  # it has let go of everything, and is gone in a moment


def test_a_killed_server_recovers(home: Path) -> None:
    """kill -9 of the postmaster alone, one of its backends still at work and deaf to its death."""
    server = Embedded(home, settings={"shared_buffers": "16MB"})
    dsn = server.acquire()
    change(dsn, "CREATE TABLE kept AS SELECT 42 AS n")
    pid = postmaster(server)
    with psycopg.connect(dsn) as conn:
        backend = conn.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not runs(pid))
        assert runs(backend)
        second = Embedded(home)
        assert scalar(second.acquire(), "SELECT n FROM kept") == 42
        assert postmaster(second) != pid
        until(lambda: not runs(backend))  # it has let go of everything, and is gone in a moment
    assert server.release() is False
    assert second.release() is True


def test_an_old_pid_file_with_a_number_in_use_is_seen_through(home: Path) -> None:
    server = Embedded(home, settings=FAST)
    with server:
        pass
    lines = [str(os.getpid()), str(server.data), "1", "5432", str(server.socket_folder), "", "", "ready"]
    (server.data / "postmaster.pid").write_text("\n".join(lines) + "\n")
    with server as dsn:
        assert scalar(dsn, "SELECT 1") == 1
        assert postmaster(server) != os.getpid()


def test_a_half_made_cluster_is_made_again(home: Path) -> None:
    (home / "data.new").mkdir(parents=True)
    (home / "data.new" / "PG_VERSION").write_text("17\n")
    (home / "data").mkdir()
    with Embedded(home, settings=FAST) as dsn:
        assert scalar(dsn, "SELECT 1") == 1


def test_a_long_home_and_an_odd_name(home: Path) -> None:
    deep = home / ("x" * 90) / 'it\'s a "home" $(of) 电表'
    server = Embedded(deep, settings=FAST)
    with server as dsn:
        assert scalar(dsn, "SELECT 1") == 1
        assert len(os.fsencode(server.socket_folder / ".s.PGSQL.5432.lock")) < 100
        assert stat.S_IMODE(server.socket_folder.stat().st_mode) == 0o700
    with pytest.raises(EmbeddedError, match=r"too long"):
        Embedded(home / ("y" * 300)).acquire()


def test_data_of_another_version_are_refused(home: Path) -> None:
    server = Embedded(home, settings=FAST)
    with server:
        pass
    (server.data / "PG_VERSION").write_text("12\n")
    with pytest.raises(
        EmbeddedError, match=r"made by PostgreSQL 12, .* is PostgreSQL 17; name a PostgreSQL 12 in"
    ):
        server.acquire()


def test_a_folder_of_something_else_is_refused(home: Path) -> None:
    (home / "data").mkdir(parents=True)
    (home / "data" / "photo.jpg").touch()
    with pytest.raises(EmbeddedError, match=r"is not a database, and not empty; move it away"):
        Embedded(home).acquire()
    assert (home / "data" / "photo.jpg").exists()


def test_a_wrong_bin_folder(home: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="has no postgres; correct HEADEND_PG_BIN"):
        Embedded(home, bindir=tmp_path).acquire()
    for name in ("postgres", "initdb", "pg_ctl"):
        (home.parent / name).write_text(
            "#!/bin/sh\necho cannot open shared object file: libfoo.so; exit 127\n"
        )
        (home.parent / name).chmod(0o755)
    with pytest.raises(
        EmbeddedError, match=r"postgres does not run; these binaries do not fit[^\n]*\n.*libfoo"
    ):
        Embedded(home, bindir=home.parent).acquire()


def test_a_bad_setting_shows_the_servers_log(home: Path) -> None:
    with pytest.raises(
        EmbeddedError, match=r"did not start; correct the database settings\n(.|\n)*no_such_thing"
    ):
        Embedded(home, settings={"no_such_thing": "1"}).acquire()
    with Embedded(home, settings=FAST) as dsn:
        assert scalar(dsn, "SELECT 1") == 1


def test_a_socket_folder_of_somebody_else_is_refused(home: Path) -> None:
    server = Embedded(home, settings=FAST)
    server.socket_folder.mkdir(mode=0o755)
    try:
        with pytest.raises(EmbeddedError, match="so no database socket is put there; remove it"):
            server.acquire()
    finally:
        server.socket_folder.rmdir()


@pytest.mark.skipif(ROOT, reason="root may write anywhere")
def test_a_folder_we_may_not_write(home: Path) -> None:
    home.mkdir(mode=0o500)
    with pytest.raises(EmbeddedError, match=r"is not writable for .*; name another"):
        Embedded(home).acquire()
    with pytest.raises(EmbeddedError, match="/proc"):
        Embedded(Path("/proc/headend")).acquire()


@pytest.mark.skipif(not ROOT, reason="only root can become somebody else")
def test_root_hands_the_server_to_an_unprivileged_account(home: Path) -> None:
    server = Embedded(home, settings=FAST, user="nobody")
    with server as dsn:
        uid = os.stat(f"/proc/{postmaster(server)}").st_uid
        assert uid == server.data.stat().st_uid != 0
        assert home.stat().st_uid == 0
        assert scalar(dsn, "SELECT current_user") == "headend"
    with Embedded(home, settings=FAST, user="daemon"):  # the data keep their account
        assert os.stat(f"/proc/{postmaster(server)}").st_uid == uid
    with pytest.raises(EmbeddedError, match="no unprivileged account nobody-of-that-name"):
        Embedded(home, user="nobody-of-that-name").acquire()


@pytest.mark.skipif(not ROOT, reason="only root can become somebody else")
def test_root_places_what_the_account_cannot_reach_elsewhere(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = home.parent / "elsewhere"  # the machine's own place serves other tests at the same time
    monkeypatch.setattr(embedded, "ROOT_PLACE", elsewhere)
    home.mkdir()
    home.chmod(0o700)
    installation = Path(embedded.wheel_bindir()).parent
    shutil.copytree(installation, home / "pg", symlinks=True)
    server = Embedded(home / "db", bindir=home / "pg" / "bin", settings=FAST)
    for _ in range(2):
        with server as dsn:
            assert scalar(dsn, "SELECT 1") == 1
            assert server.place.parent == elsewhere
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert sorted(path.name.partition("-")[0] for path in elsewhere.iterdir()) == ["home", "postgresql"]
