"""What a meter or a terminal says has happened: an event of any protocol in one shape.

`kind` is one word for what every protocol numbers otherwise, '' where there is none: power-down, cover-open, terminal-cover-open,
clock-set, clock-wrong, programmed, cleared, demand-cleared, events-cleared, magnetic-field, voltage-loss, under-voltage, over-voltage,
phase-failure, current-loss, over-current, reverse-flow, all-voltages-lost, terminal-fault, meter-fault, unknown-meter, no-answer,
battery-low.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

#: Whose event it is: of the meter that was asked, of the terminal before it, or of the one at a point or address of that terminal.
Of = Literal["meter", "terminal", "point", "address"]


@dataclass(frozen=True, slots=True)
class Happening:
    """One event.

    code    protocol and item, as the standard names it: dlt645.03300D01
    began   UTC, by the clock of whoever noted it; `ended` None: it goes on, or has no end
    of, at  whose it is; `at`: the point number or the address
    seq     tells apart what has the same code and time
    detail  what else the record says, plain enough for JSON
    """

    code: str
    kind: str
    began: np.datetime64
    ended: np.datetime64 | None = None
    of: Of = "meter"
    at: str = ""
    seq: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class News:
    """What came unasked since it was looked at last. `mark` changes whenever the terminal says that it has something to tell."""

    mark: str = ""
    told: tuple[Happening, ...] = ()
