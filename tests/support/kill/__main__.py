"""scripts/kill-store: writers, their database and a follower of its feed are killed with -9 at random, again and again; then it is proved
that nothing is lost, nothing is there twice, and nothing is there in part."""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from headend.store import db, migrate
from headend.store.embedded import Embedded, EmbeddedError
from tests.support.house import place
from tests.support.kill import writer
from tests.support.kill.batches import METERS
from tests.support.kill.checker import Checker, Wrong

REPOSITORY = Path(__file__).resolve().parents[3]
CHECK_EVERY = 50
#: from the start of a process to its first word, on a machine that has other things to do
AWAKE_SECONDS = 60.0
#: fsync, full_page_writes and synchronous_commit stay on, as for everybody; the times of commits tell in which order the batches must be thought of
#: recovery begins by syncing the whole data folder: in one call here, not file by file, so that an hour has more kills
SETTINGS = {"track_commit_timestamp": "on", "recovery_init_sync_method": "syncfs"}
TIMESCALEDB = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}
#: how long they are let work at most before somebody is killed
WORK_SECONDS = 1.5
#: what is killed, and how often
VICTIMS = (("server", 40), ("writer", 30), ("writers", 10), ("server and writer", 12), ("consumer", 8))


class Stopped(Exception):
    """A process ended that nobody killed, or nothing moves any more."""


@dataclass(slots=True)
class Scene:
    """The processes, and where their words are."""

    server: Embedded
    dsn: str
    logs: Path
    seed: int
    fault: str | None
    lives: int = 0
    pids: dict[str, int] = field(default_factory=dict)
    spoken: dict[str, int] = field(default_factory=dict)  # the length of the log at the start of this life
    recoveries: list[float] = field(default_factory=list)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def wake(self) -> None:
        """Start whoever is dead, and wait until all writers are at work."""
        for number in (1, 2):
            self._start(
                f"writer-{number}",
                lambda log, number=number: writer.write(
                    self.dsn, log, number, self.lives, self.seed, self.fault
                ),
            )
        self._start("consumer", lambda log: writer.consume(self.dsn, log))
        deadline = time.monotonic() + AWAKE_SECONDS
        while any(self._length(name) <= self.spoken[name] for name in ("writer-1", "writer-2")):
            self.watch()
            if time.monotonic() > deadline:
                raise Stopped(f"a writer does nothing for {AWAKE_SECONDS:.0f} s")
            time.sleep(0.005)

    def _start(self, name: str, work: Callable[[Path], None]) -> None:
        if name in self.pids:
            return
        self.lives += 1
        self.spoken[name] = self._length(name)
        pid = os.fork()
        if pid == 0:
            try:
                # the hold on the server is the parent's: a copy of its lock would keep it
                os.closerange(3, 1024)
                logging.getLogger("psycopg").setLevel(
                    logging.CRITICAL
                )  # that a dead server cannot roll back is no news
                work(self.log(name))
            except BaseException:
                self.log(name).with_suffix(".error").write_text(traceback.format_exc())
            os._exit(1)
        self.pids[name] = pid

    def _length(self, name: str) -> int:
        return self.log(name).stat().st_size if self.log(name).exists() else 0

    def watch(self) -> None:
        """Stopped if somebody died by himself."""
        for name, pid in list(self.pids.items()):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self.pids[name]
                error = self.log(name).with_suffix(".error")
                raise Stopped(
                    f"{name} ended by itself: {error.read_text() if error.exists() else 'without a word'}"
                )

    def kill(self, *names: str) -> None:
        for name in names:
            if name == "server":
                pid = int((self.server.data / "postmaster.pid").read_text().split("\n", 1)[0])
                os.kill(pid, signal.SIGKILL)
            else:
                os.kill(self.pids[name], signal.SIGKILL)
        for name in names:
            if name != "server":
                os.waitpid(self.pids.pop(name), 0)
        if "server" in names:
            begin = time.monotonic()
            self.server.release()  # there is nothing to stop; and taken again it must find its way back by itself
            self.server.acquire()
            self.recoveries.append(time.monotonic() - begin)

    def settle(self) -> None:
        """Let the consumer come to the end of the feed, then end it: nobody writes."""
        with db.connect(self.dsn) as conn:
            deadline = time.monotonic() + AWAKE_SECONDS
            end = None
            while end is None or (
                self.log("consumer").read_bytes().rfind(end) < 0 and time.monotonic() < deadline
            ):
                self.watch()
                row = conn.execute(
                    "SELECT xid::text AS xid, seq, coalesce(cardinality(meters), 1) AS told FROM feed ORDER BY feed.xid DESC, seq DESC LIMIT 1"
                ).fetchone()
                conn.commit()
                assert row is not None
                end = f'.{row["xid"]}.{row["seq"]}.{row["told"]}"'.encode()
                time.sleep(0.01)
        self.kill("consumer")


