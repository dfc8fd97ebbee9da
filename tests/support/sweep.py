"""What the demonstration's day would be found to be, for many seeds: the simulator's truth put before the rules.

No socket and no database: the arrays are what the head-end ends up with when every point that the fleet has is
read, and the rules are called as the nightly job calls them. `python -m tests.support.sweep --help`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from headend.jobs.anomalies import judge
from headend.jobs.network import assemble
from headend.plans import CURVE
from headend.store.blocks import Block, Rows
from headend.store.coverage import FOREVER, DayMatrix
from lineloss.norms import norms
from lineloss.topology import Role
from protocols.localtime import instant, midnight
from protocols.quantity import quantities
from protocols.reading import MISSING, REGISTER_QUANTITIES
from terminals.simulator import truth
from terminals.simulator.scenario import SLOTS, ZONE, Scenario, small
from terminals.simulator.truth import Expected, World
from terminals.simulator.witness import Act

#: The day that the demonstration shows; the one before is its history.
DAY = dt.date(2026, 3, 11)
SIZES: dict[str, Callable[..., Scenario]] = {"full": Scenario, "small": small}
Named = tuple[str, str, str]  # rule, kind of subject, subject


@dataclass(frozen=True, slots=True)
class Verdict:
    """One seed: what was planted and not found, what was found and not planted."""

    seed: int
    overlooked: tuple[Named, ...]
    accused: tuple[Named, ...]

    @property
    def right(self) -> bool:
        return not self.overlooked and not self.accused


def verdict(seed: int, size: str = "full") -> Verdict:
    """The demonstration's day of a seed, judged."""
    scenario = SIZES[size](seed, truth_days=2)
    world = truth.build(scenario)
    expected = truth.solve(world).expected(_acts(world, seed), first=scenario.first_day, last=DAY)
    said = findings(world, expected)
    planted, allowed = planted_and_allowed(expected)
    return Verdict(seed, tuple(sorted(planted - said)), tuple(sorted(said - allowed)))


def _acts(world: World, seed: int) -> list[Act]:
    """Two are cut off at noon, one of them pays and presses the key: within minutes of the demonstration's times."""
    rng = np.random.default_rng(seed)

    def at(hour: int, minute: int) -> np.datetime64:
        return instant(dt.datetime(2026, 3, 11, hour, minute, tzinfo=ZONE)) + np.timedelta64(
            int(rng.integers(1, 900)), "s"
        )

    broke, late = world.asset(world.faults.broke), world.asset(world.faults.late)
    return [
        Act(at(12, 5), broke, "trip", open=True),
        Act(at(12, 5), late, "trip", open=True),
        Act(at(13, 5), late, "key", open=False),
    ]


def findings(world: World, e: Expected) -> set[Named]:
    """Who the rules name, as (rule, kind, asset number or area code)."""
    said: set[Named] = set()
    for f in judge(assemble(_block(world, e), SLOTS), _capacity(world), _ledger(e)):
        names = e.meters if f.subject_kind == "meter" else e.areas
        said.add((f.rule, f.subject_kind, names[f.subject_id]))
    return said


def planted_and_allowed(e: Expected) -> tuple[set[Named], set[Named]]:
    """What has to be said, and what may be said: a stolen share can lift its area's true rate over the norm."""
    faults = e.faults
    planted = {("missing", "meter", asset) for asset in faults["dead"]}
    planted |= {("missing", "meter", gap["meter"]) for gap in faults["missing"]}
    planted |= {("theft", "meter", thief["meter"]) for thief in faults["thieves"]}
    planted |= {("voltage", "meter", asset) for asset in faults["excursions"]}
    planted |= {("unbalance", "area", area) for area in faults["unbalanced"]}
    allowed = set(planted)
    day = e.slots > midnight(DAY, ZONE)
    for thief in faults["thieves"]:
        area = e.areas.index(thief["area"])
        rate = (e.technical[area, day] + e.stolen[area, day]).sum() / e.supplied[area, day].sum()
        if rate > norms()["area_loss_rate"].high - 0.02:
            allowed.add(("loss", "area", thief["area"]))
    return planted, allowed


