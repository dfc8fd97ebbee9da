"""What commands share: settings, the store, the clock, and how things are shown."""

from __future__ import annotations

import datetime as dt
import getpass
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar
from zoneinfo import ZoneInfo

import rich_click as click
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headend import clock, config
from headend.clock import Clock
from headend.config import Settings
from headend.store import cluster
from headend.store.coverage import today
from headend.store.db import Connection, StoreError, connect
from headend.store.embedded import Embedded
from headend.store.migrate import migrate
from protocols.localtime import as_datetime

F = TypeVar("F", bound=Callable[..., Any])

#: a column that may fold is not squeezed below this
FOLDED = 11


class App:
    """One run of the command line: opens what a command asks for and closes it at the end."""

    def __init__(self, dsn: str | None = None, home: str | None = None) -> None:
        self._overrides = {"dsn": dsn, "home": Path(home) if home else None}
        self._stack = ExitStack()
        self.console = Console()

    def __enter__(self) -> App:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @cached_property
    def settings(self) -> Settings:
        return config.load(**self._overrides)

    @cached_property
    def dsn(self) -> str:
        """The database: the given one, or the embedded one, started if nobody has it running."""
        if self.settings.dsn:
            return self.settings.dsn
        embedded = Embedded(self.settings.home.resolve(), bindir=self.settings.pg_bin)
        return self._stack.enter_context(embedded)

    @cached_property
    def conn(self) -> Connection:
        """A connection to a store with this program's schema."""
        conn = self._stack.enter_context(connect(self.dsn))
        row = conn.execute("SELECT to_regclass('cluster') IS NOT NULL AS there").fetchone()
        conn.rollback()
        if self.settings.dsn and not (row and row["there"]):
            raise StoreError("the database has no head-end schema yet; run `headend init`")
        migrate(conn)
        return conn

    @cached_property
    def zone(self) -> ZoneInfo:
        return cluster.zone(self.conn)

    @cached_property
    def clock(self) -> Clock:
        try:
            return clock.parse(self.settings.clock, self.zone)
        except ValueError as error:
            raise config.ConfigError(f"HEADEND_CLOCK: {error}") from None

    def clock_without_store(self) -> Clock:
        """The clock where there may be no store to ask for its time zone, which the system's clock does not need."""
        return clock.SystemClock() if self.settings.clock == "system" else self.clock

    def today(self) -> dt.date:
        return today(self.clock.now(), self.zone)

    def local(self, when: dt.datetime | None, form: str = "%m-%d %H:%M:%S") -> str:
        """A stored instant for people: local time."""
        return when.astimezone(self.zone).strftime(form) if when else "–"

    def local_now(self) -> dt.datetime:
        return as_datetime(self.clock.now(), self.zone)

    def show(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], note: str = "") -> None:
        """A table for people. Marks before a column's name: '>' right-aligned, '~' text that may fold.

        Everything else stays in one piece: where the screen is too narrow, lines run on rather than cut a number.
        """
        table = Table(
            title=title, title_justify="left", header_style="bold", caption=note or None, caption_justify="left",
            box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True,
        )  # fmt: skip
        cells = [[_cell(cell) for cell in row] for row in rows]
        needed = -2
        for k, column in enumerate(columns):
            name = column.lstrip(">~")
            marks = column[: len(column) - len(name)]
            folds = "~" in marks
            widest = max((max(map(cell_len, row[k].plain.split("\n"))) for row in cells), default=0)
            least = max(cell_len(name), min(widest, FOLDED) if folds else widest)
            table.add_column(
                name,
                justify="right" if ">" in marks else "left",
                no_wrap=not folds,
                overflow="fold",
                min_width=least,
            )
            needed += least + 2
        for row in cells:
            table.add_row(*row)
        self.console.print(table, width=max(self.console.width, needed), crop=False)


def _cell(value: Any) -> Text:
    """Never markup, unless it comes as Text: what people and meters wrote may hold brackets."""
    if isinstance(value, Text):
        return value
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    return Text("" if value is None else str(value))


pass_app = click.make_pass_decorator(App)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def person() -> str:
    """Who acts at this command line."""
    return getpass.getuser()


person_option = click.option(
    "--person",
    default=person,
    show_default="the operating system's user",
    callback=lambda _context, _option, name: (
        name.strip()
    ),  # else a blank makes another person of the same one
    help="The person who answers for this.",
)


class Yuan(click.ParamType[int]):
    """An amount with at most two decimals, as fen: never through a float."""

    name = "yuan"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d{1,9})(?:\.(\d{1,2}))?", value)
        if not match:
            self.fail(f"{value!r} is not an amount such as 100 or 99.50", param, ctx)
        return int(match[1]) * 100 + int((match[2] or "0").ljust(2, "0"))


class Day(click.ParamType[dt.date]):
    """A local day: 2026-03-11, today or yesterday. Parsed against domain time."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dt.date:
        if isinstance(value, dt.date):
            return value
        app: App | None = ctx.find_object(App) if ctx else None
        if value in ("today", "yesterday") and app is not None:
            return app.today() - dt.timedelta(days=value == "yesterday")
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day such as 2026-03-11, today or yesterday", param, ctx)


class HostPort(click.ParamType[str]):
    """Where to listen: host:port. `also`: a word that may stand in its place."""

    name = "host:port"

    def __init__(self, also: str = "") -> None:
        self._also = also

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if self._also and value == self._also:
            return str(value)
        host, _, port = str(value).rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            self.fail(f"{value!r} is not HOST:PORT such as 0.0.0.0:7040", param, ctx)
        return str(value)


class Zone(click.ParamType[ZoneInfo]):
    """A civil time zone by its name."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ZoneInfo:
        if isinstance(value, ZoneInfo):
            return value
        try:
            return ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            self.fail(f"there is no time zone {value!r}; names look like Asia/Shanghai", param, ctx)


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """A file whole or not at all; what stood there before stays until then. StoreError."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as handle:
            write(handle)
        os.replace(part, path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def print_json(data: Any) -> None:
    """JSON on standard output: times ISO, decimals and bytes as text."""
    click.echo(json.dumps(data, ensure_ascii=False, indent=2, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return str(value)


def yuan(fen: int | None) -> str:
    """Fen as yuan, exactly."""
    if fen is None:
        return "–"
    sign = "-" if fen < 0 else ""
    return f"{sign}{abs(fen) // 100}.{abs(fen) % 100:02d}"


def kwh(units: int | None, digits: int = 2) -> str:
    """1e-4 kWh as kWh."""
    return "–" if units is None else f"{units / 10_000:.{digits}f}"
