"""Every rule: what it must say, and a table of near misses about which it must stay silent."""

from __future__ import annotations

import importlib
import json
import pkgutil
from typing import Any

import numpy as np
import pytest

import lineloss.rules
from lineloss.balance import Balance, Reason, day_balance
from lineloss.finding import Finding
from lineloss.norms import norms
from lineloss.rules import loss, missing, theft, unbalance, voltage
from lineloss.service import service_loss
from lineloss.suspects import find_suspects
from lineloss.topology import Role, Topology
from protocols.reading import MISSING

KWH = 10_000


def plain(findings: list[Finding]) -> list[Finding]:
    """Evidence must survive strict JSON unchanged; titles are one line."""
    for finding in findings:
        assert json.loads(json.dumps(finding.evidence, allow_nan=False)) == finding.evidence
        assert finding.title_en
        assert finding.title_zh
        assert "\n" not in finding.title_en + finding.title_zh
    return findings


def test_every_rule_has_the_same_shape() -> None:
    names = [module.name for module in pkgutil.iter_modules(lineloss.rules.__path__)]
    assert len(names) == 25
    for name in names:
        rule = importlib.import_module(f"lineloss.rules.{name}")
        assert name.replace("_", "-") == rule.RULE
        assert rule.VERSION >= 1
        assert callable(rule.find)


def test_norms_name_their_reference() -> None:
    for norm in norms().values():
        assert norm.low < norm.high
        assert norm.reference
        assert norm.status in {"standard", "default to be configured"}
    assert (norms()["voltage_220"].low, norms()["voltage_220"].high) == (-0.10, 0.07)


# -- voltage
# ------------------------------------------------------------------------------------------------------


def volts(**slots: float) -> np.ndarray:
    """[1, 3, 96] of a single-phase meter at 225 V; s10=240.0 sets slot 10 of phase A."""
    curve = np.full((1, 3, 96), np.nan)
    curve[0, 0] = 225.0
    for name, value in slots.items():
        curve[0, 0, int(name[1:])] = value
    return curve


METER = np.array([42])


def test_voltage_out_of_limits() -> None:
    (finding,) = plain(voltage.find(METER, volts(s10=236.0, s11=197.0, s12=240.0)))
    assert (finding.subject_kind, finding.subject_id, finding.severity) == ("meter", 42, "warning")
    evidence = finding.evidence
    assert (evidence["minutes_above"], evidence["minutes_below"], evidence["minutes_out"]) == (30, 15, 45)
    assert evidence["qualification_rate"] == pytest.approx(1 - 45 / 1440, abs=1e-4)
    assert (evidence["limit_low_v"], evidence["limit_high_v"]) == (198.0, 235.4)
    assert (evidence["first_slot"], evidence["last_slot"], evidence["phase"]) == (10, 12, "A")
    assert len(evidence["curve_v"]) == 96


def test_voltage_all_day_is_an_alarm_and_phases_of_one_slot_count_once() -> None:
    curve = np.full((1, 3, 96), 190.0)
    (finding,) = plain(voltage.find(METER, curve))
    assert finding.severity == "alarm"
    assert finding.evidence["minutes_below"] == 1440
    assert finding.evidence["qualification_rate"] == 0.0


@pytest.mark.parametrize(
    "curve",
    [
        volts(),
        volts(s0=235.4, s1=235.4, s2=198.0, s3=198.0),  # on the limit is inside
        volts(s5=236.0),  # one quarter hour only
        volts(s5=0.0, s6=0.0, s7=100.0, s8=0.0),  # an outage is not a bad voltage
        volts(s5=np.nan, s6=np.nan, s7=np.nan),  # nor is a gap
        np.full((1, 3, 96), np.nan),
    ],
)
def test_voltage_near_misses(curve: np.ndarray) -> None:
    assert voltage.find(METER, curve) == []


def test_voltage_quality_of_an_unread_meter_is_unknown() -> None:
    day = voltage.quality(np.full((1, 3, 96), np.nan))
    assert day.monitored[0] == 0
    assert np.isnan(day.rate[0])
    assert np.isnan(day.lowest[0])


