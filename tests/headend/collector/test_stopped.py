"""An owner that stands still (SIGSTOP) until its lease has passed to another: when it wakes it moves no order any more and no byte of one leaves it.

Two collectors as processes of their own, terminals on real sockets; what each sends goes through a wire of ours that knows the sender by its
connection. STOPS says how often (`scripts/stop-owner`).
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headend.clock import ScaledClock
from headend.control.order_state import OPEN
from headend.store import orders
from terminals.simulator.scenario import Group
from tests.support.cli import environment
from tests.support.collecting import STAND_IN, House, Open
from tests.support.house import at, one, table

STOPS = int(os.environ.get("STOPS", "2"))
#: seconds; and for how long the owner stands still beyond that
LEASE, BEYOND = 2.0, 1.0
NOW = "2026-03-11 10:07"
#: the clock of a meter is asked for before a relay is told anything: 04000101 and 04000102, plus 33H
CLOCK_READ = re.compile(rb"\x68.{6}\x68\x11\x04[\x34\x35]\x34\x33\x37", re.DOTALL)


class Collector:
    """`headend collect` as a process."""

    def __init__(self, house: House, folder: Path, name: str, clock: str) -> None:
        self.log = folder / f"{name}.log"
        settings = environment(
            HEADEND_HOME=str(folder / name), HEADEND_DSN=house.dsn, HEADEND_CLOCK=clock, HEADEND_LEASE_SECONDS=str(LEASE),
            HEADEND_POLL_SECONDS="0.1", HEADEND_ANSWER_SECONDS="1", HEADEND_CIPHER_MACHINE=STAND_IN,
        )  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "headend", "collect", "--listen", "none"], env=settings, stdout=log, stderr=log
            )  # fmt: skip

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        self.tell(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Pair:
    """Two collectors, of which one holds the only terminal."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house = house
        # an order of unknown outcome is looked at again after two minutes
        clock = ScaledClock(at(NOW), time.time(), 20.0).text()
        self.both = [Collector(house, folder, name, clock) for name in ("one", "two")]

    def owner(self) -> str:
        """Who holds the terminal now, '' if nobody does."""
        sql = "SELECT coalesce(max(owner), '') FROM lease WHERE until > clock_timestamp()"
        return str(one(self.house.conn, sql))

    def of(self, owner: str) -> Collector:
        """By the process number in the owner's name."""
        pid = int(owner.split(":")[1])
        return next(collector for collector in self.both if collector.process.pid == pid)

    def close(self) -> None:
        for collector in self.both:
            collector.close()


@pytest.fixture
def server_kind() -> str:
    """Nothing here depends on the kind of server."""
    return "embedded"


@pytest.fixture
async def pair(open_house: Open, tmp_path: Path) -> AsyncIterator[Pair]:
    house = await open_house(Group("dlt645", "dial-out", 4), now=NOW)
    made = Pair(house, tmp_path)
    yield made
    made.close()


async def until(house: House, is_so: object, seconds: float = 60.0) -> None:
    assert callable(is_so)
    await house.until(is_so, seconds)


async def passes(pair: Pair, stopped: str) -> None:
    """The lease goes to the other."""
    await until(pair.house, lambda: pair.owner() not in ("", stopped))
    await asyncio.sleep(BEYOND)


async def ends(house: House, order: int) -> None:
    await until(house, lambda: house.state(order) not in OPEN)


def moved_by(house: House, who: str, since: str) -> int:
    """Steps of orders that `who` made after the other had the lease (server time)."""
    return int(
        one(house.conn, f"SELECT count(*) FROM order_event WHERE who = '{who}' AND recorded > '{since}'")
    )


async def test_a_lease_that_passed_while_its_owner_stood_still_sends_nothing(pair: Pair) -> None:
    """Stopped between the question for the meter's clock and the command, the dearest moment: all that is asked before has been answered."""
    house = pair.house
    await until(house, lambda: pair.owner() != "")
    await until(house, lambda: house.open_points() == 0)
    first = pair.owner()
    heard = len(house.wire.requests)
    order = house.ask(_meter(house), "keep-power")
    await until(house, lambda: any(CLOCK_READ.search(data) for data in house.wire.requests[heard:]))
    pair.of(first).tell(signal.SIGSTOP)
    sent = house.wire.commands
    assert sent <= 1  # nothing, or already the command itself: then the other only reads
    await passes(pair, first)
    since = str(one(house.conn, "SELECT clock_timestamp()"))
    await ends(house, order)
    before = house.wire.commands
    pair.of(first).tell(signal.SIGCONT)
    await asyncio.sleep(2 * BEYOND)
    assert house.wire.commands == before == 1
    assert moved_by(house, first, since) == 0
    assert orders.get(house.conn, order)["state"] == "verified"


@pytest.mark.timeout(60 + 60 * STOPS)
async def test_stopped_at_any_moment_it_moves_no_order_afterwards(pair: Pair) -> None:
    house, chance = pair.house, random.Random(STOPS)
    await until(house, lambda: pair.owner() != "")
    refused = 0
    for k in range(STOPS):
        first = pair.owner()
        commands = house.wire.commands
        order = house.ask(_meter(house), "keep-power" if k % 2 == 0 else "end-keep-power")
        await asyncio.sleep(chance.random() * 0.4)
        pair.of(first).tell(signal.SIGSTOP)
        await passes(pair, first)
        since = str(one(house.conn, "SELECT clock_timestamp()"))
        await ends(house, order)
        told = house.wire.commands
        pair.of(first).tell(signal.SIGCONT)
        await asyncio.sleep(BEYOND)
        assert house.wire.commands == told <= commands + 1, (
            f"stop {k}: a command left the old owner, or was sent twice"
        )
        assert moved_by(house, first, since) == 0
        refused += 1
        await until(house, lambda: pair.owner() != "")
    steps = table(house.conn, "SELECT count(*), count(DISTINCT order_id) FROM order_event")
    print(
        f"{refused} stops past the lease: no step of an order and no byte of one from the old owner; {steps[0][0]} steps of {steps[0][1]} orders"
    )


def _meter(house: House) -> str:
    found = one(
        house.conn,
        "SELECT min(asset) FROM meter JOIN installation USING (meter_id) JOIN area_role USING (point_id) WHERE role = 'receive'",
    )
    return str(found)
