"""Whether a meter is wired right, judged from one moment's voltages, currents and the angles between them (接线判断). Pure.

A wrong connection turns each element's angle by a multiple of 60 degrees: another phase's current or voltage by 120, a current transformer the
wrong way round by 180. What the load itself turns it by is not known, only that it lies between a leading and a lagging power factor. So
every wiring is tried, and those stay that leave all phases with about the same angle within that band. If one stays it is certain; if one
of those that stay needs at least two mistakes less than the others it is likely; else it cannot be told, and which ones it may be is said.

All phases turned alike by 60 degrees look like another load: no meter can tell that from its angles, only whoever knows the load.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Words = tuple[str, str]

#: Degrees by which loads lag (positive) or lead: power factor 0.8 leading to 0.5 lagging.
LAGS: Final = (-37.0, 60.0)
#: What angles may be off by, beyond the band: class of the meter, rounding, the time between two reads [degrees].
MARGIN: Final = 4.0
#: Degrees by which the phases of one load may differ from their mean. From 20 on one phase turned by 60 looks the same.
SPREAD: Final = 20.0
#: Below this share of the largest current, or below so many amperes, the angle is that of noise. No public source gives the limit.
WEAK: Final = 0.05
FAINT: Final = 0.02
#: Below this share of the highest voltage a voltage circuit is open (失压).
LOST: Final = 0.78
#: What meters without voltage transformers are made for, a phase [V].
DIRECT: Final = 220.0
#: Voltages further apart than this, none of them lost, are a neutral that is adrift.
ADRIFT: Final = 0.15
#: How sure: the only explanation; the one that needs two mistakes less than any other.
CERTAIN: Final = 0.99
LIKELY: Final = 0.9
#: Explanations that are named.
NAMED: Final = 4

_PHASES: Final = "ABC"


@dataclass(frozen=True, slots=True)
class Moment:
    """What a meter shows at one moment, by element.

    names    of the elements: A B C of a meter with four wires; A C of one with three (voltages AB and CB); A alone
    voltage  [V];  current [A], magnitudes
    angle    [degrees] by which the element's current lags its own voltage; NaN not known
    star     [degrees] by which each voltage lags the first; None: the meter does not tell
    """

    names: tuple[str, ...]
    voltage: tuple[float, ...]
    current: tuple[float, ...]
    angle: tuple[float, ...]
    star: tuple[float, ...] | None = None

    @property
    def three_wires(self) -> bool:
        return self.names == ("A", "C")


@dataclass(frozen=True, slots=True)
class Wiring:
    """A way to wire it: which phase's voltage and current each terminal gets, and which currents flow backwards.

    turns  degrees by which each element's angle is turned against the load's
    """

    voltages: tuple[int, ...]
    currents: tuple[int, ...]
    reversed: tuple[bool, ...]
    turns: tuple[float, ...]

    @property
    def together(self) -> bool:
        """Voltages and currents are exchanged alike: the order of the phases is another one, and each element is right."""
        return len(self.voltages) == 3 and self.voltages == self.currents and _swaps(self.voltages) == 1

    @property
    def mistakes(self) -> int:
        moved = 1 if self.together else _swaps(self.voltages) + _swaps(self.currents)
        return moved + sum(self.reversed)

    @property
    def positive(self) -> bool:
        """Whether the voltages come in the order A B C."""
        return _swaps(self.voltages) != 1

    @property
    def words(self) -> Words:
        """What is wrong with it."""
        parts = [*_moved("voltages", "电压", self.voltages), *_moved("currents", "电流", self.currents)]
        if self.together:
            parts = [("right but for the order of the phases", "除逆相序外正确")]
        names = [_PHASES[k] for k in ((0, 2) if len(self.reversed) == 2 else range(len(self.reversed)))]
        turned = [name for name, back in zip(names, self.reversed, strict=True) if back]
        if turned:
            parts.append((f"current of {' and '.join(turned)} reversed", f"{'、'.join(turned)} 相电流反接"))
        if not parts:
            return "right", "接线正确"
        return ", ".join(en for en, _ in parts), ",".join(zh for _, zh in parts)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A wiring that explains what is seen. lag: the load's angle then, spread: by how much a phase differs from it [degrees]; metered: the share
    of the power that the meter counts."""

    wiring: Wiring
    lag: float
    spread: float
    metered: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """confidence  CERTAIN or LIKELY of the first candidate; 0: cannot be told
    candidates  what explains it, fewest mistakes first
    why         in words, where nothing could be judged at all
    lost        elements without voltage;  weak: without current enough
    sequence    'positive', 'negative', or '' where the meter does not tell
    adrift      the phase voltages differ as they do behind a broken neutral
    """

    confidence: float
    candidates: tuple[Candidate, ...]
    why: Words | None = None
    lost: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()
    sequence: str = ""
    adrift: bool = False

    @property
    def right(self) -> bool | None:
        """True, False, or None where it cannot be told."""
        if not self.candidates or self.lost:
            return False if self.lost else None
        some = {candidate.wiring.mistakes == 0 for candidate in self.candidates}
        if self.confidence:
            return self.candidates[0].wiring.mistakes == 0
        return False if some == {False} else None


