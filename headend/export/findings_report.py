"""Findings as a report: what is open, or what was seen of a day, by rule and by severity, those first that somebody should go to."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headend.store import findings
from headend.store.db import Connection

SEVERITIES: Final = ("alarm", "warning", "info")
SEVERITIES_ZH: Final[Mapping[str, str]] = {"alarm": "告警", "warning": "预警", "info": "提示"}
#: days of the history
BACK: Final = 31
#: findings of a report: more than a crew sees in a month; the figures by rule count all of them
MOST: Final = 5_000
#: subjects that several rules speak of, as many as a person looks into in a morning
WORST: Final = 10


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule's findings. `oldest`: the first day of the one that has been open the longest."""

    rule: str
    count: int
    by_severity: Mapping[str, int]
    fresh: int
    recurred: int
    ordered: int
    oldest: dt.date


@dataclass(frozen=True, slots=True)
class Subject:
    """A meter, area or terminal that more than one rule speaks of."""

    kind: str
    code: str
    rules: Sequence[str]


@dataclass(frozen=True, slots=True)
class Report:
    """`day`: those that were seen of it; None: those that are open. `rows`: the severest first, then those seen on most days; at most MOST of
    `total`. `history`: (day, severity -> findings seen of it), oldest first."""

    day: dt.date | None
    total: int
    rules: Sequence[Rule]
    rows: Sequence[Mapping[str, Any]]
    several: Sequence[Subject]
    history: Sequence[tuple[dt.date, Mapping[str, int]]]

    @property
    def title(self) -> str:
        return f"findings of {self.day}" if self.day else "open findings"

    @property
    def by_severity(self) -> Counter[str]:
        return sum((Counter(rule.by_severity) for rule in self.rules), Counter())


def build(conn: Connection, day: dt.date | None, today: dt.date) -> Report:
    """The report of a local day, or of what is open now; the history ends with `day`, or `today`."""
    rows = sorted(findings.listing(conn, day=day, limit=MOST), key=_first)
    rules = [_rule(row) for row in findings.by_rule(conn, day)]
    return Report(
        day=day,
        total=sum(rule.count for rule in rules),
        rules=sorted(rules, key=lambda rule: ([-rule.by_severity.get(s, 0) for s in SEVERITIES], rule.rule)),
        rows=rows,
        several=_several(rows),
        history=findings.by_day(conn, (day or today) - dt.timedelta(days=BACK - 1), day or today),
    )


def _first(row: Mapping[str, Any]) -> tuple[int, int, int]:
    return SEVERITIES.index(row["severity"]), -row["days"], -row["finding_id"]


def _rule(row: Mapping[str, Any]) -> Rule:
    return Rule(
        rule=row["rule"],
        count=row["count"],
        by_severity=row["severities"],
        fresh=row["fresh"],
        recurred=row["recurred"],
        ordered=row["ordered"],
        oldest=row["oldest"],
    )


def _several(rows: Sequence[Mapping[str, Any]]) -> list[Subject]:
    """Most rules first: what several look at from their own sides is seldom a mistake of all of them."""
    of: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        of.setdefault((row["subject_kind"], row["subject"]), []).append(row["rule"])
    found = [Subject(kind, code, sorted(set(rules))) for (kind, code), rules in of.items()]
    found = [subject for subject in found if len(subject.rules) > 1]
    return sorted(found, key=lambda s: (-len(s.rules), s.kind, s.code))[:WORST]
