"""The bill (电费账单): lines of all kinds for a batch of accounts on one plan, whose sum is the bill to the fen.

A bill is made segment by segment (Tariff.spans): energy by period, transformer loss, steps, surcharges, basic
charge, power factor. A line of all accounts is one column; a batch is one pass over columns. With rounding "bill"
the bill is the rounded sum of the exact charges, as the daily entries are, and the lines share its rounding: each is
the rounded sum up to and including itself minus the one before, so it is off its own rounding by at most one fen.
With rounding "line" each line is rounded and the bill is their sum.

Energies, steps, surcharges and the basic charge by capacity are linear: the unrounded bill of a..c is that of a..b
plus that of b..c. Demand, the discount on it and the power factor are a month's: a part of a month is provisional.
"""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.reading import MISSING
from tariffs import basic, power_factor, steps, transformer
from tariffs.charge import Problem
from tariffs.determinants import Determinants, lacking
from tariffs.money import Ints, amount, text_of, to_fen
from tariffs.periods import PERIODS, PERIODS_ZH
from tariffs.plan import Segment, Tariff, Version

#: Kinds of line.
ENERGY, LOSS, STEP, SURCHARGE, BASIC, POWER_FACTOR = KINDS = (
    "energy",
    "loss",
    "step",
    "surcharge",
    "basic",
    "power factor",
)
_UNITS_ZH: Final = {"kWh": "千瓦时", "kVA": "千伏安", "kW": "千瓦", "yuan": "元"}
_BASIC: Final = (
    ("capacity", "Basic charge by capacity", "容量基本电费", "kVA"),
    ("demand", "Basic charge by demand", "需量基本电费", "kW"),
    ("above limit", "Demand above the limit of the contract", "超合同限额需量电费", "kW"),
)
_MONEY: Final = 10_000


