"""A-XDR values for people: as JSON has them, and in their unit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from protocols.dlt698 import clock, items, values
from protocols.dlt698 import frame as frames
from protocols.dlt698.values import Csd, Data, Rsd
from protocols.errors import FrameError
from protocols.part import MASK

_METERS: Final = (
    "none", "all", "user types", "addresses", "configuration numbers", "user type ranges", "address ranges",
    "configuration number ranges",
)  # fmt: skip
_TIMES: Final = frozenset((values.DATE_TIME, values.DATE, values.TIME, values.DATE_TIME_S))
#: Types that a scaler applies to.
NUMBERS: Final = frozenset(values.NUMBERS) - {values.OI, values.OAD, values.OMD, values.ENUM}
_TENS: Final = tuple(10**n for n in range(20))
#: DL/T 645 control codes whose data field carries a password or a challenge, of both editions.
_SECRET_645: Final = frozenset((0x03, 0x04, 0x0F, 0x10, 0x14, 0x18, 0x19, 0x1A, 0x1B, 0x1C))
#: How a meter's entry in the archive of 6000 begins; the member behind it is the meter's password.
_ARCHIVE_ENTRY: Final = (values.TSA, values.ENUM, values.ENUM, values.OAD)
#: The end of such a beginning and a password behind it, as bytes.
_ENTRY_BYTES: Final = re.compile(rb"\x16.\x16.\x51.{4}\x09[^\x00]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Column:
    """How values of one OAD are told. `scalers`: none where the value is told as it came."""

    name: str
    scalers: tuple[int | None, ...]
    unit: str | list[str]
    secret: bool

    def cell(self, data: Data, reveal: bool) -> dict[str, Any]:
        """name, value in its unit, unit."""
        return {"name": self.name, "value": self.value(data, reveal), "unit": self.unit}

    def value(self, data: Data, reveal: bool) -> Any:
        if self.secret and not reveal:
            return MASK
        return scaled(data, self.scalers) if self.scalers else show(data, reveal)


@lru_cache(maxsize=1024)
def column(oad: int) -> Column:
    """What the object table says of an OAD."""
    item = items.item(oad)
    name = items.object_name(oad) or hexed(oad)
    if item is None or not item.scalers or item.secret:
        return Column(name, (), "", item is not None and item.secret)
    scalers, units = item.scalers, item.units
    index = oad & 0xFF
    if item.composite and index and item.type == "structure":
        scalers, units = scalers[index - 1 : index], units[index - 1 : index]
    real = list(dict.fromkeys(unit for unit in units if unit))
    unit: str | list[str] = real[0] if len(real) == 1 else list(units)
    return Column(name, scalers, unit if real else "", False)


def scaled(data: Data, scalers: tuple[int | None, ...]) -> Any:
    """The number behind the scaler; members of a structure each by their own. bool is no number."""
    if data.tag == values.STRUCTURE and len(scalers) > 1 and len(data.value) == len(scalers):
        return [
            scaled(part, (scaler,)) if scaler is not None else show(part)
            for part, scaler in zip(data.value, scalers, strict=True)
        ]
    if data.tag in (values.ARRAY, values.STRUCTURE):
        return [scaled(part, scalers) for part in data.value]
    number = data.value
    scaler = scalers[0] if len(scalers) == 1 else None
    if scaler is None or data.tag not in NUMBERS or not math.isfinite(number):
        return show(data)
    # dividing by a power of ten rounds once, so 2413 at -1 is exactly the double 241.3
    return number * _TENS[scaler] if scaler >= 0 else number / _TENS[-scaler]


def show(data: Data, reveal: bool = True) -> Any:
    """A value as JSON has it: OADs and bytes in hex, times as texts, compound types by their fields."""
    tag, value = data.tag, data.value
    if tag in (values.ARRAY, values.STRUCTURE):
        told = [show(part, reveal) for part in value]
        if not reveal and tag == values.STRUCTURE and len(value) > 4 and told[4] and is_entry(value[:4]):
            told[4] = MASK
        return told
    teller = _SHOW.get(tag)
    if teller is not None:
        return teller(value)
    if tag in _TIMES:
        return clock.time_text(value)
    if isinstance(value, bytes):
        return forwarded(value, reveal)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such numbers
    return value


def is_entry(members: Sequence[Data]) -> bool:
    """Whether a structure begins like a meter's entry in the archive; the member behind these is its password."""
    return tuple(part.tag for part in members) == _ARCHIVE_ENTRY


def shown(data: Data, oad: int, reveal: bool, *, method: bool = False) -> Any:
    """A value under the OAD or OMD that it belongs to."""
    return MASK if not reveal and items.secret(oad, method=method) else show(data, reveal)


def hexed(oad: int) -> str:
    return f"{oad:08X}"


def csd(column: Csd) -> Any:
    if isinstance(column, values.Road):
        return {"oad": hexed(column.oad), "columns": [hexed(oad) for oad in column.columns]}
    return hexed(column)


