"""Troubles on real sockets: they do what they say, stand in the record first, end, and go on after a restart."""

import asyncio
import json
import re

import numpy as np
import pytest

from headend.plans import REASONS
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.driver import Meter
from terminals.links.link import LinkLost
from terminals.links.tcp import connect
from terminals.pace import Timing
from terminals.session import Garbled, NoAnswer, Session
from terminals.simulator import troubles
from terminals.simulator.codes import asset_code, terminal_code
from terminals.simulator.commands import obey
from terminals.simulator.control import NotTold
from terminals.simulator.journal import Damaged
from terminals.simulator.scenario import NOTHING, ZONE, Group
from terminals.simulator.troubles import KINDS, WEATHER, Trouble, causes
from terminals.simulator.weather import Weather

NOW = "2026-03-12 00:07"
ONCE = Timing(first=0.5, floor=0.4, ceiling=0.5, gap=0.15, attempts=1, pause=0.0, whole=10.0)
PATIENT = Timing(first=0.5, floor=0.4, ceiling=0.5, gap=0.15, attempts=8, pause=0.0, whole=30.0)
TERMINAL, OTHER = terminal_code(0), terminal_code(1)
METER = Meter(int(asset_code(0, 1)), asset_code(0, 1), ZONE, 1)
DRIVER = Dlt645Driver()


@pytest.fixture
async def start(make_fleet):
    """start(now=..., ...) -> two terminals that wait, started."""
    fleets = []

    async def make(now=NOW, seed=7, faults=()):
        groups = (Group("dlt645", "dial-out", 4),)
        fleet = make_fleet(now, seed=seed, groups=groups, plan=NOTHING, faults=faults)
        fleets.append(fleet)
        await fleet.start()
        return fleet

    yield make
    for fleet in fleets:
        await fleet.stop()


async def dial(fleet, area=0):
    host, port = fleet.endpoints[area].split(":")
    return await connect(host, int(port), 2.0)


async def read(link, at, timing=ONCE, meter=METER):
    return await Session(link, DRIVER.exchange(meter), timing).run(DRIVER.registers(meter, at(NOW)))


async def clock(link, meter=METER):
    return await Session(link, DRIVER.exchange(meter), PATIENT).run(DRIVER.clock(meter))


def test_every_kind_is_known_to_the_line_or_to_somebody():
    assert set(Weather.__dataclass_fields__) == WEATHER < set(KINDS)
    for kind in KINDS.values():
        assert kind.reasons <= set(REASONS)
        assert kind.least <= kind.value <= kind.most


@pytest.mark.parametrize(("kind", "error"), [("loss", NoAnswer), ("foreign", NoAnswer), ("garble", Garbled)])
async def test_what_a_bad_line_makes_of_a_read(start, at, kind, error):
    fleet = await start()
    link = await dial(fleet)
    assert obey(fleet, f"fault {kind} {TERMINAL} 1") == "1 began"
    with pytest.raises((error, NoAnswer)):
        await read(link, at)
    assert obey(fleet, f"mend {kind} {TERMINAL}") == "1 ended"
    await asyncio.sleep(0.2)
    assert (await read(link, at, PATIENT)).columns["active_import"][0] > 0
    await link.close()


@pytest.mark.parametrize("kind", ["split", "glue", "noise", "stale", "duplicate"])
async def test_what_a_patient_head_end_gets_through(start, at, kind):
    fleet = await start()
    link = await dial(fleet)
    obey(fleet, f"fault {kind} all 0.5")
    for _ in range(5):
        reads = await read(link, at, PATIENT)
        assert reads.columns["active_import"][0] == fleet.terminals[0].meters[1].registers(at(NOW))[0]
    await link.close()


async def test_a_delayed_answer_holds_nobody_else_up(start, at):
    fleet = await start()
    slow, quick = await dial(fleet, 0), await dial(fleet, 1)
    obey(fleet, f"fault delay {TERMINAL} 3")
    waiting = asyncio.create_task(read(slow, at))
    other = Meter(int(asset_code(1, 1)), asset_code(1, 1), ZONE, 1)
    assert (await read(quick, at, meter=other)).columns["active_import"][0] > 0
    assert not waiting.done()
    with pytest.raises(NoAnswer):
        await waiting
    await slow.close()
    await quick.close()


