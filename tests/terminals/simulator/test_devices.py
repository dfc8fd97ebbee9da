"""Meters answer real frames: every item, load records, freezes, clocks, relays. Bytes in, bytes out, no sockets."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pytest

from protocols.dlms import model, values
from protocols.dlms.exchange import Act, Associate, Client, EntrySelector, Get, RangeSelector, Set
from protocols.dlms.values import Data
from protocols.dlt645 import blocks
from protocols.dlt645.exchange import (
    Control,
    Master,
    Read,
    ReadAddress,
    SealedControl,
    Secure,
    SetTimeBroadcast,
    Write,
)
from protocols.dlt645.frame import Frame
from protocols.dlt645.requests import control_plain
from protocols.dlt645.security import AUTHENTICATE, dispersion_of, session_of
from protocols.dlt645.values import decode
from protocols.errors import FrameError, Refused
from protocols.exchange import NEED_DATA, Answer, Ignored, Send
from protocols.localtime import local_fields
from terminals.simulator import archive, truth
from terminals.simulator.area import Area
from terminals.simulator.meter import Meter
from terminals.simulator.relay import Contact
from terminals.simulator.scenario import ZONE, Plan, small, stream
from terminals.simulator.standin import StandInMachine
from terminals.simulator.terminal import Terminal

NOON = "2026-03-12 12:07"


MACHINE = StandInMachine()


class Bench:
    """One terminal on the table: a master beside it, time standing still."""

    def __init__(self, world, area, now, lost=0.0, garbled=0.0, key_delay=3):
        self.plan = world.plans[area]
        self.now = now
        self.acts = []
        keys = archive.passwords(world, area)
        area_now = Area(world.scenario, self.plan)
        self.meters = [
            Meter(
                area_now,
                k,
                password=keys[k],
                see=self.acts.append,
                key_delay=np.timedelta64(key_delay * 60_000_000, "us"),
                drift=np.timedelta64(0, "us"),
            )
            for k in range(self.plan.meters)
        ]
        self.terminal = Terminal(
            self.plan, self.meters, lost=lost, garbled=garbled, rng=stream(1, "line", area)
        )

    def ask(self, exchange, request):
        """The answer, or TimeoutError if the bus stays silent."""
        pieces = list(self.terminal.exchange(exchange.send(request), lambda: self.now))
        while True:
            event = exchange.next_event()
            if event is NEED_DATA:
                if not pieces:
                    exchange.abandon()
                    raise TimeoutError
                exchange.receive_data(pieces.pop(0))
            elif isinstance(event, Send):
                pieces += self.terminal.exchange(event.data, lambda: self.now)
            elif isinstance(event, Answer):
                return event.value
            else:
                assert isinstance(event, Ignored)

    def read(self, meter, di, extra=b""):
        return self.ask(Master(), Read(self.meters[meter].address, di, extra)).data

    def control(self, meter, action, expires=None, password=None):
        expires = self.now + np.timedelta64(600_000_000, "us") if expires is None else expires
        local = local_fields(np.array([expires]), ZONE)[0]
        address = self.meters[meter].address
        if password is not None:
            return self.ask(Master(), Control(address, action, local, password=password))
        session = self.authenticate(meter)
        sealed = MACHINE.seal_control(session, control_plain(action, 0, local))
        return self.ask(Master(), SealedControl(address, sealed.encode()))

    def authenticate(self, meter):
        address = self.meters[meter].address
        challenge = MACHINE.authenticate(dispersion_of(address))
        answer = self.ask(Master(), Secure(address, AUTHENTICATE, challenge.encode()))
        return session_of(challenge, answer.data)


@pytest.fixture
def world(quiet_world):
    return quiet_world


@pytest.fixture
def bench(world, at):
    """A DL/T 645 terminal without a dead meter, whose answers to 1CH carry words."""
    dead = {spot.area for spot in world.faults.dead}
    area = next(p.area for p in world.plans if p.protocol == "dlt645" and p.area not in dead and p.area != 3)
    return Bench(world, area, at(NOON))


@pytest.fixture
def expected(world, tmp_path):
    truth.write(tmp_path, world)
    return truth.load(tmp_path).expected()


def row_of(bench, meter):
    return bench.plan.area * bench.plan.meters + meter


def kwh(raw):
    return [int(v.value * 10_000) for v in raw]


# --- DL/T 645 ---


def test_energies(bench):
    registers = bench.meters[1].registers(bench.now)
    assert kwh(decode(0x0001FF00, bench.read(1, 0x0001FF00))) == registers.tolist()
    for tariff in range(5):
        di = 0x00010000 | tariff << 8
        assert kwh(decode(di, bench.read(1, di))) == [registers[tariff]]
    assert kwh(decode(0x00000000, bench.read(1, 0x00000000))) == [registers[0]]
    assert set(kwh(decode(0x0002FF00, bench.read(1, 0x0002FF00)))) == {0}


def test_instants_of_one_and_three_phases(bench):
    shown = bench.meters[0].shown(bench.now)
    assert [int(v.value * 10) for v in decode(0x0201FF00, bench.read(0, 0x0201FF00))] == shown[:3].tolist()
    assert [int(v.value * 1000) for v in decode(0x0202FF00, bench.read(0, 0x0202FF00))] == shown[3:6].tolist()
    assert [int(v.value * 10_000) for v in decode(0x0203FF00, bench.read(0, 0x0203FF00))] == shown[
        6:10
    ].tolist()
    assert [int(v.value * 10_000) for v in decode(0x0204FF00, bench.read(0, 0x0204FF00))] == shown[
        10:
    ].tolist()
    assert len(decode(0x0201FF00, bench.read(1, 0x0201FF00))) == 1
    assert decode(0x02030000, bench.read(1, 0x02030000))[0].value > 0
    assert 0.8 < decode(0x02060000, bench.read(1, 0x02060000))[0].value < 1
    assert decode(0x02800002, bench.read(1, 0x02800002))[0].value == Decimal("50.00")
    with pytest.raises(Refused) as refused:
        bench.read(1, 0x02010200)
    assert refused.value.absent


@pytest.mark.parametrize(
    "di",
    [
        0x00010001,
        0x00010500,
        0x00030000,
        0x01010000,
        0x02070000,
        0x03120000,
        0x04001501,
        0x05000001,
        0x05060300,
        0x0506003F,
        0x06030002,
        0x07000000,
    ],
)
def test_what_it_lacks_it_says(bench, di):
    with pytest.raises(Refused) as refused:
        bench.read(1, di, b"\x01" if di >> 24 == 6 else b"")
    assert refused.value.code == 2


def test_clock_and_parameters(bench):
    day, weekday = decode(0x04000101, bench.read(1, 0x04000101))
    assert (day.value, weekday.value) == (dt.date(2026, 3, 12), 4)
    assert decode(0x04000102, bench.read(1, 0x04000102))[0].value == dt.time(12, 7)
    assert decode(0x04000401, bench.read(1, 0x04000401))[0].value == bench.meters[1].asset
    assert decode(0x04000403, bench.read(1, 0x04000403))[0].value == bench.meters[1].asset
    for di in (
        0x04000103,
        0x0400010C,
        0x04000402,
        0x04000404,
        0x04000407,
        0x0400040B,
        0x0400040D,
        0x04000501,
        0x040005FF,
        0x04000901,
        0x04000A02,
        0x04001401,
    ):
        assert decode(di, bench.read(1, di))


def test_day_freezes(bench, expected, at):
    row = row_of(bench, 2)
    for back, midnight in ((1, "2026-03-12 00:00"), (2, "2026-03-11 00:00")):
        stamp = decode(0x05060000 | back, bench.read(2, 0x05060000 | back))[0].value
        assert stamp == dt.datetime.fromisoformat(midnight)
        k = list(expected.midnights).index(at(midnight))
        registers = kwh(decode(0x05060100 | back, bench.read(2, 0x05060100 | back)))
        assert registers == [int(column[row, k]) for column in list(expected.freezes.values())[:5]]
        assert kwh(decode(0x05060200 | back, bench.read(2, 0x05060200 | back))) == [0] * 5
        whole = decode(0x0506FF00 | back, bench.read(2, 0x0506FF00 | back))
        assert whole[0].value == stamp
    with pytest.raises(Refused):
        bench.read(2, 0x05060003)  # before history


def load(bench, meter, di, extra):
    return blocks.decode_blocks(bench.read(meter, di, extra))


def test_load_records(bench, expected, at):
    start = np.datetime64("2026-03-12T11:00", "us")
    found = load(bench, 0, 0x06000001, blocks.from_time(start, 9))
    assert [block.time for block in found] == [dt.datetime(2026, 3, 12, 11, m) for m in (0, 15, 30, 45)] + [
        dt.datetime(2026, 3, 12, 12)
    ]
    slot = list(expected.slots).index(at("2026-03-12 11:15"))
    values_there = {v.quantity: v.value for part in found[1].classes.values() for v in part if v.quantity}
    row = row_of(bench, 0)
    assert float(values_there["active_import"]) * 10_000 == pytest.approx(
        expected.curve["active_import"][row, slot]
    )
    for code in ("voltage_a", "voltage_c", "current_b", "active_power", "reactive_power"):
        assert float(values_there[code]) == expected.curve[code][row, slot]
    assert [b.time for b in load(bench, 0, 0x06000002, blocks.number_of_blocks(2))] == [
        dt.datetime(2026, 3, 12, 11, 45), dt.datetime(2026, 3, 12, 12),
    ]  # fmt: skip
    assert load(bench, 0, 0x06000000, blocks.number_of_blocks(1))[0].time == dt.datetime(2026, 3, 10, 0, 15)
    assert len(load(bench, 0, 0x06000002, blocks.number_of_blocks(99))) == 99
    only = load(bench, 0, 0x06040001, blocks.from_time(start, 1))[0]
    assert set(only.classes) == {4}
    assert len(load(bench, 0, 0x06000001, blocks.from_time(np.datetime64("2020-01-01T00:07", "us"), 3))) == 3
    with pytest.raises(Refused):
        load(bench, 0, 0x06000001, blocks.from_time(np.datetime64("2026-03-12T12:15", "us"), 1))


def test_a_gap_is_passed_over(world, at):
    gap = world.faults.missing[0]
    bench = Bench(world, gap.spot.area, at(NOON))
    if bench.plan.protocol != "dlt645":
        pytest.skip("this seed planted the gap in a DLMS meter")
    start = np.datetime64("2026-03-11T00:15", "us") + np.timedelta64(15 * gap.first, "m")
    found = load(bench, gap.spot.customer + 1, 0x06000001, blocks.from_time(start, 1))
    after = start + np.timedelta64(15 * gap.count, "m")
    assert np.datetime64(found[0].time, "us") == after
    assert (
        len(load(bench, gap.spot.customer + 1, 0x06000001, blocks.from_time(start, 99)))
        == 96 + 48 - gap.first - gap.count
    )


def test_single_phase_blocks_mark_what_is_not_there(bench):
    first = load(bench, 1, 0x06000002, blocks.number_of_blocks(1))[0]
    by_code = {v.quantity: v.value for v in first.classes[1] if v.quantity}
    assert by_code["voltage_a"] > 200
    assert by_code["voltage_b"] is by_code["current_c"] is None


def test_a_broadcast_sets_all_clocks_a_little(bench, at):
    def clocks():
        return {meter.clock(bench.now) for meter in bench.meters}

    bench.ask(Master(), SetTimeBroadcast(np.datetime64("2026-03-12T12:09:30", "us")))
    assert clocks() == {at("2026-03-12 12:09:30")}
    bench.ask(Master(), SetTimeBroadcast(np.datetime64("2026-03-12T12:20", "us")))
    assert clocks() == {at("2026-03-12 12:09:30")}


def test_clock_write_needs_the_password(bench, at):
    address, password = bench.meters[1].address, bench.meters[1].password
    data = bytes.fromhex("00 30 12")  # 12:30:00, low byte first
    with pytest.raises(Refused) as refused:
        bench.ask(Master(), Write(address, 0x04000102, data, password="999999"))
    assert refused.value.code == 4
    bench.ask(Master(), Write(address, 0x04000102, data, password=password))
    assert bench.meters[1].clock(bench.now) == at("2026-03-12 12:30")
    bench.ask(Master(), Write(address, 0x04000101, bytes.fromhex("05 13 03 26"), password=password))
    assert bench.meters[1].clock(bench.now) == at("2026-03-13 12:30")
    with pytest.raises(Refused):
        bench.ask(Master(), Write(address, 0x04000102, b"\xff" * 3, password=password))
    with pytest.raises(Refused):
        bench.ask(Master(), Write(address, 0x04000103, b"\x30", password=password))


def test_relay_permit_and_key(bench, at):
    assert bench.control(1, 0x1A).word == 0x0004
    status = decode(0x04000503, bench.read(1, 0x04000503))[0].value
    assert status & 0x50 == 0x50
    assert decode(0x02030000, bench.read(1, 0x02030000))[0].value == 0
    assert decode(0x02010100, bench.read(1, 0x02010100))[0].value > 200
    frozen = bench.read(1, 0x00010000)
    bench.now = at("2026-03-12 13:00")
    assert bench.read(1, 0x00010000) == frozen
    assert bench.control(1, 0x1B).word == 0x0002
    assert decode(0x04000503, bench.read(1, 0x04000503))[0].value & 0x50 == 0x10
    bench.now = at("2026-03-12 13:04")
    assert decode(0x04000503, bench.read(1, 0x04000503))[0].value & 0x50 == 0
    assert decode(0x02030000, bench.read(1, 0x02030000))[0].value > 0
    assert [(act.act, act.at) for act in bench.acts] == [
        ("trip", at(NOON)), ("permit", at("2026-03-12 13:00")), ("key", at("2026-03-12 13:03")),
    ]  # fmt: skip
    assert bench.control(1, 0x1C).word == 0x0001


def test_relay_commands_expire_and_need_the_password(bench):
    late = bench.now - np.timedelta64(60_000_000, "us")
    for change, code in (({"expires": late}, 0x0010), ({"password": "999999"}, 0x0004)):
        with pytest.raises(Refused) as refused:
            bench.control(1, 0x1A, **change)
        assert refused.value.code == code
    # the meter's own clock decides
    bench.meters[1].set_clock(bench.now, late - np.timedelta64(1_000_000, "us"))
    assert bench.control(1, 0x1A, expires=late).word == 4
    assert [act.act for act in bench.acts] == ["refused", "refused", "trip"]
    assert [act.detail for act in bench.acts] == ["trip: expired", "trip: password", ""]


@pytest.mark.parametrize("action", [0x1A, 0x1D, 0x3A, 0x3B, 0x2A])
@pytest.mark.parametrize("level", [2, 4])
def test_a_password_alone_cuts_nobody_off(bench, action, level):
    address, password = bench.meters[1].address, bench.meters[1].password
    until = local_fields(np.array([bench.now + np.timedelta64(1, "h")]), ZONE)[0]
    with pytest.raises(Refused):
        bench.ask(Master(), Control(address, action, until, level=level, password=password))
    assert decode(0x04000503, bench.read(1, 0x04000503))[0].value & 0x1050 == 0
    assert not [act for act in bench.acts if act.act != "refused"]


def test_a_password_gives_supply_back(bench):
    bench.control(1, 0x1A)
    assert bench.control(1, 0x1C, password=bench.meters[1].password).word == 0x0001
    assert decode(0x04000503, bench.read(1, 0x04000503))[0].value & 0x50 == 0


def test_a_sealed_command_needs_a_fresh_authentication_of_this_meter(bench):
    address = bench.meters[1].address
    until = local_fields(np.array([bench.now + np.timedelta64(1, "h")]), ZONE)[0]
    plain = control_plain(0x1A, 0, until)
    session = bench.authenticate(1)
    assert decode(0x04000503, bench.read(1, 0x04000503))[0].value & 0x2000
    good = MACHINE.seal_control(session, plain).encode()

    def refused(sealed: bytes) -> int:
        with pytest.raises(Refused) as refusal:
            bench.ask(Master(), SealedControl(address, sealed))
        return refusal.value.code

    assert refused(good[:-1] + bytes((good[-1] ^ 1,))) == 0x0002
    assert refused(good) == 0x0008  # a wrong MAC ends the authentication
    bench.authenticate(1)
    assert refused(good) == 0x0002  # sealed for the session before
    session = bench.authenticate(1)
    bench.now += np.timedelta64(6, "m")
    assert refused(MACHINE.seal_control(session, plain).encode()) == 0x0008
    session = bench.authenticate(1)
    sealed = MACHINE.seal_control(session, plain).encode()
    assert bench.ask(Master(), SealedControl(address, sealed)).word == 0x0004
    assert refused(sealed) == 0x0008  # nobody sends it again
    challenge = MACHINE.authenticate(dispersion_of("000000000999"))
    with pytest.raises(Refused) as refusal:
        bench.ask(Master(), Secure(address, AUTHENTICATE, challenge.encode()))
    assert refusal.value.code == 0x0008


def test_keep_power_refuses_a_trip(bench):
    assert bench.control(1, 0x3A).word == 0x0100
    assert decode(0x04000503, bench.read(1, 0x04000503))[0].value & 0x1000
    with pytest.raises(Refused) as refused:
        bench.control(1, 0x1A)
    assert refused.value.code == 0x0020
    assert bench.control(1, 0x3B).word == 0x0200
    assert bench.control(1, 0x1A).word == 0x0004


def test_a_supply_meter_has_no_relay(bench):
    with pytest.raises(Refused):
        bench.control(0, 0x1A)
    with pytest.raises(Refused):
        bench.control(1, 0x2A)  # alarm: not built in


def test_older_meters_answer_without_a_word(world, at):
    bench = Bench(world, 3, at(NOON))
    meter = next(k for k in range(1, bench.plan.meters) if not bench.meters[k].dead)
    if bench.plan.protocol != "dlt645":
        pytest.skip("area 3 is no DL/T 645 area")
    assert bench.control(meter, 0x1A).word is None
    with pytest.raises(Refused) as refused:
        bench.control(meter, 0x1A, password="999999")
    assert refused.value.code == 4


def test_the_dead_are_silent_and_wildcards_collide(world, at):
    for spot in world.faults.dead:
        bench = Bench(world, spot.area, at(NOON))
        if bench.plan.protocol == "dlt645":
            with pytest.raises(TimeoutError):
                bench.read(spot.customer + 1, 0x00010000)
        else:
            with pytest.raises(TimeoutError):
                bench.ask(Client(1, int(bench.meters[spot.customer + 1].address)), Associate(b"x"))
    bench = Bench(world, 1, at(NOON))
    with pytest.raises((TimeoutError, FrameError)):
        bench.ask(Master(), ReadAddress())


def test_noise_and_pieces(bench):
    frame = Frame(bench.meters[1].address, 0x11, (0x00010000).to_bytes(4, "little")).encode(2)
    pieces = [b"\x68\x01\x99noise", *(frame[k : k + 1] for k in range(len(frame)))]
    answers = [a for piece in pieces for a in bench.terminal.exchange(piece, lambda: bench.now)]
    assert len(answers) == 1


def test_lost_and_garbled_answers_come_as_often_as_said(world, at):
    bench = Bench(world, 0, at(NOON), lost=0.1, garbled=0.2)
    meter = next(k for k in range(bench.plan.meters) if not bench.meters[k].dead)
    frame = Frame(bench.meters[meter].address, 0x11, (0x00010000).to_bytes(4, "little")).encode()
    answers = [list(bench.terminal.exchange(frame, lambda: bench.now)) for _ in range(2_000)]
    good = max({a[0] for a in answers if a}, key=[a[0] for a in answers if a].count)
    lost = sum(not a for a in answers)
    wrong = sum(bool(a) and a[0] != good for a in answers)
    assert 150 < lost < 250
    assert 330 < wrong < 470
    assert bench.terminal.answered == 2_000
    assert bench.terminal.swallowed == lost


# --- DLMS ---


@pytest.fixture
def gateway(world, at):
    """A DLMS terminal, and a function that associates with one of its meters."""
    area = next(p.area for p in world.plans if p.protocol == "dlms")
    bench = Bench(world, area, at(NOON))

    def associate(meter, password=None):
        client = Client(1, int(bench.meters[meter].address))
        secret = bench.meters[meter].password if password is None else password
        bench.ask(client, Associate(secret.encode()))
        return client

    bench.associate = associate
    bench.living = [k for k in range(bench.plan.meters) if not bench.meters[k].dead]
    return bench


def test_dlms_registers_and_scalers(gateway):
    client = gateway.associate(0)
    for code, item in model.by_quantity().items():
        scaler, unit = (d.value for d in gateway.ask(client, Get(3, item.obis, 3)).value)
        assert (scaler, unit) == (item.scaler, item.unit)
        value = gateway.ask(client, Get(3, item.obis, 2))
        if code == "active_import_t2":
            assert value.value == gateway.meters[0].registers(gateway.now)[2]
    assert gateway.ask(client, Get(8, model.CLOCK, 1)).value == values.obis_bytes(model.CLOCK)


def test_dlms_wrong_password_and_missing_objects(gateway):
    with pytest.raises(Refused) as refused:
        gateway.associate(0, "wrong")
    assert refused.value.code == 13
    client = gateway.associate(gateway.living[1])
    for target in (
        Get(3, "1.0.99.9.0.255", 2),
        Get(3, "1.0.1.8.0.255", 9),
        Get(1, model.CLOCK, 1),
        Get(7, "1.0.99.7.0.255", 2),
    ):
        with pytest.raises(Refused) as refused:
            gateway.ask(client, target)
        assert refused.value.absent
    single = next(k for k in gateway.living if gateway.meters[k].phases == 1)
    with pytest.raises(Refused):
        gateway.ask(gateway.associate(single), Get(3, "1.0.52.7.0.255", 2))
    with pytest.raises(Refused):
        gateway.ask(gateway.associate(0), Get(70, model.DISCONNECT, 3))


def test_dlms_profiles(gateway, expected, at):
    client = gateway.associate(0)
    row = row_of(gateway, 0)
    begin, end = at("2026-03-11 00:15"), at("2026-03-12 00:00")
    everything = gateway.ask(client, Get(7, model.LOAD_PROFILE, 2, RangeSelector(begin, end, ZONE)))
    day = slice(96, 192)
    assert len(everything.value) == 96
    codes = model.slot_quantities(3)
    wanted = gateway.ask(client, Get(7, model.LOAD_PROFILE, 3)).value
    assert len(wanted) == 1 + len(codes)
    imports = [r.value[1 + codes.index("active_import")].value for r in everything.value]
    assert imports == expected.curve["active_import"][row, day].tolist()
    watts = [r.value[1 + codes.index("active_power")].value for r in everything.value]
    assert watts == np.rint(expected.curve["active_power"][row, day] * 1_000).tolist()
    for obis, rows in ((model.LOAD_PROFILE, 96 * 2 + 48), (model.DAY_PROFILE, 2)):
        assert gateway.ask(client, Get(7, obis, 7)).value == rows
    assert gateway.ask(client, Get(7, model.LOAD_PROFILE, 4)).value == 900
    days = gateway.ask(client, Get(7, model.DAY_PROFILE, 2)).value
    assert [r.value[1].value for r in days] == expected.freezes["active_import"][row, :2].tolist()
    last = gateway.ask(client, Get(7, model.LOAD_PROFILE, 2, EntrySelector(239, 0, 1, 2))).value
    assert [len(r.value) for r in last] == [2, 2]
    nothing = gateway.ask(
        client, Get(7, model.LOAD_PROFILE, 2, RangeSelector(gateway.now, gateway.now, ZONE))
    )
    assert nothing.value == ()


def test_dlms_clock(gateway, at):
    client = gateway.associate(gateway.living[1])
    new = values.octets(values.encode_clock(at("2026-03-12 12:30"), ZONE))
    gateway.ask(client, Set(8, model.CLOCK, 2, new))
    answer = gateway.ask(client, Get(8, model.CLOCK, 2))
    assert values.decode_clock(answer.value, ZONE).utc == at("2026-03-12 12:30")
    for bad in (Data(values.UNSIGNED, 3), values.octets(b"short")):
        with pytest.raises(Refused):
            gateway.ask(client, Set(8, model.CLOCK, 2, bad))
    with pytest.raises(Refused):
        gateway.ask(client, Set(3, "1.0.1.8.0.255", 2, Data(values.UNSIGNED, 3)))


def test_dlms_reconnect_needs_the_key(gateway, at):
    meter = gateway.living[1]
    client = gateway.associate(meter)
    zero = Data(values.INTEGER, 0)

    def state():
        return [gateway.ask(client, Get(70, model.DISCONNECT, k)).value for k in (2, 3)]

    assert state() == [True, model.CONNECTED]
    gateway.ask(client, Act(70, model.DISCONNECT, 1, zero))
    assert state() == [False, model.DISCONNECTED]
    assert gateway.ask(client, Get(3, "1.0.16.7.0.255", 2)).value == 0
    gateway.ask(client, Act(70, model.DISCONNECT, 2, zero))
    assert state() == [False, model.READY]
    gateway.now = at("2026-03-12 12:11")
    assert state() == [True, model.CONNECTED]
    assert [act.act for act in gateway.acts] == ["trip", "permit", "key"]
    assert gateway.meters[meter].relay.contact is Contact.CLOSED


def test_dlms_other_control_modes(gateway):
    client = gateway.associate(gateway.living[1])
    zero = Data(values.INTEGER, 0)
    gateway.ask(client, Set(70, model.DISCONNECT, 4, Data(values.ENUM, 4)))
    gateway.ask(client, Act(70, model.DISCONNECT, 1, zero))
    gateway.ask(client, Act(70, model.DISCONNECT, 2, zero))
    assert gateway.ask(client, Get(70, model.DISCONNECT, 3)).value == model.CONNECTED
    gateway.ask(client, Set(70, model.DISCONNECT, 4, Data(values.ENUM, 0)))
    with pytest.raises(Refused):
        gateway.ask(client, Act(70, model.DISCONNECT, 1, zero))
    with pytest.raises(Refused):
        gateway.ask(client, Set(70, model.DISCONNECT, 4, Data(values.ENUM, 9)))


def test_garbled_dlms_answers_can_always_be_told(at):
    world = truth.build(
        small(7, plan=Plan(dead=0, missing=0, thieves=0, excursions=0, unbalanced=0, prepaid=2))
    )
    area = next(p.area for p in world.plans if p.protocol == "dlms")
    bench = Bench(world, area, at(NOON), garbled=1.0)
    client = Client(1, int(bench.meters[0].address))
    pieces = list(bench.terminal.exchange(client.send(Associate(b"x")), lambda: bench.now))
    assert pieces[0][1] != 1
