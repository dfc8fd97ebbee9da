"""`headend demo`: the main job on a simulated fleet; with --once an accelerated day, checked number by number."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import numpy as np
import rich_click as click
from click.exceptions import Exit
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from headend.cli.common import App, pass_app
from headend.demo import run, world
from headend.demo.check import Check, check
from headend.demo.world import DAY, START, ZONE, World
from headend.demo.yardstick import slowness
from headend.store.db import StoreError, connect
from headend.store.embedded import Embedded
from protocols.localtime import as_datetime, instant

#: domain seconds per real second: watching, and --once on a machine of common speed. The meters' lines need their real pauses, and the
#: collector its processor: on a slow machine it would read about noon what it should know at ten
WATCH, ONCE = 120.0, 600.0


@click.command(name="demo")
@click.option(
    "--once",
    is_flag=True,
    help="One accelerated day, a report, exit code 0 only if every number checks against the truth.",
)
@click.option("--seed", type=click.IntRange(0), help="The fleet's seed (default: random, printed).")
@click.option(
    "--size",
    type=click.Choice(["full", "small"]),
    default="full",
    show_default=True,
    help="24 terminals of 20 meters, or 4 of 6.",
)
@click.option(
    "--speed",
    type=click.FloatRange(1, 2000),
    help=f"Domain time per real time (default {WATCH:.0f}, with --once {ONCE:.0f}, less on a slow machine).",
)
@click.option(
    "--kill",
    "kills",
    type=click.IntRange(0, 20),
    default=0,
    help="kill -9 the collector so often at random moments (with --once).",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=None,
    help="Port of console and API (default 7080, with --once any free one).",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where everything of this run goes (default HOME/demo); emptied first.",
)
@click.option(
    "--check",
    "check_only",
    is_flag=True,
    help="Check the last run's store against its truth again; start nothing new.",
)
@pass_app
def command(
    app: App,
    once: bool,
    seed: int | None,
    size: str,
    speed: float | None,
    kills: int,
    port: int | None,
    folder: Path | None,
    check_only: bool,
) -> None:
    """Watch the main job: a fleet is read over TCP with DL/T 645 and DLMS, losses, findings and balances appear in the console, a
    customer whose prepaid balance ran out is cut off and proven open, another pays and is closed again. Ctrl-C ends it."""
    place = (folder or app.settings.home / "demo").resolve()
    if check_only:
        _check_again(app, place)
        return
    if kills and not once:
        raise click.UsageError("--kill goes with --once")
    if (
        place.exists()
        and any(place.iterdir())
        and not (place / "demo.json").exists()
        and not (place / "logs").exists()
    ):
        raise StoreError(f"{place} is not empty and not a demo's folder; choose another with --folder")
    if port is None:
        port = 0 if once else 7080
    made = world.create(
        place, seed=seed, size=size, speed=speed or (ONCE / slowness() if once else WATCH), port=port
    )
    made.kills = kills
    signal.signal(signal.SIGTERM, _leave)  # the fleet is taken down on every way out
    if once:
        _once(app, made)
    else:
        _watch(app, made)


def _once(app: App, made: World) -> None:
    begun = time.monotonic()
    click.echo(f"seed {made.seed} (repeat with --seed {made.seed}), folder {made.folder}")
    with _bar() as progress:
        task = progress.add_task(
            "", total=float((instant(run.END) - instant(START)) / np.timedelta64(1, "m")), what="starting"
        )

        def say(text: str) -> None:
            progress.console.print(escape(text), highlight=False, soft_wrap=True)

        def tell(now: np.datetime64, present: int, owed: int) -> None:
            done = float((now - instant(START)) / np.timedelta64(1, "m"))
            progress.update(
                task,
                completed=done,
                what=f"{as_datetime(now, ZONE):%m-%d %H:%M}  {present} of the day's {owed} points in the store",
            )

        with run.stage(made, app.settings.dsn, say) as (cast, conn, clock):
            run.play(made, cast, conn, clock, say, tell, end=True)
            progress.stop()
            checks = check(made, conn)
    _report(app, made, checks, time.monotonic() - begun)


def _watch(app: App, made: World) -> None:
    fleet = "24 terminals of 20 meters" if made.size == "full" else "4 terminals of 6 meters"
    app.console.print(
        f"a simulated fleet of {fleet}, seed {made.seed}, read from {START:%A %Y-%m-%d %H:%M} on, faster than time; all of it is in {made.folder}",
        highlight=False,
        soft_wrap=True,
    )
    app.console.print(
        "starting database, simulator, collector, jobs and server: a few seconds", highlight=False
    )
    hours: set[int] = set()

    def say(text: str) -> None:
        app.console.print(escape(text), highlight=False, soft_wrap=True)

    def tell(now: np.datetime64, present: int, owed: int) -> None:
        """A line each simulated hour."""
        local = as_datetime(now, ZONE)
        if local.hour not in hours:
            hours.clear()
            hours.add(local.hour)
            say(f"{local:%H:%M} {present} of the day's {owed} points are in the store")

    with run.stage(made, app.settings.dsn, say) as (cast, conn, clock):
        app.console.print(f"[bold]console: {made.base}/[/bold]   (Ctrl-C ends the demo)", highlight=False)
        say(
            f"look inside from another shell, in this folder:\n  export HEADEND_HOME={made.home} HEADEND_CLOCK='{made.clock}'"
        )
        say(
            "  .venv/bin/headend why 410000010002    # and: lineloss show, anomalies show, relay list, prepaid balances, doctor"
        )
        try:
            run.play(made, cast, conn, clock, say, tell, end=False)
        except KeyboardInterrupt:
            say("stopping")


def _leave(*_: object) -> None:
    raise KeyboardInterrupt


def _check_again(app: App, place: Path) -> None:
    try:
        made = world.load(place)
    except (OSError, ValueError, TypeError):
        raise StoreError(f"{place} holds no finished demo; `headend demo --once` makes one") from None
    with Embedded(made.home) as dsn, connect(app.settings.dsn or dsn) as conn:
        cast = run.Cast(made.environment(app.settings.dsn or dsn), place / "logs")
        made.api = world.free(0)
        cast.env["HEADEND_API"] = f"127.0.0.1:{made.api}"
        cast.start("server", "serve")
        try:
            run.await_server(made, cast)
            checks = check(made, conn)
        finally:
            cast.stop()
    _report(app, made, checks, None)


def _report(app: App, made: World, checks: list[Check], seconds: float | None) -> None:
    app.show(
        f"{DAY}, seed {made.seed}: the store against the simulator's truth",
        ("", "~statement", "~figures"),
        [(Text("✓", "green") if c.ok else Text("✗", "red"), c.name, c.detail) for c in checks],
    )
    failed = [c for c in checks if not c.ok]
    (made.folder / "report.json").write_text(
        json.dumps(
            {
                "seed": made.seed,
                "ok": not failed,
                "checks": [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in checks],
            },
            ensure_ascii=False,
            indent=1,
        )
    )
    took = f" in {seconds:.0f} s" if seconds is not None else ""
    click.echo(
        f"{len(checks) - len(failed)} of {len(checks)} statements hold{took}; report in {made.folder / 'report.json'}"
    )
    if failed:
        raise Exit(1)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.fields[what]}"),
        BarColumn(bar_width=30),
        transient=True,
        disable=not sys.stdout.isatty(),
    )
