"""A DL/T 698.45 terminal (采集终端): what it has collected from its meters by task, and the way through to them.

It has read every meter that answers as soon as there is something to read. What utilities let their schemes do differs, and so do
neighbouring areas here: odd ones store day freezes under 23:59 of the day they close and send the columns of a ROAD side by side.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import bulk, clock, values
from protocols.dlt698.answers import connect_fields
from protocols.dlt698.apdu import (
    ActResult,
    Apdu,
    GetRecord,
    PackedRows,
    RecordResult,
    Reply,
    Result,
    SetResult,
)
from protocols.dlt698.exchange import Acknowledged, Asked, Device
from protocols.dlt698.frame import Address, tsa
from protocols.dlt698.values import Data, Rcsd, Road, Rsd
from protocols.dlt698.wire import Chosen
from protocols.errors import FrameError
from protocols.exchange import NEED_DATA, Send
from protocols.localtime import from_local, local_fields
from terminals.simulator import wallet698
from terminals.simulator.held698 import Held698
from terminals.simulator.layout import Ints
from terminals.simulator.meter import Meter
from terminals.simulator.physics import NOT_SHOWN, SHOWN
from terminals.simulator.scenario import ZONE
from terminals.simulator.tables698 import Tables
from terminals.simulator.told698 import No, Told698

TASK_RECORDS: Final = 0x60120300
CLOCK: Final = 0x40000200
ADDRESS: Final = 0x40010200
MINUTE: Final = 0x50020200
DAY: Final = 0x50040200
MONTH: Final = 0x50060200
FREEZES: Final = (MINUTE, DAY, MONTH)
#: Attribute 2 of its archive, tasks and schemes.
TABLES: Final = (0x60000200, 0x60120200, 0x60140200)
SERVER: Final = 0x202A0200
FROZEN: Final = 0x20210200
#: Number, beginning, end and source of an event record.
EVENT_COLUMNS: Final = (0x20220200, 0x201E0200, 0x20200200, 0x20240200)
#: Start, success and storage time of a record: this terminal is quick, and prints the same for all three.
TIMES: Final = (0x60400200, 0x60410200, 0x60420200)

#: Data access results of DL/T 698.45-2017.
DENIED: Final = 3
UNDEFINED: Final = 4
MISMATCH: Final = 7
OUT_OF_RANGE: Final = 8
TIMEOUT: Final = 33
#: LINK-Request types.
_LOGIN, _HEARTBEAT = 0, 1
#: CONNECT results.
WRONG_PASSWORD: Final = 1
#: Reports that wait for a connection; of a terminal that nobody calls the oldest are lost.
REPORTS: Final = 16

#: Bytes of records in a data block: with its columns it stays below the 1024 bytes of an APDU that clients take unasked.
PIECE: Final = 900

#: Seconds of the units of TI; months and years are of no fixed length, and nobody asks by them.
_UNITS: Final = {0: 1, 1: 60, 2: 3_600, 3: 86_400}
_SLOT: Final = np.timedelta64(15, "m")
_FREEZES: Final = 62

#: OAD -> type and rows of SHOWN, in 0.1 V, 1 mA, 0.1 W and 0.1 var: what the standard's scalers say.
_SHOWN: Final = {
    0x20000200: (values.LONG_UNSIGNED, ("va", "vb", "vc")),
    0x20010200: (values.DOUBLE_LONG, ("ia", "ib", "ic")),
    0x20040200: (values.DOUBLE_LONG, ("p", "pa", "pb", "pc")),
    0x20050200: (values.DOUBLE_LONG, ("q", "qa", "qb", "qc")),
}
#: OAD -> registers (total and tariffs) of forward energy, in 0.01 kWh; reverse energy is 0.
_ENERGY: Final = {0x00100200: True, 0x00100201: True, 0x00200200: False, 0x00200201: False}


class _No(Exception):
    """A data access result that is not success."""

    def __init__(self, dar: int) -> None:
        super().__init__(dar)
        self.dar = dar


class Line(Protocol):
    """The meters' own bus, behind the terminal."""

    def receive(self, data: bytes, now: Callable[[], np.datetime64]) -> Iterator[bytes]:
        """The answers to a frame."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Points of one meter: local times [n], registers int[5, n] in 1e-4 kWh, shown int[14, n]."""

    local: NDArray[np.datetime64]
    registers: Ints
    shown: NDArray[Any]

    def __len__(self) -> int:
        return len(self.local)

    def take(self, rows: NDArray[Any]) -> Rows:
        return Rows(self.local[rows], self.registers[:, rows], self.shown[:, rows])


