"""Lists on their way to the server."""

from __future__ import annotations

from typing import Any

import pytest

from headend.store.db import Connection


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("int", [1, -2, 2**31 - 1]),
        ("bigint", [0, 2**62, -(2**63)]),
        ("bigint", [7, None, 8]),
        ("bigint", [[1, 2], [3, 4]]),
        ("bigint", []),
        ("boolean", [True, False]),
        ("text", ['quoted "so"', "comma, brace {", "", "NULL"]),
        ("float8", [1.5, -0.25]),
    ],
)
def test_what_a_list_says_arrives(store: Connection, kind: str, values: list[Any]) -> None:
    row = store.execute(f"SELECT %s::{kind}[] AS told".encode(), (values,)).fetchone()
    assert row is not None
    assert row["told"] == values


def test_numbers_are_found_among_others_of_another_size(store: Connection) -> None:
    row = store.execute(
        "SELECT 5 = ANY(%s) AS small, 5::bigint = ANY(%s) AS large", ([4, 5], [5, 2**40])
    ).fetchone()
    assert row == {"small": True, "large": True}
