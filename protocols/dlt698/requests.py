"""What a client may ask, as APDUs, and what the answers mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import items, values
from protocols.dlt698.apdu import (
    ActItem,
    Apdu,
    GetRecord,
    RecordResult,
    Result,
    SetItem,
    Target,
    TimeTag,
)
from protocols.dlt698.values import Comdcb, Csd, Data, Rsd
from protocols.dlt698.wire import Chosen
from protocols.errors import FrameError, Misuse, Refused

#: What we offer in a CONNECT: everything; the server answers with what it grants.
ALL_PROTOCOL: Final = b"\xff" * 8
ALL_FUNCTIONS: Final = b"\xff" * 16
PROTOCOL_VERSION: Final = 0x0016


@dataclass(frozen=True, slots=True)
class Connect:
    """CONNECT, open or with a password. `auth` takes cipher text and signature made elsewhere. Answer: the response's Apdu."""

    password: bytes | None = field(default=None, repr=False)  # never reaches a log
    auth: Chosen | None = field(default=None, repr=False)
    tx_frame: int = 1024
    rx_frame: int = 1024
    window: int = 1
    max_apdu: int = 1024
    timeout_s: int = 7200
    time_tag: TimeTag | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """RELEASE. Answer: None."""

    time_tag: TimeTag | None = None


@dataclass(frozen=True, slots=True)
class Get:
    """Read one attribute. Answer: its Data."""

    oad: int
    time_tag: TimeTag | None = None


@dataclass(frozen=True, slots=True)
class GetList:
    """Read several attributes. Answer: tuple of Result, each with its own outcome."""

    oads: tuple[int, ...]
    time_tag: TimeTag | None = None


@dataclass(frozen=True, slots=True)
class GetRecords:
    """Read records. Answer: RecordResult, or with `raw` the tuple of APDUs that carry it, for bulk.decode_many."""

    oad: int
    rsd: Rsd
    columns: tuple[Csd, ...] = ()
    raw: bool = False
    time_tag: TimeTag | None = None


@dataclass(frozen=True, slots=True)
class GetRecordList:
    """Read records of several attributes. Answer: tuple of RecordResult, each with its own outcome."""

    records: tuple[GetRecord, ...]
    time_tag: TimeTag | None = None


@dataclass(frozen=True, slots=True)
class Set:
    """Write one attribute. Answer: None."""

    oad: int
    data: Data
    time_tag: TimeTag | None = None


@dataclass(frozen=True, slots=True)
class SetList:
    """Write several attributes. Answer: tuple of SetResult, each with its own outcome."""

    items: tuple[SetItem, ...]
    time_tag: TimeTag | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """Call one method. Answer: the returned Data, or None."""

    omd: int
    data: Data
    time_tag: TimeTag | None = None


@dataclass(frozen=True, slots=True)
class ActList:
    """Call several methods. Answer: tuple of ActResult, each with its own outcome."""

    items: tuple[ActItem, ...]
    time_tag: TimeTag | None = None


@dataclass(frozen=True, slots=True)
class ProxyGet:
    """Let a terminal read attributes of servers behind it; items of a Target are OADs. Answer: tuple of Reply."""

    timeout_s: int
    targets: tuple[Target, ...]
    time_tag: TimeTag | None = None


@dataclass(frozen=True, slots=True)
class ProxyRecords:
    """Let a terminal read records of one server behind it. Answer: as of GetRecords."""

    timeout_s: int
    tsa: bytes
    record: GetRecord
    raw: bool = False
    time_tag: TimeTag | None = None


@dataclass(frozen=True, slots=True)
class ProxyFrame:
    """Let a terminal send a frame of any protocol through a port. Answer: the bytes that came back."""

    port: int
    line: Comdcb
    timeout_s: int
    byte_timeout_ms: int
    frame: bytes = field(repr=False)  # may carry a meter's password
    time_tag: TimeTag | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """Any other service by the table of apdu.py. Answer: the Apdu."""

    code: int
    choice: int | None
    fields: dict[str, Any] = field(repr=False)
    time_tag: TimeTag | None = None


PlainRequest = (
    Connect
    | Release
    | Get
    | GetList
    | GetRecords
    | GetRecordList
    | Set
    | SetList
    | Act
    | ActList
    | ProxyGet
    | ProxyRecords
    | ProxyFrame
    | Call
)


