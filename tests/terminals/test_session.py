"""Sessions over a toy protocol: what is sent, waited for, repeated and counted."""

import asyncio
import itertools
import time
from random import Random

import pytest

from protocols.errors import Refused
from terminals.links.faulty import Dribble, Foreign, Lossy, Noisy, Stale
from terminals.links.link import LinkLost
from terminals.links.recording import Moment
from terminals.links.script import ScriptLink
from terminals.links.tcp import connect
from terminals.pace import Pace, Timing
from terminals.session import Garbled, NoAnswer, Session

QUICK = Timing(first=0.05, floor=0.02, ceiling=0.1, gap=0.02, attempts=3, pause=0.0, whole=1.0)


@pytest.fixture
def line(toy_line):
    return toy_line(7)


@pytest.fixture
async def session(line, toy_exchange):
    return Session(line, toy_exchange(7), QUICK)


async def test_an_answer(session):
    assert await session.request("volts") == "1"
    assert (session.counts.attempts, session.counts.answered, session.counts.silent) == (1, 1, 0)
    assert session.counts.sent == len("<? 7 volts>")
    assert session.counts.received == len("<= 7 volts:1>")


async def test_a_refusal_is_an_answer(session, line):
    line.answers["7 volts"] = "<! 7 volts>"
    with pytest.raises(Refused):
        await session.request("volts")
    assert session.counts.answered == 1
    assert line.asked == ["7 volts"]


async def test_follow_ups_are_part_of_the_request(session, line):
    line.answers["7 volts"] = "<+ 7 volts:a>"
    asking = asyncio.ensure_future(session.request("volts"))
    await asyncio.sleep(0.005)
    line.answers["7 volts"] = "<= 7 volts:z>"
    assert (await asking)[-1] == "z"
    assert session.counts.attempts == 1


async def test_silence_is_repeated_and_then_told(session, line):
    line.meters.clear()
    with pytest.raises(
        NoAnswer, match=r"no answer from toy in 3 attempts .* no byte came; check the address"
    ) as told:
        await session.request("volts")
    assert told.value.counts.silent == 3
    assert told.value.counts.received == 0
    assert line.asked == ["7 volts"] * 3
    assert session.exchange.abandoned == 3


async def test_one_attempt_when_the_caller_says_so(session, line):
    line.meters.clear()
    with pytest.raises(NoAnswer, match="in 1 attempt "):
        await session.request("volts", attempts=1)
    assert line.asked == ["7 volts"]


async def test_a_suspect_gets_one_attempt_until_it_answers(line, toy_exchange):
    session = Session(line, toy_exchange(7), QUICK, suspect=True)
    line.meters.clear()
    with pytest.raises(NoAnswer):
        await session.request("volts")
    assert len(line.asked) == 1
    line.meters.add(7)
    await session.request("volts")
    line.meters.clear()
    with pytest.raises(NoAnswer):
        await session.request("volts")
    assert len(line.asked) == 1 + 1 + 6  # it was alive a moment ago: the line loses


async def test_a_part_that_is_lost_is_asked_for_again_by_itself(line, toy_exchange):
    session = Session(line, toy_exchange(7, again=True), QUICK)
    heard = iter(("<+ 7 volts:a>", "", "", "<+ 7 volts:b>", "", "<= 7 volts:z>"))
    line.answers = Answers(heard)
    assert await session.request("volts") == "abz"
    assert line.heard == ["?", "+", "+", "+", "+", "+"]
    assert (session.counts.attempts, session.exchange.abandoned) == (1, 0)


async def test_a_part_that_never_comes_begins_all_anew(line, toy_exchange):
    session = Session(line, toy_exchange(7, again=True), QUICK)
    line.answers = Answers(iter(("<+ 7 volts:a>", "", "", "", "<= 7 volts:whole>")))
    assert await session.request("volts") == "whole"
    assert line.heard == ["?", "+", "+", "+", "?"]
    assert session.counts.attempts == 2


async def test_a_meter_that_refuses_the_repeat_is_asked_for_all_anew(line, toy_exchange):
    session = Session(line, toy_exchange(7, again=True), QUICK)
    line.answers = Answers(iter(("<+ 7 volts:a>", "", "<! 7 volts>", "<= 7 volts:whole>")))
    assert await session.request("volts") == "whole"
    assert line.heard == ["?", "+", "+", "?"]


class Answers:
    """One answer after the other, whatever is asked."""

    def __init__(self, heard):
        self._heard = heard

    def get(self, _asked, default):
        return next(self._heard, default)


async def test_garbage_is_told_from_silence(session, line):
    line.answers["7 volts"] = "<# corrupt>"
    with pytest.raises(
        Garbled, match=r"only garbage from toy in 3 attempts .* 3 corrupt and 0 foreign"
    ) as told:
        await session.request("volts")
    assert told.value.counts.garbled == 3
    assert told.value.counts.silent == 0


