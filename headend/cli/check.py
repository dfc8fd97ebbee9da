"""`headend check`: does the store agree with itself?"""

from __future__ import annotations

import datetime as dt

import rich_click as click
from click.exceptions import Exit

from headend.cli.common import App, Day, json_option, pass_app, print_json
from headend.store import check


@click.command(name="check")
@click.argument("what", type=click.Choice(list(check.CHOICES)), default="all")
@click.option("--from", "first", type=Day(), help="First local day (default: the first there is).")
@click.option("--to", "last", type=Day(), help="Last local day (default: the last there is).")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    help="Unpack only so many exchanges, spread evenly (default: all).",
)
@json_option
@pass_app
def command(
    app: App, what: str, first: dt.date | None, last: dt.date | None, sample: int | None, as_json: bool
) -> None:
    """Compare the ledger with the readings, versions with their predecessors, roll-ups with their rows, the feed with its order, and readings with
    the bytes behind them, as of one instant. Exit code 1 if anything disagrees. Nothing is mended."""
    whole = check.whole(app.conn, app.zone)
    app.conn.commit()
    today = app.today()
    first, last = first or (whole[0] if whole else today), last or (whole[1] if whole else today)
    if last < first:
        raise click.UsageError(f"--to {last} is before --from {first}")
    found = check.report(app.conn, app.zone, first, last, check.CHOICES[what], sample=sample)
    if as_json:
        print_json(
            {
                "from": first, "to": last, "checks": found.checks, "rollups_left_out": found.left_out,
                "wrong": [d.to_dict() for d in found.wrong],
            }
        )  # fmt: skip
    elif found.wrong:
        app.show(
            f"{len(found.wrong)} disagreements"
            + (" and perhaps more" if len(found.wrong) >= check.MOST else ""),
            ("check", "meter", "day", "plan", "slot", "~what"),
            [
                (
                    d.check,
                    d.meter,
                    d.day,
                    d.plan,
                    app.local(d.slot, "%Y-%m-%d %H:%M:%S") if d.slot else "",
                    d.what,
                )
                for d in found.wrong
            ],
        )
    else:
        left = f"; {found.left_out} meter-days wait for their roll-up" if found.left_out else ""
        click.echo(f"{', '.join(found.checks)}: nothing disagrees from {first} to {last}{left}")
    if found.wrong:
        raise Exit(1)
