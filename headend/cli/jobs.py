"""`headend jobs`: the schedule, one job by hand, and what ran."""

from __future__ import annotations

import datetime as dt
import signal
from typing import Any

import rich_click as click

from headend.cli.common import App, Day, json_option, pass_app, print_json
from headend.jobs.frame import run
from headend.jobs.schedule import JOBS, STEPWISE, Schedule
from headend.store import results


@click.group(name="jobs")
def command() -> None:
    """Run the jobs that turn readings into losses, findings, balances and bills."""


@command.command(name="run")
@pass_app
def run_(app: App) -> None:
    """Run every job at its time until stopped."""
    schedule = Schedule(app.dsn, app.zone, app.clock, app.settings.home / "export")
    app.conn.close()  # the schedule has its own, which it reopens when the database comes back

    def leave(*_: Any) -> None:
        schedule.stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    schedule.forever()


@command.command(name="once")
@click.argument("job", type=click.Choice(sorted(JOBS)))
@click.argument("day", type=Day(), default="today")
@pass_app
def once(app: App, job: str, day: dt.date) -> None:
    """Run one JOB for one DAY now."""
    click.echo(run(job, JOBS[job], app.conn, app.zone, app.clock, day, stepwise=job in STEPWISE))


@command.command(name="list")
@json_option
@pass_app
def list_(app: App, as_json: bool) -> None:
    """What ran, newest first."""
    rows = results.runs(app.conn)
    if as_json:
        print_json(rows)
        return
    app.show(
        "job runs",
        ("job", "day", "started", ">seconds", "", "~summary"),
        [
            (
                r["job"],
                r["day"],
                app.local(r["started"]),
                f"{r['seconds']:.2f}",
                "ok" if r["ok"] else "FAILED",
                r["summary"],
            )
            for r in rows
        ],
    )
