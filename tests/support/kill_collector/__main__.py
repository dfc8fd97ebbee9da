"""scripts/kill-collector: collectors, their database and the terminals' process are killed with -9 at random, again and again, while terminals
are read; then all is let finish, and it is proved that nothing is lost that a terminal still had, nothing is there twice, and nothing in part."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psycopg

from headend.clock import Clock, ScaledClock, parse
from headend.collector.spool import survey
from headend.store import archive, db, migrate
from headend.store.embedded import Embedded, EmbeddedError
from protocols.localtime import as_datetime, instant
from terminals.simulator.scenario import ZONE
from tests.support.cli import environment, free_port
from tests.support.house import moment
from tests.support.kill_collector.checker import Wrong, unfinished, verify
from tests.support.kill_collector.fleet import DAYS, WAITING

REPOSITORY = Path(__file__).resolve().parents[3]
#: fsync, full_page_writes and synchronous_commit stay on, as for everybody; recovery syncs the data folder in one call, which saves time
SETTINGS = {"recovery_init_sync_method": "syncfs"}
#: domain time at the start; the truth reaches DAYS days from the day before
START = "2026-03-11 02:00"
REACH_SECONDS = (DAYS - 1) * 86_400 - 2 * 3600
#: from one kill to the next, with the starts of the processes, on a machine that has other things to do
EACH_SECONDS = 6.0
#: domain seconds a second: a point falls due every second and a half
FASTEST = 600.0
#: how long they are let work at most before somebody is killed, how long the database stays away, and anybody else
WORK_SECONDS, AWAY_SECONDS, GONE_SECONDS = 3.0, 4.0, 1.0
#: from the last kill until everything is read that can be, and until a process answers
PATIENCE_SECONDS, AWAKE_SECONDS = 240.0, 60.0
#: who is killed together, and how often; the database first: what follows happens while it is away
VICTIMS = (
    (("collector-1",), 20), (("collector-2",), 15), (("database",), 25), (("terminals",), 15), (("database", "collector-1"), 10),
    (("database", "terminals"), 5), (("collector-1", "collector-2"), 5), (("database", "collector-1", "collector-2"), 5),
)  # fmt: skip


class Stopped(Exception):
    """A process ended that nobody killed, or nothing moves any more."""


def ports(count: int) -> int:
    """The first of so many free ports in a row, below those that the system gives away by itself."""
    for first in random.Random().sample(range(15_000, 30_000), 200):
        try:
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first
    raise Stopped(f"no {count} free ports in a row")


@dataclass(slots=True)
class Scene:
    """The processes, and where their words are."""

    server: Embedded
    dsn: str
    folder: Path
    seed: int
    clock: str
    listen: int = field(default_factory=free_port)
    first_port: int = field(default_factory=lambda: ports(WAITING))
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    spoken: dict[str, int] = field(default_factory=dict)  # the length of the log at the start of this life
    spooled: int = 0  # the most bytes that were seen on the disk at once

    @property
    def fleet(self) -> Path:
        return self.folder / "fleet"

    @property
    def spool(self) -> Path:
        return self.folder / "home" / "spool"

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def start(self, name: str) -> None:
        if name in self.running:
            return
        if name == "terminals":
            (self.fleet / "ready.json").unlink(missing_ok=True)  # one that was killed left it
            command = [
                "tests.support.kill_collector.fleet", str(self.fleet), str(self.seed), self.clock, str(self.listen), str(self.first_port),
            ]  # fmt: skip
        else:
            # the first takes those who dial in; both call the others
            listen = f"127.0.0.1:{self.listen}" if name == "collector-1" else "none"
            command = ["headend", "collect", "--listen", listen]
        settings = environment(
            HEADEND_HOME=str(self.folder / "home"), HEADEND_DSN=self.dsn, HEADEND_CLOCK=self.clock, HEADEND_LEASE_SECONDS="4",
            HEADEND_POLL_SECONDS="0.3", HEADEND_ANSWER_SECONDS="0.6", PYTHONUNBUFFERED="1",
        )  # fmt: skip
        with self.log(name).open("ab") as log:
            self.spoken[name] = log.tell()
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=REPOSITORY, env=settings, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    def start_all(self) -> None:
        self.start("terminals")
        self.until((self.fleet / "ready.json").exists, AWAKE_SECONDS, "the terminals do not come up")
        for name in ("collector-1", "collector-2"):
            self.start(name)
        # one that finds no database at its start ends, and whoever runs it starts it again: that is not what is looked at here
        for name in ("collector-1", "collector-2"):
            self.until(lambda name=name: self.collects(name), AWAKE_SECONDS, f"{name} does not begin")

    def collects(self, name: str) -> bool:
        return b"collecting" in self.log(name).read_bytes()[self.spoken[name] :]

    def kill(self, names: tuple[str, ...], chance: random.Random) -> None:
        """In this order; then all of them come back."""
        for name in names:
            if name == "database":
                pid = int((self.server.data / "postmaster.pid").read_text().split("\n", 1)[0])
                os.kill(pid, signal.SIGKILL)
                self.rest(chance.random() * AWAY_SECONDS)
            else:
                process = self.running.pop(name)
                process.kill()
                process.wait()
        if "database" in names:
            self.server.release()  # there is nothing to stop; and taken again it must find its way back by itself
            self.server.acquire()
        else:
            self.rest(chance.random() * GONE_SECONDS)
        self.start_all()

    def watch(self) -> None:
        """Stopped if somebody died by himself."""
        for name, process in self.running.items():
            if process.poll() is not None:
                lines = self.log(name).read_text(errors="replace").strip().splitlines()
                raise Stopped(f"{name} ended with {process.returncode}: {' | '.join(lines[-3:])}")
        self.spooled = max(self.spooled, sum(left.size for left in survey(self.spool).spools))

    def rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.watch()
            time.sleep(min(0.1, max(0.0, end - time.monotonic())))

    def until(self, true: Callable[[], bool], seconds: float, otherwise: str) -> float:
        """Seconds that it took."""
        begun = time.monotonic()
        while not true():
            self.watch()
            if time.monotonic() - begun > seconds:
                raise Stopped(f"{otherwise} within {seconds:.0f} s")
            time.sleep(0.1)
        return time.monotonic() - begun

    def stop(self) -> None:
        """Ask all to leave, the readers first; kill who does not."""
        for name in sorted(self.running):
            self.running[name].terminate()
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()


def prepare(server: Embedded, admin: str, folder: Path, seed: int, rate: float) -> Scene:
    """A migrated database, the terminals up, their archive imported, and two collectors."""
    with psycopg.connect(admin, autocommit=True) as conn:
        conn.execute("CREATE DATABASE kills TEMPLATE template0")
    dsn = psycopg.conninfo.make_conninfo(admin, dbname="kills")
    clock = ScaledClock(instant(moment(START, ZONE)), time.time() + 5, rate).text()
    scene = Scene(server, dsn, folder, seed, clock)
    with db.connect(dsn) as conn:
        migrate.migrate(conn)
        conn.commit()
        scene.start("terminals")
        scene.until((scene.fleet / "ready.json").exists, AWAKE_SECONDS, "the terminals do not come up")
        archive.load(conn, scene.fleet / "archive", zone=ZONE)
        conn.commit()
    scene.start_all()
    scene.until(lambda: count(dsn, "slot_read") > 0, AWAKE_SECONDS, "no reading comes in")
    return scene


def count(dsn: str, table: str) -> int:
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
        assert row is not None
        return int(row[0])


def run(server: Embedded, folder: Path, given: argparse.Namespace) -> str:
    """The summary; Wrong or Stopped if the store or a process is not what it must be."""
    expected = given.kills * EACH_SECONDS + given.away + PATIENCE_SECONDS
    rate = min(FASTEST, REACH_SECONDS / expected)
    chance = random.Random(given.seed)
    counted: Counter[str] = Counter()
    with server as admin:
        scene = prepare(server, admin, folder, given.seed, rate)
        clock: Clock = parse(scene.clock, ZONE)
        dead = json.loads((scene.fleet / "truth.json").read_text())["faults"]["dead"]
        begun = time.monotonic()
        told = []
        try:
            if given.away:
                told.append(_away(scene, given.away))
            while sum(counted.values()) < given.kills:
                scene.rest(chance.random() ** 2 * WORK_SECONDS)  # often at once, sometimes after a while
                names = chance.choices([who for who, _ in VICTIMS], [often for _, often in VICTIMS])[0]
                scene.kill(names, chance)
                counted.update(name.split("-")[0] for name in names)
                if time.monotonic() - begun > given.seconds:
                    raise Stopped(f"only {counted.total()} of {given.kills} kills in {given.seconds:.0f} s")
                print(f"\r{counted.total()} kills", end="", file=sys.stderr, flush=True)
            print(file=sys.stderr)
            cut = clock.now()
            finished = scene.until(
                lambda: _finished(scene, cut, dead), PATIENCE_SECONDS, "not all is read that can be"
            )
        finally:
            scene.stop()
        if clock.now() > instant(moment(START, ZONE)) + np.timedelta64(REACH_SECONDS, "s"):
            raise Stopped("the clock has left the truth behind; try fewer kills")
        found = verify(scene.dsn, scene.fleet, cut)
        if survey(scene.spool).aside:
            raise Wrong(f"part of a spool could not be read: {survey(scene.spool).aside[0]}")
        if counted:
            victims = ", ".join(f"{n} × {who}" for who, n in sorted(counted.items()))
            told.append(f"  kills       {counted.total()} with -9 ({victims})")
    return "\n".join(
        (
            f"kill-collector: seed {given.seed}, {rate:.0f} times as fast as time, until {as_datetime(cut, ZONE):%m-%d %H:%M}",
            *told,
            f"  spool       {scene.spooled} bytes at most; {finished:.1f} s after the end all of it was in the store, and the rest read",
            f"  readings    {found.points} points and {found.freezes} freezes, {found.values} values, each as the terminal has it",
            "  0 lost, 0 duplicate, 0 partial; the ledger agrees with the rows, every hole has a cause",
        )
    )


def _finished(scene: Scene, cut: np.datetime64, dead: list[str]) -> bool:
    with db.connect(scene.dsn) as conn:
        return not survey(scene.spool).spools and unfinished(conn, cut, dead) == 0


def _away(scene: Scene, seconds: float) -> str:
    """The database stopped while terminals are read."""
    before = count(scene.dsn, "slot_read")
    if not scene.server.release():
        raise Stopped("the database is used by somebody else and does not stop")
    scene.rest(seconds)
    waiting = sum(left.size for left in survey(scene.spool).spools)
    if not waiting:
        raise Stopped(f"nothing was kept on the disk in {seconds:.0f} s without the database")
    scene.server.acquire()
    drained = scene.until(
        lambda: not survey(scene.spool).spools, PATIENCE_SECONDS, "the spool is not emptied"
    )
    more = count(scene.dsn, "slot_read") - before
    after = f"{waiting} bytes on the disk, {more} points in the store {drained:.1f} s after it was back"
    return f"  away        {seconds:.0f} s without the database: {after}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/kill-collector", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how many processes are killed (default 200)")
    parser.add_argument(
        "--away",
        type=float,
        default=0.0,
        help="before that, stop the database for so many seconds (default 0)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the terminals and of the moments (default 1)")
    parser.add_argument("--seconds", type=float, default=3600, help="give up after this time (default 3600)")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headend-kill-"))
    folder.chmod(0o755)  # root's server runs as somebody else, who must reach it
    server = Embedded(folder / "server", None, SETTINGS)
    try:
        print(run(server, folder, given))
    except (Wrong, Stopped, EmbeddedError) as error:
        print(
            f"kill-collector: {error}\nkill-collector: everything is kept in {folder} and {server.place}",
            file=sys.stderr,
        )
        sys.exit(1)
    shutil.rmtree(server.place, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
