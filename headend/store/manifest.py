"""What a backup says of itself: what every table held, counted and hashed in the snapshot that was dumped, and the checksum of each file.

    FOLDER/manifest.json      this
    FOLDER/dump/              pg_dump's directory format

A table's rows are hashed month by month, in no order: the sum of 64-bit hashes of their texts. So a difference can be located, and two
servers that hold the same rows agree, whatever their files look like.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from headend.store.db import Connection, StoreError

FORMAT: Final = 1
NAME: Final = "manifest.json"
DUMP: Final = "dump"
#: bytes of a file hashed at once
CHUNK: Final = 1 << 20
#: row texts must not hang on who asks
PLAIN: Final = {
    "timezone": "UTC", "datestyle": "ISO, YMD", "intervalstyle": "postgres", "bytea_output": "hex", "extra_float_digits": "1",
    "statement_timeout": "0", "idle_in_transaction_session_timeout": "0",
}  # fmt: skip
#: what is split by months in the manifest, beside the tables split by time
DATED: Final = {"revision": "ts"}


class TornBackup(StoreError):
    """The folder is no backup, or not the one that was written."""


@dataclass(frozen=True, slots=True)
class Sum:
    """Rows, and the sum of their hashes as decimal text."""

    rows: int
    hash: str


#: table -> month ('' where a table is not split by them) -> what it held
Contents = Mapping[str, Mapping[str, Sum]]


@dataclass(frozen=True, slots=True)
class Manifest:
    """`taken`: the server's clock when the snapshot was taken. `schema`: version -> SHA-256 of the file that was applied."""

    program: str
    taken: str
    postgres: str
    timescaledb: str | None
    schema: dict[int, str]
    epoch: int
    zone: str
    feed: str
    seconds: float
    tables: Contents
    sequences: dict[str, int]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def major(self) -> int:
        return int(self.postgres.split(".")[0])

    @property
    def rows(self) -> int:
        return sum(part.rows for parts in self.tables.values() for part in parts.values())

    @property
    def bytes(self) -> int:
        return sum(file["bytes"] for file in self.files.values())

    def text(self) -> str:
        body = {"format": FORMAT, **asdict(self)}
        return json.dumps({**body, "sha256": _digest(body)}, indent=1, sort_keys=True) + "\n"


def _digest(body: Mapping[str, Any]) -> str:
    # as it will be read back: JSON's keys are texts
    return hashlib.sha256(json.dumps(json.loads(json.dumps(body)), sort_keys=True).encode()).hexdigest()


def contents(conn: Connection) -> dict[str, dict[str, Sum]]:
    """What every table of ours holds, in the caller's transaction: one snapshot, or nobody writes."""
    for name, value in PLAIN.items():
        conn.execute("SELECT set_config(%s, %s, true)", (name, value))
    columns = {
        row["parent"]: row["time_column"]
        for row in conn.execute("SELECT parent, time_column FROM partition_span")
    }
    tables = conn.execute(
        "SELECT relname AS name FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition "
        "AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1"
    ).fetchall()
    return {
        row["name"]: _sums(conn, row["name"], columns.get(row["name"], DATED.get(row["name"])))
        for row in tables
    }


def _sums(conn: Connection, table: str, column: str | None) -> dict[str, Sum]:
    month = f"to_char({column}, 'YYYY-MM')" if column else "''"
    rows = conn.execute(
        f'SELECT {month} AS month, count(*) AS n, coalesce(sum(hashtextextended(t::text, 0)), 0)::text AS hash FROM "{table}" t GROUP BY 1 ORDER BY 1'
    ).fetchall()
    return {row["month"]: Sum(row["n"], row["hash"]) for row in rows}


def sequences(conn: Connection) -> dict[str, int]:
    """How far each identity column has counted."""
    rows = conn.execute(
        "SELECT sequencename AS name, coalesce(last_value, 0) AS last FROM pg_sequences WHERE schemaname = 'public'"
    )
    return {row["name"]: row["last"] for row in rows}


@dataclass(frozen=True, slots=True)
class Difference:
    """A part of a table that is not what was saved."""

    table: str
    month: str
    saved: Sum
    found: Sum

    def __str__(self) -> str:
        where = f"{self.table} {self.month}".rstrip()
        if self.saved.rows != self.found.rows:
            return f"{where}: {self.saved.rows} rows were saved, {self.found.rows} are there"
        return f"{where}: as many rows, and not the same"


def compare(saved: Contents, found: Contents) -> list[Difference]:
    """What differs, by table and month."""
    none = Sum(0, "0")
    return [
        Difference(table, month, old, new)
        for table in sorted({*saved, *found})
        for month in sorted({*saved.get(table, {}), *found.get(table, {})})
        if (old := saved.get(table, {}).get(month, none)) != (new := found.get(table, {}).get(month, none))
    ]


def write(folder: Path, manifest: Manifest) -> None:
    """Into the folder, on the disk when this returns."""
    path = folder / NAME
    with path.open("w", encoding="utf-8") as out:
        out.write(manifest.text())
        out.flush()
        os.fsync(out.fileno())


def checksums(folder: Path) -> dict[str, dict[str, Any]]:
    """Every file of the dump: bytes and SHA-256."""
    paths = sorted(path for path in (folder / DUMP).rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in paths
    }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def read(folder: Path) -> Manifest:
    """The manifest of a backup, its own text checked, its files not yet. TornBackup."""
    try:
        said = json.loads((folder / NAME).read_text("utf-8"))
    except FileNotFoundError:
        raise TornBackup(
            f"{folder} is no backup: it has no {NAME}; name a folder that `headend backup` has made"
        ) from None
    except (OSError, ValueError) as error:
        raise TornBackup(f"{folder / NAME} cannot be read: {error}; take another backup") from None
    try:
        if said.pop("format") != FORMAT:
            raise TornBackup(
                f"{folder} was written by another program's format; use the program that made it"
            )
        if said.pop("sha256") != _digest({"format": FORMAT, **said}):
            raise TornBackup(f"{folder / NAME} has been changed since it was written; take another backup")
        tables = {
            table: {month: Sum(**part) for month, part in parts.items()}
            for table, parts in said.pop("tables").items()
        }
        schema = {int(version): digest for version, digest in said.pop("schema").items()}
        return Manifest(**said, tables=tables, schema=schema)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise TornBackup(f"{folder / NAME} is no manifest: {error!r}; take another backup") from None


def verify(folder: Path, manifest: Manifest) -> None:
    """Every file is there and as it was written, and no other. TornBackup names the first that is not."""
    found = {str(path.relative_to(folder)) for path in (folder / DUMP).rglob("*") if path.is_file()}
    for name in sorted(manifest.files.keys() ^ found):
        what = "is missing" if name in manifest.files else "does not belong to it"
        raise TornBackup(f"the backup {folder} is not whole: {name} {what}; take another backup")
    for name, told in manifest.files.items():
        path = folder / name
        if path.stat().st_size != told["bytes"] or _sha256(path) != told["sha256"]:
            raise TornBackup(
                f"the backup {folder} is damaged: {name} is not as it was written; take another backup"
            )