def judge(moment: Moment, lags: tuple[float, float] = LAGS) -> Verdict:
    """What is wrong with the wiring, how sure, and by which numbers.

    lags  the band of the load's angle; who knows more of the load (a motor, a capacitor bank) gives a narrower one and gets a surer answer
    """
    lost, adrift = _voltages(moment)
    weak = _weak(moment)
    sequence = _sequence(moment)
    useful = [k for k, name in enumerate(moment.names) if name not in lost and name not in weak]
    known = [k for k in useful if not math.isnan(moment.angle[k])]
    if not known:
        why = (
            ("the currents are too small to have a direction", "电流过小,无法判断相角")
            if not useful
            else ("the meter tells no angles", "表计未提供相角")
        )
        return Verdict(0.0, (), why, lost, weak, sequence, adrift)
    found = _explain(moment, known, lags, sequence)
    if not found:
        why = (
            "no wiring explains these angles: phases with very different loads",
            "无接线方式可解释该相角:各相负载差异过大",
        )
        return Verdict(0.0, (), why, lost, weak, sequence, adrift)
    return Verdict(
        _sure(found, whole=len(known) == len(moment.names)), tuple(found), None, lost, weak, sequence, adrift
    )


def _sure(found: Sequence[Candidate], *, whole: bool) -> float:
    """How sure the first of these is. An element that was not seen may be turned as well: never certain."""
    best = found[0]
    if best.spread > SPREAD:
        return 0.0
    rest = [
        c
        for c in found[1:]
        if c.wiring.turns != best.wiring.turns or c.wiring.mistakes <= best.wiring.mistakes
    ]
    if not rest:
        return CERTAIN if whole else LIKELY
    return LIKELY if whole and min(c.wiring.mistakes for c in rest) >= best.wiring.mistakes + 2 else 0.0


def _explain(
    moment: Moment, known: Sequence[int], lags: tuple[float, float], sequence: str
) -> list[Candidate]:
    """Wirings that leave a load possible, fewest mistakes first. Of what turns the elements alike those with the fewest mistakes."""
    some, turns = wirings(len(moment.names)), _turns(len(moment.names))[:, list(known)]
    mistakes = _mistakes(len(moment.names))
    left = _turned(np.array([moment.angle[k] for k in known]) - turns)
    mean = np.degrees(np.angle(np.exp(1j * np.radians(left)).sum(axis=1)))
    spread = np.abs(_turned(left - mean[:, None])).max(axis=1)
    low, high = lags[0] - MARGIN, lags[1] + MARGIN
    alike = (spread <= SPREAD) & (mean >= low) & (mean <= high)
    # phases whose loads differ much, each of which is possible: an explanation only if it needs fewer mistakes
    apart = ((left >= low) & (left <= high)).all(axis=1) & ~alike
    least = mistakes[alike].min() if alike.any() else 0
    fits = alike | (apart & (mistakes < least))
    fewest: dict[tuple[float, ...], int] = {}
    found: list[Candidate] = []
    for row in np.flatnonzero(fits).tolist():
        wiring = some[row]
        if sequence and wiring.positive != (sequence == "positive"):
            continue
        if wiring.mistakes <= fewest.setdefault(tuple(turns[row].tolist()), wiring.mistakes):
            metered = _metered(moment, known, left[row].tolist())
            found.append(Candidate(wiring, float(mean[row]), float(spread[row]), metered))
    return found


