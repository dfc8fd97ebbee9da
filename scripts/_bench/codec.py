"""Bytes to values and back: ours beside PyPI `dlt645`, `dlt698` and `dlms-cosem`, on the same bytes.

Before the clock starts every contender must have read the same numbers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from importlib.metadata import version
from zoneinfo import ZoneInfo

import numpy as np
from dlms_cosem import cosem, enumerations
from dlms_cosem.parsers import ProfileGenericBufferParser
from dlt645.protocol.protocol import DLT645Protocol
from dlt645.service.clientsvc.client_service import MeterClientService
from dlt698 import codec as peer698
from measure import OURS, Race, cpu_race

from protocols.dlms import bulk as dlms
from protocols.dlms import values as axdr
from protocols.dlt645 import blocks, frame, values
from protocols.dlt645.bulk import answer_columns, load_columns
from protocols.dlt645.bulk_frames import frame_columns
from protocols.dlt645.frame import Frame
from protocols.dlt698 import apdu as apdu698
from protocols.dlt698 import bulk as bulk698
from protocols.dlt698 import frame as frame698
from protocols.dlt698 import values as data698
from protocols.gdw376 import bulk as bulk376
from protocols.gdw376 import frame as frame376
from protocols.gdw376 import values as values376
from protocols.localtime import day_slots
from protocols.reading import SLOT_QUANTITIES

CHINA = ZoneInfo("Asia/Shanghai")
DAY = dt.date(2026, 3, 10)
#: forward active energy, total: one register of four bytes
DI = 0x00010000
READ, ANSWER = 0x11, 0x91
ADDRESS = "000012345678"
WAKEUP = 4
#: blocks in one answer, as the collector asks for them
BLOCKS = 24
DLT645 = f"dlt645 {version('dlt645')}"
COSEM = f"dlms-cosem {version('dlms-cosem')}"
DLT698 = f"dlt698 {version('dlt698')}"


def run(rounds: int, frames: int, days: int, profiles: int) -> list[Race]:
    """`frames` single frames, `days` meter-days of load records, `profiles` DLMS profiles of a day in each round."""
    return [
        encode_frames(rounds, frames),
        decode_frames(rounds, frames),
        decode_frames_with_value(rounds, frames),
        many_frames(rounds, 10 * frames),
        load_records(rounds, days),
        profile(rounds, profiles, 1),
        profile(rounds, max(1, profiles // 10), 10),
        frames_698(rounds, frames),
        records_698(rounds, days),
        frames_376(rounds, max(1, frames // 10)),
        curves_376(rounds, 10 * days),
    ]


def _registers(count: int) -> list[Decimal]:
    return [Decimal(1_000_000 + 37 * k) / 100 for k in range(count)]


def _answers(count: int) -> list[bytes]:
    head = DI.to_bytes(4, "little")
    return [
        Frame(ADDRESS, ANSWER, head + values.encode(DI, [kwh])).encode(WAKEUP) for kwh in _registers(count)
    ]


def encode_frames(rounds: int, count: int) -> Race:
    data = DI.to_bytes(4, "little")
    raw_address = bytes.fromhex(ADDRESS)[::-1]
    assert bytes(DLT645Protocol.build_frame(raw_address, READ, data, WAKEUP)) == Frame(
        ADDRESS, READ, data
    ).encode(WAKEUP)

    def ours() -> None:
        for _ in range(count):
            Frame(ADDRESS, READ, data).encode(WAKEUP)

    def peer() -> None:
        for _ in range(count):
            DLT645Protocol.build_frame(raw_address, READ, data, WAKEUP)

    return cpu_race(
        Race("645 request, encode one by one", "frames", count, 0), {OURS: ours, DLT645: peer}, rounds
    )


def decode_frames(rounds: int, count: int) -> Race:
    raws = _answers(count)
    mine, theirs = frame.decode(raws[-1]), DLT645Protocol.deserialize(raws[-1])
    assert (mine.control, mine.data) == (theirs.ctrl_code, bytes(theirs.data))

    def ours() -> None:
        for raw in raws:
            frame.decode(raw)

    def peer() -> None:
        for raw in raws:
            DLT645Protocol.deserialize(raw)

    return cpu_race(
        Race("645 answer, decode one by one", "frames", count, 0), {OURS: ours, DLT645: peer}, rounds
    )


def decode_frames_with_value(rounds: int, count: int) -> Race:
    raws = _answers(count)
    client = MeterClientService(None)  # its decoder needs no connection
    client.address = bytearray(bytes.fromhex(ADDRESS)[::-1])

    def ours() -> list[float]:
        columns, errors = answer_columns(DI, [frame.decode(raw).data[4:] for raw in raws], ["active_import"])
        assert not errors
        return list(columns["active_import"] / 10_000)

    def ours_singly() -> list[float]:
        return [
            values.quantity_values(DI, frame.decode(raw).data[4:])["active_import"] / 10_000 for raw in raws
        ]

    def peer() -> list[float]:
        return [client.handle_response(DLT645Protocol.deserialize(raw)).value for raw in raws]

    wanted = [float(kwh) for kwh in _registers(count)]
    assert ours() == ours_singly() == peer() == wanted
    contenders: dict[str, Callable[[], object]] = {
        "ours, values in columns": ours,
        "ours, one by one": ours_singly,
        DLT645: peer,
    }
    return cpu_race(Race("645 answer, frame and register", "frames", count, 1), contenders, rounds)


def many_frames(rounds: int, count: int) -> Race:
    """A fleet's answers to one question, as a concentrator hands them over: one array, or one by one."""
    raws = _answers(count)
    matrix = np.frombuffer(b"".join(raws), np.uint8).reshape(count, -1)

    def ours() -> object:
        return frame_columns(DI, matrix, ["active_import"])

    def from_list() -> object:
        return frame_columns(DI, raws, ["active_import"])

    for found in (frame_columns(DI, matrix, ["active_import"]), frame_columns(DI, raws, ["active_import"])):
        assert not found.errors
        assert found.columns["active_import"].tolist() == [int(kwh * 10_000) for kwh in _registers(count)]
    race = Race("645 answers in bulk, every check", "frames", count, 1)
    return cpu_race(race, {"ours, one array": ours, "ours, a list of bytes": from_list}, rounds)


