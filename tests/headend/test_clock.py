"""Domain time: a pure function of the machine's clock, at any hour of any year and in any zone of the machine's."""

from __future__ import annotations

import datetime as dt
import time
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from headend.clock import ScaledClock, SystemClock, parse
from headend.demo import world
from protocols.localtime import as_datetime, instant

SHANGHAI = ZoneInfo("Asia/Shanghai")
NEW_YORK = ZoneInfo("America/New_York")


def unix(*when: int, zone: ZoneInfo = NEW_YORK, fold: int = 0) -> float:
    return dt.datetime(*when, tzinfo=zone, fold=fold).timestamp()  # type: ignore[arg-type]


#: real instants at which something on the machine jumps
ODD = {
    "just before midnight": unix(2026, 7, 1, 23, 59, 59),
    "midnight": unix(2026, 7, 2, 0, 0, 0),
    "new year": unix(2026, 12, 31, 23, 59, 58),
    "new year in Shanghai": unix(2027, 1, 1, 0, 0, 0, zone=SHANGHAI),
    "spring forward": unix(2026, 3, 8, 1, 59, 58),
    "fall back, first time": unix(2026, 11, 1, 1, 59, 58),
    "fall back, second time": unix(2026, 11, 1, 1, 0, 0, fold=1),
    "29 February": unix(2028, 2, 29, 12, 0, 0),
    "2038": 2.0**31 - 2,
    "long ago": 1.0,
}


@pytest.fixture(params=ODD.values(), ids=list(ODD))
def machine(request, monkeypatch):
    """The machine's clock, to be moved; its civil time is New York's."""
    now = [float(request.param)]
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    monkeypatch.setattr(time, "time", lambda: now[0])
    yield now
    monkeypatch.undo()
    time.tzset()


def test_a_demo_begins_on_its_wednesday_whenever_it_runs(machine, tmp_path):
    made = world.create(tmp_path / "demo", seed=1, size="small", speed=600.0, port=0)
    clock = parse(made.clock, world.ZONE)
    assert as_datetime(clock.now(), world.ZONE) == world.START
    assert clock.now() == instant(dt.datetime(2026, 3, 11, 10, 0, tzinfo=SHANGHAI))
    machine[0] += world.SETUP
    assert as_datetime(clock.now(), world.ZONE) == world.START
    machine[0] += 60.0  # ten hours
    assert as_datetime(clock.now(), world.ZONE) == world.START + dt.timedelta(hours=10)
    machine[0] += 5 * 60.0
    assert as_datetime(clock.now(), world.ZONE) == world.START + dt.timedelta(hours=60)


def test_every_process_agrees_through_the_text(machine):
    clock = ScaledClock(instant(world.START), machine[0], 120.0)
    other = parse(clock.text(), SHANGHAI)
    assert other == clock
    for _ in range(5):
        machine[0] += 0.7
        assert other.now() == clock.now()


def test_waiting_is_in_real_seconds(machine):
    clock = ScaledClock(instant(world.START), machine[0], 60.0)
    assert clock.seconds_until(clock.now() + np.timedelta64(15, "m")) == pytest.approx(15.0)
    assert clock.seconds_until(clock.now() - np.timedelta64(1, "s")) == 0.0


def test_a_clock_that_is_set_back_stands_still_and_never_runs_backwards_past_its_start(machine):
    clock = ScaledClock(instant(world.START), machine[0], 10.0)
    machine[0] -= 3600
    assert clock.now() == instant(world.START)


def test_system_time_is_utc_whatever_the_machine_s_zone(monkeypatch):
    monkeypatch.setenv("TZ", "America/St_Johns")
    time.tzset()
    try:
        assert (
            abs(
                float(
                    (SystemClock().now() - np.datetime64(int(time.time() * 1e6), "us"))
                    / np.timedelta64(1, "s")
                )
            )
            < 5
        )
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "text", ["noon", "2026-03-11T10:00", "2026-03-11T10:00@x1", "@1x1", "2026-03-11@1x-1", "2026-13-01@1x1"]
)
def test_what_is_no_clock_is_refused_with_its_text(text):
    with pytest.raises(ValueError, match="clock "):
        parse(text, SHANGHAI)


def test_a_naive_start_is_the_cluster_s_civil_time():
    clock = parse("2026-03-11T10:00@0x1", NEW_YORK)
    assert isinstance(clock, ScaledClock)
    assert clock.start == instant(dt.datetime(2026, 3, 11, 10, 0, tzinfo=NEW_YORK))
    assert isinstance(parse("system", SHANGHAI), SystemClock)
    assert isinstance(parse("", SHANGHAI), SystemClock)
