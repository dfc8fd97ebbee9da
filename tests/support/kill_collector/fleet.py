"""The terminals of scripts/kill-collector: a process that can be killed and comes back with the same meters at the same ports."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from headend.clock import parse
from terminals.simulator.fleet import Fleet
from terminals.simulator.scenario import ZONE, Group, Scenario, small

#: some that are dialled and some that dial in, in both protocols; no serial line, whose name would be another after each start
GROUPS = (
    Group("dlt645", "dial-out", 2),
    Group("dlt645", "dial-in", 1),
    Group("dlms", "dial-out", 1),
)
WAITING = sum(group.count for group in GROUPS if group.link == "dial-out")
#: days of truth: the clock may not run further than they reach
DAYS = 8


def scenario(seed: int) -> Scenario:
    """4 terminals of 6 meters, one of them dead, one with records that it never made, on lines that lose and garble a little."""
    return small(seed, groups=GROUPS, truth_days=DAYS)


async def main(folder: str, seed: str, clock: str, port: str, first_port: str) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    listener = ("127.0.0.1", int(port))
    fleet = Fleet(scenario(int(seed)), Path(folder), parse(clock, ZONE), listener, int(first_port))
    await fleet.start()
    await stop.wait()
    await fleet.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
