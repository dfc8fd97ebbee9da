"""pymodbus as the meters of a Modbus line: its server over TCP, or on a serial port, holding the registers of our maps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from protocols.modbus.maps import meter_map
from protocols.modbus.values import encode


def device(
    unit: int,
    model: str,
    told: Mapping[str, Decimal | int],
    *,
    below: int = 65_536,
    coils: Sequence[bool] = (False,),
) -> Any:
    """A unit that has the registers of these rows, by their ids and as numbers of the row, and 0 in the model's others.

    `below`: of an older make, which ends there. `coils`: as they are at first."""
    table = meter_map(model)
    kinds: dict[int, dict[int, int]] = {}
    for row in [row for row in table.rows if row.end <= below]:
        raw = encode(row, told.get(row.id, 0)) if not row.type.startswith("ascii") else bytes(2 * row.size)
        for at in range(row.size):
            kinds.setdefault(row.function, {})[row.address + at] = int.from_bytes(
                raw[2 * at : 2 * at + 2], "big"
            )
    blocks: dict[int, list[SimData]] = {3: [], 4: []}
    for function, words in kinds.items():
        blocks[function] = list(_runs(words, table.gap))
    none = [SimData(65_000, values=[0], datatype=DataType.REGISTERS)]
    bits = [SimData(0, values=[False], datatype=DataType.BITS)]
    switches = [SimData(0, values=list(coils), datatype=DataType.BITS)]
    return SimDevice(unit, simdata=(switches, bits, blocks[3] or none, blocks[4] or none))


def _runs(words: Mapping[int, int], gap: int) -> Iterator[Any]:
    """Neighbours as one block, with the unused registers between them that the map says may be read; reading others is refused."""
    run: list[int] = []
    begin = 0
    for address in sorted(words):
        if run and address - (begin + len(run)) > gap:
            yield SimData(begin, values=run, datatype=DataType.REGISTERS)
            run = []
        if not run:
            begin = address
        run += [0] * (address - begin - len(run)) + [words[address]]
    yield SimData(begin, values=run, datatype=DataType.REGISTERS)


@asynccontextmanager
async def over_tcp(*devices: Any, rtu: bool = False) -> AsyncIterator[int]:
    """The port. `rtu`: the frames of the serial line, as a transparent gateway passes them."""
    framer = FramerType.RTU if rtu else FramerType.SOCKET
    server: Any = ModbusTcpServer(list(devices), framer=framer, address=("127.0.0.1", 0))
    assert await server.listen()
    try:
        yield server.transport.sockets[0].getsockname()[1]
    finally:
        await server.shutdown()


@asynccontextmanager
async def on_serial(path: str, *devices: Any) -> AsyncIterator[None]:
    server: Any = ModbusSerialServer(list(devices), framer=FramerType.RTU, port=path)
    assert await server.listen()
    try:
        yield
    finally:
        await server.shutdown()
