"""Factories behind terminals of their own, with weeks of load curves that are known by construction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from headend.plans import CURVE, points
from headend.store.db import Connection
from headend.store.tables import CURVES
from protocols.localtime import midnight
from tests.support.county import hang, insert
from tests.support.house import SHANGHAI, Place, at, deliver, place, rows

#: a Wednesday
DAY = dt.date(2026, 3, 11)
#: the first day of which curves are known: twelve working days before it
FIRST = dt.date(2026, 2, 23)
#: the last day that is over when a plan is made
DAY_BEFORE = DAY - dt.timedelta(days=2)
PLANNED = at("2026-03-10 15:00")
#: of the instrument transformers: registers are told on the secondary side
RATIO = 1000

#: (local day, slot of it) -> kW
Load = Callable[[dt.date, int], float]

WRITTEN: dict[str, Any] = {
    "name": "迎峰度夏", "reason": "short of 500 kW", "first_day": "2026-03-11", "last_day": "2026-03-11", "periods": ["10:00-12:00", "18:00-19:00"],
    "shortage_kw": 500, "calls": [{"industry": "铝冶炼", "setpoint": "60%"}, {"everybody": True, "setpoint": "minimum"}],
}  # fmt: skip


def factory(
    conn: Connection, number: int, *, industry: str = "铝冶炼", minimum_kw: float | None = 100, protocol: str = "gdw376", online: bool = True,
    **options: Any,
) -> Place:  # fmt: skip
    """Customer C<number> behind terminal T<number>, with his protected minimum. Commits."""
    here = place(
        conn, f"{number}", terminal=options.pop("terminal", f"T{number}"), customer=f"C{number}", protocol=protocol, ct=RATIO, phases=3,
        prepaid=False, **options,
    )  # fmt: skip
    conn.execute("UPDATE terminal SET online = %s WHERE terminal_id = %s", (online, here.terminal))
    customer = conn.execute(
        "SELECT customer_id AS id FROM customer WHERE number = %s", (f"C{number}",)
    ).fetchone()
    assert customer is not None
    hang(conn, "customer", customer["id"], industry=industry, security_kw=minimum_kw)
    conn.commit()
    return here


def organisation(conn: Connection, code: str, *terminals: int) -> None:
    """An organisation that runs these terminals. Commits."""
    who = insert(conn, "organisation", code=code, name=code, kind="county")
    hang(conn, "organisation", who)
    for one in terminals:
        hang(conn, "terminal", one, organisation_id=who)
    conn.commit()


def curve(
    conn: Connection, here: Place, load: Load, first: dt.date = FIRST, last: dt.date = DAY_BEFORE, *, without: Sequence[int] = (),
    start: int = 0, now: np.datetime64 | None = None,
) -> int:  # fmt: skip
    """Its registers of whole days, the midnight before them included; `without`: slots of the last day that nobody has read. The last register
    [1e-4 kWh, secondary side], for the next days to go on from. Commits."""
    times, register = [midnight(first, SHANGHAI)], [start]
    for k in range((last - first).days + 1):
        day = first + dt.timedelta(days=k)
        for slot, when in enumerate(points(CURVE, day, SHANGHAI)):
            times.append(when)
            register.append(register[-1] + round(load(day, slot) / 4 * 10_000 / RATIO))
    keep = [k for k in range(len(times)) if k - (len(times) - 96) not in without]
    deliver(
        conn, CURVES, rows([here.meter] * len(keep), [times[k] for k in keep], active_import=[register[k] for k in keep],
                           active_export=[0] * len(keep)), times[-1] if now is None else now,
    )  # fmt: skip
    return register[-1]


def flat(kw: float) -> Load:
    return lambda day, slot: kw
