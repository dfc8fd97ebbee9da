"""What a restarted fleet continues with beside its acts and troubles: the clocks as they were set, moved and drifting.

Registers need no state: they follow from the truth and the relays' acts. One file, replaced whole, so that a kill leaves the old or the new.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from terminals.simulator.journal import Damaged

#: of the file's layout
VERSION: Final = 1
#: Bytes of a file that is read: 65,000 terminals of 8 meters, all of whose clocks were set, have 40 MiB.
LIMIT: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class ClockState:
    """A clock is `ahead_us` microseconds ahead at `as_of_us` (microseconds UTC since 1970), and gains `rate` seconds a day."""

    ahead_us: int
    as_of_us: int = 0
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """Asset number or terminal code -> the clocks that are not as they were when the fleet was made."""

    meters: Mapping[str, ClockState] = field(default_factory=dict)
    terminals: Mapping[str, ClockState] = field(default_factory=dict)


def save(path: Path, state: State, truth: str) -> None:
    """Replace the file. `truth`: the sha256 of the fleet's truth."""
    document = {
        "version": VERSION,
        "truth": truth,
        "meters": {name: _row(clock) for name, clock in state.meters.items()},
        "terminals": {name: _row(clock) for name, clock in state.terminals.items()},
    }
    new = path.with_suffix(".new")
    with new.open("w", encoding="utf-8") as file:
        json.dump(document, file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def load(path: Path, truth: str) -> State:
    """What an earlier run of the same fleet left; of another fleet's, or without a file, nothing. Damaged: it cannot be read."""
    try:
        if path.stat().st_size > LIMIT:
            raise Damaged(_why(path, f"it has more than {LIMIT >> 20} MiB"))
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["version"] != VERSION:
            raise Damaged(_why(path, f"its version is {document['version']!r}, this program's is {VERSION}"))
        if document["truth"] != truth:
            return State()
        return State(_clocks(document["meters"]), _clocks(document["terminals"]))
    except FileNotFoundError:
        return State()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(_why(path, f"it is damaged ({error})")) from None


def _row(clock: ClockState) -> list[float]:
    return [clock.ahead_us, clock.as_of_us, clock.rate]


def _clocks(rows: Mapping[str, Any]) -> dict[str, ClockState]:
    return {
        name: ClockState(int(ahead), int(as_of), float(rate)) for name, (ahead, as_of, rate) in rows.items()
    }


def _why(path: Path, what: str) -> str:
    return f"{path} cannot be continued with: {what}; remove it, and the clocks begin anew"
