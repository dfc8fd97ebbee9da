"""What each range of a frame's bytes is: for a person who looks at the hex."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: What stands where a password or a key would.
MASK: Final = "******"


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes `start` up to, not including, `end`, counted from the first byte given.

    Each protocol's `describe.parts(raw)` returns Parts that follow one another without gap or overlap from 0 to len(raw):
    a byte that means nothing is a Part that says so.

    name, name_zh  the field's name as the standard has it
    meaning        the value in words, with its unit; MASK for a secret; empty where the name says it all
    level          0 for the frame's own fields, 1 for what is inside its data field, 2 inside that, ...
    """

    start: int
    end: int
    name: str
    name_zh: str
    meaning: str = ""
    level: int = 0

    @property
    def secret(self) -> bool:
        """Whether the bytes themselves must not be shown either."""
        return self.meaning == MASK
