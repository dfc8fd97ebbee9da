"""A findings report as one HTML page: how many of what, the days before, who is spoken of by several rules, and the curves behind the worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from headend.export.findings_report import SEVERITIES, SEVERITIES_ZH, Report
from headend.export.page import BAR, HEIGHT, WIDTH, document, figures, scale, svg

#: findings whose curves are drawn, and findings in the table; the workbook has all
DRAWN: Final = 12
LISTED: Final = 500
_HEAD: Final = (
    ("severity 级别", "l"), ("subject 对象", "l"), ("finding 异常", "l"), ("since 起", ""), ("days 天数", ""), ("state 状态", "l"),
    ("rule 规则", "l"),
)  # fmt: skip
_COLOURS: Final = {"alarm": "var(--bad)", "warning": "var(--warn)", "info": "var(--bar)"}
#: of several curves in one drawing: phases A, B, C
_PHASES: Final = ("#c9a400", "#2e8b57", "#c2452d")


def page(report: Report) -> str:
    """The page's text."""
    title = f"{report.title} · 异常"
    body = [
        f"<h1>{escape(title)}</h1>",
        '<p class="sub">Each finding once, however many days it was seen on; evidence is what the rule saw, with its limits and version.</p>',
        figures(_figures(report)),
    ]
    if report.rules:
        body.append(f"<section><h2>By rule 按规则</h2>{_rules(report)}</section>")
    if any(counts for _, counts in report.history):
        body.append(f"<section><h2>Seen by day 按日</h2>{_history(report)}{_legend()}</section>")
    if report.several:
        lines = "".join(
            f'<tr><td class="l">{s.kind} {escape(s.code)}</td><td class="why">{escape(", ".join(s.rules))}</td></tr>'
            for s in report.several
        )
        body.append(f"<section><h2>Several rules at once 多项异常</h2><table>{lines}</table></section>")
    drawn = "".join(_evidence(row) for row in [row for row in report.rows if _curves(row)][:DRAWN])
    if drawn:
        body.append(
            f'<section><h2>The curves behind the severest 证据曲线</h2><div class="worst">{drawn}</div></section>'
        )
    body.append(f"<section><h2>All 全部</h2>{_table(report)}</section>")
    return document(title, body)


def _figures(report: Report) -> list[tuple[str, str]]:
    counted = report.by_severity
    return [
        (str(report.total), "findings 异常"),
        *((str(counted[s]), f"{s} {SEVERITIES_ZH[s]}") for s in SEVERITIES),
        (str(sum(rule.recurred for rule in report.rules)), "recurred 复发"),
        (str(sum(rule.ordered for rule in report.rules)), "with a work order 已派工单"),
    ]


def _rules(report: Report) -> str:
    left, right = 150, WIDTH - 60
    most = max(rule.count for rule in report.rules)
    drawn = []
    for k, rule in enumerate(report.rules):
        y, x = k * BAR + BAR / 2, float(left)
        pieces = []
        for severity in SEVERITIES:
            width = rule.by_severity.get(severity, 0) / most * (right - left)
            if width:
                pieces.append(
                    f'<rect x="{x:.1f}" y="{y - 6}" width="{width:.1f}" height="12" fill="{_COLOURS[severity]}" opacity=".85"/>'
                )
                x += width
        drawn.append(
            f"<g><title>{escape(rule.rule)}: {rule.count}, open since {rule.oldest}</title>"
            f'<text class="name" x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(rule.rule)}</text>{"".join(pieces)}'
            f'<text x="{x + 6:.1f}" y="{y + 4}">{rule.count}</text></g>'
        )
    return svg(len(report.rules) * BAR, "findings by rule", drawn) + _legend()


def _legend() -> str:
    return (
        '<p class="legend">'
        + " ".join(f'<i style="background:{_COLOURS[s]}"></i>{s} {SEVERITIES_ZH[s]}' for s in SEVERITIES)
        + "</p>"
    )


