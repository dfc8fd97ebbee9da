"""Ciphered APDUs: what they show without keys, and how keys close and open them (IEC 62056-5-3, clause 5; Green Book 9.2.7).

Three envelopes: service-specific (glo-get-request, ded-action-response, ...: one tag per service), general-glo and
general-ded-ciphering (any APDU, with the system title), general-ciphering (with transaction, both titles and the key itself).
All hold the same body, an octet string: security control, invocation counter, the APDU, 12 bytes of authentication tag. The
cipher is AES-GCM with the nonce title || counter; what is authenticated besides the APDU is control || authentication key.

The library's `dlms_cosem.security` knows only authenticated *and* encrypted, no envelope but general-glo, and writes every
length in one byte; so the whole of it is done here, on `cryptography`. V.44 compression is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from protocols.dlms.values import encode_length
from protocols.errors import FrameError, Misuse
from protocols.part import MASK, Part

TITLE: Final = 8  # bytes of a system title: three of the manufacturer's flag, five of his own
TAG: Final = 12  # bytes of the authentication tag
HEAD: Final = 5  # security control and invocation counter
MAX_COUNTER: Final = 0xFFFFFFFF
#: Key length by security suite, for block cipher and authentication keys alike.
KEY_LENGTHS: Final = {0: 16, 1: 16, 2: 32}

GENERAL_GLO: Final = 219
GENERAL_DED: Final = 220
GENERAL: Final = 221

#: Services with ciphered tags of their own: plain tag -> (name, glo- tag, ded- tag). 0: there is none.
SERVICES: Final = {
    1: ("initiate-request", 33, 65), 5: ("read-request", 37, 69), 6: ("write-request", 38, 70),
    8: ("initiate-response", 40, 72), 12: ("read-response", 44, 76), 13: ("write-response", 45, 77),
    14: ("confirmed-service-error", 46, 78), 22: ("unconfirmed-write-request", 54, 86),
    24: ("information-report-request", 56, 88),
    192: ("get-request", 200, 208), 193: ("set-request", 201, 209), 194: ("event-notification-request", 202, 210),
    195: ("action-request", 203, 211), 196: ("get-response", 204, 212), 197: ("set-response", 205, 213),
    199: ("action-response", 207, 215),
}  # fmt: skip


class Form(Enum):
    """The envelope."""

    GLO = "glo"
    DED = "ded"
    GENERAL_GLO = "general-glo-ciphering"
    GENERAL_DED = "general-ded-ciphering"
    GENERAL = "general-ciphering"

    @property
    def dedicated(self) -> bool:
        """Whether the key is that of the association, not the global one."""
        return self in (Form.DED, Form.GENERAL_DED)


#: Tag -> its form, its name, and the plain tag that must be inside (None: any).
TAGS: Final[dict[int, tuple[Form, str, int | None]]] = (
    {glo: (Form.GLO, f"glo-{name}", plain) for plain, (name, glo, _) in SERVICES.items()}
    | {ded: (Form.DED, f"ded-{name}", plain) for plain, (name, _, ded) in SERVICES.items()}
    | {
        GENERAL_GLO: (Form.GENERAL_GLO, Form.GENERAL_GLO.value, None),
        GENERAL_DED: (Form.GENERAL_DED, Form.GENERAL_DED.value, None),
        GENERAL: (Form.GENERAL, Form.GENERAL.value, None),
    }
)


def is_ciphered(raw: bytes) -> bool:
    """Whether the first byte is the tag of a ciphered APDU."""
    return raw[:1] != b"" and raw[0] in TAGS


# --- the security control byte ---


@dataclass(frozen=True, slots=True)
class Control:
    """How an APDU is protected. `broadcast`: with the global broadcast key, not the unicast one."""

    suite: int = 0
    authenticated: bool = True
    encrypted: bool = True
    broadcast: bool = False
    compressed: bool = False

    @property
    def byte(self) -> int:
        """Bits 0-3 suite, 4 authenticated, 5 encrypted, 6 broadcast key, 7 compressed."""
        return (
            self.suite
            | self.authenticated << 4
            | self.encrypted << 5
            | self.broadcast << 6
            | self.compressed << 7
        )

    @property
    def text(self) -> str:
        """In words."""
        words = [f"suite {self.suite}"]
        words += [word for flag, word in (
            (self.authenticated, "authenticated"), (self.encrypted, "encrypted"),
            (self.broadcast, "broadcast key"), (self.compressed, "compressed"),
        ) if flag]  # fmt: skip
        return ", ".join(words if len(words) > 1 else [*words, "no protection"])


def decode_control(byte: int, offset: int | None = None, *, bare: bool = False) -> Control:
    """FrameError: a reserved suite, or, unless `bare`, neither authenticated nor encrypted."""
    suite = byte & 0x0F
    if suite not in KEY_LENGTHS:
        raise FrameError(f"security control {byte:02x}: suite {suite} is reserved, must be 0..2", offset)
    if not byte & 0x30 and not bare:
        raise FrameError(f"security control {byte:02x}: neither authenticated nor encrypted", offset)
    return Control(suite, bool(byte & 0x10), bool(byte & 0x20), bool(byte & 0x40), bool(byte & 0x80))


# --- general-ciphering: what stands before the body ---

IDENTIFIED, WRAPPED, AGREED = 0, 1, 2
_KEY_KINDS: Final = {IDENTIFIED: "identified-key", WRAPPED: "wrapped-key", AGREED: "agreed-key"}


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """Which key protects a general-ciphering APDU.

    kind        0 identified, 1 wrapped, 2 agreed
    identifier  identified: 0 global unicast, 1 global broadcast; wrapped: 0 under the master key
    parameters  agreed: 01 one-pass, 02 static unified
    ciphered    wrapped: the wrapped key; agreed: the originator's ephemeral public key, or empty
    """

    kind: int
    identifier: int = 0
    parameters: bytes = b""
    ciphered: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of general-ciphering and general-signing. `date_time` is 12 bytes or empty."""

    transaction: bytes = b""
    originator: bytes = b""
    recipient: bytes = b""
    date_time: bytes = b""
    other: bytes = b""
    key: KeyInfo | None = None


