"""The one list of what can be measured. Every protocol's items map onto these codes, and the store's columns are named by them.

kind      column in Reads                                   missing
register  int64 in 1e-4 of the unit, only ever counts up    MISSING
instant   float64 in the unit                               NaN
demand    float64 in the unit; the largest mean of a period NaN
moment    datetime64[us] UTC; when that largest mean ended  NaT
event     int64: how often it happened since manufacture    MISSING
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

Kind = Literal["register", "instant", "demand", "moment", "event"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """One row of quantities.csv. `scale` turns the stored integer of a register into `unit`; 1 for all others."""

    code: str
    name_en: str
    name_zh: str
    unit: str
    kind: Kind
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
            kind=_kind(row["kind"]),
            obis=row["obis"],
            scale=float(row["scale"]),
        )
        for row in rows
    }


def _kind(name: str) -> Kind:
    kinds: tuple[Kind, ...] = get_args(Kind)
    return kinds[kinds.index(name)]
