"""What really happens in the fleet, written down before the first byte is sent; what must be found.

`write` puts two files into a directory: truth.json (seed, scenario, faults, registers at midnights) and
truth.npz (the arrays of every slot, as the meters display them). They are a function of the scenario alone, so of a fleet
that is too large for its arrays (MOST_WRITTEN) truth.json says the scenario and the faults, and `Truth.of` solves the areas that
somebody asks about.
Relay acts come later; `Truth.expected` solves the areas they touched again, with the same physics.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protocols.localtime import day_slots, midnight
from protocols.reading import REGISTER_QUANTITIES, SLOT_QUANTITIES
from terminals.simulator import diary
from terminals.simulator.area import TOGETHER, Area
from terminals.simulator.codes import area_code, asset_code, customer_code
from terminals.simulator.faults import Faults, Spot
from terminals.simulator.grid import Grid
from terminals.simulator.layout import AreaPlan, Floats, Ints, lay_out
from terminals.simulator.money import Payment, charged, opening_payments
from terminals.simulator.physics import NOT_SHOWN, SHOWN, SHOWN_PER_UNIT, demand, size_wires
from terminals.simulator.scenario import SLOTS, ZONE, Group, Plan, Scenario, Tariff
from terminals.simulator.witness import Act

#: Which row of physics.SHOWN a slot quantity is displayed in.
_ROWS: Final = {
    "voltage_a": "va", "voltage_b": "vb", "voltage_c": "vc",
    "current_a": "ia", "current_b": "ib", "current_c": "ic",
    "active_power": "p", "reactive_power": "q",
}  # fmt: skip
_CHANGES: Final = frozenset(("trip", "close", "key"))


#: Meters times days whose arrays are written: 11 KB each, some 90 MB.
MOST_WRITTEN: Final = 8_000


class BadTruth(Exception):
    """The files are not what `write` wrote."""


@dataclass(frozen=True, slots=True)
class World:
    """A scenario laid out: faults, areas with their wires sized, and the opening payments."""

    scenario: Scenario
    faults: Faults
    plans: tuple[AreaPlan, ...]
    payments: tuple[Payment, ...]

    @property
    def assets(self) -> tuple[str, ...]:
        """Asset numbers of all meters, area by area: the order of every [meter] axis."""
        return tuple(plan.asset(meter) for plan in self.plans for meter in range(plan.meters))

    def asset(self, spot: Spot) -> str:
        return asset_code(spot.area, spot.customer + 1)

    def part(self, areas: Sequence[int]) -> World:
        """These areas alone; what is planted elsewhere stays known."""
        chosen = set(areas)
        payments = tuple(payment for payment in self.payments if payment.spot.area in chosen)
        return World(self.scenario, self.faults, tuple(self.plans[area] for area in areas), payments)


def build(scenario: Scenario) -> World:
    """The world of a scenario."""
    faults, bare = lay_out(scenario)
    plans = tuple(
        plan for k in range(0, len(bare), TOGETHER) for plan in size_wires(scenario, bare[k : k + TOGETHER])
    )
    payments = opening_payments(scenario, faults, plans)
    return World(scenario, faults, plans, tuple(payments))


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """What a head-end has to end up with, for the local days first..last.

    meters     asset numbers, the [meter] axis
    areas      area codes, the [area] axis
    area_of    int[meter]             index into areas
    answers    bool[meter]            False for the dead ones
    slots      datetime64[us][slot]   ends, UTC
    recorded   bool[meter, slot]      which slots the meter has at all
    curve      SLOT_QUANTITIES -> [meter, slot]: int64 in 1e-4 kWh; float64 as displayed, NaN: no such phase
    midnights  datetime64[us][day]    the midnights that close the days, UTC
    freezes    REGISTER_QUANTITIES -> int64[meter, day], 1e-4 kWh
    supplied, consumed, technical, stolen
               float[area, slot]       kWh on the primary side; supplied = consumed + technical
    faults     what is planted and has to be found
    """

    meters: tuple[str, ...]
    areas: tuple[str, ...]
    area_of: Ints
    answers: NDArray[np.bool_]
    slots: NDArray[np.datetime64]
    recorded: NDArray[np.bool_]
    curve: Mapping[str, NDArray[Any]]
    midnights: NDArray[np.datetime64]
    freezes: Mapping[str, Ints]
    supplied: Floats
    consumed: Floats
    technical: Floats
    stolen: Floats
    faults: Mapping[str, Any]
    _world: World
    _areas: dict[int, Area]

    @property
    def available(self) -> NDArray[np.bool_]:
        """bool[meter, slot]: what can be collected from the fleet at all."""
        return np.asarray(self.recorded & self.answers[:, None])

    @property
    def prepaid(self) -> tuple[str, ...]:
        """Asset numbers of the prepaid customers' meters."""
        return tuple(self._world.asset(payment.spot) for payment in self._world.payments)

    def customer(self, asset: str) -> str:
        """The customer number behind a customer's meter."""
        number, meter = self._find(asset)
        return customer_code(Spot(self._world.plans[number].area, meter - 1))

    def opening_fen(self, asset: str) -> int:
        """What the prepaid customer of this meter paid before the first day."""
        return next(p.fen for p in self._world.payments if self._world.asset(p.spot) == asset)

    def charge(self, asset: str, begin: np.datetime64, end: np.datetime64) -> int:
        """Fen for what this meter registered between two instants (UTC)."""
        number, meter = self._find(asset)
        return charged(self._world.scenario.tariff, self._area(number), meter, begin, end)

    def registers(self, asset: str, at: np.datetime64) -> list[int]:
        """Total and four tariffs, 1e-4 kWh, as this meter displays them at an instant (UTC)."""
        number, meter = self._find(asset)
        found = self._area(number).registers(at)
        if found is None:
            raise ValueError(f"{at} lies before history")
        return [int(value) for value in found[:, meter]]

    def _find(self, asset: str) -> tuple[int, int]:
        """Index of the area, and of the meter in it."""
        row = self.meters.index(asset)
        number = int(self.area_of[row])
        return number, row - int(np.searchsorted(self.area_of, number))

    def _area(self, number: int) -> Area:
        """The area as the acts left it; an untouched one is solved when it is asked for."""
        if number not in self._areas:
            self._areas[number] = Area(self._world.scenario, self._world.plans[number])
        return self._areas[number]


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The two files, read back. Of a large fleet `arrays` is empty: see `of`."""

    world: World
    arrays: Mapping[str, NDArray[Any]]
    sha256: str

    def of(self, areas: Sequence[int]) -> Truth:
        """The truth about these areas of the whole fleet, in this order; 11 KB a meter and day of memory."""
        return solve(self.world.part(areas))

    def expected(
        self, acts: Iterable[Act] = (), first: dt.date | None = None, last: dt.date | None = None
    ) -> Expected:
        """What must be found given these relay acts, for the local days first..last (default: all that was
        written).
        """
        scenario = self.world.scenario
        if not self.arrays:
            raise ValueError(
                f"{scenario.meters} meters are too many at once; ask of(areas) for some areas' truth"
            )
        begin = 0 if first is None else (first - scenario.first_day).days
        end = scenario.truth_days - 1 if last is None else (last - scenario.first_day).days
        if not 0 <= begin <= end < scenario.truth_days:
            raise ValueError(f"the truth covers {scenario.truth_days} days from {scenario.first_day}")
        areas = _touched(self.world, acts)
        arrays = {name: array.copy() if areas else array for name, array in self.arrays.items()}
        for number, area in areas.items():
            _fill(arrays, self.world, area, number)
        return _expected(self.world, arrays, areas, begin, end)


def solve(world: World) -> Truth:
    """The truth in memory, as `load` would give it; no files, so no checksum."""
    arrays = _empty(world)
    for number, plan in enumerate(world.plans):
        _fill(arrays, world, Area(world.scenario, plan), number)
    return Truth(world, arrays, "")


def write(directory: Path, world: World) -> str:
    """Write truth.json and truth.npz; returns the sha256 of both, one after the other. A large fleet's arrays are not written."""
    directory.mkdir(parents=True, exist_ok=True)
    npz = directory / "truth.npz"
    whole = world.scenario.meters * world.scenario.truth_days <= MOST_WRITTEN
    arrays = solve(world).arrays if whole else {}
    data = b""
    if not whole:
        npz.unlink(missing_ok=True)
    else:
        with npz.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        data = npz.read_bytes()
    document = {
        "scenario": _plain(world.scenario),
        "faults": faults_by_asset(world),
        "payments": [
            {"meter": world.asset(p.spot), "fen": p.fen, "at": p.at.isoformat()} for p in world.payments
        ],
        "registers": _midnight_registers(world, arrays) if whole else {},
        "events": diary.documents(world.scenario, world.plans) if whole else [],
        "npz_sha256": hashlib.sha256(data).hexdigest() if whole else "",
    }
    text = json.dumps(document, ensure_ascii=False, indent=1).encode()
    (directory / "truth.json").write_bytes(text)
    return hashlib.sha256(text + data).hexdigest()


