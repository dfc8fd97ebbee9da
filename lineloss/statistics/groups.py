"""Who is counted to what: a member (metering point, terminal) belongs to any number of groups, in any number of dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lineloss.topology import sum_by

I64 = NDArray[np.int64]
Key = tuple[str, str]

#: the dimension of everybody, whose only key is ''
ALL: Final = "all"
EVERYBODY: Final = (ALL, "")


@dataclass(frozen=True, slots=True)
class Groups:
    """Pairs of members and groups, [pair], in the order of the members, each pair once.

    member  int64[pair]  index of the member
    group   int64[pair]  index into keys
    keys    (dimension, key) of each group
    """

    member: I64
    group: I64
    keys: Sequence[Key]

    def sum(self, values: NDArray[Any]) -> NDArray[Any]:
        """[member, ...] -> [group, ...] in the dtype of `values`: counts stay exact."""
        return sum_by(self.group, len(self.keys), values[self.member])

    def part(self, members: I64) -> Groups:
        """The same groups, of these members alone (ascending): they are counted anew from 0."""
        low = np.searchsorted(self.member, members)
        count = np.searchsorted(self.member, members, side="right") - low
        index = np.repeat(np.arange(len(members)), count)
        at = np.repeat(low - (np.cumsum(count) - count), count) + np.arange(int(count.sum()))
        return Groups(index, self.group[at], self.keys)

    def over(self, parts: I64, wholes: int) -> Groups:
        """The groups of what the members are parts of, such as the terminals behind which points are read: it is in every group that a part
        of it is in. `parts` int64[member]: index of the whole, -1: none; `wholes`: how many there are."""
        whole = parts[self.member]
        there = whole >= 0
        keys = max(len(self.keys), 1)
        pairs = np.unique(whole[there] * keys + self.group[there])
        assert not len(pairs) or pairs[-1] < wholes * keys
        return Groups(pairs // keys, pairs % keys, self.keys)


def join(members: int, dimensions: Sequence[tuple[str, I64, Sequence[str]]]) -> Groups:
    """Groups of (dimension, members [pair], keys [pair]), and of everybody. A pair that is said twice counts once; an empty key is none."""
    member, group = [np.arange(members)], [np.zeros(members, dtype=np.int64)]
    keys: list[Key] = [EVERYBODY]
    for dimension, who, said in dimensions:
        names, index = np.unique(np.array(said, dtype=np.str_), return_inverse=True)
        told = np.array(names != "", dtype=np.bool_)[index] if len(names) else np.zeros(0, dtype=np.bool_)
        member.append(np.asarray(who, dtype=np.int64)[told])
        group.append(index[told] + len(keys))
        keys += [(dimension, str(name)) for name in names.tolist()]
    # a name that turned out empty keeps its place, and has nobody
    wide = len(keys)
    pairs = np.unique(np.concatenate(member) * wide + np.concatenate(group))
    return Groups(pairs // wide, pairs % wide, keys)
