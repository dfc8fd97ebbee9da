"""Turns on a shared line."""

import asyncio
import gc
import weakref

import pytest

from protocols.errors import Refused
from terminals.bus import Bus, BusFull, Limits, NoTurn, Quarantined
from terminals.links.link import LinkLost
from terminals.pace import Pace, Timing
from terminals.quarantine import Backoff, Quarantine
from terminals.session import NoAnswer
from terminals.turns import Priority

QUICK = Timing(first=0.02, floor=0.01, ceiling=0.04, gap=0.01, attempts=2, pause=0.0, whole=1.0)
ORDER, ON_DEMAND, SCHEDULED = Priority


@pytest.fixture
def line(toy_line):
    return toy_line(1, 2, 3)


@pytest.fixture
async def bus(line):
    bus = Bus(line, pace=Pace(QUICK))
    yield bus
    await bus.close()


@pytest.fixture
def meters(toy_meter):
    return {key: toy_meter(key) for key in range(1, 10)}


@pytest.fixture
def ask(bus, meters, toy_driver):
    driver = toy_driver()

    async def ask(key, priority=SCHEDULED, name="volts", **options):
        async with bus.turn(meters[key], driver, priority, **options) as session:
            return await session.request(name)

    return ask


async def test_a_turn_has_an_open_session(ask, line):
    assert await ask(1) == "1"
    assert line.asked == ["1 volts"]


async def test_one_at_a_time_and_in_order_of_priority(bus, ask, line, meters, toy_driver):
    async with bus.turn(meters[1], toy_driver(), SCHEDULED):
        waiting = [
            asyncio.ensure_future(ask(key, priority))
            for key, priority in ((1, SCHEDULED), (2, ON_DEMAND), (3, ORDER))
        ]
        await asyncio.sleep(0.005)
        assert line.asked == []
        assert bus.waiting == 3
        assert bus.busy
    await asyncio.gather(*waiting)
    assert line.asked == ["3 volts", "2 volts", "1 volts"]
    assert not bus.busy


async def test_scheduled_work_is_not_starved_by_orders(bus, ask, line):
    done = asyncio.Event()

    async def keep_ordering():
        while not done.is_set():
            await ask(1, ORDER)

    ordering = [asyncio.ensure_future(keep_ordering()) for _ in range(3)]
    await asyncio.sleep(0)
    await ask(2)
    done.set()
    await asyncio.gather(*ordering)
    assert line.asked.index("2 volts") <= 12


async def test_a_session_stays_open_until_another_meter_comes(bus, line, meters, toy_driver):
    driver = toy_driver(association=True)
    for key in (1, 1, 2):
        async with bus.turn(meters[key], driver, SCHEDULED) as session:
            await session.request("volts")
    assert line.asked == ["1 hello", "1 volts", "1 volts", "1 bye", "2 hello", "2 volts"]
    await bus.close()
    assert line.asked[-1] == "2 bye"
    assert line.closed


async def test_an_idle_session_is_closed(line, meters, toy_driver):
    bus = Bus(line, pace=Pace(QUICK), limits=Limits(idle=0.01))
    driver = toy_driver(association=True)
    async with bus.turn(meters[1], driver, SCHEDULED):
        await asyncio.sleep(0.02)
    assert line.asked == ["1 hello"]
    await asyncio.sleep(0.03)
    assert line.asked == ["1 hello", "1 bye"]
    async with bus.turn(meters[1], driver, SCHEDULED):
        assert line.asked[-1] == "1 hello"
    await bus.close()


async def test_a_session_that_broke_is_opened_anew(bus, line, meters, toy_driver):
    driver = toy_driver(association=True)
    line.answers["1 volts"] = b""
    with pytest.raises(NoAnswer):
        async with bus.turn(meters[1], driver, SCHEDULED) as session:
            await session.request("volts")
    async with bus.turn(meters[1], driver, SCHEDULED) as session:
        await session.request("amps")
    assert line.asked == ["1 hello", *["1 volts"] * 4, "1 hello", "1 amps"]


async def test_a_refused_open_gives_no_turn_and_frees_the_line(bus, ask, line, meters, toy_driver):
    line.answers["1 hello"] = "<! 1 hello>"
    with pytest.raises(Refused):
        async with bus.turn(meters[1], toy_driver(association=True), SCHEDULED):
            pytest.fail("no turn")
    assert bus.quarantine.failures(1) == 0
    assert await ask(2) == "2"


async def test_a_refusal_in_the_body_keeps_the_session(bus, line, meters, toy_driver):
    driver = toy_driver(association=True)
    line.answers["1 volts"] = "<! 1 volts>"
    with pytest.raises(Refused):
        async with bus.turn(meters[1], driver, SCHEDULED) as session:
            await session.request("volts")
    async with bus.turn(meters[1], driver, SCHEDULED) as session:
        await session.request("amps")
    assert line.asked == ["1 hello", "1 volts", "1 amps"]


