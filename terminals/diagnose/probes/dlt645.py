"""DL/T 645-2007 meters: angles, powers and factors by phase, status words, batteries, and what the meter says of itself."""

from __future__ import annotations

from typing import Final

from protocols.dlt645.exchange import Read, ReadAnswer
from protocols.dlt645.status import explain
from protocols.dlt645.values import decode, quantity_values
from protocols.errors import FrameError, Refused
from terminals.diagnose.diagnosis import Flag, Trait, Words
from terminals.diagnose.probe import Power, Probe, Status, trait
from terminals.drivers.driver import Meter, Script

#: Powers, factors and angles by phase; neutral current, frequency.
POWER: Final = (0x0203FF00, 0x0204FF00, 0x0206FF00, 0x0207FF00, 0x02800001, 0x02800002)
#: A single-phase meter that knows no blocks: the totals, and the angle of its phase.
SINGLE: Final = {
    0x0203FF00: 0x02030000,
    0x0204FF00: 0x02040000,
    0x0206FF00: 0x02060000,
    0x0207FF00: 0x02070100,
}
STATUS: Final = 0x040005FF
WORDS: Final = range(0x04000501, 0x04000508)
BATTERY: Final = 0x02800008
IDENTITY: Final = {
    "address": 0x04000401, "number": 0x04000402, "asset": 0x04000403, "voltage": 0x04000404, "model": 0x0400040B,
    "version": 0x0400040D, "constant": 0x04000409, "ct": 0x04000306, "pt": 0x04000307,
}  # fmt: skip
#: Bits that say how the meter is set or used, and nothing about a fault. Word 3 has no other ones, in word 2 energy flows backwards.
_PLAIN: Final = {1: {1, 4, 5}, 2: set(range(16)), 3: set(range(16))}
_ZH: Final = {
    "present": "有", "yes": "是", "open": "断开", "closed": "闭合", "reverse": "反向", "low": "欠压", "second": "第二套", "interval": "区间式",
    "auxiliary": "辅助电源", "battery": "电池", "energy prepaid": "电量型预付费", "amount prepaid": "电费型预付费", "valid": "有效",
}  # fmt: skip


class Dlt645Probe(Probe):
    """Also for a meter behind a terminal, which carries these very frames."""

    def identity(self, meter: Meter) -> Script[tuple[Trait, ...]]:
        """Refused: the meter tells none of it."""
        return (yield from identity(meter))

    def power(self, meter: Meter) -> Script[Power]:
        return (yield from power(meter))

    def status(self, meter: Meter) -> Script[Status]:
        return (yield from status(meter))

    def battery(self, meter: Meter) -> Script[float]:
        return (yield from battery(meter))


def identity(meter: Meter) -> Script[tuple[Trait, ...]]:
    """IDENTITY, as far as the meter has it."""
    found, refused = [], Refused("the meter says nothing of itself", code=-1)
    for key, di in IDENTITY.items():
        try:
            answer: ReadAnswer = yield Read(meter.address, di)
        except Refused as no:
            refused = no
            continue
        text = _text(di, answer.data)
        if text:
            found.append(trait(key, text))
    if not found:
        raise refused
    return tuple(found)


def power(meter: Meter) -> Script[Power]:
    """POWER, as far as the meter has it."""
    values: dict[str, float] = {}
    for block in POWER:
        for di in (block, SINGLE[block]) if block in SINGLE else (block,):
            try:
                answer: ReadAnswer = yield Read(meter.address, di)
            except Refused:
                continue
            values |= {code: float(value) for code, value in quantity_values(di, answer.data).items()}
            break
    return Power(values)


def status(meter: Meter) -> Script[Status]:
    """Words 1-7 (Table A.5): the block, or one by one. Refused: the meter has none of them."""
    words: dict[int, int] = {}
    try:
        answer: ReadAnswer = yield Read(meter.address, STATUS)
        for number, value in enumerate(decode(STATUS, answer.data), 1):
            if isinstance(value.value, int):
                words[number] = value.value
    except Refused as refused:
        no = refused
        for number, di in enumerate(WORDS, 1):
            try:
                answer = yield Read(meter.address, di)
            except Refused as again:
                no = again
                continue
            told = decode(di, answer.data)[0].value
            if isinstance(told, int):
                words[number] = told
        if not words:
            raise no from None
    return status_of(words)


def battery(meter: Meter) -> Script[float]:
    """02800008. FrameError: no number."""
    answer: ReadAnswer = yield Read(meter.address, BATTERY)
    value = quantity_values(BATTERY, answer.data).get("clock_battery")
    if not isinstance(value, int | float):
        raise FrameError("clock battery: the meter gives no voltage")
    return float(value)


def status_of(words: dict[int, int]) -> Status:
    """What is set in the words, with what is a fault."""
    flags = [
        Flag(
            word, flag.bit, Words(flag.name_en, flag.name_zh), says,
            alarm=flag.bit not in _PLAIN.get(word, ()) and flag.name_en != "reserved",
            doubt=_doubt(flag.other_reading, flag.sure),
        )
        for word, bits in sorted(words.items())
        for flag, says in explain(word, bits)
    ]  # fmt: skip
    return Status({word: f"{bits:04X}" for word, bits in sorted(words.items())}, tuple(flags))


def says_zh(says: str) -> str:
    """What a flag says, in Chinese; numbers as they are."""
    return _ZH.get(says, says)


def _doubt(other: str, sure: bool) -> str:
    if other:
        return f"another published reading: {other}"
    return "" if sure else "in one published source only"


def _text(di: int, data: bytes) -> str:
    try:
        values = decode(di, data)
    except FrameError:
        return ""  # a name that is not even text helps nobody, and is no fault of the line
    return " ".join(str(value.value).strip("\0 ") for value in values if value.value is not None)
