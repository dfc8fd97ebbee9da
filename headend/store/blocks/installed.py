"""Who is installed where in a span of local days: the rows of a block."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, fields, replace
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.store.blocks.grid import ids, stamp
from headend.store.coverage import FOREVER
from headend.store.db import Connection
from headend.store.pgcopy import PG_EPOCH
from headend.store.rows import copy_bytes
from protocols.localtime import Times, midnight

I64 = NDArray[np.int64]

ROLES: Final = ("supply", "receive", "auxiliary")
#: Registers count 1e-4 kWh.
_UNITS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Rows:
    """Who the rows of a block are, for a span of local days. All arrays are [row]; a row is one meter's time on one point.

    `whole`: installed for the whole span at this place; a meter that came or went in it is not, and its energy is not known from
    its registers alone. `multiplier` is CT × PT. `area` and `role` are -1 where the point belongs to no transformer area; a point with
    several roles has a row for each. `since`, `until` are the installation's dates; `digits` of whole kWh are what a register shows.
    """

    meter: I64
    point: I64
    terminal: I64
    area: I64
    role: I64
    multiplier: I64
    accuracy: NDArray[np.float64]
    phases: I64
    whole: NDArray[np.bool_]
    since: Times
    until: Times
    digits: I64

    def __len__(self) -> int:
        return len(self.meter)

    @property
    def roll_over(self) -> I64:
        """int64[row] [1e-4 kWh]: what the registers count modulo."""
        return np.asarray(10**self.digits * _UNITS, dtype=np.int64)

    def take(self, which: Any) -> Rows:
        """The rows chosen by a slice, an index or a mask array."""
        return Rows(**{column.name: getattr(self, column.name)[which] for column in fields(self)})

    def beside(self, others: Rows) -> Rows:
        """Both, by meter and time."""
        both = Rows(
            **{
                column.name: np.concatenate([getattr(self, column.name), getattr(others, column.name)])
                for column in fields(self)
            }
        )
        return both.take(np.lexsort((both.since, both.meter)))

    def by_point(self) -> Rows:
        """Each installation once, whatever roles its point plays, in order of point and time."""
        order = np.lexsort((self.meter, self.since, self.point))
        meter, since = self.meter[order], self.since[order]
        first = np.ones(len(order), dtype=np.bool_)
        first[1:] = (meter[1:] != meter[:-1]) | (since[1:] != since[:-1])
        return self.take(order[first])


def rows(
    conn: Connection,
    day: dt.date,
    zone: ZoneInfo,
    *,
    last: dt.date | None = None,
    meters: I64 | None = None,
    points: I64 | None = None,
) -> Rows:
    """The meters installed in local days `day` to `last` (that day alone), by meter_id and time; of `meters` or `points`, or all.

    A new terminal, address or password changes nothing of what the registers mean: such installations are one row, behind the last terminal.
    """
    begin, end = midnight(day, zone), midnight((last or day) + dt.timedelta(days=1), zone)
    lo, hi = stamp(begin), stamp(end)
    chosen = "".join(
        f" AND i.{key} = ANY({ids(some)})"
        for key, some in (("meter_id", meters), ("point_id", points))
        if some is not None
    )
    roles = "".join(f" WHEN '{role}' THEN {k}" for k, role in enumerate(ROLES))
    columns = {
        "meter": ("int4send(i.meter_id)", ">i4"),
        "point": ("int4send(i.point_id)", ">i4"),
        "terminal": ("int4send(i.terminal_id)", ">i4"),
        "area": ("int4send(coalesce(r.area_id, -1))", ">i4"),
        "role": (f"int4send(CASE r.role{roles} ELSE -1 END)", ">i4"),
        "multiplier": ("int8send(i.ct::bigint * i.pt)", ">i8"),
        "accuracy": ("float4send(m.accuracy)", ">f4"),
        "phases": ("int2send(m.phases)", ">i2"),
        "since": ("timestamptz_send(i.valid_from)", ">i8"),
        "until": ("timestamptz_send(i.valid_to)", ">i8"),
        "digits": ("int2send(m.digits)", ">i2"),
    }
    body = copy_bytes(
        conn,
        f"SELECT string_agg({' || '.join(cell for cell, _ in columns.values())}, '' ORDER BY i.meter_id, i.valid_from, r.valid_from) "
        f"FROM installation i JOIN meter m USING (meter_id) "
        f"LEFT JOIN area_role r ON r.point_id = i.point_id AND r.valid_from < {hi} AND r.valid_to > {lo} "
        f"WHERE i.valid_from < {hi} AND i.valid_to > {lo}{chosen}",
        np.dtype([(name, wire) for name, (_, wire) in columns.items()]),
    )
    since, until = (_instants(body[name]) for name in ("since", "until"))
    found = Rows(
        **{
            name: body[name].astype(np.int64)
            for name in columns
            if name not in ("accuracy", "since", "until")
        },
        accuracy=body["accuracy"].astype(np.float64),
        whole=np.zeros(len(body), dtype=np.bool_),
        since=since,
        until=until,
    )
    found = _joined(found)
    return replace(found, whole=np.asarray((found.since <= begin) & (found.until >= end), dtype=np.bool_))


def _joined(found: Rows) -> Rows:
    """Installations that follow each other without a change of meter, point, transformers or role are one."""
    if not (found.meter[1:] == found.meter[:-1]).any():
        return found
    keys = (found.role, found.area, found.multiplier, found.point, found.meter)
    ordered = found.take(np.lexsort((found.since, *keys)))
    begins = np.ones(len(found), dtype=np.bool_)
    begins[1:] = ordered.until[:-1] != ordered.since[1:]
    for key in ("role", "area", "multiplier", "point", "meter"):
        values = getattr(ordered, key)
        begins[1:] |= values[1:] != values[:-1]
    ends = np.append(begins[1:], True)
    joined = replace(ordered.take(begins), until=ordered.until[ends], terminal=ordered.terminal[ends])
    return joined.take(np.lexsort((joined.since, joined.meter)))


def _instants(raw: NDArray[Any]) -> Times:
    """timestamptz as it is sent -> datetime64[us]; infinity is FOREVER."""
    there = raw.astype(np.int64)
    endless = there == np.iinfo(np.int64).max
    return np.where(endless, FOREVER, PG_EPOCH + np.where(endless, 0, there).astype("m8[us]"))


def assets(conn: Connection, meters: I64) -> list[str]:
    """Asset numbers of meter_ids, in the given order."""
    found = {
        row["meter_id"]: row["asset"]
        for row in conn.execute(
            "SELECT meter_id, asset FROM meter WHERE meter_id = ANY(%s)", (np.unique(meters).tolist(),)
        )
    }
    return [found[meter] for meter in meters.tolist()]
