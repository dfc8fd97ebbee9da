"""Angles from whatever a meter tells, and the picture of them."""

import math

import pytest

from terminals.diagnose.phasors import Phase, Phasors, Source, phasors_of, turned, weak
from terminals.diagnose.picture import HEIGHT, WIDTH, arrows, draw

STAR = {
    "voltage_a": 220.0,
    "voltage_b": 220.0,
    "voltage_c": 220.0,
    "current_a": 5.0,
    "current_b": 5.0,
    "current_c": 5.0,
}


def of(**values):
    found = phasors_of(STAR | values)
    assert found is not None
    return found.phases[0]


@pytest.mark.parametrize(
    ("degrees", "over"), [(0, 0), (180, 180), (-180, 180), (340, -20), (-340, 20), (540, 180), (270, -90)]
)
def test_a_direction_has_one_name(degrees, over):
    assert turned(degrees) == over


def test_the_meter_s_own_angle_counts():
    phase = of(phase_angle_a=25.3, active_power_a=0.99, reactive_power_a=0.47)
    assert (phase.angle, phase.source, phase.doubt) == (25.3, Source.METER, False)


def test_a_meter_that_counts_the_other_way_is_known_by_its_own_powers():
    phase = of(phase_angle_a=334.7, active_power_a=0.99, reactive_power_a=0.47)
    assert phase.angle == pytest.approx(25.3)
    assert not phase.doubt


def test_an_angle_against_the_meter_s_own_powers_is_doubted():
    phase = of(phase_angle_a=100.0, active_power_a=0.99, reactive_power_a=0.47)
    assert (phase.angle, phase.doubt) == (100.0, True)


@pytest.mark.parametrize(
    ("power", "reactive", "angle"),
    [(1, 1, 45), (1, -1, -45), (-1, 1, 135), (-1, -1, -135), (1, 0, 0), (-1, 0, 180)],
)
def test_without_angles_they_follow_from_the_signs_of_the_powers(power, reactive, angle):
    phase = of(active_power_a=power, reactive_power_a=reactive)
    assert phase.angle == pytest.approx(angle)
    assert phase.source is Source.POWERS


def test_from_a_factor_alone_lagging_is_assumed_and_said():
    phase = of(power_factor_a=0.5)
    assert phase.angle == pytest.approx(60)
    assert phase.source is Source.FACTOR


def test_nothing_known_is_no_angle():
    phase = of()
    assert math.isnan(phase.angle)
    assert phase.source is Source.NONE
    assert math.isnan(of(active_power_a=0.0, reactive_power_a=0.0).angle)
    assert math.isnan(of(power_factor_a=1.4).angle)


def test_totals_are_those_of_the_only_phase_and_of_no_other():
    single = phasors_of({"voltage_a": 220.0, "current_a": 1.0, "active_power": 0.2, "reactive_power": 0.1})
    assert single is not None
    assert single.phases[0].power == 0.2
    assert math.isnan(of(active_power=0.6, reactive_power=0.1).power)


def test_without_voltage_and_current_there_is_no_picture():
    assert phasors_of({"active_power": 1.0}) is None


def test_a_faint_current_has_no_direction():
    found = phasors_of(STAR | {"current_b": 0.001, "phase_angle_a": 10.0, "phase_angle_b": 170.0})
    assert found is not None
    assert [weak(phase, found) for phase in found.phases] == [False, True, False]
    assert {arrow.label for arrow in arrows(found)} == {"Ua", "Ub", "Uc", "Ia"}


def test_a_negative_current_is_a_magnitude_here():
    assert of(current_a=-5.0).current == 5.0


def test_measured_angles_between_voltages_go_before_the_regular_ones():
    found = phasors_of(STAR, {"A": 0.0, "B": 240.0, "C": 120.0})
    assert found is not None
    assert found.measured
    assert found.star == (0.0, 240.0, 120.0)
    assert phasors_of(STAR, {"A": 0.0}) == phasors_of(STAR)  # half of it is worth nothing


# --- the picture ---


def at(lines, label):
    """(column, row) of a label, from the middle: right and up are positive."""
    (middle,) = [(line.index("+"), row) for row, line in enumerate(lines) if "+" in line]
    ((column, row),) = [(line.index(label), row) for row, line in enumerate(lines) if label in line]
    return column - middle[0], middle[1] - row


@pytest.mark.parametrize("plain", [False, True])
def test_labels_stand_where_the_angles_say(plain):
    found = phasors_of(STAR | {"phase_angle_a": 30.0, "phase_angle_b": 30.0, "phase_angle_c": 210.0})
    assert found is not None
    lines = draw(found, plain=plain)
    assert at(lines, "Ua")[1] > 7  # straight up
    x, y = at(lines, "Ia")
    assert x > 2
    assert y > 4  # lagging is clockwise
    x, y = at(lines, "Ub")
    assert x > 10
    assert y < 0
    x, y = at(lines, "Ic")  # C at 240 degrees, its current another 210: at 90, to the right
    assert x > 10
    assert abs(y) <= 1


@pytest.mark.parametrize("angle", range(0, 360, 15))
def test_every_label_is_there_whatever_falls_together(angle):
    found = phasors_of(STAR | {f"phase_angle_{name}": float(angle) for name in "abc"})
    assert found is not None
    text = "\n".join(draw(found, plain=True))
    assert text.isascii()
    for label in ("Ua", "Ub", "Uc", "Ia", "Ib", "Ic"):
        assert text.count(label) == 1
    lines = draw(found)
    assert len(lines) <= HEIGHT
    assert max(map(len, lines)) <= WIDTH


def test_nothing_to_draw_is_no_lines():
    assert draw(Phasors((Phase("A", voltage=0.0, current=0.0),), (0.0,))) == ()
