"""One frame in words, for people: what `headend decode` prints. Wrapper frames, HDLC frames and bare APDUs."""

from __future__ import annotations

import math
from typing import Any, Final
from zoneinfo import ZoneInfo

from protocols.dlms import apdu as apdus
from protocols.dlms import association as acse
from protocols.dlms import frame as frames
from protocols.dlms import hdlc_frame, messages, model, prose, values
from protocols.dlms.confidential import is_secret, is_secret_name
from protocols.dlms.hdlc_frame import HdlcFrame
from protocols.dlms.selector import EntrySelector, RangeSelector, Selector
from protocols.dlms.values import Data
from protocols.dlms.view import View
from protocols.errors import FrameError
from protocols.part import MASK, Part

_UTC: Final = ZoneInfo("UTC")
_FLAG: Final = b"\x7e"
_WRAPPER: Final = b"\x00\x01"  # no APDU begins with 00
#: Values shown of one APDU: ten days of a curve have more, and nobody reads on there. What is left out is counted.
MAX_SHOWN: Final = 4096


def describe(raw: bytes, *, reveal: bool = False) -> dict[str, Any]:
    """A wrapper frame, HDLC frame or bare APDU -> its fields by name, `text` in one line. Passwords, challenges and keys only
    with `reveal`. A ciphered APDU is told as far as it can be read.

    FrameError: corrupt, or of a kind that is not decoded; the message names it.
    """
    if raw[:1] == _FLAG:
        return _hdlc(raw, reveal)
    if raw[:2] == _WRAPPER:
        frame = frames.decode(raw)
        apdu, told = _inside(frame.apdu, frames.HEADER, reveal)
        if isinstance(apdu, apdus.Ciphered):
            same = frame.source == frame.destination
            where = f"wrapper {frame.source}->{frame.destination}" if same else "wrapper"
            name, tag = apdu.outline.name, apdu.outline.tag
            told["text"] = f"{where}, {name} (tag {tag})" if same else f"{where}, tag {tag} {name}"
        direction = prose.direction(apdu) or prose.ports_direction(frame.source, frame.destination)
        ports = {"source_wport": frame.source, "destination_wport": frame.destination}
        return ports | told | ({"direction": direction} if direction else {})
    apdu, told = _inside(raw, 0, reveal)
    direction = prose.direction(apdu)
    return told | ({"direction": direction} if direction else {})


def _inside(raw: bytes, start: int, reveal: bool) -> tuple[apdus.Apdu, dict[str, Any]]:
    """The APDU that stands at `start` of a frame."""
    try:
        apdu, seen = apdus.decode_seen(raw)
    except FrameError as error:
        raise error.moved(start) from None
    try:
        return apdu, _apdu(apdu, raw, View(reveal, seen))
    except (
        FrameError
    ) as error:  # in data that is decoded only to be shown: it is the last field, so counted from its start
        raise error.moved(start + _data_start(apdu, raw)) from None


def _data_start(apdu: apdus.Apdu, raw: bytes) -> int:
    inner = getattr(apdu, "raw", None)
    return len(raw) - len(inner) if isinstance(inner, bytes) and raw.endswith(inner) else 0


def _apdu(apdu: apdus.Apdu, raw: bytes, view: View) -> dict[str, Any]:
    told: dict[str, Any] = {"apdu": prose.name_of(apdu), "text": prose.sentence(apdu, raw, view)}
    invoke = getattr(apdu, "invoke", None)
    if invoke is not None:
        told["invoke_id"] = invoke
    if isinstance(apdu, apdus.Ciphered):
        return told | _ciphered(apdu)
    return (
        told
        | _association(apdu, view)
        | _request(apdu, view)
        | _response(apdu, view)
        | _unasked(apdu, view)
        | _short(apdu, view)
    )


