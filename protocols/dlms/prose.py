"""An APDU or frame in one line, as the published lists of frames word it."""

from __future__ import annotations

from typing import Any, Final

from protocols.dlms import apdu as apdus
from protocols.dlms import association as acse
from protocols.dlms import ciphering, hdlc_frame, messages, model, values
from protocols.dlms.confidential import is_secret, is_secret_name
from protocols.dlms.selector import Selector, text
from protocols.dlms.view import View

#: The service names of IEC 62056-5-3.
NAMES: Final[dict[type[Any], str]] = {
    apdus.Aarq: "AARQ", apdus.Aare: "AARE", apdus.Rlrq: "RLRQ", apdus.Rlre: "RLRE",
    apdus.GetNormal: "get-request-normal", apdus.GetNext: "get-request-next", apdus.GetList: "get-request-with-list",
    apdus.GetData: "get-response-normal", apdus.GetError: "get-response-normal",
    apdus.GetBlock: "get-response-with-datablock", apdus.GetResults: "get-response-with-list",
    apdus.SetNormal: "set-request-normal", apdus.SetFirst: "set-request-with-first-datablock",
    apdus.SetNext: "set-request-with-datablock", apdus.SetList: "set-request-with-list",
    apdus.SetListFirst: "set-request-with-list-and-first-datablock",
    apdus.SetResult: "set-response-normal", apdus.SetAck: "set-response-datablock",
    apdus.SetLast: "set-response-last-datablock", apdus.SetResults: "set-response-with-list",
    apdus.ActNormal: "action-request-normal", apdus.ActNext: "action-request-next-pblock",
    apdus.ActList: "action-request-with-list", apdus.ActFirst: "action-request-with-first-pblock",
    apdus.ActListFirst: "action-request-with-list-and-first-pblock", apdus.ActBlock: "action-request-with-pblock",
    apdus.ActResult: "action-response-normal", apdus.ActResults: "action-response-with-list",
    apdus.ExceptionResponse: "exception-response", apdus.ConfirmedServiceError: "confirmed-service-error",
    apdus.DataNotification: "data-notification", apdus.EventNotification: "event-notification-request",
    apdus.GeneralBlock: "general-block-transfer", messages.Read: "read-request",
    messages.ReadResults: "read-response", messages.Write: "write-request",
    messages.WriteResults: "write-response", messages.InformationReport: "information-report-request",
}  # fmt: skip
_UNASKED: Final = (apdus.DataNotification, apdus.EventNotification, messages.InformationReport)
TO_METER, TO_CLIENT = "client->meter", "meter->client"


def name_of(apdu: apdus.Apdu) -> str:
    """The service with its type: "get-request-normal"."""
    if isinstance(apdu, apdus.Ciphered):
        return apdu.outline.name
    name = NAMES[type(apdu)]
    if isinstance(apdu, apdus.GetError) and apdu.block is not None:
        return NAMES[apdus.GetBlock]
    if isinstance(apdu, apdus.SetLast) and apdu.many:
        return f"{name}-with-list"
    if isinstance(apdu, apdus.ActNext | apdus.ActBlock) and apdu.response:
        return (
            "action-response-with-pblock"
            if isinstance(apdu, apdus.ActBlock)
            else "action-response-next-pblock"
        )
    if isinstance(apdu, messages.Write) and not apdu.confirmed:
        return "unconfirmed-write-request"
    return name


def direction(apdu: apdus.Apdu) -> str | None:
    """Who speaks, where the APDU tells."""
    name = name_of(apdu)
    if isinstance(apdu, _UNASKED) or name.removeprefix("glo-").removeprefix("ded-").startswith(
        ("event-notification", "information-report")
    ):
        return TO_CLIENT
    if name in ("AARQ", "RLRQ") or "request" in name:
        return TO_METER
    if name in ("AARE", "RLRE", "confirmed-service-error") or "response" in name:
        return TO_CLIENT
    return None


def sentence(apdu: apdus.Apdu, raw: bytes, view: View) -> str:
    """The line."""
    return (
        _association(apdu, raw, view) or _request(apdu, view) or _response(apdu, view) or _unasked(apdu, view)
        or _short(apdu, view) or _titled(name_of(apdu))
    )  # fmt: skip


def _titled(name: str) -> str:
    """get-request-normal -> GET-Request-Normal."""
    first, *rest = name.split("-")
    if first not in ("get", "set", "action"):
        return name
    return "-".join([first.upper(), *(word.capitalize() for word in rest)])


