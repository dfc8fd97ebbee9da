"""One APDU in words: a teller for each service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import clock, items, show, values
from protocols.dlt698.apdu import Apdu
from protocols.dlt698.values import Csd, Data
from protocols.dlt698.wire import MAX_TOLD, Budget, Chosen
from protocols.errors import FrameError
from protocols.part import MASK


def tell(raw: bytes, reveal: bool, offset: int = 0) -> dict[str, Any]:
    """An APDU's fields by name. What cannot be decoded is given as its bytes (`undecoded`), with the complaint in `decode_note`.

    offset  of the APDU in the frame, for the complaint
    """
    try:
        apdu = apdus.decode(raw, Budget(MAX_TOLD))
    except FrameError as error:
        return _corrupt(raw, error.moved(offset), reveal)
    told = _head(apdu)
    if apdu.undecoded is not None:
        return told | {"undecoded": _bytes(raw, apdu.undecoded, reveal)}
    teller = _TELLERS.get(apdu.code)
    told |= teller(apdu, reveal) if teller else _by_name(apdu, reveal)
    return told | _tail(apdu, reveal)


def _head(apdu: Apdu) -> dict[str, Any]:
    told: dict[str, Any] = {"service": apdu.service}
    if apdu.choice is not None:
        told["choice"] = apdu.choice
    if apdu.piid is not None:
        told["PIID_ACD" if apdu.code == apdus.LINK else "PIID"] = apdu.piid
        if apdu.piid & apdus.PRIORITY:
            told["priority"] = True
        if apdu.code & apdus.SERVER and apdu.piid & apdus.ACD:
            told["ACD"] = True
    return told


def _corrupt(raw: bytes, error: FrameError, reveal: bool) -> dict[str, Any]:
    """What is sure of an APDU that breaks off somewhere: its head, and the object where that stands first."""
    told: dict[str, Any] = {"service": "unknown"}
    if raw and raw[0] in apdus.SERVICES:
        told["service"] = apdus.SERVICES[raw[0]]
        if raw[0] in apdus.CHOICES and len(raw) > 2:
            told |= {"choice": raw[1], "PIID": raw[2]}
            key = _OBJECT_FIRST.get((raw[0], raw[1]))
            if key is not None and len(raw) >= 7:
                told[key] = raw[3:7].hex().upper()
    return told | {"decode_note": str(error), "undecoded": _bytes(raw, raw, reveal)}


def _bytes(apdu: bytes, part: bytes, reveal: bool) -> str:
    return MASK if not reveal and show.may_hide(apdu) else part.hex()


def _tail(apdu: Apdu, reveal: bool) -> dict[str, Any]:
    """Follow report and time tag, of the services that have them."""
    told: dict[str, Any] = {}
    if apdu.code in apdus.BARE:
        return told
    if apdu.code & apdus.SERVER:
        told["follow_report"] = 0
        if apdu.follow is not None:
            told["follow_report"] = [_read(result, reveal) for result in apdu.follow.value]
    told["time_tag"] = 0
    if apdu.time_tag is not None:
        told["time_tag"] = {
            "sent": clock.time_text(apdu.time_tag.sent),
            "delay": show.interval(apdu.time_tag.delay),
        }
    return told


# --- services ---


def _link_request(apdu: Apdu, _: bool) -> dict[str, Any]:
    kind = apdu.fields["request"]
    return {
        "request": apdus.LINK_TYPES.get(kind, str(kind)),
        "heartbeat_s": apdu.fields["heartbeat_s"],
        "time": clock.time_text(apdu.fields["time"]),
    }


def _link_response(apdu: Apdu, _: bool) -> dict[str, Any]:
    result = apdu.fields["result"]
    times = {name: value for name, value in apdu.fields.items() if name.endswith("_time")}
    return {
        "result": result & 0x07,
        "clock_trusted": bool(result & apdus.CLOCK_TRUSTED),
        **{name: clock.time_text(value) for name, value in times.items()},
    }


def _connect(apdu: Apdu, reveal: bool) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, value in apdu.fields.items():
        if name == "auth":
            told |= _authentication(value, reveal)
        elif name == "result":
            told |= {"result": value, "result_name": apdus.CONNECT_RESULTS.get(value, "unknown")}
        elif name == "security":
            told |= {} if value is None else {"RN": _kept(value.rn, reveal), "MAC": value.mac.hex()}
        elif isinstance(value, bytes):
            told[name] = value.hex() if "conformance" in name else show.ascii_text(value)
        else:
            told[name] = value
    return told


def _authentication(auth: Chosen, reveal: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"auth": apdus.AUTHENTICATIONS[auth.choice]}
    if isinstance(auth.value, bytes):
        told["password"] = show.ascii_text(auth.value) if reveal else MASK
    elif auth.value is not None:
        told |= {
            "cipher": _kept(auth.value.cipher, reveal),
            "signature": _kept(auth.value.signature, reveal),
        }
    return told


def _kept(raw: bytes, reveal: bool) -> str:
    """A challenge, or what answers one."""
    return raw.hex() if reveal else MASK


def _get_request(apdu: Apdu, _: bool) -> dict[str, Any]:
    match apdu.choice:
        case apdus.NORMAL | apdus.MD5:
            return _named(apdu.fields["oad"], "object")
        case apdus.LIST:
            return {"oads": [show.hexed(oad) for oad in apdu.fields["oads"]]}
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
        case apdus.MD5:
            return _md5(apdu.fields["oad"], apdu.fields["content"])
    return _block(apdu, reveal)


def _md5(oad: int, content: Chosen) -> dict[str, Any]:
    md5 = _access(content.value) if content.choice == 0 else {"MD5": content.value.hex()}
    return {"oad": show.hexed(oad)} | md5


def _block(apdu: Apdu, reveal: bool) -> dict[str, Any]:
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
        return {"oads": [show.hexed(oad) for oad in apdu.fields["oads"]]}
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
            told |= (
                _access(value.value) if value.choice == 0 else {"frame": show.forwarded(value.value, reveal)}
            )
        else:
            told[name] = _field(name, value, reveal)
    return told


def _server(server: apdus.Target | apdus.Reply, reveal: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"server": show.tsa(server.tsa)}
    if isinstance(server, apdus.Target):
        told["timeout_s"] = server.timeout
    if all(isinstance(item, int) for item in server.items):
        return told | {"oads": [show.hexed(oad) for oad in server.items]}
    if isinstance(server, apdus.Target):
        return told | {"items": [_item(item, reveal) for item in server.items]}
    return told | {"results": [_outcome(item, reveal) for item in server.items]}


def _security(apdu: Apdu, reveal: bool) -> dict[str, Any]:
    content, verification = apdu.fields["content"], apdu.fields["verification"]
    told: dict[str, Any] = {"choice": content.choice}
    match content.choice:
        case 0:
            told["apdu"] = _clear(content.value, reveal)
        case 1:
            told["cipher"] = content.value.hex()
        case 2:
            told |= _access(content.value)
    if verification is None:
        return told
    server = bool(apdu.code & apdus.SERVER)
    return told | ({"MAC": verification.value.hex()} if server else _verification(verification, reveal))


def _clear(raw: bytes, reveal: bool) -> dict[str, Any]:
    """The APDU inside SECURITY: never one of SECURITY again, so bytes that go on like that are not followed."""
    if raw[:1] in _SECURITIES:
        return {
            "service": apdus.SERVICES[raw[0]],
            "decode_note": "apdu: SECURITY inside SECURITY is not opened",
            "undecoded": _kept(raw, reveal),
        }
    return tell(raw, reveal)


def _verification(chosen: Chosen, reveal: bool) -> dict[str, Any]:
    value = chosen.value
    match value:
        case values.SidMac():
            return show.sid(value.sid) | {"MAC": value.mac.hex()}
        case apdus.RnMac():
            return {"RN": _kept(value.rn, reveal), "MAC": value.mac.hex()}
        case values.Sid():
            return show.sid(value)
    return {"RN": _kept(value, reveal)}


def _error(apdu: Apdu, _: bool) -> dict[str, Any]:
    code = apdu.fields["error"]
    return {"error": code, "error_name": apdus.ERRORS.get(code, "unknown")}


def _by_name(apdu: Apdu, reveal: bool) -> dict[str, Any]:
    return {name: _field(name, value, reveal) for name, value in apdu.fields.items()}


def _field(name: str, value: Any, reveal: bool) -> Any:
    if name == "frame":
        return show.forwarded(value, reveal)
    if name == "frames":
        return [show.forwarded(frame, reveal) for frame in value]
    return _PLAIN[name](value) if name in _PLAIN else value


def _named(oad: int, key: str) -> dict[str, Any]:
    name = items.object_name(oad)
    return {"oad": show.hexed(oad)} | ({key: name} if name else {})


def _access(dar: int) -> dict[str, Any]:
    return {"DAR": dar, "DAR_name": items.dars().get(dar, "unknown")}


def _wanted(record: apdus.GetRecord) -> dict[str, Any]:
    told: dict[str, Any] = {"oad": show.hexed(record.oad), "rsd_selector": record.rsd.kind}
    selected = show.selection(record.rsd)
    if selected:
        told["rsd"] = selected
    return told | {"columns": [show.csd(column) for column in record.columns]}


def _read(result: apdus.Result | apdus.RecordResult, reveal: bool) -> dict[str, Any]:
    if isinstance(result, apdus.RecordResult):
        return _records(result, reveal)
    oad = show.hexed(result.oad)
    if result.data is None:
        return {"oad": oad} | _access(result.dar)
    column = show.column(result.oad)
    return {
        "oad": oad,
        "raw": MASK if column.secret and not reveal else show.show(result.data, reveal),
        "name": column.name,
        "value": column.value(result.data, reveal),
        "unit": column.unit,
    }


def _records(record: apdus.RecordResult, reveal: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "oad": show.hexed(record.oad),
        "columns": [show.csd(column) for column in record.columns],
    }
    if record.rows is None:
        return told | _access(record.dar)
    columns = apdus.cells_of(record.columns, record.flat)
    if any(isinstance(column, values.Road) for column in columns):
        return told | {"rows": [_row(columns, row, reveal) for row in record.rows]}
    tellers = [show.column(column).cell for column in columns if isinstance(column, int)]
    return told | {
        "rows": [[cell(data, reveal) for cell, data in zip(tellers, row, strict=True)] for row in record.rows]
    }


def _row(columns: list[Csd], row: tuple[Data, ...], reveal: bool) -> list[dict[str, Any]]:
    told = []
    for column, cell in zip(columns, row, strict=True):
        if not isinstance(column, values.Road):
            told.append(show.column(column).cell(cell, reveal))
            continue
        parts = apdus.inside(column, cell)
        if parts is None:
            told.append(show.column(column.oad).cell(cell, reveal))
        else:
            told += [
                show.column(oad).cell(part, reveal) for oad, part in zip(column.columns, parts, strict=True)
            ]
    return told


def _outcome(result: Any, reveal: bool) -> dict[str, Any]:
    return _read(result, reveal) if isinstance(result, apdus.Result) else _done(result, reveal)


def _item(item: apdus.SetItem | apdus.ActItem, reveal: bool) -> dict[str, Any]:
    if isinstance(item, apdus.SetItem):
        told: dict[str, Any] = {"oad": show.hexed(item.oad), "data": show.shown(item.data, item.oad, reveal)}
    else:
        data = show.shown(item.data, item.omd, reveal, method=True)
        told = {"omd": show.hexed(item.omd), "data": data}
    return told | ({"read": show.hexed(item.read), "delay_s": item.delay} if item.read else {})


def _done(result: apdus.SetResult | apdus.ActResult, reveal: bool) -> dict[str, Any]:
    if isinstance(result, apdus.SetResult):
        told: dict[str, Any] = {"oad": show.hexed(result.oad)}
    else:
        told = {"omd": show.hexed(result.omd)}
    told["DAR"] = result.dar
    if result.dar:
        told |= _access(result.dar)
    if isinstance(result, apdus.ActResult) and result.data is not None:
        told["data"] = show.shown(result.data, result.omd, reveal, method=True)
    return told if result.read is None else told | {"read": _read(result.read, reveal)}


_TELLERS: Final[dict[int, Callable[[Apdu, bool], dict[str, Any]]]] = {
    0x01: _link_request, 0x81: _link_response, 0x02: _connect, 0x82: _connect,
    0x05: _get_request, 0x85: _get_response, 0x06: _write_request, 0x86: _write_response,
    0x07: _write_request, 0x87: _write_response, 0x08: _report, 0x88: _report, 0x09: _proxy, 0x89: _proxy,
    0x10: _security, 0x90: _security, 0x6E: _error, 0xEE: _error,
}  # fmt: skip
#: How single fields of an APDU are told.
_PLAIN: Final[dict[str, Callable[[Any], Any]]] = {
    "port": show.hexed,
    "tsa": show.tsa,
    "comdcb": show.comdcb,
    "connected": clock.time_text,
    "time": clock.time_text,
}
_SECURITIES: Final = (b"\x10", b"\x90")
#: Where an OAD or OMD stands right behind the PIID.
_OBJECT_FIRST: Final = {
    (0x05, 1): "oad", (0x05, 3): "oad", (0x05, 6): "oad", (0x85, 3): "oad", (0x85, 6): "oad", (0x06, 1): "oad",
    (0x86, 1): "oad", (0x07, 1): "omd", (0x87, 1): "omd",
}  # fmt: skip
