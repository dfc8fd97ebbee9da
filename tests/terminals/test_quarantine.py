"""Leaving the dead alone."""

from terminals.quarantine import Backoff, Quarantine


def test_back_off_doubles_up_to_the_cap():
    backoff = Backoff(tolerated=2, base=60.0, cap=300.0)
    assert [backoff.rest(n) for n in range(7)] == [0, 0, 60, 120, 240, 300, 300]
    assert backoff.rest(10_000) == 300


def test_a_meter_rests_after_tolerated_failures_and_is_absolved_by_an_answer():
    now = 0.0
    quarantine = Quarantine(Backoff(tolerated=2, base=60.0, cap=300.0), lambda: now)
    quarantine.failed("m")
    assert quarantine.until("m") is None
    assert quarantine.failures("m") == 1
    quarantine.failed("m")
    assert quarantine.until("m") == 60.0
    assert len(quarantine) == 1
    now = 60.0
    assert quarantine.until("m") is None
    assert len(quarantine) == 0
    quarantine.failed("m")
    assert quarantine.until("m") == 180.0
    quarantine.answered("m")
    assert quarantine.until("m") is None
    assert quarantine.failures("m") == 0
    assert quarantine.until("other") is None
