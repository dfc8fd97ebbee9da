"""Small deliveries for a spool: what is in one is known by its meter."""

from __future__ import annotations

import numpy as np

from headend.collector.records import Brought
from headend.collector.spool import Spool
from headend.plans import CURVE
from headend.store.coverage import Attempt
from headend.store.exchanges import NO_TIMES
from headend.store.intake import Delivery
from headend.store.tables import CURVES
from tests.support.house import at

NOW = at("2026-03-12 00:10")


def items(*meters: int) -> list[Brought]:
    asked = np.array([NOW], dtype="datetime64[us]")
    return [
        Brought(Delivery(CURVES, NOW, attempts=(Attempt(meter, CURVE, asked, NO_TIMES, NOW, "offline"),)))
        for meter in meters
    ]


def emptied(spool: Spool, most: int = 3) -> list[int]:
    """The meters of all that is in it, in order; it is empty then."""
    found: list[int] = []
    while records := spool.peek(most):
        found += [record.brought.delivery.attempts[0].meter for record in records]
        spool.drop()
    return found
