"""`headend anomalies`: findings, their evidence, and what people made of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import rich_click as click

from headend.cli.common import App, Day, json_option, pass_app, person_option, print_json, write_whole
from headend.control.finding_state import State
from headend.export import findings_html, findings_report, findings_xlsx
from headend.export.findings_html import numbers
from headend.export.findings_report import SEVERITIES, Report
from headend.jobs import anomalies
from headend.jobs.frame import Run, run
from headend.store import findings
from headend.store.coverage import today


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
            (r["finding_id"], r["severity"], f"{r['subject_kind']} {r['subject']}", f"{r['title_en']}\n{numbers(r['evidence'])}")
            if evidence
            else (
                r["finding_id"], f"{r['day']:%m-%d}", r["days"], r["severity"], f"{r['subject_kind']} {r['subject']}",
                r["title_en"], r["state"],
            )
            for r in rows
        ],
    )  # fmt: skip


@command.command()
@click.argument("day", type=Day(), default=None, required=False)
@click.option(
    "--xlsx", type=click.Path(path_type=Path, dir_okay=False), help="Write a workbook to this file."
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write one HTML page with charts to this file.",
)
@click.option(
    "--top",
    type=click.IntRange(1, findings_report.MOST),
    default=20,
    show_default=True,
    help="Findings in the terminal's table.",
)
@json_option
@pass_app
def report(
    app: App, day: dt.date | None, xlsx: Path | None, html: Path | None, top: int, as_json: bool
) -> None:
    """Findings counted by rule and severity, the severest first: those seen of DAY, or all that are open."""
    told = findings_report.build(app.conn, day, today(app.clock.now(), app.zone))
    if xlsx is not None:
        write_whole(xlsx, lambda handle: findings_xlsx.write(handle, told))
    if html is not None:
        write_whole(html, lambda handle: handle.write(findings_html.page(told).encode()))
    if as_json:
        print_json(_document(told))
    elif xlsx is None and html is None:
        _print(app, told, top)


def _document(told: Report) -> dict[str, Any]:
    return {
        "title": told.title,
        "day": told.day,
        "total": told.total,
        "severities": dict(told.by_severity),
        "rules": [asdict(rule) for rule in told.rules],
        "several_rules": [asdict(subject) for subject in told.several],
        "by_day": [{"day": day, "severities": counts} for day, counts in told.history],
        "findings": told.rows,
    }


def _print(app: App, told: Report, top: int) -> None:
    app.show(
        f"{told.total} {told.title}, by rule",
        ("rule", ">findings", *(f">{severity}" for severity in SEVERITIES), ">new", ">recurred", ">work orders", "oldest"),
        [
            (
                rule.rule, rule.count, *(rule.by_severity.get(s, "–") for s in SEVERITIES), rule.fresh, rule.recurred, rule.ordered, rule.oldest,
            )
            for rule in told.rules
        ],
    )  # fmt: skip
    rows = told.rows[:top]
    several = [f"{s.kind} {s.code}: {', '.join(s.rules)}" for s in told.several]
    more = (
        [f"and {told.total - len(rows)} more: --top, --json, --xlsx or --html"]
        if told.total > len(rows)
        else []
    )
    app.show(
        "the severest first",
        (">id", "severity", "subject", "~finding", "since", ">days", "state"),
        [
            (
                r["finding_id"], r["severity"], f"{r['subject_kind']} {r['subject']}", r["title_en"], r["first_day"], r["days"], r["state"],
            )
            for r in rows
        ],
        note="\n".join([*more, *(["several rules at once: " + "; ".join(several)] if several else [])]),
    )  # fmt: skip


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
