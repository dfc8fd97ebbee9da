"""Prepaid balances: warnings go by the likely figure, a cut-off only by the most favourable one."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.reading import MISSING
from tariffs.money import FEN
from tariffs.prepaid import Assessment, Decision, Doubt, assess, exactly, registers_valid
from tariffs.tou import Charge

NOW = np.datetime64("2026-03-11T10:00:00", "us")
HOUR = np.timedelta64(1, "h")


def one(
    ledger: int,
    charge: tuple[int, int, int] | None,
    *,
    age: int | None = 1,
    valid: bool = True,
    **over: int,
) -> Assessment:
    """Fen throughout; `age` in hours."""
    sides = (MISSING,) * 3 if charge is None else tuple(c * FEN for c in charge)
    newest = np.array([np.datetime64("NaT", "us") if age is None else NOW - age * HOUR])
    levels = {"warn1_fen": 2000, "warn2_fen": 500, **over}
    return assess(
        np.array([ledger]),
        Charge(*(np.array([s]) for s in sides)),
        newest,
        np.array([valid]),
        NOW,
        **levels,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("ledger", "charge", "decision"),
    [
        (2101, (100, 100, 100), Decision.OK),
        (2100, (100, 100, 100), Decision.WARN1),
        (601, (100, 100, 100), Decision.WARN1),
        (600, (100, 100, 100), Decision.WARN2),
        (100, (100, 100, 100), Decision.WARN2),  # exactly nothing left is not below zero
        (99, (100, 100, 100), Decision.STOP),
        (99, (90, 100, 110), Decision.WARN2),  # at the favourable bound he has nine fen left
        (89, (90, 100, 110), Decision.STOP),
    ],
)
def test_decisions(ledger: int, charge: tuple[int, int, int], decision: Decision) -> None:
    result = one(ledger, charge)
    assert result.decision[0] == decision
    assert (result.high[0], result.likely[0], result.low[0]) == tuple((ledger - c) * FEN for c in charge)
    assert {a.dtype for a in (result.low, result.likely, result.high)} == {np.dtype(np.int64)}


def test_a_hundred_millionth_of_a_yuan_below_zero_counts_and_one_above_does_not() -> None:
    level = {"warn1_fen": 0, "warn2_fen": 0}
    newest, valid = np.array([NOW, NOW]), np.array([True, True])
    result = assess(np.array([1, 1]), exactly(np.array([FEN + 1, FEN])), newest, valid, NOW, **level)  # type: ignore[arg-type]
    assert result.decision.tolist() == [Decision.STOP, Decision.WARN2]
    assert result.trip_candidates.tolist() == [0]


@pytest.mark.parametrize(
    ("result", "doubt"),
    [
        (one(-5000, (10, 10, 10), valid=False), Doubt.INVALID),
        (one(-5000, (10, 10, 10), age=25), Doubt.STALE),
        (one(-5000, (10, 10, 10), age=-1), Doubt.STALE),  # a reading from the future
        (one(-5000, (10, 10, 10), age=None), Doubt.NO_READING),
        (one(-5000, None), Doubt.NO_READING),
        (one(99, (90, 100, 110)), Doubt.WITHIN_BOUNDS),
        (one(99, (90, 100, 110), valid=False, age=48), Doubt.INVALID | Doubt.STALE | Doubt.WITHIN_BOUNDS),
    ],
)
def test_without_valid_fresh_certain_data_nobody_is_a_candidate(result: Assessment, doubt: Doubt) -> None:
    assert result.decision[0] == Decision.WARN2
    assert result.doubt[0] == doubt
    assert len(result.trip_candidates) == 0


def test_no_doubt_is_raised_about_somebody_who_has_money() -> None:
    result = one(10_000, None)
    assert result.decision[0] == Decision.OK
    assert result.doubt[0] == 0
    assert not result.valid[0]
    assert result.likely[0] == MISSING


def test_an_overdraft_moves_the_limit() -> None:
    assert one(-400, (100, 100, 100), stop_fen=-500).decision[0] == Decision.WARN2
    assert one(-401, (100, 100, 100), stop_fen=-500).decision[0] == Decision.STOP


def test_age() -> None:
    assert one(0, (1, 1, 1), age=3).age[0] == 3 * HOUR
    assert np.isnat(one(0, (1, 1, 1), age=None).age[0])


def test_floats_and_missing_ledgers_are_refused() -> None:
    with pytest.raises(TypeError, match="integers"):
        assess(
            np.array([1.0]),
            exactly(np.array([1])),
            np.array([NOW]),
            np.array([True]),
            NOW,
            warn1_fen=1,
            warn2_fen=0,
        )
    with pytest.raises(TypeError, match="integers"):
        one(1, (1, 1, 1), warn1_fen=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="never missing"):
        one(MISSING, (1, 1, 1))


def test_problems_of_the_registers_make_them_invalid() -> None:
    assert registers_valid(np.array([0, 1, 2, 8], dtype=np.int8)).tolist() == [True, False, False, False]
