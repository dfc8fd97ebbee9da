"""The order of the worst, and how much missing data may change it."""

from __future__ import annotations

import numpy as np

from lineloss.between import between
from lineloss.ranking import changed, ranked
from lineloss.splits import Metered, Split, Status, flow, split
from lineloss.topology import Pairs, Role
from protocols.reading import MISSING

NAN = float("nan")


def test_the_greatest_first_and_who_may_stand_the_other_way_round() -> None:
    value = np.array([0.03, NAN, 0.08, 0.05])
    told = ranked(value, value - 0.012, value + 0.012)
    assert told.row.tolist() == [2, 3, 0]
    # 8 % - 1.2 > 5 % + 1.2: sure; 5 % - 1.2 < 3 % + 1.2: not
    assert told.uncertain.tolist() == [False, True, False]


def test_another_one_only_where_bounds_lie_apart() -> None:
    now, then = np.array([0.08, 0.05, NAN]), np.array([0.03, 0.04, 0.01])
    step, apart = changed(now, now - 0.01, now + 0.01, then, then - 0.01, then + 0.01)
    assert np.round(step[:2], 6).tolist() == [0.05, 0.01]
    assert apart.tolist() == [True, False, False]


AREAS, METERS, DAYS = 60, 40, 31
SLOTS = DAYS * 96
START = np.datetime64("2026-03-01", "us")
#: the readings around either end of the month: a day of quarter-hours on each side
AROUND = np.arange(-96, 97)


def month(lacking: float, seed: int = 6) -> Split:
    """60 areas of 40 customers, losses from 1 to 12 % and one of 20 %, and a share of all readings missing: single ones, and whole days of meters."""
    random = np.random.default_rng(seed)
    rate = np.r_[np.linspace(0.01, 0.12, AREAS - 1), 0.2][random.permutation(AREAS)]
    shape = random.gamma(2, 0.1, (AREAS, METERS, 1)) * random.uniform(
        0.5, 1.5, (AREAS, METERS, 2 * len(AROUND))
    )
    total = shape[:, :, 0] * SLOTS * random.uniform(0.9, 1.1, (AREAS, METERS))
    registers = np.cumsum(np.concatenate([np.zeros((AREAS, METERS, 1)), shape[:, :, :192]], axis=2), axis=2)
    closing = (
        registers[:, :, 96:97]
        + total[:, :, None]
        + np.cumsum(np.concatenate([np.zeros((AREAS, METERS, 1)), shape[:, :, 193:385]], axis=2), axis=2)
    )
    closing -= closing[:, :, 96:97] - (registers[:, :, 96:97] + total[:, :, None])
    both = np.stack([registers, closing], axis=2)  # [area, meter, end, reading]
    supply = both.sum(axis=1, keepdims=True) / (1 - rate)[:, None, None, None]
    shown = np.concatenate([supply, both], axis=1).reshape(-1, 2, 193)
    shown = (np.floor(shown * 100) * 100).astype(np.int64)
    holes = random.random(shown.shape) < lacking / 2
    days = random.random((*shown.shape[:2], 2)) < lacking / 2
    holes[:, :, :96] |= days[:, :, :1]
    holes[:, :, 96:] |= days[:, :, 1:]
    ends = [
        between(np.where(holes[:, k], MISSING, shown[:, k]), START + k * SLOTS * np.timedelta64(15, "m") + AROUND * np.timedelta64(15, "m"),
                START + k * SLOTS * np.timedelta64(15, "m"))
        for k in (0, 1)
    ]  # fmt: skip
    first, last = ends
    good = (first.value != MISSING) & (last.value != MISSING)
    value = np.where(good, last.value - first.value, MISSING)
    under = np.where(good, (first.high - first.value) + (last.value - last.low), 0)
    over = np.where(good, (first.value - first.low) + (last.high - last.value), 0)
    n = len(value)
    forward = flow(value, under, over, np.full(n, 100), np.full(n, 0.002), np.ones(n, dtype=np.bool_))
    none = flow(
        np.zeros(n, int), np.zeros(n, int), np.zeros(n, int), np.zeros(n, int), np.zeros(n), np.zeros(n, bool)
    )
    role = np.tile([Role.SUPPLY, *[Role.RECEIVE] * METERS], AREAS).astype(np.int8)
    area = np.repeat(np.arange(AREAS), METERS + 1)
    of = Pairs(np.arange(n), area, role, np.zeros(n, dtype=np.bool_), np.arange(AREAS))
    return split(of, Metered(forward, none, np.zeros(n, dtype=np.bool_)))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1])


def test_three_per_cent_missing_leave_the_ten_worst_of_a_month_where_they_were() -> None:
    whole, part = month(0.0), month(0.03)
    assert (whole.status == Status.KNOWN).all()
    assert (part.status == Status.KNOWN).mean() > 0.95
    order = ranked(whole.rate, whole.low / whole.supplied, whole.high / whole.supplied)
    worst = order.row[:10]
    assert spearman(whole.rate[worst], np.nan_to_num(part.rate[worst], nan=-1)) >= 0.9
    told = ranked(part.rate, part.low / part.supplied, part.high / part.supplied)
    # neighbours are 0.19 % apart and their bounds about 0.8 % wide; the worst is 8 % from the next one
    assert not told.uncertain[0]
    assert told.uncertain[1:-1].all()
    # limits of what is missing contain what was not
    known = part.status != Status.UNKNOWN
    assert ((part.low <= whole.loss) & (whole.loss <= part.high))[known].all()
