"""A current that no meter measures is missed on its phase and at its hours, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from lineloss.kirchhoff import Phase, likelihood, phases

Floats = np.ndarray
PHASE = np.arange(12) % 3
SHARE = np.eye(3)[PHASE]
NOBODY = np.zeros((0, 400))


def currents(random: np.random.Generator, habits: int = 12) -> Floats:
    """[port, slot] [A]; `habits`: so many profiles are shared by all twelve."""
    profiles = random.gamma(0.7, 3.0, (habits, 400))
    return profiles[np.arange(12) % habits] * random.uniform(0.5, 1.5, (12, 1))


def seen(
    true: Floats, random: np.random.Generator, thief: int | None = None, share: float = 0.6
) -> tuple[Floats, Floats]:
    """(at the supply [3, slot], metered [port, slot]): ammeters half a per cent off, angles that differ."""
    total = np.stack([true[p == PHASE].sum(axis=0) for p in range(3)]) * (
        1 - random.uniform(0, 0.004, (3, 400))
    )
    metered = true.copy()
    if thief is not None:
        metered[thief] *= 1 - share
    return total.round(3), (metered * random.uniform(0.995, 1.005, (12, 1))).round(3)


def said(
    lines: list[Phase | None], metered: Floats, port: int, coefficient: float, phase: int | None = None
) -> float:
    line = lines[int(PHASE[port]) if phase is None else phase]
    assert line is not None
    return likelihood(*line.ask(metered[port]), coefficient, 0.2 * coefficient)


@pytest.mark.parametrize("seed", range(5))
def test_the_thief_is_told_from_twins_on_other_phases(seed: int) -> None:
    random = np.random.default_rng(seed)
    true = currents(random, habits=2)
    total, metered = seen(true, random, thief=4)
    lines = phases(total, metered, SHARE, NOBODY)
    found = [said(lines, metered, port, 1.5 * metered[4].sum() / metered[port].sum()) for port in range(12)]
    alike = [port for port in range(12) if port % 2 == 0]
    assert found[4] > 100
    assert all(found[port] < 0 for port in alike if PHASE[port] != PHASE[4])


def test_nobody_is_missed_where_nobody_hides() -> None:
    random = np.random.default_rng(10)
    total, metered = seen(currents(random), random)
    lines = phases(total, metered, SHARE, NOBODY)
    assert max(said(lines, metered, port, 0.5) for port in range(12)) < 0


def test_a_wave_is_found_on_the_phase_it_flows_on() -> None:
    random = np.random.default_rng(11)
    total, metered = seen(currents(random), random, thief=4)
    lines = phases(total, metered, SHARE, NOBODY)
    on = [said(lines, metered, 4, 1.5, phase) for phase in range(3)]
    assert int(np.argmax(on)) == PHASE[4]
    assert sorted(on)[1] < 0


def test_holes_and_meters_without_instants_take_little_away() -> None:
    random = np.random.default_rng(12)
    true = currents(random)
    total, metered = seen(true, random, thief=4)
    holed = np.where(random.random(metered.shape) < 0.03, np.nan, metered)
    total[:, 7] = np.nan
    rest = np.arange(12) != 7  # who has no ammeter: what his register says, on whichever phase
    by_energy = true[[7]] * random.normal(1, 0.02, 400)
    lines = phases(total, holed[rest], SHARE[rest], by_energy)
    assert said(lines, metered, 4, 1.5) > 50
    assert max(said(lines, metered, port, 1.5) for port in (1, 10)) < 0


def test_what_is_not_measured_or_not_certain_says_little() -> None:
    random = np.random.default_rng(13)
    total, metered = seen(currents(random), random, thief=4)
    sure = said(phases(total, metered, SHARE, NOBODY), metered, 4, 1.5)
    maybe = np.where(np.arange(12)[:, None] % 4 == 0, 1 / 3, SHARE)  # his wave may be his own on any phase
    assert abs(said(phases(total, metered, maybe, NOBODY), metered, 4, 1.5)) < 0.1 * sure
    total[0] = np.nan
    assert phases(total, metered, SHARE, NOBODY)[0] is None
    assert phases(total[:, :30], metered[:, :30], SHARE, NOBODY[:, :30])[1] is not None
    assert phases(total[:, :10], metered[:, :10], SHARE, NOBODY[:, :10])[1] is None
