"""Estimates fit the registers beside them exactly, the best method wins, and what cannot be estimated says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lineloss.registers import advance
from lineloss.vee.curve import QUARTERS, Curve, Slots, holes
from lineloss.vee.estimate import WHY, Estimates, Left, estimate
from lineloss.vee.methods import METHODS, PREFIX, WORDS, likeday, linear, profile, proxy
from protocols.reading import MISSING

ROLL_OVER = 10_000_000_000
CODES = [method.CODE for method in METHODS]


def weeks(days: int, energy: Any = 1000, start: int = 5_000_000, kinds: list[int] | None = None) -> Curve:
    """One meter over whole days; `energy` [1e-4 kWh] of each slot, one for all or one each."""
    n = days * QUARTERS
    steps = np.broadcast_to(np.asarray(energy, dtype=np.int64), n)
    registers = (start + np.concatenate([[0], np.cumsum(steps)]))[None] % ROLL_OVER
    slot = np.arange(n + 1) - 1
    return Curve(
        registers=registers,
        alive=np.ones((1, n + 1), dtype=np.bool_),
        day=np.maximum(slot, 0) // QUARTERS,
        quarter=slot % QUARTERS,
        kind=np.array(kinds if kinds is not None else [0] * days),
        roll_over=np.array([ROLL_OVER]),
        most=np.array([66_000]),
        freezes=np.full((1, n + 1), MISSING),
    )


def lose(curve: Curve, *times: int | range) -> Curve:
    """The same without the registers at these times."""
    registers = curve.registers.copy()
    for some in times:
        registers[0, list(some) if isinstance(some, range) else some] = MISSING
    return put(curve, registers=registers)


def put(curve: Curve, **other: Any) -> Curve:
    return Curve(**{name: other.get(name, getattr(curve, name)) for name in Curve.__slots__})


def everything(curve: Curve, **more: Any) -> Estimates:
    every = np.ones(curve.registers.shape[1], dtype=np.bool_)
    return estimate(curve, every, every, **more)


def methods(found: Estimates) -> set[str]:
    return {CODES[k] for k in found.method.tolist()}


def filled(curve: Curve, found: Estimates) -> NDArray[np.int64]:
    registers = curve.registers.copy()
    registers[found.row, found.time] = found.value
    return registers


def reasons(found: Estimates) -> list[Left]:
    return [Left(int(why)) for why in found.why]


def habit(days: int) -> NDArray[np.int64]:
    """A household's slots: nights of 200, evenings of 4000, each day a little more."""
    day = np.full(QUARTERS, 200)
    day[72:88] = 4000
    return np.concatenate([day + 10 * k for k in range(days)])


def test_nothing_is_missing() -> None:
    found = everything(weeks(2))
    assert len(found.row) == len(found.left) == 0


def test_two_hours_are_a_steady_load() -> None:
    truth = weeks(1)
    found = everything(lose(truth, range(10, 17)))  # seven registers, eight slots
    assert methods(found) == {linear.CODE}
    assert found.time.tolist() == list(range(10, 17))
    assert found.value.tolist() == truth.registers[0, 10:17].tolist()


def test_more_than_two_hours_are_not() -> None:
    found = everything(lose(weeks(1), range(10, 18)))
    assert len(found.row) == 0
    assert reasons(found) == [Left.NO_SHAPE]


def test_equal_registers_prove_that_nothing_flowed() -> None:
    truth = weeks(3, np.concatenate([habit(2), np.zeros(QUARTERS)]))
    found = everything(lose(truth, range(200, 270)))
    assert methods(found) == {"vee-level"}
    assert set(found.value.tolist()) == {int(truth.registers[0, 199])}


def test_like_days_give_the_shape_and_the_registers_the_amount() -> None:
    truth = weeks(6, habit(6))
    hole = range(5 * QUARTERS + 10, 5 * QUARTERS + 90)
    curve = lose(truth, hole)
    found = everything(curve)
    assert methods(found) == {likeday.CODE}
    energy = np.diff(filled(curve, found)[0])
    # the evening's peak is in the evening, and the sum is the registers'
    assert energy[5 * QUARTERS + 75] > 10 * energy[5 * QUARTERS + 40]
    assert int(energy.sum()) == int(np.diff(truth.registers[0]).sum())
    assert np.abs(filled(curve, found) - truth.registers).max() < 0.02 * QUARTERS * 4000


