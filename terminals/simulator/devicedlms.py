"""A DLMS/COSEM meter: the objects of protocols/dlms/items.csv, filled with what the meter has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protocols.dlms import bulk, model, values
from protocols.dlms.exchange import (
    ActRequest,
    EntrySelector,
    Gateway,
    GetRequest,
    RangeSelector,
    Server,
    SetRequest,
)
from protocols.dlms.selector import CLOCK_OBJECT, capture_object
from protocols.dlms.values import Data
from protocols.errors import FrameError
from protocols.exchange import NEED_DATA, Send
from protocols.reading import REGISTER_QUANTITIES
from terminals.simulator.layout import Ints
from terminals.simulator.meter import Meter
from terminals.simulator.physics import NOT_SHOWN, SHOWN
from terminals.simulator.relay import CannotAct, Command, Contact
from terminals.simulator.scenario import ZONE

#: Data-access-results and action-results (IEC 62056-5-3).
DENIED: Final = 3
UNDEFINED: Final = 4
TYPE_UNMATCHED: Final = 12

#: entries_in_use of a profile (Blue Book, IC 7, attribute 7): a driver need not ask for it, a meter has it.
ENTRIES_IN_USE: Final = 7
#: With this control mode a remote reconnect makes the relay ready, and the customer's key closes it.
CONTROL_MODE: Final = 3

_DAY: Final = np.timedelta64(1, "D")
#: Event codes of this meter: begun and ended, or for a clock that was set the old and the new time.
_CODES: Final = {"power-down": (1, 2), "cover-open": (44, 45), "voltage-loss": (82, 85), "clock-set": (4, 5)}
_STATES: Final = {
    Contact.OPEN: model.DISCONNECTED,
    Contact.CLOSED: model.CONNECTED,
    Contact.PERMITTED: model.READY,
}
_SHOWN: Final = {
    "voltage_a": "va", "voltage_b": "vb", "voltage_c": "vc",
    "current_a": "ia", "current_b": "ib", "current_c": "ic",
    "active_power": "p", "reactive_power": "q",
}  # fmt: skip

#: Rows of a profile: UTC ends and one integer column per quantity.
_Rows = tuple[NDArray[np.datetime64], dict[str, Ints]]


class _No(Exception):
    """A result code that is not success."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class LogicalDevice:
    """What one meter holds, whoever asks. Associations live in the connection's `Server`."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.port = int(meter.address)
        self._mode = CONTROL_MODE

    def server(self) -> Server:
        """A fresh server for one connection."""
        return Server(self.port, password=self.meter.password.encode("ascii"), zone=ZONE)

    def serve(self, server: Server, request: object, now: np.datetime64) -> bytes:
        """Answer or refuse a request of the application at the instant `now` (UTC)."""
        try:
            match request:
                case GetRequest():
                    return server.answer(self._get(request, now))
                case SetRequest():
                    self._set(request, now)
                case ActRequest():
                    self._act(request, now)
            return server.answer()
        except _No as no:
            return server.refuse(no.code)

    # --- GET ---

    def _get(self, request: GetRequest, now: np.datetime64) -> Data | bytes:
        if request.attribute == 1:
            self._exists(request.class_id, request.obis)
            return values.octets(values.obis_bytes(request.obis))
        if request.class_id == model.PROFILE_CLASS:
            return self._profile(request, now)
        if request.class_id == model.REGISTER_CLASS:
            return self._register(request, now)
        if (request.class_id, request.obis, request.attribute) == (
            model.CLOCK_CLASS, model.CLOCK, model.TIME,
        ):  # fmt: skip
            return values.octets(values.encode_clock(self.meter.clock(now), ZONE))
        if (request.class_id, request.obis) == (model.DISCONNECT_CLASS, model.DISCONNECT):
            return self._disconnect(request.attribute)
        raise _No(UNDEFINED)

    def _exists(self, class_id: int, obis: str) -> None:
        if not any((item.class_id, item.obis) == (class_id, obis) for item in self._items()):
            raise _No(UNDEFINED)

    def _items(self) -> Iterator[model.Item]:
        """The objects of this meter: no phases B and C in a single-phase one, no relay in a supply meter."""
        for item in model.items():
            if self.meter.phases == 1 and item.quantity.endswith(("_b", "_c")):
                continue
            if item.class_id == model.DISCONNECT_CLASS and not self.meter.has_relay:
                continue
            yield item

    def _register(self, request: GetRequest, now: np.datetime64) -> Data:
        found = [i for i in self._items() if (i.class_id, i.obis) == (request.class_id, request.obis)]
        if not found:
            raise _No(UNDEFINED)
        item = found[0]
        assert item.scaler is not None
        assert item.unit is not None
        if request.attribute == model.SCALER_UNIT:
            return values.structure(Data(values.INTEGER, item.scaler), Data(values.ENUM, item.unit))
        if request.attribute != model.VALUE:
            raise _No(UNDEFINED)
        registers, shown = self.meter.registers(now), self.meter.shown(now)
        if registers is None or shown is None:
            raise _No(UNDEFINED)
        return Data(item.tag, int(self._columns([item.quantity], registers, shown)[item.quantity]))

    def _columns(self, codes: Sequence[str], registers: Ints, shown: NDArray[Any]) -> dict[str, Any]:
        """Quantity -> integers as they are sent: 0.1 Wh, 0.1 V, 1 mA, 1 W."""
        found: dict[str, Any] = {}
        for code in codes:
            if code in _SHOWN:
                column = shown[SHOWN.index(_SHOWN[code])].astype(np.int64)
                assert not (column == NOT_SHOWN).any()
                found[code] = column // 10 if code.endswith("power") else column
            elif code == "active_export":
                found[code] = np.zeros_like(registers[0])
            else:
                found[code] = registers[REGISTER_QUANTITIES.index(code)]
        return found

    def _disconnect(self, attribute: int) -> Data:
        if not self.meter.has_relay:
            raise _No(UNDEFINED)
        relay = self.meter.relay
        if attribute == model.OUTPUT_STATE:
            return Data(values.BOOLEAN, not relay.open)
        if attribute == model.CONTROL_STATE:
            return Data(values.ENUM, _STATES[relay.contact])
        if attribute == model.CONTROL_MODE:
            return Data(values.ENUM, self._mode)
        raise _No(UNDEFINED)

    # --- profiles ---

    def _profile(self, request: GetRequest, now: np.datetime64) -> Data | bytes:
        if (request.obis, request.attribute) == (model.EVENT_LOG, model.BUFFER):
            return self._events(request, now)
        if request.obis == model.LOAD_PROFILE:
            codes, period, entries = (
                model.slot_quantities(self.meter.phases), model.LOAD_PERIOD, model.LOAD_ENTRIES,
            )  # fmt: skip
        elif request.obis == model.DAY_PROFILE:
            codes, period, entries = model.day_quantities(), model.DAY_PERIOD, model.DAY_ENTRIES
        else:
            raise _No(UNDEFINED)
        if request.attribute == model.BUFFER:
            return self._buffer(request, codes, now)
        if request.attribute == model.CAPTURE_OBJECTS:
            return values.array(*(capture_object(*column) for column in _captured(codes)))
        if request.attribute == model.CAPTURE_PERIOD:
            return Data(values.DOUBLE_LONG_UNSIGNED, period)
        if request.attribute == ENTRIES_IN_USE:
            return Data(values.DOUBLE_LONG_UNSIGNED, len(self._rows(request.obis, None, codes, now)[0]))
        if request.attribute == model.PROFILE_ENTRIES:
            return Data(values.DOUBLE_LONG_UNSIGNED, entries)
        raise _No(UNDEFINED)

    def _events(self, request: GetRequest, now: np.datetime64) -> bytes:
        """Rows of the event log: a time by the meter's clock, and a code."""
        rows: list[tuple[np.datetime64, int]] = []
        for entry in self.meter.diary.all(now):
            begin, end = self.meter.clock(entry.begin), self.meter.clock(entry.end)
            if entry.before is not None and entry.after is not None:
                begin, end = entry.before, entry.after
            rows += zip((begin, end), _CODES[entry.kind], strict=True)
        if isinstance(request.selector, RangeSelector):
            rows = [row for row in rows if request.selector.begin <= row[0] <= request.selector.end]
        if not rows:
            return bytes((values.ARRAY, 0))
        times = np.array([at for at, _ in rows], dtype="datetime64[us]").astype("datetime64[s]")
        codes = np.array([code for _, code in rows], dtype=np.int64)
        clocks = bulk.clock_column(times.astype("datetime64[us]"), ZONE)
        return bulk.encode([(values.OCTET_STRING, clocks), (values.UNSIGNED, codes)])

    def _buffer(self, request: GetRequest, codes: Sequence[str], now: np.datetime64) -> bytes:
        selector = request.selector
        ends, columns = self._rows(request.obis, selector, codes, now)
        captured = _captured(codes)
        keep = list(range(len(captured)))
        if isinstance(selector, RangeSelector) and selector.columns:
            keep = [k for k, column in enumerate(captured) if column in selector.columns]
        if isinstance(selector, EntrySelector):
            rows = slice(max(selector.first, 1) - 1, selector.last or None)
            ends, columns = ends[rows], {code: column[rows] for code, column in columns.items()}
            keep = keep[max(selector.first_column, 1) - 1 : selector.last_column or None]
        if not len(ends):
            return bytes((values.ARRAY, 0))
        wire: list[tuple[int, NDArray[Any]]] = []
        for k in keep:
            if k == 0:
                wire.append((values.OCTET_STRING, bulk.clock_column(ends, ZONE)))
            else:
                wire.append((model.by_quantity()[codes[k - 1]].tag, columns[codes[k - 1]]))
        return bulk.encode(wire)

    def _rows(self, obis: str, selector: object, codes: Sequence[str], now: np.datetime64) -> _Rows:
        begin, end = None, now
        if isinstance(selector, RangeSelector):
            begin, end = selector.begin, min(selector.end, now)
        return (
            self._days(begin, end, now) if obis == model.DAY_PROFILE else self._slots(begin, end, codes, now)
        )

    def _days(self, begin: np.datetime64 | None, end: np.datetime64, now: np.datetime64) -> _Rows:
        found = []
        for back in range(1, model.DAY_ENTRIES + 1):
            freeze = self.meter.freeze(now, back)
            if freeze is None or (begin is not None and freeze[0] < begin):
                break
            if freeze[0] <= end:
                found.append(freeze)
        found.reverse()
        ends = np.array([at for at, _ in found], dtype="datetime64[us]")
        table = np.array([registers for _, registers in found], dtype=np.int64).reshape(len(found), 5).T
        return ends, self._columns(model.day_quantities(), table, np.empty(0))

    def _slots(
        self, begin: np.datetime64 | None, end: np.datetime64, codes: Sequence[str], now: np.datetime64
    ) -> _Rows:
        records = []
        at = end
        while (record := self.meter.record(now, at)) is not None:
            records.append(record)
            at = record.ends[0] - np.timedelta64(900, "s")  # the midnight before, which closes the day before
            if begin is not None and at < begin:
                break
        if not records:
            return np.empty(0, dtype="datetime64[us]"), {code: np.empty(0, dtype=np.int64) for code in codes}
        records.reverse()
        ends = np.concatenate([record.ends for record in records])
        rows = np.concatenate([record.recorded for record in records]) & (ends <= end)
        if begin is not None:
            rows &= ends >= begin
        registers = np.concatenate([record.registers for record in records], axis=1)[:, rows]
        shown = np.concatenate([record.shown for record in records], axis=1)[:, rows]
        return ends[rows], self._columns(codes, registers, shown)

    # --- SET and ACTION ---

    def _set(self, request: SetRequest, now: np.datetime64) -> None:
        where = (request.class_id, request.obis, request.attribute)
        if where == (model.CLOCK_CLASS, model.CLOCK, model.TIME):
            if not isinstance(request.value.value, bytes):
                raise _No(TYPE_UNMATCHED)
            try:
                self.meter.set_clock(now, values.decode_clock(request.value.value, ZONE).utc)
            except FrameError:
                raise _No(TYPE_UNMATCHED) from None
        elif where == (model.DISCONNECT_CLASS, model.DISCONNECT, model.CONTROL_MODE) and self.meter.has_relay:
            if request.value.value not in model.MODES:
                raise _No(TYPE_UNMATCHED)
            self._mode = request.value.value
        else:
            raise _No(DENIED)

    def _act(self, request: ActRequest, now: np.datetime64) -> None:
        if (request.class_id, request.obis) != (model.DISCONNECT_CLASS, model.DISCONNECT):
            raise _No(UNDEFINED)
        events = {model.REMOTE_DISCONNECT: "remote_disconnect", model.REMOTE_RECONNECT: "remote_reconnect"}
        event = events.get(request.method)
        if event is None or not self.meter.has_relay:
            raise _No(UNDEFINED)
        state = _STATES[self.meter.relay.contact]
        after = model.relay_step(self._mode, state, event)
        if after == state:
            if self._mode == 0:
                self.meter.refuse(now, event, "control mode 0")
                raise _No(DENIED)
            return
        command = {
            model.DISCONNECTED: Command.TRIP,
            model.READY: Command.PERMIT,
            model.CONNECTED: Command.CLOSE,
        }[after]
        try:
            self.meter.command(now, command)
        except CannotAct:
            raise _No(DENIED) from None


