"""Each rule on small days: those that it must tell of, and the near misses about which it must stay silent.

A case is a folder below cases/<rule>: `curve.csv` has a line a point (slot 0 is the opening midnight; an empty cell was not read),
`meter.json` what else is known of the meter, `expected.json` the verdict: first and last slot, severity, and the evidence that matters.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lineloss.vee.facts import Facts, amperes
from lineloss.vee.rules import RULES
from lineloss.vee.verdict import Severity
from protocols.reading import MISSING

CASES = Path(__file__).parent / "cases"
FOLDERS = sorted(path.parent for path in CASES.glob("*/*/curve.csv"))
#: what a meter is unless its case says otherwise
METER: dict[str, Any] = {
    "freezes": [None, None], "before": None, "before_hours": 24.0, "history": [], "alike": [], "digits": 6, "phases": 1, "multiplier": 1,
    "exporting": False, "open": True, "ahead": None, "unsure": None, "strange": 0,
}  # fmt: skip


def registers(cells: list[Any]) -> NDArray[np.int64]:
    """kWh as they are written -> 1e-4 kWh."""
    return np.array([MISSING if cell in (None, "") else round(float(cell) * 10_000) for cell in cells])


def instants(cells: list[str]) -> NDArray[np.float32]:
    return np.array([np.nan if cell == "" else float(cell) for cell in cells], dtype=np.float32)


def marks(cells: list[str]) -> NDArray[np.bool_]:
    return np.array([cell == "1" for cell in cells], dtype=np.bool_)


def facts(folder: Path) -> Facts:
    """One meter."""
    with (folder / "curve.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["slot"] for row in rows] == [str(k) for k in range(len(rows))]
    given = json.loads((folder / "meter.json").read_text("utf-8"))
    assert not given.keys() - METER.keys()
    meter = METER | given

    def column(name: str, blank: str = "") -> list[str]:
        return [row.get(name, blank) for row in rows]

    phases = [
        [instants(column(f"{what}_{phase}")[1:])[None] for phase in "abc"] for what in ("voltage", "current")
    ]
    multiplier = np.array([meter["multiplier"]])
    return Facts(
        meter=np.array([7]),
        hours=0.25,
        imports=registers(column("import"))[None],
        exports=registers(column("export"))[None],
        freezes=registers(meter["freezes"])[None],
        voltage=tuple(phases[0]),  # type: ignore[arg-type]
        current=tuple(phases[1]),  # type: ignore[arg-type]
        power=instants(column("power")[1:])[None],
        installed=marks(column("installed", "1")[1:])[None],
        due=marks(column("due", "1")[1:])[None],
        again=marks(column("again"))[None],
        cut=marks(column("cut")[1:])[None],
        strange=np.array([meter["strange"]]),
        before=registers([meter["before"]]),
        before_hours=np.array([meter["before_hours"]], dtype=np.float64),
        history=registers(meter["history"])[None],
        alike=np.array(meter["alike"], dtype=np.bool_),
        roll_over=np.array([10 ** (meter["digits"] + 4)]),
        phases=np.array([meter["phases"]]),
        multiplier=multiplier,
        amperes=amperes(multiplier),
        exporting=np.array([meter["exporting"]]),
        open=np.array([meter["open"]]),
        ahead=np.array([meter["ahead"]], dtype=np.float64),
        unsure=np.array([meter["unsure"]], dtype=np.float64),
    )


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_case(folder: Path) -> None:
    verdict = RULES[folder.parent.name].find(facts(folder))
    expected = json.loads((folder / "expected.json").read_text("utf-8"))
    said = [
        {"first": int(first), "last": int(last), "severity": Severity(int(severity)).name.lower()}
        for first, last, severity in zip(verdict.first, verdict.last, verdict.severity, strict=True)
    ]
    assert said == [{name: one[name] for name in ("first", "last", "severity")} for one in expected]
    for k, one in enumerate(expected):
        for name, value in one.get("evidence", {}).items():
            assert float(verdict.evidence[name][k]) == pytest.approx(value, rel=1e-3), name


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_what_it_tells_and_what_it_must_not(rule: str) -> None:
    told = [
        bool(json.loads((f / "expected.json").read_text("utf-8"))) for f in FOLDERS if f.parent.name == rule
    ]
    assert True in told
    assert told.count(False) >= 2, "two near misses at least"


def test_no_case_is_of_a_rule_that_there_is_not() -> None:
    assert {folder.parent.name for folder in FOLDERS} == set(RULES)
