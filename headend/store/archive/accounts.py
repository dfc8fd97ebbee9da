"""Customers (客户) and their accounts: who is charged for a metering point, by which tariff."""

from __future__ import annotations

import datetime as dt

from headend.store.archive import things
from headend.store.archive.changes import Cells, differences
from headend.store.archive.desk import Desk
from headend.store.archive.kinds import KINDS
from headend.store.archive.rows import Row
from headend.store.archive.spans import Span
from headend.store.archive.stored import Thing

CUSTOMERS = KINDS["customers"]
TERMS = tuple(CUSTOMERS.column(name) for name in ("tariff", "prepaid", "protected", "fee_control"))


def all_of(desk: Desk, rows: list[Row], tariffs: set[str] | None) -> None:
    """customers.csv. Accounts that end come first: the next customer's may begin where they do."""
    for row in sorted(rows, key=lambda row: row.cells.get("to") is None):
        if tariffs is not None and row.cells.get("tariff", "") not in tariffs and "tariff" in row.cells:
            there = ", ".join(sorted(tariffs))
            desk.complaints.add(row.spot, "tariff", f"no tariff {row.cells['tariff']!r}; there are {there}")
        settled = things.settle(desk, CUSTOMERS, row)
        if settled is None:
            continue
        customer, cells, left = settled
        if desk.exists("point", row.cells["point"], row, "point"):
            new, terms, more = _account(desk, customer, row)
            desk.tally.row(
                "customers", customer.code, row.spot, new=new, cells=cells | terms, left=left | more
            )


def _account(desk: Desk, customer: Thing, row: Row) -> tuple[bool, Cells, Cells]:
    """(is it a new one, what changes, what is left alone)."""
    point, end = row.cells["point"], row.cells.get("to")
    held = desk.stored.accounts.setdefault(point, [])
    mine = [span for span in held if span.of == customer.code]
    latest = mine[-1] if mine else None
    if latest is not None and (latest.open or latest.end == end):
        return False, *_go_on(desk, latest, row, end)
    if not desk.leads("marketing"):
        desk.tally.refused(
            "customers", customer.code, row.spot, "has no account there; the marketing system leads"
        )
        return False, {}, {}
    start = _start(desk, held, row)
    if start is None:
        return False, {}, {}
    span = Span(
        customer.code, {"point": point, **{c.name: row.cells.get(c.name, c.blank) for c in TERMS}}, start, end
    )
    held.append(span)
    desk.begin("account", span)
    return True, {name: (None, value) for name, value in span.values.items()}, {}


def _go_on(desk: Desk, latest: Span, row: Row, end: dt.datetime | None) -> tuple[Cells, Cells]:
    """The terms are corrected in place, as ever: the account stays the same one, and so does what is booked on it."""
    values, left = desk.judge(TERMS, latest.values, row)
    cells = differences(latest.values, values, [column.name for column in TERMS])
    if end is not None and latest.open and desk.leads("marketing"):
        if end <= latest.start:
            desk.complaints.add(
                row.spot, "to", f"the account began at {desk.local(latest.start)}; it cannot end before"
            )
            return {}, left
        desk.end("account", latest, end)
        cells["to"] = (None, end)
    if not latest.new and any(column.name in cells for column in TERMS):
        desk.terms.append(latest)
    latest.values = values
    return cells, left


def _start(desk: Desk, held: list[Span], row: Row) -> dt.datetime | None:
    """An account begins with its point's first meter, or where the account before it ended: what was used before is that one's."""
    point = row.cells["point"]
    last = held[-1] if held else None
    if last is not None and last.end is None:
        desk.complaints.add(
            row.spot, "point",
            f"{point!r} has an open account of customer {last.of}; a second one would be charged for the same energy",
        )  # fmt: skip
        return None
    start: dt.datetime | None = row.cells.get("from")
    if start is None:
        known = [
            when for when in (desk.stored.begun.get(point), last.end if last else None) if when is not None
        ]
        if not known:
            desk.complaints.add(
                row.spot, "from", f"is empty, and no meter hangs at {point!r} yet to begin with"
            )
            return None
        return max(known)
    if last is not None and last.end is not None and start < last.end:
        desk.complaints.add(
            row.spot, "from", f"customer {last.of} has the account until {desk.local(last.end)}; a later `from` is needed"
        )  # fmt: skip
        return None
    return start
