"""What each metering point is to each loss object (线损对象), as it follows from how the network hangs together.

Somebody has to say what a point is to the object it was built for: the total meter supplies its area, a feeder head's meter its line. The
rest follows, and nobody need keep it a second time:

    line         the supply points of its areas receive from it, and those of the transformers on it; of a transformer without any, the
                 points on its low side
    bus          the supply points of its lines receive from it, and those of the main transformers that take from it
    transformer  the supply points of its area receive from it: they are its low side
    region       whoever receives from an area, a line, a bus or a transformer in it and supplies nothing else receives from it: its
                 customers and the stations' own use. What supplies it are its interconnection points, which somebody has to name; what
                 supplies one part of it and receives from another is inside
    voltage      all points of the region's buses and lines of that voltage, of its areas for the lowest one; what one of them receives
                 and another supplies is inside. A bus or an area of which nobody has said what supplies it is no part; the area is among
             what has no meter (`unmetered`)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.topology import Links, Role, Spans, joined, matches

I64 = NDArray[np.int64]

#: The voltage of transformer areas [V]: 380/220 V of the customers, by its nominal name.
LOW_VOLTAGE: Final = 400
#: A voltage level of a region is one number: region_id * LEVELS + level [V]; no line of this world has ten million volts.
LEVELS: Final = 10_000_000
#: province, city, county, station: what a region may hang on, and once more for what an archive invents
DEPTH: Final = 5

KINDS: Final = ("area", "line", "bus", "transformer", "substation", "region", "voltage")


@dataclass(frozen=True, slots=True)
class Grid:
    """The network as the archive has it, with its whole past.

    said                 kind -> what somebody has said of points and objects of that kind (own)
    area_line, ...       what hangs on what; area_line of areas for which a line is named, area_transformer of the others as well
    region_parent        a region and the next larger one
    line_level, bus_level  (ids, levels [V])
    """

    said: Mapping[str, Links]
    area_line: Spans
    area_transformer: Spans
    area_region: Spans
    line_bus: Spans
    line_region: Spans
    transformer_line: Spans
    transformer_bus: Spans
    bus_region: Spans
    region_parent: Spans
    line_level: tuple[I64, I64]
    bus_level: tuple[I64, I64]


def links(grid: Grid) -> dict[str, Links]:
    """Kind -> every point of every object of that kind, said or derived."""
    said = grid.said
    found = {"area": said["area"], "substation": said["substation"]}
    supplies = said["area"].of(Role.SUPPLY)
    found["transformer"] = joined([said["transformer"], supplies.hung(grid.area_transformer, Role.RECEIVE)])
    found["line"] = joined(
        [
            said["line"],
            supplies.hung(grid.area_line, Role.RECEIVE),
            supplies.hung(_through(grid), Role.RECEIVE),
            _taking(found["transformer"]).hung(grid.transformer_line, Role.RECEIVE),
        ]
    )
    heads = found["line"].of(Role.SUPPLY).hung(grid.line_bus, Role.RECEIVE)
    mains = found["transformer"].of(Role.SUPPLY).hung(grid.transformer_bus, Role.RECEIVE)
    found["bus"] = joined([said["bus"], heads, mains])
    above = _above(grid)
    found["region"] = joined([_rolled_up(said["region"], above), *_customers(grid, found, above)])
    found["voltage"] = joined([said["voltage"], *_levels(grid, found, above)])
    return {kind: found[kind] for kind in KINDS}


def unmetered(grid: Grid) -> dict[str, Spans]:
    """Kind -> area -> object of that kind whose loss the area's supply is part of: what is wrong if nobody meters it."""
    line = _chained(grid.area_line, _through(grid))
    above = _above(grid)
    areas = np.unique(grid.area_region.child)
    low = _keyed(grid.area_region.over(above), (areas, np.full(len(areas), LOW_VOLTAGE)))
    return {
        "line": line,
        "voltage": _chained(low, line.over(_keyed(grid.line_region.over(above), grid.line_level))),
    }


def _chained(*spans: Spans) -> Spans:
    """All their rows."""
    return Spans(*(np.concatenate([getattr(part, name) for part in spans]) for name in Spans.__slots__))


def _through(grid: Grid) -> Spans:
    """Area -> line by its transformer, of areas for which no line is named at any time."""
    unnamed = ~np.isin(grid.area_transformer.child, grid.area_line.child)
    return grid.area_transformer.take(unnamed).over(grid.transformer_line)


def _taking(transformers: Links) -> Links:
    """The points at which transformers take energy: of those without such a point, where they give it."""
    supply = transformers.of(Role.SUPPLY)
    receive = transformers.of(Role.RECEIVE)
    return joined([supply, receive.take(~np.isin(receive.object, supply.object))])


def _above(grid: Grid) -> Spans:
    """Every region -> itself and whatever larger one it belongs to."""
    ids = np.unique(
        np.concatenate(
            [
                grid.region_parent.child,
                grid.region_parent.parent,
                grid.area_region.parent,
                grid.line_region.parent,
                grid.bus_region.parent,
                grid.said["region"].object,
            ]
        )
    )
    always = (
        np.full(len(ids), np.datetime64("0001-01-01", "us")),
        np.full(len(ids), np.datetime64("9999-01-01", "us")),
    )
    steps = [Spans(ids, ids, *always)]
    for _ in range(DEPTH):
        steps.append(steps[-1].over(grid.region_parent))
    return _chained(*steps)


def _rolled_up(gates: Links, above: Spans) -> Links:
    """What was said of a region itself, and what follows for the larger ones."""
    larger = above.take(above.child != above.parent)
    return joined([gates, gates.hung(larger)])


def _customers(grid: Grid, found: Mapping[str, Links], above: Spans) -> list[Links]:
    inner = ("area", "line", "bus", "transformer")
    supplying = np.concatenate([found[kind].of(Role.SUPPLY).point for kind in (*inner, "substation")])
    hangs = {
        "area": grid.area_region,
        "line": grid.line_region,
        "bus": grid.bus_region,
        "transformer": grid.transformer_line.over(grid.line_region),
    }
    taking = []
    for kind in inner:
        receive = found[kind].of(Role.RECEIVE)
        leaves = receive.take(~np.isin(receive.point, supplying))
        taking.append(leaves.hung(hangs[kind].over(above)))
    return taking


def _levels(grid: Grid, found: Mapping[str, Links], above: Spans) -> list[Links]:
    areas = np.unique(grid.area_region.child)
    low = areas, np.full(len(areas), LOW_VOLTAGE)
    members = (
        (_fed(found["bus"]), grid.bus_region, grid.bus_level),
        (found["line"], grid.line_region, grid.line_level),
        (_fed(found["area"]), grid.area_region, low),
    )
    made = []
    for points, region, level in members:
        summed = points.take(points.role != Role.AUXILIARY)
        made.append(summed.hung(_keyed(region.over(above), level)))
    return made


def _fed(points: Links) -> Links:
    """Those of objects that have a supply point."""
    return points.take(np.isin(points.object, points.of(Role.SUPPLY).object))


def _keyed(region: Spans, level: tuple[I64, I64]) -> Spans:
    """Thing -> the number of its voltage level in each region above it."""
    at, of = matches(region.child, level[0])
    kept = region.take(at)
    return Spans(kept.child, kept.parent * LEVELS + level[1][of], kept.since, kept.until)
