"""High level security against the Green Book's example, hashlib written out, and dlms-cosem."""

from __future__ import annotations

import hashlib

import pytest
from dlms_cosem import security as library

from protocols.dlms import hls
from protocols.dlms.hls import Pass
from protocols.dlms.keys import Keys
from protocols.errors import FrameError, Misuse

KEYS = Keys(0, bytes(range(16)), bytes(range(0xD0, 0xE0)))
CLIENT, SERVER = bytes.fromhex("4d4d4d0000000001"), bytes.fromhex("4d4d4d0000bc614e")
CTOS, STOC = b"K56iVagY", b"P6wRJ21F"


def test_green_book_table_43() -> None:
    """HLS-GMAC, passes 3 and 4."""
    assert hls.gmac(STOC, 1, CLIENT, KEYS).hex() == "10000000011a52fe7dd3e72748973c1e28"
    assert hls.gmac(CTOS, 0x01234567, SERVER, KEYS).hex() == "1001234567fe1466afb3dbcd4f9389e2b7"
    assert hls.check_gmac(hls.gmac(CTOS, 0x01234567, SERVER, KEYS), CTOS, SERVER, KEYS) == 0x01234567


def test_gmac_as_the_library_has_it() -> None:
    control = library.SecurityControlField(security_suite=0, authenticated=True)
    for counter in range(1, 200):
        challenge = bytes((counter,)) * (8 + counter % 57)
        theirs = library.gmac(control, CLIENT, counter, KEYS.unicast, KEYS.authentication, challenge)
        assert hls.gmac(challenge, counter, CLIENT, KEYS)[5:] == theirs


def test_published_proofs() -> None:
    """The reply_to_HLS argument of a captured association: right length and control, so only the tag can say no."""
    proof = bytes.fromhex("1000000002960bf6d9cd118b1a490552c4")
    with pytest.raises(FrameError, match="does not fit"):
        hls.check_gmac(proof, CTOS, CLIENT, KEYS)


@pytest.mark.parametrize("mechanism", [hls.MD5, hls.SHA1, hls.SHA256])
def test_hashes_bind_what_the_book_says(mechanism: int) -> None:
    secret = b"a secret of the meter"
    client = Pass(STOC, CTOS, CLIENT, SERVER)
    server = Pass(CTOS, STOC, SERVER, CLIENT)
    wanted = {
        hls.MD5: (hashlib.md5(STOC + secret), hashlib.md5(CTOS + secret)),
        hls.SHA1: (hashlib.sha1(STOC + secret), hashlib.sha1(CTOS + secret)),
        hls.SHA256: (
            hashlib.sha256(secret + CLIENT + SERVER + STOC + CTOS),
            hashlib.sha256(secret + SERVER + CLIENT + CTOS + STOC),
        ),
    }[mechanism]
    for given, known in zip((client, server), wanted, strict=True):
        proof = hls.digest(mechanism, given, secret)
        assert proof == known.digest()
        hls.check_digest(mechanism, given, secret, proof)
        for wrong in (b"", proof[:-1], proof + b"\x00", bytes(len(proof)), proof[::-1]):
            with pytest.raises(FrameError, match="does not fit") as caught:
                hls.check_digest(mechanism, given, secret, wrong)
            assert secret.decode() not in str(caught.value)
        with pytest.raises(FrameError):
            hls.check_digest(mechanism, given, b"another", proof)
    assert hls.digest(mechanism, client, secret) != hls.digest(mechanism, server, secret)


def test_gmac_refusals() -> None:
    good = hls.gmac(STOC, 1, CLIENT, KEYS)
    for wrong, words in (
        (good[:-1], "16 bytes, HLS-GMAC has 17"),
        (b"\x30" + good[1:], "security control 30, must be 10"),
        (b"\x11" + good[1:], "security control 11"),
        (good[:4] + b"\x02" + good[5:], "does not fit"),
        (good[:-1] + bytes((good[-1] ^ 1,)), "does not fit"),
    ):
        with pytest.raises(FrameError, match=words):
            hls.check_gmac(wrong, STOC, CLIENT, KEYS)
    with pytest.raises(FrameError, match="does not fit"):  # our own proof, sent back
        hls.check_gmac(good, STOC, SERVER, KEYS)
    for counter in (-1, 2**32):
        with pytest.raises(Misuse, match="change the key"):
            hls.gmac(STOC, counter, CLIENT, KEYS)


def test_challenge_lengths() -> None:
    for mechanism in hls.NAMES:
        least = 32 if mechanism == hls.ECDSA else 8
        for length in (least, 64):
            hls.check_challenge(bytes(length), mechanism)
        for length in (0, least - 1, 65):
            with pytest.raises(FrameError, match=rf"challenge: {length} bytes, .* needs {least}\.\.64"):
                hls.check_challenge(bytes(length), mechanism)


def test_nothing_shows_in_a_repr() -> None:
    shown = repr(Pass(STOC, CTOS, CLIENT, SERVER)) + repr(KEYS)
    assert "P6wRJ21F" not in shown
    assert "K56iVagY" not in shown
    assert repr(KEYS.unicast)[2:-1] not in shown
    with pytest.raises(Misuse, match="mechanism 5 is no hash"):
        hls.digest(hls.GMAC, Pass(STOC, CTOS), b"x")
