"""Every table of the network: what the store holds after an import, dated changes, roles by loss object."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headend.store import archive, db
from headend.store.archive import ArchiveBusy, ArchiveError
from headend.store.db import Connection
from tests.support.house import MADRID, SHANGHAI, at, moment, one, place, table
from tests.support.papers import (
    NETWORK,
    TABLES,
    bring,
    changed,
    everything,
    refused,
    said,
    write_csv,
    write_json,
    write_xlsx,
)

EVER = moment("1980-01-01 00:00")


@pytest.fixture
def network(store: Connection, tmp_path: Path) -> Callable[..., Any]:
    """Imports the network, or another paper, as CSV."""

    def run(paper: Any = NETWORK, **options: Any) -> Any:
        return bring(store, write_csv(tmp_path / "paper", paper), **options)

    return run


def test_every_table_is_filled(store: Connection, network: Callable[..., Any]) -> None:
    found = network()
    assert found.new == {kind: len(rows) for kind, rows in NETWORK.items()}
    assert sum(found.changed.values()) == sum(found.ended.values()) == sum(found.left_alone.values()) == 0
    assert all(everything(store)[name] for name in TABLES)
    tree = "SELECT o.code, o.kind, p.code FROM organisation o LEFT JOIN organisation_span s USING (organisation_id) "
    tree += "LEFT JOIN organisation p ON p.organisation_id = s.parent_id ORDER BY 1"
    assert table(store, tree) == [
        ("33", "province", None),
        ("3301", "city", "33"),
        ("330105", "station", "3301"),
    ]
    assert table(
        store,
        "SELECT a.code, l.code, t.code, o.code, s.valid_from FROM area a JOIN area_span s USING (area_id) JOIN line l USING (line_id) "
        "JOIN transformer t USING (transformer_id) JOIN organisation o ON o.organisation_id = s.organisation_id",
    ) == [("A1", "F1", "TR1", "330105", EVER)]
    assert table(store, "SELECT code, maker FROM terminal ORDER BY code") == [("T1", "威胜"), ("T2", "")]
    plate = "SELECT capacity_kva, p0_kw, pk_kw, i0_percent, uk_percent, load_coefficient FROM transformer ORDER BY code"
    exact = [Decimal(text) for text in ("400.0", "0.57", "4.3", "1", "4", "1.1")]
    assert table(store, plate) == [tuple(exact), (Decimal("630.5"), None, None, None, None, None)]
    assert table(store, "SELECT b.voltage_kv, s.code FROM bus b JOIN substation s USING (substation_id)") == [
        (Decimal("10.5"), "S1")
    ]
    assert table(
        store,
        "SELECT m.code, number, operator, plan_bytes, cell, t.code FROM sim m JOIN sim_span USING (sim_id) JOIN terminal t USING (terminal_id)",
    ) == [("89860000000000000001", "1440000001", "移动", 31457280, "460-00-1234-5678", "T2")]
    assert table(
        store, "SELECT m.asset, pn, plans, digits FROM installation JOIN meter m USING (meter_id) ORDER BY 1"
    ) == [("M1", 1, [1, 2, 3, 4], 8), ("M2", 2, [1, 2], 6), ("M3", None, [1], 6)]
    assert table(
        store,
        "SELECT number, industry, capacity_kva, security_kw FROM customer JOIN customer_span USING (customer_id) ORDER BY 1",
    ) == [("C2", "", Decimal("8.00"), None), ("C3", "C13 农副食品加工", Decimal("630.00"), Decimal(0))]
    assert network().changes == ()


def test_roles_by_loss_object(store: Connection, network: Callable[..., Any]) -> None:
    """A public transformer's meter is the supply point of its area and a receive point of its line."""
    network()
    every = "SELECT r.kind, role, voltage_kv::text FROM loss_role r JOIN point p USING (point_id) WHERE p.code = %s ORDER BY 1, 3"
    assert table(store, every, "P1") == [("area", "supply", None), ("line", "receive", None)]
    assert table(store, every, "P9") == [
        ("bus", "receive", None), ("line", "supply", None), ("organisation", "supply", None), ("substation", "receive", None),
        ("voltage", "supply", "10.000"), ("voltage", "receive", "35.000"),
    ]  # fmt: skip
    # who asks for areas alone sees areas alone, by either name
    assert table(store, "SELECT p.code, role FROM area_role JOIN point p USING (point_id) ORDER BY 1") == [
        ("P1", "supply"),
        ("P2", "receive"),
    ]
    line = dict(NETWORK["roles"][0])
    found = network({"roles": [line | {"role": "auxiliary", "from": "2026-04-01"}]})
    assert found.changed == {"roles": 1}
    assert found.changes[0].shown() == {"role": ("receive", "auxiliary")}
    spans = "SELECT r.role, r.valid_from, nullif(r.valid_to, 'infinity') FROM loss_role r JOIN point p USING (point_id) "
    spans += "WHERE p.code = 'P1' AND r.kind = 'line' ORDER BY 2"
    april, march = moment("2026-04-01 00:00"), moment("2026-03-01 00:00")
    assert table(store, spans) == [("receive", march, april), ("auxiliary", april, None)]
    ended = network({"roles": [line | {"role": "auxiliary", "from": "2026-04-01", "to": "2026-05-01"}]})
    assert ended.changes[0].shown() == {"to": ("", "2026-05-01T00:00:00+08:00")}
    # said again, nothing happens
    again = {"roles": [line | {"role": "auxiliary", "from": "2026-04-01", "to": "2026-05-01"}]}
    assert network(again).unchanged == {"roles": 1}


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"kind": "voltage"}, "voltage_kv: is needed for a voltage level, and only there"),
        ({"voltage_kv": "10"}, "voltage_kv: is needed for a voltage level, and only there"),
        ({"object": "F7"}, "object: no line 'F7' in lines.csv or the store"),
        ({"kind": "bus"}, "object: no bus 'F1' in buses.csv or the store"),
        ({"point": "P7"}, "point: no metering point 'P7' in meters.csv or the store"),
        ({"kind": "feeder"}, "kind: 'feeder' is not one of area, line, bus, substation, transformer, organisation, voltage"),
        ({"to": "2026-03-01"}, "to: is not later than `from`"),
        ({"role": "supply", "from": "2026-02-01"}, "from: point P1 is receive of line F1 since 2026-03-01T00:00:00+08:00; "
         "a change needs a later `from`"),
    ],
)  # fmt: skip
def test_roles_that_cannot_be(
    store: Connection, network: Callable[..., Any], tmp_path: Path, cells: dict[str, str], says: str
) -> None:
    network()
    before = everything(store)
    paper = {"roles": [dict(NETWORK["roles"][0]) | cells]}
    assert f"roles.csv:2: {says}" in said(refused(store, write_csv(tmp_path / "wrong", paper)))
    assert everything(store) == before


