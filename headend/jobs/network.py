"""A day's block as the pure rooms want it: topology and register curves, row by row the same meters."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headend.jobs.frame import Run
from headend.plans import CURVE, points
from headend.store import blocks
from headend.store.blocks import Block
from lineloss.topology import Topology
from protocols.reading import MISSING, SLOT_QUANTITIES

I64 = NDArray[np.int64]

#: domain time after a slot's end before its absence means anything: the collector's own cycle, with room
PATIENCE = np.timedelta64(30 * 60, "s")


@dataclass(frozen=True, slots=True)
class Network:
    """One local day, or what there is of it so far.

    imports, exports            int64[meter, slot + 1] [1e-4 kWh] secondary side
    freeze_imports, _exports    int64[meter, 2]; None while the day is not over
    complete                    the day is over and its last slot had time to arrive
    """

    block: Block
    topology: Topology
    imports: I64
    exports: I64
    freeze_imports: I64 | None
    freeze_exports: I64 | None
    complete: bool


def load(run: Run, day: dt.date) -> Network | None:
    """The network of `day` up to the newest slot that may be expected; None before there are two."""
    times = points(CURVE, day, run.zone)
    slots = int(np.searchsorted(times, run.now - PATIENCE, side="right"))
    if slots < 1:
        return None
    block = blocks.load(run.conn, day, run.zone, SLOT_QUANTITIES)
    return assemble(block, slots) if len(block.rows.meter) else None


def assemble(block: Block, slots: int) -> Network:
    """The network of a day's block, of which the first `slots` slots may be expected. Pure."""
    complete = slots == len(block.times) - 1
    area_id = np.unique(block.rows.area[block.rows.area >= 0])
    imports = block.registers["active_import"][:, : slots + 1].copy()
    exports = block.registers["active_export"][:, : slots + 1].copy()
    opening = imports[:, 0] == MISSING
    imports[opening, 0] = block.freezes["active_import"][opening, 0]
    opening = exports[:, 0] == MISSING
    exports[opening, 0] = block.freezes["active_export"][opening, 0]
    freeze_imports, freeze_exports = (
        block.freezes["active_import"].copy(),
        block.freezes["active_export"].copy(),
    )
    # who came or went within the day has no day's energy: the area says so instead of guessing
    part = ~block.rows.whole
    for registers in (imports, exports, freeze_imports, freeze_exports):
        registers[part] = MISSING
    feeds_in = (exports != MISSING) & (exports > 0)
    topology = Topology(
        meter=block.rows.meter,
        point=block.rows.point,
        area=np.where(block.rows.area >= 0, np.searchsorted(area_id, block.rows.area), -1),
        role=np.where(block.rows.role >= 0, block.rows.role, 2).astype(np.int8),
        multiplier=block.rows.multiplier,
        accuracy=block.rows.accuracy,
        phases=block.rows.phases.astype(np.int8),
        exports=np.asarray(feeds_in.any(axis=1), dtype=np.bool_),
        area_id=area_id,
    )
    return Network(
        block,
        topology,
        imports,
        exports,
        freeze_imports if complete else None,
        freeze_exports if complete else None,
        complete,
    )
