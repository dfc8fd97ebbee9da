"""What a master may ask of a DL/T 645-2007 meter, what it gets, and how each request lies in its frame.

Passwords have 6 and operator codes 8 hex digits, high digit first; neither is ever part of a repr or a message. What changes
or switches a meter names that one meter: a wildcard is a Misuse.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from protocols.bcd import from_bcd, to_bcd
from protocols.dlt645.frame import BROADCAST, WILDCARD, Frame, encode_address
from protocols.dlt645.words import BAUD_WORDS, OUTPUTS, SEALED
from protocols.errors import FrameError, Misuse

SECURITY, TIME, READ, FOLLOW, ADDRESS, WRITE, WRITE_ADDRESS = 0x03, 0x08, 0x11, 0x12, 0x13, 0x14, 0x15
FREEZE, BAUD, PASSWORD, RESET_DEMAND, CLEAR_METER, CLEAR_EVENTS = 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B
CONTROL, OUTPUT = 0x1C, 0x1D

#: What 16H takes for "every" or "now": 99DDhhmm each month, 9999hhmm each day, 999999mm each hour, 99999999 at once.
EVERY: Final = 99
#: N1..N8 enciphered are two cipher blocks of 8 bytes; a MAC of 4 follows.
SEALED_BYTES: Final = 20
ALL_EVENTS: Final = 0xFFFFFFFF


# --- questions ---


@dataclass(frozen=True, slots=True)
class Read:
    """11H. `di` as one number (0x04000102); `extra` follows it, see blocks.from_time. -> ReadAnswer"""

    address: str
    di: int
    extra: bytes = b""


@dataclass(frozen=True, slots=True)
class ReadAddress:
    """13H to the wildcard: only with a single meter on the line. -> its address, str"""


@dataclass(frozen=True, slots=True)
class SetTimeBroadcast:
    """08H. `when`: naive local time. Nobody answers: done at once. -> None"""

    when: np.datetime64
    address: str = BROADCAST


@dataclass(frozen=True, slots=True)
class Write:
    """14H. At level 98 or 99 `data` ends with the MAC and no password goes along. -> WriteAnswer"""

    address: str
    di: int
    data: bytes = field(repr=False)
    level: int = 2
    password: str = field(default="000000", repr=False)
    operator: str = field(default="00000000", repr=False)


@dataclass(frozen=True, slots=True)
class WriteAddress:
    """15H to the wildcard: only with a single meter on the line, its programming key pressed. -> WriteAnswer"""

    new: str


@dataclass(frozen=True, slots=True)
class Freeze:
    """16H. `at`: MMDDhhmm, pairs of 99 for every (see EVERY). -> WriteAnswer; to all, nobody answers: done at once, None"""

    at: str = "99999999"
    address: str = BROADCAST


@dataclass(frozen=True, slots=True)
class ChangeBaud:
    """17H. The answer still comes at the old rate. -> BaudAnswer"""

    address: str
    rate: int


@dataclass(frozen=True, slots=True)
class ChangePassword:
    """18H: item 04000C01 + `new_level`, proven by a password of the same or a higher level. -> WriteAnswer"""

    address: str
    level: int
    password: str = field(repr=False)
    new_level: int
    new: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ResetDemand:
    """19H. `sealed`: what follows at level 98, the enciphered end of validity. -> WriteAnswer"""

    address: str
    level: int = 2
    password: str = field(default="000000", repr=False)
    operator: str = field(default="00000000", repr=False)
    sealed: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class ClearMeter:
    """1AH: all energies, demands, freezes, records and events. -> WriteAnswer"""

    address: str
    level: int = 2
    password: str = field(default="000000", repr=False)
    operator: str = field(default="00000000", repr=False)
    sealed: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class ClearEvents:
    """1BH. `di`: the event's total (0x03300D00) to clear that one; ALL_EVENTS for all. -> WriteAnswer"""

    address: str
    di: int = ALL_EVENTS
    level: int = 2
    password: str = field(default="000000", repr=False)
    operator: str = field(default="00000000", repr=False)
    sealed: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Control:
    """1CH in clear text: N1 `action`, N2, end of validity in naive local time. -> ControlAnswer"""

    address: str
    action: int
    expires: np.datetime64
    n2: int = 0
    level: int = 2
    password: str = field(default="000000", repr=False)
    operator: str = field(default="00000000", repr=False)


