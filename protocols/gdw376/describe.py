"""One frame in words, for people: what `headend decode` prints. `parts` says the same range by range."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from protocols.checksum import sum8
from protocols.gdw376.forms import Clock, Event, Value
from protocols.gdw376.frame import BODY_AT, Frame, Tp, decode
from protocols.gdw376.items import Item, item
from protocols.gdw376.parts import parts
from protocols.gdw376.spelling import only_reads, plain, pointed
from protocols.gdw376.units import SIZE, Ident
from protocols.gdw376.values import Unit, decode_units
from protocols.gdw376.words import AFN_NAMES, result_name
from protocols.part import MASK

__all__ = ["MASK", "describe", "parts", "plain"]

#: What is read out as `values`. Orders and parameters are spelled out as `parameters`, beside their bytes.
_READ_OUT: Final = (0x00, 0x02, 0x0C, 0x0D, 0x0E)
_FORWARD: Final = 0x10
_DATA: Final = (0x0C, 0x0D)
#: Class 1 and 2 functions whose values say all there is; the bytes of the others are given beside them.
_IN_WORDS: Final = frozenset(
    [(0x0C, n) for n in (2, 25, 33, 34, 37, 38, *range(129, 145))]
    + [(0x0D, n) for n in (1, 2, 9, 10, 17, 18, *range(161, 185))]
)
#: Fields, units, forwarded frames and bytes of these that one frame is spelled out to. 96 points of eight curves are 768 fields, one
#: identifier names 64 units, a port carries one frame at a time: what is longer is told as bytes, in bounded time.
FIELD_LIMIT: Final = 800
_UNIT_LIMIT: Final = 128
_OPEN_LIMIT: Final = 4
_OPEN_BYTES: Final = 4096

#: Opens a forwarded frame: (key, what it means), or None if it is nobody's.
Opener = Callable[[bytes], tuple[str, dict[str, Any]] | None]


def describe(raw: bytes, *, reveal: bool = False, inner: Opener | None = None) -> dict[str, Any]:
    """One frame -> its fields by name. Passwords only with `reveal`. FrameError if it is corrupt.

    Data that the table does not know or that do not fit it are given as they are, in `remaining_data`. What stands in
    a forwarded frame (AFN 10) only `inner` can say; without it nobody knows whether it holds a password, so a request shows none.
    """
    return _Teller(decode(raw), reveal, inner).told()


class _Teller:
    """Spells out one frame, and keeps count of what it may still spell out."""

    def __init__(self, frame: Frame, reveal: bool, inner: Opener | None) -> None:
        self._frame, self._reveal, self._inner = frame, reveal, inner
        self._fields, self._frames, self._bytes = FIELD_LIMIT, _OPEN_LIMIT, _OPEN_BYTES

    def told(self) -> dict[str, Any]:
        frame = self._frame
        told = _link(frame, self._reveal)
        units = decode_units(frame.afn, frame.body, uplink=frame.uplink, base=BODY_AT)
        ident = Ident(frame.body[:SIZE])
        if len(ident.raw) < SIZE:
            return told | _rest(frame.body, hide=False)
        told |= _identified(frame.afn, ident)
        if len(units) == 1:
            return told | self._unit(units[0])
        told |= _rest(frame.body[SIZE:], hide=not self._reveal and any(unit.secret for unit in units))
        named = [unit for unit in units if unit.point >= 0]
        told["data_units"] = [
            {"pn": unit.point, "Fn": unit.function, "name": _name(unit)} | self._unit(unit)
            for unit in named[:_UNIT_LIMIT]
        ]
        left = len(named) - _UNIT_LIMIT
        return told | ({"data_units_left_out": left} if left > 0 else {})

    def _unit(self, unit: Unit) -> dict[str, Any]:
        hide = not self._reveal and unit.secret
        if not unit.known:
            return _rest(unit.data, hide=hide) | ({"why": unit.why} if unit.point >= 0 else {})
        if unit.afn == _FORWARD and unit.function == 1:
            return {"forward": self._forward(unit)}
        if unit.afn not in _READ_OUT:
            told, left = self._shown(unit)
            return ({"parameters": told} if told else {}) | _rest(unit.data, hide=hide) | left
        if unit.afn == 0x0E and self._frame.uplink:
            return self._events(unit)
        if unit.afn == 0x00 and unit.data:
            return self._results(unit)
        told, left = self._shown(unit)
        aside = self._frame.uplink and unit.afn in _DATA and (unit.afn, unit.function) not in _IN_WORDS
        return (
            ({"values": told} if told else {}) | (_rest(unit.data, hide=hide) if aside or left else {}) | left
        )

    def _shown(self, unit: Unit) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """(the fields of a unit, what of it is left out)."""
        told: list[dict[str, Any]] = []
        for value, start, _ in unit.walk():
            if self._fields <= 0:
                return told, {
                    "left_out": f"{len(unit.data) - start} bytes from offset {start} of the data on"
                }
            told += self._one(value)
        return told, {}

    def _one(self, value: Value) -> Iterator[dict[str, Any]]:
        self._fields -= 1
        name = value.name
        if name.startswith("Td "):
            name = f"Td {'frozen' if self._frame.uplink else 'requested'} {name[3:]}"
        told = {"name": name, "value": MASK if value.secret and not self._reveal else plain(value)}
        yield told | {"unit": value.unit} if value.unit else told
        if isinstance(value.value, Clock):
            yield {"name": "weekday", "value": value.value.weekday}

    def _results(self, unit: Unit) -> dict[str, Any]:
        """AFN 00 F3: the AFN, then identifier and result in turn."""
        told: list[dict[str, Any]] = []
        asked: Ident | None = None
        for value, start, _ in unit.walk():
            if self._fields <= 0:
                return {"values": told} | _rest(unit.data[start:], hide=False)
            self._fields -= 1
            if isinstance(value.value, Ident):
                asked = value.value
            elif not isinstance(value.value, int):
                continue
            elif asked is None:
                told.append({"name": "AFN confirmed", "value": f"{value.value:02X}H"})
            else:
                told.append({"name": pointed(asked), "value": result_name(value.value)})
        return {"values": told}

    def _events(self, unit: Unit) -> dict[str, Any]:
        """EC1 EC2 Pm Pn and the first record's head as values, all records spelled out, and their bytes."""
        head: list[dict[str, Any]] = []
        told: list[dict[str, Any]] = []
        left: dict[str, Any] = {}
        for value, start, _ in unit.walk():
            event = value.value
            if not isinstance(event, Event):
                head += self._one(value)
                continue
            if self._fields <= 0:
                left = {"left_out": f"{len(unit.data) - start} bytes from offset {start} of the data on"}
                break
            if not told:
                head += _first(event)
            told.append(self._event(event))
        if not told:
            return {"values": head}
        rest = _rest(unit.data[6:], hide=not self._reveal and unit.secret)
        return {"values": head} | rest | {"events": told} | left

    def _event(self, event: Event) -> dict[str, Any]:
        self._fields -= 3  # its frame of names costs as much as three fields
        told = {
            "ERC": event.erc,
            "name": event.name,
            "values": [one for value in event.values for one in self._one(value)],
        }
        return told | ({} if event.values else _rest(event.data, hide=not self._reveal and event.secret))

    def _forward(self, unit: Unit) -> dict[str, Any]:
        values: dict[str, Any] = {value.name: value.value for value in unit.values}
        told: dict[str, Any] = {"port": values["port"]}
        if not self._frame.uplink:
            told["control_byte"] = f"{values['control word']:02X}H"
            told["wait_msg"] = values["message timeout"]
            told["wait_byte"] = values["byte timeout"]
        frame = values["content"]
        if not isinstance(frame, bytes):
            return told
        opened = self._opened(frame)
        masked = opened is not None and MASK in str(opened[1])
        hide = not self._reveal and (masked or not (self._frame.uplink or only_reads(frame)))
        told["frame"] = MASK if hide else frame.hex()
        body = frame.lstrip(b"\xfe")
        # DL/T 645 of either edition: its sum can be told from outside.
        if len(body) >= 12 and body[0] == body[7] == 0x68:
            told["frame_checksum_ok"] = sum8(body[:-2]) == body[-2]
        return told | ({opened[0]: opened[1]} if opened else {})

    def _opened(self, frame: bytes) -> tuple[str, dict[str, Any]] | None:
        self._frames -= 1
        self._bytes -= len(frame)
        if self._inner is None or self._frames < 0 or self._bytes < 0:
            return None
        return self._inner(frame)


