"""Walking a layout: bytes <-> the values of one data unit or one event record.

`measure` says where a unit ends and looks at nothing but its counts: it is what finds the units of a frame, and what makes a
frame of 16 KiB cheap before anyone asks for its values. `walk` gives the values one by one with the bytes they come from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from itertools import islice
from typing import Final

from protocols.errors import FrameError, Misuse
from protocols.gdw376.forms import FILLER, Event, Typed, Value, decode_field, encode_field
from protocols.gdw376.items import Field, Group, Layout, Node, events, quantity_code

#: Density m -> minutes between two points; 0 is "not frozen".
DENSITY_MINUTES: Final = {1: 15, 2: 30, 3: 60, 254: 5, 255: 1}
#: Key of `counts` under which `measure` keeps how often it went round a loop: what it cost.
ROUNDS: Final = ""
#: A value and the range of bytes it stands in. HI4 is empty: its byte is LO4's.
Found = tuple[Value, int, int]

# --- where a unit ends ---

_Step = Callable[[bytes, int, dict[str, int]], int]
Steps = tuple[_Step, ...]


def measure(steps: Steps, data: bytes, at: int, counts: dict[str, int]) -> int:
    """The offset behind a unit that begins at `at`, -1 if the data end before it does or a count of it means nothing."""
    for step in steps:
        at = step(data, at, counts)
        if at < 0:
            return -1
    return at


@lru_cache(maxsize=2048)
def compiled(layout: Layout) -> Steps:
    """What `measure` runs: fields of fixed size in one step."""
    steps: list[_Step] = []
    fixed = 0
    for node in layout:
        if _plain(node):
            fixed += node.size or 0 if isinstance(node, Field) else 0
            continue
        if fixed:
            steps.append(_skip(fixed))
            fixed = 0
        steps.append(_step(node))
    return (*steps, _skip(fixed)) if fixed else tuple(steps)


def _plain(node: Node) -> bool:
    """One field of fixed size that counts nothing."""
    return (
        isinstance(node, Field)
        and node.size is not None
        and not (node.repeat or node.optional or node.counts)
    )


def _step(node: Node) -> _Step:
    if isinstance(node, Group) or node.repeat:
        inner = node.nodes if isinstance(node, Group) else (replace(node, repeat=""),)
        return _loop(inner, node.repeat)
    if node.form == "EVENTS":
        return _skip_events
    if node.optional:
        size = node.size or 0
        return lambda data, at, _: at if at >= len(data) else at + size if at + size <= len(data) else -1
    return _counted(node) if node.counts else _sized(node.length)


def _skip(size: int) -> _Step:
    return lambda data, at, _: at + size if at + size <= len(data) else -1


def _sized(length: str) -> _Step:
    def step(data: bytes, at: int, counts: dict[str, int]) -> int:
        end = at + counts.get(length, 0)
        return end if end <= len(data) else -1

    return step


def _counted(field: Field) -> _Step:
    size, name = field.size or 0, field.counts
    if size == 1 and not field.transform:  # most counts are such
        filler = FILLER if field.form == "BIN" else -1

        def one(data: bytes, at: int, counts: dict[str, int]) -> int:
            if at >= len(data) or data[at] == filler:
                return -1
            counts[name] = data[at]
            return at + 1

        return one

    def step(data: bytes, at: int, counts: dict[str, int]) -> int:
        end = at + size
        if end > len(data):
            return -1
        counts[name] = number = _count(field, data[at:end])
        return end if number >= 0 else -1

    return step


def _loop(inner: Layout, repeat: str) -> _Step:
    steps, numbers = compiled(inner), _numbers(repeat)
    size = sum(node.size or 0 for node in inner if isinstance(node, Field))

    def fixed(data: bytes, at: int, counts: dict[str, int]) -> int:
        if repeat == "rest":
            return len(data) if (len(data) - at) % size == 0 else -1
        end = at + size * len(numbers(counts))
        return end if end <= len(data) else -1

    def any_size(data: bytes, at: int, counts: dict[str, int]) -> int:
        rounds = 0
        for _ in numbers(counts):
            rounds += 1
            for step in steps:
                at = step(data, at, counts)
                if at < 0:
                    break
            else:
                continue
            break
        counts[ROUNDS] = counts.get(ROUNDS, 0) + rounds
        return at

    if all(_plain(node) for node in inner):
        return fixed
    if repeat == "rest":
        raise ValueError("layout: what goes on to the end must be of fixed size")
    return any_size


@lru_cache(maxsize=256)
def _numbers(repeat: str) -> Callable[[dict[str, int]], range]:
    """What says the indices of a repeat; A..C are 0..2."""
    begin, _, end = repeat.partition("..")
    if not end:
        begin, end = "1", begin
    if begin == "A":
        return lambda _: range(3)
    end, _, step = end.partition("/")
    first, by = int(begin), int(step or 1)
    if end.isdecimal():
        constant = range(first, int(end) + 1, by)
        return lambda _: constant
    return lambda counts: range(first, counts[end] + 1, by)


def _count(field: Field, raw: bytes) -> int:
    """What a count field counts, -1 if it is a filler or not in its table."""
    if field.form == "BIN" and raw.count(FILLER) == len(raw):
        return -1
    number = int.from_bytes(raw, "little")
    match field.transform[:1]:
        case "#":
            return number.bit_count()
        case "~":
            return 60 // DENSITY_MINUTES[number] if number in DENSITY_MINUTES else 0 if number == 0 else -1
        case "%":
            return number % int(field.transform[1:])
        case "&":
            return number & int(field.transform[1:])
    return number


def _skip_events(data: bytes, at: int, counts: dict[str, int]) -> int:
    for _ in range((counts["Pn"] - counts["Pm"]) % 256):
        if at == len(data):
            break
        counts[ROUNDS] = counts.get(ROUNDS, 0) + 1
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
            return -1
        at += 2 + data[at + 1]
    return at


def event_codes(data: bytes, at: int) -> Iterator[int]:
    """The ERC of the records from offset `at` on, as far as they are whole."""
    while at + 2 <= len(data):
        yield data[at]
        at += 2 + data[at + 1]


# --- the values of a unit ---


def walk(layout: Layout, data: bytes, at: int = 0) -> Iterator[Found]:
    """The values of a layout from offset `at`, one by one. FrameError names field, rule and offset."""
    counts: dict[str, int] = {}
    here = [at]
    for field in laid_out(layout, counts, lambda: here[0] < len(data)):
        at = here[0]
        if field.form == "EVENTS":
            yield from _walk_events(data, at, counts)
            continue
        size = field.size if field.size is not None else counts.get(field.length, 0)
        raw = data[at : at + (size or field.form == "HI4")]
        if len(raw) < size or (field.form == "HI4" and not raw):
            raise FrameError(f"{field.name}: {len(raw)} bytes are left, {size or 1} are needed", offset=at)
        if field.counts:
            counts[field.counts] = number = _count(field, raw)
            if number < 0:
                why = "density is not in the table" if field.transform == "~" else "no data follow"
                raise FrameError(f"{field.name}: {raw.hex()}, {why}", offset=at)
        here[0] = at + size
        yield decode_field(field, raw), at, at + size


def decode_layout(layout: Layout, data: bytes, at: int = 0) -> tuple[tuple[Value, ...], int]:
    """The values of a layout from offset `at` -> (values, where they end). FrameError as `walk`."""
    found: list[Value] = []
    end = at
    for value, _, stop in walk(layout, data, at):
        found.append(value)
        end = stop
    return tuple(found), end


def _walk_events(data: bytes, at: int, counts: dict[str, int]) -> Iterator[Found]:
    """Y records, Y = Pn - Pm modulo 256: ERC, Le, content of Le bytes. A terminal may send fewer, one by one."""
    for number in range((counts["Pn"] - counts["Pm"]) % 256):
        if at == len(data):
            return
        head = data[at : at + 2]
        end = at + 2 + head[-1]
        if len(head) < 2 or end > len(data):
            raise FrameError(
                f"event {number + 1}: {len(data) - at} bytes are left, too few for the record", offset=at
            )
        yield Value(_record_field(number + 1), decode_event(head[0], data[at + 2 : end])), at, end
        at = end


@cache
def _record_field(number: int) -> Field:
    return Field(f"event {number}", "EVENTS", None)


#: Fields of one record that are read; the longest of the table has fewer, but the parameters changed of ERC 3 may be 62.
_EVENT_FIELDS: Final = 80


def decode_event(erc: int, content: bytes) -> Event:
    """One record's content. What it has beyond its layout stays in `data`; one that is too short has no values."""
    kind = events().get(erc)
    if kind is None:
        return Event(erc, content)
    try:
        return Event(
            erc, content, tuple(found[0] for found in islice(walk(kind.layout, content), _EVENT_FIELDS))
        )
    except FrameError:
        return Event(erc, content)


