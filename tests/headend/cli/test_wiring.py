"""The wiring's verdict under the phasors of a diagnosis: from what a meter tells, on a real socket, in both languages."""

from __future__ import annotations

import asyncio
import math
from decimal import Decimal
from typing import Any

import pytest

from headend.cli.wiring import moment_of, verdict
from terminals.diagnose.phasors import phasors_of
from tests.support.registers import device, over_tcp

VOLTS, AMPERES = 230.0, 5.0


def shown(*angles: float) -> dict[str, Decimal]:
    """The registers of a three-phase meter whose currents lag their voltages by so many degrees."""
    told: dict[str, Decimal] = {}
    for phase, angle in zip("abc", angles, strict=True):
        told[f"voltage_{phase}"], told[f"current_{phase}"] = Decimal(VOLTS), Decimal(AMPERES)
        told[f"active_power_{phase}"] = Decimal(round(VOLTS * AMPERES * math.cos(math.radians(angle)), 1))
        told[f"reactive_power_{phase}"] = Decimal(round(VOLTS * AMPERES * math.sin(math.radians(angle)), 1))
    return told


@pytest.mark.parametrize(
    ("angles", "en", "zh"),
    [
        ((10, 10, 10), "Wiring: certainly right (load lagging 10°).", "接线:确定接线正确(负荷滞后 10°)。"),
        (
            (10, 130, -110),
            "Wiring: certainly currents of B and C exchanged (load lagging 10°, 0% of its power is counted).",
            "接线:确定B、C 相电流互换(负荷滞后 10°,计量 0%)。",
        ),
        (
            (10, 10, -170),
            "Wiring: certainly current of C reversed (load lagging 10°, 33% of its power is counted).",
            "接线:确定C 相电流反接(负荷滞后 10°,计量 33%)。",
        ),
    ],
)
async def test_a_meter_on_a_socket_is_judged_under_its_phasors(
    bare: Any, angles: tuple[float, ...], en: str, zh: str
) -> None:
    async with over_tcp(device(1, "sdm630", shown(*angles))) as port:
        asked = ("diagnose", f"tcp://127.0.0.1:{port}", "--protocol", "modbus-tcp", "--address", "1@sdm630")
        for lang, sentence in (("en", en), ("zh", zh)):
            said = await asyncio.to_thread(bare, *asked, "--lang", lang)
            assert sentence in " ".join(said.out.split("\n")), said
        told = (await asyncio.to_thread(bare, *asked, "--json")).json()
    assert told["wiring"] == {"en": en, "zh": zh}


def phases(angle: dict[str, float] | None = None, **more: float) -> dict[str, float]:
    told = {f"voltage_{p}": VOLTS for p in "abc"} | {f"current_{p}": AMPERES for p in "abc"}
    return (
        told | {f"phase_angle_{p}": a for p, a in (angle or {"a": 10.0, "b": 10.0, "c": 10.0}).items()} | more
    )


def said(values: dict[str, float], star: dict[str, float] | None = None) -> str:
    phasors = phasors_of(values, star)
    assert phasors is not None
    told = verdict(phasors)
    assert told is not None
    return told[0]


def test_a_power_factor_alone_is_not_enough() -> None:
    values = {k: v for k, v in phases().items() if not k.startswith("phase_angle")}
    assert (
        said(values | {f"power_factor_{p}": 0.9 for p in "abc"})
        == "Wiring: cannot tell, the meter tells no angles."
    )


def test_no_load_is_said_to_be_none() -> None:
    assert "too small to have a direction" in said(phases(current_a=0.0, current_b=0.001, current_c=0.0))


def test_two_elements_between_three_wires() -> None:
    values = {
        "voltage_a": 100.0, "voltage_b": 0.0, "voltage_c": 101.0, "current_a": 2.0, "current_b": 0.0, "current_c": 2.1,
        "phase_angle_a": 40.0, "phase_angle_c": 340.0,
    }  # fmt: skip
    assert said(values) == "Wiring: certainly right (load lagging 10°)."
    assert "currents of A and C exchanged" in said(values | {"phase_angle_a": 280.0, "phase_angle_c": 100.0})


def test_the_order_of_the_phases_and_a_voltage_that_is_lost() -> None:
    reverse = {"A": 0.0, "B": 240.0, "C": 120.0}
    assert said(phases(), reverse) == (
        "The voltages come in reverse order (phase sequence). Wiring: certainly right but for the order of the phases "
        "(load lagging 10°, 100% of its power is counted)."
    )
    told = said(phases(voltage_b=12.0))
    assert told.startswith("Voltage of B lost. Wiring: most likely right")


def test_a_neutral_that_is_adrift() -> None:
    assert "the neutral" in said(phases(voltage_a=180.0, voltage_b=262.0, voltage_c=231.0))


def test_what_is_no_three_phase_meter_is_judged_as_far_as_it_goes() -> None:
    single = {"voltage_a": 230.0, "current_a": 3.0, "phase_angle_a": 200.0}
    assert "current of A reversed" in said(single)
    two = phasors_of({"voltage_a": 230.0, "voltage_b": 230.0, "current_a": 3.0, "phase_angle_a": 10.0})
    assert two is not None
    assert verdict(two) is None
    dark = phasors_of({"voltage_a": 0.0, "current_a": 0.0})
    assert dark is not None
    assert moment_of(dark) is None
