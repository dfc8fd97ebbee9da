"""`headend`: the commands, and the door at which every error becomes one line. Exit codes: 0 done, 1 failed, 2 usage."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any

import psycopg
import rich_click as click
import structlog
from click.exceptions import Exit, NoArgsIsHelpError, UsageError

from headend import __version__
from headend.cli.common import App
from headend.config import ConfigError
from headend.store.db import StoreError
from protocols.errors import ProtocolError
from terminals.links.link import LinkError

#: name -> module that holds it; imported only when asked for, so that `headend --help` is instant
COMMANDS = {
    "demo": "demo",
    "init": "init",
    "archive": "archive",
    "terminal": "terminal",
    "meter": "meter",
    "collect": "collect",
    "read": "read",
    "why": "why",
    "diagnose": "diagnose",
    "decode": "decode",
    "relay": "relay",
    "control": "control",
    "orderly": "orderly",
    "clock": "clock",
    "events": "events",
    "vee": "vee",
    "lineloss": "lineloss",
    "anomalies": "anomalies",
    "statistics": "statistics",
    "tariff": "tariff",
    "prices": "prices",
    "prepaid": "prepaid",
    "purchase": "purchase",
    "billing": "billing",
    "bank": "bank",
    "ledger": "ledger",
    "export": "export",
    "reads": "reads",
    "mqtt": "mqtt",
    "jobs": "jobs",
    "serve": "serve",
    "simulate": "simulate",
    "doctor": "doctor",
    "check": "check",
    "audit": "audit",
    "retention": "retention",
    "backup": "backup",
    "restore": "restore",
    "rehearse": "rehearse",
}
#: what a wrong world, not a wrong program, raises: said in one line, without a traceback
EXPECTED = (StoreError, ConfigError, LinkError, ProtocolError)

click.rich_click.TEXT_MARKUP = "markdown"
click.rich_click.COMMAND_GROUPS = {
    "headend": [
        {"name": "First steps", "commands": ["demo", "init", "archive", "doctor"]},
        {"name": "Run", "commands": ["collect", "jobs", "serve", "simulate"]},
        {"name": "Keep", "commands": ["check", "audit", "retention", "backup", "restore", "rehearse"]},
        {
            "name": "Ask and act",
            "commands": [
                "why",
                "read",
                "diagnose",
                "decode",
                "relay",
                "control",
                "orderly",
                "terminal",
                "meter",
                "clock",
                "prices",
                "events",
                "mqtt",
            ],
        },
        {
            "name": "Results",
            "commands": [
                "vee",
                "lineloss",
                "anomalies",
                "statistics",
                "tariff",
                "prepaid",
                "purchase",
                "billing",
                "bank",
                "ledger",
                "export",
                "reads",
            ],
        },
    ]
}


class _Commands(click.RichGroup):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"headend.cli.{COMMANDS[name]}").command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="headend")
@click.option("--dsn", help="PostgreSQL DSN; without it (and HEADEND_DSN) the embedded database is used.")
@click.option(
    "--home", type=click.Path(file_okay=False), help="Folder of the embedded database and of exports."
)
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
@click.pass_context
def cli(ctx: click.Context, dsn: str | None, home: str | None, verbose: bool) -> None:
    """Meter data acquisition head-end (用电信息采集主站): every number explained, every gap known, every command proven."""
    _log_to_stderr(verbose)
    ctx.obj = ctx.with_resource(App(dsn=dsn, home=home))


def _log_to_stderr(verbose: bool) -> None:
    level = logging.DEBUG if verbose else logging.INFO
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )


def main() -> None:
    """The console script."""
    try:
        code = cli.main(prog_name="headend", standalone_mode=False)
    except Exit as leave:
        code = leave.exit_code
    except NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        _complain(error)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except EXPECTED as error:
        click.echo(f"headend: {error}", err=True)
        code = 1
    except psycopg.OperationalError as error:
        click.echo(
            f"headend: the database went away: {_first_line(error)}; `headend doctor` looks into it", err=True
        )
        code = 1
    except psycopg.errors.InsufficientPrivilege as error:
        click.echo(
            f"headend: the database refuses: {_first_line(error)}; ask its owner to grant it", err=True
        )
        code = 1
    except BrokenPipeError:
        code = 0
    except OSError as error:
        if error.filename is None:
            raise
        click.echo(
            f"headend: {error.filename}: {(error.strerror or str(error)).lower()}; name another place",
            err=True,
        )
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _complain(error: click.ClickException) -> None:
    """A wrong command line in one line, with where to read on."""
    context = error.ctx if isinstance(error, UsageError) else None
    command = context.command_path if context else "headend"
    click.echo(f"{command}: {error.format_message().rstrip('.')}; see `{command} --help`", err=True)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no answer"
