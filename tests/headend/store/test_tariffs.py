"""Tariffs of the utility's own: kept by revisions, all or none, and the past only where somebody says so."""

from __future__ import annotations

import datetime as dt

import psycopg
import pytest

from headend.store import tariffs
from headend.store.db import Connection
from headend.store.tariffs import ChangesThePast, Offered, Put, UnknownTariff, changed_from
from tariffs.plan import shipped
from tests.support.house import at, table

NOW, TODAY = at("2026-03-11 10:00"), dt.date(2026, 3, 11)
SHIPPED = "zhejiang-residential-peak-valley"

VERSION = """
[[version]]
valid_from = {day}
remainder = "peak"
[version.prices]
peak = "{price}"
valley = "0.3"
[version.registers]
T4 = "valley"
[[version.schedule]]
hours = {{ peak = ["08:00-22:00"], valley = ["00:00-08:00", "22:00-24:00"] }}
"""


def offered(*versions: tuple[str, str], name: str = "ours") -> Offered:
    head = (
        f'name = "{name}"\ntitle_en = "Ours"\ntitle_zh = "本公司"\nregion = "330000"\nsource = "notice 7"\n'
    )
    return Offered.of(
        head + "".join(VERSION.format(day=day, price=price) for day, price in versions), f"{name}.toml"
    )


def put(conn: Connection, *given: Offered, past: bool = False) -> list[Put]:
    done = tariffs.put(conn, given, who="wang", reason="notice 7", now=NOW, today=TODAY, past=past)
    conn.commit()
    return done


FIRST, NEXT = ("2024-01-01", "0.5"), ("2026-04-01", "0.6")


def test_a_new_one_holds_from_its_first_day_and_the_same_again_is_nothing(store: Connection) -> None:
    assert put(store, offered(FIRST)) == [Put("ours", 1, dt.date(2024, 1, 1))]
    assert tariffs.load(store).keys() == shipped().keys() | {"ours"}
    assert tariffs.one(store, "ours").on(TODAY).prices[1] == 5000
    assert put(store, offered(FIRST)) == [Put("ours", 0, None)]
    assert len(tariffs.revisions(store, "ours")) == 1
    with pytest.raises(UnknownTariff, match="no tariff 'theirs'; `headend tariff list` shows them"):
        tariffs.one(store, "theirs")


def test_a_price_to_come_is_a_revision_and_one_gone_by_needs_a_word(store: Connection) -> None:
    put(store, offered(FIRST))
    assert put(store, offered(FIRST, NEXT)) == [Put("ours", 2, dt.date(2026, 4, 1))]
    earlier = offered(FIRST, ("2026-03-10", "0.55"), NEXT)
    with pytest.raises(ChangesThePast, match="would change from 2026-03-10 on, which is over"):
        put(store, earlier)
    store.rollback()
    assert len(tariffs.revisions(store, "ours")) == 2
    # today is not over: nothing of it has been charged for good
    assert put(store, offered(FIRST, ("2026-03-11", "0.55"), NEXT))[0].revision == 3
    assert put(store, earlier, past=True) == [Put("ours", 4, dt.date(2026, 3, 10))]
    assert [row["who"] for row in tariffs.revisions(store, "ours")] == ["wang"] * 4


def test_all_or_none(store: Connection) -> None:
    put(store, offered(FIRST))
    with pytest.raises(ChangesThePast):
        put(store, offered(FIRST, name="another"), offered(("2024-01-01", "0.7")))
    store.rollback()
    assert "another" not in tariffs.load(store)


def test_the_utilitys_own_stands_before_the_one_that_came_with_the_program(store: Connection) -> None:
    ours = offered(("2012-07-01", "0.7"), name=SHIPPED)
    with pytest.raises(ChangesThePast, match="2012-07-01"):
        put(store, ours)
    store.rollback()
    put(store, ours, past=True)
    assert tariffs.one(store, SHIPPED).on(TODAY).prices[1] == 7000


def test_no_revision_is_changed_or_thrown_away(store: Connection) -> None:
    put(store, offered(FIRST))
    for sql in ("UPDATE tariff SET toml = ''", "DELETE FROM tariff"):
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            store.execute(sql.encode())
        store.rollback()
    assert table(store, "SELECT length(sha256) FROM tariff") == [(32,)]


def test_the_day_from_which_two_differ() -> None:
    one = offered(FIRST).tariff
    assert changed_from(one, one) is None
    assert (
        changed_from(one, offered(FIRST, ("2025-01-01", "0.5")).tariff) is None
    )  # another version, the same money
    assert changed_from(one, offered(FIRST, NEXT).tariff) == dt.date(2026, 4, 1)
    assert changed_from(offered(FIRST, NEXT).tariff, one) == dt.date(2026, 4, 1)  # a version taken out
    assert changed_from(one, offered(("2025-01-01", "0.5")).tariff) == dt.date(
        2024, 1, 1
    )  # days without a price now
    assert changed_from(None, one) == dt.date(2024, 1, 1)
