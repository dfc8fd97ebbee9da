"""Each gate alone, at its very edge, and whatever is not known: never allowed."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headend.control import gates
from headend.control.facts import ControlFacts, Limits, WriteFacts
from tests.support.trip import NOW, facts

LIMITS = Limits()
SECOND, MICRO = dt.timedelta(seconds=1), dt.timedelta(microseconds=1)


def refused(**changes: Any) -> list[str]:
    return [refusal.gate for refusal in gates.ask(facts(**changes), LIMITS)]


def test_a_trip_that_nothing_forbids() -> None:
    assert gates.ask(facts(), LIMITS) == []


def test_every_gate_file_is_asked() -> None:
    files = {path.stem for path in Path(gates.__file__).parent.glob("*.py")} - {"__init__"}
    assert {
        gate.__name__.rpartition(".")[2] for gate in (*gates.GATES, *gates.WRITE_GATES, *gates.CONTROL_GATES)
    } == files


#: gate -> changes of one fact that it alone forbids, and beside each the near miss that passes
EDGES: dict[str, list[tuple[dict[str, Any], dict[str, Any] | None]]] = {
    "protected": [({"protected": "透析"}, {"protected": ""}), ({"protected": " "}, None), ({"protected": None}, None)],
    "calendar": [
        ({"day_kind": None}, None),
        ({"next_day_kind": None}, None),
        *(({"day_kind": kind}, {"day_kind": "workday"}) for kind in ("weekend", "holiday", "no-trip", "")),
        *(({"next_day_kind": kind}, {"next_day_kind": "workday"}) for kind in ("weekend", "holiday", "no-trip", "")),
        ({"no_trip": None}, None),
        ({"no_trip": "heat alert (高温预警) from 2026-03-11 to 2026-03-12: 38 °C"}, {"no_trip": ""}),
        ({"local": NOW.replace(hour=7, minute=59, second=59, microsecond=999_999)}, {"local": NOW.replace(hour=8)}),
        ({"local": NOW.replace(hour=17)}, {"local": NOW.replace(hour=16, minute=59, second=59, microsecond=999_999)}),
        ({"local": NOW.replace(hour=0)}, None),
    ],
    "balance": [
        ({"prepaid": None}, None),
        ({"prepaid": False}, {"prepaid": True}),
        ({"balance_high_fen": None}, None),
        ({"balance_high_fen": 0}, {"balance_high_fen": -1}),
        ({"balance_high_fen": 1}, None),
        ({"stop_below_fen": None}, None),
        ({"stop_below_fen": -100, "balance_high_fen": -100}, {"stop_below_fen": -100, "balance_high_fen": -101}),
        ({"stop_below_fen": 100, "balance_high_fen": 0}, {"stop_below_fen": 100, "balance_high_fen": -1}),
        ({"balance_as_of": None}, None),
        ({"balance_as_of": NOW - LIMITS.balance_age - MICRO}, {"balance_as_of": NOW - LIMITS.balance_age}),
        ({"balance_as_of": NOW + MICRO}, {"balance_as_of": NOW}),
        ({"balance_valid": False}, {"balance_valid": True}),
        ({"newest_reading": None}, None),
        ({"newest_reading": NOW - LIMITS.reading_age - MICRO}, {"newest_reading": NOW - LIMITS.reading_age}),
        ({"newest_reading": NOW + MICRO}, {"newest_reading": NOW}),
    ],
    "notice": [
        ({"noticed_at": None}, None),
        ({"noticed_at": NOW - LIMITS.notice_before + MICRO}, {"noticed_at": NOW - LIMITS.notice_before}),
        ({"noticed_at": NOW + SECOND}, None),
    ],
    "grace": [
        ({"grace_until": None}, None),
        ({"grace_until": NOW + MICRO}, {"grace_until": NOW}),
    ],
    "cap": [
        ({"trips_hour": 20}, {"trips_hour": 19}),
        ({"trips_day": 100}, {"trips_day": 99}),
        ({"trips_area_hour": 5}, {"trips_area_hour": 4}),
        ({"trips_hour": 21}, None),
        *(
            ({f"trips_{scope}{span}": most}, {f"trips_{scope}{span}": most - 1})
            for scope in ("", "area_", "line_", "organisation_")
            for span in ("minute", "hour", "day")
            for most in [getattr(LIMITS, f"trips_per_{scope}{span}")]
        ),
        *(
            ({f"trips_{scope}{span}": None}, None)
            for scope in ("", "area_", "line_", "organisation_")
            for span in ("minute", "hour", "day")
        ),
    ],
    "stopped": [({"stopped": None}, None), ({"stopped": "by 李敏: x"}, {"stopped": ""})],
    "keep_power": [({"keep_power": None}, None), ({"keep_power": True}, {"keep_power": False})],
    "switch": [({"cuts_also": None}, None), ({"cuts_also": ("M2",)}, {"cuts_also": ()})],
    "validation": [
        ({"validated_until": None}, None),
        ({"validated_until": dt.date(2026, 3, 9)}, {"validated_until": dt.date(2026, 3, 10)}),
        ({"doubts": None}, None),
        ({"doubts": "vee-spike on 2026-03-10"}, {"doubts": ""}),
        ({"same_since": None}, None),
        ({"same_since": NOW - LIMITS.settled_in + MICRO}, {"same_since": NOW - LIMITS.settled_in}),
        ({"same_since": NOW + SECOND}, None),
    ],
    "fall": [
        ({"usual_day_fen": None}, {"usual_day_fen": None, "fall_accepted_by": "李敏"}),
        ({"fall_fen": None}, {"fall_fen": None, "fall_accepted_by": "李敏"}),
        ({"fall_fen": 10_001}, {"fall_fen": 10_000}),
        ({"fall_fen": 1, "usual_day_fen": 0}, {"fall_fen": 0, "usual_day_fen": 0}),
        ({"fall_fen": 10_001, "fall_accepted_by": "job:prepaid"}, {"fall_fen": 10_001, "fall_accepted_by": "陈晓"}),
        ({"fall_fen": 10_001, "fall_accepted_by": "陈晓", "requested_by": "陈晓"}, None),
        ({"fall_fen": 10_001, "fall_accepted_by": " "}, None),
    ],
    "quarantine": [
        ({"batch_size": None}, None),
        ({"batch_size": 21}, {"batch_size": 20}),
        ({"batch_size": 31, "batch_usual": 10}, {"batch_size": 30, "batch_usual": 10}),
        (
            {"batch_size": 31, "batch_released": 30, "batch_released_by": "李敏"},
            {"batch_size": 31, "batch_released": 31, "batch_released_by": "李敏"},
        ),
        ({"batch_size": 31, "batch_released": 31, "batch_released_by": "job:prepaid"}, None),
        ({"batch_size": 31, "batch_released": 31, "batch_released_by": None}, None),
        ({"batch_size": 31, "batch_released": 31, "batch_released_by": "陈晓", "requested_by": "陈晓"}, None),
    ],
    "not_before": [
        ({"not_before": NOW + MICRO}, {"not_before": NOW}),
        ({"not_before": NOW + MICRO}, {"not_before": NOW + MICRO, "sending": False}),
    ],
    "second_person": [
        ({"approved_by": None}, {"approved_by": None, "sending": False}),
        ({"approved_by": "job:prepaid"}, {"approved_by": "陈晓"}),
        ({"approved_by": "job:other"}, None),
        ({"approved_by": ""}, None),
        ({"approved_by": " ", "sending": False}, None),
        ({"approved_by": "李敏", "requested_by": "李敏"}, {"approved_by": "李敏", "requested_by": "陈晓"}),
        ({"approved_by": "李敏", "requested_by": "李敏", "sending": False}, None),
    ],
    "expiry": [({"expires": NOW}, {"expires": NOW + MICRO}), ({"expires": NOW - SECOND}, None)],
}  # fmt: skip


@pytest.mark.parametrize("gate", EDGES)
def test_each_gate_alone(gate: str) -> None:
    for forbidden, near_miss in EDGES[gate]:
        assert refused(**forbidden) == [gate], forbidden
        if near_miss is not None:
            assert refused(**near_miss) == [], near_miss


def test_limits_of_a_wallet_ask_who_is_cut_off_by_them_and_not_when() -> None:
    """A meter goes by them for years: hour, balance and caps of a trip say nothing about them."""
    assert gates.ask_limits(facts(), LIMITS) == []
    assert (
        gates.ask_limits(
            facts(day_kind="holiday", balance_valid=False, trips_hour=99, noticed_at=None), LIMITS
        )
        == []
    )
    changes: dict[str, Any] = {
        "stopped": "by 李敏: x",
        "protected": "透析",
        "approved_by": "job:x",
        "expires": NOW,
    }
    found = gates.ask_limits(facts(**changes), LIMITS)
    assert [refusal.gate for refusal in found] == ["stopped", "protected", "second_person", "expiry"]
    assert found[0].why == "trips are stopped: by 李敏: x"
    for name, gate in zip(changes, ("stopped", "protected", "second_person", "expiry"), strict=True):
        assert [r.gate for r in gates.ask_limits(facts(**{name: changes[name]}), LIMITS)] == [gate]


def test_what_each_new_gate_says() -> None:
    """Whoever is refused reads it: names, numbers and the next step."""
    told = {r.gate: r.why for r in gates.ask(facts(
        stopped="by 李敏: x", cuts_also=("M2", "M3"), keep_power=True,
        no_trip="exam days", doubts="vee-spike on 2026-03-10", fall_fen=12_345, batch_size=31, batch_usual=10,
        not_before=NOW + SECOND, trips_line_day=50,
    ), LIMITS)}  # fmt: skip
    assert told == {
        "stopped": "trips are stopped: by 李敏: x",
        "switch": "the same switch cuts off meter M2; the archive must say which one it belongs to",
        "keep_power": "the meter, or the terminal that switches it, is in keep-power; `headend relay end-keep-power` ends the meter's",
        "calendar": "exam days",
        "validation": "validation has doubts about readings under the balance: vee-spike on 2026-03-10",
        "fall": "the balance has fallen by 123.45 yuan since yesterday began, more than 5 usual days of 20.00 yuan; "
        "a person must look at it and accept it",
        "cap": "50 trips on this line in the last 24 hours; the cap is 50",
        "quarantine": "a batch of 31 trips, where 10 are usual; it waits for `headend relay release`",
        "not_before": "it may not be sent before 2026-03-11T10:00:01+08:00",
    }


#: what is not known, or just not so -> how the gate says it: the next step is in the sentence
SENTENCES: list[tuple[dict[str, Any], str]] = [
    ({"stopped": None}, "nobody can say whether trips are stopped"),
    ({"keep_power": None}, "nobody can say whether the meter, or the terminal that switches it, is in keep-power"),
    ({"cuts_also": None}, "the meter hangs nowhere, so nobody can say whom its switch cuts off"),
    ({"protected": None}, "no account is known for this meter, so nobody can say that the customer is not protected"),
    ({"day_kind": None}, "the calendar does not know 2026-03-11 and the day after; load it with `headend init`"),
    ({"next_day_kind": None}, "the calendar does not know 2026-03-11 and the day after; load it with `headend init`"),
    ({"day_kind": "no-trip"}, "2026-03-11 is a no-trip day"),
    ({"day_kind": "holiday"}, "2026-03-11 is a holiday"),
    ({"next_day_kind": "holiday"}, "2026-03-11 is the eve of a holiday"),
    ({"no_trip": None}, "nobody can say whether the customer's organisation trips nobody today"),
    ({"local": NOW.replace(hour=17, minute=5)}, "17:05 is outside 08:00-17:00"),
    ({"prepaid": None}, "no account is known for this meter"),
    ({"prepaid": False}, "the account is not prepaid, or the master does not execute its fee control"),
    ({"balance_high_fen": None}, "no balance has been computed"),
    ({"balance_as_of": None}, "no balance has been computed"),
    ({"newest_reading": None}, "no balance has been computed"),
    ({"balance_valid": False}, "a reading under the balance has not passed validation"),
    ({"balance_as_of": NOW - 3 * dt.timedelta(hours=1)}, "the balance is of 2026-03-11T07:00:00+08:00, older than 2:00:00"),
    ({"balance_as_of": NOW + SECOND}, "the balance or its newest reading lies in the future: a clock is wrong"),
    ({"newest_reading": NOW + SECOND}, "the balance or its newest reading lies in the future: a clock is wrong"),
    ({"newest_reading": NOW - 5 * dt.timedelta(hours=1)}, "the newest reading is of 2026-03-11T05:00:00+08:00, older than 4:00:00"),
    ({"balance_high_fen": 150}, "the balance may be 1.50 yuan, which is not below zero"),
    ({"validated_until": None}, "the readings of 2026-03-10 have not been validated yet; `headend vee run` does it"),
    ({"validated_until": dt.date(2026, 3, 9)}, "the readings of 2026-03-10 have not been validated yet; `headend vee run` does it"),
    ({"doubts": None}, "nobody can say what validation found"),
    ({"same_since": None}, "nobody can say since when this meter is on the point"),
    ({"same_since": NOW - SECOND}, "the meter or its transformers were changed at 2026-03-11T09:59:59+08:00, less than 1 day, 0:00:00 ago"),
    ({"usual_day_fen": None}, "nobody knows what a usual day costs this account; a person must look at the fall of its balance and accept it"),
    ({"fall_fen": None}, "nobody knows what a usual day costs this account; a person must look at the fall of its balance and accept it"),
    ({"noticed_at": None}, "no notice of the stop is delivered, as far as anybody has reported (headend prepaid notices)"),
    ({"noticed_at": NOW - SECOND}, "the customer was told at 2026-03-11T09:59:59+08:00, less than 0:30:00 ago"),
    ({"trips_area_minute": None}, "nobody can say how many trips there were in this transformer area in the last minute"),
    ({"trips_organisation_hour": 20}, "20 trips of this organisation in the last hour; the cap is 20"),
    ({"trips_day": 100}, "100 trips in the last 24 hours; the cap is 100"),
    ({"batch_size": None}, "nobody can say how many trips were asked for together"),
    ({"batch_size": 21}, "a batch of 21 trips, and nobody knows yet how many are usual; it waits for `headend relay release`"),
    ({"approved_by": None}, "nobody has approved it"),
    ({"approved_by": "job:x"}, "'job:x' is not a person"),
    ({"approved_by": "陈晓", "requested_by": "陈晓"}, "陈晓 asked for it and cannot approve it"),
    ({"expires": NOW}, "the order expired at 2026-03-11T10:00:00+08:00"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "sentence"), SENTENCES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_is_said(changes: dict[str, Any], sentence: str) -> None:
    assert [r.why for r in gates.ask(facts(**changes), LIMITS)] == [sentence]


def test_who_needs_a_second_person() -> None:
    needed = gates.second_person.needed
    assert needed("relay", "trip")
    assert needed("archive", "write")
    assert not needed("relay", "permit")
    assert not needed("read", "trip")


def test_a_person_can_lift_some_noes_and_time_one() -> None:
    names = {gate.__name__.rpartition(".")[2] for gate in gates.GATES}
    assert {*gates.WAITS, gates.EARLY} <= names
    assert set(gates.ACCEPTABLE) <= gates.WAITS


def test_every_gate_has_its_edges() -> None:
    assert set(EDGES) == {gate.__name__.rpartition(".")[2] for gate in gates.GATES}


def test_nothing_known_means_everything_is_refused() -> None:
    known_nothing = facts(
        protected=None, day_kind=None, next_day_kind=None, prepaid=None, balance_high_fen=None, balance_as_of=None,
        balance_valid=False, newest_reading=None, noticed_at=None, approved_by=None,
    )  # fmt: skip
    told = gates.ask(known_nothing, LIMITS)
    assert [r.gate for r in told] == ["protected", "calendar", "balance", "notice", "second_person"]
    assert all(r.why for r in told)


def test_all_refusals_are_told_with_their_reasons() -> None:
    told = gates.ask(facts(protected="透析", trips_hour=20, balance_high_fen=12_345), LIMITS)
    assert [(r.gate, r.why) for r in told] == [
        ("protected", "the customer is protected: 透析"),
        ("balance", "the balance may be 123.45 yuan, which is not below zero"),
        ("cap", "20 trips in the last hour; the cap is 20"),
    ]


def test_the_utilitys_own_limits() -> None:
    own = replace(
        LIMITS,
        trips_per_hour=0,
        trip_from=dt.time(11),
        balance_age=dt.timedelta(0),
        notice_before=dt.timedelta(hours=24),
    )
    told = gates.ask(facts(balance_as_of=NOW - MICRO), own)
    assert [r.gate for r in told] == ["calendar", "balance", "notice", "cap"]


WRITE = WriteFacts(NOW, NOW + dt.timedelta(hours=1), "陈晓", "李敏", True, 300, 4, 700, 16)


def test_a_write_to_a_terminal_that_nothing_forbids() -> None:
    assert gates.ask_write(WRITE, LIMITS) == []
    # what makes nothing and overwrites nothing is no matter of the cap, however much there was
    assert (
        gates.ask_write(replace(WRITE, adds=0, replaces=0, adds_today=5000, replaces_today=99), LIMITS) == []
    )


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"adds": 301}, "terminal_cap"),
        ({"adds_today": 701}, "terminal_cap"),
        ({"replaces": 5}, "terminal_cap"),
        ({"replaces_today": 17}, "terminal_cap"),
        ({"approved_by": None}, "second_person"),
        ({"approved_by": "陈晓"}, "second_person"),
        ({"approved_by": "job:clock"}, "second_person"),
        ({"expires": NOW}, "expiry"),
    ],
)
def test_what_forbids_a_write_to_a_terminal(changes: dict[str, Any], gate: str) -> None:
    assert [refusal.gate for refusal in gates.ask_write(replace(WRITE, **changes), LIMITS)] == [gate]


# --- a write that controls load ---


def control(**changes: Any) -> ControlFacts:
    given: dict[str, Any] = {
        "now": NOW, "expires": NOW + SECOND, "requested_by": "job:orderly", "approved_by": "李敏", "sending": True, "not_before": None,
        "stopped": "", "meters": 1, "strangers": (), "protected": (), "kept": (), "terminal_day": 0, "system_hour": 0, "system_day": 0,
    }  # fmt: skip
    return ControlFacts(**{**given, **changes})


CONTROL_EDGES: list[tuple[str, dict[str, Any], dict[str, Any] | None, str]] = [
    ("stopped", {"stopped": None}, None, "nobody can say whether trips are stopped"),
    ("stopped", {"stopped": "by 李敏: x"}, {"stopped": ""}, "trips are stopped: by 李敏: x"),
    ("behind", {"meters": 0}, {"meters": 1}, "the archive knows of no meter behind this terminal, so nobody can say whom it would cut off"),
    ("behind", {"strangers": ("7",)}, None, "no account is known for meter 7, so nobody can say that its customer is not protected"),
    ("behind", {"protected": ("meter 7, 医院",)}, None, "a protected customer hangs behind it: meter 7, 医院"),
    ("behind", {"kept": ("7",)}, None, "meter 7 behind it is in keep-power; `headend relay end-keep-power` ends it"),
    ("control_cap", {"terminal_day": 6}, {"terminal_day": 5}, "6 load controls were written to this terminal in the last 24 hours; the cap is 6"),
    ("control_cap", {"system_hour": 50}, {"system_hour": 49}, "50 load controls were written in the last hour; the cap is 50"),
    ("control_cap", {"system_day": 200}, {"system_day": 199}, "200 load controls were written in the last 24 hours; the cap is 200"),
    *(
        ("control_cap", {name: None}, None, f"nobody can say how many load controls were written {where}")
        for name, where in (("terminal_day", "to this terminal in the last 24 hours"), ("system_hour", "in the last hour"),
                            ("system_day", "in the last 24 hours"))
    ),
    ("second_person", {"approved_by": None}, {"approved_by": None, "sending": False}, "nobody has approved it"),
    ("second_person", {"approved_by": "job:other"}, None, "'job:other' is not a person"),
    ("second_person", {"approved_by": "李敏", "requested_by": "李敏"}, None, "李敏 asked for it and cannot approve it"),
    ("not_before", {"not_before": NOW + MICRO}, {"not_before": NOW}, "it may not be sent before 2026-03-11T10:00:00.000001+08:00"),
    ("expiry", {"expires": NOW}, {"expires": NOW + MICRO}, "the order expired at 2026-03-11T10:00:00+08:00"),
]  # fmt: skip


def test_a_write_of_load_control_that_nothing_forbids() -> None:
    assert gates.ask_control(control(), LIMITS) == []


@pytest.mark.parametrize(("gate", "forbidden", "near_miss", "why"), CONTROL_EDGES)
def test_each_gate_before_load_control_alone(
    gate: str, forbidden: dict[str, Any], near_miss: dict[str, Any] | None, why: str
) -> None:
    assert [(r.gate, r.why) for r in gates.ask_control(control(**forbidden), LIMITS)] == [(gate, why)]
    if near_miss is not None:
        assert gates.ask_control(control(**near_miss), LIMITS) == []
