"""pymodbus as the other side: its framers on generated frames, its server under our Master, its client over our Device.

TCP goes over a socket, RTU over a pseudo-terminal.
"""

from __future__ import annotations

import asyncio
import os
import random
import tty
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
from pymodbus import ModbusDeviceIdentification
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from protocols.errors import Refused
from protocols.exchange import NEED_DATA, Answer, Send
from protocols.modbus.exchange import ILLEGAL_ADDRESS, Device, Master
from protocols.modbus.requests import (
    Identify,
    ReadBits,
    ReadRegisters,
    ReadWriteRegisters,
    Request,
    WriteCoil,
    WriteCoils,
    WriteRegister,
    WriteRegisters,
    parse_request,
    request_frame,
)
from protocols.modbus.rtu import frame as rtu
from protocols.modbus.tcp import frame as tcp

FRAMES = int(os.environ.get("PEER_FRAMES", "1000"))


def some_request(chance: random.Random) -> Request:
    unit, address, word = chance.randint(1, 247), chance.randrange(0x8000), lambda: chance.randrange(0x10000)
    kinds: list[Callable[[], Request]] = [
        lambda: ReadBits(unit, address, chance.randint(1, 2000), chance.choice((1, 2))),
        lambda: ReadRegisters(unit, address, chance.randint(1, 125), chance.choice((3, 4))),
        lambda: WriteCoil(unit, address, chance.random() < 0.5),
        lambda: WriteRegister(unit, address, word()),
        lambda: WriteCoils(unit, address, tuple(chance.random() < 0.5 for _ in range(chance.randint(1, 1968)))),
        lambda: WriteRegisters(unit, address, tuple(word() for _ in range(chance.randint(1, 123)))),
        lambda: ReadWriteRegisters(unit, address, chance.randint(1, 125), address, tuple(word() for _ in range(chance.randint(1, 121)))),
        lambda: Identify(unit, chance.randint(1, 4), chance.randrange(256)),
    ]  # fmt: skip
    return chance.choice(kinds)()


def test_generated_frames_are_the_peers() -> None:
    """Requests both ways and register answers, PEER_FRAMES of them, through both framers."""
    chance = random.Random(3)
    server, client = DecodePDU(True), DecodePDU(False)
    for number in range(FRAMES):
        request = some_request(chance)
        frame = request_frame(request, number & 0xFFFF)
        for codec, framer in ((rtu, FramerRTU), (tcp, FramerSocket)):
            raw = codec.encode(frame)
            used, theirs = framer(server).handleFrame(raw, 0, 0)
            assert used == len(raw)
            assert theirs is not None
            assert framer(server).buildFrame(theirs) == raw
            assert parse_request(codec.decode(raw)) == request
        if isinstance(request, ReadRegisters):
            data = chance.randbytes(2 * request.count)
            device = Device(request.unit, "rtu")
            device.receive_data(rtu.encode(request_frame(request)))
            assert device.next_event() == request
            _, theirs = FramerRTU(client).handleFrame(device.answer_registers(data), request.unit, 0)
            assert theirs is not None
            assert b"".join(word.to_bytes(2, "big") for word in theirs.registers) == data


Read = Callable[[], Awaitable[bytes]]
Write = Callable[[bytes], object]


async def ask(master: Master, request: Request, read: Read, write: Write) -> Any:
    write(master.send(request))
    while True:
        event = master.next_event()
        if event is NEED_DATA:
            master.receive_data(await asyncio.wait_for(read(), 5))
        elif isinstance(event, Send):
            write(event.data)
        elif isinstance(event, Answer):
            return event.value