def test_days_of_rest_go_by_days_of_rest() -> None:
    """Two kinds of days with opposite shapes; the last day is one of rest."""
    work, rest = np.full(QUARTERS, 100), np.full(QUARTERS, 100)
    work[30:40], rest[70:80] = 3000, 3000
    kinds = [0, 0, 0, 1, 1, 0, 1]
    truth = weeks(7, np.concatenate([(work, rest)[kind] for kind in kinds]), kinds=kinds)
    curve = lose(truth, range(6 * QUARTERS + 5, 6 * QUARTERS + 95))
    found = everything(curve)
    assert filled(curve, found).tolist() == truth.registers.tolist()


def test_one_like_day_is_an_accident() -> None:
    kinds = [1, 0, 1]
    found = everything(lose(weeks(3, habit(3), kinds=kinds), range(2 * QUARTERS + 5, 2 * QUARTERS + 60)))
    assert reasons(found) == [Left.NO_SHAPE]


def test_the_newest_four_like_days_count() -> None:
    """An early day of another size changes nothing."""
    energy = habit(7)
    other = energy.copy()
    other[:QUARTERS] = 7
    hole = range(6 * QUARTERS + 10, 7 * QUARTERS + 1)
    first, second = (everything(lose(weeks(7, steps), hole)) for steps in (energy, other))
    assert np.diff(first.value).tolist() == np.diff(second.value).tolist()


def test_an_open_hole_goes_on_from_its_register_until_the_next_one_comes() -> None:
    truth = weeks(5, habit(5))
    hole = range(4 * QUARTERS + 50, 5 * QUARTERS + 1)
    found = everything(lose(truth, hole))
    assert methods(found) == {likeday.CODE}
    assert found.value[0] > truth.registers[0, 4 * QUARTERS + 49]
    # four days of which each uses a little more: their mean is a little less than the fifth
    assert 0 < truth.registers[0, -1] - found.value[-1] < 30 * len(hole)


def test_a_hole_without_a_beginning_goes_back_from_its_end() -> None:
    """Of a meter that was installed in the hole there is no register before; like days there are, of the time on its old point."""
    truth = weeks(5, habit(5))
    alive = truth.alive.copy()
    alive[0, 4 * QUARTERS - 3 : 4 * QUARTERS + 10] = False
    hole = range(4 * QUARTERS + 10, 4 * QUARTERS + 30)
    found = everything(put(lose(truth, hole), alive=alive))
    assert found.time.tolist() == list(hole)
    steps = np.diff(np.append(found.value, truth.registers[0, hole.stop]))
    assert (steps > 0).all()
    assert found.value[-1] < truth.registers[0, hole.stop]


def test_backwards_ends_at_zero() -> None:
    truth = weeks(5, habit(5), start=0)
    alive = truth.alive.copy()
    alive[0, 4 * QUARTERS - 3 : 4 * QUARTERS + 10] = False
    registers = lose(truth, range(4 * QUARTERS + 10, 4 * QUARTERS + 80)).registers.copy()
    registers[0, 4 * QUARTERS + 80 :] -= (
        truth.registers[0, 4 * QUARTERS + 80] - 700
    )  # a new register that shows 0.07 kWh
    found = everything(put(truth, alive=alive, registers=registers))
    assert found.value.min() == 0
    assert (np.diff(found.value) >= 0).all()


def test_the_day_freeze_is_the_register_of_its_midnight() -> None:
    truth = weeks(2)
    freezes = truth.freezes.copy()
    freezes[0, QUARTERS] = truth.registers[0, QUARTERS]
    found = everything(put(lose(truth, range(QUARTERS - 5, QUARTERS + 6)), freezes=freezes))
    by = dict(zip(found.time.tolist(), found.method.tolist(), strict=True))
    assert CODES[by.pop(QUARTERS)] == "vee-freeze"
    assert {CODES[k] for k in by.values()} == {linear.CODE}  # it makes two short holes of a long one
    assert found.value.tolist() == truth.registers[0, QUARTERS - 5 : QUARTERS + 6].tolist()


