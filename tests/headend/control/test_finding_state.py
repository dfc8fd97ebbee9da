"""The life of a finding: every way that is in the table leads somewhere, every other one is refused."""

from __future__ import annotations

from itertools import product

import pytest

from headend.control.finding_state import OPEN, TABLE, Act, NoSuchAct, State, after


def test_who_is_open_can_be_closed_and_who_is_closed_only_reopened() -> None:
    for state in OPEN:
        assert after(state, Act.CLOSE) is State.CLOSED
    assert [act for state, act in TABLE if state is State.CLOSED] == [Act.REOPEN]


def test_a_work_order_is_ended_by_a_person_alone() -> None:
    for act in (Act.WITHDRAW, Act.FADE, Act.RETURN, Act.ACKNOWLEDGE):
        with pytest.raises(NoSuchAct, match="a finding that is work-order cannot be"):
            after(State.ORDERED, act)


def test_what_is_not_in_the_table_is_refused_in_a_sentence() -> None:
    for state, act in product(State, Act):
        if (state, act) not in TABLE:
            with pytest.raises(NoSuchAct, match=f"a finding that is {state} cannot be "):
                after(state, act)


def test_every_state_is_reached() -> None:
    assert {*TABLE.values(), State.RECURRED} == set(State)  # recurred is how a life begins
