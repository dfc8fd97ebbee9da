"""One cause is one finding; two causes stay two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lineloss.finding import Finding
from lineloss.storm import Places, fold
from lineloss.topology import Role


def places(areas: int = 2, meters: int = 10) -> Places:
    """Areas 0 and 1 with terminals 100 and 101; the first meter of each is its supply. Meters are numbered through."""
    n = areas * meters
    number = np.arange(n)
    role = np.where(number % meters == 0, Role.SUPPLY, Role.RECEIVE).astype(np.int8)
    return Places(number, number // meters, role, 100 + number // meters)


def said(rule: str, meter: int, severity: Any = "warning", kind: Any = "meter", **evidence: Any) -> Finding:
    return Finding(rule, 1, kind, meter, severity, evidence, f"{rule} of {meter}", f"{meter} 的 {rule}")


def names(findings: list[Finding]) -> set[tuple[str, str, int]]:
    return {(f.rule, f.subject_kind, f.subject_id) for f in findings}


def test_a_terminal_that_is_gone_is_one_finding() -> None:
    gone = said("offline", 100, kind="terminal", minutes=200)
    holes = [
        said("missing", 100, kind="terminal", cause="offline"),
        *(said("missing", m, cause="link-lost") for m in range(10)),
    ]
    weak = [said("route", 100, kind="terminal"), said("route", 3)]
    other = said("missing", 12, cause="offline")
    dead = said("missing", 4, cause="no-answer", whole_day=True)
    found = fold([*holes, gone, *weak, other, dead], places())
    assert names(found) == {("offline", "terminal", 100), ("missing", "meter", 12), ("missing", "meter", 4)}
    (told,) = [f for f in found if f.rule == "offline"]
    assert told.evidence["explains"] == 13
    assert told.evidence["minutes"] == 200


def test_of_a_terminal_whose_absence_was_told_before_nothing_more_is_said() -> None:
    holes = [said("missing", 100, kind="terminal", cause="offline"), said("missing", 12, cause="offline")]
    assert names(fold(holes, places(), away={100})) == {("missing", "meter", 12)}
    assert len(fold(holes, places())) == 2


def test_a_phase_lost_at_the_transformer_is_the_areas() -> None:
    found = fold(
        [
            said("phase-loss", 0, "alarm", phases=["B"]),
            *(said("phase-loss", m, phases=["B"]) for m in (3, 4)),
            *(said("missing", m, cause="no-answer") for m in (5, 6, 7)),
            said("missing", 8, cause="refused"),
            said("phase-loss", 13, phases=["A"]),
        ],
        places(),
    )
    assert names(found) == {("phase-loss", "area", 0), ("missing", "meter", 8), ("phase-loss", "meter", 13)}
    (told,) = [f for f in found if f.subject_kind == "area"]
    assert (told.severity, told.evidence["at_supply"], told.evidence["meters_affected"]) == ("alarm", True, 3)
    assert (told.evidence["meters_silent"], told.evidence["shown_meter"]) == (3, 0)
    assert told.title_en == "Phase lost at the transformer: 3 of 10 meters of the area"


def test_the_voltage_of_an_area_is_one_finding_and_of_a_few_meters_as_many() -> None:
    many = [said("voltage", m, "alarm" if m == 5 else "warning", highest_v=200.0 + m) for m in range(1, 7)]
    few = [said("voltage", m) for m in (11, 12, 13, 14)]
    found = fold([*many, *few], places())
    assert names(found) == {("voltage", "area", 0), *(("voltage", "meter", m) for m in (11, 12, 13, 14))}
    (told,) = [f for f in found if f.subject_kind == "area"]
    assert told.severity == "alarm"
    assert told.evidence["highest_v"] == 205.0
    assert told.evidence["meter_ids"] == [1, 2, 3, 4, 5, 6]


def test_five_of_two_hundred_are_no_storm() -> None:
    found = fold([said("voltage", m) for m in range(5)], places(areas=1, meters=200))
    assert len(found) == 5


def test_a_bad_route_explains_its_holes_and_no_dead_meter() -> None:
    found = fold(
        [
            said("route", 100, kind="terminal"),
            said("missing", 1, cause="not-in-terminal"),
            said("missing", 2, cause="no-answer", whole_day=True),
            said("route", 11),
            said("missing", 11, cause="no-answer"),
            said("missing", 12, cause="no-answer"),
        ],
        places(),
    )
    assert names(found) == {
        ("route", "terminal", 100),
        ("missing", "meter", 2),
        ("route", "meter", 11),
        ("missing", "meter", 12),
    }


def test_two_causes_of_one_meter_are_one_finding_that_names_both() -> None:
    found = fold(
        [
            said("missing", 1, cause="no-answer", missing_slots=4),
            said("missing", 1, cause="refused", missing_slots=40),
            said("theft", 1, "alarm"),
        ],
        places(),
    )
    assert names(found) == {("missing", "meter", 1), ("theft", "meter", 1)}
    (told,) = [f for f in found if f.rule == "missing"]
    assert told.evidence["cause"] == "refused"
    assert told.evidence["also"] == ["missing of 1"]


@pytest.mark.parametrize("rule", ["theft", "stopped", "cover", "reverse-flow", "demand"])
def test_what_is_one_customers_own_is_never_an_areas(rule: str) -> None:
    found = fold([said(rule, m) for m in range(10)], places())
    assert len(found) == 10


def test_a_meter_of_no_area_or_unknown_stands_alone() -> None:
    nowhere = Places(np.arange(6), np.full(6, -1), np.full(6, 1, dtype=np.int8), np.full(6, 100))
    assert len(fold([said("voltage", m) for m in (0, 1, 2, 3, 4, 99)], nowhere)) == 6
