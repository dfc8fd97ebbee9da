"""`headend diagnose URL|METER|FILE`: what a field technician runs at the meter, an engineer for a meter behind a terminal, and either of them
again over what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import rich_click as click
from click.exceptions import Exit

from headend.cli import remote
from headend.cli.common import App, Zone, json_option, pass_app, print_json
from headend.cli.diagnosis import Screen
from headend.cli.field import Bench
from headend.cli.trust import trust_of
from headend.clock import parse
from protocols.errors import Misuse
from terminals.diagnose.candidates import chosen, known_candidates
from terminals.diagnose.case import Asked, NoCase, load
from terminals.diagnose.document import without_frames
from terminals.diagnose.lockout import LIMIT
from terminals.diagnose.search import Target, openers_of
from terminals.links.link import BadAddress

#: How a recording may be named, beside FILE.toml itself.
PLAYED = "recording://"


@click.command(name="diagnose")
@click.argument("target", metavar="URL|METER|FILE.toml")
@click.option("--address", default="", help="The meter's address, where several share the line.")
@click.option(
    "--terminal",
    default="",
    help="Address of a terminal (376.1, 698.45) on the line; --address is then a meter behind it.",
)
@click.option(
    "--protocol", "protocols", multiple=True, help="Try only this protocol (may be given several times)."
)
@click.option(
    "--password", "passwords", multiple=True, help="Password to try; never so many that the meter could lock."
)
@click.option(
    "--lock-limit",
    default=LIMIT,
    show_default=True,
    type=click.IntRange(2, 10),
    help="Wrong passwords at which this meter locks.",
)
@click.option(
    "--zone", type=Zone(), default="Asia/Shanghai", show_default=True, help="Civil time of the meter's clock."
)
@click.option("--frames", is_flag=True, help="Show every frame, byte by byte.")
@click.option("--ascii", "plain", is_flag=True, help="Draw the phasors in plain ASCII.")
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write everything to FILE, passwords included; `headend diagnose FILE` then gives the same answer without a wire.",
)
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@json_option
@pass_app
def command(
    app: App,
    target: str,
    address: str,
    terminal: str,
    protocols: tuple[str, ...],
    passwords: tuple[str, ...],
    lock_limit: int,
    zone: ZoneInfo,
    frames: bool,
    plain: bool,
    record: Path | None,
    lang: str,
    as_json: bool,
) -> None:
    """Find out what is wrong.

    URL (tcp://host:port, tls://host:port, serial:///dev/ttyUSB0?baud=2400&parity=E&stop=1) talks to the line directly and needs no database; of a
    serial port without settings the usual ones are tried. METER (asset number) tells what the head-end knows of it and asks it through the
    collector that owns its terminal, or directly where none does. FILE.toml is what --record wrote.
    """
    screen = Screen(app, lang, frames=frames, plain=plain)
    bench = Bench(app, screen, quiet=as_json)
    if target.startswith(PLAYED) or target.endswith(".toml"):
        told = _played(bench, Path(target.removeprefix(PLAYED)))
    elif "://" in target:
        asked = Asked(
            target, Target(address, terminal, 0, passwords), protocols, zone, parse(app.settings.clock, zone).now(), limit=lock_limit,
        )  # fmt: skip
        told = _direct(app, bench, asked, record)
    else:
        told = remote.diagnose_meter(app, bench, target, record)
    if as_json:
        print_json(told if frames else without_frames(told) if "steps" in told else told)
    if not told.get("ok", False):
        raise Exit(1)


def _direct(app: App, bench: Bench, asked: Asked, record: Path | None) -> dict[str, Any]:
    try:
        openers = openers_of(asked.url, trust_of(app.settings))
        candidates = chosen(known_candidates(), asked.protocols)
    except (BadAddress, Misuse) as error:
        raise click.UsageError(str(error)) from None
    return bench.live(openers, asked, candidates, record)


def _played(bench: Bench, path: Path) -> dict[str, Any]:
    asked, recorded = load(path)
    try:
        openers = openers_of(asked.url)
        candidates = chosen(known_candidates(), asked.protocols)
    except (BadAddress, Misuse) as error:
        raise NoCase(path, str(error)) from None
    return bench.played(openers, asked, candidates, recorded)
