"""What the documents and the help say is so."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import rich_click
from click.testing import CliRunner

from headend.cli.main import COMMANDS, cli
from headend.config import Settings
from protocols import registry

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = [*sorted(REPOSITORY.glob("*.md")), REPOSITORY / "hw-fixtures" / "README.md"]
#: What may be promised for later: nobody may be led to believe that it works before the registry has it.
LATER = ("376", "698", "645-1997", "modbus", "hdlc", "62056-21", "kafka", "oracle", "wechat")
NOT_BUILT = tuple(word for word in LATER if not any(word in name for name in registry.available()))


def tracked() -> list[Path]:
    """The files of the repository; all below it where there is no git."""
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [
        REPOSITORY / name
        for name in done.stdout.decode().split("\0")
        if name and (REPOSITORY / name).is_file()
    ]


def commands(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command and group, with the words that lead to it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None, name
            yield from commands(found, (*path, name))


ALL = dict(commands(cli))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_says_what_it_does(path):
    command = ALL[path]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name not in ("lang", "version", "help"):
            assert parameter.help, parameter.name
    said = CliRunner().invoke(cli, [*path, "--help"], prog_name="headend")
    assert said.exit_code == 0
    text = said.output
    for word in NOT_BUILT:
        assert word not in text.lower()


def test_the_first_page_of_help_names_every_command():
    assert {path[0] for path in ALL if len(path) == 1} == set(COMMANDS)
    listed = [name for group in rich_click.rich_click.COMMAND_GROUPS["headend"] for name in group["commands"]]
    assert sorted(listed) == sorted(COMMANDS)


def shown() -> Iterator[tuple[str, str]]:
    """(document, command line) of every `headend …` and scripts/… in code of the documents."""
    for document in DOCUMENTS:
        text = document.read_text("utf-8")
        lines = [line.strip() for line in re.findall(r"^ {4,}(\S.*)$", text, re.M)]
        lines += re.findall(r"`([^`\n]+)`", text)
        for line in lines:
            if re.match(r"(\.venv/bin/)?headend \S|scripts/\w", line):
                yield document.name, line.split(" # ")[0].split("  #")[0].strip()


SHOWN = sorted(set(shown()))


@pytest.mark.parametrize(("document", "line"), SHOWN)
def test_a_command_in_a_document_exists(document, line):
    words = shlex.split(line.removeprefix(".venv/bin/").replace("…", "").replace("[", "").replace("]", ""))
    program, *arguments = words
    if program.startswith("scripts/"):
        assert (REPOSITORY / program).is_file()
        if program == "scripts/demo":
            parses(ALL[("demo",)], arguments)
        return
    path: tuple[str, ...] = ()
    while arguments and (*path, arguments[0]) in ALL:
        path = (*path, arguments.pop(0))
    assert path, f"{line}: no such command"
    parses(ALL[path], arguments)


def parses(command: click.Command, arguments: list[str]) -> None:
    """Its options exist."""
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.split("=")[0] for word in arguments if word.startswith("--")}
    assert given <= options | {"--help"}, given - options


def test_the_readme_shows_commands():
    assert sum(document == "README.md" for document, _ in SHOWN) >= 12


def test_every_setting_is_documented_with_its_default():
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    told = dict(re.findall(r"^\| `(HEADEND_\w+)` \| `?([^|`]*?)`? ?\|", readme, re.M))
    for name, field in Settings.model_fields.items():
        assert field.description, name
        default = "" if field.default in (None, "") else field.default
        shown_as = told[f"HEADEND_{name.upper()}"].strip()
        assert shown_as in (str(default), f"{default:g}" if isinstance(default, float) else ""), name


def test_paths_in_the_documents_exist():
    for document in DOCUMENTS:
        for path in re.findall(
            r"`((?:headend|protocols|terminals|tariffs|lineloss|scripts|tests|hw-fixtures)/[\w./*-]*)`",
            document.read_text("utf-8"),
        ):
            if "<" not in path:
                assert list(REPOSITORY.glob(path.rstrip("/"))), f"{document.name}: {path}"


def test_links_between_the_documents_lead_somewhere():
    for document in DOCUMENTS:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text("utf-8")):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


#: a home, a workshop, somebody's Python: nothing that another machine would have
MACHINE = re.compile(rb"/(?:work|home|Users|root|mnt)/(?!newcomer)[a-z]|\.pyenv|C:\\\\Users")
ALLOWED = {"tests/test_docs.py"}


def test_nothing_mentions_the_machine_it_was_written_on():
    found = []
    for path in tracked():
        name = str(path.relative_to(REPOSITORY))
        if name in ALLOWED:
            continue
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if MACHINE.search(line):
                found.append(f"{name}:{number}: {line.decode(errors='replace').strip()[:100]}")
    assert not found
