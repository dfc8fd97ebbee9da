"""A meter noted a magnetic field (恒定磁场干扰): somebody may be holding a magnet to it."""

from __future__ import annotations

from typing import Final

from lineloss.finding import Finding
from lineloss.told import Told, findings

RULE: Final = "magnetic"
VERSION: Final = 1
KINDS: Final = ("magnetic-field",)


def find(told: Told) -> list[Finding]:
    """One alarm a meter or terminal and day."""
    return findings(told, KINDS, RULE, VERSION, "Magnetic field noted {n} times", "恒定磁场干扰 {n} 次")
