"""Against the `dlt698` package from PyPI (C++ inside) on real sockets: our driver asks its server, its client asks our simulated terminal."""

import asyncio
import datetime as dt

import pytest

from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import requests, values
from protocols.dlt698.exchange import CLIENT
from protocols.dlt698.requests import GetRecords
from protocols.dlt698.values import Data
from protocols.errors import Refused
from protocols.localtime import day_slots
from terminals.drivers.dlt698 import Dlt698Driver
from terminals.drivers.driver import Meter
from terminals.links.tcp import connect
from terminals.pace import Timing
from terminals.session import Session
from terminals.simulator.scenario import ZONE
from terminals.simulator.wires import DialOut, Surroundings
from tests.support.terminal698 import Table, civil, world_of

peer = pytest.importorskip("dlt698")
native = pytest.importorskip("dlt698._native")
codec = pytest.importorskip("dlt698.codec")

PATIENT = Timing(first=2.0, floor=1.0, ceiling=4.0, gap=0.2, attempts=2, pause=0.0, whole=20.0)
ADDRESS = "410000010002"
NIGHT = "2026-03-12 00:07"
PRESET = native.ConnectionProfile.local_preset
THEIRS = {
    0x40000200: Data(values.DATE_TIME_S, bytes.fromhex("07ea030b080f00")),
    0x00100200: values.array(*(Data(values.DOUBLE_LONG_UNSIGNED, k) for k in (12345, 1, 2, 3, 4))),
    0x20000200: values.array(*(Data(values.LONG_UNSIGNED, k) for k in (2301, 2302, 2303))),
    0x20010200: values.array(*(Data(values.DOUBLE_LONG, k) for k in (-5000, 0, 5001))),
}


def oad(number):
    return native.Oad(oi=number >> 16, attribute=number >> 8 & 0xFF, index=number & 0xFF)


def protocol(options, address):
    """Their options with our addresses: SA low byte first."""
    terms = options.protocol
    server = bytes.fromhex(address)[::-1]
    terms.server = native.ServerAddress(bytes=server, logical=0, type=native.AddressType.single)
    terms.client_address = CLIENT
    options.protocol = terms
    return options


@pytest.fixture
def their_server():
    with peer.Server(None, protocol(native.ServerOptions(), ADDRESS)) as server:
        for number, data in THEIRS.items():
            server.set(oad(number), codec.decode_data(values.encode(data)))
        server.start_tcp("127.0.0.1", 0, PRESET)
        yield server


async def test_our_driver_reads_their_server(their_server, closing):
    """A terminal that is asked about itself: clock and present values; what it lacks is missing, what it forbids is refused."""
    link = closing(await connect("127.0.0.1", their_server.local_port, 2.0))
    driver, meter = Dlt698Driver(), Meter(1, ADDRESS, ZONE, 3, {}, ADDRESS)
    session = Session(link, driver.exchange(meter), PATIENT)
    assert await session.run(driver.clock(meter)) == civil("2026-03-11 08:15")
    reads = await session.run(driver.registers(meter, civil(NIGHT)))
    assert {code: column[0] for code, column in reads.columns.items() if reads.valid(code)[0]} == {
        "active_import": 1_234_500, "active_import_t1": 100, "active_import_t2": 200, "active_import_t3": 300,
        "active_import_t4": 400, "voltage_a": 230.1, "voltage_b": 230.2, "voltage_c": 230.3, "current_a": -5.0,
        "current_b": 0.0, "current_c": 5.001,
    }  # fmt: skip
    with pytest.raises(Refused):
        await session.run(driver.set_clock(meter, civil(NIGHT)))
    with pytest.raises(Refused):  # it has no task records
        await session.run(driver.curve(meter, day_slots(dt.date(2026, 3, 11), ZONE)))


async def test_their_client_reads_our_terminal(closing):
    """What it makes of a day's records is what our decoder makes of them: the same request, data blocks, segments, row by row.

    Of an even terminal: the flat rows of the odd ones are unknown to it."""
    table = Table(world_of(), 0, NIGHT)
    wire = DialOut(table.terminal, Surroundings(lambda: table.now, lambda terminal: None))
    host, port = (await wire.start(0)).split(":")
    try:
        script = table.driver.curve(table.meters[1], day_slots(dt.date(2026, 3, 11), ZONE))
        ours = next(script)
        script.close()
        rows = await asyncio.to_thread(their_rows, int(port), table.concentrator.address, ours)
        link = closing(await connect(host, int(port), 2.0))
        session = Session(link, table.driver.exchange(table.meters[1]), PATIENT)
        record = await session.request(GetRecords(ours.oad, ours.rsd, ours.columns))
        assert rows == list(record.rows)
        assert len(rows) > 90
    finally:
        await wire.stop()


def their_rows(port, address, request):
    """The rows that their client gets for our request."""
    query = codec.decode_apdu(apdus.encode(requests.encode(request, 0)))
    with peer.Client(protocol(native.ClientOptions(), address)) as client:
        client.connect_tcp("127.0.0.1", port, PRESET)
        assert client.get(oad(0x40000200)).data is not None
        result = client.get_record(query.records[0]).result
    return [tuple(values.decode(bytes(codec.encode_data(cell))) for cell in row) for row in result]
