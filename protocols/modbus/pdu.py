"""The protocol data unit: function and data, alike on a serial line and in TCP. Shape only; no bytes around it.

MODBUS Application Protocol V1.1b3 clause 6. Numbers go high byte first. A PDU does not say whether it asks or answers, and some
(05, 06, and by chance others) can be read both ways: `readings` tells which.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, Literal

from protocols.errors import FrameError

Direction = Literal["request", "answer"]
DIRECTIONS: Final[tuple[Direction, ...]] = ("request", "answer")

READ_COILS, READ_INPUTS, READ_HOLDING, READ_INPUT = 1, 2, 3, 4
WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS = 5, 6, 0x0F, 0x10
EXCEPTION_STATUS, EVENT_COUNTER, EVENT_LOG = 7, 0x0B, 0x0C
MASK_WRITE, READ_WRITE, IDENTIFY = 0x16, 0x17, 0x2B
#: The MEI type of 2BH that identifies the device; the other one (0DH, CANopen) is not taken apart.
MEI_IDENTIFY: Final = 0x0E

FAILED: Final = 0x80
#: Function and data together, clause 4.1: 256 bytes of RS-485 frame less unit and CRC.
PDU_LIMIT: Final = 253

#: What is wrong, and where in the data; None where nothing is.
Complaint = tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class Form:
    """How long the data of one direction are: `fixed` bytes, and where `counted` as many more as the last of these says."""

    fixed: int
    counted: bool = False

    def size(self, data: bytes | bytearray, at: int = 0) -> int | None:
        """Bytes of data from `at`; None if what is there does not say yet."""
        if not self.counted:
            return self.fixed
        last = at + self.fixed - 1
        return self.fixed + data[last] if last < len(data) else None


@dataclass(frozen=True, slots=True)
class Function:
    """One row of functions.csv; a form of None is that of identification objects."""

    code: int
    name_en: str
    name_zh: str
    request: Form | None
    answer: Form | None
    most: int
    clause: str


@cache
def functions() -> dict[int, Function]:
    """code -> Function."""
    found = {}
    for row in _table("functions.csv"):
        code = int(row["code"], 16)
        forms = (_form(row["request"]), _form(row["answer"]))
        found[code] = Function(
            code, row["name_en"], row["name_zh"], *forms, int(row["most"] or 0), row["clause"]
        )
    return found


@cache
def exceptions() -> dict[int, tuple[str, str]]:
    """exception code -> (name_en, name_zh)."""
    return {int(row["code"], 16): (row["name_en"], row["name_zh"]) for row in _table("exceptions.csv")}


def _table(name: str) -> csv.DictReader[str]:
    text = files("protocols.modbus").joinpath(name).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())


def _form(text: str) -> Form | None:
    fixed, _, counted = text.partition("+")
    return Form(int(fixed), bool(counted)) if fixed.isdecimal() else None


def function_name(code: int) -> tuple[str, str]:
    """Names in English and Chinese, the failure bit left out."""
    known = functions().get(code & ~FAILED)
    if known is None:
        return f"function {code & ~FAILED:02X}H", f"功能码{code & ~FAILED:02X}H"
    return known.name_en, known.name_zh


def data_size(function: int, data: bytes | bytearray, at: int, direction: Direction) -> int | None:
    """Bytes of data that this direction has from `at`; None if that cannot be told yet, -1 if the function has no known form."""
    if function & FAILED:
        return 1 if direction == "answer" and function & ~FAILED in functions() else -1
    known = functions().get(function)
    if known is None or (function == IDENTIFY and at < len(data) and data[at] != MEI_IDENTIFY):
        return -1
    form = known.request if direction == "request" else known.answer
    return _objects_size(data, at) if form is None else form.size(data, at)


def least_objects(data: bytes | bytearray, at: int) -> int:
    """Bytes that a 2BH/0EH answer has at least, by the number of its objects; 0 if there is no such number."""
    return 6 + 2 * data[at + 5] if data[at - 1] == IDENTIFY and len(data) >= at + 6 else 0


def _objects_size(data: bytes | bytearray, at: int) -> int | None:
    """2BH/0EH answer: type, code, conformity, more, next, number, then id, length, value of each object."""
    if len(data) < at + 6:
        return None
    end = at + 6
    if 6 + 2 * data[at + 5] > PDU_LIMIT:
        return -1
    for _ in range(data[at + 5]):
        if end - at > PDU_LIMIT:
            return -1
        if len(data) < end + 2:
            return None
        end += 2 + data[end + 1]
    return end - at


def readings(function: int, data: bytes) -> tuple[Direction, ...]:
    """In which directions this can be meant. FrameError, its offset counted from the function byte, if in none.

    Both of a function that the table does not know: then nothing can be said against it.
    """
    if not 1 <= function & ~FAILED <= 0x7F:
        raise FrameError(f"function: {function:02X}H is none, 01H to 7FH are allowed", 0)
    if function & FAILED:
        if len(data) != 1:
            raise FrameError(f"exception: {len(data)} data bytes, exactly 1 is needed", 1)
        return ("answer",)
    if data_size(function, data, 0, "request") == -1:
        return DIRECTIONS
    wrong = {direction: _wrong(function, data, direction) for direction in DIRECTIONS}
    fit = tuple(direction for direction in DIRECTIONS if wrong[direction] is None)
    if not fit:
        # The direction whose size is right is the one that was meant; else the one that got further.
        direction = max(DIRECTIONS, key=lambda way: (_sized(function, data, way), (wrong[way] or ("", 0))[1]))
        says, at = wrong[direction] or ("", 0)
        raise FrameError(f"{function_name(function)[0]} {direction}: {says}", min(1 + at, 1 + len(data)))
    return fit


def fits(function: int, data: bytes, direction: Direction) -> bool:
    """Whether a known function can be meant so: `readings` for one direction, and no complaint is put together."""
    if function & FAILED:
        return direction == "answer" and len(data) == 1
    return _wrong(function, data, direction) is None


def _sized(function: int, data: bytes, direction: Direction) -> bool:
    return data_size(function, data, 0, direction) == len(data)


def _wrong(function: int, data: bytes, direction: Direction) -> Complaint:
    size = data_size(function, data, 0, direction)
    if size is None:
        return f"{len(data)} data bytes end before the count", len(data)
    if size != len(data):
        return f"{len(data)} data bytes, {size} are needed", min(size, len(data))
    check = _CHECKS.get((function, direction))
    return check(data, functions()[function].most) if check else None


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _span(data: bytes, most: int, at: int = 0) -> Complaint:
    """Address and quantity of a block."""
    address, count = _word(data, at), _word(data, at + 2)
    if not 1 <= count <= most:
        return f"quantity {count} is not 1 to {most}", at + 2
    if address + count > 0x10000:
        return f"address {address:04X}H and quantity {count} reach beyond FFFFH", at
    return None


def _bits_written(data: bytes, most: int) -> Complaint:
    wrong = _span(data, most)
    count = _word(data, 2)
    if wrong is None and data[4] != (count + 7) // 8:
        return f"byte count {data[4]} does not fit {count} coils", 4
    return wrong


def _words_written(data: bytes, most: int) -> Complaint:
    wrong = _span(data, most)
    if wrong is None and data[4] != 2 * _word(data, 2):
        return f"byte count {data[4]} does not fit {_word(data, 2)} registers", 4
    return wrong


def _read_and_written(data: bytes, most: int) -> Complaint:
    wrong = _span(data, most) or _span(data, 121, 4)
    if wrong is None and data[8] != 2 * _word(data, 6):
        return f"byte count {data[8]} does not fit {_word(data, 6)} registers", 8
    return wrong


def _bits_came(data: bytes, most: int) -> Complaint:
    return None if 1 <= data[0] <= most // 8 else (f"byte count {data[0]} is not 1 to {most // 8}", 0)


def _words_came(data: bytes, most: int) -> Complaint:
    if data[0] % 2 or not 2 <= data[0] <= 2 * most:
        return f"byte count {data[0]} is no even number from 2 to {2 * most}", 0
    return None


def _coil(data: bytes, _most: int) -> Complaint:
    return (
        None
        if data[2:] in (b"\0\0", b"\xff\0")
        else (f"value {data[2:].hex().upper()} is not 0000 or FF00", 2)
    )


def _events_came(data: bytes, _most: int) -> Complaint:
    """Status, event count and message count are always there."""
    return None if data[0] >= 6 else (f"byte count {data[0]} is less than 6", 0)


def _asked_objects(data: bytes, _most: int) -> Complaint:
    return None if 1 <= data[1] <= 4 else (f"read code {data[1]:02X}H is not 01 to 04", 1)


def _told_objects(data: bytes, _most: int) -> Complaint:
    if data[3] not in (0, 0xFF):
        return f"more follows {data[3]:02X}H is not 00 or FF", 3
    return _asked_objects(data, _most)


_CHECKS: Final[dict[tuple[int, Direction], Callable[[bytes, int], Complaint]]] = {
    **{(code, "request"): _span for code in (1, 2, 3, 4)},
    **{(code, "answer"): _bits_came for code in (1, 2)},
    **{(code, "answer"): _words_came for code in (3, 4, READ_WRITE)},
    (WRITE_COIL, "request"): _coil,
    (WRITE_COIL, "answer"): _coil,
    (WRITE_COILS, "request"): _bits_written,
    (WRITE_COILS, "answer"): _span,
    (WRITE_REGISTERS, "request"): _words_written,
    (WRITE_REGISTERS, "answer"): _span,
    (READ_WRITE, "request"): _read_and_written,
    (EVENT_LOG, "answer"): _events_came,
    (IDENTIFY, "request"): _asked_objects,
    (IDENTIFY, "answer"): _told_objects,
}
