"""Keys of the three security suites: what they are, how they are wrapped, agreed, and changed (Green Book 9.2.3, 9.2.5; Blue Book 4.4.7).

| suite | cipher | signature, agreement | hash | wrap |
| 0 | AES-GCM-128 | none | none | AES-128 |
| 1 | AES-GCM-128 | P-256 | SHA-256 | AES-128 |
| 2 | AES-GCM-256 | P-384 | SHA-384 | AES-256 |

Nothing here makes a random number: new keys and ephemeral private keys come from the caller. No message, repr or error shows
key bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Final, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from protocols.dlms.ciphering import AGREED, IDENTIFIED, KEY_LENGTHS, TITLE, Header
from protocols.dlms.values import ARRAY, ENUM, OCTET_STRING, STRUCTURE, Data
from protocols.errors import FrameError, Misuse

#: Bytes that AES key wrap adds (RFC 3394).
WRAPPING: Final = 8
#: Methods of "Security setup" (class 64) from version 1 on (version 0 has the first two).
SECURITY_ACTIVATE, KEY_TRANSFER, KEY_AGREEMENT = 1, 2, 3
#: Entries of one key_transfer or key_agreement: there are four keys, and each is changed once.
MAX_ENTRIES: Final = 4

_CURVES: Final[dict[int, ec.EllipticCurve]] = {1: ec.SECP256R1(), 2: ec.SECP384R1()}
_HASHES: Final[dict[int, hashes.HashAlgorithm]] = {1: hashes.SHA256(), 2: hashes.SHA384()}

#: What a derived key is for (OtherInfo, AlgorithmID): the object identifier 2.16.756.5.8.3.x, x in the last byte. Printings of
#: the Green Book differ in the fourth byte: 05, which the identifier gives and the worked ACCESS examples use, and 06, with which
#: the examples of edition 8.0 were computed. A meter built on that one needs `ALGORITHM_06`.
ALGORITHM: Final = bytes.fromhex("608574050803")
ALGORITHM_06: Final = bytes.fromhex("608574060803")
#: suite -> last arc of the block cipher's algorithm id
_CIPHER_ARC: Final = {1: 0, 2: 1}


class KeyId(IntEnum):
    """Which key a transfer or agreement is about (Blue Book, Security setup, key_id)."""

    UNICAST = 0
    BROADCAST = 1
    AUTHENTICATION = 2
    MASTER = 3


@dataclass(frozen=True, slots=True)
class Keys:
    """The symmetric keys of one meter, each as long as the suite asks. Never in a repr.

    unicast, broadcast  global encryption keys
    authentication      authentication key
    dedicated           encryption key of one association, made by the client
    master              the key that wraps the others (KEK)
    Misuse: a key of a wrong length.
    """

    suite: int
    unicast: bytes = field(repr=False)
    authentication: bytes = field(repr=False)
    broadcast: bytes | None = field(default=None, repr=False)
    dedicated: bytes | None = field(default=None, repr=False)
    master: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.suite not in KEY_LENGTHS:
            raise Misuse(f"keys: suite {self.suite} is not defined, there are 0, 1 and 2")
        for name in ("unicast", "authentication", "broadcast", "dedicated", "master"):
            key = getattr(self, name)
            if key is not None:
                check_length(self.suite, key, f"{name} key")


def check_length(suite: int, key: bytes, name: str) -> None:
    """Misuse, naming the key but not showing it, if it is not as long as the suite asks."""
    if len(key) != KEY_LENGTHS[suite]:
        raise Misuse(f"keys: {name} of {len(key)} bytes, suite {suite} needs {KEY_LENGTHS[suite]}")


# --- wrapping ---


def wrap(key: bytes, master: bytes) -> bytes:
    """A key for transport (AES key wrap, RFC 3394): 8 bytes longer. Misuse: lengths that are no AES key."""
    for name, part in (("key to wrap", key), ("master key", master)):
        if len(part) not in KEY_LENGTHS.values():
            raise Misuse(f"keys: {name} of {len(part)} bytes, must be 16 or 32")
    return aes_key_wrap(master, key)


def unwrap(wrapped: bytes, master: bytes) -> bytes:
    """The key. FrameError: wrapped with another master key, or not a wrapped key at all."""
    if len(master) not in KEY_LENGTHS.values():
        raise Misuse(f"keys: master key of {len(master)} bytes, must be 16 or 32")
    if len(wrapped) - WRAPPING not in KEY_LENGTHS.values():
        raise FrameError(f"wrapped key: {len(wrapped)} bytes, must be 24 or 40")
    try:
        return aes_key_unwrap(master, wrapped)
    except InvalidUnwrap:
        raise FrameError(
            "wrapped key: its integrity check fails, it was wrapped with another master key"
        ) from None


# --- elliptic curves ---


def private_key(suite: int, scalar: bytes) -> ec.EllipticCurvePrivateKey:
    """A private key from its bytes (32 or 48). Misuse: outside the curve's range, or suite 0."""
    curve = _curve(suite)
    if len(scalar) != _size(curve):
        raise Misuse(f"keys: private key of {len(scalar)} bytes, suite {suite} needs {_size(curve)}")
    try:
        return ec.derive_private_key(int.from_bytes(scalar, "big"), curve)
    except ValueError:
        raise Misuse("keys: private key is outside the range of its curve") from None