def _captured(codes: Sequence[str]) -> list[tuple[int, str, int, int]]:
    """The capture objects: the clock and one register per quantity."""
    registers = [model.by_quantity()[code] for code in codes]
    return [CLOCK_OBJECT, *((item.class_id, item.obis, item.attribute, 0) for item in registers)]


class GatewayDlms:
    """All logical devices of a terminal behind one connection. Dead meters are wPorts where nobody is."""

    def __init__(self, devices: Sequence[LogicalDevice]) -> None:
        self._devices = {device.port: device for device in devices}
        self._servers: dict[int, Server] = {}
        self._gateway = Gateway(self._find)

    def receive(self, data: bytes, now: Callable[[], np.datetime64]) -> Iterator[bytes]:
        """The bytes the meters send in answer."""
        self._gateway.receive_data(data)
        while True:
            try:
                server, event = self._gateway.next_event()
            except FrameError:
                continue  # nothing of it can be answered; the rest of the stream goes on
            if event is NEED_DATA:
                return
            if isinstance(event, Send):
                yield event.data
            elif server is not None and isinstance(event, GetRequest | SetRequest | ActRequest):
                yield self._devices[server.port].serve(server, event, now())

    def _find(self, port: int) -> Server | None:
        device = self._devices.get(port)
        if device is None or device.meter.dead:
            return None
        server = self._servers.get(port)
        if server is None:
            server = self._servers[port] = device.server()
        return server