def _history(report: Report) -> str:
    days = report.history
    high = float(max(sum(counts.values()) for _, counts in days))
    step = (WIDTH - 60) / len(days)

    def at(count: float) -> float:
        return 6 + (high - count) / high * (HEIGHT - 24)

    drawn = scale(at, 0.0, high, "{:.0f}".format)
    for k, (day, counts) in enumerate(days):
        base = 0.0
        for severity in reversed(SEVERITIES):
            count = counts.get(severity, 0)
            if count:
                drawn.append(
                    f'<rect x="{50 + (k + 0.15) * step:.1f}" y="{at(base + count):.1f}" width="{step * 0.7:.1f}" '
                    f'height="{at(base) - at(base + count):.1f}" fill="{_COLOURS[severity]}" opacity=".85">'
                    f"<title>{day}: {count} {severity}</title></rect>"
                )
                base += count
    drawn.append(f'<text x="50" y="{HEIGHT - 4}">{days[0][0]}</text>')
    drawn.append(f'<text x="{WIDTH - 8}" y="{HEIGHT - 4}" text-anchor="end">{days[-1][0]}</text>')
    return svg(HEIGHT, "findings by day", drawn)


# --- evidence ---


def _curves(row: Mapping[str, Any]) -> list[tuple[str, Sequence[float | None]]]:
    """(name, values) of each curve of the evidence: rules call them curve_… and, of three phases, curves_…"""
    found: list[tuple[str, Sequence[float | None]]] = []
    for name, values in row["evidence"].items():
        if name.startswith("curves"):
            found += [
                (f"{name.removeprefix('curves_')} {phase}", part)
                for phase, part in zip("ABC", values, strict=False)
            ]
        elif name.startswith("curve"):
            found.append((name.removeprefix("curve_"), values))
    return [(name, values) for name, values in found if any(v is not None for v in values)]


def _evidence(row: Mapping[str, Any]) -> str:
    curves = _curves(row)
    unit = curves[0][0].split(" ")[0]
    same = [(name, values) for name, values in curves if name.split(" ")[0] == unit]
    known = [v for _, values in same for v in values if v is not None]
    low, high = min(known), max(known)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5

    def at(value: float) -> float:
        return 6 + (high - value) / (high - low) * (HEIGHT - 24)

    drawn = [
        f'<line x1="50" x2="{WIDTH - 8}" y1="{at(m):.1f}" y2="{at(m):.1f}" stroke="var(--rule)"/>'
        f'<text x="44" y="{at(m) + 4:.1f}" text-anchor="end">{m:.4g}</text>'
        for m in (low, high)
    ]
    for k, (_, values) in enumerate(same):
        colour = _PHASES[k] if len(same) > 1 else "var(--bar)"
        drawn.append(f'<path d="{_path(values, at)}" fill="none" stroke="{colour}" stroke-width="1.4"/>')
    return (
        f"<div><h3>{escape(str(row['subject_kind']))} {escape(str(row['subject']))} · {escape(row['title_en'])}</h3>"
        f"<p>{escape(row['title_zh'])}</p>{svg(HEIGHT, 'evidence', drawn)}"
        f"<p>{escape(unit)}, {row['day']}, {escape(row['rule'])} v{row['rule_version']}: {escape(numbers(row['evidence']))}</p></div>"
    )


def _path(values: Sequence[float | None], at: Any) -> str:
    step = (WIDTH - 60) / len(values)
    path, pen = [], False
    for k, value in enumerate(values):
        if value is not None:
            path.append(f"{'L' if pen else 'M'}{50 + k * step:.1f} {at(value):.1f}h{step:.1f}")
        pen = value is not None
    return "".join(path)


def numbers(evidence: Mapping[str, Any]) -> str:
    """What of the evidence fits a line: everything but curves and lists."""
    return ", ".join(f"{name}={value}" for name, value in evidence.items() if not isinstance(value, list))


def _table(report: Report) -> str:
    head = "".join(f'<th class="{kind}">{name}</th>' for name, kind in _HEAD)
    lines = "".join(
        f'<tr><td class="l{" over" if row["severity"] == "alarm" else ""}">{row["severity"]}</td>'
        f'<td class="l">{row["subject_kind"]} {escape(str(row["subject"]))}</td><td class="why">{escape(row["title_en"])}</td>'
        f'<td>{row["first_day"]}</td><td>{row["days"]}</td><td class="l">{row["state"]}</td><td class="l">{escape(row["rule"])}</td></tr>'
        for row in report.rows[:LISTED]
    )
    more = report.total - min(len(report.rows), LISTED)
    rest = f"<p>and {more} more; the workbook (--xlsx) has them</p>" if more else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>{rest}"
