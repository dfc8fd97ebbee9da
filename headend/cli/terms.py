"""`headend prepaid terms`: warning levels, stop, grace and debts, by organisation."""

from __future__ import annotations

from typing import Any

import rich_click as click

from headend.cli.common import App, json_option, pass_app, person_option, print_json, yuan
from headend.store import accounts, fee_terms


class Fen(click.ParamType[int]):
    """Whole fen, below zero too."""

    name = "fen"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is no whole number of fen", param, ctx)


@click.command()
@click.option(
    "--organisation", default="", help="Its code; it holds for all below it. Without it: everybody."
)
@click.option("--customer", default="", help="This 户号 alone: more days of grace.")
@click.option("--point", default="", help="Which of the customer's points, if there are several.")
@click.option("--warn1-fen", type=Fen(), help="First warning (预警) at or below.")
@click.option("--warn2-fen", type=Fen(), help="Second warning at or below.")
@click.option("--stop-fen", type=Fen(), help="Supply may be stopped below it; below zero: an overdraft.")
@click.option("--grace-days", type=int, help="Days (宽限) from the stop notice to the first trip.")
@click.option("--trips/--no-trips", default=None, help="Whether anybody is cut off, or only told.")
@click.option(
    "--debt-trips/--no-debt-trips",
    default=None,
    help="Whether what instalments took counts before a payment has made the balance good.",
)
@click.option("--debt-alone-fen", type=Fen(), help="A debt up to it is agreed by one person.")
@click.option("--reason", default="", help="Why; needed to change any.")
@person_option
@json_option
@pass_app
def terms(
    app: App, /, organisation: str, customer: str, point: str, reason: str, person: str, as_json: bool, **changes: Any
) -> None:  # fmt: skip
    """The terms of fee control (费控策略): show them, or change some."""
    said = {name: value for name, value in changes.items() if value is not None}
    if said:
        now = app.clock.now()
        account = accounts.of_customer(app.conn, customer, now=now, point=point) if customer else None
        fee_terms.change(
            app.conn, said, reason=reason, who=person, now=now, organisation=organisation, account=account
        )  # fmt: skip
    rows = fee_terms.listing(app.conn)
    if as_json:
        print_json(rows)
        return
    app.show(
        "terms of fee control (yuan)",
        ("whose", ">warning 1", ">warning 2", ">stop below", ">days of grace", "trips", "debts trip", ">debt alone", "~why"),
        [
            (
                row["organisation"] or row["customer"] or "everybody",
                *("" if row[name] is None else yuan(row[name]) for name in ("warn1_fen", "warn2_fen", "stop_fen")),
                *("" if row[name] is None else str(row[name]) for name in ("grace_days", "trips", "debt_trips")),
                "" if row["debt_alone_fen"] is None else yuan(row["debt_alone_fen"]),
                f"{row['reason']} ({row['who']})" if row["reason"] else "default",
            )
            for row in rows
        ],
        note="what is not said is as the organisation above has it, at last as everybody",
    )  # fmt: skip
