"""`headend reads trace` and `headend reads redecode`: from a value to the bytes it came from, and from the bytes to the value again."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import numpy as np
import rich_click as click
from click.exceptions import Exit

from headend.cli.common import App, Day, json_option, pass_app, person_option, print_json
from headend.collector import redecode as again
from headend.collector.drivers import drivers
from headend.store import blocks, trace
from headend.store.exchanges import Exchange
from headend.store.tables import SOURCES
from headend.store.trace import Version
from protocols import registry
from protocols.errors import ProtocolError
from protocols.localtime import as_datetime, instant
from protocols.part import MASK
from protocols.quantity import quantities

#: differences shown in the table; --json has them all
SHOWN: Final = 40
#: how each protocol of the archive is called where frames are described
FRAMES: Final = {
    "dlt645": "dlt645-2007",
    "dlms": "dlms",
    "dlms-hdlc": "dlms",
    "gdw376": "gdw376",
    "dlt698": "dlt698",
}


class Moment(click.ParamType[dt.datetime]):
    """A local civil time, or an instant with its offset."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dt.datetime:
        if isinstance(value, dt.datetime):
            return value
        try:
            return dt.datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-03-11T10:15", param, ctx)


@click.command(name="trace")
@click.argument("meter")
@click.argument("time", type=Moment())
@click.argument("quantity", default="active_import")
@click.option(
    "--source", type=click.Choice(list(SOURCES)), default="curve", show_default=True, help="Which readings it belongs to."
)  # fmt: skip
@click.option("--reveal", is_flag=True, help="Show passwords and keys in frames too.")
@json_option
@pass_app
def trace_command(
    app: App, meter: str, time: dt.datetime, quantity: str, source: str, reveal: bool, as_json: bool
) -> None:
    """Follow a value of METER at TIME (local; a slot is named by its end) back to the bytes it came from: every version, its reason, its
    exchange, frame by frame."""
    when = instant(time if time.tzinfo else time.replace(tzinfo=app.zone))
    found = trace.versions(app.conn, asset=meter, when=when, code=quantity, source=source)
    if as_json:
        print_json([_document(version, reveal) for version in found])
        return
    unit = quantities()[quantity].unit
    app.show(
        f"meter {meter}, {quantity} [{unit}] at {app.local(as_datetime(when), '%Y-%m-%d %H:%M:%S')} ({source})",
        (">version", ">value", "method", "~reason", "who", "made", "evidence"),
        [
            (
                v.number,
                _shown(quantity, v.value),
                v.method,
                v.reason,
                v.who,
                app.local(v.at),
                v.hash or "none",
            )
            for v in found
        ],
        note="the last version counts; evidence is the beginning of the SHA-256 of the exchange",
    )
    for version in found:
        _show_exchange(app, version, reveal)


def _shown(code: str, value: Any) -> str:
    if value is None:
        return "–"
    if quantities()[code].kind == "register":
        return f"{value // 10_000}.{value % 10_000:04d}"
    return str(value)


def _show_exchange(app: App, version: Version, reveal: bool) -> None:
    app.console.print()
    if version.exchange is None:
        why = "its bytes are gone: the retention of exchanges is over" if version.evidence else "no exchange"
        app.console.print(f"version {version.number}: {why}", highlight=False)
        return
    exchange = version.exchange
    app.show(
        f"version {version.number}: {exchange.task} by {exchange.protocol}, taken {app.local(as_datetime(exchange.taken), '%Y-%m-%d %H:%M:%S')}, "
        f"sha256 {exchange.sha256.hex()}",
        (">s", "", "~frame", "~meaning"),
        [
            (f"{s.after:.3f}", ">" if s.sent else "<", _masked(exchange, s.raw, reveal), _meaning(exchange, s.raw, reveal))
            for s in exchange.said
        ],
    )  # fmt: skip


def _meaning(exchange: Exchange, raw: bytes, reveal: bool) -> str:
    try:
        told = registry.protocol(FRAMES.get(exchange.protocol, exchange.protocol)).describe(
            raw, reveal=reveal
        )
    except (ProtocolError, KeyError) as error:
        return f"not decoded: {error}"
    values = told.get("values")
    what = str(told.get("text") or told.get("what") or told.get("function") or next(iter(told.values()), ""))
    if not values:
        return what
    return (
        what + ": " + ", ".join(f"{v['name']} {v['value']} {v.get('unit', '')}".rstrip() for v in values[:6])
    )


