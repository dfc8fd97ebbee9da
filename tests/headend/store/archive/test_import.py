"""The archive: CSV in, all or nothing, every complaint with file, line and column."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headend.store import archive
from headend.store.archive import GONE, ArchiveError, Complaint, NotAnArchive, Summary, TerminalState, load
from headend.store.db import Connection
from protocols.localtime import instant
from tests.support.house import SHANGHAI, at, one, table

HEADERS = {
    "areas": "area,name,capacity_kva",
    "terminals": "terminal,name,protocol,link,endpoint,login",
    "meters": "meter,point,area,role,terminal,protocol,address,phases,ct,pt,accuracy,from,password",
    "customers": "customer,name,phone,point,tariff,prepaid,protected",
}
GOOD = {
    "areas": ["A1,柳林村公变,400", "A2,城东路公变,315.5"],
    "terminals": [
        "T1,柳林村集中器,dlt645,dial-out,10.0.0.7:4059,",
        "T2,城东路集中器,dlms,dial-in,,3301",
        "T3,站内,dlt645,serial,serial:///dev/ttyS0?baud=2400,",
    ],
    "meters": [
        "M1,P1,A1,supply,T1,dlt645,000000000001,3,80,1,0.005,2026-03-01T00:00,123456",
        "M2,P2,A1,receive,T1,dlt645,000000000002,1,1,1,0.01,2026-03-01T08:00+08:00,",
        "M3,P3,A2,receive,T2,dlms,17,1,1,1,0.02,2026-03-01,",
    ],
    "customers": ["C2,王芳,13800000000,P2,residential,yes,", "C3,李医生,,P3,residential,no,医疗设备"],
}
Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Write:
    """A folder with the good files; keywords replace a file's lines, or leave it out with None."""

    def write(**changes: list[str] | None) -> Path:
        for name, lines in {**GOOD, **changes}.items():
            path = tmp_path / f"{name}.csv"
            path.unlink(missing_ok=True)
            if lines is not None:
                path.write_text("\n".join([HEADERS[name], *lines, ""]), encoding="utf-8")
        return tmp_path

    return write


def only(**given: list[str]) -> dict[str, list[str] | None]:
    return {name: given.get(name) for name in HEADERS}


def bring(conn: Connection, path: Path, **options: Any) -> Summary:
    return load(conn, path, zone=SHANGHAI, **options)


def complaints(conn: Connection, path: Path, **options: Any) -> list[Complaint]:
    with pytest.raises(ArchiveError) as caught:
        bring(conn, path, **options)
    assert caught.value.total == len(caught.value.complaints)
    conn.rollback()
    return caught.value.complaints


def everything(conn: Connection) -> list[list[tuple[Any, ...]]]:
    tables = ("area", "terminal", "point", "area_role", "meter", "installation", "customer", "account")
    return [sorted(table(conn, f"SELECT t::text FROM {name} t")) for name in tables]


INSTALLED = (
    "SELECT m.asset, p.code, t.code, i.address, i.ct, i.secrets, i.valid_from, nullif(i.valid_to, 'infinity') "
    "FROM installation i JOIN meter m USING (meter_id) JOIN point p USING (point_id) JOIN terminal t USING (terminal_id) "
    "ORDER BY i.valid_from, m.asset"
)


def local(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)


