"""`headend retention`: how long what is kept, and throwing away the rest."""

from __future__ import annotations

import datetime as dt

import rich_click as click

from headend.cli.common import App, json_option, pass_app, person, print_json
from headend.store import retention
from protocols.localtime import as_datetime


@click.group(name="retention")
def command() -> None:
    """How long each kind of data is kept (数据保存期限). The schedule throws away what is older, once a day."""


@command.command()
@json_option
@pass_app
def show(app: App, as_json: bool) -> None:
    """Every kind with its policy, and how much is overdue."""
    now = as_datetime(app.clock.now())
    rows = []
    for policy in retention.policies(app.conn):
        overdue = retention.overdue(app.conn, policy, now)
        rows.append(
            {
                "kind": policy.kind.name, "days": policy.keep.days, "default_days": policy.kind.keep.days,
                "least_days": policy.kind.least.days, "set_by": policy.who, "overdue_partitions": len(overdue),
                "overdue_bytes": sum(piece.size for piece in overdue), "why": policy.kind.why,
            }
        )  # fmt: skip
    if as_json:
        print_json(rows)
        return
    app.show(
        "kept for",
        ("kind", ">days", ">default", ">least", "set by", ">overdue", "~why"),
        [
            (
                r["kind"],
                r["days"],
                r["default_days"],
                r["least_days"],
                r["set_by"],
                r["overdue_partitions"],
                r["why"],
            )
            for r in rows
        ],
        note="bills, ledger entries, payments, orders, revisions and findings are never thrown away",
    )


@command.command(name="set")
@click.argument("kind", type=click.Choice([kind.name for kind in retention.KINDS]))
@click.argument("days", type=click.IntRange(min=1))
@click.option("--really", is_flag=True, help="Even below the least that makes sense.")
@pass_app
def set_(app: App, kind: str, days: int, really: bool) -> None:
    """Keep KIND for DAYS. It takes effect at the next run."""
    policy = retention.keep(app.conn, kind, dt.timedelta(days=days), who=person(), really=really)
    app.conn.commit()
    overdue = retention.overdue(app.conn, policy, as_datetime(app.clock.now()))
    click.echo(
        f"{kind} is kept for {days} days"
        + (f"; the next run throws away {len(overdue)} partitions" if overdue else "")
    )


@command.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@json_option
@pass_app
def run(app: App, dry_run: bool, as_json: bool) -> None:
    """Throw away now what is older than its policy: whole partitions, oldest first."""
    now = app.clock.now()
    app.conn.commit()
    gone = retention.run(app.conn, now, dry=dry_run)
    if as_json:
        print_json(
            [
                {
                    "kind": g.kind, "dropped": [p.name for p in g.dropped], "in_use": [p.name for p in g.held],
                    "bytes": sum(p.size for p in g.dropped), "rows": g.rows,
                }
                for g in gone
            ]
        )  # fmt: skip
        return
    app.show(
        "would go" if dry_run else "gone",
        ("kind", ">partitions", ">MiB", "oldest", "before", ">rows", ">in use"),
        [
            (
                g.kind, len(g.dropped), f"{sum(p.size for p in g.dropped) / 2**20:.1f}",
                min((p.lo for p in g.dropped), default=dt.datetime.min).date() if g.dropped else "",
                max((p.hi for p in g.dropped), default=dt.datetime.min).date() if g.dropped else "", g.rows, len(g.held),
            )
            for g in gone
        ],
        note="what is in use goes at the next run" if any(g.held for g in gone) else "",
    )  # fmt: skip
