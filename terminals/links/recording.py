"""Recorded conversations: hw-fixtures/<protocol>/<make-model>/<case>.toml, written by the tap.

    source = "tcp://10.1.2.3:7001"
    date = "2026-03-11T10:00:00+08:00"

    [[moment]]
    direction = "sent"          # by the head-end; "received"; "late": it had come before the next request was sent; "silent": nothing
                                # came for as long as was waited; "opened", "failed", "lost": the link, then `reason` instead of `hex`
    at = 0.0                    # seconds since the first moment
    hex = "68 AA AA AA AA AA AA 68 13 00 DF 16"

Other top-level keys (expected values, notes) belong to the test that uses the file and are kept in `extra`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

Direction = Literal["sent", "received", "late", "silent", "opened", "failed", "lost"]


@dataclass(frozen=True, slots=True)
class Moment:
    """Bytes that passed, silence, or what became of the link. `at` in seconds since the first moment."""

    direction: Direction
    data: bytes = b""
    at: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """One file."""

    source: str
    date: str
    moments: Sequence[Moment]
    extra: Mapping[str, Any] = field(default_factory=dict)


def head(source: str, date: str) -> str:
    """The beginning of a file."""
    return f"source = {_quoted(source)}\ndate = {_quoted(date)}\n"


def entry(moment: Moment) -> str:
    """One moment as it stands in the file; files grow by appending these."""
    lines = ["", "[[moment]]", f"direction = {_quoted(moment.direction)}", f"at = {moment.at:.6f}"]
    if moment.direction in ("opened", "failed", "lost"):
        lines.append(f"reason = {_quoted(moment.reason)}")
    elif moment.direction != "silent":
        lines.append(f'hex = "{moment.data.hex(" ").upper()}"')
    return "\n".join(lines) + "\n"


def load(path: Path) -> Recording:
    """Read a file. ValueError names the file, the moment and what is wrong with it."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    moments = [_moment(path, number, row) for number, row in enumerate(document.pop("moment", ()), 1)]
    return Recording(str(document.pop("source", "")), str(document.pop("date", "")), moments, document)


def _moment(path: Path, number: int, row: Mapping[str, Any]) -> Moment:
    direction: Any = row.get("direction")
    if direction not in get_args(Direction):
        raise ValueError(
            f"{path}: moment {number}: direction {direction!r} is not one of {get_args(Direction)}"
        )
    try:
        data = bytes.fromhex(row.get("hex", ""))
        return Moment(direction, data, float(row.get("at", 0.0)), str(row.get("reason", "")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: moment {number}: {error}") from None


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # JSON's escapes are a subset of TOML's