def test_a_dated_change_keeps_what_was(
    store: Connection, network: Callable[..., Any], tmp_path: Path
) -> None:
    """An area is switched to another line (割接)."""
    network()
    without = changed({"areas": NETWORK["areas"]}, "areas", 0, line="F2")
    (complaint,) = refused(store, write_csv(tmp_path / "wrong", without))
    since = "area A1 is as it was since 1980-01-01T00:00:00+08:00; a change needs a later `from`"
    assert str(complaint) == f"areas.csv:2: from: {since}"
    later = changed({"areas": [dict(row) | {"from": ""} for row in NETWORK["areas"]]}, "areas", 0, line="F2")
    later["areas"][0]["from"] = "2026-06-01"
    found = network(later)
    assert (found.changed, found.unchanged) == ({"areas": 1}, {"areas": 1})
    assert found.changes[0].shown() == {"line": ("F1", "F2")}
    june = moment("2026-06-01 00:00")
    spans = "SELECT l.code, valid_from, nullif(valid_to, 'infinity') FROM area_span JOIN line l USING (line_id) ORDER BY 2"
    assert table(store, spans) == [("F1", EVER, june), ("F2", june, None)]
    assert network(later).changes == ()
    may = archive.listing(store, "areas", at("2026-05-31 00:00"))
    assert [row["area"] for row in may] == ["A1", "A2"]
    # nothing any more: the span ends, and none begins
    gone = changed(later, "areas", 0, organisation="", line="", transformer="", **{"from": "2026-07-01"})
    assert network(gone).changed == {"areas": 1}
    assert table(store, spans)[-1] == ("F2", june, moment("2026-07-01 00:00"))


