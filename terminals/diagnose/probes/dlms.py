"""DLMS/COSEM meters: powers, factors and angles by phase, battery, ratios, and what the meter says of itself."""

from __future__ import annotations

from typing import Final

from protocols.dlms.exchange import Get
from protocols.dlms.values import Data
from protocols.errors import Refused
from protocols.quantity import quantities
from terminals.diagnose.diagnosis import Trait
from terminals.diagnose.probe import Power, Probe, trait
from terminals.drivers.driver import Meter, Script
from terminals.items.dlms import DlmsItems, shown

#: IEC 62056-6-1: powers and factors by phase, angles of currents to voltages, neutral current, frequency.
POWER: Final = tuple(
    [
        f"{what}_{phase}"
        for what in ("active_power", "reactive_power", "power_factor", "phase_angle")
        for phase in "abc"
    ]
    + ["power_factor", "current_n", "frequency"]
)
BATTERY: Final = "clock_battery"
#: (class, OBIS, attribute): logical device name, device id 1 (the number on the plate with most makers), ratios 0.4.2 and 0.4.3.
IDENTITY: Final = {
    "model": (1, "0.0.42.0.0.255", 2),
    "number": (1, "0.0.96.1.0.255", 2),
    "ct": (1, "1.0.0.4.2.255", 2),
    "pt": (1, "1.0.0.4.3.255", 2),
}


class DlmsProbe(Probe):
    """Every object is asked for by its name; what a meter does not have it refuses."""

    def identity(self, meter: Meter) -> Script[tuple[Trait, ...]]:
        found, refused = [], Refused("the meter says nothing of itself", code=-1)
        for key, (class_id, obis, attribute) in IDENTITY.items():
            try:
                data: Data = yield Get(class_id, obis, attribute)
            except Refused as no:
                refused = no
                continue
            found.append(trait(key, shown(data)[0]))
        if not found:
            raise refused
        return tuple(found)

    def power(self, meter: Meter) -> Script[Power]:
        values: dict[str, float] = {}
        for code in POWER:
            number = yield from self._number(meter, code)
            if number is not None:
                values[code] = number
        return Power(values)

    def battery(self, meter: Meter) -> Script[float]:
        volts = yield from self._number(meter, BATTERY)
        if volts is None:
            raise Refused(f"the meter has no {quantities()[BATTERY].obis}", code=-1)
        return volts

    def _number(self, meter: Meter, code: str) -> Script[float | None]:
        """A register's value in the quantity's unit; None where the meter has none, or one in another unit."""
        items = DlmsItems()
        for item in items.find(code):
            for told in (yield from items.ask(meter, item)):
                if isinstance(told.value, int | float) and told.unit in (quantities()[code].unit, "", "?"):
                    return float(told.value)
        return None