def encode_event(erc: int, values: Sequence[Typed]) -> Event:
    """Values in the order of the ERC's layout -> a record. Misuse if they do not fit."""
    kind = events().get(erc)
    if kind is None:
        raise Misuse(f"ERC{erc}: not in the table")
    return decode_event(erc, encode_layout(kind.layout, values))


def _encode_event(event: Typed) -> bytes:
    if not isinstance(event, Event) or len(event.data) > 0xFF:
        raise Misuse("event: a record of at most 255 bytes is needed")
    return bytes((event.erc, len(event.data))) + event.data


def encode_layout(layout: Layout, values: Sequence[Typed]) -> bytes:
    """Values in the order of the layout -> bytes. Misuse if one does not fit, is missing or left over."""
    counts: dict[str, int] = {}
    out, queue, half = bytearray(), deque(values), 0
    for field in laid_out(layout, counts, lambda: bool(queue)):
        if field.form == "EVENTS":
            while queue:
                out += _encode_event(queue.popleft())
            break
        if not queue:
            raise Misuse(f"{field.name}: no value given")
        value = queue.popleft()
        size = field.size if field.size is not None else counts[field.length]
        if field.form == "HI4":
            half = _nibble(field, value) << 4
            continue
        low = field.form == "LO4"
        raw = bytes((half | _nibble(field, value),)) if low else encode_field(field, value, size)
        if field.counts:
            counts[field.counts] = number = _count(field, raw)
            if number < 0:
                raise Misuse(f"{field.name}: {value!r} counts nothing")
        out += raw
    if queue:
        raise Misuse(f"layout: {len(queue)} values too many")
    return bytes(out)


