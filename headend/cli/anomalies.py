"""`headend anomalies`: findings, their evidence, and what people made of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import rich_click as click

from headend.cli.common import App, Day, json_option, pass_app, person_option, print_json
from headend.control.finding_state import State
from headend.jobs import anomalies
from headend.jobs.frame import Run, run
from headend.store import findings


@click.group(name="anomalies")
def command() -> None:
    """Findings: voltage, phases, load, registers, missing data by cause, loss, suspected theft, terminals; and their life."""


@command.command()
@click.argument("day", type=Day(), default=None, required=False)
@click.option("--rule", help="Only this rule.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in State]),
    help="Those in this state (may be given several times); default: those that are open.",
)
@click.option("--evidence", is_flag=True, help="Show the numbers behind each finding.")
@json_option
@pass_app
def show(
    app: App, day: dt.date | None, rule: str | None, states: tuple[str, ...], evidence: bool, as_json: bool
) -> None:
    """Findings that were seen of DAY, or all that are open, the newest first."""
    rows = findings.listing(app.conn, day=day, rule=rule, states=states or None)
    if as_json:
        print_json(rows)
        return
    app.show(
        f"{len(rows)} finding{'s' if len(rows) != 1 else ''}" + (f" of {day}" if day else ""),
        (">id", "severity", "subject", "~finding, and the numbers behind it")
        if evidence
        else (">id", "day", ">days", "severity", "subject", "~finding", "state"),
        [
            (r["finding_id"], r["severity"], f"{r['subject_kind']} {r['subject']}", f"{r['title_en']}\n{_short(r['evidence'])}")
            if evidence
            else (
                r["finding_id"], f"{r['day']:%m-%d}", r["days"], r["severity"], f"{r['subject_kind']} {r['subject']}",
                r["title_en"], r["state"],
            )
            for r in rows
        ],
    )  # fmt: skip


def _short(evidence: dict[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in evidence.items() if not isinstance(value, list))


@command.command(name="run")
@click.argument("day", type=Day(), default="today")
@click.option(
    "--rule",
    "rules",
    multiple=True,
    type=click.Choice(sorted(anomalies.RULES)),
    help="Only this rule, and only the quantities it looks at (may be given several times).",
)
@pass_app
def run_(app: App, day: dt.date, rules: tuple[str, ...]) -> None:
    """Apply every rule to DAY now."""

    def job(given: Run, of: dt.date) -> str:
        return anomalies.look(given, of, rules or anomalies.RULES)

    click.echo(run("anomalies", job, app.conn, app.zone, app.clock, day))


@command.command()
@click.argument("finding", type=int)
@json_option
@pass_app
def log(app: App, finding: int, as_json: bool) -> None:
    """The life of FINDING: the days it was seen on, and who did what, when and why."""
    row = findings.one(app.conn, finding)
    if as_json:
        print_json(row)
        return
    again = f", again after finding {row['again_of']}" if row["again_of"] else ""
    app.show(
        f"finding {finding}: {row['rule']}, {row['subject_kind']} {row['subject']}, {row['state']}{again}",
        ("day", "severity", "~finding"),
        [(r["day"], "withdrawn" if r["withdrawn"] else r["severity"], r["title_en"]) for r in row["seen"]],
    )
    app.show(
        "",
        ("when", "who", "what", "state", "~why"),
        [
            (
                app.local(r["at"]),
                r["who"],
                r["act"],
                r["state"],
                " ".join(filter(None, (r["work_order"], r["why"]))),
            )
            for r in row["events"]
        ],
    )


why_option = click.option("--why", required=True, help="What was found or mended; goes to the log.")
note_option = click.option("--why", default="", help="Goes to the log.")
which = click.argument("numbers", metavar="FINDING...", type=int, nargs=-1, required=True)


@command.command()
@which
@note_option
@person_option
@pass_app
def ack(app: App, numbers: tuple[int, ...], why: str, person: str) -> None:
    """Note that somebody has seen each FINDING."""
    _each(
        app,
        numbers,
        "acknowledged",
        person,
        lambda k: findings.acknowledge(app.conn, k, person, app.clock.now(), why),
    )


@command.command()
@which
@click.option("--number", required=True, help="Number of the work order.")
@note_option
@person_option
@pass_app
def order(app: App, numbers: tuple[int, ...], number: str, why: str, person: str) -> None:
    """Note that somebody is sent for each FINDING; from then on only a person closes it."""
    _each(
        app, numbers, f"given work order {number}", person,
        lambda k: findings.order(app.conn, k, number, person, app.clock.now(), why),
    )  # fmt: skip


@command.command()
@which
@why_option
@person_option
@pass_app
def close(app: App, numbers: tuple[int, ...], why: str, person: str) -> None:
    """Note that each FINDING is done. What is seen of a later day is another one, recurred."""
    _each(app, numbers, "closed", person, lambda k: findings.close(app.conn, k, person, app.clock.now(), why))


@command.command()
@which
@why_option
@person_option
@pass_app
def reopen(app: App, numbers: tuple[int, ...], why: str, person: str) -> None:
    """Note that each FINDING was closed by mistake."""
    _each(
        app, numbers, "reopened", person, lambda k: findings.reopen(app.conn, k, person, app.clock.now(), why)
    )


def _each(app: App, numbers: tuple[int, ...], done: str, who: str, step: Callable[[int], Any]) -> None:
    """All of them or none."""
    for number in numbers:
        step(number)
    app.conn.commit()
    for number in numbers:
        click.echo(f"finding {number} {done} by {who}")
