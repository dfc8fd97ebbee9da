"""A wallet beside the ledger: what differs, with the numbers, and what is within what meters may differ by."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from tariffs.plan import shipped
from tariffs.wallet import Look, Rules, compare, used

RULES = Rules()
#: 10 kWh at peak, 4 in the valley
THEN, NOW = (1_000_000, 0, 600_000, 0, 400_000), (1_140_000, 0, 700_000, 0, 440_000)
#: 10 × 0.5680 + 4 × 0.2880, and what 0.02 kWh cut from a register may be worth
SPENT = (682, 685)


def kinds(now: Look, **given: object) -> list[str]:
    return [d.kind for d in compare(now, proved=2, rules=RULES, **given)]  # type: ignore[arg-type]


def test_energy_of_each_register_at_its_price() -> None:
    tariff = shipped()["zhejiang-residential-peak-valley"]
    day = dt.date(2026, 3, 11)
    assert used(tariff, day, day, THEN, NOW, 1) == SPENT
    assert used(tariff, day, day, NOW, THEN, 1) is None  # registers do not fall


def test_what_is_left_follows_from_what_was_bought_and_used() -> None:
    before, given = Look(1_000, 1, THEN), {"bought_fen": 500, "spent_fen": SPENT}
    expected = 1_000 + 500 - SPENT[0]
    assert kinds(Look(expected, 2, NOW), before=before, **given) == []
    assert kinds(Look(expected + RULES.tolerance, 2, NOW), before=before, **given) == []
    (found,) = compare(
        Look(expected + RULES.tolerance + 1, 2, NOW), proved=2, before=before, rules=RULES, **given
    )  # type: ignore[arg-type]
    assert (found.kind, found.numbers["wallet_fen"], found.numbers["most_fen"]) == ("remaining", 919, 918)
    low = 1_000 + 500 - SPENT[1] - RULES.tolerance
    assert kinds(Look(low, 2, NOW), before=before, **given) == []
    assert kinds(Look(low - 1, 2, NOW), before=before, **given) == ["remaining"]
    assert kinds(Look(5, 2, NOW), before=before, bought_fen=500) == []  # nobody knows what was used


def test_another_number_of_purchases_is_said_first() -> None:
    (found,) = compare(Look(0, 3, NOW), proved=2, before=Look(1_000, 1, THEN), spent_fen=SPENT, rules=RULES)
    assert (found.kind, dict(found.numbers)) == ("count", {"wallet": 3, "ledger": 2})


@pytest.mark.parametrize(
    ("fen", "is_open", "overdraft", "says"),
    [
        (-1, False, 0, ["overdrawn"]),
        (-1, True, 0, []),
        (-1, None, 0, []),
        (-100, False, 100, []),
        (-101, False, 100, ["overdrawn"]),
        (-1, False, None, ["overdrawn"]),
        (0, False, 0, []),
    ],
)
def test_overdrawn_and_still_closed(
    fen: int, is_open: bool | None, overdraft: int | None, says: list[str]
) -> None:
    settings = {} if overdraft is None else {"overdraft": overdraft}
    assert kinds(Look(fen, 2, NOW, is_open), settings=settings) == says


def test_limits_that_are_not_those_wanted() -> None:
    settings = {"alarm1": 2_000, "alarm2": 500, "permit": 0}
    assert kinds(Look(1, 2), settings=settings) == []
    wanted = replace(RULES, alarm1=2_000, alarm2=600, permit=10, hoarding=100)
    (found,) = compare(Look(1, 2), proved=2, rules=wanted, settings=settings)
    assert (found.kind, dict(found.numbers)) == (
        "settings", {"alarm2_fen": 500, "alarm2_wanted_fen": 600, "permit_fen": 0, "permit_wanted_fen": 10}
    )  # fmt: skip
