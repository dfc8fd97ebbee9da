"""What the voltages show as lost in a service: measured where it can be, nothing where it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lineloss.service import service_loss
from lineloss.topology import Role, Topology

Floats = NDArray[np.float64]
#: a day's load of one customer [A]
LOAD = 4.0 + 16.0 * np.exp(-((np.arange(96) / 4 - 19.0) ** 2) / 8)


def place(multiplier: int = 1) -> Topology:
    """A supply meter and one customer."""
    return Topology(
        meter=np.array([1, 2]),
        point=np.array([1, 2]),
        area=np.array([0, 0]),
        role=np.array([Role.SUPPLY, Role.RECEIVE], dtype=np.int8),
        multiplier=np.array([40, multiplier]),
        accuracy=np.full(2, 0.01),
        phases=np.array([3, 1], dtype=np.int8),
        exports=np.zeros(2, dtype=np.bool_),
        area_id=np.array([77]),
    )


def measured(ohm: float, current: Floats = LOAD, offset: float = 0.0) -> tuple[Floats, Floats]:
    """(voltage, current) float64[2, 3, 96] behind a service of `ohm`, read `offset` too low."""
    volts, amperes = np.full((2, 3, 96), np.nan), np.full((2, 3, 96), np.nan)
    volts[0] = np.array([[229.0], [231.0], [230.0]])
    amperes[0] = 1.0
    volts[1, 0] = 230.0 - ohm * current - offset
    amperes[1, 0] = current
    return volts, amperes


def test_a_wire_loses_current_squared_times_its_resistance() -> None:
    lost = service_loss(place(), *measured(0.5))
    np.testing.assert_allclose(lost[1], 0.5 * LOAD**2 / 4000)
    assert np.isnan(lost[0]).all()  # the supply meter has no service


def test_interval_and_current_transformers_scale_it() -> None:
    lost = service_loss(place(multiplier=10), *measured(0.5), interval=30)
    np.testing.assert_allclose(lost[1], 20 * 0.5 * LOAD**2 / 4000)


def test_noise_of_the_voltages_hardly_matters() -> None:
    volts, amperes = measured(0.5)
    volts += np.random.default_rng(1).normal(0.0, 0.3, volts.shape)
    assert service_loss(place(), volts, amperes)[1].sum() == pytest.approx(
        (0.5 * LOAD**2 / 4000).sum(), rel=0.05
    )


def test_the_direction_of_the_current_is_ignored() -> None:
    volts, amperes = measured(0.5)
    np.testing.assert_allclose(service_loss(place(), volts, -amperes), service_loss(place(), volts, amperes))


def test_a_gap_is_a_gap() -> None:
    volts, amperes = measured(0.5)
    volts[1, 0, 10], amperes[1, 0, 11], volts[0, :, 12] = np.nan, np.nan, np.nan
    lost = service_loss(place(), volts, amperes)[1]
    assert np.flatnonzero(np.isnan(lost)).tolist() == [10, 11, 12]
    np.testing.assert_allclose(lost[13:], 0.5 * LOAD[13:] ** 2 / 4000)


@pytest.mark.parametrize(
    ("volts", "amperes"),
    [
        measured(
            0.0, offset=30.0
        ),  # a tampered or faulty voltage circuit: the drop stays when the current goes
        measured(-0.3),  # the voltage rises with the load: not by this wire
        measured(0.5, current=np.full(96, 9.0)),  # a constant load shows no slope
        measured(0.0, offset=120.0),  # behind another transformer, or the phase is lost
    ],
)
def test_what_is_no_service_loss(volts: Floats, amperes: Floats) -> None:
    assert np.nansum(service_loss(place(), volts, amperes)) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("missing", ["supply", "customer", "all but a few"])
def test_nothing_is_said_about_what_is_not_measured(missing: str) -> None:
    volts, amperes = measured(0.5)
    if missing == "all but a few":
        volts[1, 0, 11:] = np.nan
    else:
        volts[0 if missing == "supply" else 1] = np.nan
    assert np.nansum(service_loss(place(), volts, amperes)) == 0.0


def test_an_area_without_anybody() -> None:
    empty = place()
    none = np.zeros((2, 3, 0))
    assert service_loss(empty, none, none).shape == (2, 0)
