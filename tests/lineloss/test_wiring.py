"""Every wiring at every load, worked out with complex numbers from the wires themselves and not from the table of the judge."""

from __future__ import annotations

import cmath
import math
from collections import Counter
from collections.abc import Iterator
from itertools import permutations, product

import numpy as np
import pytest

from lineloss.wiring import CERTAIN, LIKELY, Moment, Verdict, Wiring, judge, wirings, words

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
    apart = rng.uniform(-uneven, uneven, 3)
    # the load is what its phases are in the mean: of those that are measured
    loads = load + apart - (apart[[0, 2]] if three_wires else apart).mean()
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


def every(*, three_wires: bool, star: bool, repeats: int = 1) -> Iterator[tuple[True_, float, Verdict]]:
    rng = np.random.default_rng(20260311)
    for true, load in product(forty_eight(three_wires=three_wires), LAGS.tolist()):
        for _ in range(repeats):
            moment = seen(true, load, rng, three_wires=three_wires)
            if not star:
                moment = Moment(moment.names, moment.voltage, moment.current, moment.angle)
            yield true, load, judge(moment)


def known(true: True_) -> Wiring:
    """The judge's own name for it."""
    return next(w for w in wirings(len(true[2])) if (w.voltages, w.currents, w.reversed) == true)


def mistakes(true: True_) -> int:
    """Exchanges of two voltages, of two currents, and reversed currents, counted here."""
    swaps = sum(
        {0: 0, 2: 1, 3: 2}[sum(a != b for a, b in zip(sorted(some), some, strict=True))] for some in true[:2]
    )
    return swaps + sum(true[2])


def is_true(verdict: Verdict, true: True_) -> bool:
    """Whether the first that is said reads as what is there does."""
    return same(verdict.candidates[0].wiring, true)


def same(wiring: Wiring, true: True_) -> bool:
    """Exchanged together, voltages and currents read alike, however the phases are called: compared by the turn of every element."""
    return reading(wiring.voltages, wiring.currents, wiring.reversed) == reading(*true)


def reading(volts: tuple[int, ...], amps: tuple[int, ...], back: tuple[bool, ...]) -> tuple[int, ...]:
    star = [cmath.rect(1, math.radians(-120 * phase)) for phase in range(3)]
    given = [star[phase] for phase in volts]
    elements = (given[0] - given[1], given[2] - given[1]) if len(back) == 2 else tuple(given)
    through = [(-1) ** back[k] * star[phase] for k, phase in enumerate(amps)]
    return tuple(round(lag(i / u)) % 360 for i, u in zip(through, elements, strict=True))


@pytest.mark.parametrize("three_wires", [False, True])
@pytest.mark.parametrize("star", [False, True])
def test_all_48_wirings_at_all_loads(three_wires: bool, star: bool) -> None:
    count: Counter[str] = Counter()
    weighed = {"likely": 0.0, "likely and right": 0.0}
    for true, _load, verdict in every(three_wires=three_wires, star=star):
        count["all"] += 1
        # whatever is said, what is there is among it
        assert any(same(c.wiring, true) for c in verdict.candidates), (true, words(verdict))
        right = is_true(verdict, true)
        if verdict.confidence == CERTAIN:
            count["certain"] += 1
            assert right, (true, words(verdict))
        elif verdict.confidence == LIKELY:
            count["likely"] += 1
            # one connection in twenty is a mistake: what needs two more of them is as much rarer
            weighed["likely"] += 0.05 ** mistakes(true)
            weighed["likely and right"] += right * 0.05 ** mistakes(true)
        else:
            count["cannot tell"] += 1
            assert len(verdict.candidates) > 1
        if verdict.right is not None:
            count["right or wrong"] += 1
            if verdict.confidence != LIKELY:
                assert verdict.right == (mistakes(true) == 0), (true, words(verdict))
    print(
        f"\nthree wires {three_wires}, star {star}: {dict(count)}, {weighed['likely and right'] / weighed['likely']:.4f}"
    )
    assert weighed["likely and right"] >= LIKELY * weighed["likely"]
    assert count["certain"] > 0.05 * count["all"]
    assert count["cannot tell"] < 0.75 * count["all"]


@pytest.mark.parametrize("three_wires", [False, True])
def test_what_happens_in_the_field_is_named_at_every_load(three_wires: bool) -> None:
    """Right, one current reversed, two currents exchanged: said to be so, certainly or most likely, whatever the load."""
    rng = np.random.default_rng(7)
    ends = (0, 2) if three_wires else (0, 1, 2)
    order, none = (0, 1, 2), (False,) * len(ends)
    usual: list[True_] = [(order, ends, none)]
    usual += [(order, ends, tuple(k == one for k in range(len(ends)))) for one in range(len(ends))]
    usual += [(order, (2, 0) if three_wires else (0, 2, 1), none)]
    for true, load in product(usual, LAGS.tolist()):
        verdict = judge(seen(true, load, rng, three_wires=three_wires))
        assert verdict.confidence >= LIKELY, (true, load, words(verdict))
        assert is_true(verdict, true), (true, load, words(verdict))
        assert verdict.right is (true == usual[0])