def _association(apdu: apdus.Apdu, raw: bytes, view: View) -> str:
    match apdu:
        case apdus.Aarq():
            words = ["AARQ"]
            if apdu.mechanism:
                words[0] += f" {acse.MECHANISMS.get(apdu.mechanism, apdu.mechanism)}"
            if apdu.password is not None:
                called = "password" if apdu.mechanism == acse.LLS else "CtoS"
                words.append(f"{called} {view.password(apdu.password)}")
            if apdu.ciphered is not None:
                words.append("ciphered InitiateRequest")
            return ", ".join(words)
        case apdus.Aare():
            return _aare(apdu, view)
        case apdus.Rlrq() | apdus.Rlre():
            return _release(apdu)
        case apdus.ConfirmedServiceError():
            return _service_error(raw, apdu.error)
        case apdus.Ciphered():
            return f"{apdu.outline.name} (tag {apdu.outline.tag})"
    return ""


def _service_error(raw: bytes, error: str) -> str:
    kind, _, name = error.partition(": ")
    return f"ConfirmedServiceError {raw.hex(' ').upper()} ({kind.removesuffix('Error').lower()}: {name})"


def _aare(apdu: apdus.Aare, view: View) -> str:
    if apdu.error is not None and apdu.service_error is not None:
        return f"AARE rejected, {_service_error(apdu.error, apdu.service_error)}"
    words = [f"AARE {acse.RESULTS[apdu.result].replace('-', ' ')}"]
    if apdu.diagnostic:
        name = apdus.DIAGNOSTICS.get((apdu.source, apdu.diagnostic), "unknown")
        words.append(f"diagnostic {apdu.diagnostic} {name}")
    if apdu.mechanism:
        words.append(acse.MECHANISMS.get(apdu.mechanism, str(apdu.mechanism)))
    if apdu.challenge is not None:
        words.append(f"StoC {view.password(apdu.challenge)}")
    line = ", ".join(words)
    if apdu.ciphered is not None:
        return f"{line}; ciphered InitiateResponse"
    if apdu.initiate is None or len(words) > 1:
        return line
    told = apdu.initiate
    conformance = acse.encode_conformance(told.conformance).hex().upper()
    return (
        f"{line}; InitiateResponse DLMS {told.version}, conformance {conformance}, "
        f"server max PDU {told.max_pdu}, VAA {told.vaa:04X}"
    )


def _release(apdu: apdus.Rlrq | apdus.Rlre) -> str:
    request = isinstance(apdu, apdus.Rlrq)
    reasons = acse.REQUEST_REASONS if request else acse.RESPONSE_REASONS
    line = "RLRQ" if request else "RLRE"
    if apdu.reason is not None:
        line += f" {reasons[apdu.reason]}"
    if not apdu.content:
        return line
    tag = apdu.content[0]
    if tag in (1, 8):
        quality = acse.decode_initiate(apdu.content).quality is not None
        return f"{line} with Initiate{'Request' if tag == 1 else 'Response'}{' (QoS present)' if quality else ''}"
    if tag == 33:
        return f"{line} with ciphered InitiateRequest"
    if tag == 40:
        return f"{line} with ciphered InitiateResponse (glo-initiateResponse, tag 40)"
    return f"{line} with {ciphering.outline(apdu.content).name if ciphering.is_ciphered(apdu.content) else 'an error'}"


def _object(target: apdus.Target, what: str = "attribute") -> str:
    item = model.item_of(target.class_id, target.obis, target.index if what == "attribute" else 1)
    called = f" ({item.name_en})" if item is not None else ""
    return f"class {target.class_id}, {target.obis}{called}, {what} {target.index}"


def _brief(target: apdus.Target, what: str = "attr") -> str:
    return f"class {target.class_id} {target.obis} {what} {target.index}"


def _selected(selector: Selector | None) -> str:
    return "" if selector is None else f", {text(selector)}"


def _block(block: apdus.Block) -> str:
    return f"{'last block, ' if block.last else ''}block {block.number}, {len(block.raw)} bytes"


