"""The meter's side of a DL/T 645-2007 line: hears requests, answers or refuses them. The master's is exchange.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from protocols.buffer import ReceiveBuffer
from protocols.dlt645.frame import (
    BROADCAST,
    BUFFER_LIMIT,
    ERROR,
    FROM_METER,
    MORE,
    Frame,
    encode_address,
    find,
    matches,
)
from protocols.dlt645.requests import (
    ADDRESS,
    BAUD,
    CLEAR_EVENTS,
    CLEAR_METER,
    CONTROL,
    FOLLOW,
    FREEZE,
    OUTPUT,
    PASSWORD,
    READ,
    RESET_DEMAND,
    SEALED_BYTES,
    SECURITY,
    TIME,
    WRITE,
    WRITE_ADDRESS,
    decode_time,
    split_authority,
)
from protocols.dlt645.words import NO_DATA, SEALED, baud_rate
from protocols.errors import FrameError, Misuse
from protocols.exchange import NEED_DATA, Send, _Signal

#: A read answer carries at most 200 data bytes.
READ_LIMIT: Final = 200
#: SEQ of a follow-up is one byte, 1..255.
LAST_SEQUENCE: Final = 255


@dataclass(frozen=True, slots=True)
class ReadRequest:
    di: int
    extra: bytes = b""


@dataclass(frozen=True, slots=True)
class AddressRequest:
    """13H; `answer()` sends the device's address."""


@dataclass(frozen=True, slots=True)
class BroadcastTime:
    """08H; `when` is naive local time. Not answered."""

    when: np.datetime64


@dataclass(frozen=True, slots=True)
class WriteRequest:
    di: int
    data: bytes
    level: int
    password: str = field(repr=False)
    operator: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WriteAddressRequest:
    """15H; the answer still goes out under the old address, so change `Device.address` after `answer()`."""

    address: str


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """1CH in clear text. `expires` is naive local time, None where the field is no date (99.., 00..)."""

    action: int
    n2: int
    expires: np.datetime64 | None
    level: int
    password: str = field(repr=False)
    operator: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SealedControlRequest:
    """1CH at level 98: N1..N8 enciphered and their MAC."""

    operator: str = field(repr=False)
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SecureRequest:
    """03H; `answer(data)` puts the DI before its data, `refuse(code, size=2)` sends SERR."""

    di: int
    operator: str = field(repr=False)
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class FreezeRequest:
    """16H: MMDDhhmm, pairs of 99 for every. Not answered when it went to all."""

    at: str


@dataclass(frozen=True, slots=True)
class BaudRequest:
    """17H; `rate` None where the word stands for none. `answer()` echoes the word, still at the old rate."""

    rate: int | None
    word: int


@dataclass(frozen=True, slots=True)
class PasswordRequest:
    """18H: item `di` (04000C01-0A) to level and password `new`; `answer()` echoes these."""

    di: int
    level: int
    password: str = field(repr=False)
    new_level: int
    new: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ResetRequest:
    """19H demand, 1AH meter, 1BH events (`di`: which; 0xFFFFFFFF all). `sealed`: what follows at level 98."""

    function: int
    level: int
    password: str = field(repr=False)
    operator: str = field(repr=False)
    di: int | None = None
    sealed: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class OutputRequest:
    """1DH: a key of words.OUTPUTS, or what the master took for one."""

    signal: int


@dataclass(frozen=True, slots=True)
class OtherRequest:
    """A function this class does not take apart, or one whose data field is too short for it."""

    function: int
    data: bytes = field(repr=False)


DeviceRequest = (
    ReadRequest | AddressRequest | BroadcastTime | WriteRequest | WriteAddressRequest | ControlRequest
    | SealedControlRequest | SecureRequest | FreezeRequest | BaudRequest | PasswordRequest | ResetRequest
    | OutputRequest | OtherRequest
)  # fmt: skip
DeviceEvent = DeviceRequest | Send | Literal[_Signal.NEED_DATA]


#: Answers that carry what was asked, or what everybody may know.
_ECHOES: Final = (ADDRESS, BAUD, PASSWORD)