@asynccontextmanager
async def serial_line() -> AsyncIterator[tuple[str, Read, Write]]:
    """A serial line without wires: the peer opens the path, we read and write the other end."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    came: asyncio.Queue[bytes] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, lambda: came.put_nowait(os.read(ours, 1024)))
    try:
        yield os.ttyname(theirs), came.get, partial(os.write, ours)
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)


@asynccontextmanager
async def peers_server(line: str) -> AsyncIterator[tuple[Read, Write]]:
    """Registers 0 to 99 holding 100 to 199, and a name."""
    device = SimDevice(1, simdata=[SimData(0, values=list(range(100, 200)), datatype=DataType.REGISTERS)])
    info = {"VendorName": "V", "ProductCode": "P", "MajorMinorRevision": "1"}
    names = ModbusDeviceIdentification(info_name=info)
    async with AsyncExitStack() as stack:
        if line == "rtu":
            path, read, write = await stack.enter_async_context(serial_line())
            server: Any = ModbusSerialServer(device, identity=names, port=path)
            assert await server.listen()
        else:
            server = ModbusTcpServer(device, identity=names, address=("127.0.0.1", 0))
            assert await server.listen()
            port = server.transport.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.push_async_callback(writer.wait_closed)
            stack.callback(writer.close)
            read, write = partial(reader.read, 1024), writer.write
        stack.push_async_callback(server.shutdown)
        yield read, write


@pytest.mark.parametrize("line", ["tcp", "rtu"])
async def test_our_master_reads_the_peers_server(line: str) -> None:
    master = Master(line)  # type: ignore[arg-type]
    async with peers_server(line) as (read, write):
        found = await ask(master, ReadRegisters(1, 10, 5), read, write)
        assert found.registers == (110, 111, 112, 113, 114)
        await ask(master, WriteRegisters(1, 10, (7, 8)), read, write)
        await ask(master, WriteRegister(1, 12, 9), read, write)
        found = await ask(master, ReadWriteRegisters(1, 10, 3, 20, (1,)), read, write)
        assert found.registers == (7, 8, 9)
        identity = await ask(master, Identify(1), read, write)
        assert identity.objects == {0: b"V", 1: b"P", 2: b"1"}
        with pytest.raises(Refused) as refused:
            await ask(master, ReadRegisters(1, 5000, 2), read, write)
        assert (refused.value.code, refused.value.absent) == (ILLEGAL_ADDRESS, True)


def answered(device: Device, event: object) -> bytes:
    match event:
        case Send(data):
            return data
        case ReadRegisters(_, address, count) if address < 1000:
            return device.answer_registers(b"".join((address + n).to_bytes(2, "big") for n in range(count)))
        case ReadBits(_, _, count):
            return device.answer_bits(tuple(n % 3 == 0 for n in range(count)))
        case WriteCoil() | WriteRegister() | WriteCoils() | WriteRegisters():
            return device.answer_written()
        case Identify():
            return device.answer_identity({0: b"Own", 1: b"M1", 2: b"1.0"})
    return device.refuse(ILLEGAL_ADDRESS)


async def serve(device: Device, read: Read, write: Write) -> None:
    while data := await read():
        device.receive_data(data)
        while (event := device.next_event()) is not NEED_DATA:
            write(answered(device, event))


@asynccontextmanager
async def peers_client(line: str) -> AsyncIterator[Any]:
    """Connected to our device."""
    device = Device(1, line)  # type: ignore[arg-type]
    async with AsyncExitStack() as stack:
        if line == "rtu":
            path, read, write = await stack.enter_async_context(serial_line())
            serving = asyncio.create_task(serve(device, read, write))
            stack.callback(serving.cancel)
            client: Any = AsyncModbusSerialClient(path)
        else:
            closed = asyncio.Event()

            async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await serve(device, partial(reader.read, 1024), writer.write)
                writer.close()
                await writer.wait_closed()
                closed.set()

            server = await asyncio.start_server(connected, "127.0.0.1", 0)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            stack.push_async_callback(partial(asyncio.wait_for, closed.wait(), 5))
            client = AsyncModbusTcpClient("127.0.0.1", port=server.sockets[0].getsockname()[1])
        assert await client.connect()
        stack.callback(client.close)
        yield client


@pytest.mark.parametrize("line", ["tcp", "rtu"])
async def test_the_peers_client_reads_our_device(line: str) -> None:
    async with peers_client(line) as client:
        assert (await client.read_holding_registers(5, count=3, device_id=1)).registers == [5, 6, 7]
        assert (await client.read_coils(0, count=10, device_id=1)).bits[:4] == [True, False, False, True]
        assert not (await client.write_registers(1, [1, 2], device_id=1)).isError()
        assert not (await client.write_coil(1, True, device_id=1)).isError()
        refused = await client.read_input_registers(2000, count=1, device_id=1)
        assert refused.exception_code == ILLEGAL_ADDRESS
        assert (await client.read_device_information(device_id=1)).information[0] == b"Own"
