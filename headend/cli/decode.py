"""`headend decode`: what a frame means."""

from __future__ import annotations

import re
from typing import Any

import rich_click as click

from headend.cli.common import App, json_option, pass_app, print_json
from protocols import registry
from protocols.errors import FrameError, ProtocolError


@click.command(name="decode")
@click.argument("hexes", nargs=-1, required=True, metavar="HEX...")
@click.option(
    "--protocol", type=click.Choice(list(registry.available())), help="Without it, each protocol is tried."
)
@click.option("--reveal", is_flag=True, help="Show passwords too.")
@json_option
@pass_app
def command(app: App, hexes: tuple[str, ...], protocol: str | None, reveal: bool, as_json: bool) -> None:
    """Decode frames given as HEX (spaces allowed): address, function, data identifier, values with units."""
    raw = _bytes("".join(hexes))
    names = [protocol] if protocol else list(registry.available())
    complaints = []
    for name in names:
        try:
            meaning = registry.protocol(name).describe(raw, reveal=reveal)
        except ProtocolError as error:
            complaints.append(f"{name}: {error}")
            continue
        _show(app, name, meaning, as_json)
        return
    raise FrameError("not decoded; " + "; ".join(complaints))


def _bytes(text: str) -> bytes:
    text = re.sub(r"[\s:,-]|0x", "", text)
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise click.UsageError("HEX must be pairs of hexadecimal digits, such as 68 01 00 … 16") from None


def _show(app: App, name: str, meaning: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({"protocol": name, **meaning})
        return
    rows = [("protocol", name)]
    for key, value in meaning.items():
        if key == "values":
            rows += [(f"  {v['name']}", f"{v['value']} {v.get('unit', '')}".rstrip()) for v in value]
        else:
            rows.append((key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    app.show("frame", ("", "~meaning"), rows)