async def test_a_dead_meter_goes_into_quarantine_and_an_order_may_still_try(bus, ask, line):
    for _ in range(2):
        with pytest.raises(NoAnswer):
            await ask(9)
    # two attempts the first time; one for a meter that failed before
    assert line.asked == ["9 volts"] * 3
    with pytest.raises(Quarantined, match=r"meter 9 on toy is left alone for another 60 s") as told:
        await ask(9)
    assert told.value.key == 9
    assert told.value.until > asyncio.get_running_loop().time()
    assert len(line.asked) == 3
    with pytest.raises(NoAnswer):
        await ask(9, ORDER)
    line.meters.add(9)
    assert await ask(9, ON_DEMAND) == "5"
    assert await ask(9, SCHEDULED) == "6"


async def test_those_who_already_wait_are_refused_too(bus, ask, line):
    first = [asyncio.ensure_future(ask(9)) for _ in range(6)]
    healthy = asyncio.ensure_future(ask(1))
    results = await asyncio.gather(*first, return_exceptions=True)
    assert [type(result) for result in results] == [NoAnswer] * 2 + [Quarantined] * 4
    assert await healthy == "4"


async def test_a_turn_in_which_something_was_answered_is_no_failure(bus, line, meters, toy_driver):
    line.answers["1 volts"] = b""

    async def both():
        async with bus.turn(meters[1], toy_driver(), SCHEDULED) as session:
            await session.request("amps")
            await session.request("volts")

    for _ in range(5):
        with pytest.raises(NoAnswer):
            await both()
    assert bus.quarantine.failures(1) == 0


async def test_quarantine_and_pace_outlive_the_link(line, toy_line, meters, toy_driver):
    now = asyncio.get_running_loop().time
    quarantine, pace = Quarantine(Backoff(tolerated=1), now), Pace(QUICK)
    first = Bus(line, pace=pace, quarantine=quarantine)
    with pytest.raises(NoAnswer):
        async with first.turn(meters[9], toy_driver(), SCHEDULED) as session:
            await session.request("volts")
    await first.close()
    second = Bus(toy_line(9), pace=pace, quarantine=quarantine)
    with pytest.raises(Quarantined):
        async with second.turn(meters[9], toy_driver(), SCHEDULED):
            pytest.fail("no turn")
    await second.close()


async def test_when_the_line_is_lost_everybody_is_told(bus, ask, line):
    line.meters.clear()
    first = asyncio.ensure_future(ask(1))
    others = [asyncio.ensure_future(ask(key)) for key in (2, 3)]
    await asyncio.sleep(0)
    line.lost = True
    results = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(result) for result in results] == [LinkLost] * 3
    with pytest.raises(LinkLost):
        await ask(1)
    assert not bus.busy
    assert bus.quarantine.failures(1) == 0


async def test_closing_ends_the_waiting_and_the_running(bus, ask, line):
    line.meters.clear()
    jobs = [asyncio.ensure_future(ask(key)) for key in (1, 2)]
    await asyncio.sleep(0.001)
    line.lost = True
    await bus.close()
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(result) for result in results] == [LinkLost] * 2
    await bus.close()


async def test_the_queue_has_an_end(line, meters, toy_driver, ask):
    bus = Bus(line, pace=Pace(QUICK), limits=Limits(queue=1))
    driver = toy_driver()

    async def job():
        async with bus.turn(meters[1], driver, ORDER):
            pass

    async with bus.turn(meters[1], driver, SCHEDULED):
        waiting = asyncio.ensure_future(job())
        await asyncio.sleep(0)
        with pytest.raises(BusFull, match="1 jobs already wait for toy"):
            await job()
    await waiting
    await bus.close()


async def test_waiting_has_an_end(bus, ask, meters, toy_driver):
    async with bus.turn(meters[1], toy_driver(), SCHEDULED):
        with pytest.raises(NoTurn, match="no turn on toy"):
            await ask(2, wait=0.005)
        assert bus.waiting == 0
    assert await ask(2)


async def test_cancelling_while_waiting_or_just_granted_never_loses_the_line(bus, ask, meters, toy_driver):
    for ticks in range(6):
        async with bus.turn(meters[1], toy_driver(), SCHEDULED):
            waiting = asyncio.ensure_future(ask(2))
            await asyncio.sleep(0)
        for _ in range(ticks):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(1.0):
            assert await ask(3)
    assert not bus.busy


async def test_the_caller_s_own_error_frees_the_line(bus, ask, meters, toy_driver):
    with pytest.raises(ZeroDivisionError):
        async with bus.turn(meters[1], toy_driver(), SCHEDULED):
            raise ZeroDivisionError
    assert await ask(2)


