"""What this machine says of its own clock."""

from __future__ import annotations

import numpy as np
import pytest

from headend import timesync
from headend.clock import ScaledClock, SystemClock


def test_a_given_time_is_the_only_one_there_is() -> None:
    clock = ScaledClock(np.datetime64("2026-03-11", "us"), 0.0, 60.0)
    assert timesync.master(clock).synchronised is True


def test_the_kernel_says_yes_or_no_with_an_error_and_a_reason() -> None:
    told = timesync.master(SystemClock())
    assert told.synchronised in (True, False, None)
    assert told.error >= 0
    assert told.why


def test_a_machine_without_a_daemon_is_not_synchronised() -> None:
    """Linux itself calls a clock unsynchronised once its error has grown to 16 s: one that is kept is far below."""
    told = timesync._kernel()
    if told.synchronised:
        assert told.error < 16.0
    else:
        assert "chrony" in told.why or "ntp_adjtime" in told.why


FOLLOWS = "C0248F97,192.36.143.151,2,1774000000.1,-0.000013,0.000021,0.000040,-7.2,0.001,0.05,0.0312,0.0007,64.2,Normal\n"
ALONE = "7F7F0101,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised\n"


def test_chronys_line() -> None:
    told = timesync.of_chrony(FOLLOWS)
    assert told is not None
    assert told.synchronised is True
    assert told.error == pytest.approx(0.000013 + 0.0007 + 0.0156)
    assert told.why == "chrony follows C0248F97"
    alone = timesync.of_chrony(ALONE)
    assert alone is not None
    assert alone.synchronised is False


@pytest.mark.parametrize("line", ["", "506 Cannot talk to daemon\n", FOLLOWS.replace("-0.000013", "soon")])
def test_what_is_no_line_of_chronys_says_nothing(line: str) -> None:
    assert timesync.of_chrony(line) is None