@dataclass(frozen=True, slots=True)
class SealedControl:
    """1CH at level 98, after a Secure authentication: N1..N8 enciphered (16 bytes) and MAC (4). -> ControlAnswer"""

    address: str
    sealed: bytes = field(repr=False)
    operator: str = field(default="00000000", repr=False)


@dataclass(frozen=True, slots=True)
class Secure:
    """03H: a question to the meter's security module (ESAM), see security.py. -> SecureAnswer"""

    address: str
    di: int
    data: bytes = field(repr=False)
    operator: str = field(default="00000000", repr=False)


@dataclass(frozen=True, slots=True)
class SwitchOutput:
    """1DH: what the multi-function terminal puts out, a key of words.OUTPUTS. -> WriteAnswer"""

    address: str
    signal: int


Request = (
    Read | ReadAddress | SetTimeBroadcast | Write | WriteAddress | Freeze | ChangeBaud | ChangePassword
    | ResetDemand | ClearMeter | ClearEvents | Control | SealedControl | Secure | SwitchOutput
)  # fmt: skip

FUNCTIONS: Final[dict[type, int]] = {
    Read: READ,
    ReadAddress: ADDRESS,
    SetTimeBroadcast: TIME,
    Write: WRITE,
    WriteAddress: WRITE_ADDRESS,
    Freeze: FREEZE,
    ChangeBaud: BAUD,
    ChangePassword: PASSWORD,
    ResetDemand: RESET_DEMAND,
    ClearMeter: CLEAR_METER,
    ClearEvents: CLEAR_EVENTS,
    Control: CONTROL,
    SealedControl: CONTROL,
    Secure: SECURITY,
    SwitchOutput: OUTPUT,
}


# --- answers ---


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """`data` without the DI, follow-ups joined. `address` is the meter's own, also after a wildcard."""

    address: str
    di: int
    data: bytes


@dataclass(frozen=True, slots=True)
class WriteAnswer:
    """Done."""

    address: str


@dataclass(frozen=True, slots=True)
class BaudAnswer:
    """The rate the meter changes to; None where its word stands for none."""

    address: str
    rate: int | None


@dataclass(frozen=True, slots=True)
class ControlAnswer:
    """`word`: the execution word of the 2014 supplement; None from older meters (L = 0)."""

    address: str
    word: int | None


@dataclass(frozen=True, slots=True)
class SecureAnswer:
    """`data` without the DI: what the meter's security module said."""

    address: str
    di: int
    data: bytes = field(repr=False)


# --- their bytes ---


def asked(request: Request) -> str:
    """The address a request goes to."""
    return WILDCARD if isinstance(request, ReadAddress | WriteAddress) else request.address


def silent(request: Request) -> bool:
    """Whether nobody answers it."""
    return isinstance(request, SetTimeBroadcast) or (
        isinstance(request, Freeze) and request.address == BROADCAST
    )


def request_frame(request: Request) -> Frame:
    """The request in its frame. Misuse if it cannot be said."""
    address = asked(request)
    if not isinstance(request, Read | ReadAddress | WriteAddress | Write | SetTimeBroadcast | Freeze):
        _one_meter(address)
    return Frame(address, FUNCTIONS[type(request)], _data(request))


def _one_meter(address: str) -> None:
    encode_address(address)
    if not address.isdecimal() or address == BROADCAST:
        raise Misuse(f"address: this must go to one meter, not to {address}")


def _data(request: Request) -> bytes:  # noqa: PLR0911 - one line for each function of the standard
    match request:
        case Read():
            return request.di.to_bytes(4, "little") + request.extra
        case ReadAddress():
            return b""
        case WriteAddress(new):
            _one_meter(new)
            return encode_address(new)
        case SetTimeBroadcast(when):
            return encode_time(when)
        case Freeze(at):
            return _freeze_time(at)
        case ChangeBaud(_, rate):
            return _baud_word(rate)
        case ChangePassword():
            return _password_change(request)
        case SwitchOutput(_, signal):
            if signal not in OUTPUTS:
                raise Misuse(f"output: {signal} is none of {', '.join(map(str, OUTPUTS))}")
            return bytes((signal,))
        case Secure():
            return request.di.to_bytes(4, "little") + _hex(request.operator, 4, "operator") + request.data
        case _:
            return _authorised(request)