def test_a_ct_is_exchanged_before_the_same_meter(
    store: Connection, network: Callable[..., Any], tmp_path: Path
) -> None:
    """互感器更换: the meter, its address, plans and passwords stay."""
    network()
    row = {"point": "P1", "ct": "120", "pt": "1", "from": "2026-03-16T10:07"}
    found = network({"ratios": [row]})
    assert found.changes[0].shown() == {"ct": ("80", "120")}
    spans = (
        "SELECT m.asset, ct, secrets, pn, plans, valid_from, nullif(valid_to, 'infinity') FROM installation "
    )
    spans += "JOIN meter m USING (meter_id) WHERE m.asset = 'M1' ORDER BY valid_from"
    when, password = moment("2026-03-16 10:07"), {"password": "123456"}
    assert table(store, spans) == [
        ("M1", 80, password, 1, [1, 2, 3, 4], moment("2026-03-01 00:00"), when),
        ("M1", 120, password, 1, [1, 2, 3, 4], when, None),
    ]
    assert network({"ratios": [row]}).unchanged == {"ratios": 1}
    # hung and given another CT in one import
    paper = {
        "meters": [
            dict(NETWORK["meters"][1]) | {"meter": "M5", "point": "P5", "address": "000000000005", "pn": "5"}
        ],
        "ratios": [{"point": "P5", "ct": "30", "pt": "1", "from": "2026-03-20"}],
    }
    network(paper)
    assert table(store, spans.replace("'M1'", "'M5'"))[1][1] == 30
    for cells, says in (
        ({"from": "2026-03-16T10:07", "ct": "5"}, "from: meter M1 is installed at P1 since 2026-03-16T10:07:00+08:00; a change needs a later `from`"),
        ({"point": "P9"}, "point: no meter hangs at 'P9' whose CT and PT these could be"),
        ({"point": "P8"}, "point: no metering point 'P8' in meters.csv or the store"),
    ):  # fmt: skip
        wrong = write_csv(tmp_path / "wrong", {"ratios": [row | cells]})
        assert said(refused(store, wrong)) == [f"ratios.csv:2: {says}"]


def test_a_meter_is_taken_off_and_an_account_closed(store: Connection, network: Callable[..., Any]) -> None:
    network()
    off = {"meters": [dict(NETWORK["meters"][1]) | {"to": "2026-05-01"}]}
    found = network(off)
    assert found.changes[0].shown() == {"to": ("", "2026-05-01T00:00:00+08:00")}
    assert "M2" not in [m.asset for m in archive.installed(store, at("2026-05-01 00:00"))]
    assert "M2" in [m.asset for m in archive.installed(store, at("2026-04-30 23:59"))]
    assert network(off).unchanged == {"meters": 1}
    # one customer moves out, the next moves in (过户)
    old = dict(NETWORK["customers"][0]) | {"from": "", "to": "2026-04-01"}
    new = old | {"customer": "C9", "name": "李明", "to": ""}
    found = network({"customers": [new, old]})
    assert (found.new, found.changed) == ({"customers": 1}, {"customers": 1})
    accounts = "SELECT number, valid_from, nullif(valid_to, 'infinity') FROM account JOIN customer USING (customer_id) "
    accounts += "JOIN point p USING (point_id) WHERE p.code = 'P2' ORDER BY 2"
    april = moment("2026-04-01 00:00")
    assert table(store, accounts) == [("C2", moment("2026-03-01 08:00"), april), ("C9", april, None)]
    assert network({"customers": [new, old]}).changes == ()


