"""DL/T 698.45: a terminal or meter that speaks it, and a DL/T 645 meter behind such a terminal through PROXY."""

from __future__ import annotations

from typing import Final

from protocols.dlt698.requests import Get
from protocols.dlt698.values import Data
from protocols.errors import FrameError, Refused
from terminals.diagnose.diagnosis import Trait
from terminals.diagnose.probe import Power, Probe, Status, trait
from terminals.diagnose.probes import dlt645
from terminals.drivers.dlt698 import Dlt698Driver
from terminals.drivers.driver import Meter, Script
from terminals.items.dlt698 import Dlt698Items

#: Powers and factors, angles of currents to voltages, frequency.
POWER: Final = ("20040200", "20050200", "200A0200", "20030200", "200F0200")
VOLTAGE_ANGLES: Final = "20020200"
STATUS: Final = 0x20140200
IDENTITY: Final = {"address": "40010200", "number": "40020200"}
#: Attribute 9 of the public network module, class 25: long, dBm.
SIGNAL: Final = 0x45000900
BATTERY: Final = "20110200"


class Dlt698Probe(Probe):
    """`Meter.address` equal to `Meter.terminal`, or no terminal: the device itself. Meters that speak it have no radio, and refuse."""

    terminal = True

    def __init__(self, driver: Dlt698Driver) -> None:
        super().__init__(driver)
        self._terminal = driver
        self._items = Dlt698Items()

    def identity(self, meter: Meter) -> Script[tuple[Trait, ...]]:
        found = []
        for key, oad in IDENTITY.items():
            value = yield from self._first(meter, oad)
            if value not in (None, ""):
                found.append(trait(key, value))
        if not found and not _itself(meter):  # a DL/T 645 meter, most likely
            return (yield from self._terminal.through(meter, dlt645.identity(meter)))
        if not found:
            raise Refused(f"{meter.address} says nothing of itself", code=-1)
        return tuple(found)

    def power(self, meter: Meter) -> Script[Power]:
        values: dict[str, float] = {}
        for oad in POWER:
            for item in self._items.find(oad):
                for told in (yield from self._items.ask(meter, item)):
                    if told.quantity and isinstance(told.value, int | float):
                        values[told.quantity] = _in_thousands(told.quantity, told.value)
        if not values and not _itself(meter):
            return (yield from self._terminal.through(meter, dlt645.power(meter)))
        return Power(values, (yield from self._star(meter)))

    def status(self, meter: Meter) -> Script[Status]:
        """2014: an array of bit strings, taken for DL/T 645's seven words, which no public source says in so many words."""
        if not _itself(meter):
            return (yield from self._terminal.through(meter, dlt645.status(meter)))
        told: Data = yield Get(STATUS)
        words: dict[int, int] = {}
        for number, word in enumerate(told.value if isinstance(told.value, tuple) else (), 1):
            if isinstance(word.value, str) and len(word.value) == 16:
                words[number] = int(word.value[::-1], 2)  # bit 0 is sent first
        if not words:
            raise FrameError("2014: no status words of 16 bits")
        return dlt645.status_of(words)

    def battery(self, meter: Meter) -> Script[float]:
        if not _itself(meter):
            return (yield from self._terminal.through(meter, dlt645.battery(meter)))
        volts = yield from self._first(meter, BATTERY)
        if not isinstance(volts, int | float):
            raise self.without("battery voltage")
        return float(volts)

    def signal(self, meter: Meter) -> Script[float]:
        told: Data = yield Get(SIGNAL)
        if not isinstance(told.value, int):
            raise FrameError("4500, signal: no number")
        return float(told.value)

    def _first(self, meter: Meter, oad: str) -> Script[str | float | int | None]:
        for item in self._items.find(oad):
            for told in (yield from self._items.ask(meter, item)):
                return told.value
        return None

    def _star(self, meter: Meter) -> Script[dict[str, float] | None]:
        """Angles of the voltages against that of phase A. Counted as lag; no public source says which way."""
        angles: list[float] = []
        for item in self._items.find(VOLTAGE_ANGLES):
            told = yield from self._items.ask(meter, item)
            angles += [float(one.value) for one in told if isinstance(one.value, int | float)]
        if len(angles) != 3:
            return None
        return {name: angle - angles[0] for name, angle in zip("ABC", angles, strict=True)}


def _itself(meter: Meter) -> bool:
    return not meter.terminal or meter.address == meter.terminal


def _in_thousands(code: str, value: float) -> float:
    return value / 1000 if code.startswith(("active_power", "reactive_power")) else float(value)
