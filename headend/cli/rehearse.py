"""`headend rehearse`: prove that a backup can be brought back."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rich_click as click

from headend.cli.common import App, json_option, pass_app, person, print_json
from headend.store import backup, manifest
from headend.store.backup import Restored
from headend.store.db import StoreError
from headend.store.embedded import Embedded

TIMESCALEDB = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}


@click.command(name="rehearse")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--on",
    metavar="DSN",
    help="A server to do it on (default: an embedded one for this alone, in HEADEND_HOME).",
)
@json_option
@pass_app
def command(app: App, folder: Path, on: str | None, as_json: bool) -> None:
    """Restore the backup in FOLDER beside everything else, compare counts and hashes with its manifest, say how long it took, and throw it away.

    A backup of TimescaleDB needs one: name it with --on, or its bin folder in HEADEND_PG_BIN."""
    now, who = app.clock_without_store().now(), person()
    try:
        with _server(app, folder, on) as dsn:
            done = backup.rehearse(folder, dsn, now=now, who=who, pg_bin=app.settings.pg_bin)
    except StoreError as error:
        _note(app, folder, None, error)
        raise
    _note(app, folder, done)
    if as_json:
        print_json(
            {
                "rows": done.manifest.rows,
                "bytes": done.manifest.bytes,
                "seconds": done.seconds,
                "total": round(done.total, 3),
            }
        )
        return
    app.show(
        f"{folder} can be brought back",
        ("table", ">months", ">rows saved", ">rows restored", "hashes"),
        [
            (
                name,
                len(parts),
                sum(p.rows for p in parts.values()),
                sum(p.rows for p in done.found[name].values()),
                "equal",
            )
            for name, parts in done.manifest.tables.items()
            if parts
        ],
        note=f"{done.total:.1f} s: "
        + ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in done.seconds.items()),
    )


@contextmanager
def _server(app: App, folder: Path, on: str | None) -> Iterator[str]:
    if on is not None:
        yield on
        return
    home = app.settings.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="rehearsal-", dir=home))
    scratch.chmod(0o755)  # root's server runs as somebody else, who must reach it
    settings = TIMESCALEDB if manifest.read(folder).timescaledb else {}
    server = Embedded(scratch, app.settings.pg_bin, {**settings, "max_wal_size": "4GB"})
    try:
        with server as dsn:
            yield dsn
    finally:
        shutil.rmtree(server.place, ignore_errors=True)
        shutil.rmtree(scratch, ignore_errors=True)


def _note(app: App, folder: Path, done: Restored | None, error: Exception | None = None) -> None:
    """For `headend doctor`, where there is a store to note it in: a rehearsal may run on a machine that has none."""
    if not app.settings.dsn and not (app.settings.home / "data").exists():
        return
    try:
        backup.note_rehearsal(app.conn, folder, done, error)
    except StoreError as away:
        click.echo(f"headend: the rehearsal is not noted: {away}", err=True)
