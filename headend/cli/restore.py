"""`headend restore`: a backup back into an empty database."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from headend.cli.common import App, json_option, pass_app, person, print_json
from headend.store import backup, manifest
from headend.store.backup import BackupError, Restored
from headend.store.embedded import Embedded


@click.command(name="restore")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--into", metavar="DSN", help="An empty database, or one that does not exist yet.")
@click.option(
    "--home",
    "into_home",
    type=click.Path(path_type=Path),
    metavar="HOME",
    help="A new embedded database in this folder.",
)
@json_option
@pass_app
def command(app: App, folder: Path, into: str | None, into_home: Path | None, as_json: bool) -> None:
    """Bring the backup in FOLDER back, compared with its manifest to the last row. Open orders are expired or found out about, never sent; nobody
    is tripped, and no terminal told to hold a load, until a person has set the limits again."""
    if (into is None) == (into_home is None):
        raise click.UsageError("say where to: --into DSN or --home HOME")
    now, pg_bin, who = app.clock_without_store().now(), app.settings.pg_bin, person()
    if into is not None:
        done = backup.restore(folder, into, now=now, who=who, pg_bin=pg_bin)
    else:
        assert into_home is not None
        if manifest.read(folder).timescaledb:
            raise BackupError(
                "the backup is of TimescaleDB, which the embedded database does not have; name a server with --into"
            )
        with Embedded(into_home.resolve(), bindir=pg_bin) as dsn:
            done = backup.restore(folder, dsn, now=now, who=who, pg_bin=pg_bin)
    if as_json:
        print_json({"rows": done.manifest.rows, "seconds": done.seconds, "orders": done.orders, "migrations": done.migrations,
                    "limits_before": done.limits})  # fmt: skip
        return
    click.echo(
        f"{done.manifest.rows} rows restored and compared in {done.total:.1f} s, as they were at {done.manifest.taken}"
    )
    for line in after(done):
        click.echo(line)


def after(done: Restored) -> list[str]:
    """What a person must know and do now."""
    expired, unknown, pending = (len(done.orders[name]) for name in ("expired", "unknown", "pending"))
    limits = " ".join(f"{name}={value}" for name, value in done.limits.items())
    return [
        f"orders: {expired} not sent by then are expired, {unknown + pending} are found out about by reading; `headend relay list` shows them",
        "payments, archive changes and revoked API keys since then are missing: bring them in again first",
        f"no trip and no load control passes until the limits are set again: `headend relay limits {limits}`",
    ]
