"""The one list of what can be measured. Every protocol's items map onto these codes, and the store's columns are named by them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal


@dataclass(frozen=True, slots=True)
class Quantity:
    """One row of quantities.csv. `scale` turns the stored integer of a register into `unit`; 1 for instants."""

    code: str
    name_en: str
    name_zh: str
    unit: str
    kind: Literal["register", "instant"]
    obis: str
    scale: float


@cache
def quantities() -> dict[str, Quantity]:
    """code -> Quantity, in the order of the table."""
    text = files("protocols").joinpath("quantities.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return {
        row["code"]: Quantity(
            code=row["code"],
            name_en=row["name_en"],
            name_zh=row["name_zh"],
            unit=row["unit"],
            kind="register" if row["kind"] == "register" else "instant",
            obis=row["obis"],
            scale=float(row["scale"]),
        )
        for row in rows
    }