def _ciphered(apdu: apdus.Ciphered) -> dict[str, Any]:
    seen = apdu.outline
    told: dict[str, Any] = {"tag": seen.tag}
    if seen.system_title is not None:
        told["system_title"] = seen.system_title.hex()
    return told | {
        "security_control": seen.control.text,
        "IC": seen.counter,
        "ciphertext_bytes": seen.ciphertext_length,
    }


def _secret(value: bytes, view: View) -> str:
    return view.password(value).strip('"')


def _association(apdu: apdus.Apdu, view: View) -> dict[str, Any]:
    match apdu:
        case apdus.Aarq():
            told: dict[str, Any] = {"context": acse.CONTEXTS[apdu.context]}
            told["authentication"] = acse.MECHANISMS.get(apdu.mechanism, str(apdu.mechanism))
            if apdu.password is not None:
                told["password"] = _secret(apdu.password, view)
            return told | _title(apdu.title) | _initiate(apdu, view)
        case apdus.Aare():
            return _accepted(apdu, view)
        case apdus.Rlrq():
            return {"reason": _reason(apdu.reason, acse.REQUEST_REASONS)}
        case apdus.Rlre():
            return {"reason": _reason(apdu.reason, acse.RESPONSE_REASONS)}
    return {}


def _reason(reason: int | None, names: dict[int, str]) -> str:
    return "none given" if reason is None else names[reason]


def _title(title: bytes | None) -> dict[str, Any]:
    return {} if title is None else {"system_title": title.hex()}


def _initiate(apdu: apdus.Aarq | apdus.Aare, view: View) -> dict[str, Any]:
    if apdu.ciphered is not None:
        return {"initiate": "ciphered"}
    told: dict[str, Any] = {"max_pdu": apdu.max_pdu, "conformance": list(apdu.conformance)}
    if apdu.initiate is not None and apdu.initiate.dedicated is not None:
        told["dedicated_key"] = MASK if view.hides(True) else apdu.initiate.dedicated.hex()
    return told


def _accepted(apdu: apdus.Aare, view: View) -> dict[str, Any]:
    told: dict[str, Any] = {
        "context": acse.CONTEXTS[apdu.context],
        "result": acse.RESULTS[apdu.result],
        "diagnostic": apdu.diagnostic,
        "diagnostic_name": apdus.DIAGNOSTICS.get((apdu.source, apdu.diagnostic), "unknown"),
    }
    if apdu.service_error is not None:
        return told | {"service_error": apdu.service_error}
    if apdu.mechanism is not None:
        told["authentication"] = acse.MECHANISMS.get(apdu.mechanism, str(apdu.mechanism))
    if apdu.challenge is not None:
        told["challenge"] = _secret(apdu.challenge, view)
    return told | _title(apdu.title) | _initiate(apdu, view)


def _request(apdu: apdus.Apdu, view: View) -> dict[str, Any]:  # noqa: PLR0911 - one kind, one return
    match apdu:
        case apdus.GetNormal():
            return _target(apdu.target, "attribute") | _selector(apdu.selector)
        case apdus.GetList() | apdus.SetListFirst():
            told: dict[str, Any] = {
                "attributes": [_target(t, "attribute") | _selector(s) for t, s in apdu.targets]
            }
            hidden = any(is_secret(target) for target, _ in apdu.targets)
            return told | (
                _block(apdu.block, view, secret=hidden) if isinstance(apdu, apdus.SetListFirst) else {}
            )
        case apdus.GetNext() | apdus.ActNext() | apdus.SetAck():
            return {"block": apdu.block}
        case apdus.SetNormal():
            return (
                _target(apdu.target, "attribute")
                | _selector(apdu.selector)
                | _value(apdu.raw, view, secret=is_secret(apdu.target))
            )
        case apdus.SetFirst():
            return (
                _target(apdu.target, "attribute")
                | _selector(apdu.selector)
                | _block(apdu.block, view, secret=is_secret(apdu.target))
            )
        case apdus.SetNext():  # of what it is a piece stands in the first one only
            return _block(apdu.block, view, secret=True)
        case apdus.ActBlock():
            return _block(apdu.block, view, secret=not apdu.response)
        case apdus.SetList():
            pairs = zip(apdu.targets, apdu.values, strict=True)
            return {
                "attributes": [
                    _target(t, "attribute") | _selector(s) | _value(raw, view, secret=is_secret(t))
                    for (t, s), raw in pairs
                ]
            }
        case apdus.ActNormal():
            told = _target(apdu.target, "method")
            return (
                told
                if apdu.raw is None
                else told | _value(apdu.raw, view, secret=is_secret(apdu.target, "method"))
            )
        case apdus.ActFirst():
            hidden = is_secret(apdu.target, "method")
            return _target(apdu.target, "method") | _block(apdu.block, view, secret=hidden)
        case apdus.ActList():
            asked = zip(apdu.targets, apdu.values, strict=True)
            return {
                "methods": [
                    _target(target, "method") | _value(raw, view, secret=is_secret(target, "method"))
                    for target, raw in asked
                ]
            }
        case apdus.ActListFirst():
            hidden = any(is_secret(target, "method") for target in apdu.targets)
            methods = [_target(target, "method") for target in apdu.targets]
            return {"methods": methods} | _block(apdu.block, view, secret=hidden)
    return {}


