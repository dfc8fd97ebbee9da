"""`headend relay stop`, `headend relay resume`: the kill switch of all trips."""

from __future__ import annotations

import rich_click as click
from rich.markup import escape

from headend.cli.common import App, json_option, pass_app, person_option, print_json
from headend.store import trip_stop


@click.command(name="stop")
@click.option("--reason", required=True, help="Why; kept for ever, and told whoever is refused.")
@person_option
@json_option
@pass_app
def stop(app: App, reason: str, person: str, as_json: bool) -> None:
    """Stop every trip at once (停电总闸). Closing, permitting and keep-power go on."""
    row = trip_stop.stop(app.conn, who=person, reason=reason, now=app.clock.now())
    if as_json:
        print_json(row)
    else:
        click.echo("no trip leaves any more; `headend relay resume` by two persons lets them go on")


@click.command(name="resume")
@click.option("--reason", required=True, help="Why trips may go on; kept for ever.")
@person_option
@json_option
@pass_app
def resume(app: App, reason: str, person: str, as_json: bool) -> None:
    """Let trips go on. Two persons must say so."""
    row = trip_stop.resume(app.conn, who=person, reason=reason, now=app.clock.now())
    if as_json:
        print_json(row)
    elif row["stopped"]:
        click.echo(f"{person} lets trips go on; another person must say so too: `headend relay resume`")
    else:
        click.echo("trips go on")


def tell(app: App) -> None:
    """One line, while trips are stopped."""
    why = trip_stop.why(trip_stop.state(app.conn))
    if why != "":
        app.console.print(f"[bold red]trips are stopped[/bold red] {escape(why or '')}", highlight=False)
