"""A loss report as one HTML page that needs nothing from outside: figures, the ranking with its bounds, and of each of the worst its history and
its quarter-hours as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from headend.export.loss_report import KINDS_ZH, Entry, Report
from headend.export.page import BAR, HEIGHT, WIDTH, document, figures, scale, svg
from headend.store.loss_curve import Curve
from protocols.localtime import as_datetime
from protocols.reading import MISSING

#: Bars drawn; the table has all.
BARS: Final = 30


def page(report: Report, zone: ZoneInfo) -> str:
    """The page's text."""
    title = f"{report.title} · {KINDS_ZH[report.kind]}线损"
    body = [f"<h1>{escape(title)}</h1>", f'<p class="sub">{escape(_said(report))}</p>', _figures(report)]
    if report.worst:
        body.append(f"<section><h2>Ranking by rate, with bounds 排名</h2>{_bars(report)}</section>")
        pieces = "".join(_one(report, entry, zone) for entry in report.worst)
        body.append(
            f'<section><h2>The worst: history and quarter-hours 历史与同期曲线</h2><div class="worst">{pieces}</div></section>'
        )
    body.append(f"<section><h2>All 全部</h2>{_table(report)}</section>")
    return document(title, body)


def _said(report: Report) -> str:
    of = (
        "in less out, as a share of what came in"
        if report.kind == "bus"
        else "loss as a share of what was supplied"
    )
    return (
        f"{of}; the truth lies within the bounds while every meter keeps its class. ≈: the bounds reach into those of the next one, "
        "so the two may stand the other way round. What is not known has no number."
    )


def _figures(report: Report) -> str:
    entries = report.entries
    count = {
        status: sum(e.row["status"] == status for e in entries) for status in ("known", "bounded", "unknown")
    }
    known = [e for e in entries if e.row["status"] == "known"]
    supplied, lost = (sum(e.row[name] for e in known) for name in ("supplied", "loss"))
    cells = [
        (f"{count['known']}/{len(entries)}", "known 已知"),
        (str(count["bounded"]), "within limits 有界"),
        (str(count["unknown"]), "unknown 未知"),
        (str(sum(e.judged in ("over", "under") for e in entries)), "beyond limits 越限"),
        (f"{sum(e.uncertain for e in entries)}", "order uncertain 排名不确定"),
    ]
    if report.kind in ("area", "line", "transformer"):  # regions and levels contain each other
        cells[1:1] = [
            (_kwh(supplied, 0), "kWh supplied 供电量"),
            (f"{lost / supplied:.2%}" if supplied else "–", "lost 损失率"),
        ]
    return figures(cells)


def _bars(report: Report) -> str:
    shown = [entry for entry in report.entries if entry.rank][:BARS]
    # limits of what has no number may be a hundred times as wide as anything else: they are cut at the edge
    sure = [entry for entry in shown if not np.isnan(entry.rate)] or shown
    low, high = min(0.0, *(e.low for e in sure)), max(0.005, *(e.high for e in sure))
    left, right = 150, WIDTH - 70

    def at(share: float) -> float:
        return left + (min(max(share, low), high) - low) / (high - low) * (right - left)

    drawn = [f'<line x1="{at(0):.1f}" x2="{at(0):.1f}" y1="0" y2="{len(shown) * BAR}" stroke="var(--rule)"/>']
    for k, e in enumerate(shown):
        y = k * BAR + BAR / 2
        colour = "var(--bad)" if e.judged in ("over", "under") else "var(--bar)"
        bar = ""
        if not np.isnan(e.rate):
            x1, x2 = sorted((at(0), at(e.rate)))
            bar = f'<rect x="{x1:.1f}" y="{y - 6}" width="{max(x2 - x1, 1):.1f}" height="12" rx="2" fill="{colour}" opacity=".85"/>'
        drawn.append(
            f'<g><title>{escape(_detail(e))}</title><text class="name" x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(_short(e))}</text>'
            f'{bar}<path d="M{at(e.low):.1f} {y - 4}v8m0 -4H{at(e.high):.1f}m0 -4v8" fill="none" stroke="var(--sure)" stroke-width="1.2"/>'
            f'<text x="{WIDTH - 4}" y="{y + 4}" text-anchor="end">{"≈ " if e.uncertain else ""}{_rate(e)}</text></g>'
        )
    return svg(len(shown) * BAR, "ranking", drawn)


def _rate(e: Entry) -> str:
    return "limits only" if np.isnan(e.rate) else f"{e.rate:.2%}"


def _short(entry: Entry) -> str:
    text = f"{entry.name} {entry.row['name']}" if entry.row["name"] != entry.name else entry.name
    return text if len(text) <= 20 else text[:19] + "…"


def _detail(e: Entry) -> str:
    return f"{e.name} {e.row['name']}: supplied {_kwh(e.row['supplied'])} kWh, loss {_kwh(e.row['loss'])} kWh, {e.low:.2%} … {e.high:.2%}"


def _one(report: Report, entry: Entry, zone: ZoneInfo) -> str:
    parts = [f"<div><h3>{entry.rank}. {escape(entry.name)} {escape(entry.row['name'])} · {_rate(entry)}</h3>"]
    parts.append(_past(report.histories[entry.object]))
    parts.append(
        "<p>" + ("rate by day 日损失率" if report.period == "day" else "rate by month 月损失率") + "</p>"
    )
    curve = report.curves.get(entry.object)
    if curve is not None and (curve.loss != MISSING).any():
        parts += [
            _slots(curve, zone),
            "<p>loss by quarter-hour, kWh 同期损失电量; gaps are unknown 断点为未知</p>",
        ]
    return "".join([*parts, "</div>"])


