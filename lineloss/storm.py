"""Storms: what has one cause is one finding (告警归并). A terminal that is gone, a phase lost at the transformer, an area's voltage.

The rules look at meters one by one; this looks at what they said together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.finding import Finding
from lineloss.rules import clock_off, flat, missing, offline, phase_loss, route, voltage, voltage_unbalance
from lineloss.topology import Role

#: Findings of meters that become one of their area where so many share them.
OF_AREAS: Final = frozenset(
    {phase_loss.RULE, voltage.RULE, voltage_unbalance.RULE, flat.RULE, clock_off.RULE}
)
#: What a terminal that is not reached explains: data that did not come, and meters that seem to answer seldom.
BY_TERMINAL: Final = frozenset({missing.RULE, route.RULE})
#: Causes of missing data that are the terminal's, not its meters'.
TERMINALS_CAUSES: Final = frozenset({"offline", "link-lost", "not-published"})
#: Causes that a dark phase explains: a single-phase meter without supply does not answer.
DARK: Final = frozenset({"no-answer", "not-in-terminal", "not-recorded"})
#: Causes of holes that a bad route makes.
UNHEARD: Final = frozenset({"no-answer", "garbled", "not-in-terminal"})
#: Meters named in a finding of an area or terminal; the numbers count all.
NAMED: Final = 50
#: So many findings of one rule in an area, and this share of its meters, have one cause.
LEAST: Final = 5
SHARE: Final = 0.3

_GRAVE: Final = {"info": 0, "warning": 1, "alarm": 2}
_NAMES: Final = {
    phase_loss.RULE: ("Phase lost", "失压/断相"),
    voltage.RULE: ("Voltage out of limits", "电压越限"),
    voltage_unbalance.RULE: ("Phase voltages unbalanced", "三相电压不平衡"),
    flat.RULE: ("Repeated readings", "数据不变"),
    clock_off.RULE: ("Clocks off", "时钟超差"),
}


@dataclass(frozen=True, slots=True)
class Places:
    """Where each meter hangs, meters ascending, each once: its area (-1: none), its role there (topology.Role) and its terminal."""

    meter: NDArray[np.int64]
    area: NDArray[np.int64]
    role: NDArray[np.int8]
    terminal: NDArray[np.int64]

    def row(self, meter: int) -> int:
        """Its row; -1: it is not there."""
        at = int(np.searchsorted(self.meter, meter))
        return at if at < len(self.meter) and self.meter[at] == meter else -1


def fold(findings: Sequence[Finding], places: Places, away: Collection[int] = ()) -> list[Finding]:
    """The findings of a day with those of one cause in one, and one for each rule and subject.

    away  terminals of which it has been said already that they were offline in the day
    """
    return _one_each(_areas(_routes(_terminals(findings, places, away), places), places))


def _terminals(findings: Sequence[Finding], places: Places, told: Collection[int]) -> list[Finding]:
    """Without what a terminal that is offline explains; it says how much that was."""
    away = {f.subject_id for f in findings if f.rule == offline.RULE} | set(told)
    swallowed: dict[int, int] = defaultdict(int)
    kept = []
    for f in findings:
        terminal = _terminal_of(f, places)
        if f.rule in BY_TERMINAL and terminal in away and _terminals_fault(f):
            swallowed[terminal] += 1
        else:
            kept.append(f)
    return [
        replace(f, evidence={**f.evidence, "explains": swallowed[f.subject_id]})
        if f.rule == offline.RULE and swallowed[f.subject_id]
        else f
        for f in kept
    ]


def _terminal_of(f: Finding, places: Places) -> int:
    if f.subject_kind == "terminal":
        return f.subject_id
    row = places.row(f.subject_id) if f.subject_kind == "meter" else -1
    return int(places.terminal[row]) if row >= 0 else -1


def _terminals_fault(f: Finding) -> bool:
    return f.rule != missing.RULE or f.evidence.get("cause") in TERMINALS_CAUSES


def _routes(findings: Sequence[Finding], places: Places) -> list[Finding]:
    """Without the holes that a bad route explains: those of the meter, or of the meters of the terminal that has it."""
    bad = {(f.subject_kind, f.subject_id) for f in findings if f.rule == route.RULE}
    kept = []
    for f in findings:
        weak = (
            f.rule == missing.RULE and f.evidence.get("cause") in UNHEARD and not f.evidence.get("whole_day")
        )
        of = (f.subject_kind, f.subject_id)
        if not (weak and (of in bad or ("terminal", _terminal_of(f, places)) in bad)):
            kept.append(f)
    return kept


def _areas(findings: Sequence[Finding], places: Places) -> list[Finding]:
    """What so many meters of an area share is the area's; and what the supply meter itself has of a lost phase is."""
    groups: dict[tuple[str, int], list[Finding]] = defaultdict(list)
    rest = []
    for f in findings:
        row = places.row(f.subject_id) if f.rule in OF_AREAS and f.subject_kind == "meter" else -1
        if row >= 0 and places.area[row] >= 0:
            groups[f.rule, int(places.area[row])].append(f)
        else:
            rest.append(f)
    size = dict(zip(*(u.tolist() for u in np.unique(places.area, return_counts=True)), strict=True))
    dark: set[int] = set()
    for (rule, area), members in groups.items():
        at_supply = rule == phase_loss.RULE and any(
            places.role[places.row(f.subject_id)] == Role.SUPPLY for f in members
        )
        common = len(members) >= LEAST and len(members) >= SHARE * size[area]
        if common or at_supply:
            rest.append(_of_area(rule, area, members, size[area], at_supply=at_supply))
            if rule == phase_loss.RULE:
                dark.add(area)
        else:
            rest += members
    return _without_dark(rest, places, dark)


