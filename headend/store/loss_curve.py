"""The loss of objects by quarter-hour (同期): what was supplied and taken in the same quarter-hours of a day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.store import blocks, network
from headend.store.db import Connection
from headend.store.metered import ENERGIES, metered
from lineloss import hierarchy
from lineloss.hierarchy import LEVELS
from lineloss.splits import slot_split
from lineloss.topology import pairs
from protocols.localtime import Times, midnight
from protocols.reading import MISSING

I64 = NDArray[np.int64]
#: (object_id, level [V], 0 if it has none)
Object = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Curve:
    """One object's day. `times` [slot]: ends;  supplied, sold, loss int64[slot] [1e-4 kWh], primary side, MISSING where not known."""

    times: Times
    supplied: I64
    sold: I64
    loss: I64


def curves(
    conn: Connection, kind: str, objects: Sequence[Object], day: dt.date, zone: ZoneInfo
) -> dict[Object, Curve]:
    """The day's curve of each object of a kind that has points that day.

    Who changed his role within the day leaves his objects unknown in all its quarter-hours."""
    numbers = [key * LEVELS + level if kind == "voltage" else key for key, level in objects]
    links = hierarchy.links(network.grid(conn))[kind]
    links = links.take(np.isin(links.object, numbers))
    if not len(links):
        return {}
    ids = np.unique(links.point)
    found = metered(conn, day, day, zone, ids)
    begin, end = midnight(day, zone), midnight(day + dt.timedelta(days=1), zone)
    of = pairs(links, found.id, found.since, found.until, begin, end)
    block = blocks.energies(conn, day, zone, ENERGIES, points=ids)
    forward, reverse = (block.energies[code].energy for code in ENERGIES)
    # who feeds nothing in need not have such a register
    still = (reverse == MISSING) & ~found.metered.exports[:, None]
    told = slot_split(of, forward, np.where(still, 0, reverse))
    made = {}
    for k, number in enumerate(of.object_id.tolist()):
        key = divmod(number, LEVELS) if kind == "voltage" else (number, 0)
        made[key] = Curve(block.times[1:], *(column[k] for column in told))
    return made