def public_key(suite: int, point: bytes) -> ec.EllipticCurvePublicKey:
    """A public key from x || y (64 or 96 bytes). FrameError: not a point of the curve. Misuse: suite 0."""
    curve = _curve(suite)
    if len(point) != 2 * _size(curve):
        raise FrameError(f"public key: {len(point)} bytes, suite {suite} needs {2 * _size(curve)}")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + point)
    except ValueError:
        raise FrameError("public key: not a point of its curve") from None


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    """x || y."""
    size, numbers = _size(key.curve), key.public_numbers()
    return numbers.x.to_bytes(size, "big") + numbers.y.to_bytes(size, "big")


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """r || s (64 or 96 bytes). The nonce is derived from key and data (RFC 6979), so that nothing here rolls dice."""
    algorithm = ec.ECDSA(_HASHES[_suite(key.curve)], deterministic_signing=True)
    r, s = decode_dss_signature(key.sign(data, algorithm))
    size = _size(key.curve)
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def check_signature(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> None:
    """FrameError if it does not fit."""
    size = _size(key.curve)
    if len(signature) != 2 * size:
        raise FrameError(f"signature: {len(signature)} bytes, must be {2 * size}")
    r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
    try:
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(_HASHES[_suite(key.curve)]))
    except InvalidSignature:
        raise FrameError("signature: does not fit, data or key are others") from None


def _curve(suite: int) -> ec.EllipticCurve:
    if suite not in _CURVES:
        raise Misuse(f"keys: suite {suite} has no elliptic curve, only suites 1 and 2")
    return _CURVES[suite]


def _size(curve: ec.EllipticCurve) -> int:
    return (curve.key_size + 7) // 8


def _suite(curve: ec.EllipticCurve) -> int:
    for suite, known in _CURVES.items():
        if known.name == curve.name:
            return suite
    raise Misuse(f"keys: curve {curve.name} belongs to no security suite")


# --- agreement ---


def derive(suite: int, shared: bytes, other: bytes) -> bytes:
    """The NIST concatenation KDF (SP 800-56A, 5.8.1): one key of the suite's length out of a shared secret."""
    _curve(suite)
    return ConcatKDFHash(_HASHES[suite], KEY_LENGTHS[suite], other).derive(shared)


def agree(
    suite: int,
    own: ec.EllipticCurvePrivateKey,
    peer: ec.EllipticCurvePublicKey,
    *,
    party_u: bytes,
    party_v: bytes,
    nonce: bytes | None = None,
    algorithm: bytes = ALGORITHM,
) -> bytes:
    """The agreed key. One function for the three schemes, which differ in whose key pairs come in:

    ephemeral unified C(2e, 0s)  both ephemeral; U is the client, V the server; for global, authentication, master keys
    one-pass C(1e, 1s)           U (the originator) ephemeral, V (the recipient) static; for one message
    static unified C(0e, 2s)     both static, and `nonce` is the message's transaction id
    party_u, party_v             their system titles
    Misuse: suite 0, a title not of 8 bytes, a key of another curve.
    """
    for title in (party_u, party_v):
        if len(title) != TITLE:
            raise Misuse(f"keys: system title of {len(title)} bytes, must be {TITLE}")
    for key in (own, peer):
        if _suite(key.curve) != suite:
            raise Misuse(f"keys: a key of curve {key.curve.name} is not of suite {suite}")
    extra = b"" if nonce is None else bytes((len(nonce),)) + nonce
    identifier = algorithm + bytes((_CIPHER_ARC[suite],))
    return derive(suite, own.exchange(ec.ECDH(), peer), identifier + party_u + extra + party_v)


ONE_PASS: Final = b"\x01"
STATIC_UNIFIED: Final = b"\x02"


def one_pass_data(ephemeral: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey) -> bytes:
    """key-ciphered-data of an agreed key, scheme 01: the ephemeral public key and the originator's signature over it."""
    public = point(ephemeral.public_key())
    return public + sign(signer, public)


