"""PostgreSQL's own programs: found in the version that the server needs, run with the password out of sight, and their complaints in one
line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headend.store.db import Connection, StoreError
from headend.store.embedded import EmbeddedError, wheel_bindir

#: a dump or a restore that takes longer has stopped for a reason that nobody sees: 10 GB take minutes, a terabyte some hours
LONGEST: Final = 12 * 3600.0


class ToolError(StoreError):
    """One of PostgreSQL's programs is not there, or has failed."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs of one PostgreSQL."""

    bindir: Path
    major: int


def find(major: int, pg_bin: Path | None = None) -> Tools:
    """pg_dump and pg_restore of this major version: in HEADEND_PG_BIN, the wheel, or the system. ToolError says what there is instead."""
    found = []
    for bindir in _folders(major, pg_bin):
        has = _major(bindir)
        if has == major:
            return Tools(bindir, major)
        if has is not None:
            found.append(f"PostgreSQL {has} in {bindir}")
    raise ToolError(
        f"the server is PostgreSQL {major}, and there is no pg_dump of that version ({'; '.join(found) or 'nor of any other'}); "
        f"name the bin folder of a PostgreSQL {major} in HEADEND_PG_BIN"
    )


def _folders(major: int, pg_bin: Path | None) -> Iterator[Path]:
    if pg_bin is not None:
        yield pg_bin
    with suppress(EmbeddedError):
        yield wheel_bindir()
    yield Path(f"/usr/lib/postgresql/{major}/bin")
    on_path = shutil.which("pg_dump")
    if on_path:
        yield Path(on_path).parent


def _major(bindir: Path) -> int | None:
    """The major version of a folder that has both programs."""
    if not all((bindir / name).is_file() for name in ("pg_dump", "pg_restore")):
        return None
    done = subprocess.run(
        [bindir / "pg_dump", "--version"], capture_output=True, text=True, check=False, timeout=30
    )
    number = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return int(number[1]) if number else None


def start(tools: Tools, program: str, *arguments: str | Path, conn: Connection) -> subprocess.Popen[str]:
    """Start a program on the server and database of `conn`. Its password travels in the environment, where no list of processes shows it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    env = {**kept, "LC_ALL": "C", "PGPASSWORD": conn.info.password or "", "PGAPPNAME": "headend"}
    return subprocess.Popen(
        [str(tools.bindir / program), "--no-password", *map(str, arguments), "--dbname", conn.info.dsn],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", env=env,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], what: str) -> None:
    """Wait for it. ToolError with its first complaint."""
    try:
        _, said = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        stop(process)
        raise ToolError(f"{what} did not end within {LONGEST / 3600:.0f} hours, and was stopped") from None
    if process.returncode:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        complaint = next(
            (line for line in lines if "error" in line.lower()), lines[-1] if lines else "no word"
        )
        raise ToolError(f"{what} failed: {complaint}")


def stop(process: subprocess.Popen[str]) -> None:
    """End it, whatever it does."""
    if process.poll() is None:
        process.kill()
    process.communicate()
