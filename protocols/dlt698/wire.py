"""Reading and writing the fields of an APDU: a cursor over bytes, and codecs that are put together like the standard's own types.

A codec reads a value at a cursor and writes it back. Counts and lengths are checked against what is there before anything is
built, so no byte sequence can make this loop or allocate beyond its own size.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from protocols.errors import FrameError, Misuse

#: Values of one APDU told to people: a frame holds 16 KB, and one with more values than this has less than four bytes for each.
MAX_TOLD: Final = 4096
#: Bytes that a value of a real answer takes at least, on the average: what goes on with less is not worth the time.
_BYTES_A_VALUE: Final = 2


class Budget:
    """How many more values and list elements may be read: what keeps the worst bytes from costing more than a few milliseconds."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    @classmethod
    def of(cls, raw: bytes) -> Budget:
        """Enough for any real APDU of this length."""
        return cls(max(MAX_TOLD, len(raw) // _BYTES_A_VALUE))

    def spend(self, count: int, at: int) -> None:
        """FrameError: used up."""
        self.left -= count
        if self.left < 0:
            raise FrameError("apdu: more values than are read one by one", at)


class Tracer(Protocol):
    """Is told what every range of bytes was read as."""

    def read(self, cursor: Cursor, name: str, codec: Codec) -> Any:
        """Read a field with its codec and keep its range."""

    def note(self, start: int, end: int, name: str, value: Any) -> None:
        """Bytes that no field holds: a count, a choice."""

    def data(self, cursor: Cursor) -> Any:
        """Read one A-XDR value."""

    def rewind(self, at: int) -> None:
        """What was read from `at` on was read wrongly."""


class Cursor:
    """Where reading stands in an APDU.

    depth   how deep Data is nested here
    flat    a record's ROAD column is one value for each of its columns, instead of one array of them; both are met in the field
    roads   a ROAD with several columns was met, so `flat` matters
    """

    __slots__ = ("at", "budget", "depth", "flat", "raw", "roads", "trace")

    def __init__(
        self,
        raw: bytes,
        at: int = 0,
        depth: int = 0,
        flat: bool = False,
        budget: Budget | None = None,
        trace: Tracer | None = None,
    ) -> None:
        self.raw = raw
        self.at = at
        self.depth = depth
        self.flat = flat
        self.roads = False
        self.budget = budget
        self.trace = trace

    def read(self, name: str, codec: Codec) -> Any:
        """A field by its codec."""
        return codec.read(self) if self.trace is None else self.trace.read(self, name, codec)

    def note(self, start: int, name: str, value: Any) -> None:
        """The bytes since `start` are a count or a choice."""
        if self.trace is not None:
            self.trace.note(start, self.at, name, value)

    def rewind(self, at: int) -> None:
        """Go back, to read the same bytes another way."""
        self.at = at
        if self.trace is not None:
            self.trace.rewind(at)

    def take(self, count: int) -> bytes:
        """The next `count` bytes. FrameError: fewer are there."""
        part = self.raw[self.at : self.at + count]
        if len(part) != count:
            raise FrameError(f"apdu: {count} bytes needed, {len(part)} are there", self.at)
        self.at += count
        return part

    def byte(self) -> int:
        if self.at >= len(self.raw):
            raise FrameError("apdu: 1 byte needed, 0 are there", self.at)
        self.at += 1
        return self.raw[self.at - 1]

    def choice(self, name: str, allowed: Container[int], rule: str) -> int:
        """A byte that must be one of a few. FrameError naming the rule."""
        at = self.at
        value = self.byte()
        if value not in allowed:
            raise FrameError(f"{name}: choice {value} must be {rule}", at)
        if self.trace is not None:
            self.trace.note(at, self.at, "choice", value)
        return value

    def length(self) -> int:
        """An A-XDR length: one byte below 128, else 80H + count and the bytes."""
        length, self.at = decode_length(self.raw, self.at)
        return length

    def count(self, cost: int = 1) -> int:
        """The count of a SEQUENCE OF: no more than bytes are left, since no element is shorter than one byte.

        cost  of an element, beside that of the values inside it
        """
        at = self.at
        count = self.length()
        if count > len(self.raw) - self.at:
            raise FrameError(f"apdu: {count} elements announced, {len(self.raw) - self.at} bytes left", at)
        if self.budget is not None:
            self.budget.spend(count * cost, at)
        self.note(at, "count", count)
        return count


def encode_length(length: int) -> bytes:
    """An A-XDR length in its shortest form."""
    if length < 0x80:
        return bytes((length,))
    body = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(body),)) + body


def decode_length(raw: bytes, offset: int) -> tuple[int, int]:
    """The A-XDR length at `offset` and the offset behind it. FrameError: truncated, or more than four bytes long."""
    if offset >= len(raw):
        raise FrameError("length: the bytes end before it", offset)
    first = raw[offset]
    if first < 0x80:
        return first, offset + 1
    count = first & 0x7F
    if not 1 <= count <= 4:
        raise FrameError(f"length: {count} bytes long, must be 1 to 4", offset)
    body = raw[offset + 1 : offset + 1 + count]
    if len(body) != count:
        raise FrameError(f"length: {count} bytes needed, {len(body)} are there", offset + 1)
    return int.from_bytes(body, "big"), offset + 1 + count


