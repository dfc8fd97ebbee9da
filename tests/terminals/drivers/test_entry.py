"""The difference between two archives: what is written makes them equal, and nothing is ever erased by it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terminals.drivers.archive376 import BLANK
from terminals.drivers.archive698 import BLANK as BLANK_698
from terminals.drivers.entry import Difference, Entry, Wish, difference, entry_of, erasing


def entry(number: int, point: int, address: str = "", **more: object) -> Entry:
    return replace(BLANK, number=number, point=point, address=address or f"{point:012d}", **more)  # type: ignore[arg-type]


def wish(point: int, address: str = "", **more: object) -> Wish:
    return Wish(f"M{point}", point, address or f"{point:012d}", "dlt645-2007", **more)  # type: ignore[arg-type]


def compared(held: list[Entry], wishes: list[Wish], *, needs_point: bool = True) -> Difference:
    blank = BLANK if needs_point else BLANK_698
    return difference(held, wishes, blank, needs_point=needs_point, last=20)


def applied(held: list[Entry], found: Difference) -> list[Entry]:
    rows = {row.number: row for row in held}
    for change in found.changes:
        assert rows.get(change.number) == change.was
        assert change.becomes is not None
        rows[change.number] = change.becomes
    return list(rows.values())


def test_missing_different_superfluous_and_the_same() -> None:
    held = [entry(1, 1), entry(2, 2, "990000000002"), entry(3, 3, port="2"), entry(9, 9)]
    found = compared(held, [wish(1), wish(2), wish(3, port="31"), wish(4)])
    assert [(c.number, c.cells) for c in found.different] == [
        (2, {"address": ("990000000002", "000000000002")}),
        (3, {"port": ("2", "31")}),
    ]
    assert [(c.number, c.was) for c in found.missing] == [(4, None)]
    assert found.superfluous == (entry(9, 9),)
    assert found.same == 1


def test_what_the_archive_says_nothing_of_stays() -> None:
    held = [entry(5, 1, "990000000001", port="3", baud=9600, more={**BLANK.more, "class": 0x51})]
    (change,) = compared(held, [wish(1)]).changes
    assert change.becomes == replace(held[0], address="000000000001")
    assert change.number == 5  # entries are known by their point, whatever number another system gave them


def test_a_number_that_another_point_has_is_not_taken_from_it() -> None:
    held = [entry(2, 7)]
    found = compared(held, [wish(7), wish(2)])
    assert [(c.number, c.becomes and c.becomes.point) for c in found.missing] == [(1, 2)]
    assert found.same == 1


def test_without_a_point_number() -> None:
    nobody = Wish("M", 0, "000000000009", "dlt645-2007")
    assert compared([], [nobody]).unplaced == (nobody,)
    found = compared([entry(3, 3, "000000000009")], [nobody, wish(1)], needs_point=False)
    assert ([c.number for c in found.missing], found.same) == ([1], 1)
    assert [c.number for c in compared([entry(1, 1)], [wish(1), nobody], needs_point=False).missing] == [2]


def test_only_what_is_superfluous_is_erased_and_only_by_name() -> None:
    found = compared([entry(1, 1), entry(9, 9)], [wish(1)])
    (change,) = erasing(found.superfluous, [9, 9])
    assert (change.number, change.was, change.becomes) == (9, entry(9, 9), None)
    with pytest.raises(ValueError, match="entry 1 is not superfluous"):
        erasing(found.superfluous, [9, 1])


def test_a_password_is_in_no_document() -> None:
    row = replace(entry(1, 1), password="112233445566")
    assert "112233445566" not in str(row.document()) + repr(row)
    assert entry_of(row.document(), row.password) == row


points = st.integers(1, 12)
ROWS = st.lists(st.tuples(points, st.integers(1, 5)), unique_by=lambda pair: pair[0], max_size=10)
HELD = ROWS.map(
    lambda pairs: [entry(k, point, f"{address:012d}") for k, (point, address) in enumerate(pairs, 1)]
)
WISHES = ROWS.map(lambda pairs: [wish(point, f"{address:012d}") for point, address in pairs])


@given(HELD, WISHES)
def test_written_once_it_is_as_it_should_be(held: list[Entry], wishes: list[Wish]) -> None:
    found = compared(held, wishes)
    after = applied(held, found)
    again = compared(after, wishes)
    assert again.changes == ()
    assert again.same == len(wishes)
    assert again.superfluous == found.superfluous
    assert all(row in after for row in found.superfluous)  # nothing is erased, nothing of it overwritten
    assert len({row.point for row in after}) == len(after)


@given(HELD, WISHES)
def test_and_so_without_point_numbers(held: list[Entry], wishes: list[Wish]) -> None:
    held = [replace(row, point=row.number) for row in held]
    found = compared(held, wishes, needs_point=False)
    after = applied(held, found)
    assert compared(after, wishes, needs_point=False).changes == ()
    assert all(row in after for row in found.superfluous)
