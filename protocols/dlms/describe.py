"""One frame in words, for people: what `headend decode` prints."""

from __future__ import annotations

from typing import Any, Final
from zoneinfo import ZoneInfo

from protocols.dlms import apdu as apdus
from protocols.dlms import frame as frames
from protocols.dlms import model, values
from protocols.dlms.selector import EntrySelector, RangeSelector, Selector
from protocols.dlms.values import Data
from protocols.errors import FrameError

MASK: Final = "******"

#: The service names of IEC 62056-5-3.
NAMES: Final[dict[type[Any], str]] = {
    apdus.Aarq: "AARQ",
    apdus.Aare: "AARE",
    apdus.Rlrq: "RLRQ",
    apdus.Rlre: "RLRE",
    apdus.GetNormal: "get-request-normal",
    apdus.GetNext: "get-request-next",
    apdus.GetList: "get-request-with-list",
    apdus.GetData: "get-response-normal",
    apdus.GetError: "get-response-normal",
    apdus.GetBlock: "get-response-with-datablock",
    apdus.SetNormal: "set-request-normal",
    apdus.SetResult: "set-response-normal",
    apdus.ActNormal: "action-request-normal",
    apdus.ActResult: "action-response-normal",
    apdus.ExceptionResponse: "exception-response",
    apdus.ConfirmedServiceError: "confirmed-service-error",
    apdus.DataNotification: "data-notification",
}
_MECHANISMS: Final = {
    0: "none", 1: "LLS", 2: "HLS", 3: "HLS-MD5", 4: "HLS-SHA1", 5: "HLS-GMAC",
    6: "HLS-SHA256", 7: "HLS-ECDSA",
}  # fmt: skip
_RESULTS: Final = {0: "accepted", 1: "rejected-permanent", 2: "rejected-transient"}
_REQUEST_REASONS: Final = {None: "none given", 0: "normal", 1: "urgent", 30: "user-defined"}
_RESPONSE_REASONS: Final = {None: "none given", 0: "normal", 1: "not-finished", 30: "user-defined"}
_UTC: Final = ZoneInfo("UTC")
#: First byte of an HDLC frame (IEC 62056-46).
_HDLC_FLAG: Final = 0x7E


def describe(raw: bytes, *, reveal: bool = False) -> dict[str, Any]:
    """A wrapper frame, or a bare APDU, -> its fields by name. Passwords and challenges only with `reveal`.

    FrameError: corrupt, or of a kind that is not decoded (HDLC, ciphered APDUs); the message names it.
    """
    if raw[:1] == bytes((_HDLC_FLAG,)):
        raise FrameError("HDLC framing (flag 7E) is not decoded, only the TCP wrapper and bare APDUs")
    if raw[:2] == b"\x00\x01":  # no APDU begins with 00
        frame = frames.decode(raw)
        told = {"source_wport": frame.source, "destination_wport": frame.destination}
        return told | _apdu(apdus.decode(frame.apdu), reveal)
    return _apdu(apdus.decode(raw), reveal)


def _apdu(apdu: apdus.Apdu, reveal: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"apdu": NAMES[type(apdu)]}
    invoke = getattr(apdu, "invoke", None)
    if invoke is not None:
        told["invoke_id"] = invoke
    return told | _association(apdu, reveal) | _request(apdu) | _response(apdu) | _unasked(apdu)


def _association(apdu: apdus.Apdu, reveal: bool) -> dict[str, Any]:
    match apdu:
        case apdus.Aarq():
            told = {"authentication": _MECHANISMS.get(apdu.mechanism, str(apdu.mechanism))}
            if apdu.password is not None:
                told["password"] = _text(apdu.password) if reveal else MASK
            return told | {"max_pdu": apdu.max_pdu, "conformance": list(apdu.conformance)}
        case apdus.Aare():
            return _accepted(apdu, reveal)
        case apdus.Rlrq():
            return {"reason": _REQUEST_REASONS.get(apdu.reason, str(apdu.reason))}
        case apdus.Rlre():
            return {"reason": _RESPONSE_REASONS.get(apdu.reason, str(apdu.reason))}
    return {}