def _link(frame: Frame, reveal: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "protocol_id": frame.protocol,
        "control": f"{frame.control:02X}H",
        "direction": "terminal->master" if frame.uplink else "master->terminal",
        "prm": frame.primary,
        "function_code": frame.function,
    }
    if frame.uplink:
        told["ACD"] = frame.acd
    else:
        told |= {"FCB": frame.fcb, "FCV": frame.fcv}
    address = frame.address
    told["address"] = {
        "A1_region": address.region,
        "A2_terminal": f"{address.terminal:04X}H",
        "A3_MSA": address.master,
        "group": address.group,
    }
    told["AFN"] = f"{frame.afn:02X}H"
    told["AFN_name"] = AFN_NAMES.get(frame.afn, ("unknown", ""))[0]
    told["SEQ"] = {
        "TpV": frame.tp is not None,
        "FIR": frame.first,
        "FIN": frame.final,
        "CON": frame.confirm,
        "PSEQ": frame.number,
    }
    if frame.tp is not None:
        told["Tp"] = _tp(frame.tp)
    if frame.ec is not None:
        told["EC"] = {"EC1": frame.ec[0], "EC2": frame.ec[1]}
    if frame.pw:
        told["PW_bytes"] = len(frame.pw)
        told |= {"PW": frame.pw.hex()} if reveal else {}
    return told


