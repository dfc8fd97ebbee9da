"""`scripts/truth`: the pure functions of line loss against other people's networks. --help lists the options."""

from __future__ import annotations

import argparse
import pickle
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from zlib import crc32

import numpy as np

from tests.support.truth.goals import table
from tests.support.truth.score import QUESTIONS, Figures, Stage

#: Looked at while the functions were written.
DEVELOPED = ("ieee", "rural1", "rural2", "semiurb4", "urban6")
#: Never looked at before the end, and with other seeds.
ASIDE = (
    "rural3",
    "semiurb5",
    "kerber_landnetz_freileitung_1",
    "kerber_dorfnetz",
    "kerber_vorstadtnetz_kabel_1",
)
ASIDE_SEEDS = 1000
FOLDER = Path(__file__).resolve().parents[3] / ".headend" / "truth-data"


def stage(name: str, folder: Path) -> Stage:
    """What was kept in `folder`, made where it is not there: simbench reads its tables for eight seconds a grid."""
    folder.mkdir(parents=True, exist_ok=True)

    def kept(what: str) -> object:
        path = folder / f"{what}.pickle"  # our own, never from elsewhere
        if not path.exists():
            from tests.support.truth import networks  # noqa: PLC0415 - a second of imports, needed once

            made = networks.profiles() if what == "profiles" else networks.GRIDS[what]()
            half = path.with_suffix(".half")
            half.write_bytes(pickle.dumps(made))
            half.rename(path)
        return pickle.loads(path.read_bytes())

    profiles, sun = kept("profiles")  # type: ignore[misc]
    names = DEVELOPED if name in DEVELOPED else ASIDE
    beside = names[(names.index(name) + 1) % len(names)] if name in names else name
    return Stage(kept(name), kept(beside), profiles, sun)  # type: ignore[arg-type]


def ask(case: tuple[str, int], questions: tuple[str, ...], days: int, folder: Path) -> Figures:
    name, seed = case
    where = stage(name, folder)
    found: Figures = {}
    for question in questions:
        # each question its own chance: one more of them changes none of the others
        random = np.random.default_rng([seed, crc32(name.encode()), crc32(question.encode())])
        found |= QUESTIONS[question](where, random, days)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/truth", description=__doc__)
    parser.add_argument("questions", nargs="*", help=f"of {', '.join(QUESTIONS)}; default: all")
    parser.add_argument("--grids", nargs="+", default=[], help=f"default: {' '.join(DEVELOPED)}")
    parser.add_argument("--aside", action="store_true", help="the grids and seeds that nobody looked at")
    parser.add_argument("--seeds", type=int, default=10, help="cases of each grid (default 10)")
    parser.add_argument("--first", type=int, default=0, help="first seed (default 0)")
    parser.add_argument("--days", type=int, default=7, help="of the window (default 7)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--data", type=Path, default=FOLDER, help="where grids and profiles are kept")
    parser.add_argument(
        "--check", action="store_true", help="our power flow beside pandapower's runpp_3ph, and nothing else"
    )
    parser.add_argument("--by-grid", action="store_true", help="a table for each grid as well")
    options = parser.parse_args()
    if unknown := set(options.questions) - set(QUESTIONS):
        parser.error(f"no question {', '.join(sorted(unknown))}; there are {', '.join(QUESTIONS)}")
    grids = options.grids or (ASIDE if options.aside else DEVELOPED)
    first = options.first + (ASIDE_SEEDS if options.aside else 0)
    cases = [(g, s) for g in grids for s in range(first, first + options.seeds)]
    for g in grids:
        stage(g, options.data)
    if options.check:
        _check(grids, options.data)
        return
    work = partial(
        ask, questions=tuple(options.questions) or tuple(QUESTIONS), days=options.days, folder=options.data
    )
    with ProcessPoolExecutor(options.jobs) as pool:
        done = list(zip(cases, pool.map(work, cases), strict=True))
    print(
        f"{len(grids)} grids ({', '.join(grids)}), seeds {first} to {first + options.seeds - 1}, {options.days} days"
    )
    for name in ["", *grids] if options.by_grid else [""]:
        total: Figures = {}
        for (grid, _), figures in done:
            if name in ("", grid):
                for figure, values in figures.items():
                    total.setdefault(figure, []).extend(values)
        print(f"\n{name or 'all'}")
        for figure, shown, goal, count in table(total):
            print(f"  {figure:72} {shown:52} {goal:38} {count:6}")


def _check(grids: tuple[str, ...] | list[str], folder: Path) -> None:
    from tests.support.truth import networks  # noqa: PLC0415

    for name in grids:
        random = np.random.default_rng(crc32(name.encode()))
        day = stage(name, folder).day(random, 1)
        volts, loss = networks.check(day, [0, 30, 50, 76])
        print(f"{name:32} runpp_3ph: voltages within {volts:.4f} V, losses within {loss:.4%}")
        if volts > 0.05 or loss > 0.005:
            raise SystemExit(f"truth: the power flow of {name} is not pandapower's")


if __name__ == "__main__":
    main()