def _metered(moment: Moment, known: Sequence[int], left: Sequence[float]) -> float:
    """The share of the load's power that is counted by the elements that are seen; NaN without a load."""
    power = [moment.voltage[k] * moment.current[k] for k in known]
    counted = sum(p * math.cos(math.radians(moment.angle[k])) for p, k in zip(power, known, strict=True))
    if moment.three_wires:
        # two elements between line voltages: sqrt(3) U I cos, half of it each
        true = sum(p * math.sqrt(3) / 2 * math.cos(math.radians(a)) for p, a in zip(power, left, strict=True))
    else:
        true = sum(p * math.cos(math.radians(a)) for p, a in zip(power, left, strict=True))
    return counted / true if true else math.nan


@cache
def wirings(elements: int) -> tuple[Wiring, ...]:
    """Every way to wire a meter with one, two (three wires) or three elements, fewest mistakes first."""
    made = {1: _single, 2: _three_wires, 3: _four_wires}[elements]()
    return tuple(sorted(made, key=lambda w: w.mistakes))


@cache
def _turns(elements: int) -> NDArray[np.float64]:
    """float64[wiring, element] [degrees], in the order of `wirings`."""
    return np.array([wiring.turns for wiring in wirings(elements)])


@cache
def _mistakes(elements: int) -> NDArray[np.int64]:
    """int64[wiring], in the order of `wirings`."""
    return np.array([wiring.mistakes for wiring in wirings(elements)])


def _single() -> Iterable[Wiring]:
    for back in (False, True):
        yield Wiring((0,), (0,), (back,), (180.0 * back,))


def _four_wires() -> Iterable[Wiring]:
    for volts, amps, back in product(
        permutations(range(3)), permutations(range(3)), product((False, True), repeat=3)
    ):
        # exchanged alike is read alike, however the phases are called: one of each order stands for all
        if volts == amps and volts not in ((0, 1, 2), (0, 2, 1)):
            continue
        turns = tuple(_turned(120.0 * (amps[k] - volts[k]) + 180.0 * back[k]) for k in range(3))
        yield Wiring(volts, amps, back, turns)


def _three_wires() -> Iterable[Wiring]:
    """Elements AB and CB: the voltage of the first against the second terminal, and of the third against it."""
    for volts, amps, back in product(
        permutations(range(3)), ((0, 2), (2, 0)), product((False, True), repeat=2)
    ):
        star = [cmath.rect(1, math.radians(-120.0 * phase)) for phase in volts]
        lines = (star[0] - star[1], star[2] - star[1])
        turns = tuple(
            _turned(round(120.0 * amps[k] + math.degrees(cmath.phase(lines[k])) + 180.0 * back[k], 6))
            for k in range(2)
        )
        yield Wiring(volts, amps, back, turns)


def _voltages(moment: Moment) -> tuple[tuple[str, ...], bool]:
    """(elements whose voltage is lost, whether the neutral is adrift)."""
    highest = max(moment.voltage, default=0.0)
    # behind a broken neutral one voltage may be far too high: no reason to take the others for lost
    usual = min(highest, DIRECT) if len(moment.names) == 3 and highest > 0.75 * DIRECT else highest
    lost = tuple(
        n for n, u in zip(moment.names, moment.voltage, strict=True) if not u >= LOST * usual or u <= 0
    )
    if lost or len(moment.names) != 3:
        return lost, False
    apart = 1 - min(moment.voltage) / highest
    if moment.star is None:
        return lost, apart > ADRIFT
    star = [cmath.rect(u, math.radians(-lag)) for u, lag in zip(moment.voltage, moment.star, strict=True)]
    lines = [abs(star[k] - star[(k + 1) % 3]) for k in range(3)]
    # the line voltages know nothing of the neutral: where they differ as well, it is the network
    return lost, apart > ADRIFT and 1 - min(lines) / max(lines) < apart / 4


def _weak(moment: Moment) -> tuple[str, ...]:
    largest = max((i for i in moment.current if not math.isnan(i)), default=0.0)
    return tuple(
        n
        for n, i in zip(moment.names, moment.current, strict=True)
        if not (i >= FAINT and i >= WEAK * largest)
    )