def test_a_customer_of_two_points_is_one(
    store: Connection, network: Callable[..., Any], tmp_path: Path
) -> None:
    network()
    row = dict(NETWORK["customers"][0])
    two = {"customers": [row, row | {"point": "P1", "tariff": "industrial"}]}
    assert network(two).new == {"customers": 1}
    assert (
        one(store, "SELECT count(*) FROM account JOIN customer USING (customer_id) WHERE number = 'C2'") == 2
    )
    two["customers"][1]["capacity_kva"] = "9"
    wrong = write_csv(tmp_path / "wrong", two)
    assert said(refused(store, wrong)) == ["customers.csv:3: customer: 'C2' stands in line 2 already"]


def test_the_tree_has_no_circle(store: Connection, network: Callable[..., Any], tmp_path: Path) -> None:
    network()
    rows = [dict(row) | {"from": "2026-04-01"} for row in NETWORK["organisations"]]
    rows[0]["parent"] = "330105"
    wrong = write_csv(tmp_path / "wrong", {"organisations": rows})
    above = "'330105' is a station, which is not above a province"
    assert said(refused(store, wrong)) == [f"organisations.csv:2: parent: {above}"]
    only = write_csv(
        tmp_path / "wrong", {"organisations": [dict(NETWORK["organisations"][1]) | {"kind": "station"}]}
    )
    assert said(refused(store, only)) == [
        "organisations.csv:2: kind: 'station' is not above 330105, a station below it in the store"
    ]


REFERENCES = [
    ("organisations", 1, "parent", "no organisation 'X' in organisations.csv or the store"),
    ("substations", 0, "organisation", "no organisation 'X' in organisations.csv or the store"),
    ("buses", 0, "substation", "no substation 'X' in substations.csv or the store"),
    ("lines", 0, "bus", "no bus 'X' in buses.csv or the store"),
    ("transformers", 0, "line", "no line 'X' in lines.csv or the store"),
    ("areas", 0, "transformer", "no transformer 'X' in transformers.csv or the store"),
    ("terminals", 0, "organisation", "no organisation 'X' in organisations.csv or the store"),
    ("sims", 0, "terminal", "no terminal 'X' in terminals.csv or the store"),
    ("points", 0, "organisation", "no organisation 'X' in organisations.csv or the store"),
]
CELLS = [
    ("organisations", "kind", "village", "'village' is not one of province, city, county, station"),
    ("buses", "voltage_kv", "0", "'0' is not between 0.001 and 1500"),
    ("lines", "voltage_kv", "10.0005", "'10.0005' has more than 3 decimal places"),
    ("transformers", "owner", "us", "'us' is not one of public, customer"),
    ("transformers", "p0_kw", "-1", "'-1' is not between 0.0001 and 10000"),
    ("sims", "plan_bytes", "1e9", "'1e9' is not a whole number from 0 to 100000000000000"),
    ("points", "kind", "house", "'house' is not one of customer, area, gateway, generation"),
    ("meters", "pn", "0", "'0' is not a whole number from 1 to 32767"),
    ("meters", "plans", "curve hour", "'hour' is not one of the plans curve, day, month, phase"),
    ("meters", "digits", "3", "'3' is not a whole number from 4 to 9"),
    ("meters", "to", "2026-01-01", "is not later than `from`"),
    ("meters", "role", "", "is empty; area and role go together"),
    ("customers", "capacity_kva", "0.001", "'0.001' is not between 0.01 and 10000000"),
    ("customers", "security_kw", "-1", "'-1' is not between 0 and 10000000"),
]


