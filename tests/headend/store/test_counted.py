"""What points have counted, against a slow reading of the definition: walk along the point's registers, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.store.blocks.counted import Counted, chain
from headend.store.blocks.energy import Ends, Registers, Why, by_point
from headend.store.blocks.installed import Rows
from headend.store.blocks.overlay import Quality
from headend.store.coverage import FOREVER
from protocols.reading import MISSING

EPOCH = np.datetime64("2026-03-01T16:00:00", "us")
DAY = np.timedelta64(24, "h")
ROLL = 10**6 * 10_000


def when(day: float) -> np.datetime64:
    return EPOCH + np.timedelta64(round(day * 24 * 60), "m").astype("m8[us]")


@dataclass
class Meter:
    """One meter's time on a point: from and to in days (None: before or for ever), its registers by day, and at its coming and going."""

    point: int
    at: dict[int, int]
    since: float | None = None
    until: float | None = None
    opening: int = MISSING
    closing: int = MISSING
    multiplier: int = 1
    estimated: set[float] = field(default_factory=set)


def counted(meters: list[Meter], days: int) -> Counted:
    return told(meters, days)[2]


def told(meters: list[Meter], days: int) -> tuple[np.ndarray, Rows, Counted, Ends]:
    n = len(meters)
    times = np.array([when(day) for day in range(days)])
    values = np.array([[m.at.get(day, MISSING) for day in range(days)] for m in meters])
    worth = np.where(values == MISSING, 0, 1).astype(np.int8)
    for row, m in enumerate(meters):
        for day in m.estimated:
            if day == int(day) and worth[row, int(day)]:
                worth[row, int(day)] = Quality.ESTIMATED
    sides = []
    for side, moment in (("opening", "since"), ("closing", "until")):
        read = np.array([getattr(m, side) for m in meters])
        kind = np.where(read == MISSING, 0, 1).astype(np.int8)
        for row, m in enumerate(meters):
            if getattr(m, moment) in m.estimated and kind[row]:
                kind[row] = Quality.ESTIMATED
        sides.append(Registers(read, kind))
    zeros = np.zeros(n, dtype=np.int64)
    rows = Rows(
        meter=np.arange(n), point=np.array([m.point for m in meters]), terminal=zeros, area=zeros, role=zeros,
        multiplier=np.array([m.multiplier for m in meters]), accuracy=np.ones(n), phases=zeros, whole=zeros.astype(np.bool_),
        since=np.array([when(-100) if m.since is None else when(m.since) for m in meters]),
        until=np.array([FOREVER if m.until is None else when(m.until) for m in meters]),
        digits=np.full(n, 6),
    )  # fmt: skip
    ends = Ends(Registers(values, worth), *sides)
    return times, rows, chain(times, rows, ends)[1], ends


def between(c: Counted, first: int, last: int) -> list[tuple[int, Why, Quality]]:
    n = len(c.row)
    e = c.between(np.arange(n), np.full(n, first), np.full(n, last))
    return [(int(a), Why(w), Quality(q)) for a, w, q in zip(e.energy, e.why, e.quality, strict=True)]


def one(c: Counted, first: int, last: int) -> tuple[int, Why, Quality]:
    return between(c, first, last)[0]


def test_the_ends_are_enough_whatever_is_missing_between() -> None:
    c = counted([Meter(1, {0: 100, 3: 400}, multiplier=40)], 5)
    assert one(c, 0, 3) == (12_000, Why.KNOWN, Quality.MEASURED)
    assert one(c, 0, 2) == (MISSING, Why.MISSING_REGISTER, Quality.MISSING)
    assert one(c, 2, 4)[1] == Why.MISSING_REGISTER


