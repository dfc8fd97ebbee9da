"""`headend tariff`: what a kWh costs, by dated versions. Checked at the door, kept by revisions."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import rich_click as click

from headend.cli.common import App, Day, json_option, pass_app, person_option, print_json
from headend.store import tariffs
from headend.store.db import StoreError
from headend.store.tariffs import Offered
from tariffs.door import TariffError


@click.group(name="tariff")
def command() -> None:
    """Tariffs (电价): files checked, kept and shown."""


files = click.argument(
    "paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)


def _offered(paths: tuple[Path, ...]) -> list[Offered]:
    """All of them, or the first error."""
    offered = []
    for path in paths:
        try:
            offered.append(Offered.of(path.read_text(encoding="utf-8"), path.name))
        except UnicodeDecodeError as error:
            raise StoreError(f"{path.name}: not UTF-8 at byte {error.start}; nothing was kept") from None
        except TariffError as error:
            raise StoreError(f"{error}; nothing was kept") from None
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}; nothing was kept") from None
    names = [each.tariff.name for each in offered]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise StoreError(f"two of the files are the tariff {double}; nothing was kept")
    return offered


@command.command()
@files
def check(paths: tuple[Path, ...]) -> None:
    """Say whether the tariff files PATHS may be used; nothing is kept. Needs no database."""
    for path, each in zip(paths, _offered(paths), strict=True):
        versions = each.tariff.versions
        click.echo(
            f"{path.name}: tariff {each.tariff.name}, {len(versions)} version{'s' if len(versions) > 1 else ''} from "
            f"{versions[0].valid_from} on: nothing is wrong with it"
        )


@command.command()
@files
@click.option("--reason", required=True, help="Why: the notice or decision; kept with it for ever.")
@click.option(
    "--past", is_flag=True, help="Days gone by may become other money; bills and entries since are corrected."
)
@person_option
@json_option
@pass_app
def put(app: App, paths: tuple[Path, ...], reason: str, past: bool, person: str, as_json: bool) -> None:
    """Keep the tariff files PATHS, all or none. One that stood before stays as an earlier revision."""
    offered = _offered(paths)
    app.conn.rollback()
    with app.conn.transaction():
        done = tariffs.put(
            app.conn, offered, who=person, reason=reason, now=app.clock.now(), today=app.today(), past=past
        )
    app.conn.commit()
    if as_json:
        print_json([{"name": d.name, "revision": d.revision, "changes_from": d.changes_from} for d in done])
        return
    for d in done:
        click.echo(
            f"tariff {d.name}: revision {d.revision}, from {d.changes_from} on"
            if d.revision
            else f"tariff {d.name}: it says what stands already; nothing was changed"
        )


@command.command(name="list")
@json_option
@pass_app
def list_(app: App, as_json: bool) -> None:
    """Every tariff that accounts may have."""
    rows = [
        {
            "name": name, "title_zh": tariff.title_zh, "title_en": tariff.title_en, "region": tariff.region, "source": tariff.source,
            "from": tariff.versions[0].valid_from, "newest": tariff.versions[-1].valid_from,
            "revision": next((r["revision"] for r in tariffs.revisions(app.conn, name)), None),
        }
        for name, tariff in sorted(tariffs.load(app.conn).items())
    ]  # fmt: skip
    if as_json:
        print_json(rows)
        return
    app.show(
        "tariffs",
        ("name", "~title", "region", "from", "newest version", ">revision", "~source"),
        [
            (r["name"], f"{r['title_zh']} {r['title_en']}", r["region"], r["from"], r["newest"], r["revision"] or "shipped", r["source"])
            for r in rows
        ],
    )  # fmt: skip


@command.command()
@click.argument("name")
@click.option("--on", "day", type=Day(), default="today", show_default=True, help="The local day.")
@json_option
@pass_app
def show(app: App, name: str, day: dt.date, as_json: bool) -> None:
    """What the tariff NAME says on a day, and its revisions."""
    tariff = tariffs.one(app.conn, name)
    try:
        version = tariff.on(day)
    except LookupError as error:
        raise StoreError(str(error)) from None
    kept = [{k: v for k, v in row.items() if k != "toml"} for row in tariffs.revisions(app.conn, name)]
    if as_json:
        print_json(
            {"name": name, "source": tariff.source, "on": day, "version": version.facts(), "revisions": kept}
        )
        return
    click.echo(f"{tariff.name}: {tariff.title_zh}, {tariff.title_en}; {tariff.source}")
    click.echo(f"on {day}, version of {version.valid_from}:")
    for key, value in version.facts().items():
        if key not in ("valid_from", "schedule"):
            click.echo(f"  {key}: {value}")
    for row in kept:
        click.echo(
            f"revision {row['revision']} by {row['who']} on {app.local(row['at'], '%Y-%m-%d %H:%M')}, from {row['changes_from']} on: {row['reason']}"
        )
