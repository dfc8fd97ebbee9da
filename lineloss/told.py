"""What meters and terminals told of a day, counted by subject: columns for the rules that look at events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from lineloss.finding import Finding

#: A fitter's hand is not a thief's: what happens so soon after a meter was hung, or before it is taken down, is his.
FITTER: Final = np.timedelta64(24, "h")


@dataclass(frozen=True, slots=True)
class Told:
    """One row an event.

    of         str[row]             'meter' or 'terminal'
    subject    int64[row]
    kind       str[row]             the word for it, as the drivers use it
    occurred   datetime64[us][row]  UTC
    installed  datetime64[us][row]  since when the meter hangs where it hangs; NaT of a terminal
    removed    datetime64[us][row]  until when, if that is known; NaT otherwise
    """

    of: NDArray[np.str_]
    subject: NDArray[np.int64]
    kind: NDArray[np.str_]
    occurred: NDArray[np.datetime64]
    installed: NDArray[np.datetime64]
    removed: NDArray[np.datetime64]


def findings(told: Told, kinds: Sequence[str], rule: str, version: int, en: str, zh: str) -> list[Finding]:
    """One alarm for each subject that told of any of these kinds and was not being fitted. `en`, `zh`: titles with {n} for how often."""
    # NaT compares False
    fitted = (np.abs(told.occurred - told.installed) <= FITTER) | (
        np.abs(told.removed - told.occurred) <= FITTER
    )
    rows = np.flatnonzero(np.isin(told.kind, list(kinds)) & ~fitted)
    result = []
    for of in ("meter", "terminal"):
        mine = rows[told.of[rows] == of]
        for subject in np.unique(told.subject[mine]).tolist():
            events = mine[told.subject[mine] == subject]
            result.append(_finding(told, events, of, subject, (rule, version, en, zh)))
    return result


def _finding(
    told: Told,
    rows: NDArray[np.int64],
    of: Literal["meter", "terminal"],
    subject: int,
    what: tuple[str, int, str, str],
) -> Finding:
    rule, version, en, zh = what
    times = np.sort(told.occurred[rows])
    names, counts = np.unique(told.kind[rows], return_counts=True)
    return Finding(
        rule,
        version,
        of,
        subject,
        "alarm",
        {
            "events": len(rows),
            "kinds": dict(zip(names.tolist(), counts.tolist(), strict=True)),
            "first": _utc(times[0]),
            "last": _utc(times[-1]),
            "times": [_utc(when) for when in times[:20]],
        },
        en.format(n=len(rows)),
        zh.format(n=len(rows)),
    )


def _utc(when: np.datetime64) -> str:
    return f"{np.datetime_as_string(when, unit='s')}Z"
