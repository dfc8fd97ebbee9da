"""Every rule by its cases: a folder of CSV files as it could come out of a store, and the findings that must come of it, none for a near miss.

    cases/RULE/CASE/meters.csv    meter, and what the archive says of it: area role phases multiplier contract feeds_in terminal …
                    curve.csv     meter, slots (7, 0-95, …), then quantities of these slots; `kwh` is what the registers count in each.
                                  Later rows lie over earlier ones; an empty cell says nothing, `-` takes the value away
                    registers.csv meter, at (0 is the opening midnight), import, export [kWh]: single registers as they were read
                    areas.csv pairs.csv told.csv contacts.csv attempts.csv offsets.csv missing.csv   what else rules look at
                    expected.json the findings: subject, severity, evidence (those of it that are named), title where it matters

A test of its own makes sure that every rule has a case that it must find and one that it must not.
"""

from __future__ import annotations

import csv
import importlib
import json
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

import lineloss.rules
from lineloss import electrical
from lineloss.balance import day_balance
from lineloss.contacts import Contacts
from lineloss.finding import Finding
from lineloss.membership import find_moves
from lineloss.meterday import MeterDay, nominal_of
from lineloss.ratios import find_ratios
from lineloss.registers import ROLL_OVER
from lineloss.rules import (
    check_meter,
    clock_off,
    cover,
    decreased,
    demand,
    flapping,
    flat,
    loss,
    magnetic,
    missing,
    offline,
    overload,
    phase_loss,
    power_factor,
    reverse_flow,
    route,
    run_away,
    stopped,
    theft,
    unbalance,
    under_registered,
    voltage,
    voltage_unbalance,
    wrong_area,
    wrong_ratio,
)
from lineloss.rules.check_meter import Pairs
from lineloss.rules.clock_off import Offsets
from lineloss.rules.missing import Missing
from lineloss.rules.route import Attempts
from lineloss.service import service_loss
from lineloss.suspects import find_suspects
from lineloss.told import Told
from lineloss.topology import Role, Topology
from protocols.reading import MISSING

CASES: Final = Path(__file__).parent / "cases"
ALL: Final = sorted(path.parent for path in CASES.glob("*/*/expected.json"))
SLOTS: Final = 96
ROLES: Final = {"supply": Role.SUPPLY, "receive": Role.RECEIVE, "auxiliary": Role.AUXILIARY}
PHASES: Final = [(f"{what}_{p}", what, k) for what in ("voltage", "current") for k, p in enumerate("abc")]
NOW: Final = np.datetime64("2026-03-11T16:00:00", "us")

Rows = list[dict[str, str]]


def rows(case: Path, name: str) -> Rows:
    path = case / name
    return list(csv.DictReader(path.read_text("utf-8").splitlines())) if path.exists() else []


def column(table: Rows, name: str, kind: str, blank: Any = None) -> Any:
    """A column as numpy has it; an empty cell is `blank`, or what the kind has for it."""
    empty = {"f8": np.nan, "datetime64[us]": "NaT"}.get(kind) if blank is None else blank
    return np.array([row.get(name) or empty for row in table], dtype=kind)


def times(table: Rows, name: str) -> Any:
    return np.array([row.get(name) or "NaT" for row in table], dtype="datetime64[us]")


def span(text: str) -> slice:
    first, _, last = text.partition("-")
    return slice(int(first), int(last or first) + 1)


