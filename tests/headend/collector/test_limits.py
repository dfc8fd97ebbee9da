"""What a collector may ask of the network."""

from __future__ import annotations

import datetime as dt
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.collector.gaps import Gap
from headend.collector.limits import CELLS, Allowances, PutOff, Starts, spare
from headend.plans import CURVE, DAY
from headend.store import traffic
from headend.store.db import Connection
from headend.store.traffic import Allowance
from terminals.links.link import CONNECTION, OVERHEAD, Volume
from tests.support.house import at, one, place


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.sampled_from(["", "A", "B"]), max_size=60))
def test_no_second_has_more_turns_than_allowed(cells: list[str]) -> None:
    """All ask at once: in a cell two a second, in all five."""
    starts = Starts(5, 2, Time())
    turns = [(starts.reserve(cell), cell) for cell in cells]
    for cell in ("A", "B"):
        own = sorted(at for at, where in turns if where == cell)
        assert all(b - a > 0.499 for a, b in itertools.pairwise(own))
    assert all(at >= k / 5 - 1e-9 for k, (at, _) in enumerate(turns))


def test_who_comes_after_a_pause_does_not_wait_and_nothing_was_saved_up() -> None:
    time = Time()
    starts = Starts(5, 2, time)
    assert [starts.reserve("A") for _ in range(2)] == [0.0, 0.5]
    time.now = 100.0
    assert [starts.reserve("A") for _ in range(2)] == [0.0, 0.5]


def test_a_crowded_cell_does_not_hold_up_the_others() -> None:
    starts = Starts(100, 1, Time())
    for _ in range(50):
        starts.reserve("A")
    assert starts.reserve("B") <= 0.51


def test_cells_are_forgotten() -> None:
    time = Time()
    starts = Starts(1e9, 1, time)
    for k in range(CELLS + 1):
        starts.reserve(f"cell {k}")
        time.now += 2
    assert len(starts._cells) <= CELLS


def gap(plan: object, deadline: str) -> Gap:
    return Gap(1, plan, np.array([at("2026-03-11 00:15")]), at(deadline))  # type: ignore[arg-type]


def test_a_spent_sim_reads_freezes_and_what_would_be_lost_within_the_day() -> None:
    freeze, soon, later = (
        gap(DAY, "2026-04-11 00:00"),
        gap(CURVE, "2026-03-12 09:00"),
        gap(CURVE, "2026-03-20 00:00"),
    )
    assert spare([later, freeze, soon], at("2026-03-11 10:00")) == ([freeze, soon], [later])


def test_each_point_is_told_to_wait_once_also_one_that_falls_due_later_than_its_neighbours() -> None:
    """A point has its time a minute before it is due: what was told at 10:15:30 said nothing of 10:15."""
    put_off = PutOff()

    def waiting(meter: int, *times: str) -> Gap:
        return Gap(meter, CURVE, np.array([at(f"2026-03-11 {t}") for t in times]), at("2026-03-20 00:00"))

    def told(*gaps: Gap) -> list[tuple[int, int]]:
        return [(one.meter, len(one.times)) for one in put_off.news(gaps)]

    assert told(waiting(1, "09:45", "10:00"), waiting(2, "10:00")) == [(1, 2), (2, 1)]
    assert told(waiting(1, "09:45", "10:00"), waiting(2, "10:00")) == []
    assert told(waiting(1, "09:45", "10:00", "10:15"), waiting(2, "10:00")) == [(1, 1)]
    assert told(waiting(2, "10:00", "10:15")) == [(2, 1)]


def test_what_a_network_counts() -> None:
    assert Volume().on_air == 0
    assert Volume(100, 200, 4).on_air == 300 + 4 * OVERHEAD + CONNECTION


@pytest.fixture
def server_kind() -> str:
    """Nothing here depends on the kind of server."""
    return "embedded"


def test_bytes_are_booked_to_the_sim_that_is_in_the_terminal(store: Connection) -> None:
    here, there = place(store, "1", terminal="T1").terminal, place(store, "2", terminal="T2").terminal
    for code, plan, terminal, begin, end in (
        ("89860001", 1000, here, "2026-01-01", "2026-03-10"),
        ("89860002", 500, here, "2026-03-10", "infinity"),
    ):
        sim = one(
            store,
            f"INSERT INTO sim (code, plan_bytes, cell) VALUES ('{code}', {plan}, 'mast 7') RETURNING sim_id",
        )
        store.execute(
            "INSERT INTO sim_span (sim_id, terminal_id, valid_from, valid_to) VALUES (%s, %s, %s, %s)",
            (sim, terminal, begin, end),
        )
    march, now = dt.date(2026, 3, 1), at("2026-03-11 10:00")
    traffic.add(store, {here: 400, there: 9000}, month=march, now=now)
    known = Allowances()
    known.learn(traffic.allowances(store, month=march, now=now))
    assert known.cell(here) == "mast 7"
    assert known.cell(there) == ""
    assert known.spent(here) is None
    traffic.add(store, {here: 100}, month=march, now=now)
    known.learn(traffic.allowances(store, month=march, now=now))
    assert known.spent(here) == Allowance("89860002", "mast 7", 500, 500)
    known.learn(traffic.allowances(store, month=dt.date(2026, 4, 1), now=at("2026-04-01 00:00")))
    assert known.spent(here) is None