def test_what_refers_to_nothing_and_what_is_no_value(store: Connection, tmp_path: Path) -> None:
    for kind, row, column, says in REFERENCES:
        paper = changed(NETWORK, kind, row, **{column: "X"})
        assert f"{kind}.csv:{row + 2}: {column}: {says}" in said(
            refused(store, write_csv(tmp_path / "p", paper))
        )
    for kind, column, value, says in CELLS:
        rows = [dict(each) | ({"to": ""} if column == "to" else {}) for each in NETWORK[kind]]
        paper = changed({**NETWORK, kind: rows}, kind, 0, **{column: value})
        assert f"{kind}.csv:2: {column}: {says}" in said(refused(store, write_csv(tmp_path / "p", paper)))
    assert not any(everything(store).values())


def test_a_point_number_that_is_taken(store: Connection, network: Callable[..., Any], tmp_path: Path) -> None:
    twice = changed(NETWORK, "meters", 1, pn="1")
    assert said(refused(store, write_csv(tmp_path / "p", twice))) == [
        "meters.csv:3: pn: 1 behind T1 stands in line 2 already"
    ]
    network()
    new = dict(NETWORK["meters"][1]) | {"meter": "M5", "point": "P5", "address": "000000000005"}
    assert said(refused(store, write_csv(tmp_path / "p", {"meters": [new]}))) == [
        "meters.csv:2: pn: 2 behind T1 belongs to meter M2 in the store"
    ]


def test_a_civil_time_that_the_clocks_skip(store: Connection, tmp_path: Path) -> None:
    paper = changed(NETWORK, "meters", 0, **{"from": "2026-03-29T02:30"})
    with pytest.raises(ArchiveError) as caught:
        archive.load(store, write_csv(tmp_path / "p", paper), zone=MADRID)
    assert "meters.csv:2: from: '2026-03-29T02:30:00' does not exist: the clocks go forward then" in said(
        caught.value.complaints
    )


def test_unknown_columns_are_not_swallowed(store: Connection, tmp_path: Path) -> None:
    paper = {"areas": [dict(NETWORK["areas"][1]) | {"capcity": "1"}]}
    (complaint,) = refused(store, write_csv(tmp_path / "p", paper))
    assert str(complaint) == (
        "areas.csv:1: capcity: no such column; there are area,name,capacity_kva,organisation,line,transformer,from"
    )


@pytest.mark.parametrize("write", [write_csv, write_json, write_xlsx], ids=["csv", "json", "xlsx"])
def test_three_formats_give_the_same_store(
    store: Connection, network: Callable[..., Any], tmp_path: Path, write: Callable[..., Path]
) -> None:
    suffix = {"write_csv": "", "write_json": ".json", "write_xlsx": ".xlsx"}[write.__name__]  # type: ignore[attr-defined]
    path = write(tmp_path / f"archive{suffix}", NETWORK)
    bring(store, path)
    made = everything(store)
    assert all(made.values())
    assert network().changes == ()
    assert everything(store) == made


def test_a_folder_may_hold_a_workbook(store: Connection, tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "f", {"areas": NETWORK["areas"][1:]})
    write_xlsx(folder / "archive.xlsx", {"areas": NETWORK["areas"][1:]})
    assert said(refused(store, folder)) == ["archive.xlsx[areas]:1: file: areas stand in areas.csv already"]
    (folder / "areas.csv").unlink()
    assert bring(store, folder).new == {"areas": 1}
    assert bring(store, folder / "archive.xlsx").unchanged == {"areas": 1}


def overlapping(conn: Connection, sql: str, *parameters: Any) -> None:
    with pytest.raises(psycopg.errors.ExclusionViolation):
        conn.execute(sql, parameters)
    conn.rollback()