def test_voltage_minutes_are_those_counted_slot_by_slot() -> None:
    """Of meters that were within their limits all day and of others, some of them dark at times, some without a phase."""
    random = np.random.default_rng(6)
    curves = random.normal(220, random.choice([2.0, 12.0], (60, 1, 1)), (60, 3, 20))
    curves[random.random(curves.shape) < 0.05] = np.nan
    curves[random.random(curves.shape) < 0.02] = 20.0
    curves[:20, 1:] = np.nan
    curves[59] = np.nan
    day = voltage.quality(curves)
    assert 5 < (day.out == 0).sum() < 55
    for row, meter in enumerate(curves):
        slots = [[v for v in meter[:, k] if v >= 132.0] for k in range(20)]
        above = [any(v > 235.4 for v in slot) for slot in slots]
        below = [any(v < 198.0 for v in slot) for slot in slots]
        rated = [v for slot in slots for v in slot]
        assert day.above[row] == 15 * sum(above)
        assert day.below[row] == 15 * sum(below)
        assert day.out[row] == 15 * sum(a or b for a, b in zip(above, below, strict=True))
        assert day.lost[row] == 15 * sum(bool((meter[:, k] < 132.0).any()) for k in range(20))
        assert day.monitored[row] == 15 * sum(bool(slot) for slot in slots)
        assert np.isnan(day.lowest[row]) if not rated else day.lowest[row] == min(rated)
        assert np.isnan(day.highest[row]) if not rated else day.highest[row] == max(rated)


def test_voltage_limits_by_meter() -> None:
    curve = np.full((2, 3, 8), 57.7)
    curve[1, 0, :4] = 53.0  # 57.7 V - 8.1 %: inside -10 %, outside -7 %
    find = voltage.find(np.array([1, 2]), curve, nominal=57.7, low=np.array([-0.1, -0.07]), minutes=60)
    assert [finding.subject_id for finding in find] == [2]


# -- unbalance
# ----------------------------------------------------------------------------------------------------


def outlet(**over: Any) -> Topology:
    columns: dict[str, Any] = {
        "meter": np.array([1, 2]),
        "point": np.array([1, 2]),
        "area": np.array([0, 0]),
        "role": np.array([Role.SUPPLY, Role.RECEIVE], dtype=np.int8),
        "multiplier": np.array([40, 1]),
        "accuracy": np.full(2, 0.01),
        "phases": np.array([3, 1], dtype=np.int8),
        "exports": np.zeros(2, dtype=np.bool_),
        "area_id": np.array([77]),
    }
    return Topology(**{**columns, **over})


def amps(a: float, b: float, c: float) -> np.ndarray:
    """[2, 3, 96]: the supply meter's phases, and a customer as unbalanced as can be."""
    curve = np.zeros((2, 3, 96))
    curve[0] = np.array([[a], [b], [c]])
    curve[1, 0] = 5.0
    return curve


RATED = np.array([5.0, np.nan])


def test_unbalance_at_the_outlet() -> None:
    (finding,) = plain(unbalance.find(outlet(), amps(4.0, 3.0, 3.2), RATED))
    assert (finding.subject_kind, finding.subject_id, finding.severity) == ("area", 77, "warning")
    assert finding.evidence["unbalance"] == 0.25
    assert finding.evidence["meter"] == 1
    assert finding.evidence["slots_used"] == 96


@pytest.mark.parametrize(
    ("topology", "curve", "rated"),
    [
        (outlet(), amps(4.0, 3.4, 3.6), RATED),  # (4 - 3.4) / 4 = 15 %: on the limit
        (outlet(), amps(0.6, 0.2, 0.2), RATED),  # below a tenth of rated load
        (outlet(), amps(4.0, 3.0, 3.2), np.array([np.nan, np.nan])),  # rated current not known
        (outlet(phases=np.array([1, 1], dtype=np.int8)), amps(4.0, 0, 0), RATED),  # not a three-phase meter
        (outlet(role=np.array([Role.AUXILIARY, Role.RECEIVE], dtype=np.int8)), amps(4.0, 3.0, 3.2), RATED),
        (outlet(), amps(-4.0, 4.0, 3.9), RATED),  # direction is not unbalance
        (outlet(), amps(4.0, np.nan, 3.2), RATED),  # a phase was not read
        (outlet(), amps(0, 0, 0), RATED),
    ],
)
def test_unbalance_near_misses(topology: Topology, curve: np.ndarray, rated: np.ndarray) -> None:
    assert unbalance.find(topology, curve, rated) == []


def test_unbalance_needs_more_than_a_moment_of_load() -> None:
    curve = amps(0.1, 0.1, 0.1)
    curve[0, :, 10:13] = np.array([[4.0], [2.0], [2.0]])
    assert unbalance.find(outlet(), curve, RATED) == []
    curve[0, :, 13] = [4.0, 2.0, 2.0]
    assert unbalance.find(outlet(), curve, RATED)[0].severity == "alarm"


def test_rated_current_of_a_transformer() -> None:
    # 315 kVA / (1.732 x 400 V) = 454.7 A primary, behind 500/5 A transformers 4.547 A
    assert unbalance.rated_current(np.array([315.0]), np.array([100]))[0] == pytest.approx(4.547, abs=1e-3)


