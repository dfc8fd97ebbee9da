"""What a terminal was told and what came of it, as the store has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headend.control.order_state import Event
from headend.plans import CURVE
from headend.store import intake, orders, stations
from headend.store.coverage import Attempt
from headend.store.db import Connection
from headend.store.intake import Delivery
from headend.store.orders import UnknownTerminal
from headend.store.tables import CURVES
from tests.support.arrears import HOUR, NOW, fence
from tests.support.house import SHANGHAI, Place, at, deliver, place, rows


def proved(
    conn: Connection, here: Place, kind: str, action: str, when: np.datetime64, held: Any = None
) -> None:
    """An order of terminal T1 that ended verified at that instant."""
    order = orders.request(
        conn,
        kind=kind,
        action=action,
        terminal="T1",
        reason="test",
        who="陈晓",
        now=when,
        expires=when + HOUR,
    )
    if action == "write":
        orders.approve(conn, order, who="李敏", now=when)
    owner = fence(conn, here)
    orders.begin(conn, order, fence=owner, now=when)
    orders.step(
        conn, order, Event.ANSWER, fence=owner, now=when, result={} if held is None else {"held": held}
    )
    orders.step(conn, order, Event.PROVE, fence=owner, now=when)


def stage(conn: Connection) -> str:
    (row,) = stations.listing(conn, NOW + 9 * HOUR, "T1")
    conn.commit()
    return str(row["stage"])


def test_the_way_of_a_terminal(store: Connection) -> None:
    here = place(store, "1", protocol="dlt698")
    place(store, "2", protocol="dlt698")
    assert stage(store) == "unconfigured"
    proved(store, here, "archive", "read", NOW, {})
    proved(store, here, "archive", "write", NOW + HOUR)
    assert stage(store) == "archive"
    proved(store, here, "tasks", "write", NOW + 2 * HOUR)
    assert stage(store) == "tasks"
    deliver(
        store, CURVES, rows([here.meter], [at("2026-03-11 10:15")], active_import=[1]), at("2026-03-11 10:17")
    )
    assert stage(store) == "first-data"
    store.execute(
        "UPDATE installation SET valid_to = %s WHERE meter_id <> %s", ("2026-03-11 11:00+08", here.meter)
    )
    assert stage(store) == "commissioned"
    proved(store, here, "archive", "read", NOW + 4 * HOUR, {})  # another box hangs there
    assert stage(store) == "unconfigured"
    proved(store, here, "archive", "read", NOW + 5 * HOUR, {"1": {}})  # somebody else has told it
    assert stage(store) == "commissioned"


def test_what_did_not_end_verified_counts_for_nothing(store: Connection) -> None:
    here = place(store, "1", protocol="gdw376")
    order = orders.request(
        store,
        kind="archive",
        action="write",
        terminal="T1",
        reason="test",
        who="陈晓",
        now=NOW,
        expires=NOW + HOUR,
    )
    orders.approve(store, order, who="李敏", now=NOW)
    owner = fence(store, here)
    orders.begin(store, order, fence=owner, now=NOW)
    orders.step(store, order, Event.LOSE, fence=owner, now=NOW)
    assert stage(store) == "unconfigured"


def test_data_of_an_earlier_stay_are_none_of_this_one(store: Connection) -> None:
    here = place(store, "1", protocol="gdw376", since="2026-03-11 12:00")
    deliver(
        store, CURVES, rows([here.meter], [at("2026-03-10 10:15")], active_import=[1]), at("2026-03-10 10:20")
    )
    assert stage(store) == "unconfigured"


def test_lines_and_strangers(store: Connection) -> None:
    place(store, "1")
    assert stage(store) == "line"
    with pytest.raises(UnknownTerminal, match="no terminal T9"):
        stations.listing(store, NOW, "T9")
    assert [row["code"] for row in stations.listing(store, NOW)] == ["T1"]


@pytest.mark.parametrize(
    ("came", "reason", "expected"),
    [
        ("10:17", "", "first-data"),
        ("10:17", "garbled", "first-data"),
        ("10:17", "refused", "unconfigured"),
        ("10:17", "not-in-terminal", "unconfigured"),  # asked of the meter, past the terminal
        ("19:00", "", "unconfigured"),  # too late to say who had it
    ],
)
def test_data_past_the_terminal_say_nothing_of_it(
    store: Connection, came: str, reason: str, expected: str
) -> None:
    here = place(store, "1", protocol="gdw376")
    place(store, "2", protocol="gdw376")
    slot = np.array([at("2026-03-11 10:15")])
    if reason:
        vain = Attempt(here.meter, CURVE, slot, slot[:0], at("2026-03-11 10:16"), reason)
        intake.save(store, [Delivery(CURVES, at("2026-03-11 10:16"), attempts=(vain,))], SHANGHAI, who="test")
    deliver(store, CURVES, rows([here.meter], slot, active_import=[1]), at(f"2026-03-11 {came}"))
    assert stage(store) == expected