def test_the_database_itself_refuses_overlaps(store: Connection, network: Callable[..., Any]) -> None:
    network()
    april = moment("2026-04-01 00:00")
    spans = [name for name in TABLES if name.endswith("_span")]
    assert len(spans) == 9
    for name in spans:
        thing = f"{name.removesuffix('_span')}_id"
        columns = [
            row["column_name"] for row in store.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND column_name <> ALL(%s)",
                (name, ["valid_from", "valid_to"]),
            )
        ]  # fmt: skip
        kept = ", ".join(columns)
        overlapping(
            store,
            f"INSERT INTO {name} ({kept}, valid_from) SELECT {kept}, %s FROM {name} ORDER BY {thing} LIMIT 1",
            april,
        )
    copied = "meter_id, point_id, terminal_id, ct, pt"
    for replaced in ("point_id", "meter_id"):
        other = copied.replace(
            replaced, f"(SELECT max({replaced}) FROM {replaced.removesuffix('_id')}) AS {replaced}", 1
        )
        overlapping(
            store,
            f"INSERT INTO installation ({copied}, address, valid_from) SELECT {other}, 'x', %s FROM installation "
            "WHERE meter_id = 1",
            april,
        )
    overlapping(
        store, "INSERT INTO area_role SELECT point_id, area_id, role, %s FROM area_role LIMIT 1", april
    )
    overlapping(
        store,
        "INSERT INTO account (customer_id, point_id, tariff, prepaid, valid_from) "
        "SELECT (SELECT max(customer_id) FROM customer), point_id, 'x', false, %s FROM account WHERE account_id = 1",
        april,
    )
    # an end that is moved into another's span is no better
    store.execute("UPDATE area_span SET valid_to = %s", (april,))
    store.execute(
        "INSERT INTO area_span (area_id, line_id, valid_from) SELECT area_id, line_id, %s FROM area_span",
        (april,),
    )
    store.commit()
    overlapping(store, "UPDATE area_span SET valid_to = 'infinity' WHERE valid_to = %s", april)


def test_two_who_write_at_once_cannot_overlap(store: Connection, second: Connection) -> None:
    """The second waits, and then sees what the first has committed: neither had seen the other's row."""
    where = place(store, "1")
    store.execute("UPDATE installation SET valid_to = %s", (moment("2026-03-01 00:00"),))
    store.commit()
    sql = "INSERT INTO installation (meter_id, point_id, terminal_id, address, ct, pt, valid_from) VALUES (%s, %s, %s, %s, 1, 1, %s)"
    given = (where.meter, where.point, where.terminal)
    store.execute(sql, (*given, "a", moment("2026-03-02 00:00")))
    caught: list[BaseException] = []

    def other() -> None:
        try:
            second.execute(sql, (*given, "b", moment("2026-03-03 00:00")))
        except psycopg.Error as error:
            caught.append(error)
        second.rollback()

    thread = threading.Thread(target=other)
    thread.start()
    until_waiting(store, second)
    store.commit()
    thread.join(30)
    assert [type(error) for error in caught] == [psycopg.errors.ExclusionViolation]
    assert one(store, "SELECT count(*) FROM installation") == 2


