"""Load control and keep-power of a terminal, by names whose values are JSON as an order carries them.

| name | value |
|---|---|
| keep-power | on; written with half_hours, 0 without end |
| security | security_w: what is never cut |
| slots | slots: 48 digits, a half hour each |
| alarms.N | alarm_minutes of rounds 1 to N |
| power-rounds.G, energy-rounds.G | rounds that trip |
| sliding.G | sliding_minutes |
| period.G.S | setpoints_w of scheme S, one a period |
| factory-rest.G, suspension.G, monthly-energy.G, purchase.G | the parameters |
| on.NAME.G | on; written and read with scheme and periods (period), down_percent and all else a reduction has |
| state.G | what the terminal does now; read only |

G is the aggregate group (总加组), 1 to 8. What a terminal denies, or does not say, is missing from what is read. A value that is read proves one
that was written where all that it says is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from protocols.errors import Misuse
from terminals.drivers.driver import Meter, Script

#: in the order of the bits in which both standards are read to tell what is on: which bit is which no public source says
POWER: Final = ("period", "factory-rest", "suspension", "reduction")
ENERGY: Final = ("monthly-energy", "purchase")
#: one byte holds rounds, periods, groups
BITS: Final = 8


@dataclass(frozen=True, slots=True)
class Term:
    """What a command says of its own time, both by the terminal's clock as UTC instants: now, and the end of its life."""

    now: np.datetime64
    until: np.datetime64


class Controls(Protocol):
    """Terminals of one protocol. Stateless. A name that it does not have, or a value that does not fit, is Misuse."""

    def read(self, whom: Meter, names: Iterable[str]) -> Script[Mapping[str, Mapping[str, Any]]]:
        """What the terminal says under these names."""

    def write(
        self, whom: Meter, name: str, value: Mapping[str, Any], term: Term | None = None
    ) -> Script[None]:
        """`term`: the command is void after it; None: it acts whenever it arrives. Refused: the terminal denies it."""


def split(name: str) -> tuple[str, list[int]]:
    """'on.period.1' -> 'on.period', [1]. Misuse: a number in it is none, or not from 1 to 8."""
    words = name.split(".")
    numbers = [word for word in words if word.isdecimal()]
    if any(not 1 <= int(number) <= BITS for number in numbers):
        raise Misuse(f"{name!r}: groups, schemes and rounds are numbers from 1 to {BITS}")
    return ".".join(words[: len(words) - len(numbers)]), [int(number) for number in numbers]


def unknown(name: str) -> Misuse:
    return Misuse(f"{name!r} is no load control of a terminal")


def bits(numbers: Iterable[int]) -> int:
    """Numbers from 1 as bits from D0."""
    return sum(1 << number - 1 for number in numbers)


def numbers(mask: int) -> list[int]:
    return [number for number in range(1, BITS + 1) if mask >> number - 1 & 1]


def pack_slots(slots: str) -> bytes:
    """48 digits -> 12 bytes, two bits a half hour, the earliest in D1-D0 of the first (Q/GDW 376.1 AFN 04 F18)."""
    pairs = [int(digit) for digit in slots]
    return bytes(sum(pair << 2 * k for k, pair in enumerate(pairs[at : at + 4])) for at in range(0, 48, 4))


def unpack_slots(raw: bytes) -> str:
    return "".join(str(byte >> shift & 3) for byte in raw for shift in (0, 2, 4, 6))
