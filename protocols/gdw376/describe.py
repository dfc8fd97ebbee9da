"""One frame in words, for people: what `headend decode` prints."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

from protocols.checksum import sum8
from protocols.gdw376.frame import Frame, Tp, decode
from protocols.gdw376.items import Item, item
from protocols.gdw376.units import SIZE, Ident
from protocols.gdw376.values import Clock, Event, PointMark, Unit, Value, decode_units
from protocols.gdw376.words import AFN_NAMES, result_name

MASK: Final = "******"
#: What is read out as `values`. Orders and parameters are spelled out as `parameters`, beside their bytes.
_READ_OUT: Final = (0x00, 0x02, 0x0C, 0x0D, 0x0E)
_FORWARD: Final = 0x10

#: Opens a forwarded frame: (key, what it means), or None if it is nobody's.
Opener = Callable[[bytes], tuple[str, dict[str, Any]] | None]


def describe(raw: bytes, *, reveal: bool = False, inner: Opener | None = None) -> dict[str, Any]:
    """One frame -> its fields by name. Passwords only with `reveal`. FrameError if it is corrupt.

    Data that the table does not know or that do not fit it are given as they are, in `remaining_data`. What stands in
    a forwarded frame (AFN 10) only `inner` can say; without it nobody knows whether it holds a password, so a request shows none.
    """
    frame = decode(raw)
    told = _link(frame, reveal)
    units = decode_units(frame.afn, frame.body, uplink=frame.uplink)
    ident = Ident(frame.body[:SIZE])
    if len(ident.raw) < SIZE:
        return told | _rest(frame.body, hide=False)
    told |= _identified(frame.afn, ident)
    if len(units) == 1:
        return told | _unit(frame, units[0], reveal, inner)
    hide = not reveal and any(unit.secret for unit in units)
    told |= _rest(frame.body[SIZE:], hide=hide)
    told["data_units"] = [
        {"pn": unit.point, "Fn": unit.function, "name": _name(unit)} | _unit(frame, unit, reveal, inner)
        for unit in units
        if unit.point >= 0
    ]
    return told


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


def _unit(frame: Frame, unit: Unit, reveal: bool, inner: Opener | None) -> dict[str, Any]:
    hide = not reveal and unit.secret
    if not unit.known:
        return _rest(unit.data, hide=hide) | ({"why": unit.why} if unit.point >= 0 else {})
    if unit.afn == _FORWARD:
        return {"forward": _forward(unit, frame.uplink, reveal, inner)}
    if unit.afn not in _READ_OUT:
        shown = list(_shown(unit.values, frame, reveal))
        return ({"parameters": shown} if shown else {}) | _rest(unit.data, hide=hide)
    if unit.afn == 0x0E and frame.uplink:
        return _events(unit, frame, reveal)
    if unit.afn == 0x00 and unit.values:
        return {"values": list(_results(unit.values))}
    shown = list(_shown(unit.values, frame, reveal))
    return {"values": shown} if shown else {}


def _shown(values: Sequence[Value], frame: Frame, reveal: bool) -> Iterator[dict[str, Any]]:
    for value in values:
        name = value.name
        if name.startswith("Td "):
            name = f"Td {'frozen' if frame.uplink else 'requested'} {name[3:]}"
        yield _one(value, name, reveal)
        if isinstance(value.value, Clock):
            yield {"name": "weekday", "value": value.value.weekday}


def _one(value: Value, name: str, reveal: bool) -> dict[str, Any]:
    told = {"name": name, "value": MASK if value.secret and not reveal else plain(value)}
    return told | {"unit": value.unit} if value.unit else told


def plain(value: Value) -> Any:
    """A value as JSON has it: numbers, or text. A filler says so; impossible digits are null."""
    if value.gap:
        return None if value.gap == "invalid" else f"invalid ({value.gap})"
    found: Any = value.value
    match found:
        case Decimal():
            found = float(found)
        case Clock():
            found = str(found.time)
        case dt.datetime():
            found = found.isoformat(" ", "minutes")
        case dt.time():
            found = found.isoformat("minutes")
        case dt.date() | PointMark():
            found = str(found)
        case bytes():
            found = found.hex()
        case int() if value.field.form == "BS":
            found = f"{found:0{2 * (value.field.size or 1)}X}H"
        case Ident():
            found = _pointed(found)
    return found


def _pointed(ident: Ident) -> str:
    return f"p{list(ident.points)} F{list(ident.functions)}"


def _results(values: Sequence[Value]) -> Iterator[dict[str, Any]]:
    """AFN 00 F3: the AFN, then identifier and result in turn."""
    confirmed = values[0].value
    if isinstance(confirmed, int):
        yield {"name": "AFN confirmed", "value": f"{confirmed:02X}H"}
    for asked, result in zip(values[1::2], values[2::2], strict=True):
        if isinstance(asked.value, Ident) and isinstance(result.value, int):
            yield {"name": _pointed(asked.value), "value": result_name(result.value)}


def _events(unit: Unit, frame: Frame, reveal: bool) -> dict[str, Any]:
    """EC1 EC2 Pm Pn and the first record's head as values, all records spelled out, and their bytes."""
    head = [_one(value, value.name, reveal) for value in unit.values[:4]]
    records = [value.value for value in unit.values[4:] if isinstance(value.value, Event)]
    if not records:
        return {"values": head}
    first = records[0]
    head += [{"name": "first ERC", "value": first.erc}, {"name": "record length", "value": len(first.data)}]
    if first.time is not None:
        head.append({"name": "event time", "value": first.time.isoformat(" ", "minutes")})
    told: dict[str, Any] = {"values": head} | _rest(unit.data[6:], hide=not reveal and unit.secret)
    told["events"] = [
        {"ERC": event.erc, "name": event.name, "values": list(_shown(event.values, frame, reveal))}
        | ({} if event.values else _rest(event.data, hide=not reveal and event.erc == 20))
        for event in records
    ]
    return told


def _forward(unit: Unit, uplink: bool, reveal: bool, inner: Opener | None) -> dict[str, Any]:
    values: dict[str, Any] = {value.name: value.value for value in unit.values}
    told: dict[str, Any] = {"port": values["port"]}
    if not uplink:
        told["control_byte"] = f"{values['control word']:02X}H"
        told["wait_msg"] = values["message timeout"]
        told["wait_byte"] = values["byte timeout"]
    frame = values["content"]
    if not isinstance(frame, bytes):
        return told
    opened = inner(frame) if inner else None
    hide = not reveal and (MASK in str(opened[1]) if opened else not uplink)
    told["frame"] = MASK if hide else frame.hex()
    body = frame.lstrip(b"\xfe")
    # DL/T 645 of either edition: its sum can be told from outside.
    if len(body) >= 12 and body[0] == body[7] == 0x68:
        told["frame_checksum_ok"] = sum8(body[:-2]) == body[-2]
    if opened:
        told[opened[0]] = opened[1]
    return told
