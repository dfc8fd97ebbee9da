"""`headend mqtt`: what terminals publish and was kept out."""

from __future__ import annotations

import rich_click as click

from headend.cli.common import App, json_option, pass_app, print_json
from headend.store import refused


@click.group(name="mqtt")
def command() -> None:
    """Terminals that publish through a broker (MQTT 上报)."""


@command.command()
@click.option("--forget", is_flag=True, help="Empty the list, when all of it has been dealt with.")
@json_option
@pass_app
def refusals(app: App, forget: bool, as_json: bool) -> None:
    """Messages that were kept out: by topic how often, and why the newest."""
    found = refused.listing(app.conn)
    if forget:
        refused.forget(app.conn)
        app.conn.commit()
    if as_json:
        print_json(
            [
                {
                    "topic": row.topic, "reason": row.reason, "count": row.count, "first_at": row.first_at,
                    "last_at": row.last_at, "sample": row.sample.decode("utf-8", "replace"),
                }
                for row in found
            ]
        )  # fmt: skip
        return
    app.show(
        "messages kept out",
        ("~topic", ">count", "since", "last", "~why the newest", "~its beginning"),
        [
            (
                row.topic, row.count, app.local(row.first_at), app.local(row.last_at), row.reason,
                row.sample[:60].decode("utf-8", "replace"),
            )
            for row in found
        ],
        note="forgotten now" if forget and found else "",
    )  # fmt: skip
