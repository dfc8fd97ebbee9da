"""A fleet, its collector and their database, each a process of its own, and the clock they go by: the stage of the long runs."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psycopg
from servers import fresh, server

from headend.clock import ScaledClock
from headend.store import archive
from headend.store.cluster import zone
from headend.store.db import connect
from protocols.localtime import instant
from terminals.simulator import control
from terminals.simulator.scenario import ZONE

REPOSITORY = Path(__file__).resolve().parents[2]
#: seconds until everybody must be in at first
PATIENCE = 300.0
_TICK = os.sysconf("SC_CLK_TCK")


def local(text: str) -> np.datetime64:
    return instant(dt.datetime.fromisoformat(text).replace(tzinfo=ZONE))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Program:
    """A process of ours and what it says."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def cpu(self) -> float:
        """Seconds of processor so far."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(text[11]) + int(text[12])) / _TICK

    def memory(self) -> float:
        """KiB resident."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("VmRSS")))

    def watch(self) -> None:
        if self.process.poll() is not None:
            raise SystemExit(f"bench: {self.name} ended with {self.process.returncode}: {self.last_words()}")

    def last_words(self) -> str:
        """The end of its log; the log itself goes with the stage."""
        return " | ".join(self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:])


@dataclass(slots=True)
class Stage:
    """The three programs, and the clock they go by."""

    dsn: str
    folder: Path
    start_at: np.datetime64
    rate: float
    port: int = field(default_factory=_free_port)
    clock: ScaledClock = field(init=False)
    programs: dict[str, Program] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = ScaledClock(self.start_at, 0.0, self.rate)

    def start(self, name: str, *command: str) -> Program:
        log = self.folder / f"{name}.log"
        settings = os.environ | {
            "HEADEND_HOME": str(self.folder / "home"), "HEADEND_DSN": self.dsn, "HEADEND_CLOCK": self.clock.text(), "PYTHONUNBUFFERED": "1",
            "HEADEND_CIPHER_MACHINE": "terminals.simulator.standin:StandInMachine",
        }  # fmt: skip
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "headend", *command], cwd=REPOSITORY, env=settings, stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )  # fmt: skip
        program = self.programs[name] = Program(name, process, log)
        return program

    @property
    def fleet(self) -> Path:
        """Where the simulator's files are."""
        return self.folder / "fleet"

    def prepare(self, *fleet: str) -> float:
        """A fleet of such options stands in the archive; seconds that the import took. From now on the clock runs."""
        self.simulate(*fleet)
        self.stop("simulator")  # the archive is written
        took = self.install()
        self.clock = ScaledClock(self.start_at, time.time(), self.rate)
        return took

    def install(self) -> float:
        """The fleet's archive is imported; seconds that it took."""
        begun = time.monotonic()
        with connect(self.dsn) as conn:
            archive.load(conn, self.fleet / "archive", zone=zone(conn))
            conn.commit()
        return time.monotonic() - begun

    def simulate(self, *fleet: str) -> None:
        (self.fleet / "ready.json").unlink(missing_ok=True)
        self.start("simulator", "simulate", str(self.fleet), "--head-end", f"127.0.0.1:{self.port}", *fleet)
        self.wait((self.fleet / "ready.json").exists, PATIENCE, "the simulator does not come up")

    def collect(self) -> Program:
        collector = self.start("collector", "collect", "--listen", f"127.0.0.1:{self.port}")
        self.wait(
            lambda: b"collecting" in collector.log.read_bytes(), PATIENCE, "the collector does not begin"
        )
        return collector

    def stop(self, name: str) -> None:
        program = self.programs.pop(name)
        program.process.send_signal(signal.SIGTERM)
        try:
            program.process.wait(60)
        except subprocess.TimeoutExpired:
            program.process.kill()
            program.process.wait()

    def status(self) -> dict[str, float]:
        found: dict[str, float] = json.loads(self.tell("status"))
        return found

    def tell(self, line: str) -> str:
        return control.tell(self.fleet, line)

    def wait(self, true: Callable[[], bool], seconds: float, otherwise: str) -> float:
        """Seconds that it took."""
        begun = time.monotonic()
        while not true():
            for program in self.programs.values():
                program.watch()
            if time.monotonic() - begun > seconds:
                said = "; ".join(f"{name} said: {p.last_words()}" for name, p in self.programs.items())
                raise SystemExit(f"bench: {otherwise} within {seconds:.0f} s; {said}")
            time.sleep(0.25)
        return time.monotonic() - begun

    def rest(self, seconds: float) -> None:
        """Nothing, unless one of the programs ends."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for program in self.programs.values():
                program.watch()
            time.sleep(min(1.0, left))

    def cpu(self) -> dict[str, float]:
        return {name: program.cpu() for name, program in self.programs.items()} | {
            "database": _database_cpu(self.dsn)
        }

    def lag(self, since: int) -> list[float]:
        """The worst of the collector's p99 of the loop's delay [ms] and the worst delay, of its log's lines from byte `since` on."""
        worst = [0.0, 0.0]
        for line in self.programs["collector"].log.read_bytes()[since:].decode(errors="replace").splitlines():
            if line.startswith("{") and "lag_p99_ms" in line:
                said = json.loads(line)
                worst = [max(worst[0], said["lag_p99_ms"]), max(worst[1], said["lag_worst_ms"])]
        return worst


class Lines(list[str]):
    """Told as they come: a quarter of an hour is long."""

    def append(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
        super().append(line)


@contextmanager
def stage(kind: str, start: str, rate: float) -> Iterator[Stage | None]:
    """Its own server, database and folder, gone afterwards; None where there is no such server."""
    with tempfile.TemporaryDirectory(prefix="headend-bench-") as folder, server(kind) as dsn:
        if dsn is None:
            yield None
            return
        with fresh(dsn, kind) as database:
            Path(folder, "home").mkdir()
            made = Stage(database, Path(folder), local(start), rate)
            try:
                yield made
            finally:
                for name in list(made.programs):
                    made.stop(name)


def _database_cpu(dsn: str) -> float:
    """Seconds of processor of all the server's processes, those that have ended included."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute("SELECT pg_read_file('postmaster.pid')").fetchone()
    pid = int(str(row[0]).split("\n", 1)[0]) if row else 0
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            words = (entry / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            continue
        if int(entry.name) == pid:
            total += sum(map(int, words[11:15]))
        elif int(words[1]) == pid:
            total += sum(map(int, words[11:13]))
    return total / _TICK
