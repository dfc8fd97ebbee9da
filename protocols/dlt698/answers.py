"""What a server puts into its answers: refusals, the terms of a connection, and long answers cut into data blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import values
from protocols.dlt698.apdu import Apdu, RecordResult, Result
from protocols.dlt698.values import Data
from protocols.dlt698.wire import Chosen
from protocols.errors import Misuse


def refused(apdu: Apdu, dar: int) -> dict[str, Any]:
    """The fields of an answer that refuses everything in a request."""
    fields = apdu.fields
    if apdu.code == apdus.SECURITY:
        return {"content": Chosen(2, dar), "verification": None}
    if apdu.code == apdus.PROXY:
        return _proxy_refused(apdu, dar)
    refuse = _REFUSE.get((apdu.code, apdu.choice or 0))
    if refuse is not None:
        return refuse(fields, dar)
    if apdu.code in (apdus.SET, apdus.ACTION):
        return {"results": tuple(_undone(item, dar) for item in fields["items"])}
    raise Misuse(f"{apdu.service} has no data access result; use error()")


def _proxy_refused(apdu: Apdu, dar: int) -> dict[str, Any]:
    fields = apdu.fields
    if apdu.choice == apdus.PROXY_TRANSPARENT:
        return {"port": fields["port"], "content": Chosen(0, dar)}
    if apdu.choice == 2:
        return {"tsa": fields["tsa"], "record": _no_record(fields["record"], dar)}
    replies = tuple(
        apdus.Reply(
            target.tsa,
            tuple(
                Result(item, dar) if isinstance(item, int) else _undone(item, dar) for item in target.items
            ),
        )
        for target in fields["targets"]
    )
    return {"replies": replies}


def _no_record(record: apdus.GetRecord, dar: int) -> RecordResult:
    return RecordResult(record.oad, record.columns, dar, None)


def _undone(item: apdus.SetItem | apdus.ActItem, dar: int) -> apdus.SetResult | apdus.ActResult:
    read = Result(item.read, dar) if item.read else None
    if isinstance(item, apdus.SetItem):
        return apdus.SetResult(item.oad, dar, read)
    return apdus.ActResult(item.omd, dar, None, read)


_REFUSE: Final[dict[tuple[int, int], Callable[[Mapping[str, Any], int], dict[str, Any]]]] = {
    (apdus.GET, 1): lambda fields, dar: {"result": Result(fields["oad"], dar)},
    (apdus.GET, 2): lambda fields, dar: {"results": tuple(Result(oad, dar) for oad in fields["oads"])},
    (apdus.GET, 3): lambda fields, dar: {"record": _no_record(fields["record"], dar)},
    (apdus.GET, 4): lambda fields, dar: {
        "records": tuple(_no_record(part, dar) for part in fields["records"])
    },
    (apdus.SET, 1): lambda fields, dar: {"result": _undone(fields["item"], dar)},
    (apdus.ACTION, 1): lambda fields, dar: {"result": _undone(fields["item"], dar)},
}


def connect_fields(request: Apdu, result: int = 0, **identity: bytes) -> dict[str, Any]:
    """The fields of a CONNECT-Response that grants what was asked for. `identity`: vendor, software, ... as in apdu.TABLE."""
    sizes = {
        "vendor": 4, "software": 4, "software_date": 6, "hardware": 4, "hardware_date": 6, "extension": 8,
    }  # fmt: skip
    granted = {name: value for name, value in request.fields.items() if name != "auth"}
    named = {name: identity.get(name, b"").ljust(size) for name, size in sizes.items()}
    return {**named, **granted, "result": result, "security": None}


# --- data blocks ---


def blocks(apdu: Apdu, limit: int) -> list[Apdu]:
    """A GET answer in blocks of about `limit` bytes: cut between results, between rows, between elements of an array."""
    parts = [
        part
        for field_value in apdu.fields.values()
        for part in (field_value if isinstance(field_value, tuple) else (field_value,))
    ]
    pieces = [piece for part in parts for piece in _pieces(part, limit)]
    kind = 2 if isinstance(parts[0], RecordResult) else 1
    groups: list[list[Any]] = []
    size = 0
    for piece in pieces:
        length = _length(piece)
        if not groups or size + length > limit:
            groups.append([])
            size = 0
        groups[-1].append(piece)
        size += length
    return [
        Apdu(
            apdu.code,
            apdus.NEXT,
            apdu.piid,
            {
                "last_block": int(number == len(groups) - 1),
                "block": number,
                "content": Chosen(kind, tuple(group)),
            },
            apdu.follow if number == len(groups) - 1 else None,
        )
        # from 0 on: one client of the field (PyPI's dlt698) takes no other first number
        for number, group in enumerate(groups)
    ]


def _pieces(part: Any, limit: int) -> list[Any]:
    if isinstance(part, RecordResult) and part.packed is not None:
        count, step = len(part.packed), max(limit // part.packed.size, 1)
        return [replace(part, packed=part.packed.part(at, at + step)) for at in range(0, count, step)]
    if isinstance(part, RecordResult) and part.rows:
        return [replace(part, rows=rows) for rows in _runs(part.rows, limit, _row_length)]
    if (
        isinstance(part, Result)
        and part.data is not None
        and part.data.tag == values.ARRAY
        and part.data.value
    ):
        runs = _runs(part.data.value, limit, lambda data: len(values.encode(data)))
        return [replace(part, data=Data(values.ARRAY, run)) for run in runs]
    return [part]


def _runs(elements: tuple[Any, ...], limit: int, length: Any) -> list[tuple[Any, ...]]:
    """Elements in groups of at most `limit` bytes; one that is longer is alone."""
    runs: list[list[Any]] = []
    size = 0
    for element in elements:
        more = length(element)
        if not runs or size + more > limit:
            runs.append([])
            size = 0
        runs[-1].append(element)
        size += more
    return [tuple(run) for run in runs]


def _row_length(row: tuple[Data, ...]) -> int:
    return sum(len(values.encode(cell)) for cell in row)


def _length(part: Result | RecordResult) -> int:
    name = "record" if isinstance(part, RecordResult) else "result"
    choice = apdus.RECORD if isinstance(part, RecordResult) else apdus.NORMAL
    return len(apdus.encode(Apdu(apdus.GET | apdus.SERVER, choice, 0, {name: part})))
