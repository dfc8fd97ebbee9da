"""The run status words 04000501-04000507 (Table A.5) and the active report word 04001501, bit by bit, from their tables.

Published readings of some bits differ: `other_reading` carries the second one, and `sure` is False where a bit stands in one
source only. Who acts on a bit looks at both.
"""

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
#: Word 3: an identity authentication is in force.
AUTHENTICATED: Final = 1 << 13

#: The active report word, and the item written to reset it (no password needed).
REPORT_WORD: Final = 0x04001501
REPORT_RESET: Final = 0x04001503
REPORT_BYTES: Final = 12


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
    other_reading: str
    sure: bool


@dataclass(frozen=True, slots=True)
class ReportBit:
    """One bit of the active report word: which event is new, and where its count and latest record are read (0: nowhere).

    `record_bytes` is the length of that record, 0 where it is not known.
    """

    bit: int
    name_en: str
    name_zh: str
    count: int
    record: int
    record_bytes: int


def _rows(name: str) -> csv.DictReader[str]:
    text = files("protocols.dlt645").joinpath(name).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())


@cache
def flags() -> tuple[Flag, ...]:
    return tuple(_flag(row) for row in _rows("status_words.csv"))


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
        other_reading=row["other_reading"],
        sure=row["sure"] == "yes",
    )


def explain(word: int, bits: int) -> Iterator[tuple[Flag, str]]:
    """The flags of word 1..7 that are set, and those always shown, with what they say."""
    for flag in flags():
        number = bits >> flag.bit & (1 << flag.width) - 1
        if flag.word == word and (number or flag.always):
            yield flag, flag.values.get(number, str(number))


def doubts(word: int, bits: int) -> Iterator[str]:
    """What a second published reading says of the flags that are set."""
    for flag, _ in explain(word, bits):
        if flag.other_reading:
            yield f"bit {flag.bit}, {flag.name_en}: another published reading is {flag.other_reading}"


@cache
def report_bits() -> tuple[ReportBit, ...]:
    """B0 to B95 in order (2013 supplement)."""
    return tuple(
        ReportBit(
            int(row["bit"]),
            row["name_en"],
            row["name_zh"],
            int(row["count"] or "0", 16),
            int(row["record"] or "0", 16),
            int(row["record_bytes"] or "0"),
        )
        for row in _rows("active_report.csv")
    )


def reported(word: int) -> Iterator[ReportBit]:
    """The bits that are set in the active report word (its 12 bytes as one number, low byte first)."""
    return (bit for bit in report_bits() if word >> bit.bit & 1)
