"""The cover of a meter or of its terminals was opened (开盖), as the meter itself noted it; not while it was being fitted."""

from __future__ import annotations

from typing import Final

from lineloss.finding import Finding
from lineloss.told import Told, findings

RULE: Final = "cover"
VERSION: Final = 1
KINDS: Final = ("cover-open", "terminal-cover-open")


def find(told: Told) -> list[Finding]:
    """One alarm a meter or terminal and day."""
    return findings(told, KINDS, RULE, VERSION, "Cover opened {n} times", "开盖 {n} 次")
