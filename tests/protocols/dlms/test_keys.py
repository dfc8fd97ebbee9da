"""Keys: wrap (RFC 3394), signatures (RFC 6979), agreement (Green Book, annex C), and the arguments that change them in a meter."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms import keys as keyring
from protocols.dlms import values
from protocols.dlms.ciphering import AGREED, IDENTIFIED, WRAPPED, Header, KeyInfo
from protocols.dlms.keys import ALGORITHM_06, KeyId, Keys
from protocols.dlms.values import ARRAY, ENUM, OCTET_STRING, STRUCTURE, Data
from protocols.errors import FrameError, Misuse

hexed = bytes.fromhex
U, V = hexed("4d4d4d0000bc614e"), hexed("4d4d4d0000000001")


# --- wrapping ---

#: RFC 3394, 4.1, 4.3 and 4.6: key encryption key, key, wrapped key.
RFC_3394 = [
    ("000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff",
     "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5"),
    ("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "00112233445566778899aabbccddeeff",
     "64e8c3f9ce0f5ba263e9777905818a2a93c8191e7d6e8ae7"),
    ("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
     "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f",
     "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"),
]  # fmt: skip


@pytest.mark.parametrize(("master", "key", "wrapped"), RFC_3394)
def test_rfc_3394(master: str, key: str, wrapped: str) -> None:
    assert keyring.wrap(hexed(key), hexed(master)).hex() == wrapped
    assert keyring.unwrap(hexed(wrapped), hexed(master)).hex() == key


def test_a_wrapped_key_that_does_not_fit() -> None:
    master, wrapped = hexed(RFC_3394[0][0]), hexed(RFC_3394[0][2])
    for wrong in (wrapped[:-1] + b"\x00", bytes(24), bytes(40)):
        with pytest.raises(FrameError, match="another master key"):
            keyring.unwrap(wrong, master)
    for length in (0, 16, 23, 25, 32, 48):
        with pytest.raises(FrameError, match=f"{length} bytes, must be 24 or 40"):
            keyring.unwrap(bytes(length), master)
    for bad in ((bytes(15), master), (master, bytes(24))):
        with pytest.raises(Misuse, match="must be 16 or 32"):
            keyring.wrap(*bad)
    with pytest.raises(Misuse, match="master key of 3 bytes"):
        keyring.unwrap(wrapped, b"abc")


# --- curves ---

#: Green Book, table C.1: the client's signing key, its ephemeral key, and its signature over key_id || ephemeral public key.
SIGNING = "418073c239fa6125011de4d6cd2e645780289f761bb21bfb0835cb5585e8b373"
SIGNING_POINT = (
    "baaffde06a8cb1c9dae8d94023c601dbbb249254ba22edd827e820bca2bcc643"
    "62fbb83d86a82b87bb8b7161d2aab5521911a946b97a284a90f7785cd9047d25"
)
EPHEMERAL_U = (
    "2914d60e10ab705f62ed6cc349d7cb99b9ab3f3978e59278c7af595b3af98794"
    "1372dab6d5af1fa867e134167e6f23de664a6693e05f43414611058d1b48f894"
)
SIGNATURE = (
    "06f0607702aa0e2435a183e2f6b1ecd19629712e389a213610c03f77b2590860"
    "ea840af5c3fa1f2bcdf055d4744e9a01ce9a0e55026bcaa4eebeb764ced64bb3"
)
EPHEMERAL_V = "34a8c23a34dbb519d09b245754c85a6cfe05d14a063efa5aa41545aa8241efae"
#: Table C.2: one-pass; the ephemeral public key and its signature as the ACCESS example carries them.
ONE_PASS_PRIVATE = "47dab03842e5b6e74828ef4f449b378d7dd1a5dae1ffca5ae0b0be0ad18ec57e"
ONE_PASS_POINT = (
    "c323c2bd45711de4688637d919f92e9db8fb2dfc213a88d21c9dc8dcba917d81"
    "70511de1badb360d50058f794b0960ae11fa28d392cff907a62d13e3357b1dc0"
)
ONE_PASS_SIGNATURE = (
    "b51be089d0b682863b2217201e73a1a9031968a9b4121dcbc3281a69739af874"
    "29f5b3ac5471e7b6a04a2c0f2f8a25fd772a317df97fc5463feac248eb8ab8be"
)
STATIC_V = "aad3fd0732e991cf52a74c66c1f2827ddc53522a2e0a169d7c4ffcc0fb5d6a4d"
STATIC_V_POINT = (
    "a653565b0e06070bae9fbe140a5d2156812aee2dd525053e3efc850bf13bfdff"
    "cb240bc7b77bff5883344e7275908d2287befa3725017295a096989d2338290b"
)
STATIC_U = "a51c16ff5c498fcc89323d4a9267cd71bf81fd6f6a891cd240da7f3d6f283e65"


def private(scalar: str, suite: int = 1) -> ec.EllipticCurvePrivateKey:
    return keyring.private_key(suite, hexed(scalar))


def public(point: str, suite: int = 1) -> ec.EllipticCurvePublicKey:
    return keyring.public_key(suite, hexed(point))


def test_green_book_ephemeral_unified() -> None:
    """C.1 was computed with the algorithm id of edition 8.0."""
    pair = {"party_u": U, "party_v": V}
    agreed = keyring.agree(1, private(EPHEMERAL_V), public(EPHEMERAL_U), algorithm=ALGORITHM_06, **pair)
    assert agreed.hex() == "e025ca6f9ee8d2b40f993739d44cfbc0"
    assert keyring.agree(1, private(EPHEMERAL_V), public(EPHEMERAL_U), **pair) != agreed


def test_green_book_one_pass() -> None:
    for own, peer in ((STATIC_V, ONE_PASS_POINT), (ONE_PASS_PRIVATE, STATIC_V_POINT)):
        key = keyring.agree(1, private(own), public(peer), party_u=U, party_v=V)
        assert key.hex() == "59a71fd81c929a86a99438da17a66c05"
        old = keyring.agree(1, private(own), public(peer), party_u=U, party_v=V, algorithm=ALGORITHM_06)
        assert old.hex() == "8cd08ff02eac71712de8449dc8331833"


def test_green_book_static_unified() -> None:
    key = keyring.agree(
        1, private(STATIC_U), public(STATIC_V_POINT), party_u=U, party_v=V, nonce=hexed("0102030405060708")
    )
    assert key.hex() == "56c46b57df675515c31025455822514a"


def test_green_book_signatures() -> None:
    signer = public(SIGNING_POINT)
    assert keyring.point(private(SIGNING).public_key()).hex() == SIGNING_POINT
    keyring.check_signature(signer, hexed(SIGNATURE), b"\x00" + hexed(EPHEMERAL_U))
    keyring.check_signature(signer, hexed(ONE_PASS_SIGNATURE), hexed(ONE_PASS_POINT))
    for place in range(64):
        wrong = bytearray(hexed(SIGNATURE))
        wrong[place] ^= 1
        with pytest.raises(FrameError, match="does not fit"):
            keyring.check_signature(signer, bytes(wrong), b"\x00" + hexed(EPHEMERAL_U))
    for bad in (b"", bytes(64), b"\xff" * 64, bytes(63)):
        with pytest.raises(FrameError, match="signature"):
            keyring.check_signature(signer, bad, b"data")


def test_signatures_roll_no_dice() -> None:
    """RFC 6979, A.2.5: P-256, SHA-256, "sample"."""
    key = private("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
    assert keyring.sign(key, b"sample").hex() == (
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
    )
    wide = keyring.private_key(2, bytes(47) + b"\x09")
    assert keyring.sign(wide, b"sample") == keyring.sign(wide, b"sample")
    assert len(keyring.sign(wide, b"sample")) == 96


@pytest.mark.parametrize(("suite", "hasher", "last"), [(1, hashlib.sha256, "00"), (2, hashlib.sha384, "01")])
def test_the_derivation_written_out(suite: int, hasher: Any, last: str) -> None:
    """SP 800-56A, 5.8.1: H(00000001 || Z || AlgorithmID || U || V), one round."""
    size = 32 if suite == 1 else 48
    own, other = (keyring.private_key(suite, bytes(size - 1) + bytes((n,))) for n in (5, 6))
    shared = own.exchange(ec.ECDH(), other.public_key())
    written = hasher(b"\x00\x00\x00\x01" + shared + hexed("608574050803" + last) + U + V).digest()
    for mine, theirs in ((own, other), (other, own)):
        agreed = keyring.agree(suite, mine, theirs.public_key(), party_u=U, party_v=V)
        assert agreed == written[: 16 if suite == 1 else 32]


def test_curve_refusals() -> None:
    with pytest.raises(FrameError, match="not a point"):
        keyring.public_key(1, bytes(64))
    with pytest.raises(FrameError, match="63 bytes, suite 1 needs 64"):
        keyring.public_key(1, bytes(63))
    with pytest.raises(FrameError, match="64 bytes, suite 2 needs 96"):
        keyring.public_key(2, bytes(64))
    for scalar in (bytes(32), b"\xff" * 32):
        with pytest.raises(Misuse, match="outside the range"):
            keyring.private_key(1, scalar)
    for call in (lambda: keyring.private_key(0, bytes(16)), lambda: keyring.public_key(0, b"")):
        with pytest.raises(Misuse, match="suite 0 has no elliptic curve"):
            call()
    with pytest.raises(Misuse, match="is not of suite 2"):
        keyring.agree(2, private(SIGNING), public(SIGNING_POINT), party_u=U, party_v=V)
    with pytest.raises(Misuse, match="system title of 3 bytes"):
        keyring.agree(1, private(SIGNING), public(SIGNING_POINT), party_u=b"abc", party_v=V)
    with pytest.raises(Misuse, match="no security suite"):
        keyring.sign(ec.derive_private_key(7, ec.SECP521R1()), b"x")


# --- the key of one message ---

MASTER = bytes(range(16))
OURS = Keys(1, bytes(range(16, 32)), bytes(range(32, 48)), broadcast=bytes(range(48, 64)), master=MASTER)


def message(key: KeyInfo | None) -> Header:
    return Header(hexed("0102030405060708"), U, V, key=key)


def test_message_keys() -> None:
    for info, wanted in (
        (None, OURS.unicast),
        (KeyInfo(IDENTIFIED, 0), OURS.unicast),
        (KeyInfo(IDENTIFIED, 1), OURS.broadcast),
        (KeyInfo(WRAPPED, 0, b"", keyring.wrap(b"k" * 16, MASTER)), b"k" * 16),
    ):
        assert keyring.message_key(1, message(info), keys=OURS) == wanted
    one_pass = message(KeyInfo(AGREED, 0, b"\x01", hexed(ONE_PASS_POINT + ONE_PASS_SIGNATURE)))
    given: dict[str, Any] = {"keys": OURS, "own": private(STATIC_V)}
    key = keyring.message_key(1, one_pass, peer_signer=public(SIGNING_POINT), **given)
    assert key.hex() == "59a71fd81c929a86a99438da17a66c05"
    static = message(KeyInfo(AGREED, 0, b"\x02", b""))
    key = keyring.message_key(1, static, peer_static=private(STATIC_U).public_key(), **given)
    assert key.hex() == "56c46b57df675515c31025455822514a"
    sent = keyring.one_pass_data(private(ONE_PASS_PRIVATE), private(SIGNING))
    key = keyring.message_key(
        1, message(KeyInfo(AGREED, 0, b"\x01", sent)), peer_signer=public(SIGNING_POINT), **given
    )
    assert key.hex() == "59a71fd81c929a86a99438da17a66c05"


def test_message_key_refusals() -> None:
    given: dict[str, Any] = {"keys": OURS, "own": private(STATIC_V), "peer_signer": public(SIGNING_POINT)}
    unsigned = KeyInfo(AGREED, 0, b"\x01", hexed(ONE_PASS_POINT) + bytes(64))
    with pytest.raises(FrameError, match="signature: does not fit"):
        keyring.message_key(1, message(unsigned), **given)
    for info, words in (
        (KeyInfo(AGREED, 0, b"\x03", b""), "key-parameters 03"),
        (KeyInfo(AGREED, 0, b"\x02", b"x"), "key-parameters 02"),
        (KeyInfo(AGREED, 0, b"", b""), "key-parameters empty"),
        (KeyInfo(AGREED, 0, b"\x01", b""), "signature: 0 bytes"),
        (KeyInfo(WRAPPED, 0, b"", bytes(24)), "another master key"),
        (KeyInfo(WRAPPED, 0, b"", keyring.wrap(bytes(32), MASTER)), "holds 32 bytes"),
    ):
        with pytest.raises(FrameError, match=words):
            keyring.message_key(1, message(info), **given)
    bare = Keys(0, bytes(16), bytes(16))
    for info, words in (
        (KeyInfo(IDENTIFIED, 1), "broadcast key is needed"),
        (KeyInfo(WRAPPED, 0, b"", bytes(24)), "master key is needed"),
        (KeyInfo(AGREED, 0, b"\x02", b""), "own key agreement key is needed"),
    ):
        with pytest.raises(Misuse, match=words):
            keyring.message_key(0, message(info), keys=bare)


# --- changing keys ---


@pytest.mark.parametrize("suite", [0, 1, 2])
def test_transfer_there_and_back(suite: int) -> None:
    size = 32 if suite == 2 else 16
    master = bytes(range(size))
    new = {which: bytes((which + 1,)) * size for which in KeyId}
    data = keyring.encode_transfer(list(new.items()), master)
    wire = values.encode(data)
    assert wire[:4] == b"\x01\x04\x02\x02"
    assert wire[4:8] == b"\x16\x00\x09" + bytes((size + 8,))
    assert not any(key in wire for key in new.values())
    assert keyring.decode_transfer(values.decode(wire), master) == new
    before = Keys(suite, bytes(size), bytes(size), master=master)
    after = keyring.changed(before, new)
    assert (after.unicast, after.broadcast, after.authentication, after.master) == tuple(new.values())
    with pytest.raises(FrameError, match="another master key"):
        keyring.decode_transfer(data, bytes(size))


def entry(which: Any, body: bytes = b"", tag: int = ENUM) -> Data:
    return Data(STRUCTURE, (Data(tag, which), Data(OCTET_STRING, body)))


@pytest.mark.parametrize(
    "data",
    [
        Data(ENUM, 1),
        Data(ARRAY, ()),
        Data(ARRAY, tuple(entry(which % 4) for which in range(5))),
        Data(ARRAY, (Data(ENUM, 1),)),
        Data(ARRAY, (Data(STRUCTURE, ()),)),
        Data(ARRAY, (entry(4),)),
        Data(ARRAY, (entry(1), entry(1))),
        Data(ARRAY, (entry(1, tag=17),)),
        Data(ARRAY, (entry(1, bytes(3)),)),
    ],
)
def test_transfer_refusals(data: Data) -> None:
    with pytest.raises(FrameError, match="key"):
        keyring.decode_transfer(data, MASTER)
    with pytest.raises(FrameError, match=r"key|signature"):
        keyring.decode_agreement(data, 1, public(SIGNING_POINT))


def test_transfer_misuse() -> None:
    with pytest.raises(Misuse, match="0 keys to change"):
        keyring.encode_transfer([], MASTER)
    with pytest.raises(Misuse, match="each but once"):
        keyring.encode_transfer([(KeyId.UNICAST, MASTER)] * 2, MASTER)


@pytest.mark.parametrize("suite", [1, 2])
def test_agreement_both_ways(suite: int) -> None:
    size = 32 if suite == 1 else 48
    mine, theirs, my_signer, their_signer = (
        keyring.private_key(suite, bytes(size - 1) + bytes((n,))) for n in (11, 12, 13, 14)
    )
    request = values.decode(values.encode(keyring.encode_agreement([(KeyId.UNICAST, mine)], my_signer)))
    asked = keyring.decode_agreement(request, suite, my_signer.public_key())
    answer = keyring.encode_agreement([(which, theirs) for which in asked], their_signer)
    got = keyring.decode_agreement(answer, suite, their_signer.public_key())
    titles = {"party_u": U, "party_v": V}
    client = keyring.agree(suite, mine, got[KeyId.UNICAST], **titles)
    assert client == keyring.agree(suite, theirs, asked[KeyId.UNICAST], **titles)
    with pytest.raises(FrameError, match="signature"):
        keyring.decode_agreement(request, suite, their_signer.public_key())


def test_the_green_books_agreement_argument_is_taken() -> None:
    data = Data(ARRAY, (entry(0, hexed(EPHEMERAL_U + SIGNATURE)),))
    found = keyring.decode_agreement(data, 1, public(SIGNING_POINT))
    assert keyring.point(found[KeyId.UNICAST]).hex() == EPHEMERAL_U
    with pytest.raises(FrameError, match="signature"):  # the signature names the key that is to be agreed
        keyring.decode_agreement(
            Data(ARRAY, (entry(1, hexed(EPHEMERAL_U + SIGNATURE)),)), 1, public(SIGNING_POINT)
        )


# --- no key is shown ---


@given(st.binary(min_size=8, max_size=40), st.binary(min_size=8, max_size=40))
def test_keys_never_show(unicast: bytes, authentication: bytes) -> None:
    try:
        shown = repr(Keys(0, unicast, authentication))
    except Misuse as error:
        shown = str(error)
    for key in (unicast, authentication):
        assert repr(key)[2:-1] not in shown
        assert key.hex() not in shown


def test_key_lengths() -> None:
    for suite, size in ((0, 16), (1, 16), (2, 32)):
        good = Keys(suite, bytes(size), bytes(size))
        for name in ("unicast", "authentication", "broadcast", "dedicated", "master"):
            with pytest.raises(Misuse, match=f"{name} key of 5 bytes, suite {suite} needs {size}"):
                replace(good, **{name: b"wrong"})  # type: ignore[arg-type]
    with pytest.raises(Misuse, match="suite 3 is not defined"):
        Keys(3, bytes(16), bytes(16))
