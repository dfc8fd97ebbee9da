"""Who draws unmetered, by voltages and currents: told from those of the same habits, on their own phase as on others."""

from __future__ import annotations

import numpy as np

from lineloss import regression
from lineloss.registers import ROLL_OVER
from lineloss.witness import ALL, Witness, listen
from tests.support.truth.homes import Weather, happen
from tests.support.truth.meters import Faults, Readings, read
from tests.support.truth.street import habits, street


def readings(seed: int, faults: Faults) -> Readings:
    """A week of a street whose 24 customers have the habits of ten."""
    profiles, sun = habits(seed=seed)
    profiles = {name: profiles[str(int(name) % 10)] for name in profiles}
    random = np.random.default_rng(seed)
    return read(
        happen(street(seed=seed), profiles, sun, Weather(10, 7, 1.5, spread=False), random), random, faults
    )


def heard(seen: Readings) -> Witness | None:
    energies = regression.energies(seen.topology, seen.imports, seen.exports, ROLL_OVER)
    rows = np.arange(len(seen.topology))
    net = energies.forward - energies.reverse
    return listen(seen.topology, rows, rows[1:], seen.voltage, seen.current, net)


def test_phases_and_groups() -> None:
    seen = readings(0, Faults())
    witness = heard(seen)
    assert witness is not None
    assert {g.phase for g in witness.groups} == {0, 1, 2, ALL}
    assert len({c for g in witness.groups for c in g.owner.tolist()}) >= 20
    assert all(np.abs(g.current @ g.others).max() < 1e-6 * np.abs(g.current).max() for g in witness.groups)


def test_the_thief_is_told_from_his_twins() -> None:
    by_flow, by_both = 0, 0
    for seed in range(6):
        seen = readings(seed, Faults(bypass=(8, 0.6)))
        witness = heard(seen)
        assert witness is not None
        used = (seen.imports[1:, -1] - seen.imports[1:, 0]) * 1e-4
        twins = [8, 18]
        asked = [(k, 1.5 * used[8] / used[k]) for k in twins]
        flow = np.array([witness.flows(k, c, 0.1 * c) for k, c in asked])  # on another phase
        both = flow + witness.places(asked)
        by_flow += int(flow[0] > 3 and flow[1] < 0)
        by_both += int(twins[int(np.argmax(both))] == 8)
    assert by_flow == 6
    assert by_both >= 5


def test_what_one_with_nothing_registered_draws_is_not_his_neighbours() -> None:
    right = 0
    for seed in range(6):
        seen = readings(seed, Faults(bypass=(8, 1.0)))
        witness = heard(seen)
        assert witness is not None
        drawn, used = seen.through[9].sum(), (seen.imports[1:, -1] - seen.imports[1:, 0]) * 1e-4
        coefficient = float(drawn / used[18])  # a twin's profile explains it all
        twin = float(witness.places([(18, coefficient)])[0]) + witness.flows(
            14, coefficient, 0.1 * coefficient
        )
        there = witness.elsewhere(18, coefficient, 0.1 * coefficient, np.array([8]))
        assert len(there) <= 1
        right += int((there > twin).any())
    assert right >= 4


def test_without_voltages_there_is_no_witness() -> None:
    seen = readings(0, Faults())
    seen.voltage[0] = np.nan
    assert heard(seen) is None