def encode_header(header: Header) -> bytes:
    """The five octet strings, without the key information: so they are authenticated and signed, lengths included."""
    fields = (header.transaction, header.originator, header.recipient, header.date_time, header.other)
    return b"".join(encode_length(len(part)) + part for part in fields)


def _encode_key_info(key: KeyInfo | None) -> bytes:
    if key is None:
        return b"\x00"
    ciphered = encode_length(len(key.ciphered)) + key.ciphered
    if key.kind == IDENTIFIED:
        return bytes((1, IDENTIFIED, key.identifier))
    if key.kind == WRAPPED:
        return bytes((1, WRAPPED, key.identifier)) + ciphered
    return bytes((1, AGREED)) + encode_length(len(key.parameters)) + key.parameters + ciphered


# --- without keys ---

#: What a field is called: (name, name_zh).
_FIELDS: Final = {
    "tag": ("APDU tag", "APDU 标签"),
    "length": ("length", "长度"),
    "title": ("system title", "系统标题"),
    "transaction": ("transaction id", "事务标识"),
    "originator": ("originator system title", "发起方系统标题"),
    "recipient": ("recipient system title", "接收方系统标题"),
    "date-time": ("date-time", "日期时间"),
    "other": ("other information", "其他信息"),
    "key-info": ("key information", "密钥信息"),
    "key-parameters": ("key parameters", "密钥参数"),
    "key-ciphered-data": ("key ciphered data", "密钥密文"),
    "wrapped-key": ("wrapped key", "封装的密钥"),
    "control": ("security control", "安全控制字节"),
    "counter": ("invocation counter", "调用计数器"),
    "ciphertext": ("ciphertext", "密文"),
    "plaintext": ("APDU in clear", "明文 APDU"),
    "authentication": ("authentication tag", "认证码"),
    "content": ("signed APDU", "被签名的 APDU"),
    "signature": ("signature", "数字签名"),
}  # fmt: skip
_OPTIONAL: Final = frozenset(
    (
        "title",
        "transaction",
        "originator",
        "recipient",
        "date-time",
        "other",
        "key-parameters",
        "key-ciphered-data",
    )
)
#: Fields whose bytes say nothing to a reader.
_BULK: Final = frozenset(
    ("ciphertext", "plaintext", "authentication", "key-ciphered-data", "content", "signature")
)
#: How long a field must be if it is not empty, where the standard says so.
_LENGTHS: Final = {"title": TITLE, "originator": TITLE, "recipient": TITLE, "date-time": 12}


