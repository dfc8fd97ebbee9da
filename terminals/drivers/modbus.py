"""Modbus meters by their register maps, over TCP, or RTU on a serial line or through a gateway that passes its bytes.

Such a meter remembers nothing: its load curve is what somebody reads at each quarter-hour, and its day freeze what he reads at midnight.
`retention` says so, and the collector asks for a point while it is now and never afterwards.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from protocols.errors import Misuse, Refused
from protocols.modbus import values
from protocols.modbus.exchange import LineName, Master
from protocols.modbus.maps import MeterMap, meter_map
from protocols.modbus.plan import Block, blocks
from protocols.modbus.requests import ReadRegisters, Registers
from protocols.reading import (
    FREEZE_QUANTITIES,
    PHASE_QUANTITIES,
    SLOT_QUANTITIES,
    Reads,
    Times,
    empty_column,
    no_reads,
)
from terminals.drivers.coil import NOT_POSSIBLE, coil_of
from terminals.drivers.driver import (
    ClockWay,
    Meter,
    Outcome,
    RelayAction,
    RelayAnswer,
    RelayState,
    Retention,
    Script,
)
from terminals.drivers.without import NoEvents, NoTables, NothingBehind

#: How long after its instant a point may be read and still bear its name. No source gives a number: a minute is 7 % of a quarter-hour, and
#: room for some hundred meters on one line.
TOLERANCE: Final = dt.timedelta(seconds=60)
#: what proves that a contactor is open
_LOAD: Final = ("active_power",)
_ADDRESS: Final = re.compile(r"([0-9]{1,3})@([a-z0-9-]+)")


@dataclass(frozen=True, slots=True)
class Unit:
    """A meter's address, taken apart: "17@sdm630" is unit 17, which has the register map sdm630."""

    number: int
    table: MeterMap


class ModbusDriver(NothingBehind, NoEvents, NoTables):
    """Implements terminals.drivers.driver.Driver. `Meter.address` is UNIT@MODEL, a model of protocols/modbus/maps; `Meter.switch` a coil (coil.py)
    where a contactor cuts its supply off.

    line       "tcp" (Modbus TCP) or "rtu" (the frames of the serial line, whatever carries them)
    tolerance  see TOLERANCE
    """

    clock_ways: frozenset[ClockWay] = frozenset()

    def __init__(self, line: LineName, *, tolerance: dt.timedelta = TOLERANCE) -> None:
        self.name = f"modbus-{line}"
        self.retention = Retention(tolerance, tolerance, tolerance, sampled=True)
        self._line: LineName = line

    def known(self, meter: Meter) -> str:
        return ""  # the address names the map

    def recall(self, meter: Meter, known: str) -> None:
        if known:
            raise ValueError(f"Modbus keeps nothing of a meter, and this was kept: {known[:60]!r}")

    # --- session ---

    def exchange(self, meter: Meter) -> Master:
        """Misuse: the address is no UNIT@MODEL."""
        unit_of(meter.address)
        return Master(self._line)

    def open(self, meter: Meter) -> Script[None]:
        """A small read that no later one looks like.

        An answer does not say which registers it is about (RTU), or bears the number that the session before gave the same request
        (TCP). A device answers in turn: once it has answered this, nothing that an earlier session gave up can come any more.
        """
        unit = unit_of(meter.address)
        try:
            yield _request(unit, _probe(unit.table))
        except Refused:
            return  # it answered

    def close(self, meter: Meter) -> Script[None]:
        yield from ()

    # --- readings ---

    def curve(self, meter: Meter, slots: Times) -> Script[Outcome]:
        """The slot that ends now, read now. Misuse: more than one, of which the others are gone."""
        return (yield from self._sample(meter, slots, (*SLOT_QUANTITIES, *PHASE_QUANTITIES)))

    def day_freeze(self, meter: Meter, midnights: Times, now: np.datetime64) -> Script[Outcome]:
        """The registers of a midnight that is now."""
        return (yield from self._sample(meter, midnights, FREEZE_QUANTITIES))

    def month_freeze(self, meter: Meter, midnights: Times, now: np.datetime64) -> Script[Outcome]:
        """The present registers, asked for at the midnight that closes the month."""
        return (yield from self.day_freeze(meter, midnights, now))

    def registers(self, meter: Meter, now: np.datetime64) -> Script[Reads]:
        """Everything the map has a quantity for: one row at `now`."""
        return (yield from _read(meter, now, None))

    def _sample(self, meter: Meter, points: Times, codes: Iterable[str]) -> Script[Outcome]:
        nothing = points[:0]
        if not len(points):
            return Outcome(no_reads(), nothing)
        if len(points) > 1:
            raise Misuse(
                f"{len(points)} points asked of a Modbus meter, which remembers none: one, when it is now"
            )
        return Outcome((yield from _read(meter, points[0], codes)), nothing)

    # --- what a register map has not ---

    def clock(self, meter: Meter) -> Script[np.datetime64]:
        """Refused: no map has a clock whose layout its maker's document confirms."""
        raise _without(meter, "clock")
        yield

    def set_clock(self, meter: Meter, now: np.datetime64) -> Script[None]:
        raise _without(meter, "clock")
        yield

    def write_clock(self, meter: Meter, now: np.datetime64) -> Script[None]:
        raise _without(meter, "clock")
        yield

    # --- a contactor beside it ---

    def relay_clock(self, meter: Meter) -> None:
        return None

    def relay(self, meter: Meter, action: RelayAction, expires: np.datetime64) -> Script[RelayAnswer]:
        """Write the coil; `expires` is the sender's to watch. Refused: the archive names none, a coil has no such thing, or nobody could
        prove a trip, because the register map has no power."""
        unit, coil = unit_of(meter.address), coil_of(meter.switch)
        if coil is None:
            raise _without(
                meter, "relay; the archive names a contactor's coil as its switch, such as coil 9:0"
            )
        if action is RelayAction.TRIP and not _blocks(unit.table, _LOAD):
            raise _without(meter, "active power, so that a trip could not be proved")
        return (yield from coil.command(action))

    def relay_state(self, meter: Meter) -> Script[RelayState]:
        """The coil, and the meter's power as load (NaN if its map has none)."""
        unit, coil = unit_of(meter.address), coil_of(meter.switch)
        if coil is None:
            raise _without(meter, "relay")
        is_open = yield from coil.open()
        told = yield from _values(unit, _LOAD)
        return RelayState(
            is_open, permitted=False, keep_power=None, load_kw=float(told.get("active_power", np.nan)),
            detail=f"coil {coil.number} of unit {coil.unit}",
        )  # fmt: skip


