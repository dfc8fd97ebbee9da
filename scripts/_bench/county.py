"""A utility's day in memory, as the store gives it: blocks of whole transformer areas, loads of households, sums that agree, holes.

A handful of tiles are drawn; the others are copies of them with other meters, other areas and other registers, so that the day really takes the
memory that it takes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.store.blocks import Block, Rows
from lineloss.vee.facts import Facts, amperes
from protocols.localtime import day_slots, midnight
from protocols.reading import MISSING

CHINA: Final = ZoneInfo("Asia/Shanghai")
DAY: Final = dt.date(2026, 3, 10)
SLOTS: Final = 96
#: customers of an area beside its own meter, and areas of a tile: 4,000 meters, some 20 MB
CUSTOMERS, AREAS = 199, 20
#: tiles that are drawn
DRAWN: Final = 10
#: days before whose energies are known
HISTORY: Final = 28
_AGES_AGO, _FOREVER = np.datetime64("2020-01-01", "us"), np.datetime64("2100-01-01", "us")


@dataclass(frozen=True, slots=True)
class Tile:
    """A block of whole areas, and what the archive and the weeks before say of its meters."""

    block: Block
    history: NDArray[np.int64]

    def facts(self) -> Facts:
        """As validation wants them; nobody owns a fault that the columns do not show."""
        b, n = self.block, len(self.block.rows)
        whole, nothing = np.ones((n, SLOTS), dtype=np.bool_), np.zeros(n, dtype=np.int64)
        imports, exports = b.registers["active_import"], b.registers["active_export"]
        return Facts(
            meter=b.rows.meter, hours=0.25, imports=imports, exports=exports, freezes=b.freezes["active_import"],
            voltage=tuple(b.instants[f"voltage_{p}"] for p in "abc"),  # type: ignore[arg-type]
            current=tuple(b.instants[f"current_{p}"] for p in "abc"),  # type: ignore[arg-type]
            power=b.instants["active_power"], installed=whole, due=whole, again=np.zeros(imports.shape, dtype=np.bool_), cut=~whole,
            strange=nothing, before=b.freezes["active_import"][:, 0] - self.history[:, -1], before_hours=np.full(n, 24.0),
            history=self.history, alike=np.arange(HISTORY) % 7 < 5, roll_over=b.rows.roll_over, phases=b.rows.phases,
            multiplier=b.rows.multiplier, amperes=amperes(b.rows.multiplier), exporting=exports.max(axis=1) > 0,
            open=np.ones(n, dtype=np.bool_), ahead=np.zeros(n), unsure=np.ones(n),
        )  # fmt: skip


def tiles(meters: int, missing: float, seed: int) -> list[Tile]:
    """Whole tiles, `meters` or a few more; `missing` of the points are."""
    size = AREAS * (CUSTOMERS + 1)
    count = -(-meters // size)
    random = np.random.default_rng(seed)
    drawn = [_draw(random, missing) for _ in range(min(DRAWN, count))]
    return [_copy(drawn[k % len(drawn)], k, int(random.integers(0, 50_000)) * 100) for k in range(count)]


def _draw(random: np.random.Generator, missing: float) -> Tile:
    areas, members = AREAS, CUSTOMERS + 1
    n = areas * members
    supply = np.arange(n) % members == 0
    three = supply | (random.random(n) < 0.1)
    shape = 1 + 0.8 * np.sin(np.linspace(0, 2 * np.pi, SLOTS) + random.normal(0, 0.6, n)[:, None])
    energy = random.gamma(2, 300, n)[:, None] * shape * random.gamma(4, 0.25, (n, SLOTS))  # 1e-4 kWh a slot
    multiplier = np.where(supply, 120, 1)
    total = energy.reshape(areas, members, SLOTS)
    total[:, 0] = total[:, 1:].sum(axis=1) * random.uniform(1.01, 1.06, areas)[:, None] / 120
    registers = random.integers(500, 5_000, n)[:, None] * 10_000 + np.concatenate(
        [np.zeros((n, 1)), energy.cumsum(axis=1)], axis=1
    )
    registers = registers.astype(np.int64) // 100 * 100
    power = energy / 2500  # kW of the meter's side
    volts = random.normal(228, 2, (n, 1)) - 4 * power / (1 + power) + random.normal(0, 1, (n, SLOTS))
    amps = power * 1000 / volts / np.where(three, 3, 1)[:, None]
    instants = {f"voltage_{p}": volts + random.normal(0, 0.3, (n, SLOTS)) for p in "abc"}
    instants |= {f"current_{p}": amps * random.uniform(0.9, 1.1, (n, 1)) for p in "abc"}
    instants |= {"active_power": power, "reactive_power": 0.3 * power}
    gone = random.random((n, SLOTS + 1)) < missing
    gone[:, 0] = False  # the day before has closed with it
    columns: dict[str, NDArray[np.float32]] = {}
    for code, values in instants.items():
        absent = gone[:, 1:] | (~three[:, None] & code.endswith(("_b", "_c")))
        columns[code] = np.where(absent, np.nan, values).astype(np.float32)
    freezes = {
        "active_import": registers[:, [0, -1]].copy(),
        "active_export": np.zeros((n, 2), dtype=np.int64),
    }
    curves = {
        "active_import": np.where(gone, MISSING, registers),
        "active_export": np.where(gone, MISSING, np.zeros_like(registers)),
    }
    rows = Rows(
        meter=np.arange(n), point=np.arange(n), terminal=np.arange(n) // members, area=np.arange(n) // members,
        role=np.where(supply, 0, 1), multiplier=multiplier, accuracy=np.where(supply, 0.005, 0.01), phases=np.where(three, 3, 1),
        whole=np.ones(n, dtype=np.bool_), since=np.full(n, _AGES_AGO), until=np.full(n, _FOREVER), digits=np.full(n, 6),
    )  # fmt: skip
    used = registers[:, -1] - registers[:, 0]
    history = (used[:, None] * random.normal(1, 0.1, (n, HISTORY))).astype(np.int64)
    times = np.concatenate([[midnight(DAY, CHINA)], day_slots(DAY, CHINA)])
    return Tile(Block(DAY, times, rows, curves, columns, freezes), history)


def _copy(tile: Tile, number: int, more: int) -> Tile:
    """The same loads of other meters whose registers stood elsewhere."""
    block, rows = tile.block, tile.block.rows
    moved: dict[str, Any] = {
        "meter": rows.meter + number * len(rows), "point": rows.point + number * len(rows),
        "area": rows.area + number * AREAS, "terminal": rows.terminal + number * AREAS,
    }  # fmt: skip
    imports = block.registers["active_import"]
    return Tile(
        replace(
            block,
            rows=replace(rows, **moved),
            registers={
                "active_import": np.where(imports == MISSING, MISSING, imports + more),
                "active_export": block.registers["active_export"].copy(),
            },
            instants={code: values.copy() for code, values in block.instants.items()},
            freezes={
                "active_import": block.freezes["active_import"] + more,
                "active_export": block.freezes["active_export"].copy(),
            },
        ),
        tile.history.copy(),
    )


def cells(day: list[Tile]) -> Iterator[NDArray[Any]]:
    """Every array of the day's curves: what one pass over the memory is."""
    for tile in day:
        yield from tile.block.registers.values()
        yield from tile.block.instants.values()