def tsa(raw: bytes) -> str:
    """The digits of an ordinary address (single, logical 0, as long as its first byte says); the bytes of any other."""
    ordinary = len(raw) > 1 and raw[0] == len(raw) - 2 < 16
    return raw[1:].hex().upper() if ordinary else raw.hex()


def interval(ti: values.Ti) -> str:
    units = ("s", "min", "h", "d", "mo", "a")
    return f"{ti.count} {units[ti.unit] if ti.unit < len(units) else f'(unit {ti.unit})'}"


def comdcb(line: values.Comdcb) -> dict[str, Any]:
    return {
        "baud": values.BAUDS[line.baud] if line.baud < len(values.BAUDS) else "adaptive",
        "parity": values.PARITIES[line.parity] if line.parity < len(values.PARITIES) else line.parity,
        "data_bits": line.data_bits,
        "stop_bits": line.stop_bits,
        "flow": line.flow,
    }


def _region(region: values.Region) -> dict[str, Any]:
    kinds = ("[a,b)", "(a,b]", "[a,b]", "(a,b)")
    kind = kinds[region.kind] if region.kind < len(kinds) else region.kind
    return {"kind": kind, "from": show(region.first), "to": show(region.last)}


def meters(ms: values.Ms) -> Any:
    if not ms.items:
        return _METERS[ms.kind]
    if ms.kind == 3:
        return {_METERS[3]: [tsa(item) for item in ms.items]}
    return {
        _METERS[ms.kind]: [_region(item) if isinstance(item, values.Region) else item for item in ms.items]
    }


def _range(part: values.Range) -> dict[str, Any]:
    told = {"oad": hexed(part.oad), "from": show(part.first), "to": show(part.last)}
    return told | {"step": show(part.step)}


def _at(rsd: Rsd) -> dict[str, Any]:
    return {"time": clock.time_text(rsd.time), "meters": meters(rsd.meters)}


def _within(rsd: Rsd) -> dict[str, Any]:
    return {
        "from": clock.time_text(rsd.time),
        "to": clock.time_text(rsd.until),
        "step": interval(rsd.every),
        "meters": meters(rsd.meters),
    }


_SELECTORS: Final[dict[int, Callable[[Rsd], Any]]] = {
    1: lambda rsd: {"oad": hexed(rsd.oad), "value": show(rsd.value)},
    2: lambda rsd: _range(rsd.ranges[0]),
    3: lambda rsd: [_range(part) for part in rsd.ranges],
    4: _at,
    5: _at,
    6: _within,
    7: _within,
    8: _within,
    9: lambda rsd: {"last": rsd.count},
    10: lambda rsd: {"last": rsd.count, "meters": meters(rsd.meters)},
}


def selection(rsd: Rsd) -> Any:
    """What a record selection asks for, by the fields of its kind."""
    return _SELECTORS[rsd.kind](rsd) if rsd.kind in _SELECTORS else {}


def scaler_unit(scale: values.ScalerUnit) -> dict[str, Any]:
    return {"scaler": scale.scaler, "unit": items.units().get(scale.unit, str(scale.unit))}


def sid(value: values.Sid) -> dict[str, Any]:
    return {"SID": f"{value.number:08X}", "SID_data": value.extra.hex()}


def ascii_text(raw: bytes) -> str:
    return raw.decode("ascii") if raw.isascii() else raw.hex()


def forwarded(raw: bytes, reveal: bool) -> str:
    """Bytes; hidden if they are a frame, of DL/T 645 or of this protocol, that may have a password in it."""
    body = b"" if reveal else raw.lstrip(b"\xfe")
    return MASK if body[:1] == b"\x68" and _carries_secret(body) else raw.hex()


def _carries_secret(body: bytes) -> bool:
    if len(body) > 9 and body[7] == 0x68:
        return body[8] in _SECRET_645
    try:
        return may_hide(frames.decode(body).data)
    except FrameError:
        return False


def may_hide(raw: bytes) -> bool:
    """Whether an APDU that is not taken apart may have a password in it: then not even its bytes are shown."""
    if raw[:1] in (b"\x02", b"\x10"):  # a CONNECT, or something inside SECURITY
        return True
    if b"\x68" in raw[1:] and raw[:1] in (b"\x09", b"\x89", b"\x88", b"\x07"):
        return True  # a forwarded frame
    return any(oi in raw for oi in items.secret_objects()) or _ENTRY_BYTES.search(raw) is not None


_SHOW: Final[dict[int, Callable[[Any], Any]]] = {
    values.OI: lambda oi: f"{oi:04X}",
    values.OAD: hexed,
    values.OMD: hexed,
    values.ROAD: csd,
    values.CSD: csd,
    values.RCSD: lambda columns: [csd(column) for column in columns],
    values.TI: interval,
    values.TSA: tsa,
    values.REGION: _region,
    values.SCALER_UNIT: scaler_unit,
    values.RSD: lambda rsd: {"selector": rsd.kind} | ({"rsd": selection(rsd)} if rsd.kind else {}),
    values.MS: meters,
    values.SID: sid,
    values.SID_MAC: lambda value: sid(value.sid) | {"MAC": value.mac.hex()},
    values.COMDCB: comdcb,
}
