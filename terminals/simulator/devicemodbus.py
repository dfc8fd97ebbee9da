"""A Modbus meter: the registers of its model's map, filled with what the meter displays now. It remembers nothing.

A customer's has a contactor: coil 0 of its own unit, on while there is supply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Final

import numpy as np

from protocols.exchange import NEED_DATA, Send
from protocols.modbus.exchange import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, Device, LineName
from protocols.modbus.maps import Row, meter_map
from protocols.modbus.pdu import READ_COILS
from protocols.modbus.requests import ReadBits, ReadRegisters, WriteCoil
from protocols.modbus.values import encode
from protocols.reading import REGISTER_QUANTITIES
from terminals.simulator.layout import CONTACTOR
from terminals.simulator.meter import Meter
from terminals.simulator.physics import NOT_SHOWN, SHOWN, SHOWN_PER_UNIT
from terminals.simulator.relay import Command

#: Quantity -> the row of SHOWN that displays it.
_ROWS: Final = {
    **{f"voltage_{p}": f"v{p}" for p in "abc"},
    **{f"current_{p}": f"i{p}" for p in "abc"},
    "active_power": "p",
    "reactive_power": "q",
    **{f"active_power_{p}": f"p{p}" for p in "abc"},
    **{f"reactive_power_{p}": f"q{p}" for p in "abc"},
}
_HERTZ: Final = Decimal(50)
_US: Final = np.timedelta64(1, "us")


class DeviceModbus:
    """One meter on one connection. Its address is UNIT@MODEL."""

    def __init__(self, meter: Meter, line: LineName) -> None:
        self.meter = meter
        unit, _, model = meter.address.partition("@")
        self._device = Device(int(unit), line)
        self._table = meter_map(model)

    def receive(self, data: bytes, now: Callable[[], np.datetime64]) -> Iterator[bytes]:
        """What the meter sends in answer to bytes that all on its line hear."""
        self._device.receive_data(data)
        while (event := self._device.next_event()) is not NEED_DATA:
            if isinstance(event, Send):
                answer = event.data
            elif isinstance(event, ReadRegisters):
                answer = self._read(event, now())
            elif isinstance(event, ReadBits | WriteCoil) and self.meter.has_relay:
                answer = self._contactor(event, now())
            else:
                answer = self._device.refuse(ILLEGAL_FUNCTION)
            if answer and not self.meter.dead:
                yield answer

    def _read(self, request: ReadRegisters, now: np.datetime64) -> bytes:
        image = self._image(request, now)
        refused = image is None or request.count > self._table.most
        return (
            self._device.refuse(ILLEGAL_ADDRESS) if refused else self._device.answer_registers(image or b"")
        )

    def _contactor(self, request: ReadBits | WriteCoil, now: np.datetime64) -> bytes:
        if request.address != CONTACTOR:
            return self._device.refuse(ILLEGAL_ADDRESS)
        if isinstance(request, ReadBits):
            ours = (request.function, request.count) == (READ_COILS, 1)
            return (
                self._device.answer_bits((not self.meter.relay.open,))
                if ours
                else self._device.refuse(ILLEGAL_ADDRESS)
            )
        if not self.meter.dead:
            self.meter.command(now, Command.CLOSE if request.on else Command.TRIP)
        return self._device.answer_written()

    def _image(self, request: ReadRegisters, now: np.datetime64) -> bytes | None:
        """The registers asked for; None where the meter has not got them all, but for holes that its map says may be read over."""
        told = self._told(now)
        begin, end = request.address, request.address + request.count
        image = bytearray(2 * request.count)
        there = np.zeros(request.count, dtype=np.bool_)
        for row in self._table.rows:
            if row.function != request.function or row.end <= begin or row.address >= end:
                continue
            raw = _encoded(row, told)
            for k in range(max(row.address, begin), min(row.end, end)):
                image[2 * (k - begin) : 2 * (k - begin) + 2] = raw[
                    2 * (k - row.address) : 2 * (k - row.address) + 2
                ]
                there[k - begin] = True
        return bytes(image) if _readable(there, self._table.gap) else None

    def _told(self, now: np.datetime64) -> dict[str, Decimal]:
        """Quantity -> its value in the unit of quantities.csv; without those that the meter has not."""
        registers, shown = self.meter.registers(now), self.meter.shown(now)
        if registers is None or shown is None:
            return {}
        found = {
            code: Decimal(int(value)).scaleb(-4)
            for code, value in zip(REGISTER_QUANTITIES, registers.tolist(), strict=False)
        }
        found["active_export"] = Decimal(0)
        found["frequency"] = _HERTZ
        for code, name in _ROWS.items():
            k = SHOWN.index(name)
            if shown[k] != NOT_SHOWN:
                found[code] = Decimal(int(shown[k])) / SHOWN_PER_UNIT[k]
        for phase in ("", "_a", "_b", "_c"):
            active, reactive = found.get(f"active_power{phase}"), found.get(f"reactive_power{phase}")
            if active is not None and reactive is not None:
                apparent = Decimal(float(np.hypot(float(active), float(reactive))))
                found[f"apparent_power{phase}"] = apparent
                found[f"power_factor{phase}"] = active / apparent if apparent else Decimal(1)
        return found


def _readable(there: np.typing.NDArray[np.bool_], gap: int) -> bool:
    """Whether all is there, but for holes of `gap` registers at most between values."""
    if not there[0] or not there[-1]:
        return False
    at = np.flatnonzero(there)
    return bool(np.diff(at).max(initial=1) <= gap + 1)


def _encoded(row: Row, told: dict[str, Decimal]) -> bytes:
    """A row's registers. What the meter has not stands as the model's sign for that, where it has one, else as 0."""
    value = told.get(row.quantity)
    if value is None:
        return row.missing[0].to_bytes(2 * row.size, "big") if row.missing else bytes(2 * row.size)
    number = value.scaleb(-row.exponent) / row.scale
    return encode(row, number if row.type.startswith("f") else number.to_integral_value())


class BusModbus:
    """All meters behind one connection: units of a gateway, or of an RS-485 line."""

    def __init__(self, meters: Sequence[Meter], line: LineName) -> None:
        self._devices = [DeviceModbus(meter, line) for meter in meters]

    def receive(self, data: bytes, now: Callable[[], np.datetime64]) -> Iterator[bytes]:
        """The meters' answers."""
        for device in self._devices:
            yield from device.receive(data, now)
