"""Ten thousand terminals on one collector: two quarter-hours of points as they fall due, then everybody dials in anew.

There is no peer; what is measured is the share of the machine, and whether anything is lost. The simulator, the collector and the
database share it, so each one's processor time is told apart.
"""

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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psycopg
from servers import fresh, server

from headend.clock import ScaledClock
from headend.store import archive
from headend.store.cluster import zone
from headend.store.db import connect
from protocols.localtime import as_datetime, instant
from terminals.simulator import control
from terminals.simulator.scenario import ZONE

REPOSITORY = Path(__file__).resolve().parents[2]
SEED = 698
#: domain time: meters are there from the hour on, and the clock runs from START on while terminals dial in
COMMISSIONED, START = "2026-03-11T10:00", "2026-03-11 10:01"
SLOT = np.timedelta64(15, "m")
#: the first of the two points that are counted comes so long after all are in
CALM = np.timedelta64(1, "m")
#: domain seconds a second: a round has its quarter-hour in five minutes
RATE = 3.0
#: after the point a meter has it stored
SETTLE = np.timedelta64(60, "s")
#: seconds until everybody must be in at first, and until a round must have ended
PATIENCE, ROUND = 300.0, 290.0
#: seconds in which all hang up, and until all must be back
AGAIN, BACK = 60.0, 120.0
#: seconds until the collector has told how its loop was
PULSE = 65
_TICK = os.sysconf("SC_CLK_TCK")


def _local(text: str) -> np.datetime64:
    return instant(dt.datetime.fromisoformat(text).replace(tzinfo=ZONE))


def _ceiling(when: np.datetime64) -> np.datetime64:
    """The end of the quarter-hour that `when` is in."""
    return np.datetime64(
        -(-int(when.astype("datetime64[us]").astype(np.int64)) // 900_000_000) * 900_000_000, "us"
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class _Program:
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
            last = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise SystemExit(f"bench: {self.name} ended with {self.process.returncode}: {' | '.join(last)}")


@dataclass(slots=True)
class _Stage:
    """The three programs, and the clock they go by."""

    dsn: str
    folder: Path
    terminals: int
    customers: int
    protocol: str
    dead: int
    port: int = field(default_factory=_free_port)
    clock: ScaledClock = field(default_factory=lambda: ScaledClock(_local(START), 0.0, RATE))
    programs: dict[str, _Program] = field(default_factory=dict)

    def start(self, name: str, *command: str) -> _Program:
        log = self.folder / f"{name}.log"
        settings = os.environ | {
            "HEADEND_HOME": str(self.folder / "home"), "HEADEND_DSN": self.dsn, "HEADEND_CLOCK": self.clock.text(), "PYTHONUNBUFFERED": "1",
            "HEADEND_CIPHER_MACHINE": "terminals.simulator.standin:StandInMachine",
        }  # fmt: skip
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "headend", *command], cwd=REPOSITORY, env=settings, stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )  # fmt: skip
        program = self.programs[name] = _Program(name, process, log)
        return program

    def simulate(self) -> _Program:
        (self.folder / "fleet" / "ready.json").unlink(missing_ok=True)
        program = self.start(
            "simulator", "simulate", str(self.folder / "fleet"), "--seed", str(SEED), "--areas", str(self.terminals), "--customers",
            str(self.customers), "--protocol", self.protocol, "--link", "dial-in", "--head-end", f"127.0.0.1:{self.port}", "--commissioned",
            COMMISSIONED, "--dead", str(self.dead), "--dial-rate", "400",
        )  # fmt: skip
        self.wait((self.folder / "fleet" / "ready.json").exists, PATIENCE, "the simulator does not come up")
        return program

    def stop(self, name: str) -> None:
        program = self.programs.pop(name)
        program.process.send_signal(signal.SIGTERM)
        try:
            program.process.wait(60)
        except subprocess.TimeoutExpired:
            program.process.kill()
            program.process.wait()

    def status(self) -> dict[str, float]:
        found: dict[str, float] = json.loads(control.tell(self.folder / "fleet", "status"))
        return found

    def wait(self, true: Callable[[], bool], seconds: float, otherwise: str) -> float:
        """Seconds that it took."""
        begun = time.monotonic()
        while not true():
            for program in self.programs.values():
                program.watch()
            if time.monotonic() - begun > seconds:
                raise SystemExit(f"bench: {otherwise} within {seconds:.0f} s; logs are in {self.folder}")
            time.sleep(0.25)
        return time.monotonic() - begun

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


def run(kind: str, terminals: int, customers: int, protocol: str, dead: int) -> list[str]:
    """What was seen, line by line."""
    with tempfile.TemporaryDirectory(prefix="headend-bench-") as folder, server(kind) as dsn:
        if dsn is None:
            return []
        with fresh(dsn, kind) as database:
            Path(folder, "home").mkdir()
            stage = _Stage(database, Path(folder), terminals, customers, protocol, dead)
            try:
                return _run(stage)
            finally:
                for name in list(stage.programs):
                    stage.stop(name)


