"""Steps (阶梯): the more is used in a year or a month, the dearer each further kWh; and charges to date by them.

    [version.steps]
    basis = "year"                           # or "month"
    limits = [2760, 4800]                    # kWh; a step reaches up to and with its limit
    adders = ["0.0000", "0.0500", "0.3000"]  # yuan/kWh, one more than limits
    proration = "months"                     # or "none"; of a year's limits for who was not there all of it

A month's limits may differ by season:

    limits = [{ months = [5, 6, 7, 8, 9, 10], kwh = [260, 600] }, { months = [1, 2, 3, 4, 11, 12], kwh = [200, 400] }]

An adder comes on top of every period's price (the residential tables of Zhejiang, Jiangsu and Guangdong are made
so), hence it depends on the energy alone and not on the hours in which it was used. That is why steps are exact
over any span: the charge from x to y is F(y) - F(x), in whatever pieces and order the energy arrives.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tariffs.door import Door
from tariffs.money import PRICE, Ints, exact, share

BASES: Final = ("year", "month")
MONTHS: Final = 12
_FAR: Final = 2**62


@dataclass(frozen=True, slots=True)
class Steps:
    """basis    what the energy is counted over: a calendar year or month
    limits   [month][step - 1] [1e-4 kWh], ascending; all months alike for a year
    adders   [step] [1e-4 yuan/kWh]
    prorated a year's limits count by twelfths for the months that the customer was there (按月折算)
    """

    basis: str
    limits: tuple[tuple[int, ...], ...]
    adders: tuple[int, ...]
    prorated: bool

    def facts(self) -> dict[str, Any]:
        return {
            "basis": self.basis,
            "limits": [list(month) for month in self.limits],
            "adders": list(self.adders),
            "prorated": self.prorated,
        }


def quantities(steps: Steps, before: Ints, energy: Ints, month: int, months: Ints | None = None) -> Ints:
    """How much of the energy lies in each step, int64[account, step] [1e-4 kWh]; the sum over steps is the energy.

    before  int64[account] [1e-4 kWh]: used since the year's or month's begin, before this
    energy  int64[account] [1e-4 kWh]: used now; negative where a correction takes some back
    month   1..12, in which it was used
    months  int64[account]: months of the year that the customer is there; None: 12
    """
    before, energy = exact(before, "before"), exact(energy, "energy")
    edges: list[Ints | int] = [
        -_FAR,
        *(_limit(steps, limit, months) for limit in steps.limits[month - 1]),
        _FAR,
    ]
    return np.stack(
        [np.clip(before + energy, low, high) - np.clip(before, low, high) for low, high in pairwise(edges)],
        axis=-1,
    )


def _limit(steps: Steps, limit: int, months: Ints | None) -> Ints | int:
    """A limit [1e-4 kWh], for those who were not there all year cut off to 1e-4 kWh."""
    if months is None or not steps.prorated:
        return limit
    return share(limit, exact(months, "months"), MONTHS)


def months_there(begin: NDArray[np.datetime64], end: NDArray[np.datetime64], year: int) -> Ints:
    """Months of `year` in which a customer was there at all, int64[account] 0..12.

    begin, end  datetime64[D][account]: first day, and the day after the last; NaT as end: he is there still

    The month of moving in and that of moving out count whole: a default that no text fixes to the day.
    """
    january = np.datetime64(f"{year}-01", "M")
    first = np.maximum(begin.astype("datetime64[M]"), january)
    last = (end.astype("datetime64[D]") - np.timedelta64(1, "D")).astype("datetime64[M]")
    last = np.where(np.isnat(last), january + 11, np.minimum(last, january + 11))
    return np.asarray(np.maximum((last - first).astype(np.int64) + 1, 0), dtype=np.int64)


def read_steps(door: Door, value: Any, where: str) -> Steps:
    table = door.table(value, where)
    door.keys(table, where, {"basis", "limits", "adders", "proration"})
    basis = door.choice(table.get("basis"), f"{where}.basis", BASES)
    limits = _limits(door, table.get("limits"), f"{where}.limits", basis)
    adders = table.get("adders")
    if not isinstance(adders, list) or len(adders) != len(limits[0]) + 1:
        raise door.error(
            f"{where}.adders", f"{len(limits[0]) + 1} adders are needed for {len(limits[0])} limits"
        )
    values = tuple(door.price(text, f"{where}.adders[{n}]") for n, text in enumerate(adders))
    for n, (low, high) in enumerate(pairwise(values)):
        if high <= low:
            raise door.error(
                f"{where}.adders[{n + 1}]", f"{adders[n + 1]} is not above {adders[n]}: steps must ascend"
            )
    key = f"{where}.proration"
    proration = door.choice(
        table.get("proration", "months" if basis == "year" else "none"), key, ("months", "none")
    )
    if proration == "months" and basis != "year":
        raise door.error(key, "only the limits of a year are shared by months; leave the key out")
    return Steps(basis, limits, values, proration == "months")


def _limits(door: Door, value: Any, where: str, basis: str) -> tuple[tuple[int, ...], ...]:
    """[month][step - 1] [1e-4 kWh]"""
    if not isinstance(value, list) or not value:
        raise door.error(where, "a list of limits in kWh such as [2760, 4800] is needed")
    if not isinstance(value[0], dict):
        return (_row(door, value, where),) * MONTHS
    if basis == "year":
        raise door.error(where, 'limits by months need basis = "month"')
    found: dict[int, tuple[int, ...]] = {}
    for n, item in enumerate(value):
        table = door.table(item, f"{where}[{n}]")
        door.keys(table, f"{where}[{n}]", {"months", "kwh"})
        row = _row(door, table.get("kwh"), f"{where}[{n}].kwh")
        for month in door.months(table.get("months"), f"{where}[{n}].months"):
            if month in found:
                raise door.error(f"{where}[{n}].months", f"month {month} is already covered")
            found[month] = row
    lacking = [str(month) for month in range(1, MONTHS + 1) if month not in found]
    if lacking:
        raise door.error(where, f"no limits for month {', '.join(lacking)}")
    if len({len(row) for row in found.values()}) > 1:
        raise door.error(where, "all months need the same number of limits")
    return tuple(found[month] for month in range(1, MONTHS + 1))


def _row(door: Door, value: Any, key: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise door.error(key, "a list of limits in kWh such as [2760, 4800] is needed")
    row = tuple(door.whole(limit, f"{key}[{n}]", 1, 10**9) for n, limit in enumerate(value))
    for n, (low, high) in enumerate(pairwise(row)):
        if high <= low:
            raise door.error(f"{key}[{n + 1}]", f"{high} is not above {low}: steps must ascend")
    return tuple(limit * PRICE for limit in row)
