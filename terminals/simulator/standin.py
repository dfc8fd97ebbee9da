"""What stands in for SM1 in the simulator: a cipher machine and the security module of a meter that understand each other.

This is NOT SM1, nor anything like it: SM1 is not published. It is a keyed check made of the standard library's HMAC-SHA256, so
that simulated meters can refuse whoever has not authenticated, and nobody must take it for protection. A real head-end is given
the utility's own machine (setting `cipher_machine`).
"""

from __future__ import annotations

import hmac
import secrets
from typing import Final

import numpy as np

from protocols.dlt645.security import (
    CIPHERTEXT_BYTES,
    CONTROL_BYTES,
    DISPERSION_BYTES,
    ESAM_BYTES,
    MAC_BYTES,
    RANDOM_1_BYTES,
    RANDOM_2_BYTES,
    SEALED_CONTROL_BYTES,
    Challenge,
    Purse,
    Sealed,
    Session,
    dispersion_of,
)

#: Known to everybody who reads this: it protects nothing.
_ROOT: Final = b"stand-in for the simulator, not SM1"
#: How long an authentication holds. Meters let it be set (070001FF); this is the simulator's own choice.
VALIDITY: Final = np.timedelta64(5, "m")


class StandInMachine:
    """protocols.dlt645.security.CipherMachine for simulated meters only. NOT SM1: a keyed stand-in made of HMAC."""

    def authenticate(self, dispersion: bytes) -> Challenge:
        random_1 = secrets.token_bytes(RANDOM_1_BYTES)
        return Challenge(
            _keyed(_meter_key(dispersion), b"K1" + random_1, CIPHERTEXT_BYTES), random_1, dispersion
        )

    def seal_control(self, session: Session, plain: bytes) -> Sealed:
        padded = plain + b"\x80" + bytes(SEALED_CONTROL_BYTES - len(plain) - 1)
        return _sealed(_session_key(session), b"control", padded)

    def seal_parameter(self, session: Session, di: int, plain: bytes) -> Sealed:
        return _sealed(_session_key(session), di.to_bytes(4, "little"), plain)

    def sign_parameter(self, session: Session, di: int, plain: bytes) -> bytes:
        return _keyed(_session_key(session), b"sign" + di.to_bytes(4, "little") + plain, MAC_BYTES)

    def sign_purchase(self, session: Session, di: int, purse: Purse) -> tuple[bytes, bytes]:
        key = _session_key(session)
        return _purchase_mac(key, di, purse.money), _purchase_mac(key, di, purse.whose)


class StandInEsam:
    """The security module of one simulated meter: StandInMachine's other half."""

    def __init__(self, address: str) -> None:
        self._dispersion = dispersion_of(address)
        self.serial = _keyed(_meter_key(self._dispersion), b"serial", ESAM_BYTES)
        self._session: Session | None = None
        self._until: np.datetime64 = np.datetime64(0, "us")

    def authenticate(self, data: bytes, now: np.datetime64) -> bytes | None:
        """The data of 03H 070000FF -> random number 2 and serial, or None if they are not from the machine."""
        if len(data) != CIPHERTEXT_BYTES + RANDOM_1_BYTES + DISPERSION_BYTES:
            return None
        ciphertext, random_1 = data[:CIPHERTEXT_BYTES], data[CIPHERTEXT_BYTES:-DISPERSION_BYTES]
        right = _keyed(_meter_key(self._dispersion), b"K1" + random_1, CIPHERTEXT_BYTES)
        if data[-DISPERSION_BYTES:] != self._dispersion or not hmac.compare_digest(ciphertext, right):
            return None
        random_2 = secrets.token_bytes(RANDOM_2_BYTES)
        self._session = Session(self._dispersion, random_1, random_2, self.serial)
        self._until = now + VALIDITY
        return random_2 + self.serial

    def authenticated(self, now: np.datetime64) -> bool:
        return self._session is not None and bool(now < self._until)

    def open_control(self, sealed: bytes) -> bytes | None:
        """16 enciphered bytes and MAC -> N1..N8, or None if the MAC is wrong. The authentication is used up."""
        session, self._session = self._session, None
        if session is None:
            return None
        data, mac = sealed[:SEALED_CONTROL_BYTES], sealed[SEALED_CONTROL_BYTES:]
        key = _session_key(session)
        if not hmac.compare_digest(mac, _keyed(key, b"controlMAC" + data, MAC_BYTES)):
            return None
        return _masked(key, b"control", data)[:CONTROL_BYTES]

    def genuine(self, di: int, purse: Purse, macs: tuple[bytes, bytes]) -> bool:
        """Whether the MACs are the machine's, of this authentication, which is used up."""
        session, self._session = self._session, None
        if session is None:
            return False
        key = _session_key(session)
        wanted = _purchase_mac(key, di, purse.money) + _purchase_mac(key, di, purse.whose)
        return hmac.compare_digest(wanted, macs[0] + macs[1])

    def open_parameter(self, di: int, data: bytes, *, enciphered: bool) -> bytes | None:
        """What was written at level 98 (`enciphered`) or 99 -> the parameter's data, or None if the MAC is wrong. The authentication is
        used up."""
        session, self._session = self._session, None
        if session is None or len(data) <= MAC_BYTES:
            return None
        body, mac = data[:-MAC_BYTES], data[-MAC_BYTES:]
        key, name = _session_key(session), di.to_bytes(4, "little")
        right = _keyed(key, name + b"MAC" + body if enciphered else b"sign" + name + body, MAC_BYTES)
        if not hmac.compare_digest(mac, right):
            return None
        return _masked(key, name, body) if enciphered else body


def _purchase_mac(key: bytes, di: int, part: bytes) -> bytes:
    return _keyed(key, b"purchase" + di.to_bytes(4, "little") + part, MAC_BYTES)


def _meter_key(dispersion: bytes) -> bytes:
    return hmac.digest(_ROOT, dispersion, "sha256")


def _session_key(session: Session) -> bytes:
    seed = session.random_1 + session.random_2 + session.esam
    return hmac.digest(_meter_key(session.dispersion), seed, "sha256")


def _sealed(key: bytes, purpose: bytes, plain: bytes) -> Sealed:
    data = _masked(key, purpose, plain)
    return Sealed(data, _keyed(key, purpose + b"MAC" + data, MAC_BYTES))


def _masked(key: bytes, purpose: bytes, data: bytes) -> bytes:
    stream = b"".join(hmac.digest(key, purpose + bytes((n,)), "sha256") for n in range(1 + len(data) // 32))
    return bytes(a ^ b for a, b in zip(data, stream, strict=False))


def _keyed(key: bytes, data: bytes, size: int) -> bytes:
    return hmac.digest(key, data, "sha256")[:size]
