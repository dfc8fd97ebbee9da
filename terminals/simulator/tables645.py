"""The hours and prices that a DL/T 645-2007 meter keeps: two sets, and the times at which they change places.

The registers go on counting by the scenario's hours, which are what stands in the first set at the beginning: the physics know one tariff.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from protocols.dlt645 import values
from protocols.dlt645.values import Typed
from protocols.errors import FrameError

ZONES, DAYS, SLOTS, TARIFFS, HOLIDAYS, STEPS = 14, 8, 14, 4, 6, 7
#: identifier of a switch time -> what changes places then, and the bit of run status word 3 that says which set runs
SWITCHES: Final = {
    0x04000106: ("zones", 5),
    0x04000107: ("days", 0),
    0x04000108: ("prices", 10),
    0x04000109: ("steps", 11),
}
MONEY: Final = ("prices", "steps")
_NEVER: Final = bytes(5)
_FAR: Final = Decimal("999999.99")


def is_table(di: int) -> bool:
    """Whether an identifier is one of `Tables`."""
    return di in SWITCHES or 0x0401 <= di >> 16 <= 0x0406


@dataclass(slots=True)
class _Steps:
    limits: list[Typed]
    prices: list[Typed]
    dates: bytes


class Tables:
    """`hours`: 24 tariff numbers; `prices`: of the tariffs, [1e-4 yuan/kWh], of a meter that counts money; None: of one that does not."""

    def __init__(self, hours: tuple[int, ...], prices: tuple[int, ...] | None) -> None:
        slots: list[Typed] = []
        for hour, number in enumerate(hours):
            if hour == 0 or number != hours[hour - 1]:
                slots += [f"{hour:02d}:00", number]
        slots += slots[-2:] * (SLOTS - len(slots) // 2)
        day = values.encode(0x04010001, slots)
        zones = values.encode(0x04010000, ["01-01", 1] * ZONES)
        self._sets = [{0: zones} | dict.fromkeys(range(1, DAYS + 1), day) for _ in range(2)]
        self._holidays = [bytes(4)] * HOLIDAYS
        self._switch = dict.fromkeys(SWITCHES, _NEVER)
        self._armed: dict[int, dt.datetime] = {}
        self._runs = dict.fromkeys(("zones", "days", "prices", "steps"), 0)
        told = [Decimal(price).scaleb(-4) for price in prices or ()]
        self._prices: list[list[Typed]] = [list(told), list(told)]
        self._steps = [_Steps([_FAR] * 6, [Decimal(0)] * 7, b"\x99" * 12) for _ in range(2)]
        self.money = prices is not None

    def settle(self, clock: dt.datetime) -> None:
        """What is due by the meter's own clock (naive local time) changes places."""
        for di, when in sorted(self._armed.items(), key=lambda armed: armed[1]):
            if when <= clock:
                self._runs[SWITCHES[di][0]] ^= 1
                del self._armed[di]

    @property
    def status(self) -> int:
        """Its bits of run status word 3."""
        return sum(self._runs[what] << bit for what, bit in SWITCHES.values())

    def read(self, di: int) -> bytes | None:
        """The data of an identifier; None: the meter has no such item."""
        counts = {
            0x04000201: ZONES, 0x04000202: DAYS, 0x04000203: SLOTS, 0x04000204: TARIFFS, 0x04000205: HOLIDAYS,
            0x04000207: STEPS if self.money else 0, 0x04000802: 1,
        }  # fmt: skip
        if di in counts:
            return values.encode(di, [counts[di]])
        if di == 0x04000801:
            return b"\x7f"  # every day is a working day
        if di in SWITCHES:
            return self._switch[di] if self._has(di) else None
        group, number = di >> 16, di & 0xFFFF
        if group in (0x0401, 0x0402) and number <= DAYS:
            return self._sets[group - 0x0401].get(number)
        if group == 0x0403 and 1 <= number <= HOLIDAYS:
            return self._holidays[number - 1]
        return self._money(di) if self.money else None

    def takes(self, di: int) -> bool:
        """Whether it is one of the items that are written here."""
        group, number = di >> 16, di & 0xFFFF
        return (
            (di in SWITCHES and self._has(di))
            or (group in (0x0401, 0x0402) and number <= DAYS)
            or (group == 0x0403 and 1 <= number <= HOLIDAYS)
            or (self.money and di in (0x040502FF, 0x040605FF))
        )

    def write(self, di: int, data: bytes, clock: dt.datetime) -> bool:
        """Whether it was taken: of the right size and form."""
        there = self.read(di)
        if there is None or len(there) != len(data):
            return False
        if di in SWITCHES:
            return self._write_switch(di, data, clock)
        try:
            told = [value.value for value in values.decode(di, data)] if data != bytes(4) else []
        except FrameError:
            return False
        group, number = di >> 16, di & 0xFFFF
        if group in (0x0401, 0x0402):
            self._sets[group - 0x0401][number] = data
        elif group == 0x0403:
            self._holidays[number - 1] = data
        elif di == 0x040502FF:
            self._prices[self._spare("prices")] = list(told)
        else:
            self._steps[self._spare("steps")] = _Steps(list(told[:6]), list(told[6:13]), data[52:])
        return True

    def _write_switch(self, di: int, data: bytes, clock: dt.datetime) -> bool:
        self._armed.pop(di, None)
        if data != _NEVER:
            try:
                (told,) = values.decode(di, data)
            except FrameError:
                return False
            if not isinstance(told.value, dt.datetime):
                return False
            if told.value > clock:
                self._armed[di] = told.value
        self._switch[di] = data
        return True

    def _has(self, di: int) -> bool:
        return self.money or SWITCHES[di][0] not in MONEY

    def _spare(self, what: str) -> int:
        return self._runs[what] ^ 1

    def _money(self, di: int) -> bytes | None:
        now, spare = self._steps[self._runs["steps"]], self._steps[self._spare("steps")]
        prices = {0x040501: self._runs["prices"], 0x040502: self._spare("prices")}
        group, number = di >> 8, di & 0xFF
        if group in prices:
            row = self._prices[prices[group]]
            if number == 0xFF:
                return values.encode(di, row)
            return values.encode(di, [row[number - 1]]) if 1 <= number <= len(row) else None
        lists: dict[int, list[Typed]] = {0x040600: now.limits, 0x040601: now.prices}
        if group in lists:
            return values.encode(di, [lists[group][number - 1]]) if 1 <= number <= len(lists[group]) else None
        if di == 0x040605FF:
            limits = b"".join(values.encode(0x04060001, [value]) for value in spare.limits)
            return (
                limits + b"".join(values.encode(0x04060101, [value]) for value in spare.prices) + spare.dates
            )
        return None
