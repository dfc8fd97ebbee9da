"""`headend ledger`: is the money in it what readings, tariffs and payments make of it?"""

from __future__ import annotations

import datetime as dt

import rich_click as click
from click.exceptions import Exit

from headend.cli.common import App, Day, json_option, pass_app, print_json, yuan
from headend.jobs import recompute as job
from headend.jobs.frame import Run
from headend.store.db import StoreError


@click.group(name="ledger")
def command() -> None:
    """The ledger (台账): append-only entries whose sums are the balances."""


@command.command()
@click.option(
    "--to", "day", type=Day(), default="yesterday", show_default=True, help="The last day to derive."
)
@click.option("--write", is_flag=True, help="Also append the corrections of charges that differ.")
@json_option
@pass_app
def recompute(app: App, day: dt.date, write: bool, as_json: bool) -> None:
    """Derive everything again and compare to the fen: a line for each difference, exit code 1 if there is any. Nothing is written.

    Charges are derived as `headend prepaid settle` does it, for all days since an account's first charge. A charge that rests on readings
    that are not there any more is a difference too.
    """
    if day >= app.today():
        raise StoreError(f"{day} is not over yet")
    app.conn.rollback()
    with app.conn.transaction():
        found = list(job.differences(Run(app.conn, app.zone, app.clock.now()), day, write=write))
    app.conn.commit()
    if as_json:
        print_json(
            [
                {
                    "customer": d.customer, "account": d.account_id, "kind": d.kind, "period": d.period, "should_fen": d.should_fen,
                    "stands_fen": d.stands_fen,
                }
                for d in found
            ]
        )  # fmt: skip
    else:
        for d in found:
            should = "nothing that can be derived" if d.should_fen is None else yuan(d.should_fen)
            stands = "nothing" if d.stands_fen is None else yuan(d.stands_fen)
            click.echo(f"{d.customer} {d.kind} {d.period}: should be {should}, stands {stands}")
        if not found:
            click.echo(f"the ledger is what readings, tariffs and payments make of it, up to {day}")
        elif write:
            click.echo("charges that could be derived were corrected; the next look finds the rest")
    if found:
        raise Exit(1)
