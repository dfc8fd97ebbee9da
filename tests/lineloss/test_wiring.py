"""Every wiring at every load, worked out with complex numbers from the wires themselves and not from the table of the judge."""

from __future__ import annotations

import cmath
import math
from collections import Counter
from collections.abc import Iterator
from itertools import permutations, product

import numpy as np
import pytest

from lineloss.wiring import CERTAIN, LIKELY, Moment, Verdict, judge, wirings, words

#: 0.5 lagging to 0.8 leading, every two degrees
LAGS = np.arange(-36.0, 60.1, 2.0)
True_ = tuple[tuple[int, ...], tuple[int, ...], tuple[bool, ...]]


def lag(value: complex) -> float:
    return -math.degrees(cmath.phase(value))


def seen(
    true: True_,
    load: float,
    rng: np.random.Generator,
    *,
    three_wires: bool,
    error: float = 1.0,
    uneven: float = 5.0,
) -> Moment:
    """What the meter shows: class errors of angles [degrees], phases whose loads differ, magnitudes that differ by some per cent."""
    volts, amps, back = true
    star = [cmath.rect(1, math.radians(-120 * phase)) for phase in range(3)]
    loads = load + rng.uniform(-uneven, uneven, 3)
    flow = [cmath.rect(1, math.radians(-120 * phase - loads[phase])) for phase in range(3)]
    given = [star[phase] for phase in volts]
    elements = (given[0] - given[1], given[2] - given[1]) if three_wires else tuple(given)
    through = [(-1) ** back[k] * flow[phase] for k, phase in enumerate(amps)]
    names = ("A", "C") if three_wires else ("A", "B", "C")
    angles = tuple((lag(i / u) + rng.normal(0, error)) % 360 for i, u in zip(through, elements, strict=True))
    rated = 100.0 if three_wires else 220.0
    n = len(names)
    return Moment(
        names, tuple(rated * rng.uniform(0.98, 1.02, n)), tuple(rng.uniform(2.0, 3.0, n)), angles,
        tuple((lag(u / elements[0])) % 360 for u in elements),
    )  # fmt: skip


def forty_eight(*, three_wires: bool) -> list[True_]:
    """Three wires: six orders of the voltages, two of the currents, four polarities. Four wires: six orders of the currents, eight polarities."""
    if three_wires:
        return list(product(permutations(range(3)), ((0, 2), (2, 0)), product((False, True), repeat=2)))
    return list(product([(0, 1, 2)], permutations(range(3)), product((False, True), repeat=3)))


def every(*, three_wires: bool, star: bool, repeats: int = 2) -> Iterator[tuple[True_, float, Verdict]]:
    rng = np.random.default_rng(20260311)
    for true, load in product(forty_eight(three_wires=three_wires), LAGS.tolist()):
        for _ in range(repeats):
            moment = seen(true, load, rng, three_wires=three_wires)
            if not star:
                moment = Moment(moment.names, moment.voltage, moment.current, moment.angle)
            yield true, load, judge(moment)


def is_true(verdict: Verdict, true: True_) -> bool:
    """Whether the first candidate reads as what is there does: the same turn of every element."""
    (there,) = [w for w in wirings(len(true[2])) if (w.voltages, w.currents, w.reversed) == true] or [None]
    first = verdict.candidates[0].wiring
    return there is None or first.turns == there.turns


def among(verdict: Verdict, true: True_) -> bool:
    there = [w for w in wirings(len(true[2])) if (w.voltages, w.currents, w.reversed) == true]
    return any(c.wiring.turns == there[0].turns for c in verdict.candidates) if there else True


@pytest.mark.parametrize("three_wires", [False, True])
@pytest.mark.parametrize("star", [False, True])
def test_all_48_wirings_at_all_loads(three_wires: bool, star: bool) -> None:
    count: Counter[str] = Counter()
    for true, _load, verdict in every(three_wires=three_wires, star=star):
        count["all"] += 1
        assert verdict.candidates, "a load within the band is always explained"
        # whatever is said, what is there is among it
        count["named"] += among(verdict, true)
        if verdict.confidence == CERTAIN:
            count["certain"] += 1
            count["certain and right"] += is_true(verdict, true)
        elif verdict.confidence == LIKELY:
            count["likely"] += 1
            count["likely and right"] += is_true(verdict, true)
        else:
            count["cannot tell"] += 1
    assert count["named"] == count["all"]
    assert count["certain and right"] == count["certain"]
    assert count["certain"] > 0.1 * count["all"]


@pytest.mark.parametrize("three_wires", [False, True])
def test_what_happens_in_the_field_is_told_at_every_load(three_wires: bool) -> None:
    """Right, one current reversed, two currents exchanged: named at every load, and with the right confidence at most loads."""
    rng = np.random.default_rng(7)
    ends = (0, 2) if three_wires else (0, 1, 2)
    order, none = (0, 1, 2), (False,) * len(ends)
    usual: list[True_] = [(order, ends, none)]
    usual += [(order, ends, tuple(k == one for k in range(len(ends)))) for one in range(len(ends))]
    usual += [
        (order, tuple(sorted(ends, key=lambda k: (k != ends[-1], k))) if three_wires else (0, 2, 1), none)
    ]
    for true, load in product(usual, LAGS.tolist()):
        verdict = judge(seen(true, load, rng, three_wires=three_wires))
        assert among(verdict, true)
        if verdict.confidence:
            assert is_true(verdict, true), (true, load, words(verdict))
        assert verdict.right is not (true != usual[0])
