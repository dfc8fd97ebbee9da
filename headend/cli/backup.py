"""`headend backup`: the whole store into a folder."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from headend.cli.common import App, json_option, pass_app, print_json
from headend.store import backup


@click.command(name="backup")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
@pass_app
def command(app: App, folder: Path, as_json: bool) -> None:
    """Save the whole store into the new FOLDER: pg_dump's files and a manifest of what they hold, counted and hashed in the same snapshot.
    Readers and writers go on. It holds meters' passwords: keep it accordingly."""
    made = backup.back_up(app.conn, folder, app.settings.pg_bin)
    if as_json:
        print_json(
            {
                "folder": folder.absolute(),
                "rows": made.rows,
                "bytes": made.bytes,
                "seconds": made.seconds,
                "taken": made.taken,
            }
        )
        return
    click.echo(
        f"{made.rows} rows of {len(made.tables)} tables in {made.bytes / 2**20:.1f} MiB at {folder}, {made.seconds:.1f} s; "
        f"`headend rehearse {folder}` proves that it can be brought back"
    )
