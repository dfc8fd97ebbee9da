"""Surcharges and government funds (附加, 政府性基金) by the kWh.

[[version.surcharges]]
name = "renewable"
title_en = "Renewable energy surcharge"
title_zh = "可再生能源电价附加"
price = "0.0190"               # yuan/kWh
fund = true                    # kept out of the power factor adjustment where that is "without funds"
included = false               # true: the energy prices contain it, so it makes no line of its own
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tariffs.door import Door


@dataclass(frozen=True, slots=True)
class Surcharge:
    """price [1e-4 yuan/kWh]"""

    name: str
    title_en: str
    title_zh: str
    price: int
    fund: bool
    included: bool

    def facts(self) -> dict[str, Any]:
        return {"name": self.name, "price": self.price, "fund": self.fund, "included": self.included}


def read_surcharges(door: Door, value: Any, where: str) -> tuple[Surcharge, ...]:
    found: list[Surcharge] = []
    for n, item in enumerate(door.tables(value, where, "[[version.surcharges]]")):
        at = f"{where}[{n}]"
        table = door.table(item, at)
        door.keys(table, at, {"name", "title_en", "title_zh", "price", "fund", "included"})
        name, en, zh = (door.text(table.get(key), f"{at}.{key}") for key in ("name", "title_en", "title_zh"))
        if any(other.name == name for other in found):
            raise door.error(f"{at}.name", f"{name} is there twice")
        found.append(
            Surcharge(
                name,
                en,
                zh,
                door.price(table.get("price"), f"{at}.price"),
                door.flag(table.get("fund", True), f"{at}.fund"),
                door.flag(table.get("included", False), f"{at}.included"),
            )
        )
    return tuple(found)
