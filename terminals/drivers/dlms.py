"""DLMS/COSEM meters over the TCP wrapper: logical names, low level security, profiles by range.

Nothing about a profile is assumed but its name: which column is what, and its scaler and unit, are read
from the meter (capture_objects, scaler_unit) the first time and kept per meter key.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.dlms import bulk, model, values
from protocols.dlms.exchange import (
    MANAGEMENT_CLIENT,
    PUBLIC_CLIENT,
    Act,
    Associate,
    Client,
    Get,
    RangeSelector,
    Release,
    Set,
)
from protocols.dlms.selector import read_capture_object
from protocols.dlms.values import Data
from protocols.errors import FrameError, Misuse, Refused
from protocols.quantity import quantities
from protocols.reading import (
    REGISTER_QUANTITIES,
    Column,
    Reads,
    Times,
    concatenate,
    empty_column,
    no_reads,
)
from terminals.drivers import eventsdlms
from terminals.drivers.driver import (
    ClockWay,
    EventsOf,
    Meter,
    Outcome,
    RelayAction,
    RelayAnswer,
    RelayState,
    Retention,
    Script,
)
from terminals.drivers.happening import Happening, News
from terminals.drivers.without import NoTables, NothingBehind

#: Layouts kept: more meters than one collector has. The longest unused one goes, and is read again if needed.
CACHE: Final = 65_536
#: Slots asked for in one range: ten days; about 60 kB, far below what the client accepts.
RUN_SLOTS: Final = 960
#: Unasked slots bridged rather than asked for in a request of their own: a round trip costs more than their
#: bytes.
BRIDGE_SLOTS: Final = 8

#: `code` of a Refused that this driver decides from what the meter said, without a refusing byte of its own.
NOT_POSSIBLE: Final = -1

#: A quantity's unit in quantities.csv -> the COSEM unit it must come in, and the power of ten between them.
_UNITS: Final = {
    "kWh": (model.WATT_HOUR, 0),
    "V": (model.VOLT, 0),
    "A": (model.AMPERE, 0),
    "kW": (model.WATT, -3),
    "kvar": (model.VAR, -3),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What the columns of a meter's profile are.

    width     columns in a row
    clock     which column is the time
    period    seconds between rows; 0: not periodic
    columns   (quantity, column, scaler) of what we know
    """

    width: int
    clock: int
    period: int
    columns: tuple[tuple[str, int, int], ...]


