"""What the security module (ESAM) of a smart meter and the utility's cipher machine (密码机) say to each other through us.

    machine -> Challenge -> 03H 070000FF -> the meter's random number and ESAM serial -> Session
    Session + plain text -> machine -> Sealed -> 1CH, 14H, 19H-1BH at level 98 (enciphered) or 99 (clear text with MAC)
    Session + Purse -> machine -> two MACs -> 03H 070101FF, 070102FF: an account opened, a purchase (充值) into the meter's wallet

The cipher is SM1, which is not published: nothing here computes it or anything like it. Who does is a `CipherMachine`, an
object that the program is given; it may take its time and may fail. All bytes are in wire order. The layouts of the data
fields have no published text: they are those that meters of the 2010 supplement answer with, and for purchases those of published
firmware: amount in fen and count as binary numbers, customer number as packed decimals, each low byte first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from protocols.dlt645.frame import encode_address
from protocols.errors import FrameError, Misuse

AUTHENTICATE: Final = 0x070000FF
VALIDITY: Final = 0x070001FF
OPEN_ACCOUNT: Final = 0x070101FF
RECHARGE: Final = 0x070102FF
INITIALISE_WALLET: Final = 0x070103FF
#: of one maker: no standard's number for giving money back over the wire is public
REFUND: Final = 0x070108FF
STATUS_QUERY: Final = 0x078102FF

CIPHERTEXT_BYTES: Final = 8
RANDOM_1_BYTES: Final = 8
DISPERSION_BYTES: Final = 8
RANDOM_2_BYTES: Final = 4
ESAM_BYTES: Final = 8
MAC_BYTES: Final = 4
#: N1..N8 in clear text, and enciphered with their padding.
CONTROL_BYTES: Final = 8
SEALED_CONTROL_BYTES: Final = 16
#: Amount and count of a purchase, and the number of its customer.
PURSE_BYTES: Final = 8
CUSTOMER_BYTES: Final = 6


@dataclass(frozen=True, slots=True)
class Challenge:
    """What opens an authentication: K1 ciphertext, random number R1, and the dispersion factor both were made with."""

    ciphertext: bytes = field(repr=False)
    random_1: bytes = field(repr=False)
    dispersion: bytes = field(repr=False)

    def encode(self) -> bytes:
        """The data of 03H 070000FF. Misuse if a part has not its size."""
        parts = (
            (self.ciphertext, CIPHERTEXT_BYTES, "ciphertext"),
            (self.random_1, RANDOM_1_BYTES, "random number 1"),
            (self.dispersion, DISPERSION_BYTES, "dispersion factor"),
        )
        for part, size, name in parts:
            if len(part) != size:
                raise Misuse(f"{name}: {len(part)} bytes from the cipher machine, {size} are needed")
        return b"".join(part for part, _, _ in parts)


@dataclass(frozen=True, slots=True)
class Session:
    """An authentication that the meter took: what the cipher machine needs for everything that follows it."""

    dispersion: bytes = field(repr=False)
    random_1: bytes = field(repr=False)
    random_2: bytes = field(repr=False)
    esam: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sealed:
    """Enciphered data and their MAC."""

    data: bytes = field(repr=False)
    mac: bytes = field(repr=False)

    def encode(self, size: int | None = None) -> bytes:
        """Data, then MAC. Misuse unless the data have `size` bytes and the MAC its 4."""
        if len(self.mac) != MAC_BYTES or (size is not None and len(self.data) != size):
            raise Misuse(
                f"cipher machine: {len(self.data)} bytes and a MAC of {len(self.mac)} do not fit the command"
            )
        return self.data + self.mac


@dataclass(frozen=True, slots=True)
class Purse:
    """A purchase in clear text: what is paid in, the how manieth it is (购电次数), and whose wallet it is for (up to 12 digits)."""

    fen: int
    count: int
    customer: str

    @property
    def money(self) -> bytes:
        """Amount and count, what MAC 1 covers. Misuse if they do not fit."""
        for number, name in ((self.fen, "purchase amount"), (self.count, "purchase count")):
            if not 0 <= number < 1 << 32:
                raise Misuse(f"{name}: {number} does not fit four bytes")
        return self.fen.to_bytes(4, "little") + self.count.to_bytes(4, "little")

    @property
    def whose(self) -> bytes:
        """The customer number, what MAC 2 covers. Misuse if it is no number of up to 12 digits."""
        if not (
            self.customer.isascii() and self.customer.isdecimal() and len(self.customer) <= 2 * CUSTOMER_BYTES
        ):
            raise Misuse(
                f"customer number: {self.customer!r} is no number of up to {2 * CUSTOMER_BYTES} digits"
            )
        return bytes.fromhex(self.customer.zfill(2 * CUSTOMER_BYTES))[::-1]

    def encode(self, macs: tuple[bytes, bytes]) -> bytes:
        """The data of 03H 070101FF, 070102FF. Misuse unless the MACs have 4 bytes each."""
        if [len(mac) for mac in macs] != [MAC_BYTES, MAC_BYTES]:
            raise Misuse("cipher machine: a purchase needs two MACs of 4 bytes")
        return self.money + macs[0] + self.whose + macs[1]


def purse_of(data: bytes) -> tuple[Purse, tuple[bytes, bytes]]:
    """The data of 03H 070101FF, 070102FF -> the purchase and its two MACs. FrameError if they are not shaped so."""
    if len(data) != PURSE_BYTES + CUSTOMER_BYTES + 2 * MAC_BYTES:
        raise FrameError(
            f"purchase: {len(data)} bytes, {PURSE_BYTES + CUSTOMER_BYTES + 2 * MAC_BYTES} are needed", 0
        )
    whose = data[12:18][::-1].hex()
    if not whose.isdecimal():
        raise FrameError("purchase: the customer number is not BCD", 12)
    fen, count = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little")
    return Purse(fen, count, whose), (data[8:12], data[18:])


class CipherMachine(Protocol):
    """The utility's cipher machine. It may block; it raises what it likes when it cannot answer."""

    def authenticate(self, dispersion: bytes) -> Challenge:
        """A fresh challenge for the meter with this dispersion factor."""

    def seal_control(self, session: Session, plain: bytes) -> Sealed:
        """N1..N8 (8 bytes) -> 16 enciphered bytes and the MAC, for 1CH at level 98."""

    def seal_parameter(self, session: Session, di: int, plain: bytes) -> Sealed:
        """A class-2 parameter, for 14H at level 98."""

    def sign_parameter(self, session: Session, di: int, plain: bytes) -> bytes:
        """The MAC of a class-1 parameter, for 14H at level 99: the data go in clear text."""

    def sign_purchase(self, session: Session, di: int, purse: Purse) -> tuple[bytes, bytes]:
        """MAC 1 of amount and count, MAC 2 of the customer number, for 03H with this item."""


