"""A meter's tables of hours and prices in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def spelled(key: str, value: Any) -> str:
    """A part of a meter's tables for people."""
    if value is None or value == []:
        return "–"
    if key.startswith("switch"):
        return str(value).replace("T", " ")
    if key.endswith("zones"):
        return ", ".join(f"{month:02d}-{day:02d} day {number}" for month, day, number in value)
    if "day " in key:
        return ", ".join(f"{hour:02d}:{minute:02d} T{tariff}" for hour, minute, tariff in value)
    if key == "holidays":
        return ", ".join(f"{year}-{month:02d}-{day:02d} day {number}" for year, month, day, number in value)
    return _money(value)


def _money(value: Any) -> str:
    """Prices by tariff, or steps."""
    if isinstance(value, list):
        return ", ".join(f"T{n} {price / 10_000:.4f}" for n, price in enumerate(value, start=1))
    limits: Sequence[int] = value["limits"]
    said = ", ".join(f"{limit / 100:g} kWh" for limit in limits) or "none"
    return f"{said}: {', '.join(f'{price / 10_000:.4f}' for price in value['prices'])}"
