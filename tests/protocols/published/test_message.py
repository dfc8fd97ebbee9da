"""Published messages: what is taken, exactly, and every way in which one is broken."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import FrameError, ProtocolError
from protocols.published import message
from protocols.reading import MISSING

AT = "2026-03-11T10:15:00+08:00"
UTC = np.datetime64("2026-03-11T02:15", "us")


def raw(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def row(**more: Any) -> dict[str, Any]:
    return {"time": AT, "values": {"active_import": "1.5"}, **more}


def test_names_and_obis_codes_text_and_numbers() -> None:
    told = message.data(
        b'{"kind": "curve", "time": "2026-03-11T10:15:00+08:00", "values": {"active_import": "1234567.89019", '
        b'"1-0:2.8.0": 0.1, "1-0:32.7.0": 230.1, "voltage_b": null, "active_power": -1.5}}'
    )
    assert (told.kind, told.time.tolist()) == ("curve", [UTC.item()])
    assert {code: column.tolist() for code, column in told.columns.items()} == {
        "active_import": [12_345_678_901],  # what is finer than 1e-4 kWh is cut off
        "active_export": [1000],  # 0.1 is exactly that, though no binary float is
        "voltage_a": [230.1],
        "active_power": [-1.5],
    }


def test_rows_come_out_in_order_and_what_one_lacks_is_missing() -> None:
    told = message.data(
        raw(
            kind="curve",
            readings=[
                {"time": "2026-03-11T02:30:00Z", "values": {"active_import": 3}},
                row(values={"voltage_a": 230}),
                row(time="2026-03-11T10:45+08:00", quality="estimated", values={"active_import": 9}),
            ],
        )
    )
    assert told.time.tolist() == [UTC.item(), (UTC + np.timedelta64(15, "m")).item()]
    assert told.columns["active_import"].tolist() == [MISSING, 30_000]
    assert np.isnan(told.columns["voltage_a"]).tolist() == [False, True]
    assert told.refused == {"estimated": 1}


def test_a_demand_and_its_time() -> None:
    told = message.data(raw(kind="day", time=AT, values={"1-0:1.6.0": 3.25, "max_demand_import_time": AT}))
    assert told.columns["max_demand_import"].tolist() == [3.25]
    assert told.columns["max_demand_import_time"].tolist() == [UTC.item()]


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "no JSON"),
        (b"\xff", "not UTF-8"),
        (b"[]", "no object"),
        (b"[" * 100_000, "no JSON that is read here: RecursionError"),
        (b'{"time": 1' + b"0" * 5000 + b"}", "no JSON that is read here"),
        (b'{"time": 1, "time": 2}', "stands twice"),
        (raw(kind="hourly"), "'hourly' is not one of curve, day, spot"),
        (raw(readings=[]), "a list of 1 to 960"),
        (raw(readings=[row()] * 961), "a list of 1 to 960"),
        (raw(readings=[1]), "row 0: it is no object"),
        (raw(values={"active_import": 1}), "row 0: time: 'None' is no ISO 8601 time"),
        (raw(**row(time="2026-03-11T10:15:00")), "has no offset from UTC"),
        (raw(**row(time="0001-01-01T00:00:00+14:00")), "cannot be true"),
        (raw(**row(time=20)), "is no ISO 8601 time"),
        (raw(kind="curve", **row(time="2026-03-11T10:16:00+08:00")), "ends no quarter-hour"),
        (raw(readings=[row(), row(time="2026-03-11T02:15:00Z")]), "one time stands twice"),
        (raw(**row(quality=1)), "quality: a word"),
        (raw(**row(values={})), "at least one"),
        (raw(**row(values={"energy": 1})), "'energy' is no quantity"),
        (raw(**row(values={"active_import": 1, "1-0:1.8.0": 1})), "active_import stands there by two names"),
        (raw(**row(values={"active_import": -1})), "cannot be a count"),
        (raw(**row(values={"active_import": True})), "is no number"),
        (raw(**row(values={"active_import": "1,5"})), "is no number"),
        (raw(**row(values={"active_import": "NaN"})), "no value that can be measured"),
        (raw(**row(values={"active_import": "1e400000000"})), "no value that can be measured"),
        (b'{"time": "2026-03-11T10:15:00+08:00", "values": {"voltage_a": NaN}}', "NaN: is no number"),
        (raw(**row(values={"power_failures": 1.5})), "cannot be a count"),
        (raw(**row(values={"max_demand_import_time": "noon"})), "max_demand_import_time: 'noon'"),
        (b" " * (message.LONGEST + 1), "bytes, at most"),
    ],
)
def test_a_broken_message_is_told_and_nothing_of_it_taken(payload: bytes, why: str) -> None:
    with pytest.raises(FrameError, match=why):
        message.data(payload)


def test_events_and_status() -> None:
    told = message.event(raw(time=AT, code="power-failure", ended=AT, detail={"phase": "A", "volts": 1.5}))
    assert (told.code, told.seq, told.ended, told.detail) == (
        "power-failure", 0, told.time, {"phase": "A", "volts": 1.5},
    )  # fmt: skip
    assert told.time.isoformat() == AT
    for broken in ({"time": AT}, {"code": "x"}, {"time": AT, "code": ""}, {"time": AT, "code": "x", "seq": -1},
                   {"time": AT, "code": "x", "detail": []}, {"time": AT, "code": "a\nb"}):  # fmt: skip
        with pytest.raises(FrameError):
            message.event(raw(**broken))
    assert message.status(b'{"online": true}') is True
    assert message.status(b'{"online": false, "why": "reboot"}') is False
    for broken in (b"online", b'{"online": 1}', b"{}"):
        with pytest.raises(FrameError):
            message.status(broken)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from([AT, "curve", "good", "active_import", "1-0:1.8.0"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["kind", "time", "values", "readings", "quality", "active_import", "code", "detail", "seq", "x"]),
        inner, max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@given(JSON | st.binary())
def test_anything_is_understood_or_refused_in_one_line(told: Any) -> None:
    payload = told if isinstance(told, bytes) else json.dumps(told).encode()
    for read in (message.data, message.event, message.status):
        why = ""
        try:
            read(payload)
        except ProtocolError as error:
            why = str(error)
        assert "\n" not in why
