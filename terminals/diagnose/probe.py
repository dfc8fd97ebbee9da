"""What is asked of a device beyond what its driver can: one protocol's way of each step, as scripts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from protocols.errors import Refused
from protocols.quantity import quantities
from protocols.reading import Reads
from terminals.diagnose.diagnosis import Flag, Trait, Words
from terminals.drivers.driver import Driver, Meter, RelayState, Script

#: `code` of a Refused that a probe decides: the protocol has no such thing.
NOT_POSSIBLE: Final = -1

TRAITS: Final = {
    "address": Words("address", "通信地址"),
    "number": Words("meter number", "表号"),
    "asset": Words("asset code", "资产编号"),
    "model": Words("model", "型号"),
    "voltage": Words("rated voltage", "额定电压"),
    "constant": Words("constant", "电表常数"),
    "version": Words("protocol version", "规约版本"),
    "ct": Words("CT ratio", "电流互感器变比"),
    "pt": Words("PT ratio", "电压互感器变比"),
}


@dataclass(frozen=True, slots=True)
class Power:
    """Instants beyond those of the registers, by quantity; `star` as phasors_of wants it, where the device tells it."""

    values: dict[str, float]
    star: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The status words as the device has them, as number -> hex, and what is set in them."""

    words: dict[int, str]
    flags: tuple[Flag, ...]


class Probe:
    """The steps of any protocol; each room overrides what its devices can be asked. Every script may be refused.

    terminal  the device that answers is a terminal, whether or not a meter behind it is meant
    """

    terminal = False

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    @property
    def name(self) -> str:
        return self.driver.name

    def clock(self, meter: Meter) -> Script[np.datetime64]:
        return (yield from self.driver.clock(meter))

    def registers(self, meter: Meter, now: np.datetime64) -> Script[Reads]:
        return (yield from self.driver.registers(meter, now))

    def relay(self, meter: Meter) -> Script[RelayState]:
        return (yield from self.driver.relay_state(meter))

    def identity(self, meter: Meter) -> Script[tuple[Trait, ...]]:
        raise self.without("way of telling what it is")
        yield

    def power(self, meter: Meter) -> Script[Power]:
        """What the registers have not brought; nothing by default."""
        return Power({})
        yield

    def status(self, meter: Meter) -> Script[Status]:
        raise self.without("status words")
        yield

    def battery(self, meter: Meter) -> Script[float]:
        """Volts of the clock battery."""
        raise self.without("battery voltage")
        yield

    def signal(self, meter: Meter) -> Script[float]:
        """dBm of the radio, as the terminal measures it."""
        raise self.without("signal strength that it tells")
        yield

    def without(self, what: str) -> Refused:
        return Refused(f"{self.name} has no {what}", code=NOT_POSSIBLE)


def trait(key: str, value: object) -> Trait:
    return Trait(key, TRAITS[key], str(value).strip())


def instants(reads: Reads) -> dict[str, float]:
    """The newest of each instant that came."""
    found = {}
    for code, column in reads.columns.items():
        rows = np.flatnonzero(reads.valid(code))
        if quantities()[code].kind == "instant" and len(rows):
            value = float(column[rows[-1]])
            if math.isfinite(value):
                found[code] = value
    return found
