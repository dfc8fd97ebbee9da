"""The driver against a meter in memory: real bytes, no sockets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from protocols.dlms import bulk, model, values
from protocols.dlms.exchange import ActRequest, Client, GetRequest, RangeSelector, Server, SetRequest
from protocols.dlms.selector import capture_object
from protocols.dlms.values import Data
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Ignored, Send
from protocols.localtime import day_slots, midnight
from protocols.reading import MISSING, REGISTER_QUANTITIES
from terminals.drivers.dlms import BRIDGE_SLOTS, NOT_POSSIBLE, RUN_SLOTS, DlmsDriver, runs
from terminals.drivers.driver import Driver, Meter, RelayAction

ZONE = ZoneInfo("Asia/Shanghai")
DAY = dt.date(2026, 3, 1)
SLOTS = day_slots(DAY, ZONE)
NOW = np.datetime64("2026-03-02T00:20:00", "us")
METER = Meter(key=7, address="17", zone=ZONE, phases=3, secrets={"password": "12345678"})


class Device:
    """A meter of the model: objects by (class, name, attribute), profiles by time, a relay."""

    def __init__(self, phases: int = 3, scaler: int = -1, max_pdu: int = 512) -> None:
        self.server = Server(17, password=b"12345678", max_pdu=max_pdu, zone=ZONE)
        self.phases = phases
        self.scaler = scaler
        self.asked: list[tuple[int, str, int]] = []
        self.mode, self.state = 1, model.CONNECTED
        self.clock = NOW
        self.rows = {model.LOAD_PROFILE: SLOTS, model.DAY_PROFILE: np.array([midnight(DAY, ZONE)])}
        self.missing: set[str] = set()

    def codes(self, obis: str) -> tuple[str, ...]:
        return model.slot_quantities(self.phases) if obis == model.LOAD_PROFILE else model.day_quantities()

    def raw(self, code: str, times: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """A value that tells quantity and time: never two alike."""
        slot = times.astype("datetime64[m]").astype(np.int64) // 15 % 3_000
        return slot * 10 + list(model.by_quantity()).index(code) % 10

    def scaler_of(self, code: str) -> int:
        item = model.by_quantity()[code]
        assert item.scaler is not None
        return self.scaler if item.unit == model.WATT_HOUR else item.scaler

    def buffer(self, obis: str, selector: RangeSelector) -> bytes:
        times = self.rows[obis]
        times = times[(times >= selector.begin) & (times <= selector.end)]
        columns = [(values.OCTET_STRING, bulk.clock_column(times, ZONE))]
        columns += [(model.by_quantity()[c].tag, self.raw(c, times)) for c in self.codes(obis)]
        return bulk.encode(columns)

    def get(self, request: GetRequest) -> bytes:  # noqa: PLR0911 - one line an object
        self.asked.append((request.class_id, request.obis, request.attribute))
        code = {item.obis: item.quantity for item in model.items()}.get(request.obis, "")
        if code in self.missing or request.obis in self.missing:
            return self.server.refuse(4)
        match request:
            case GetRequest(7, obis, 2, RangeSelector() as selector):
                return self.server.answer(self.buffer(obis, selector))
            case GetRequest(7, obis, 3):
                objects = [capture_object(8, model.CLOCK, 2)]
                objects += [capture_object(3, model.by_quantity()[c].obis, 2) for c in self.codes(obis)]
                return self.server.answer(values.array(*objects))
            case GetRequest(7, obis, 4):
                period = model.LOAD_PERIOD if obis == model.LOAD_PROFILE else 0
                return self.server.answer(Data(values.DOUBLE_LONG_UNSIGNED, period))
            case GetRequest(7, _, 8):
                return self.server.answer(Data(values.DOUBLE_LONG_UNSIGNED, 2000))
            case GetRequest(3, _, 3):
                unit = model.by_quantity()[code].unit
                pair = Data(values.INTEGER, self.scaler_of(code)), Data(values.ENUM, unit)
                return self.server.answer(values.structure(*pair))
            case GetRequest(3, _, 2):
                value = int(self.raw(code, np.array([NOW]))[0])
                return self.server.answer(Data(model.by_quantity()[code].tag, value))
            case GetRequest(8):
                return self.server.answer(values.octets(values.encode_clock(self.clock, ZONE)))
            case GetRequest(70, _, 2):
                return self.server.answer(Data(values.BOOLEAN, self.state == model.CONNECTED))
            case GetRequest(70, _, 3):
                return self.server.answer(Data(values.ENUM, self.state))
            case GetRequest(70, _, 4):
                return self.server.answer(Data(values.ENUM, self.mode))
        return self.server.refuse(4)

    def react(self, event: Any) -> bytes:
        match event:
            case Send():
                return event.data
            case GetRequest():
                return self.get(event)
            case SetRequest(8, model.CLOCK, 2):
                self.clock = values.decode_clock(event.value.value, ZONE).utc
                return self.server.answer()
            case ActRequest(70, model.DISCONNECT):
                name = "remote_disconnect" if event.method == 1 else "remote_reconnect"
                self.state = model.relay_step(self.mode, self.state, name)
                return self.server.answer()
        raise AssertionError(event)


def drive(script: Any, client: Client, device: Device) -> Any:
    """Run a script as a session does, on a perfect line."""
    outcome: Any = None
    refused: Refused | None = None
    while True:
        try:
            request = script.throw(refused) if refused else script.send(outcome)
        except StopIteration as done:
            return done.value
        refused = None
        device.server.receive_data(client.send(request))
        while True:
            while (event := device.server.next_event()) is not NEED_DATA:
                client.receive_data(device.react(event))
            try:
                reply = client.next_event()
            except Refused as no:
                refused = no
                break
            if isinstance(reply, Send):
                device.server.receive_data(reply.data)
            elif isinstance(reply, Answer):
                outcome = reply.value
                break
            else:
                assert not isinstance(reply, Ignored)
                assert reply is not NEED_DATA


Run = Callable[..., Any]


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def driver() -> DlmsDriver:
    return DlmsDriver()


@pytest.fixture
def run(device: Device, driver: DlmsDriver) -> Run:
    client = driver.exchange(METER)
    drive(driver.open(METER), client, device)
    return lambda script: drive(script, client, device)


def test_it_is_a_driver(driver: DlmsDriver) -> None:
    checked: Driver = driver
    assert checked.name == "dlms"
    assert checked.retention.curve == dt.timedelta(days=10)
    assert checked.retention.day_freeze == dt.timedelta(days=62)


def test_curve_delivers_every_quantity(run: Run, driver: DlmsDriver, device: Device) -> None:
    outcome = run(driver.curve(METER, SLOTS))
    reads = outcome.reads
    assert len(outcome.absent) == 0
    assert (reads.time == SLOTS).all()
    assert (reads.meter == 7).all()
    assert reads.columns["active_import"].dtype == np.int64
    assert (reads.columns["active_import"] == device.raw("active_import", SLOTS)).all()
    assert reads.columns["voltage_b"][5] == device.raw("voltage_b", SLOTS)[5] / 10
    assert reads.columns["current_c"][5] == device.raw("current_c", SLOTS)[5] / 1000
    assert reads.columns["active_power"][5] == device.raw("active_power", SLOTS)[5] / 1000
    assert set(reads.columns) == set(model.slot_quantities(3))


def test_layout_and_scalers_are_read_once(run: Run, driver: DlmsDriver, device: Device) -> None:
    run(driver.curve(METER, SLOTS[:4]))
    device.asked.clear()
    run(driver.curve(METER, SLOTS[4:8]))
    assert device.asked == [(7, model.LOAD_PROFILE, 2)]
    driver.forget(METER.key)
    device.asked.clear()
    run(driver.curve(METER, SLOTS[4:8]))
    assert (7, model.LOAD_PROFILE, 3) in device.asked


def test_holes_are_absent(run: Run, driver: DlmsDriver, device: Device) -> None:
    device.rows[model.LOAD_PROFILE] = np.delete(SLOTS, [3, 50])
    outcome = run(driver.curve(METER, SLOTS))
    assert (outcome.absent == SLOTS[[3, 50]]).all()
    assert len(outcome.reads) == 94
    device.rows[model.LOAD_PROFILE] = SLOTS[:0]
    outcome = run(driver.curve(METER, SLOTS))
    assert (outcome.absent == SLOTS).all()
    assert len(outcome.reads) == 0


def test_only_what_was_asked_is_delivered(run: Run, driver: DlmsDriver, device: Device) -> None:
    asked = SLOTS[[1, 3, 40, 41, 90]]
    device.asked.clear()
    outcome = run(driver.curve(METER, asked))
    assert (outcome.reads.time == asked).all()
    assert device.asked.count((7, model.LOAD_PROFILE, 2)) == 3  # [1, 3], [40, 41], [90]
    assert len(run(driver.curve(METER, SLOTS[:0])).reads) == 0


def test_a_slot_written_twice_counts_once(run: Run, driver: DlmsDriver, device: Device) -> None:
    device.rows[model.LOAD_PROFILE] = SLOTS[[0, 1, 2, 1, 2, 3]]  # the clock was set back half an hour
    outcome = run(driver.curve(METER, SLOTS[:4]))
    assert (outcome.reads.time == SLOTS[:4]).all()
    assert len(outcome.absent) == 0


def test_the_model_fits_a_small_pdu(driver: DlmsDriver) -> None:
    device = Device(max_pdu=100)
    client = driver.exchange(METER)
    drive(driver.open(METER), client, device)
    outcome = drive(driver.curve(METER, SLOTS), client, device)
    assert (outcome.reads.columns["active_export"] == device.raw("active_export", SLOTS)).all()


def test_a_meter_without_the_profile(run: Run, driver: DlmsDriver, device: Device) -> None:
    device.missing.add(model.LOAD_PROFILE)
    outcome = run(driver.curve(METER, SLOTS))
    assert (outcome.absent == SLOTS).all()


def test_single_phase(driver: DlmsDriver) -> None:
    device = Device(phases=1)
    meter = Meter(key=8, address="17", zone=ZONE, phases=1, secrets=METER.secrets)
    client = driver.exchange(meter)
    drive(driver.open(meter), client, device)
    outcome = drive(driver.curve(meter, SLOTS), client, device)
    assert "voltage_b" not in outcome.reads.columns
    assert outcome.reads.valid("voltage_a").all()


@pytest.mark.parametrize(("scaler", "factor"), [(-1, 1), (0, 10), (3, 10_000)])
def test_scaler_is_the_meters(driver: DlmsDriver, scaler: int, factor: int) -> None:
    device = Device(scaler=scaler)
    client = driver.exchange(METER)
    drive(driver.open(METER), client, device)
    outcome = drive(driver.curve(METER, SLOTS), client, device)
    assert (outcome.reads.columns["active_import"] == device.raw("active_import", SLOTS) * factor).all()


def test_a_wrong_unit_is_not_believed(run: Run, driver: DlmsDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    true = model.by_quantity()["active_import"]
    wrong = {**model.by_quantity(), "active_import": type(true)(
        true.class_id, true.obis, true.attribute, "", "", true.tag, -1, 32, true.quantity, ""
    )}  # fmt: skip
    monkeypatch.setattr(model, "by_quantity", lambda: wrong)
    with pytest.raises(FrameError, match="unit 32"):
        run(driver.registers(METER, NOW))


def test_a_register_without_scaler_is_missing(run: Run, driver: DlmsDriver, device: Device) -> None:
    device.missing.add("reactive_power")
    outcome = run(driver.curve(METER, SLOTS))
    assert not outcome.reads.valid("reactive_power").any()
    assert outcome.reads.valid("active_power").all()


def test_a_changed_profile_drops_the_layout(run: Run, driver: DlmsDriver, device: Device) -> None:
    run(driver.curve(METER, SLOTS[:4]))
    device.phases = 1
    with pytest.raises(FrameError, match="capture_objects"):
        run(driver.curve(METER, SLOTS[:4]))


def test_day_freeze(run: Run, driver: DlmsDriver, device: Device) -> None:
    nights = np.array([midnight(DAY + dt.timedelta(days=n), ZONE) for n in range(5)])
    device.rows[model.DAY_PROFILE] = nights[[0, 1, 3]]
    outcome = run(driver.day_freeze(METER, nights, NOW))
    assert (outcome.reads.time == nights[[0, 1, 3]]).all()
    assert (outcome.absent == nights[[2, 4]]).all()
    assert set(outcome.reads.columns) == set(REGISTER_QUANTITIES)
    want = device.raw("active_import_t3", nights[[0, 1, 3]])
    assert (outcome.reads.columns["active_import_t3"] == want).all()


def test_registers(run: Run, driver: DlmsDriver, device: Device) -> None:
    device.missing.add("active_import_t4")
    reads = run(driver.registers(METER, NOW))
    assert len(reads) == 1
    assert reads.time[0] == NOW
    assert reads.columns["active_import"][0] == device.raw("active_import", np.array([NOW]))[0]
    assert reads.columns["active_import_t4"][0] == MISSING
    assert reads.columns["active_power"].dtype == np.float64


def test_clock(run: Run, driver: DlmsDriver, device: Device) -> None:
    assert run(driver.clock(METER)) == NOW
    later = NOW + np.timedelta64(90, "s")
    run(driver.set_clock(METER, later))
    assert device.clock == later


def test_retention_of_this_meter(run: Run, driver: DlmsDriver, device: Device) -> None:
    span = run(driver.measure_retention(METER))
    assert span.curve == dt.timedelta(seconds=2000 * 900)
    assert span.day_freeze == dt.timedelta(days=2000)
    device.missing |= {model.LOAD_PROFILE, model.DAY_PROFILE}
    assert run(driver.measure_retention(METER)) == driver.retention


#: control mode -> what trip (of a closed relay), permit and close (of an open one) leave behind; None: refused
RELAY = {
    0: (None, None, None),
    1: (model.DISCONNECTED, model.READY, None),
    2: (model.DISCONNECTED, None, model.CONNECTED),
    3: (model.DISCONNECTED, model.READY, None),
    4: (model.DISCONNECTED, None, model.CONNECTED),
    5: (model.DISCONNECTED, model.READY, None),
    6: (model.DISCONNECTED, model.READY, None),
    7: (None, None, None),
}


@pytest.mark.parametrize("mode", RELAY)
def test_relay_by_control_mode(run: Run, driver: DlmsDriver, device: Device, mode: int) -> None:
    device.mode = mode
    actions = (RelayAction.TRIP, RelayAction.PERMIT, RelayAction.CLOSE)
    for action, before, after in zip(
        actions, (model.CONNECTED, model.DISCONNECTED, model.DISCONNECTED), RELAY[mode], strict=True
    ):
        device.state = before
        if after is None:
            with pytest.raises(Refused) as no:
                run(driver.relay(METER, action, NOW))
            assert no.value.code == NOT_POSSIBLE
            assert not no.value.absent
            assert device.state == before
        else:
            assert not run(driver.relay(METER, action, NOW)).pending
            assert device.state == after


@pytest.mark.parametrize("action", [RelayAction.KEEP_POWER, RelayAction.END_KEEP_POWER])
def test_keep_power_does_not_exist(run: Run, driver: DlmsDriver, action: RelayAction) -> None:
    with pytest.raises(Refused, match="DLMS"):
        run(driver.relay(METER, action, NOW))


def test_relay_state(run: Run, driver: DlmsDriver, device: Device) -> None:
    load = device.raw("active_power", np.array([NOW]))[0] / 1000
    seen = {}
    for state in (model.DISCONNECTED, model.CONNECTED, model.READY):
        device.state = state
        seen[state] = run(driver.relay_state(METER))
        assert seen[state].load_kw == load
        assert not seen[state].keep_power
    assert [(s.open, s.permitted) for s in seen.values()] == [(True, False), (False, False), (True, True)]
    device.missing.add("active_power")
    driver.forget(METER.key)
    assert np.isnan(run(driver.relay_state(METER)).load_kw)


def test_wrong_password(driver: DlmsDriver, device: Device) -> None:
    meter = Meter(key=1, address="17", zone=ZONE, secrets={"password": "wrong"})
    with pytest.raises(Refused) as no:
        drive(driver.open(meter), driver.exchange(meter), device)
    assert no.value.code == 13


def test_close_releases(run: Run, driver: DlmsDriver, device: Device) -> None:
    run(driver.close(METER))
    assert not device.server.associated
    with pytest.raises(Refused, match="service-not-allowed"):
        run(driver.clock(METER))


@pytest.mark.parametrize("address", ["", "abc", "0", "65536", "000000000001x"])
def test_an_address_is_a_port(driver: DlmsDriver, address: str) -> None:
    with pytest.raises(Misuse):
        driver.exchange(Meter(key=1, address=address, zone=ZONE))


def test_client_ports(driver: DlmsDriver) -> None:
    assert driver.exchange(METER).client == 1
    assert driver.exchange(Meter(key=1, address="17", zone=ZONE)).client == 16
    assert driver.exchange(Meter(key=1, address="17", zone=ZONE, secrets={"client": "3"})).client == 3


def test_runs_are_bounded() -> None:
    step = np.timedelta64(900, "s")
    slots = np.datetime64("2026-01-01T00:00:00", "us") + step * np.arange(3 * RUN_SLOTS)
    parts = list(runs(slots, 900))
    assert max(map(len, parts)) <= RUN_SLOTS
    assert (np.concatenate(parts) == slots).all()
    gap = np.concatenate([slots[:2], slots[2 + BRIDGE_SLOTS : 4 + BRIDGE_SLOTS]])
    assert [len(p) for p in runs(gap, 900)] == [4]
    gap = np.concatenate([slots[:2], slots[3 + BRIDGE_SLOTS : 4 + BRIDGE_SLOTS]])
    assert [len(p) for p in runs(gap, 900)] == [2, 1]
