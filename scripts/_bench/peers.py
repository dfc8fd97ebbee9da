"""The day as one long table of polars, and its answers to what we answer with arrays."""

from __future__ import annotations

import numpy as np
import polars as pl
from county import SLOTS, Tile
from numpy.typing import NDArray

from protocols.reading import MISSING


class Frame:
    """97 rows a meter: the opening midnight, and the end of each slot."""

    def __init__(self, day: list[Tile]) -> None:
        self.table = pl.concat([_table(tile) for tile in day], rechunk=True)

    def by_day(self) -> tuple[int, int]:
        """(areas that are known, what they lost [1e-4 kWh])"""
        ends = self.table.lazy().filter((pl.col("slot") == 0) | (pl.col("slot") == SLOTS))
        # as ours: a midnight that the curve lacks is the day freeze's
        ends = ends.with_columns(pl.coalesce("register", "freeze").alias("end"))
        energy = (
            ends.group_by("meter")
            .agg(
                pl.first("area"),
                pl.first("factor"),
                (pl.col("end").max() - pl.col("end").min()).alias("energy"),
                pl.col("end").null_count().alias("holes"),
            )
            .group_by("area")
            .agg((pl.col("energy") * pl.col("factor")).sum().alias("loss"), pl.col("holes").sum())
        )
        found = energy.filter(pl.col("holes") == 0).select(pl.len(), pl.col("loss").sum()).collect()
        return int(found.item(0, 0)), int(found.item(0, 1))

    def by_slot(self) -> tuple[int, int]:
        """(areas' slots that are known, what was lost in them)"""
        energy = (
            self.table.lazy()
            .select(
                "area",
                "slot",
                ((pl.col("register") - pl.col("register").shift(1)) * pl.col("factor")).alias("energy"),
            )
            .filter(pl.col("slot") > 0)
            .group_by("area", "slot")
            .agg(pl.col("energy").sum(), pl.col("energy").null_count().alias("holes"))
        )
        found = energy.filter(pl.col("holes") == 0).select(pl.len(), pl.col("energy").sum()).collect()
        return int(found.item(0, 0)), int(found.item(0, 1))

    def voltage(self, low: float, high: float, lost: float) -> int:
        """Minutes out of limits, of all meters."""
        phases = [pl.col(f"voltage_{p}") for p in "abc"]
        out = pl.any_horizontal([(v >= lost) & ((v < low) | (v > high)) for v in phases]).fill_null(False)
        found = (
            self.table.lazy()
            .filter(pl.col("slot") > 0)
            .group_by("meter")
            .agg((out.sum() * 15).alias("minutes"))
            .select(pl.col("minutes").sum())
            .collect()
        )
        return int(found.item())


def _table(tile: Tile) -> pl.DataFrame:
    block, n = tile.block, len(tile.block.rows)
    rows = block.rows
    registers = block.registers["active_import"]
    frozen = np.full(registers.shape, MISSING)
    frozen[:, [0, -1]] = block.freezes["active_import"]
    # what the supply meter counted goes in, what the customers' did comes out
    factor = np.where(rows.role == 0, rows.multiplier, -rows.multiplier)

    def each(values: NDArray[np.int64], kind: type[np.generic]) -> NDArray[np.generic]:
        return np.repeat(values.astype(kind), SLOTS + 1)

    columns = {
        "meter": pl.Series(each(rows.meter, np.int32)),
        "area": pl.Series(each(rows.area, np.int32)),
        "slot": pl.Series(np.tile(np.arange(SLOTS + 1, dtype=np.int8), n)),
        "factor": pl.Series(each(factor, np.int64)),
        "register": _known(registers),
        "freeze": _known(frozen),
    }
    for p in "abc":
        volts = np.full((n, SLOTS + 1), np.nan, dtype=np.float32)
        volts[:, 1:] = block.instants[f"voltage_{p}"]
        columns[f"voltage_{p}"] = pl.Series(volts.ravel()).fill_nan(None)
    return pl.DataFrame(columns)


def _known(registers: NDArray[np.int64]) -> pl.Series:
    flat = registers.ravel()
    return pl.Series(flat).set(pl.Series(flat == MISSING), None)
