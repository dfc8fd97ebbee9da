"""`headend meter exchange`: one meter for another (换表), from the last register to the terminal's own archive."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import rich_click as click

from headend.cli import orders as shown
from headend.cli import terminal as terminals
from headend.cli.archive import Instant
from headend.cli.common import App, json_option, kwh, pass_app, person_option, print_json
from headend.cli.read import live
from headend.store.archive import ArchiveError
from headend.store.db import StoreError
from headend.store.orders import STATIONS
from headend.store.swap import Done, Swap, swap
from protocols.localtime import as_datetime, instant

#: the greatest register that a meter of nine digits shows
MOST = Decimal(10**9)


class Kwh(click.ParamType[int]):
    """A register as the meter shows it, in kWh; 1e-4 kWh inside. 'live' where `live` says so: read it now."""

    name = "kwh"

    def __init__(self, live: bool = False) -> None:
        self._live = live

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if self._live and value == "live":
            return -1
        try:
            number = Decimal(value)
        except InvalidOperation:
            number = Decimal(-1)
        if not 0 <= number < MOST or round(number, 4) != number:
            self.fail(f"{value!r} is no register in kWh such as 1234.56", param, ctx)
        return int(number.scaleb(4))


@click.group(name="meter")
def command() -> None:
    """Single meters."""


@command.command()
@click.argument("old")
@click.argument("new")
@click.option("--at", type=Instant(), help="When it was done, such as 2026-03-11T10:20; now if not given.")
@click.option(
    "--last",
    type=Kwh(live=True),
    required=True,
    metavar="KWH|live",
    help="OLD's last register; live: read it through the collector.",
)
@click.option("--first", type=Kwh(), required=True, metavar="KWH", help="NEW's first register.")
@click.option("--address", help="NEW's address; its asset number if not given.")
@click.option("--password", default="", help="NEW's password.")
@click.option("--phases", type=click.Choice(["1", "3"]), help="Of NEW; as OLD if not given.")
@click.option("--accuracy", help="Class of NEW as a fraction, such as 0.01; as OLD if not given.")
@click.option("--digits", help="Digits of NEW's register before the point; as OLD if not given.")
@click.option("--reason", required=True, help="Why, and where the registers come from; kept with them.")
@click.option("--yes", is_flag=True, help="Do it. Without: show what would change.")
@person_option
@shown.wait_option
@json_option
@pass_app
def exchange(
    app: App, old: str, new: str, at: np.datetime64 | None, last: int, first: int, address: str | None, password: str,
    phases: str | None, accuracy: str | None, digits: str | None, reason: str, yes: bool, person: str, wait: float, as_json: bool,
) -> None:  # fmt: skip
    """Record that meter OLD was exchanged for NEW on the same point: last and first register, and the archive from that instant on.

    Refused: a meter on two points, a register that goes backwards, an instant after which OLD was still read. Behind a terminal with an
    archive of its own the write to it is asked for, too, and waits for another person's `headend terminal approve`.
    """
    source = "typed"
    if last < 0:
        if at is not None:
            raise click.UsageError(
                "--last live is read now; it cannot be the register of another instant (--at)"
            )
        order = live(app, old, person, wait)
        value = order["result"]["values"].get("active_import")
        if value is None:
            raise StoreError(f"meter {old} told no active register; type it: --last KWH")
        last, source = int(Decimal(value["value"]).scaleb(4)), f"live, order {order['order_id']}"
        # the instant of the reading, to the microsecond: a reading after it would be one of a meter that is gone
        at = instant(dt.datetime.fromisoformat(order["result"]["read_at"]))
    more = {
        name: text
        for name, text in (
            ("phases", phases),
            ("accuracy", accuracy),
            ("digits", digits),
            ("password", password),
        )
        if text
    }
    when = app.clock.now() if at is None else at
    what = Swap(old, new, when, last, first, person, reason, source, {"address": address or new, **more})
    try:
        done = swap(app.conn, what, now=app.clock.now(), zone=app.zone, dry_run=not yes)
    except ArchiveError as error:
        for complaint in error.complaints:
            click.echo(str(complaint), err=True)
        raise
    if as_json:
        print_json(
            {
                "done": yes,
                "terminal": done.terminal,
                "last": kwh(last, 4),
                "first": kwh(first, 4),
                **asdict(done.archive),
            }
        )
    else:
        _say(app, what, done, yes)
    if yes and done.protocol in STATIONS:
        terminals.follow(app, done.terminal, new, f"{old} exchanged for {new}: {reason}", person, wait)


def _say(app: App, what: Swap, done: Done, yes: bool) -> None:
    app.show(
        f"meter {what.old} {'was' if yes else 'would be'} exchanged for {what.new}",
        ("", "~"),
        [
            ("at", app.local(as_datetime(what.at), "%Y-%m-%d %H:%M:%S")),
            ("last register", f"{kwh(what.last, 4)} kWh ({what.source})"),
            ("first register", f"{kwh(what.first, 4)} kWh"),
            (
                "archive",
                f"{done.archive.new.get('meters', 0)} meter new, {done.archive.ended.get('meters', 0)} ended",
            ),
            ("terminal", f"{done.terminal} ({done.protocol})"),
        ],
        "" if yes else "nothing was changed; --yes does it",
    )
