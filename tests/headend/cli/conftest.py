"""A head-end that runs: real processes, a real database, a small simulated fleet and one meter that talks garbage."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.cli import Said, Shell, environment, free_port

#: An ordinary Wednesday, running at the pace of real time from the moment the first command asks for it.
START = "2026-03-11T10:00:00+08:00"
TODAY, YESTERDAY = "2026-03-11", "2026-03-10"


@pytest.fixture
def bare(tmp_path: Path) -> Shell:
    """A shell without any database: what must work, or fail, before there is one."""
    return Shell(
        environment(HEADEND_HOME=str(tmp_path / "home"), HEADEND_DSN="postgresql://127.0.0.1:1/nowhere")
    )


@pytest.fixture(scope="session")
def garbage() -> Iterator[int]:
    """The port of a device that answers whatever it hears with noise."""
    noise = bytes(range(0x20, 0x60))

    def talk(link: socket.socket) -> None:
        with closing(link), suppress(OSError):
            while link.recv(4096):
                link.sendall(noise)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()

    server = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield int(server.getsockname()[1])
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A head-end that runs: its shell, its simulated meters by what is special about them, and who listens where."""

    shell: Shell
    folder: Path
    faults: dict[str, Any]
    garbage: int
    listen: int
    dsn: str

    def __call__(self, *arguments: str, **more: str) -> Said:
        return self.shell(*arguments, **more)

    def process(self, *arguments: str, **more: str) -> Said:
        return self.shell.process(*arguments, **more)

    @property
    def meter(self) -> str:
        """One with nothing special about it, behind a terminal that is dialled."""
        return "410000010002"

    def endpoint(self, meter: str) -> str:
        """The URL behind which a meter's terminal answers."""
        row = next(r for r in self("archive", "list", "meters", "--json").json() if r["meter"] == meter)
        terminals = self("archive", "list", "terminals", "--json").json()
        return "tcp://" + next(t["address"] for t in terminals if t["terminal"] == row["terminal"])

    def customer(self, meter: str) -> str:
        """Whose meter it is."""
        point = next(
            r["point"] for r in self("archive", "list", "meters", "--json").json() if r["meter"] == meter
        )
        return next(
            r["customer"]
            for r in self("archive", "list", "customers", "--json").json()
            if r["point"] == point
        )


GARBAGE_METER = "990000000001"


@pytest.fixture(scope="session")
def fleet(servers: Any, garbage: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Four terminals of six meters, read by a real collector since ten o'clock; and one that talks garbage."""
    folder = tmp_path_factory.mktemp("fleet")
    admin = servers.dsn("embedded")
    name = f"cli_{os.getpid()}"
    with psycopg.connect(admin, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy".encode())
    dsn = psycopg.conninfo.make_conninfo(admin, dbname=name)
    listen = free_port()
    shell = Shell(
        environment(
            HEADEND_HOME=str(folder / "home"), HEADEND_DSN=dsn, HEADEND_CLOCK=f"{START}@{time.time()!r}x1.0",
            HEADEND_LISTEN=f"127.0.0.1:{listen}", HEADEND_LEASE_SECONDS="4", HEADEND_POLL_SECONDS="0.2",
            HEADEND_ANSWER_SECONDS="0.5", HEADEND_CIPHER_MACHINE="terminals.simulator.standin:StandInMachine",
        )
    )  # fmt: skip
    running = []
    try:
        simulator = folder / "simulator"
        running.append(
            shell.start(folder / "simulator.log", "simulate", str(simulator), "--seed", "7", "--size", "small",
                        "--head-end", f"127.0.0.1:{listen}")
        )  # fmt: skip
        assert shell("init").code == 0
        # before the first notice: what one has promised is kept
        assert (
            shell("prepaid", "terms", "--grace-days", "0", "--reason", "a test of what comes after").code == 0
        )
        until((simulator / "ready.json").exists, 30)
        babbler(folder / "garbage", garbage)
        for archive in (simulator / "archive", folder / "garbage"):
            assert shell("archive", "import", str(archive)).code == 0
        running.append(shell.start(folder / "collector.log", "collect"))
        faults = json.loads((simulator / "truth.json").read_text())["faults"]
        yield Fleet(shell, folder, faults, garbage, listen, dsn)
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(20)
        with psycopg.connect(admin, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


def babbler(folder: Path, port: int) -> None:
    """An archive with the meter that talks garbage."""
    folder.mkdir()
    (folder / "areas.csv").write_text("area,name,capacity_kva\nTQ9999,杂音台区,100\n", "utf-8")
    (folder / "terminals.csv").write_text(
        f"terminal,name,protocol,link,endpoint,login\n99000001,杂音,dlt645,dial-out,127.0.0.1:{port},\n",
        "utf-8",
    )
    (folder / "meters.csv").write_text(
        "meter,point,area,role,terminal,protocol,address,phases,ct,pt,accuracy,from,password\n"
        f"{GARBAGE_METER},JL99999,TQ9999,receive,99000001,dlt645,{GARBAGE_METER},1,1,1,0.01,2026-03-11T00:00,\n", "utf-8",
    )  # fmt: skip


def until(true: Any, seconds: float) -> Any:
    """The first truthy answer."""
    end = time.monotonic() + seconds
    while not (answer := true()):
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.1)
    return answer
