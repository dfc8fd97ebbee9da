"""High level security: each side proves that it knows the secret by answering the other's challenge (Green Book 9.2.7.4).

The four passes: CtoS in the AARQ, StoC in the AARE, then f(StoC) and f(CtoS) as argument and return value of the association
object's reply_to_HLS_authentication. Mechanisms: 3 MD5, 4 SHA-1, 5 GMAC, 6 SHA-256, 7 ECDSA. Mechanism 2 leaves f to the
manufacturer: there is none here to guess at, it is passed in. Challenges come from the caller.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import md5, sha1, sha256
from typing import Final

from protocols.dlms import ciphering
from protocols.dlms.ciphering import HEAD, MAX_COUNTER, TAG, Control
from protocols.dlms.keys import Keys
from protocols.errors import FrameError, Misuse

NONE, LLS, MANUFACTURER, MD5, SHA1, GMAC, SHA256, ECDSA = range(8)
NAMES: Final = {
    NONE: "none", LLS: "LLS", MANUFACTURER: "HLS", MD5: "HLS-MD5", SHA1: "HLS-SHA1", GMAC: "HLS-GMAC",
    SHA256: "HLS-SHA256", ECDSA: "HLS-ECDSA",
}  # fmt: skip
#: Challenge length in bytes (Green Book 9.2.2.2.2.4); ECDSA asks for 32 at least.
MIN_CHALLENGE, MAX_CHALLENGE, MIN_ECDSA_CHALLENGE = 8, 64, 32

#: (challenge, secret) -> proof, of mechanism 2.
Manufacturer = Callable[[bytes, bytes], bytes]


@dataclass(frozen=True, slots=True)
class Pass:
    """What one proof is made from, seen by the one who proves.

    challenge  the other side's; `own` is the prover's
    title      the prover's system title; `peer_title` the other side's (mechanisms 6 and 7)
    """

    challenge: bytes = field(repr=False)
    own: bytes = field(repr=False)
    title: bytes = b""
    peer_title: bytes = b""

    @property
    def message(self) -> bytes:
        """Both titles and both challenges, in the order of mechanisms 6 and 7."""
        return self.title + self.peer_title + self.challenge + self.own


def check_challenge(challenge: bytes, mechanism: int) -> None:
    """FrameError: too short to be unpredictable, or longer than the standard allows. Shows its length only."""
    least = MIN_ECDSA_CHALLENGE if mechanism == ECDSA else MIN_CHALLENGE
    if not least <= len(challenge) <= MAX_CHALLENGE:
        raise FrameError(
            f"challenge: {len(challenge)} bytes, {NAMES[mechanism]} needs {least}..{MAX_CHALLENGE}"
        )


def digest(mechanism: int, given: Pass, secret: bytes) -> bytes:
    """f(challenge) of mechanisms 3, 4 and 6: a plain hash, no HMAC. The first two are what the standard has, not what is safe."""
    match mechanism:
        case 3:
            return md5(given.challenge + secret, usedforsecurity=False).digest()
        case 4:
            return sha1(given.challenge + secret, usedforsecurity=False).digest()
        case 6:
            return sha256(secret + given.message).digest()
    raise Misuse(f"HLS: mechanism {mechanism} is no hash")


def check_digest(mechanism: int, given: Pass, secret: bytes, proof: bytes) -> None:
    """FrameError if the proof is not f(challenge)."""
    check_equal(digest(mechanism, given, secret), proof)


def check_equal(wanted: bytes, proof: bytes) -> None:
    """Compared in constant time. FrameError if they differ."""
    if not hmac.compare_digest(wanted, proof):
        raise FrameError("HLS proof: does not fit, the secret or a challenge is another")


def gmac(challenge: bytes, counter: int, title: bytes, keys: Keys) -> bytes:
    """f(challenge) of mechanism 5: security control, counter, GMAC tag: 17 bytes. Under the global unicast key.

    title  the prover's, 8 bytes. Misuse: its length, or a counter outside 0..2^32-1.
    """
    if not 0 <= counter <= MAX_COUNTER:
        raise Misuse(f"HLS: invocation counter {counter} is outside 0..{MAX_COUNTER}; change the key")
    control = Control(keys.suite, authenticated=True, encrypted=False)
    sealed = ciphering.protect(
        challenge, control, counter, title=title, key=keys.unicast, authentication=keys.authentication
    )
    return bytes((control.byte,)) + counter.to_bytes(4, "big") + sealed[-TAG:]


def check_gmac(proof: bytes, challenge: bytes, title: bytes, keys: Keys) -> int:
    """The proof's invocation counter, once its tag fits. FrameError: length, security control, tag."""
    if len(proof) != HEAD + TAG:
        raise FrameError(f"HLS proof: {len(proof)} bytes, HLS-GMAC has {HEAD + TAG}")
    wanted = Control(keys.suite, authenticated=True, encrypted=False).byte
    if proof[0] != wanted:
        raise FrameError(f"HLS proof: security control {proof[0]:02x}, must be {wanted:02x}", 0)
    counter = int.from_bytes(proof[1:HEAD], "big")
    check_equal(gmac(challenge, counter, title, keys), proof)
    return counter
