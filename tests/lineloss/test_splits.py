"""Loss of any object by hand-checked numbers: the formula, limits, and what is unknown, bounded or known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineloss.splits import Cause, Flow, Metered, Status, flow, rest, slot_split, split
from lineloss.topology import Pairs, Role
from protocols.reading import MISSING

KWH = 10_000
S, R, X = Role.SUPPLY, Role.RECEIVE, Role.AUXILIARY


def of(*rows: tuple[int, int, Role], moved: tuple[int, ...] = ()) -> Pairs:
    """rows: (object, point, role), in the order of the objects"""
    objects, point, role = (np.array([row[k] for row in rows], dtype=np.int64) for k in range(3))
    gone = np.isin(np.arange(len(rows)), moved)
    return Pairs(point, objects, role.astype(np.int8), gone, np.arange(objects.max() + 1) + 70)


def exact(*kwh: float | None) -> Flow:
    """Energies without any error."""
    value = np.array([MISSING if e is None else round(e * KWH) for e in kwh], dtype=np.int64)
    return Flow(value, value, value, np.where(value == MISSING, MISSING, 0))


def metered(forward: Flow, reverse: Flow | None = None, exports: tuple[int, ...] = ()) -> Metered:
    n = len(forward.value)
    return Metered(forward, reverse or exact(*[0.0] * n), np.isin(np.arange(n), exports))


LINE = of((0, 0, S), (0, 1, R), (0, 2, R))


def test_a_line_loses_what_its_head_gives_and_nobody_takes() -> None:
    # head 1000; two transformers' meters 600 + 370: lost 30, 3 %
    told = split(LINE, metered(exact(1000, 600, 370)))
    assert (told.supplied[0], told.sold[0], told.loss[0]) == (1000 * KWH, 970 * KWH, 30 * KWH)
    assert told.rate[0] == pytest.approx(0.03)
    assert (told.status[0], told.cause[0], told.due[0], told.have[0]) == (Status.KNOWN, Cause.NONE, 3, 3)
    assert (told.low[0], told.high[0]) == (30 * KWH, 30 * KWH)  # no error, no width


def test_feed_in_is_supply_and_going_back_is_sold() -> None:
    # head 100 in, 20 back; a transformer takes 60 and gives 15: supplied 100 + 15, sold 20 + 60 + 25, lost 10
    told = split(LINE, metered(exact(100, 60, 25), exact(20, 15, 0)))
    assert (told.supplied[0], told.sold[0], told.loss[0]) == (115 * KWH, 105 * KWH, 10 * KWH)


def test_a_generation_meter_is_watched_and_never_summed() -> None:
    told = split(of((0, 0, S), (0, 1, R), (0, 2, X)), metered(exact(100, 90, None)))
    assert (told.loss[0], told.status[0], told.due[0]) == (10 * KWH, Status.KNOWN, 2)


def test_a_point_of_two_objects_counts_in_both() -> None:
    # point 1 receives from line 0 and supplies area 1
    told = split(of((0, 0, S), (0, 1, R), (1, 1, S), (1, 2, R)), metered(exact(100, 97, 90)))
    assert told.loss.tolist() == [3 * KWH, 7 * KWH]
    assert told.object_id.tolist() == [70, 71]


def test_limits_come_of_class_and_digits() -> None:
    # 1000 kWh by a class 0.5 meter whose last digit is worth 0.8 kWh (0.01 behind CT 80)
    one = flow(
        np.array([1000 * KWH]),
        np.zeros(1, int),
        np.zeros(1, int),
        np.array([8000]),
        np.array([0.005]),
        np.array([True]),
    )
    assert one.low[0] == int((1000 - 0.8) * KWH / 1.005)
    assert one.high[0] == int(np.ceil((1000 + 0.8) * KWH / 0.995))
    # a register that stands still because nothing can flow hides no digit
    still = flow(
        np.zeros(1, int),
        np.zeros(1, int),
        np.zeros(1, int),
        np.array([8000]),
        np.array([0.005]),
        np.array([False]),
    )
    assert (still.low[0], still.high[0]) == (0, 0)


@given(
    truth=st.lists(st.floats(1, 5000), min_size=3, max_size=12),
    errors=st.lists(st.floats(-1, 1), min_size=12, max_size=12),
    loss=st.floats(0, 200),
)
def test_limits_contain_the_truth_when_every_meter_keeps_its_class(
    truth: list[float], errors: list[float], loss: float
) -> None:
    """Supply = what all take + loss; every meter errs within class 1 and cuts its last digit."""
    n = len(truth) + 1
    real = np.array([sum(truth) + loss, *truth])
    shown = np.floor(real * (1 + 0.01 * np.array(errors)[np.arange(n) % 12]) * 100) * 100
    forward = flow(
        shown.astype(np.int64),
        np.zeros(n, int),
        np.zeros(n, int),
        np.full(n, 100),
        np.full(n, 0.01),
        np.ones(n, bool),
    )
    told = split(of((0, 0, S), *((0, k, R) for k in range(1, n))), metered(forward))
    assert told.low[0] <= loss * KWH <= told.high[0]


def test_without_a_supply_point_or_its_register_nothing_is_known() -> None:
    told = split(of((0, 0, R), (1, 1, S), (1, 0, R), (2, 0, S)), metered(exact(5, None)), np.array([9, 9]))
    assert told.status.tolist() == [Status.UNKNOWN] * 3
    assert told.cause.tolist() == [Cause.NO_SUPPLY, Cause.SUPPLY_MISSING, Cause.NO_RECEIVER]
    for column in (told.supplied, told.sold, told.loss, told.low, told.high):
        assert (column == MISSING).all()
    assert np.isnan(told.rate).all()


def test_a_missing_receiver_without_a_limit_leaves_its_line_unknown() -> None:
    told = split(LINE, metered(exact(1000, 600, None)))
    assert (told.status[0], told.cause[0]) == (Status.UNKNOWN, Cause.NO_LIMIT)
    assert [column.tolist() for column in told.missing] == [[0], [2]]


def test_a_missing_receiver_with_a_limit_leaves_it_bounded_by_just_that() -> None:
    # 400 are unaccounted for, and the missing one took 0 to 250 of them: lost 150 to 400
    told = split(LINE, metered(exact(1000, 600, None)), np.array([MISSING, MISSING, 250 * KWH]))
    assert (told.status[0], told.cause[0]) == (Status.BOUNDED, Cause.PART_MISSING)
    assert (told.low[0], told.high[0], told.unmetered[0]) == (150 * KWH, 400 * KWH, 250 * KWH)
    assert (told.supplied[0], told.loss[0], told.sold[0]) == (1000 * KWH, MISSING, MISSING)
    # who may feed in may have given as much
    told = split(LINE, metered(exact(1000, 600, None), exports=(2,)), np.array([MISSING, MISSING, 250 * KWH]))
    assert (told.low[0], told.high[0]) == (150 * KWH, 650 * KWH)


def test_a_part_without_a_meter_widens_both_ways_and_one_without_a_limit_hides_all() -> None:
    flows = metered(exact(1000, 600, 370))
    told = split(LINE, flows, unmetered=np.array([20 * KWH]))
    assert (told.status[0], told.cause[0], told.low[0], told.high[0]) == (
        Status.BOUNDED,
        Cause.UNMETERED,
        10 * KWH,
        50 * KWH,
    )
    told = split(LINE, flows, unmetered=np.array([MISSING]))
    assert (told.status[0], told.cause[0]) == (Status.UNKNOWN, Cause.NO_LIMIT)


def test_a_role_that_changed_within_is_as_good_as_missing() -> None:
    told = split(of((0, 0, S), (0, 1, R), (0, 2, R), moved=(2,)), metered(exact(1000, 600, 370)))
    assert told.status[0] == Status.UNKNOWN
    assert told.have[0] == 2


def test_registers_read_far_from_the_ends_leave_limits() -> None:
    value = np.array([1000, 600, 370]) * KWH
    for open_, status in ((22, Status.KNOWN), (30, Status.BOUNDED)):  # 2.2 % and 3 % of what was supplied
        wide = np.array([0, open_ * KWH, 0])
        forward = flow(value, wide // 2, wide - wide // 2, np.zeros(3, int), np.zeros(3), np.ones(3, bool))
        told = split(LINE, metered(forward))
        assert told.status[0] == status
        assert told.high[0] - told.low[0] == open_ * KWH
        assert told.loss[0] == 30 * KWH  # as if they had risen evenly


def test_the_rest_of_an_area_limits_who_is_missing_there() -> None:
    # given 100, two took 40 and 30: the two that are missing took 30 together, of any region that has both
    area = of((0, 0, S), (0, 1, R), (0, 2, R), (0, 3, R), (0, 4, R))
    flows = metered(exact(100, 40, 30, None, None))
    limit = rest(area, flows)
    assert limit.tolist() == [MISSING, MISSING, MISSING, 15 * KWH, 15 * KWH]
    # without the area's own register, or if one of them may feed in, there is no rest to speak of
    assert (rest(area, metered(exact(None, 40, 30, None, None))) == MISSING).all()
    assert (rest(area, metered(exact(100, 40, 30, None, None), exports=(4,))) == MISSING).all()


def test_quarter_hours_are_known_where_every_point_is() -> None:
    forward = np.array([[100, 100, 100], [60, MISSING, 70], [30, 30, 25]])
    supplied, sold, loss = slot_split(LINE, forward, np.zeros((3, 3), dtype=np.int64))
    assert supplied.tolist() == [[100, MISSING, 100]]
    assert sold.tolist() == [[90, MISSING, 95]]
    assert loss.tolist() == [[10, MISSING, 5]]
    # nothing that supplies it: not even a slot
    assert (
        slot_split(of((0, 1, R), (0, 2, R)), forward, np.zeros((3, 3), dtype=np.int64))[2] == MISSING
    ).all()
