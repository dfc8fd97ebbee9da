"""Late payment (违约金): so many permille of the arrears a day, from the day after the due date to the day of payment.

    [version.penalty]
    class = "resident"             # or "other": sets the two rates below
    same_year = 1                  # permille a day in the year of the due date
    former_years = 1               # permille a day after that year
    minimum = "1.00"               # yuan
    cap = true                     # never more than the arrears themselves

供电营业规则 (1996) 第98条, as two public pages report it: residents 1 permille; others 2 permille in the same year and
3 permille on what is carried over into the next; at least 1 yuan. The cap stands in some provinces' texts of 2024
and is not confirmed, therefore a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tariffs.door import Door
from tariffs.money import Ints, exact

#: class of customer -> permille a day in the same year, in later years
CLASSES: Final = {"resident": (1, 1), "other": (2, 3)}
_DAY: Final = np.timedelta64(1, "D")


@dataclass(frozen=True, slots=True)
class Penalty:
    """same_year, former_years [permille a day], minimum [fen], cap: never more than the arrears."""

    same_year: int
    former_years: int
    minimum: int
    cap: bool

    def facts(self) -> dict[str, Any]:
        return {
            "same_year": self.same_year,
            "former_years": self.former_years,
            "minimum": self.minimum,
            "cap": self.cap,
        }


def penalty(rule: Penalty, arrears: Ints, due: NDArray[np.datetime64], until: NDArray[np.datetime64]) -> Ints:
    """int64[debt] [fen], half a fen up.

    arrears     int64[debt] [fen], not negative
    due, until  datetime64[D][debt]: the last day to pay in time, the day of payment (or today), local
    """
    arrears = exact(arrears, "arrears")
    if (arrears < 0).any():
        raise ValueError("arrears are not negative: a credit owes no penalty")
    due, until = due.astype("datetime64[D]"), until.astype("datetime64[D]")
    if np.isnat(due).any() or np.isnat(until).any():
        raise ValueError("a penalty needs the due date and the day of payment")
    next_year = (due.astype("datetime64[Y]") + 1).astype("datetime64[D]")
    same = np.maximum((np.minimum(until, next_year - _DAY) - due).astype(np.int64), 0)
    later = np.maximum((until - due).astype(np.int64), 0) - same
    fen = (arrears * (same * rule.same_year + later * rule.former_years) + 500) // 1000
    fen = np.where((until > due) & (arrears > 0), np.maximum(fen, rule.minimum), 0)
    return np.asarray(np.minimum(fen, arrears) if rule.cap else fen, dtype=np.int64)


def read_penalty(door: Door, value: Any, where: str) -> Penalty:
    table = door.table(value, where)
    door.keys(table, where, {"class", "same_year", "former_years", "minimum", "cap"})
    same, former = CLASSES[door.choice(table.get("class"), f"{where}.class", tuple(CLASSES))]
    minimum = door.price(table.get("minimum", "1.00"), f"{where}.minimum")
    if minimum % 100:
        raise door.error(f"{where}.minimum", f"{table['minimum']} is not whole fen")
    return Penalty(
        door.whole(table.get("same_year", same), f"{where}.same_year", 0, 100),
        door.whole(table.get("former_years", former), f"{where}.former_years", 0, 100),
        minimum // 100,
        door.flag(table.get("cap", False), f"{where}.cap"),
    )