# -- missing
# ------------------------------------------------------------------------------------------------------

FLEET = (np.array([11, 12, 13, 21]), np.array([1, 1, 1, 2]), np.full(4, 96))


def holes(*rows: tuple[int, str, int]) -> missing.Missing:
    n = len(rows)
    first = np.datetime64("2026-03-11T02:15:00", "us")
    return missing.Missing(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype="U32"),
        np.array([row[2] for row in rows], dtype=np.int64),
        np.full(n, first),
        np.full(n, first + np.timedelta64(1, "h")),
    )


@pytest.mark.parametrize(
    ("row", "severity", "title"),
    [
        ((11, "no-answer", 96), "alarm", "Meter not answering"),
        ((11, "no-answer", 5), "warning", "Meter did not answer at times"),
        ((11, "not-recorded", 4), "info", "Intervals not recorded"),
        ((11, "garbled", 3), "warning", "Garbled answers"),
        ((11, "something-new", 3), "warning", "Something-new"),
    ],
)
def test_missing_by_cause(row: tuple[int, str, int], severity: str, title: str) -> None:
    (finding,) = plain(missing.find(holes(row), *FLEET))
    assert (finding.subject_kind, finding.subject_id, finding.severity) == ("meter", 11, severity)
    assert finding.title_en.startswith(title)
    assert finding.evidence["first"] == "2026-03-11T02:15:00Z"
    assert finding.evidence["missing_slots"] == row[2]


def test_one_cause_on_all_meters_is_one_finding_on_the_terminal() -> None:
    rows = [(meter, "offline", 96) for meter in (11, 12, 13)]
    findings = plain(missing.find(holes(*rows, (21, "no-answer", 96)), *FLEET))
    assert [(f.subject_kind, f.subject_id) for f in findings] == [("terminal", 1), ("meter", 21)]
    assert findings[0].evidence["meters"] == 3
    assert findings[0].evidence["missing_slots"] == 288
    assert findings[0].evidence["whole_day"]


def test_two_of_three_meters_are_two_findings() -> None:
    findings = missing.find(holes((11, "no-answer", 96), (12, "no-answer", 96)), *FLEET)
    assert [f.subject_id for f in findings] == [11, 12]


def test_a_terminal_with_one_meter_speaks_for_itself_only_when_it_is_at_fault() -> None:
    assert missing.find(holes((21, "offline", 96)), *FLEET)[0].subject_kind == "terminal"
    assert missing.find(holes((21, "no-answer", 96)), *FLEET)[0].subject_kind == "meter"


def test_different_causes_are_different_findings() -> None:
    rows = [(11, "no-answer", 4), (12, "garbled", 4), (13, "no-answer", 4)]
    assert [f.subject_kind for f in missing.find(holes(*rows), *FLEET)] == ["meter"] * 3


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(11, "no-answer", 0)],  # came late, but came
        [(11, "not-commissioned", 96)],  # owes nothing
        [(11, "not-asked", 96)],  # the collector owes the question
        [(99, "no-answer", 96)],  # not a commissioned meter
    ],
)
def test_missing_near_misses(rows: list[tuple[int, str, int]]) -> None:
    assert missing.find(holes(*rows), *FLEET) == []


def test_missing_threshold() -> None:
    assert missing.find(holes((11, "garbled", 3)), *FLEET, slots=4) == []


# -- loss
# ---------------------------------------------------------------------------------------------------------


def area(
    rate: float, *, supplied: float = 1000, width: float = 0.02, reason: Reason = Reason.KNOWN
) -> Balance:
    known = reason == Reason.KNOWN
    energy = round(supplied * KWH)

    def column(value: float) -> np.ndarray:
        return np.array([round(value * energy) if known else MISSING])

    return Balance(
        area_id=np.array([77]),
        supplied=column(1),
        sold=column(1 - rate),
        loss=column(rate),
        loss_low=column(rate - width),
        loss_high=column(rate + width),
        likely_low=column(rate - width),
        likely_high=column(rate + width),
        rate=np.array([rate if known and energy else np.nan]),
        reason=np.array([reason], dtype=np.int8),
        meters_due=np.array([20]),
        meters_complete=np.array([20 if known else 19]),
        missing_area=np.array([], dtype=np.int64),
        missing_meter=np.array([], dtype=np.int64),
    )


