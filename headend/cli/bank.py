"""`headend bank`: the banks that money comes through, direct debits, and the comparison of a day with what they say."""

from __future__ import annotations

import datetime as dt
import re
import secrets
from pathlib import Path
from typing import Any

import rich_click as click
from click.exceptions import Exit

from headend.cli.common import (
    App,
    Day,
    json_option,
    pass_app,
    person_option,
    print_json,
    write_whole,
    yuan,
)
from headend.store import bank as link
from headend.store import bank_days, banks, debits, keys, reclose
from headend.store.db import StoreError
from tariffs.bank_files import BadFile
from tariffs.bank_match import WORDS, Decision, Outcome

code_option = click.option("--bank", "code", required=True, metavar="CODE", help="Which bank.")
any_bank_option = click.option("--bank", "code", metavar="CODE", help="Only this bank.")


@click.group(name="bank")
def command() -> None:
    """The bank link (银电联网): payments that banks bring, direct debits (代扣), the comparison of accounts (对账)."""


class LocalTime(click.ParamType[dt.time]):
    """HH:MM."""

    name = "HH:MM"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dt.time:
        if isinstance(value, dt.time):
            return value
        if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
            self.fail(f"{value!r} is not a time such as 22:00", param, ctx)
        return dt.time.fromisoformat(value)


@command.command()
@click.argument("code")
@click.argument("name")
@click.option(
    "--cutoff",
    type=LocalTime(),
    default="22:00",
    show_default=True,
    help="Local time from which a transaction is the next accounting day's (日切), as agreed with the bank.",
)
@click.option(
    "--free-reversal",
    type=click.IntRange(0, 1440),
    default=10,
    show_default=True,
    help="Minutes after a payment in which its reversal is taken whatever has been used since.",
)
@click.option(
    "--mac", is_flag=True, help="Messages carry a MAC; prints the key to be shared with the bank, once."
)
@json_option
@pass_app
def add(
    app: App, code: str, name: str, cutoff: dt.time, free_reversal: int, mac: bool, as_json: bool
) -> None:
    """A new bank CODE with its NAME."""
    key = secrets.token_bytes(32) if mac else None
    banks.add(
        app.conn,
        code,
        name,
        cutoff=cutoff,
        free_reversal=dt.timedelta(minutes=free_reversal),
        mac_key=key,
    )
    app.conn.commit()
    if as_json:
        print_json({"bank": code, "mac_key": key.hex() if key else None})
        return
    click.echo(f"bank {code}, cut-off {cutoff:%H:%M}; `headend bank key {code} PERSON` makes its API key")
    if key:
        click.echo(f"MAC key, shown this once: {key.hex()}")


