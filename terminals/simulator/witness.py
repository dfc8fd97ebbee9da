"""The simulator's own witness: every act of every relay, written down as it happens."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from protocols.localtime import as_datetime
from terminals.simulator.journal import Journal, damaged, lines

#: Bytes of acts that are read back: some three hundred thousand. Each is done again at a restart, and takes milliseconds.
LIMIT: Final = 32 << 20


@dataclass(frozen=True, slots=True)
class Act:
    """What one relay did.

    at      datetime64[us] UTC
    meter   asset number
    act     trip, permit, close, keep-power, end-keep-power, key, purchase, or refused
    open    the relay after the act
    detail  for a refusal: what was refused and why; for a purchase: kind, fen, count and customer number
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
        self._journal = Journal(path)

    def see(self, act: Act) -> None:
        """Write one act."""
        self._journal.write(act.line())

    def close(self) -> None:
        self._journal.close()


def read_acts(path: Path) -> list[Act]:
    """All acts of a file, in order; none when it does not exist. Damaged names the line that is none."""
    acts = []
    for number, line in enumerate(lines(path, LIMIT), start=1):
        try:
            acts += parse_acts([line])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(path, number, error) from None
    return acts


def parse_acts(lines: Iterable[str]) -> list[Act]:
    """Acts from lines of JSON."""
    acts = []
    for line in lines:
        row = json.loads(line)
        at = np.datetime64(row["at"].removesuffix("+00:00"), "us")
        acts.append(Act(at, row["meter"], row["act"], bool(row["open"]), row.get("detail", "")))
    return acts