def _sequence(moment: Moment) -> str:
    """Of the voltages, where the meter tells their angles."""
    if moment.star is None or len(moment.names) < 2:
        return ""
    lag = _turned(moment.star[1] - moment.star[0])
    first = -60.0 if moment.three_wires else 120.0
    return (
        "positive" if abs(_turned(lag - first)) < 45 else "negative" if abs(_turned(lag + first)) < 45 else ""
    )


@cache
def _swaps(order: tuple[int, ...]) -> int:
    """Exchanges of two that make this order."""
    moved = sum(at != phase for at, phase in zip(sorted(order), order, strict=True))
    return {0: 0, 2: 1, 3: 2}[moved]


def _moved(en: str, zh: str, order: tuple[int, ...]) -> list[Words]:
    swaps = _swaps(order)
    if not swaps:
        return []
    names = [_PHASES[phase] for phase in order]
    if swaps == 2:
        return [(f"{en} rotated: {' '.join(names)}", f"{zh}错相({''.join(names)})")]
    pair = [_PHASES[phase] for at, phase in zip(sorted(order), order, strict=True) if at != phase]
    return [(f"{en} of {' and '.join(sorted(pair))} exchanged", f"{'、'.join(sorted(pair))} 相{zh}互换")]


def _turned(degrees: Any) -> Any:
    """The same direction over -180 up to 180; one, or an array of them."""
    return 180.0 - (180.0 - degrees) % 360.0


def words(verdict: Verdict) -> Words:
    """A verdict in a few sentences, both languages."""
    parts: list[Words] = []
    if verdict.lost:
        names = "/".join(verdict.lost)
        parts.append((f"Voltage of {names} lost.", f"{names} 相失压。"))
    if verdict.adrift:
        parts.append(
            (
                "The phase voltages differ much: check the neutral, it may be broken.",
                "相电压差异大:请检查零线,可能断零。",
            )
        )
    if verdict.sequence == "negative":
        parts.append(("The voltages come in reverse order (phase sequence).", "电压逆相序。"))
    parts.append(_said(verdict))
    if verdict.weak and verdict.candidates:
        names = "/".join(verdict.weak)
        parts.append(
            (f"Nothing can be said of {names}: too little current.", f"{names} 相电流过小,无法判断。")
        )
    return " ".join(en for en, _ in parts), "".join(zh for _, zh in parts)


def _said(verdict: Verdict) -> Words:
    if verdict.why is not None:
        return f"Wiring: cannot tell, {verdict.why[0]}.", f"接线:无法判断,{verdict.why[1]}。"
    named = verdict.candidates[:NAMED]
    if verdict.confidence:
        first = named[0]
        sure = ("certainly", "确定") if verdict.confidence >= CERTAIN else ("most likely", "很可能")
        en, zh = first.wiring.words
        numbers = _numbers(first)
        others = [c for c in named[1:] if c.wiring.turns != first.wiring.turns]
        less = (
            (
                f" Less likely: {'; or '.join(c.wiring.words[0] for c in others)}.",
                f"可能性较小:{';或 '.join(c.wiring.words[1] for c in others)}。",
            )
            if others
            else ("", "")
        )
        return (
            f"Wiring: {sure[0]} {en} ({numbers[0]}).{less[0]}",
            f"接线:{sure[1]}{zh}({numbers[1]})。{less[1]}",
        )
    wrong = verdict.right is False
    en = "; or ".join(f"{c.wiring.words[0]} ({_numbers(c)[0]})" for c in named)
    zh = ";或 ".join(f"{c.wiring.words[1]}({_numbers(c)[1]})" for c in named)
    return (
        f"Wiring: {'wrong, but which way cannot be told' if wrong else 'cannot tell'}: {en}.",
        f"接线:{'有误,但无法区分' if wrong else '无法判断'}:{zh}。",
    )


def _numbers(candidate: Candidate) -> Words:
    way = ("lagging", "滞后") if candidate.lag >= 0 else ("leading", "超前")
    lag = f"{abs(candidate.lag):.0f}°"
    if candidate.wiring.mistakes == 0:
        return f"load {way[0]} {lag}", f"负荷{way[1]} {lag}"
    share = f"{candidate.metered:.0%}"
    return f"load {way[0]} {lag}, {share} of its power is counted", f"负荷{way[1]} {lag},计量 {share}"
