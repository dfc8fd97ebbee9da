"""Plans of orderly use: their life, what may stand in one, and who is called by it."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.control import orderly
from headend.control.load_control import PeriodControl, check_for, document, order_of
from headend.control.orderly import BadPlan, Candidate, Plan, Setpoint, choose, read
from headend.control.orderly_state import HOLDING, TABLE, Act, NoSuchAct, State, after

WRITTEN: dict[str, Any] = {
    "name": "迎峰度夏", "reason": "short of 900 kW", "line": "L1", "first_day": "2026-03-11", "last_day": "2026-03-12",
    "periods": ["10:00-12:00", "18:00-24:00"], "shortage_kw": 900,
    "calls": [{"industry": "铝冶炼", "setpoint": "60%"}, {"key_users": True, "setpoint": "minimum"},
              {"customers": ["C9", "C8"], "setpoint": "300 kW"}],
    "setpoints": {"C7": "12.5 kW"},
}  # fmt: skip


def plan(**other: Any) -> Plan:
    return read({**WRITTEN, **other})


def candidate(customer: str = "C1", kw: float = 1000, **other: Any) -> Candidate:
    given: dict[str, Any] = {
        "terminal": f"T{customer}", "call": 0, "controlled": True, "online": True, "keep_power": False, "protected": "", "behind": (), "others": 0,
        "minimum_w": 100_000, "usual": ((kw,) * 4, (kw,) * 4),
    }  # fmt: skip
    return Candidate(customer, **{**given, **other})


# ---- its life ----------------------------------------------------------------------------------------------------


def test_only_what_somebody_else_has_approved_ever_starts() -> None:
    assert [state for (state, act) in TABLE if act is Act.START] == [State.APPROVED]
    assert [state for (state, act) in TABLE if act is Act.APPROVE] == [State.DRAFT]
    over = [state for state in State if not any(state is before for before, _ in TABLE)]
    assert over == [State.ENDED, State.WITHDRAWN]
    assert HOLDING == (State.APPROVED, State.RUNNING)
    with pytest.raises(NoSuchAct, match="a plan that is draft cannot be started"):
        after(State.DRAFT, Act.START)


# ---- as people write it -------------------------------------------------------------------------------------------


def test_a_plan_is_what_was_written_and_writes_itself_again() -> None:
    found = plan()
    assert found.periods == ((600, 720), (1080, 1440))
    assert (found.hours, len(found.days)) == (8, 2)
    assert [call.who for call in found.calls] == ["industry", "key-users", "customers"]
    assert found.own == {"C7": Setpoint("kw", 12.5)}
    assert read(found.document()) == found


def test_the_readme_s_plan_is_one() -> None:
    text = (
        (Path(__file__).resolve().parents[3] / "README.md")
        .read_text("utf-8")
        .split("## Short of power")[1]
        .split("calls in their order:")[1]
    )
    found = read(tomllib.loads(text.split("Nobody goes below")[0].replace("\n    ", "\n")))
    assert [str(call) for call in found.calls] == ["industry 铝冶炼", "group KEY", "key-users"]
    assert found.own == {"330100110001": Setpoint("kw", 300)}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"organisation": "GX"}, "of an organisation or of a line, not of both"),
        ({"last_day": "2026-03-10"}, "no span of 1 to 62 days"),
        ({"first_day": "soon"}, "first_day: 'soon' is no day"),
        ({"name": " "}, "name: a text is needed"),
        ({"calls": [{"customers": ["C\0"], "setpoint": "60%"}]}, "a NUL in it"),
        ({"periods": []}, "periods: a list of 1 to 8"),
        ({"periods": ["10:15-12:00"]}, "terminals tell half hours apart"),
        ({"periods": ["12:00-10:00"]}, "none such as '10:00-12:00'"),
        ({"periods": ["10:00-24:30"]}, "none such as"),
        ({"periods": ["10:00-12:00", "11:00-13:00"]}, "begins before the one in front of it has ended"),
        ({"periods": [":30-01:00"]}, "none such as"),
        ({"first_day": "9999-12-31", "last_day": "9999-12-31"}, "days of 2000 to 2099"),
        ({"shortage_kw": 10**400}, "no number of kW above 0, and of 9990000 at most"),
        ({"setpoints": {"C7": "1e306 kW"}}, "setpoint of C7: '1e306 kW' is none"),
        ({"shortage_kw": 0}, "shortage_kw: 0 is no number of kW above 0"),
        ({"shortage_kw": float("nan")}, "no number of kW"),
        ({"shortage_kw": True}, "no number of kW"),
        ({"calls": []}, "calls: a list of 1 to 50"),
        ({"calls": [{"setpoint": "60%"}]}, "call 1: name one of customers, group, industry"),
        ({"calls": [{"group": "A", "industry": "B", "setpoint": "60%"}]}, "call 1: name one of"),
        ({"calls": [{"group": "A"}]}, "call 1: a setpoint is missing"),
        ({"calls": [{"customers": [330], "setpoint": "60%"}]}, "list of customer numbers in quotation marks"),
        ({"calls": [{"everybody": False, "setpoint": "60%"}]}, "everybody is true, or not there"),
        ({"calls": [{"group": "A", "setpoint": "60"}]}, "call 1: setpoint: '60' is none"),
        ({"calls": [{"group": "A", "setpoint": "100%"}]}, "'100%' is none"),
        ({"setpoints": {"C7": "-5 kW"}}, "setpoint of C7: '-5 kW' is none"),
        ({"shortage": 5}, "plan: unknown key 'shortage'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(other: dict[str, Any], words: str) -> None:
    with pytest.raises(BadPlan, match=words):
        plan(**other)


# ---- who is called ------------------------------------------------------------------------------------------------


def test_the_shortage_is_found_in_the_order_of_the_calls() -> None:
    told = choose(plan(), [
        candidate("C3", 2000, call=1),  # down to 100 kW
        candidate("C1", 1000),  # 60 %: gives 400
        candidate("C2", 1100),  # gives 440, more than C1
        candidate("C5", 400, call=2),  # 300 kW: not needed any more
        candidate("C7", 900),  # his own 12.5 kW is below his minimum of 100
    ])  # fmt: skip
    assert [(p.customer, p.setpoint_w, p.reduce_kw, p.raised) for p in told.participants] == [
        ("C7", 100_000, 800, True), ("C2", 660_000, 440, False),
    ]  # fmt: skip
    assert told.reduce_kw == 1240
    assert [(one.customer, one.reasons) for one in told.left] == [
        ("C1", (("not-needed", "1240 kW are found"),)),
        ("C3", (("not-needed", "1240 kW are found"),)),
        ("C5", (("not-needed", "1240 kW are found"),)),
    ]


def test_every_reason_is_told() -> None:
    (one,) = choose(plan(), [candidate(
        protected="医院", behind=("C9",), others=2, online=False, keep_power=None, usual=None, minimum_w=None, elsewhere="冬季"
    )]).left  # fmt: skip
    assert [code for code, _ in one.reasons] == [
        "protected", "protected-behind", "others-behind", "offline", "keep-power", "no-minimum", "other-plan",
    ]  # fmt: skip
    assert all(code in orderly.REASONS for code, _ in one.reasons)
    # where a terminal cannot be told, or would be told for others too, nobody looks at curves
    (one,) = choose(plan(), [candidate(protected=None, controlled=False, online=False, usual=None)]).left
    assert [code for code, _ in one.reasons] == ["not-known", "no-terminal"]
    (one,) = choose(plan(), [candidate(usual=None)]).left
    assert [code for code, _ in one.reasons] == ["no-curve"]
    (one,) = choose(plan(), [candidate(kw=100)]).left
    assert one.reasons == (("nothing-to-give", "100 kW usual, setpoint 100 kW"),)


def test_what_is_expected_is_the_mean_of_its_days_beside_the_one_that_gives_least() -> None:
    (one,) = choose(plan(), [candidate(usual=((1000.0, 1000.0), (500.0, 700.0)))]).participants
    assert (one.usual_kw, one.setpoint_w) == (800, 480_000)
    assert (one.reduce_kw, one.least_kw) == (320, 120)  # 520 on the first, 20 and 220 on the second


def test_what_a_terminal_is_told() -> None:
    order = orderly.control(plan(periods=["00:00-00:30", "10:00-11:00", "11:00-12:00"]), 437_000, 1234)
    (period,) = order.controls
    assert isinstance(period, PeriodControl)
    assert period.slots == "1" + "0" * 19 + "1111" + "0" * 24
    assert period.setpoints_w == (
        437_000,
        437_000,
    )  # two runs: the second and third period are one to a terminal
    assert (order.action, order.security_w, order.on) == ("write", 1240, ("period",))
    assert orderly.control(plan(), 1000, 0).security_w is None
    assert orderly.RELEASE.action == "release"
    # up to three digits, never below what was promised
    (one,) = choose(plan(), [candidate(kw=2000.3, minimum_w=0)]).participants
    assert one.setpoint_w == 1_210_000


LOADS = st.floats(0, 50_000, allow_nan=False)
REASONABLE = st.lists(
    st.builds(
        candidate, st.integers(0, 30).map(lambda n: f"C{n:02d}"), LOADS, call=st.integers(0, 2), online=st.sampled_from([True, True, True, False]),
        controlled=st.sampled_from([True, True, False]), keep_power=st.sampled_from([False, False, False, True, None]),
        protected=st.sampled_from(["", "", "", "医院", None]), behind=st.sampled_from([(), (), (), ("C99",)]),
        others=st.sampled_from([0, 0, 0, 3]), minimum_w=st.one_of(st.none(), st.integers(0, 50_000_000), st.just(0)),
    ),
    max_size=30, unique_by=lambda one: one.customer,
)  # fmt: skip


@given(REASONABLE, st.floats(0.1, 60_000), st.randoms())
def test_what_never_happens(candidates: list[Candidate], shortage: float, random: Any) -> None:
    one_plan = plan(shortage_kw=shortage)
    told = choose(one_plan, candidates)
    by_number = {one.customer: one for one in candidates}
    # everybody is told of once
    assert sorted([p.customer for p in told.participants] + [one.customer for one in told.left]) == sorted(
        by_number
    )
    for p in told.participants:
        one = by_number[p.customer]
        # nobody who may not be called is called, and nobody below what protects him
        assert (one.protected, one.behind, one.others, one.online, one.controlled, one.keep_power) == (
            "",
            (),
            0,
            True,
            True,
            False,
        )
        assert one.minimum_w is not None
        assert p.setpoint_w >= one.minimum_w
        order = orderly.control(one_plan, p.setpoint_w, p.minimum_w)
        for protocol in ("gdw376", "dlt698"):
            check_for(order, protocol)
        assert order_of(document(order)) == order
        assert p.reduce_kw >= orderly.LEAST_KW
        assert p.reduce_kw == pytest.approx(p.usual_kw - p.setpoint_w / 1000, abs=0.01)
    # in the order of the calls, those who give most first, and no one more than needed
    order = [(p.call, -p.reduce_kw, p.customer) for p in told.participants]
    assert order == sorted(order)
    if told.participants:
        assert math.fsum(p.reduce_kw for p in told.participants[:-1]) < shortage + 1e-6
    waiting = [one for one in told.left if one.reasons[0][0] == "not-needed"]
    assert not waiting or told.reduce_kw >= shortage - 1e-6
    assert all(one.call >= told.participants[-1].call for one in waiting)
    # and the order in which they are known changes nothing
    shuffled = list(candidates)
    random.shuffle(shuffled)
    assert choose(one_plan, shuffled) == told


def test_one_reason_suffices() -> None:
    """Each fact by itself keeps somebody out who would be called otherwise."""
    assert len(choose(plan(), [candidate()]).participants) == 1
    for other in (
        {"protected": "医院"}, {"protected": None}, {"behind": ("C2",)}, {"others": 1}, {"controlled": False}, {"online": False},
        {"keep_power": True}, {"keep_power": None}, {"usual": None}, {"usual": ((),)}, {"minimum_w": None}, {"elsewhere": "B"},
    ):  # fmt: skip
        assert choose(plan(), [replace(candidate(), **other)]).participants == (), other
