"""Who is counted to what."""

from __future__ import annotations

import numpy as np

from lineloss.statistics.groups import EVERYBODY, join

#: four members: 0 and 1 in region R, 1 and 2 in region S, nobody says where 3 is
GROUPS = join(
    4,
    [
        ("region", np.array([1, 0, 1, 2, 1]), ["R", "R", "S", "S", "R"]),
        ("maker", np.array([0, 3]), ["", "X"]),
    ],
)


def by_key(values: np.ndarray) -> dict[tuple[str, str], int]:
    return dict(zip(GROUPS.keys, values.tolist(), strict=True))


def test_a_member_counts_in_each_of_its_groups_once() -> None:
    told = by_key(GROUPS.sum(np.array([1, 10, 100, 1000])))
    assert told[EVERYBODY] == 1111
    assert (told["region", "R"], told["region", "S"], told["maker", "X"]) == (11, 110, 1000)
    # an empty name is none
    assert told["maker", ""] == 0


def test_a_part_of_the_members_keeps_the_groups() -> None:
    part = GROUPS.part(np.array([1, 3]))
    told = by_key(part.sum(np.array([10, 1000])))
    assert (told[EVERYBODY], told["region", "R"], told["region", "S"], told["maker", "X"]) == (
        1010,
        10,
        10,
        1000,
    )
    # two rows of one member
    assert by_key(GROUPS.part(np.array([0, 0])).sum(np.array([1, 2])))["region", "R"] == 3


def test_a_terminal_is_in_every_group_that_a_point_behind_it_is_in() -> None:
    over = GROUPS.over(np.array([0, 0, 1, -1]), 2)
    told = by_key(over.sum(np.array([5, 7])))
    assert told == {
        EVERYBODY: 12,
        ("region", "R"): 5,
        ("region", "S"): 12,
        ("maker", ""): 0,
        ("maker", "X"): 0,
    }


def test_nobody_at_all() -> None:
    none = join(0, [("region", np.array([], dtype=np.int64), [])])
    assert none.keys == [EVERYBODY]
    assert none.sum(np.array([], dtype=np.int64)).tolist() == [0]
    assert none.part(np.array([], dtype=np.int64)).sum(np.zeros((0, 3), dtype=np.int64)).tolist() == [
        [0, 0, 0]
    ]
