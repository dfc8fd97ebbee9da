"""What scripts/truth stands on: the tree, its power flow, the meters; and a small street of our own scored as the foreign networks are."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.truth.flow import TURN, solve
from tests.support.truth.goals import table
from tests.support.truth.grid import Grid, tree
from tests.support.truth.homes import Day, Weather, happen
from tests.support.truth.meters import Faults, read, together
from tests.support.truth.score import QUESTIONS
from tests.support.truth.street import habits, stage, street


def line(loads: list[int], phases: list[int]) -> Grid:
    """0 - 1 - 2 - 3 of 0.1 ohm each, four times that to zero sequence."""
    one = (0.1 + 0.05j, 0.4 + 0.2j)
    names = ["0"] * len(loads)
    return tree(
        "line",
        0,
        [(0, 1), (1, 2), (2, 3)],
        [one] * 3,
        (1e-9, 1e-9),
        230.0,
        loads,
        phases,
        [1.0] * len(loads),
        names,
    )


def test_nodes_that_only_pass_on_are_joined() -> None:
    grid = line([3], [0])
    assert len(grid) == 2
    assert grid.positive[1] == pytest.approx(0.3 + 0.15j)
    with pytest.raises(ValueError, match="not fed"):
        tree("gap", 0, [(0, 1)], [(1, 1)], (1, 1), 230.0, [5], [0], [1.0], ["0"])


def test_the_power_flow_is_ohms_law() -> None:
    """One customer on one phase: the loop is (Z0 + 2 Z1) / 3, and I R of it is what he lacks."""
    grid = line([3], [0])
    loads = np.zeros((2, 3, 1), dtype=complex)
    loads[1, 0] = 4000
    flow = solve(grid, loads, 230.0 * TURN[:, None])
    current = 4000 / flow.volts[1, 0, 0]
    loop = 3 * (0.4 + 0.2j + 2 * (0.1 + 0.05j)) / 3
    assert flow.volts[1, 0, 0] == pytest.approx(230.0 - loop * np.conj(current), abs=1e-3)
    assert flow.loss[0] == pytest.approx(loop.real * abs(current) ** 2, rel=1e-4)
    # the neutral's drop raises the phases that draw nothing
    assert abs(flow.volts[1, 1, 0]) > 230.0
    assert flow.supply[0] == pytest.approx(4000 + flow.loss[0])


def test_a_collapse_is_an_error_not_a_number() -> None:
    loads = np.full((2, 3, 1), 2e6, dtype=complex)
    with pytest.raises(ValueError, match="converge"):
        solve(line([3], [0]), loads, 230.0 * TURN[:, None])


def two_days(seed: int = 1) -> Day:
    profiles, sun = habits()
    return happen(street(), profiles, sun, Weather(3, 2), np.random.default_rng(seed))


def test_registers_add_up_to_what_flowed_within_the_class() -> None:
    day = two_days()
    seen = read(day, np.random.default_rng(2))
    shown = (seen.imports[:, -1] - seen.imports[:, 0]) * 1e-4 * seen.topology.multiplier
    true = seen.through.sum(axis=1)
    assert np.all(
        np.abs(shown / true - 1) < seen.topology.accuracy * 1.2 + 0.02 * seen.topology.multiplier / true
    )
    assert seen.loss.sum() == pytest.approx(day.flow.loss.sum() / 4000)


def test_faults_are_planted_as_they_are_named() -> None:
    day = two_days()

    def shown(faults: Faults) -> np.ndarray:
        seen = read(day, np.random.default_rng(3), faults)
        return (seen.imports[:, -1] - seen.imports[:, 0]) * 1e-4

    honest = shown(Faults())
    assert shown(Faults(bypass=(2, 0.6)))[3] == pytest.approx(0.4 * honest[3], abs=0.03)
    assert shown(Faults(stuck=(2, 0)))[3] == 0
    assert shown(Faults(turned=5))[6] == pytest.approx(honest[6] / 3, rel=0.02)
    assert read(day, np.random.default_rng(3), Faults(ratio=(5, 1))).topology.multiplier[6] > 6
    both = together(
        [read(day, np.random.default_rng(4)), read(day, np.random.default_rng(5), area=1)], [(0, 2, 1)]
    )
    assert both.topology.area[3] == 1
    assert np.bincount(both.topology.area).tolist() == [24, 26]


def test_every_question_of_a_street() -> None:
    """The chain as a whole, on a street of ours, with what may be asked of one case: every figure is there and the sure ones are right."""
    figures: dict[str, list[float]] = {}
    for seed, (name, ask) in enumerate(QUESTIONS.items()):
        for figure, values in ask(stage(), np.random.default_rng(seed), 7).items():
            assert np.isfinite(values).all(), (name, figure)
            figures.setdefault(figure, []).extend(values)
    assert abs(figures["technical loss, 7 d: error"][0]) < 0.25
    assert np.mean(figures["bounds, complete, main class 0.5: contain the truth"]) > 0.5
    assert max(figures["bounds, 3 % missing, main class 0.5: width"]) < 0.03
    assert figures["stuck meter: found"] == [1.0]
    assert sum(figures["wrong area, 7 d: honest accused (customers)"]) == 0
    shown = {name: (text, goal) for name, text, goal, _ in table(figures)}
    assert shown["technical loss, 7 d: error"][1] == "median <= 10 %, 90th percentile <= 25 %"