async def test_silence_leaves_the_socket_open_and_ends_by_itself(start, at):
    fleet = await start()
    link = await dial(fleet)
    obey(fleet, f"fault silence {TERMINAL} for 0.6")
    with pytest.raises(NoAnswer):
        await read(link, at)
    await asyncio.sleep(0.5)
    assert (await read(link, at)).columns["active_import"][0] > 0
    (trouble,) = troubles.read(fleet.directory / "troubles.jsonl")
    assert (trouble.kind, trouble.who, trouble.until) == ("silence", TERMINAL, at(NOW))
    await link.close()


async def test_who_is_away_takes_no_call(start, at):
    fleet = await start()
    link = await dial(fleet)
    obey(fleet, f"fault away {TERMINAL}")
    with pytest.raises(LinkLost):
        await link.read(2.0)
    link = await dial(fleet)
    with pytest.raises(LinkLost):
        await link.read(2.0)
    obey(fleet, f"mend away {TERMINAL}")
    link = await dial(fleet)
    assert (await read(link, at)).columns["active_import"][0] > 0
    await link.close()


async def test_a_reboot_is_over_by_itself(start, at):
    fleet = await start()
    link = await dial(fleet)
    obey(fleet, f"fault reboot {TERMINAL} 0.4")
    with pytest.raises(LinkLost):
        await link.read(2.0)
    link = await dial(fleet)
    with pytest.raises(LinkLost):
        await link.read(2.0)
    await asyncio.sleep(0.4)
    link = await dial(fleet)
    assert (await read(link, at)).columns["active_import"][0] > 0
    assert fleet.mischief.going == {}
    await link.close()


async def test_a_dead_meter_is_dead_alone(start, at):
    fleet = await start()
    link = await dial(fleet)
    obey(fleet, f"fault dead {METER.address}")
    with pytest.raises(NoAnswer):
        await read(link, at)
    beside = Meter(int(asset_code(0, 2)), asset_code(0, 2), ZONE, 1)
    assert (await read(link, at, meter=beside)).columns["active_import"][0] > 0
    obey(fleet, "mend dead all")
    assert (await read(link, at)).columns["active_import"][0] > 0
    await link.close()


async def test_what_was_overwritten_is_proved_absent(start, at):
    fleet = await start()
    link = await dial(fleet)
    obey(fleet, f"fault overwrite {METER.address} 2")
    slots = at("2026-03-11 20:00") + np.arange(17) * np.timedelta64(15, "m")
    session = Session(link, DRIVER.exchange(METER), PATIENT)
    outcome = await session.run(DRIVER.curve(METER, slots))
    kept = slots > at(NOW) - np.timedelta64(2, "h")
    assert np.sort(outcome.reads.time).tolist() == slots[kept].tolist()
    assert np.sort(outcome.absent).tolist() == slots[~kept].tolist()
    await link.close()


async def test_clocks_jump_and_drift_and_keep_their_time_over_a_restart(start, at):
    fleet = await start()
    second = np.timedelta64(1_000_000, "us")
    before = await clock(link := await dial(fleet))
    obey(fleet, f"fault clock {METER.address} 120")
    assert await clock(link) == before + 120 * second
    obey(fleet, f"fault drift {METER.address} 86")
    fleet._clock.time = at("2026-03-13 00:07")
    day = np.timedelta64(86_400_000_000, "us")
    assert await clock(link) == before + day + 206 * second
    await link.close()
    await fleet.stop()
    again = await start(now="2026-03-13 00:07")
    link = await dial(again)
    assert await clock(link) == before + day + 206 * second
    again._clock.time = at("2026-03-14 00:07")
    assert await clock(link) == before + 2 * day + 292 * second
    await link.close()


async def test_a_clock_that_the_head_end_set_stays_set(start, at):
    fleet = await start()
    obey(fleet, f"fault clock {METER.address} 100")
    link = await dial(fleet)
    session = Session(link, DRIVER.exchange(METER), PATIENT)
    await session.run(DRIVER.set_clock(METER, at(NOW)))
    second = np.timedelta64(1_000_000, "us")
    assert abs(await clock(link) - at(NOW)) <= second
    await link.close()
    # a kill would come now: what is on the disk is what counts
    async with asyncio.timeout(5):
        while METER.address not in json.loads(await _text(fleet.directory / "state.json"))["meters"]:
            await asyncio.sleep(0.05)
    fleet._keeper.stop()
    again = await start()
    link = await dial(again)
    assert abs(await clock(link) - at(NOW)) <= second
    await link.close()


