"""Whom a TLS link that we dial believes, and who it says we are."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Trust:
    """One policy for every tls:// and mqtts:// endpoint.

    ca           PEM file of the authorities believed; None: the system's
    verify       off: whoever answers is believed. Only the listening is prevented then, not somebody in the middle
    certificate  PEM file that says who we are, for a peer that asks, with `key` (None: it is in the same file)
    """

    ca: Path | None = None
    verify: bool = True
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """OSError (ssl.SSLError is one) names the file that cannot be used. The files are read once a process."""
        return _context(self)


@lru_cache(maxsize=8)
def _context(trust: Trust) -> ssl.SSLContext:
    """Cached: the system's authorities take some 20 ms to load, and a fleet is dialled again and again."""
    context = ssl.create_default_context(cafile=_readable(trust.ca))
    if not trust.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if trust.certificate is not None:
        certificate = _readable(trust.certificate)
        assert certificate is not None
        try:
            context.load_cert_chain(certificate, _readable(trust.key))
        except ssl.SSLError as error:
            raise OSError(f"{trust.certificate}: {error.reason or error}") from None
    return context


def _readable(path: Path | None) -> str | None:
    """The path as text. OSError with its name: OpenSSL's own complaint has none."""
    if path is None:
        return None
    with path.open("rb"):
        return str(path)
