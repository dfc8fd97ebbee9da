"""`headend read` while everything else is busy: how long somebody at a screen waits.

Lines of the simulated fleet behind a radio link: each round trip takes 300 to 800 ms more, one message in a hundred is lost either way. A day of
points of every meter is owed on each of them, so the lines are never idle. There is no peer.
"""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import os
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from collect import SEED, START, _await, _free_port, _program
from measure import Race
from servers import fresh, server

from headend.store import archive, orders
from headend.store.cluster import zone
from headend.store.db import Connection, connect
from headend.store.orders import ITEMS
from protocols.localtime import instant
from terminals.simulator.scenario import ZONE

#: seconds of a round trip beyond the wire's own, and the share of messages lost in each direction: what GPRS does on a fair day
DELAY = (0.3, 0.8)
LOST = 0.01
#: the goal, seconds
GOAL = 10.0
#: real seconds after which a read is given up and counted as such
GIVEN_UP = 60.0
WARM_SECONDS = 20.0


@dataclass(slots=True)
class _Radio:
    """A relay in front of one terminal that is slow and forgets."""

    target: tuple[str, int]
    rng: random.Random
    busy: float = 0.0  # seconds in which something was on its way

    async def start(self) -> str:
        listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up, down = await asyncio.open_connection(*self.target)
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(self._pass(reader, down), self._pass(up, writer))
        down.close()
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            delay = self.rng.uniform(*DELAY) / 2
            await asyncio.sleep(delay)
            self.busy += delay
            if self.rng.random() >= LOST:
                writer.write(data)


@dataclass(slots=True)
class _Waits:
    """What readers waited, by what they asked."""

    seconds: dict[str, list[float]] = field(
        default_factory=lambda: {"registers and instants": [], "one item": []}
    )
    turn: list[float] = field(default_factory=list)  # until the first byte was sent
    failed: list[str] = field(default_factory=list)


def run(kinds: Sequence[str], lines: int, reads: int) -> tuple[list[Race], list[str]]:
    """`reads` on each of `lines`. The races and what to say of them."""
    with tempfile.TemporaryDirectory(prefix="headend-bench-") as folder, server(kinds[0]) as dsn:
        if dsn is None:
            return [], []
        with fresh(dsn, kinds[0]) as database:
            return asyncio.run(_run(database, Path(folder), lines, reads))


async def _run(dsn: str, folder: Path, lines: int, reads: int) -> tuple[list[Race], list[str]]:
    port, anchor = _free_port(), time.time()
    environment = os.environ | {
        "HEADEND_DSN": dsn, "HEADEND_CLOCK": f"{START}@{anchor!r}x1.0", "HEADEND_HOME": str(folder),
    }  # fmt: skip
    with (folder / "programs.log").open("wb") as log:
        fleet = [
            "simulate",
            str(folder),
            "--seed",
            str(SEED),
            "--size",
            "full",
            "--head-end",
            f"127.0.0.1:{port}",
        ]
        with _program(fleet, environment, log) as simulator:
            await asyncio.to_thread(_await, folder / "ready.json", simulator)
            radios = await _put_between(folder, lines)
            with connect(dsn) as conn:
                archive.load(conn, folder / "archive", zone=zone(conn))
                conn.commit()
                meters = _alive(conn)
            with _program(["collect", "--listen", f"127.0.0.1:{port}"], environment, log):
                await asyncio.sleep(WARM_SECONDS)
                began = time.monotonic()
                for radio in radios:
                    radio.busy = 0.0
                waits = _Waits()
                await asyncio.gather(
                    *(_read_often(dsn, anchor, ms, reads, waits, k) for k, ms in enumerate(meters))
                )
                spent = time.monotonic() - began
    return _told(waits, radios, spent, len(meters))


