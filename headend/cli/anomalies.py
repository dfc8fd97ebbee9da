"""`headend anomalies`: findings, their evidence, and who has seen them."""

from __future__ import annotations

import datetime as dt

import rich_click as click

from headend.cli.common import App, Day, json_option, pass_app, person_option, print_json
from headend.jobs.frame import run
from headend.jobs.schedule import JOBS
from headend.store import results


@click.group(name="anomalies")
def command() -> None:
    """Findings: voltage, unbalance, missing data by cause, loss, suspected theft."""


@command.command()
@click.argument("day", type=Day(), default=None, required=False)
@click.option("--rule", help="Only this rule.")
@click.option("--evidence", is_flag=True, help="Show the numbers behind each finding.")
@json_option
@pass_app
def show(app: App, day: dt.date | None, rule: str | None, evidence: bool, as_json: bool) -> None:
    """Findings of DAY, or the newest of all days."""
    rows = results.findings(app.conn, day=day, rule=rule)
    if as_json:
        print_json(rows)
        return
    app.show(
        f"{len(rows)} finding{'s' if len(rows) != 1 else ''}" + (f" of {day}" if day else ""),
        (">id", "severity", "subject", "~finding, and the numbers behind it")
        if evidence
        else (">id", "day", "severity", "rule", "subject", "~finding", "state"),
        [
            (r["finding_id"], r["severity"], f"{r['subject_kind']} {r['subject']}", f"{r['title_en']}\n{_short(r['evidence'])}")
            if evidence
            else (
                r["finding_id"], r["day"], r["severity"], r["rule"], f"{r['subject_kind']} {r['subject']}",
                r["title_en"], r["state"],
            )
            for r in rows
        ],
    )  # fmt: skip


def _short(evidence: dict[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in evidence.items() if not isinstance(value, list))


@command.command(name="run")
@click.argument("day", type=Day(), default="today")
@pass_app
def run_(app: App, day: dt.date) -> None:
    """Apply every rule to DAY now."""
    click.echo(run("anomalies", JOBS["anomalies"], app.conn, app.zone, app.clock, day))


@command.command()
@click.argument("finding", type=int)
@person_option
@pass_app
def ack(app: App, finding: int, person: str) -> None:
    """Note that somebody has seen FINDING."""
    results.acknowledge(app.conn, finding, person, app.clock.now())
    app.conn.commit()
    click.echo(f"finding {finding} acknowledged by {person}")
