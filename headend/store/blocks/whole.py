"""Which meters have every instant of a span, by the completeness ledger."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.plans import Plan, locate
from headend.store.blocks.grid import ids
from headend.store.db import Connection
from headend.store.rows import copy_bytes
from protocols.localtime import Times

I64 = NDArray[np.int64]

_EPOCH = dt.date(1970, 1, 1)


def whole(conn: Connection, plan: Plan, meters: I64, times: Times, zone: ZoneInfo) -> NDArray[np.bool_]:
    """bool[meter]: the ledger has every one of these instants present. `meters` and `times` ascending, `times` without a gap.

    A present point has its row, written in the same transaction, and rows are never taken away one by one. So who is whole here and has
    as many rows between the first and the last instant as there are instants, *by a later statement*, has exactly these.
    """
    found = np.ones(len(meters), dtype=np.bool_)
    if not (len(meters) and len(times)):
        return found
    day, index = locate(plan, times, zone)
    if (index < 0).any():
        return ~found
    for number in np.unique(day):
        bits = index[day == number]
        have = copy_bytes(
            conn,
            "SELECT string_agg(int4send(meter_id), '' ORDER BY meter_id) FROM coverage "
            f"WHERE plan = {plan.id} AND day = '{_EPOCH + dt.timedelta(days=int(number))}' AND meter_id = ANY({ids(meters)}) "
            f"AND substring(present FROM {int(bits[0]) + 1} FOR {len(bits)}) = B'{'1' * len(bits)}'",
            np.dtype([("meter", ">i4")]),
        )
        found &= np.isin(meters, have["meter"], assume_unique=True)
    return found
