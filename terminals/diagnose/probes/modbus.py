"""Modbus meters: everything the map has comes with the registers; who makes it, where the device tells."""

from __future__ import annotations

from protocols.modbus.requests import Identify, Identity
from terminals.diagnose.diagnosis import Trait
from terminals.diagnose.probe import Probe, trait
from terminals.drivers.driver import Meter, Script
from terminals.drivers.modbus import unit_of


class ModbusProbe(Probe):
    """A register map has no clock, relay or status words whose layout its maker's document confirms."""

    def identity(self, meter: Meter) -> Script[tuple[Trait, ...]]:
        """Function 2BH/0EH: vendor, product, revision."""
        told: Identity = yield Identify(unit_of(meter.address).number)
        texts = [value.decode("ascii", "replace") for _, value in sorted(told.objects.items())]
        return (trait("model", " ".join(texts)),)