def _accepted(apdu: apdus.Aare, reveal: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "result": _RESULTS.get(apdu.result, str(apdu.result)),
        "diagnostic": apdu.diagnostic,
        "diagnostic_name": apdus.DIAGNOSTICS.get((apdu.source, apdu.diagnostic), "unknown"),
    }
    if apdu.service_error is not None:
        return told | {"service_error": apdu.service_error}
    if apdu.mechanism is not None:
        told["authentication"] = _MECHANISMS.get(apdu.mechanism, str(apdu.mechanism))
    if apdu.challenge is not None:
        told["challenge"] = _text(apdu.challenge) if reveal else MASK
    return told | {"max_pdu": apdu.max_pdu, "conformance": list(apdu.conformance)}


def _request(apdu: apdus.Apdu) -> dict[str, Any]:
    match apdu:
        case apdus.GetNormal():
            return _target(apdu.target, "attribute") | _selector(apdu.selector)
        case apdus.GetList():
            return {"attributes": [_target(t, "attribute") | _selector(s) for t, s in apdu.targets]}
        case apdus.GetNext():
            return {"block": apdu.block}
        case apdus.SetNormal():
            return _target(apdu.target, "attribute") | _selector(apdu.selector) | _value(apdu.raw)
        case apdus.ActNormal():
            told = _target(apdu.target, "method")
            return told if apdu.raw is None else told | _value(apdu.raw)
    return {}


def _response(apdu: apdus.Apdu) -> dict[str, Any]:
    match apdu:
        case apdus.GetData():
            return {"result": "success"} | _value(apdu.raw)
        case apdus.GetError(block=block):
            place = (
                {} if block is None else {"apdu": NAMES[apdus.GetBlock], "last_block": True, "block": block}
            )
            return place | _result(apdu.code)
        case apdus.GetBlock():
            return {"last_block": apdu.last, "block": apdu.block, "raw_data": apdu.raw.hex()}
        case apdus.SetResult():
            return _result(apdu.code)
        case apdus.ActResult():
            told = _result(apdu.code)
            if apdu.error is not None:
                told["data_access_result"] = _result(apdu.error)["result"]
            return told if apdu.raw is None else told | _value(apdu.raw)
    return {}


def _unasked(apdu: apdus.Apdu) -> dict[str, Any]:
    match apdu:
        case apdus.ExceptionResponse():
            return {
                "state_error": apdus.STATE_ERRORS.get(apdu.state, str(apdu.state)),
                "service_error": apdus.SERVICE_ERRORS.get(apdu.service, str(apdu.service)),
            }
        case apdus.ConfirmedServiceError():
            return {"service_error": apdu.error}
        case apdus.DataNotification():
            time = None if apdu.time is None else str(values.decode_clock(apdu.time, _UTC).utc)
            return {"date_time": time} | _value(apdu.raw)
    return {}


def _target(target: apdus.Target, what: str) -> dict[str, Any]:
    told: dict[str, Any] = {"class_id": target.class_id, "obis": target.obis, what: target.index}
    item = model.by_name().get((target.class_id, target.obis, target.index)) if what == "attribute" else None
    return told if item is None else told | {"name": item.name_en, "name_zh": item.name_zh}


def _selector(selector: Selector | None) -> dict[str, Any]:
    match selector:
        case RangeSelector():
            columns = [".".join(map(str, column)) for column in selector.columns]
            told = {"from": str(selector.begin), "to": str(selector.end)}
            return told | ({"columns": columns} if columns else {})
        case EntrySelector():
            return {"from_entry": selector.first, "to_entry": selector.last}
    return {}


def _result(code: int) -> dict[str, Any]:
    return {"result_code": code, "result": apdus.RESULTS.get(code, "unknown")}


def _value(raw: bytes) -> dict[str, Any]:
    data = values.decode(raw)
    told = {"type": values.NAMES.get(data.tag, str(data.tag)), "value": _shown(data)}
    if isinstance(data.value, bytes) and len(data.value) == 12:
        try:
            told["time"] = str(values.decode_clock(data.value, _UTC).utc)
        except FrameError:
            return told  # twelve bytes need not be a date
    return told


def _shown(data: Data) -> Any:
    if isinstance(data.value, tuple):
        return [_shown(item) for item in data.value]
    return data.value.hex() if isinstance(data.value, bytes) else data.value


def _text(raw: bytes) -> str:
    return raw.decode("ascii") if raw.isascii() else raw.hex()
