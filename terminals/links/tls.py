"""The listener's side of TLS: a server certificate, and a client authority where callers must prove who they are."""

from __future__ import annotations

import ssl
from pathlib import Path

from terminals.links.link import LinkError


class BadCertificate(LinkError):
    """A file of the listener's TLS cannot be used."""

    def __init__(self, path: Path, reason: str, advice: str) -> None:
        super().__init__(str(path), reason, f"cannot use {path} for TLS: {reason}; {advice}")


def server_context(certificate: Path, key: Path, authority: Path | None = None) -> ssl.SSLContext:
    """TLS 1.2 or newer. BadCertificate names the file.

    certificate  PEM, the server's own first, then those that lead to a root
    key          PEM, without a password
    authority    PEM of who signs the terminals' certificates: whoever has none from it is not let in; None: nobody is asked
    """
    for path in (certificate, key, *((authority,) if authority else ())):
        try:
            path.read_bytes()
        except OSError as error:
            raise BadCertificate(
                path, error.strerror or str(error), "check the setting and who may read the file"
            ) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # An empty password instead of a question on the terminal that nobody would answer.
    try:
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        advice = f"it must be a PEM certificate that belongs to the key in {key}, which must have no password"
        raise BadCertificate(certificate, _reason(error), advice) from error
    if authority is not None:
        try:
            context.load_verify_locations(authority)
        except ssl.SSLError as error:
            raise BadCertificate(authority, _reason(error), "it must hold PEM certificates") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return reason.lower().replace("_", " ") if isinstance(reason, str) else str(error)
