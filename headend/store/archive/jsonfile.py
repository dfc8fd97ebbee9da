"""JSON: an object with a list for each kind, each of whose items is an object of cells."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headend.store.archive.complaint import Complaints, Spot
from headend.store.archive.kinds import KINDS
from headend.store.archive.sheet import Sheet


class _Twice(ValueError):
    """A name that stands twice in one object: one of the two would be lost."""


def sheets(path: Path, complaints: Complaints) -> Iterator[Sheet]:
    """The file's lists; one with another name than a kind's is complained of."""
    for name, items in _read(path, complaints).items():
        spot = Spot(path.name, 0, "$")
        if name not in KINDS:
            complaints.add(spot, name, f"is none of {', '.join(KINDS)}")
        elif not isinstance(items, list):
            complaints.add(spot, name, "is not a list")
        else:
            yield Sheet(
                name, Spot(path.name, 0, f"$.{name}"), None, _records(path.name, name, items, complaints)
            )


def _read(path: Path, complaints: Complaints) -> dict[str, Any]:
    line, why = 1, ""
    try:
        # numbers stay as they are written: 0.005 is no float
        found = json.loads(
            path.read_bytes(), parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_once
        )
        if isinstance(found, dict):
            return found
        why = "is not an object of lists"
    except json.JSONDecodeError as error:
        line, why = error.lineno, f"is not JSON: {error.msg} (column {error.colno})"
    except UnicodeDecodeError as error:
        why = f"is not UTF-8 (byte {error.start}); save it as UTF-8"
    except _Twice as error:
        why = str(error)
    except RecursionError:
        why = "is nested too deeply"
    complaints.add(Spot(path.name, line), "file", why)
    return {}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(f"{next(n for n in names if names.count(n) > 1)!r} stands twice in one object")
    return made


def _records(
    file: str, kind: str, items: list[Any], complaints: Complaints
) -> Iterator[tuple[Spot, Mapping[str, str]]]:
    for k, item in enumerate(items):
        spot = Spot(file, 0, f"$.{kind}[{k}]")
        if not isinstance(item, dict):
            complaints.add(spot, "row", "is not an object")
            continue
        record, fine = {}, True
        for name, value in item.items():
            try:
                record[name] = _text(value)
            except ValueError as error:
                complaints.add(spot, name, str(error))
                fine = False
        if fine:
            yield spot, record


def _text(value: Any) -> str:
    """A value as it would stand in a CSV file."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str():
            return value
    raise ValueError("is neither text, number, true, false nor null")