def _block(block: apdus.Block, view: View, *, secret: bool = False) -> dict[str, Any]:
    raw = MASK if view.hides(secret) else block.raw.hex()
    return {"last_block": block.last, "block": block.number, "raw_data": raw}


def _response(apdu: apdus.Apdu, view: View) -> dict[str, Any]:  # noqa: PLR0911 - one kind, one return
    match apdu:
        case apdus.GetData():
            return {"result": "success"} | _value(apdu.raw, view)
        case apdus.GetError(block=block):
            place = {} if block is None else {"last_block": apdu.last, "block": block}
            return place | _result(apdu.code)
        case apdus.GetBlock():
            return _block(apdus.Block(apdu.last, apdu.block, apdu.raw), view)
        case apdus.GetResults():
            return {"results": [_either(one, view) for one in apdu.results]}
        case apdus.SetResult():
            return _result(apdu.code)
        case apdus.SetLast():
            return {"block": apdu.block, "results": [_result(code) for code in apdu.codes]}
        case apdus.SetResults():
            return {"results": [_result(code) for code in apdu.codes]}
        case apdus.ActResult():
            return _acted(apdu.code, apdu.raw, apdu.error, view)
        case apdus.ActResults():
            return {"results": [_acted(*one, view) for one in apdu.results]}
    return {}


def _acted(code: int, raw: bytes | None, error: int | None, view: View) -> dict[str, Any]:
    told = _result(code)
    if error is not None:
        told["data_access_result"] = _result(error)["result"]
    return told if raw is None else told | _value(raw, view)


def _either(one: bytes | int, view: View) -> dict[str, Any]:
    return _result(one) if isinstance(one, int) else {"result": "success"} | _value(one, view)


def _unasked(apdu: apdus.Apdu, view: View) -> dict[str, Any]:
    match apdu:
        case apdus.ExceptionResponse():
            told: dict[str, Any] = {
                "state_error": apdus.STATE_ERRORS.get(apdu.state, str(apdu.state)),
                "service_error": apdus.SERVICE_ERRORS.get(apdu.service, str(apdu.service)),
            }
            return told if apdu.counter is None else told | {"expected_counter": apdu.counter}
        case apdus.ConfirmedServiceError():
            return {"service_error": apdu.error}
        case apdus.DataNotification():
            return {"date_time": None if apdu.time is None else _instant(apdu.time)} | _value(apdu.raw, view)
        case apdus.EventNotification():
            time = None if apdu.time is None else _instant(apdu.time)
            value = _value(apdu.raw, view, secret=is_secret(apdu.target))
            return {"time": time} | _target(apdu.target, "attribute") | value
        case apdus.GeneralBlock():
            return {
                "last_block": apdu.last, "streaming": apdu.streaming, "window": apdu.window, "block": apdu.number,
                "acknowledged": apdu.acked, "raw_data": apdu.raw.hex(),
            }  # fmt: skip
    return {}


