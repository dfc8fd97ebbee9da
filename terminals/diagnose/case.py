"""A diagnosis in a file: what was asked for, beside what passed on the wire (terminals/links/recording.py).

    source = "tcp://10.1.2.3:7001"
    date = "2026-03-11T10:00:00+08:00"

    [asked]
    url = "tcp://10.1.2.3:7001"
    began = "2026-03-11T02:00:00.123456"    # UTC, when `at` was 0
    rate = 1.0                              # domain seconds in a real one
    …

Passwords are in it: what is on the wire is in the file anyway, and without them nothing can be played back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from terminals.diagnose.search import Target
from terminals.links import recording
from terminals.links.link import LinkError
from terminals.links.recording import Recording


class NoCase(LinkError):
    """The file is no recorded diagnosis. The message names the file and what is wrong with it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(str(path), reason, f"{path} is no recorded diagnosis: {reason}")


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything a diagnosis depends on, beside the wire.

    began  domain time UTC when the wire's clock was 0; rate: domain seconds in one of its seconds
    known  what the caller knew of the meter beforehand, as JSON; '' if nothing
    """

    url: str
    target: Target
    protocols: tuple[str, ...]
    zone: ZoneInfo
    began: np.datetime64
    rate: float = 1.0
    limit: int = 3
    known: str = field(default="", repr=False)

    def now(self, at: float) -> np.datetime64:
        """Domain time at a second of the wire."""
        passed = np.timedelta64(round(at * self.rate * 1e6), "us")
        return np.datetime64(self.began + passed)

    def head(self, source: str, date: str) -> str:
        """The beginning of the file."""
        target = self.target
        rows: dict[str, Any] = {
            "url": self.url,
            "address": target.address,
            "terminal": target.terminal,
            "point": target.point,
            "passwords": list(target.passwords),
            "protocols": list(self.protocols),
            "zone": self.zone.key,
            "began": str(self.began.astype("datetime64[us]")),
            "rate": self.rate,
            "limit": self.limit,
            "known": self.known,
        }
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in rows.items()]
        return "\n".join([recording.head(source, date), "[asked]", *lines, ""])


def load(path: Path) -> tuple[Asked, Recording]:
    """NoCase: it cannot be read, or was not made by a diagnosis."""
    try:
        found = recording.load(path)
    except (OSError, ValueError) as error:
        raise NoCase(path, str(error)) from None
    asked = found.extra.get("asked")
    if not isinstance(asked, Mapping):
        raise NoCase(
            path,
            "there is no [asked] in it: it was made by hand or by an older version; make one with --record",
        )
    try:
        return _asked(asked), found
    except (KeyError, TypeError, ValueError) as error:
        raise NoCase(path, f"[asked] is not what `--record` writes: {error}") from None


def _asked(row: Mapping[str, Any]) -> Asked:
    target = Target(
        str(row["address"]), str(row["terminal"]), int(row["point"]), tuple(map(str, row["passwords"]))
    )
    began = np.datetime64(str(row["began"]), "us")
    if np.isnat(began):
        raise ValueError("began is no time")
    return Asked(
        str(row["url"]), target, tuple(map(str, row["protocols"])), ZoneInfo(str(row["zone"])), began, float(row["rate"]),
        int(row["limit"]), str(row["known"]),
    )  # fmt: skip