async def test_bytes_that_make_no_frame_are_garbage_too(session, line):
    line.answers["7 volts"] = "not a frame"
    with pytest.raises(Garbled):
        await session.request("volts")


async def test_after_garbage_the_answer_may_still_come(session, line):
    line.answers["7 volts"] = "<#><= 7 volts:230>"
    assert await session.request("volts") == "230"
    assert session.counts.garbled == 1
    assert session.counts.attempts == 1


async def test_foreign_frames_are_counted_and_never_taken(session, line):
    line.answers["7 volts"] = "<= 8 volts:1><= 7 amps:2>"
    with pytest.raises(NoAnswer, match=r"only 6 frames that were not for this request; .* second master"):
        await session.request("volts")
    assert session.counts.ignored == 6


async def test_a_babbling_neighbour_cannot_hold_the_line(line, toy_exchange):
    timing = Timing(first=0.02, floor=0.02, ceiling=0.06, gap=0.05, attempts=1, pause=0.0, whole=1.0)
    session = Session(line, toy_exchange(7), timing)
    line.meters.clear()

    async def babble():
        while True:
            line.say(b"<= 8 volts:1>")
            await asyncio.sleep(0.002)

    babbler = asyncio.ensure_future(babble())
    try:
        async with asyncio.timeout(1.0):
            with pytest.raises(NoAnswer):
                await session.request("volts")
    finally:
        babbler.cancel()
    assert session.counts.ignored > 2


async def test_endless_blocks_end(line, toy_exchange):
    timing = Timing(first=0.02, floor=0.02, ceiling=0.05, gap=0.02, attempts=3, pause=0.0, whole=0.06)
    session = Session(line, toy_exchange(7), timing)
    line.answers["7 volts"] = "<+ 7 volts:a>"

    async def slow_read(timeout, read=line.read):
        await asyncio.sleep(0.002)
        return await read(timeout)

    line.read = slow_read
    async with asyncio.timeout(2.0):
        with pytest.raises(NoAnswer, match="the answer broke off after"):
            await session.request("volts")
    assert len(line.asked) > 3


async def test_a_late_answer_is_not_the_next_one(session, line):
    line.meters.clear()
    with pytest.raises(NoAnswer):
        await session.request("volts")
    line.say(b"<= 7 volts:old>")
    line.meters.add(7)
    assert await session.request("amps") == "4"
    assert session.counts.ignored == 1


async def test_cancelling_leaves_a_usable_session(session, line):
    line.meters.clear()
    asking = asyncio.ensure_future(session.request("volts"))
    await asyncio.sleep(0.005)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    line.meters.add(7)
    assert await session.request("amps") == "2"


async def test_a_lost_link_ends_the_request_at_once(session, line):
    line.lost = True
    with pytest.raises(LinkLost):
        await session.request("volts")
    assert session.counts.attempts == 1


async def test_the_guard_is_asked_before_every_write_and_stops_it(line, toy_exchange):
    asked = []

    def guard():
        asked.append(len(line.asked))
        if len(asked) == 3:
            raise PermissionError("the lease has passed on")

    session = Session(line, toy_exchange(7), QUICK, guard=guard)
    line.answers["7 volts"] = "<+ 7 volts:a>"
    with pytest.raises(PermissionError):
        await session.request("volts")
    assert asked == [0, 1, 2]
    assert len(line.asked) == 2
    assert session.exchange.abandoned == 1


async def test_the_observer_sees_each_round_trip(line, toy_exchange):
    seen = []
    session = Session(line, toy_exchange(7), QUICK, on_exchange=lambda *trip: seen.append(trip))
    await session.request("volts")
    line.meters.clear()
    with pytest.raises(NoAnswer):
        await session.request("amps", attempts=1)
    assert [(sent, received) for sent, received, _ in seen] == [
        (b"<? 7 volts>", b"<= 7 volts:1>"),
        (b"<? 7 amps>", b""),
    ]
    assert all(seconds >= 0 for *_, seconds in seen)


async def test_time_in_which_we_stood_still_is_given_back_once(line, toy_exchange):
    """The answer is on its way when the loop stands still past the time-out: the peer is not silent."""
    session = Session(line, toy_exchange(7), Timing(first=0.1, floor=0.1, ceiling=0.2, attempts=1))
    line.answers["7 volts"] = ""  # nothing at once
    loop = asyncio.get_running_loop()
    loop.call_later(0.02, time.sleep, 0.4)
    loop.call_later(0.3, line.say, b"<= 7 volts:late>")
    assert await session.request("volts") == "late"
    assert (session.counts.silent, session.counts.attempts) == (0, 1)


