"""How near the truth the pure functions come: one function a question, each for one grid and seed; the summary is goals.py's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lineloss import electrical
from lineloss.balance import day_balance
from lineloss.membership import find_moves
from lineloss.ratios import find_ratios
from lineloss.suspects import find_suspects
from lineloss.technical import narrowed, technical_loss
from protocols.reading import MISSING
from tests.support.truth.grid import Complex, Floats, Grid
from tests.support.truth.homes import SLOTS, Day, Weather, happen, medium_voltage
from tests.support.truth.meters import Faults, Readings, read, together

KWH = 1e-4
#: What one question brought: name of a figure -> its values
Figures = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Stage:
    """A grid, its neighbour on the same line, and the published profiles."""

    grid: Grid
    neighbour: Grid
    profiles: Mapping[str, Complex]
    sun: Floats

    def day(
        self,
        random: np.random.Generator,
        days: int,
        *,
        spread: bool | None = None,
        neighbour: bool = False,
        empty: float = 0.0,
    ) -> Day:
        """Some days of some weather; loads that the lines cannot carry are drawn again, smaller."""
        wave = medium_voltage(days * SLOTS, random)
        for _ in range(6):
            weather = Weather(
                int(random.integers(45, 310)),
                days,
                float(random.uniform(0.5, 1.5)),
                float(random.uniform(0.7, 1.5)),
                bool(random.random() < 0.5) if spread is None else spread,
                float(random.choice([0.0, 0.0, 0.15])),
                empty,
            )
            grid = self.neighbour if neighbour else self.grid
            try:
                return happen(grid, dict(self.profiles), self.sun, weather, random, wave)
            except ValueError:
                continue
        raise ValueError(f"{self.grid.name}: no load that its lines can carry was drawn in six tries")


def technical(stage: Stage, random: np.random.Generator, days: int) -> Figures:
    """The estimate over the power flow's loss, less one; and within how many of its own standard errors it lies."""
    figures: Figures = {}
    for span, missing in ((1, 0.0), (days, 0.0), (days, 0.03)):
        seen = read(stage.day(random, span), random, Faults(missing=missing))
        told = technical_loss(seen.topology, seen.voltage, seen.current, seen.imports, seen.exports)
        true = float(seen.loss.sum())
        name = f"{span} d" + (", 3 % missing" if missing else "")
        figures[f"technical loss, {name}: error"] = [float(told.energy[0]) / true - 1]
        figures[f"technical loss, {name}: within two standard errors"] = [
            float(abs(told.energy[0] - true) < 2 * told.error[0])
        ]
    return figures


def phases(stage: Stage, random: np.random.Generator, days: int) -> Figures:
    """Single-phase meters, one in ten archived on another phase."""
    seen = read(stage.day(random, days), random, Faults(missing=0.03))
    told = technical_loss(seen.topology, seen.voltage, seen.current, seen.imports, seen.exports).phases
    single = (seen.topology.phases == 1) & (np.arange(len(seen.phase)) > 0)
    archived = seen.phase.copy()
    wrong = single & (random.random(len(archived)) < 0.1)
    archived[wrong, 0] = (archived[wrong, 0] + random.integers(1, 3, wrong.sum())) % 3
    swapped = told.swapped(archived)[:, 0]
    certain = told.certain[single, 0]
    return {
        "phase: certain": certain.astype(float).tolist(),
        "phase: right where certain": (told.phase[single, 0] == seen.phase[single, 0])[certain]
        .astype(float)
        .tolist(),
        "swapped phase: found": swapped[wrong].astype(float).tolist(),
        "swapped phase: honest accused": swapped[single & ~wrong].astype(float).tolist(),
    }


