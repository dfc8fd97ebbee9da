"""The demonstration's findings do not depend on its seed; scripts/sweep asks thousands of them."""

from __future__ import annotations

import pytest

from headend.plans import REASONS
from lineloss.rules import missing
from tests.support.sweep import SIZES, verdict


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(10))
def test_everything_planted_is_found_and_nobody_else_is_accused(seed: int, size: str) -> None:
    judged = verdict(seed, size)
    assert (judged.overlooked, judged.accused) == ((), ())


def test_the_rule_of_missing_data_speaks_the_ledgers_language() -> None:
    assert set(missing.CAUSES) | missing.EXPECTED == set(REASONS)