async def test_a_dead_peer_is_dead_on_a_machine_that_stands_still_too(line, toy_exchange):
    session = Session(line, toy_exchange(7), Timing(first=0.1, floor=0.1, ceiling=0.2, attempts=1))
    line.meters.clear()
    loop = asyncio.get_running_loop()
    for at in (0.02, 0.3, 0.6):
        loop.call_later(at, time.sleep, 0.25)
    begun = loop.time()
    with pytest.raises(NoAnswer):
        await session.request("volts")
    assert loop.time() - begun < 0.9
    assert session.counts.silent == 1


async def test_the_pause_between_commands_is_kept_across_sessions(line, toy_exchange):
    pace = Pace(Timing(first=1.0, floor=0.5, pause=0.03))
    now = asyncio.get_running_loop().time
    times = []
    for _ in range(3):
        session = Session(line, toy_exchange(7), pace, guard=lambda: times.append(now()))
        await session.request("volts")
    assert all(later - earlier >= 0.029 for earlier, later in itertools.pairwise(times))


async def test_answers_teach_the_pace_and_silence_does_not(line, toy_exchange):
    pace = Pace(Timing(first=0.05, floor=0.001, ceiling=0.1, gap=0.01, attempts=2, pause=0.0, whole=1.0))
    session = Session(line, toy_exchange(7), pace)
    line.meters.clear()
    with pytest.raises(NoAnswer):
        await session.request("volts")
    assert pace.timeout == 0.05
    line.meters.add(7)
    for _ in range(20):
        await session.request("volts")
    assert pace.timeout < 0.05


# --- scripts ---


async def test_a_script_gets_its_answers_and_gives_its_result(session):
    def script():
        first = yield "volts"
        second = yield "amps"
        return first, second

    assert await session.run(script()) == ("1", "2")


async def test_a_script_without_requests(session, line):
    def script():
        return 5
        yield

    assert await session.run(script()) == 5
    assert line.asked == []


async def test_a_refusal_goes_into_the_script(session, line):
    line.answers["7 volts"] = "<! 7 volts>"

    def script():
        try:
            yield "volts"
        except Refused as refusal:
            return refusal.code, (yield "amps")

    assert await session.run(script()) == (1, "2")


async def test_a_refusal_the_script_does_not_want_comes_out(session, line):
    line.answers["7 volts"] = "<! 7 volts>"

    def script():
        yield "volts"

    with pytest.raises(Refused):
        await session.run(script())


async def test_other_errors_close_the_script(session, line):
    line.meters.clear()
    closed = []

    def script():
        try:
            yield "volts"
        finally:
            closed.append(True)

    with pytest.raises(NoAnswer):
        await session.run(script(), attempts=1)
    assert closed == [True]
    assert line.asked == ["7 volts"]


# --- bad lines ---


@pytest.fixture
async def wire(server, closing):
    """A link to meter 7 over a real socket."""

    def answer(data):
        name = data.split()[2].rstrip(b">")
        server.count = getattr(server, "count", 0) + 1
        return b"<= 7 %s:%s%d>" % (name, name, server.count)

    server.answer = answer
    return closing(await connect("127.0.0.1", server.port, 1.0))


async def test_one_byte_at_a_time(wire, toy_exchange):
    assert (await Session(Dribble(wire), toy_exchange(7), QUICK).request("volts")).startswith("volts")


async def test_loss_is_repaired_by_repeats(wire, toy_exchange):
    link = Lossy(wire, Random(5), sent=0.2, received=0.2)
    session = Session(link, toy_exchange(7), Timing(**{**_fields(QUICK), "attempts": 12}))
    for _ in range(15):
        assert (await session.request("volts")).startswith("volts")
    assert session.counts.attempts > 15


async def test_noise_gives_answers_or_errors_and_no_wrong_name(wire, toy_exchange):
    session = Session(Noisy(wire, Random(5), junk=0.5), toy_exchange(7), QUICK)
    for name in ("volts", "amps", "watts") * 5:
        assert (await session.request(name)).startswith(name)


async def test_stale_answers_are_never_taken(wire, toy_exchange):
    session = Session(Stale(wire, Random(5), 1.0), toy_exchange(7), QUICK)
    for name in ("volts", "amps", "watts") * 3:
        assert (await session.request(name)).startswith(name)
    assert session.counts.ignored == 8


async def test_a_wrong_address_is_never_taken(wire, toy_exchange):
    session = Session(Foreign(wire, Random(5), 1.0, b"<= 8 volts:9>"), toy_exchange(7), QUICK)
    assert (await session.request("volts")).startswith("volts")
    assert session.counts.ignored == 1


async def test_a_script_link_plays_a_session_without_waiting(toy_exchange):
    link = ScriptLink(
        [Moment("sent", b"<? 7 volts>"), Moment("sent", b"<? 7 volts>"), Moment("received", b"<= 7 volts:5>")]
    )
    session = Session(link, toy_exchange(7), Timing(pause=0.0))
    async with asyncio.timeout(1.0):
        assert await session.request("volts") == "5"
    assert link.finished


def _fields(timing):
    return {name: getattr(timing, name) for name in Timing.__slots__}
