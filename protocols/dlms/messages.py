"""What APDUs say: one frozen class each, and no bytes but values still in A-XDR (IEC 62056-5-3, ASN.1 of the APDUs)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from protocols.dlms.association import Aare, Aarq, Rlre, Rlrq
from protocols.dlms.ciphering import Outline
from protocols.dlms.selector import Selector

#: Invoke-Id-And-Priority without the invoke-id: confirmed, high priority.
CONFIRMED_HIGH: Final = 0xC0


@dataclass(frozen=True, slots=True)
class Target:
    """What a service is aimed at: an attribute, or a method of an ACTION."""

    class_id: int
    obis: str
    index: int


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a long value: DataBlock-G, DataBlock-SA. The pieces joined are what a short message would hold in its place."""

    last: bool
    number: int
    raw: bytes = field(repr=False)  # it may hold a key


@dataclass(frozen=True, slots=True)
class _Service:
    """`flags`: the upper bits of Invoke-Id-And-Priority (80 high priority, 40 confirmed)."""

    invoke: int
    flags: int = field(default=CONFIRMED_HIGH, kw_only=True)


# --- GET ---


@dataclass(frozen=True, slots=True)
class GetNormal(_Service):
    target: Target
    selector: Selector | None = None


@dataclass(frozen=True, slots=True)
class GetNext(_Service):
    block: int


@dataclass(frozen=True, slots=True)
class GetList(_Service):
    targets: tuple[tuple[Target, Selector | None], ...]