def _load_answers(days: int) -> list[bytes]:
    """Meter-days of 96 blocks with classes 1, 2 and 4: what a three-phase meter records."""
    start = dt.datetime.combine(DAY, dt.time())
    made = []
    for k in range(96):
        volts = [Decimal(2301 + k) / 10, Decimal("229.8"), Decimal("231.0")]
        amperes = [Decimal(1000 + k) / 1000, Decimal("0.512"), Decimal("2.044")]
        powers = [
            Decimal(15000 + k) / 10000,
            *map(Decimal, ("0.5", "0.5", "0.5", "0.1", "0.04", "0.03", "0.03")),
        ]
        energies = [Decimal(1_000_000 + 25 * k) / 100, *map(Decimal, ("0.25", "12.5", "1.5"))]
        classes = {1: [*volts, *amperes, Decimal("50.01")], 2: powers, 4: energies}
        made.append(blocks.encode_block(start + dt.timedelta(minutes=15 * (k + 1)), classes))
    return [b"".join(made[k : k + BLOCKS]) for k in range(0, 96, BLOCKS)] * days


def load_records(rounds: int, days: int) -> Race:
    answers = _load_answers(days)

    def columns() -> object:
        found = load_columns(answers)
        assert not found.errors
        return found

    def singly() -> object:
        return [blocks.decode_blocks(answer) for answer in answers]

    found, one = load_columns(answers), blocks.decode_blocks(answers[0])[0]
    first = {
        value.quantity: value.value for group in one.classes.values() for value in group if value.quantity
    }
    for code in SLOT_QUANTITIES:
        scale = 10_000 if code.startswith("active_") and code != "active_power" else 1
        assert Decimal(str(found.columns[code][0])) == Decimal(str(first[code])) * scale
    race = Race("645 load record, 24 blocks an answer", "blocks", 96 * days, len(SLOT_QUANTITIES))
    return cpu_race(
        race, {"ours, in columns": columns, "ours, one by one (no peer decodes it)": singly}, rounds
    )