def _capacity(world: World) -> dict[int, float]:
    return {plan.area: float(plan.capacity_kva) for plan in world.plans}


def _block(world: World, e: Expected) -> Block:
    """The day as the store hands it out when all that can be read has been read."""
    first = np.concatenate(
        [[True], e.area_of[1:] != e.area_of[:-1]]
    )  # every area's first meter is its supply meter
    count, plans = len(e.meters), [world.plans[area] for area in e.area_of.tolist()]
    ordinal = np.arange(count) - np.flatnonzero(first)[e.area_of]
    rows = Rows(
        meter=np.arange(count),
        point=np.arange(count),
        terminal=e.area_of,
        area=e.area_of,
        role=np.where(first, Role.SUPPLY, Role.RECEIVE).astype(np.int64),
        multiplier=np.array(
            [plan.ct if m == 0 else 1 for plan, m in zip(plans, ordinal.tolist(), strict=True)]
        ),
        accuracy=np.where(first, 0.005, 0.01),
        phases=np.array([plan.phases(m) for plan, m in zip(plans, ordinal.tolist(), strict=True)]),
        whole=np.ones(count, dtype=np.bool_),
        since=np.repeat(e.slots[:1], count),
        until=np.repeat(FOREVER, count),
        digits=np.full(count, 6),
    )
    registers, instants = {}, {}
    for code, values in e.curve.items():
        if quantities()[code].kind == "register":
            registers[code] = np.where(e.available, values, MISSING)[:, -SLOTS - 1 :]
        else:
            instants[code] = np.where(e.available, values, np.nan)[:, -SLOTS:].astype(np.float32)
    freezes = {
        code: np.where(e.answers[:, None], e.freezes[code][:, -2:], MISSING) for code in REGISTER_QUANTITIES
    }
    return Block(DAY, e.slots[-SLOTS - 1 :], rows, registers, instants, freezes)


def _ledger(e: Expected) -> DayMatrix:
    shape = (len(e.meters), SLOTS)
    present = e.available[:, -SLOTS:]
    dead = np.broadcast_to(~e.answers[:, None], shape)
    return DayMatrix(
        plan=CURVE,
        day=DAY,
        times=e.slots[-SLOTS:],
        meters=np.arange(shape[0]),
        terminals=e.area_of,
        expected=np.ones(shape, dtype=np.bool_),
        due=np.ones(shape, dtype=np.bool_),
        present=present,
        late=np.zeros(shape, dtype=np.bool_),
        absent=~present & ~dead,
        attempts=np.ones(shape[0], dtype=np.int64),
        failed={"no-answer": dead},
    )


def main(arguments: list[str] | None = None) -> int:
    """Judge seeds; 1 if one of them came out wrong."""
    parser = argparse.ArgumentParser(prog="scripts/sweep", description=__doc__)
    parser.add_argument("--seeds", type=int, default=300, help="how many seeds (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: %(default)s)")
    parser.add_argument("--size", choices=[*SIZES, "both"], default="both")
    parser.add_argument("--jobs", type=int, default=None, help="processes (default: one per processor)")
    chosen = parser.parse_args(arguments)
    wrong = 0
    for size in SIZES if chosen.size == "both" else [chosen.size]:
        count: Counter[str] = Counter()
        with ProcessPoolExecutor(chosen.jobs) as pool:
            for v in pool.map(
                partial(verdict, size=size), range(chosen.first, chosen.first + chosen.seeds), chunksize=4
            ):
                count.update(f"overlooked {rule}" for rule, _, _ in v.overlooked)
                count.update(f"accused {rule}" for rule, _, _ in v.accused)
                if not v.right:
                    wrong += 1
                    print(
                        f"{size} seed {v.seed}: overlooked {v.overlooked}, wrongly accused {v.accused}",
                        flush=True,
                    )
        sums = (
            ", ".join(f"{what}: {n}" for what, n in sorted(count.items()))
            or "nothing overlooked, nobody wrongly accused"
        )
        print(f"{size}: {chosen.seeds} seeds; {sums}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