def _authorised(
    request: Write | ResetDemand | ClearMeter | ClearEvents | Control | SealedControl,
) -> bytes:
    """The functions that carry PA P0 P1 P2 C0 C1 C2 C3."""
    match request:
        case SealedControl():
            if len(request.sealed) != SEALED_BYTES:
                raise Misuse(f"control: {len(request.sealed)} sealed bytes, {SEALED_BYTES} are needed")
            return authority(SEALED, "000000", request.operator) + request.sealed
        case _:
            proof = authority(request.level, request.password, request.operator)
    match request:
        case Write():
            return request.di.to_bytes(4, "little") + proof + request.data
        case Control():
            return proof + control_plain(request.action, request.n2, request.expires)
        case ClearEvents():
            return proof + request.di.to_bytes(4, "little") + request.sealed
        case _:
            return proof + request.sealed


def control_plain(action: int, n2: int, expires: np.datetime64) -> bytes:
    """N1..N8: command, its delay of return, end of validity (naive local time)."""
    return bytes((action, n2)) + encode_time(expires)


def _password_change(request: ChangePassword) -> bytes:
    if not (0 <= request.level <= 9 and 0 <= request.new_level <= 9):
        raise Misuse(f"password: levels {request.level} and {request.new_level}, 0-9 are allowed")
    item = 0x04000C01 + request.new_level
    old = bytes((request.level,)) + _hex(request.password, 3, "password")
    return (
        item.to_bytes(4, "little") + old + bytes((request.new_level,)) + _hex(request.new, 3, "new password")
    )


def _freeze_time(at: str) -> bytes:
    limits = {"MM": (1, 12), "DD": (1, 31), "hh": (0, 23), "mm": (0, 59)}
    if len(at) != 8 or not at.isascii() or not at.isdecimal():
        raise Misuse(f"freeze: {at!r} is not MMDDhhmm")
    for place, (name, (least, most)) in enumerate(limits.items()):
        number = int(at[2 * place : 2 * place + 2])
        if number != EVERY and not least <= number <= most:
            raise Misuse(f"freeze: {name} is {number}, {least}-{most} or {EVERY} are allowed")
    return bytes.fromhex(at)[::-1]


def _baud_word(rate: int) -> bytes:
    for word, known in BAUD_WORDS.items():
        if known == rate:
            return bytes((word,))
    raise Misuse(f"baud rate: {rate} is none of {', '.join(map(str, BAUD_WORDS.values()))}")


def authority(level: int, password: str, operator: str) -> bytes:
    """PA P0 P1 P2 C0 C1 C2 C3."""
    return bytes((level,)) + _hex(password, 3, "password") + _hex(operator, 4, "operator")


def split_authority(raw: bytes) -> tuple[int, str, str]:
    """PA P0 P1 P2 C0 C1 C2 C3 -> (level, password, operator), high digit first."""
    return raw[0], raw[3:0:-1].hex().upper(), raw[7:3:-1].hex().upper()


def _hex(digits: str, size: int, field_name: str) -> bytes:
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raw = b""
    if len(raw) != size:
        raise Misuse(f"{field_name}: {2 * size} digits are needed")  # never print what was given
    return raw[::-1]


def encode_time(when: np.datetime64) -> bytes:
    """Naive local time -> ss mm hh DD MM YY, the wire order of YYMMDDhhmmss. Misuse outside 2000-2099."""
    t: dt.datetime = when.astype("datetime64[s]").astype(dt.datetime)
    if t is None or not 2000 <= t.year <= 2099:
        raise Misuse(f"time: {when} is outside 2000-2099")
    fields = (t.second, t.minute, t.hour, t.day, t.month, t.year - 2000)
    return b"".join(to_bcd(number, 1) for number in fields)


def decode_time(raw: bytes) -> np.datetime64:
    """ss mm hh DD MM YY -> naive local datetime64[s]. FrameError if it is no date."""
    second, minute, hour, day, month, year = (from_bcd(raw[i : i + 1], "time") for i in range(6))
    try:
        return np.datetime64(dt.datetime(2000 + year, month, day, hour, minute, second), "s")
    except ValueError:
        raise FrameError(f"time: {raw[::-1].hex()} is no date", 0) from None
