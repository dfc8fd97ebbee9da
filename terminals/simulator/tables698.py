"""The hours and prices of a DL/T 698.45 terminal's own metering: objects 4008 to 401B, present and spare, and the times at which the two
change places."""

from __future__ import annotations

import datetime as dt
from typing import Final

from protocols.dlt698 import clock, values
from protocols.dlt698.values import Data
from protocols.errors import FrameError

DAYS: Final = 8
_FLAT_DAY: Final = (
    (0, 0, 4),
    (7, 0, 3),
    (8, 0, 2),
    (11, 0, 3),
    (17, 0, 2),
    (19, 0, 1),
    (21, 0, 2),
    (22, 0, 4),
)
_PRICES: Final = (8_283, 6_183, 5_483, 3_083)
_UNSET: Final = Data(values.DATE_TIME_S, b"\xff" * clock.DATE_TIME_S)
#: a switch time -> the objects, present and spare, that change places then
_SWITCHES: Final = {
    0x4008: (0x4014, 0x4015),
    0x4009: (0x4016, 0x4017),
    0x400A: (0x4018, 0x4019),
    0x400B: (0x401A, 0x401B),
}
_SPARE: Final = frozenset(spare for _, spare in _SWITCHES.values())


def _rows(*rows: tuple[int, ...]) -> Data:
    return values.array(*(values.structure(*(Data(values.UNSIGNED, part) for part in row)) for row in rows))


def _numbers(*numbers: int) -> Data:
    return values.array(*(Data(values.DOUBLE_LONG_UNSIGNED, number) for number in numbers))


class Tables:
    """By OAD, attribute 2; a day table is the element of its number."""

    def __init__(self) -> None:
        steps = values.structure(_numbers(), _numbers(0), _rows())
        counts = (14, DAYS, 14, 4, 6)
        self._held: dict[int, Data] = {
            0x400C0200: values.structure(*(Data(values.UNSIGNED, count) for count in counts)), 0x400D0200: Data(values.UNSIGNED, 7),
            0x40110200: _rows(), 0x40120200: Data(values.BIT_STRING, "11111110"), 0x40130200: Data(values.UNSIGNED, 1),
            0x40140200: _rows((1, 1, 1)), 0x40150200: _rows((1, 1, 1)), 0x40180200: _numbers(*_PRICES), 0x40190200: _numbers(*_PRICES),
            0x401A0200: steps, 0x401B0200: steps,
            **{oi << 16 | 0x0200 | n: _rows(*_FLAT_DAY) for oi in (0x4016, 0x4017) for n in range(1, DAYS + 1)},
            **{oi << 16 | 0x0200: _UNSET for oi in _SWITCHES},
        }  # fmt: skip
        self._armed: dict[int, dt.datetime] = {}

    def settle(self, now: dt.datetime) -> None:
        """What is due by the terminal's own clock (naive local time) changes places."""
        for oi, when in sorted(self._armed.items(), key=lambda armed: armed[1]):
            if when <= now:
                present, spare = (part << 16 | 0x0200 for part in _SWITCHES[oi])
                for index in range(DAYS + 1):
                    if present | index in self._held:
                        self._held[present | index], self._held[spare | index] = (
                            self._held[spare | index],
                            self._held[present | index],
                        )
                del self._armed[oi]

    def get(self, oad: int) -> Data | None:
        return self._held.get(oad)

    def takes(self, oad: int) -> bool:
        """Whether it may be written: spare tables, switch times, holidays."""
        oi = oad >> 16
        return oad in self._held and (oi in _SPARE or oi in _SWITCHES or oi == 0x4011)

    def set(self, oad: int, data: Data, now: dt.datetime) -> bool:
        """Whether it was taken."""
        if data.tag != self._held[oad].tag:
            return False
        oi = oad >> 16
        if oi in _SWITCHES:
            self._armed.pop(oi, None)
            try:
                when: dt.datetime = clock.decode_time_s(data.value).astype(dt.datetime)
            except FrameError:
                when = dt.datetime.min
            if when > now:
                self._armed[oi] = when
        self._held[oad] = data
        return True
