"""Random lives of trips against rules that know nothing of the gates; and those rules notice when a gate, the state table or the fence is gone.

scripts/model-orders runs the same for a million steps."""

from __future__ import annotations

from typing import Any

import pytest

from headend.control import gates
from tests.support.order_model.drive import Driver, Violated
from tests.support.order_model.pure import Pure
from tests.support.order_model.world import small

STEPS = 20_000
#: what says no to that alone, and finds it: enough for every gate at this seed
ENOUGH = 60_000


def driver(seed: int, **guards: bool) -> Driver:
    world = small()
    return Driver(world, Pure(world, **guards), seed)


def test_no_trip_leaves_that_must_not() -> None:
    driven = driver(11)
    driven.run(STEPS)
    assert driven.sent > 100
    # a gate that never said no was not tried
    assert set(driven.backend.refused) == {gate.__name__.rpartition(".")[2] for gate in gates.GATES}


#: without it -> a word of what the rules then say
FOUND = {
    "stopped": "kill switch", "protected": "protected", "keep_power": "keep-power", "calendar": "day", "balance": "balance",
    "validation": "validated", "switch": "somebody else",
    "fall": "fall", "notice": "notice", "grace": "granted grace",
    "cap": "cap", "quarantine": "batch", "second_person": "one person", "not_before": "before its time",
    "expiry": "expired",
}  # fmt: skip


@pytest.mark.parametrize("gate", [gate.__name__.rpartition(".")[2] for gate in gates.GATES])
def test_the_rules_notice_a_gate_that_is_gone(gate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    left: Any = tuple(g for g in gates.GATES if not g.__name__.endswith(f".{gate}"))
    assert len(left) == len(gates.GATES) - 1
    monkeypatch.setattr(gates, "GATES", left)
    with pytest.raises(Violated, match=FOUND[gate]):
        driver(3).run(ENOUGH)


def test_the_rules_notice_a_fence_or_a_state_table_that_is_gone() -> None:
    with pytest.raises(Violated, match="stale owner"):
        driver(5, fenced=False).run(ENOUGH)
    with pytest.raises(Violated, match="replayed"):
        driver(5, stateful=False).run(ENOUGH)
