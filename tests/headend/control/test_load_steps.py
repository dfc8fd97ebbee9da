"""An order of load control as steps, and what the terminal itself says against it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from headend.control.load_control import (
    ControlOrder,
    KeepPower,
    PeriodControl,
    Purchase,
    Reduction,
    Suspension,
    document,
)
from headend.control.load_steps import against, asked, by_the_clock, lowered, names, proves, steps, switches

PERIOD = PeriodControl("1" * 24 + "2" * 24, (400_000, 300_000), scheme=3)
PAUSE = Suspension(dt.date(2026, 12, 1), dt.date(2026, 12, 31), 20_000)
OFF, ON = {"on": False}, {"on": True}


def test_what_relieves_comes_first_and_what_binds_last() -> None:
    order = ControlOrder(
        (PERIOD, Reduction(20, 15, 4), PAUSE), on=("reduction", "period"), off=("factory-rest",), group=2, power_rounds=(1,),
        energy_rounds=(), alarm_minutes=(5, 3), security_w=0, sliding_minutes=15,
    )  # fmt: skip
    told = steps("write", document(order))
    assert [name for name, _ in told] == [
        "on.factory-rest.2", "on.period.2", "security", "alarms.2", "sliding.2", "power-rounds.2", "energy-rounds.2", "slots", "period.2.3",
        "suspension.2", "on.reduction.2", "on.period.2",
    ]  # fmt: skip
    assert [told[0][1], told[1][1]] == [OFF, OFF]  # its hours and setpoints come one after the other
    assert told[-1][1] == {"on": True, "scheme": 3, "periods": [1, 2]}
    assert told[-2][1] == ON | {
        "down_percent": 20, "sliding_minutes": 15, "control_half_hours": 4, "freeze_delay": 5, "alarm_minutes": [5, 5, 5, 5],
    }  # fmt: skip


def test_a_plan_lowers_nobodys_security() -> None:
    def no(wanted: int | None, held: dict[str, Any]) -> list[tuple[str, str]]:
        return lowered(document(ControlOrder((PAUSE,), on=("suspension",), security_w=wanted)), held)

    ((gate, why),) = no(2_000, {"security": {"security_w": 2_001}})
    assert gate == "security"
    assert why.startswith("the terminal never cuts below 2001 W, and the order would make that 2000 W")
    for wanted, held in (
        (2_000, {"security": {"security_w": 2_000}}), (2_000, {"security": {"security_w": 0}}), (None, {"security": {"security_w": 9_000}}),
        (2_000, {}),
    ):  # fmt: skip
        assert no(wanted, held) == []


def test_keep_power_is_one_step() -> None:
    assert steps("keep-power", document(KeepPower(4))) == [("keep-power", {"on": True, "half_hours": 4})]
    assert steps("end-keep-power", {}) == [("keep-power", OFF)]


def test_every_name_of_a_step_can_be_read() -> None:
    order = ControlOrder((PERIOD, PAUSE), on=("suspension",), group=2, power_rounds=(1,))
    assert {name for name, _ in steps("write", document(order))} <= set(names(2))


@pytest.mark.parametrize(
    ("held", "wanted", "so"),
    [
        ({"on": True}, {"on": True, "half_hours": 4}, True),
        ({"on": False}, {"on": True}, False),
        ({"on": True, "scheme": 2}, {"on": True, "scheme": 1}, False),
        ({"on": True, "more": 1}, {"on": True}, False),
        ({}, {"on": True}, False),
        (None, {"on": True}, False),
    ],
)
def test_what_is_read_back_may_say_less_and_nothing_else(
    held: dict[str, Any] | None, wanted: dict[str, Any], so: bool
) -> None:
    assert proves(held, wanted) is so


def no(action: str, order: ControlOrder | None, held: dict[str, dict[str, Any]]) -> list[str]:
    request = document(order) if order else {}
    return [f"{gate}: {why}" for gate, why in against(action, request, held)]


def test_a_write_wants_a_terminal_that_says_it_is_not_in_keep_power() -> None:
    order = ControlOrder((PAUSE,), on=("suspension",))
    assert asked("write", document(order)) == ["keep-power"]
    assert no("write", order, {"keep-power": OFF}) == []
    assert no("write", order, {}) == ["keep_power: the terminal does not say whether it is in keep-power"]
    assert no("write", order, {"keep-power": ON})[0].startswith("keep_power: the terminal is in keep-power")
    off = ControlOrder(off=("suspension",))
    assert (asked("release", document(off)), no("release", off, {})) == ([], [])
    assert (asked("keep-power", {}), no("keep-power", None, {})) == ([], [])


def ending(half_hours: int, held: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    return against("keep-power", {"half_hours": half_hours}, held)


def test_keep_power_with_an_end_is_no_way_to_end_one_that_stands() -> None:
    quiet = dict.fromkeys(switches(), OFF)
    assert asked("keep-power", {"half_hours": 0}) == []
    assert asked("keep-power", {"half_hours": 1}) == ["keep-power", *switches()]
    assert ending(1, {"keep-power": ON} | quiet) == []
    acting = quiet | {"on.period.2": ON}
    assert ending(1, {"keep-power": OFF} | acting) == []  # it acts now, and will act again
    for held in ({"keep-power": ON} | acting, acting, {"keep-power": ON}, {}):
        ((gate, why),) = ending(1, held)
        assert gate == "controls_on"
        assert why.endswith("say 0 half hours: without an end")
        assert ending(0, held) == []


def test_hours_are_not_changed_under_a_control_that_goes_by_them() -> None:
    """Slots are the terminal's, whatever the group; and they are written before the setpoints."""
    order = ControlOrder((PERIOD,), group=2)
    on = ControlOrder((PERIOD,), on=("period",), group=2)
    off = ControlOrder((PERIOD,), off=("period",), group=2)
    held = {"keep-power": OFF, "slots": {"slots": "1" * 48}} | {f"on.period.{k}": OFF for k in range(1, 9)}
    assert asked("write", document(order)) == [
        "keep-power",
        "slots",
        *(f"on.period.{k}" for k in range(1, 9)),
    ]
    for each in (order, on, off):
        assert no("write", each, held) == []
        assert no("write", each, held | {"on.period.5": ON}) == [
            "slots: period of group 5 is on and goes by the same half hours, which would change; switch it off first"
        ]
        assert no("write", each, held | {"on.period.5": ON, "slots": {"slots": PERIOD.slots}}) == []
    mine = held | {"on.period.2": ON}
    assert (no("write", on, mine), no("write", off, mine)) == ([], [])
    assert no("write", order, mine) == [
        "slots: period of group 2 is on and would hold the old setpoints in the new half hours; switch it off or on with the same order"
    ]
    del held["on.period.7"]
    assert no("write", on, held) == ["slots: the terminal does not say whether period of group 7 is on"]