# --- questions to it: what a driver's script yields, since only the program may do I/O ---


@dataclass(frozen=True, slots=True)
class Authenticate:
    """-> Challenge"""

    dispersion: bytes = field(repr=False)

    def ask(self, machine: CipherMachine) -> Challenge:
        return machine.authenticate(self.dispersion)


@dataclass(frozen=True, slots=True)
class SealControl:
    """-> Sealed"""

    session: Session
    plain: bytes = field(repr=False)

    def ask(self, machine: CipherMachine) -> Sealed:
        return machine.seal_control(self.session, self.plain)


@dataclass(frozen=True, slots=True)
class SealParameter:
    """-> Sealed"""

    session: Session
    di: int
    plain: bytes = field(repr=False)

    def ask(self, machine: CipherMachine) -> Sealed:
        return machine.seal_parameter(self.session, self.di, self.plain)


@dataclass(frozen=True, slots=True)
class SignParameter:
    """-> bytes, the MAC"""

    session: Session
    di: int
    plain: bytes = field(repr=False)

    def ask(self, machine: CipherMachine) -> bytes:
        return machine.sign_parameter(self.session, self.di, self.plain)


@dataclass(frozen=True, slots=True)
class SignPurchase:
    """-> tuple[bytes, bytes], the two MACs"""

    session: Session
    di: int
    purse: Purse

    def ask(self, machine: CipherMachine) -> tuple[bytes, bytes]:
        return machine.sign_purchase(self.session, self.di, self.purse)


