"""Late payment (违约金): so many permille of the arrears a day, from the day after the due date to the day of payment.

    [version.penalty]
    class = "resident"             # or "other": sets the two rates below
    same_year = 1                  # permille a day in the year of the due date
    former_years = 1               # permille a day after that year
    minimum = "1.00"               # yuan
    cap = true                     # never more than the arrears themselves

供电营业规则 (1996) 第98条, as two public pages report it: residents 1 permille; others 2 permille in the same year and
3 permille on what is carried over into the next; at least 1 yuan. The cap stands in some provinces' texts of 2024
and is not confirmed, therefore a key. What it comes to over payments in part: arrears.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tariffs.door import Door

#: class of customer -> permille a day in the same year, in later years
CLASSES: Final = {"resident": (1, 1), "other": (2, 3)}


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
