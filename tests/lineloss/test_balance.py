"""Loss by area: the formula, what is unknown, and bounds that contain the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineloss.balance import Reason, day_balance, slot_balance
from lineloss.registers import ROLL_OVER, advance, decreased, steps
from lineloss.topology import Role, Topology
from protocols.reading import MISSING

KWH = 10_000


def network(rows: list[tuple[int, Role, int]], areas: int = 1, **over: Any) -> Topology:
    """rows: (area, role, multiplier)"""
    n = len(rows)
    columns: dict[str, Any] = {
        "meter": np.arange(100, 100 + n),
        "point": np.arange(n),
        "area": np.array([row[0] for row in rows], dtype=np.int64),
        "role": np.array([row[1] for row in rows], dtype=np.int8),
        "multiplier": np.array([row[2] for row in rows], dtype=np.int64),
        "accuracy": np.full(n, 0.01),
        "phases": np.ones(n, dtype=np.int8),
        "exports": np.zeros(n, dtype=np.bool_),
        "area_id": np.arange(7, 7 + areas),
    }
    return Topology(**{**columns, **over})


def curve(*day_kwh: float, slots: int = 4, start: int = 1000 * KWH) -> np.ndarray:
    """Registers that rise evenly by each meter's energy of the day."""
    risen = np.linspace(0, 1, slots + 1)[None, :] * np.array(day_kwh)[:, None]
    return start + np.rint(risen * KWH).astype(np.int64)


ONE = [(0, Role.SUPPLY, 40), (0, Role.RECEIVE, 1), (0, Role.RECEIVE, 1)]


def test_loss_is_main_forward_minus_users_import() -> None:
    # main: 5 kWh x 40 = 200 kWh; users 120 + 70 = 190 kWh; loss 10 kWh = 5 %
    result = day_balance(network(ONE), curve(5, 120, 70))
    assert result.status.tolist() == ["known"]
    assert (result.supplied[0], result.sold[0], result.loss[0]) == (200 * KWH, 190 * KWH, 10 * KWH)
    assert result.rate[0] == pytest.approx(0.05)
    assert result.loss_low[0] < result.loss[0] < result.loss_high[0]
    assert (result.meters_due[0], result.meters_complete[0]) == (3, 3)


def test_feed_in_counts_at_the_billing_meters_reverse_register() -> None:
    # main forward 2 x 40 = 80, main reverse 0.5 x 40 = 20; users import 60 + 30, export 40
    # loss = 80 + 40 - 20 - 90 = 10; denominator 80 + 40 = 120
    topology = network(
        [*ONE, (0, Role.AUXILIARY, 1)],
        exports=np.array([True, True, False, False]),
    )
    imports = curve(2, 60, 30, 55)
    exports = np.stack([curve(0.5)[0], curve(40)[0], np.full(5, MISSING), curve(9)[0]])
    result = day_balance(topology, imports, exports)
    assert result.supplied[0] == 120 * KWH
    assert result.loss[0] == 10 * KWH
    assert result.rate[0] == pytest.approx(10 / 120)
    # the generation meter is auxiliary: it is neither due nor counted
    assert result.meters_due[0] == 3


def test_a_point_that_feeds_in_owes_its_reverse_register() -> None:
    topology = network(ONE, exports=np.array([False, True, False]))
    result = day_balance(topology, curve(5, 120, 70))
    assert result.reason[0] == Reason.MISSING_REGISTER
    assert result.missing_in(0).tolist() == [101]


def test_missing_slots_inside_the_day_do_not_matter() -> None:
    imports = curve(5, 120, 70)
    imports[:, 1:-1] = MISSING
    assert day_balance(network(ONE), imports).loss[0] == 10 * KWH


@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize("end", [0, -1])
def test_a_missing_end_makes_the_area_unknown_and_a_freeze_makes_it_known(row: int, end: int) -> None:
    imports = curve(5, 120, 70)
    freezes = imports[:, [0, -1]].copy()
    imports[row, end] = MISSING
    unknown = day_balance(network(ONE), imports)
    assert unknown.status.tolist() == ["unknown"]
    assert unknown.loss[0] == unknown.supplied[0] == unknown.loss_low[0] == MISSING
    assert np.isnan(unknown.rate[0])
    assert (unknown.meters_due[0], unknown.meters_complete[0]) == (3, 2)
    assert unknown.missing_in(0).tolist() == [100 + row]
    assert day_balance(network(ONE), imports, freeze_imports=freezes).loss[0] == 10 * KWH


