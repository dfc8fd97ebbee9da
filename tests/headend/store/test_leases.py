"""Who owns a terminal."""

from __future__ import annotations

import pytest

from headend.store import leases
from headend.store.db import Connection
from tests.support.house import place


@pytest.fixture
def terminals(store: Connection) -> list[int]:
    """Five we dial, and one that dials in."""
    return [
        *(place(store, f"{k}", terminal=f"T{k}").terminal for k in range(5)),
        place(store, "9", terminal="T9", link="dial-in").terminal,
    ]


def expire(conn: Connection) -> None:
    conn.execute("UPDATE lease SET until = clock_timestamp() - interval '1 second'")
    conn.commit()


def test_claims_by_quota_and_never_what_dials_in(
    store: Connection, second: Connection, terminals: list[int]
) -> None:
    mine = leases.claim(store, "a", quota=2, seconds=60)
    # not committed: the other skips what we are about to have
    theirs = leases.claim(second, "b", quota=10, seconds=60)
    store.commit()
    second.commit()
    assert list(mine) == terminals[:2]
    assert list(theirs) == terminals[2:5]
    assert set(mine.values()) == set(theirs.values()) == {1}
    assert leases.claim(store, "c", quota=10, seconds=60) == {}
    assert leases.claim(store, "c", quota=0, seconds=60) == {}


def test_what_is_given_back_has_a_higher_epoch(store: Connection, terminals: list[int]) -> None:
    leases.claim(store, "a", quota=10, seconds=60)
    leases.release(store, "a")
    assert leases.renew(store, "a", seconds=60) == {}
    assert leases.claim(store, "b", quota=10, seconds=60) == dict.fromkeys(terminals[:5], 2)


def test_a_lease_that_ran_out_cannot_be_renewed(store: Connection, terminals: list[int]) -> None:
    leases.claim(store, "a", quota=10, seconds=60)
    assert leases.renew(store, "a", seconds=60) == dict.fromkeys(terminals[:5], 1)
    expire(store)
    assert leases.renew(store, "a", seconds=60) == {}
    assert leases.claim(store, "b", quota=1, seconds=60) == {terminals[0]: 2}
    assert leases.claim(store, "a", quota=10, seconds=60) == dict.fromkeys(terminals[1:5], 2)


def test_the_newest_socket_takes_the_terminal_over(store: Connection, terminals: list[int]) -> None:
    last = terminals[5]
    assert leases.take(store, "a", [last], seconds=60)[last] == 1
    assert leases.take(store, "b", [last], seconds=60)[last] == 2
    assert (
        leases.take(store, "b", [last], seconds=60)[last] == 3
    )  # a new socket of the same owner fences his old one
    assert leases.renew(store, "a", seconds=60) == {}
    assert leases.renew(store, "b", seconds=60) == {last: 3}


def test_held_is_by_owner_epoch_and_time(store: Connection, terminals: list[int]) -> None:
    here = terminals[0]
    assert not leases.held(store, "a", here, 1)
    leases.claim(store, "a", quota=1, seconds=60)
    assert leases.held(store, "a", here, 1)
    assert not leases.held(store, "b", here, 1)
    assert not leases.held(store, "a", here, 2)
    store.commit()
    expire(store)
    assert not leases.held(store, "a", here, 1)


def test_held_stays_so_until_the_transaction_ends(
    store: Connection, second: Connection, terminals: list[int]
) -> None:
    leases.claim(store, "a", quota=1, seconds=60)
    store.commit()
    assert leases.held(store, "a", terminals[0], 1)
    second.execute("SET lock_timeout = '100ms'")
    with pytest.raises(Exception, match="lock timeout"):
        leases.take(second, "b", terminals[:1], seconds=60)
    second.rollback()
    store.commit()
    assert leases.take(second, "b", terminals[:1], seconds=60) == {terminals[0]: 2}


def test_what_is_left_of_a_lease(store: Connection, terminals: list[int]) -> None:
    """For the validity of a command: nothing for whoever does not hold it."""
    here = terminals[0]
    assert leases.left(store, "a", here, 1) == 0
    leases.claim(store, "a", quota=1, seconds=60)
    assert 50 < leases.left(store, "a", here, 1) <= 60
    assert leases.left(store, "b", here, 1) == 0
    assert leases.left(store, "a", here, 2) == 0
    store.commit()
    expire(store)
    assert leases.left(store, "a", here, 1) == 0


def test_terminals_are_taken_together_and_given_up_one_by_one(
    store: Connection, terminals: list[int]
) -> None:
    """Given up is what was held, not what has dialled in anew since."""
    assert leases.take(store, "a", terminals, seconds=60) == dict.fromkeys(terminals, 1)
    again = terminals[0]
    assert leases.take(store, "a", [again, again], seconds=60) == {again: 2}  # one login, whoever asked twice
    leases.give_up(store, "a", dict.fromkeys(terminals, 1))
    assert leases.renew(store, "a", seconds=60) == {again: 2}
    leases.give_up(store, "b", {again: 2})
    assert leases.renew(store, "a", seconds=60) == {again: 2}
