"""The archive's files: complete, consistent, and without what an archive cannot know."""

import csv

import pytest

from terminals.simulator import archive, codes, truth
from terminals.simulator.scenario import Scenario

COLUMNS = {
    "areas": "area,name,capacity_kva",
    "terminals": "terminal,name,protocol,link,endpoint,login",
    "meters": "meter,point,area,role,terminal,protocol,address,phases,ct,pt,accuracy,from,password,pn,switch",
    "customers": "customer,name,phone,point,tariff,prepaid,protected",
    "payments": "customer,yuan,channel,serial,at",
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    directory = tmp_path_factory.mktemp("archive")
    world = truth.build(Scenario(12))
    endpoints = {p.area: f"127.0.0.1:{7_000 + p.area}" for p in world.plans if p.link == "dial-out"}
    archive.write(directory, world, endpoints)
    read = {}
    for name, header in COLUMNS.items():
        lines = (directory / f"{name}.csv").read_text(encoding="utf-8").splitlines()
        assert lines[0] == header
        read[name] = list(csv.DictReader(lines))
    return world, read


def test_counts_and_keys(tables):
    world, read = tables
    assert [len(read[name]) for name in ("areas", "terminals", "meters", "customers")] == [24, 24, 480, 456]
    assert len(read["payments"]) == len(world.payments) >= 13
    for name, key in (("areas", "area"), ("terminals", "terminal"), ("meters", "meter"), ("meters", "point"),
                      ("customers", "customer"), ("customers", "point"), ("payments", "serial"),
                      ("areas", "name")):  # fmt: skip
        assert len({row[key] for row in read[name]}) == len(read[name])
    points = {row["point"] for row in read["meters"]}
    assert {row["point"] for row in read["customers"]} < points
    assert {row["area"] for row in read["meters"]} == {row["area"] for row in read["areas"]}


def test_meters(tables):
    world, read = tables
    assert tuple(row["meter"] for row in read["meters"]) == world.assets
    for row in read["meters"]:
        assert len(row["meter"]) == 12
        assert row["from"] == "2026-03-10T23:00"
        assert (row["role"] == "supply") == (int(row["ct"]) > 1)
        if row["role"] == "supply":
            assert 10 <= int(row["ct"]) <= 40
            assert row["phases"] == "3"
        assert len(row["password"]) == (6 if row["protocol"] == "dlt645" else 8)
        assert (row["address"] == row["meter"]) == (row["protocol"] == "dlt645")
    supplies = [row["area"] for row in read["meters"] if row["role"] == "supply"]
    assert len(supplies) == len(set(supplies)) == 24


def test_terminals(tables):
    _, read = tables
    for row in read["terminals"]:
        assert (row["login"] == row["terminal"]) == (row["link"] == "dial-in")
        assert bool(row["endpoint"]) == (row["link"] == "dial-out")  # the serial one was not opened here


def test_customers_and_payments(tables):
    world, read = tables
    prepaid = {row["customer"] for row in read["customers"] if row["prepaid"] == "yes"}
    assert prepaid == {row["customer"] for row in read["payments"]}
    protected = [row["customer"] for row in read["customers"] if row["protected"]]
    assert protected == [codes.customer_code(world.faults.protected)]
    assert set(protected) < prepaid
    for row in read["payments"]:
        assert row["at"] < "2026-03-10T23:00"
        assert float(row["yuan"]) > 0