def test_a_meter_is_exchanged_at_noon_and_both_registers_were_read() -> None:
    old = Meter(1, {0: 100, 1: 150}, until=1.5, closing=170, multiplier=2)
    new = Meter(1, {2: 30, 3: 50}, since=1.5, opening=10, multiplier=3)
    c = counted([old, new], 4)
    assert one(c, 0, 3) == (2 * 70 + 3 * 40, Why.KNOWN, Quality.MEASURED)
    assert one(c, 1, 2) == (2 * 20 + 3 * 20, Why.KNOWN, Quality.MEASURED)
    assert one(c, 2, 3) == (60, Why.KNOWN, Quality.MEASURED)


def test_nobody_read_the_meter_that_went() -> None:
    old = Meter(1, {0: 100, 1: 150}, until=1.5)
    new = Meter(1, {2: 30, 3: 50}, since=1.5, opening=10)
    c = counted([old, new], 4)
    assert one(c, 0, 3) == (MISSING, Why.EXCHANGED, Quality.MISSING)
    assert one(c, 0, 1)[0] == 50
    assert one(c, 2, 3)[0] == 20


def test_an_exchange_at_midnight_needs_no_reading_but_the_freezes() -> None:
    old = Meter(1, {0: 100, 1: 150}, until=1)
    new = Meter(1, {1: 7, 2: 30}, since=1)
    c = counted([old, new], 3)
    assert one(c, 0, 2) == (73, Why.KNOWN, Quality.MEASURED)
    assert one(c, 0, 1)[0] == 50


def test_a_point_without_a_meter_for_a_while_counts_nothing_and_loses_nothing() -> None:
    old = Meter(1, {0: 100}, until=0.5, closing=120)
    new = Meter(1, {3: 30}, since=2.5, opening=10)
    c = counted([old, new], 4)
    assert one(c, 0, 1)[0] == one(c, 0, 2)[0] == 20
    assert one(c, 1, 2)[0] == 0
    assert one(c, 0, 3)[0] == 40


def test_before_its_first_meter_a_point_is_not_commissioned() -> None:
    c = counted([Meter(1, {1: 7, 2: 9}, since=0.5, opening=5)], 3)
    assert one(c, 0, 2) == (MISSING, Why.NOT_COMMISSIONED, Quality.MISSING)
    assert one(c, 1, 2)[0] == 2


def test_a_register_that_fell_is_no_energy_and_one_that_rolled_over_is() -> None:
    c = counted([Meter(1, {0: ROLL - 5, 1: 5, 2: 1, 3: 4})], 4)
    assert one(c, 0, 1)[0] == 10
    assert one(c, 1, 2) == one(c, 1, 3) == (MISSING, Why.FELL, Quality.MISSING)
    assert one(c, 2, 3)[0] == 3


def test_what_one_bad_midnight_says_is_that_midnights_alone() -> None:
    """A register that jumps and comes back would be a whole turn of it, or hide the rest of the month."""
    for wrong in (999_999 * 10_000, 900, 0):
        c = counted([Meter(1, {0: 100, 1: wrong, 2: 110, 3: 120}, multiplier=7)], 4)
        assert one(c, 0, 2)[:2] == (70, Why.KNOWN)
        assert one(c, 0, 3)[:2] == (140, Why.KNOWN)
    old = Meter(1, {0: 100, 1: 50, 2: 150}, until=2.5, closing=160)
    new = Meter(1, {3: 30}, since=2.5, opening=10)
    c = counted([old, new], 4)
    assert one(c, 0, 2)[0] == 50
    assert one(c, 0, 3)[:2] == (80, Why.KNOWN)
    assert one(c, 0, 1)[:2] == (MISSING, Why.FELL)


