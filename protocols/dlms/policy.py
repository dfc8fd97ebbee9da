"""What messages must carry: suites, and the security policy of a Security setup object (Blue Book 4.4.7, versions 0 and 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocols.errors import FrameError, Misuse

#: Security suite -> its name (Green Book 9.2.3.7).
SUITES: Final = {
    0: "AES-GCM-128",
    1: "ECDH-ECDSA-AES-GCM-128-SHA-256",
    2: "ECDH-ECDSA-AES-GCM-256-SHA-384",
}


@dataclass(frozen=True, slots=True)
class Guard:
    """The protection of messages in one direction."""

    authenticated: bool = False
    encrypted: bool = False
    signed: bool = False

    @property
    def any(self) -> bool:
        """Whether there is ciphering at all (a signature alone is none)."""
        return self.authenticated or self.encrypted

    def with_(self, other: Guard) -> Guard:
        """What both ask for."""
        return Guard(
            self.authenticated or other.authenticated,
            self.encrypted or other.encrypted,
            self.signed or other.signed,
        )

    @property
    def text(self) -> str:
        """In words."""
        flags = {"authenticated": self.authenticated, "encrypted": self.encrypted, "signed": self.signed}
        return " and ".join(name for name, wanted in flags.items() if wanted) or "in clear"


@dataclass(frozen=True, slots=True)
class Policy:
    """What requests (client to server) and responses must carry at least."""

    request: Guard = Guard()
    response: Guard = Guard()

    @property
    def protects(self) -> bool:
        """Whether any message is ciphered, so that the application context is a ciphered one."""
        return self.request.any or self.response.any


#: The four of version 0, which know no direction: nothing, authentication, encryption, both.
NOTHING: Final = Policy()
AUTHENTICATED: Final = Policy(Guard(True), Guard(True))
ENCRYPTED: Final = Policy(Guard(False, True), Guard(False, True))
BOTH: Final = Policy(Guard(True, True), Guard(True, True))
_VERSION_0: Final = (NOTHING, AUTHENTICATED, ENCRYPTED, BOTH)

#: Bits of version 1: requests from bit 2, responses from bit 5; bits 0 and 1 are reserved, and 0.
_REQUEST, _RESPONSE, _RESERVED = 2, 5, 0x03


def decode_policy(value: int, version: int) -> Policy:
    """The attribute security_policy. FrameError: a value that this version of the class does not define."""
    if version == 0:
        if not 0 <= value < len(_VERSION_0):
            raise FrameError(f"security policy {value}: version 0 defines 0..3")
        return _VERSION_0[value]
    if version != 1:
        raise Misuse(f"security policy: version {version} of the class is not known, there are 0 and 1")
    if not 0 <= value <= 0xFF or value & _RESERVED:
        raise FrameError(f"security policy {value}: bits 0 and 1 are reserved in version 1")
    return Policy(_guard(value >> _REQUEST), _guard(value >> _RESPONSE))


def encode_policy(policy: Policy, version: int) -> int:
    """The attribute's value. Misuse: what this version cannot say."""
    if version == 0 and policy in _VERSION_0:
        return _VERSION_0.index(policy)
    if version != 1:
        raise Misuse(f"security policy: version {version} of the class cannot say this")
    return _bits(policy.request) << _REQUEST | _bits(policy.response) << _RESPONSE


def _guard(bits: int) -> Guard:
    return Guard(bool(bits & 1), bool(bits & 2), bool(bits & 4))


def _bits(guard: Guard) -> int:
    return guard.authenticated | guard.encrypted << 1 | guard.signed << 2