class Codec(Protocol):
    """How one type of the standard is read and written. Reading raises FrameError, writing Misuse."""

    def read(self, cursor: Cursor) -> Any: ...

    def write(self, value: Any, out: bytearray) -> None: ...


class Number:
    """A number of fixed width, high byte first; `form` as in struct."""

    def __init__(self, form: str) -> None:
        self._struct = struct.Struct(">" + form)

    def read(self, cursor: Cursor) -> Any:
        return self._struct.unpack(cursor.take(self._struct.size))[0]

    def write(self, value: Any, out: bytearray) -> None:
        try:
            out += self._struct.pack(value)
        except struct.error as why:
            raise Misuse(f"apdu: {value!r} does not fit {self._struct.size} bytes: {why}") from why


class Raw:
    """Bytes of a fixed count."""

    def __init__(self, size: int) -> None:
        self._size = size

    def read(self, cursor: Cursor) -> bytes:
        return cursor.take(self._size)

    def write(self, value: bytes, out: bytearray) -> None:
        if len(value) != self._size:
            raise Misuse(f"apdu: {len(value)} bytes where {self._size} must be")
        out += value


class Octets:
    """Bytes behind their length."""

    def read(self, cursor: Cursor) -> bytes:
        return cursor.take(cursor.length())

    def write(self, value: bytes, out: bytearray) -> None:
        out += encode_length(len(value)) + value


class Nothing:
    """NULL where the type has no bytes at all."""

    def read(self, cursor: Cursor) -> None:
        return None

    def write(self, value: None, out: bytearray) -> None:
        return None


class Sequence:
    """SEQUENCE OF: a count, then the elements -> tuple."""

    def __init__(self, element: Codec, cost: int = 1) -> None:
        self._element = element
        self._cost = cost

    def read(self, cursor: Cursor) -> tuple[Any, ...]:
        if cursor.trace is None:
            read = self._element.read
            return tuple([read(cursor) for _ in range(cursor.count(self._cost))])
        return tuple([cursor.read("element", self._element) for _ in range(cursor.count(self._cost))])

    def write(self, value: tuple[Any, ...], out: bytearray) -> None:
        out += encode_length(len(value))
        for element in value:
            self._element.write(element, out)


class Optional:
    """OPTIONAL: 00, or 01 and the value -> None or the value."""

    def __init__(self, name: str, inner: Codec) -> None:
        self._name = name
        self._inner = inner

    def read(self, cursor: Cursor) -> Any:
        at = cursor.at
        flag = cursor.byte()
        if flag > 1:
            raise FrameError(f"{self._name}: presence {flag:02X}H must be 00 or 01", at)
        cursor.note(at, "present", flag)
        return self._inner.read(cursor) if flag else None

    def write(self, value: Any, out: bytearray) -> None:
        out.append(value is not None)
        if value is not None:
            self._inner.write(value, out)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A CHOICE: which alternative, and its value."""

    choice: int
    value: Any = None


class Choice:
    """CHOICE: a byte that names the alternative, then its value -> Chosen."""

    def __init__(
        self, name: str, alternatives: Mapping[int, Codec], names: Mapping[int, str] | None = None
    ) -> None:
        self._name = name
        self._alternatives = dict(alternatives)
        self._names = dict(names or {})
        self._rule = f"one of {sorted(self._alternatives)}"

    def read(self, cursor: Cursor) -> Chosen:
        choice = cursor.choice(self._name, self._alternatives, self._rule)
        return Chosen(choice, cursor.read(self._names.get(choice, self._name), self._alternatives[choice]))

    def write(self, value: Chosen, out: bytearray) -> None:
        codec = self._alternatives.get(value.choice)
        if codec is None:
            raise Misuse(f"{self._name}: choice {value.choice} is none of {sorted(self._alternatives)}")
        out.append(value.choice)
        codec.write(value.value, out)


class Group:
    """SEQUENCE: named fields in order -> what `build` makes of them, read back by attribute."""

    def __init__(self, build: Any, **fields: Codec) -> None:
        self._build = build
        self._fields = fields
        self._reads = [codec.read for codec in fields.values()]

    def read(self, cursor: Cursor) -> Any:
        if cursor.trace is None:
            return self._build(*[read(cursor) for read in self._reads])
        return self._build(*[cursor.read(name, codec) for name, codec in self._fields.items()])

    def write(self, value: Any, out: bytearray) -> None:
        for name, codec in self._fields.items():
            codec.write(getattr(value, name), out)


U8: Final = Number("B")
I8: Final = Number("b")
U16: Final = Number("H")
U32: Final = Number("I")
OCTETS: Final = Octets()
NOTHING: Final = Nothing()
