"""The whole chain: a simulated fleet on real sockets, one collector, its store; a day of points is owed.

There is no peer. Between two requests on a line the collector pauses as on a real one, so points a second
say how long a fleet takes; points per second of processor say how many fleets a processor can serve.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from measure import Race
from servers import fresh, server

from headend.store import archive
from headend.store.cluster import zone
from headend.store.db import connect

#: the domain time of the run, at the pace of the machine's clock: a day and an hour lie behind the fleet
START = "2026-03-12T00:10"
SEED = 645
READY_SECONDS = 60.0
#: no new point for so long: what is missing now is the dead meters' and the planted holes'
STILL_SECONDS = 4.0
MOST_SECONDS = 120.0


@dataclass(slots=True)
class _Program:
    """A process of ours; `cpu` once it has ended."""

    process: subprocess.Popen[bytes]
    cpu: float = 0.0

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu = usage.ru_utime + usage.ru_stime


def run(kinds: Sequence[str], size: str) -> tuple[list[Race], list[str]]:
    """On the first of the servers alone: the store is not what limits here. The races and what to say of them."""
    with (
        tempfile.TemporaryDirectory(prefix="headend-bench-") as folder,
        server(kinds[0]) as dsn,
    ):
        if dsn is None:
            return [], []
        with fresh(dsn, kinds[0]) as database:
            return _run(database, Path(folder), size)


def _run(dsn: str, folder: Path, size: str) -> tuple[list[Race], list[str]]:
    port = _free_port()
    clock = f"{START}@{time.time()!r}x1.0"
    environment = os.environ | {"HEADEND_DSN": dsn, "HEADEND_CLOCK": clock, "HEADEND_HOME": str(folder)}
    address = f"127.0.0.1:{port}"
    with (folder / "programs.log").open("wb") as log:
        fleet = ["simulate", str(folder), "--seed", str(SEED), "--size", size, "--head-end", address]
        with _program(fleet, environment, log) as simulator:
            _await(folder / "ready.json", simulator)
            with connect(dsn) as conn:
                archive.load(conn, folder / "archive", zone=zone(conn))
                conn.commit()
                meters = _count(conn, "meter")
            with _program(["collect", "--listen", address], environment, log) as collector:
                points, seconds = _watch(dsn)
    title = f"a day of {meters} meters, collected"
    races = [
        Race(heading, "points", points, 0, {who: [spent]})
        for heading, who, spent in (
            (title, "ours, one collector", seconds),
            ("", "a second of the collector's processor", collector.cpu),
            ("", "a second of the simulator's processor", simulator.cpu),
        )
    ]
    told = (
        f"collect: {points} curve points and day freezes in {seconds:.0f} s; processor time with the programs' start: "
        f"collector {collector.cpu:.1f} s, simulator {simulator.cpu:.1f} s"
    )
    return races, [told]


@contextmanager
def _program(arguments: list[str], environment: dict[str, str], log: object) -> Iterator[_Program]:
    command = [sys.executable, "-m", "headend", *arguments]
    program = _Program(subprocess.Popen(command, env=environment, stdout=log, stderr=log))  # type: ignore[call-overload]
    try:
        yield program
    finally:
        program.stop()


def _watch(dsn: str) -> tuple[int, float]:
    """Points that came, and seconds until the last of them."""
    begin = last = time.monotonic()
    points = 0
    with psycopg.connect(dsn, autocommit=True) as conn:
        while (now := time.monotonic()) - begin < MOST_SECONDS:
            found = _count(conn, "slot_read") + _count(conn, "register_read")
            if found > points:
                points, last = found, now
            elif points and now - last > STILL_SECONDS:
                break
            time.sleep(0.25)
    if not points:
        raise SystemExit("bench: the collector brought nothing in; try `headend collect` by hand")
    return points, last - begin


def _count(conn: psycopg.Connection[tuple[int]], table: str) -> int:
    row = conn.execute(f"SELECT count(*) AS n FROM {table}".encode()).fetchone()
    assert row is not None
    return next(iter(row.values())) if isinstance(row, dict) else row[0]


def _await(path: Path, program: _Program) -> None:
    until = time.monotonic() + READY_SECONDS
    while not path.exists():
        if program.process.poll() is not None or time.monotonic() > until:
            raise SystemExit("bench: the simulator did not start; try `headend simulate` by hand")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
