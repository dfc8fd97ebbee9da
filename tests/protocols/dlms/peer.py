"""What the comparisons with dlms-cosem share: how many, generated values, and the library's objects of them."""

from __future__ import annotations

import datetime as dt
import os
import random
import string
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from dlms_cosem import connection, dlms_data

from protocols.dlms import apdu as apdus
from protocols.dlms import values
from protocols.dlms.values import Data
from protocols.localtime import as_datetime

UTC, SHANGHAI, BERLIN = ZoneInfo("UTC"), ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
COUNT = int(os.environ.get("PEER_FRAMES", "1000"))
Seen = Counter[str]


def compare(
    area: str,
    part: int,
    one: Callable[[random.Random, Seen, int], None],
    explained: dict[str, str],
    beside: tuple[str, ...] = (),
) -> None:
    """Calls `one` for `part` hundredths of all frames; every difference it counts is explained, and comes if enough is generated.

    beside  differences that are looked for in every frame, on top of the comparison
    """
    dice, seen, equal = random.Random(area), Counter[str](), 0
    frames = max(1, COUNT * part // 100)
    for number in range(frames):
        before = seen.copy()
        one(dice, seen, number)
        equal += not (seen - before).keys() - set(beside)
    seen = +seen
    print(f"\n{area}: {frames} compared, {equal} equal in both directions; {dict(sorted(seen.items()))}")
    assert seen.keys() <= explained.keys()
    if COUNT >= 1000:
        assert not explained.keys() - seen.keys()
        assert equal


def outcome(call: Callable[..., Any], *arguments: Any) -> Any:
    """What the library makes of it: a value, or the class of its exception."""
    try:
        return call(*arguments)
    except Exception as error:
        return type(error)


# --- clocks ---


def a_clock(dice: random.Random, zone: ZoneInfo | None = None) -> tuple[bytes, np.datetime64, ZoneInfo]:
    """12 bytes as a meter of that zone sends them."""
    zone = zone or dice.choice((UTC, SHANGHAI, SHANGHAI, BERLIN))
    utc = np.datetime64("2001-01-01", "us") + np.timedelta64(dice.randrange(2**30), "s")
    utc += np.timedelta64(dice.choice((0, dice.randrange(100))) * 10, "ms")
    return values.encode_clock(utc, zone), utc, zone


def library_clock(raw: bytes) -> bytes:
    """A date-time as the library writes it."""
    return raw[:4] + b"\xff" + raw[5:11] + b"\x00"


def aware(utc: np.datetime64, zone: ZoneInfo) -> dt.datetime:
    """With a fixed offset: datetimes of different zones are never equal in a doubled hour."""
    local = as_datetime(utc, zone)
    offset = local.utcoffset()
    assert offset is not None
    return local.astimezone(dt.timezone(offset))


def as_read(when: dt.datetime, seen: Seen) -> dt.datetime:
    """Deviation 0 loses its zone."""
    if when.utcoffset():
        return when
    seen["naive"] += 1
    return when.replace(tzinfo=None)


# --- values ---

NO_ENCODER = (
    values.NULL, values.BOOLEAN, values.UTF8_STRING, values.BCD, values.FLOAT32, values.FLOAT64, values.DATE_TIME,
    values.DATE, values.TIME, values.DONT_CARE,
)  # fmt: skip
NO_DECODER = (
    values.BIT_STRING, values.UTF8_STRING, values.BCD, values.FLOAT32, values.FLOAT64, values.DONT_CARE,
)  # fmt: skip
INTEGERS = {
    values.DOUBLE_LONG: (4, True), values.DOUBLE_LONG_UNSIGNED: (4, False), values.INTEGER: (1, True), values.LONG: (2, True),
    values.UNSIGNED: (1, False), values.LONG_UNSIGNED: (2, False), values.LONG64: (8, True), values.LONG64_UNSIGNED: (8, False),
    values.ENUM: (1, False),
}  # fmt: skip
BOTH = (*INTEGERS, values.OCTET_STRING, values.VISIBLE_STRING)
READ = (*BOTH, values.NULL, values.BOOLEAN, values.DATE_TIME, values.DATE, values.TIME)
WRITTEN = (*BOTH, values.BIT_STRING)
ANY = (*READ, *NO_DECODER)


def text(dice: random.Random, length: int) -> str:
    return "".join(dice.choices(string.printable, k=length))


def a_leaf(dice: random.Random, tag: int) -> Data:  # noqa: PLR0911 - one type, one return
    length = dice.choice(
        (0, 1, 6, 12, dice.randrange(128), dice.randrange(400) if dice.random() < 0.5 else 8)
    )
    if tag in INTEGERS:
        size, signed = INTEGERS[tag]
        number = (
            dice.randbytes(size)
            if dice.random() < 0.7
            else bytes((dice.choice((0, 0x7F, 0x80, 0xFF)),)) * size
        )
        return Data(tag, int.from_bytes(number, "big", signed=signed))
    match tag:
        case values.OCTET_STRING:
            return Data(tag, dice.randbytes(length))
        case values.VISIBLE_STRING:
            return Data(tag, text(dice, length))
        case values.UTF8_STRING:
            return Data(tag, "".join(dice.choices("aé电", k=length % 20)))
        case values.BOOLEAN:
            return Data(tag, dice.random() < 0.5)
        case values.BIT_STRING:
            return Data(tag, "".join(dice.choices("01", k=dice.randrange(65))))
        case values.BCD:
            return Data(tag, dice.randrange(-128, 128))
        case values.FLOAT32 | values.FLOAT64:
            return Data(tag, float(dice.randrange(-(2**20), 2**20)) / 8)
        case values.DATE_TIME | values.DATE | values.TIME:
            return Data(
                tag,
                a_moment(dice)[
                    {values.DATE_TIME: slice(12), values.DATE: slice(5), values.TIME: slice(5, 9)}[tag]
                ],
            )
    return Data(tag)


def a_moment(dice: random.Random) -> bytes:
    """A date-time, some with fields that are not specified or mean a rule."""
    raw = bytearray(a_clock(dice)[0])
    if dice.random() < 0.2:
        raw[9:11] = b"\x80\x00"
    if dice.random() < 0.2:
        raw[11] = dice.randrange(256)
    if dice.random() < 0.15:
        raw[dice.choice((2, 3, 5, 6, 7, 8))] = 0xFF
    if dice.random() < 0.05:
        raw[dice.choice((2, 3))] = 0xFE
    return bytes(raw)


def a_value(dice: random.Random, tags: tuple[int, ...], depth: int = 0) -> Data:
    if depth < 3 and dice.random() < 0.25:
        count = dice.choice((0, 1, 2, 3, 5)) if dice.random() < 0.98 or depth else dice.randrange(128, 140)
        tag = dice.choice((values.ARRAY, values.STRUCTURE))
        return Data(tag, tuple(a_value(dice, tags, depth + 1) for _ in range(count)))
    return a_leaf(dice, dice.choice(tags))


def leaves(data: Data) -> Iterator[Data]:
    if isinstance(data.value, tuple):
        for item in data.value:
            yield from leaves(item)
    else:
        yield data


def library_value(data: Data) -> Any:
    """The library's object of a value."""
    kind = dlms_data.DlmsDataFactory.MAP[data.tag]
    if isinstance(data.value, tuple):
        return kind([library_value(item) for item in data.value])
    if data.tag == values.BIT_STRING:
        return kind(values.encode(data)[2:])
    return kind(data.value)


def library_bytes(data: Data) -> bytes:
    """What the library writes for a value without trouble: lengths in one byte, those of bits in bytes."""
    if isinstance(data.value, tuple):
        return (
            bytes((data.tag,))
            + values.encode_length(len(data.value))
            + b"".join(map(library_bytes, data.value))
        )
    raw = values.encode(data)
    if data.tag == values.BIT_STRING:
        return raw[:1] + bytes((len(raw) - 2,)) + raw[2:]
    return (
        raw[:1] + raw[2:]
        if data.tag in (values.OCTET_STRING, values.VISIBLE_STRING) and len(data.value) > 127
        else raw
    )


def over(leaf: Data, most: int) -> bool:
    return leaf.tag in (values.OCTET_STRING, values.VISIBLE_STRING) and len(leaf.value) > most


# --- APDUs ---


class Case(NamedTuple):
    """An APDU of ours and the library's, and how they differ.

    theirs  None: the library has no class for it
    reads   what the library reads instead of `theirs`, or its exceptions
    writes  what it writes instead of our bytes, or its exceptions
    """

    ours: Any
    theirs: Any = None
    holes: frozenset[str] | set[str] = frozenset()
    reads: Any = None
    writes: Any = None


def check(case: Case, zone: ZoneInfo, seen: Seen) -> None:
    raw = apdus.encode(case.ours)
    assert apdus.decode(raw, zone) == case.ours
    got = outcome(connection.XDlmsApduFactory.apdu_from_bytes, raw)
    if isinstance(case.reads, tuple):
        assert got in case.reads
    else:
        assert got == (case.theirs if case.reads is None else case.reads)
    if case.theirs is not None:
        written = outcome(case.theirs.to_bytes)
        wanted = raw if case.writes is None else case.writes
        assert written in wanted if isinstance(wanted, tuple) else written == wanted
        if case.writes is None:
            assert apdus.decode(bytes(written), zone) == case.ours
    assert case.holes or (case.theirs is not None and case.reads is None and case.writes is None)
    seen.update(case.holes)
