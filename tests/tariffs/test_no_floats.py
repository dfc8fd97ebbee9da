"""No float comes in anywhere: every function that money or energy passes through refuses one, and names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tariffs import basic, charge, ledger, money, power_factor, prepaid, steps, tou, transformer
from tariffs.plan import shipped

ZHEJIANG = shipped()["zhejiang-residential-steps"].versions[0]
INT, FLOAT = np.array([1]), np.array([1.0])
FREEZE, FREEZE_FLOAT = np.zeros((1, 5), dtype=np.int64), np.zeros((1, 5))
DAY = np.array(["2026-03-11"], dtype="datetime64[D]")
PARTS = tou.energy_by_period(np.array([[0, 1]]), np.array([0], dtype=np.int8))
PRICES = np.zeros(5, dtype=np.int64)
RULE = basic.Basic(1, 1, 105, 2, "contract", "calendar", None)
LOSS = transformer.TransformerLoss(2)
BY = np.array([1], dtype=np.int8)
MARCH = basic.Stretch(0, 31, 31)
SURE = np.array([True])
assert ZHEJIANG.steps is not None
STEPS = ZHEJIANG.steps

DOORS: dict[str, Callable[[], Any]] = {
    "amount energy": lambda: money.amount(FLOAT, INT),
    "amount price": lambda: money.amount(INT, FLOAT),
    "to_fen": lambda: money.to_fen(FLOAT),
    "from_fen": lambda: money.from_fen(FLOAT),
    "total": lambda: money.total(FLOAT, 0),
    "share whole": lambda: money.share(FLOAT, INT, INT),
    "share of": lambda: money.share(INT, INT, FLOAT),
    "a plain float": lambda: money.to_fen(0.5),
    "a truth": lambda: money.to_fen(SURE),
    "period_energy first": lambda: charge.period_energy(FREEZE_FLOAT, FREEZE, INT, ZHEJIANG),
    "period_energy last": lambda: charge.period_energy(FREEZE, FREEZE_FLOAT, INT, ZHEJIANG),
    "period_energy multiplier": lambda: charge.period_energy(FREEZE, FREEZE, FLOAT, ZHEJIANG),
    "daily_entry to date": lambda: charge.daily_entry(FLOAT, INT),
    "daily_entry earlier": lambda: charge.daily_entry(INT, FLOAT),
    "energy_by_period": lambda: tou.energy_by_period(np.zeros((1, 2)), np.array([0], dtype=np.int8)),
    "charge_bounds prices": lambda: tou.charge_bounds(PARTS, PRICES.astype(float), INT),
    "charge_bounds multiplier": lambda: tou.charge_bounds(PARTS, PRICES, FLOAT),
    "steps before": lambda: steps.quantities(STEPS, FLOAT, INT, 1),
    "steps energy": lambda: steps.quantities(STEPS, INT, FLOAT, 1),
    "steps months": lambda: steps.quantities(STEPS, INT, INT, 1, FLOAT),
    "basic capacity": lambda: basic.charges(RULE, np.array([0], dtype=np.int8), FLOAT, INT, INT, INT, MARCH),
    "basic contract": lambda: basic.charges(RULE, BY, INT, FLOAT, INT, INT, MARCH),
    "basic demand": lambda: basic.charges(RULE, BY, INT, INT, FLOAT * 9, INT, MARCH),
    "power factor active": lambda: power_factor.mean(FLOAT, INT),
    "power factor reactive": lambda: power_factor.mean(INT, FLOAT),
    "transformer loss": lambda: transformer.by_period(LOSS, FLOAT, FREEZE, 2),
    "transformer energy": lambda: transformer.by_period(LOSS, INT, FREEZE_FLOAT, 2),
    "derive_many": lambda: ledger.derive_many(INT, INT, [""], FLOAT, ["a"]),
    "canonical": lambda: ledger.canonical({"x": 0.5}),
    "canonical array": lambda: ledger.canonical({"x": FLOAT}),
    "assess ledger": lambda: prepaid.assess(
        FLOAT, prepaid.exactly(INT), DAY, SURE, np.datetime64("2026-03-11"), warn1_fen=0, warn2_fen=0
    ),
    "assess threshold": lambda: prepaid.assess(
        INT, prepaid.exactly(INT), DAY, SURE, np.datetime64("2026-03-11"), warn1_fen=0.5, warn2_fen=0
    ),
    "assess charge": lambda: prepaid.exactly(FLOAT),
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS.keys())
def test_every_door_refuses_a_float(door: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=r"must be integers|may not hold"):
        door()