@dataclass(frozen=True, slots=True)
class Item:
    """What a column of a bill is, for all accounts.

    kind     one of KINDS
    segment  index of the segment
    name     short, unique within a segment: 'peak', 'loss peak', 'step 2', a surcharge's, 'capacity', …
    unit     of the quantity: kWh, kVA, kW, or yuan (the base of a power factor adjustment)
    days     (days charged, days of the month) where a basic charge is for a part of the month
    """

    kind: str
    segment: int
    name: str
    title_en: str
    title_zh: str
    unit: str
    days: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Bill:
    """Columns by account; MISSING where an account cannot be billed.

    items         one a line
    quantity      int64[account, item] [1e-4 of the item's unit]
    price         int64[account, item] [1e-4 yuan per unit]; of a power factor [1e-4], negative: a reduction
    money         int64[account, item] [1e-8 yuan], before rounding
    line_fen      int64[account, item] [fen]
    energy        int64[account] [1e-4 kWh] as metered
    total_fen     int64[account] [fen] == sum of line_fen
    charge        int64[account] [1e-8 yuan] == sum of money
    power_factor  int64[account, segment] mean of the month in hundredths; power_factor.NONE without one
    problem       int8[account] bits of charge.Problem
    elsewhere     bool[account, item]: the basic charge that is on another account of the customer: a line of 0 that says so
    """

    items: tuple[Item, ...]
    quantity: Ints
    price: Ints
    money: Ints
    line_fen: Ints
    energy: Ints
    total_fen: Ints
    charge: Ints
    power_factor: Ints
    problem: NDArray[np.int8]
    elsewhere: NDArray[np.bool_]

    @property
    def computed(self) -> NDArray[np.bool_]:
        """bool[account]: there is an amount; it may still carry problems (estimated, unpriced period)."""
        return np.asarray(self.total_fen != MISSING, dtype=np.bool_)

    @property
    def shown(self) -> NDArray[np.bool_]:
        """bool[account, item]: energy by period always, another line where there is something to say."""
        always = np.array([item.kind == ENERGY for item in self.items], dtype=np.bool_)
        some = (self.quantity != 0) | (self.line_fen != 0) | self.elsewhere
        return np.asarray(self.computed[:, None] & (always[None, :] | some), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Lines:
    """The bills' lines flat, one row a line, in account, segment, item order; only accounts that were computed.

    account int64[line] · item int64[line] (index into Bill.items) · quantity int64[line] · price int64[line] ·
    amount_fen int64[line]
    """

    account: NDArray[np.int64]
    item: NDArray[np.int64]
    quantity: Ints
    price: Ints
    amount_fen: Ints


def flat_lines(result: Bill, account: NDArray[np.int64]) -> Lines:
    """The lines of the bills; account int64[account] are their ids."""
    row, item = np.nonzero(result.shown)
    return Lines(
        account=account[row],
        item=item,
        quantity=result.quantity[row, item],
        price=result.price[row, item],
        amount_fen=result.line_fen[row, item],
    )


def bill(tariff: Tariff, segments: Sequence[Segment], given: Determinants) -> Bill:
    """The bills of accounts that share a plan and a span.

    segments  tariff.spans(first day, day after the last)
    given     one row an account, one column a segment
    """
    if not segments or given.energy.shape[1] != len(segments):
        raise ValueError(
            f"{given.energy.shape[1]} segments of energy for {len(segments)} segments of the plan"
        )
    for one in segments:
        if tariff.spans(one.begin, one.end) != (one,):
            raise ValueError(
                f"{tariff.name} cannot be billed from {one.begin} to {one.end} in one piece; take Tariff.spans"
            )
    problem = given.problem | lacking(tariff, segments, given)
    sheet = _Sheet(tariff, segments, _known(given, problem))
    for n in range(len(segments)):
        sheet.segment(n)
    whole = _whole(given, problem)
    quantity, price, money = (np.stack(side, axis=1) for side in (sheet.quantity, sheet.price, sheet.money))
    charge = money.sum(axis=1)
    if tariff.rounding == "line":
        line_fen = to_fen(money)
        total_fen = line_fen.sum(axis=1)
    else:
        line_fen = np.diff(to_fen(np.cumsum(money, axis=1)), axis=1, prepend=0)
        total_fen = to_fen(charge)
    energy = sheet.given.energy.sum(axis=(1, 2))
    for column in (quantity, money, line_fen, energy, total_fen, charge):
        column[~whole] = MISSING
    return Bill(
        tuple(sheet.items), quantity, price, money, line_fen, energy, total_fen, charge, sheet.factor, problem,
        _elsewhere(sheet.items, given),
    )  # fmt: skip


def _elsewhere(items: Sequence[Item], given: Determinants) -> NDArray[np.bool_]:
    """bool[account, item]: the one line, of capacity, of those whose basic charge is on another account."""
    none = np.zeros(len(given.energy), dtype=np.bool_)
    columns = [
        given.by[:, item.segment] == basic.ELSEWHERE
        if given.by is not None and item.kind == BASIC and item.name == _BASIC[0][0]
        else none
        for item in items
    ]
    return np.stack(columns, axis=1)


def words(result: Bill, row: int, item: int, bearer: str = "") -> tuple[str, str]:
    """A line of one account in English and Chinese: what it is, and how quantity and price make its amount. `bearer`: the point of the customer's
    account that has the basic charge."""
    what = result.items[item]
    if result.elsewhere[row, item]:
        return (
            f"Basic charge: charged once, on the account at {bearer}",
            f"基本电费:并入计量点{bearer}户计收,本户不重复计收",
        )
    quantity, price = _trim(text_of(int(result.quantity[row, item]))), int(result.price[row, item])
    yuan = _trim(_exactly(int(result.money[row, item])))
    if what.kind == POWER_FACTOR:
        mean = int(result.power_factor[row, what.segment])
        factor = f"{mean // 100}.{mean % 100:02d}"
        percent = f"{_trim(text_of(price * 100))} %"
        return (
            f"{what.title_en} (mean {factor}): {quantity} yuan x {percent} = {yuan} yuan",
            f"{what.title_zh}(平均 {factor}):{quantity} 元 × {percent} = {yuan} 元",
        )
    each, of_en, of_zh = _trim(text_of(price)), "", ""
    if what.days is not None:
        of_en, of_zh = f" x {what.days[0]}/{what.days[1]} days", f" × {what.days[0]}/{what.days[1]} 天"
    unit = _UNITS_ZH[what.unit]
    return (
        f"{what.title_en}: {quantity} {what.unit} x {each} yuan/{what.unit}{of_en} = {yuan} yuan",
        f"{what.title_zh}:{quantity} {unit} × {each} 元/{unit}{of_zh} = {yuan} 元",
    )


def _whole(given: Determinants, problem: NDArray[np.int8]) -> NDArray[np.bool_]:
    """bool[account]: everything is known that a bill needs."""
    hides = Problem.MISSING_FREEZE | Problem.NEGATIVE | Problem.MISSING_DETERMINANT | Problem.NOT_OFFERED
    return np.asarray((given.energy != MISSING).all(axis=(1, 2)) & ((problem & hides) == 0), dtype=np.bool_)


def _known(given: Determinants, problem: NDArray[np.int8]) -> Determinants:
    """The same with nothing MISSING: accounts that get no bill are computed as if all they had were 0."""
    whole = _whole(given, problem)

    def kept(column: Ints | None) -> Ints | None:
        if column is None:
            return None
        mask = whole.reshape(-1, *([1] * (column.ndim - 1))) & (column != MISSING)
        return np.asarray(np.where(mask, column, 0), dtype=np.int64)

    return Determinants(
        np.where(whole[:, None, None], given.energy, 0),
        problem,
        before=kept(given.before),
        step_months=given.step_months,
        by=kept(given.by),
        capacity=kept(given.capacity),
        contract=kept(given.contract),
        demand=kept(given.demand),
        reactive=kept(given.reactive),
        iron=kept(given.iron),
        copper=kept(given.copper),
    )


@dataclass
class _Sheet:
    """The columns of a batch as they come together."""

    tariff: Tariff
    segments: Sequence[Segment]
    given: Determinants
    items: list[Item] = field(default_factory=list)
    quantity: list[Ints] = field(default_factory=list)
    price: list[Ints] = field(default_factory=list)
    money: list[Ints] = field(default_factory=list)

    def __post_init__(self) -> None:
        given, segments = self.given, self.segments
        self.nothing = np.zeros(len(given.energy), dtype=np.int64)
        self.loss = [self._loss(n) for n in range(len(segments))]
        self.metered: Ints = given.energy.sum(axis=2)
        self.billed: Ints = np.stack(
            [self.metered[:, n] + self.loss[n].sum(axis=1) for n in range(len(segments))], axis=1
        )
        months = [(segment.begin.year, segment.begin.month) for segment in segments]
        self.same_month = [[k for k, month in enumerate(months) if month == own] for own in months]
        self.before = self._before()
        self.factor = self._factors()

    def segment(self, n: int) -> None:
        """Adds the lines of a segment."""
        version = self.segments[n].version
        begin = len(self.items)
        for period in np.flatnonzero(version.used).tolist():
            self._energy(n, version, period)
        if version.transformer_loss is not None:
            for period in np.flatnonzero(version.used).tolist():
                self._lost(n, version, period)
        self._steps(n, version)
        funds = self._surcharges(n, version)
        self._basic(n, version)
        self._power_factor(n, version, begin, funds)

    def _add(self, item: Item, quantity: Ints, price: Ints | int, money: Ints | None = None) -> None:
        price = np.broadcast_to(np.asarray(price, dtype=np.int64), quantity.shape)
        self.items.append(item)
        self.quantity.append(quantity)
        self.price.append(price)
        self.money.append(amount(quantity, price) if money is None else money)

    def _energy(self, n: int, version: Version, period: int) -> None:
        name, zh = PERIODS[period], PERIODS_ZH[period]
        item = Item(ENERGY, n, name, f"{name.capitalize()} energy", f"{zh}段电量电费", "kWh")
        self._add(item, self.given.energy[:, n, period], version.prices[period] or 0)

    def _lost(self, n: int, version: Version, period: int) -> None:
        name, zh = PERIODS[period], PERIODS_ZH[period]
        item = Item(LOSS, n, f"loss {name}", f"Transformer loss, {name}", f"变损({zh}段)电费", "kWh")
        self._add(item, self.loss[n][:, period], version.prices[period] or 0)

    def _loss(self, n: int) -> Ints:
        """int64[account, period] [1e-4 kWh]"""
        version, given = self.segments[n].version, self.given
        if version.transformer_loss is None:
            return np.zeros_like(given.energy[:, n])
        assert given.iron is not None
        assert given.copper is not None
        lost = given.iron[:, n] + given.copper[:, n]
        return transformer.by_period(version.transformer_loss, lost, given.energy[:, n], version.remainder)

    def _before(self) -> Ints:
        """int64[account, segment] [1e-4 kWh]: used in the running year or month before each segment."""
        running = self.nothing if self.given.before is None else self.given.before
        yearly = any(s.version.steps is not None and s.version.steps.basis == "year" for s in self.segments)
        used = np.empty_like(self.metered)
        last: object = None
        for n, segment in enumerate(self.segments):
            turn = segment.begin.year if yearly else (segment.begin.year, segment.begin.month)
            running = running if last in {None, turn} else self.nothing
            used[:, n], last = running, turn
            running = running + self.metered[:, n]
        return used

    def _steps(self, n: int, version: Version) -> None:
        rule = version.steps
        if rule is None:
            return
        months = None if self.given.step_months is None else self.given.step_months[:, n]
        month = self.segments[n].begin.month
        parts = steps.quantities(rule, self.before[:, n], self.metered[:, n], month, months)
        for k, adder in enumerate(rule.adders):
            if adder:  # a step that adds nothing is in the periods' lines
                item = Item(STEP, n, f"step {k + 1}", f"Step {k + 1}", f"第{k + 1}档加价", "kWh")
                self._add(item, parts[:, k], adder)

    def _surcharges(self, n: int, version: Version) -> Ints:
        """Adds the lines; returns what of the segment's money is funds, int64[account] [1e-8 yuan]."""
        funds = self.nothing
        for part in version.surcharges:
            if not part.included:
                item = Item(SURCHARGE, n, part.name, part.title_en, part.title_zh, "kWh")
                self._add(item, self.billed[:, n], part.price)
            if part.fund:
                funds = funds + amount(self.billed[:, n], part.price)
        return funds

    def _basic(self, n: int, version: Version) -> None:
        rule, given, segment = version.basic, self.given, self.segments[n]
        if rule is None:
            return
        assert given.by is not None
        length = calendar.monthrange(segment.begin.year, segment.begin.month)[1]
        first = segment.begin.day - 1
        stretch = basic.Stretch(first, first + (segment.end - segment.begin).days, length)
        by = given.by[:, n]
        capacity, contract, demand = (
            self.nothing if c is None else c[:, n] for c in (given.capacity, given.contract, given.demand)
        )
        month = self.billed[:, self.same_month[n]].sum(axis=1)
        parts = basic.charges(rule, by, capacity, contract, demand, month, stretch)
        days = (
            None
            if stretch.whole
            else (stretch.end - stretch.first, 30 if rule.days == "thirtieth" else length)
        )
        for (name, en, zh, unit), part in zip(_BASIC, parts, strict=True):
            self._add(Item(BASIC, n, name, en, zh, unit, days), part.quantity, part.price, part.money)

    def _factors(self) -> Ints:
        """Mean power factor of each segment's month, int64[account, segment] in hundredths."""
        factor = np.full(self.metered.shape, power_factor.NONE, dtype=np.int64)
        for n, segment in enumerate(self.segments):
            rule = segment.version.power_factor
            if rule is not None:
                assert self.given.reactive is not None
                same = self.same_month[n]
                active = np.maximum(self.billed[:, same].sum(axis=1), 0)
                factor[:, n] = power_factor.mean(
                    active, power_factor.counted(rule, self.given.reactive[:, same].sum(axis=1))
                )
        return factor

    def _power_factor(self, n: int, version: Version, begin: int, funds: Ints) -> None:
        rule = version.power_factor
        if rule is None:
            return
        base = np.sum(self.money[begin:], axis=0)
        if rule.base == "without funds":
            base = base - funds
        percent = power_factor.percent(rule, self.factor[:, n])
        item = Item(POWER_FACTOR, n, "power factor", "Power factor adjustment", "力调电费", "yuan")
        # of whole fen, as on paper: then the line is its quantity times its price like every other
        self._add(item, to_fen(base) * 100, percent)


def _trim(text: str) -> str:
    """'124.4400' -> '124.44'"""
    return text.rstrip("0").rstrip(".")


def _exactly(money: int) -> str:
    """[1e-8 yuan] -> '70.68192000'"""
    sign, size = ("-", -money) if money < 0 else ("", money)
    return f"{sign}{size // _MONEY**2}.{size % _MONEY**2:08d}"
