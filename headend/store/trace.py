"""Where a value comes from: every version of one cell, and the exchange that each was said in."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from headend.store import exchanges
from headend.store.coverage import UnknownMeter
from headend.store.db import Connection, StoreError
from headend.store.exchanges import Exchange
from headend.store.revisions import WITHDRAWN
from headend.store.tables import SOURCES, Table
from protocols.localtime import as_datetime
from protocols.quantity import quantities

#: how long after its instant a reading may have been said: longer than any meter or terminal remembers
REMEMBERED: Final = dt.timedelta(days=400)


class NoSuchValue(StoreError):
    """There is nothing to trace."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a cell. `value` None: what stood there was taken back. `evidence` 0: it came of no exchange; `exchange` None: its bytes
    are gone, or there were none."""

    number: int
    value: int | float | dt.datetime | None
    method: str
    reason: str
    who: str
    at: dt.datetime | None
    evidence: int
    exchange: Exchange | None

    @property
    def hash(self) -> str:
        """The first eight bytes of the exchange's SHA-256; '' where there is none."""
        return f"{self.evidence & (1 << 64) - 1:016x}" if self.evidence else ""


def meter_id(conn: Connection, asset: str) -> int:
    """UnknownMeter if the archive has no such asset."""
    row = conn.execute("SELECT meter_id FROM meter WHERE asset = %s", (asset,)).fetchone()
    if row is None:
        raise UnknownMeter(asset)
    return int(row["meter_id"])


def versions(
    conn: Connection, *, asset: str, when: np.datetime64, code: str, source: str = "curve"
) -> list[Version]:
    """Every version of a quantity of a meter at an instant, the first reading first. UnknownMeter, NoSuchValue."""
    meter = meter_id(conn, asset)
    table = _table(source, code)
    terminals = [
        found["terminal_id"]
        for found in conn.execute(
            "SELECT DISTINCT terminal_id FROM installation WHERE meter_id = %s", (meter,)
        )
    ]
    found = [*_first(conn, table, meter, when, code, source), *_later(conn, table, meter, when, code, source)]
    if not found:
        raise NoSuchValue(
            f"meter {asset} has no {code} in its {source} readings at {as_datetime(when).isoformat()}; `headend why` tells what became of it"
        )
    return [_version(conn, entry, when, terminals) for entry in found]


def _table(source: str, code: str) -> Table | None:
    """None: it stands in other_read."""
    if code not in quantities():
        raise NoSuchValue(f"there is no quantity {code!r}; they are {', '.join(quantities())}")
    return next((table for table in SOURCES[source].tables if code in table.codes), None)


def _first(
    conn: Connection, table: Table | None, meter: int, when: np.datetime64, code: str, source: str
) -> list[dict[str, Any]]:
    at = as_datetime(when)
    if table is None:
        sql = "SELECT coalesce(count::numeric, value::numeric, extract(epoch FROM moment) * 1000000) AS value, evidence FROM other_read "
        row = conn.execute(
            sql + "WHERE meter_id = %s AND ts = %s AND kind = %s AND quantity = %s",
            (meter, at, SOURCES[source].kind, code),
        ).fetchone()
    else:
        kind = "" if table.kind is None else f" AND kind = {table.kind}"
        row = conn.execute(
            f"SELECT {code} AS value, evidence FROM {table.name} WHERE meter_id = %s AND ts = %s{kind}",
            (meter, at),
        ).fetchone()
    if row is None or row["value"] is None:
        return []
    evidence = row["evidence"]
    if table is not None:  # the row's own exchange, unless a later one filled this cell
        filled = conn.execute(
            "SELECT evidence FROM completion WHERE meter_id = %s AND source = %s AND codes @> ARRAY[%s] AND instants @> ARRAY[%s::timestamptz] "
            "ORDER BY at LIMIT 1",
            (meter, table.source, code, at),
        ).fetchone()
        evidence = filled["evidence"] if filled else evidence
    return [
        {
            "version": 1, "value": row["value"], "method": "read", "reason": "", "who": "", "at": None, "evidence": evidence,
            "code": code,
        }
    ]  # fmt: skip


def _later(
    conn: Connection, table: Table | None, meter: int, when: np.datetime64, code: str, source: str
) -> list[dict[str, Any]]:
    rows = conn.execute(
        "SELECT version, value, method, reason, who, at, evidence FROM revision "
        "WHERE meter_id = %s AND ts = %s AND source = %s AND quantity = %s ORDER BY version",
        (
            meter, as_datetime(when), "other" if table is None else table.source,
            f"{SOURCES[source].kind}:{code}" if table is None else code,
        ),
    )  # fmt: skip
    return [{**row, "code": code} for row in rows]


def _version(conn: Connection, entry: dict[str, Any], when: np.datetime64, terminals: list[int]) -> Version:
    kind = quantities()[entry["code"]].kind
    value: int | float | dt.datetime | None
    if entry["method"] == WITHDRAWN:
        value = None
    elif kind == "moment":
        raw = entry["value"]
        value = raw if isinstance(raw, dt.datetime) else as_datetime(np.datetime64(int(raw), "us"))
    else:
        value = int(entry["value"]) if kind in ("register", "event") else float(entry["value"])
    evidence = entry["evidence"] or 0
    begin = as_datetime(when) - dt.timedelta(days=2)  # a clock that ran ahead
    said = (
        exchanges.named(conn, evidence, begin, as_datetime(when) + REMEMBERED, terminals)
        if evidence
        else None
    )
    return Version(
        entry["version"], value, entry["method"], entry["reason"], entry["who"], entry["at"], evidence, said
    )