def test_a_good_archive(store: Connection, folder: Write) -> None:
    found = bring(store, folder(), tariffs={"residential"})
    new = {"areas": 2, "terminals": 3, "meters": 3, "customers": 2}
    assert (found.new, found.changed, found.unchanged) == (new, dict.fromkeys(new, 0), dict.fromkeys(new, 0))
    assert table(store, INSTALLED) == [
        ("M1", "P1", "T1", "000000000001", 80, {"password": "123456"}, local("2026-03-01"), None),
        ("M3", "P3", "T2", "17", 1, {}, local("2026-03-01"), None),
        ("M2", "P2", "T1", "000000000002", 1, {}, local("2026-03-01 08:00"), None),
    ]
    assert table(
        store,
        "SELECT p.code, a.code, role, valid_from FROM area_role JOIN point p USING (point_id) JOIN area a USING (area_id) ORDER BY 1",
    ) == [
        ("P1", "A1", "supply", local("2026-03-01")),
        ("P2", "A1", "receive", local("2026-03-01 08:00")),
        ("P3", "A2", "receive", local("2026-03-01")),
    ]
    # an account begins with its point's first meter
    assert table(
        store,
        "SELECT number, tariff, prepaid, protected, valid_from FROM account JOIN customer USING (customer_id) ORDER BY 1",
    ) == [
        ("C2", "residential", True, "", local("2026-03-01 08:00")),
        ("C3", "residential", False, "医疗设备", local("2026-03-01")),
    ]
    here = archive.installed(store, at("2026-03-02 00:00"))
    assert [(m.asset, m.protocol, m.phases, m.secrets) for m in here] == [
        ("M1", "dlt645", 3, {"password": "123456"}), ("M2", "dlt645", 1, {}), ("M3", "dlms", 1, {}),
    ]  # fmt: skip
    assert "123456" not in repr(here)
    assert [(t.code, t.link, t.endpoint, t.login) for t in archive.terminals(store)][1:2] == [
        ("T2", "dial-in", None, "3301")
    ]
    assert archive.capacities(store) == {
        one(store, "SELECT area_id FROM area WHERE code = 'A1'"): 400.0,
        one(store, "SELECT area_id FROM area WHERE code = 'A2'"): 315.5,
    }


def test_importing_it_twice_changes_nothing(store: Connection, folder: Write) -> None:
    bring(store, folder())
    before = everything(store)
    found = bring(store, folder())
    none = dict.fromkeys(GOOD, 0)
    assert (found.new, found.changed) == (none, none)
    assert found.unchanged == {"areas": 2, "terminals": 3, "meters": 3, "customers": 2}
    assert everything(store) == before


def test_a_dry_run_imports_nothing(store: Connection, folder: Write) -> None:
    before = everything(store)
    assert bring(store, folder(), dry_run=True).new["meters"] == 3
    assert everything(store) == before


def test_files_alone_and_in_excels_utf8(store: Connection, folder: Write) -> None:
    bring(store, folder())
    path = folder(**only(areas=["A1,新名字,400.0", '"A9","逗号, 引号 ""与"" 换行",630']))
    raw = (path / "areas.csv").read_text(encoding="utf-8").replace("\n", "\r\n")
    (path / "areas.csv").write_bytes(b"\xef\xbb\xbf" + raw.encode())
    found = bring(store, path)
    assert (found.new, found.changed) == ({"areas": 1}, {"areas": 1})
    assert one(store, "SELECT name FROM area WHERE code = 'A9'") == '逗号, 引号 "与" 换行'


def replaced(name: str, line: int, column: str, value: str) -> dict[str, list[str]]:
    """The good file with one cell changed; `line` as in the file."""
    lines = list(GOOD[name])
    cells = lines[line - 2].split(",")
    cells[HEADERS[name].split(",").index(column)] = value
    lines[line - 2] = ",".join(cells)
    return {name: lines}