#: Class-1 parameters go in clear text with a MAC (level 99); all others that need the module are enciphered (level 98).
CLASS_1: Final = frozenset((
    0x04000108, 0x04000109, 0x04000306, 0x04000307, 0x04000402, 0x0400040E, 0x04001001, 0x04001002,
    0x040502FF, 0x040605FF, 0x04060AFF, 0x04060BFF,
))  # fmt: skip


def dispersion_of(address: str) -> bytes:
    """The dispersion factor of a meter: its 12 digits behind zeros, low byte first. Misuse if they are not digits.

    Where a utility disperses by another number (the ESAM's own, an asset code), its machine puts that into the Challenge.
    """
    if not address.isdecimal():
        raise Misuse(f"address: {address!r} has no dispersion factor")
    return encode_address(address) + bytes(DISPERSION_BYTES - 6)


def session_of(challenge: Challenge, answer: bytes) -> Session:
    """The meter's answer to 070000FF without the DI: random number 2 and ESAM serial. FrameError if it is not shaped so."""
    if len(answer) != RANDOM_2_BYTES + ESAM_BYTES:
        size = RANDOM_2_BYTES + ESAM_BYTES
        raise FrameError(f"authentication answer: {len(answer)} bytes, {size} are needed", 0)
    return Session(challenge.dispersion, challenge.random_1, answer[:RANDOM_2_BYTES], answer[RANDOM_2_BYTES:])


# --- the data field of 03H and 83H ---


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of it, `start` and `end` counted from the byte behind DI and operator code."""

    name: str
    name_zh: str
    start: int
    end: int


_OPENING: Final = (
    ("purchase amount", "购电金额", 4), ("purchase count", "购电次数", 4), ("MAC 1", "MAC1", 4),
    ("customer number", "客户编号", 6), ("MAC 2", "MAC2", 4),
)  # fmt: skip
#: (DI, whether it is the answer) -> its parts and their bytes.
_LAYOUTS: Final = {
    (AUTHENTICATE, False): (
        ("ciphertext", "密文", CIPHERTEXT_BYTES), ("random number 1", "随机数1", RANDOM_1_BYTES),
        ("dispersion factor", "分散因子", DISPERSION_BYTES),
    ),
    (AUTHENTICATE, True): (("random number 2", "随机数2", RANDOM_2_BYTES), ("ESAM serial", "ESAM序列号", ESAM_BYTES)),
    (VALIDITY, False): (("validity", "身份认证时效", 2), ("MAC", "MAC", MAC_BYTES)),
    (OPEN_ACCOUNT, False): _OPENING,
    (RECHARGE, False): _OPENING,
    (REFUND, False): _OPENING,
    (STATUS_QUERY, True): (
        ("remaining amount", "剩余金额", 4), ("MAC 1", "MAC1", 4), ("purchase count", "购电次数", 4), ("MAC 2", "MAC2", 4),
        ("customer number", "客户编号", 6), ("key state", "密钥信息", 4),
    ),
}  # fmt: skip


def layout(di: int, length: int, *, answer: bool) -> tuple[Piece, ...]:
    """The parts of `length` bytes; one nameless part where the layout is not known or the length is another."""
    known = _LAYOUTS.get((di, answer), ())
    if sum(size for _, _, size in known) != length:
        return (Piece("security data", "安全认证数据", 0, length),) if length else ()
    pieces: list[Piece] = []
    at = 0
    for name, name_zh, size in known:
        pieces.append(Piece(name, name_zh, at, at + size))
        at += size
    return tuple(pieces)
