"""What a file is about, and what every format says of a quantity."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from headend.store.db import StoreError
from headend.store.sheets import MEASURED, QUALITIES, Sheet, Span
from protocols.localtime import as_datetime
from protocols.quantity import quantities


class ExportError(StoreError):
    """This format cannot hold what was asked for; nothing was written."""


@dataclass(frozen=True, slots=True)
class About:
    """`meters`: how many may be in the file; `now`: domain time, for formats whose header must name it; `participants`: NEM12's from and to."""

    span: Span
    codes: tuple[str, ...]
    zone: ZoneInfo
    meters: int
    now: np.datetime64
    participants: tuple[str, str] = ("HEADEND", "RETAILER")

    def stamps(self) -> list[str]:
        """The name of each slot: its end, local time with offset."""
        return [as_datetime(when, self.zone).isoformat() for when in self.span.times]

    @property
    def moment(self) -> Callable[[int], str]:
        """int64 us since 1970 -> local time with offset."""
        return lambda us: as_datetime(np.datetime64(us, "us"), self.zone).isoformat()


def column(code: str) -> str:
    """A quantity's column name: its code and unit."""
    unit = quantities()[code].unit
    return f"{code}_{unit}" if unit else code


def code_of(name: str) -> str | None:
    """The quantity of a column name, with or without its unit; None if it is none."""
    if name in quantities():
        return name
    return next((code for code in quantities() if column(code) == name), None)


def remarks(sheet: Sheet) -> dict[tuple[int, int], str]:
    """(meter, slot) -> what is not the meter's first word there, as JSON: {code: [quality, method, reason]}."""
    said: dict[tuple[int, int], dict[str, Any]] = {}
    for (code, m, t), (method, reason) in sheet.notes.items():
        if t >= 0 and sheet.quality[code][m, t] > MEASURED:
            said.setdefault((m, t), {})[code] = [QUALITIES[sheet.quality[code][m, t]], method, reason]
    return {
        cell: json.dumps(codes, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        for cell, codes in said.items()
    }