def test_one_dead_meter_leaves_the_other_areas_known() -> None:
    topology = network([*ONE, *[(1, role, m) for _, role, m in ONE]], areas=2)
    imports = np.concatenate([curve(5, 120, 70), curve(5, 120, 70)])
    imports[4] = MISSING
    result = day_balance(topology, imports)
    assert result.status.tolist() == ["known", "unknown"]
    assert result.missing_in(1).tolist() == [104]


def test_areas_without_both_sides_are_unknown() -> None:
    topology = network([(0, Role.SUPPLY, 1), (1, Role.RECEIVE, 1)], areas=3)
    result = day_balance(topology, curve(5, 5))
    assert result.reason.tolist() == [Reason.NO_CUSTOMER, Reason.NO_SUPPLY_METER, Reason.NO_SUPPLY_METER]
    assert (result.loss == MISSING).all()


def test_nothing_supplied_has_a_loss_but_no_rate() -> None:
    result = day_balance(network(ONE), curve(0, 0, 0))
    assert result.loss[0] == 0
    assert result.status[0] == "known"
    assert np.isnan(result.rate[0])


def test_roll_over_is_energy_and_any_other_decrease_is_not() -> None:
    top = ROLL_OVER - 100
    first = np.array([top, 500 * KWH, top, MISSING, 400_000 * KWH])
    last = np.array([200, 400 * KWH, 300_000 * KWH, 5, 0])
    assert advance(first, last).tolist() == [300, MISSING, MISSING, MISSING, MISSING]
    assert decreased(first, last).tolist() == [False, True, True, False, True]
    imports = curve(5, 120, 70)
    imports[1, -1] = imports[1, 0] - 1
    result = day_balance(network(ONE), imports)
    assert result.reason[0] == Reason.REGISTER_DECREASED
    imports[1] = ROLL_OVER - 60 * KWH, 0, 20 * KWH, 40 * KWH, 60 * KWH
    assert day_balance(network(ONE), imports).loss[0] == 10 * KWH


def test_steps_are_advances_from_column_to_column() -> None:
    random = np.random.default_rng(9)
    registers = random.integers(0, 40, (200, 30)).cumsum(axis=1)
    rolls = random.choice([300, ROLL_OVER], 200)
    registers %= rolls[:, None]
    registers[random.random(registers.shape) < 0.1] = MISSING
    registers[random.random(registers.shape) < 0.02] = 7
    expected = advance(registers[:, :-1], registers[:, 1:], rolls[:, None])
    assert np.array_equal(steps(registers, rolls), expected)
    assert np.array_equal(steps(registers[:, 3:9], rolls), expected[:, 3:8])
    assert np.array_equal(steps(registers), advance(registers[:, :-1], registers[:, 1:]))


def test_each_meter_rolls_over_by_its_own_digits() -> None:
    """The second customer's meter has five digits: 99,960 kWh and then 30 are 70 kWh for it, and a fall for a meter of six."""
    five = 100_000 * KWH
    imports = curve(5, 120, 70)
    imports[2] = five - 40 * KWH, five - 10 * KWH, 10 * KWH, 20 * KWH, 30 * KWH
    assert day_balance(network(ONE), imports).reason[0] == Reason.REGISTER_DECREASED
    digits = np.array([ROLL_OVER, ROLL_OVER, five])
    assert day_balance(network(ONE), imports, roll_over=digits).loss[0] == 10 * KWH
    slots = slot_balance(network(ONE), imports, roll_over=digits)
    assert slots.known.all()
    assert slots.loss.sum() == 10 * KWH
    assert not slot_balance(network(ONE), imports).known[0, 1]


def test_slots_are_known_one_by_one() -> None:
    imports = curve(5, 120, 70)
    imports[1, 2] = MISSING
    result = slot_balance(network(ONE), imports)
    assert result.known.tolist() == [[True, False, False, True]]
    assert result.loss[0, 0] == 2.5 * KWH
    assert result.rate[0, 0] == pytest.approx(0.05)
    assert np.isnan(result.rate[0, 1])


