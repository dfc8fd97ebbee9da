"""The standard's tables: objects and their attributes (items.csv), interface classes (classes.csv), access results, units.

A row of items.csv is one attribute or method of one object identifier OI. An array (total and tariffs, or phases) has one unit and
scaler for all its elements, and its quantity column lists the codes of quantities.csv in the order of the elements. A structure has as many
units, scalers and quantities as it has members, `-` where a member is no number or no quantity. `definition` is the standard's own text.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

#: Access results that prove the server does not have the object, or not as what was asked for.
ABSENT: Final = frozenset((4, 5, 6))


@dataclass(frozen=True, slots=True)
class Item:
    """One row of items.csv. kind: attr, method, or object where only the object is known; `secret`: never shown unasked."""

    oi: int
    kind: str
    number: int
    name_en: str
    name_zh: str
    member_zh: str
    interface_class: int
    type: str
    units: tuple[str, ...]
    scalers: tuple[int | None, ...]
    quantities: tuple[str, ...]
    secret: bool
    definition: str
    clause: str

    @property
    def members(self) -> int:
        """Plain values in one element."""
        return len(self.scalers) if self.composite and self.type == "array" else 1

    @property
    def composite(self) -> bool:
        """Units and scalers belong to the members of a structure, one each."""
        return len(self.scalers) > 1


@dataclass(frozen=True, slots=True)
class Member:
    """An attribute or method that every object of an interface class has."""

    interface_class: int
    class_en: str
    kind: str
    number: int
    access: str
    name_zh: str
    definition: str
    clause: str


def _rows(name: str) -> Iterable[dict[str, str]]:
    return csv.DictReader(files("protocols.dlt698").joinpath(name).read_text(encoding="utf-8").splitlines())


@cache
def items() -> tuple[Item, ...]:
    """The object table, in its order."""
    return tuple(
        Item(
            oi=int(row["oi"], 16),
            kind=row["kind"],
            number=int(row["number"] or 0),
            name_en=row["name_en"],
            name_zh=row["name_zh"],
            member_zh=row["member_zh"],
            interface_class=int(row["class"]),
            type=row["type"],
            units=tuple("" if unit == "-" else unit for unit in _cells(row["unit"])),
            scalers=tuple(None if scaler == "-" else int(scaler) for scaler in row["scaler"].split()),
            quantities=tuple("" if code == "-" else code for code in row["quantity"].split()),
            secret=bool(row["secret"]),
            definition=row["definition"],
            clause=row["clause"],
        )
        for row in _rows("items.csv")
    )


def _cells(text: str) -> list[str]:
    return [text] if text == "kWh or yuan" else text.split()


@cache
def classes() -> dict[tuple[int, str, int], Member]:
    """(interface class, kind, number) -> what it is."""
    return {
        (int(row["class"]), row["kind"], int(row["number"])): Member(
            int(row["class"]),
            row["class_en"],
            row["kind"],
            int(row["number"]),
            row["access"],
            row["name_zh"],
            row["definition"],
            row["clause"],
        )
        for row in _rows("classes.csv")
    }


@cache
def dars() -> dict[int, str]:
    """Data access result -> its English name."""
    return {int(row["dar"]): row["name_en"] for row in _rows("dar.csv")}


@cache
def units() -> dict[int, str]:
    """Unit code of a Scaler_Unit -> the unit."""
    return {int(row["code"]): row["unit"] for row in _rows("units.csv")}


@cache
def _objects() -> dict[int, Item]:
    """OI -> its first row."""
    found: dict[int, Item] = {}
    for row in items():
        found.setdefault(row.oi, row)
    return found


@cache
def _attributes() -> dict[tuple[int, int], Item]:
    return {(row.oi, row.number): row for row in items() if row.kind == "attr"}


@cache
def _members() -> dict[tuple[int, str, int], Item]:
    return {(row.oi, row.kind, row.number): row for row in items()}


def object_name(oad: int) -> str:
    """The English name of the object of an OAD or OMD; '' if the table has none."""
    found = _objects().get(oad >> 16)
    return found.name_en if found else ""


def item(oad: int) -> Item | None:
    """The row of an OAD (0x00100200), whatever its element index; None if the table has none."""
    return _attributes().get((oad >> 16, oad >> 8 & 0x1F))


@cache
def _secret() -> frozenset[tuple[int, str, int]]:
    return frozenset((row.oi, row.kind, row.number) for row in items() if row.secret)


@cache
def secret_objects() -> tuple[bytes, ...]:
    """The OIs that have an attribute or method with a secret, as their bytes."""
    return tuple(sorted({row.oi.to_bytes(2, "big") for row in items() if row.secret}))


def secret(oad: int, *, method: bool = False) -> bool:
    """Whether the attribute of an OAD, or the parameter of an OMD's method, is a password or key."""
    return (oad >> 16, *_place(oad, method)) in _secret()


def _place(oad: int, method: bool) -> tuple[str, int]:
    """The upper three bits of an attribute are its feature; a method has none."""
    return ("method", oad >> 8 & 0xFF) if method else ("attr", oad >> 8 & 0x1F)


def member(oad: int, *, method: bool = False) -> Member | None:
    """What the interface class of an OAD's or OMD's object says of its attribute or method; None if that is unknown."""
    found = _objects().get(oad >> 16)
    if found is None:
        return None
    return classes().get((found.interface_class, *_place(oad, method)))


def member_name(oad: int, *, method: bool = False) -> str:
    """The attribute's or method's own Chinese name; '' where only its number is known."""
    own = _members().get((oad >> 16, *_place(oad, method)))
    if own is not None and own.member_zh:
        return own.member_zh
    found = member(oad, method=method)
    return found.name_zh if found else ""


def quantities(oad: int) -> tuple[str, ...]:
    """Codes of quantities.csv that the plain values of an OAD carry, in their order ('' for none); of one element, if it names one."""
    found = item(oad)
    if found is None:
        return ()
    index, each = oad & 0xFF, found.members
    return found.quantities[(index - 1) * each : index * each] if index else found.quantities
