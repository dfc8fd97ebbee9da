"""A finding: what a rule says about one meter, area or terminal, with the evidence a person needs to act on
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Severity = Literal["info", "warning", "alarm"]
Subject = Literal["meter", "area", "terminal"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`evidence` holds plain JSON values only (numbers, limits, curves with null for a gap): it is stored
    and shown as it is.
    """

    rule: str
    rule_version: int
    subject_kind: Subject
    subject_id: int
    severity: Severity
    evidence: Mapping[str, Any]
    title_en: str
    title_zh: str


def number(value: Any, digits: int = 4) -> float | None:
    """A measured value for evidence: rounded, None where it is not a number (JSON has no NaN)."""
    value = float(value)
    return round(value, digits) if np.isfinite(value) else None


def curve(values: NDArray[np.float64], digits: int = 3) -> list[float | None]:
    """[slot] for evidence: rounded, None where missing."""
    return [
        None if gap else value
        for value, gap in zip(np.round(values, digits).tolist(), np.isnan(values), strict=True)
    ]
