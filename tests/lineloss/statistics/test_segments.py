"""What kind of customer, by the definitions' own numbers."""

from __future__ import annotations

import numpy as np
import pytest

from lineloss.statistics.segments import payment, profile, shift, theft

FORTNIGHT = np.array([14])


def hours(base: float, **more: float) -> np.ndarray:
    """[1, 24] kWh: so much in every hour, and so much more from … to: h17_23=1.0."""
    day = np.full(24, base)
    for span, extra in more.items():
        first, last = (int(part) for part in span[1:].split("_"))
        day[first:last] += extra
    return day[None, :]


@pytest.mark.parametrize(
    ("day", "label"),
    [
        (hours(0.2), "even"),
        (hours(0.2, h17_23=0.6), "evening"),
        (hours(0.2, h0_6=0.8), "night"),
        (hours(0.2, h9_17=0.6), "day"),
        (hours(0.2, h6_9=0.5, h17_23=0.5), "two-peaks"),
        (hours(0.001), "unused"),
    ],
)
def test_profiles(day: np.ndarray, label: str) -> None:
    assert profile(day, FORTNIGHT).label.tolist() == [label]


def test_a_profile_needs_days() -> None:
    assert profile(hours(0.2), np.array([4])).label.tolist() == ["unknown"]
    told = profile(hours(0.2, h17_23=0.6), FORTNIGHT)
    # 4.8 + 3.6 kWh, of which 4.8 in six hours: 4.8 / 8.4 × 24 / 6
    assert told.facts["evening"][0] == pytest.approx(4.8 / 8.4 * 4)


def test_what_could_be_moved() -> None:
    peak = np.zeros(24, dtype=np.bool_)
    peak[17:22] = True
    told = shift(hours(0.2, h17_23=0.6), FORTNIGHT, peak)
    assert told.facts["movable_kwh_a_day"][0] == pytest.approx(5 * 0.6)
    assert told.score[0] == pytest.approx(3 / 8.4)
    assert told.label.tolist() == ["medium"]
    assert shift(hours(0.2), FORTNIGHT, peak).label.tolist() == ["none"]
    assert shift(hours(0.0), FORTNIGHT, peak).label.tolist() == ["unknown"]


def test_how_people_pay() -> None:
    prepaid = np.array([True, True, True, True, False, False, False, False])
    told = payment(
        prepaid,
        warned=np.array([3, 20, 0, 0, 0, 0, 0, 0]),
        stopped=np.array([0, 0, 1, 4, 0, 0, 0, 0]),
        late_days=np.array([np.nan, np.nan, np.nan, np.nan, 10, 16, 45, np.nan]),
        months=np.array([6.0, 6, 6, 6, 6, 6, 6, 6]),
    )
    assert told.label.tolist() == ["good", "tight", "tight", "late", "good", "tight", "late", "unknown"]
    new = payment(np.array([True]), np.array([0]), np.array([9]), np.array([np.nan]), np.array([0.5]))
    assert new.label.tolist() == ["unknown"]


def test_risk_goes_by_what_was_found() -> None:
    told = theft(np.array([0.0, 0.5, 1.5, 3.0, 8.0]), np.array([0, 1, 1, 1, 2]))
    assert told.label.tolist() == ["none", "none", "low", "medium", "high"]
    assert told.facts["findings"].tolist() == [0, 1, 1, 1, 2]
