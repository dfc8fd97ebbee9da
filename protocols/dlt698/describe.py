"""One frame in words, for people: what `headend decode` prints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import items, values
from protocols.dlt698.apdu import Apdu
from protocols.dlt698.frame import DATA, FROM_SERVER, LINK, SCRAMBLED, Frame, decode
from protocols.dlt698.values import Csd, Data, Rsd
from protocols.dlt698.wire import Chosen
from protocols.errors import FrameError

MASK: Final = "******"
DIRECTIONS: Final = {
    0x00: "client->server (reply to server)",
    0x40: "client->server request",
    0x80: "server->client report/link request",
    0xC0: "server->client reply",
}
ADDRESS_KINDS: Final = ("single", "wildcard", "group", "broadcast")
SEGMENT_KINDS: Final = ("first", "last", "confirm", "middle")
_FUNCTIONS: Final = {LINK: "link management", DATA: "user data"}
_METERS: Final = (
    "none", "all", "user types", "addresses", "configuration numbers", "user type ranges", "address ranges",
    "configuration number ranges",
)  # fmt: skip
#: DL/T 645 control codes whose data field carries a password. A forwarded frame may be one of that protocol.
_SECRET_645: Final = frozenset((0x03, 0x14, 0x18, 0x19, 0x1A, 0x1B, 0x1C))


def describe(raw: bytes, *, reveal: bool = False) -> dict[str, Any]:
    """One frame -> its fields by name. Passwords only with `reveal`. FrameError if the frame is corrupt.

    An APDU that is not decoded, in a frame that is in order, is given as its bytes (`undecoded`), with the complaint in `decode_note`.
    """
    frame = decode(raw)
    told: dict[str, Any] = {
        "address": {
            "SA": frame.server.digits,
            "SA_type": ADDRESS_KINDS[frame.server.kind],
            "logical": frame.server.logical,
            "CA": f"{frame.client:02X}",
        },
        "control": f"{frame.control:02X}H",
        "direction": DIRECTIONS[frame.control & 0xC0],
        "fragment": frame.segment is not None,
        "function": _FUNCTIONS.get(frame.function, f"function {frame.function}"),
    }
    if frame.control & SCRAMBLED:
        told["scrambled"] = True
    return told | (_segment(frame) if frame.segment is not None else {"apdu": _apdu(frame.data, reveal)})


def _segment(frame: Frame) -> dict[str, Any]:
    return {
        "fragment_no": frame.segment_number,
        "fragment_type": SEGMENT_KINDS[frame.segment_kind],
        "fragment_data": frame.data.hex(),
    }


def _apdu(raw: bytes, reveal: bool) -> dict[str, Any]:
    try:
        apdu = apdus.decode(raw)
    except FrameError as error:
        return _corrupt(raw, error, reveal)
    told: dict[str, Any] = {"service": apdu.service}
    if apdu.choice is not None:
        told["choice"] = apdu.choice
    if apdu.piid is not None:
        told["PIID_ACD" if apdu.code == apdus.LINK else "PIID"] = apdu.piid
        if apdu.piid & apdus.PRIORITY:
            told["priority"] = True
        if apdu.code & FROM_SERVER and apdu.piid & apdus.ACD:
            told["ACD"] = True
    if apdu.undecoded is not None:
        return told | {"undecoded": apdu.undecoded.hex()}
    teller = _TELLERS.get(apdu.code)
    told |= teller(apdu, reveal) if teller else _by_name(apdu, reveal)
    return told | _tail(apdu, reveal)


def _corrupt(raw: bytes, error: FrameError, reveal: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"service": "unknown"}
    if raw and raw[0] in apdus.SERVICES:
        told["service"] = apdus.SERVICES[raw[0]]
        if raw[0] in apdus.CHOICES and len(raw) > 2:
            told |= {"choice": raw[1], "PIID": raw[2]}
    # Where the fields end is not known here, so neither is whether one of them is a password.
    return told | {"decode_note": str(error), "undecoded": raw.hex() if reveal else MASK}


def _tail(apdu: Apdu, reveal: bool) -> dict[str, Any]:
    """Follow report and time tag, of the services that have them."""
    told: dict[str, Any] = {}
    if apdu.code in (apdus.LINK, apdus.LINK | apdus.SERVER, apdus.SECURITY, apdus.SECURITY | apdus.SERVER):
        return told
    if apdu.code & apdus.SERVER:
        told["follow_report"] = 0
        if apdu.follow is not None:
            told["follow_report"] = [_read(result, reveal) for result in apdu.follow.value]
    told["time_tag"] = 0
    if apdu.time_tag is not None:
        told["time_tag"] = {
            "sent": values.time_text(values.DATE_TIME_S, apdu.time_tag.sent),
            "delay": _interval(apdu.time_tag.delay),
        }
    return told


# --- services ---


def _link_request(apdu: Apdu, _: bool) -> dict[str, Any]:
    kind = apdu.fields["request"]
    return {
        "request": apdus.LINK_TYPES.get(kind, str(kind)),
        "heartbeat_s": apdu.fields["heartbeat_s"],
        "time": values.time_text(values.DATE_TIME, apdu.fields["time"]),
    }


def _link_response(apdu: Apdu, _: bool) -> dict[str, Any]:
    result = apdu.fields["result"]
    times = {name: value for name, value in apdu.fields.items() if name.endswith("_time")}
    return {
        "result": result & 0x07,
        "clock_trusted": bool(result & apdus.CLOCK_TRUSTED),
        **{name: values.time_text(values.DATE_TIME, value) for name, value in times.items()},
    }


def _connect(apdu: Apdu, reveal: bool) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, value in apdu.fields.items():
        if name == "auth":
            told |= _authentication(value, reveal)
        elif name == "result":
            told |= {"result": value, "result_name": apdus.CONNECT_RESULTS.get(value, "unknown")}
        elif name == "security":
            told |= {} if value is None else {"RN": value.rn.hex(), "MAC": value.mac.hex()}
        elif isinstance(value, bytes):
            told[name] = value.hex() if "conformance" in name else _ascii(value)
        else:
            told[name] = value
    return told


def _authentication(auth: Chosen, reveal: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"auth": apdus.AUTHENTICATIONS[auth.choice]}
    if isinstance(auth.value, bytes):
        told["password"] = _ascii(auth.value) if reveal else MASK
    elif auth.value is not None:
        told |= {"cipher": auth.value.cipher.hex(), "signature": auth.value.signature.hex()}
    return told


def _get_request(apdu: Apdu, _: bool) -> dict[str, Any]:
    match apdu.choice:
        case apdus.NORMAL:
            return _named(apdu.fields["oad"], "object")
        case apdus.LIST:
            return {"oads": [_oad(oad) for oad in apdu.fields["oads"]]}
        case apdus.RECORD:
            return _wanted(apdu.fields["record"])
        case apdus.RECORD_LIST:
            return {"records": [_wanted(record) for record in apdu.fields["records"]]}
    return {"block": apdu.fields["block"]}


def _get_response(apdu: Apdu, reveal: bool) -> dict[str, Any]:
    match apdu.choice:
        case apdus.NORMAL:
            return {"results": [_read(apdu.fields["result"], reveal)]}
        case apdus.LIST:
            return {"results": [_read(result, reveal) for result in apdu.fields["results"]]}
        case apdus.RECORD:
            return _read(apdu.fields["record"], reveal)
        case apdus.RECORD_LIST:
            return {"records": [_read(record, reveal) for record in apdu.fields["records"]]}
    content = apdu.fields["content"]
    told = {"last_block": bool(apdu.fields["last_block"]), "block": apdu.fields["block"]}
    if content.choice == 0:
        return told | _access(content.value)
    key = "results" if content.choice == 1 else "records"
    return told | {key: [_read(result, reveal) for result in content.value]}


def _write_request(apdu: Apdu, reveal: bool) -> dict[str, Any]:
    if "item" in apdu.fields:
        return _item(apdu.fields["item"], reveal)
    return {"items": [_item(item, reveal) for item in apdu.fields["items"]]}


def _write_response(apdu: Apdu, reveal: bool) -> dict[str, Any]:
    if "result" in apdu.fields:
        return _done(apdu.fields["result"], reveal)
    return {"results": [_done(result, reveal) for result in apdu.fields["results"]]}


def _report(apdu: Apdu, reveal: bool) -> dict[str, Any]:
    if "oads" in apdu.fields:
        return {"oads": [_oad(oad) for oad in apdu.fields["oads"]]}
    for key in ("results", "records"):
        if key in apdu.fields:
            return {key: [_read(result, reveal) for result in apdu.fields[key]]}
    return _by_name(apdu, reveal)


def _proxy(apdu: Apdu, reveal: bool) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, value in apdu.fields.items():
        if name in ("targets", "replies"):
            told["servers"] = [_server(server, reveal) for server in value]
        elif name == "record":
            told |= _read(value, reveal) if isinstance(value, apdus.RecordResult) else _wanted(value)
        elif name == "content":
            told |= _access(value.value) if value.choice == 0 else {"frame": _forwarded(value.value, reveal)}
        else:
            told[name] = _field(name, value, reveal)
    return told


def _server(server: apdus.Target | apdus.Reply, reveal: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"server": _tsa(server.tsa)}
    if isinstance(server, apdus.Target):
        told["timeout_s"] = server.timeout
    if all(isinstance(item, int) for item in server.items):
        return told | {"oads": [_oad(oad) for oad in server.items]}
    if isinstance(server, apdus.Target):
        return told | {"items": [_item(item, reveal) for item in server.items]}
    return told | {"results": [_outcome(item, reveal) for item in server.items]}


def _security(apdu: Apdu, reveal: bool) -> dict[str, Any]:
    content, verification = apdu.fields["content"], apdu.fields["verification"]
    told: dict[str, Any] = {"choice": content.choice}
    match content.choice:
        case 0:
            told["apdu"] = _apdu(content.value, reveal)
        case 1:
            told["cipher"] = content.value.hex()
        case 2:
            told |= _access(content.value)
    return (
        told if verification is None else told | _verification(verification, bool(apdu.code & apdus.SERVER))
    )


def _verification(chosen: Chosen, server: bool) -> dict[str, Any]:
    value = chosen.value
    if server:
        return {"MAC": value.hex()}
    match value:
        case values.SidMac():
            return {
                "SID": f"{value.sid.number:08X}",
                "SID_data": value.sid.extra.hex(),
                "MAC": value.mac.hex(),
            }
        case apdus.RnMac():
            return {"RN": value.rn.hex(), "MAC": value.mac.hex()}
        case values.Sid():
            return {"SID": f"{value.number:08X}", "SID_data": value.extra.hex()}
    return {"RN": value.hex()}


def _error(apdu: Apdu, _: bool) -> dict[str, Any]:
    code = apdu.fields["error"]
    return {"error": code, "error_name": apdus.ERRORS.get(code, "unknown")}


def _by_name(apdu: Apdu, reveal: bool) -> dict[str, Any]:
    return {name: _field(name, value, reveal) for name, value in apdu.fields.items()}


def _field(name: str, value: Any, reveal: bool) -> Any:
    if name == "frame":
        return _forwarded(value, reveal)
    if name == "frames":
        return [_forwarded(frame, reveal) for frame in value]
    return _PLAIN[name](value) if name in _PLAIN else value


_TELLERS: Final[dict[int, Callable[[Apdu, bool], dict[str, Any]]]] = {
    0x01: _link_request, 0x81: _link_response, 0x02: _connect, 0x82: _connect,
    0x05: _get_request, 0x85: _get_response, 0x06: _write_request, 0x86: _write_response,
    0x07: _write_request, 0x87: _write_response, 0x08: _report, 0x88: _report, 0x09: _proxy, 0x89: _proxy,
    0x10: _security, 0x90: _security, 0x6E: _error, 0xEE: _error,
}  # fmt: skip


# --- parts ---


def _named(oad: int, key: str) -> dict[str, Any]:
    name = items.object_name(oad)
    return {"oad": _oad(oad)} | ({key: name} if name else {})


def _access(dar: int) -> dict[str, Any]:
    return {"DAR": dar, "DAR_name": items.dars().get(dar, "unknown")}


def _wanted(record: apdus.GetRecord) -> dict[str, Any]:
    told: dict[str, Any] = {"oad": _oad(record.oad), "rsd_selector": record.rsd.kind}
    selected = _rsd(record.rsd)
    if selected:
        told["rsd"] = selected
    return told | {"columns": [_csd(column) for column in record.columns]}


def _read(result: apdus.Result | apdus.RecordResult, reveal: bool) -> dict[str, Any]:
    if isinstance(result, apdus.RecordResult):
        return _records(result, reveal)
    told: dict[str, Any] = {"oad": _oad(result.oad)}
    if result.data is None:
        return told | _access(result.dar)
    return told | {"raw": _shown(result.data, result.oad, reveal)} | _cell(result.oad, result.data, reveal)


def _records(record: apdus.RecordResult, reveal: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"oad": _oad(record.oad), "columns": [_csd(column) for column in record.columns]}
    if record.rows is None:
        return told | _access(record.dar)
    return told | {"rows": [_row(record, row, reveal) for row in record.rows]}


def _row(record: apdus.RecordResult, row: tuple[Data, ...], reveal: bool) -> list[dict[str, Any]]:
    told = []
    cells = iter(row)
    for column in record.columns:
        if not isinstance(column, values.Road):
            told.append(_cell(column, next(cells), reveal))
        elif record.flat:
            told += [_cell(oad, next(cells), reveal) for oad in column.columns]
        else:
            cell = next(cells)
            parts = apdus.inside(column, cell)
            if parts is None:
                told.append(_cell(column.oad, cell, reveal))
            else:
                told += [_cell(oad, part, reveal) for oad, part in zip(column.columns, parts, strict=True)]
    return told


def _outcome(result: Any, reveal: bool) -> dict[str, Any]:
    return _read(result, reveal) if isinstance(result, apdus.Result) else _done(result, reveal)


def _item(item: apdus.SetItem | apdus.ActItem, reveal: bool) -> dict[str, Any]:
    target = item.oad if isinstance(item, apdus.SetItem) else item.omd
    key = "oad" if isinstance(item, apdus.SetItem) else "omd"
    told: dict[str, Any] = {key: _oad(target), "data": _shown(item.data, target, reveal)}
    return told | ({"read": _oad(item.read), "delay_s": item.delay} if item.read else {})


def _done(result: apdus.SetResult | apdus.ActResult, reveal: bool) -> dict[str, Any]:
    if isinstance(result, apdus.SetResult):
        told: dict[str, Any] = {"oad": _oad(result.oad)}
    else:
        told = {"omd": _oad(result.omd)}
    told["DAR"] = result.dar
    if result.dar:
        told |= _access(result.dar)
    if isinstance(result, apdus.ActResult) and result.data is not None:
        told["data"] = _shown(result.data, result.omd, reveal)
    return told if result.read is None else told | {"read": _read(result.read, reveal)}


# --- values ---


def _cell(oad: int, data: Data, reveal: bool) -> dict[str, Any]:
    """name, value in its unit, unit."""
    item = items.item(oad)
    name = items.object_name(oad) or _oad(oad)
    if item is None or not item.scalers or items.secret(oad):
        return {"name": name, "value": _shown(data, oad, reveal), "unit": ""}
    scalers, units = item.scalers, item.units
    index = oad & 0xFF
    if item.composite and index and item.type == "structure":
        scalers, units = scalers[index - 1 : index], units[index - 1 : index]
    real = list(dict.fromkeys(unit for unit in units if unit))
    unit: Any = real[0] if len(real) == 1 else list(units)
    return {"name": name, "value": _scaled(data, scalers), "unit": unit if real else ""}


def _scaled(data: Data, scalers: tuple[int | None, ...]) -> Any:
    if data.tag == values.STRUCTURE and len(scalers) > 1 and len(data.value) == len(scalers):
        return [
            _scaled(part, (scaler,)) if scaler is not None else show(part)
            for part, scaler in zip(data.value, scalers, strict=True)
        ]
    if data.tag in (values.ARRAY, values.STRUCTURE):
        return [_scaled(part, scalers) for part in data.value]
    number = data.value
    if (
        len(scalers) != 1
        or scalers[0] is None
        or isinstance(number, bool)
        or not isinstance(number, int | float)
    ):
        return show(data)
    # dividing by a power of ten rounds once, so 2413 at -1 is exactly the double 241.3
    return number * 10 ** scalers[0] if scalers[0] >= 0 else number / 10 ** -scalers[0]


def _shown(data: Data, oad: int, reveal: bool) -> Any:
    return MASK if items.secret(oad) and not reveal else show(data)


def show(data: Data) -> Any:
    """A value as JSON has it: OADs and bytes in hex, times as texts, compound types by their fields."""
    teller = _SHOW.get(data.tag)
    if teller is not None:
        return teller(data.value)
    if data.tag in (values.DATE_TIME, values.DATE, values.TIME, values.DATE_TIME_S):
        return values.time_text(data.tag, data.value)
    return data.value.hex() if isinstance(data.value, bytes) else data.value


def _oad(oad: int) -> str:
    return f"{oad:08X}"


def _csd(column: Csd) -> Any:
    if isinstance(column, values.Road):
        return {"oad": _oad(column.oad), "columns": [_oad(oad) for oad in column.columns]}
    return _oad(column)


def _tsa(raw: bytes) -> str:
    """The digits of an ordinary address; the bytes of any other."""
    try:
        address = values.tsa_address(raw)
    except FrameError:
        return raw.hex()
    return address.digits if not address.kind and not address.logical else raw.hex()


def _interval(ti: values.Ti) -> str:
    units = ("s", "min", "h", "d", "mo", "a")
    return f"{ti.count} {units[ti.unit] if ti.unit < len(units) else ti.unit}"


def _comdcb(line: values.Comdcb) -> dict[str, Any]:
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


def _meters(ms: values.Ms) -> Any:
    if not ms.items:
        return _METERS[ms.kind]
    if ms.kind == 3:
        return {_METERS[3]: [_tsa(item) for item in ms.items]}
    return {
        _METERS[ms.kind]: [_region(item) if isinstance(item, values.Region) else item for item in ms.items]
    }


def _range(part: values.Range) -> dict[str, Any]:
    told = {"oad": _oad(part.oad), "from": show(part.first), "to": show(part.last)}
    return told | {"step": show(part.step)}


def _at(rsd: Rsd) -> dict[str, Any]:
    return {"time": values.time_text(values.DATE_TIME_S, rsd.time), "meters": _meters(rsd.meters)}


def _within(rsd: Rsd) -> dict[str, Any]:
    return {
        "from": values.time_text(values.DATE_TIME_S, rsd.time),
        "to": values.time_text(values.DATE_TIME_S, rsd.until),
        "step": _interval(rsd.every),
        "meters": _meters(rsd.meters),
    }


_SELECTORS: Final[dict[int, Callable[[Rsd], Any]]] = {
    1: lambda rsd: {"oad": _oad(rsd.oad), "value": show(rsd.value)},
    2: lambda rsd: _range(rsd.ranges[0]),
    3: lambda rsd: [_range(part) for part in rsd.ranges],
    4: _at,
    5: _at,
    6: _within,
    7: _within,
    8: _within,
    9: lambda rsd: {"last": rsd.count},
    10: lambda rsd: {"last": rsd.count, "meters": _meters(rsd.meters)},
}


def _rsd(rsd: Rsd) -> Any:
    return _SELECTORS[rsd.kind](rsd) if rsd.kind in _SELECTORS else {}


def _scaler_unit(scale: values.ScalerUnit) -> dict[str, Any]:
    return {"scaler": scale.scaler, "unit": items.units().get(scale.unit, str(scale.unit))}


def _sid(sid: values.Sid) -> dict[str, Any]:
    return {"SID": f"{sid.number:08X}", "SID_data": sid.extra.hex()}


def _ascii(raw: bytes) -> str:
    return raw.decode("ascii") if raw.isascii() else raw.hex()


def _forwarded(raw: bytes, reveal: bool) -> str:
    """A frame of whatever protocol, as its bytes; hidden if it is one of DL/T 645 with a password in it."""
    body = raw.lstrip(b"\xfe")
    carries = len(body) > 9 and body[0] == body[7] == 0x68 and body[8] in _SECRET_645
    return MASK if carries and not reveal else raw.hex()


_SHOW: Final[dict[int, Callable[[Any], Any]]] = {
    values.ARRAY: lambda parts: [show(part) for part in parts],
    values.STRUCTURE: lambda parts: [show(part) for part in parts],
    values.OI: lambda oi: f"{oi:04X}",
    values.OAD: _oad,
    values.OMD: _oad,
    values.ROAD: _csd,
    values.CSD: _csd,
    values.RCSD: lambda columns: [_csd(column) for column in columns],
    values.TI: _interval,
    values.TSA: _tsa,
    values.REGION: _region,
    values.SCALER_UNIT: _scaler_unit,
    values.RSD: lambda rsd: {"selector": rsd.kind} | ({"rsd": _rsd(rsd)} if rsd.kind else {}),
    values.MS: _meters,
    values.SID: _sid,
    values.SID_MAC: lambda value: _sid(value.sid) | {"MAC": value.mac.hex()},
    values.COMDCB: _comdcb,
}
#: How single fields of an APDU are told.
_PLAIN: Final[dict[str, Callable[[Any], Any]]] = {
    "port": _oad,
    "tsa": _tsa,
    "comdcb": _comdcb,
    "connected": lambda raw: values.time_text(values.DATE_TIME_S, raw),
    "time": lambda raw: values.time_text(values.DATE_TIME_S, raw),
}
