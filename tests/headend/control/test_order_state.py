"""The life of an order, state by state and event by event."""

from __future__ import annotations

import itertools

import pytest

from headend.control.order_state import OPEN, TABLE, Event, NoSuchStep, State, after

S, E = State, Event
#: what may happen, written down a second time and from the other side: state -> events
MAY = {
    S.WANTED: {E.APPROVE: S.APPROVED, E.REFUSE: S.REFUSED, E.CANCEL: S.CANCELLED, E.EXPIRE: S.EXPIRED},
    S.APPROVED: {E.SEND: S.SENDING, E.REFUSE: S.REFUSED, E.CANCEL: S.CANCELLED, E.EXPIRE: S.EXPIRED},
    S.SENDING: {E.ANSWER: S.ANSWERED, E.REJECT: S.FAILED, E.LOSE: S.UNKNOWN},
    S.ANSWERED: {E.PROVE: S.VERIFIED, E.HOLD: S.PENDING, E.DISPROVE: S.FAILED, E.LOSE: S.UNKNOWN},
    S.UNKNOWN: {E.PROVE: S.VERIFIED, E.HOLD: S.PENDING, E.DISPROVE: S.FAILED},
    S.PENDING: {E.PROVE: S.VERIFIED, E.DISPROVE: S.FAILED, E.EXPIRE: S.EXPIRED},
}
ENDED = {S.VERIFIED, S.FAILED, S.REFUSED, S.EXPIRED, S.CANCELLED}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_state_and_event(state: State, event: Event) -> None:
    expected = MAY.get(state, {}).get(event)
    if expected is None:
        with pytest.raises(NoSuchStep, match=f"an order that is {state} cannot {event}"):
            after(state, event)
    else:
        assert after(state, event) is expected


def test_what_has_ended_stays_ended() -> None:
    assert frozenset(State) - ENDED == OPEN
    assert not any(state in ENDED for state, _ in TABLE)


def reachable(begin: State, without: set[Event]) -> set[State]:
    """Every state that can follow."""
    found, look = {begin}, [begin]
    while look:
        here = look.pop()
        fresh = {to for (state, event), to in TABLE.items() if state is here and event not in without} - found
        found |= fresh
        look += fresh
    return found


def test_nothing_is_sent_twice() -> None:
    """Once it may have left, no way leads back to `approved`: it is never sent again."""
    for state in (S.SENDING, S.ANSWERED, S.UNKNOWN, S.PENDING):
        assert S.APPROVED not in reachable(state, set())
    assert {state for (state, event), to in TABLE.items() if to is S.SENDING} == {S.APPROVED}


def test_only_a_proof_verifies() -> None:
    assert {event for (_, event), to in TABLE.items() if to is S.VERIFIED} == {E.PROVE}
    assert S.VERIFIED not in reachable(S.WANTED, {E.SEND})
    assert S.APPROVED not in reachable(S.WANTED, {E.APPROVE})
    # and every open order can still end
    assert all(reachable(state, set()) & ENDED for state in OPEN)
