"""Time-outs that follow the line."""

import pytest

from terminals.pace import Pace, Timing

TIMING = Timing(first=5.0, floor=1.0, ceiling=30.0)


def test_an_unknown_line_gets_the_first_time_out():
    assert Pace(TIMING).timeout == 5.0


def test_a_quick_line_sinks_to_the_floor_and_a_slow_one_rises_to_the_ceiling():
    quick, slow = Pace(TIMING), Pace(TIMING)
    for _ in range(50):
        quick.answered(0.02)
        slow.answered(60.0)
    assert quick.timeout == 1.0
    assert slow.timeout == 30.0


def test_a_steady_line_comes_within_a_gap_of_its_mean_and_a_shaky_one_keeps_room():
    steady, shaky = Pace(TIMING), Pace(TIMING)
    for n in range(200):
        steady.answered(3.0)
        shaky.answered(3.0 + (n % 2) * 2)
    assert steady.timeout == pytest.approx(3.0 + TIMING.gap, abs=0.1)
    assert 7.0 < shaky.timeout < 9.0


def test_repeats_widen_until_a_first_attempt_gets_through():
    pace = Pace(TIMING)
    for _ in range(50):
        pace.answered(1.5)
    narrow = pace.timeout
    for _ in range(10):
        pace.answered_late()
    assert pace.timeout == pytest.approx(8 * narrow)
    pace.answered(1.5)
    assert pace.timeout == pytest.approx(narrow, rel=0.2)


def test_patience_doubles_twice_and_stays():
    pace = Pace(TIMING)
    assert [pace.patience(k) for k in range(5)] == [5.0, 10.0, 20.0, 20.0, 20.0]
    pace.answered(20.0)
    assert pace.patience(4) == TIMING.ceiling


@pytest.mark.parametrize(
    "wrong",
    [{"floor": 0.0}, {"first": 0.1}, {"ceiling": 1.0}, {"attempts": 0}, {"gap": 0.0}, {"pause": -1.0}],
)
def test_timing_that_cannot_work_is_refused(wrong):
    with pytest.raises(ValueError, match="timing needs"):
        Timing(**wrong)
