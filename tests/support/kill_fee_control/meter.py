"""The meter of the story: one simulated DL/T 645 meter, what it is asked in relay orders, and when its customer's money runs out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from headend.clock import Clock
from terminals.simulator.fleet import Fleet
from terminals.simulator.meter import Meter
from terminals.simulator.scenario import Group, Plan, Scenario, small
from tests.support.house import at
from tests.support.household import is_peak

PLAN: Final = Plan(
    dead=0, missing=0, thieves=0, excursions=0, unbalanced=0, prepaid=1, lost=0.0, garbled=0.0, events=0
)
#: seed of a fleet in which somebody takes no more than validation believes behind a ratio: 10 A
FLEET: Final = 7
DAY: Final = "2026-03-11"
#: the quarter-hour whose reading shows that nothing is left; one costs the customer about this, so that he is warned twice before
EMPTY_AT: Final = "10:30"
QUARTER_FEN: Final = 330
#: 1e-4 yuan a kWh, as in tests/support/household.py
PRICES: Final = (2_880, 5_680)

#: DL/T 645-2007 on the wire: 68 address 68, a control code, a length, and a data identifier plus 33H, the low byte first
_READ = re.compile(rb"\x68.{6}\x68\x11[\x04-\xff](.{4})", re.DOTALL)
_ACT = re.compile(rb"\x68.{6}\x68([\x03\x1c])", re.DOTALL)
STATUS_3, POWER, COMMAND = "04000503", "02030000", "1C"


def asked(request: bytes) -> str:
    """The data identifier of a read; 03 (security authentication) or 1C (relay command); '' for anything else."""
    found = _READ.search(request)
    if found:
        return bytes((byte - 0x33) % 256 for byte in reversed(found[1])).hex().upper()
    act = _ACT.search(request)
    return act[1].hex().upper() if act else ""


def of_an_order(request: bytes) -> bool:
    """What a relay order asks: the clock, status, load, and its commands; not the curves that are read all the time."""
    name = asked(request)
    return name in ("03", COMMAND) or name[:2] in ("02", "04")


def scenario(seed: int) -> Scenario:
    return small(seed, groups=(Group("dlt645", "dial-out", 1),), plan=PLAN, customers=12)


def fleet(seed: int, folder: Path, clock: Clock) -> Fleet:
    return Fleet(scenario(seed), folder, clock, ("127.0.0.1", 9))


@dataclass(frozen=True, slots=True)
class Customer:
    """A meter with its ratio, and what was paid in advance [fen]."""

    meter: Meter
    ct: int
    opening_fen: int


def calmest(meters: Sequence[Meter]) -> Meter:
    """The customer whose dearest quarter-hour of two days is the least."""
    ends = np.arange(
        at(DAY) - np.timedelta64(1, "D"), at(DAY) + np.timedelta64(1, "D"), np.timedelta64(15, "m")
    )

    def most(meter: Meter) -> int:
        totals = [int(found[0]) for end in ends if (found := meter.registers(end)) is not None]
        return int(np.diff(totals).max())

    return min((meter for meter in meters if meter.has_relay and meter.phases == 1), key=most)


def customer(meter: Meter) -> Customer:
    """Money that runs out at EMPTY_AT: by the quarter-hours until then, with a ratio that makes one of them dear enough."""
    ends = np.arange(
        at(f"{DAY} 00:00"), at(f"{DAY} {EMPTY_AT}") + np.timedelta64(1, "m"), np.timedelta64(15, "m")
    )
    totals = [int(found[0]) for end in ends if (found := meter.registers(end)) is not None]
    assert len(totals) == len(ends)
    costs = np.diff(totals) * [PRICES[is_peak(end)] for end in ends[1:]]
    ct = max(1, round(QUARTER_FEN * 1_000_000 * 3 / int(costs[-3:].sum())))
    return Customer(meter, ct, int(costs.sum()) * ct // 1_000_000 - 20)