class Cursor:
    """Walks the fields of one APDU, each within the bytes there are, and notes where they stand."""

    def __init__(self, raw: bytes, name: str) -> None:
        self.raw = raw
        self.name = name
        self.at = 0
        self.spans: list[tuple[str, int, int]] = []

    def take(self, name: str, count: int) -> bytes:
        """The next `count` bytes. FrameError if they are not there."""
        start, end = self.at, self.at + count
        if end > len(self.raw):
            raise FrameError(
                f"{self.name}: {name} needs {count} bytes, {len(self.raw) - start} are left", start
            )
        self.spans.append((name, start, end))
        self.at = end
        return self.raw[start:end]

    def length(self) -> int:
        """An A-XDR length. FrameError: more of it than four bytes, or cut off."""
        start = self.at
        first = self.take("length", 1)[0]
        if first < 0x80:
            return first
        count = first & 0x7F
        if not 1 <= count <= 4:
            raise FrameError(f"{self.name}: a length of {count} bytes, must be 1..4", start)
        value = int.from_bytes(self.take("length", count), "big")
        self.spans[-2:] = [("length", start, self.at)]
        return value

    def octets(self, name: str) -> bytes:
        """An octet string: its length, then its bytes."""
        start, length = self.at, self.length()
        if not length:  # no range of its own: its length byte stands for it
            self.spans[-1] = (name, start, self.at)
            return b""
        wanted = _LENGTHS.get(name, length)
        if length != wanted:
            raise FrameError(f"{self.name}: {name} of {length} bytes, must be {wanted} or none", start)
        return self.take(name, length)

    def finish(self) -> None:
        """FrameError if bytes are left."""
        if self.at != len(self.raw):
            raise FrameError(f"{self.name}: {len(self.raw) - self.at} bytes behind its end", self.at)


@dataclass(frozen=True, slots=True)
class Outline:
    """What a ciphered APDU says of itself in clear. Offsets count from its tag.

    name, tag           "glo-get-request", 200
    form                the envelope
    system_title        of the sender, 8 bytes; None where the APDU does not carry it (glo-, ded-)
    counter             the invocation counter
    start_of_ciphertext, ciphertext_end   the APDU inside; in clear if not `encrypted`
    header              the fields of general-ciphering, else None; raw[1:header_end] is authenticated with the APDU
    """

    name: str
    tag: int
    form: Form
    system_title: bytes | None
    suite: int
    authenticated: bool
    encrypted: bool
    broadcast_key: bool
    compressed: bool
    counter: int
    start_of_ciphertext: int
    ciphertext_end: int
    header: Header | None = None
    header_end: int = 1

    @property
    def control(self) -> Control:
        """The security control byte's fields."""
        return Control(self.suite, self.authenticated, self.encrypted, self.broadcast_key, self.compressed)

    @property
    def ciphertext_length(self) -> int:
        """In bytes, without the authentication tag."""
        return self.ciphertext_end - self.start_of_ciphertext


