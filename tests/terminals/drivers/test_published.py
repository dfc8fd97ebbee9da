"""What was published, through the driver: the same script today and of the evidence."""

from __future__ import annotations

import json
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from protocols.errors import FrameError, Refused
from protocols.exchange import NEED_DATA, Answer
from protocols.published.exchange import Listen, Listener
from terminals.drivers.driver import Driver, Meter, RelayAction, Script
from terminals.drivers.published import PublishedDriver

METER = Meter(7, "000000000001", ZoneInfo("Asia/Shanghai"))
NONE = np.empty(0, dtype="datetime64[us]")
NOW = np.datetime64("2026-03-11T02:16", "us")


def hear(script: Script[Any], **message: Any) -> Any:
    listener = Listener()
    request = next(script)
    assert request == Listen()
    assert listener.send(request) == b""
    assert listener.next_event() is NEED_DATA
    listener.receive_data(json.dumps(message).encode())
    event = listener.next_event()
    assert isinstance(event, Answer)
    with pytest.raises(StopIteration) as done:
        script.send(event.value)
    return done.value.value


def test_each_kind_of_message_is_its_own_task() -> None:
    driver: Driver = PublishedDriver()
    at = "2026-03-11T00:00:00+08:00"
    values = {"active_import": 1}
    curve = hear(driver.curve(METER, NONE), kind="curve", time=at, values=values)
    day = hear(driver.day_freeze(METER, NONE, NOW), kind="day", time=at, values=values)
    spot = hear(driver.registers(METER, NOW), time=at, values=values)
    for reads in (curve.reads, day.reads, spot):
        assert (reads.meter.tolist(), reads.columns["active_import"].tolist()) == ([7], [10_000])
    assert len(curve.absent) == len(day.absent) == 0
    with pytest.raises(FrameError, match="kind: spot, curve is wanted"):
        hear(driver.curve(METER, NONE), time=at, values=values)


def test_a_day_freeze_is_of_a_midnight_where_the_meter_is() -> None:
    with pytest.raises(FrameError, match="no midnight in Asia/Shanghai"):
        hear(
            PublishedDriver().day_freeze(METER, NONE, NOW),
            kind="day",
            time="2026-03-11T00:00:00Z",
            values={"active_import": 1},
        )


def test_nothing_is_asked_of_it() -> None:
    driver = PublishedDriver()
    for script in (
        driver.clock(METER),
        driver.set_clock(METER, NOW),
        driver.relay_state(METER),
        driver.relay(METER, RelayAction.TRIP, NOW),
    ):
        with pytest.raises(Refused, match="is not asked anything"):
            next(script)
