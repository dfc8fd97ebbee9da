"""Who is what to which object: what follows from where things hang, from when to when."""

from __future__ import annotations

import numpy as np

from lineloss.hierarchy import LEVELS, Grid, links, unmetered
from lineloss.topology import Links, Pairs, Role, Spans, matches, pairs
from protocols.localtime import Times

LONG_AGO, FOREVER = np.datetime64("2020-01-01", "us"), np.datetime64("9999-01-01", "us")
DAY = np.datetime64("2026-03-10", "us"), np.datetime64("2026-03-11", "us")
NOON = np.datetime64("2026-03-10T12", "us")

S, R = Role.SUPPLY, Role.RECEIVE
# points: 1 head of line L1, 2 head of line L2, 3 and 4 the main meters of areas A1 (on L1) and A2 (on L2, by its transformer),
# 5, 6 customers of A1, 7 of A2, 8 a customer on the high side of L1, 9 what comes in from the province, 10 the bus's incoming meter
A1, A2, L1, L2, BUS, TOWN, COUNTY = 1, 2, 1, 2, 1, 1, 2


def said(*rows: tuple[int, int, Role], since: np.datetime64 = LONG_AGO) -> Links:
    point, objects, role = (np.array([row[k] for row in rows], dtype=np.int64) for k in range(3))
    n = len(rows)
    return Links(point, objects, role.astype(np.int8), *_always(n, since), np.ones(n, dtype=np.bool_))


def _always(n: int, since: np.datetime64 = LONG_AGO) -> tuple[Times, Times]:
    return np.full(n, since), np.full(n, FOREVER)


def hangs(*rows: tuple[int, int]) -> Spans:
    child, parent = (np.array([row[k] for row in rows], dtype=np.int64) for k in range(2))
    return Spans(child, parent, *_always(len(rows)))


def grid(**over: object) -> Grid:
    kv10 = np.array([1, 2]), np.array([10_000, 10_000])
    parts: dict[str, object] = {
        "said": {
            "area": said((3, A1, S), (5, A1, R), (6, A1, R), (4, A2, S), (7, A2, R)),
            "line": said((1, L1, S), (8, L1, R), (2, L2, S)),
            "bus": said((10, BUS, S)),
            "transformer": said(),
            "substation": said(),
            "region": said((9, COUNTY, S)),
            "voltage": said(),
        },
        "area_line": hangs((A1, L1)),
        "area_transformer": hangs((A2, 22)),
        "area_region": hangs((A1, TOWN), (A2, TOWN)),
        "line_bus": hangs((L1, BUS), (L2, BUS)),
        "line_region": hangs((L1, TOWN), (L2, COUNTY)),
        "transformer_line": hangs((22, L2)),
        "transformer_bus": hangs(),
        "bus_region": hangs((BUS, COUNTY)),
        "region_parent": hangs((TOWN, COUNTY)),
        "line_level": kv10,
        "bus_level": (np.array([BUS]), np.array([10_000])),
    }
    return Grid(**(parts | over))  # type: ignore[arg-type]


def today(some: Links, begin: np.datetime64 = DAY[0], end: np.datetime64 = DAY[1]) -> Pairs:
    ids = np.arange(1, 11)
    return pairs(some, ids, *_always(10), begin, end)


def members(some: Links) -> dict[int, set[tuple[int, Role]]]:
    """object -> (point, role), moved ones left out"""
    found = today(some)
    made: dict[int, set[tuple[int, Role]]] = {}
    for point, of, role, moved in zip(found.point, found.object, found.role, found.moved, strict=True):
        assert not moved
        made.setdefault(int(found.object_id[of]), set()).add((int(point) + 1, Role(int(role))))
    return made


def test_a_transformers_meter_receives_from_its_line_and_supplies_its_area() -> None:
    found = links(grid())
    assert members(found["area"])[A1] == {(3, S), (5, R), (6, R)}
    # A1 by its line, A2 by its transformer's line
    assert members(found["line"]) == {L1: {(1, S), (8, R), (3, R)}, L2: {(2, S), (4, R)}}
    assert members(found["transformer"]) == {22: {(4, R)}}


def test_a_bus_gives_to_its_lines_heads() -> None:
    assert members(links(grid())["bus"]) == {BUS: {(10, S), (1, R), (2, R)}}


def test_a_regions_customers_are_who_supplies_nothing_else() -> None:
    region = members(links(grid())["region"])
    # neither the areas' main meters (they supply areas) nor the heads; the high-voltage customer is one
    assert region[TOWN] == {(5, R), (6, R), (7, R), (8, R)}
    # the larger one has them as well, and the interconnection point that was named for it
    assert region[COUNTY] == {(9, S), (5, R), (6, R), (7, R), (8, R)}


