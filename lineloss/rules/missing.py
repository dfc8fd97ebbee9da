"""Missing data by cause (数据缺失). A cause that takes a whole terminal is one finding on the terminal, not
four hundred.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lineloss.finding import Finding, Severity

RULE: Final = "missing"
VERSION: Final = 2

#: cause, as the completeness ledger calls it -> (title of a hole, title of a whole day, the same in Chinese). What is not
#: here is reported by its own name.
CAUSES: Final[dict[str, tuple[str, str, str, str]]] = {
    "offline": ("terminal offline", "terminal offline all day", "终端离线", "终端全天离线"),
    "not-published": ("intervals not published", "nothing published all day", "部分时段未上报", "全天未上报"),
    "allowance": ("SIM data used up", "SIM data used up all day", "SIM卡流量用尽", "SIM卡全天流量用尽"),
    "link-lost": ("connection lost during exchanges", "connection lost at every exchange", "通信时有中断", "通信全部中断"),
    "not-in-terminal": ("intervals that the terminal has not collected", "terminal collected nothing of the meter",
                        "终端部分时段未采到", "终端全天未采到"),
    "no-answer": ("meter did not answer at times", "meter not answering", "电表时有无应答", "电表无应答"),
    "garbled": ("garbled answers", "only garbled answers", "应答校验错误", "应答全部校验错误"),
    "refused": ("meter refused requests", "meter refused every request", "电表拒绝请求", "电表拒绝所有请求"),
    "missing-in-answer": ("intervals missing in the answers", "answers without any interval", "应答缺点", "应答无任何数据点"),
    "not-recorded": ("intervals not recorded", "no interval recorded", "部分时段未记录", "电表全天无记录"),
    "expired": ("records overwritten before they were read", "all records overwritten before read",
                "数据读取前已被覆盖", "全部数据读取前已被覆盖"),
}  # fmt: skip
#: Nobody owes data for these, or nobody has asked for it yet: no finding.
EXPECTED: Final = frozenset({"not-commissioned", "not-due", "not-asked"})


@dataclass(frozen=True, slots=True)
class Missing:
    """One row per meter and cause: what the completeness ledger says is missing.

    meter  int64[row]
    cause  str[row]              keys of CAUSES
    count  int64[row]            missing slots for this cause; rows with 0 say nothing
    first  datetime64[us][row]   UTC, first and last missing slot
    last   datetime64[us][row]
    """

    meter: NDArray[np.int64]
    cause: NDArray[np.str_]
    count: NDArray[np.int64]
    first: NDArray[np.datetime64]
    last: NDArray[np.datetime64]


def find(
    missing: Missing,
    meter: NDArray[np.int64],
    terminal: NDArray[np.int64],
    due: NDArray[np.int64],
    *,
    slots: int = 1,
) -> list[Finding]:
    """Findings on meters, and on terminals all of whose meters miss data for one and the same cause.

    meter, terminal, due  int64[meter]: every commissioned meter, its terminal, the slots it owed; any order
    slots                 fewer missing slots than this are not reported
    """
    order = np.argsort(meter)
    known, where = _positions(meter[order], missing.meter)
    wanted = known & (missing.count >= max(slots, 1)) & ~np.isin(missing.cause, list(EXPECTED))
    rows = np.flatnonzero(wanted)
    place = order[where[rows]]
    row_terminal, row_due = terminal[place], due[place]
    whole = missing.count[rows] >= row_due

    size = dict(zip(*(u.tolist() for u in np.unique(terminal, return_counts=True)), strict=True))
    stormy = np.zeros(len(rows), dtype=np.bool_)
    findings = []
    keys = np.stack(
        [row_terminal, np.unique(missing.cause[rows], return_inverse=True)[1].astype(np.int64)], axis=1
    )
    groups, inverse = np.unique(keys, axis=0, return_inverse=True)
    members = np.argsort(inverse.ravel(), kind="stable")
    for group in np.split(members, np.cumsum(np.bincount(inverse.ravel(), minlength=len(groups)))[:-1]):
        if not len(group):
            continue
        cause, owner = str(missing.cause[rows[group[0]]]), int(row_terminal[group[0]])
        # one meter is not a storm, unless the cause is the terminal's by name
        everyone = len(np.unique(missing.meter[rows[group]])) == size[owner]
        if everyone and (size[owner] > 1 or cause == "offline"):
            stormy[group] = True
            findings.append(_terminal(missing, rows[group], owner, row_due[group]))
    findings += [
        _meter(missing, int(row), bool(all_day), int(owed))
        for row, all_day, owed in zip(rows[~stormy], whole[~stormy], row_due[~stormy], strict=True)
    ]
    return findings


def _positions(
    table: NDArray[np.int64], keys: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """(is the key in the sorted table, where) for each key."""
    if not len(table):
        return np.zeros(len(keys), dtype=np.bool_), np.zeros(len(keys), dtype=np.int64)
    where = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return np.asarray(table[where] == keys, dtype=np.bool_), where.astype(np.int64)


def _titles(cause: str, all_day: bool) -> tuple[str, str]:
    part, day, part_zh, day_zh = CAUSES.get(cause, (cause, cause, cause, cause))
    return (day, day_zh) if all_day else (part, part_zh)


def _severity(cause: str, all_day: bool) -> Severity:
    if all_day:
        return "alarm"
    return "info" if cause == "not-recorded" else "warning"


def _utc(when: Any) -> str | None:
    return None if np.isnat(when) else f"{np.datetime_as_string(when, unit='s')}Z"


def _meter(missing: Missing, row: int, all_day: bool, due: int) -> Finding:
    cause, count = str(missing.cause[row]), int(missing.count[row])
    english, chinese = _titles(cause, all_day)
    return Finding(
        RULE,
        VERSION,
        "meter",
        int(missing.meter[row]),
        _severity(cause, all_day),
        {
            "cause": cause,
            "missing_slots": count,
            "due_slots": due,
            "whole_day": all_day,
            "first": _utc(missing.first[row]),
            "last": _utc(missing.last[row]),
        },
        f"{english[0].upper()}{english[1:]}: {count} of {due} slots missing",
        f"{chinese}:缺 {count}/{due} 点",
    )


def _terminal(missing: Missing, rows: NDArray[np.int64], terminal: int, due: NDArray[np.int64]) -> Finding:
    """One finding for the rows of all meters of a terminal, which share one cause; due int64[row]."""
    cause = str(missing.cause[rows[0]])
    all_day = bool((missing.count[rows] >= due).all())
    english, chinese = _titles(cause, all_day)
    meters = np.unique(missing.meter[rows])
    count = int(missing.count[rows].sum())
    return Finding(
        RULE,
        VERSION,
        "terminal",
        terminal,
        _severity(cause, all_day),
        {
            "cause": cause,
            "meters": len(meters),
            "meter_ids": meters[:50].tolist(),
            "missing_slots": count,
            "due_slots": int(due.sum()),
            "whole_day": all_day,
            "first": _utc(missing.first[rows].min()),
            "last": _utc(missing.last[rows].max()),
        },
        f"All {len(meters)} meters of the terminal: {english}",
        f"终端下全部 {len(meters)} 块电表:{chinese}",
    )
