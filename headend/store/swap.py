"""A meter exchanged (换表): the last register of the old one, the first of the new one, and the archive from that instant on.

The archive is changed by the import that changes it always, and the two registers go in by the door that all readings take: as readings at
the instant itself, which is where a point's energy is joined. All of it or nothing.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from headend.store import archive, intake
from headend.store.archive import Summary
from headend.store.archive.cells import listed
from headend.store.coverage import UnknownMeter
from headend.store.db import Connection, StoreError
from headend.store.exchanges import Exchange, Said
from headend.store.intake import Delivery
from headend.store.tables import SPOT_READS
from protocols.localtime import as_datetime
from protocols.reading import Reads

#: the register that joins two meters of a point
CODE: Final = "active_import"
#: what is said of a new meter where nothing is said: as the old one
COLUMNS: Final = (
    "meter", "point", "area", "role", "terminal", "protocol", "address", "phases", "ct", "pt", "accuracy", "from", "password", "pn", "plans",
    "digits", "switch",
)  # fmt: skip


class CannotBe(StoreError):
    """The exchange contradicts what is known."""


@dataclass(frozen=True, slots=True)
class Swap:
    """`at`: the effective instant. last, first: registers [1e-4 kWh] of the old meter and of the new one at it. `source`: how the last one
    is known: 'typed', or 'live', read through the collector. `more`: columns of the archive in which the new meter differs."""

    old: str
    new: str
    at: np.datetime64
    last: int
    first: int
    who: str
    why: str
    source: str = "typed"
    more: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """`terminal`: code and protocol of the terminal whose own archive must follow. `archive`: what the import changed, or would."""

    terminal: str
    protocol: str
    archive: Summary


def swap(conn: Connection, what: Swap, *, now: np.datetime64, zone: ZoneInfo, dry_run: bool = False) -> Done:
    """Exchange a meter; commits unless `dry_run`. UnknownMeter, CannotBe; ArchiveError where the import refuses."""
    held = _held(conn, what, now)
    _refuse(conn, what, held)
    with conn.transaction(force_rollback=dry_run):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "meters.csv"
            _write(path, what, held)
            summary = archive.load(conn, path, zone=zone)
        intake.save(conn, [_delivery(conn, what, now)], zone, who=what.who, reason=what.why)
    if not dry_run:
        conn.commit()
    return Done(held["terminal"], held["protocol"], summary)


def _held(conn: Connection, what: Swap, now: np.datetime64) -> dict[str, Any]:
    """The old meter's installation, as the archive's file has it."""
    if what.at > now:
        raise CannotBe(
            f"{as_datetime(what.at).isoformat()} has not come yet: an exchange is recorded when it is done"
        )
    if what.old == what.new:
        raise CannotBe(f"meter {what.old} cannot be exchanged for itself")
    row = conn.execute(
        """
        SELECT m.meter_id, p.code AS point, t.code AS terminal, t.protocol, i.address, m.phases, i.ct, i.pt, m.accuracy::text AS accuracy,
               i.pn, i.plans, m.digits, i.switch, i.valid_from, i.valid_to = 'infinity' AS hangs
        FROM meter m LEFT JOIN installation i ON i.meter_id = m.meter_id AND i.valid_from <= %(at)s AND i.valid_to > %(at)s
        LEFT JOIN point p USING (point_id) LEFT JOIN terminal t USING (terminal_id) WHERE m.asset = %(old)s
        """,
        {"old": what.old, "at": as_datetime(what.at)},
    ).fetchone()
    if row is None:
        raise UnknownMeter(what.old)
    if row["point"] is None or not row["hangs"]:
        raise CannotBe(
            f"meter {what.old} does not hang anywhere at {as_datetime(what.at).isoformat()}, or was taken off since"
        )
    if row["valid_from"] >= as_datetime(what.at):
        raise CannotBe(f"meter {what.old} was hung at that very instant: nothing is known of it before")
    return row


def _refuse(conn: Connection, what: Swap, held: Mapping[str, Any]) -> None:
    """What contradicts what is known: another place of the new meter, registers that go backwards."""
    other = conn.execute(
        "SELECT p.code FROM installation JOIN meter USING (meter_id) JOIN point p USING (point_id) WHERE asset = %s AND valid_to > %s",
        (what.new, as_datetime(what.at)),
    ).fetchone()
    if other is not None:
        raise CannotBe(f"meter {what.new} hangs at {other['code']}: a meter cannot be on two points")
    before = _register(conn, held["meter_id"], "ts <= %(at)s ORDER BY ts DESC", what)
    if before is not None and before["value"] > what.last:
        raise CannotBe(
            f"meter {what.old} showed {_kwh(before['value'])} kWh at {before['ts'].isoformat()}; it cannot end with {_kwh(what.last)}"
        )
    after = _register(conn, held["meter_id"], "ts > %(at)s ORDER BY ts", what)
    if after is not None:
        raise CannotBe(
            f"meter {what.old} was read at {after['ts'].isoformat()}, after it is said to have gone; when was it taken off?"
        )
    new = conn.execute("SELECT meter_id FROM meter WHERE asset = %s", (what.new,)).fetchone()
    if new is None:
        return
    earlier = _register(conn, new["meter_id"], "ts <= %(at)s ORDER BY ts DESC", what)
    if earlier is not None and earlier["value"] > what.first:
        raise CannotBe(
            f"meter {what.new} showed {_kwh(earlier['value'])} kWh at {earlier['ts'].isoformat()}; it cannot begin with {_kwh(what.first)}"
        )


def _register(conn: Connection, meter: int, where: str, what: Swap) -> dict[str, Any] | None:
    """The one register that stands nearest, of whatever kind of reading."""
    return conn.execute(
        f"SELECT ts, value FROM ((SELECT ts, {CODE} AS value FROM slot_read WHERE meter_id = %(meter)s AND {CODE} IS NOT NULL AND {where} LIMIT 1) "
        f"UNION ALL (SELECT ts, {CODE} FROM register_read WHERE meter_id = %(meter)s AND {CODE} IS NOT NULL AND {where} LIMIT 1)) r "
        f"ORDER BY {where.partition('ORDER BY ')[2]} LIMIT 1",
        {"meter": meter, "at": as_datetime(what.at)},
    ).fetchone()


def _write(path: Path, what: Swap, held: Mapping[str, Any]) -> None:
    """meters.csv of one row. Area and role are the point's, and stay."""
    row = {name: "" if held.get(name) is None else str(held[name]) for name in COLUMNS}
    row |= {
        "meter": what.new, "area": "", "role": "", "plans": listed(held["plans"]), "switch": listed(held["switch"]), "password": "",
        "from": as_datetime(what.at).isoformat(), **what.more,
    }  # fmt: skip
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS)
        writer.writeheader()
        writer.writerow(row)


