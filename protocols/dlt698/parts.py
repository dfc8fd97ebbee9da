"""One frame range by range: what each byte is, for a person who looks at the hex.

The codecs of apdu.py read the frame as always; a Trace beside them keeps what each range of bytes was read as.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import clock, items, show, values
from protocols.dlt698.fields import ALTERNATIVES, CHOICES, FIELDS, FRAME
from protocols.dlt698.frame import (
    CLIENT_STARTED,
    FROM_SERVER,
    FUNCTION,
    SCRAMBLED,
    SEGMENTED,
    WAKE_UP,
    Frame,
    decode,
)
from protocols.dlt698.values import Data
from protocols.dlt698.wire import OCTETS, Codec, Cursor
from protocols.errors import FrameError
from protocols.part import MASK, Part

#: Ranges told one by one: more lines than anyone reads, and few enough that the worst frame of 16 KB takes a few milliseconds.
MAX_PARTS: Final = 1000
#: Signs of a long text or byte string that are shown; its length is always said.
_SHOWN: Final = 160


def parts(raw: bytes, *, reveal: bool = False) -> list[Part]:
    """Every byte of a frame under its name, in order. FrameError as `describe`.

    An APDU that cannot be decoded to its end is told as far as it is sure; the rest is one part with the complaint.
    """
    frame = decode(raw)
    wake = len(raw) - len(raw.lstrip(bytes((WAKE_UP,))))
    head = _head(raw, wake, frame)
    start = len(raw) - 3 - len(frame.data)
    body = _body(frame, start, reveal)
    tail = [_part(len(raw) - 3, 2, "fcs", "right"), _part(len(raw) - 1, 1, "end")]
    return [*head, *body, *tail]


def _part(at: int, size: int, name: str, meaning: str = "") -> Part:
    english, chinese = FRAME[name]
    return Part(at, at + size, english, chinese, meaning)


def _head(raw: bytes, wake: int, frame: Frame) -> list[Part]:
    size = (raw[wake + 4] & 0x0F) + 1
    client = wake + 5 + size
    unit = " (counted in kilobytes)" if frame.kilobytes else ""
    found = [_part(0, wake, "wakeup")] if wake else []
    found += [
        _part(wake, 1, "start"),
        _part(wake + 1, 2, "length", f"{len(raw) - wake - 2} bytes{unit}"),
        _part(wake + 3, 1, "control", _control(frame)),
        _part(
            wake + 4,
            1,
            "sa_head",
            f"{_KINDS[frame.server.kind]}, logical {frame.server.logical}, {size} bytes",
        ),
        _part(wake + 5, size, "sa", frame.server.digits),
        _part(client, 1, "ca", f"{frame.client:02X}"),
        _part(client + 1, 2, "hcs", "right"),
    ]
    if frame.segment is not None:
        kind = ("first", "last", "confirm", "middle")[frame.segment_kind]
        found.append(_part(client + 3, 2, "segment", f"{kind}, number {frame.segment_number}"))
    return found


_KINDS: Final = ("single", "wildcard", "group", "broadcast")


def _control(frame: Frame) -> str:
    said = [
        "from the server" if frame.control & FROM_SERVER else "from the client",
        "started by the client" if frame.control & CLIENT_STARTED else "started by the server",
        {1: "link management", 3: "user data"}.get(
            frame.control & FUNCTION, f"function {frame.control & FUNCTION}"
        ),
    ]
    said += ["segment"] if frame.control & SEGMENTED else []
    said += ["user data sent with 33H added"] if frame.control & SCRAMBLED else []
    return ", ".join(said)


def _body(frame: Frame, start: int, reveal: bool) -> list[Part]:
    if not frame.data:
        return []
    if frame.segment is not None:
        hidden = not reveal and show.may_hide(frame.data)
        english, chinese = FRAME["piece"]
        told = MASK if hidden else f"{len(frame.data)} bytes of an APDU in several frames"
        return [Part(start, start + len(frame.data), english, chinese, told, 1)]
    trace = Trace(frame.data, start, reveal)
    trace.run(flat=False)
    if trace.severed:
        again = Trace(frame.data, start, reveal)
        again.run(flat=True)
        trace = trace if again.broken else again
    return trace.parts


class _Enough(Exception):
    """MAX_PARTS are there."""


class Trace:
    """wire.Tracer: keeps the ranges of one APDU as Parts. `start` is where the APDU stands in the frame."""

    def __init__(self, raw: bytes, start: int, reveal: bool) -> None:
        self.parts: list[Part] = []
        self.broken = False
        self.severed = False
        self._raw = raw
        self._start = start
        self._reveal = reveal
        self._end = 0
        self._level = 1
        self._name = "apdu"
        self._inside = False
        self._column: values.Csd = 0
        self._method = False
        self._password = False
        self._code = 0

    def run(self, *, flat: bool) -> None:
        """Read the APDU; whatever is wrong with it becomes its last part."""
        cursor = Cursor(self._raw, flat=flat, trace=self)
        try:
            apdus.read(cursor)
        except _Enough:
            left = len(self._raw) - self._end
            self._level = 1
            self._put(self._end, len(self._raw), "more", f"{left} bytes, not told one by one")
        except FrameError as error:
            self.broken = True
            self.severed = cursor.roads and not flat
            self._level = 1
            self._rest(self._end, len(self._raw), error)

    def _rest(self, at: int, end: int, error: FrameError) -> None:
        if at < end:
            hidden = not self._reveal and show.may_hide(self._raw)
            self._put(at, end, "undecoded", MASK if hidden else str(error.moved(self._start)))
        elif self.parts:  # the bytes end too early
            last = self.parts.pop()
            self.parts.append(replace(last, meaning=f"{last.meaning}; {error.moved(self._start)}"))

    # --- wire.Tracer ---

    def read(self, cursor: Cursor, name: str, codec: Codec) -> Any:
        at = cursor.at
        outer, self._name = self._name, name
        self._level += 1
        if isinstance(codec, apdus.CellCodec):
            self._column = codec.column
        value: Any = self._clear(cursor) if name == "apdu" and not self._inside else codec.read(cursor)
        self._level -= 1
        self._name = outer
        if codec is values.OAD_ and name in _OBJECTS:
            self._column = value
            self._method = name == "omd"
        if self._end < cursor.at:  # nothing inside has been noted: the field is one range
            self._put(max(at, self._end), cursor.at, name, self._meaning(name, codec, value))
        return value

    def note(self, start: int, end: int, name: str, value: Any) -> None:
        match name:
            case "count":
                self._put(start, end, self._name, f"{value} of them")
            case "choice":
                known = ALTERNATIVES.get(self._name, {})
                self._put(start, end, "choice", f"{value} {known.get(value, '')}".rstrip())
            case "present":
                self._put(start, end, self._name, "follows" if value else "none")
            case "service":
                self._code = value & ~apdus.SERVER
                self._put(start, end, "service", apdus.SERVICES[value])
            case _:
                hidden = not self._reveal and show.may_hide(self._raw)
                self._put(start, end, name, MASK if hidden else "none of the services known")

    def rewind(self, at: int) -> None:
        while self.parts and self.parts[-1].start >= self._start + at:
            self.parts.pop()
        self._end = at

    def data(self, cursor: Cursor) -> Data:
        return self._data(cursor, self._column)

    # --- values ---

    def _data(self, cursor: Cursor, column: values.Csd, member: tuple[int, int] = (0, 0)) -> Data:
        """One A-XDR value of a column; `member`: which of how many, inside a structure."""
        at = cursor.at
        tag = cursor.raw[at] if at < len(cursor.raw) else values.NULL
        if tag in (values.ARRAY, values.STRUCTURE):
            return self._items(cursor, column, tag)
        if tag in values.COMPOUND and cursor.depth < values.MAX_DEPTH:
            return self._compound(cursor, tag)
        data, cursor.at = values.decode_at(cursor.raw, at, cursor.depth)
        self._put(at, cursor.at, "data", self._told(data, column, member))
        return data

    def _items(self, cursor: Cursor, column: values.Csd, tag: int) -> Data:
        at = cursor.at
        if cursor.depth >= values.MAX_DEPTH:
            values.decode_at(cursor.raw, at, cursor.depth)  # says so
        count, cursor.at = values.decode_count(cursor.raw, at)
        self._put(at, cursor.at, "data", f"{values.NAMES[tag]} of {count}")
        cursor.depth += 1
        self._level += 1
        names = column.columns if isinstance(column, values.Road) else ()
        found: list[Data] = []
        for index in range(count):
            inner = names[index] if len(names) == count else column
            place = (index, count) if tag == values.STRUCTURE else (0, 0)
            self._password = index == 4 and tag == values.STRUCTURE and show.is_entry(found)
            found.append(self._data(cursor, inner, place))
        self._password = False
        cursor.depth -= 1
        self._level -= 1
        return Data(tag, tuple(found))

    def _compound(self, cursor: Cursor, tag: int) -> Data:
        self._put(cursor.at, cursor.at + 1, "data", values.NAMES[tag])
        cursor.at += 1
        cursor.depth += 1
        column = self._column
        value = self.read(cursor, "value", values.COMPOUND[tag])
        self._column = column
        cursor.depth -= 1
        return Data(tag, value)

    def _told(self, data: Data, column: values.Csd, member: tuple[int, int]) -> str:
        """A plain value with its type, in its unit where the object table has one for it."""
        oad = column.oad if isinstance(column, values.Road) else column
        if not self._reveal and (items.secret(oad, method=self._method) or (self._password and data.value)):
            return MASK
        known = show.column(oad)
        index, count = member
        if count and count == len(known.scalers) > 1:
            item = items.item(oad)
            known = show.Column(
                "", known.scalers[index : index + 1], item.units[index] if item else "", False
            )
        told: Any = show.show(data, self._reveal)
        unit: Any = ""
        if data.tag in show.NUMBERS and len(known.scalers) == 1 and known.scalers[0] is not None:
            told, unit = show.scaled(data, known.scalers), known.unit
        return f"{values.NAMES[data.tag]} {_text(told)} {unit}".rstrip() if data.tag else "NULL"

    # --- fields ---

    def _clear(self, cursor: Cursor) -> bytes:
        """An APDU in clear inside SECURITY: opened once, since none is inside another."""
        at = cursor.at
        raw: bytes = OCTETS.read(cursor)
        begin, end = cursor.at - len(raw), cursor.at
        self._put(at, begin, "apdu", f"{len(raw)} bytes in clear")
        if raw[:1] in (b"\x10", b"\x90"):
            self._put(
                begin, end, "undecoded", "SECURITY inside SECURITY is not opened" if self._reveal else MASK
            )
            return raw
        self._level += 1
        level, self._inside = self._level, True
        try:
            apdus.read(Cursor(cursor.raw[:end], begin, trace=self))
        except FrameError as error:
            self._level = level
            self._rest(self._end, end, error)
        self._level = level - 1
        self._inside = False
        return raw

    def _put(self, start: int, end: int, name: str, meaning: str) -> None:
        if start == end:
            return
        if len(self.parts) >= MAX_PARTS and name not in ("more", "undecoded"):
            raise _Enough
        english, chinese = FIELDS.get(name, (name, name))
        self.parts.append(
            Part(self._start + start, self._start + end, english, chinese, meaning, self._level)
        )
        self._end = end

    def _meaning(self, name: str, codec: Codec, value: Any) -> str:
        if name in _SECRET:
            return (value.hex() if name != "password" else show.ascii_text(value)) if self._reveal else MASK
        if codec is values.OAD_ and name in _OBJECTS:
            return _object(value, method=name == "omd")
        if name == "choice":
            return f"{value} {CHOICES.get(self._code, {}).get(value, 'unknown')}"
        teller = _MEANINGS.get(name)
        if teller is not None:
            told: str = teller(value)
            return told
        if isinstance(value, bytes):
            return _text(show.forwarded(value, self._reveal))
        return str(value)


def _object(oad: int, *, method: bool) -> str:
    name = items.object_name(oad)
    member = items.member_name(oad, method=method)
    index = oad & 0xFF
    said = [f"{oad:08X}", name, member, f"element {index}" if index and not method else ""]
    return " ".join(word for word in said if word)


def _text(told: Any) -> str:
    text = told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} signs)"


def _named(names: dict[int, str]) -> Any:
    return lambda value: f"{value} {names.get(value, '')}".rstrip()


#: Fields that are an OAD or OMD; what data follows belongs to it.
_OBJECTS: Final = frozenset(("oad", "omd", "port", "read", "element"))
_SECRET: Final = frozenset(("password", "cipher", "signature", "rn"))
_MEANINGS: Final[dict[str, Any]] = {
    "piid": lambda value: f"number {value & apdus.NUMBER}, priority {value >> 7}, ACD {value >> 6 & 1}",
    "dar": lambda value: f"{value} {items.dars().get(value, 'unknown')}",
    "request": _named(apdus.LINK_TYPES),
    "heartbeat_s": lambda value: f"{value} s",
    "timeout_s": lambda value: f"{value} s",
    "timeout": lambda value: f"{value} s",
    "delay": lambda value: f"{value} s",
    "byte_timeout_ms": lambda value: f"{value} ms",
    "time": clock.time_text,
    "until": clock.time_text,
    "connected": clock.time_text,
    "sent": clock.time_text,
    "request_time": clock.time_text,
    "received_time": clock.time_text,
    "response_time": clock.time_text,
    "tsa": show.tsa,
    "error": _named(apdus.ERRORS),
    "ciphered": lambda value: f"{len(value)} bytes, ciphered",
    "last_block": lambda value: "yes" if value else "no",
    "baud": lambda value: f"{values.BAUDS[value]} Bd" if value < len(values.BAUDS) else "adaptive",
    "parity": lambda value: values.PARITIES[value] if value < len(values.PARITIES) else str(value),
    **dict.fromkeys(
        ("vendor", "software", "software_date", "hardware", "hardware_date", "extension"), show.ascii_text
    ),
}  # fmt: skip
