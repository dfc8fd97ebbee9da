"""`headend audit`: the chain over orders, approvals, notices, limits and the kill switch."""

from __future__ import annotations

import json
from pathlib import Path

import rich_click as click
from click.exceptions import Exit

from headend.cli.common import App, json_option, pass_app, print_json, write_whole
from headend.store import audit


@click.group(name="audit")
def command() -> None:
    """The audit (审计链): append-only, each record with the hash of the one before it."""


@command.command()
@click.option(
    "--since",
    metavar="HEAD",
    help="A head that was kept elsewhere: the text, or the file that holds it. It must be in the chain.",
)
@click.option(
    "--write",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the head there if the chain holds.",
)
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@json_option
@pass_app
def verify(app: App, since: str | None, write: Path | None, lang: str, as_json: bool) -> None:
    """Work every hash out anew and name the first broken link. Exit code 1 if there is one.

    A tail that was cut off shows only against a head that was kept elsewhere: keep what --write writes on another machine."""
    conn = app.conn
    conn.rollback()
    told = audit.verify(conn, _head(since))
    if as_json:
        broken = told.broken and {"seq": told.broken.seq, "en": told.broken.en, "zh": told.broken.zh}
        print_json(
            {
                "ok": told.broken is None,
                "records": told.records,
                "head": told.head and str(told.head),
                "broken": broken,
            }
        )
    elif told.broken is not None:
        where = (
            {"en": f"record {told.broken.seq}: ", "zh": f"第 {told.broken.seq} 条："}[lang]
            if told.broken.seq
            else ""
        )
        click.echo(
            {"en": f"BROKEN at {where}{told.broken.en}", "zh": f"审计链断裂 {where}{told.broken.zh}"}[lang]
        )
    else:
        click.echo(
            {"en": f"{told.records} records, the chain holds", "zh": f"共 {told.records} 条记录，审计链完整"}[
                lang
            ]
        )
        click.echo(f"{told.head}")
    if told.broken is not None:
        raise Exit(1)
    if write is not None:
        write_whole(write, lambda handle: handle.write(f"{told.head}\n".encode()))


def _head(since: str | None) -> audit.Head | None:
    if since is None:
        return None
    path = Path(since)
    is_file = len(since) < 200 and path.is_file()
    return audit.parse_head(path.read_text("utf-8") if is_file else since)


@command.command()
@json_option
@pass_app
def head(app: App, as_json: bool) -> None:
    """The newest record's number and hash: keep it elsewhere."""
    found = audit.head(app.conn)
    if as_json:
        print_json(found and {"seq": found.seq, "hash": found.hash})
    else:
        click.echo(str(found))


@command.command(name="list")
@click.option(
    "--kind",
    type=click.Choice(
        [
            "begin",
            "order",
            "notice",
            "delivery",
            "limits",
            "wallet",
            "wallet-rules",
            "stop",
            "no-trip",
            "orderly",
            "release",
            "campaign",
            "terms",
            "grace",
            "debt",
            "restore",
        ]
    ),
    help="Only records of this kind.",
)
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="So many at most."
)
@json_option
@pass_app
def list_(app: App, kind: str | None, limit: int, as_json: bool) -> None:
    """Its records, newest first."""
    rows = audit.records(app.conn, limit=limit, kind=kind)
    if as_json:
        print_json(rows)
        return
    app.show(
        "audit", (">seq", "recorded", "kind", "of", "~what"),
        [(r["seq"], app.local(r["recorded"]), r["kind"], r["ref"], json.dumps(r["body"], ensure_ascii=False)) for r in rows],
    )  # fmt: skip