def test_three_meters_and_the_one_between_is_told_by_its_ends() -> None:
    first = Meter(1, {0: 100}, until=0.5, closing=110)
    between_ = Meter(1, {}, since=0.5, until=1.5, opening=5, closing=9, multiplier=3)
    last = Meter(1, {2: 30}, since=1.5, opening=20)
    assert one(counted([first, between_, last], 3), 0, 2)[:2] == (10 + 12 + 10, Why.KNOWN)
    between_.closing = MISSING
    assert one(counted([first, between_, last], 3), 0, 2)[1] == Why.EXCHANGED
    between_.closing, between_.estimated = 9, {1.5}
    assert one(counted([first, between_, last], 3), 0, 2)[2] == Quality.ESTIMATED
    between_.closing = 2
    assert one(counted([first, between_, last], 3), 0, 2)[1] == Why.FELL


def test_an_estimate_at_an_end_or_at_an_exchange_is_told() -> None:
    c = counted([Meter(1, {0: 100, 1: 150, 2: 200, 3: 250}, estimated={1.0})], 4)
    assert [one(c, 0, k)[2] for k in (1, 2, 3)] == [Quality.ESTIMATED, Quality.MEASURED, Quality.MEASURED]
    old = Meter(1, {0: 100, 1: 150}, until=1.5, closing=170, estimated={1.5})
    new = Meter(1, {2: 30, 3: 50}, since=1.5, opening=10)
    c = counted([old, new], 4)
    assert [one(c, 0, k)[2] for k in (1, 2, 3)] == [Quality.MEASURED, Quality.ESTIMATED, Quality.ESTIMATED]
    assert one(c, 2, 3)[2] == Quality.MEASURED


def test_points_do_not_mix() -> None:
    old = Meter(1, {0: 100}, until=0.5, closing=120)
    new = Meter(1, {1: 15, 2: 20}, since=0.5, opening=10)
    c = counted([old, new, Meter(2, {0: 1, 1: 2, 2: 3}), Meter(5, {0: 5, 2: 9})], 3)
    assert [e for e, *_ in between(c, 0, 2)] == [30, 2, 4]


@st.composite
def lives(draw: st.DrawFn) -> list[Meter]:
    """Some points with one to three meters each, holes, and ends that were read or not."""
    meters = []
    for point in range(draw(st.integers(1, 3))):
        cuts = sorted(draw(st.sets(st.integers(1, 19), max_size=2)))
        edges: list[float | None] = [None, *(cut / 4 for cut in cuts), None]
        for since, until in pairwise(edges):
            register = draw(st.integers(0, 50))
            at = {}
            for day in range(6):
                register += draw(st.integers(0, 9))
                if draw(st.booleans()):
                    at[day] = register
            low = min(at.values(), default=0)
            opening = draw(st.sampled_from([MISSING, min(low, 1)])) if since is not None else MISSING
            closing = draw(st.sampled_from([MISSING, register + 3])) if until is not None else MISSING
            meters.append(Meter(point, at, since, until, opening, closing, draw(st.sampled_from([1, 20]))))
    return meters


@settings(max_examples=300, deadline=None)
@given(lives())
def test_slot_by_slot_it_is_the_energy_of_the_slot(meters: list[Meter]) -> None:
    times, rows, c, ends = told(meters, 6)
    _, slots = by_point(times, rows, ends)
    for k in range(5):
        for mine, theirs, why in zip(between(c, k, k + 1), slots.energy[:, k], slots.why[:, k], strict=True):
            if why == Why.KNOWN:
                assert mine[0] == theirs
            elif mine[1] == Why.KNOWN:
                # nothing was on the point for a while, or all of the slot
                assert why == Why.NOT_COMMISSIONED


@settings(max_examples=300, deadline=None)
@given(lives(), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
def test_parts_add_up(meters: list[Meter], a: int, b: int, d: int) -> None:
    a, b, d = sorted((a, b, d))
    c = counted(meters, 6)
    for whole, first, second in zip(between(c, a, d), between(c, a, b), between(c, b, d), strict=True):
        if first[1] == second[1] == Why.KNOWN:
            assert whole[:2] == (first[0] + second[0], Why.KNOWN)
        if whole[1] == first[1] == Why.KNOWN:
            assert second[:2] == (whole[0] - first[0], Why.KNOWN)