def _tp(tp: Tp) -> dict[str, Any]:
    second, minute, hour, day = (f"{byte:02x}" for byte in tp.stamp)  # as it stands: it need not be a time
    return {"PFC": tp.pfc, "time": f"day {day} {hour}:{minute}:{second}", "allowed_delay_min": tp.delay}


def _identified(afn: int, ident: Ident) -> dict[str, Any]:
    told: dict[str, Any] = {"pn": list(ident.points), "Fn": list(ident.functions)}
    if not ident.valid:
        return {"data_unit": told | {"all_points": ident.all_points, "raw": ident.raw.hex()}}
    if len(ident.functions) > 1:
        return {"data_unit": told}
    found = item(afn, ident.functions[0])
    told["name"] = (found.name_en or None) if found else None
    if found and found.name_zh:
        return {"data_unit": told, "data_name_zh": found.name_zh}
    return {"data_unit": told} | _asked_for(afn, found)


def _asked_for(afn: int, found: Item | None) -> dict[str, Any]:
    """AFN 0A has no names of its own: it asks for parameters of AFN 04."""
    parameter = item(0x04, found.function) if found and afn == 0x0A else None
    return {"parameter": parameter.name_en, "parameter_zh": parameter.name_zh} if parameter else {}


def _name(unit: Unit) -> str | None:
    found = item(unit.afn, unit.function)
    return (found.name_en or None) if found else None


def _rest(data: bytes, *, hide: bool) -> dict[str, Any]:
    return {"remaining_data": MASK if hide else data.hex()} if data else {}


def _first(event: Event) -> Iterator[dict[str, Any]]:
    yield {"name": "first ERC", "value": event.erc}
    yield {"name": "record length", "value": len(event.data)}
    if event.time is not None:
        yield {"name": "event time", "value": event.time.isoformat(" ", "minutes")}
