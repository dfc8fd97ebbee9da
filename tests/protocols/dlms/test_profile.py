"""Capture objects make Reads of a buffer, and arrays of an event log."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
import pytest

from protocols.dlms import bulk, values
from protocols.dlms.profile import Profile, quantity_of
from protocols.dlms.selector import CLOCK_OBJECT
from protocols.dlms.values import Data
from protocols.errors import FrameError
from protocols.quantity import quantities
from protocols.reading import MISSING

CHINA = ZoneInfo("Asia/Shanghai")
TIMES = np.datetime64("2026-03-10T00:15", "us") + np.arange(4) * np.timedelta64(15, "m")
ENERGY = (3, "1.0.1.8.0.255", 2, 0)
VOLTS = (3, "1.0.32.7.0.255", 2, 0)
SCALERS = {ENERGY[:2]: (0, 30), VOLTS[:2]: (-1, 35)}


def test_reads_of_a_load_profile() -> None:
    raw = bulk.encode(
        [
            (9, bulk.clock_column(TIMES, CHINA)),
            (6, np.arange(4)),
            (18, 2300 + np.arange(4)),
            (18, np.arange(4)),
        ]
    )
    unknown = (3, "1.0.99.99.99.255", 2, 0)
    reads = Profile((CLOCK_OBJECT, ENERGY, VOLTS, unknown), SCALERS, 900).reads(raw, 7, CHINA)
    assert (reads.time == TIMES).all()
    assert list(reads.meter) == [7] * 4
    assert list(reads.columns["active_import"]) == [0, 10, 20, 30]
    assert list(reads.columns["voltage_a"]) == [230.0, 230.1, 230.2, 230.3]
    assert set(reads.columns) == {"active_import", "voltage_a"}


def test_null_data_compresses_time_and_columns() -> None:
    rows = [
        values.structure(
            values.octets(values.encode_clock(TIMES[0], CHINA)), Data(values.DOUBLE_LONG_UNSIGNED, 5)
        ),
        values.structure(values.null(), values.null()),
        values.structure(values.null(), Data(values.DOUBLE_LONG_UNSIGNED, 7)),
    ]
    reads = Profile((CLOCK_OBJECT, ENERGY), SCALERS, 900).reads(values.encode(values.array(*rows)), 1, CHINA)
    assert (reads.time == TIMES[:3]).all()
    assert list(reads.columns["active_import"]) == [50, MISSING, 70]


def test_event_log() -> None:
    raw = bulk.encode([(9, bulk.clock_column(TIMES, CHINA)), (17, np.array([1, 2, 40, 255]))])
    log = Profile((CLOCK_OBJECT, (1, "0.0.96.11.0.255", 2, 0)), {})
    times, codes = log.events(raw, CHINA)
    assert (times == TIMES).all()
    assert list(codes) == [1, 2, 40, 255]
    assert len(log.events(b"\x01\x00", CHINA)[0]) == 0
    with pytest.raises(FrameError, match="event codes"):
        Profile((CLOCK_OBJECT, ENERGY), SCALERS).events(raw, CHINA)


def test_every_quantity_is_found_by_its_obis() -> None:
    for quantity in quantities().values():
        medium, _, rest = quantity.obis.partition(":")
        name = f"{medium.replace('-', '.')}.{rest}.255"
        captured = {"event": (1, name, 2, 0), "moment": (4, name, 5, 0)}.get(quantity.kind, (3, name, 2, 0))
        assert quantity_of(captured) == quantity.code
    assert quantity_of((4, "1.0.1.6.0.255", 2, 0)) == "max_demand_import"
    assert quantity_of((3, "1.0.1.8.0.255", 3, 0)) is None
    assert quantity_of((3, "1.0.1.8.0.255", 2, 1)) is None


@pytest.mark.parametrize("scaler_unit", [(0, 35), (99, 30), None])
def test_a_unit_that_is_not_the_quantitys(scaler_unit: tuple[int, int] | None) -> None:
    raw = bulk.encode([(9, bulk.clock_column(TIMES, CHINA)), (6, np.arange(4))])
    scalers = {} if scaler_unit is None else {ENERGY[:2]: scaler_unit}
    with pytest.raises(FrameError):
        Profile((CLOCK_OBJECT, ENERGY), scalers).reads(raw, 1, CHINA)


def test_what_is_no_such_buffer() -> None:
    raw = bulk.encode([(6, np.arange(4))])
    for profile in (Profile((CLOCK_OBJECT, ENERGY), SCALERS), Profile((ENERGY,), SCALERS)):
        with pytest.raises(FrameError):
            profile.reads(raw, 1, CHINA)