def outline(raw: bytes) -> Outline:
    """One whole ciphered APDU, seen without keys. Nothing in it is proven.

    FrameError: not a ciphered APDU, lengths that do not add up, a reserved suite, nothing inside.
    """
    return _walk(raw)[0]


def parts(raw: bytes, *, reveal: bool = False) -> list[Part]:
    """The same, range by range; a wrapped key only with `reveal`. Errors as `outline`."""
    told, cursor = _walk(raw)
    return as_parts(raw, cursor, f"{told.tag} {told.name}", reveal=reveal)


def as_parts(raw: bytes, cursor: Cursor, tag: str, *, reveal: bool = False) -> list[Part]:
    """The ranges that a cursor has walked. `tag` says what the first byte means."""
    return [
        Part(start, end, *_FIELDS[name], tag if name == "tag" else _meaning(raw[start:end], name, reveal))
        for name, start, end in cursor.spans
    ]


def _walk(raw: bytes) -> tuple[Outline, Cursor]:
    if not is_ciphered(raw):
        raise FrameError(f"ciphered APDU: tag {raw[0] if raw else 'missing'} is none of a ciphered APDU", 0)
    form, name, _ = TAGS[raw[0]]
    cursor = Cursor(raw, name)
    cursor.take("tag", 1)
    title, header = None, None
    if form is Form.GENERAL:
        header, header_end = _take_header(cursor)
        title = header.originator or None
    elif form in (Form.GENERAL_GLO, Form.GENERAL_DED):
        title, header_end = cursor.octets("title") or None, 1
    else:
        header_end = 1
    at, length = cursor.at, cursor.length()
    if length != len(raw) - cursor.at:
        raise FrameError(f"{name}: a body of {length} bytes, {len(raw) - cursor.at} are there", at)
    # a layer for a party that nothing is protected for is legal in general-ciphering alone (Green Book 9.2.7.3)
    control = decode_control(cursor.take("control", 1)[0], cursor.at - 1, bare=form is Form.GENERAL)
    counter = int.from_bytes(cursor.take("counter", 4), "big")
    start, end = cursor.at, len(raw) - (TAG if control.authenticated else 0)
    if end <= start:
        raise FrameError(f"{name}: nothing between invocation counter and authentication tag", start)
    cursor.take("ciphertext" if control.encrypted else "plaintext", end - start)
    if control.authenticated:
        cursor.take("authentication", TAG)
    return Outline(
        name, raw[0], form, title, control.suite, control.authenticated, control.encrypted, control.broadcast,
        control.compressed, counter, start, end, header, header_end,
    ), cursor  # fmt: skip


def take_header(cursor: Cursor) -> Header:
    """The five fields that general-ciphering and general-signing begin with."""
    return Header(
        cursor.octets("transaction"), cursor.octets("originator"), cursor.octets("recipient"),
        cursor.octets("date-time"), cursor.octets("other"),
    )  # fmt: skip


def _take_header(cursor: Cursor) -> tuple[Header, int]:
    plain = take_header(cursor)
    end = cursor.at
    key = _take_key_info(cursor)
    return Header(
        plain.transaction, plain.originator, plain.recipient, plain.date_time, plain.other, key
    ), end


def _take_key_info(cursor: Cursor) -> KeyInfo | None:
    present = cursor.take("key-info", 1)[0]
    if present > 1:
        raise FrameError(f"{cursor.name}: key-info flag {present:02x}, must be 00 or 01", cursor.at - 1)
    if not present:
        return None
    kind = cursor.take("key-info", 1)[0]
    if kind not in _KEY_KINDS:
        raise FrameError(f"{cursor.name}: key-info choice {kind}, must be 0..2", cursor.at - 1)
    if kind == AGREED:
        return KeyInfo(kind, 0, cursor.octets("key-parameters"), cursor.octets("key-ciphered-data"))
    identifier = cursor.take("key-info", 1)[0]
    if identifier > (1 if kind == IDENTIFIED else 0):
        raise FrameError(f"{cursor.name}: {_KEY_KINDS[kind]} {identifier} is not defined", cursor.at - 1)
    return KeyInfo(kind, identifier, b"", cursor.octets("wrapped-key") if kind == WRAPPED else b"")


