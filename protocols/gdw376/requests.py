"""What a master may ask a terminal: the requests of exchange.Master."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

from protocols.gdw376.frame import PW_SIZE, Address
from protocols.gdw376.units import Ident

#: (identifier, data of each of its point-function pairs in order)
Part = tuple[Ident, Sequence[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """stamp, delay: local time of sending and permitted delay in minutes, sent as Tp; None sends no Tp."""

    stamp: dt.datetime | None = None
    delay: int = 0


@dataclass(frozen=True, slots=True)
class Read(_Asked):
    """AFN 0C (class 1), 09 (configuration) or 0A (parameters, `data` for each pair where they need any). -> Reply"""

    address: Address
    points: tuple[int, ...]
    functions: tuple[int, ...]
    afn: int = 0x0C
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class ReadFrozen(_Asked):
    """AFN 0D: the day freeze of `day`, or with `month` the freeze of its month. -> Reply"""

    address: Address
    points: tuple[int, ...]
    functions: tuple[int, ...]
    day: dt.date
    month: bool = False


@dataclass(frozen=True, slots=True)
class ReadCurve(_Asked):
    """AFN 0D curves: `count` points from local `start`, density m of values.DENSITY_MINUTES. -> Reply"""

    address: Address
    points: tuple[int, ...]
    functions: tuple[int, ...]
    start: dt.datetime
    density: int
    count: int


@dataclass(frozen=True, slots=True)
class ReadEvents(_Asked):
    """AFN 0E: the records from pointer `first` up to, without, `last` (both modulo 256). -> Reply"""

    address: Address
    first: int
    last: int
    important: bool = True


@dataclass(frozen=True, slots=True)
class Order(_Asked):
    """AFN 01 (reset), 04 (parameters) or 05 (control): done or refused. `pw`: 16 bytes. -> Confirmed"""

    address: Address
    afn: int
    parts: tuple[Part, ...]
    pw: bytes = field(default=bytes(PW_SIZE), repr=False)


@dataclass(frozen=True, slots=True)
class Forward(_Asked):
    """AFN 10 F1: `frame` goes out at the terminal's port as it is, and what comes back is the Reply's content.

    control_word: speed, stop bit, parity, data bits of the port. message_timeout: bit 7 the unit (0 10 ms, 1 s); byte_timeout:
    10 ms. -> Reply
    """

    address: Address
    port: int
    frame: bytes = field(repr=False)
    control_word: int = 0x6B
    message_timeout: int = 0xBC
    byte_timeout: int = 10
    pw: bytes = field(default=bytes(PW_SIZE), repr=False)


@dataclass(frozen=True, slots=True)
class Ask(_Asked):
    """Any AFN with its data units as bytes, for what has no request of its own (03, 06, 08, 0B, 0F). -> Reply"""

    address: Address
    afn: int
    parts: tuple[Part, ...]
    pw: bytes = field(default=bytes(PW_SIZE), repr=False)


Request = Read | ReadFrozen | ReadCurve | ReadEvents | Order | Forward | Ask
