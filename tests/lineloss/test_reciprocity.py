"""Reciprocity finds the place of a hidden current in networks that it knows nothing of."""

from __future__ import annotations

import numpy as np
import pytest

from lineloss.reciprocity import Hidden, likelihoods

Floats = np.ndarray


def network(ports: int, random: np.random.Generator) -> Floats:
    """Resistances of a random tree, [port, port] [ohm]: what two ports share of the way to the transformer."""
    parent = [int(random.integers(0, k + 1)) - 1 for k in range(ports)]
    ways = np.zeros((ports, ports))
    for k in range(ports):
        at = k
        while at >= 0:
            ways[k, at] = 1
            at = parent[at]
    return ways @ np.diag(random.uniform(0.02, 0.1, ports)) @ ways.T


def currents(ports: int, slots: int, random: np.random.Generator, habits: int | None = None) -> Floats:
    """[port, slot] [A]; `habits`: so many profiles are shared by all."""
    profiles = random.gamma(0.7, 3.0, (habits or ports, slots))
    return profiles[np.arange(ports) % len(profiles)] * random.uniform(0.5, 1.5, (ports, 1))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("habits", [None, 4])
def test_the_thief_is_told_from_customers_of_the_same_habits(seed: int, habits: int | None) -> None:
    random = np.random.default_rng(seed)
    metered = currents(16, 400, random, habits)
    thief = int(random.integers(16))
    truly = metered.copy()
    truly[thief] *= 2.5
    drop = np.round(network(16, random) @ truly + random.uniform(-1, 1, (16, 1)), 1)
    alike = [k for k in range(16) if habits and k % habits == thief % habits] or list(range(16))
    # each is asked for the energy that is missing, whatever part of his own that is
    lost = 1.5 * metered[thief].sum()
    guesses = [Hidden(np.array([k]), metered[[k]] * lost / metered[k].sum()) for k in alike]
    said = likelihoods(drop, metered, guesses)
    assert alike[int(np.argmax(said))] == thief
    assert said.max() > 0


def test_a_tap_is_found_where_no_meter_shows_anything() -> None:
    random = np.random.default_rng(20)
    metered = currents(12, 400, random)
    metered[5] = 0.0
    truly = metered.copy()
    truly[5] = random.gamma(0.7, 6.0, 400)
    drop = np.round(network(12, random) @ truly, 1)
    said = likelihoods(drop, metered, [Hidden(np.array([k]), truly[[5]]) for k in range(12)])
    assert int(np.argmax(said)) == 5


def test_honest_customers_are_better_explained_by_nothing_hidden() -> None:
    worse = 0
    for seed in range(30, 40):
        random = np.random.default_rng(seed)
        metered = currents(12, 400, random)
        drop = np.round(network(12, random) @ metered, 1)
        said = likelihoods(drop, metered, [Hidden(np.array([k]), metered[[k]]) for k in range(12)])
        worse += int((said < 0).sum())
    assert worse >= 0.9 * 120


def test_no_current_and_no_drop_say_nothing() -> None:
    nothing = np.zeros((3, 50))
    assert likelihoods(nothing, nothing, [Hidden(np.array([0]), nothing[[0]])]).tolist() == [0.0]