def _request(apdu: apdus.Apdu, view: View) -> str:  # noqa: PLR0911 - one kind, one return
    name = _titled(name_of(apdu))
    match apdu:
        case apdus.GetNormal():
            return f"{name} {_object(apdu.target)}{_selected(apdu.selector)}"
        case apdus.GetList() | apdus.SetList() | apdus.SetListFirst():
            return (
                f"{name}: {'; '.join(_brief(target) + _selected(chosen) for target, chosen in apdu.targets)}"
            )
        case apdus.GetNext() | apdus.ActNext() | apdus.SetAck():
            return f"{name}, block {apdu.block}"
        case apdus.SetNormal():
            item = model.item_of(apdu.target.class_id, apdu.target.obis, apdu.target.index)
            called = f"{item.name_en} attr {apdu.target.index}" if item is not None else _brief(apdu.target)
            return f"{name} {called} = {view.value(apdu.raw, secret=is_secret(apdu.target))}"
        case apdus.SetFirst():
            return f"{name} {_object(apdu.target)}, {_block(apdu.block)}"
        case apdus.SetNext() | apdus.ActBlock():
            return f"{name}, {_block(apdu.block)}"
        case apdus.ActNormal():
            hidden = is_secret(apdu.target, "method")
            given = "" if apdu.raw is None else f", {view.typed(apdu.raw, secret=hidden)}"
            return f"{name} {_object(apdu.target, 'method')}{given}"
        case apdus.ActList() | apdus.ActListFirst():
            return f"{name}: {'; '.join(_brief(target, 'method') for target in apdu.targets)}"
        case apdus.ActFirst():
            return f"{name} {_object(apdu.target, 'method')}, {_block(apdu.block)}"
    return ""


def code(number: int) -> str:
    """A data-access-result or action-result."""
    return f"{number} {apdus.RESULTS.get(number, 'unknown')}"


def _result(result: bytes | int, view: View) -> str:
    return f"data-access-result {code(result)}" if isinstance(result, int) else view.typed(result)


def _response(apdu: apdus.Apdu, view: View) -> str:  # noqa: PLR0911 - one kind, one return
    name = _titled(name_of(apdu))
    match apdu:
        case apdus.GetData():
            return f"{name}, {view.typed(apdu.raw)}"
        case apdus.GetError():
            place = "" if apdu.block is None else f"{'last block, ' if apdu.last else ''}block {apdu.block}, "
            return f"{name}, {place}data-access-result {code(apdu.code)}"
        case apdus.GetBlock():
            return f"{name}, {_block(apdus.Block(apdu.last, apdu.block, apdu.raw))}"
        case apdus.GetResults():
            return f"{name}: {'; '.join(_result(one, view) for one in apdu.results)}"
        case apdus.SetResult():
            return f"{name}, {code(apdu.code)}"
        case apdus.SetResults() | apdus.SetLast():
            place = f", block {apdu.block}" if isinstance(apdu, apdus.SetLast) else ""
            return f"{name}{place}: {'; '.join(map(code, apdu.codes))}"
        case apdus.ActResult():
            return f"{name}, {_acted(apdu.code, apdu.raw, apdu.error, view)}"
        case apdus.ActResults():
            return f"{name}: {'; '.join(_acted(*one, view) for one in apdu.results)}"
    return ""


def _acted(number: int, raw: bytes | None, error: int | None, view: View) -> str:
    line = code(number)
    if raw is not None:
        return f"{line}, {view.typed(raw)}"
    return line if error is None else f"{line}, data-access-result {code(error)}"


def _unasked(apdu: apdus.Apdu, view: View) -> str:
    match apdu:
        case apdus.DataNotification():
            time = "no date-time" if apdu.time is None else values.clock_text(apdu.time) or apdu.time.hex()
            return f"DataNotification, long-invoke-id {apdu.invoke}, {time}, body {view.sized(apdu.raw)}"
        case apdus.EventNotification():
            return f"EventNotification {_object(apdu.target)}, {view.typed(apdu.raw, secret=is_secret(apdu.target))}"
        case apdus.ExceptionResponse():
            state, service = apdus.STATE_ERRORS.get(apdu.state), apdus.SERVICE_ERRORS.get(apdu.service)
            return f"exception-response, {state or apdu.state}, {service or apdu.service}"
        case apdus.GeneralBlock():
            kind = "".join(
                word for flag, word in ((apdu.last, "last, "), (apdu.streaming, "streaming, ")) if flag
            )
            return (
                f"general-block-transfer, {kind}window {apdu.window}, block {apdu.number}, "
                f"acknowledged {apdu.acked}, {len(apdu.raw)} bytes"
            )
    return ""


def item(one: messages.Name | messages.BlockNumber | apdus.Block) -> str:
    """What is read or written, with short names."""
    match one:
        case messages.Name():
            return f"{one.base:04X}" + ("" if one.selector is None else f" selector {one.selector}")
        case messages.BlockNumber():
            return f"block {one.number}"
    return _block(one)