@dataclass(frozen=True, slots=True)
class Secure:
    """A request in clear inside SECURITY, with what proves it: Chosen(0, SidMac), (1, random number), (2, RnMac), (3, Sid).

    MAC and SID come from the utility's cipher machine. Answer: SecureAnswer.
    """

    request: PlainRequest
    verification: Chosen = field(repr=False)


@dataclass(frozen=True, slots=True)
class SecureAnswer:
    """The answer to the request inside, and the MAC over the APDU `clear`, for the cipher machine to check."""

    value: Any
    clear: bytes
    mac: bytes | None


Request = PlainRequest | Secure


def service_of(request: PlainRequest) -> tuple[int, int | None]:
    """Code and choice of a request."""
    return (request.code, request.choice) if isinstance(request, Call) else _SERVICES[type(request)]


def encode(request: PlainRequest, piid: int) -> Apdu:
    """The APDU of a request. Misuse: it cannot be asked."""
    code, choice = service_of(request)
    if isinstance(request, Call):
        fields = request.fields
    else:
        build = _FIELDS.get(type(request))
        if build is None:
            raise Misuse(f"{type(request).__name__} is no DL/T 698.45 request")
        fields = build(request)
    return Apdu(code, choice, piid, fields, None, request.time_tag)


def _connect_fields(request: Connect) -> dict[str, Any]:
    auth = request.auth
    if auth is None:
        auth = Chosen(0) if request.password is None else Chosen(1, request.password)
    return {
        "protocol_version": PROTOCOL_VERSION,
        "protocol_conformance": ALL_PROTOCOL,
        "function_conformance": ALL_FUNCTIONS,
        "tx_frame": request.tx_frame,
        "rx_frame": request.rx_frame,
        "window": request.window,
        "max_apdu": request.max_apdu,
        "timeout_s": request.timeout_s,
        "auth": auth,
    }


def _frame_fields(request: ProxyFrame) -> dict[str, Any]:
    return {
        "port": request.port,
        "comdcb": request.line,
        "timeout_s": request.timeout_s,
        "byte_timeout_ms": request.byte_timeout_ms,
        "frame": request.frame,
    }


_SERVICES: Final[dict[type, tuple[int, int | None]]] = {
    Connect: (apdus.CONNECT, None), Release: (apdus.RELEASE, None), Get: (apdus.GET, 1), GetList: (apdus.GET, 2),
    GetRecords: (apdus.GET, 3), GetRecordList: (apdus.GET, 4), Set: (apdus.SET, 1), SetList: (apdus.SET, 2),
    Act: (apdus.ACTION, 1), ActList: (apdus.ACTION, 2), ProxyGet: (apdus.PROXY, 1), ProxyRecords: (apdus.PROXY, 2),
    ProxyFrame: (apdus.PROXY, 7),
}  # fmt: skip
_FIELDS: Final[dict[type, Callable[[Any], dict[str, Any]]]] = {
    Connect: _connect_fields,
    Release: lambda r: {},
    Get: lambda r: {"oad": r.oad},
    GetList: lambda r: {"oads": r.oads},
    GetRecords: lambda r: {"record": GetRecord(r.oad, r.rsd, r.columns)},
    GetRecordList: lambda r: {"records": r.records},
    Set: lambda r: {"item": SetItem(r.oad, r.data)},
    SetList: lambda r: {"items": r.items},
    Act: lambda r: {"item": ActItem(r.omd, r.data)},
    ActList: lambda r: {"items": r.items},
    ProxyGet: lambda r: {"timeout_s": r.timeout_s, "targets": r.targets},
    ProxyRecords: lambda r: {"timeout_s": r.timeout_s, "tsa": r.tsa, "record": r.record},
    ProxyFrame: _frame_fields,
}


# --- answers ---


def refusal(what: str, dar: int, *, part: bool = False) -> Refused:
    """The Refused that a data access result stands for; `part`: something was delivered before, so nothing is proven absent."""
    name = items.dars().get(dar, "unknown result")
    return Refused(f"{what}: {name} ({dar})", code=dar, absent=dar in items.ABSENT and not part)


