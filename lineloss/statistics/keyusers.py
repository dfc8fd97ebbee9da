"""Key users (重点用户): customers that a utility looks at one by one.

A customer is one if he is named (a member of the group that says so), if his contract is large, or if he is among the few who take most of the
energy. Each reason is told: nobody is on the list for no reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Final

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
Floats = NDArray[np.float64]

#: kVA of contract from which a customer is a key user. A default: utilities set their own; two-part prices begin near 315 kVA, and who has more
#: than 1,000 kVA is commonly read every quarter-hour.
CAPACITY: Final = 1000.0
#: share of the energy that the greatest of all take together, who are key users for it. A default.
SHARE: Final = 0.3
#: no more of them than this for their energy: a list that people read
MOST: Final = 500


class Because(IntFlag):
    NAMED = 1
    CAPACITY = 2
    ENERGY = 4


WORDS: Final = {
    Because.NAMED: ("named", "指定"),
    Because.CAPACITY: ("contract capacity", "合同容量"),
    Because.ENERGY: ("energy", "用电量"),
}


@dataclass(frozen=True, slots=True)
class KeyUsers:
    """[user], the greatest energy first. row: index of the customer; because: Because; share: of all energy, NaN where his is not known."""

    row: I64
    because: I64
    share: Floats


def choose(
    energy: Floats,
    capacity: Floats,
    named: NDArray[np.bool_],
    *,
    least: float = CAPACITY,
    share: float = SHARE,
    most: int = MOST,
) -> KeyUsers:
    """Of customers: energy float64[customer] [kWh] and capacity [kVA], NaN where not known; named bool[customer]."""
    known = np.nan_to_num(energy, nan=0.0)
    total = known.sum()
    order = np.lexsort((np.arange(len(energy)), -known))
    before = np.cumsum(known[order]) - known[order]
    great = np.zeros(len(energy), dtype=np.bool_)
    # the one with whom the share is reached still belongs to it
    great[order[:most]] = (before[:most] < share * total) & (known[order[:most]] > 0)
    because = named * int(Because.NAMED) + great * int(Because.ENERGY)
    because = because + np.where(np.isnan(capacity), False, capacity >= least) * int(Because.CAPACITY)
    row = order[because[order] > 0]
    part = energy[row] / total if total > 0 else np.full(len(row), np.nan)
    return KeyUsers(row, because[row].astype(np.int64), part)
