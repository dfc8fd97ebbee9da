"""What a transformer loses, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lineloss.transformer import LOAD_COEFFICIENT, Plates, losses, power

NAN = float("nan")
#: 400 kVA: P0 0.57 kW, Pk 4.3 kW, I0 1 %, Uk 4 %
NAMES = ("sn", "p0", "pk", "i0", "uk", "k")


def plate(**over: float) -> Plates:
    values = dict(zip(NAMES, (400.0, 0.57, 4.3, 1.0, 4.0, NAN), strict=True)) | over
    return Plates(**{name: np.array([value]) for name, value in values.items()})


NONE = np.full((1, 0), NAN)


def test_power_by_load() -> None:
    # at half load: 0.57 + 0.25 x 4.3 = 1.645 kW; at full load 4.87
    assert power(plate(), np.array([[0.0, 200.0, 400.0]]))[0].tolist() == pytest.approx([0.57, 1.645, 4.87])
    # with 0.1 kW a kvar: Q0 = 4 kvar, Qk = 16 kvar: 0.57 + 0.4 + 0.25 x (4.3 + 1.6) = 2.445 kW
    assert power(plate(), np.array([200.0]), 0.1)[0] == pytest.approx(2.445)


def test_by_quarter_hours() -> None:
    # half the day 100 kWh and 0 kvarh a quarter-hour (400 kW, b = 1), half the day 25 and 18.75 (100 kW, 75 kvar: 125 kVA, b = 0.3125)
    p = np.r_[np.full(48, 100.0), np.full(48, 25.0)][None, :]
    q = np.r_[np.zeros(48), np.full(48, 18.75)][None, :]
    told = losses(plate(), 24.0, p.sum(axis=1), q.sum(axis=1), p, q)
    assert told.iron[0] == pytest.approx(0.57 * 24)
    copper = 12 * 4.3 + 12 * 4.3 * 0.3125**2
    assert told.copper[0] == pytest.approx(copper)
    assert told.low[0] == told.high[0] == pytest.approx(0.57 * 24 + copper)  # nothing is guessed
    assert told.by_curve[0] == 1
    # 24 h x 4 kvar + 16 kvar x (12 + 12 x 0.3125^2)
    assert told.reactive[0] == pytest.approx(96 + 16 * 12 * (1 + 0.3125**2))
    assert told.load[0] == pytest.approx(np.sqrt((1 + 0.3125**2) / 2))


def test_by_energies() -> None:
    # 4800 kWh and 0 kvarh in 24 h: 200 kW, b = 0.5; copper 24 x 4.3 x 0.25 x K
    told = losses(plate(k=1.2), 24.0, np.array([4800.0]), np.array([0.0]), NONE, NONE)
    assert told.copper[0] == pytest.approx(24 * 4.3 * 0.25 * 1.2)
    assert told.by_curve[0] == 0
    assert told.low[0] == pytest.approx(0.57 * 24 + 24 * 4.3 * 0.25)  # an even load loses least
    assert told.low[0] < told.iron[0] + told.copper[0] < told.high[0]
    default = losses(plate(), 24.0, np.array([4800.0]), np.array([0.0]), NONE, NONE)
    assert default.copper[0] == pytest.approx(24 * 4.3 * 0.25 * LOAD_COEFFICIENT)


def test_without_reactive_energy_the_power_factor_is_guessed_and_the_limits_say_so() -> None:
    p = np.full((1, 96), 50.0)  # 200 kW
    told = losses(plate(), 24.0, p.sum(axis=1), np.array([NAN]), p, np.full((1, 96), NAN))
    assert told.copper[0] == pytest.approx(24 * 4.3 * 0.25 / 0.9**2)
    assert told.low[0] == pytest.approx(0.57 * 24 + 24 * 4.3 * 0.25)
    assert told.high[0] == pytest.approx(0.57 * 24 + 24 * 4.3 * 0.25 / 0.8**2)


def test_what_quarter_hours_lack_goes_by_the_rest_of_the_energy() -> None:
    p = np.full((1, 96), 50.0)
    p[0, 48:] = NAN
    q = np.where(np.isnan(p), NAN, 0.0)
    told = losses(plate(k=1.0), 24.0, np.array([4800.0]), np.array([0.0]), p, q)
    assert told.copper[0] == pytest.approx(24 * 4.3 * 0.25)
    assert told.by_curve[0] == 0.5
    gone = losses(plate(), 24.0, np.array([NAN]), np.array([NAN]), p, q)
    assert np.isnan(gone.copper[0])
    assert np.isnan(gone.iron[0])


def test_a_plate_that_does_not_say_enough_gives_nothing() -> None:
    told = losses(plate(pk=NAN), 24.0, np.array([4800.0]), np.array([0.0]), NONE, NONE)
    assert np.isnan(told.copper[0])
    lacks = losses(plate(i0=NAN), 24.0, np.array([4800.0]), np.array([0.0]), NONE, NONE)
    assert not np.isnan(lacks.copper[0])
    assert np.isnan(lacks.reactive[0])


def test_an_uneven_load_stays_within_the_limits_of_its_energy() -> None:
    random = np.random.default_rng(3)
    p = 25 * (1 + 0.3 * np.sin(np.arange(96) / 15))[None, :] * random.uniform(0.9, 1.1, (1, 96))
    q = np.zeros((1, 96))
    exact = losses(plate(), 24.0, p.sum(axis=1), q.sum(axis=1), p, q)
    rough = losses(plate(), 24.0, p.sum(axis=1), q.sum(axis=1), NONE, NONE)
    assert rough.low[0] <= exact.iron[0] + exact.copper[0] <= rough.high[0]