@pytest.mark.parametrize(
    ("order", "so"),
    [
        (ControlOrder((PERIOD,), on=("period",)), True),
        (ControlOrder(on=("factory-rest",)), True),
        (ControlOrder((PAUSE,)), True),
        (ControlOrder((Reduction(20, 15, 4),), on=("reduction",)), False),
        (ControlOrder(off=("period",), security_w=0), False),
    ],
)
def test_what_goes_by_the_terminal_s_clock(order: ControlOrder, so: bool) -> None:
    assert by_the_clock(document(order)) is so


def test_keep_power_ends_only_where_nothing_is_on_anywhere() -> None:
    quiet = dict.fromkeys(switches(), OFF)
    assert len(asked("end-keep-power", {})) == 48
    assert no("end-keep-power", None, quiet) == []
    assert no("end-keep-power", None, quiet | {"on.purchase.8": ON}) == [
        "controls_on: purchase of group 8 is on and would act at once; switch it off first: switching it on again passes the gates"
    ]
    del quiet["on.period.3"]
    assert no("end-keep-power", None, quiet) == [
        "controls_on: the terminal does not say whether on.period.3 is on"
    ]


HELD = {"order": 6, "mode": "add", "value": 100, "alarm": 50, "trip": 0}


@pytest.mark.parametrize(
    ("purchase", "held", "why"),
    [
        (Purchase(7, 300, 50, 0), HELD, None),
        (Purchase(7, 300, 40, -10), HELD, None),
        (Purchase(6, 300, 50, 0), HELD, "the terminal has purchase 6 already"),
        (Purchase(7, 300, 51, 0), HELD, "it would raise the limits: alarm 50 and trip 0 stand there"),
        (Purchase(7, 300, 50, 1), HELD, "it would raise the limits"),
        (Purchase(7, 300, 50, 0), HELD | {"trip": None}, "it would raise the limits"),
        (Purchase(7, 300, 50, 0), HELD | {"by": "amount"}, "the terminal counts by amount"),
        (Purchase(7, 300, 50, 0), None, "the terminal has had no purchase yet"),
    ],
)
def test_what_only_adds_moves_no_limit_upwards_and_comes_once(
    purchase: Purchase, held: dict[str, Any] | None, why: str | None
) -> None:
    order = ControlOrder((purchase,))
    there = {} if held is None else {"purchase.1": held}
    assert asked("purchase", document(order)) == ["purchase.1"]
    told = no("purchase", order, there)
    assert len(told) == (why is not None)
    assert why is None or told[0].startswith(f"purchase: {why}")
    # a write may move the limits, but its number must be new, too
    both = ControlOrder((purchase,), on=("purchase",))
    repeated = held is not None and held["order"] == purchase.order
    assert len(no("write", both, {"keep-power": OFF, **there})) == repeated
