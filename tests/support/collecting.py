"""A collector against a small simulated fleet on real sockets, with a wire of our own between that can lose and spoil answers."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import datetime as dt
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from headend.collector.daemon import Daemon, Options
from headend.collector.database import Database
from headend.collector.drivers import drivers
from headend.collector.rounds import Rhythm
from headend.control.order_state import State
from headend.store import archive, coverage, orders
from headend.store.db import Connection
from terminals.pace import Timing
from terminals.simulator.fleet import Fleet
from terminals.simulator.scenario import ZONE, Group, Plan, small
from tests.support.house import at

FAST = Timing(first=0.25, floor=0.2, ceiling=0.5, gap=0.1, attempts=2, pause=0.0, whole=20.0)
BUS = Group("dlt645", "dial-out", 4)
BOTH = (Group("dlt645", "dial-out", 2), Group("dlms", "dial-out", 2))
#: What the simulated meters understand.
STAND_IN = "terminals.simulator.standin:StandInMachine"
RELAY_645 = re.compile(rb"\x68.{6}\x68\x1c", re.DOTALL)


class HandClock:
    """Stands still until told otherwise; a domain second takes a thousandth of a real one to wait for."""

    rate = 1000.0

    def __init__(self, text: str) -> None:
        self.set(text)

    def set(self, text: str) -> None:
        self.time = at(text)

    def now(self) -> np.datetime64:
        return self.time

    def seconds_until(self, when: np.datetime64) -> float:
        return max(0.0, float((when - self.time) / np.timedelta64(1, "s")) / 1000)


class Wire:
    """A TCP relay in front of one terminal."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.rpartition(":")
        self._target = host, int(port)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests: list[bytes] = []
        self.lose_answer_to: re.Pattern[bytes] | None = None
        self.spoil: Callable[[bytes], bytes] = bytes
        self._losing = False

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def commands(self) -> int:
        """Relay commands of DL/T 645 that the device was given."""
        return len(RELAY_645.findall(b"".join(self.requests)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends = [writer]
        try:
            up, down = await asyncio.open_connection(*self._target)
            ends.append(down)
            with contextlib.suppress(OSError):
                await asyncio.gather(self._up(reader, down), self._down(up, writer))
        except (asyncio.CancelledError, OSError):
            pass
        finally:
            self._tasks.discard(task)
            for end in ends:
                end.close()

    async def _up(self, reader: asyncio.StreamReader, device: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            self.requests.append(data)
            if self.lose_answer_to is not None:
                self._losing = self.lose_answer_to.search(data) is not None
            device.write(data)
        device.close()

    async def _down(self, device: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await device.read(4096):
            if self._losing:
                self._losing, self.lose_answer_to = False, None
                continue
            writer.write(self.spoil(data))
        writer.close()


class House:
    """A small fleet, its wires, the store and a collector."""

    def __init__(
        self, dsn: str, conn: Connection, database: Database, folder: Path, clock: HandClock
    ) -> None:
        self.dsn = dsn
        self.conn = conn
        self.clock = clock
        self.wires: dict[str, Wire] = {}
        self._database = database
        self._folder = folder
        self._running: list[tuple[Daemon, asyncio.Task[None]]] = []
        self.fleet: Fleet | None = None
        self.dead = ""

    async def open(self, *groups: Group, alone: bool, bare: bool = False, **plan: Any) -> None:
        """The fleet of these groups; `alone`: one of its terminals is all that the archive knows; `bare`: they come from the factory."""
        none = {
            "dead": 0,
            "missing": 0,
            "thieves": 0,
            "excursions": 0,
            "unbalanced": 0,
            "prepaid": 3,
            "lost": 0.0,
            "garbled": 0.0,
        }
        scenario = replace(small(7, plan=Plan(**{**none, **plan})), groups=groups)
        self.fleet = Fleet(scenario, self._folder, self.clock, ("127.0.0.1", 9), bare=bare)
        await self.fleet.start()
        dead = [m.asset for t in self.fleet.terminals for m in t.meters if m.dead]
        self.dead = dead[0] if dead else ""
        meters = self._table("meters")
        if alone:  # the one with the dead meter, if there is one
            mine = next(
                (row["terminal"] for row in meters if row["meter"] == self.dead), meters[0]["terminal"]
            )
            meters = [row for row in meters if row["terminal"] == mine]
        points, codes = {row["point"] for row in meters}, {row["terminal"] for row in meters}
        self._write("meters", meters)
        self._write("customers", [row for row in self._table("customers") if row["point"] in points])
        terminals = [row for row in self._table("terminals") if row["terminal"] in codes]
        for row in terminals:
            wire = self.wires[row["terminal"]] = Wire(row["endpoint"])
            row["endpoint"] = await wire.start()
        self._write("terminals", terminals)
        archive.load(self.conn, self._folder / "archive", zone=ZONE)
        self.conn.commit()

    def _table(self, name: str) -> list[dict[str, str]]:
        return list(
            csv.DictReader(
                (self._folder / "archive" / f"{name}.csv").read_text(encoding="utf-8").splitlines()
            )
        )

    def _write(self, name: str, rows: list[dict[str, str]]) -> None:
        with (self._folder / "archive" / f"{name}.csv").open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, rows[0])
            writer.writeheader()
            writer.writerows(rows)

    @property
    def wire(self) -> Wire:
        (wire,) = self.wires.values()
        return wire

    def collect(self, rhythm: Rhythm | None = None) -> Daemon:
        """One more collector. `rhythm`: of its rounds, if not the usual one, which comes to nobody within a test."""
        daemon = Daemon(
            self._database,
            self.clock,
            Options(
                None,
                self._folder / "spool",
                lease_seconds=4.0,
                poll_seconds=0.1,
                timing=FAST,
                drivers=drivers(STAND_IN),
                rhythm=rhythm or Rhythm(),
            ),
        )
        self._running.append((daemon, asyncio.create_task(daemon.run())))
        return daemon

    async def leave(self) -> None:
        for daemon, _ in self._running:
            daemon.stop()
        async with asyncio.timeout(20):
            await asyncio.gather(*(task for _, task in self._running))
        self._running.clear()

    async def close(self) -> None:
        await self.leave()
        for wire in self.wires.values():
            await wire.stop()
        if self.fleet is not None:
            await self.fleet.stop()

    async def until(self, is_so: Callable[[], bool], seconds: float = 25.0) -> None:
        async with asyncio.timeout(seconds):
            while not is_so():
                assert not any(task.done() for _, task in self._running)
                await asyncio.sleep(0.05)

    # --- what the store says ---

    def open_points(self, day: str = "2026-03-11") -> int:
        """Points of a day that are due, missing and still worth asking for."""
        matrix = coverage.day_matrix(
            self.conn, coverage.CURVE, dt.date.fromisoformat(day), now=self.clock.now(), zone=ZONE
        )
        self.conn.commit()
        return int(matrix.open.sum())

    def state(self, order: int) -> State:
        found = State(orders.get(self.conn, order)["state"])
        self.conn.commit()
        return found

    def why(self, asset: str, day: str) -> coverage.Why:
        told = coverage.why(
            self.conn, asset=asset, day=dt.date.fromisoformat(day), now=self.clock.now(), zone=ZONE
        )
        self.conn.commit()
        return told

    def ask(self, asset: str, action: str, kind: str = "relay") -> int:
        now = self.clock.now()
        return orders.request(
            self.conn,
            kind=kind,
            action=action,
            asset=asset,
            reason="test",
            who="陈晓",
            now=now,
            expires=now + np.timedelta64(3, "h"),
        )


Open = Callable[..., Awaitable[House]]
