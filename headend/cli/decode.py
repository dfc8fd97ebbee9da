"""`headend decode`: what a frame means, byte by byte."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import rich_click as click
from rich.text import Text

from headend.cli.common import App, json_option, pass_app, print_json
from protocols import registry
from protocols.errors import FrameError, Misuse, ProtocolError
from protocols.part import MASK, Part

#: A line of `-` that is longer than this is refused and passed over: the longest frame of all protocols has 64 KiB.
LONGEST_LINE: Final = 256 * 1024
#: Bytes of one part that are shown in the table; `--json` shows them all.
SHOWN: Final = 16


@click.command(name="decode")
@click.argument("hexes", nargs=-1, required=True, metavar="HEX...|-")
@click.option(
    "--protocol", type=click.Choice(list(registry.available())), help="Without it, each protocol is tried."
)
@click.option("--reveal", is_flag=True, help="Show passwords and keys too.")
@json_option
@pass_app
def command(app: App, hexes: tuple[str, ...], protocol: str | None, reveal: bool, as_json: bool) -> None:
    """Decode a frame given as HEX (spaces allowed): what it says, and what each of its bytes is.

    With - lines are read from standard input, each `protocol<TAB>HEX` or just HEX, and each is answered with one JSON
    object on a line: the meaning, or {"error": {"kind", "message", "offset"}}.
    """
    if hexes == ("-",):
        _answer_lines(sys.stdin.buffer, protocol, reveal)
        return
    try:
        raw = _bytes("".join(hexes))
    except Misuse as error:
        raise click.UsageError(str(error)) from None
    try:
        entry = registry.protocol(protocol) if protocol else registry.recognise(raw)
        meaning = entry.describe(raw, reveal=reveal)
        parts = entry.parts(raw, reveal=reveal)
    except FrameError as error:
        raise FrameError(
            f"not decoded; {f'{protocol}: ' if protocol else ''}{error.message}", error.offset
        ) from None
    if as_json:
        print_json({"protocol": entry.name, **meaning, "parts": [_part(raw, part) for part in parts]})
    else:
        _show(app, entry.name, meaning, raw, parts)


def _bytes(text: str) -> bytes:
    text = re.sub(r"[\s:,-]|0x", "", text)
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise Misuse("HEX must be pairs of hexadecimal digits, such as 68 01 00 … 16") from None


# --- one frame, for people ---


def _show(app: App, name: str, meaning: dict[str, Any], raw: bytes, parts: list[Part]) -> None:
    rows = [("protocol", name)]
    for key, value in meaning.items():
        if key == "values":
            rows += [(f"  {v['name']}", f"{v['value']} {v.get('unit', '')}".rstrip()) for v in value]
        else:
            rows.append((key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    app.show("frame 报文", ("", "~meaning 含义"), rows)
    app.console.print()
    app.show(
        "byte by byte 逐字节",
        (">at 偏移", "~bytes 字节", "field", "字段", "~meaning 含义"),
        [
            (part.start, _hex(raw, part), Text("  " * part.level + part.name), part.name_zh, part.meaning)
            for part in parts
        ],
    )


def _hex(raw: bytes, part: Part) -> str:
    if part.secret:
        return MASK
    more = " …" if part.end - part.start > SHOWN else ""
    return raw[part.start : min(part.end, part.start + SHOWN)].hex(" ") + more


def _part(raw: bytes, part: Part) -> dict[str, Any]:
    return {
        "start": part.start,
        "end": part.end,
        "hex": MASK if part.secret else raw[part.start : part.end].hex(),
        "name": part.name,
        "name_zh": part.name_zh,
        "meaning": part.meaning,
        "level": part.level,
    }


# --- many lines, for programs ---


def _answer_lines(source: BinaryIO, protocol: str | None, reveal: bool) -> None:
    """One JSON object per line that is not blank, each written before the next line is read."""
    for line in _lines(source):
        if line.strip():
            print(json.dumps(_answer(line, protocol, reveal), ensure_ascii=False), flush=True)


def _lines(source: BinaryIO) -> Iterator[bytes]:
    """The lines; of one that is too long only its beginning, which is too long still."""
    while line := source.readline(LONGEST_LINE + 1):
        rest = line
        while len(rest) > LONGEST_LINE and not rest.endswith(b"\n"):
            rest = source.readline(LONGEST_LINE + 1)
        yield line


def _answer(line: bytes, protocol: str | None, reveal: bool) -> dict[str, Any]:
    try:
        if len(line) > LONGEST_LINE:
            raise Misuse(f"the line has more than {LONGEST_LINE} characters")
        text = line.decode("ascii", "replace")
        named, tab, hexes = text.partition("\t")
        name = named.strip() if tab else protocol
        raw = _bytes(hexes if tab else text)
        entry = registry.protocol(name) if name else registry.recognise(raw)
        return {"protocol": entry.name, **entry.describe(raw, reveal=reveal)}
    except ProtocolError as error:
        told = {"kind": type(error).__name__, "message": str(error)}
        offset = error.offset if isinstance(error, FrameError) else None
        return {"error": told if offset is None else told | {"offset": offset}}