def _short(apdu: apdus.Apdu, view: View) -> str:
    match apdu:
        case messages.Read():
            return f"ReadRequest: {'; '.join(map(item, apdu.items))}"
        case messages.ReadResults():
            return f"ReadResponse: {'; '.join(_result(one, view) if isinstance(one, bytes | int) else item(one) for one in apdu.items)}"
        case messages.Write():
            pairs = zip(apdu.items, apdu.values, strict=True)
            called = "WriteRequest" if apdu.confirmed else "UnconfirmedWriteRequest"
            return f"{called}: {'; '.join(f'{item(one)} = {view.value(raw, secret=is_secret_name(one))}' for one, raw in pairs)}"
        case messages.WriteResults():
            return f"WriteResponse: {'; '.join(code(one) if isinstance(one, int) else item(one) for one in apdu.items)}"
        case messages.InformationReport():
            pairs_ = zip(apdu.items, apdu.values, strict=True)
            return f"InformationReportRequest: {'; '.join(f'{item(one)} = {view.value(raw, secret=is_secret_name(one))}' for one, raw in pairs_)}"
    return ""


# --- HDLC ---


def hdlc_sentence(frame: hdlc_frame.HdlcFrame, raw: bytes, inner: str) -> str:
    """One HDLC frame; `inner`: its APDU in words."""
    kind = frame.kind
    if kind in ("I", "UI"):
        if frame.llc == hdlc_frame.LLC_RESPONSE:
            head = f"HDLC {kind}-frame response"
        else:
            numbers = f" N(S)={frame.send_sequence} N(R)={frame.receive_sequence}" if kind == "I" else ""
            head = f"HDLC {kind}-frame{numbers}{' P' if frame.final else ''}"
        words = [head] + ([f"LLC {frame.llc.hex().upper()}"] if frame.llc else [])
        return ", ".join(words + ([inner] if inner else []))
    if kind in ("SNRM", "UA") and frame.information:
        told = hdlc_frame.negotiated(frame.information)
        sizes = told.max_information_transmit, told.max_information_receive
        if frame.source.size == 4:
            address = raw[frame.source_start : frame.control_start].hex(" ").upper()
            return f"HDLC {kind} from a 4-byte server address ({address}), max info {sizes[0]}/{sizes[1]}"
        both = str(sizes[0]) if sizes[0] == sizes[1] else f"{sizes[0]}/{sizes[1]}"
        return f"HDLC {kind}: max info tx/rx {both}, window {told.window_transmit}/{told.window_receive}"
    sequence = f" N(R)={frame.receive_sequence}" if frame.receive_sequence is not None else ""
    to = raw[frame.destination_start : frame.source_start].hex(" ").upper()
    down = hdlc_direction(frame) != TO_CLIENT
    destination, source = _whom(frame.destination, server=down), _whom(frame.source, server=not down)
    return f"HDLC {kind}{sequence}, destination {to} ({destination}), source {source}"


def _whom(address: hdlc_frame.Address, *, server: bool) -> str:
    if address.lower is None:
        return f"{'server' if server else 'client'} {address.upper}"
    return f"server logical {address.upper}, physical {address.lower}"


def hdlc_direction(frame: hdlc_frame.HdlcFrame) -> str | None:
    """Who speaks: the LLC bytes, the kind, or the longer address, which is the server's."""
    if frame.llc:
        return TO_METER if frame.llc == hdlc_frame.LLC_COMMAND else TO_CLIENT
    if frame.kind in ("SNRM", "DISC"):
        return TO_METER
    if frame.kind in ("UA", "DM", "FRMR"):
        return TO_CLIENT
    if frame.destination.size != frame.source.size:
        return TO_METER if frame.destination.size > frame.source.size else TO_CLIENT
    return ports_direction(frame.source.upper, frame.destination.upper)


#: Server addresses 2 to 15 are reserved (Green Book, reserved wrapper port numbers and HDLC addresses): who has one is a client.
_RESERVED_FOR_CLIENTS: Final = range(2, 16)


def ports_direction(source: int, destination: int) -> str | None:
    """Who speaks, where the addresses alone tell."""
    if (source in _RESERVED_FOR_CLIENTS) == (destination in _RESERVED_FOR_CLIENTS):
        return None
    return TO_METER if source in _RESERVED_FOR_CLIENTS else TO_CLIENT
