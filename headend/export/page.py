"""What reports are made of that are one HTML page and need nothing from outside: the page, its figures, drawings as inline SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Final

#: A drawing's width and heights in its own units; the page scales it.
WIDTH: Final = 640
BAR: Final = 18
HEIGHT: Final = 120

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1c2530;--dim:#667381;--rule:#d9dfe5;--page:#f6f8fa;--card:#fff;
--bar:#2f6fb0;--bad:#c2452d;--warn:#d08a1d;--sure:#1c2530}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9ee;--dim:#93a0ac;--rule:#33404c;--page:#12181e;--card:#1a222a;
--bar:#5b9bd8;--bad:#ee7f67;--warn:#e3ad55;--sure:#e4e9ee}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:14px/1.45 system-ui,"Noto Sans CJK SC","Microsoft YaHei",sans-serif}
main{max-width:1180px;margin:0 auto;padding:24px}h1{font-size:22px;margin:0}h2{font-size:15px;margin:0 0 10px}
.sub{color:var(--dim);margin:2px 0 18px}.figures{display:flex;flex-wrap:wrap;gap:12px;margin-bottom:14px}
.figure{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:10px 16px;min-width:130px}
.figure b{display:block;font-size:22px;font-weight:600}.figure span{color:var(--dim)}
section{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:16px;margin-bottom:14px;overflow-x:auto}
.worst{display:grid;grid-template-columns:1fr 1fr;gap:18px}@media(max-width:820px){.worst{grid-template-columns:1fr}}
.worst h3{font-size:13px;margin:0 0 4px;font-weight:600}.worst p{margin:0;color:var(--dim);font-size:12px}
svg{display:block;width:100%;height:auto;max-width:900px}svg text{font:11px system-ui,sans-serif;fill:var(--dim)}svg text.name{fill:var(--ink)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:4px 8px;border-bottom:1px solid var(--rule);text-align:right;white-space:nowrap}
th{font-weight:600;color:var(--dim)}.l{text-align:left}
.legend{margin:6px 0 0;color:var(--dim);font-size:12px}.legend i{display:inline-block;width:10px;height:10px;border-radius:2px;margin:0 4px 0 10px}
.why{text-align:left;white-space:normal;color:var(--dim);min-width:160px}.over{color:var(--bad);font-weight:600}
"""


def document(title: str, body: Sequence[str]) -> str:
    """The page's text. `body`: pieces of HTML."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<link rel="icon" href="data:,"><style>{_STYLE}</style></head>\n'
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def figures(cells: Sequence[tuple[str, str]]) -> str:
    """(the figure, what it is) in a row."""
    shown = "".join(
        f'<div class="figure"><b>{escape(value)}</b><span>{said}</span></div>' for value, said in cells
    )
    return f'<div class="figures">{shown}</div>'


def scale(at: Callable[[float], float], low: float, high: float, form: Callable[[float], str]) -> list[str]:
    """Lines across a drawing at the least, nothing and the most."""
    marks = sorted({low, 0.0, high})
    return [
        f'<line x1="50" x2="{WIDTH - 8}" y1="{at(m):.1f}" y2="{at(m):.1f}" stroke="var(--rule)"/>'
        f'<text x="44" y="{at(m) + 4:.1f}" text-anchor="end">{form(m)}</text>'
        for m in marks
    ]


def svg(height: float, label: str, drawn: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{label}">{"".join(drawn)}</svg>'
