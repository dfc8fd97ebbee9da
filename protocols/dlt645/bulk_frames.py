"""Many whole answer frames to one question at once: checksum, address, DI and values, each a column operation.

bulk.py takes the answers of one session apart, this the frames of a whole fleet as a concentrator or a recording hands them
over. What is not exactly as most are goes through frame.py and values.py alone and keeps its own complaint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.bcd import bcd_columns
from protocols.dlt645.bulk import Bytes, Columns, Mask, column_of
from protocols.dlt645.exchange import error_code
from protocols.dlt645.fields import size_of
from protocols.dlt645.frame import END, OFFSET, OVERHEAD, START, WAKE_UP, decode
from protocols.dlt645.items import Field
from protocols.dlt645.values import plain_fields, quantity_values
from protocols.dlt645.words import NO_DATA
from protocols.errors import FrameError, ProtocolError, Refused
from protocols.reading import Column, empty_column

_ANSWER: Final = 0x91
_HEAD: Final = 10
_DI: Final = 4
#: Rows worked on together: their bytes and numbers stay in a core's cache.
_ROWS: Final = 8192
_NO_ADDRESS: Final = -1


@dataclass(frozen=True, slots=True)
class FrameColumns:
    """n frames.

    address  int64[n]   the meter's 12 digits as a number; -1 where the frame is corrupt or its address no number
    columns  code -> [n]  as bulk.answer_columns gives them
    errors   frame index -> FrameError, or Refused with the meter's own code
    """

    address: NDArray[np.int64]
    columns: Mapping[str, Column]
    errors: Mapping[int, ProtocolError]


def frame_columns(di: int, frames: Sequence[bytes] | Bytes, codes: Sequence[str]) -> FrameColumns:
    """Answers 91H to one DI -> columns. `frames`: one by one, or uint8[n, length] where all are as long as each other."""
    count = len(frames)
    columns = {code: empty_column(code, count) for code in codes}
    errors: dict[int, ProtocolError] = {}
    found = FrameColumns(np.full(count, _NO_ADDRESS, np.int64), columns, errors)
    for members, raw in _by_length(frames):
        for start in range(0, len(raw), _ROWS):
            rows = slice(start, start + _ROWS)
            bad = _fill(di, raw[rows], members[rows], found)
            for index in bad.tolist():
                errors |= _alone(di, index, bytes(frames[index]), found)
    return found


def _by_length(frames: Sequence[bytes] | Bytes) -> list[tuple[NDArray[np.int64], Bytes]]:
    if isinstance(frames, np.ndarray):
        return [(np.arange(len(frames)), frames)]
    lengths = np.fromiter(map(len, frames), np.int64, len(frames))
    groups = []
    for length in np.unique(lengths).tolist():
        members = np.flatnonzero(lengths == length)
        joined = b"".join(frames if len(members) == len(frames) else [frames[i] for i in members.tolist()])
        groups.append((members, np.frombuffer(joined, np.uint8).reshape(len(members), length)))
    return groups


def _fill(di: int, raw: Bytes, members: NDArray[np.int64], found: FrameColumns) -> NDArray[np.int64]:
    """Decode rows of one length into `found`; the indices of those that are not plain."""
    length = raw.shape[1]
    wake = len(first) - len(first.lstrip(bytes((WAKE_UP,)))) if (first := bytes(raw[0])) else 0
    size = length - wake - OVERHEAD
    fields = plain_fields(di, size - _DI) if size >= _DI else ()
    if not fields:
        return members
    lines = np.ascontiguousarray(raw.T)  # byte k of all frames lies together
    body = lines[wake:]
    fixed = {0: START, 7: START, 8: _ANSWER, 9: size, length - wake - 1: END}
    fixed |= {_HEAD + k: (byte + OFFSET) & 0xFF for k, byte in enumerate(di.to_bytes(_DI, "little"))}
    good = (lines[:wake] == WAKE_UP).all(axis=0)
    for at, byte in fixed.items():
        good &= body[at] == byte
    good &= np.add.reduce(body[:-2], axis=0, dtype=np.uint8) == body[-2]
    address, digits = bcd_columns(body[1:7].T)
    good &= digits
    values = _values(fields, (body[_HEAD + _DI : -2] - np.uint8(OFFSET)).T, good)
    whole = bool(good.all())
    rows = members if whole else members[good]
    found.address[rows] = address if whole else address[good]
    for code, column in values.items():
        if code in found.columns:
            found.columns[code][rows] = column if whole else column[good]
    return members[:0] if whole else members[~good]


def _values(fields: Sequence[Field], data: Bytes, good: Mask) -> Columns:
    """The columns of those fields that have a quantity; `good` loses the rows whose digits are not in order."""
    values: Columns = {}
    at = 0
    for field in fields:
        size = size_of(field.form)
        column, fine = column_of(field, data[:, at : at + size])
        good &= fine
        if field.quantity:
            values[field.quantity] = column
        at += size
    return values


def _alone(di: int, index: int, raw: bytes, found: FrameColumns) -> dict[int, ProtocolError]:
    """One frame through the general decoder into its row; its complaint if it has one."""
    try:
        frame = decode(raw)
        if frame.address.isdecimal():
            found.address[index] = int(frame.address)
        wake = len(raw) - OVERHEAD - len(frame.data)
        if frame.from_meter and frame.error:
            code, names = error_code(frame)
            absent = bool(code & NO_DATA)
            return {
                index: Refused(f"meter {frame.address} refused: {', '.join(names)}", code=code, absent=absent)
            }
        if frame.control != _ANSWER:
            raise FrameError(
                f"control code: {frame.control:02X}H, a whole read answer is {_ANSWER:02X}H", wake + 8
            )
        if frame.data[:_DI] != di.to_bytes(_DI, "little"):
            raise FrameError(
                f"data identifier: {frame.data[3::-1].hex().upper()}, asked {di:08X}", wake + _HEAD
            )
        try:
            values = quantity_values(di, frame.data[_DI:])
        except FrameError as error:
            raise error.moved(wake + _HEAD + _DI) from None
    except FrameError as error:
        return {index: error}
    for quantity, value in values.items():
        if quantity in found.columns:
            found.columns[quantity][index] = value
    return {}