def _delivery(conn: Connection, what: Swap, now: np.datetime64) -> Delivery:
    """Both registers at the instant, with who said so as their evidence."""
    ids = {
        row["asset"]: row["meter_id"]
        for row in conn.execute(
            "SELECT asset, meter_id FROM meter WHERE asset = ANY(%s)", ([what.old, what.new],)
        )
    }
    pairs = sorted(((ids[what.old], what.last), (ids[what.new], what.first)))
    said = {
        "old": what.old, "new": what.new, "last_kwh": _kwh(what.last), "first_kwh": _kwh(what.first), "source": what.source,
        "who": what.who, "why": what.why,
    }  # fmt: skip
    evidence = Exchange(
        0, 0, f"meter exchange {what.old} {what.new}", "file", "exchange", now, now,
        said=(Said(0.0, False, json.dumps(said, ensure_ascii=False).encode()),),
    )  # fmt: skip
    reads = Reads(
        np.array([meter for meter, _ in pairs], np.int64),
        np.full(2, what.at, "datetime64[us]"),
        {CODE: np.array([value for _, value in pairs], np.int64)},
    )
    return Delivery(SPOT_READS, now, reads, exchange=evidence)


def _kwh(value: int) -> str:
    return f"{value // 10_000}.{value % 10_000:04d}"
