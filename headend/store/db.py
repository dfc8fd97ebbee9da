"""Connections. One dialect of SQL, psycopg 3, times in UTC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.rows import DictRow, dict_row
from psycopg.types.array import ListDumper
from psycopg_pool import ConnectionPool

Connection = psycopg.Connection[DictRow]

#: No statement of ours may hold a lock for ever; bulk loads of a night's file stay far below this.
STATEMENT_TIMEOUT = "10min"
#: timescaledb…: a completion in a compressed chunk unpacks the meters it touches, which a batch bounds; TimescaleDB's own bound of 100,000 rows
#: would refuse a batch of 150 meters for ever. A server without the extension takes the name for a placeholder.
OPTIONS = (
    f"-c timezone=UTC -c statement_timeout={STATEMENT_TIMEOUT}"
    " -c timescaledb.max_tuples_decompressed_per_dml_transaction=0"
)
#: seconds after which a pool's try to connect is given up, and begun anew by the next who asks: a pool's tries come at ever longer intervals,
#: so that a server that is back after minutes would be found minutes later
RECONNECT = 3.0


class Numbers(ListDumper):
    """Lists of whole numbers at once. The driver looks at each for what is to be quoted, which takes twenty times as long, and a night's jobs
    ask for millions."""

    def dump(self, obj: list[Any]) -> Buffer | None:
        if set(map(type, obj)) == {int}:
            return b"{%b}" % ",".join(map(str, obj)).encode()
        return super().dump(obj)


psycopg.adapters.register_dumper(list, Numbers)


class StoreError(Exception):
    """The store cannot do what was asked; the message names the culprit and the next step."""


class Unreachable(StoreError):
    """The database does not answer."""


#: seconds that a session may keep its locks in a transaction in which nothing happens
IDLE = 300.0


def _kwargs(idle: float) -> dict[str, Any]:
    options = f"{OPTIONS} -c idle_in_transaction_session_timeout={int(idle * 1000)}"
    # a fallback: whoever runs several processes may tell them apart by PGAPPNAME or the DSN
    return {
        "row_factory": dict_row,
        "options": options,
        "connect_timeout": 10,
        "fallback_application_name": "headend",
    }


def connect(dsn: str, idle: float = IDLE) -> Connection:
    """One connection. Unreachable names the server without its password."""
    try:
        return psycopg.connect(dsn, **_kwargs(idle))
    except psycopg.ProgrammingError as error:
        raise Unreachable(f"the DSN is not valid: {str(error).strip()}; check HEADEND_DSN") from None
    except psycopg.OperationalError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise Unreachable(
            f"no database at {where(dsn)}: {lines[0].strip() if lines else 'no answer'}; "
            "check HEADEND_DSN, or unset it to use the embedded database"
        ) from None


@contextmanager
def pool(dsn: str, size: int = 4, idle: float = IDLE) -> Iterator[ConnectionPool[Connection]]:
    """A bounded pool; `size` is the number of statements that may run at once for this process."""
    with ConnectionPool[Connection](
        dsn,
        min_size=1,
        max_size=size,
        kwargs=_kwargs(idle),
        timeout=30,
        open=True,
        reconnect_timeout=RECONNECT,
    ) as opened:
        yield opened


@contextmanager
def own_transactions(conn: Connection) -> Iterator[None]:
    """Within, each `conn.transaction()` is a transaction of its own and not a savepoint in a greater one, and each other statement too.

    StoreError where the caller is in a transaction already."""
    if conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        raise StoreError("this needs a connection outside a transaction: commit or roll back first")
    before = conn.autocommit
    conn.autocommit = True
    try:
        yield
    finally:
        if not conn.closed:
            conn.autocommit = before


def where(dsn: str) -> str:
    """host:port/database of a DSN, for messages: never user secrets."""
    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    host = parts.get("host") or parts.get("hostaddr") or "local socket"
    port = parts.get("port") or "5432"
    return f"{host}:{port}/{parts.get('dbname') or parts.get('user') or ''}"
