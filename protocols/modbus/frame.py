"""What a frame says, whichever line it came by: `rtu.frame` and `tcp.frame` turn it into bytes and back."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.errors import FrameError, Misuse
from protocols.modbus.pdu import FAILED, PDU_LIMIT, Direction, readings


@dataclass(frozen=True, slots=True)
class Frame:
    """unit: 0 to everybody, 1 to 247 one meter. `transaction`: the number that Modbus TCP gives a request and its answer; 0 on a
    serial line, which has none. `data` come behind the function byte."""

    unit: int
    function: int
    data: bytes = b""
    transaction: int = 0

    @property
    def failed(self) -> bool:
        """Whether this is an exception answer; its code is the one data byte."""
        return bool(self.function & FAILED)

    @property
    def pdu(self) -> bytes:
        return bytes((self.function,)) + self.data

    @property
    def readings(self) -> tuple[Direction, ...]:
        """Whether it asks, answers, or can be read both ways."""
        return readings(self.function, self.data)

    def check(self) -> None:
        """Misuse unless every field fits its bytes."""
        if not 0 <= self.unit <= 0xFF or not 0 <= self.transaction <= 0xFFFF:
            raise Misuse(f"unit {self.unit} or transaction {self.transaction} does not fit its field")
        if not 0 <= self.function <= 0xFF or len(self.data) >= PDU_LIMIT:
            raise Misuse(
                f"function {self.function:02X}H with {len(self.data)} data bytes does not fit a frame"
            )


def checked(unit: int, pdu: bytes, at: int, transaction: int = 0) -> Frame:
    """The frame of a PDU that begins at offset `at`. FrameError if the PDU has no possible reading."""
    try:
        readings(pdu[0], pdu[1:])
    except FrameError as error:
        raise error.moved(at) from None
    return Frame(unit, pdu[0], pdu[1:], transaction)
