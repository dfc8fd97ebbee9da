"""scripts/model-orders: random lives of trips by the million, against rules that know nothing of the gates."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from tests.support.order_model.drive import Driver, Violated
from tests.support.order_model.pure import Pure
from tests.support.order_model.store import opened
from tests.support.order_model.world import small

#: steps of one world: a fresh one now and then reaches what a worn one does not
LIFE = 20_000


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/model-orders", description=__doc__)
    parser.add_argument("--steps", type=int, default=None, help="default: 1,000,000, and 20,000 with --store")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--store", action="store_true", help="through store/orders.py, on an embedded PostgreSQL of its own"
    )
    given = parser.parse_args(arguments)
    steps = given.steps if given.steps is not None else 20_000 if given.store else 1_000_000
    begun, done, sent, seed = time.perf_counter(), 0, 0, given.seed
    refused: dict[str, int] = {}
    try:
        while done < steps:
            part = min(LIFE, steps - done)
            if given.store:
                with opened() as (world, backend):
                    driver = Driver(world, backend, seed)
                    driver.run(part)
            else:
                world = small()
                driver = Driver(world, Pure(world), seed)
                driver.run(part)
            done, sent, seed = done + part, sent + driver.sent, seed + 1
            for gate, count in driver.backend.refused.items():
                refused[gate] = refused.get(gate, 0) + count
    except Violated as violated:
        print(f"VIOLATED: {violated}")
        return 1
    seconds = time.perf_counter() - begun
    where = "PostgreSQL" if given.store else "the pure model"
    print(
        f"{done} steps on {where}, seeds {given.seed} to {seed - 1}: {sent} trips left, none that must not; "
        f"{seconds:.0f} s, {done / seconds:.0f} steps/s"
    )
    print("noes by gate: " + ", ".join(f"{gate} {count}" for gate, count in sorted(refused.items())))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