async def test_guards_of_line_and_turn_are_both_asked(line, meters, toy_driver):
    asked = []
    bus = Bus(line, pace=Pace(QUICK), guard=lambda: asked.append("line"))
    driver = toy_driver(association=True)
    async with bus.turn(meters[1], driver, ORDER, guard=lambda: asked.append("turn")) as session:
        await session.request("volts")
    assert asked == ["line", "turn"] * 2
    asked.clear()
    async with bus.turn(meters[1], driver, ORDER) as session:
        await session.request("volts")
    await bus.close()
    assert asked == ["line", "line"]  # the request and the goodbye


async def test_a_guard_that_forbids_the_goodbye_fails_the_line(line, meters, toy_driver):
    allowed = [True]

    def guard():
        if not allowed[0]:
            raise PermissionError("the lease has passed on")

    bus = Bus(line, pace=Pace(QUICK), limits=Limits(idle=0.005), guard=guard)
    driver = toy_driver(association=True)
    async with bus.turn(meters[1], driver, SCHEDULED):
        pass
    allowed[0] = False
    await asyncio.sleep(0.02)
    with pytest.raises(LinkLost, match="the lease has passed on"):
        async with bus.turn(meters[1], driver, SCHEDULED):
            pytest.fail("no turn")
    await bus.close()
    assert line.asked == ["1 hello"]


# --- a line that is lent ---


async def test_a_long_job_lends_the_line_between_its_requests(bus, line, toy_meter, toy_driver):
    """A day of records is many requests: somebody at a screen waits for one of them, not for all."""
    driver, told = toy_driver(), []

    async def curve():
        async with bus.turn(toy_meter(1), driver, Priority.SCHEDULED) as session:
            for _ in range(5):
                await session.request("curve")
            told.append("curve")

    async def reading():
        async with bus.turn(toy_meter(2), driver, Priority.ORDER) as session:
            await session.request("volts")
            told.append("volts")

    async with asyncio.TaskGroup() as group:
        group.create_task(curve())
        await asyncio.sleep(0)
        group.create_task(reading())
    assert 0 < line.asked.index("2 volts") < 3
    assert line.asked.count("1 curve") == 5
    assert told == ["volts", "curve"]


async def test_it_lends_again_after_an_order_for_the_same_meter(bus, line, toy_meter, toy_driver):
    driver = toy_driver()

    async def curve():
        async with bus.turn(toy_meter(1), driver, Priority.SCHEDULED) as session:
            for _ in range(12):
                await session.request("curve")

    async def readings():
        for _ in range(3):
            async with bus.turn(toy_meter(1), driver, Priority.ORDER) as session:
                await session.request("volts")
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(curve())
        await asyncio.sleep(0)
        group.create_task(readings())
    last = max(k for k, asked in enumerate(line.asked) if asked == "1 volts")
    assert last < 12, line.asked


async def test_a_session_that_was_opened_with_words_is_not_lent(bus, line, toy_meter, toy_driver):
    driver = toy_driver(association=True)

    async def curve():
        async with bus.turn(toy_meter(1), driver, Priority.SCHEDULED) as session:
            for _ in range(3):
                await session.request("curve")

    async def reading():
        async with bus.turn(toy_meter(2), driver, Priority.ORDER) as session:
            await session.request("volts")

    async with asyncio.TaskGroup() as group:
        group.create_task(curve())
        await asyncio.sleep(0)
        group.create_task(reading())
    assert line.asked == ["1 hello", *["1 curve"] * 3, "1 bye", "2 hello", "2 volts"]


async def test_a_line_lost_while_it_was_lent_ends_both_jobs(bus, line, toy_meter, toy_driver):
    driver, ended = toy_driver(), []

    async def job(meter, priority, requests):
        try:
            async with bus.turn(toy_meter(meter), driver, priority) as session:
                for _ in range(requests):
                    await session.request("volts")
                    if meter == 2:
                        line.lost = True
        except LinkLost:
            ended.append(meter)

    async with asyncio.TaskGroup() as group:
        group.create_task(job(1, Priority.SCHEDULED, 5))
        await asyncio.sleep(0)
        group.create_task(job(2, Priority.ORDER, 2))
    assert sorted(ended) == [1, 2]
    with pytest.raises(LinkLost):
        async with bus.turn(toy_meter(3), driver, Priority.ORDER):
            pass


async def test_a_turn_leaves_no_circle_behind(bus, meters, toy_driver):
    """Whoever runs ten thousand lines keeps Python's search for circles short: what only it would free stays for a day."""
    driver = toy_driver()
    gc.disable()
    try:
        async with bus.turn(meters[1], driver, SCHEDULED) as session:
            await session.request("volts")
        gone = weakref.ref(session)
        del session
        async with bus.turn(meters[2], driver, SCHEDULED) as session:
            await session.request("volts")
        assert gone() is None
    finally:
        gc.enable()
