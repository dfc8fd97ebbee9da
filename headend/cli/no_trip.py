"""`headend relay no-trip`: exam days, heat and cold: days on which an organisation's customers are spared."""

from __future__ import annotations

import datetime as dt

import rich_click as click

from headend.cli.common import App, Day, json_option, pass_app, person_option, print_json
from headend.store import no_trip


@click.group(name="no-trip")
def command() -> None:
    """Days on which nobody of an organisation is tripped (考试、高温、寒潮), nor on their eve."""


@command.command()
@click.argument("first", type=Day())
@click.argument("last", type=Day(), required=False)
@click.option(
    "--kind",
    type=click.Choice(list(no_trip.KINDS)),
    required=True,
    help="What is declared (考试、高温、寒潮、其他).",
)
@click.option(
    "--organisation", default="", help="Its code; it holds for all below it. Without it: everybody."
)
@click.option("--reason", required=True, help="Told whoever is refused.")
@person_option
@pass_app
def add(
    app: App, first: dt.date, last: dt.date | None, kind: str, organisation: str, reason: str, person: str
) -> None:
    """Declare FIRST to LAST (or FIRST alone)."""
    number = no_trip.declare(
        app.conn, first=first, last=last or first, kind=kind, organisation=organisation, reason=reason, who=person, now=app.clock.now()
    )  # fmt: skip
    click.echo(
        f"declaration {number}: nobody{' of ' + organisation if organisation else ''} is tripped from {first} to {last or first}"
    )


@command.command()
@click.argument("number", type=int)
@person_option
@pass_app
def withdraw(app: App, number: int, person: str) -> None:
    """Take declaration NUMBER back."""
    no_trip.withdraw(app.conn, number, who=person, now=app.clock.now())
    click.echo(f"declaration {number} holds no more")


@command.command(name="list")
@click.option(
    "--since", type=Day(), default="today", show_default=True, help="Those that reach beyond this day."
)
@json_option
@pass_app
def list_(app: App, since: dt.date, as_json: bool) -> None:
    """What is declared."""
    rows = no_trip.listing(app.conn, since=since)
    if as_json:
        print_json(rows)
        return
    app.show(
        "no-trip days", (">number", "first", "last", "kind", "organisation", "~reason", "~by", "~withdrawn by"),
        [(r["id"], r["first_day"], r["last_day"], " ".join(no_trip.KINDS[r["kind"]]), r["organisation"] or "all", r["reason"], r["who"],
          r["withdrawn_by"] or "") for r in rows],
    )  # fmt: skip
