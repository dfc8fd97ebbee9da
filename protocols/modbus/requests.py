"""What can be asked of a Modbus device and what it tells; pymodbus puts the PDUs together and takes them apart.

pymodbus raises ValueError for what does not fit; here that is Misuse. Shapes have been checked by pdu.py before it decodes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pymodbus.exceptions import ModbusException
from pymodbus.pdu import bit_message, mei_message, register_message

from protocols.errors import FrameError, Misuse
from protocols.modbus.frame import Frame
from protocols.modbus.pdu import (
    IDENTIFY,
    READ_COILS,
    READ_HOLDING,
    READ_INPUT,
    READ_INPUTS,
    READ_WRITE,
    WRITE_COIL,
    WRITE_COILS,
    WRITE_REGISTER,
    WRITE_REGISTERS,
    readings,
)


@dataclass(frozen=True, slots=True)
class ReadBits:
    """01 coils or 02 discrete inputs, up to 2000. -> Bits"""

    unit: int
    address: int
    count: int
    function: int = READ_COILS


@dataclass(frozen=True, slots=True)
class ReadRegisters:
    """03 holding or 04 input registers, up to 125. -> Registers"""

    unit: int
    address: int
    count: int
    function: int = READ_HOLDING


@dataclass(frozen=True, slots=True)
class WriteCoil:
    """05. -> Written"""

    unit: int
    address: int
    on: bool


@dataclass(frozen=True, slots=True)
class WriteRegister:
    """06. -> Written"""

    unit: int
    address: int
    value: int


@dataclass(frozen=True, slots=True)
class WriteCoils:
    """0FH, up to 1968. -> Written"""

    unit: int
    address: int
    on: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class WriteRegisters:
    """10H, up to 123. -> Written"""

    unit: int
    address: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReadWriteRegisters:
    """17H: writes up to 121, then reads up to 125. -> Registers"""

    unit: int
    address: int
    count: int
    write_address: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Identify:
    """2BH/0EH. code 1 basic, 2 regular, 3 extended, from `object_id` on; 4 that object alone. -> Identity, all its pieces joined"""

    unit: int
    code: int = 1
    object_id: int = 0


Request = (
    ReadBits
    | ReadRegisters
    | WriteCoil
    | WriteRegister
    | WriteCoils
    | WriteRegisters
    | ReadWriteRegisters
    | Identify
)


@dataclass(frozen=True, slots=True)
class Bits:
    unit: int
    address: int
    on: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Registers:
    """`data`: the registers as they came, two bytes each, for values.py and bulk.py."""

    unit: int
    function: int
    address: int
    data: bytes = field(repr=False)

    @property
    def registers(self) -> tuple[int, ...]:
        return struct.unpack(f">{len(self.data) // 2}H", self.data)


@dataclass(frozen=True, slots=True)
class Written:
    unit: int
    address: int
    count: int = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """object id -> its bytes, mostly text: 0 vendor, 1 product code, 2 revision, 3 URL, 4 product, 5 model, 6 application."""

    unit: int
    objects: Mapping[int, bytes]


_FUNCTIONS: Final[Mapping[type, int]] = {
    WriteCoil: WRITE_COIL,
    WriteRegister: WRITE_REGISTER,
    WriteCoils: WRITE_COILS,
    WriteRegisters: WRITE_REGISTERS,
    ReadWriteRegisters: READ_WRITE,
    Identify: IDENTIFY,
}


def function_of(request: Request) -> int:
    return request.function if isinstance(request, ReadBits | ReadRegisters) else _FUNCTIONS[type(request)]


def request_frame(request: Request, transaction: int = 0) -> Frame:
    """Misuse if anything does not fit its field or the function's limit."""
    function = function_of(request)
    try:
        data: bytes = _message(request).encode()
    except (ValueError, struct.error, ModbusException) as error:
        raise Misuse(f"request: {error}") from None
    frame = Frame(request.unit, function, data, transaction)
    frame.check()
    try:
        asks = "request" in readings(function, data)
    except FrameError as error:
        raise Misuse(f"request: {error}") from None
    if not asks:
        raise Misuse(f"request: {request} is not one")
    return frame


def _message(request: Request) -> Any:  # noqa: PLR0911 - one line a function
    match request:
        case ReadBits(_, address, count, function) if function in (READ_COILS, READ_INPUTS):
            return bit_message.ReadCoilsRequest(address=address, count=count)
        case ReadRegisters(_, address, count, function) if function in (READ_HOLDING, READ_INPUT):
            return register_message.ReadHoldingRegistersRequest(address=address, count=count)
        case WriteCoil(_, address, on):
            return bit_message.WriteSingleCoilRequest(address=address, bits=[on])
        case WriteRegister(_, address, value):
            return register_message.WriteSingleRegisterRequest(address=address, registers=[value])
        case WriteCoils(_, address, on):
            return bit_message.WriteMultipleCoilsRequest(address=address, bits=list(on))
        case WriteRegisters(_, address, values):
            return register_message.WriteMultipleRegistersRequest(address=address, registers=list(values))
        case ReadWriteRegisters(_, address, count, write_address, values):
            return register_message.ReadWriteMultipleRegistersRequest(
                read_address=address,
                read_count=count,
                write_address=write_address,
                write_registers=list(values),
            )
        case Identify(_, code, object_id):
            return mei_message.ReadDeviceInformationRequest(read_code=code, object_id=object_id)
        case _:
            raise Misuse(f"request: {request} has a function that is not its own")


def parse_request(frame: Frame) -> Request | None:  # noqa: PLR0911 - one line a function
    """A request that has been checked, typed; None for a function that is not served here."""
    data, function, unit = frame.data, frame.function, frame.unit
    message: Any = _REQUESTS.get(function)
    if message is None or (function == IDENTIFY and data[:1] != b"\x0e"):
        return None
    message = message()
    message.decode(data)
    match function:
        case 1 | 2:
            return ReadBits(unit, message.address, message.count, function)
        case 3 | 4:
            return ReadRegisters(unit, message.address, message.count, function)
        case 0x05:
            return WriteCoil(unit, message.address, bool(message.bits[0]))
        case 0x06:
            return WriteRegister(unit, message.address, message.registers[0])
        case 0x0F:
            return WriteCoils(unit, message.address, tuple(message.bits[: message.count]))
        case 0x10:
            return WriteRegisters(unit, message.address, tuple(message.registers))
        case 0x17:
            values = tuple(message.write_registers)
            return ReadWriteRegisters(
                unit, message.read_address, message.read_count, message.write_address, values
            )
    return Identify(unit, message.read_code, message.object_id)


_REQUESTS: Any = {
    READ_COILS: bit_message.ReadCoilsRequest,
    READ_INPUTS: bit_message.ReadDiscreteInputsRequest,
    READ_HOLDING: register_message.ReadHoldingRegistersRequest,
    READ_INPUT: register_message.ReadInputRegistersRequest,
    WRITE_COIL: bit_message.WriteSingleCoilRequest,
    WRITE_REGISTER: register_message.WriteSingleRegisterRequest,
    WRITE_COILS: bit_message.WriteMultipleCoilsRequest,
    WRITE_REGISTERS: register_message.WriteMultipleRegistersRequest,
    READ_WRITE: register_message.ReadWriteMultipleRegistersRequest,
    IDENTIFY: mei_message.ReadDeviceInformationRequest,
}