@dataclass(frozen=True, slots=True)
class GetData(_Service):
    """The whole answer; `raw` is its A-XDR data, not yet decoded."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class GetError(_Service):
    """The answer is no; `block` when it came in place of a data block."""

    code: int
    block: int | None = None
    last: bool = True


@dataclass(frozen=True, slots=True)
class GetBlock(_Service):
    """A piece of the answer. For a list the joined pieces are count and Get-Data-Results."""

    last: bool
    block: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class GetResults(_Service):
    """One result for each attribute of the list: its A-XDR data, or a data-access-result."""

    results: tuple[bytes | int, ...]


# --- SET ---


@dataclass(frozen=True, slots=True)
class SetNormal(_Service):
    target: Target
    raw: bytes = field(repr=False)
    selector: Selector | None = None


@dataclass(frozen=True, slots=True)
class SetFirst(_Service):
    """SET with the first data block."""

    target: Target
    selector: Selector | None
    block: Block


@dataclass(frozen=True, slots=True)
class SetNext(_Service):
    block: Block


@dataclass(frozen=True, slots=True)
class SetList(_Service):
    targets: tuple[tuple[Target, Selector | None], ...]
    values: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class SetListFirst(_Service):
    """SET of a list with the first data block; the joined pieces are count and values."""

    targets: tuple[tuple[Target, Selector | None], ...]
    block: Block


@dataclass(frozen=True, slots=True)
class SetResult(_Service):
    code: int


@dataclass(frozen=True, slots=True)
class SetAck(_Service):
    """Block `block` has come; the next one please."""

    block: int


@dataclass(frozen=True, slots=True)
class SetLast(_Service):
    """The result after the last block; of a list one for each attribute."""

    codes: tuple[int, ...]
    block: int
    many: bool = False


@dataclass(frozen=True, slots=True)
class SetResults(_Service):
    codes: tuple[int, ...]


# --- ACTION ---


@dataclass(frozen=True, slots=True)
class ActNormal(_Service):
    target: Target
    raw: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ActNext(_Service):
    """The next block of the answer please (request), or of the parameters (response)."""

    block: int
    response: bool = False


@dataclass(frozen=True, slots=True)
class ActList(_Service):
    targets: tuple[Target, ...]
    values: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ActFirst(_Service):
    target: Target
    block: Block


@dataclass(frozen=True, slots=True)
class ActListFirst(_Service):
    targets: tuple[Target, ...]
    block: Block


@dataclass(frozen=True, slots=True)
class ActBlock(_Service):
    """A further block of the parameters (request), or any of the answer (response)."""

    block: Block
    response: bool = False


@dataclass(frozen=True, slots=True)
class ActResult(_Service):
    """`code` 0: done. `raw`: returned data; `error`: why there is none although it was done."""

    code: int
    raw: bytes | None = None
    error: int | None = None


@dataclass(frozen=True, slots=True)
class ActResults(_Service):
    """One (code, raw, error) for each method of the list."""

    results: tuple[tuple[int, bytes | None, int | None], ...]


# --- not asked for, and saying no ---


@dataclass(frozen=True, slots=True)
class ExceptionResponse:
    """`counter`: the invocation counter that was expected, where that was wrong (service 6)."""

    state: int
    service: int
    counter: int | None = None


@dataclass(frozen=True, slots=True)
class ConfirmedServiceError:
    error: str


@dataclass(frozen=True, slots=True)
class DataNotification:
    """A push. `time`: 12 bytes of date-time, or none. `invoke`: 24 bits; `flags`: the byte above them."""

    invoke: int
    time: bytes | None
    raw: bytes
    flags: int = 0


@dataclass(frozen=True, slots=True)
class EventNotification:
    """An attribute that changed, told unasked. `time`: octet string, or none."""

    time: bytes | None
    target: Target
    raw: bytes


@dataclass(frozen=True, slots=True)
class GeneralBlock:
    """One piece of an APDU of any kind (general-block-transfer).

    last       nothing follows
    streaming  more pieces come without waiting for an answer
    window     pieces that the sender of this takes in one go
    number     of this piece, from 1
    acked      the last piece of the other side's that came in order
    """

    last: bool
    streaming: bool
    window: int
    number: int
    acked: int
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ciphered:
    """A ciphered APDU, seen from outside."""

    outline: Outline
    raw: bytes


# --- short names ---


@dataclass(frozen=True, slots=True)
class Name:
    """A variable by its short name; `selector` and `parameter` for parameterised access."""

    base: int
    selector: int | None = None
    parameter: bytes | None = None


@dataclass(frozen=True, slots=True)
class BlockNumber:
    """ReadRequest: the block after this one please. WriteResponse, ReadResponse: this block has come."""

    number: int


@dataclass(frozen=True, slots=True)
class Read:
    """What is read: names, or one block. A Block carries a piece of a long ReadRequest."""

    items: tuple[Name | BlockNumber | Block, ...]


@dataclass(frozen=True, slots=True)
class ReadResults:
    """One for each item: A-XDR data, a data-access-error, a piece, or the number of the piece that has come."""

    items: tuple[bytes | int | Block | BlockNumber, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """Names and values. A single Block in place of a name: a piece of a long request, its raw in `values`."""

    items: tuple[Name | Block, ...]
    values: tuple[bytes, ...] = field(repr=False)
    confirmed: bool = True


@dataclass(frozen=True, slots=True)
class WriteResults:
    """One for each item: 0 done, a data-access-error, or the number of the piece that has come."""

    items: tuple[int | BlockNumber, ...]


@dataclass(frozen=True, slots=True)
class InformationReport:
    """A push with short names. `time`: GeneralizedTime as text, or none."""

    time: str | None
    items: tuple[Name, ...]
    values: tuple[bytes, ...]


Apdu = (
    Aarq | Aare | Rlrq | Rlre | GetNormal | GetNext | GetList | GetData | GetError | GetBlock | GetResults |
    SetNormal | SetFirst | SetNext | SetList | SetListFirst | SetResult | SetAck | SetLast | SetResults |
    ActNormal | ActNext | ActList | ActFirst | ActListFirst | ActBlock | ActResult | ActResults |
    ExceptionResponse | ConfirmedServiceError | DataNotification | EventNotification | GeneralBlock | Ciphered |
    Read | ReadResults | Write | WriteResults | InformationReport
)  # fmt: skip