def profile(rounds: int, count: int, days: int) -> Race:
    """A profile of clock and five columns, `days` days of it in one buffer."""
    slots = np.concatenate([day_slots(DAY + dt.timedelta(days=k), CHINA) for k in range(days)])
    n = len(slots)
    energy = 1_000_000 + 25 * np.arange(n)
    volts = 2300 + np.arange(n) % 50
    raw = dlms.encode(
        [
            (axdr.OCTET_STRING, dlms.clock_column(slots, CHINA)),
            (axdr.DOUBLE_LONG_UNSIGNED, energy),
            (axdr.DOUBLE_LONG_UNSIGNED, energy // 100),
            (axdr.LONG_UNSIGNED, volts),
            (axdr.LONG_UNSIGNED, volts + 1),
            (axdr.LONG_UNSIGNED, volts + 2),
        ]
    )
    clock = cosem.CosemAttribute(enumerations.CosemInterface.CLOCK, cosem.Obis(0, 0, 1, 0, 0, 255), 2)
    register = cosem.CosemAttribute(enumerations.CosemInterface.REGISTER, cosem.Obis(1, 0, 1, 8, 0, 255), 2)
    parser = ProfileGenericBufferParser([clock] + 5 * [register], capture_period=15)

    def decode() -> tuple[object, ...]:
        """As the driver does: instants in UTC, registers in 1e-4 kWh, volts."""
        at, first, second, *rest = dlms.decode(raw)
        return (
            dlms.instants(at, CHINA),
            dlms.registers(first, 0),
            dlms.registers(second, 0),
            *(dlms.reals(column, -1) for column in rest),
        )

    def ours() -> None:
        for _ in range(count):
            decode()

    def peer() -> None:
        for _ in range(count):
            parser.parse_bytes(raw)

    rows = parser.parse_bytes(raw)
    assert len(rows) == n
    assert [row[1].value * 10 for row in rows] == list(decode()[1])
    assert [
        np.datetime64(row[0].value.astimezone(dt.UTC).replace(tzinfo=None), "us") for row in rows
    ] == list(decode()[0])
    buffers = [raw] * count

    def together() -> list[tuple[object, ...]]:
        """Many meters' buffers at once, as they come in from a fleet."""
        found, errors = dlms.decode_many(buffers)
        assert not errors
        return [
            (
                dlms.instants(at, CHINA),
                dlms.registers(first, 0),
                dlms.registers(second, 0),
                *(dlms.reals(column, -1) for column in rest),
            )
            for part in found
            for at, first, second, *rest in (part.columns,)
        ]

    for one, many in zip(decode(), zip(*together(), strict=True), strict=True):
        assert np.array_equal(np.tile(one, count), np.concatenate(many))
    race = Race(f"DLMS profile {n} × 6, decoded, scaled", "profiles", count, n * 6)
    return cpu_race(
        race, {"ours, many meters at once": together, "ours, one by one": ours, COSEM: peer}, rounds
    )


# --- DL/T 698.45 and Q/GDW 376.1 ---


def _record_698(first: int, rows: int) -> bytes:
    """A GET-Response-Record: freeze time, import, export, three voltages."""
    u32, u16 = data698.DOUBLE_LONG_UNSIGNED, data698.LONG_UNSIGNED
    start = np.datetime64(DAY, "us")
    made = tuple(
        (
            data698.Data(
                data698.DATE_TIME_S, data698.encode_time_s(start + (k + 1) * np.timedelta64(15, "m"))
            ),
            data698.Data(u32, first + 25 * k),
            data698.Data(u32, k),
            data698.array(*(data698.Data(u16, 2300 + k + phase) for phase in range(3))),
        )
        for k in range(rows)
    )
    record = apdu698.RecordResult(
        0x50020200, (0x20210200, 0x00100201, 0x00200201, 0x20000200), 0, made, False
    )
    return apdu698.encode(apdu698.Apdu(0x85, 3, 1, {"record": record}))


def frames_698(rounds: int, count: int) -> Race:
    """A record of one row: frame, APDU and values, beside a peer whose inside is C++."""
    address = frame698.Address("000012345678")
    body = _record_698(1000, 1)
    raws = [frame698.Frame(address, 0x10, 0xC3, body).encode()] * count

    def ours() -> None:
        for raw in raws:
            apdu698.decode(frame698.decode(raw).data)

    def peer() -> None:
        for raw in raws:
            peer698.decode_apdu(peer698.decode_frame(raw).payload)

    return cpu_race(
        Race("698.45 record answer, one by one", "frames", count, 6), {OURS: ours, DLT698: peer}, rounds
    )


def records_698(rounds: int, days: int) -> Race:
    """Meter-days of 96 rows, to quantities and times."""
    answers = [_record_698(1000 + k, 96) for k in range(days)]

    def ours() -> list[object]:
        found, errors = bulk698.decode_many(answers)
        assert not errors
        return [(bulk698.record_times(part), bulk698.quantity_columns(part)) for part in found]

    def peer() -> None:
        for answer in answers:
            peer698.decode_apdu(answer)

    race = Race("698.45 records, 96 rows an answer", "rows", 96 * days, 6)
    return cpu_race(race, {"ours, in columns": ours, f"{DLT698}, objects": peer}, rounds)


def frames_376(rounds: int, count: int) -> Race:
    """AFN 0D F1, a day freeze with four tariffs: one frame, its units, their values. No library on PyPI decodes it."""
    unit = values376.encode(
        0x0D, 1, [DAY, None, 4, *(Decimal(100 + k) for k in range(5)), *[None] * 15], uplink=True
    )
    ident = bytes((0x01, 0x01, 0x01, 0x00))
    raws = [
        frame376.Frame(frame376.parse_address("12345678"), 0x88, 0x0D, 0x60, ident + unit).encode()
    ] * count

    def ours() -> None:
        for raw in raws:
            told = frame376.decode(raw)
            for found in values376.decode_units(told.afn, told.body, uplink=told.uplink):
                assert found.values

    return cpu_race(Race("376.1 day freeze, frame and values", "frames", count, 8), {OURS: ours}, rounds)


def curves_376(rounds: int, count: int) -> Race:
    """AFN 0D F101, a day of 96 energies a curve, to columns."""
    start = dt.datetime.combine(DAY, dt.time())
    data = values376.encode(
        0x0D, 101, [start, 1, 96, *(Decimal(1000 + k) / 4 for k in range(96))], uplink=True
    )
    curves = [bulk376.Curve(key, 101, data) for key in range(count)]

    def ours() -> None:
        assert not bulk376.curve_columns(curves).errors

    return cpu_race(
        Race("376.1 curves, 96 points each", "curves", count, 96), {"ours, in columns": ours}, rounds
    )
