"""A person's value over what a meter said, or did not say: with who and why, as a version; and taken back."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

import numpy as np

from headend.plans import locate
from headend.store import coverage, revisions, trace
from headend.store.coverage import Points
from headend.store.db import Connection, StoreError
from headend.store.reads import Note
from headend.store.revisions import EDIT
from headend.store.tables import SOURCES, Table
from protocols.localtime import as_datetime
from protocols.quantity import quantities
from protocols.reading import Column

#: kinds of quantities that a person can type
TYPED = ("register", "instant", "demand")


class BadEdit(StoreError):
    """What was asked for cannot be; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of one meter: `source` is curve, day or month, and `code` one of its quantities."""

    asset: str
    when: np.datetime64
    code: str
    source: str = "curve"


def edit(conn: Connection, cell: Cell, value: str, note: Note, zone: ZoneInfo) -> bool:
    """Lay a person's value over a cell, in the caller's transaction; False where it stands already. BadEdit, UnknownMeter.

    `value`: in the quantity's unit, a register to four decimals."""
    if not note.reason.strip():
        raise BadEdit("an edit without a reason cannot be explained later: say why")
    table, meter = _place(conn, cell, note.now, zone)
    values = _parsed(conn, cell, meter, value)
    meters, times = np.array([meter], dtype=np.int64), np.array([cell.when])
    assert table.plan is not None
    day, index = locate(table.plan, times, zone)
    coverage.reserve(conn, table.plan, Points(meters, times, day, index, np.array([note.now])), zone)
    return bool(revisions.revise(conn, table, cell.code, meters, times, values, note, method=EDIT, zone=zone))


def take_back(conn: Connection, cell: Cell, note: Note, zone: ZoneInfo) -> None:
    """The edit that stands at a cell stands no more, in the caller's transaction: the meter's own newest word does, or nothing until
    estimation comes by. BadEdit where no edit stands."""
    if not note.reason.strip():
        raise BadEdit("taking an edit back needs a reason too: say why")
    table, meter = _place(conn, cell, note.now, zone)
    row = conn.execute(
        "SELECT method FROM revision WHERE meter_id = %s AND ts = %s AND source = %s AND quantity = %s ORDER BY version DESC LIMIT 1",
        (meter, as_datetime(cell.when), table.source, cell.code),
    ).fetchone()
    if row is None or row["method"] != EDIT:
        raise BadEdit(
            f"no edit stands at {cell.code} of meter {cell.asset} at {as_datetime(cell.when, zone).isoformat()}; "
            "`headend reads trace` shows its versions"
        )
    revisions.withdraw(
        conn, table, cell.code, np.array([meter], dtype=np.int64), np.array([cell.when]), note, zone=zone
    )


def _place(conn: Connection, cell: Cell, now: np.datetime64, zone: ZoneInfo) -> tuple[Table, int]:
    """(its table, the meter's number), if such a cell can be."""
    meter = trace.meter_id(conn, cell.asset)
    tables = SOURCES[cell.source].tables
    table = next((table for table in tables if cell.code in table.codes), None)
    if table is None or table.plan is None or quantities()[cell.code].kind not in TYPED:
        known = [code for table in tables for code in table.codes if quantities()[code].kind in TYPED]
        raise BadEdit(
            f"{cell.code!r} cannot be edited in {cell.source} readings; what can: {', '.join(known)}"
        )
    local = as_datetime(cell.when, zone).isoformat()
    if locate(table.plan, np.array([cell.when]), zone)[1][0] < 0:
        raise BadEdit(
            f"{local} is no point of the {cell.source}: a slot is named by its end, a day by the midnight that closes it"
        )
    if cell.when > now:
        raise BadEdit(f"{local} has not come yet")
    there = conn.execute(
        "SELECT 1 FROM installation WHERE meter_id = %s AND valid_from <= %s AND valid_to >= %s LIMIT 1",
        (meter, as_datetime(cell.when), as_datetime(cell.when)),
    ).fetchone()
    if there is None:
        raise BadEdit(
            f"meter {cell.asset} was not installed at {local}; `headend archive show {cell.asset}` tells where it was"
        )
    return table, meter


def _parsed(conn: Connection, cell: Cell, meter: int, text: str) -> Column:
    quantity = quantities()[cell.code]
    try:
        number = Decimal(text)
        if not number.is_finite():
            raise InvalidOperation
    except InvalidOperation:
        raise BadEdit(f"{text!r} is not a number of {quantity.unit}") from None
    if quantity.kind != "register":
        return np.array([float(number)])
    row = conn.execute("SELECT digits FROM meter WHERE meter_id = %s", (meter,)).fetchone()
    assert row is not None
    exact = number * 10_000
    if exact < 0 or exact != exact.to_integral_value() or number >= 10 ** row["digits"]:
        raise BadEdit(
            f"{text} is no register of meter {cell.asset}: 0 to {10 ** row['digits'] - 1} {quantity.unit}, up to four decimals"
        )
    return np.array([int(exact)], dtype=np.int64)