def _masked(exchange: Exchange, raw: bytes, reveal: bool) -> str:
    """The bytes, secrets blotted out unless revealed; a frame that is not understood is shown only when revealed."""
    if exchange.protocol == "file":
        return raw.hex()
    try:
        parts = registry.protocol(FRAMES.get(exchange.protocol, exchange.protocol)).parts(raw, reveal=reveal)
    except (ProtocolError, KeyError):
        return raw.hex(" ") if reveal else f"{len(raw)} bytes"
    if not any(part.secret for part in parts):
        return raw.hex(" ")
    return " ".join(MASK if part.secret else raw[part.start : part.end].hex(" ") for part in parts if part.level == 0)  # fmt: skip


def _document(version: Version, reveal: bool) -> dict[str, Any]:
    exchange = version.exchange
    return {
        "version": version.number,
        "value": version.value,
        "method": version.method,
        "reason": version.reason,
        "who": version.who,
        "at": version.at,
        "evidence": version.hash,
        "exchange": None
        if exchange is None
        else {
            "sha256": exchange.sha256.hex(),
            "protocol": exchange.protocol,
            "task": exchange.task,
            "address": exchange.address,
            "began": as_datetime(exchange.began),
            "taken": as_datetime(exchange.taken),
            "said": [
                {"after": s.after, "sent": s.sent, "hex": _masked(exchange, s.raw, reveal)}
                for s in exchange.said
            ],
        },
    }


@click.command(name="redecode")
@click.argument("day", type=Day())
@click.option("--meter", help="Of this meter alone.")
@click.option(
    "--apply", is_flag=True, help="Bring in what differs: values become revisions, missing ones are filled."
)
@person_option
@json_option
@pass_app
def redecode_command(
    app: App, day: dt.date, meter: str | None, apply: bool, person: str, as_json: bool
) -> None:
    """Decode again what was said on DAY, and compare it with what is stored. Exit code 1 where it differs and nothing was applied."""
    meter_id = None if meter is None else trace.meter_id(app.conn, meter)
    report = again.day(
        app.conn, drivers(app.settings.cipher_machine), day, app.zone, meter=meter_id, apply=apply, who=person, now=app.clock.now()
    )  # fmt: skip
    app.conn.commit()
    names = dict(
        zip(
            (ids := np.unique(np.array([d.meter for d in report.differences], dtype=np.int64))).tolist(),
            blocks.assets(app.conn, ids),
            strict=True,
        )
    )
    rows = [
        {
            "meter": names[d.meter], "source": d.source, "time": as_datetime(d.time), "quantity": d.quantity,
            "stored": d.stored, "decoded": d.decoded,
        }
        for d in report.differences
    ]  # fmt: skip
    if as_json:
        print_json(
            {
                "day": day, "exchanges": report.exchanges, "readings": report.readings, "equal": report.equal,
                "said_nothing": report.said_nothing, "not_replayed": report.not_replayed, "differences": rows,
                "applied": {"filled_or_new": report.written.new, "revised": report.written.revised} if apply else None,
            }
        )  # fmt: skip
    else:
        click.echo(
            f"{report.exchanges} exchanges of {day}, {report.readings} values decoded again: {report.equal} as stored, "
            f"{len(rows)} otherwise; {report.said_nothing} had no answer then"
        )
        for why, often in report.not_replayed.items():
            click.echo(f"{often} not decoded again: {why}")
        if rows:
            app.show(
                "differences",
                ("meter", "source", "time", "quantity", ">stored", ">decoded"),
                [
                    (
                        r["meter"], r["source"], app.local(r["time"]), r["quantity"],
                        _shown(r["quantity"], r["stored"]),
                        _shown(r["quantity"], r["decoded"]),
                    )
                    for r in rows[:SHOWN]
                ],
                note=f"and {len(rows) - SHOWN} more" if len(rows) > SHOWN else "",
            )  # fmt: skip
        if apply:
            click.echo(f"applied: {report.written.revised} revisions, {report.written.new} new rows")
    if (rows and not apply) or report.not_replayed:
        raise Exit(1)