#: file, line, column, value, complaint
BROKEN = [
    ("areas", 3, "area", " ", "is empty"),
    ("areas", 3, "area", "A1", "'A1' stands in line 2 already"),
    ("areas", 2, "name", "x" * 201, "has 201 characters, at most 200 fit"),
    ("areas", 2, "name", "a\x00b", "'a\\x00b' holds a control character"),
    ("areas", 2, "capacity_kva", "much", "'much' is not a number"),
    ("areas", 2, "capacity_kva", "nan", "'nan' is not between 0.1 and 100000"),
    ("areas", 2, "capacity_kva", "0", "'0' is not between 0.1 and 100000"),
    ("areas", 2, "capacity_kva", "100.25", "'100.25' has more than 1 decimal place"),
    ("terminals", 2, "protocol", "iec104",
     "'iec104' is not one of dlt645, dlt645-1997, dlms, dlms-hdlc, gdw376, dlt698, modbus-tcp, modbus-rtu, mqtt"),
    ("terminals", 2, "link", "gprs", "'gprs' is not one of dial-out, dial-in, serial, mqtt"),
    ("terminals", 2, "endpoint", "10.0.0.7", "'10.0.0.7' is not host:port or tls://host:port"),
    ("terminals", 2, "endpoint", "10.0.0.7:0", "'10.0.0.7:0' is not host:port or tls://host:port"),
    ("terminals", 2, "endpoint", "10.0.0.7:²", "'10.0.0.7:²' is not host:port or tls://host:port"),
    ("terminals", 2, "endpoint", "ssl://10.0.0.7:1", "'ssl://10.0.0.7:1' is not host:port or tls://host:port"),
    ("terminals", 2, "endpoint", "", "is needed for dial-out and serial, and only there"),
    ("terminals", 2, "login", "77", "is needed for dial-in and mqtt, and only there"),
    ("terminals", 3, "login", "", "is needed for dial-in and mqtt, and only there"),
    ("terminals", 3, "endpoint", "10.0.0.7:1", "is needed for dial-out and serial, and only there"),
    ("terminals", 4, "endpoint", "/dev/ttyS0", "'/dev/ttyS0' is not serial:///dev/…?baud=…"),
    ("meters", 3, "meter", "M1", "'M1' stands in line 2 already"),
    ("meters", 3, "point", "P1", "'P1' has a meter in line 2 already"),
    ("meters", 3, "area", "A7", "no area 'A7' in areas.csv or the store"),
    ("meters", 3, "role", "neutral", "'neutral' is not one of supply, receive, auxiliary"),
    ("meters", 3, "terminal", "T7", "no terminal 'T7' in terminals.csv or the store"),
    ("meters", 4, "address", "0", "'0' is not a wrapper port from 1 to 65535 (DLMS)"),
    ("meters", 4, "address", "65536", "'65536' is not a wrapper port from 1 to 65535 (DLMS)"),
    ("meters", 3, "address", "12345", "'12345' is not 12 digits (DL/T 645)"),
    ("meters", 3, "address", "０００００００００００２", "'０００００００００００２' is not 12 digits (DL/T 645)"),
    ("meters", 3, "address", "000000000001", "'000000000001' behind T1 stands in line 2 already"),
    ("meters", 3, "phases", "2", "'2' is not one of 1, 3"),
    ("meters", 3, "ct", "0", "'0' is not a whole number from 1 to 10000"),
    ("meters", 3, "ct", "1.5", "'1.5' is not a whole number from 1 to 10000"),
    ("meters", 3, "pt", "１", "'１' is not a whole number from 1 to 10000"),
    ("meters", 3, "accuracy", "1", "'1' is not between 0.0005 and 0.05"),
    ("meters", 3, "accuracy", "0.00555", "'0.00555' has more than 4 decimal places"),
    ("meters", 3, "from", "11.03.2026", "'11.03.2026' is not an ISO date-time such as 2026-03-10T23:00"),
    ("meters", 3, "from", "0001-01-01", "'0001-01-01' is not between the years 1980 and 2100"),
    ("customers", 2, "customer", "C3", "'C3' stands in line 2 already"),
    ("customers", 2, "point", "P7", "no metering point 'P7' in meters.csv or the store"),
    ("customers", 2, "tariff", "free", "no tariff 'free'; there are industrial, residential"),
    ("customers", 2, "prepaid", "1", "'1' is not yes or no"),
    ("customers", 2, "phone", "1\t2", "'1\\t2' holds a control character"),
]  # fmt: skip


def test_each_kind_of_broken_cell(store: Connection, folder: Write) -> None:
    before = everything(store)
    for file, line, column, value, reason in BROKEN:
        found = complaints(
            store, folder(**replaced(file, line, column, value)), tariffs={"residential", "industrial"}
        )
        mine = [c for c in found if c.file == f"{file}.csv" and c.column == column]
        # the second of two is the one complained of
        where = line + 1 if value == "C3" else line
        assert mine == [Complaint(f"{file}.csv", where, column, reason)]
        assert str(mine[0]) == f"{file}.csv:{where}: {column}: {reason}"
        # what hangs on the row that was left out complains too, and nothing else
        assert all(c.reason.startswith("no ") for c in found if c not in mine), found
    assert everything(store) == before