def test_a_check_meter_is_better_than_habit() -> None:
    truth = weeks(6, habit(6))
    curve = lose(truth, range(5 * QUARTERS + 10, 5 * QUARTERS + 90))
    energy = truth.energy.astype(np.float64) * 1.003
    energy[:, 0] = np.nan
    found = everything(curve, proxied=energy)
    assert methods(found) == {proxy.CODE}
    assert np.abs(filled(curve, found) - truth.registers).max() <= 1
    # in a hole that it has itself it is none
    energy[0, 5 * QUARTERS + 40] = np.nan
    assert methods(everything(curve, proxied=energy)) == {likeday.CODE}


def test_the_profile_shapes_what_lies_between_two_registers() -> None:
    truth = weeks(1, habit(1))
    shape = (truth.energy[:, 1:] / truth.energy[:, 1:].sum()).astype(np.float64)
    curve = lose(truth, range(20, 90))
    found = everything(curve, profiles=shape)
    assert methods(found) == {profile.CODE}
    assert np.abs(filled(curve, found) - truth.registers).max() <= 1
    # a shape has no amount: an open hole stays
    assert reasons(everything(lose(truth, range(20, 97)), profiles=shape)) == [Left.NO_SHAPE]


@pytest.mark.parametrize(
    ("registers", "why"),
    [
        ({"fell": 40}, Left.FELL),
        ({"jumped": 40}, Left.IMPOSSIBLE),
        ({"silent": 0}, Left.NO_REGISTER),
    ],
)
def test_what_stays_missing_says_why(registers: dict[str, int], why: Left) -> None:
    curve = lose(weeks(1), range(30, 40))
    values = curve.registers.copy()
    if "fell" in registers:
        values[0, 40:] -= 1_000_000
    elif "jumped" in registers:
        values[0, 40:] += 20 * 66_000
    else:
        values[:] = MISSING
    found = everything(put(curve, registers=values))
    assert reasons(found) == [why]
    assert len(found.row) == 0
    assert set(WHY) == set(Left)


def test_longer_than_a_week() -> None:
    whole = weeks(12, habit(12))
    found = everything(lose(whole, range(4 * QUARTERS, 11 * QUARTERS)))
    assert methods(found) == {likeday.CODE}
    assert reasons(everything(lose(whole, range(4 * QUARTERS, 11 * QUARTERS + 1)))) == [Left.TOO_LONG]


def test_only_where_the_meter_was() -> None:
    truth = weeks(1)
    alive = truth.alive.copy()
    alive[0, 10:14] = False
    found = everything(put(lose(truth, range(8, 16)), alive=alive))
    assert not set(range(10, 14)) & set(found.time.tolist())


def test_a_hole_is_estimated_as_a_whole_from_whichever_day_it_is_looked_at() -> None:
    truth = weeks(8, habit(8))
    curve = lose(truth, range(5 * QUARTERS + 50, 7 * QUARTERS + 20))
    every = np.ones(curve.registers.shape[1], dtype=np.bool_)
    looks = [estimate(curve, curve.day == day, every) for day in (5, 6, 7)]
    for found in looks[1:]:
        assert found.time.tolist() == looks[0].time.tolist()
        assert found.value.tolist() == looks[0].value.tolist()
    assert len(estimate(curve, curve.day == 4, every).row) == 0
    # and the window it is seen through does not matter either
    later = Curve(
        curve.registers[:, QUARTERS:], curve.alive[:, QUARTERS:], np.maximum(curve.day[QUARTERS:] - 1, 0), curve.quarter[QUARTERS:],
        curve.kind[1:], curve.roll_over, curve.most, curve.freezes[:, QUARTERS:],
    )  # fmt: skip
    assert everything(later).value.tolist() == looks[0].value.tolist()


def test_every_method_has_a_code_of_ours_and_words_in_both_languages() -> None:
    assert all(code.startswith(PREFIX) for code in CODES)
    assert len(set(CODES)) == len(CODES) == len(WORDS)
    assert all(len(words) == 2 and all(words) for words in WORDS.values())


@dataclass(frozen=True, slots=True)
class Week:
    """Five days like each other, with holes anywhere and registers that may roll over; told by few numbers, so that a failure can be read."""

    day: list[int]
    factors: list[int]
    start: int
    lost: list[tuple[int, int]]

    def read(self) -> Curve:
        truth = weeks(
            5, np.concatenate([np.array(self.day) * factor for factor in self.factors]), start=self.start
        )
        return lose(truth, *(range(begin, min(begin + n, 5 * QUARTERS + 1)) for begin, n in self.lost))


