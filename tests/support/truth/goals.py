"""Figures of many cases as a table, goals beside them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

#: (end of a figure's name, what is shown of it, goal): the first that fits counts
_SHOWN = (
    (": error", "median |error| {a:.1%}, 90th percentile {b:.1%}", "median <= 10 %, 90th percentile <= 25 %"),
    (": width", "median {a:.2%} of supply, 90th percentile {b:.2%}", "median <= 2 %"),
    (": contain the truth", "{m:.1%}", ">= 95 %"),
    ("50% to 99%: in the top 3", "{m:.1%}", ">= 90 %"),
    ("whole: in the top 3", "{m:.1%}", ">= 90 %"),
    ("accused (areas)", "{m:.2%}", "< 1 %"),
    ("wrong area, 7 d: found", "{m:.1%}", ">= 95 %"),
    ("accused (customers)", "{m:.3%}", "< 1 %"),
    ("", "{m:.1%}", ""),
)


def table(figures: Mapping[str, list[float]]) -> list[tuple[str, str, str, int]]:
    """(figure, what it is, goal, number of cases)"""
    rows = []
    for name, values in figures.items():
        if not values:
            continue
        size = np.abs(np.array(values))
        text, goal = next((text, goal) for end, text, goal in _SHOWN if name.endswith(end))
        shown = text.format(a=np.nanmedian(size), b=np.nanpercentile(size, 90), m=float(np.mean(values)))
        unknown = int(np.isnan(size).sum())
        rows.append((name, shown + (f", {unknown} unknown" if unknown else ""), goal, len(values)))
    return rows
