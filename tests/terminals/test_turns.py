"""Who is next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terminals.turns import Priority, Turns


def test_higher_first_and_first_come_first_served():
    turns = Turns()
    for n, priority in enumerate([Priority.SCHEDULED, Priority.ORDER, Priority.ON_DEMAND, Priority.ORDER]):
        turns.put(priority, n)
    assert [turns.next() for _ in range(5)] == [1, 3, 2, 0, None]


@given(st.lists(st.sampled_from(Priority), max_size=60), st.integers(1, 8))
def test_nobody_starves(arrivals, patience):
    """However many orders come, the head of a lower class is passed over a bounded number of times."""
    turns = Turns(patience)
    turns.put(Priority.SCHEDULED, "low")
    for priority in arrivals:
        turns.put(priority, "other")
    passed = 0
    while turns.next() != "low":
        passed += 1
        turns.put(Priority.ORDER, "another")
        turns.put(Priority.ON_DEMAND, "another")
    # the other low class may be overdue at the same time, hence twice
    assert passed <= 2 * patience + 2


def test_removal_and_drain():
    turns = Turns()
    turns.put(Priority.ORDER, 1)
    turns.put(Priority.SCHEDULED, 2)
    turns.remove(Priority.ORDER, 1)
    with pytest.raises(ValueError):
        turns.remove(Priority.ORDER, 1)
    assert len(turns) == 1
    assert turns.drain() == [2]
    assert len(turns) == 0
    assert turns.next() is None
