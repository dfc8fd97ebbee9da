"""Rounds of a terminal: what stands in the archive, what goes out, and what is concluded from what comes back."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from headend.control.order_state import Event
from headend.control.readback import Seen, judge
from protocols.errors import FrameError, Misuse, Refused
from protocols.gdw376.frame import parse_address
from protocols.localtime import from_local
from terminals.drivers.dlt698 import Dlt698Driver
from terminals.drivers.driver import Meter, RelayAction
from terminals.drivers.gdw376 import Gdw376Driver
from terminals.drivers.rounds import rounds_of, state
from terminals.simulator import device376, device698

ZONE = ZoneInfo("Asia/Shanghai")
NOW = np.datetime64(from_local(np.array(["2026-03-11T10:00:30"], "datetime64[us]"), ZONE)[0], "us")
UNTIL = NOW + np.timedelta64(90, "s")
TERMINALS = {"gdw376": "33010001", "dlt698": "330100000001"}


def meter(protocol: str, *switch: str) -> Meter:
    return Meter(1, "000000000007", ZONE, terminal=TERMINALS[protocol], point=7, switch=switch)


def talk(protocol: str, driver: Any, script: Any, whom: Meter, late: int = 0) -> tuple[Any, list[bytes]]:
    """Run it against a simulated terminal; what came of it, and the frames. `late`: seconds that orders are on their way."""
    line: Any
    if protocol == "gdw376":
        line = device376.Line376(device376.Concentrator(parse_address("33010001"), [], lambda data, now: []))
    else:
        bus: Any = None
        line = device698.Connection698(device698.Concentrator("330100000001", [], bus))
    master, frames = driver.exchange(whom), []
    try:
        request = next(script)
        while True:
            raw = master.send(request)
            frames.append(raw)
            arrives = NOW + np.timedelta64(late if type(request).__name__ in ("Order", "Act") else 0, "s")
            answer = b"".join(line.receive(raw, lambda at=arrives: at))
            if not answer:
                return None, frames
            master.receive_data(answer)
            event = master.next_event()
            request = script.throw(event) if isinstance(event, Refused) else script.send(event.value)
    except StopIteration as done:
        return done.value, frames


DRIVERS: dict[str, Any] = {"gdw376": Gdw376Driver(), "dlt698": Dlt698Driver()}
BOTH = pytest.mark.parametrize("protocol", ["gdw376", "dlt698"])


def test_what_the_archive_says() -> None:
    assert rounds_of(()) == ()
    assert rounds_of(("round 1", "round 3")) == (1, 3)
    for wrong in (("coil 9:0",), ("round 9",), ("round 0",), ("round 1", "coil 9:0"), ("round",)):
        with pytest.raises(Misuse, match="is no round of a terminal"):
            rounds_of(wrong)


#: rounds of the customer, rounds that are out, kW -> (a trip is, permission is)
PROOFS = [
    ((2,), (2,), 0.0, Event.PROVE, Event.DISPROVE),
    ((2,), (2,), 1.0, Event.DISPROVE, Event.DISPROVE),
    ((2,), (2,), math.nan, Event.DISPROVE, Event.DISPROVE),
    ((2,), (1, 3), 1.0, Event.DISPROVE, Event.PROVE),
    ((2,), (), 0.0, Event.DISPROVE, Event.HOLD),
    ((2,), (), math.nan, Event.DISPROVE, Event.HOLD),
    ((1, 2), (1, 2), 0.0, Event.PROVE, Event.DISPROVE),
    ((1, 2), (1,), 0.0, Event.DISPROVE, Event.HOLD),
    ((1, 2), (1,), 1.0, Event.DISPROVE, Event.HOLD),
    ((1, 2), (), 1.0, Event.DISPROVE, Event.PROVE),
    ((2,), (), -5.0, Event.DISPROVE, Event.PROVE),
    ((2,), (2,), -5.0, Event.DISPROVE, Event.DISPROVE),
]


@pytest.mark.parametrize(("mine", "tripped", "load", "trip", "permit"), PROOFS)
def test_what_is_concluded(
    mine: tuple[int, ...], tripped: tuple[int, ...], load: float, trip: Event, permit: Event
) -> None:
    """A trip is proved by all rounds and no power, that supply is back by no round and power; half of it is neither."""
    found = state(mine, tripped, load)
    seen = Seen(found.open, found.permitted, found.keep_power, found.load_kw)
    late = dt.timedelta(hours=1)
    assert judge("trip", seen, late, pending=False)[0] is trip
    assert judge("permit", seen, late, pending=False)[0] is permit


def test_both_rounds_are_tripped_by_one_frame_that_says_its_time() -> None:
    whom = meter("gdw376", "round 1", "round 3")
    answer, frames = talk(
        "gdw376", DRIVERS["gdw376"], DRIVERS["gdw376"].relay(whom, RelayAction.TRIP, UNTIL), whom
    )
    assert (answer.pending, answer.detail) == (False, "rounds 1, 3 told to trip after 2 minutes of warning")
    # DA p1 and p3, DT F1, two minutes of warning and no end for each; then PW, and Tp: from 10:00:00, valid 2 minutes
    assert bytes.fromhex("050101002020") in frames[-1]
    assert frames[-1][-7:-2] == bytes.fromhex("0000101102")
    whom = meter("dlt698", "round 1", "round 3")
    answer, frames = talk(
        "dlt698", DRIVERS["dlt698"], DRIVERS["dlt698"].relay(whom, RelayAction.TRIP, UNTIL), whom
    )
    assert not answer.pending
    relay = "020451F20502{:02X}11021200000300"
    both = relay.format(1) + relay.format(3)
    # 07 01 PIID, method 129, an array of both; then the time tag: 10:00:30, valid 90 s
    assert bytes.fromhex("800081000102" + both + "0107EA030B0A001E00005A") in frames[-1]


@BOTH
def test_a_command_that_comes_late_does_nothing(protocol: str) -> None:
    whom = meter(protocol, "round 1")
    driver = DRIVERS[protocol]
    answer, _ = talk(protocol, driver, driver.relay(whom, RelayAction.TRIP, UNTIL), whom, late=600)
    assert answer is None


@BOTH
def test_a_round_that_the_terminal_has_not_is_refused(protocol: str) -> None:
    whom = meter(protocol, "round 8")
    driver = DRIVERS[protocol]
    with pytest.raises(Refused):
        talk(protocol, driver, driver.relay(whom, RelayAction.TRIP, UNTIL), whom)


@BOTH
def test_supply_is_given_back_by_a_terminal_without_a_clock(protocol: str) -> None:
    """Nobody is cut off by a command whose end it cannot see."""
    driver, whom = DRIVERS[protocol], meter(protocol, "round 1")

    def clockless(action: RelayAction) -> Any:
        script = driver.relay(whom, action, UNTIL)
        next(script)
        return script.throw(FrameError("clock: it gives no time"))

    with pytest.raises(FrameError, match="gives no time"):
        clockless(RelayAction.TRIP)
    request = clockless(RelayAction.PERMIT)
    assert getattr(request, "stamp", getattr(request, "time_tag", None)) is None
