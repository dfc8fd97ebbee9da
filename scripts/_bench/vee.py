"""Validation in memory: every rule over a day of many meters, tile by tile. No peer: it says where the time goes, by rule.

.venv/bin/python scripts/_bench/vee.py 1000000
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from lineloss.vee.facts import Facts, amperes
from lineloss.vee.rules import RULES
from protocols.reading import MISSING

#: meters of a tile, as the job's blocks have them
TILE = 5_000
#: different tiles that are taken in turn: 25 MB each, so that none is still in a cache when it comes again
TILES = 8
SLOTS = 96
DAYS = 28


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds in all and by rule; `facts` is what they share, such as the energies of the slots. `told`: verdicts by rule."""

    meters: int
    seconds: float
    facts: float
    rules: dict[str, float]
    told: dict[str, int]


def validation(meters: int = 1_000_000, missing: float = 0.03, seed: int = 1) -> Measured:
    """All rules over `meters` meter-days of 96 slots, rounded up to whole tiles; the making of the readings is not measured."""
    random = np.random.default_rng(seed)
    tile = min(TILE, meters)
    count = -(-meters // tile)
    made = [columns(random, tile, missing) for _ in range(min(TILES, count))]
    spent, told, shared = dict.fromkeys(RULES, 0.0), dict.fromkeys(RULES, 0), 0.0
    begun = time.perf_counter()
    for k in range(count):
        before = time.perf_counter()
        facts = Facts(**made[k % len(made)])
        shared += time.perf_counter() - before
        for name, module in RULES.items():
            before = time.perf_counter()
            told[name] += len(module.find(facts))
            spent[name] += time.perf_counter() - before
    return Measured(count * tile, time.perf_counter() - begun, shared, spent, told)


def columns(random: np.random.Generator, n: int, missing: float) -> dict[str, Any]:
    """A day of n meters: a tenth three-phase, loads of a household, points missing at random and now and then a false register."""
    mean = random.gamma(2, 250, n)  # 1e-4 kWh a slot
    day = 1 + 0.8 * np.sin(np.linspace(0, 2 * np.pi, SLOTS))
    energy = (mean[:, None] * day * random.gamma(4, 0.25, (n, SLOTS))).astype(np.int64) // 100 * 100
    start = random.integers(0, 5_000, n) * 10_000
    imports = start[:, None] + np.concatenate(
        [np.zeros((n, 1), dtype=np.int64), energy.cumsum(axis=1)], axis=1
    )
    freezes = imports[:, [0, -1]]
    odd = random.random(imports.shape) < 1e-5
    imports = np.where(odd, imports + 3_000_000, imports)
    imports = np.where(random.random(imports.shape) < missing, MISSING, imports)
    phases = np.where(random.random(n) < 0.1, 3, 1)
    volts = [random.normal(230, 2, (n, SLOTS)).astype(np.float32) for _ in range(3)]
    amps = [(energy / 2500 / 230 * 1000 / phases[:, None]).astype(np.float32) for _ in range(3)]
    for values in (volts[1], volts[2], amps[1], amps[2]):
        values[phases == 1] = np.nan
    multiplier = np.ones(n, dtype=np.int64)
    whole = np.ones((n, SLOTS), dtype=np.bool_)
    return {
        "meter": np.arange(n), "hours": 0.25, "imports": imports, "exports": np.zeros_like(imports), "freezes": freezes,
        "voltage": tuple(volts), "current": tuple(amps), "power": (energy / 2500).astype(np.float32), "installed": whole, "due": whole,
        "again": np.zeros(imports.shape, dtype=np.bool_), "cut": ~whole, "strange": np.zeros(n, dtype=np.int64),
        "before": freezes[:, 0] - energy.sum(axis=1).clip(max=start), "before_hours": np.full(n, 24.0),
        "history": (energy.sum(axis=1)[:, None] * random.normal(1, 0.1, (n, DAYS))).astype(np.int64),
        "alike": np.array([k % 7 not in (5, 6) for k in range(DAYS)]), "roll_over": np.full(n, 10**10), "phases": phases,
        "multiplier": multiplier, "amperes": amperes(multiplier), "exporting": np.zeros(n, dtype=np.bool_),
        "open": np.ones(n, dtype=np.bool_), "ahead": random.normal(0, 20, n), "unsure": np.ones(n),
    }  # fmt: skip


def main() -> None:
    found = validation(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
    print(
        f"{found.meters} meter-days of {SLOTS} slots, all rules: {found.seconds:.2f} s, of which shared {found.facts:.2f} s"
    )
    for name, seconds in sorted(found.rules.items(), key=lambda item: -item[1]):
        print(f"  {name:<12} {seconds:6.2f} s  {found.told[name]} verdicts")


if __name__ == "__main__":
    main()