def test_a_terminal_of_dlt698_is_known_by_its_address(store: Connection, folder: Write) -> None:
    """However it is reached; and its meters are given it."""

    def files(login: str, address: str = "000000000001") -> dict[str, list[str]]:
        mine = f"M1,P1,A1,supply,T1,dlt698,{address},3,80,1,0.005,2026-03-01T00:00,123456"
        return {
            "terminals": [f"T1,柳林村集中器,dlt698,dial-out,10.0.0.7:4059,{login}", *GOOD["terminals"][1:]],
            "meters": [mine, GOOD["meters"][1].replace("dlt645", "dlt698"), GOOD["meters"][2]],
        }

    means = "the terminal's address, an even number of digits (DL/T 698.45)"
    for login in ("", "12345", "3301AB"):
        found = complaints(store, folder(**files(login)), tariffs={"residential", "industrial"})
        assert f"terminals.csv:2: login: {login!r} is not {means}" in [str(c) for c in found]
    wrong = complaints(store, folder(**files("330000000001", "17")), tariffs={"residential", "industrial"})
    told = "meters.csv:2: address: '17' is not 12 digits (DL/T 645)"
    assert told in [str(c) for c in wrong]
    bring(store, folder(**files("330000000001")))
    rows = archive.installed(store, at("2026-03-02 00:00"))
    assert {(row.protocol, row.terminal) for row in rows if row.address.startswith("0000")} == {
        ("dlt698", "330000000001")
    }


def test_a_meter_of_the_wrong_protocol(store: Connection, folder: Write) -> None:
    found = complaints(store, folder(**replaced("meters", 4, "terminal", "T1")))
    assert [(c.line, c.column, c.reason) for c in found] == [
        (4, "protocol", "dlms behind terminal T1, which speaks dlt645")
    ]


def test_meters_without_memory_and_terminals_that_publish(store: Connection, folder: Write) -> None:
    terminals = [
        "T4,网关,modbus-tcp,dial-out,tls://10.0.0.8:802,", "T5,串口,modbus-rtu,serial,serial:///dev/ttyS1?baud=9600,",
        "T6,上报,mqtt,mqtt,,柳林-6",
    ]  # fmt: skip
    hung = "{m},P{m},A1,receive,{t},{p},{a},3,1,1,0.01,2026-03-01,"
    good = [
        ("M4", "T4", "modbus-tcp", "255@sdm630"),
        ("M5", "T5", "modbus-rtu", "247@dtsu666+12:3/trips"),
        ("M6", "T6", "mqtt", "表-6"),
    ]
    no_unit = "is not UNIT@MODEL, nor UNIT@MODEL+UNIT:COIL[/trips] with a contactor; units 1 to {} (Modbus)"
    bad = [
        ("T5", "modbus-rtu", "1@sdm630+248:0", no_unit.format(247)),
        ("T4", "modbus-tcp", "256@sdm630", no_unit.format(255)),
        ("T5", "modbus-rtu", "248@sdm630", no_unit.format(247)),
        ("T5", "modbus-rtu", "1", no_unit.format(247)),
        ("T6", "mqtt", "a/b", "is no level of a topic: no / + # or blanks (MQTT)"),
        ("T6", "mqtt", "#", "is no level of a topic: no / + # or blanks (MQTT)"),
    ]
    meters = [hung.format(m=m, t=t, p=p, a=a) for m, t, p, a in good]
    for terminal, protocol, address, why in bad:
        wrong = hung.format(m="M7", t=terminal, p=protocol, a=address)
        found = complaints(
            store, folder(areas=["A1,x,400"], terminals=terminals, meters=[wrong], customers=None)
        )
        assert [(c.column, c.reason) for c in found] == [("address", f"{address!r} {why}")]
    for wrong in ("T7,x,mqtt,dial-out,10.0.0.7:1,", "T7,x,dlms,mqtt,,x"):
        (found,) = complaints(store, folder(**only(terminals=[wrong])))
        assert (found.column, found.reason) == (
            "protocol",
            "mqtt is what is spoken over the link mqtt, and only there",
        )
    bring(store, folder(areas=["A1,x,400"], terminals=terminals, meters=meters, customers=None))
    assert [(m.asset, m.protocol, m.address) for m in archive.installed(store, at("2026-03-11 10:00"))] == [
        (m, p, a) for m, _, p, a in good
    ]
    assert archive.terminals(store)[2].login == "柳林-6"


