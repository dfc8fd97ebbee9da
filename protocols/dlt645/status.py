"""The run status words 04000501-04000507, bit by bit, from status_words.csv (Table A.5)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

#: Word 3: the relay stands open / was told to open / trips are refused.
RELAY_OPEN: Final = 1 << 4
COMMAND_OPEN: Final = 1 << 6
KEEP_POWER: Final = 1 << 12


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of a word. `values`: what its bits say, by number. `always`: shown even when it is 0."""

    word: int
    bit: int
    width: int
    name_en: str
    name_zh: str
    values: dict[int, str]
    always: bool


@cache
def flags() -> tuple[Flag, ...]:
    text = files("protocols.dlt645").joinpath("status_words.csv").read_text(encoding="utf-8")
    return tuple(_flag(row) for row in csv.DictReader(text.splitlines()))


def _flag(row: dict[str, str]) -> Flag:
    first, _, last = row["bit"].partition("-")
    pairs = (value.partition(" ") for value in row["values"].split("; "))
    return Flag(
        word=int(row["word"]),
        bit=int(first),
        width=int(last or first) - int(first) + 1,
        name_en=row["name_en"],
        name_zh=row["name_zh"],
        values={int(number): says for number, _, says in pairs},
        always=row["shown"] == "always",
    )


def explain(word: int, bits: int) -> Iterator[tuple[Flag, str]]:
    """The flags of word 1..7 that are set, and those always shown, with what they say."""
    for flag in flags():
        number = bits >> flag.bit & (1 << flag.width) - 1
        if flag.word == word and (number or flag.always):
            yield flag, flag.values.get(number, str(number))
