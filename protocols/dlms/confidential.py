"""Which attributes and method parameters hold passwords and keys: they are not shown unless asked for.

Only what a message itself names can be known: an answer does not say what was asked, nor does a piece say of what it is one.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import Final

from protocols.dlms.messages import Block, BlockNumber, Name, Target

#: change_secret by short name: the association object is at FA00 in every meter, its fifth method at 40 (Blue Book, IC 12).
CHANGE_SECRET: Final = 0xFA40


@cache
def _table() -> frozenset[tuple[int, str, int]]:
    text = files("protocols.dlms").joinpath("confidential.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return frozenset((int(row["class_id"]), row["kind"], int(row["index"])) for row in rows)


def is_secret(target: Target, what: str = "attribute") -> bool:
    """Whether the value of an attribute, or the parameter of a method (`what` = "method"), is a password or key."""
    return (target.class_id, what, target.index) in _table()


def is_secret_name(item: Name | BlockNumber | Block) -> bool:
    """The same with short names: of the names that every meter has, and of pieces, which may belong to any."""
    return isinstance(item, Block) or (isinstance(item, Name) and item.base == CHANGE_SECRET)
