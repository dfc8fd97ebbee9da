"""`headend prepaid notices` and `told`: what customers were sent, and what became of it."""

from __future__ import annotations

from typing import Any

import rich_click as click

from headend.cli.common import App, json_option, pass_app, person_option, print_json, yuan
from headend.store import notices


@click.command(name="notices")
@click.argument("customer", required=False)
@click.option("--waiting", is_flag=True, help="Only those that nobody has sent yet.")
@json_option
@pass_app
def listing(app: App, customer: str | None, waiting: bool, as_json: bool) -> None:
    """Notices of all customers, or of CUSTOMER (户号), newest first, and what became of each."""
    rows = notices.listing(
        app.conn, limit=100, customer=customer, waiting_at=app.clock.now() if waiting else None
    )
    if as_json:
        print_json(rows)
        return
    app.show(
        "notices",
        (">notice", "customer", "~name", "level", "written", ">yuan", "~what became of it"),
        [
            (
                r["notice_id"], r["customer"], r["name"], r["level"], app.local(r["at"], "%m-%d %H:%M"), yuan(r["balance_fen"]),
                _became(r["reports"]),
            )
            for r in rows
        ],
        note="A trip needs the notice of level 'stop' to have reached the customer (limit notice_counts).",
    )  # fmt: skip


def _became(reports: list[dict[str, Any]]) -> str:
    return (
        "; ".join(f"{r['state']} by {r['channel']} {r['reference']}" for r in reports) or "waits to be sent"
    )


@click.command()
@click.argument("notice", type=int)
@click.option(
    "--channel", type=click.Choice(list(notices.CHANNELS)), default="visit", show_default=True, help="How."
)
@click.option("--reference", required=True, help="Number of the receipt, or of the message.")
@click.option(
    "--state",
    type=click.Choice(notices.STATES),
    default="delivered",
    show_default=True,
    help="What became of it.",
)
@person_option
@json_option
@pass_app
def told(app: App, notice: int, channel: str, reference: str, state: str, person: str, as_json: bool) -> None:
    """Say what became of NOTICE where no gateway does: handed over at the door, signed for, said on the phone."""
    now = app.clock.now()
    new = notices.report(
        app.conn, notice, notices.Report(state, channel, reference, now), who=person, now=now
    )
    if as_json:
        print_json({"notice": notice, "duplicate": not new})
    else:
        click.echo(
            f"notice {notice}: "
            + (f"{state} by {channel} {reference}" if new else "said before, nothing done")
        )