class _Lines(list[str]):
    """Told as they come: a quarter of an hour is long."""

    def append(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
        super().append(line)


def _run(stage: _Stage) -> list[str]:
    meters = stage.terminals * (stage.customers + 1)
    lines = _Lines()
    lines.append(
        f"fleet: {stage.terminals} terminals ({stage.protocol}, dial-in) of {stage.customers + 1} meters, {stage.dead} of them dead"
    )
    stage.simulate()
    stage.stop("simulator")  # the archive is written
    begun = time.monotonic()
    with connect(stage.dsn) as conn:
        archive.load(conn, stage.folder / "fleet" / "archive", zone=zone(conn))
        conn.commit()
    lines.append(f"archive imported in {time.monotonic() - begun:.0f} s")
    stage.clock = ScaledClock(stage.clock.start, time.time(), RATE)
    collector = stage.start("collector", "collect", "--listen", f"127.0.0.1:{stage.port}")
    stage.wait(lambda: b"collecting" in collector.log.read_bytes(), PATIENCE, "the collector does not begin")
    alone = collector.memory()
    stage.simulate()
    took = stage.wait(
        lambda: stage.status()["online"] == stage.terminals, PATIENCE, "not all terminals are in"
    )
    lines.append(f"all in after {took:.0f} s")
    idle = collector.memory()
    with psycopg.connect(stage.dsn, autocommit=True) as conn:
        first = _ceiling(stage.clock.now() + CALM)
        for slot in (first, first + SLOT):
            lines.append(_round(stage, conn, slot, meters - stage.dead))
    lines.append(_again(stage))
    busy = collector.memory()
    lines.append(
        f"collector's memory: {alone / 1024:.0f} MiB alone, {idle / 1024:.0f} MiB with all in "
        f"({(idle - alone) / stage.terminals:.0f} KiB a terminal), {busy / 1024:.0f} MiB at the end "
        f"({(busy - alone) / stage.terminals:.0f} KiB a terminal)"
    )
    return lines


def _round(stage: _Stage, conn: psycopg.Connection[tuple[int]], slot: np.datetime64, expected: int) -> str:
    due = stage.clock.seconds_until(slot + SETTLE)
    time.sleep(due)
    cpu, begun, said = stage.cpu(), time.monotonic(), stage.programs["collector"].log.stat().st_size
    at = as_datetime(slot)
    found, last, ninety = 0, begun, 0.0

    def whole() -> bool:
        nonlocal found, last, ninety
        now = _count(conn, at)
        if now > found:
            found, last = now, time.monotonic()
            if not ninety and found >= 0.9 * expected:
                ninety = last - begun
        time.sleep(0.5)
        return found >= expected

    while not whole() and time.monotonic() - begun < ROUND:
        for program in stage.programs.values():
            program.watch()
    seconds = last - begun
    spent = {name: now - cpu[name] for name, now in stage.cpu().items()}
    values = found * _values(conn, at)
    shares = ", ".join(f"{name} {used / seconds:.2f}" for name, used in spent.items())
    time.sleep(PULSE)
    lag = stage.lag(said)
    return (
        f"{as_datetime(slot, ZONE):%H:%M}: {found} of {expected} points in {seconds:.0f} s (90 % in {ninety:.0f} s); cores used: {shares}; "
        f"{found / spent['collector']:.0f} points and {values / spent['collector']:.0f} values a second of the collector's core; "
        f"loop late by p99 {lag[0]:.0f} ms, at worst {lag[1]:.0f} ms"
    )


def _again(stage: _Stage) -> str:
    before, said = stage.status(), stage.programs["collector"].log.stat().st_size
    cpu, begun = stage.cpu(), time.monotonic()
    control.tell(stage.folder / "fleet", f"reconnect {AGAIN:g}")
    stage.wait(
        lambda: (now := stage.status())["online"] == stage.terminals and now["logins"] >= before["logins"] + stage.terminals,
        BACK, "not all terminals are back",
    )  # fmt: skip
    took = time.monotonic() - begun
    spent = {name: now - cpu[name] for name, now in stage.cpu().items()}
    time.sleep(PULSE)
    after = stage.status()
    more = int(after["logins"] - before["logins"] - stage.terminals)
    lag = stage.lag(said)
    confirmed = (
        f"; login confirmed p99 {after['login_p99']:.2f} s, at worst {after['login_worst']:.2f} s"
        if "login_p99" in after
        else ""
    )
    return (
        f"all hung up within {AGAIN:.0f} s and were back after {took:.0f} s, {more} logins too many, "
        f"{stage.terminals - int(after['online'])} missing afterwards{confirmed}; cores used: "
        f"{', '.join(f'{name} {used / took:.2f}' for name, used in spent.items())}; "
        f"loop late by p99 {lag[0]:.0f} ms, at worst {lag[1]:.0f} ms"
    )


def _count(conn: psycopg.Connection[tuple[int]], at: object) -> int:
    row = conn.execute("SELECT count(*) FROM slot_read WHERE ts = %s", (at,)).fetchone()
    return row[0] if row else 0


def _values(conn: psycopg.Connection[tuple[int]], at: object) -> float:
    """Values in a row, on average of a thousand."""
    row = conn.execute(
        "SELECT avg((SELECT count(*) FROM jsonb_object_keys(jsonb_strip_nulls(to_jsonb(s)) - 'meter_id' - 'ts' - 'evidence')))::float8 "
        "FROM (SELECT * FROM slot_read WHERE ts = %s LIMIT 1000) s",
        (at,),
    ).fetchone()
    return float(row[0]) if row and row[0] is not None else 0.0


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