class Case:
    """The columns of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meters = rows(folder, "meters.csv")
        self.place = {row["meter"]: k for k, row in enumerate(self.meters)}
        n = len(self.meters)
        self.phase = {what: np.full((n, 3, SLOTS), np.nan) for what in ("voltage", "current")}
        self.plain = {code: np.full((n, SLOTS), np.nan) for code in ("active_power", "reactive_power")}
        kwh = {code: np.zeros((n, SLOTS)) for code in ("kwh", "export_kwh")}
        for row in rows(folder, "curve.csv"):
            where, some = self.place[row["meter"]], span(row["slots"])
            for name, cell in row.items():
                if name in ("meter", "slots") or not cell:
                    continue
                value = np.nan if cell == "-" else float(cell)
                if name[:-2] in self.phase:
                    self.phase[name[:-2]][where, "abc".index(name[-1]), some] = value
                else:
                    ({**self.plain, **kwh})[name][where, some] = value
        self.registers = {
            "import": self._registers("start", kwh["kwh"]),
            "export": self._registers("export_start", kwh["export_kwh"]),
        }
        for row in rows(folder, "registers.csv"):
            for name in ("import", "export"):
                if cell := row.get(name):
                    value = MISSING if cell == "-" else round(float(cell) * 10_000)
                    self.registers[name][self.place[row["meter"]], span(row["at"])] = value

    def _registers(self, start: str, kwh: np.ndarray) -> np.ndarray:
        """What a display of two decimals shows; a register is not there where the meter has no start."""
        begin = column(self.meters, start, "f8", np.nan if start == "export_start" else 1000.0)
        shown = np.concatenate([np.zeros((len(kwh), 1)), kwh.cumsum(axis=1)], axis=1) + begin[:, None]
        floored = np.floor(np.where(np.isnan(shown), 0, shown) * 100 + 1e-6).astype(np.int64) * 100
        return np.where(np.isnan(shown), MISSING, floored)

    def ints(self, name: str, blank: int) -> Any:
        return column(self.meters, name, "i8", blank)

    @property
    def day(self) -> MeterDay:
        return MeterDay(
            meter=self.ints("meter", 0),
            area=self.ints("area", -1),
            role=np.array([ROLES[row.get("role") or "receive"] for row in self.meters], dtype=np.int8),
            phases=self.ints("phases", 1).astype(np.int8),
            multiplier=self.ints("multiplier", 1),
            contract=column(self.meters, "contract", "f8"),
            feeds_in=np.array([row.get("feeds_in") == "yes" for row in self.meters], dtype=np.bool_),
            roll_over=np.full(len(self.meters), ROLL_OVER),
            nominal=nominal_of(self.phase["voltage"]),
            voltage=self.phase["voltage"],
            current=self.phase["current"],
            power=self.plain["active_power"],
            reactive=self.plain["reactive_power"],
            imports=self.registers["import"],
            exports=self.registers["export"],
        )

    @property
    def topology(self) -> Topology:
        day = self.day
        area_id, area = np.unique(day.area, return_inverse=True)
        return Topology(
            meter=day.meter,
            point=day.meter,
            area=area.ravel(),
            role=day.role,
            multiplier=day.multiplier,
            accuracy=column(self.meters, "accuracy", "f8", 0.01),
            phases=day.phases,
            exports=(day.exports != MISSING).any(axis=1),
            area_id=area_id,
        )

    def table(self, name: str) -> Rows:
        return rows(self.folder, name)


def of_loss(case: Case) -> list[Finding]:
    return loss.find(day_balance(case.topology, case.day.imports, case.day.exports))


def of_theft(case: Case) -> list[Finding]:
    day, topology = case.day, case.topology
    service = service_loss(topology, day.voltage, day.current)
    return theft.find(topology, find_suspects(topology, day.imports, day.exports, service=service))


def of_wrong_area(case: Case) -> list[Finding]:
    day, topology = case.day, case.topology
    return wrong_area.find(topology, find_moves(topology, day.voltage, day.current, day.imports, day.exports))


def of_wrong_ratio(case: Case) -> list[Finding]:
    return wrong_ratio.find(find_ratios(case.topology, case.day.imports, case.day.exports))


def of_under_registered(case: Case) -> list[Finding]:
    day = case.day
    topology = replace(case.topology, exports=day.feeds_in)
    told = electrical.compare(topology, day.voltage, day.current, day.imports, day.exports)
    return under_registered.find(topology, told)


def of_unbalance(case: Case) -> list[Finding]:
    kva = {row["area"]: float(row["capacity_kva"]) for row in case.table("areas.csv")}
    capacity = np.array([kva.get(row.get("area", ""), np.nan) for row in case.meters])
    return unbalance.find(
        case.topology, case.day.current, unbalance.rated_current(capacity, case.day.multiplier)
    )


def of_overload(case: Case) -> list[Finding]:
    capacity = {int(row["area"]): float(row["capacity_kva"]) for row in case.table("areas.csv")}
    return overload.find(case.day, capacity)


def of_run_away(case: Case) -> list[Finding]:
    return run_away.find(
        case.day, column(case.meters, "highest_kwh", "f8"), column(case.meters, "days_before", "i8", 0)
    )


def of_missing(case: Case) -> list[Finding]:
    table = case.table("missing.csv")
    return missing.find(
        Missing(
            column(table, "meter", "i8"), column(table, "cause", "U32"), column(table, "count", "i8"), times(table, "first"),
            times(table, "last"),
        ),
        case.day.meter, case.ints("terminal", 0), case.ints("due", SLOTS),
    )  # fmt: skip


def of_route(case: Case) -> list[Finding]:
    table = case.table("attempts.csv")
    return route.find(
        Attempts(*(column(table, name, "i8") for name in ("meter", "terminal", "asked", "vain")))
    )


def contacts(case: Case) -> Contacts:
    table = case.table("contacts.csv")
    listened = "listened" if "listened" in table[0] else "last_seen"
    return Contacts(
        column(table, "terminal", "i8"), np.array([row["online"] == "yes" for row in table]), times(table, "last_seen"),
        column(table, "meters", "i8"), times(table, listened), column(table, "logins", "i8", 0),
    )  # fmt: skip


def told(case: Case) -> Told:
    table = case.table("told.csv")
    return Told(
        column(table, "of", "U8"), column(table, "subject", "i8"), column(table, "kind", "U32"), times(table, "occurred"),
        times(table, "installed"), times(table, "removed"),
    )  # fmt: skip


def of_clock(case: Case) -> list[Finding]:
    table = case.table("offsets.csv")
    return clock_off.find(
        Offsets(
            column(table, "of", "U8"), column(table, "subject", "i8"), column(table, "ahead", "f8"), column(table, "uncertainty", "f8"),
            times(table, "read"), column(table, "why", "U200", ""),
        )
    )  # fmt: skip


def of_pairs(case: Case) -> list[Finding]:
    table = case.table("pairs.csv")
    numbers = (column(table, name, "f8") for name in ("main_kwh", "check_kwh", "main_class", "resolution"))
    return check_meter.find(Pairs(column(table, "main", "i8"), column(table, "check", "i8"), *numbers))


ASKED: Final[dict[str, Callable[[Case], list[Finding]]]] = {
    voltage.RULE: lambda c: voltage.find(c.day.meter, c.day.voltage, nominal=c.day.nominal),
    phase_loss.RULE: lambda c: phase_loss.find(c.day),
    unbalance.RULE: of_unbalance,
    voltage_unbalance.RULE: lambda c: voltage_unbalance.find(c.day),
    overload.RULE: of_overload,
    demand.RULE: lambda c: demand.find(c.day),
    power_factor.RULE: lambda c: power_factor.find(c.day),
    reverse_flow.RULE: lambda c: reverse_flow.find(c.day),
    flat.RULE: lambda c: flat.find(c.day),
    run_away.RULE: of_run_away,
    stopped.RULE: lambda c: stopped.find(c.day),
    decreased.RULE: lambda c: decreased.find(c.day),
    check_meter.RULE: of_pairs,
    cover.RULE: lambda c: cover.find(told(c)),
    magnetic.RULE: lambda c: magnetic.find(told(c)),
    missing.RULE: of_missing,
    clock_off.RULE: of_clock,
    offline.RULE: lambda c: offline.find(contacts(c), NOW),
    flapping.RULE: lambda c: flapping.find(contacts(c)),
    route.RULE: of_route,
    loss.RULE: of_loss,
    theft.RULE: of_theft,
    wrong_area.RULE: of_wrong_area,
    wrong_ratio.RULE: of_wrong_ratio,
    under_registered.RULE: of_under_registered,
}


@pytest.mark.parametrize("folder", ALL, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_case(folder: Path) -> None:
    found = ASKED[folder.parent.name](Case(folder))
    expected = json.loads((folder / "expected.json").read_text("utf-8"))
    said = [(f"{f.subject_kind} {f.subject_id}", f.severity) for f in found]
    assert sorted(said) == sorted((e["subject"], e["severity"]) for e in expected), [
        f.title_en for f in found
    ]
    for e in expected:
        (f,) = [f for f in found if f"{f.subject_kind} {f.subject_id}" == e["subject"]]
        shown = {name: f.evidence.get(name) for name in e.get("evidence", {})}
        wanted = {
            n: pytest.approx(v) if isinstance(v, float) else v for n, v in e.get("evidence", {}).items()
        }
        assert shown == wanted, f.evidence
        assert e.get("title", f.title_en) == f.title_en
        assert json.loads(json.dumps(f.evidence, allow_nan=False)) == f.evidence
        assert any("一" <= letter <= "鿿" for letter in f.title_zh)
        assert "\n" not in f.title_en + f.title_zh


def test_every_rule_has_cases_and_near_misses() -> None:
    rules = [
        importlib.import_module(f"lineloss.rules.{module.name}").RULE
        for module in pkgutil.iter_modules(lineloss.rules.__path__)
    ]
    assert sorted(ASKED) == sorted(rules)
    for rule in rules:
        sizes = [
            len(json.loads((path / "expected.json").read_text("utf-8")))
            for path in ALL
            if path.parent.name == rule
        ]
        assert any(sizes), f"{rule}: no case that it finds"
        assert 0 in sizes, f"{rule}: no near miss"