def run(server: Embedded, home: Path, kills: int, seed: int, seconds: float, fault: str | None) -> str:
    """The summary; Wrong or Stopped if the store or a process is not what it must be."""
    logs = home / "logs"
    logs.mkdir()
    with server as admin:
        with psycopg.connect(admin, autocommit=True) as conn:
            conn.execute("CREATE DATABASE kills TEMPLATE template0")
        dsn = psycopg.conninfo.make_conninfo(admin, dbname="kills")
        with db.connect(dsn) as ours:
            migrate.migrate(ours)
            found = migrate.detect(ours)
            ours.commit()
            for number in range(1, METERS + 1):
                assert place(ours, f"M{number}", phases=3).meter == number
        name = f"PostgreSQL {found.postgres}" + (
            f", TimescaleDB {found.timescaledb} ({found.licence})" if found.timescaledb else ""
        )
        scene = Scene(server, dsn, logs, seed, fault)
        checker = Checker(dsn, logs)
        chance = random.Random(seed)
        begun, done = time.monotonic(), 0
        counted: dict[str, int] = {}
        try:
            while done < kills:
                scene.wake()
                time.sleep(
                    chance.random() ** 2 * WORK_SECONDS
                )  # often in the first batch, sometimes after many
                scene.watch()
                victims = chance.choices([who for who, _ in VICTIMS], [often for _, often in VICTIMS])[0]
                names = _names(victims, chance)
                scene.kill(*names)
                for who in names:
                    counted[who.split("-")[0]] = counted.get(who.split("-")[0], 0) + 1
                done += len(names)
                late = time.monotonic() - begun > seconds
                if done // CHECK_EVERY > (done - len(names)) // CHECK_EVERY or done >= kills or late:
                    _check(scene, checker)
                    print(f"{done} kills: {_told(checker, scene)}", flush=True)
                if late and done < kills:
                    raise Stopped(f"only {done} of {kills} kills in {seconds:.0f} s; all was right so far")
        finally:
            scene.kill(*(who for who in scene.pids))
        rows = sum(len(part) for part in checker.model.rows.values()) + len(checker.model.others)
        changes = sum(len(part) for part in checker.model.feed.values())
        recoveries = scene.recoveries or [0.0]
        return "\n".join(
            (
                f"kill-store: {name}; seed {seed}",
                f"  kills       {done} with -9 ({', '.join(f'{n} × {who}' for who, n in sorted(counted.items()))})",
                f"  batches     {len(checker.committed)} committed, {checker.unsure} of them by writers who died before they were told; "
                f"{len(checker.batches) - len(checker.committed)} left no trace",
                f"  rows        {rows}, {sum(len(v) for v in checker.model.revisions.values())} revisions, {changes} changes in the feed",
                f"  recovery    {statistics.mean(recoveries):.2f} s on average, {max(recoveries):.2f} s at most",
                "  0 lost, 0 duplicate, 0 partial; the ledger agrees with the rows, the consumer with the feed",
            )
        )


def _names(victims: str, chance: random.Random) -> list[str]:
    one = f"writer-{chance.choice((1, 2))}"
    return {
        "server": ["server"], "writer": [one], "writers": ["writer-1", "writer-2"], "server and writer": ["server", one],
        "consumer": ["consumer"],
    }[victims]  # fmt: skip


def _check(scene: Scene, checker: Checker) -> None:
    scene.kill(*(who for who in scene.pids if who.startswith("writer")))
    scene._start("consumer", lambda log: writer.consume(scene.dsn, log))
    # a writer's session may outlive its client by the statement that it was in
    with psycopg.connect(scene.dsn, autocommit=True) as conn:
        deadline = time.monotonic() + AWAKE_SECONDS
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'kills' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        while conn.execute(others).fetchone() > (1,):
            if time.monotonic() > deadline:
                raise Stopped("a session of a dead writer does not end")
            time.sleep(0.01)
    scene.settle()
    checker.check()


def _told(checker: Checker, scene: Scene) -> str:
    mean = statistics.mean(scene.recoveries) if scene.recoveries else 0.0
    return f"{len(checker.committed)} batches, all as they must be; recovery {mean:.2f} s on average"


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/kill-store", description=__doc__)
    parser.add_argument("--kills", type=int, default=500, help="how many processes are killed (default 500)")
    parser.add_argument(
        "--server",
        choices=("embedded", "timescaledb"),
        default="embedded",
        help="the database (default embedded)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the batches and of the moments (default 1)")
    parser.add_argument("--seconds", type=float, default=3600, help="give up after this time (default 3600)")
    parser.add_argument("--fault", choices=writer.FAULTS, help=argparse.SUPPRESS)  # must be found
    given = parser.parse_args()
    bindir, settings = None, dict(SETTINGS)
    if given.server == "timescaledb":
        done = subprocess.run(
            [REPOSITORY / "scripts" / "timescaledb", "prepare"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stderr.strip())
        bindir, settings = Path(done.stdout.strip()), settings | TIMESCALEDB
    home = Path(tempfile.mkdtemp(prefix="headend-kill-"))
    home.chmod(0o755)  # root's server runs as somebody else, who must reach it
    server = Embedded(home / "server", bindir, settings)
    try:
        print(run(server, home, given.kills, given.seed, given.seconds, given.fault))
    except (Wrong, Stopped, EmbeddedError) as error:
        print(
            f"kill-store: {error}\nkill-store: everything is kept in {home} and {server.place}",
            file=sys.stderr,
        )
        sys.exit(1)
    shutil.rmtree(server.place, ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