def _short(apdu: apdus.Apdu, view: View) -> dict[str, Any]:
    match apdu:
        case messages.Read():
            return {"items": [prose.item(one) for one in apdu.items]}
        case messages.ReadResults():
            return {
                "results": [
                    _either(one, view) if isinstance(one, bytes | int) else {"block": prose.item(one)}
                    for one in apdu.items
                ]
            }
        case messages.Write() | messages.InformationReport():
            pairs = zip(apdu.items, apdu.values, strict=True)
            return {
                "items": [
                    {"item": prose.item(one)} | _value(raw, view, secret=is_secret_name(one))
                    for one, raw in pairs
                ]
            }
        case messages.WriteResults():
            return {
                "results": [
                    _result(one) if isinstance(one, int) else {"block": one.number} for one in apdu.items
                ]
            }
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
            told_ = {"from_entry": selector.first, "to_entry": selector.last}
            return told_ | {"from_column": selector.first_column, "to_column": selector.last_column}
    return {}


def _result(code: int) -> dict[str, Any]:
    return {"result_code": code, "result": apdus.RESULTS.get(code, "unknown")}


def _instant(raw: bytes) -> str:
    """UTC where it is fully specified, else as it stands."""
    try:
        return str(values.decode_clock(raw, _UTC).utc)
    except FrameError:
        return values.clock_text(raw) or raw.hex()


def _value(raw: bytes, view: View, *, secret: bool = False) -> dict[str, Any]:
    data = view.data(raw)
    kind = values.NAMES.get(data.tag, str(data.tag))
    if view.hides(secret):
        return {"type": kind, "value": MASK}
    told = {"type": kind, "value": _shown(data, [MAX_SHOWN])}
    if isinstance(data.value, bytes) and len(data.value) == 12:
        try:
            told["time"] = str(values.decode_clock(data.value, _UTC).utc)
        except FrameError:
            return told  # twelve bytes need not be a date
    return told


def _shown(data: Data, left: list[int]) -> Any:
    """The value without its types, at most `left[0]` of its elements."""
    value = data.value
    if not isinstance(value, tuple):
        if isinstance(value, bytes):
            return value.hex()
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)  # JSON has no such number
        return value
    out = []
    for number, item in enumerate(value):
        if left[0] <= 0:
            out.append(f"… {len(value) - number} more")
            break
        left[0] -= 1
        out.append(_shown(item, left))
    return out


# --- HDLC ---


def _hdlc(raw: bytes, reveal: bool) -> dict[str, Any]:
    frame = hdlc_frame.decode(raw)
    told: dict[str, Any] = {
        "frame": frame.kind,
        "source": str(frame.source),
        "destination": str(frame.destination),
        "control": f"{frame.control:02X}",
    }
    if frame.segmented:
        told["segmented"] = True
    inner: dict[str, Any] = {}
    text = ""
    if _holds_apdu(frame):
        _, inner = _inside(frame.payload, _apdu_start(frame), reveal)
        text = inner.pop("text")
    elif frame.kind in ("SNRM", "UA") and frame.information:
        parameters = _parameters(frame)
        inner = {
            "max_information_transmit": parameters.max_information_transmit,
            "max_information_receive": parameters.max_information_receive,
            "window_transmit": parameters.window_transmit,
            "window_receive": parameters.window_receive,
        }
    elif frame.information:
        inner = {"raw_data": frame.payload.hex()}
        text = f"segment of {len(frame.payload)} bytes" if frame.kind in ("I", "UI") else ""
    told |= {"text": prose.hdlc_sentence(frame, raw, text)} | inner
    direction = prose.hdlc_direction(frame)
    return told | ({"direction": direction} if direction else {})