def _past(rows: Sequence[dict[str, Any]]) -> str:
    """Rates with their bounds; where one is not known there is nothing."""
    cells = [_bounds(row) for row in rows]
    known = [cell for cell in cells if cell is not None]
    if not known:
        return ""
    low, high = min(0.0, *(c[1] for c in known)), max(0.005, *(c[2] for c in known))
    step = (WIDTH - 60) / max(len(cells), 8)

    def at(share: float) -> float:
        return 6 + (high - share) / (high - low) * (HEIGHT - 24)

    drawn = scale(at, low, high, "{:.1%}".format)
    for k, (row, cell) in enumerate(zip(rows, cells, strict=True)):
        x = 50 + (k + 0.5) * step
        if cell is not None:
            rate, least, most = cell
            drawn.append(
                f"<g><title>{row['first_day'].isoformat()}: {rate:.2%} ({least:.2%} … {most:.2%})</title>"
                f'<rect x="{x - step * 0.35:.1f}" y="{min(at(rate), at(0)):.1f}" width="{step * 0.7:.1f}" '
                f'height="{max(abs(at(rate) - at(0)), 1):.1f}" fill="var(--bar)" opacity=".8"/>'
                f'<path d="M{x:.1f} {at(most):.1f}V{at(least):.1f}" stroke="var(--sure)"/></g>'
            )
    first, last = rows[0]["first_day"].isoformat(), rows[-1]["first_day"].isoformat()
    drawn.append(f'<text x="50" y="{HEIGHT - 4}">{first}</text>')
    if last != first:
        drawn.append(
            f'<text x="{50 + len(rows) * step:.1f}" y="{HEIGHT - 4}" text-anchor="end">{last}</text>'
        )
    return svg(HEIGHT, "history", drawn)


def _bounds(row: dict[str, Any]) -> tuple[float, float, float] | None:
    if row["loss"] is None or not row["supplied"] or row["supplied"] < 0:
        return None
    return (
        row["loss"] / row["supplied"],
        row["loss_low"] / row["supplied"],
        row["loss_high"] / row["supplied"],
    )


def _slots(curve: Curve, zone: ZoneInfo) -> str:
    known = curve.loss != MISSING
    kwh = np.where(known, curve.loss / 10_000, np.nan)
    low, high = min(0.0, float(np.nanmin(kwh))), max(1e-3, float(np.nanmax(kwh)))
    step = (WIDTH - 60) / len(kwh)

    def at(value: float) -> float:
        return 6 + (high - value) / (high - low) * (HEIGHT - 24)

    drawn = scale(at, low, high, "{:.3g}".format)
    path, pen = [], False
    for k, value in enumerate(kwh.tolist()):
        if np.isnan(value):
            pen = False
            continue
        path.append(f"{'L' if pen else 'M'}{50 + k * step:.1f} {at(value):.1f}h{step:.1f}")
        pen = True
    drawn.append(f'<path d="{"".join(path)}" fill="none" stroke="var(--bar)" stroke-width="1.6"/>')
    for k in range(0, len(kwh), max(1, len(kwh) // 6)):
        drawn.append(
            f'<text x="{50 + k * step:.1f}" y="{HEIGHT - 4}">{as_datetime(curve.times[k], zone):%H:%M}</text>'
        )
    return svg(HEIGHT, "quarter-hours", drawn)


_HEAD: Final = (
    ("", ""), ("code 编号", "l"), ("name 名称", "l"), ("supplied 供电量", ""), ("loss 损失", ""), ("rate 损失率", ""),
    ("truth within 上下界", ""), ("before 上期", ""), ("week ago 上周", ""), ("points 采集", ""), ("why 原因", "l"),
)  # fmt: skip


def _table(report: Report) -> str:
    head = "".join(f'<th class="{kind}">{name}</th>' for name, kind in _HEAD)
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(map(_line, report.entries))}</tbody></table>"
    )


def _line(e: Entry) -> str:
    row = e.row
    rate = row["status"] if np.isnan(e.rate) else f"{e.rate:.2%}"
    over = ' class="over"' if e.judged in ("over", "under") else ""
    within = "–" if np.isnan(e.low) else f"{e.low:.2%} … {e.high:.2%}"
    cells = (
        f"<td>{f'{e.rank}' if e.rank else ''}{' ≈' if e.uncertain else ''}</td>",
        f'<td class="l">{escape(e.name)}</td><td class="l">{escape(row["name"])}</td>',
        f"<td>{_kwh(row['supplied'])}</td><td>{_kwh(row['loss'])}</td><td{over}>{rate}</td><td>{within}</td>",
        f"<td>{_percent(e.before)}{' ▲' if e.moved and e.rate > e.before else ' ▼' if e.moved else ''}</td><td>{_percent(e.week)}</td>",
        f"<td>{row['points_have']}/{row['points_due']}</td>",
        f'<td class="why">{escape(row["why"])}</td>',
    )
    return f"<tr>{''.join(cells)}</tr>"


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{share:.2%}"


def _kwh(units: int | None, digits: int = 1) -> str:
    return "–" if units is None else f"{units / 10_000:,.{digits}f}"
