"""One thing with its past: what it is, and what hung where from when to when."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from headend.store.archive.changes import show
from headend.store.archive.kinds import OBJECTS, Kind
from headend.store.archive.stored import OBJECT_CODE, OBJECT_JOINS, THINGS, refer, things
from headend.store.db import Connection, StoreError

#: entries of one thing: a terminal has had a few thousand meters at most, a region's roles may be more
MOST_ENTRIES = 10_000


class UnknownCode(StoreError):
    """Nothing in the archive is called so."""

    def __init__(self, code: str) -> None:
        super().__init__(
            f"nothing in the archive has the code {code!r}; `headend archive list` shows what there is"
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """What held in [start, end); `end` None: until further notice."""

    start: dt.datetime
    end: dt.datetime | None
    what: str
    cells: dict[str, str]


@dataclass(frozen=True, slots=True)
class History:
    """`facts`: what it is now. `entries` by start, the newest MOST_ENTRIES of each sort."""

    kind: str
    code: str
    facts: dict[str, str]
    entries: tuple[Entry, ...]


_INSTALLED = (
    "SELECT i.valid_from, nullif(i.valid_to, 'infinity') AS valid_to, "
    "m.asset AS meter, p.code AS point, t.code AS terminal, i.address, i.pn, i.ct, i.pt, i.plans, i.switch "
    "FROM installation i JOIN meter m USING (meter_id) JOIN point p USING (point_id) JOIN terminal t USING (terminal_id) WHERE "
)
_ROLE = (
    f"SELECT r.valid_from, nullif(r.valid_to, 'infinity') AS valid_to, p.code AS point, r.role, r.kind, {OBJECT_CODE} AS object, r.voltage_kv "
    f"FROM loss_role r JOIN point p USING (point_id) {OBJECT_JOINS} WHERE "
)
_ACCOUNT = (
    "SELECT a.valid_from, nullif(a.valid_to, 'infinity') AS valid_to, c.number AS customer, p.code AS point, a.tariff, a.prepaid, a.protected, "
    "a.fee_control "
    "FROM account a JOIN customer c USING (customer_id) JOIN point p USING (point_id) WHERE "
)
_SIM = (
    "SELECT s.valid_from, nullif(s.valid_to, 'infinity') AS valid_to, m.code AS sim "
    "FROM sim_span s JOIN sim m USING (sim_id) JOIN terminal t USING (terminal_id) WHERE "
)
#: table -> what else has happened to a thing of it: (what, query, condition)
_PAST: dict[str, tuple[tuple[str, str, str], ...]] = {
    "meter": (("installed", _INSTALLED, "m.asset = %(code)s"),),
    "point": (
        ("installed", _INSTALLED, "p.code = %(code)s"),
        ("role", _ROLE, "p.code = %(code)s"),
        ("account", _ACCOUNT, "p.code = %(code)s"),
    ),
    "terminal": (("installed", _INSTALLED, "t.code = %(code)s"), ("sim", _SIM, "t.code = %(code)s")),
    "customer": (("account", _ACCOUNT, "c.number = %(code)s"),),
    **{table: (("role", _ROLE, f"o_{table}.code = %(code)s"),) for table in OBJECTS[:-1]},
}


def history(conn: Connection, code: str) -> list[History]:
    """Everything that is called so, of whatever kind. UnknownCode if nothing is."""
    found = []
    for kind in THINGS:
        thing = things(conn, kind, [code]).get(code)
        if thing is not None:
            facts = {name: show(name, value) for name, value in thing.values.items()}
            found.append(History(kind.name, code, facts, tuple(_entries(conn, kind, code))))
    if not found:
        raise UnknownCode(code)
    return found


def _entries(conn: Connection, kind: Kind, code: str) -> list[Entry]:
    entries = []
    if kind.dated:
        fields = [
            f"r{k}.code AS {c.name}" if c.refers else f"s.{c.column} AS {c.name}"
            for k, c in enumerate(kind.dated)
        ]
        joins = [refer(c, "s", f"r{k}") for k, c in enumerate(kind.dated) if c.refers]
        entries += _some(
            conn, "hangs" if kind.table != "customer" else "contract",
            f"SELECT s.valid_from, nullif(s.valid_to, 'infinity') AS valid_to, {', '.join(fields)} "
            f"FROM {kind.table}_span s JOIN {kind.table} t USING ({kind.table}_id) "
            f"{' '.join(joins)} WHERE t.{kind.code} = %(code)s", code,
        )  # fmt: skip
    for what, query, condition in _PAST.get(kind.table, ()):
        entries += _some(conn, what, query + condition, code)
    return sorted(entries, key=lambda entry: (entry.start, entry.what))


def _some(conn: Connection, what: str, query: str, code: str) -> list[Entry]:
    rows = conn.execute(f"{query} ORDER BY 1 DESC LIMIT {MOST_ENTRIES}", {"code": code}).fetchall()
    return [_entry(what, row, code) for row in rows]


def _entry(what: str, row: dict[str, Any], code: str) -> Entry:
    cells = {
        name: show(name, value)
        for name, value in row.items()
        if name not in ("valid_from", "valid_to") and value not in (None, "", [], code)
    }
    return Entry(row["valid_from"], row["valid_to"], what, cells)