@pytest.mark.parametrize(
    ("balance", "severity", "certain"),
    [
        (area(0.12), "alarm", True),
        (area(0.08), "warning", False),
        (area(-0.05), "alarm", True),
        (area(-0.015), "warning", False),
    ],
)
def test_loss_out_of_band(balance: Balance, severity: str, certain: bool) -> None:
    (finding,) = plain(loss.find(balance))
    assert (finding.subject_kind, finding.subject_id, finding.severity) == ("area", 77, severity)
    assert finding.evidence["certain"] is certain


@pytest.mark.parametrize(
    "balance",
    [
        area(0.07),
        area(0.0),
        area(-0.01),
        area(0.5, supplied=9.9),  # hardly anything was supplied
        area(0.0, supplied=0),
        area(0.5, reason=Reason.MISSING_REGISTER),
        area(-0.5, reason=Reason.REGISTER_DECREASED),
    ],
)
def test_loss_near_misses(balance: Balance) -> None:
    assert loss.find(balance) == []


def test_loss_band_is_configurable() -> None:
    assert loss.find(area(0.08), high=0.10) == []
    assert len(loss.find(area(-0.005), negative=-0.001)) == 1


# -- theft
# --------------------------------------------------------------------------------------------------------


def test_theft_names_the_meter_with_its_numbers(fleet: Any) -> None:
    topology, registers, thief = fleet(1, 20, 10, 21, bypass=(0.6, 0.6))
    (finding,) = plain(theft.find(topology, find_suspects(topology, registers)))
    assert (finding.subject_kind, finding.subject_id) == ("meter", int(topology.meter[thief[0]]))
    evidence = finding.evidence
    assert evidence["unmetered_share"] == pytest.approx(0.6, abs=0.1)
    assert evidence["significance"] > 4
    used = (registers[thief[0], -1] - registers[thief[0], 0]) / KWH
    assert evidence["kwh_per_day"] == pytest.approx(used * evidence["coefficient"], rel=0.01)
    assert day_balance(topology, registers).known[0]


def workshop(fleet: Any, *, ohm: float, bypass: float = 0.0) -> tuple[Any, ...]:
    """(topology, registers, voltage, current, row) of an honest area in which one customer is a workshop: 3 kW for
    eight hours, behind a service of `ohm`, a share of `bypass` past its meter. The supply meter sees all of it.
    """
    topology, registers, _ = fleet(1, 20, 10, 23)
    row = 7
    used = np.where((np.arange(96) >= 36) & (np.arange(96) < 68), 0.75, 0.02)  # kWh a slot
    through = used * 4000 / 225  # A, all that the wire carries
    change = used + ohm * through**2 / 4000 - np.diff(registers[row]) / KWH
    registers[0, 1:] += np.round(np.cumsum(change) / topology.multiplier[0] * 100).astype(np.int64) * 100
    registers[row, 1:] = (
        registers[row, 0] + np.floor(np.cumsum(used * (1 - bypass)) * 100).astype(np.int64) * 100
    )
    current, voltage = np.full((21, 3, 96), np.nan), np.full((21, 3, 96), np.nan)
    current[:, 0] = np.diff(registers, axis=1) / KWH * 4000 / 225
    voltage[:, 0] = 230 - 0.05 * current[:, 0]
    voltage[0] = 230.0
    voltage[row, 0] = 230 - ohm * through
    return topology, registers, voltage, current, row


def test_a_bad_service_is_no_theft_but_its_voltage_speaks(fleet: Any) -> None:
    topology, registers, volt, ampere, row = workshop(fleet, ohm=4.0)
    blind = theft.find(topology, find_suspects(topology, registers))
    assert [f.subject_id for f in blind] == [topology.meter[row]]  # without the voltages it looks like one
    service = service_loss(topology, volt, ampere)
    assert theft.find(topology, find_suspects(topology, registers, service=service)) == []
    assert [f.subject_id for f in voltage.find(topology.meter, volt)] == [topology.meter[row]]


def test_a_thief_behind_a_bad_service_is_found_and_the_evidence_names_the_service(fleet: Any) -> None:
    topology, registers, volt, ampere, row = workshop(fleet, ohm=4.0, bypass=0.5)
    suspects = find_suspects(topology, registers, service=service_loss(topology, volt, ampere))
    (finding,) = plain(theft.find(topology, suspects))
    assert finding.subject_id == topology.meter[row]
    assert 0.05 < finding.evidence["service_loss_share"] < 0.25
    assert finding.evidence["coefficient"] == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("bypass", [None, (0.02, 0.05)])
def test_theft_near_misses(fleet: Any, bypass: tuple[float, float] | None) -> None:
    topology, registers, _ = fleet(20, 20, 10, 22, bypass=bypass)
    assert theft.find(topology, find_suspects(topology, registers)) == []
