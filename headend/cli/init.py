"""`headend init`: the schema, the calendar, the first keys."""

from __future__ import annotations

import rich_click as click

from headend.cli.common import App, json_option, pass_app, person, print_json
from headend.store import calendar, cluster, keys
from headend.store.db import connect
from headend.store.migrate import detect, migrate


@click.command(name="init")
@click.option(
    "--zone",
    default=None,
    help="Civil time zone of all meters (default Asia/Shanghai); fixed once readings exist.",
)
@click.option(
    "--key-for", "key_for", metavar="PERSON", help="Make an API key for this person and print it once."
)
@click.option(
    "--scopes",
    default="read",
    show_default=True,
    help="Scopes of that key: read,operate,approve,pay,notify,admin.",
)
@json_option
@pass_app
def command(app: App, zone: str | None, key_for: str | None, scopes: str, as_json: bool) -> None:
    """Prepare the database: schema, legal calendar, and with --key-for an API key. Safe to repeat."""
    wanted = [scope.strip() for scope in scopes.split(",")]
    people = [scope for scope in keys.SCOPES if scope != "bank"]  # a bank's key: `headend bank key`
    unknown = [scope for scope in wanted if scope not in people]
    if unknown:
        raise click.UsageError(f"unknown scope {unknown[0]!r} in --scopes; there are {', '.join(people)}")
    with connect(app.dsn) as conn:
        applied = migrate(conn)
        if zone:
            cluster.set_zone(conn, zone)
        days = calendar.seed(conn)
        key = keys.issue(conn, person=key_for, scopes=wanted) if key_for else None
        conn.commit()
        server = detect(conn)
    told = {
        "server": f"PostgreSQL {server.postgres}",
        "timescaledb": f"{server.timescaledb} ({server.licence})" if server.timescaledb else None,
        "migrations_applied": applied,
        "calendar": days,
        "api_key": key,
        "by": person(),
    }
    if as_json:
        print_json(told)
        return
    click.echo(f"{told['server']}, TimescaleDB {told['timescaledb'] or 'not installed'}: ready")
    click.echo(f"calendar: {days['first']} to {days['last']}")
    if key:
        click.echo(f"API key for {key_for} ({scopes}), shown this once: {key}")
