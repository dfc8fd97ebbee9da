"""`headend relay`: trip, permit, close, keep-power. A trip passes every gate and needs a second person; nothing counts until read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rich_click as click

from headend.cli import batch, no_trip, stop
from headend.cli import orders as shown
from headend.cli.common import App, json_option, pass_app, person_option, print_json
from headend.control import gates
from headend.store import cluster, orders


@click.group(name="relay")
def command() -> None:
    """Relay commands with a proven outcome."""


def one(
    app: App, action: str, meter: str, reason: str, hours: float, person: str, wait: float, as_json: bool
) -> None:
    """Ask for one, and wait for its outcome."""
    now = app.clock.now()
    order_id = shown.moved(
        lambda: orders.request(
            app.conn, kind="relay", action=action, asset=meter, reason=reason, who=person, now=now,
            expires=now + np.timedelta64(round(hours * 3600), "s"), priority=1,
        ),
        f"{action} of meter {meter}",
    )  # fmt: skip
    shown.finish(app, shown.wait_for(app, order_id, wait), as_json)


def _add(action: str, help_: str) -> None:
    @command.command(name=action, help=help_)
    @click.argument("meter")
    @click.option("--reason", required=True, help="Why; kept with the order for ever.")
    @click.option("--hours", default=4.0, show_default=True, help="How long the order stays valid.")
    @person_option
    @shown.wait_option
    @json_option
    @pass_app
    def _(app: App, meter: str, reason: str, hours: float, person: str, wait: float, as_json: bool) -> None:
        one(app, action, meter, reason, hours, person, wait, as_json)


_add(
    "permit",
    "Permit METER to be closed by the customer's key (合闸允许): the default way to give supply back.",
)
_add("close", "Close METER's relay directly (直接合闸).")
_add("keep-power", "Make METER refuse every trip (保电).")
_add("end-keep-power", "End keep-power of METER (保电解除).")


@command.command()
@click.argument("meter", required=False)
@click.option(
    "--from",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A batch: one meter a line, or a CSV with a column `meter`; - is standard input.",
)
@click.option("--list", "listed", metavar="METER,METER…", help="A batch, named here.")
@click.option("--reason", required=True, help="Why; kept with the order for ever.")
@click.option("--hours", default=4.0, show_default=True, help="How long the order stays valid.")
@click.option("--every", default=60.0, show_default=True, help="A batch: seconds between two of its trips.")
@click.option("--key", default="", help="A batch: its name; the same again asks for nothing twice.")
@click.option("--yes", is_flag=True, help="A batch: ask for it. Without it nothing is ordered.")
@person_option
@shown.wait_option
@json_option
@pass_app
def trip(
    app: App, meter: str | None, file: Path | None, listed: str | None, reason: str, hours: float, every: float,
    key: str, yes: bool, person: str, wait: float, as_json: bool,
) -> None:  # fmt: skip
    """Ask to cut METER off (跳闸), or a batch of meters with --from or --list. Waits for another person's `headend relay approve`.

    A batch is a dry run unless --yes is given: it tells what the gates would refuse, and why."""
    if sum(given is not None for given in (meter, file, listed)) != 1:
        raise click.UsageError("name one METER, or a batch with --from FILE or --list METER,METER")
    if meter is not None:
        one(app, "trip", meter, reason, hours, person, wait, as_json)
    else:
        wanted = batch.Wanted(batch.meters(file, listed), reason, person, hours, every, key)
        batch.run(app, wanted, yes=yes, as_json=as_json)


for _shared in (
    shown.approve,
    shown.cancel,
    shown.one,
    *batch.COMMANDS,
    stop.stop,
    stop.resume,
    no_trip.command,
):
    command.add_command(_shared)


@command.command(name="list")
@click.option("--meter", help="Only this meter.")
@click.option("--open", "open_only", is_flag=True, help="Only orders that are not ended.")
@json_option
@pass_app
def list_(app: App, meter: str | None, open_only: bool, as_json: bool) -> None:
    """Relay orders, newest first."""
    rows = orders.listing(app.conn, limit=100, meter=meter, open_only=open_only, kind="relay")
    if as_json:
        print_json(rows)
        return
    stop.tell(app)
    app.show(
        "relay orders",
        (">order", "meter", "action", "state", "~by", "sent", "~outcome"),
        [
            (
                r["order_id"],
                r["asset"],
                r["action"],
                r["state"],
                _persons(r),
                app.local(r["sent_at"], "%m-%d %H:%M"),
                shown.said(r),
            )
            for r in rows
        ],
    )


def _persons(order: dict[str, Any]) -> str:
    first, second = order["requested_by"], order["approved_by"]
    return f"{first}, {second}" if second and second != first else str(first)


@command.command()
@click.argument("meter")
@json_option
@pass_app
def check(app: App, meter: str, as_json: bool) -> None:
    """Ask every gate whether METER could be tripped now. Nothing is ordered."""
    facts, limits = orders.facts(app.conn, meter, app.clock.now())
    refusals = gates.ask(facts, limits)
    if as_json:
        print_json({"allowed": not refusals, "refusals": [{"gate": r.gate, "why": r.why} for r in refusals]})
    elif refusals:
        app.show(f"a trip of {meter} is refused", ("gate", "~why"), [(r.gate, r.why) for r in refusals])
    else:
        click.echo(f"no gate refuses a trip of {meter} now; it still needs a second person")


@command.command(name="limits")
@click.argument("changes", nargs=-1, metavar="[NAME=VALUE]...")
@person_option
@json_option
@pass_app
def limits_(app: App, changes: tuple[str, ...], person: str, as_json: bool) -> None:
    """Show the limits for trips, or change some: trip_from=08:00 balance_age=7200 trips_per_hour=20."""
    if changes:
        pairs: dict[str, Any] = {}
        for change in changes:
            name, sign, value = change.partition("=")
            if not sign:
                raise click.UsageError(f"{change!r} is not NAME=VALUE")
            pairs[name] = value
        cluster.set_limits(app.conn, pairs, person)
        app.conn.commit()
    current = cluster.shown(cluster.limits(app.conn))
    if as_json:
        print_json(current)
        return
    app.show("limits for trips", ("limit", "value"), list(current.items()))