def _parameters(frame: HdlcFrame) -> hdlc_frame.Parameters:
    try:
        return hdlc_frame.negotiated(frame.information)
    except FrameError as error:
        raise error.moved(frame.information_start) from None


def _holds_apdu(frame: HdlcFrame) -> bool:
    """A whole APDU: not a segment of one."""
    return bool(frame.llc) and not frame.segmented


def _apdu_start(frame: HdlcFrame) -> int:
    return frame.information_start + len(frame.llc)


# --- range by range ---


def parts(raw: bytes, *, reveal: bool = False) -> list[Part]:
    """The same frame byte by byte. Errors as `describe`."""
    if raw[:1] == _FLAG:
        return _hdlc_parts(raw, reveal)
    if raw[:2] == _WRAPPER:
        frame = frames.decode(raw)
        return [
            Part(0, 2, "version", "版本", "1"),
            Part(2, 4, "source wPort", "源端口", str(frame.source)),
            Part(4, 6, "destination wPort", "目的端口", str(frame.destination)),
            Part(6, 8, "length", "长度", str(len(frame.apdu))),
            *_shifted(frame.apdu, frames.HEADER, reveal),
        ]
    return _shifted(raw, 0, reveal)


def _shifted(raw: bytes, start: int, reveal: bool) -> list[Part]:
    try:
        _, found = apdus.decode_parts(raw, reveal=reveal)
    except FrameError as error:
        raise error.moved(start) from None
    if not start:
        return found
    return [
        Part(one.start + start, one.end + start, one.name, one.name_zh, one.meaning, one.level + 1)
        for one in found
    ]


def _hdlc_parts(raw: bytes, reveal: bool) -> list[Part]:
    frame = hdlc_frame.decode(raw)
    segment = "segmented, " if frame.segmented else ""
    out = [
        Part(0, 1, "flag", "标志"),
        Part(1, 3, "frame format and length", "帧格式与长度", f"type 3, {segment}{frame.length} bytes"),
        Part(3, frame.source_start, "destination address", "目的地址", str(frame.destination)),
        Part(frame.source_start, frame.control_start, "source address", "源地址", str(frame.source)),
        Part(frame.control_start, frame.control_start + 1, "control", "控制域", _control(frame)),
    ]
    if frame.hcs_start is not None:
        out.append(Part(frame.hcs_start, frame.information_start, "HCS", "帧头校验"))
        out += _information(frame, reveal)
    out.append(Part(frame.fcs_start, frame.fcs_start + 2, "FCS", "帧校验"))
    return [*out, Part(len(raw) - 1, len(raw), "flag", "标志")]


def _control(frame: HdlcFrame) -> str:
    words = [frame.kind]
    if frame.send_sequence is not None:
        words.append(f"N(S)={frame.send_sequence}")
    if frame.receive_sequence is not None:
        words.append(f"N(R)={frame.receive_sequence}")
    return " ".join([*words, "P/F"] if frame.final else words)


def _information(frame: HdlcFrame, reveal: bool) -> list[Part]:
    start, end = frame.information_start, frame.fcs_start
    out = []
    if frame.llc:
        meaning = "command" if frame.llc == hdlc_frame.LLC_COMMAND else "response"
        out.append(Part(start, start + len(frame.llc), "LLC header", "LLC 头", meaning, 1))
        start += len(frame.llc)
    if _holds_apdu(frame):
        return out + _shifted(frame.payload, start, reveal)
    if frame.kind in ("SNRM", "UA"):
        told = _parameters(frame)
        text = (
            f"max information {told.max_information_transmit}/{told.max_information_receive}, "
            f"window {told.window_transmit}/{told.window_receive}"
        )
        return [*out, Part(start, end, "link parameters", "链路参数", text, 1)]
    what = ("segment of an APDU", "APDU 分段") if frame.kind in ("I", "UI") else ("information", "信息域")
    return [*out, Part(start, end, *what, f"{end - start} bytes", 1)] if end > start else out
