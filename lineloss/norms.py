"""Norms as data, each with its reference (norms.csv). Rules take them as defaults; a utility sets its own."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Norm:
    """A band; an open side is infinite."""

    code: str
    low: float
    high: float
    unit: str
    reference: str
    status: str


@cache
def norms() -> dict[str, Norm]:
    """code -> Norm, in the order of the table."""
    text = files("lineloss").joinpath("norms.csv").read_text(encoding="utf-8")
    return {
        row["code"]: Norm(
            row["code"],
            float(row["low"] or "-inf"),
            float(row["high"] or "inf"),
            row["unit"],
            row["reference"],
            row["status"],
        )
        for row in csv.DictReader(text.splitlines())
    }
