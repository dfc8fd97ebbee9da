"""The archive against what a meter says of itself."""

import pytest

from headend.match import compare

ARCHIVE = {
    "asset": "410000010002",
    "address": "410000010002",
    "protocol": "dlt645",
    "phases": 3,
    "ct": 10,
    "pt": 1,
}
TOLD = {
    "address": "410000010002",
    "protocol": "dlt645-2007",
    "identity": {"address": "410000010002", "asset": "410000010002", "ct": "10"},
    "values": {"voltage_a": {}, "voltage_b": {}, "voltage_c": {}},
}


def said(thing, archive=None, **told):
    rows = {row.thing: row for row in compare(ARCHIVE | (archive or {}), TOLD | told)}
    return rows[thing].same


def test_a_meter_that_is_what_the_archive_says():
    assert [row.same for row in compare(ARCHIVE, TOLD)] == [True, True, True, True, True, None]


@pytest.mark.parametrize(
    ("thing", "archive", "told", "same"),
    [
        ("address", {}, {"identity": {"address": "410000010003"}}, False),
        ("address", {"address": "000000000012"}, {"identity": {"address": "12"}}, True),
        ("address", {}, {"identity": {}, "address": "AAAAAAAAAAAA"}, None),
        ("protocol", {"protocol": "dlms"}, {}, False),
        ("protocol", {"protocol": "gdw376"}, {"protocol": "gdw376"}, True),
        ("phases", {"phases": 1}, {}, False),
        ("phases", {"phases": 1}, {"values": {"voltage_a": {}}}, True),
        ("phases", {}, {"values": {"voltage_a": {}}}, None),  # three wires, or a blown fuse
        ("phases", {}, {"values": {}}, None),
        ("asset", {}, {"identity": {"asset": "1330001000000410000010002"}}, True),
        ("asset", {}, {"identity": {"asset": "999"}}, False),
        ("asset", {}, {"identity": {"number": "000000000000"}}, None),
        ("ct", {"ct": 20}, {}, False),
        ("ct", {}, {"identity": {"ct": "1"}}, None),
        ("ct", {}, {"identity": {"ct": "?"}}, None),
    ],
)
def test_each_thing_alone(thing, archive, told, same):
    assert said(thing, archive, **told) is same
