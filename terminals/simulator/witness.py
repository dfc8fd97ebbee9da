"""The simulator's own witness: every act of every relay, written down as it happens."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from protocols.localtime import as_datetime


@dataclass(frozen=True, slots=True)
class Act:
    """What one relay did.

    at      datetime64[us] UTC
    meter   asset number
    act     trip, permit, close, keep-power, end-keep-power, key, or refused
    open    the relay after the act
    detail  for a refusal: what was refused and why
    """

    at: np.datetime64
    meter: str
    act: str
    open: bool
    detail: str = ""

    def line(self) -> str:
        """One line of JSON."""
        at = as_datetime(self.at).isoformat(timespec="microseconds")
        return json.dumps(
            {"at": at, "meter": self.meter, "act": self.act, "open": self.open, "detail": self.detail},
            ensure_ascii=False,
        )


class Witness:
    """Appends acts to a file, flushed one by one: a killed simulator leaves no act unwritten."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO = path.open("a", encoding="utf-8")

    def see(self, act: Act) -> None:
        """Write one act."""
        self._file.write(act.line() + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_acts(path: Path) -> list[Act]:
    """All acts of a file, in order; none when it does not exist."""
    if not path.exists():
        return []
    return parse_acts(path.read_text(encoding="utf-8").splitlines())


def parse_acts(lines: Iterable[str]) -> list[Act]:
    """Acts from lines of JSON."""
    acts = []
    for line in lines:
        row = json.loads(line)
        at = np.datetime64(row["at"].removesuffix("+00:00"), "us")
        acts.append(Act(at, row["meter"], row["act"], bool(row["open"]), row.get("detail", "")))
    return acts