class Concentrator:
    """The terminal, whoever is connected. `line`: where its meters hang, with their own protocol.

    held       what it was told of load control
    told       which of them it reads, and what of them; all of all, if None
    password   of CONNECT; without a CONNECT everything is allowed that a public client may do
    """

    def __init__(
        self,
        address: str,
        meters: Sequence[Meter],
        line: Line,
        *,
        odd: bool = False,
        told: Told698 | None = None,
        held: Held698 | None = None,
        password: str = "00000000",
    ) -> None:
        self.address = address
        self.held = held or Held698(None)
        self.told = told or Told698([meter.address for meter in meters], FREEZES)
        self.odd = odd
        #: (choice, fields) of reports that the head-end has not taken yet.
        self.reports: deque[tuple[int, Mapping[str, Any]]] = deque(maxlen=REPORTS)
        self._meters = {tsa(Address(meter.address)): meter for meter in meters}
        self._line = line
        self._password = password.encode("ascii")
        self._drift = np.timedelta64(0, "us")
        self._tables: Tables | None = None
        #: whether who is connected has said the password
        self._known = False
        #: object -> its event records, the oldest first: number, beginning, end, source.
        self.records: dict[int, list[tuple[Data, ...]]] = {}

    def clock(self, now: np.datetime64) -> np.datetime64:
        """What the terminal takes for UTC."""
        return now + self._drift

    @property
    def ahead(self) -> np.timedelta64:
        """By how much its clock is ahead of the time."""
        return self._drift

    def wander(self, ahead: np.timedelta64) -> None:
        """Its clock is off by this much from now on."""
        self._drift = ahead.astype("timedelta64[us]")

    def late(self, apdu: Apdu, now: np.datetime64) -> bool:
        """Whether the request's time tag says that it is void by now: then it is passed over in silence."""
        if apdu.time_tag is None:
            return False
        sent = from_local(np.array([clock.decode_time_s(apdu.time_tag.sent)]), ZONE)[0]
        delay = apdu.time_tag.delay
        lasts = np.timedelta64(delay.count * _UNITS[delay.unit] * 1_000_000, "us")
        return bool(delay.count and self.clock(now) > sent + lasts)

    # --- services ---

    def serve(self, device: Device, apdu: Apdu, now: np.datetime64) -> bytes:
        """The answer to a request at the instant `now` (UTC)."""
        answer = {
            (apdus.CONNECT, None): self._connect,
            (apdus.RELEASE, None): self._release,
            (apdus.GET, apdus.NORMAL): self._get,
            (apdus.GET, apdus.LIST): self._get_list,
            (apdus.GET, apdus.RECORD): self._record,
            (apdus.SET, apdus.NORMAL): self._set,
            (apdus.ACTION, apdus.NORMAL): self._act,
            (apdus.PROXY, 1): self._proxy_get,
            (apdus.PROXY, apdus.PROXY_TRANSPARENT): self._forward,
        }.get((apdu.code, apdu.choice))
        if answer is None:
            return device.error(2)
        try:
            return device.answer(answer(apdu, now))
        except _No as no:
            return device.refuse(no.dar)

    def _connect(self, apdu: Apdu, now: np.datetime64) -> dict[str, Any]:
        auth: Chosen = apdu.fields["auth"]
        wrong = auth.choice > 1 or (auth.choice == 1 and auth.value != self._password)
        self._known = auth.choice == 1 and not wrong
        return connect_fields(apdu, WRONG_PASSWORD if wrong else 0)

    def _release(self, apdu: Apdu, now: np.datetime64) -> dict[str, Any]:
        self._known = False
        return {"result": 0}

    def _get(self, apdu: Apdu, now: np.datetime64) -> dict[str, Any]:
        return {"result": self._own(apdu.fields["oad"], now)}

    def _get_list(self, apdu: Apdu, now: np.datetime64) -> dict[str, Any]:
        return {"results": tuple(self._own(oad, now) for oad in apdu.fields["oads"])}

    def _own(self, oad: int, now: np.datetime64) -> Result:
        if oad == CLOCK:
            shown = local_fields(np.array([self.clock(now)]), ZONE)[0]
            return Result(oad, 0, Data(values.DATE_TIME_S, clock.encode_time_s(shown)))
        if oad == ADDRESS:
            return Result(oad, 0, Data(values.OCTET_STRING, bytes.fromhex(self.address)))
        if oad in TABLES:
            return Result(oad, 0, self.told.table(oad >> 16))
        held = self.held.get_attribute(oad, now) or self._hours(now).get(oad)
        return Result(oad, UNDEFINED) if held is None else Result(oad, 0, held)

    def _hours(self, now: np.datetime64) -> Tables:
        if self._tables is None:  # of most terminals of a large fleet nobody ever asks
            self._tables = Tables()
        self._tables.settle(self._local(now))
        return self._tables

    def _local(self, now: np.datetime64) -> dt.datetime:
        shown: dt.datetime = local_fields(np.array([self.clock(now)]), ZONE)[0].astype(dt.datetime)
        return shown

    def _act(self, apdu: Apdu, now: np.datetime64) -> dict[str, Any]:
        item = apdu.fields["item"]
        if self.held.act(item.omd, item.data, now):
            return {"result": ActResult(item.omd, 0)}
        try:
            self.told.act(item.omd, item.data)
        except No:
            return {"result": ActResult(item.omd, DENIED)}
        return {"result": ActResult(item.omd, 0)}

    def _set(self, apdu: Apdu, now: np.datetime64) -> dict[str, Any]:
        item = apdu.fields["item"]
        if self.held.set(item.oad, item.data):
            return {"result": SetResult(item.oad, 0)}
        if item.oad != CLOCK:
            tables = self._hours(now)
            if not self._known or not tables.takes(item.oad):
                return {"result": SetResult(item.oad, DENIED)}
            taken = tables.set(item.oad, item.data, self._local(now))
            return {"result": SetResult(item.oad, 0 if taken else MISMATCH)}
        if item.data.tag != values.DATE_TIME_S:
            raise _No(MISMATCH)
        try:
            told = clock.decode_time_s(item.data.value)
        except FrameError:
            raise _No(OUT_OF_RANGE) from None
        self._drift = from_local(np.array([told]), ZONE)[0] - now
        return {"result": SetResult(item.oad, 0)}

    def _proxy_get(self, apdu: Apdu, now: np.datetime64) -> dict[str, Any]:
        return {
            "replies": tuple(
                Reply(target.tsa, tuple(self._present(target.tsa, oad, now) for oad in target.items))
                for target in apdu.fields["targets"]
            )
        }

    def _present(self, server: bytes, oad: int, now: np.datetime64) -> Result:
        meter = self._meters.get(server)
        if meter is None or meter.dead:
            return Result(oad, TIMEOUT)
        registers, shown = meter.registers(now), meter.shown(now)
        if registers is None or shown is None:
            return Result(oad, UNDEFINED)
        purse = wallet698.read(meter, oad, now)
        if purse is not None:
            return Result(oad, 0, purse)
        rows = Rows(np.array([now]), registers[:, None], shown[:, None])
        try:
            return Result(oad, 0, values.decode(_cell(oad, rows)[0].tobytes()))
        except _No as no:
            return Result(oad, no.dar)

    def _forward(self, apdu: Apdu, now: np.datetime64) -> dict[str, Any]:
        back = b"".join(self._line.receive(apdu.fields["frame"], lambda: now))
        return {"port": apdu.fields["port"], "content": Chosen(1, back) if back else Chosen(0, TIMEOUT)}

    # --- records ---

    def _record(self, apdu: Apdu, now: np.datetime64) -> dict[str, Any]:
        get: GetRecord = apdu.fields["record"]
        if get.oad >> 16 in range(0x3000, 0x3300):
            return {"record": self._event(get)}
        roads = [column for column in get.columns if isinstance(column, Road)]
        if get.oad != TASK_RECORDS or len(roads) != 1:
            raise _No(UNDEFINED)
        if get.rsd.kind not in (5, 7, 10):
            raise _No(OUT_OF_RANGE)
        tables = []
        for server, meter in self._meters.items():
            chosen = get.rsd.meters.kind == 1 or server in get.rsd.meters.items
            if chosen and self.told.collects(server, roads[0].oad):
                rows, stored = self._stored(roads[0].oad, meter, get.rsd, now)
                if len(rows):
                    tables.append(_table(get.columns, server, rows, stored, flat=self.odd))
        return {"record": _result(get, tables, flat=self.odd)}

    def _event(self, get: GetRecord) -> RecordResult:
        """The n-th last record of an event object."""
        records = self.records.get(get.oad >> 16)
        if records is None:
            raise _No(UNDEFINED)
        if get.rsd.kind != 9 or get.columns != EVENT_COLUMNS:
            raise _No(OUT_OF_RANGE)
        found = records[-get.rsd.count :][:1] if 0 < get.rsd.count <= len(records) else []
        return RecordResult(get.oad, get.columns, rows=tuple(found))

    def _stored(
        self, freeze: int, meter: Meter, rsd: Rsd, now: np.datetime64
    ) -> tuple[Rows, NDArray[np.datetime64]]:
        """The records of one meter that the selector chooses, and their storage times."""
        every = _us(rsd)
        rows = _rows(freeze, meter, now)
        stored = self._stored_as(freeze, rows.local)
        if rsd.kind == 10:
            chosen = np.arange(max(len(rows) - rsd.count, 0), len(rows))
        elif rsd.kind == 5:
            chosen = np.flatnonzero(stored == clock.decode_time_s(rsd.time))
        else:
            begin, end = clock.decode_time_s(rsd.time), clock.decode_time_s(rsd.until)
            inside = (stored >= begin) & (stored < end)
            chosen = np.flatnonzero(inside & ((stored - begin) % every == 0) if every else inside)
        return rows.take(chosen), stored[chosen]

    def _stored_as(self, freeze: int, local: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
        """Choice of storage time: 6, the freeze itself; in odd areas 3 for days, 23:59 of the day."""
        return local - np.timedelta64(1, "m") if self.odd and freeze == DAY else local


def _us(rsd: Rsd) -> np.timedelta64 | None:
    """The selector's interval; None for "all of them"."""
    if rsd.kind != 7 or not rsd.every.count:
        return None
    if rsd.every.unit not in _UNITS:
        raise _No(OUT_OF_RANGE)
    return np.timedelta64(rsd.every.count * _UNITS[rsd.every.unit] * 1_000_000, "us")


def _rows(freeze: int, meter: Meter, now: np.datetime64) -> Rows:
    """Everything of a kind that the terminal has of a meter, oldest first."""
    nothing = Rows(
        np.empty(0, "datetime64[us]"), np.empty((5, 0), np.int64), np.empty((len(SHOWN), 0), np.int32)
    )
    if meter.dead:
        return nothing
    if freeze == MINUTE:
        return _slots(meter, now) or nothing
    if freeze in (DAY, MONTH):
        return _freezes(meter, now, monthly=freeze == MONTH) or nothing
    raise _No(UNDEFINED)


def _slots(meter: Meter, now: np.datetime64) -> Rows | None:
    days = []
    at = now
    while (record := meter.record(now, at)) is not None:
        there = record.recorded & (record.ends <= now)
        days.append(Rows(record.ends, record.registers, record.shown).take(there))
        at = record.ends[0] - _SLOT  # the midnight that closes the day before
    days.reverse()
    if not days:
        return None
    return Rows(
        local_fields(np.concatenate([day.local for day in days]), ZONE),
        np.concatenate([day.registers for day in days], axis=1),
        np.concatenate([day.shown for day in days], axis=1),
    )


def _freezes(meter: Meter, now: np.datetime64, *, monthly: bool) -> Rows | None:
    found = [freeze for back in range(_FREEZES, 0, -1) if (freeze := meter.freeze(now, back)) is not None]
    if not found:
        return None
    local = local_fields(np.array([at for at, _ in found]), ZONE)
    rows = Rows(local, np.array([r for _, r in found]).T, np.empty((len(SHOWN), len(found)), np.int32))
    return rows.take(local == local.astype("datetime64[M]")) if monthly else rows


# --- rows to bytes ---


def _table(
    columns: Rcsd, server: bytes, rows: Rows, stored: NDArray[np.datetime64], *, flat: bool
) -> PackedRows:
    cells = []
    for column in columns:
        if isinstance(column, Road):
            inner = np.concatenate([_cell(oad, rows) for oad in column.columns], axis=1)
            head = b"" if flat else bytes((values.ARRAY, len(column.columns)))
            cells += [_constant(head, len(rows)), inner]
        elif column == SERVER:
            cells.append(_constant(values.encode(Data(values.TSA, server)), len(rows)))
        elif column in TIMES:
            cells.append(bulk.time_cells(stored))
        else:
            cells.append(_constant(bytes((values.NULL,)), len(rows)))
    return bulk.encode(cells)


def _cell(oad: int, rows: Rows) -> bulk.Bytes:
    """uint8[n, size]: one column. _No: there is no such thing."""
    if oad == FROZEN:
        return bulk.time_cells(rows.local)
    if oad in _ENERGY:
        hundredths = rows.registers.T // 100 * _ENERGY[oad]
        return bulk.number_cells(values.DOUBLE_LONG_UNSIGNED, hundredths[:, 0] if oad & 0xFF else hundredths)
    if oad not in _SHOWN:
        raise _No(UNDEFINED)
    tag, names = _SHOWN[oad]
    shown = rows.shown[[SHOWN.index(name) for name in names]].T
    return bulk.number_cells(tag, shown[:, (shown != NOT_SHOWN).all(axis=0)])


def _constant(raw: bytes, n: int) -> bulk.Bytes:
    return np.broadcast_to(np.frombuffer(raw, np.uint8), (n, len(raw)))


def _result(get: GetRecord, tables: list[PackedRows], *, flat: bool) -> RecordResult:
    """Rows of one length leave as they are; single- and three-phase meters in one answer have to be taken apart."""
    if not tables:
        return RecordResult(get.oad, get.columns)
    if len({table.size for table in tables}) == 1:
        packed = PackedRows(b"".join(table.raw for table in tables), tables[0].size)
        return RecordResult(get.oad, get.columns, flat=flat, packed=packed)
    whole = RecordResult(get.oad, get.columns, flat=flat)
    rows = []
    for table in tables:
        for begin in range(0, len(table.raw), table.size):
            row, _ = values.decode_run(table.raw, begin, whole.width, 0, None)
            rows.append(tuple(row))
    return RecordResult(get.oad, get.columns, 0, tuple(rows), flat)


# --- one connection ---


class Connection698:
    """What a fresh connection talks to: half a frame and blocks of an old answer are forgotten with it.

    What it reports leaves before the next answer, until it is taken.
    """

    def __init__(self, terminal: Concentrator) -> None:
        #: how many of its LINK-Requests the head-end has answered
        self.confirmed = 0
        self._terminal = terminal
        self._device = Device(terminal.address, piece=PIECE)

    def login(self, now: np.datetime64, heartbeat: float) -> bytes:
        """A LINK-Request that logs in and says how many seconds lie between heartbeats."""
        return self._link(_LOGIN, now, heartbeat)

    def heartbeat(self, now: np.datetime64, heartbeat: float) -> bytes:
        return self._link(_HEARTBEAT, now, heartbeat)

    def _link(self, kind: int, now: np.datetime64, heartbeat: float) -> bytes:
        local = local_fields(np.array([self._terminal.clock(now)]), ZONE)[0]
        return self._device.link(kind, max(1, round(heartbeat)), local)

    def receive(self, data: bytes, now: Callable[[], np.datetime64]) -> Iterator[bytes]:
        """The terminal's answers."""
        self._device.receive_data(data)
        while (event := self._device.next_event()) is not NEED_DATA:
            if isinstance(event, Send):
                yield event.data
            elif isinstance(event, Acknowledged):
                self._taken(event.apdu)
            elif isinstance(event, Asked):
                if self._terminal.late(event.apdu, now()):
                    self._device.drop()
                    continue
                if self._terminal.reports:
                    yield self._device.report(*self._terminal.reports[0], client=event.client)
                answer = self._terminal.serve(self._device, event.apdu, now())
                if answer:
                    yield answer

    def _taken(self, apdu: Apdu) -> None:
        if apdu.code == apdus.LINK | apdus.SERVER:
            self.confirmed += 1
        if apdu.code == apdus.REPORT and self._terminal.reports:
            self._terminal.reports.popleft()
