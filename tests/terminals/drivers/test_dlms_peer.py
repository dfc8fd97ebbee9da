"""Against a meter built on gurux-dlms, which is a program of its own behind a socket: framing, association, values and ciphering are not ours.

The rows of its load profile begin at 2024-01-01 00:15: row n ends at the n-th quarter-hour, with 100.0 + 0.7 n Wh in and 0.5 n Wh out.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from protocols.errors import Refused
from protocols.localtime import day_slots, instant
from terminals.drivers.dlms import DlmsDriver
from terminals.drivers.dlms_hdlc import DlmsHdlcDriver
from terminals.drivers.driver import Meter, RelayAction
from terminals.links.tcp import connect
from terminals.pace import Timing
from terminals.session import Session

PROGRAM = Path(__file__).resolve().parents[2] / "support" / "gurux_meter.py"
PATIENT = Timing(first=10.0, floor=5.0, ceiling=20.0, gap=0.5, attempts=2, pause=0.0, whole=60.0)
ZONE = ZoneInfo("Asia/Shanghai")
DAY = dt.date(2024, 1, 1)
SLOTS = day_slots(DAY, ZONE)
ON_WRAPPER = ("--framing", "wrapper")
ON_HDLC = ("--framing", "hdlc", "--max-info", "300")
PASSWORD = ("--auth", "lls", "--password", "12345678")
CASES = {
    "wrapper": (DlmsDriver(), Meter(7, "1", ZONE, 3), ON_WRAPPER),
    "wrapper, password": (
        DlmsDriver(), Meter(7, "1", ZONE, 3, {"password": "12345678", "client": "16"}), (*ON_WRAPPER, *PASSWORD),
    ),
    "hdlc": (DlmsHdlcDriver(), Meter(7, "1/17", ZONE, 3, {"client": "16"}), ON_HDLC),
    "hdlc, password": (DlmsHdlcDriver(), Meter(7, "1/17", ZONE, 3, {"password": "12345678", "client": "16"}), (*ON_HDLC, *PASSWORD)),
}  # fmt: skip


@asynccontextmanager
async def their_meter(*options: str) -> AsyncIterator[int]:
    """Its port. One caller: the program has one line."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()

        assert program.stdin is not None
        assert program.stdout is not None
        try:
            await asyncio.gather(pump(reader, program.stdin), pump(program.stdout, writer))
        finally:
            writer.close()
            over.set()

    over = asyncio.Event()
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        "meter",
        *options,
        stdin=pipe,
        stdout=pipe,
        stderr=asyncio.subprocess.DEVNULL,
    )
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        program.kill()
        await program.wait()
        await over.wait()


@pytest.fixture(params=CASES)
async def line(request: pytest.FixtureRequest) -> AsyncIterator[tuple[DlmsDriver, Meter, Session]]:
    driver, meter, options = CASES[request.param]
    async with their_meter(*options) as port:
        link = await connect("127.0.0.1", port, 5.0)
        try:
            session = Session(link, driver.exchange(meter), PATIENT)
            await session.run(driver.open(meter))
            yield driver, meter, session
            await session.run(driver.close(meter))
        finally:
            await link.close()


async def test_the_profile_of_a_day(line: tuple[DlmsDriver, Meter, Session]) -> None:
    driver, meter, session = line
    outcome = await session.run(driver.curve(meter, SLOTS))
    assert (outcome.reads.time == SLOTS).all()
    assert not len(outcome.absent)
    n = np.arange(1, 97)
    # registers are kept in 1e-4 kWh, which is a tenth of a Wh
    assert (outcome.reads.columns["active_import"] == 1000 + 7 * n).all()
    assert (outcome.reads.columns["active_export"] == 5 * n).all()


async def test_what_the_profile_has_not(line: tuple[DlmsDriver, Meter, Session]) -> None:
    driver, meter, session = line
    slots = day_slots(DAY - dt.timedelta(days=1), ZONE)[-4:]
    outcome = await session.run(driver.curve(meter, slots))
    assert not len(outcome.reads.time)
    assert (outcome.absent == slots).all()


async def test_present_values_and_clock(line: tuple[DlmsDriver, Meter, Session]) -> None:
    driver, meter, session = line
    now = instant(dt.datetime(2024, 1, 1, 10, 0, tzinfo=ZONE))
    assert await session.run(driver.clock(meter)) == now
    later = now + np.timedelta64(90, "s")
    await session.run(driver.write_clock(meter, later))
    assert await session.run(driver.clock(meter)) == later
    reads = await session.run(driver.registers(meter, now))
    assert {code: column[0] for code, column in reads.columns.items() if reads.valid(code)[0]} == {
        "active_import": 123_456
    }


async def test_the_relay(line: tuple[DlmsDriver, Meter, Session]) -> None:
    """Open and closed again, each read back; a mode that closes at once cannot merely permit."""
    driver, meter, session = line
    expires = instant(dt.datetime(2024, 1, 1, 11, 0, tzinfo=ZONE))
    for action, is_open in ((RelayAction.TRIP, True), (RelayAction.CLOSE, False)):
        await session.run(driver.relay(meter, action, expires))
        assert (await session.run(driver.relay_state(meter))).open is is_open
    with pytest.raises(Refused, match="closes at once"):
        await session.run(driver.relay(meter, RelayAction.PERMIT, expires))
