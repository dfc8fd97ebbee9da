"""The table and the relay's state machine."""

from __future__ import annotations

import itertools

import pytest

from protocols.dlms import model, values
from protocols.quantity import quantities
from protocols.reading import REGISTER_QUANTITIES, SLOT_QUANTITIES

UNITS = {"kWh": model.WATT_HOUR, "V": model.VOLT, "A": model.AMPERE, "kW": model.WATT, "kvar": model.VAR}


def test_every_quantity_has_its_register() -> None:
    table = model.by_quantity()
    assert set(table) == set(SLOT_QUANTITIES) | set(REGISTER_QUANTITIES)
    for code, item in table.items():
        quantity = quantities()[code]
        medium, _, name = quantity.obis.partition(":")
        assert item.obis == f"{medium.replace('-', '.')}.{name}.255"
        assert item.unit == UNITS[quantity.unit]
        assert item.name_zh
        assert item.clause


def test_rows_are_whole_and_unique() -> None:
    assert len(model.by_name()) == len(model.items())
    for item in model.items():
        assert values.obis_text(values.obis_bytes(item.obis)) == item.obis
        assert (item.scaler is None) == (item.unit is None) == (item.quantity == "")


def test_phases() -> None:
    assert model.slot_quantities(3) == SLOT_QUANTITIES
    assert [c for c in SLOT_QUANTITIES if c not in model.slot_quantities(1)] == [
        "voltage_b", "voltage_c", "current_b", "current_c"
    ]  # fmt: skip


@pytest.mark.parametrize("mode", model.MODES)
def test_each_mode_is_deterministic(mode: int) -> None:
    moves = [model.TRANSITIONS[letter][:2] for letter in model.MODES[mode]]
    assert len(moves) == len(set(moves))


@pytest.mark.parametrize("mode", [*model.MODES, 9])
def test_relay_steps(mode: int) -> None:
    """Remote disconnect always opens; remote reconnect closes in 2 and 4 only, else it makes ready."""
    reached = {
        (state, event): model.relay_step(mode, state, event)
        for state, event in itertools.product(range(3), {name for name, *_ in model.TRANSITIONS.values()})
    }
    if mode in (0, 9):
        assert all(after == state for (state, _), after in reached.items())
        return
    assert reached[model.CONNECTED, "remote_disconnect"] == model.DISCONNECTED
    assert reached[model.READY, "remote_disconnect"] == model.DISCONNECTED
    closes = model.CONNECTED if mode in (2, 4) else model.READY
    assert reached[model.DISCONNECTED, "remote_reconnect"] == closes
    assert reached[model.READY, "manual_reconnect"] == model.CONNECTED
    assert (
        reached[model.DISCONNECTED, "manual_reconnect"] == model.DISCONNECTED
    )  # a key never opens a locked relay
    assert reached[model.CONNECTED, "manual_disconnect"] == (
        model.READY if mode in (1, 2, 5) else model.CONNECTED
    )
    assert reached[model.READY, "local_reconnect"] == (model.CONNECTED if mode in (5, 6) else model.READY)
