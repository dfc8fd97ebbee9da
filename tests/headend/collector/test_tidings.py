"""Whose an event is: the meter's that told it, the one at a point or an address, or the terminal's."""

from __future__ import annotations

import numpy as np

from headend.collector import tidings
from protocols.localtime import as_datetime
from terminals.drivers.driver import Meter
from terminals.drivers.happening import Happening
from terminals.simulator.scenario import ZONE
from tests.support.house import at

NOW = at("2026-03-11 10:00")
METERS = {
    7: Meter(7, "000000000007", ZONE, terminal="33", point=1),
    9: Meter(9, "000000000009", ZONE, terminal="33", point=4),
}


def event(**changes: object) -> Happening:
    return Happening("x.1", "cover-open", NOW - np.timedelta64(1, "h"), detail={"number": 3}, **changes)  # type: ignore[arg-type]


def test_each_event_goes_to_whom_it_happened() -> None:
    told = [
        event(), event(of="terminal"), event(of="point", at="4"), event(of="point", at="5"), event(of="address", at="000000000007"),
        event(of="address", at="000000000001"),
    ]  # fmt: skip
    rows = tidings.rows(told, METERS, 3, NOW, asked=9, evidence=-5)
    assert [(row.subject_kind, row.subject_id) for row in rows] == [
        ("meter", 9), ("terminal", 3), ("meter", 9), ("terminal", 3), ("meter", 7), ("terminal", 3),
    ]  # fmt: skip
    assert rows[3].detail == {
        "number": 3,
        "kind": "cover-open",
        "point": "5",
    }  # unknown to the archive: it says which
    assert rows[5].detail["address"] == "000000000001"
    assert {row.evidence for row in rows} == {-5}
    assert rows[0].occurred == as_datetime(NOW - np.timedelta64(1, "h"))
    assert rows[0].received == as_datetime(NOW)


def test_what_nobody_was_asked_for_is_the_terminals() -> None:
    (row,) = tidings.rows([event()], METERS, 3, NOW)
    assert (row.subject_kind, row.subject_id, row.detail["kind"]) == ("terminal", 3, "cover-open")