def _nibble(field: Field, value: Typed) -> int:
    if not isinstance(value, int) or not 0 <= value <= 15:
        raise Misuse(f"{field.name}: {value!r} is not 0-15")
    return value


# --- the fields, repeats unrolled ---


def laid_out(layout: Layout, counts: dict[str, int], more: Callable[[], bool]) -> Iterator[Field]:
    """The fields one by one, repeats unrolled. The caller fills `counts` as it goes; `more`: is there anything left?"""
    for node in layout:
        yield from _unrolled(node, counts, more, ())


def _unrolled(
    node: Node, counts: dict[str, int], more: Callable[[], bool], marks: tuple[str, ...]
) -> Iterator[Field]:
    if isinstance(node, Group):
        for mark in _marks(node.repeat, counts, more):
            for inner in node.nodes:
                yield from _unrolled(inner, counts, more, (*marks, mark))
    elif node.repeat == "n" and not marks and counts["n"] <= 0xFF:
        yield from _curve(node, counts["n"])
    elif node.repeat:
        for mark in _marks(node.repeat, counts, more):
            yield _named(node, (*marks, mark))
    elif not node.optional or more():
        yield _named(node, marks) if marks else node


def _marks(repeat: str, counts: dict[str, int], more: Callable[[], bool]) -> Iterator[str]:
    if repeat == "rest":
        number = 0
        while more():
            number += 1
            yield str(number)
        return
    phases = repeat.startswith("A")
    yield from ("ABC"[number] if phases else str(number) for number in _numbers(repeat)(counts))


@lru_cache(maxsize=16)
def _curve(field: Field, points: int) -> tuple[Field, ...]:
    """The points of a curve, once named: what one master asks for is of a few lengths.

    The cache is small: the garbage collector looks at all that it holds.
    """
    return tuple(_named(field, (str(number),)) for number in range(1, points + 1))


@lru_cache(maxsize=4096)
def _named(field: Field, marks: tuple[str, ...]) -> Field:
    """The field with its indices filled in."""
    name = field.name.replace("{n}", marks[0]).replace("{p}", marks[0]).replace("{m}", marks[-1])
    code = field.quantity
    if "{" in code:
        code = quantity_code(code, marks[0].lower())
    return replace(field, name=name, quantity=code, repeat="")