async def _text(path):
    while not path.exists():
        await asyncio.sleep(0.05)
    return path.read_text(encoding="utf-8")


async def test_what_goes_on_goes_on_after_a_restart_and_another_truth_forgets_it(start, at):
    fleet = await start(faults=[("loss", 0.5, TERMINAL)])
    obey(fleet, f"fault silence {OTHER} for 0.8")
    await fleet.stop()
    again = await start(faults=[("loss", 0.5, TERMINAL)])
    assert set(again.mischief.going) == {("loss", TERMINAL), ("silence", OTHER)}
    assert again.terminals[1].silent
    assert again.terminals[0].passage.weather == Weather(loss=0.5)
    assert len(troubles.read(again.directory / "troubles.jsonl")) == 2  # not begun twice
    async with asyncio.timeout(10):
        while again.terminals[1].silent:
            await asyncio.sleep(0.05)
    assert set(again.mischief.going) == {("loss", TERMINAL)}
    await again.stop()
    other = await start(seed=8)
    assert other.mischief.going == {}


async def test_a_share_is_a_matter_of_the_seed(start):
    fleet = await start()
    assert len(fleet.mischief.whom("loss", "50%")) == 2
    assert fleet.mischief.whom("loss", "50%") == fleet.mischief.whom("loss", "50%")
    assert len(fleet.mischief.whom("dead", "25%")) == 6
    assert json.loads(obey(fleet, "faults")) == {}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("fault", "fault takes KIND WHO"),
        ("fault flood all", "'flood' is none of loss, garble"),
        ("fault loss 12", "'12' is no terminal here"),
        ("fault dead 33000001", "'33000001' is no meter here"),
        ("fault loss all 2", "loss takes a number between 0 and 1"),
        ("fault loss all much", "'much' is no number"),
        ("fault loss 200%", "'200%' is no share between 0% and 100%"),
        ("mend loss", "mend takes KIND WHO"),
    ],
)
async def test_what_cannot_be(start, line, why):
    fleet = await start()
    with pytest.raises(NotTold, match=re.escape(why)):
        obey(fleet, line)
    assert fleet.mischief.going == {}


def test_causes_are_those_of_the_time(at):
    noon, one, two = (at(f"2026-03-11 {hour}:00") for hour in (12, 13, 14))
    known = [
        Trouble("silence", "T", 1, noon, one),
        Trouble("garble", "T", 1, two),
        Trouble("overwrite", "M", 1, noon),
    ]
    assert causes(known, ["T"], noon, noon) == KINDS["silence"].reasons
    assert causes(known, ["T"], two, two) == KINDS["garble"].reasons
    assert causes(known, ["M", "T"], one, one) == KINDS["silence"].reasons | KINDS["overwrite"].reasons
    assert causes(known, ["X"], noon, two) == frozenset()


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("troubles.jsonl", '{"at": "yesterday"}\n', "troubles.jsonl line 1 cannot be read"),
        ("troubles.jsonl", "[]\n", "troubles.jsonl line 1 cannot be read"),
        (
            "acts.jsonl",
            '{"at": "2026-03-11T00:00:00+00:00", "meter": 1}\n',
            "acts.jsonl line 1 cannot be read",
        ),
        ("state.json", "{", "state.json cannot be continued with: it is damaged"),
        ("state.json", '{"version": 99}', "its version is 99, this program's is 1"),
    ],
)
async def test_a_broken_file_is_one_clear_error(start, name, text, why):
    fleet = await start()
    await fleet.stop()
    (fleet.directory / name).write_text(text, encoding="utf-8")
    with pytest.raises(Damaged, match=re.escape(why)) as error:
        await start()
    assert "\n" not in str(error.value)
    assert not (fleet.directory / "ready.json").exists()


async def test_half_a_line_that_a_power_failure_left_is_cut_off(start):
    fleet = await start()
    obey(fleet, f"fault loss {TERMINAL} 0.5")
    await fleet.stop()
    path = fleet.directory / "troubles.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write('{"at": "2026')
    again = await start()
    obey(again, f"mend loss {TERMINAL}")
    await again.stop()
    (trouble,) = troubles.read(path)
    assert trouble.until is not None