def foreign(request: PlainRequest, apdu: Apdu) -> str:
    """Why an answer with the right number and service is still not the one to this request; '' if it is."""
    fields = apdu.fields
    match request:
        case Get(oad) if "result" in fields:
            got, asked = fields["result"].oad, oad
        case Set(oad) if "result" in fields:
            got, asked = fields["result"].oad, oad
        case Act(omd) if "result" in fields:
            got, asked = fields["result"].omd, omd
        case GetRecords(oad) if "record" in fields:
            got, asked = fields["record"].oad, oad
        case ProxyRecords() if "record" in fields:
            got, asked = fields["record"].oad, request.record.oad
        case _:
            return ""
    return "" if got == asked else f"answer about {got:08X}, asked {asked:08X}"


def value(request: PlainRequest, apdu: Apdu) -> Any:
    """What an answer in one piece means for its request. Refused: the server said no."""
    return _VALUES[type(request)](request, apdu)


def _connected(_: Connect, apdu: Apdu) -> Apdu:
    result = apdu.fields["result"]
    if result:
        raise Refused(f"connect: {apdus.CONNECT_RESULTS.get(result, 'unknown result')}", code=result)
    return apdu


def _acted(request: Act, apdu: Apdu) -> Data | None:
    result: apdus.ActResult = apdu.fields["result"]
    _written(result, f"action {request.omd:08X}")
    return result.data


def _forwarded(request: ProxyFrame, apdu: Apdu) -> bytes:
    content: Chosen = apdu.fields["content"]
    if content.choice == 0:
        raise refusal(f"forward through {request.port:08X}", content.value)
    back: bytes = content.value
    return back


_VALUES: Final[dict[type, Callable[[Any, Apdu], Any]]] = {
    Connect: _connected,
    Release: lambda request, apdu: None,
    Get: lambda request, apdu: _data(request.oad, [apdu.fields["result"]]),
    GetList: lambda request, apdu: apdu.fields["results"],
    GetRecords: lambda request, apdu: _record(apdu.fields["record"]),
    GetRecordList: lambda request, apdu: apdu.fields["records"],
    Set: lambda request, apdu: _written(apdu.fields["result"], f"set {request.oad:08X}"),
    SetList: lambda request, apdu: apdu.fields["results"],
    Act: _acted,
    ActList: lambda request, apdu: apdu.fields["results"],
    ProxyGet: lambda request, apdu: apdu.fields["replies"],
    ProxyRecords: lambda request, apdu: _record(apdu.fields["record"]),
    ProxyFrame: _forwarded,
    Call: lambda request, apdu: apdu,
}


def joined(request: PlainRequest, parts: list[Any]) -> Any:
    """What the results of all data blocks together mean. A value that was cut between blocks is put together."""
    merged: list[Any] = []
    for part in parts:
        last = merged[-1] if merged else None
        if last is not None and last.oad == part.oad and _continues(last, part):
            merged[-1] = _merge(last, part)
        else:
            merged.append(part)
    match request:
        case Get():
            return _data(request.oad, [part for part in merged if isinstance(part, Result)])
        case GetRecords() | ProxyRecords():
            if len(merged) != 1 or not isinstance(merged[0], RecordResult):
                raise FrameError(f"get: {len(merged)} results in blocks where one record must be", 0)
            return _record(merged[0])
    return tuple(merged)


def _continues(last: Any, part: Any) -> bool:
    if isinstance(last, RecordResult) and isinstance(part, RecordResult):
        return last.columns == part.columns and last.flat == part.flat and None not in (last.rows, part.rows)
    arrays = isinstance(last, Result) and isinstance(part, Result) and last.data and part.data
    return bool(arrays and last.data.tag == part.data.tag == values.ARRAY)


def _merge(last: Any, part: Any) -> Any:
    if isinstance(last, RecordResult):
        rows = (last.rows or ()) + (part.rows or ())
        return RecordResult(last.oad, last.columns, 0, rows, last.flat)
    return Result(last.oad, 0, Data(values.ARRAY, last.data.value + part.data.value))


def _data(oad: int, results: list[Result]) -> Data:
    mine = [result for result in results if result.oad == oad]
    if len(mine) != 1:
        raise FrameError(f"get: {len(mine)} results for {oad:08X} where one must be", 0)
    if mine[0].data is None:
        raise refusal(f"get {oad:08X}", mine[0].dar)
    return mine[0].data


def _record(record: RecordResult) -> RecordResult:
    if record.rows is None:
        raise refusal(f"get record {record.oad:08X}", record.dar)
    return record


def _written(result: Any, what: str) -> None:
    if result.dar:
        raise refusal(what, result.dar)
