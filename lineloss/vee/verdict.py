"""What a rule says: which slots of which meters, how bad it is, and by what numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineloss.vee.facts import KWH
from protocols.reading import MISSING

I64 = NDArray[np.int64]
Bits = NDArray[np.bool_]


class Severity(IntEnum):
    SUSPECT = 1  # 可疑: somebody should look; the value stands
    ERROR = 2  # 错误: not usable


@dataclass(frozen=True, slots=True)
class Verdict:
    """Stretches of slots, in order of meter and slot; [n] each.

    row          of Facts
    first, last  ends of slots: columns of [meter, slot + 1], so 0 is the opening midnight
    severity     int8, Severity
    evidence     name -> [n] numbers or truth values; "slots" is how long the stretch is
    """

    rule: str
    version: int
    row: I64
    first: I64
    last: I64
    severity: NDArray[np.int8]
    evidence: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.row)

    def mask(self, meters: int, slots: int, *, least: Severity = Severity.SUSPECT) -> Bits:
        """bool[meter, slot + 1]: what it speaks of."""
        edges = np.zeros((meters, slots + 2), dtype=np.int64)
        worst = self.severity >= least
        np.add.at(edges, (self.row[worst], self.first[worst]), 1)
        np.add.at(edges, (self.row[worst], self.last[worst] + 1), -1)
        return np.asarray(edges.cumsum(axis=1)[:, :-1] > 0, dtype=np.bool_)


def stretches(mask: Bits) -> tuple[I64, I64, I64]:
    """bool[row, column] -> (row, first column, last column) of each run of True; few of them cost little."""
    width = mask.shape[1]
    at = np.flatnonzero(mask)
    if not len(at):
        return at, at, at
    row, column = np.divmod(at, width)
    begins = np.ones(len(at), dtype=np.bool_)
    begins[1:] = (at[1:] != at[:-1] + 1) | (column[1:] == 0)
    ends = np.append(begins[1:], True)
    return row[begins], column[begins], column[ends]


def of_slots(rule: str, version: int, mask: Bits, severity: Severity, **evidence: NDArray[Any]) -> Verdict:
    """A verdict on runs of slots, bool[meter, slot]; evidence [meter, slot] is told of the first slot of each, registers in kWh."""
    row, first, last = stretches(mask)
    told = {name: in_kwh(values[row, first]) for name, values in evidence.items()}
    return Verdict(
        rule, version, row, first + 1, last + 1, _all(len(row), severity), {"slots": last - first + 1, **told}
    )


def of_days(
    rule: str, version: int, rows: Bits, slots: int, severity: Severity, **evidence: NDArray[Any]
) -> Verdict:
    """A verdict on whole days of these meters; evidence [meter], registers and energies in kWh."""
    row = np.flatnonzero(rows)
    n = len(row)
    return Verdict(
        rule, version, row, np.ones(n, dtype=np.int64), np.full(n, slots), _all(n, severity),
        {name: in_kwh(values[row]) for name, values in evidence.items()},
    )  # fmt: skip


def in_kwh(values: NDArray[Any]) -> NDArray[Any]:
    """Registers and energies, which are int64 [1e-4 kWh], as float64 [kWh], NaN where missing; all else as it is."""
    if values.dtype != np.int64:
        return values
    return np.where(values == MISSING, np.nan, values / KWH)


def joined(parts: list[Verdict]) -> Verdict:
    """Several of one rule as one, in order; evidence that a part has not is missing there (NaN)."""
    names = dict.fromkeys(name for part in parts for name in part.evidence)
    row, first, last, severity = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("row", "first", "last", "severity")
    )
    order = np.lexsort((first, row))
    evidence = {
        name: np.concatenate([part.evidence.get(name, np.full(len(part), np.nan)) for part in parts])[order]
        for name in names
    }
    return Verdict(
        parts[0].rule, parts[0].version, row[order], first[order], last[order], severity[order], evidence
    )


def _all(n: int, severity: Severity) -> NDArray[np.int8]:
    return np.full(n, severity, dtype=np.int8)