def test_a_slot_is_a_day_of_one_slot() -> None:
    """Every slot of many areas at once, in any order, with feeding in, holes, falls and roll-overs, is what it is worked out by itself."""
    random = np.random.default_rng(8)
    n, areas, slots = 2600, 60, 40
    area = random.integers(-1, areas, n)
    role = random.choice([0, 1, 1, 1, 1, 2], n)
    topology = network(
        [(int(a), Role(int(r)), int(m)) for a, r, m in zip(area, role, random.choice([1, 40], n), strict=True)],
        areas, exports=random.random(n) < 0.02,
    )  # fmt: skip
    imports, exports = (
        random.integers(0, 1000 * KWH, (n, 1)) + random.integers(0, KWH, (n, slots + 1)).cumsum(axis=1)
        for _ in range(2)
    )
    exports[random.random(n) < 0.95] = 0
    rolls = np.full(n, ROLL_OVER)
    rolls[random.random(n) < 0.1] = 100 * KWH
    imports %= rolls[:, None]
    for registers in (imports, exports):
        registers[random.random(registers.shape) < 0.002] = MISSING
        registers[random.random(registers.shape) < 0.001] = 3
    found = slot_balance(topology, imports, exports, roll_over=rolls)
    assert 0.1 < found.known.mean() < 0.9
    for k in range(slots):
        alone = day_balance(topology, imports[:, k : k + 2], exports[:, k : k + 2], roll_over=rolls)
        assert np.array_equal(found.supplied[:, k], alone.supplied)
        assert np.array_equal(found.sold[:, k], alone.sold)


def test_row_order_does_not_matter() -> None:
    random = np.random.default_rng(3)
    area = np.repeat(np.arange(5), 4)
    rows = [
        (int(a), Role.SUPPLY if n % 4 == 0 else Role.RECEIVE, 40 if n % 4 == 0 else 1)
        for n, a in enumerate(area)
    ]
    imports = np.concatenate([curve(5, 120, 40, 30 + a) for a in range(5)])
    shuffle = random.permutation(len(rows))
    straight = day_balance(network(rows, areas=5), imports)
    mixed = day_balance(network([rows[n] for n in shuffle], areas=5), imports[shuffle])
    assert np.array_equal(straight.loss, mixed.loss)
    assert np.array_equal(straight.loss_high, mixed.loss_high)
    straight_slots = slot_balance(network(rows, areas=5), imports)
    assert np.array_equal(straight_slots.loss.sum(axis=1), straight.loss)


def test_rows_outside_every_area_are_ignored() -> None:
    rows = [*ONE, (-1, Role.RECEIVE, 1)]
    imports = np.concatenate([curve(5, 120, 70), np.full((1, 5), MISSING)])
    assert day_balance(network(rows), imports).loss[0] == 10 * KWH


@pytest.mark.parametrize(
    "over",
    [
        {"area": np.array([0, 0, 1])},
        {"multiplier": np.array([0, 1, 1])},
        {"accuracy": np.array([0.01, 1.0, 0.01])},
        {"phases": np.ones(2, dtype=np.int8)},
    ],
)
def test_a_topology_that_cannot_be_is_refused(over: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Topology"):
        network(ONE, **over)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    customers=st.integers(1, 30),
    multiplier=st.sampled_from([1, 20, 120]),
    daily=st.sampled_from([0.0, 0.3, 8.0, 300.0]),
)
def test_bounds_contain_the_truth(seed: int, customers: int, multiplier: int, daily: float) -> None:
    """Every meter errs within class 1 and cuts its register at 0.01 kWh; the true loss stays within the
    bounds.
    """
    random = np.random.default_rng(seed)
    used = random.uniform(0, 2 * daily, customers)
    fed = np.where(random.random(customers) < 0.3, random.uniform(0, daily, customers), 0.0)
    lost = 0.05 * used.sum()
    flow = used.sum() + lost - fed.sum()
    main_in, main_out = max(flow, 0.0), max(-flow, 0.0)
    true_in = np.concatenate([[main_in / multiplier], used])
    true_out = np.concatenate([[main_out / multiplier], fed])

    def registers(true: np.ndarray) -> np.ndarray:
        start = random.uniform(0, 5000, customers + 1)
        shown = np.stack([start, start + true * (1 + random.uniform(-0.01, 0.01, customers + 1))], axis=1)
        return (np.floor(shown * 100) * 100).astype(np.int64)

    rows = [(0, Role.SUPPLY, multiplier), *[(0, Role.RECEIVE, 1)] * customers]
    topology = network(rows, exports=true_out > 0)
    result = day_balance(topology, registers(true_in), registers(true_out))
    assert result.known[0]
    assert result.loss_low[0] <= lost * KWH <= result.loss_high[0]
    # and they are no wider than what they stand for: twice each meter's class and two digits
    through = (main_in + main_out + used.sum() + fed.sum()) * 0.0205 + 0.045 * (multiplier + customers)
    assert result.loss_high[0] - result.loss_low[0] <= through * KWH