def test_who_knows_the_load_is_told_for_certain() -> None:
    """A motor lags: no more than sixty degrees are left, and nothing else fits."""
    rng = np.random.default_rng(3)
    for load in (28.0, 40.0, 52.0):
        moment = seen(((0, 1, 2), (0, 1, 2), (False,) * 3), load, rng, three_wires=False)
        assert judge(moment).confidence == LIKELY
        assert judge(moment, (10.0, 60.0)).confidence == CERTAIN


def moment(
    *angles: float, volts: tuple[float, ...] = (220.0,) * 3, amps: tuple[float, ...] = (3.0,) * 3
) -> Moment:
    return Moment(("A", "B", "C"), volts, amps, angles)


def test_low_current_is_no_direction() -> None:
    verdict = judge(moment(10, 10, 10, amps=(0.01, 0.015, 0.005)))
    assert (verdict.confidence, verdict.candidates, verdict.right) == (0.0, (), None)
    assert verdict.weak == ("A", "B", "C")
    assert words(verdict)[0] == "Wiring: cannot tell, the currents are too small to have a direction."
    assert words(verdict)[1] == "接线:无法判断,电流过小,无法判断相角。"
    part = judge(moment(10, 12, 77, amps=(3.0, 3.0, 0.05)))
    assert (part.confidence, part.weak) == (LIKELY, ("C",))  # never certain of what was not seen
    assert "Nothing can be said of C" in words(part)[0]


def test_loads_that_differ_much_are_not_explained_away() -> None:
    verdict = judge(moment(-30, 10, 50))
    assert (verdict.confidence, verdict.right) == (0.0, None)
    assert "cannot tell" in words(verdict)[0]
    assert verdict.candidates[0].wiring.mistakes == 0  # right, with such loads, is one of the explanations
    nothing = judge(moment(-60, 10, 95))
    assert (nothing.candidates, nothing.right) == ((), None)
    assert "no wiring explains these angles" in words(nothing)[0]


def test_a_lost_voltage_is_wrong_whatever_else_is_right() -> None:
    verdict = judge(moment(10, 300, 11, volts=(221.0, 30.0, 219.0)))
    assert (verdict.lost, verdict.right) == (("B",), False)
    assert words(verdict)[0].startswith("Voltage of B lost.")
    assert verdict.candidates[0].wiring.mistakes == 0


def test_a_neutral_adrift_is_told_from_a_weak_network() -> None:
    """Behind a broken neutral the phases differ and the line voltages do not; in a network that sags both do."""
    star = [cmath.rect(220, math.radians(-120 * k)) for k in range(3)]
    shifted = [u - 45 for u in star]
    lags = tuple((lag(u) - lag(shifted[0])) % 360 for u in shifted)
    adrift = Moment(("A", "B", "C"), tuple(map(abs, shifted)), (3.0,) * 3, (10.0,) * 3, lags)
    assert judge(adrift).adrift
    sag = Moment(("A", "B", "C"), (178.0, 220.0, 220.0), (3.0,) * 3, (10.0,) * 3, (0.0, 120.0, 240.0))
    assert not judge(sag).adrift
    assert not judge(moment(10, 10, 10)).adrift


def test_the_order_of_the_phases_where_the_meter_tells_it() -> None:
    rng = np.random.default_rng(5)
    wired: True_ = ((0, 2, 1), (0, 2, 1), (False,) * 3)
    verdict = judge(seen(wired, 12.0, rng, three_wires=False))
    assert (verdict.sequence, verdict.confidence) == ("negative", CERTAIN)
    assert known(wired).mistakes == 1
    assert "right but for the order of the phases" in words(verdict)[0]
    verdict = judge(seen(((0, 2, 1), (0, 1, 2), (False,) * 3), 12.0, rng, three_wires=False))
    assert verdict.candidates[0].wiring.voltages == (0, 2, 1)
    assert "voltages of B and C exchanged" in words(verdict)[0]


def test_what_is_counted_of_a_load_is_the_meters_own_share() -> None:
    for angles, share in (((10, 10, -170), 1 / 3), ((10, 130, -110), 0.0), ((-170, -170, -170), -1.0)):
        assert judge(moment(*angles)).candidates[0].metered == pytest.approx(share, abs=1e-6)
    lines = Moment(("A", "C"), (100.0, 100.0), (3.0, 3.0), (30 + 20.0, -30 + 20.0))
    assert judge(lines).candidates[0].metered == pytest.approx(1.0)