def test_a_contactor_cuts_off_one_customer(store: Connection, folder: Write) -> None:
    """Whoever shared its coil would be cut off with him, past every gate that looks at his own account."""
    terminals = ["T4,网关,modbus-tcp,dial-out,10.0.0.8:502,", "T5,网关,modbus-tcp,dial-out,10.0.0.9:502,"]
    hung = "{m},P{m},A1,receive,{t},modbus-tcp,{a},3,1,1,0.01,2026-03-01,"

    def files(*meters: tuple[str, str, str]) -> dict[str, Any]:
        rows = [hung.format(m=m, t=t, a=a) for m, t, a in meters]
        return {"areas": ["A1,x,400"], "terminals": terminals, "meters": rows, "customers": None}

    found = complaints(
        store, folder(**files(("M4", "T4", "1@sdm630+9:3"), ("M5", "T4", "2@sdm630+09:003/trips")))
    )
    assert [str(c) for c in found] == ["meters.csv:3: address: 'coil 9:3' behind T4 stands in line 2 already"]
    # another coil, and the same numbers behind another terminal, are others'
    bring(
        store,
        folder(
            **files(("M4", "T4", "1@sdm630+9:3"), ("M5", "T4", "2@sdm630+9:4"), ("M6", "T5", "1@sdm630+9:3"))
        ),
    )
    found = complaints(store, folder(**files(("M7", "T4", "3@sdm630+9:3"))))
    assert [str(c) for c in found] == [
        "meters.csv:2: address: 'coil 9:3' behind T4 belongs to meter M4 in the store"
    ]
    # the meter beside it is exchanged: the contactor stays
    other = (
        hung.format(m="M8", t="T4", a="7@sdm630+9:3")
        .replace("PM8", "PM4")
        .replace("2026-03-01", "2026-03-10")
    )
    bring(store, folder(**{**files(), "meters": [other]}))


def test_two_terminals_with_one_login(store: Connection, folder: Write) -> None:
    two = ["T8,x,dlms,dial-in,,3301", "T9,x,dlms,dial-in,,3301"]
    found = complaints(store, folder(**only(terminals=two)))
    assert [str(c) for c in found] == ["terminals.csv:3: login: '3301' stands in line 2 already"]
    bring(store, folder())
    found = complaints(store, folder(**only(terminals=two[:1])))
    assert [str(c) for c in found] == ["terminals.csv:2: login: '3301' belongs to terminal 'T2' in the store"]


def test_a_concentrator_has_an_address_and_knows_its_meters_by_number(
    store: Connection, folder: Write
) -> None:
    meters = HEADERS["meters"] + ",pn"
    row = "M5,P5,A1,receive,T5,gdw376,000000000005,1,1,1,0.01,2026-03-01,123456,"

    def written(terminal: str, pn: str) -> Path:
        path = folder(**only(terminals=[f"T5,集中器,gdw376,{terminal}"], areas=GOOD["areas"]))
        (path / "meters.csv").write_text(f"{meters}\n{row}{pn}\n", encoding="utf-8")
        return path

    wants = "is not the terminal's address A1 A2 in eight hex digits (Q/GDW 376.1)"
    for terminal, pn, column, reason in (
        ("dial-out,10.0.0.5:7000,", "7", "login", f"'' {wants}"),
        ("dial-out,10.0.0.5:7000,3301abcd", "7", "login", f"'3301abcd' {wants}"),
        ("dial-in,,3301", "7", "login", f"'3301' {wants}"),
        ("dial-out,10.0.0.5:7000,3301ABCD", "", "pn", "must be from 1 to 2040: a Q/GDW 376.1 terminal knows its meters by it"),
        ("dial-out,10.0.0.5:7000,3301ABCD", "2041", "pn", "must be from 1 to 2040: a Q/GDW 376.1 terminal knows its meters by it"),
    ):  # fmt: skip
        found = complaints(store, written(terminal, pn))
        assert [(c.column, c.reason) for c in found if not c.reason.startswith("no ")] == [(column, reason)]
    bring(store, written("dial-out,10.0.0.5:7000,3301ABCD", "7"))
    (here,) = archive.installed(store, at("2026-03-02 00:00"))
    assert (here.protocol, here.address, here.terminal, here.pn) == ("gdw376", "000000000005", "3301ABCD", 7)


