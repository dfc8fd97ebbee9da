"""The question that a head-end asks all day long, answered cheaply: one quarter-hour of a DL/T 645 meter's load record.

Everything that is not exactly this question, whole and sound in one piece, is left to `device645`, which knows all of them and gives the
same bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from protocols.dlt645.frame import END, OFFSET, START, WAKE_UP
from terminals.simulator import records645
from terminals.simulator.area import CURVE_DAYS, Area
from terminals.simulator.layout import AreaPlan
from terminals.simulator.physics import DAY_US, SLOT_US
from terminals.simulator.scenario import SLOTS

_ADD: Final = bytes((k + OFFSET) & 0xFF for k in range(256))
_ITEM: Final = bytes((0x01, 0x00, 0x00, 0x06)).translate(_ADD)
#: Behind the address: 68, C, L, DI 06000001, one block; five bytes of time, CS and 16 follow.
_ASKED: Final = bytes((START, 0x11, 10)) + _ITEM + bytes((0x01 + OFFSET,))
_SIZE: Final = 22
_WAKE: Final = bytes((WAKE_UP,)) * 4
#: Slots kept encoded: the newest, and the one before it for those who are late.
_SLOTS: Final = 2


class Slots645:
    """The load records of neighbouring areas, encoded a slot at a time for all their meters."""

    __slots__ = ("_areas", "_made")

    def __init__(self, areas: Sequence[Area]) -> None:
        self._areas = {area.plan.area: area for area in areas}
        self._made: OrderedDict[tuple[int, int], tuple[int, dict[int, list[bytes]]]] = OrderedDict()

    def block(self, area: int, meter: int, day: int, slot: int) -> bytes:
        """The record of one meter, in which all is there; the day must be one that is held."""
        changes = sum(one.changes for one in self._areas.values())
        made = self._made.get((day, slot))
        if made is None or made[0] != changes:
            made = changes, self._encode(day, slot)
            self._made[day, slot] = made
            if len(self._made) > _SLOTS:
                self._made.popitem(last=False)
        return made[1][area][meter]

    def _encode(self, day: int, slot: int) -> dict[int, list[bytes]]:
        totals, shown, counts = [], [], []
        for area in self._areas.values():
            solved = area.day(day)
            assert solved is not None, "the caller knows what is held"
            totals.append(solved.slot_totals(slot))
            shown.append(solved.shown_in(int(solved.slot_end[slot]) - 1))
            counts.append(area.plan.meters)
        end = next(iter(self._areas.values())).instant(day, (slot + 1) * SLOT_US)
        ends = np.full(sum(counts), end, dtype="datetime64[us]")
        made = iter(records645.blocks(ends, np.concatenate(totals), np.concatenate(shown, axis=1)))
        return {
            area: [next(made) for _ in range(count)] for area, count in zip(self._areas, counts, strict=True)
        }


class Quick645:
    """One area's meters. `slots` is shared with the neighbours."""

    __slots__ = ("_area", "_plan", "_prefix", "_slots")

    def __init__(self, area: Area, slots: Slots645) -> None:
        self._area = area
        self._plan: AreaPlan = area.plan
        self._prefix = area.plan.asset(0)[:8]
        self._slots = slots

    def answer(self, data: bytes, now: Callable[[], np.datetime64]) -> bytes | None:
        """The answer to a piece of bytes; None where it is not the one question, or not to be answered so simply."""
        frame = data.lstrip(_WAKE)
        if len(frame) != _SIZE or frame[7:15] != _ASKED or frame[0] != START or frame[21] != END:
            return None
        if sum(frame[:20]) & 0xFF != frame[20]:
            return None
        meter = self._meter(frame[6:0:-1].hex())
        when = _microseconds(frame[15:20])
        if meter is None or when is None:
            return None
        today, us = self._area.locate(now())
        day, rest = divmod(when - self._area.civil - 1, DAY_US)
        slot = rest // SLOT_US
        late = (rest + 1) % SLOT_US or (day, rest + 1) > (today, us) or day <= today - CURVE_DAYS
        if late or day < 0 or day in self._plan.recorded:
            return None
        block = self._slots.block(self._plan.area, meter, day, slot)
        body = b"".join((frame[:8], b"\x91", bytes((4 + len(block),)), _ITEM, block.translate(_ADD)))
        return b"".join((_WAKE, body, bytes((sum(body) & 0xFF, END))))

    def _meter(self, address: str) -> int | None:
        if address[:8] != self._prefix or not address.isdecimal():
            return None
        meter = int(address[8:]) - 1
        return meter if 0 <= meter < self._plan.meters and meter not in self._plan.dead else None


@lru_cache(maxsize=4 * SLOTS)  # the slots of some days
def _microseconds(raw: bytes) -> int | None:
    """mm hh DD MM YY as sent -> microseconds of local civil time since 1970; None where it is none."""
    text = bytes((byte - OFFSET) & 0xFF for byte in reversed(raw)).hex()
    if not text.isdecimal():
        return None
    try:
        when = np.datetime64(f"20{text[:2]}-{text[2:4]}-{text[4:6]}T{text[6:8]}:{text[8:]}", "us")
    except ValueError:
        return None
    return int(when.astype(np.int64))