def _of_area(rule: str, area: int, members: Sequence[Finding], meters: int, *, at_supply: bool) -> Finding:
    worst = max(members, key=lambda f: _GRAVE[f.severity])
    en, zh = _NAMES[rule]
    where = (" at the transformer", "(台区总表)") if at_supply else ("", "")
    return Finding(
        rule,
        worst.rule_version,
        "area",
        area,
        worst.severity,
        {
            **worst.evidence,
            "meters_affected": len(members),
            "meters": meters,
            "at_supply": at_supply,
            "shown_meter": worst.subject_id,
            "meter_ids": sorted(f.subject_id for f in members)[:NAMED],
        },
        f"{en}{where[0]}: {len(members)} of {meters} meters of the area",
        f"{zh}{where[1]}:台区 {meters} 块电表中 {len(members)} 块",
    )


def _without_dark(findings: Iterable[Finding], places: Places, dark: set[int]) -> list[Finding]:
    """Meters that do not answer in an area with a lost phase hang on it, most likely: the area's finding counts them."""
    silent: dict[int, int] = defaultdict(int)
    kept = []
    for f in findings:
        row = places.row(f.subject_id) if f.rule == missing.RULE and f.subject_kind == "meter" else -1
        area = int(places.area[row]) if row >= 0 else -1
        if area in dark and f.evidence.get("cause") in DARK and places.role[row] == Role.RECEIVE:
            silent[area] += 1
        else:
            kept.append(f)
    return [
        replace(f, evidence={**f.evidence, "meters_silent": silent[f.subject_id]})
        if f.rule == phase_loss.RULE and f.subject_kind == "area" and silent[f.subject_id]
        else f
        for f in kept
    ]


def _one_each(findings: Iterable[Finding]) -> list[Finding]:
    """One for each rule and subject, the gravest; what else was said of it stands in its evidence."""
    by_subject: dict[tuple[str, str, int], list[Finding]] = defaultdict(list)
    for f in findings:
        by_subject[f.rule, f.subject_kind, f.subject_id].append(f)
    return [_joined(group) for group in by_subject.values()]


def _joined(group: Sequence[Finding]) -> Finding:
    if len(group) == 1:
        return group[0]
    first = max(group, key=lambda f: (_GRAVE[f.severity], _weight(f.evidence)))
    also = [f.title_en for f in group if f is not first]
    return replace(first, evidence={**first.evidence, "also": also})


def _weight(evidence: Mapping[str, object]) -> int:
    """How much of it there is, for rules that count slots."""
    count = evidence.get("missing_slots", 0)
    return count if isinstance(count, int) else 0
