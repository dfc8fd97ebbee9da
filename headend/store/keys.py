"""API keys: `hes_<prefix>_<secret>`. The prefix finds the row, the secret is kept only as its SHA-256.

The secret is 256 random bits, so a plain hash is enough: there is nothing for a slow password hash to slow
down.
Keys belong to the audit trail, so their lifetime runs on the server's clock, not on domain time.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from headend.store.db import Connection, StoreError

#: read: every GET; operate: request commands, acknowledge findings; approve: be the second person; pay: book
#: payments; notify: report what became of notices;
#: admin: all of them (the second person must still be another person). bank: speak for one bank, and for nothing else.
SCOPES: Final = ("read", "operate", "approve", "pay", "notify", "admin", "bank")


class UnknownKey(StoreError):
    """No key has this prefix."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key that was presented and is valid now."""

    key_id: int
    prefix: str
    person: str
    scopes: frozenset[str]
    bank: str | None = None

    def may(self, scope: str) -> bool:
        return scope in self.scopes or "admin" in self.scopes


def issue(
    conn: Connection,
    *,
    person: str,
    scopes: Iterable[str],
    lifetime: dt.timedelta | None = None,
    bank: str | None = None,
) -> str:
    """Make a key and return its text, which nobody can ever read again. ValueError for an unknown or empty
    scope list. The scope bank stands alone, and needs the code of a bank that the store knows.
    """
    wanted = sorted(set(scopes))
    unknown = [scope for scope in wanted if scope not in SCOPES]
    if unknown or not wanted:
        raise ValueError(f"unknown scope {', '.join(unknown) or '(none)'}: choose from {', '.join(SCOPES)}")
    if not person.strip():
        raise ValueError("a key belongs to a person: the name is empty")
    if (wanted == ["bank"]) != (bank is not None) or ("bank" in wanted and len(wanted) > 1):
        raise ValueError("the scope bank stands alone, and its key belongs to one bank: `headend bank key`")
    prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    conn.execute(
        "INSERT INTO api_key (prefix, hash, person, scopes, expires_at, bank_id) "
        "VALUES (%s, %s, %s, %s, coalesce(clock_timestamp() + %s, 'infinity'), (SELECT bank_id FROM bank WHERE code = %s))",
        (prefix, _digest(secret), person.strip(), wanted, lifetime, bank),
    )
    return f"hes_{prefix}_{secret}"


def check(conn: Connection, text: str) -> Key | None:
    """The key behind `text`, or None when it is malformed, unknown, wrong, expired or revoked: callers need
    not know which.
    """
    kind, _, rest = text.partition("_")
    prefix, _, secret = rest.partition("_")
    if kind != "hes" or not prefix or not secret or not text.isascii():
        return None
    row = conn.execute(
        "SELECT key_id, prefix, hash, person, scopes, code FROM api_key LEFT JOIN bank USING (bank_id) "
        "WHERE prefix = %s AND NOT revoked AND expires_at > clock_timestamp()",
        (prefix,),
    ).fetchone()
    if row is None or not hmac.compare_digest(bytes(row["hash"]), _digest(secret)):
        return None
    return Key(row["key_id"], row["prefix"], row["person"], frozenset(row["scopes"]), row["code"])


def revoke(conn: Connection, prefix: str) -> None:
    """Make a key useless from the next request on."""
    if conn.execute("UPDATE api_key SET revoked = true WHERE prefix = %s", (prefix,)).rowcount == 0:
        raise UnknownKey(
            f"no API key has the prefix {prefix!r}: it is what stands between hes_ and the next _"
        )


def listing(conn: Connection) -> list[dict[str, Any]]:
    """Every key without its hash, newest first; `expires_at` is None for a key without end."""
    return conn.execute(
        "SELECT prefix, person, scopes, code AS bank, made_at, nullif(expires_at, 'infinity') AS expires_at, revoked, "
        "expires_at <= clock_timestamp() AS expired FROM api_key LEFT JOIN bank USING (bank_id) ORDER BY key_id DESC"
    ).fetchall()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()
