"""Transformer loss (变损) of customers that are metered on the low side of their own transformer.

    [version.transformer_loss]
    to = "flat"                    # the period that the loss is added to, or "shared": by the periods' energies

Iron loss (铁损) and copper loss (铜损) are energies that come with the other determinants: how they are made (from
the plate or from a province's table by shifts) is not the bill's to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tariffs.door import Door
from tariffs.money import Ints, exact, share
from tariffs.periods import Prices, priced

SHARED: Final = "shared"


@dataclass(frozen=True, slots=True)
class TransformerLoss:
    """to: index into PERIODS; None: shared by the periods."""

    to: int | None

    def facts(self) -> dict[str, Any]:
        return {"to": self.to}


def by_period(rule: TransformerLoss, loss: Ints, energy: Ints, remainder: int) -> Ints:
    """The loss int64[account] [1e-4 kWh] by period, int64[account, period]; its sum is the loss.

    energy     int64[account, period] [1e-4 kWh] as metered
    remainder  the period that takes the loss where nothing was used and so nothing can be shared
    """
    loss, energy = exact(loss, "loss"), exact(energy, "energy")
    spread = np.zeros_like(energy)
    if rule.to is not None:
        spread[:, rule.to] = loss
        return spread
    used = np.maximum(energy, 0)  # a remainder may be negative by a cut-off digit
    upto, whole = np.cumsum(used, axis=1), used.sum(axis=1)
    some = whole > 0
    spread[some] = np.diff(share(loss[some, None], upto[some], whole[some, None]), axis=1, prepend=0)
    spread[~some, remainder] = loss[~some]
    return spread


def read_transformer_loss(door: Door, value: Any, where: str, prices: Prices) -> TransformerLoss:
    table = door.table(value, where)
    door.keys(table, where, {"to"})
    name = table.get("to")
    return TransformerLoss(None if name == SHARED else priced(door, name, f"{where}.to", prices))
