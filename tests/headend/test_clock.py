"""Domain time from a text that every process is given."""

from __future__ import annotations

import time

import numpy as np
import pytest

from headend.clock import ScaledClock, SystemClock, parse
from tests.support.house import MADRID, SHANGHAI, at


@pytest.mark.parametrize("text", ["", "system"])
def test_the_system_clock(text: str) -> None:
    clock = parse(text, SHANGHAI)
    assert isinstance(clock, SystemClock)
    assert (
        abs(float((clock.now() - np.datetime64(int(time.time() * 1e6), "us")) / np.timedelta64(1, "s"))) < 5
    )
    assert clock.seconds_until(clock.now() - np.timedelta64(1, "h")) == 0
    assert 3590 < clock.seconds_until(clock.now() + np.timedelta64(1, "h")) <= 3600


def test_a_scaled_clock_is_a_function_of_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = parse("2026-03-11T10:00@1000x600", SHANGHAI)
    assert clock == ScaledClock(at("2026-03-11 10:00"), 1000.0, 600.0)
    for real, shown in ((900.0, "10:00"), (1000.0, "10:00"), (1000.1, "10:01"), (1006.0, "11:00")):
        monkeypatch.setattr(time, "time", lambda real=real: real)
        assert clock.now() == at(f"2026-03-11 {shown}")
    assert clock.seconds_until(at("2026-03-11 12:00")) == 6.0
    assert clock.seconds_until(at("2026-03-11 09:00")) == 0.0


def test_its_text_is_what_parse_reads() -> None:
    for clock in (
        ScaledClock(at("2026-03-11 10:00"), 1741658400.123456, 0.1),
        ScaledClock(np.datetime64("2026-01-01T00:00:00.000001", "us"), 0.0, 1e6),
    ):
        assert parse(clock.text(), MADRID) == clock


def test_the_zone_is_for_times_without_an_offset() -> None:
    assert parse("2026-03-11T10:00@0x1", MADRID) == ScaledClock(at("2026-03-11 10:00", MADRID), 0.0, 1.0)
    assert parse("2026-03-11T10:00+08:00@0x1", MADRID) == ScaledClock(at("2026-03-11 10:00"), 0.0, 1.0)


@pytest.mark.parametrize(
    "text",
    ["now", "2026-03-11T10:00", "2026-03-11T10:00@", "2026-03-11T10:00@0", "2026-03-11T10:00@0xfast", "someday@0x1", "2026-03-11T10:00@zerox1",
     "2026-03-11T10:00@0x0", "2026-03-11T10:00@0x-1", "2026-03-11T10:00@0xnan", "2026-03-11T10:00@0xinf", "2026-03-11T10:00@nanx1"],
)  # fmt: skip
def test_what_is_no_clock(text: str) -> None:
    with pytest.raises(ValueError, match="clock '"):
        parse(text, SHANGHAI)