def _meaning(field: bytes, name: str, reveal: bool) -> str:
    match name:
        case "wrapped-key" if not reveal:
            return MASK
        case "control":
            return decode_control(field[0], bare=True).text
        case "counter":
            return str(int.from_bytes(field, "big"))
        case "length":
            return str(field[0] if len(field) == 1 else int.from_bytes(field[1:], "big"))
    if len(field) == 1 and name in _OPTIONAL:
        return "none"  # only its length byte is there
    return f"{len(field)} bytes" if name in _BULK else field.hex()


# --- with keys ---


def seal(
    apdu: bytes,
    form: Form,
    control: Control,
    counter: int,
    *,
    title: bytes,
    key: bytes,
    authentication: bytes,
    header: Header | None = None,
) -> bytes:
    """A plain APDU in its envelope.

    title           8 bytes: the sender's
    key             the block cipher key that form and control name: global unicast, broadcast, dedicated, or the one in the header
    authentication  the authentication key
    header          for general-ciphering
    Misuse: key or title of a wrong length, a counter outside 0..2^32-1, compression, an APDU without a glo- or ded- tag of its own.
    """
    if not apdu:
        raise Misuse("ciphering: an empty APDU")
    if not 0 <= counter <= MAX_COUNTER:
        raise Misuse(f"ciphering: invocation counter {counter} is outside 0..{MAX_COUNTER}; change the key")
    if form is Form.GENERAL:
        plain = encode_header(header or Header())
        front, extra = plain + _encode_key_info(None if header is None else header.key), plain
    elif form in (Form.GENERAL_GLO, Form.GENERAL_DED):
        front, extra = encode_length(TITLE) + title, b""
    else:
        front = extra = b""
    body = bytes((control.byte,)) + counter.to_bytes(4, "big")
    body += protect(apdu, control, counter, title=title, key=key, authentication=authentication, extra=extra)
    return bytes((_tag(apdu[0], form),)) + front + encode_length(len(body)) + body


def unseal(raw: bytes, *, key: bytes, authentication: bytes, title: bytes | None = None) -> bytes:
    """The plain APDU of a ciphered one. Neither counters nor policy are looked at, that is `security`'s business: a message that
    says it is encrypted only has no tag that could fail.

    title  of the sender, where the APDU does not carry it
    FrameError: shape as `outline`; compressed; no title; the authentication tag does not fit; a glo- or ded- tag with another
    service inside. Misuse: a key of a wrong length.
    """
    told = outline(raw)
    sender = told.system_title or title
    if sender is None:
        raise FrameError(f"{told.name}: the sender's system title is not known", 0)
    if not (told.authenticated or told.encrypted):
        raise FrameError(f"{told.name}: neither authenticated nor encrypted", told.start_of_ciphertext - HEAD)
    if told.compressed:
        raise FrameError(
            f"{told.name}: compressed (V.44) APDUs are not decoded", told.start_of_ciphertext - HEAD
        )
    extra = raw[1 : told.header_end]
    try:
        apdu = unprotect(
            raw[told.start_of_ciphertext :], told.control, told.counter,
            title=sender, key=key, authentication=authentication, extra=extra,
        )  # fmt: skip
    except FrameError as error:
        raise FrameError(f"{told.name}: {error.message}", told.ciphertext_end) from None
    plain = TAGS[told.tag][2]
    if plain is not None and apdu[0] != plain:
        raise FrameError(
            f"{told.name}: holds an APDU with tag {apdu[0]}, must be {plain}", told.start_of_ciphertext
        )
    return apdu


