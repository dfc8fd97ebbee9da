"""Outages, and what looks like one and is none."""

from __future__ import annotations

import numpy as np

from lineloss.statistics.outage import SURE, Area, Cuts, Outages, Signs, find, signs, together

#: a day of quarter-hours
TIMES = np.datetime64("2026-03-10T00:00", "us") + np.arange(97) * np.timedelta64(15, "m")
NONE = Cuts(np.array([], dtype=np.int64), TIMES[:0], TIMES[:0])
#: one area: its own meter, then ten customers
OWN, CUSTOMERS = 0, 10


def clock(text: str) -> np.datetime64:
    return np.datetime64(f"2026-03-10T{text}", "us")


def lit() -> np.ndarray:
    volts = np.full((1 + CUSTOMERS, 3, 96), np.nan)
    volts[:, 0] = 230.0
    return volts


def cut(*rows: tuple[int, str, str | None]) -> Cuts:
    ends = [np.datetime64("NaT") if until is None else clock(until) for _, _, until in rows]
    return Cuts(
        np.array([row for row, _, _ in rows], dtype=np.int64),
        np.array([clock(since) for _, since, _ in rows]),
        np.array(ends, dtype="datetime64[us]"),
    )


def look(
    volts: np.ndarray,
    cuts: Cuts = NONE,
    absent: np.ndarray | None = None,
    terminal: tuple[int, int] | None = None,
) -> Outages:
    rows = 1 + CUSTOMERS
    told = np.zeros((1, 96), dtype=np.bool_)
    if terminal is not None:
        told[0, slice(*terminal)] = True
    who = Area(
        area=np.zeros(rows, dtype=np.int64),
        supply=np.arange(rows) == OWN,
        customer=np.arange(rows) != OWN,
        terminal=told,
        areas=1,
    )
    seen = signs(
        TIMES,
        cuts,
        volts,
        np.full(rows, 220.0),
        np.zeros((rows, 96), dtype=np.bool_) if absent is None else absent,
    )
    return find(TIMES, seen, cuts, who)


def test_everybody_notes_the_cut() -> None:
    """All is read later on: no record of the time, a power cut noted to the second by each."""
    volts = lit()
    volts[:, :, 41:45] = np.nan  # 10:15 … 11:15
    cuts = cut(*((row, f"10:0{row % 3}:3{row % 10}", f"11:1{row % 3}:00") for row in range(11)))
    (told,) = [look(volts, cuts)]
    assert len(told) == 1
    assert SURE[told.sure[0]] == "certain"
    assert (told.first[0], told.last[0]) == (40, 44)
    assert told.began[0] == clock("10:01:31")  # the median of what was noted
    assert told.ended[0] == clock("11:11:00")
    assert told.exact.tolist() == [[True, True]]
    assert (told.dark[0], told.heard[0], told.customers[0], told.supply[0]) == (10, 10, 10, True)
    assert not told.open[0]


def test_voltages_that_vanish() -> None:
    volts = lit()
    volts[1:, 0, 40:44] = 3.0  # induced
    (told,) = [look(volts)]
    assert len(told) == 1
    assert (
        SURE[told.sure[0]] == "certain"
    )  # all its customers, though its own meter is on the other side of the fuse
    assert not told.supply[0]
    assert (told.began[0], told.ended[0]) == (clock("10:00"), clock("11:00"))
    assert told.exact.tolist() == [[False, False]]


def test_a_phase_that_failed_is_an_outage_of_its_customers() -> None:
    volts = lit()
    volts[1:5, 0, 40:44] = 0.0
    (told,) = [look(volts)]
    assert SURE[told.sure[0]] == "likely"
    assert (told.dark[0], told.customers[0]) == (4, 10)


def test_missing_records_alone_are_never_certain() -> None:
    volts, absent = lit(), np.zeros((11, 96), dtype=np.bool_)
    volts[:, :, 40:44] = np.nan
    absent[:, 40:44] = True
    (told,) = [look(volts, absent=absent)]
    assert [SURE[k] for k in told.sure] == ["possible"]


def test_the_carriers_network_is_down() -> None:
    """Nobody is heard, nobody noted anything; a terminal may have lost its connection, not its supply."""
    volts = lit()
    volts[:, :, 40:60] = np.nan
    assert len(look(volts)) == 0


def test_near_misses() -> None:
    # two houses' fuses
    volts = lit()
    volts[1:3, 0, 40:44] = 0.0
    assert len(look(volts)) == 0
    # a recloser's half minute, noted by everybody
    assert len(look(lit(), cut(*((row, "10:05:00", "10:05:30") for row in range(11))))) == 0
    # under-voltage is bad quality and no outage
    volts = lit()
    volts[:, 0, 40:44] = 150.0
    assert len(look(volts)) == 0
    # a cut that was noted without an end, and everybody is lit
    assert len(look(lit(), cut(*((row, "00:00:00", None) for row in range(1, 11))))) == 0


def test_a_cut_without_an_end_lasts_until_the_meter_is_lit() -> None:
    volts = lit()
    volts[:, :, 40:48] = np.nan
    (told,) = [look(volts, cut(*((row, "10:02:00", None) for row in range(11))))]
    assert (told.first[0], told.last[0]) == (40, 47)
    assert told.ended[0] == clock("12:00")
    assert told.exact.tolist() == [[True, False]]


def test_only_the_terminal_told() -> None:
    volts = lit()
    volts[:, :, 80:] = np.nan
    (told,) = [look(volts, terminal=(80, 96))]
    assert [SURE[k] for k in told.sure] == ["possible"]
    assert (told.heard[0], told.open[0]) == (0, True)
    # somebody who is lit says otherwise
    volts[3, 0, 80:] = 229.0
    assert len(look(volts, terminal=(80, 96))) == 0


def test_two_outages_of_a_day() -> None:
    volts = lit()
    volts[:, 0, 10:12] = 0.0
    volts[:, 0, 90:] = 0.0
    (told,) = [look(volts)]
    assert told.first.tolist() == [10, 90]
    assert told.open.tolist() == [False, True]


def test_areas_of_a_line_that_go_together() -> None:
    area = np.array([1, 2, 3, 4, 1])
    began = np.array([clock(t) for t in ("10:00:00", "10:14:00", "10:00:30", "10:00:00", "15:00:00")])
    line = np.array([7, 7, 7, -1, 7])
    assert together(area, began, line).tolist() == [3, 3, 3, 1, 1]
    assert together(area[:0], began[:0], line[:0]).tolist() == []


def test_signs_know_what_they_rest_on() -> None:
    volts = lit()[:1]
    volts[0, 0, 5] = 0.0
    absent = np.zeros((1, 96), dtype=np.bool_)
    absent[0, [5, 9, 10]] = True
    volts[0, 0, 10] = np.nan
    seen: Signs = signs(TIMES, NONE, volts, np.array([np.nan]), absent)
    assert np.flatnonzero(seen.dark[0]).tolist() == [5, 10]  # a voltage is a record
    assert np.flatnonzero(seen.told[0]).tolist() == [5]
    assert not seen.lit[0, [5, 10]].any()
