"""Q/GDW 376.1 terminals: the terminal's own clock, and the meter behind it through AFN 10."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from protocols.errors import Refused
from protocols.reading import Reads
from terminals.diagnose.diagnosis import Trait
from terminals.diagnose.probe import Power, Probe, Status, trait
from terminals.diagnose.probes import dlt645
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.driver import Meter, RelayState, Script
from terminals.drivers.gdw376 import Gdw376Driver

#: No point number is needed to pass frames on, but the driver wants one.
_ANY_POINT: Final = 1


class Gdw376Probe(Probe):
    """`Meter.address` '' is the terminal itself. What is read of a meter is the meter's own, of this moment, not the terminal's records."""

    terminal = True

    def __init__(self, driver: Gdw376Driver) -> None:
        super().__init__(driver)
        self._terminal = driver
        self._meters = Dlt645Driver(wakeup=0)

    def clock(self, meter: Meter) -> Script[np.datetime64]:
        if not meter.address:
            return (yield from self._terminal.station.clock(_placed(meter)))
        return (yield from self._terminal.clock(_placed(meter)))

    def registers(self, meter: Meter, now: np.datetime64) -> Script[Reads]:
        return (yield from self._terminal.through(self._meter(meter), self._meters.registers(meter, now)))

    def relay(self, meter: Meter) -> Script[RelayState]:
        return (yield from self._terminal.relay_state(self._meter(meter)))

    def identity(self, meter: Meter) -> Script[tuple[Trait, ...]]:
        if not meter.address:
            return (trait("address", meter.terminal),)
        return (yield from self._terminal.through(_placed(meter), dlt645.identity(meter)))

    def power(self, meter: Meter) -> Script[Power]:
        return (yield from self._terminal.through(self._meter(meter), dlt645.power(meter)))

    def status(self, meter: Meter) -> Script[Status]:
        return (yield from self._terminal.through(self._meter(meter), dlt645.status(meter)))

    def battery(self, meter: Meter) -> Script[float]:
        return (yield from self._terminal.through(self._meter(meter), dlt645.battery(meter)))

    def _meter(self, meter: Meter) -> Meter:
        if not meter.address:
            raise Refused("this is the terminal itself: give the address of a meter behind it", code=-1)
        return _placed(meter)


def _placed(meter: Meter) -> Meter:
    return meter if meter.point else replace(meter, point=_ANY_POINT)
