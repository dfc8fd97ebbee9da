"""The time-of-use tables and prices of a DL/T 645-2007 meter, as the document of tariffs/timetable.py: read, and one key written.

Zones and day tables lie in two numbered sets (0401xxxx, 0402xxxx), and run status word 3 says which of them runs (bit 5, bit 0): the other
is the spare one. A meter that copies the spare set at the switch says "first" for ever, and is read the same way. Prices and steps have
identifiers of their own for present and spare. How many zones, tables, slots and holidays a meter is set to (040002xx) is never written:
both sets share it, so it would act at once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from protocols.bcd import from_bcd, to_bcd
from protocols.dlt645 import security
from protocols.dlt645.exchange import Read, ReadAnswer
from protocols.errors import FrameError, Misuse, Refused
from terminals.drivers.driver import Meter, Script
from terminals.drivers.parameter645 import write_parameter

STATUS_3: Final = 0x04000503
#: bits of run status word 3: whether the second set runs
_RUNS: Final = {"zones": 5, "days": 0}
SETS: Final = (0x0401, 0x0402)
COUNTS: Final = {
    "zones": 0x04000201, "days": 0x04000202, "slots": 0x04000203, "tariffs": 0x04000204, "holidays": 0x04000205, "steps": 0x04000207,
}  # fmt: skip
SWITCH: Final = {
    "switch zones": 0x04000106, "switch days": 0x04000107, "switch prices": 0x04000108, "switch steps": 0x04000109,
}  # fmt: skip
REST_WORD, REST_TABLE = 0x04000801, 0x04000802
HOLIDAY: Final = 0x04030000
PRICES: Final = {"prices": 0x040501FF, "spare prices": 0x040502FF}
#: The present steps one by one; of the spare ones the block is what is written, so that no half of it can be.
LIMIT_NOW, PRICE_NOW, SPARE_STEPS = 0x04060000, 0x04060100, 0x040605FF
DAYS, LIMITS, STEP_PRICES, DATES = 8, 6, 7, 4
#: Entries of a table where the meter's own does not say (Table A.5).
ENTRIES: Final = 14
#: What no public text says: unused thresholds are never reached, unused prices repeat the last, unused dates are 99.
FAR: Final = 99_999_999
#: A switch that is programmed for never, and a public holiday that is none: zeros, as a place that was never written shows.
NEVER, NO_HOLIDAY = bytes(5), bytes(4)


def read(meter: Meter, keys: Collection[str] | None = None) -> Script[dict[str, Any]]:
    """The document, or these keys of it. What the meter says it has not got is None."""
    wanted = set(_every() if keys is None else keys)
    found: dict[str, Any] = {}
    if any(_of_set(key) for key in wanted):
        found["sets"] = yield from _running(meter)
    counts: dict[str, int] = {}
    if wanted & {"counts", "holidays", "steps"} or keys is None:
        for name, di in COUNTS.items():
            raw = yield from _raw(meter, di)
            counts[name] = 0 if raw is None else from_bcd(raw, name)
    if "counts" in wanted:
        found["counts"] = counts
    if (
        keys is None
    ):  # each is a request on a line that others wait for: no tables that the meter is not set to use
        wanted -= {f"{side}day {n}" for side in ("", "spare ") for n in range(counts["days"] + 1, DAYS + 1)}
    for key in sorted(wanted - {"counts", "sets"}):
        found[key] = yield from _one(meter, key, found.get("sets", {}), counts)
    return found


def write(
    machine: security.CipherMachine | None, meter: Meter, key: str, value: Any, held: Mapping[str, Any]
) -> Script[None]:
    """One key of the document; `held`: what the meter holds. Refused: it says no. Misuse: it cannot be said, or nobody may.

    A parameter of class 1 goes in clear text with the cipher machine's MAC (level 99); one of class 2 with the secret `password` at level
    02, or enciphered (level 98) where there is none. A refusal of one way leads to no other."""
    if key == "holidays":
        yield from _write_holidays(machine, meter, value, held)
        return
    di = _di(key, held["sets"])
    yield from write_parameter(machine, meter, di, _encoded(key, value, held))


# --- one key ---


def _every() -> list[str]:
    tables = ["zones", *(f"day {n}" for n in range(1, DAYS + 1)), "prices", "steps"]
    return ["sets", "counts", "rest", "holidays", *tables, *(f"spare {key}" for key in tables), *SWITCH]


def _of_set(key: str) -> bool:
    return key == "sets" or key.removeprefix("spare ").startswith(("zones", "day "))


def _running(meter: Meter) -> Script[dict[str, int]]:
    """1 or 2 for zones and days: which of the two runs."""
    answer: ReadAnswer = yield Read(meter.address, STATUS_3)
    word = int.from_bytes(answer.data, "little")
    return {what: 1 + (word >> bit & 1) for what, bit in _RUNS.items()}


def _di(key: str, sets: Mapping[str, int]) -> int:
    """Where a key stands. Misuse: it is none that has one place."""
    if key in SWITCH:
        return SWITCH[key]
    if key in PRICES:
        return PRICES[key]
    if key == "spare steps":
        return SPARE_STEPS
    spare, name = key.startswith("spare "), key.removeprefix("spare ")
    number = 0 if name == "zones" else int(name.removeprefix("day ")) if name.startswith("day ") else -1
    if not 0 <= number <= DAYS:
        raise Misuse(f"{key!r}: no such table of a DL/T 645 meter")
    running = sets["zones" if name == "zones" else "days"]
    return SETS[(2 - running) if spare else running - 1] << 16 | number


def _one(meter: Meter, key: str, sets: Mapping[str, int], counts: Mapping[str, int]) -> Script[Any]:
    if key == "rest":
        word = yield from _raw(meter, REST_WORD)
        table = yield from _raw(meter, REST_TABLE)
        return None if word is None or table is None else [word[0], from_bcd(table, "rest day table")]
    if key == "holidays":
        return (yield from _holidays(meter, counts["holidays"]))
    if key == "steps":
        return (yield from _present_steps(meter)) if counts["steps"] else None
    raw = yield from _raw(meter, _di(key, sets))
    if raw is None:
        return None
    try:
        return _decoded(key, raw)
    except ValueError:
        raise FrameError(f"{key}: {raw.hex()} is not as the meter's protocol has it", 0) from None


def _decoded(key: str, raw: bytes) -> Any:
    if key in SWITCH:
        return _moment(raw)
    if key in PRICES:
        return [from_bcd(raw[k : k + 4], key) for k in range(0, len(raw), 4)]
    if key == "spare steps":
        return _steps(raw)
    rows = _triples(raw, key)
    # what is not used repeats the last entry
    return [row for k, row in enumerate(rows) if k == 0 or row != rows[k - 1]]


def _encoded(key: str, value: Any, held: Mapping[str, Any]) -> bytes:
    if key in SWITCH:
        return NEVER if value is None else _time(value)
    if key in PRICES:
        return b"".join(to_bcd(price, 4, key) for price in value)
    if key == "spare steps":
        return _step_block(value)
    many = held["counts"]["zones"] if key.endswith("zones") else ENTRIES
    if not 0 < len(value) <= many:
        raise Misuse(f"{key}: {len(value)} entries, 1 to {many} can be")
    rows = [*value, *[value[-1]] * (many - len(value))]
    return b"".join(to_bcd(part, 1, key) for row in rows for part in reversed(row))


def _triples(raw: bytes, key: str) -> list[list[int]]:
    """Groups of three bytes, the last part first on the wire."""
    if not raw or len(raw) % 3:
        raise FrameError(f"{key}: {len(raw)} bytes are no entries of three", 0)
    return [[from_bcd(raw[k + n : k + n + 1], key) for n in (2, 1, 0)] for k in range(0, len(raw), 3)]


def _moment(raw: bytes) -> str | None:
    """YYMMDDhhmm -> ISO text; None where it is no date: such a switch never comes."""
    digits = raw[::-1].hex()
    try:
        when = dt.datetime.strptime("20" + digits, "%Y%m%d%H%M")
    except ValueError:
        return None
    return when.isoformat(timespec="minutes")


def _time(text: str) -> bytes:
    when = dt.datetime.fromisoformat(text)
    return b"".join(
        to_bcd(part, 1) for part in (when.minute, when.hour, when.day, when.month, when.year - 2000)
    )


# --- steps ---


def _present_steps(meter: Meter) -> Script[dict[str, Any] | None]:
    """The thresholds and prices in force; of the dates on which the year turns there is no present set to ask for."""
    limits = yield from _numbers(meter, LIMIT_NOW, LIMITS)
    prices = yield from _numbers(meter, PRICE_NOW, STEP_PRICES)
    if not prices:
        return None
    return _told(limits, prices, None)


def _numbers(meter: Meter, di: int, most: int) -> Script[list[int]]:
    found: list[int] = []
    for number in range(1, most + 1):
        raw = yield from _raw(meter, di | number)
        if raw is None:
            break
        found.append(from_bcd(raw, "step"))
    return found


def _steps(raw: bytes) -> dict[str, Any]:
    size = 4 * (LIMITS + STEP_PRICES)
    if len(raw) != size + 3 * DATES:
        raise FrameError(f"steps: {len(raw)} bytes, {size + 3 * DATES} are needed", 0)
    numbers = [from_bcd(raw[k : k + 4], "step") for k in range(0, size, 4)]
    dates = [row for row in _triples(raw[size:], "step date") if row[0] in range(1, 13)]
    return _told(numbers[:LIMITS], numbers[LIMITS:], dates)


def _told(limits: Sequence[int], prices: Sequence[int], dates: Any) -> dict[str, Any]:
    """Without what is not used: thresholds of nothing or never reached, prices behind the last threshold."""
    used = [limit for limit in limits if 0 < limit < FAR]
    return {"limits": used, "prices": list(prices[: len(used) + 1]), "dates": dates}


def _step_block(steps: Mapping[str, Any]) -> bytes:
    limits, prices, dates = list(steps["limits"]), list(steps["prices"]), list(steps["dates"])
    if len(limits) > LIMITS or len(prices) != len(limits) + 1 or len(dates) > DATES:
        raise Misuse(
            f"steps: {len(limits)} thresholds, {len(prices)} prices and {len(dates)} dates do not fit a meter"
        )
    numbers = [*limits, *[FAR] * (LIMITS - len(limits)), *prices, *[prices[-1]] * (STEP_PRICES - len(prices))]
    days = b"".join(to_bcd(part, 1) for row in dates for part in reversed(row))
    return (
        b"".join(to_bcd(number, 4, "step") for number in numbers)
        + days
        + b"\x99" * (3 * (DATES - len(dates)))
    )


# --- holidays ---


def _holidays(meter: Meter, many: int) -> Script[list[list[int]] | None]:
    found = []
    for number in range(1, many + 1):
        raw = yield from _raw(meter, HOLIDAY | number)
        if raw is None:
            return None
        row = _holiday(raw)
        if row is not None:
            found.append(row)
    return sorted(found) if many else None


def _holiday(raw: bytes) -> list[int] | None:
    if len(raw) != 4:
        raise FrameError(f"public holiday: {len(raw)} bytes, 4 are needed", 0)
    number, day, month, year = (int(f"{byte:02x}", 10) if f"{byte:02x}".isdecimal() else 0 for byte in raw)
    try:
        dt.date(2000 + year, month, day)
    except ValueError:
        return None
    return [2000 + year, month, day, number]


def _write_holidays(
    machine: security.CipherMachine | None,
    meter: Meter,
    rows: Sequence[Sequence[int]],
    held: Mapping[str, Any],
) -> Script[None]:
    """All places, in order; those that are as they should be are not written again."""
    many = held["counts"]["holidays"]
    if len(rows) > many:
        raise Misuse(f"holidays: {len(rows)}, the meter is set to {many}")
    for number in range(1, many + 1):
        raw = NO_HOLIDAY
        if number <= len(rows):
            year, month, day, table = rows[number - 1]
            raw = b"".join(to_bcd(part, 1) for part in (table, day, month, year - 2000))
        there = yield from _raw(meter, HOLIDAY | number)
        if there is None or (there != raw and not (raw == NO_HOLIDAY and _holiday(there) is None)):
            yield from write_parameter(machine, meter, HOLIDAY | number, raw)


# --- the wire ---


def _raw(meter: Meter, di: int) -> Script[bytes | None]:
    try:
        answer: ReadAnswer = yield Read(meter.address, di)
    except Refused as refused:
        if not refused.absent:
            raise
        return None
    filler = answer.data.count(0xFF) == len(answer.data) or answer.data.count(0xEE) == len(answer.data)
    return None if filler else answer.data