class DlmsDriver(NothingBehind, NoTables):
    """Implements terminals.drivers.driver.Driver.

    `Meter.address` is the wPort of the logical device. `Meter.secrets`: `password` (low level security;
    without it the public client is used), `client` (wPort of the client, if not the usual one).

    Stateless but for what never changes in a meter: profile layouts and scalers, by meter key. `forget`
    drops them when a meter is exchanged or re-parametrised; a buffer that does not fit its layout does so
    too.
    """

    name = "dlms"
    events_of: EventsOf = "meter"
    clock_ways = frozenset((ClockWay.WRITE,))
    retention = Retention(
        curve=dt.timedelta(seconds=model.LOAD_ENTRIES * model.LOAD_PERIOD),
        day_freeze=dt.timedelta(seconds=model.DAY_ENTRIES * model.DAY_PERIOD),
        month_freeze=dt.timedelta(seconds=model.DAY_ENTRIES * model.DAY_PERIOD),
    )

    def __init__(self) -> None:
        self._layouts: OrderedDict[tuple[int, str], Layout] = OrderedDict()
        self._scalers: OrderedDict[int, dict[str, int | None]] = OrderedDict()

    def forget(self, key: int) -> None:
        """Drop what is known of a meter's profiles and scalers."""
        self._scalers.pop(key, None)
        for obis in (model.LOAD_PROFILE, model.DAY_PROFILE):
            self._layouts.pop((key, obis), None)

    def known(self, meter: Meter) -> str:
        """Layouts by profile and scalers by quantity, as JSON."""
        layouts = {
            obis: astuple(self._layouts[meter.key, obis])
            for obis in (model.LOAD_PROFILE, model.DAY_PROFILE)
            if (meter.key, obis) in self._layouts
        }
        scalers = self._scalers.get(meter.key, {})
        if not layouts and not scalers:
            return ""
        return json.dumps({"layouts": layouts, "scalers": scalers}, separators=(",", ":"), sort_keys=True)

    def recall(self, meter: Meter, known: str) -> None:
        self.forget(meter.key)
        if not known:
            return
        try:
            told = json.loads(known)
            for obis, (width, clock, period, columns) in told["layouts"].items():
                self._layouts[meter.key, obis] = Layout(
                    width,
                    clock,
                    period,
                    tuple((str(code), int(place), int(scaler)) for code, place, scaler in columns),
                )
            self._scalers[meter.key] = dict(told["scalers"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not what a DLMS driver keeps of a meter: {error}") from None

    # --- session ---

    def exchange(self, meter: Meter) -> Client:
        """Fresh protocol state. Misuse: the address is no wPort."""
        usual = MANAGEMENT_CLIENT if "password" in meter.secrets else PUBLIC_CLIENT
        return Client(_port(meter.secrets.get("client", str(usual))), _port(meter.address))

    def open(self, meter: Meter) -> Script[None]:
        """Associate. Refused: the AARE's diagnostic (13: wrong password)."""
        password = meter.secrets.get("password")
        yield Associate(None if password is None else password.encode())

    def close(self, meter: Meter) -> Script[None]:
        """Release."""
        yield Release()

    # --- readings ---

    def curve(self, meter: Meter, slots: Times) -> Script[Outcome]:
        """Load profile rows at `slots`. A slot inside an answered range and not in the buffer is absent."""
        return (yield from self._profile(meter, model.LOAD_PROFILE, slots, _slot_columns(meter)))

    def day_freeze(self, meter: Meter, midnights: Times, now: np.datetime64) -> Script[Outcome]:
        """Day profile rows stamped with `midnights`, the instants that close the days."""
        return (yield from self._profile(meter, model.DAY_PROFILE, midnights, REGISTER_QUANTITIES))

    def month_freeze(self, meter: Meter, midnights: Times, now: np.datetime64) -> Script[Outcome]:
        """The day freezes of the days that close months: the same registers at the same instants."""
        return (yield from self.day_freeze(meter, midnights, now))

    def registers(self, meter: Meter, now: np.datetime64) -> Script[Reads]:
        """Every register and instant the meter has, one GET each: one row at `now`."""
        columns: dict[str, Column] = {}
        for code in dict.fromkeys((*REGISTER_QUANTITIES, *_slot_columns(meter))):
            columns[code] = yield from self._value(meter, code)
        return Reads(_keys(meter, 1), np.array([now], dtype="datetime64[us]"), columns)

    def measure_retention(self, meter: Meter) -> Script[Retention]:
        """How far back this very meter remembers: profile_entries times capture_period (IC 7, attributes 8
        and 4).

        What it does not tell is taken from `retention`.
        """
        spans = []
        for obis, otherwise in (
            (model.LOAD_PROFILE, self.retention.curve),
            (model.DAY_PROFILE, self.retention.day_freeze),
        ):
            try:
                count: Data = yield Get(model.PROFILE_CLASS, obis, model.PROFILE_ENTRIES)
                every: Data = yield Get(model.PROFILE_CLASS, obis, model.CAPTURE_PERIOD)
                entries, period = _integer(count, "profile entries"), _integer(every, "capture period")
            except Refused:
                entries = period = 0
            if obis == model.DAY_PROFILE and not period:  # captured by a schedule, so no period of its own
                period = model.DAY_PERIOD
            spans.append(dt.timedelta(seconds=entries * period) if entries * period else otherwise)
        return Retention(spans[0], spans[1], spans[1])

    # --- clock ---

    def clock(self, meter: Meter) -> Script[np.datetime64]:
        """The meter's clock as UTC. FrameError: it says it has no valid time."""
        answer: Data = yield Get(model.CLOCK_CLASS, model.CLOCK, model.TIME)
        if not isinstance(answer.value, bytes):
            raise FrameError("clock: the time is not an octet string")
        return values.decode_clock(answer.value, meter.zone).utc

    def set_clock(self, meter: Meter, now: np.datetime64) -> Script[None]:
        """Write the time with deviation and daylight bit of the meter's zone."""
        time = values.octets(values.encode_clock(now, meter.zone))
        yield Set(model.CLOCK_CLASS, model.CLOCK, model.TIME, time)

    def write_clock(self, meter: Meter, now: np.datetime64) -> Script[None]:
        """The same: it is this meter's association that is written through."""
        yield from self.set_clock(meter, now)

    # --- events ---

    def events(self, meter: Meter, since: np.datetime64, now: np.datetime64) -> Script[tuple[Happening, ...]]:
        """The event log by range."""
        return (yield from eventsdlms.events(meter, since, now))

    def news(self, meter: Meter) -> News:
        return News()

    # --- relay ---

    def relay_clock(self, meter: Meter) -> None:
        return None

    def relay(self, meter: Meter, action: RelayAction, expires: np.datetime64) -> Script[RelayAnswer]:
        """Disconnect or reconnect (IC 70), after reading what the control mode makes of it.

        A DLMS method has no expiry of its own: it acts when it arrives, so `expires` is the sender's to
        watch. Refused with code NOT_POSSIBLE: the control mode, or DLMS, has no such thing.
        """
        if action in (RelayAction.KEEP_POWER, RelayAction.END_KEEP_POWER):
            raise Refused("keep-power (保电) does not exist in DLMS", code=NOT_POSSIBLE)
        mode = _integer((yield _disconnect(model.CONTROL_MODE)), "control mode")
        method = _method(action, mode)
        yield Act(model.DISCONNECT_CLASS, model.DISCONNECT, method, Data(values.INTEGER, 0))
        return RelayAnswer(detail=f"control mode {mode}")

    def relay_state(self, meter: Meter) -> Script[RelayState]:
        """Output state, control state, and the sum active power as load (NaN if the meter has none)."""
        output: Data = yield _disconnect(model.OUTPUT_STATE)
        state = _integer((yield _disconnect(model.CONTROL_STATE)), "control state")
        load = yield from self._value(meter, "active_power")
        closed = bool(_integer(output, "output state"))
        return RelayState(
            open=not closed,
            permitted=not closed and state == model.READY,
            keep_power=False,
            load_kw=float(load[0]),
            detail=_STATES.get(state, f"control state {state}"),
        )

    # --- inside ---

    def _profile(self, meter: Meter, obis: str, slots: Times, codes: Sequence[str]) -> Script[Outcome]:
        if not len(slots):
            return Outcome(no_reads(), slots)
        try:
            layout = yield from self._layout(meter, obis, codes)
        except Refused as no:
            if no.absent:  # no such profile in this meter
                return Outcome(no_reads(), slots)
            raise
        parts = []
        for run in runs(slots, layout.period or _period(obis)):
            # one period earlier: some meters take the beginning of a range as not included
            begin = run[0] - np.timedelta64(layout.period or _period(obis), "s")
            selector = RangeSelector(begin, run[-1], meter.zone)
            raw: bytes = yield Get(model.PROFILE_CLASS, obis, model.BUFFER, selector, raw=True)
            parts.append(self._rows(meter, obis, layout, raw, asked=run, codes=codes))
        reads = concatenate(parts)
        return Outcome(reads, slots[~np.isin(slots, reads.time)])

    def _rows(
        self, meter: Meter, obis: str, layout: Layout, raw: bytes, *, asked: Times, codes: Sequence[str]
    ) -> Reads:
        columns = bulk.decode(raw)
        if not columns:
            return no_reads()
        if len(columns) != layout.width:
            self.forget(meter.key)
            raise FrameError(f"profile {obis}: {len(columns)} columns, capture_objects has {layout.width}")
        times = bulk.instants(columns[layout.clock], meter.zone, layout.period or None)
        times = times.astype("datetime64[s]").astype("datetime64[us]")
        known = {code: _scale(code, columns[i], scaler) for code, i, scaler in layout.columns}
        known |= {code: empty_column(code, len(times)) for code in codes if code not in known}
        # a clock set back writes a slot twice; the later row is the one made with the right clock
        _, last = np.unique(times[::-1], return_index=True)
        chosen = len(times) - 1 - last
        chosen = chosen[np.isin(times[chosen], asked)]
        return Reads(_keys(meter, len(times)), times, {code: known[code] for code in codes}).take(chosen)

    def _layout(self, meter: Meter, obis: str, codes: Sequence[str]) -> Script[Layout]:
        key = (meter.key, obis)
        if key in self._layouts:
            self._layouts.move_to_end(key)
            return self._layouts[key]
        captured: Data = yield Get(model.PROFILE_CLASS, obis, model.CAPTURE_OBJECTS)
        if captured.tag != values.ARRAY:
            raise FrameError(f"profile {obis}: capture_objects is no array")
        objects = [read_capture_object(item) for item in captured.value]
        period = _integer((yield Get(model.PROFILE_CLASS, obis, model.CAPTURE_PERIOD)), "capture period")
        clock = [i for i, (class_id, *_) in enumerate(objects) if class_id == model.CLOCK_CLASS]
        if not clock:
            raise FrameError(f"profile {obis}: no clock among the capture objects")
        columns = []
        for i, (class_id, name, attribute, index) in enumerate(objects):
            item = model.by_name().get((class_id, name, attribute))
            if item is not None and item.quantity in codes and index == 0:
                scaler = yield from self._scaler(meter, item.quantity)
                if scaler is not None:
                    columns.append((item.quantity, i, scaler))
        layout = Layout(len(objects), clock[0], period, tuple(columns))
        self._layouts[key] = layout
        if len(self._layouts) > 2 * CACHE:
            self._layouts.popitem(last=False)
        return layout

    def _scaler(self, meter: Meter, code: str) -> Script[int | None]:
        """The exponent of a register; None if the meter does not have it. FrameError: another unit than
        expected.
        """
        known = self._scalers.setdefault(meter.key, {})
        self._scalers.move_to_end(meter.key)
        if len(self._scalers) > CACHE:
            self._scalers.popitem(last=False)
        if code not in known:
            item = model.by_quantity()[code]
            try:
                answer: Data = yield Get(item.class_id, item.obis, model.SCALER_UNIT)
            except Refused as no:
                if not no.absent:
                    raise
                known[code] = None
                return None
            match values.plain(answer):
                case [int() as scaler, int() as unit] if abs(scaler) <= 12:
                    if unit != _UNITS[quantities()[code].unit][0]:
                        raise FrameError(f"{item.obis}: unit {unit} is not that of {code}")
                    known[code] = scaler
                case shape:
                    raise FrameError(f"{item.obis}: scaler_unit is {shape!r}")
        return known[code]

    def _value(self, meter: Meter, code: str) -> Script[Column]:
        """One register as a column of one row, missing if the meter does not have it."""
        scaler = yield from self._scaler(meter, code)
        if scaler is None:
            return empty_column(code, 1)
        item = model.by_quantity()[code]
        try:
            answer: Data = yield Get(item.class_id, item.obis, model.VALUE)
        except Refused as no:
            if not no.absent:
                raise
            return empty_column(code, 1)
        return _scale(code, bulk.column([answer]), scaler)


_STATES: Final = {
    model.DISCONNECTED: "disconnected",
    model.CONNECTED: "connected",
    model.READY: "ready for reconnection",
}


def runs(slots: Times, period: int) -> Iterator[Times]:
    """Ascending slots cut where more than BRIDGE_SLOTS periods [s] are unasked, or after RUN_SLOTS."""
    step = np.timedelta64(period, "s")
    begin = 0
    for i in range(1, len(slots) + 1):
        if (
            i == len(slots)
            or slots[i] - slots[i - 1] > (BRIDGE_SLOTS + 1) * step
            or slots[i] - slots[begin] >= RUN_SLOTS * step
        ):
            yield slots[begin:i]
            begin = i


def _method(action: RelayAction, mode: int) -> int:
    """The method of IC 70 for an action, given control_mode. Refused: the mode has no such transition.

    TRIP is remote_disconnect (b). Remote reconnect closes at once (a) in modes 2 and 4; in 1, 3, 5, 6 it
    only makes ready for reconnection (d), and the customer's key closes. Sending the wrong one would close
    a supply nobody watches, or leave one open that was reported closed.
    """
    letters = model.MODES.get(mode)
    if letters is None:
        raise Refused(f"{action.value}: control mode {mode} is not one of 0..6 (IC 70)", code=NOT_POSSIBLE)
    if not letters:
        raise Refused(f"{action.value}: control mode 0 keeps it connected", code=NOT_POSSIBLE)
    wanted, method = {
        RelayAction.TRIP: ("b", model.REMOTE_DISCONNECT),
        RelayAction.PERMIT: ("d", model.REMOTE_RECONNECT),
        RelayAction.CLOSE: ("a", model.REMOTE_RECONNECT),
    }[action]
    if wanted not in letters:
        does = "closes at once" if "a" in letters else "only permits closing"
        raise Refused(f"{action.value}: remote reconnect {does} in control mode {mode}", code=NOT_POSSIBLE)
    return method


def _disconnect(attribute: int) -> Get:
    return Get(model.DISCONNECT_CLASS, model.DISCONNECT, attribute)


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 < port <= 0xFFFF:
        raise Misuse(f"{text!r} is no wrapper port (1..65535)")
    return port


def _period(obis: str) -> int:
    return model.LOAD_PERIOD if obis == model.LOAD_PROFILE else model.DAY_PERIOD


def _slot_columns(meter: Meter) -> tuple[str, ...]:
    return model.slot_quantities(meter.phases)


def _keys(meter: Meter, rows: int) -> NDArray[np.int64]:
    return np.full(rows, meter.key, dtype=np.int64)


def _integer(data: Data, what: str) -> int:
    if not isinstance(data.value, int):
        raise FrameError(f"{what}: {values.NAMES.get(data.tag, data.tag)} where a number must be")
    return int(data.value)


def _scale(code: str, column: bulk.Column, scaler: int) -> Column:
    """A raw column in the quantity's stored unit."""
    quantity = quantities()[code]
    if quantity.kind == "register":
        return bulk.registers(column, scaler)
    return bulk.reals(column, scaler + _UNITS[quantity.unit][1])
