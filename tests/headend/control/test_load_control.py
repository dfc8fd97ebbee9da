"""What a terminal can be told to hold its customer to: the documents, and what the door refuses."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from headend.control.load_control import (
    ControlError,
    ControlOrder,
    FactoryRest,
    KeepPower,
    MonthlyEnergy,
    PeriodControl,
    Purchase,
    Reduction,
    Suspension,
    check_for,
    check_request,
    document,
    holdable,
    keep_power_of,
    order_of,
)

DAY = "0" * 16 + "1" * 8 + "2" * 8 + "0" * 16
PERIOD = PeriodControl(DAY, (400_000, 300_000), scheme=2)
REST = FactoryRest(50_000, dt.time(8), 20, (6, 7))
PAUSE = Suspension(dt.date(2026, 12, 1), dt.date(2026, 12, 31), 20_000)
DOWN = Reduction(20, 15, 4, 5, (10, 5, 5, 5))
MONTH = MonthlyEnergy(120_000, -10, 90)
BOUGHT = Purchase(7, 5000, 500, 0)
WHOLE = ControlOrder(
    (PERIOD, REST, PAUSE, DOWN, MONTH, BOUGHT),
    on=("period", "reduction", "purchase"),
    off=("factory-rest",),
    group=2,
    power_rounds=(1, 2, 3),
    energy_rounds=(),
    alarm_minutes=(10, 5),
    security_w=30_000,
    sliding_minutes=15,
)


def test_an_order_goes_through_json_and_comes_back_the_same() -> None:
    assert order_of(json.loads(json.dumps(document(WHOLE)))) == WHOLE
    assert keep_power_of(json.loads(json.dumps(document(KeepPower(6))))) == KeepPower(6)


def test_what_is_not_said_is_not_in_the_document() -> None:
    assert document(ControlOrder(off=("period",))) == {"group": 1, "off": ["period"]}


def test_an_empty_list_of_rounds_is_said_and_comes_back() -> None:
    order = ControlOrder(power_rounds=())
    assert document(order) == {"group": 1, "power_rounds": []}
    assert order_of(document(order)) == order


def test_the_periods_are_the_runs_of_the_day() -> None:
    assert PERIOD.periods == ((16, 24), (24, 32))


@pytest.mark.parametrize(
    ("order", "action"),
    [
        (ControlOrder(off=("period", "reduction")), "release"),
        (ControlOrder((BOUGHT,)), "purchase"),
        (ControlOrder((BOUGHT,), on=("purchase",)), "write"),
        (ControlOrder((BOUGHT,), off=("period",)), "write"),
        (ControlOrder((BOUGHT,), security_w=1000), "write"),
        (ControlOrder((Purchase(7, 0, 0, 0),)), "write"),
        (ControlOrder((Purchase(7, 500, 0, 0, "refresh"),)), "write"),
        (ControlOrder((PAUSE,)), "write"),
        (ControlOrder(on=("suspension",)), "write"),
        (ControlOrder(alarm_minutes=(5,)), "write"),
        (ControlOrder(power_rounds=(), off=("period",)), "write"),
    ],
)
def test_only_what_favours_the_customer_is_no_write(order: ControlOrder, action: str) -> None:
    assert order.action == action
    check_request(action, document(order), "dlt698")
    for other in {"release", "purchase"} - {action}:
        with pytest.raises(ControlError, match=f"no {other} but a {action}"):
            check_request(other, document(order), "dlt698")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "asks for nothing"),
        ({"group": 9, "off": ["period"]}, "group must be a whole number from 1 to 8: 9"),
        ({"of": ["period"]}, "no field 'of'"),
        ({"off": "period"}, "off: must be a list"),
        ({"off": ["perod"]}, "off: no control 'perod'"),
        ({"off": ["period", "period"]}, "twice"),
        ({"on": ["suspension"], "off": ["suspension"]}, "suspension is to be switched on and off"),
        ({"on": ["reduction"]}, "reduction: its parameters go with switching it on"),
        ({"on": ["period"]}, "period: switching it on says which periods"),
        ({"set": {"reduction": {"down_percent": 20, "sliding_minutes": 15, "control_half_hours": 4}}}, "reduction: its"),
        ({"set": ["period"]}, "set: must be tables"),
        ({"set": {"perod": {}}}, "set: no control 'perod'"),
        ({"set": {"suspension": 3}}, "suspension: must be a table"),
        ({"set": {"suspension": {"first": "2026-12-01"}}}, "suspension: last, setpoint_w missing"),
        ({"set": {"suspension": {"first": "1 Dec", "last": "2026-12-01", "setpoint_w": 9}}}, "suspension first: must be a day"),
        ({"set": {"suspension": {"first": "2026-12-02", "last": "2026-12-01", "setpoint_w": 9}}}, "last 2026-12-01 is before"),
        ({"set": {"monthly-energy": {"limit_kwh": 1.5}}}, "limit_kwh must be a whole number from 1 to 9999999000: 1.5"),
        ({"set": {"monthly-energy": {"limit_kwh": True}}}, "limit_kwh must be a whole number"),
        ({"set": {"purchase": {"order": 1, "value": 5, "alarm": 1, "trip": 2}}}, "trip 2 is above alarm 1"),
        ({"set": {"purchase": {"order": 1, "value": 5, "alarm": 1, "trip": 0, "mode": "more"}}}, "mode must be add or refresh"),
        ({"set": {"purchase": {"order": 1, "value": -5, "alarm": 1, "trip": 0}}}, "value must be a whole number from 0"),
        ({"set": {"period": {"slots": "0" * 47, "setpoints_w": []}}}, "slots must be 48 digits"),
        ({"set": {"period": {"slots": "0" * 48, "setpoints_w": []}}}, "slots have 0 periods"),
        ({"set": {"period": {"slots": "10" * 24, "setpoints_w": [1] * 24}}}, "slots have 24 periods"),
        ({"set": {"period": {"slots": "1" * 48, "setpoints_w": [1, 2]}}}, "2 setpoints for 1 periods"),
        ({"set": {"period": {"slots": "1" * 48, "setpoints_w": [0]}}}, "setpoints_w must be a whole number from 1"),
        ({"set": {"factory-rest": {"setpoint_w": 9, "start": "25:00", "half_hours": 2, "weekdays": [1]}}}, "start: must be a time"),
        ({"set": {"factory-rest": {"setpoint_w": 9, "start": "08:00:30", "half_hours": 2, "weekdays": [1]}}}, "whole minutes"),
        ({"set": {"factory-rest": {"setpoint_w": 9, "start": "08:00", "half_hours": 2, "weekdays": []}}}, "one at least"),
        ({"set": {"factory-rest": {"setpoint_w": 9, "start": "08:00", "half_hours": 2, "weekdays": [7, 1]}}}, "rising"),
        ({"power_rounds": [1, 9]}, "power_rounds must be a whole number from 1 to 8: 9"),
        ({"alarm_minutes": [5] * 9}, "alarm_minutes: 9 for 8 rounds"),
        ({"sliding_minutes": 0}, "sliding_minutes must be a whole number from 1 to 60"),
        ({"security_w": -1}, "security_w must be a whole number from 0"),
    ],
)  # fmt: skip
def test_the_door_names_the_culprit(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ControlError) as told:
        order_of(said)
    assert why in str(told.value)
    assert "\n" not in str(told.value)


def test_a_376_1_terminal_holds_three_digits_of_power_and_seven_of_energy() -> None:
    exact = ControlOrder((Suspension(PAUSE.first, PAUSE.last, 412_345),), on=("suspension",))
    check_for(exact, "dlt698")
    with pytest.raises(ControlError, match=r"412345 W has more than three digits.*413000 W has not"):
        check_for(exact, "gdw376")
    much = ControlOrder((Purchase(1, 12_345_678, 0, 0),))
    check_for(much, "dlt698")
    with pytest.raises(ControlError, match="purchase value: 12345678 is above 9999999"):
        check_for(much, "gdw376")
    check_for(ControlOrder((Purchase(1, 12_345_000, 0, 0),)), "gdw376")


def test_a_698_45_terminal_has_no_end_of_keep_power() -> None:
    check_for(KeepPower(4), "gdw376")
    check_for(KeepPower(), "dlt698")
    with pytest.raises(ControlError, match="has no end of its own"):
        check_for(KeepPower(4), "dlt698")


@pytest.mark.parametrize(
    ("watts", "held"), [(1, 1), (999, 999), (1000, 1000), (1001, 1010), (999_500, 1_000_000)]
)
def test_what_can_be_held_is_never_less_than_what_was_asked(watts: int, held: int) -> None:
    assert holdable(watts) == held


@pytest.mark.parametrize("action", ["read", "end-keep-power"])
def test_reading_and_ending_keep_power_say_a_group_at_most(action: str) -> None:
    check_request(action, {}, "gdw376")
    with pytest.raises(ControlError, match="no field 'on'"):
        check_request(action, {"on": ["period"]}, "gdw376")