def bounds(stage: Stage, random: np.random.Generator, days: int) -> Figures:
    """Each day of an honest area: is the true loss within the likely limits, and how wide are they?"""
    figures: Figures = {}
    for name, faults, main, voltages in (
        ("complete, main class 0.5", Faults(), 0.005, False),
        ("3 % missing, main class 0.5", Faults(missing=0.03), 0.005, False),
        ("3 % missing, main class 1", Faults(missing=0.03), 0.01, False),
        ("3 % missing, main class 1, technical loss known", Faults(missing=0.03), 0.01, True),
        ("3 % silent for the day, main class 0.5", Faults(silent=0.03), 0.005, False),
        ("3 % missing and a clock 8 min off, unknown", Faults(missing=0.03, late=(0, 8.0)), 0.005, False),
        ("3 % missing and a clock 8 min off, measured", Faults(missing=0.03, late=(0, 8.0)), 0.005, False),
    ):
        day = stage.day(random, days)
        seen = read(day, random, faults, main_class=main)
        usual = _energies(seen)
        contain, width, known = [], [], []
        for d in range(days):
            at = slice(d * SLOTS, (d + 1) * SLOTS + 1)
            others = np.delete(usual, d, axis=1) if days > 1 else None
            clock = np.full(len(seen.topology), np.nan)
            if faults.late is not None and name.endswith("measured"):
                clock[faults.late[0] + 1] = faults.late[1] * 60
            told = day_balance(
                seen.topology, seen.imports[:, at], seen.exports[:, at], usual=others, clock=clock
            )
            if voltages:
                slots = slice(d * SLOTS, (d + 1) * SLOTS)
                instants = (seen.voltage[:, :, slots], seen.current[:, :, slots])
                told = narrowed(
                    told, technical_loss(seen.topology, *instants, seen.imports[:, at], seen.exports[:, at])
                )
            known.append(float(told.known[0]))
            if told.known[0] and told.supplied[0] > 0:
                true = float(seen.loss[d * SLOTS : (d + 1) * SLOTS].sum())
                contain.append(float(told.likely_low[0] * KWH <= true <= told.likely_high[0] * KWH))
                width.append(float(told.likely_high[0] - told.likely_low[0]) / float(told.supplied[0]))
        figures |= {
            f"bounds, {name}: contain the truth": contain,
            f"bounds, {name}: width": width,
            f"bounds, {name}: known": known,
        }
    return figures


def _energies(seen: Readings) -> np.ndarray:
    """int64[meter, day]"""
    ends = seen.imports[:, ::SLOTS]
    gone = (ends[:, 1:] == MISSING) | (ends[:, :-1] == MISSING)
    return np.where(gone, MISSING, np.where(gone, 0, ends[:, 1:] - np.where(gone, 0, ends[:, :-1])))


def bypass(stage: Stage, random: np.random.Generator, days: int) -> Figures:
    """One customer's current passes by his meter; and an honest area."""
    figures: Figures = {}
    for published in (False, True):
        name = "published profiles" if published else "profiles of other weeks"
        for kind, low, high, empty in (
            ("30% to 50%", 0.3, 0.5, 0.0),
            ("50% to 99%", 0.5, 0.99, 0.0),
            ("whole", 1.0, 1.0, 0.0),
            ("whole, one home in ten empty", 1.0, 1.0, 0.1),
            ("", 0.0, 0.0, 0.0),
        ):
            day = stage.day(random, days, spread=not published, empty=empty)
            who, share = (
                int(random.choice(np.flatnonzero(day.power.any(axis=1)))),
                float(random.uniform(low, high)),
            )
            seen = read(day, random, Faults(bypass=(who, share), missing=float(random.choice([0.0, 0.03]))))
            lost = technical_loss(seen.topology, seen.voltage, seen.current, seen.imports, seen.exports).lost
            told = find_suspects(
                seen.topology,
                seen.imports,
                seen.exports,
                service=lost,
                voltage=seen.voltage,
                current=seen.current,
                ranking=True,
            )
            accused = set((told.row - 1).tolist())
            honest = float(bool(accused - ({who} if share else set())))
            figures.setdefault(f"bypass, {name}: an honest customer accused (areas)", []).append(honest)
            if not share:
                figures[f"bypass, {name}: nobody steals, somebody accused (areas)"] = [honest]
            else:
                ranked = (told.ranked[0] - 1).tolist()
                figures[f"bypass, {name}, {kind}: in the top 3"] = [float(who in ranked[:3])]
                figures[f"bypass, {name}, {kind}: first"] = [float(who == ranked[0])]
                figures[f"bypass, {name}, {kind}: named"] = [float(who in accused)]
                figures[f"bypass, {name}, {kind}: by exact curve and phase alone, at most"] = [
                    min(1.0, 3 / _alike(day, who))
                ]
    return figures


#: two customers whose true curves agree so far are one for whoever knows the lost curve to the noise of class 1 meters
TWINS = 0.9999


