"""The network as the archive has it, with its past, as arrays: what the pure derivation of loss objects begins with."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headend.store.coverage import FOREVER
from headend.store.db import Connection
from headend.store.pgcopy import PG_EPOCH
from headend.store.rows import copy_bytes
from lineloss.hierarchy import LEVELS, Grid
from lineloss.topology import Links, Spans
from protocols.localtime import Times, as_datetime

I64 = NDArray[np.int64]

_ROLES: Final = "CASE role WHEN 'supply' THEN 0 WHEN 'receive' THEN 1 ELSE 2 END"
#: kind of loss object -> the kind that the archive calls it
_SAID: Final = {
    "area": "area", "line": "line", "bus": "bus", "transformer": "transformer", "substation": "substation",
    "region": "organisation", "voltage": "voltage",
}  # fmt: skip
#: kind -> table of its things
TABLES: Final = {
    "area": "area", "line": "line", "bus": "bus", "transformer": "transformer", "substation": "substation",
    "region": "organisation", "voltage": "organisation",
}  # fmt: skip


def grid(conn: Connection) -> Grid:
    """Everything that hangs on something, at any time."""
    return Grid(
        said={kind: _links(conn, word, kind == "voltage") for kind, word in _SAID.items()},
        area_line=_spans(conn, "area_span", "area_id", "line_id"),
        area_transformer=_spans(conn, "area_span", "area_id", "transformer_id"),
        area_region=_spans(conn, "area_span", "area_id", "organisation_id"),
        line_bus=_spans(conn, "line_span", "line_id", "bus_id"),
        line_region=_spans(conn, "line_span", "line_id", "organisation_id"),
        transformer_line=_spans(conn, "transformer_span", "transformer_id", "line_id"),
        transformer_bus=_spans(conn, "transformer_span", "transformer_id", "bus_id"),
        bus_region=_spans(
            conn, "bus b JOIN substation_span s USING (substation_id)", "bus_id", "organisation_id"
        ),
        region_parent=_spans(conn, "organisation_span", "organisation_id", "parent_id"),
        line_level=_levels(conn, "line"),
        bus_level=_levels(conn, "bus"),
    )


def _links(conn: Connection, kind: str, levelled: bool) -> Links:
    body = _body(
        conn,
        f"loss_role WHERE kind = '{kind}'",
        {"point": "point_id", "object": "object_id", "level": "(level_kv * 1000)::int", "role": _ROLES},
    )
    objects = body["object"] * LEVELS + body["level"] if levelled else body["object"]
    since, until = body["since"], body["until"]
    own = np.ones(len(objects), dtype=np.bool_)
    return Links(body["point"], objects, body["role"].astype(np.int8), since, until, own)


def _spans(conn: Connection, table: str, child: str, parent: str) -> Spans:
    body = _body(conn, f"{table} WHERE {parent} IS NOT NULL", {"child": child, "parent": parent})
    return Spans(body["child"], body["parent"], body["since"], body["until"])


def _body(conn: Connection, source: str, columns: Mapping[str, str]) -> dict[str, Any]:
    wire = np.dtype([*((name, ">i4") for name in columns), ("since", ">i8"), ("until", ">i8")])
    cells = [f"int4send({what})" for what in columns.values()]
    cells += ["timestamptz_send(valid_from)", "timestamptz_send(valid_to)"]
    raw = copy_bytes(conn, f"SELECT string_agg({' || '.join(cells)}, '') FROM {source}", wire)
    found: dict[str, Any] = {name: raw[name].astype(np.int64) for name in columns}
    return found | {name: _instants(raw[name]) for name in ("since", "until")}


def _instants(raw: NDArray[Any]) -> Times:
    there = raw.astype(np.int64)
    endless = there == np.iinfo(np.int64).max
    return np.where(endless, FOREVER, PG_EPOCH + np.where(endless, 0, there).astype("m8[us]"))


def _levels(conn: Connection, table: str) -> tuple[I64, I64]:
    found = conn.execute(
        f"SELECT {table}_id AS id, (voltage_kv * 1000)::int AS level FROM {table} ORDER BY 1"
    ).fetchall()
    return tuple(np.array([row[name] for row in found], dtype=np.int64) for name in ("id", "level"))  # type: ignore[return-value]


def members(conn: Connection, areas: I64, begin: np.datetime64, end: np.datetime64) -> I64:
    """int64[point], ascending: what has a role in one of these areas at some time of the period."""
    found = conn.execute(
        "SELECT DISTINCT point_id FROM area_role WHERE area_id = ANY(%s) AND valid_from < %s AND valid_to > %s ORDER BY 1",
        (areas.tolist(), as_datetime(end), as_datetime(begin)),
    )
    return np.array([row["point_id"] for row in found], dtype=np.int64)


def areas_by_line(conn: Connection, at: np.datetime64) -> tuple[I64, I64]:
    """(areas, the line that feeds each) as of an instant, by line; areas of which no line is known are left out."""
    found = conn.execute(
        "SELECT area_id, line_id FROM area_span WHERE line_id IS NOT NULL AND valid_from <= %(at)s AND valid_to > %(at)s ORDER BY 2, 1",
        {"at": as_datetime(at)},
    ).fetchall()
    return tuple(np.array([row[name] for row in found], dtype=np.int64) for name in ("area_id", "line_id"))  # type: ignore[return-value]


def capacities(
    conn: Connection, points: I64, begin: np.datetime64, end: np.datetime64
) -> NDArray[np.float64]:
    """float64[point] [kVA]: what stands before or behind each point at some time of the period: an area's or a customer's transformer, or a
    contract; NaN where nothing is said."""
    found = conn.execute(
        """
        SELECT point_id, max(kva)::float8 AS kva FROM (
            SELECT r.point_id, a.capacity_kva AS kva FROM area_role r JOIN area a USING (area_id)
            WHERE r.role = 'supply' AND r.valid_from < %(end)s AND r.valid_to > %(begin)s AND r.point_id = ANY(%(points)s)
            UNION ALL
            SELECT r.point_id, t.capacity_kva FROM loss_role r JOIN transformer t USING (transformer_id)
            WHERE r.role <> 'auxiliary' AND r.valid_from < %(end)s AND r.valid_to > %(begin)s AND r.point_id = ANY(%(points)s)
            UNION ALL
            SELECT c.point_id, s.capacity_kva FROM account c JOIN customer_span s USING (customer_id)
            WHERE c.valid_from < %(end)s AND c.valid_to > %(begin)s AND s.valid_from < %(end)s AND s.valid_to > %(begin)s
              AND c.point_id = ANY(%(points)s)
        ) u WHERE kva IS NOT NULL GROUP BY 1
        """,
        {"points": points.tolist(), "begin": as_datetime(begin), "end": as_datetime(end)},
    ).fetchall()
    kva = {row["point_id"]: row["kva"] for row in found}
    return np.array([kva.get(point, np.nan) for point in points.tolist()])


def plates(conn: Connection, transformers: I64) -> dict[str, NDArray[np.float64]]:
    """What the plates of transformers say, float64[transformer] each, NaN where nothing: sn [kVA], p0 and pk [kW], i0 and uk [%], k."""
    names = {"sn": "capacity_kva", "p0": "p0_kw", "pk": "pk_kw", "i0": "i0_percent", "uk": "uk_percent", "k": "load_coefficient"}  # fmt: skip
    found = {
        row["transformer_id"]: row
        for row in conn.execute(
            f"SELECT transformer_id, {', '.join(names.values())} FROM transformer WHERE transformer_id = ANY(%s)",
            (transformers.tolist(),),
        )
    }
    return {
        name: np.array([_number(found[key][column]) for key in transformers.tolist()], dtype=np.float64)
        for name, column in names.items()
    }


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def newest_day(conn: Connection, kind: str, period: str) -> dt.date | None:
    """The last day or month for which losses of a kind were computed; a month by its first day."""
    if kind == "area" and period == "day":
        row = conn.execute("SELECT max(day) AS day FROM loss_result").fetchone()
    else:
        row = conn.execute(
            "SELECT max(first_day) AS day FROM object_loss WHERE kind = %s AND period = %s", (kind, period)
        ).fetchone()
    return row["day"] if row else None
