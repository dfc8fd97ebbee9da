"""Races as a table: on the terminal, and between the marks of BENCHMARKS.md."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from statistics import median

from measure import Race

HEADER = ("what", "who", "rate", "values/s", "first line is faster by (range)")
BEGIN, END = "<!-- measured: scripts/bench --write -->", "<!-- end of what was measured -->"


def rows(races: Sequence[Race]) -> Iterator[tuple[str, ...]]:
    for race in races:
        for place, who in enumerate(race.seconds):
            rate, ratios = race.rate(who), race.ratios(who)
            yield (
                race.title if place == 0 else "",
                who,
                f"{_short(rate)} {race.unit}/s",
                _short(rate * race.values) if race.values else "",
                f"{_ratio(median(ratios))} ({_ratio(min(ratios))}–{_ratio(max(ratios))})" if place else "",
            )


def text(races: Sequence[Race]) -> str:
    table = [HEADER, *rows(races)]
    widths = [max(len(row[k]) for row in table) for k in range(len(HEADER))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def markdown(races: Sequence[Race], facts: Sequence[str]) -> str:
    table = [HEADER, ("---", "---", "---:", "---:", "---:"), *rows(races)]
    lines = [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([*(f"* {fact}" for fact in facts), "", *lines])


def write(path: Path, measured: str) -> None:
    """Replace what stands between the marks; everything else in the file is prose."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"bench: {path.name} has no lines '{BEGIN}' and '{END}' to write between")
    path.write_text(f"{before}{BEGIN}\n\n{measured}\n\n{END}{after}", encoding="utf-8")


def facts(repository: Path, servers: Sequence[str], rounds: int, load: float) -> list[str]:
    """When, where, on what. `load`: the machine's load average when the run began."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    busy = f"{load:.1f} programs wanted a processor when the run began"
    return [
        f"{date.today().isoformat()}, commit {_commit(repository)}, {rounds} rounds",
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB; {busy}",
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}",
        *dict.fromkeys(servers),
    ]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit(repository: Path) -> str:
    done = subprocess.run(
        ["git", "-C", repository, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _short(rate: float) -> str:
    """Three digits are more than the noise leaves."""
    for size, letter in ((1e6, " M"), (1e3, " k"), (1, "")):
        if rate >= 0.9995 * size:
            digits = 0 if rate >= 99.95 * size else 1 if rate >= 9.995 * size else 2
            return f"{rate / size:.{digits}f}{letter}"
    return f"{rate:.3f}"


def _ratio(ratio: float) -> str:
    return f"{ratio:.0f}×" if ratio >= 9.95 else f"{ratio:.1f}×" if ratio >= 0.995 else f"{ratio:.2f}×"