def _alike(day: Day, who: int) -> int:
    """Customers on his phase whose curve is his but for its size, himself included: the lost curve is that of each of them."""
    curve = day.power.real - day.power.real.mean(axis=1, keepdims=True)
    size = np.sqrt((curve**2).sum(axis=1))
    match = curve @ curve[who] >= TWINS * size * size[who]
    return int((match & (size > 0) & (day.grid.phases == day.grid.phases[who])).sum())


def moves(stage: Stage, random: np.random.Generator, days: int) -> Figures:
    """Two areas on one line; a customer or two of each are archived in the other, or none."""
    figures: Figures = {}
    for span in (1, days):
        wave = random.bit_generator.state
        first = stage.day(random, span)
        random.bit_generator.state = wave  # the same medium voltage: the transformers hang on one line
        second = stage.day(random, span, neighbour=True)
        areas = [read(d, random, Faults(missing=0.03), area=0) for d in (first, second)]
        strangers = [
            (a, int(random.integers(len(d.power))), 1 - a)
            for a, d in enumerate((first, second))
            if random.random() < 0.7
        ]
        block = together(areas, strangers)
        told = find_moves(block.topology, block.voltage, block.current, block.imports, block.exports)
        rows = {1 + c + (len(areas[0].topology) if a else 0) for a, c, _ in strangers}
        found = set(told.row.tolist())
        figures[f"wrong area, {span} d: found"] = [float(r in found) for r in rows]
        figures[f"wrong area, {span} d: honest accused (customers)"] = [
            float(r in found)
            for r in range(len(block.topology))
            if r not in rows and block.topology.role[r] == 1
        ]
    return figures


def registers(stage: Stage, random: np.random.Generator, days: int) -> Figures:
    """Stuck registers and reversed current transformers, beside meters that are right."""
    day = stage.day(random, 1, spread=True)
    three = np.flatnonzero(day.grid.phases < 0)
    who = int(random.integers(len(day.power)))
    figures: Figures = {}
    trials = [("stuck meter", Faults(stuck=(who, 0)), who, electrical.Fault.STUCK)]
    if len(three):
        turned = int(random.choice(three))
        trials.append(("reversed CT", Faults(turned=turned), turned, electrical.Fault.REVERSED_PHASE))
    for name, faults, guilty, verdict in trials:
        seen = read(day, random, faults)
        told = electrical.compare(seen.topology, seen.voltage, seen.current, seen.imports, seen.exports)
        enough = told.apparent >= electrical.LEAST
        if enough[guilty + 1]:
            figures[f"{name}: found"] = [float(told.fault[guilty + 1] == verdict)]
        others = np.arange(len(enough)) != guilty + 1
        figures[f"{name}: others accused (customers)"] = (
            (told.fault[others & enough] != 0).astype(float).tolist()
        )
    return figures


def ratios(stage: Stage, random: np.random.Generator, days: int) -> Figures:
    """A customer with current transformers whose archived multiplier is a size or two up or down; the same area with the right one."""
    day = stage.day(random, days, spread=True)
    three = np.flatnonzero((day.grid.phases < 0) & (day.power.real.sum(axis=1) > 0))
    if not len(three):
        return {}
    who = int(random.choice(three))
    figures: Figures = {}
    for places in (int(random.choice([-2, -1, 1, 2])), 0):
        seen = read(day, random, Faults(ratio=(who, places), missing=0.03))
        lost = technical_loss(seen.topology, seen.voltage, seen.current, seen.imports, seen.exports).lost
        told = find_ratios(seen.topology, seen.imports, seen.exports, service=lost)
        found = dict(zip((told.row - 1).tolist(), told.standard.tolist(), strict=True))
        if places:
            figures["wrong CT: found"] = [float(who in found)]
            if who in found:
                figures["wrong CT: true multiplier told"] = [float(found[who] == seen.ratio[who + 1])]
        honest = set(found) - ({who} if places else set())
        figures.setdefault("wrong CT: an honest customer accused (areas)", []).append(float(bool(honest)))
    return figures


QUESTIONS: dict[str, Callable[[Stage, np.random.Generator, int], Figures]] = {
    "technical": technical,
    "phases": phases,
    "bounds": bounds,
    "bypass": bypass,
    "moves": moves,
    "registers": registers,
    "ratios": ratios,
}
