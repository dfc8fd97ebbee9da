"""What is done for an order, by its kind: one kind a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headend.collector.acts.clock import ClockAct
from headend.collector.acts.control import ControlAct
from headend.collector.acts.limits import LimitsAct
from headend.collector.acts.prices import PricesAct
from headend.collector.acts.purchase import PurchaseAct
from headend.collector.acts.reading import ReadingAct
from headend.collector.acts.relay import RelayAct
from headend.collector.acts.writing import WritingAct
from headend.collector.job import Act

ACTS: Final[Mapping[str, Act]] = {
    "relay": RelayAct(),
    "read": ReadingAct(),
    "clock": ClockAct(),
    "parameters": WritingAct("parameters"),
    "archive": WritingAct("archive"),
    "tasks": WritingAct("tasks"),
    "control": ControlAct(),
    "purchase": PurchaseAct(),
    "prices": PricesAct(),
    "limits": LimitsAct(),
}