def test_broken_files(store: Connection, folder: Write) -> None:
    path = folder(areas=["A1,城东,400", "A2,b", "A3,c,400,5"])
    (path / "terminals.csv").write_text("terminal,name,protocol,link,endpoint\n", encoding="utf-8")
    (path / "meters.csv").write_bytes((HEADERS["meters"] + "\nM1,").encode() + "柳".encode("gbk") + b"\n")
    (path / "customers.csv").write_text(HEADERS["customers"] + "\n" + "x" * 200_000 + "\n")
    found = {str(c) for c in complaints(store, path)}
    assert found == {
        "areas.csv:3: row: does not have 3 cells",
        "areas.csv:4: row: does not have 3 cells",
        "terminals.csv:1: login: column missing; the header needs terminal,name,protocol,link,endpoint,login",
        f"meters.csv:2: file: is not UTF-8 (byte {len(HEADERS['meters']) + 4}); save it as UTF-8",
        "customers.csv:2: row: is not CSV: field larger than field limit (131072)",
    }


def test_not_an_archive(store: Connection, tmp_path: Path) -> None:
    with pytest.raises(NotAnArchive, match="no folder"):
        bring(store, tmp_path / "nowhere")
    with pytest.raises(NotAnArchive, match=r"holds none of areas\.csv"):
        bring(store, tmp_path)


def test_complaints_are_counted_beyond_what_is_shown(store: Connection, folder: Write) -> None:
    with pytest.raises(ArchiveError, match="500 errors in the archive; nothing was imported") as caught:
        bring(store, folder(**only(areas=[f"A{k},x,0" for k in range(500)])))
    assert (caught.value.total, len(caught.value.complaints)) == (500, 200)
    with pytest.raises(ArchiveError, match=r"^1 error in"):
        bring(store, folder(**only(areas=["A1,x,0"])))


MOVED = "M2,P2,A1,receive,T3,dlt645,000000000002,1,1,1,0.01,2026-03-11T10:00,"
EXCHANGED = "M9,P2,A1,receive,T1,dlt645,000000000009,1,1,1,0.01,2026-03-11T10:00,"


def test_a_meter_is_exchanged(store: Connection, folder: Write) -> None:
    bring(store, folder())
    found = bring(store, folder(**only(meters=[EXCHANGED])))
    assert (found.new["meters"], found.changed["meters"]) == (1, 0)
    ten = local("2026-03-11 10:00")
    assert [row for row in table(store, INSTALLED) if row[1] == "P2"] == [
        ("M2", "P2", "T1", "000000000002", 1, {}, local("2026-03-01 08:00"), ten),
        ("M9", "P2", "T1", "000000000009", 1, {}, ten, None),
    ]
    # topology and account belong to the point, and have not moved
    assert one(store, "SELECT count(*) FROM area_role") == 3
    assert [m.asset for m in archive.installed(store, at("2026-03-11 09:59"))] == ["M1", "M2", "M3"]
    assert [m.asset for m in archive.installed(store, at("2026-03-11 10:00"))] == ["M1", "M3", "M9"]
    # yesterday's file again would put the old meter back beside the new one
    assert [str(c) for c in complaints(store, folder(**only(meters=GOOD["meters"])))] == [
        "meters.csv:3: from: meter M9 is installed at P2 since 2026-03-11T10:00:00+08:00; a change needs a later `from`"
    ]
    assert [
        str(c)
        for c in complaints(
            store, folder(**only(meters=[EXCHANGED.replace("M9", "M8").replace("009", "008")]))
        )
    ] == [
        "meters.csv:2: from: meter M9 is installed at P2 since 2026-03-11T10:00:00+08:00; a change needs a later `from`"
    ]
    # and later on it may come back
    again = GOOD["meters"][1].replace("2026-03-01T08:00", "2026-03-20T08:00")
    assert bring(store, folder(**only(meters=[again]))).changed["meters"] == 1


def test_a_meter_moves_behind_another_terminal(store: Connection, folder: Write) -> None:
    bring(store, folder())
    assert bring(store, folder(**only(meters=[MOVED]))).changed["meters"] == 1
    ten = local("2026-03-11 10:00")
    assert [(row[2], *row[6:]) for row in table(store, INSTALLED) if row[0] == "M2"] == [
        ("T1", local("2026-03-01 08:00"), ten),
        ("T3", ten, None),
    ]
    assert [
        m.asset
        for m in archive.installed(
            store, at("2026-03-12 00:00"), [one(store, "SELECT terminal_id FROM terminal WHERE code = 'T3'")]
        )
    ] == ["M2"]