def message_key(
    suite: int,
    header: Header,
    *,
    keys: Keys,
    own: ec.EllipticCurvePrivateKey | None = None,
    peer_static: ec.EllipticCurvePublicKey | None = None,
    peer_signer: ec.EllipticCurvePublicKey | None = None,
    algorithm: bytes = ALGORITHM,
) -> bytes:
    """The key that protects a received general-ciphering APDU, by its header.

    own          our static key agreement key (agreed keys)
    peer_static  the originator's static key agreement key (static unified)
    peer_signer  the originator's signature key (one-pass): an ephemeral key whose signature was not checked is nobody's
    FrameError: wrapped key or signature do not fit, a scheme that is not defined. Misuse: a key that is needed was not given.
    """
    info = header.key
    if info is None or info.kind == IDENTIFIED:
        broadcast = info is not None and info.identifier == KeyId.BROADCAST
        return _needed(keys.broadcast if broadcast else keys.unicast, "broadcast key")
    if info.kind != AGREED:
        key = unwrap(info.ciphered, _needed(keys.master, "master key"))
        if len(key) != KEY_LENGTHS[suite]:
            raise FrameError(f"wrapped key: holds {len(key)} bytes, suite {suite} needs {KEY_LENGTHS[suite]}")
        return key
    private = _needed(own, "own key agreement key")
    u, v = header.originator, header.recipient
    if info.parameters == ONE_PASS:
        half = len(info.ciphered) // 2
        check_signature(
            _needed(peer_signer, "originator's signature key"), info.ciphered[half:], info.ciphered[:half]
        )
        return agree(
            suite, private, public_key(suite, info.ciphered[:half]), party_u=u, party_v=v, algorithm=algorithm
        )
    if info.parameters == STATIC_UNIFIED and not info.ciphered:
        static = _needed(peer_static, "originator's key agreement key")
        return agree(
            suite, private, static, party_u=u, party_v=v, nonce=header.transaction, algorithm=algorithm
        )
    raise FrameError(f"agreed key: key-parameters {info.parameters.hex() or 'empty'}, must be 01 or 02")


_T = TypeVar("_T")


def _needed(thing: _T | None, name: str) -> _T:
    if thing is None:
        raise Misuse(f"keys: the {name} is needed")
    return thing


# --- changing keys: arguments of the Security setup methods ---


def encode_transfer(changed: Sequence[tuple[KeyId, bytes]], master: bytes) -> Data:
    """key_transfer's argument: an array of {key_id, wrapped key}. Misuse: no key, a key twice, or not an AES key."""
    return _entries([(which, wrap(key, master)) for which, key in changed])


def decode_transfer(data: Data, master: bytes) -> dict[KeyId, bytes]:
    """The new keys. FrameError: not that shape, a key twice, or wrapped with another master key (then none is taken)."""
    return {which: unwrap(wrapped, master) for which, wrapped in _decode_entries(data).items()}


def encode_agreement(
    wanted: Sequence[tuple[KeyId, ec.EllipticCurvePrivateKey]], signer: ec.EllipticCurvePrivateKey
) -> Data:
    """key_agreement's argument, and its answer: an array of {key_id, ephemeral public key || signature over key_id and it}.

    The ephemeral private keys are fresh, one for each key.
    """
    entries = []
    for which, ephemeral in wanted:
        public = point(ephemeral.public_key())
        entries.append((which, public + sign(signer, bytes((which,)) + public)))
    return _entries(entries)


def decode_agreement(
    data: Data, suite: int, peer_signer: ec.EllipticCurvePublicKey
) -> dict[KeyId, ec.EllipticCurvePublicKey]:
    """The peer's ephemeral public keys, their signatures checked; `agree` makes keys of them. FrameError: shape, point, signature."""
    found = {}
    for which, body in _decode_entries(data).items():
        half = len(body) // 2
        check_signature(peer_signer, body[half:], bytes((which,)) + body[:half])
        found[which] = public_key(suite, body[:half])
    return found


def _entries(entries: Sequence[tuple[KeyId, bytes]]) -> Data:
    if not entries or len({which for which, _ in entries}) != len(entries):
        raise Misuse(f"keys: {len(entries)} keys to change, must be at least one and each but once")
    return Data(
        ARRAY,
        tuple(Data(STRUCTURE, (Data(ENUM, int(which)), Data(OCTET_STRING, body))) for which, body in entries),
    )


def _decode_entries(data: Data) -> dict[KeyId, bytes]:
    if data.tag != ARRAY or not 1 <= len(data.value) <= MAX_ENTRIES:
        raise FrameError(f"key data: must be an array of 1 to {MAX_ENTRIES} entries")
    found: dict[KeyId, bytes] = {}
    for entry in data.value:
        shape = (entry.tag, *(part.tag for part in entry.value)) if entry.tag == STRUCTURE else (entry.tag,)
        if shape != (STRUCTURE, ENUM, OCTET_STRING):
            raise FrameError(
                "key data: an entry must be a structure of key_id (enum) and key data (octet-string)"
            )
        which, body = entry.value[0].value, entry.value[1].value
        if which not in KeyId.__members__.values() or which in found:
            raise FrameError(f"key data: key_id {which}, must be 0..3 and each but once")
        found[KeyId(which)] = body
    return found


def changed(keys: Keys, new: Mapping[KeyId, bytes]) -> Keys:
    """The keys after a transfer or agreement. Counters of a changed encryption key begin anew (`security.Heard.forget`)."""
    names = {
        KeyId.UNICAST: "unicast", KeyId.BROADCAST: "broadcast",
        KeyId.AUTHENTICATION: "authentication", KeyId.MASTER: "master",
    }  # fmt: skip
    fields: dict[str, Any] = {names[which]: key for which, key in new.items()}
    return replace(keys, **fields)