def digest(directory: Path) -> str:
    """The sha256 of the truth in a directory as `write` returned it; '' when there is none."""
    paths = [path for path in (directory / "truth.json", directory / "truth.npz") if path.exists()]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest() if paths else ""


def scenario_of(directory: Path) -> Scenario:
    """What was written there is the truth of. BadTruth: nothing was."""
    try:
        return _scenario(json.loads((directory / "truth.json").read_text(encoding="utf-8"))["scenario"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadTruth(f"{directory} holds no fleet ({error}); begin one without --resume") from None


def load(directory: Path) -> Truth:
    """Read what `write` wrote. BadTruth: the files do not belong together."""
    text = (directory / "truth.json").read_bytes()
    document = json.loads(text)
    world = build(_scenario(document["scenario"]))
    if not document["npz_sha256"]:
        return Truth(world, {}, hashlib.sha256(text).hexdigest())
    data = (directory / "truth.npz").read_bytes()
    if hashlib.sha256(data).hexdigest() != document["npz_sha256"]:
        raise BadTruth(f"{directory}: truth.npz is not the one truth.json speaks of")
    with np.load(directory / "truth.npz", allow_pickle=False) as arrays:
        read = {name: arrays[name] for name in arrays.files}
    return Truth(world, read, hashlib.sha256(text + data).hexdigest())


def faults_by_asset(world: World) -> dict[str, Any]:
    """The planted faults as a head-end would name them: meters by asset number, areas by their code."""
    faults, scenario = world.faults, world.scenario
    slots = {
        day: day_slots(scenario.first_day + dt.timedelta(days=day), ZONE)
        for day in range(scenario.truth_days)
    }
    return {
        "dead": [world.asset(spot) for spot in faults.dead],
        "missing": [
            {
                "meter": world.asset(gap.spot),
                "slots": [
                    f"{at}Z"
                    for at in slots[gap.day][gap.first : gap.first + gap.count].astype("datetime64[s]")
                ],
            }
            for gap in faults.missing
        ],
        "thieves": [
            {"meter": world.asset(t.spot), "area": area_code(t.spot.area), "bypass": t.bypass}
            for t in faults.thieves
        ],
        "stuck": [
            {
                "meter": world.asset(s.spot),
                "since": f"{(slots[s.day][s.slot] - np.timedelta64(15, 'm')).astype('datetime64[s]')}Z",
            }
            for s in faults.stuck
            if s.day in slots
        ],
        "swapped": [world.asset(spot) for spot in faults.swapped],
        "excursions": [world.asset(spot) for spot in faults.excursions],
        "unbalanced": [area_code(area) for area in faults.unbalanced],
        "broke": world.asset(faults.broke),
        "late": world.asset(faults.late),
        "protected": world.asset(faults.protected),
        "prepaid": [world.asset(spot) for spot in faults.prepaid],
    }


# --- arrays: [meter] axes run over all areas, [slot] over all days written ---


def _empty(world: World) -> dict[str, NDArray[Any]]:
    meters, areas = len(world.assets), len(world.plans)
    slots = world.scenario.truth_days * SLOTS
    floats = {name: np.full((meters, slots), np.nan) for name in _ROWS}
    return {
        "demand": np.full((meters, slots), np.nan),  # kW wanted by the customers, relays aside
        "registers": np.zeros((5, meters, slots), dtype=np.int64),
        "opening": np.zeros((5, meters), dtype=np.int64),
        "recorded": np.ones((meters, slots), dtype=np.bool_),
        "flows": np.zeros((4, areas, slots)),  # supplied, consumed, technical loss, stolen [kWh]
        **floats,
    }


def _fill(arrays: Mapping[str, NDArray[Any]], world: World, area: Area, number: int) -> None:
    plan = area.plan
    rows = slice(number * plan.meters, (number + 1) * plan.meters)
    grid = Grid.of([plan])
    first = area.day(0)
    assert first is not None
    arrays["opening"][:, rows] = first.registers(0)
    for day in range(world.scenario.truth_days):
        solved = area.day(day)
        assert solved is not None
        columns = slice(day * SLOTS, (day + 1) * SLOTS)
        arrays["demand"][rows, columns][1:] = demand(world.scenario, grid, day)
        arrays["registers"][:, rows, columns] = solved.slot_registers()
        arrays["flows"][:, number, columns] = solved.slot_flows()
        arrays["recorded"][rows, columns] = plan.recorded.get(day, True)
        shown = solved.slot_shown()
        for name, row in _ROWS.items():
            k = SHOWN.index(row)
            values = shown[k] / SHOWN_PER_UNIT[k]
            arrays[name][rows, columns] = np.where(shown[k] == NOT_SHOWN, np.nan, values)


def _touched(world: World, acts: Iterable[Act]) -> dict[int, Area]:
    """The areas in which relays acted, with those acts done."""
    where = {
        plan.asset(m): (number, m) for number, plan in enumerate(world.plans) for m in range(plan.meters)
    }
    areas: dict[int, Area] = {}
    for act in sorted(acts, key=lambda a: a.at):
        if act.act not in _CHANGES:
            continue
        number, meter = where[act.meter]
        area = areas.get(number)
        if area is None:
            area = areas[number] = Area(world.scenario, world.plans[number])
        area.switch(act.at, meter, closed=not act.open)
    return areas


def _expected(
    world: World, arrays: Mapping[str, NDArray[Any]], areas: dict[int, Area], begin: int, end: int
) -> Expected:
    scenario = world.scenario
    days = [scenario.first_day + dt.timedelta(days=day) for day in range(begin, end + 1)]
    cut = slice(begin * SLOTS, (end + 1) * SLOTS)
    registers = arrays["registers"]
    curve: dict[str, NDArray[Any]] = {
        "active_import": registers[0, :, cut],
        "active_export": np.zeros_like(registers[0, :, cut]),
        **{name: arrays[name][:, cut] for name in _ROWS},
    }
    closing = registers[:, :, cut][:, :, SLOTS - 1 :: SLOTS]
    freezes = {name: closing[k] for k, name in enumerate(REGISTER_QUANTITIES[:5])}
    flows = arrays["flows"][:, :, cut]
    dead = {world.asset(spot) for spot in world.faults.dead}
    return Expected(
        meters=world.assets,
        areas=tuple(area_code(plan.area) for plan in world.plans),
        area_of=np.repeat(np.arange(len(world.plans)), [plan.meters for plan in world.plans]),
        answers=np.array([asset not in dead for asset in world.assets]),
        slots=np.concatenate([day_slots(day, ZONE) for day in days]),
        recorded=arrays["recorded"][:, cut],
        curve={name: curve[name] for name in SLOT_QUANTITIES},
        midnights=np.array(
            [midnight(day + dt.timedelta(days=1), ZONE) for day in days], dtype="datetime64[us]"
        ),
        freezes={**freezes, "active_export": np.zeros_like(closing[0])},
        supplied=flows[0],
        consumed=flows[1],
        technical=flows[2],
        stolen=flows[3],
        faults=faults_by_asset(world),
        _world=world,
        _areas=areas,
    )


def _midnight_registers(world: World, arrays: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, list[int]]]:
    """asset -> local midnight -> total and four tariffs, 1e-4 kWh."""
    scenario = world.scenario
    names = [str(scenario.first_day + dt.timedelta(days=day)) for day in range(scenario.truth_days + 1)]
    closing = arrays["registers"][:, :, SLOTS - 1 :: SLOTS]
    table = np.concatenate([arrays["opening"][:, :, None], closing], axis=2)
    return {
        asset: {name: table[:, row, k].tolist() for k, name in enumerate(names)}
        for row, asset in enumerate(world.assets)
    }


# --- the scenario as plain data ---


def _plain(scenario: Scenario) -> dict[str, Any]:
    data: dict[str, Any] = dataclasses.asdict(scenario)
    for name in ("first_day", "commissioned", "broke_from", "broke_until"):
        data[name] = data[name].isoformat()
    return data


def _scenario(data: Mapping[str, Any]) -> Scenario:
    tariff = data["tariff"]
    return Scenario(
        **{
            **data,
            "groups": tuple(Group(**group) for group in data["groups"]),
            "plan": Plan(**data["plan"]),
            "tariff": Tariff(tariff["name"], tuple(tariff["hours"]), tuple(tariff["prices"])),
            "first_day": dt.date.fromisoformat(data["first_day"]),
            **{
                name: dt.datetime.fromisoformat(data[name])
                for name in ("commissioned", "broke_from", "broke_until")
            },
        }
    )