def test_two_meters_change_places(store: Connection, folder: Write) -> None:
    bring(store, folder())
    rows = [
        "M1,P2,A1,receive,T1,dlt645,000000000001,3,80,1,0.005,2026-03-11T10:00,123456",
        "M2,P1,A1,supply,T1,dlt645,000000000002,1,1,1,0.01,2026-03-11T10:00,",
    ]
    assert bring(store, folder(**only(meters=rows))).changed["meters"] == 2
    assert [row[:2] for row in table(store, INSTALLED) if row[7] is None] == [
        ("M3", "P3"),
        ("M1", "P2"),
        ("M2", "P1"),
    ]


def test_a_change_without_a_later_date_is_refused(store: Connection, folder: Write) -> None:
    bring(store, folder())
    before = everything(store)
    found = complaints(store, folder(**replaced("meters", 2, "ct", "100")))
    assert [(c.line, c.column) for c in found] == [(2, "from")]
    assert (
        found[0].reason
        == "meter M1 is installed at P1 since 2026-03-01T00:00:00+08:00; a change needs a later `from`"
    )
    assert everything(store) == before


def test_a_point_gets_another_role_and_area(store: Connection, folder: Write) -> None:
    bring(store, folder())
    found = complaints(store, folder(**replaced("meters", 3, "role", "auxiliary")))
    assert [str(c) for c in found] == [
        "meters.csv:3: from: point P2 has another area or role since 2026-03-01T08:00:00+08:00; a change needs a later `from`"
    ]
    later = "M2,P2,A2,auxiliary,T1,dlt645,000000000002,1,1,1,0.01,2026-03-11,"
    assert bring(store, folder(**only(meters=[later]))).changed["meters"] == 1
    sql = "SELECT a.code, role, r.valid_from, nullif(r.valid_to, 'infinity') FROM area_role r "
    sql += "JOIN area a USING (area_id) JOIN point p USING (point_id) WHERE p.code = 'P2' ORDER BY 3"
    moved = local("2026-03-11")
    assert table(store, sql) == [
        ("A1", "receive", local("2026-03-01 08:00"), moved),
        ("A2", "auxiliary", moved, None),
    ]
    # the meter itself has not moved
    assert [row[7] for row in table(store, INSTALLED) if row[0] == "M2"] == [None]


def test_what_a_meter_is_counts_as_a_change(store: Connection, folder: Write) -> None:
    bring(store, folder())
    found = bring(store, folder(**replaced("meters", 3, "accuracy", "0.02")))
    assert (found.changed["meters"], found.unchanged["meters"]) == (1, 2)
    found = bring(store, folder(**replaced("customers", 2, "protected", "透析")))
    assert (found.changed["customers"], found.unchanged["customers"]) == (1, 1)


def test_an_address_that_is_taken_in_the_store(store: Connection, folder: Write) -> None:
    bring(store, folder())
    taken = "M5,P5,A1,receive,T1,dlt645,000000000002,1,1,1,0.01,2026-03-11,"
    assert [str(c) for c in complaints(store, folder(**only(meters=[taken])))] == [
        "meters.csv:2: address: '000000000002' behind T1 belongs to meter M2 in the store"
    ]
    # together with the exchange that frees it, it may be had
    bring(store, folder(**only(meters=[taken, EXCHANGED])))


def test_seen_never_goes_back(store: Connection, folder: Write) -> None:
    bring(store, folder())
    ids = [t.terminal_id for t in archive.terminals(store)]
    nine, ten = local("2026-03-11 09:00"), local("2026-03-11 10:00")
    archive.seen(store, {ids[0]: TerminalState(True, instant(ten)), ids[1]: GONE})
    archive.seen(store, {ids[0]: TerminalState(False, instant(nine))})
    assert table(store, "SELECT online, last_seen FROM terminal ORDER BY code") == [
        (False, ten),
        (False, None),
        (False, None),
    ]