class Device:
    """A meter: feed it what is on the line, drain `next_event`, write what Send, `answer`, `refuse` give.

    It hears only its own address, wildcards, and the broadcasts 08H and 16H. Corrupt frames it counts and
    lets pass in silence, as a meter does. Any number of Devices may listen to one line.
    """

    def __init__(self, address: str, *, wakeup: int = 4) -> None:
        encode_address(address)
        self.address = address
        self.corrupt = 0
        self._wakeup = wakeup
        self._buffer = ReceiveBuffer(BUFFER_LIMIT)
        self._asked: Frame | None = None
        self._rest: dict[int, bytes] = {}
        self._rest_di = -1

    def receive_data(self, data: bytes) -> None:
        self._buffer.feed(data)

    def next_event(self) -> DeviceEvent:
        """A request to answer or refuse, a Send to write at once (a follow-up), or NEED_DATA."""
        while True:
            try:
                frame = find(self._buffer)
                if frame is None:
                    return NEED_DATA
                if not self._hears(frame):
                    continue
                if frame.function == FOLLOW:
                    return Send(self._follow_up(frame))
                self._asked = frame
                return _request(frame)
            except FrameError:
                self.corrupt += 1

    def _hears(self, frame: Frame) -> bool:
        if frame.from_meter:
            return False
        if frame.address == BROADCAST:
            return frame.function in (TIME, FREEZE)
        return matches(frame.address, self.address)

    def answer(self, data: bytes = b"") -> bytes:
        """The bytes of the normal answer to the last request; b'' where nobody answers.

        For a read, `data` comes without the DI; what one frame cannot hold is kept for follow-ups.
        """
        asked = self._take()
        if asked is None:
            return b""
        if asked.function in _ECHOES and not data:
            data = self._echo(asked)
        elif asked.function == SECURITY:
            data = asked.data[:4] + data
        if asked.function != READ:
            return self._frame(asked.function | FROM_METER, data)
        di = asked.data[:4]
        first, rest = data[: READ_LIMIT - 4], data[READ_LIMIT - 4 :]
        step = READ_LIMIT - 5  # DI and SEQ
        parts = [rest[i : i + step] for i in range(0, len(rest), step)]
        if len(parts) > LAST_SEQUENCE:
            raise Misuse(f"answer: {len(data)} bytes need more than {LAST_SEQUENCE} follow-ups")
        self._rest_di = int.from_bytes(di, "little")
        self._rest = dict(enumerate(parts, start=1))
        return self._frame(READ | FROM_METER | (MORE if parts else 0), di + first)

    def refuse(self, code: int, *, size: int = 1) -> bytes:
        """The bytes of the error answer; `size` 2 for the error word of the 2014 supplement."""
        asked = self._take()
        if asked is None:
            return b""
        return self._frame(asked.function | FROM_METER | ERROR, code.to_bytes(size, "little"))

    def _echo(self, asked: Frame) -> bytes:
        """The data of an answer that only repeats what was asked."""
        if asked.function == ADDRESS:
            return encode_address(self.address)
        return asked.data[8:12] if asked.function == PASSWORD else asked.data

    def _take(self) -> Frame | None:
        """The request to be answered now; None for one that nobody answers."""
        asked, self._asked = self._asked, None
        if asked is None:
            raise Misuse("nothing was asked")
        return None if asked.address == BROADCAST or asked.function == TIME else asked

    def _follow_up(self, frame: Frame) -> bytes:
        """Answer 12H from what is kept. It stays kept: a master that lost the answer asks again."""
        di, sequence = int.from_bytes(frame.data[:4], "little"), int.from_bytes(frame.data[4:5], "little")
        part = self._rest.get(sequence) if di == self._rest_di else None
        if part is None or len(frame.data) != 5:
            return self._frame(FOLLOW | FROM_METER | ERROR, bytes((NO_DATA,)))
        more = MORE if sequence + 1 in self._rest else 0
        return self._frame(FOLLOW | FROM_METER | more, frame.data[:4] + part + frame.data[4:5])

    def _frame(self, control: int, data: bytes) -> bytes:
        return Frame(self.address, control, data).encode(self._wakeup)


def _request(frame: Frame) -> DeviceRequest:
    """A master's frame, typed; OtherRequest if its data are not shaped as its function wants them."""
    other = OtherRequest(frame.function, frame.data)
    return (_SHAPES[frame.function][1](frame.data) or other) if fits(frame) else other


def fits(frame: Frame) -> bool:
    """Whether a master's frame has as many data bytes as its function wants."""
    enough, _ = _SHAPES.get(frame.function, (None, None))
    return enough is not None and enough(len(frame.data))


def _di(data: bytes) -> int:
    return int.from_bytes(data[:4], "little")


def _password_request(data: bytes) -> PasswordRequest:
    level, old, _ = split_authority(data[4:12])
    return PasswordRequest(_di(data), level, old, data[8], data[:8:-1].hex().upper())


def _control(data: bytes) -> DeviceRequest | None:
    level, password, operator = split_authority(data)
    if level == SEALED:
        return SealedControlRequest(operator, data[8:]) if len(data) == 8 + SEALED_BYTES else None
    return control_request(data[8:], level, password, operator) if len(data) == 16 else None


#: Function -> whether so many data bytes fit it, and its request made of them.
_SHAPES: Final[dict[int, tuple[Callable[[int], bool], Callable[[bytes], DeviceRequest | None]]]] = {
    SECURITY: (lambda n: n >= 8, lambda d: SecureRequest(_di(d), d[7:3:-1].hex().upper(), d[8:])),
    TIME: (lambda n: n == 6, lambda d: BroadcastTime(decode_time(d))),
    READ: (lambda n: n >= 4, lambda d: ReadRequest(_di(d), d[4:])),
    ADDRESS: (lambda n: n == 0, lambda _: AddressRequest()),
    WRITE: (lambda n: n >= 12, lambda d: WriteRequest(_di(d), d[12:], *split_authority(d[4:12]))),
    WRITE_ADDRESS: (lambda n: n == 6, lambda d: WriteAddressRequest(d[::-1].hex().upper())),
    FREEZE: (lambda n: n == 4, lambda d: FreezeRequest(d[::-1].hex())),
    BAUD: (lambda n: n == 1, lambda d: BaudRequest(baud_rate(d[0]), d[0])),
    PASSWORD: (lambda n: n == 12, _password_request),
    RESET_DEMAND: (lambda n: n >= 8, lambda d: ResetRequest(RESET_DEMAND, *split_authority(d), None, d[8:])),
    CLEAR_METER: (lambda n: n >= 8, lambda d: ResetRequest(CLEAR_METER, *split_authority(d), None, d[8:])),
    CLEAR_EVENTS: (
        lambda n: n >= 12,
        lambda d: ResetRequest(CLEAR_EVENTS, *split_authority(d), _di(d[8:]), d[12:]),
    ),
    CONTROL: (lambda n: n >= 16, _control),
    OUTPUT: (lambda n: n == 1, lambda d: OutputRequest(d[0])),
}


def control_request(plain: bytes, level: int, password: str, operator: str) -> ControlRequest:
    """N1..N8 as they stand in clear text, or as a security module has deciphered them."""
    try:
        expires: np.datetime64 | None = decode_time(plain[2:])
    except FrameError:
        expires = None
    return ControlRequest(plain[0], plain[1], expires, level, password, operator)
