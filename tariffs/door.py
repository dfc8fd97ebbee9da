"""The door by which tariff files come in: each check names the file, the key, what is wrong and what is wanted instead."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tariffs.money import price_of


class TariffError(ValueError):
    """A tariff file that must not be used: which file, which key, what is wrong with it."""

    def __init__(self, file: str, key: str, problem: str) -> None:
        super().__init__(f"{file}: {key}: {problem}" if key else f"{file}: {problem}")
        self.file = file
        self.key = key
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Door:
    """Checks of what stands in one file. `where` and `key` are paths such as version[0].prices.peak."""

    file: str

    def error(self, key: str, problem: str) -> TariffError:
        return TariffError(self.file, key, problem)

    def keys(self, table: Mapping[str, Any], where: str, allowed: Collection[str]) -> None:
        for key in table:
            if key not in allowed:
                raise self.error(
                    f"{where}.{key}" if where else key, f"unknown key; known: {', '.join(sorted(allowed))}"
                )

    def table(self, value: Any, key: str) -> Mapping[str, Any]:
        if not isinstance(value, dict) or not value:
            raise self.error(key, "a non-empty table is needed")
        return value

    def tables(self, value: Any, key: str, written: str) -> Sequence[Any]:
        """A list of tables, which is written as `written`."""
        if not isinstance(value, list) or not value:
            raise self.error(key, f"at least one {written} is needed")
        return value

    def text(self, value: Any, key: str) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, "a non-empty string is needed")
        return value

    def choice(self, value: Any, key: str, known: Sequence[str]) -> str:
        if not isinstance(value, str):
            raise self.error(key, f"a string is needed, not {value!r}; known: {', '.join(known)}")
        if value not in known:
            raise self.error(key, f"{value!r} is unknown; known: {', '.join(known)}")
        return value

    def flag(self, value: Any, key: str) -> bool:
        if not isinstance(value, bool):
            raise self.error(key, f"true or false is needed, not {value!r}")
        return value

    def day(self, value: Any, key: str) -> dt.date:
        if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
            raise self.error(key, "a date such as 2024-01-01 is needed")
        return value

    def whole(self, value: Any, key: str, least: int, most: int) -> int:
        if type(value) is not int or not least <= value <= most:
            raise self.error(key, f"a whole number from {least} to {most} is needed, not {value!r}")
        return value

    def price(self, value: Any, key: str) -> int:
        """A price or an amount in yuan, never negative -> [1e-4 yuan]."""
        if not isinstance(value, str):
            raise self.error(key, 'a string such as "0.5680" is needed: a TOML float is not exact')
        try:
            price = price_of(value)
        except ValueError as error:
            raise self.error(key, str(error)) from None
        if price < 0:
            raise self.error(key, f"{value} is negative")
        return price

    def months(self, value: Any, key: str) -> list[int]:
        if not isinstance(value, list) or not value:
            raise self.error(key, "a list of months 1 to 12 is needed")
        for month in value:
            if type(month) is not int or not 1 <= month <= 12:
                raise self.error(key, f"{month!r} is not a month 1 to 12")
        return value