def _tag(plain: int, form: Form) -> int:
    match form:
        case Form.GENERAL_GLO:
            return GENERAL_GLO
        case Form.GENERAL_DED:
            return GENERAL_DED
        case Form.GENERAL:
            return GENERAL
    if plain not in SERVICES:
        raise Misuse(f"ciphering: tag {plain} has no {form.value}- form, only the general ones")
    _, glo, ded = SERVICES[plain]
    return ded if form is Form.DED else glo


def protect(
    data: bytes,
    control: Control,
    counter: int,
    *,
    title: bytes,
    key: bytes,
    authentication: bytes,
    extra: bytes = b"",
) -> bytes:
    """Ciphertext (or the data, if only authenticated) and the authentication tag, if any. Misuse as `seal`.

    `extra` is authenticated after control and authentication key.
    """
    nonce = _nonce(control, counter, title, key, authentication)
    if not control.authenticated:
        return _counter_mode(key, nonce, data)
    encryptor = Cipher(algorithms.AES(key), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(bytes((control.byte,)) + authentication + extra)
    if control.encrypted:
        sealed = encryptor.update(data) + encryptor.finalize()
    else:
        encryptor.authenticate_additional_data(data)
        sealed = data + encryptor.finalize()
    return sealed + encryptor.tag[:TAG]


def unprotect(
    body: bytes,
    control: Control,
    counter: int,
    *,
    title: bytes,
    key: bytes,
    authentication: bytes,
    extra: bytes = b"",
) -> bytes:
    """What `protect` was given. FrameError: the authentication tag does not fit. Misuse as `seal`."""
    nonce = _nonce(control, counter, title, key, authentication)
    if not control.authenticated:
        return _counter_mode(key, nonce, body)
    if len(body) < TAG:
        raise FrameError(f"authentication tag: {len(body)} bytes are left, must be {TAG}")
    data, tag = body[:-TAG], body[-TAG:]
    decryptor = Cipher(algorithms.AES(key), modes.GCM(nonce, tag, min_tag_length=TAG)).decryptor()
    decryptor.authenticate_additional_data(bytes((control.byte,)) + authentication + extra)
    if not control.encrypted:
        decryptor.authenticate_additional_data(data)
    try:
        plain = (
            decryptor.update(data) + decryptor.finalize()
            if control.encrypted
            else data + decryptor.finalize()
        )
    except InvalidTag:
        raise FrameError(
            "the authentication tag does not fit: bytes changed, or key, authentication key or system title are others"
        ) from None
    return plain


def _nonce(control: Control, counter: int, title: bytes, key: bytes, authentication: bytes) -> bytes:
    """title || counter, once everything has its length. No message shows more of a key than how long it is."""
    if control.compressed:
        raise Misuse("ciphering: compression (V.44) is not offered")
    if control.suite not in KEY_LENGTHS or not (control.authenticated or control.encrypted):
        raise Misuse(f"ciphering: control byte {control.byte:02x} protects nothing")
    wanted = KEY_LENGTHS[control.suite]
    for name, part, length in (("system title", title, TITLE), ("block cipher key", key, wanted)):
        if len(part) != length:
            raise Misuse(f"ciphering: {name} of {len(part)} bytes, suite {control.suite} needs {length}")
    if control.authenticated and len(authentication) != wanted:
        raise Misuse(
            f"ciphering: authentication key of {len(authentication)} bytes, suite {control.suite} needs {wanted}"
        )
    return title + counter.to_bytes(4, "big")


def _counter_mode(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """GCM without its tag is AES in counter mode from block 2 on (NIST SP 800-38D, 7.1), both ways."""
    cipher = Cipher(algorithms.AES(key), modes.CTR(nonce + b"\x00\x00\x00\x02")).encryptor()
    return cipher.update(data) + cipher.finalize()
