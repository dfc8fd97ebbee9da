"""`headend prices campaign`: a plan's hours and prices into all its meters."""

from __future__ import annotations

import datetime as dt
from typing import Any

import rich_click as click

from headend.cli.common import App, Day, json_option, pass_app, person_option, print_json
from headend.cli.tables import spelled
from headend.store import campaigns

#: meters that one list shows
MOST = 200


@click.group(name="campaign")
def command() -> None:
    """A plan into all its meters, a share each quarter-hour: read, shown, approved by a second person, written, read back."""


@command.command()
@click.argument("tariff")
@click.option(
    "--at", "at", type=Day(), required=True, help="The day at whose beginning the spare sets come into force."
)
@click.option("--organisation", default="", help="Its code; only meters of it and of all below it.")
@click.option(
    "--per-hour",
    type=click.IntRange(1, 1_000_000),
    default=None,
    help="Meters in an hour. Without: as `headend relay limits` has it.",
)
@click.option(
    "--stop-after",
    type=click.IntRange(1, 1_000_000),
    default=None,
    help="So many writes that failed stop it. Without: as above.",
)
@click.option("--reason", required=True, help="Why; kept with every order.")
@person_option
@json_option
@pass_app
def start(
    app: App, tariff: str, at: dt.date, organisation: str, per_hour: int | None, stop_after: int | None, reason: str, person: str, as_json: bool
) -> None:  # fmt: skip
    """List the meters of accounts on TARIFF, and have them read. `headend jobs run` does it; nothing is written before `approve`."""
    number = campaigns.begin(
        app.conn, tariff=tariff, at=at, reason=reason, who=person, now=app.clock.now(), organisation=organisation, per_hour=per_hour,
        stop_after=stop_after,
    )  # fmt: skip
    _tell(app, number, as_json)


@command.command("list")
@json_option
@pass_app
def list_(app: App, as_json: bool) -> None:
    """All campaigns, and how far they are."""
    rows = campaigns.listing(app.conn)
    if as_json:
        print_json(rows)
        return
    app.show(
        "campaigns", (">number", "tariff", "into force", "state", "~meters", "~said last"),
        [(r["campaign_id"], r["tariff"], r["switch_at"], r["state"], _counted(r["meters"]), r["why"]) for r in rows],
    )  # fmt: skip


@command.command()
@click.argument("number", type=int)
@click.option("--meter", default="", help="How far this one is, and all that would be written into it.")
@json_option
@pass_app
def show(app: App, number: int, meter: str, as_json: bool) -> None:
    """How far campaign NUMBER is, what waits for approval, and who was not reached and why."""
    if meter:
        rows = campaigns.meters(
            app.conn, number, [*campaigns.OPEN, "done", "same", "failed", "unreached"], of=meter
        )
        if as_json:
            print_json(rows)
            return
        app.show(
            f"campaign {number}, meter {meter}", ("state", "~why", ">read by order", ">written by order"),
            [(r["state"], r["why"], r["read_order"] or "", r["write_order"] or "") for r in rows],
        )  # fmt: skip
        return
    _tell(app, number, as_json)


@command.command()
@click.argument("number", type=int)
@click.argument("shown")
@person_option
@pass_app
def approve(app: App, number: int, shown: str, person: str) -> None:
    """Approve what `show` calls SHOWN: exactly these differences of exactly these meters. Whoever began the campaign cannot."""
    many = campaigns.approve(app.conn, number, shown, who=person, now=app.clock.now())
    click.echo(f"{many} meters approved; `headend jobs run` writes them, a few at first")


@command.command()
@click.argument("number", type=int)
@click.option("--reason", required=True, help="Why; kept in the audit.")
@person_option
@pass_app
def stop(app: App, number: int, reason: str, person: str) -> None:
    """Stop campaign NUMBER: what has not been sent is withdrawn."""
    withdrawn = campaigns.stop(app.conn, number, who=person, why=reason, now=app.clock.now())
    click.echo(f"campaign {number} stopped; {withdrawn} orders withdrawn")


@command.command()
@click.argument("number", type=int)
@click.option(
    "--again",
    is_flag=True,
    help="Those that failed or could not be read are read anew, and want approval anew.",
)
@click.option("--reason", required=True, help="Why; kept in the audit.")
@person_option
@pass_app
def resume(app: App, number: int, again: bool, reason: str, person: str) -> None:
    """Go on with campaign NUMBER, once somebody has looked at why it stopped."""
    campaigns.resume(app.conn, number, who=person, reason=reason, again=again)
    click.echo(f"campaign {number} goes on")


def _tell(app: App, number: int, as_json: bool) -> None:
    campaigns.one(app.conn, number)
    (row,) = (r for r in campaigns.listing(app.conn) if r["campaign_id"] == number)
    ready, causes = campaigns.meters(app.conn, number, ["ready"]), campaigns.causes(app.conn, number)
    groups, shown = campaigns.differences(ready), campaigns.digest(ready)
    if as_json:
        print_json({**row, "ready": groups, "shown": shown or None, "causes": causes})
        return
    app.show(
        f"campaign {number}: {row['tariff']} in force from {row['switch_at']} on, {row['state']}", ("", "~"),
        [("meters", _counted(row["meters"])), ("begun by", row["requested_by"]), ("reason", row["reason"]), ("said last", row["why"])],
    )  # fmt: skip
    for group in groups[:MOST]:
        app.show(
            f"{group['meters']} meters like {group['example']} would be written", ("", "~is", "~becomes"),
            [(i["key"], spelled(i["key"], i["was"]), spelled(i["key"], i["becomes"])) for i in group["items"]],
        )  # fmt: skip
    if groups:
        click.echo(f"another person approves exactly this: headend prices campaign approve {number} {shown}")
    if causes:
        app.show(
            "not reached, or failed", (">meters", "state", "~why", "one of them"),
            [(c["meters"], c["state"], c["why"], c["example"]) for c in causes[:MOST]],
        )  # fmt: skip


def _counted(meters: dict[str, Any]) -> str:
    return ", ".join(f"{many} {state}" for state, many in sorted(meters.items()))
