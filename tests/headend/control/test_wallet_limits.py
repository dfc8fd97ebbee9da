"""What may be written into a wallet's limits: never what cuts off whoever has supply."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.control.wallet_limits import NAMES, against

HELD = {"alarm1": 2000, "alarm2": 500, "overdraft": 1000, "hoarding": 99_999_999, "permit": 0}


@pytest.mark.parametrize(
    ("wanted", "left", "is_open", "why"),
    [
        ({"alarm1": 3000}, 100, False, None),
        ({"alarm2": 600}, 601, False, None),
        ({"alarm2": 600}, 600, False, "6.00 yuan are left: the meter would cut the customer off at 6.00"),
        ({"alarm2": 600}, 500, False, None),  # it has opened once already, and the key has closed it
        ({"alarm2": 400}, 450, False, None),
        ({"overdraft": 500}, -499, False, None),
        ({"overdraft": 500}, -500, False, "-5.00 yuan are left: with an overdraft of 5.00"),
        ({"overdraft": 2000}, -1500, False, None),
        ({"overdraft": 500}, -500, True, None),
        ({"permit": 100}, 100, True, "whoever may close by now would have to pay above 1.00 first"),
        ({"permit": 100}, 101, True, None),
        ({"permit": 100}, 0, True, None),
        ({"permit": 100}, 100, False, None),
        ({"permit": 100}, 0, None, "does not say whether it has cut off"),
        ({"alarm2": 2001}, 9000, False, "alarm2 would be 20.01, above alarm1 20.00"),
        ({"alarm1": 499}, 9000, True, "alarm2 would be 5.00, above alarm1 4.99"),
        ({"price": 1}, 0, False, "'price' is no limit of a wallet"),
        ({"permit": -1}, 0, False, "permit: -1 is no amount from 0 to 99999999 fen"),
        ({"permit": 100_000_000}, 0, False, "is no amount"),
        ({"permit": True}, 0, False, "is no amount"),
        ({"permit": 1.5}, 0, False, "is no amount"),
    ],
)
def test_what_speaks_against(
    wanted: dict[str, Any], left: int, is_open: bool | None, why: str | None
) -> None:
    found = against(wanted, HELD, left, is_open=is_open)
    assert (found is None) == (why is None), found
    assert why is None or why in str(found)


def test_what_the_meter_has_not_is_not_written() -> None:
    assert "permit: the meter has no such limit" in str(
        against({"permit": 0}, {"alarm1": 1}, 9000, is_open=False)
    )


AMOUNTS = st.integers(0, 3000)


@given(
    wanted=st.dictionaries(st.sampled_from(NAMES), AMOUNTS),
    held=st.fixed_dictionaries(dict.fromkeys(NAMES, AMOUNTS)),
    left=st.integers(-3000, 3000),
)
def test_whoever_has_supply_keeps_it(wanted: dict[str, int], held: dict[str, int], left: int) -> None:
    """As a meter does it: it opens on the way down past alarm2, and stays open below the overdraft."""

    def stage(limits: dict[str, int]) -> tuple[bool, bool]:
        return left <= limits["alarm2"], left <= -limits["overdraft"]

    if against(wanted, held, left, is_open=False) is not None:
        return
    before, after = stage(held), stage({**held, **wanted})
    assert all(was or not now for was, now in zip(before, after, strict=True))
