"""The fields of an APDU, one after the other: the same walk reads their values and notes where each one stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from protocols.dlms import values
from protocols.errors import FrameError
from protocols.part import MASK, Part

#: Ranges shown one by one inside data; what comes behind them is one range that says how long it is. A technician reads
#: the first rows of a curve, not more.
MAX_PARTS: Final = 500
#: Elements of a list of attributes, results or methods: no device serves more at once, and each costs time before anything is
#: known to be good.
MAX_LIST: Final = 512
#: Data that is checked while its APDU is decoded; longer data is checked by who decodes it, so that it is not decoded twice.
CHECKED: Final = 2048


class Reader:
    """A cursor. Each `take` moves it on; FrameError: the bytes are not there, or are not what they must be.

    what    the APDU, for complaints
    parts   where `note` is asked for, each range with its names (en, zh) and meaning
    seen    the values that were decoded to find where they end: who shows them need not do it again
    """

    __slots__ = ("at", "parts", "raw", "reveal", "seen", "what")

    def __init__(
        self, raw: bytes, what: str, at: int = 0, *, note: bool = False, reveal: bool = False
    ) -> None:
        self.raw = raw
        self.what = what
        self.at = at
        self.reveal = reveal
        self.parts: list[Part] | None = [] if note else None
        self.seen: dict[bytes, values.Data] = {}

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self.raw) - self.at

    def fail(self, why: str, at: int | None = None) -> FrameError:
        """The complaint, to be raised."""
        return FrameError(f"{self.what}: {why}", self.at if at is None else at)

    def note(self, start: int, name: str, zh: str, meaning: str = "", level: int = 0) -> None:
        """Names the bytes from `start` to the cursor."""
        if self.parts is not None and self.at > start:
            self.parts.append(Part(start, self.at, name, zh, meaning, level))

    def take(
        self, count: int, name: str, zh: str, meaning: str | Callable[[bytes], str] = "", level: int = 0
    ) -> bytes:
        """The next `count` bytes."""
        start = self.at
        if count > len(self.raw) - start:
            raise self.fail(f"{name} needs {count} bytes, {len(self.raw) - start} are left")
        self.at = start + count
        body = self.raw[start : self.at]
        if self.parts is not None:
            self.note(start, name, zh, meaning if isinstance(meaning, str) else meaning(body), level)
        return body

    def number(
        self, size: int, name: str, zh: str, meaning: Callable[[int], str] = str, level: int = 0
    ) -> int:
        """An unsigned integer of `size` bytes, high byte first."""
        return int.from_bytes(
            self.take(size, name, zh, lambda body: meaning(int.from_bytes(body, "big")), level), "big"
        )

    def choice(self, table: Any, name: str, zh: str) -> int:
        """One byte that must be a key of `table` (value: its name)."""
        at = self.at
        number = self.number(1, name, zh, lambda n: f"{n} {table.get(n, '')}".rstrip())
        if number not in table:
            raise self.fail(f"{name} {number} is none of {', '.join(map(str, table))}", at)
        return number

    def flag(self, name: str, zh: str) -> bool:
        """A-XDR BOOLEAN or OPTIONAL flag: 00, or 01 (FF from peers that send TRUE as BER does)."""
        at = self.at
        body = self.take(1, name, zh, lambda body: "yes" if body[0] else "no")
        if body[0] not in (0, 1, 0xFF):
            raise self.fail(f"{name} is {body.hex()}, must be 00 or 01", at)
        return body[0] != 0

    def length(self, name: str = "length", zh: str = "长度", level: int = 0) -> int:
        """An A-XDR length or count."""
        start = self.at
        try:
            count, self.at = values.decode_length(self.raw, start)
        except FrameError as error:
            raise self.fail(f"{name}: {error.message}", error.offset) from None
        if self.parts is not None:
            self.note(start, name, zh, str(count), level)
        return count

    def count(self, least: int, name: str, zh: str) -> int:
        """How many elements follow, each of at least `least` bytes."""
        at = self.at
        count = self.length(name, zh)
        if count * least > self.left:
            raise self.fail(f"{name} {count}, but {self.left} bytes are left", at)
        if count > MAX_LIST:
            raise self.fail(f"{name} {count}, at most {MAX_LIST} are taken", at)
        return count

    def octets(self, name: str, zh: str, *, secret: bool = False, level: int = 1) -> bytes:
        """An octet string: length and bytes."""
        count = self.length(f"{name}: length", f"{zh}长度")
        return self.take(
            count, name, zh, lambda body: MASK if secret and not self.reveal else body.hex(), level
        )

    def data(self, name: str, zh: str, *, secret: bool = False) -> bytes:
        """Exactly one A-XDR value, as bytes; its elements are noted inside, unless it is a secret."""
        start = self.at
        data, self.at = values.decode_at(self.raw, start)
        raw = self.raw[start : self.at]
        self.seen[raw] = data
        if secret and not self.reveal:
            self.note(start, name, zh, MASK, 1)
        elif self.parts is not None:
            most = max(MAX_PARTS - len(self.parts), 1)
            self.parts += outline(self.raw, start, self.at, name, zh, most)
        return raw

    def rest(self, name: str, zh: str, *, secret: bool = False) -> bytes:
        """All that is left, which is exactly one A-XDR value; a long one is not checked, unless parts are noted."""
        if self.parts is None and self.left > CHECKED:
            start, self.at = self.at, len(self.raw)
            return self.raw[start:]
        raw = self.data(name, zh, secret=secret)
        self.finish()
        return raw

    def finish(self) -> None:
        """FrameError if bytes are left."""
        if self.left:
            raise self.fail(f"{self.left} bytes behind its end")


# --- what is inside an A-XDR value ---


def outline(raw: bytes, start: int, end: int, name: str, zh: str, most: int = MAX_PARTS) -> list[Part]:
    """The ranges of a value that is known to be whole: `name` stands before what kind it is. At most `most`, and the rest."""
    parts: list[Part] = []
    at = _outline(raw, start, 1, f"{name}: ", f"{zh}：", parts, most)
    if at < end:
        parts.append(Part(at, end, "further elements", "其余元素", f"{end - at} bytes", 1))
    return parts


def _outline(raw: bytes, at: int, level: int, name: str, zh: str, parts: list[Part], most: int) -> int:
    """Notes the value at `at`; returns where it stopped, for lack of room or at the value's end."""
    if len(parts) >= most:
        return at
    tag = raw[at]
    kind, kind_zh = values.NAMES.get(tag, str(tag)), values.NAMES_ZH.get(tag, str(tag))
    if tag in (values.ARRAY, values.STRUCTURE):
        count, behind = values.decode_length(raw, at + 1)
        parts.append(Part(at, behind, f"{name}{kind}", f"{zh}{kind_zh}", f"{count} elements", level))
        for _ in range(count):
            if len(parts) >= most:
                break
            behind = _outline(raw, behind, level + 1, "", "", parts, most)
        return behind
    data, end = values.decode_at(raw, at)
    parts.append(Part(at, end, f"{name}{kind}", f"{zh}{kind_zh}", shown(data), level))
    return end


def shown(data: values.Data) -> str:
    """A value in words; a long one shortened, with its length."""
    match data.value:
        case None:
            return ""
        case bytes() as body if len(body) == values.SIZES[values.DATE_TIME]:
            return values.clock_text(body) or body.hex()
        case bytes() as body if len(body) == 6:
            return f"{body.hex()} ({values.obis_text(body)})"
        case bytes() as body:
            return body.hex() if len(body) <= 64 else f"{body[:64].hex()}… {len(body)} bytes"
        case tuple() as items:
            return f"{len(items)} elements"
    text = str(data.value)
    return text if len(text) <= 128 else f"{text[:128]}… {len(text)} characters"
