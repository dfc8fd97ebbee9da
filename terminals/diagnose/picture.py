"""A phasor diagram in characters: braille dots where the screen has them, plain ASCII elsewhere. Pure.

Voltage of phase A points up, lagging is clockwise. Voltages reach the edge, currents three quarters of it, each in the measure of its own
largest. Voltages are dotted lines, currents solid ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from terminals.diagnose.phasors import Phasors, weak

#: Characters of the drawing; a character is twice as high as wide, so this is a square with room for labels on both sides.
WIDTH: Final = 46
HEIGHT: Final = 21
#: Dots of a braille character, and the bit of each (Unicode 2800-28FF).
_ACROSS: Final = 2
_DOWN: Final = 4
_BITS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_CURRENT_SHARE: Final = 0.72
#: Rows that the longest arrow takes; one is left for its label.
_REACH: Final = HEIGHT / 2 - 1.6


@dataclass(frozen=True, slots=True)
class Arrow:
    """length 0 to 1 of the reach; `lag` in degrees clockwise from straight up."""

    label: str
    lag: float
    length: float
    solid: bool


@dataclass(slots=True)
class _Sheet:
    """Characters by (row, column), and the braille dots below them."""

    plain: bool
    marks: dict[tuple[int, int], str] = field(default_factory=dict)
    dots: dict[tuple[int, int], int] = field(default_factory=dict)

    def dot(self, x: float, y: float, mark: str) -> None:
        """x in characters from the middle to the right, y in rows upwards."""
        row, column = HEIGHT / 2 - y, WIDTH / 2 + x
        place = math.floor(row), math.floor(column)
        if self.plain:
            self.marks.setdefault(place, mark)
            return
        bit = _BITS[int(row * _DOWN) % _DOWN][int(column * _ACROSS) % _ACROSS]
        self.dots[place] = self.dots.get(place, 0) | bit

    def label(self, x: float, y: float, text: str) -> None:
        """As near as there is room; what is drawn gives way, other labels do not."""
        row, column = math.floor(HEIGHT / 2 - y), math.floor(WIDTH / 2 + x)
        column = min(max(column, 0), WIDTH - len(text))
        for step in (0, 1, -1, 2, -2, 3, -3):
            places = [(row + step, column + k) for k in range(-1, len(text) + 1)]
            if 0 <= row + step < HEIGHT and not any(self.marks.get(p, " ").isalnum() for p in places):
                for place, letter in zip(places[1:-1], text, strict=True):
                    self.marks[place] = letter
                return

    def lines(self) -> tuple[str, ...]:
        rows = [
            "".join(self._character(row, column) for column in range(WIDTH)).rstrip() for row in range(HEIGHT)
        ]
        used = [number for number, row in enumerate(rows) if row]
        return tuple(rows[used[0] : used[-1] + 1])

    def _character(self, row: int, column: int) -> str:
        mark = self.marks.get((row, column))
        if mark is not None:
            return mark
        bits = self.dots.get((row, column), 0)
        return chr(0x2800 + bits) if bits else " "


def arrows(phasors: Phasors) -> tuple[Arrow, ...]:
    """What is drawn: every voltage that is there, and every current whose direction is known."""
    highest = max((p.voltage for p in phasors.phases if p.voltage > 0), default=0.0)
    largest = max((p.current for p in phasors.phases if p.current > 0), default=0.0)
    found = []
    for phase, at in zip(phasors.phases, phasors.star, strict=True):
        if phase.voltage > 0:
            found.append(Arrow(f"U{phase.name.lower()}", at, phase.voltage / highest, solid=False))
        if not math.isnan(phase.angle) and not weak(phase, phasors):
            share = _CURRENT_SHARE * phase.current / largest
            found.append(Arrow(f"I{phase.name.lower()}", at + phase.angle, share, solid=True))
    return tuple(found)


def draw(phasors: Phasors, *, plain: bool = False) -> tuple[str, ...]:
    """At most HEIGHT lines of at most WIDTH characters; empty where there is nothing to draw. `plain`: ASCII only."""
    found = arrows(phasors)
    if not found:
        return ()
    sheet = _Sheet(plain)
    for arrow in sorted(found, key=lambda a: a.solid, reverse=True):
        _draw(sheet, arrow)
    for arrow in found:
        beyond = _REACH * arrow.length + 0.9
        x, y = _place(arrow.lag, beyond)
        sheet.label(x - (len(arrow.label) - 1) / 2, y, arrow.label)
    sheet.marks[HEIGHT // 2, WIDTH // 2] = "+"
    return sheet.lines()


def _draw(sheet: _Sheet, arrow: Arrow) -> None:
    steps = max(1, round(_REACH * arrow.length * _DOWN * (1 if arrow.solid or sheet.plain else 0.5)))
    for step in range(1, steps + 1):
        x, y = _place(arrow.lag, _REACH * arrow.length * step / steps)
        sheet.dot(x, y, "*" if arrow.solid else ".")


def _place(lag: float, length: float) -> tuple[float, float]:
    """(characters to the right, rows up) of an arrow's point."""
    return 2 * length * math.sin(math.radians(lag)), length * math.cos(math.radians(lag))