holed = st.builds(
    Week,
    day=st.lists(st.integers(0, 6000), min_size=QUARTERS, max_size=QUARTERS),
    factors=st.lists(st.integers(1, 3), min_size=5, max_size=5),
    start=st.sampled_from([0, 5_000_000, ROLL_OVER - 1_000_000]),
    lost=st.lists(st.tuples(st.integers(0, 5 * QUARTERS), st.integers(1, 150)), max_size=5),
)


@given(holed)
def test_between_two_registers_the_sum_is_exact_and_nothing_flows_backwards(
    week: Week,
) -> None:
    curve = week.read()
    found = everything(curve)
    for k in range(len(holes(curve))):
        hole = holes(curve)
        if not hole.anchored[k]:
            continue
        first, last = int(hole.before[k]), int(hole.after[k])
        steps = advance(
            filled(curve, found)[0, first:last], filled(curve, found)[0, first + 1 : last + 1], ROLL_OVER
        )
        if (steps == MISSING).any():  # it stays a hole, all of it
            assert set(range(first + 1, last)) & set(found.time.tolist()) == set()
            continue
        assert int(steps.sum()) == int(
            advance(curve.registers[0, first : first + 1], curve.registers[0, last : last + 1], ROLL_OVER)[0]
        )
        assert (steps >= 0).all()


@given(holed)
def test_no_estimate_is_negative_and_none_goes_backwards(week: Week) -> None:
    curve = week.read()
    found = everything(curve)
    assert ((found.value >= 0) & (found.value < ROLL_OVER)).all()
    energy = advance(filled(curve, found)[0, :-1], filled(curve, found)[0, 1:], ROLL_OVER)
    assert (energy[energy != MISSING] >= 0).all()


@given(holed)
def test_estimates_and_left_holes_are_all_that_is_missing_and_twice_is_the_same(
    week: Week,
) -> None:
    curve = week.read()
    found = everything(curve)
    left = {
        time
        for k in range(len(found.left))
        for time in range(int(found.left.first[k]), int(found.left.last[k]) + 1)
    }
    missing = set(np.flatnonzero(curve.registers[0] == MISSING).tolist())
    assert left | set(found.time.tolist()) == missing
    assert not left & set(found.time.tolist())
    again = everything(curve)
    assert again.value.tolist() == found.value.tolist()
    # what stands is no hole: nothing is estimated over it (what stayed missing may now have days to go by)
    assert set(everything(put(curve, registers=filled(curve, found))).time.tolist()) <= left


def test_slots_of_holes_on_either_side() -> None:
    truth = weeks(1)
    wanted = holes(lose(truth, range(3), range(10, 12), range(95, 97)))
    assert (wanted.before.tolist(), wanted.after.tolist()) == ([-1, 9, 94], [3, 12, -1])
    slots = Slots.of(wanted)
    assert slots.time.tolist() == [1, 2, 3, 10, 11, 12, 95, 96]
    assert slots.start.tolist() == [0, 3, 6]
    assert slots.total(np.ones(8, dtype=np.int64)).tolist() == [3, 3, 2]


def test_who_checks_whom_is_told_by_the_days() -> None:
    mine = np.array([100_000, 120_000, 90_000, 110_000, MISSING])
    twin = np.array([50_100, 60_000, 45_100, 55_000, 40_000])
    stranger = np.array([50_000, 90_000, 45_000, 20_000, 40_000])
    found = proxy.partner(mine, np.stack([stranger, twin]))
    assert found is not None
    assert found[0] == 1
    assert found[1] == pytest.approx(2, rel=0.01)
    assert proxy.partner(mine, stranger[None]) is None
    assert proxy.partner(mine[:3], twin[None, :3]) is None  # three days prove nothing


def test_a_profile_needs_five_whole_meters_and_forgives_the_clocks_changes() -> None:
    rng = np.arange(QUARTERS)
    energy = np.tile(habit(1), (5, 1)) * np.array([[1], [2], [3], [4], [5]])
    shape = profile.shape(energy, rng)
    assert shape.sum() == pytest.approx(1)
    assert shape[75] == pytest.approx(shape[40] * 20)
    assert np.isnan(profile.shape(energy[:4], rng)).all()
    holed = energy.copy()
    holed[0, 3] = MISSING
    assert np.isnan(profile.shape(holed, rng)).all()
    spring = np.delete(rng, slice(8, 12))  # two o'clock never came
    assert not np.isnan(profile.shape(energy[:, spring], spring)).any()