def _told(waits: _Waits, radios: Sequence[_Radio], spent: float, lines: int) -> tuple[list[Race], list[str]]:
    share = 100 * np.mean([radio.busy / spent for radio in radios])
    said = [f"live: {lines} radio lines of 20 meters, {DELAY[0] * 1000:.0f}-{DELAY[1] * 1000:.0f} ms a round trip, {2 * LOST:.0%} lost, "
            f"on their way {share:.0f} % of the time; goal p99 < {GOAL:.0f} s"]  # fmt: skip
    for what, seconds in waits.seconds.items():
        if seconds:
            p50, p90, p99 = np.percentile(seconds, (50, 90, 99))
            said.append(
                f"live: {what}: {len(seconds)} reads, p50 {p50:.1f} s, p90 {p90:.1f} s, p99 {p99:.1f} s, longest {max(seconds):.1f} s"
            )
    if waits.turn:
        p50, p99 = np.percentile(waits.turn, (50, 99))
        said.append(
            f"live: of that until the line was given: p50 {p50:.1f} s, p99 {p99:.1f} s, longest {max(waits.turn):.1f} s"
        )
    said += [
        f"live: {len(waits.failed)} reads brought nothing{': ' + waits.failed[0] if waits.failed else ''}"
    ]
    return [], said


async def _put_between(folder: Path, lines: int) -> list[_Radio]:
    """Relays in front of the first DL/T 645 terminals that wait for a call; the archive knows no others."""
    path = folder / "archive" / "terminals.csv"
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    chosen = [row for row in rows if (row["protocol"], row["link"]) == ("dlt645", "dial-out")][:lines]
    radios = []
    for k, row in enumerate(chosen):
        host, _, port = row["endpoint"].rpartition(":")
        radio = _Radio((host, int(port)), random.Random(k))
        row["endpoint"] = await radio.start()
        radios.append(radio)
    codes = {row["terminal"] for row in chosen}
    _keep(path, chosen)
    meters = folder / "archive" / "meters.csv"
    kept = [
        row
        for row in csv.DictReader(meters.read_text(encoding="utf-8").splitlines())
        if row["terminal"] in codes
    ]
    _keep(meters, kept)
    points = {row["point"] for row in kept}
    customers = folder / "archive" / "customers.csv"
    _keep(
        customers,
        [
            r
            for r in csv.DictReader(customers.read_text(encoding="utf-8").splitlines())
            if r["point"] in points
        ],
    )
    return radios


def _keep(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _alive(conn: Connection) -> list[list[str]]:
    """Assets by terminal."""
    found: dict[int, list[str]] = {}
    for row in conn.execute(
        "SELECT terminal_id, asset FROM installation JOIN meter USING (meter_id) ORDER BY asset"
    ):
        found.setdefault(row["terminal_id"], []).append(row["asset"])
    return list(found.values())


async def _read_often(
    dsn: str, anchor: float, meters: list[str], reads: int, waits: _Waits, line: int
) -> None:
    rng = random.Random(line)
    with connect(dsn) as conn:
        for k in range(reads):
            what = "one item" if k % 2 else "registers and instants"
            action = ITEMS + "02010100" if k % 2 else ""
            began = time.monotonic()
            order = orders.request(
                conn, kind="read", action=action, asset=rng.choice(meters), reason="bench", who="bench", now=_now(anchor),
                expires=_now(anchor) + np.timedelta64(600, "s"), priority=3,
            )  # fmt: skip
            state = await _ended(conn, order)
            if state == "verified":
                waits.seconds[what].append(time.monotonic() - began)
                found = orders.get(conn, order)
                conn.rollback()
                waits.turn.append((found["sent_at"] - found["requested_at"]).total_seconds())
            else:
                waits.failed.append(f"{state}: {orders.get(conn, order)['outcome']}")
                conn.rollback()
            await asyncio.sleep(rng.uniform(0.0, 2.0))


async def _ended(conn: Connection, order: int) -> str:
    until = time.monotonic() + GIVEN_UP
    while time.monotonic() < until:
        found = orders.get(conn, order)
        conn.rollback()
        if not found["is_open"]:
            return str(found["state"])
        await asyncio.sleep(0.05)
    return "given up"


def _now(anchor: float) -> np.datetime64:
    start = instant(dt.datetime.fromisoformat(START).replace(tzinfo=ZONE))
    return start + np.timedelta64(int((time.time() - anchor) * 1e6), "us")