def until_waiting(conn: Connection, other: Connection) -> None:
    """The other one waits for a lock."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        row = conn.execute(
            "SELECT count(*) AS n FROM pg_locks WHERE pid = %s AND NOT granted", (other.info.backend_pid,)
        ).fetchone()
        if row is not None and row["n"]:
            return
    raise AssertionError("nobody waits")


def test_two_imports_take_turns(
    store: Connection, second: Connection, network: Callable[..., Any], tmp_path: Path
) -> None:
    """The same meter exchanged twice at once: the second hears of the first."""
    network()
    row = dict(NETWORK["meters"][1]) | {"from": "2026-03-11T10:00", "pn": ""}
    first = write_csv(tmp_path / "first", {"meters": [row | {"meter": "M8", "address": "000000000008"}]})
    other = write_csv(tmp_path / "other", {"meters": [row | {"meter": "M9", "address": "000000000009"}]})
    store.execute("SELECT")  # the test's transaction, which the import is a part of
    archive.load(store, first, zone=SHANGHAI)
    heard: list[str] = []
    thread = threading.Thread(target=lambda: heard.extend(said(refused(second, other))))
    thread.start()
    until_waiting(store, second)
    store.commit()
    thread.join(30)
    since = "meter M8 is installed at P2 since 2026-03-11T10:00:00+08:00; a change needs a later `from`"
    assert heard == [f"meters.csv:2: from: {since}"]
    assert one(store, "SELECT count(*) FROM installation WHERE valid_to = 'infinity'") == 3


def test_who_waits_too_long_is_told(
    store: Connection,
    second: Connection,
    network: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headend.store.archive.loading.LOCK_WAIT", "50ms")
    store.execute("SELECT")  # the test's transaction, which the import is a part of
    archive.load(store, write_csv(tmp_path / "p", NETWORK), zone=SHANGHAI)
    with pytest.raises(ArchiveBusy, match="another import has been running for 50ms"):
        archive.load(second, tmp_path / "p", zone=SHANGHAI)
    store.rollback()
    assert db.where(second.info.dsn)  # the connection is still good
    assert bring(second, tmp_path / "p").new["meters"] == 3


class Counting(psycopg.Cursor[Any]):
    """A cursor that counts what it is asked."""

    statements = 0

    def execute(self, *given: Any, **more: Any) -> Any:
        Counting.statements += 1
        return super().execute(*given, **more)


def paper(meters: int) -> Any:
    """The network with so many meters behind one terminal."""
    row, who = NETWORK["meters"][1], NETWORK["customers"][0]
    made = [
        dict(row) | {"meter": f"X{k}", "point": f"Q{k}", "address": f"{k + 10:012d}", "pn": ""}
        for k in range(meters)
    ]
    customers = [dict(who) | {"customer": f"K{k}", "point": f"Q{k}"} for k in range(min(meters, 2_000))]
    roles = [dict(NETWORK["roles"][2]) | {"point": f"Q{k}"} for k in range(min(meters, 2_000))]
    return {**NETWORK, "meters": made, "roles": roles, "customers": customers}


def test_statistics_of_before_do_not_spoil_a_large_import(store: Connection, tmp_path: Path) -> None:
    """The server may count its rows in the middle of an import; it sees only those of before, and plans for these."""
    archive.load(store, write_csv(tmp_path / "p", paper(3)), zone=SHANGHAI)
    store.execute(
        "UPDATE pg_class SET relpages = 132, reltuples = 3 WHERE relname IN ('installation', 'meter', 'point')"
    )
    store.commit()
    store.execute("SET statement_timeout = '30s'")  # 8,000 rows by 8,000: two minutes; once through: a second
    found = archive.load(store, write_csv(tmp_path / "p", paper(8_000)), zone=SHANGHAI)
    assert found.new["meters"] == 7_997


# It counts, it does not time; but a hundred thousand rows take a slow machine a while, and what is counted is ours: one server will do.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("server_kind", ["embedded"])
def test_work_is_bounded_however_many_meters(store: Connection, tmp_path: Path) -> None:
    """Fifty thousand meters take as many statements as three."""
    taken = []
    store.cursor_factory = Counting
    for meters in (3, 50_000):
        folder = write_csv(tmp_path / "p", paper(meters))
        for _ in ("first", "again"):
            Counting.statements = 0
            found = archive.load(store, folder, zone=SHANGHAI)
            taken.append(Counting.statements)
            assert found.new["meters"] + found.unchanged["meters"] == meters
    few, few_again, many, many_again = taken
    assert few_again == many_again
    assert 20 < many <= few < 120  # the network's own tables were filled the first time
