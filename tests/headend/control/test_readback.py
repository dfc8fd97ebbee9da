"""What reading a relay back proves, for each action."""

from __future__ import annotations

import datetime as dt

import pytest

from headend.control.order_state import Event
from headend.control.readback import NO_LOAD_KW, SETTLE, Seen, judge

PROVE, HOLD, DISPROVE = Event.PROVE, Event.HOLD, Event.DISPROVE
SOON, LATE = dt.timedelta(seconds=3), SETTLE
CLOSED = Seen(False, False, False, 0.8)
OPEN = Seen(True, False, False, 0.0)
PERMITTED = Seen(True, True, False, 0.0)
KEPT = Seen(False, False, True, 0.8)

#: action, seen -> at once, after SETTLE, after SETTLE with the meter's own delay
TABLE = {
    ("trip", CLOSED): (HOLD, DISPROVE, HOLD),
    ("trip", OPEN): (PROVE, PROVE, PROVE),
    ("trip", PERMITTED): (HOLD, DISPROVE, HOLD),
    ("trip", Seen(True, False, False, NO_LOAD_KW)): (PROVE, PROVE, PROVE),
    # open, and something flows: no waiting makes that right
    ("trip", Seen(True, False, False, NO_LOAD_KW + 0.0001)): (DISPROVE, DISPROVE, DISPROVE),
    ("trip", Seen(True, True, False, 1.0)): (HOLD, DISPROVE, HOLD),
    ("permit", CLOSED): (PROVE, PROVE, PROVE),
    ("permit", OPEN): (HOLD, DISPROVE, HOLD),
    # the customer may take his time
    ("permit", PERMITTED): (HOLD, HOLD, HOLD),
    ("close", CLOSED): (PROVE, PROVE, PROVE),
    ("close", OPEN): (HOLD, DISPROVE, HOLD),
    ("close", PERMITTED): (HOLD, DISPROVE, HOLD),
    ("keep-power", KEPT): (PROVE, PROVE, PROVE),
    ("keep-power", CLOSED): (HOLD, DISPROVE, HOLD),
    ("end-keep-power", CLOSED): (PROVE, PROVE, PROVE),
    ("end-keep-power", KEPT): (HOLD, DISPROVE, HOLD),
}


@pytest.mark.parametrize(("action", "seen"), TABLE)
def test_table(action: str, seen: Seen) -> None:
    found = tuple(
        judge(action, seen, age, pending)[0] for age, pending in ((SOON, False), (LATE, False), (LATE, True))
    )
    assert found == TABLE[action, seen]


def test_an_unknown_load_proves_no_trip() -> None:
    """A meter that shows its relay open and no power value: that nothing flows is not read, so it is not proved."""
    blind = Seen(True, False, False, float("nan"))
    assert judge("trip", blind, SOON, False)[0] is HOLD
    event, sentence = judge("trip", blind, LATE, False)
    assert event is DISPROVE
    assert sentence == "relay open, load not known"


def test_the_sentences_name_relay_and_load() -> None:
    assert judge("trip", OPEN, SOON, False)[1] == "relay read back open, load 0.0000 kW"
    assert (
        judge("trip", Seen(True, False, False, 1.25), SOON, False)[1]
        == "relay open but load 1.2500 kW: bypassed or welded; send somebody"
    )
    assert judge("trip", PERMITTED, LATE, False)[1].startswith("relay open with closing permitted")
    assert judge("close", CLOSED, LATE, False)[1] == "relay read back closed, load 0.8000 kW"
