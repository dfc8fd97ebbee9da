"""What accounts had used in the year before the head-end began: steps by the calendar year are counted from there."""

from __future__ import annotations

import csv
import datetime as dt
from decimal import Decimal, InvalidOperation
from pathlib import Path

from headend.store.db import Connection, StoreError

COLUMNS = ("customer", "point", "day", "used_kwh")
#: [1e-4 kWh] in a year: a hundred times what a big factory takes
MOST = Decimal(10) ** 10


class BadOpening(StoreError):
    """A file that must not be taken in: which line, and why. Nothing of it was."""


def load(conn: Connection, path: Path) -> int:
    """A CSV file with COLUMNS, all or nothing, in the caller's transaction; how many accounts. A later file replaces what an earlier one said."""
    rows = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as body:
            reader = csv.DictReader(body)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise BadOpening(
                    f"{path.name}: the first line must be {','.join(COLUMNS)}; nothing was taken in"
                )
            rows = [(reader.line_num, *_parsed(path, reader.line_num, row)) for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise BadOpening(f"{path}: {error}; nothing was taken in") from None
    for line, customer, point, day, used in rows:
        found = conn.execute(
            "SELECT account_id FROM account JOIN customer c USING (customer_id) JOIN point p USING (point_id) "
            "WHERE c.number = %s AND p.code = %s ORDER BY valid_from DESC LIMIT 1",
            (customer, point),
        ).fetchone()
        if found is None:
            raise BadOpening(
                f"{path.name} line {line}: customer {customer!r} has no account at {point!r}; nothing was taken in"
            )
        conn.execute(
            "INSERT INTO account_opening VALUES (%s, %s, %s) ON CONFLICT (account_id) DO UPDATE SET day = excluded.day, used = excluded.used",
            (found["account_id"], day, used),
        )
    return len(rows)


def _parsed(path: Path, line: int, row: dict[str, str]) -> tuple[str, str, dt.date, int]:
    try:
        day, used = dt.date.fromisoformat(row["day"]), Decimal(row["used_kwh"]) * 10_000
    except (ValueError, InvalidOperation, TypeError):
        raise BadOpening(
            f"{path.name} line {line}: a day such as 2026-03-01 and kWh such as 1234.56 are needed; nothing was taken in"
        ) from None
    if not used.is_finite() or not 0 <= used <= MOST or used != used.to_integral_value():
        raise BadOpening(
            f"{path.name} line {line}: {row['used_kwh']} kWh: 0 or more with at most four decimals; nothing was taken in"
        )
    return row["customer"], row["point"], day, int(used)
