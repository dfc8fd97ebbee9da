"""What can be done to a running fleet, one kind a line; and the record of what was done to whom and when.

A trouble is planted when the fleet starts, or told to it later. Its beginning and end stand in troubles.jsonl before it has any effect, so
that whoever finds a hole can be asked whether he found its cause.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np

from protocols.localtime import as_datetime
from terminals.simulator.journal import Journal, damaged, lines

#: whom a trouble is of
Of = Literal["terminal", "meter"]
#: Bytes of a record that is read back: a hundred thousand troubles, begun and ended.
RECORD_LIMIT: Final = 32 << 20


@dataclass(frozen=True, slots=True)
class Kind:
    """`value`: what it is without another word; `least`, `most`: what may be asked for.

    reasons   what a head-end may find behind a hole that this trouble made, in the words of its ledger; empty: it makes no hole
    passing   over as soon as it has happened
    """

    of: Of
    value: float
    least: float
    most: float
    reasons: frozenset[str]
    passing: bool = False


def _line(*reasons: str, value: float = 0.1, most: float = 1.0) -> Kind:
    return Kind("terminal", value, 0.0, most, frozenset(reasons))


#: An answer that is too late, or somebody else's, is an answer that did not come.
KINDS: Final[Mapping[str, Kind]] = {
    "loss": _line("no-answer"),
    "garble": _line("garbled", "no-answer"),
    "split": _line("garbled", "no-answer"),
    "glue": _line("no-answer", "garbled"),
    "noise": _line("garbled", "no-answer"),
    "stale": _line("no-answer", "garbled", "missing-in-answer"),
    "foreign": _line("no-answer", "garbled"),
    "duplicate": _line("no-answer", "garbled"),
    # seconds; as much again is the most that it varies by
    "delay": _line("no-answer", "offline", value=2.0, most=600.0),
    "jitter": _line("no-answer", value=1.0, most=600.0),
    # the socket stays open, nothing comes and nothing is answered
    "silence": Kind("terminal", 1, 1, 1, frozenset(("no-answer", "offline", "link-lost"))),
    # not there: it has hung up and does not dial, or takes no call
    "away": Kind("terminal", 1, 1, 1, frozenset(("offline", "link-lost", "no-answer"))),
    # seconds until it is back
    "reboot": Kind("terminal", 5, 0, 3_600, frozenset(("offline", "link-lost", "no-answer")), passing=True),
    # from another address
    "move": Kind("terminal", 1, 1, 1, frozenset(("offline", "link-lost", "no-answer")), passing=True),
    "dead": Kind("meter", 1, 1, 1, frozenset(("no-answer", "missing-in-answer"))),
    # seconds by which its clock is put forward at once; seconds that it gains a day
    "clock": Kind("meter", 120, -86_400, 86_400, frozenset(("missing-in-answer", "not-recorded")), passing=True),
    "drift": Kind("meter", 10, -3_600, 3_600, frozenset(("missing-in-answer", "not-recorded"))),
    # hours of load records that it keeps: what is older is overwritten
    "overwrite": Kind("meter", 2, 0, 240, frozenset(("not-recorded", "expired"))),
}  # fmt: skip
#: the kinds that are a probability or a time of Weather
WEATHER: Final = frozenset(
    ("loss", "garble", "split", "glue", "noise", "stale", "foreign", "duplicate", "delay", "jitter")
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """`who`: a terminal's code or a meter's asset number. `since`, `until`: UTC; None: it goes on. `seconds`: of real time after which it
    was to end; a restarted fleet waits them anew.
    """

    kind: str
    who: str
    value: float
    since: np.datetime64
    until: np.datetime64 | None = None
    seconds: float | None = None


class Impossible(Exception):
    """There is no such kind, nobody of that name, or no such value of the kind."""


class Record:
    """Appends beginnings and ends to a file, flushed one by one."""

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path)

    def begin(self, troubles: Iterable[Trouble]) -> None:
        """They are about to have effect."""
        rows: list[str] = []
        for trouble in troubles:
            rows.append(_line_of(trouble, "begin", trouble.since))
            if trouble.until is not None:
                rows.append(_line_of(trouble, "end", trouble.until))
        self._journal.write(*rows)

    def end(self, troubles: Iterable[Trouble], at: np.datetime64) -> None:
        """They have none any more."""
        self._journal.write(*[_line_of(trouble, "end", at) for trouble in troubles])

    def close(self) -> None:
        self._journal.close()


def _line_of(trouble: Trouble, act: str, at: np.datetime64) -> str:
    when = as_datetime(at).isoformat(timespec="microseconds")
    row = {"at": when, "act": act, "kind": trouble.kind, "who": trouble.who, "value": trouble.value}
    return json.dumps(row if trouble.seconds is None else {**row, "seconds": trouble.seconds})


def read(path: Path) -> list[Trouble]:
    """All troubles of a file, in the order in which they began; none when it does not exist. Damaged names the line that is none."""
    begun: list[Trouble] = []
    going: dict[tuple[str, str], int] = {}
    for number, line in enumerate(lines(path, RECORD_LIMIT), start=1):
        try:
            row = json.loads(line)
            at = np.datetime64(row["at"].removesuffix("+00:00"), "us")
            key = (row["kind"], row["who"])
            KINDS[row["kind"]]
            if row["act"] == "begin":
                going[key] = len(begun)
                begun.append(Trouble(*key, float(row["value"]), at, seconds=row.get("seconds")))
            elif key in going:
                where = going.pop(key)
                begun[where] = replace(begun[where], until=at)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(path, number, error) from None
    return begun


def causes(
    troubles: Iterable[Trouble], whom: Iterable[str], since: np.datetime64, until: np.datetime64
) -> frozenset[str]:
    """The reasons that a hole may have which one of `whom` (a meter and its terminal) had between two instants."""
    names = frozenset(whom)
    found: frozenset[str] = frozenset()
    for trouble in troubles:
        over = trouble.until is not None and trouble.until < since
        if trouble.who in names and not over and trouble.since <= until:
            found |= KINDS[trouble.kind].reasons
    return found
