"""By which rules wallets are compared with the ledger, and what their meters' limits shall be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from headend.store.db import Connection, StoreError
from tariffs.purchase import MOST_FEN
from tariffs.wallet import Rules

#: hours of a year: older readings of a wallet say nothing of it
LONGEST: Final = 24 * 366


def rules(conn: Connection) -> Rules:
    """The utility's over the defaults."""
    row = conn.execute("SELECT wallet_rules FROM cluster").fetchone()
    assert row is not None
    return parse_rules(row["wallet_rules"])


def parse_rules(stored: Mapping[str, Any]) -> Rules:
    """StoreError names what is wrong. Amounts are whole fen; None: not compared."""
    known = [f.name for f in fields(Rules)]
    values: dict[str, int | None] = {}
    for name, value in stored.items():
        if name not in known:
            raise StoreError(f"unknown wallet rule {name!r}; there are {', '.join(known)}")
        most = LONGEST if name == "age_hours" else MOST_FEN
        if value is not None and (
            not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most
        ):
            raise StoreError(f"wallet rule {name}: {value!r} is no number of at least 0 and at most {most}")
        if value is None and getattr(Rules(), name) is not None:
            raise StoreError(f"wallet rule {name}: it needs a number")
        values[name] = value
    return Rules(**values)  # type: ignore[arg-type]


def set_rules(conn: Connection, changes: Mapping[str, int | None], who: str = "") -> Rules:
    """Change some, in the caller's transaction. `who` stands in the audit; '': the database's user. StoreError."""
    conn.execute("SELECT set_config('headend.who', %s, true)", (who,))
    row = conn.execute("SELECT wallet_rules FROM cluster FOR UPDATE").fetchone()
    assert row is not None
    stored = {**row["wallet_rules"], **changes}
    made = parse_rules(stored)
    conn.execute("UPDATE cluster SET wallet_rules = %s::jsonb", (json.dumps(stored),))
    return made
