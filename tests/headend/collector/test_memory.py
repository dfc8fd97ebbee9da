"""What falls due while the ledger cannot be asked, and what need not be asked again because it is on its way."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from headend.collector.gaps import Kept, open_gaps
from headend.collector.memory import Memory
from headend.plans import COLLECTED, CURVE, DAY, points
from headend.store import coverage
from headend.store.coverage import DayMatrix
from headend.store.db import Connection
from headend.store.intake import Delivery, save
from headend.store.tables import CURVES
from protocols.localtime import Times
from terminals.drivers.driver import Retention
from tests.support.house import SHANGHAI, Place, at, place, rows

RETENTION = Kept(Retention(dt.timedelta(days=30), dt.timedelta(days=30)))
TODAY = dt.date(2026, 3, 11)
DAYS = [TODAY + dt.timedelta(days=k) for k in range(-1, 3)]


@pytest.fixture
def server_kind() -> str:
    """Nothing here depends on the kind of server."""
    return "embedded"


def wanted(now: np.datetime64) -> list[tuple[coverage.Plan, dt.date]]:
    return [(plan, day) for plan in COLLECTED for day in DAYS if day <= coverage.today(now, SHANGHAI)]


def ledger(conn: Connection, now: np.datetime64) -> list[DayMatrix]:
    found = [coverage.day_matrix(conn, plan, day, now=now, zone=SHANGHAI) for plan, day in wanted(now)]
    conn.commit()
    return found


def asked(matrices: list[DayMatrix], now: np.datetime64) -> dict[tuple[int, str], list[np.datetime64]]:
    gaps = open_gaps(matrices, RETENTION, now)
    return {(gap.meter, gap.plan.name): gap.times.tolist() for gap in gaps}


def read(conn: Connection, where: Place, times: Times, now: np.datetime64) -> None:
    given = rows([where.meter] * len(times), times, active_import=list(range(len(times))))
    save(conn, [Delivery(CURVES, now, given)], SHANGHAI, who="me")
    conn.commit()


def test_what_is_remembered_asks_for_what_the_ledger_would_ask_for(store: Connection) -> None:
    """Days later as well: the same gaps, for meters that come and go as the archive said when it was asked last."""
    a = place(store, "1", since="2026-03-10 20:00")
    place(store, "2", since="2026-03-11 08:00")
    place(store, "3", since="2026-03-10 20:00", until="2026-03-11 10:00")
    then = at("2026-03-11 09:07")
    read(store, a, points(CURVE, TODAY, SHANGHAI)[:30], then)
    memory = Memory()
    assert not memory.knows
    memory.learn(ledger(store, then), then)
    assert memory.knows
    for text in (
        "2026-03-11 09:07",
        "2026-03-11 09:40",
        "2026-03-12 00:20",
        "2026-03-12 11:07",
        "2026-03-13 00:06",
    ):
        now = at(text)
        mine, true = (
            asked(matrices, now)
            for matrices in (memory.recall(wanted(now), now, SHANGHAI, RETENTION), ledger(store, now))
        )
        assert mine == true
        assert mine


def test_what_was_brought_is_not_asked_for_until_the_ledger_may_say_otherwise(store: Connection) -> None:
    here = place(store, "1", since="2026-03-11 00:00")
    now = at("2026-03-11 01:07")
    memory = Memory()
    matrices = ledger(store, now)
    memory.learn(matrices, now)
    slots = points(CURVE, TODAY, SHANGHAI)
    memory.brought(CURVE, here.meter, slots[:2], 5)
    memory.brought(CURVE, here.meter, slots[1:3], 6)
    memory.brought(CURVE, 99, slots, 6)  # a meter that is not here
    memory.brought(DAY, here.meter, slots[3:4], 6)  # another plan
    assert memory.ticket == 6
    for known in (matrices, memory.recall(wanted(now), now, SHANGHAI, RETENTION)):
        folded = [memory.fold(matrix) for matrix in known]
        assert asked(folded, now)[here.meter, "curve"] == slots[3:4].tolist()
    assert asked(matrices, now)[here.meter, "curve"] == slots[:4].tolist()  # the ledger itself is left alone
    memory.forget()
    folded = [memory.fold(matrix) for matrix in memory.recall(wanted(now), now, SHANGHAI, RETENTION)]
    assert asked(folded, now)[here.meter, "curve"] == slots[:4].tolist()


def test_days_that_owe_nothing_take_no_room(store: Connection) -> None:
    here = place(store, "1", since="2026-03-10 00:00")
    now = at("2026-03-11 00:20")
    read(store, here, points(CURVE, DAYS[0], SHANGHAI), now)
    memory = Memory()
    memory.learn(ledger(store, now), now)
    assert [m.day for m in memory.recall(wanted(now), now, SHANGHAI, RETENTION) if m.plan is CURVE] == [TODAY]
