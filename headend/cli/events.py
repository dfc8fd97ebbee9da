"""`headend events`: what a meter or a terminal has said of itself."""

from __future__ import annotations

import datetime as dt

import rich_click as click

from headend.cli.common import App, json_option, pass_app, print_json
from headend.event_kinds import KINDS
from headend.store import events
from headend.store.db import StoreError
from headend.store.events import Event
from protocols.localtime import as_datetime


@click.command(name="events")
@click.argument("of", metavar="METER|TERMINAL")
@click.option("--days", type=click.IntRange(1, 3660), default=31, show_default=True, help="How far back.")
@json_option
@pass_app
def command(app: App, of: str, days: int, as_json: bool) -> None:
    """Power cuts, opened covers, clocks that were set … of METER (its asset number) or TERMINAL (its code), as they were noted there."""
    subject = events.subject(app.conn, of)
    if subject is None:
        raise StoreError(f"no meter and no terminal {of!r} in the archive; `headend archive show` finds them")
    last = as_datetime(app.clock.now()) + dt.timedelta(days=1)  # a clock that was ahead stamped the future
    found = events.of(app.conn, *subject, last - dt.timedelta(days=days + 1), last)
    if as_json:
        print_json([_document(event) for event in found])
        return
    app.show(
        f"events of {subject[0]} {of}",
        ("began", "ended", "code", "~what", "severity", "~detail"),
        [
            (
                app.local(event.occurred), app.local(event.ended), event.code, _what(event), _severity(event),
                ", ".join(f"{name} {value}" for name, value in event.detail.items() if name != "kind")[:120],
            )
            for event in found
        ],
    )  # fmt: skip


def _document(event: Event) -> dict[str, object]:
    return {
        "code": event.code, "kind": event.detail.get("kind"), "severity": _severity(event), "began": event.occurred, "ended": event.ended,
        "received": event.received, "detail": {k: v for k, v in event.detail.items() if k != "kind"}, "evidence": event.evidence or None,
    }  # fmt: skip


def _what(event: Event) -> str:
    kind = KINDS.get(str(event.detail.get("kind", "")))
    return f"{kind.en} {kind.zh}" if kind else "–"


def _severity(event: Event) -> str:
    kind = KINDS.get(str(event.detail.get("kind", "")))
    return kind.severity if kind else "info"
