"""The basic charge of a two-part tariff (两部制基本电费): by capacity, by contract demand or by actual demand.

    [version.basic]
    capacity_price = "23.0000"     # yuan per kVA and month
    demand_price = "36.8000"       # yuan per kW and month
    limit_percent = 105            # of the contract demand; what lies above is charged `above_times`
    above_times = 2
    up_to_limit = "contract"       # or "limit": what is charged besides once the limit is exceeded
    days = "calendar"              # or "thirtieth": how a month is shared where something changes within it
    [version.basic.discount]       # demand price for who uses his capacity well
    kwh_per_kva = 260
    percent = 90

Customers choose one of the three, which is a matter of the account and not of the plan. Capacity and contract are one customer's, however many
accounts he has: they are charged on one of them, and ELSEWHERE on the others. Actual demand is taken for each supply point's own (各路进线分别计算),
as the trade does; no text of either was at hand. 发改办价格〔2016〕1583号:
contract demand pays for the contract as long as the demand stays within 105 % of it; beyond, the part above 105 %
counts double. Actual demand has no such rule. No text at hand says whether the part between 100 % and 105 % is
charged too once the limit is exceeded: `up_to_limit`. 发改价格〔2023〕526号: a demand price of 90 % in a month that brings
260 kWh per kVA; that transformer loss counts among them is a reading. "thirtieth" is the day's share of 供电营业规则
(1996) 第84条, as remembered: no text of it was at hand, so the calendar's days are the default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tariffs.door import Door
from tariffs.money import Ints, amount, share

#: What an account has chosen.
BY: Final = ("capacity", "contract", "demand")
CAPACITY, CONTRACT, DEMAND = range(len(BY))
#: His capacity or contract is charged on another account of his: none of it here.
ELSEWHERE: Final = len(BY)
_KEYS: Final = {
    "capacity_price",
    "demand_price",
    "limit_percent",
    "above_times",
    "up_to_limit",
    "days",
    "discount",
}


@dataclass(frozen=True, slots=True)
class Discount:
    """kwh_per_kva: what a month must bring at least; percent: of the demand price that is then left."""

    kwh_per_kva: int
    percent: int


@dataclass(frozen=True, slots=True)
class Basic:
    """Prices [1e-4 yuan per kVA or kW and month]; None: the plan does not offer that choice. See the module for the rest."""

    capacity_price: int | None
    demand_price: int | None
    limit_percent: int
    above_times: int
    up_to_limit: str
    days: str
    discount: Discount | None

    def facts(self) -> dict[str, Any]:
        discount = self.discount
        return {
            "capacity_price": self.capacity_price,
            "demand_price": self.demand_price,
            "limit_percent": self.limit_percent,
            "above_times": self.above_times,
            "up_to_limit": self.up_to_limit,
            "days": self.days,
            "discount": None if discount is None else [discount.kwh_per_kva, discount.percent],
        }


@dataclass(frozen=True, slots=True)
class Stretch:
    """Days of one month that a charge is for: [first, end) counted from 0, of `length`."""

    first: int
    end: int
    length: int

    @property
    def whole(self) -> bool:
        return self.first == 0 and self.end == self.length


@dataclass(frozen=True, slots=True)
class Part:
    """quantity int64[account] [1e-4 kVA or kW], price int64[account] [1e-4 yuan], money int64[account] [1e-8 yuan]."""

    quantity: Ints
    price: Ints
    money: Ints


def charges(
    basic: Basic,
    by: Ints,
    capacity: Ints,
    contract: Ints,
    demand: Ints,
    month_energy: Ints,
    stretch: Stretch,
) -> tuple[Part, Part, Part]:
    """(capacity, demand, demand above the limit) of accounts over a stretch of one month; 0 where a part is not his.

    by                 int64[account]: CAPACITY, CONTRACT, DEMAND or ELSEWHERE
    capacity           int64[account] [1e-4 kVA];  contract, demand  int64[account] [1e-4 kW], the month's
    month_energy       int64[account] [1e-4 kWh] of the month, for the discount
    """
    nothing = np.zeros(len(by), dtype=np.int64)
    limit = -share(contract, -basic.limit_percent, 100)  # rounded up to 1e-4 kW
    over = (by == CONTRACT) & (demand > limit)
    charged = np.where(over & (basic.up_to_limit == "limit"), limit, contract)
    price = np.full(len(by), basic.demand_price or 0, dtype=np.int64)
    if basic.discount is not None:
        earned = (capacity > 0) & (month_energy >= basic.discount.kwh_per_kva * capacity)
        price = np.where(earned, (price * basic.discount.percent + 50) // 100, price)
    kva = np.where(by == CAPACITY, capacity, nothing)
    kw = np.select([by == CONTRACT, by == DEMAND], [charged, demand], nothing)
    above = np.where(over, demand - limit, nothing)
    flat = np.full(len(by), basic.capacity_price or 0, dtype=np.int64)
    return (
        _part(basic, kva, flat, stretch),
        _part(basic, kw, price, stretch),
        _part(basic, above, price * basic.above_times, stretch),
    )


def offered(basic: Basic, by: Ints) -> NDArray[np.bool_]:
    """bool[account]: the plan has a price for what the account has chosen (or nothing was chosen)."""
    price = np.where(by == CAPACITY, basic.capacity_price is not None, basic.demand_price is not None)
    return np.asarray(price | (by < 0) | (by == ELSEWHERE), dtype=np.bool_)


def _part(basic: Basic, quantity: Ints, price: Ints, stretch: Stretch) -> Part:
    month = amount(quantity, price)
    if stretch.whole:
        return Part(quantity, price, month)
    if basic.days == "thirtieth":
        return Part(quantity, price, share(month, stretch.end - stretch.first, 30))
    # from the month's first day on, so that the pieces of a month add up to it
    return Part(
        quantity,
        price,
        share(month, stretch.end, stretch.length) - share(month, stretch.first, stretch.length),
    )


def read_basic(door: Door, value: Any, where: str) -> Basic:
    table = door.table(value, where)
    door.keys(table, where, _KEYS)
    prices = {
        key: door.price(table[key], f"{where}.{key}") if key in table else None
        for key in ("capacity_price", "demand_price")
    }
    if all(price is None for price in prices.values()):
        raise door.error(where, "capacity_price, demand_price or both are needed")
    discount = None
    if "discount" in table:
        at = f"{where}.discount"
        rule = door.table(table["discount"], at)
        door.keys(rule, at, {"kwh_per_kva", "percent"})
        discount = Discount(
            door.whole(rule.get("kwh_per_kva"), f"{at}.kwh_per_kva", 1, 744),
            door.whole(rule.get("percent"), f"{at}.percent", 1, 100),
        )
        if prices["demand_price"] is None:
            raise door.error(at, "the discount is on the demand price, which is missing")
    return Basic(
        prices["capacity_price"],
        prices["demand_price"],
        door.whole(table.get("limit_percent", 105), f"{where}.limit_percent", 100, 200),
        door.whole(table.get("above_times", 2), f"{where}.above_times", 1, 10),
        door.choice(table.get("up_to_limit", "contract"), f"{where}.up_to_limit", ("contract", "limit")),
        door.choice(table.get("days", "calendar"), f"{where}.days", ("calendar", "thirtieth")),
        discount,
    )
