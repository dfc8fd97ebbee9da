"""Batches of trips at the command line: a dry run first, staggered orders then, approved and released by other people."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import rich_click as click
from click.exceptions import Exit

from headend.cli.common import App, json_option, pass_app, person_option, print_json
from headend.cli.orders import accept_option
from headend.store import batches, trip_batch
from headend.store.db import StoreError
from headend.store.trip_batch import Answer

#: meters of one batch: more than any day's cap lets through
MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asks for. `every`: seconds between two of its trips."""

    meters: Sequence[str]
    reason: str
    person: str
    hours: float
    every: float
    key: str


def meters(file: Path | None, listed: str | None) -> list[str]:
    """Asset numbers, each once, in the order in which they are named."""
    if listed is not None:
        found = [name.strip() for name in listed.split(",")]
    else:
        assert file is not None
        text = sys.stdin.read() if str(file) == "-" else _read(file)
        rows = list(csv.reader(text.splitlines()))
        column = rows[0].index("meter") if rows and "meter" in rows[0] else 0
        begin = 1 if rows and "meter" in rows[0] else 0
        found = [row[column].strip() if len(row) > column else "" for row in rows[begin:] if row]
    named = list(dict.fromkeys(name for name in found if name))
    if not named:
        raise StoreError("the batch names no meter: one a line, or a CSV with a column `meter`")
    if len(named) > MOST:
        raise StoreError(f"the batch names {len(named)} meters; {MOST} are the most")
    return named


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise StoreError(f"{file} is not UTF-8: write it as CSV in UTF-8") from None


def run(app: App, wanted: Wanted, *, yes: bool, as_json: bool) -> None:
    """What the gates say of each, and with `yes` the orders."""
    now = app.clock.now()
    plan = trip_batch.Plan(
        tuple(wanted.meters), wanted.reason, wanted.person, now, now + np.timedelta64(round(wanted.hours * 3600), "s"), wanted.every,
        wanted.key or f"{wanted.person}/{now}",
    )  # fmt: skip
    number = None
    if yes:
        number, told = trip_batch.ask(app.conn, plan)
    else:
        told = trip_batch.dry_run(app.conn, plan)
    refused = [answer for answer in told if answer.refused]
    if as_json:
        print_json(
            {
                "dry_run": not yes,
                "batch": number,
                "refused": len(refused),
                "meters": [_plain(answer) for answer in told],
            }
        )
    else:
        title = f"batch {number}" if yes else "dry run: nothing is ordered without --yes"
        app.show(
            title,
            ("meter", ">order", "not before", "~what the gates say"),
            [_row(app, answer) for answer in told],
        )
        click.echo(
            f"{len(told) - len(refused)} of {len(told)} {'wait for approval' if yes else 'would wait for approval'}, {len(refused)} refused"
        )
        if yes and len(refused) < len(told):
            click.echo(f"another person approves them: `headend relay approve-batch {number}`")
    if yes and len(refused) == len(told):
        raise Exit(1)


def _plain(answer: Answer) -> dict[str, Any]:
    return {
        "meter": answer.meter, "order": answer.order, "not_before": answer.not_before, "refused": answer.refused,
        "reasons": [{"gate": gate, "why": why} for gate, why in answer.reasons],
    }  # fmt: skip


def _row(app: App, answer: Answer) -> tuple[Any, ...]:
    why = "; ".join(f"{gate}: {why}" for gate, why in answer.reasons)
    says = f"refused – {why}" if answer.refused else f"waits – {why}" if why else "nothing against it"
    return answer.meter, answer.order, app.local(answer.not_before, "%H:%M:%S"), says


@click.command(name="batches")
@json_option
@pass_app
def list_(app: App, as_json: bool) -> None:
    """Batches of trips, newest first: lists, and what each requester asks for in a day by single orders."""
    rows = batches.listing(app.conn, limit=100)
    if as_json:
        print_json(rows)
        return
    app.show(
        "batches of trips", (">batch", "day", "~by", ">size", ">wait", ">may go", ">sent", ">void", "~released by", "~reason"),
        [(r["batch_id"], r["day"], r["who"], r["asked"], r["wanted"], r["approved"], r["sent"], r["void"], r["released_by"] or "", r["reason"])
         for r in rows],
    )  # fmt: skip


@click.command(name="approve-batch")
@click.argument("number", type=int, metavar="BATCH")
@accept_option
@person_option
@json_option
@pass_app
def approve(app: App, number: int, accept: tuple[str, ...], person: str, as_json: bool) -> None:
    """Approve every order of BATCH that waits. All gates are asked again, of each."""
    told = trip_batch.approve(app.conn, number, who=person, now=app.clock.now(), accept=accept)
    refused = [answer for answer in told if answer.refused]
    if as_json:
        print_json({"batch": number, "refused": len(refused), "orders": [_plain(answer) for answer in told]})
    else:
        app.show(
            f"batch {number}",
            ("meter", ">order", "not before", "~what the gates say"),
            [_row(app, answer) for answer in told],
        )
        click.echo(f"{len(told) - len(refused)} of {len(told)} approved by {person}")
    if refused:
        raise Exit(1)


@click.command(name="release")
@click.argument("number", type=int, metavar="BATCH")
@click.option("--reason", required=True, help="Why so many are right; kept for ever.")
@person_option
@pass_app
def release(app: App, number: int, reason: str, person: str) -> None:
    """Let BATCH go on although its size is unusual. Another person than who asked for it."""
    size = batches.release(app.conn, number, who=person, why=reason, now=app.clock.now())
    click.echo(f"batch {number} is released up to {size} trips by {person}")


COMMANDS = (list_, approve, release)
