"""A Q/GDW 376.1 concentrator: it has frozen what the DL/T 645 meters on its port showed, and passes frames on to them.

It reads its meters at once: a point is here as soon as its slot is over. What a meter did not record, or did not answer at all,
stands as EE; what the terminal no longer has is left out.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.exchange import NEED_DATA
from protocols.gdw376.exchange import Confirmation, Device, DeviceRequest, Part
from protocols.gdw376.frame import Address
from protocols.gdw376.units import ident
from protocols.gdw376.values import DENSITY_MINUTES, Clock, Typed, Unit, encode
from protocols.localtime import as_datetime, from_local, midnight
from terminals.simulator import events376, held376
from terminals.simulator.held376 import Held376
from terminals.simulator.layout import Ints
from terminals.simulator.meter import DayRecord, Meter
from terminals.simulator.physics import NOT_SHOWN, SHOWN, SHOWN_PER_UNIT, SLOT_US
from terminals.simulator.scenario import ZONE
from terminals.simulator.told376 import Told376

Now = Callable[[], np.datetime64]
#: What a port does with bytes: the meters' answers.
Port = Callable[[bytes, Now], Iterable[bytes]]

#: AFN 0D curves -> the row of physics.SHOWN, and those of the registers.
_SHOWN_CURVES: Final = dict(
    zip(
        (*range(81, 89), *range(89, 95)),
        ("p", "pa", "pb", "pc", "q", "qa", "qb", "qc", *SHOWN[:6]),
        strict=True,
    )
)
_IMPORT_CURVE, _EXPORT_CURVE = 101, 103
#: Day and month freezes of the forward and of the reverse active register, total and by tariff.
_DAY_FREEZES, _MONTH_FREEZES = (161, 163), (177, 179)
#: AFN 0C: registers as above, powers with voltages and currents, and the terminal's clock.
_PRESENT, _INSTANTS, _CLOCK = (129, 131), 25, 2
#: AFN 0C F7: the counters of important and ordinary events.
_COUNTERS: Final = 7
_SET_CLOCK: Final = 31
_TARIFFS: Final = 4
_US: Final = np.timedelta64(1, "us")
_MINUTE: Final = np.timedelta64(60_000_000, "us")


class Concentrator:
    """What the terminal holds, whoever asks. `port` is the line that the meters hang on; which of them it reads, and under which point,
    its archive says: `told`, where point k is the k-th of `meters`, counted from 1, if nothing else was written there."""

    def __init__(
        self,
        address: Address,
        meters: Sequence[Meter],
        port: Port,
        told: Told376 | None = None,
        held: Held376 | None = None,
    ) -> None:
        self.address = address
        self.held = held or Held376(None)
        self.told = told or Told376([meter.address for meter in meters])
        self._meters = {meter.address: meter for meter in meters}
        self._points: dict[int, Meter] | None = None
        self._port = port
        self._ahead = np.timedelta64(0, "us")
        self._seen = [0, 0]  # events that a master has asked for, important and ordinary

    def clock(self, now: np.datetime64) -> dt.datetime:
        """What the terminal takes for civil time, naive."""
        return as_datetime(now + self._ahead, ZONE).replace(tzinfo=None)

    @property
    def ahead(self) -> np.timedelta64:
        """By how much its clock is ahead of the time."""
        return self._ahead

    def wander(self, ahead: np.timedelta64) -> None:
        """Its clock is off by this much from now on."""
        self._ahead = ahead.astype("timedelta64[us]")

    def serve(self, device: Device, request: DeviceRequest, now: Now) -> bytes:
        """The answer to one request; the terminal denies what it cannot do, and what it has nothing of."""
        units = request.units
        device.waiting = self._waiting(now())
        match request.afn:
            case 0x04 if all(unit.function in held376.TAKES for unit in units):
                return device.confirm() if self.held.tell(units) else device.deny()
            case 0x04:
                self._points = None
                return device.confirm() if self.told.tell(units) else device.deny()
            case 0x05 if [unit.function for unit in units] == [_SET_CLOCK]:
                return self._set_clock(device, units[0], now())
            case 0x05 if units:
                done = [self.held.act(unit, now()) for unit in units]
                return device.confirm() if all(done) else device.deny()
            case 0x10 if [unit.function for unit in units] == [1]:
                return device.answer([(ident([0], [1]), [self._forward(units[0], now)])])
            case _:
                parts = self._answer(request.afn, units, now())
                return device.answer(parts) if parts else device.deny()

    def _answer(self, afn: int, units: Sequence[Unit], now: np.datetime64) -> list[Part]:
        """What it has of what was asked for."""
        match afn:
            case 0x0A if any(unit.function in held376.TAKES for unit in units):
                told = [(unit, self.held.told(unit)) for unit in units]
                return [
                    (ident([unit.point], [unit.function]), [data]) for unit, data in told if data is not None
                ]
            case 0x0A:
                return list(self.told.told(units))
            case 0x0C | 0x0D:
                return list(self._parts(units, now))
            case 0x0E if [unit.function for unit in units] in ([1], [2]):
                events = self._events(units[0], now)
                return [] if events is None else [(ident([0], [units[0].function]), [events])]
            case _:
                return []

    def _parts(self, units: Sequence[Unit], now: np.datetime64) -> Iterator[Part]:
        for unit in units:
            data = self._unit(unit, now)
            if data is not None:
                yield ident([unit.point], [unit.function]), [data]

    def _unit(self, unit: Unit, now: np.datetime64) -> bytes | None:
        """The data of one unit, None where the terminal has none."""
        if (unit.afn, unit.point, unit.function) == (0x0C, 0, _CLOCK):
            return encode(0x0C, _CLOCK, [_stamp(self.clock(now))])
        if (unit.afn, unit.point, unit.function) == (0x0C, 0, _COUNTERS):
            return encode(0x0C, _COUNTERS, [count % 256 for count in self._counts(now)])
        if unit.afn == 0x0C and (state := self.held.state(unit.function, unit.point, now)) is not None:
            return state
        meter = self._read().get(unit.point)
        if meter is None or not unit.known:
            return None
        values: list[Typed] | None = None
        if unit.afn == 0x0C:
            values = _present(meter, unit.function, now)
        elif unit.function in (*_DAY_FREEZES, *_MONTH_FREEZES):
            values = _freeze(meter, unit, now)
        elif unit.function in (*_SHOWN_CURVES, _IMPORT_CURVE, _EXPORT_CURVE):
            values = _curve(meter, unit, now)
        return None if values is None else encode(unit.afn, unit.function, values)

    def _read(self) -> dict[int, Meter]:
        """The meters that it reads, by point; an address that no meter has is asked in vain."""
        if self._points is None:
            points = self.told.points().items()
            self._points = {k: self._meters[address] for k, address in points if address in self._meters}
        return self._points

    def _counts(self, now: np.datetime64) -> list[int]:
        """Important and ordinary events so far."""
        return [events376.counted(self._read(), now, important=important) for important in (True, False)]

    def _waiting(self, now: np.datetime64) -> tuple[int, int] | None:
        """EC1 and EC2 while there are records that nobody has asked for."""
        counts = self._counts(now)
        if counts[0] <= self._seen[0] and counts[1] <= self._seen[1]:
            return None
        return counts[0] % 256, counts[1] % 256

    def _events(self, unit: Unit, now: np.datetime64) -> bytes | None:
        """AFN 0E: the records from place Pm up to, without, Pn. None where there are none."""
        kind = unit.function - 1
        records = events376.noted(self._read(), now, important=kind == 0)
        first, last = (value.value for value in unit.values)
        if not isinstance(first, int) or not isinstance(last, int):
            return None
        # a fleet of some days has fewer than 256 records: places are numbers
        found = records[first : last or 256]
        if not found:
            return None
        self._seen[kind] = len(records)
        head: list[Typed] = [*(count % 256 for count in self._counts(now)), first, (first + len(found)) % 256]
        return encode(0x0E, unit.function, [*head, *found])

    def _set_clock(self, device: Device, unit: Unit, now: np.datetime64) -> bytes:
        told = unit.values[0].value if unit.values else None
        if not isinstance(told, Clock):
            return device.deny()
        self._ahead = from_local(np.array([told.time], "datetime64[us]"), ZONE)[0] - now
        return device.confirm()

    def _forward(self, unit: Unit, now: Now) -> bytes:
        """What came back from the port; nothing where the meter was silent."""
        told = {value.name: value.value for value in unit.values}
        content = told.get("content")
        answer = b"".join(self._port(content, now)) if isinstance(content, bytes) else b""
        return encode(0x10, 1, [told.get("port"), len(answer), answer])


class Line376:
    """One connection to a concentrator. confirmed: how many of the frames it began the head-end has confirmed."""

    def __init__(self, concentrator: Concentrator) -> None:
        self.confirmed = 0
        self._concentrator = concentrator
        self._device = Device(concentrator.address)

    def login(self, now: np.datetime64, heartbeat: float) -> bytes:
        """AFN 02 F1, which says neither time nor how many seconds lie between heartbeats."""
        return self._device.login()

    def heartbeat(self, now: np.datetime64, heartbeat: float) -> bytes:
        return self._device.heartbeat()

    def receive(self, data: bytes, now: Now) -> Iterator[bytes]:
        """Answers to the frames that are complete now."""
        self._device.receive_data(data)
        while True:
            event = self._device.next_event(self._concentrator.clock(now()))
            if event is NEED_DATA:
                return
            if isinstance(event, Confirmation):
                self.confirmed += event.ok
            else:
                answer = self._concentrator.serve(self._device, event, now)
                if answer:
                    yield answer


# --- AFN 0D ---


def _curve(meter: Meter, unit: Unit, now: np.datetime64) -> list[Typed] | None:
    start, density, points = (value.value for value in unit.values)
    minutes = DENSITY_MINUTES.get(density) if isinstance(density, int) else None
    if not isinstance(start, dt.datetime) or not isinstance(points, int) or not minutes:
        return None
    first = from_local(np.array([start], "datetime64[us]"), ZONE)[0]
    records: dict[int, DayRecord | None] = {}
    values = [
        _point(meter, unit.function, first + k * minutes * _MINUTE, now, records) for k in range(points)
    ]
    return [start, density, points, *values]


def _point(
    meter: Meter, function: int, at: np.datetime64, now: np.datetime64, records: dict[int, DayRecord | None]
) -> Decimal | None:
    """One point of a curve, None where the terminal has not got it. `records`: the days looked at so far."""
    day, us = meter.area.locate(at - _US)
    slot, rest = divmod(us + 1, SLOT_US)
    if at > now or rest or meter.dead:
        return None
    if day not in records:
        records[day] = meter.record(now, at)
    record = records[day]
    if record is None or not record.recorded[slot - 1]:
        return None
    if function in (_IMPORT_CURVE, _EXPORT_CURVE):
        return _kwh(record.registers[0, slot - 1]) if function == _IMPORT_CURVE else Decimal(0)
    return _shown(record.shown[:, slot - 1], _SHOWN_CURVES[function])


def _freeze(meter: Meter, unit: Unit, now: np.datetime64) -> list[Typed] | None:
    tag = unit.values[0].value
    forward, _ = _DAY_FREEZES if unit.function in _DAY_FREEZES else _MONTH_FREEZES
    if isinstance(tag, dt.date):
        following = tag + dt.timedelta(days=1)
    elif isinstance(tag, str):  # YYYY-MM: the freeze closes the month
        year, month = map(int, tag.split("-"))
        following = dt.date(year + month // 12, month % 12 + 1, 1)
    else:
        return None
    at = midnight(following, ZONE)
    today, _ = meter.area.locate(now)
    day, _ = meter.area.locate(at - _US)
    found = meter.freeze(now, today - day)
    if found is None:
        return None
    read = dt.datetime.combine(following, dt.time())
    return [tag, read, _TARIFFS, *_registers(meter, found[1], forward=unit.function == forward)]


# --- AFN 0C ---


def _present(meter: Meter, function: int, now: np.datetime64) -> list[Typed] | None:
    """As of the last full minute, when the terminal read the meter."""
    read = now - (now - np.datetime64(0, "us")) % _MINUTE
    registers, shown = meter.registers(read), meter.shown(read)
    if registers is None or shown is None:
        return None
    when = as_datetime(read, ZONE).replace(tzinfo=None)
    if function in _PRESENT:
        return [when, _TARIFFS, *_registers(meter, registers, forward=function == _PRESENT[0])]
    if function == _INSTANTS:
        return [when, *(_instants(shown) if not meter.dead else [None] * _INSTANT_FIELDS)]
    return None


#: P and Q total and by phase, power factors, voltages, currents, zero-sequence current, apparent powers.
_INSTANT_FIELDS: Final = 8 + 4 + 6 + 1 + 4


def _instants(shown: NDArray[np.int32]) -> list[Decimal | None]:
    p, q = ([_shown(shown, row + phase) for phase in ("", "a", "b", "c")] for row in "pq")
    apparent = [
        None if a is None or b is None else Decimal(round(float(np.hypot(float(a), float(b))), 4)).quantize(a)
        for a, b in zip(p, q, strict=True)
    ]
    factors = [
        None if a is None or s is None else Decimal(100) if not s else (100 * a / s).quantize(Decimal("0.1"))
        for a, s in zip(p, apparent, strict=True)
    ]
    rest = [_shown(shown, row) for row in SHOWN[:6]]
    return [*p, *q, *factors, *rest, None, *apparent]


# --- values ---


def _registers(meter: Meter, registers: Ints, *, forward: bool) -> list[Decimal | None]:
    """Total and tariffs; none of a dead meter has ever come."""
    if meter.dead:
        return [None] * len(registers)
    return [_kwh(value) if forward else Decimal(0) for value in registers]


def _kwh(value: np.int64) -> Decimal:
    return Decimal(int(value)).scaleb(-4)


_DECIMALS: Final[Mapping[str, int]] = {
    row: len(str(per_unit)) - 1 for row, per_unit in zip(SHOWN, SHOWN_PER_UNIT, strict=True)
}


def _shown(shown: NDArray[np.int32], row: str) -> Decimal | None:
    value = int(shown[SHOWN.index(row)])
    return None if value == NOT_SHOWN else Decimal(value).scaleb(-_DECIMALS[row])


def _stamp(local: dt.datetime) -> Clock:
    return Clock(local.replace(microsecond=0), local.isoweekday())
