"""What a meter holds, as a document, and what becomes of it when only the first of some writes arrive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tariffs.timetable import SPARE

ALL_DAY_FLAT = [[0, 0, 3]]


def held(**more: Any) -> dict[str, Any]:
    """A meter from the box: one zone, one day table, eight kept, no money."""
    days = {f"day {n}": ALL_DAY_FLAT for n in range(1, 9)}
    return {
        "counts": {"zones": 14, "days": 8, "slots": 14, "tariffs": 4, "holidays": 0, "steps": 0}, "rest": None, "holidays": None,
        "zones": [[1, 1, 1]], **days, f"{SPARE}zones": [[1, 1, 1]], **{f"{SPARE}{key}": table for key, table in days.items()},
        "prices": None, "steps": None, f"{SPARE}prices": None, f"{SPARE}steps": None,
        "switch zones": None, "switch days": None, "switch prices": None, "switch steps": None,
    } | more  # fmt: skip


def written(before: dict[str, Any], items: Iterable[tuple[str, Any, Any]]) -> dict[str, Any]:
    return before | {key: becomes for key, _, becomes in items}