@command.command(name="list")
@json_option
@pass_app
def list_(app: App, as_json: bool) -> None:
    """Every bank."""
    rows = [
        {
            "bank": bank.code,
            "name": bank.title,
            "cutoff": f"{bank.cutoff:%H:%M}",
            "free_reversal_minutes": int(bank.free_reversal.total_seconds() // 60),
            "mac": bank.mac_key is not None,
        }
        for bank in banks.listing(app.conn)
    ]
    if as_json:
        print_json(rows)
        return
    app.show(
        "banks 银行",
        ("bank", "~name", "cut-off 日切", ">free reversal, min", "MAC"),
        [(r["bank"], r["name"], r["cutoff"], r["free_reversal_minutes"], r["mac"]) for r in rows],
    )


@command.command()
@click.argument("code")
@click.argument("person")
@json_option
@pass_app
def key(app: App, code: str, person: str, as_json: bool) -> None:
    """Make an API key by which PERSON's programs speak for bank CODE, and for nothing else."""
    bank = banks.get(app.conn, code)
    text = keys.issue(app.conn, person=person, scopes=["bank"], bank=bank.code)
    app.conn.commit()
    if as_json:
        print_json({"bank": bank.code, "person": person, "api_key": text})
        return
    click.echo(f"API key of bank {bank.code} for {person}, shown this once: {text}")


@command.command()
@code_option
@click.option("--date", "day", type=Day(), default="today", show_default=True, help="The accounting date.")
@json_option
@pass_app
def payments(app: App, code: str, day: dt.date, as_json: bool) -> None:
    """What a bank has sent for an accounting date: booked, reversed (冲正), or blocked because the reversal came first."""
    rows = link.payments(app.conn, banks.get(app.conn, code), day)
    if as_json:
        print_json(rows)
        return
    booked = [r["amount_fen"] for r in rows if r["state"] == "booked"]
    app.show(
        f"payments of {code}, accounting date {day}",
        ("serial", "customer", ">yuan", "paid", "~state", "reversal", ">receipts"),
        [
            (
                r["serial"], r["customer"] or "–", yuan(r["amount_fen"]), app.local(r["paid_at"]), r["state"],
                r["reversal_serial"] or "", r["receipts"],
            )
            for r in rows
        ],
        note=f"{len(booked)} booked, {yuan(sum(booked))} yuan",
    )  # fmt: skip


@command.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@person_option
@json_option
@pass_app
def reconcile(app: App, file: Path, person: str, as_json: bool) -> None:
    """Compare a bank's day-end FILE with what is booked (对账). What differs waits for `headend bank decide`; exit code 1 while anything does."""
    try:
        said = bank_days.compare(app.conn, file.read_bytes(), who=person, now=app.clock.now(), zone=app.zone)
    except BadFile as error:
        raise StoreError(f"{file}: {error}") from None
    if as_json:
        print_json(
            {
                "bank": said.bank, "date": said.date, "bank_totals": said.bank_totals, "our_totals": said.our_totals,
                "totals_agree": said.totals_agree, "items": said.items, "open": said.open, "late": said.late,
            }
        )  # fmt: skip
    else:
        app.show(
            f"{said.bank}, accounting date {said.date}",
            ("", ">payments", ">yuan", ">reversals", ">yuan "),
            [
                (who, count, yuan(fen), back, yuan(back_fen))
                for who, (count, fen, back, back_fen) in (
                    ("bank 银行", said.bank_totals),
                    ("ours 我方", said.our_totals),
                )
            ],
        )
        click.echo("totals agree (总账相符)" if said.totals_agree else "totals differ (总账不符)")
        for outcome in Outcome:
            en, zh = WORDS[outcome]
            click.echo(f"{said.items[outcome]:>8} {outcome}: {en} ({zh})")
        if said.late:
            click.echo(f"{said.late} past the cut-off: matched with the next day's file")
        if said.open:
            click.echo(f"{said.open} to be decided: `headend bank items`")
    if said.open:
        raise Exit(1)


@command.command()
@any_bank_option
@click.option("--date", "day", type=Day(), help="Only this accounting date.")
@click.option("--all", "everything", is_flag=True, help="Also what agrees, and what is decided.")
@json_option
@pass_app
def items(app: App, code: str | None, day: dt.date | None, everything: bool, as_json: bool) -> None:
    """Payments of compared days that differ, and wait for somebody to decide."""
    rows = bank_days.items(app.conn, bank=code, date=day, undecided=not everything)
    if as_json:
        print_json(rows)
        return
    app.show(
        "compared payments 对账明细",
        (">item", "bank", "date", "serial", "~outcome", ">bank yuan", ">our yuan", "~customer", "~decided"),
        [
            (
                r["item_id"], r["bank"], r["accounting_date"], r["serial"], f"{r['outcome']} {WORDS[Outcome(r['outcome'])][1]}",
                yuan(r["bank_fen"]), yuan(r["our_fen"]),
                " / ".join(dict.fromkeys(c for c in (r["bank_customer"], r["our_customer"]) if c)),
                f"{r['decision']} by {r['decided_by']} {r['note']}".rstrip() if r["decision"] else "",
            )
            for r in rows
        ],
        note="bank-only: book or refund; ours-only: reverse or claim; different: manual, with a note",
    )  # fmt: skip


@command.command()
@any_bank_option
@json_option
@pass_app
def days(app: App, code: str | None, as_json: bool) -> None:
    """Accounting days that have been compared, the newest first."""
    rows = bank_days.days(app.conn, bank=code)
    if as_json:
        print_json(rows)
        return
    app.show(
        "compared days 对账",
        ("bank", "date", ">bank yuan", ">our yuan", ">open", "compared", "~by"),
        [
            (
                r["bank"], r["accounting_date"], yuan(r["payments_fen"] - r["reversals_fen"]),
                yuan(r["our_payments_fen"] - r["our_reversals_fen"]), r["open"], app.local(r["at"]), r["who"],
            )
            for r in rows
        ],
    )  # fmt: skip


@command.command()
@click.argument("item", type=int)
@click.argument("decision", type=click.Choice([d.value for d in Decision]))
@click.option("--note", default="", help="Why, or what was agreed with the bank.")
@person_option
@json_option
@pass_app
def decide(app: App, item: int, decision: str, note: str, person: str, as_json: bool) -> None:
    """Settle a difference: book or refund what the bank alone has, reverse or claim what we alone have, manual where amounts differ."""
    now = app.clock.now()
    done = bank_days.decide(app.conn, item, Decision(decision), who=person, note=note, now=now)
    asked = reclose.after_payment(app.conn, [done.account_id], now=now)[0] if done.account_id else []
    if as_json:
        print_json({"item": item, "decision": decision, "entry": done.entry_id, "reclose": asked})
        return
    click.echo(f"item {item}: {decision}" + (f", entry {done.entry_id}" if done.entry_id else ""))
    for order in asked:
        click.echo(f"order {order} permits to close")


@command.command()
@click.argument("customer")
@click.argument("account")
@code_option
@person_option
@pass_app
def mandate(app: App, customer: str, account: str, code: str, person: str) -> None:
    """CUSTOMER (户号) lets us draw on their bank ACCOUNT (代扣签约). The newest one counts."""
    debits.mandate(app.conn, customer, banks.get(app.conn, code), account, who=person, now=app.clock.now())
    app.conn.commit()
    click.echo(f"{customer}: drawn on {account} of {code}")


@command.command()
@code_option
@click.option("--date", "day", type=Day(), default="today", show_default=True, help="The day of the batch.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the files (default HOME/export).",
)
@json_option
@pass_app
def debit(app: App, code: str, day: dt.date, out: Path | None, as_json: bool) -> None:
    """Write the direct-debit file (代扣文件) of a day, and its manifest. Made once: again, it is the same byte for byte."""
    batch = debits.prepare(app.conn, banks.get(app.conn, code), day, now=app.clock.now(), zone=app.zone)
    folder = out or app.settings.home / "export"
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in batch.files().items():  # the manifest last: a set that has one is whole
        write_whole(folder / name, lambda handle, body=body: handle.write(body))  # type: ignore[misc]
    fen = sum(item.amount_fen for item in batch.items)
    if as_json:
        print_json({"batch": batch.batch, "items": len(batch.items), "total_fen": fen, "folder": str(folder)})
        return
    click.echo(f"{folder / batch.batch}.csv  {len(batch.items)} items, {yuan(fen)} yuan")


@command.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@json_option
@pass_app
def results(app: App, file: Path, as_json: bool) -> None:
    """Book the FILE in which a bank says what became of a direct-debit batch; once, however often it is handed in."""
    now = app.clock.now()
    try:
        said = debits.answer(app.conn, file.read_bytes(), now=now)
    except BadFile as error:
        raise StoreError(f"{file}: {error}") from None
    asked, _ = reclose.after_payment(app.conn, said.accounts, now=now)
    if as_json:
        print_json(
            {
                "batch": said.batch, "paid": said.paid, "paid_fen": said.paid_fen, "failed": said.failed,
                "duplicate": said.duplicate, "reclose": asked,
            }
        )  # fmt: skip
        return
    click.echo(
        f"{said.batch}: {said.paid} paid, {yuan(said.paid_fen)} yuan; {said.failed} failed"
        + ("; booked before, nothing done" if said.duplicate else "")
    )