def test_what_leaves_one_part_and_enters_another_is_inside_the_whole() -> None:
    tie = said((9, TOWN, R), (9, 3, S), (10, TOWN, S))
    other = grid(said=grid().said | {"region": tie}, region_parent=hangs((TOWN, COUNTY), (3, COUNTY)))
    region = members(links(other)["region"])
    assert (9, R) in region[TOWN]
    assert region[3] == {(9, S)}
    assert region[COUNTY] == {(10, S), (5, R), (6, R), (7, R), (8, R)}


def test_a_voltage_level_is_its_bus_and_lines_without_what_is_between_them() -> None:
    level = members(links(grid())["voltage"])
    # 10 kV of the county: the bus's incoming meter in, the areas' meters and the high-voltage customer out; heads are inside
    assert level[COUNTY * LEVELS + 10_000] == {(10, S), (3, R), (4, R), (8, R)}
    # of the town only line 1 is its own: its head is where it begins
    assert level[TOWN * LEVELS + 10_000] == {(1, S), (3, R), (8, R)}
    assert level[TOWN * LEVELS + 400] == {(3, S), (4, S), (5, R), (6, R), (7, R)}


def test_a_bus_without_incoming_meters_is_no_part_of_its_level() -> None:
    bare = grid(said=grid().said | {"bus": said()})
    level = members(links(bare)["voltage"])
    assert level[COUNTY * LEVELS + 10_000] == {(1, S), (2, S), (3, R), (4, R), (8, R)}


def test_what_was_said_goes_before_what_follows() -> None:
    watched = grid(said=grid().said | {"line": said((1, L1, S), (3, L1, Role.AUXILIARY), (2, L2, S))})
    assert (3, Role.AUXILIARY) in members(links(watched)["line"])[L1]


def test_an_area_that_moves_at_midnight_belongs_to_one_line_each_day() -> None:
    before, after = (
        Spans(np.array([A1]), np.array([L1]), np.array([LONG_AGO]), np.array([DAY[0]])),
        hangs((A1, L2)),
    )
    moved = Spans(*(np.concatenate([getattr(s, n) for s in (before, after)]) for n in Spans.__slots__))
    moved = Spans(moved.child, moved.parent, np.array([LONG_AGO, DAY[0]]), moved.until)
    found = links(grid(area_line=moved))["line"]
    assert (3, R) not in members(found)[L1]
    assert (3, R) in members(found)[L2]
    eve = today(found, DAY[0] - np.timedelta64(1, "D"), DAY[0])
    assert not eve.moved.any()
    assert eve.object_id[eve.object[eve.point == 2]].tolist() == [L1]


def test_an_area_that_moves_at_noon_is_no_whole_part_of_either() -> None:
    child, parent = np.array([A1, A1]), np.array([L1, L2])
    moved = Spans(child, parent, np.array([LONG_AGO, NOON]), np.array([NOON, FOREVER]))
    found = today(links(grid(area_line=moved))["line"])
    at = found.point == 2
    assert sorted(found.object_id[found.object[at]].tolist()) == [L1, L2]
    assert found.moved[at].all()
    assert not found.moved[~at].any()


def test_a_customer_who_comes_at_noon_is_there_from_then_on() -> None:
    late = said((5, A1, R), since=NOON)
    ids, until = np.array([5]), np.array([FOREVER])
    assert pairs(late, ids, np.array([NOON]), until, *DAY).moved.tolist() == [False]
    # the meter was there before: what it measured in the morning was not this area's
    assert pairs(late, ids, np.array([LONG_AGO]), until, *DAY).moved.tolist() == [True]


def test_points_without_a_meter_are_left_out() -> None:
    found = pairs(said((5, A1, R), (77, A1, R)), np.array([5]), *_always(1), *DAY)
    assert found.point.tolist() == [0]
    assert len(pairs(said((77, A1, R)), np.zeros(0, dtype=np.int64), *_always(0), *DAY).point) == 0


def test_areas_hang_on_lines_and_levels() -> None:
    found = unmetered(grid())
    assert set(zip(found["line"].child.tolist(), found["line"].parent.tolist(), strict=True)) == {
        (A1, L1),
        (A2, L2),
    }
    level = set(zip(found["voltage"].child.tolist(), found["voltage"].parent.tolist(), strict=True))
    assert (A2, COUNTY * LEVELS + 10_000) in level
    assert (A2, TOWN * LEVELS + 400) in level
    assert (A2, TOWN * LEVELS + 10_000) not in level  # line 2 is the county's own


def test_matches_pairs_every_key_with_every_equal_one() -> None:
    left, right = matches(np.array([7, 5, 9]), np.array([5, 7, 5]))
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == [(0, 1), (1, 0), (1, 2)]
