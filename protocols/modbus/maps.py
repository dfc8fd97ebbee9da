"""Register maps: maps/<model>.csv, what each register of a meter means.

A file begins with lines `# key: value`:

    title, document, edition   whose map it is, the maker's document, and how much of it was seen
    source                     a public list that rows were compared with, and which rows; more than one may stand
    most                       registers one request may ask for, where the meter allows fewer than 125
    gap                        unused registers a request may read over; a meter that refuses undefined addresses has 0
    note                       what a user has to know

and goes on with a table:

    id         short name within the file, for factors
    function   03 or 04
    address    as it is sent: zero-based, hex with H or decimal
    type       u16 s16 u32 s32 u64 s64 f32 f64, bcdN and asciiN of N registers, bits16
    order      ABCD high byte first; CDAB registers swapped; BADC bytes swapped; DCBA all backwards
    scale      value = number × scale × factor, in `unit`
    factor     ids of registers to multiply by, `10^id` for a power of ten, joined by *; each is scaled by its own row
    missing    numbers, in hex as they come, that mean "no value"; nan is always missing
    unit       V A W Wh kWh …, as the document has it
    quantity   code of quantities.csv, or empty
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Final

from protocols.errors import Misuse
from protocols.modbus.pdu import READ_HOLDING, READ_INPUT, functions
from protocols.quantity import quantities

_META: Final = re.compile(r"^# (\w+): (.*)$", re.MULTILINE)
ORDERS: Final = ("ABCD", "CDAB", "BADC", "DCBA")
_SIZES: Final = {"u16": 1, "s16": 1, "u32": 2, "s32": 2, "u64": 4, "s64": 4, "f32": 2, "f64": 4, "bits16": 1}
#: What a unit is in the unit of quantities.csv, as a power of ten.
_UNITS: Final[Mapping[str, tuple[str, int]]] = {
    "W": ("kW", -3), "var": ("kvar", -3), "VA": ("kVA", -3), "Wh": ("kWh", -3), "varh": ("kvarh", -3), "VAh": ("kVAh", -3),
    "MWh": ("kWh", 3), "Mvarh": ("kvarh", 3), "mA": ("A", -3), "mV": ("V", -3), "%": ("", -2),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a map. `size` in registers; `exponent`: power of ten from `unit` to the quantity's unit."""

    id: str
    function: int
    address: int
    type: str
    order: str
    scale: Decimal
    factor: tuple[str, ...]
    missing: tuple[int, ...]
    unit: str
    quantity: str
    name_en: str
    name_zh: str
    size: int
    exponent: int

    @property
    def end(self) -> int:
        return self.address + self.size

    @property
    def register(self) -> bool:
        """Whether the quantity only ever counts up and is kept in integers."""
        return bool(self.quantity) and quantities()[self.quantity].kind == "register"


@dataclass(frozen=True, slots=True)
class MeterMap:
    """A model's map. `most`, `gap` and `sources`: see the module."""

    model: str
    title: str
    document: str
    edition: str
    sources: tuple[str, ...]
    note: str
    most: int
    gap: int
    rows: tuple[Row, ...]

    def within(self, function: int, address: int, count: int) -> list[Row]:
        """Rows that lie whole in a block."""
        return [
            row
            for row in self.rows
            if row.function == function and address <= row.address and row.end <= address + count
        ]

    def by_id(self) -> dict[str, Row]:
        return {row.id: row for row in self.rows}

    def wanted(self, codes: Iterable[str]) -> list[Row]:
        """The rows of these quantities and the factors they need. Misuse for a quantity the meter does not have."""
        ids, chosen = self.by_id(), {}
        for code in codes:
            rows = [row for row in self.rows if row.quantity == code]
            if not rows:
                raise Misuse(f"{self.model} has no register for {code!r}")
            for row in rows:
                chosen[row.id] = row
                chosen |= {factor_id(term): ids[factor_id(term)] for term in row.factor}
        return list(chosen.values())


def factor_id(term: str) -> str:
    """'10^v_sf' -> 'v_sf'."""
    return term.removeprefix("10^")


@cache
def models() -> tuple[str, ...]:
    """Names of the models that have a map."""
    folder = files("protocols.modbus").joinpath("maps")
    return tuple(
        sorted(path.name.removesuffix(".csv") for path in folder.iterdir() if path.name.endswith(".csv"))
    )


@cache
def meter_map(model: str) -> MeterMap:
    """Misuse, naming the choices, if there is no such model."""
    if model not in models():
        raise Misuse(f"no register map of {model!r}; there are: {', '.join(models())}")
    text = files("protocols.modbus").joinpath("maps").joinpath(f"{model}.csv").read_text(encoding="utf-8")
    lines = text.splitlines()
    meta = dict(_META.findall(text))
    sources = tuple(said for key, said in _META.findall(text) if key == "source")
    table = csv.DictReader(line for line in lines if not line.startswith("#"))
    rows = tuple(_row(row) for row in table)
    _check(model, rows)
    most = int(meta.get("most") or functions()[READ_HOLDING].most)
    return MeterMap(
        model, meta["title"], meta["document"], meta["edition"], sources, meta.get("note", ""), most,
        int(meta.get("gap") or 0), rows,
    )  # fmt: skip


def _row(row: Mapping[str, str]) -> Row:
    address = row["address"]
    quantity = row["quantity"]
    unit, exponent = _UNITS.get(row["unit"], (row["unit"], 0))
    if quantity and quantities()[quantity].unit != unit:
        raise Misuse(f"{row['id']}: unit {row['unit']} is not that of {quantity}")
    return Row(
        row["id"], int(row["function"], 16), int(address[:-1], 16) if address.endswith("H") else int(address),
        row["type"], row["order"] or "ABCD", Decimal(row["scale"] or 1),
        tuple(filter(None, row["factor"].split("*"))), tuple(int(text, 16) for text in row["missing"].split()),
        row["unit"], quantity, row["name_en"], row["name_zh"], size_of(row["type"]), exponent,
    )  # fmt: skip


def size_of(form: str) -> int:
    """Registers of a type. Misuse if there is no such type."""
    match = re.fullmatch(r"(?:bcd|ascii)([1-9]\d?)", form)
    if match:
        return int(match[1])
    if form not in _SIZES:
        raise Misuse(f"no type {form!r}")
    return _SIZES[form]


def _check(model: str, rows: tuple[Row, ...]) -> None:
    ids = {row.id: row for row in rows}
    if len(ids) != len(rows):
        raise Misuse(f"{model}: an id stands twice")
    for row in rows:
        known = all(factor_id(term) in ids and not ids[factor_id(term)].factor for term in row.factor)
        if not known or row.order not in ORDERS or row.function not in (READ_HOLDING, READ_INPUT):
            raise Misuse(f"{model}: row {row.id} is wrong")