@lru_cache(maxsize=65_536)  # more meters than one collector has
def unit_of(address: str) -> Unit:
    """UNIT@MODEL. Misuse says what is wrong with it."""
    found = _ADDRESS.fullmatch(address)
    if not found or not 1 <= int(found[1]) <= 255:
        raise Misuse(f"address: {address!r} is not UNIT@MODEL, such as 1@sdm630")
    return Unit(int(found[1]), meter_map(found[2]))


def _without(meter: Meter, what: str) -> Refused:
    return Refused(f"the register map {unit_of(meter.address).table.model} has no {what}", code=NOT_POSSIBLE)


def _request(unit: Unit, block: Block) -> ReadRegisters:
    return ReadRegisters(unit.number, block.address, block.count, block.function)


def _read(meter: Meter, when: np.datetime64, codes: Iterable[str] | None) -> Script[Reads]:
    """One row of what the map has of `codes` (None: of everything), stamped `when`. Refused: the device has none of it."""
    told = yield from _values(unit_of(meter.address), None if codes is None else tuple(codes))
    if not told:
        return no_reads()
    columns = {}
    for code, value in told.items():
        columns[code] = empty_column(code, 1)
        columns[code][0] = value
    return Reads(np.array([meter.key]), np.array([when], "datetime64[us]"), columns)


def _values(unit: Unit, codes: tuple[str, ...] | None) -> Script[dict[str, int | float]]:
    """Quantity -> value, of what the map has of `codes`.

    A block that the device says it does not have leaves its quantities missing. Refused if it has none of them.
    """
    found: dict[int, dict[int, bytes]] = {}
    refusal: Refused | None = None
    for block in _blocks(unit.table, codes):
        try:
            answer: Registers = yield _request(unit, block)
        except Refused as refused:
            if not refused.absent:
                raise
            refusal = refused
            continue
        found.setdefault(block.function, {})[block.address] = answer.data
    if not found and refusal is not None:
        raise refusal
    told: dict[str, int | float] = {}
    for function, raw in found.items():
        told |= values.quantity_values(unit.table, function, raw)
    return told


@lru_cache(maxsize=256)  # models times tasks
def _blocks(table: MeterMap, codes: tuple[str, ...] | None) -> tuple[Block, ...]:
    had = dict.fromkeys(row.quantity for row in table.rows if row.quantity)
    return tuple(blocks(table, had if codes is None else [code for code in codes if code in had]))


@lru_cache(maxsize=256)
def _probe(table: MeterMap) -> Block:
    """The beginning of a value of the map, of a size that no block of any task has; it ends with a whole value."""
    tasks = (None, (*SLOT_QUANTITIES, *PHASE_QUANTITIES), FREEZE_QUANTITIES)
    taken = {(block.function, block.count) for codes in tasks for block in _blocks(table, codes)}
    for row in table.rows:
        for size in sorted({other.end - row.address for other in table.rows if other.end > row.address}):
            whole = all(any(o.address <= at < o.end for o in table.rows if o.function == row.function)
                        for at in range(row.address, row.address + size))  # fmt: skip
            if whole and size <= table.most and (row.function, size) not in taken:
                return Block(row.function, row.address, size)
    raise Misuse(f"{table.model}: every size of a read is a task's own")  # a test tries all maps
