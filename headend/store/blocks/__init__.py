"""Arrays out: `[meter, slot]` blocks of readings and `[point, slot]` energies, for any span of local days, in bounded memory."""

from headend.store.blocks.block import CELLS_AT_ONCE, Block, fetch, load
from headend.store.blocks.counted import Counted
from headend.store.blocks.energy import Energy, Why
from headend.store.blocks.grid import BadCode
from headend.store.blocks.installed import ROLES, Rows, assets, rows
from headend.store.blocks.overlay import Estimates, Quality, Standing, standing
from headend.store.blocks.points import (
    ENERGIES,
    Boundary,
    Daily,
    PointBlock,
    boundaries,
    counted,
    daily,
    energies,
)
from headend.store.blocks.stream import stream, stream_areas, stream_energies

__all__ = [
    "CELLS_AT_ONCE",
    "ENERGIES",
    "ROLES",
    "BadCode",
    "Block",
    "Boundary",
    "Counted",
    "Daily",
    "Energy",
    "Estimates",
    "PointBlock",
    "Quality",
    "Rows",
    "Standing",
    "Why",
    "assets",
    "boundaries",
    "counted",
    "daily",
    "energies",
    "fetch",
    "load",
    "rows",
    "standing",
    "stream",
    "stream_areas",
    "stream_energies",
]
