"""Terminals that dial in: each by its own protocol, at a rate, and back again when they are told to hang up."""

import asyncio
import json

import pytest

from protocols.localtime import as_datetime
from terminals.greetings import every_kind
from terminals.links.listener import Listener
from terminals.roster import Roster, Rules
from terminals.simulator.codes import terminal_address, terminal_code
from terminals.simulator.commands import obey
from terminals.simulator.control import NotTold, tell
from terminals.simulator.dialin import DialIn
from terminals.simulator.scenario import NOTHING, ZONE, Group

NIGHT = "2026-03-12 00:07"


class House:
    """A head-end that lets everybody in and remembers when."""

    def __init__(self, now, heartbeat=5.0):
        self.epochs = {}
        self.logins = []
        self.left = []
        self.new = asyncio.Event()
        self.roster = Roster(
            self._resolve,
            lambda: as_datetime(now).timestamp(),
            every_kind(ZONE),
            on_login=self._login,
            on_logout=self.left.append,
            rules=Rules(heartbeat=heartbeat, missed=1, gap=0.05),
        )
        self.listener = Listener("127.0.0.1", 0, self.roster.admit, age=2.0)

    async def _resolve(self, identity, kind):
        self.epochs[identity] = self.epochs.get(identity, 0) + 1
        return self.epochs[identity]

    def _login(self, presence):
        self.logins.append((presence, asyncio.get_running_loop().time()))
        self.new.set()

    async def until_left(self, names):
        async with asyncio.timeout(20):
            while {presence.identity for presence in self.left} < names:
                await asyncio.sleep(0.05)

    async def wait(self, count):
        async with asyncio.timeout(20):
            while len(self.logins) < count:
                self.new.clear()
                await self.new.wait()


@pytest.fixture
async def house(at, request):
    """`request.param`: seconds between heartbeats by its rules."""
    house = House(at(NIGHT), getattr(request, "param", 5.0))
    await house.listener.start()
    yield house
    await house.listener.close()
    await house.roster.close()


@pytest.fixture
async def make(make_fleet, house):
    """make(groups, ...) -> a fleet that dials this house, started; stopped at the end."""
    fleets = []

    async def start(groups, heartbeat=30.0, dial_rate=200.0):
        fleet = make_fleet(
            NIGHT,
            listener=("127.0.0.1", house.listener.port),
            heartbeat=heartbeat,
            dial_rate=dial_rate,
            groups=groups,
            plan=NOTHING,
        )
        fleets.append(fleet)
        await fleet.start()
        return fleet

    yield start
    for fleet in fleets:
        await fleet.stop()


EACH = (Group("dlt645", "dial-in", 2), Group("dlms", "dial-in", 1), Group("gdw376", "dial-in", 1), Group("dlt698", "dial-in", 2))  # fmt: skip


async def test_every_kind_logs_in_and_beats_by_its_own_protocol(make, house):
    fleet = await make(EACH, heartbeat=0.2)
    await house.wait(6)
    known = {presence.identity: presence.kind for presence, _ in house.logins}
    assert known == {
        **{terminal_code(area): "dtu" for area in range(3)},
        terminal_address("gdw376", 3): "gdw376",
        **{terminal_address("dlt698", area): "dlt698" for area in (4, 5)},
    }
    before = {identity: house.roster.last_seen(identity) for identity in known}
    await asyncio.sleep(0.7)  # three beats; an unanswered one would end in a new login
    assert len(house.logins) == 6
    assert before.keys() == known.keys()
    status = fleet.status()
    assert 0 < status.pop("login_p99") <= status.pop("login_worst") < 5
    assert status == {"terminals": 6, "online": 6, "logins": 6, "answered": 0, "swallowed": 0}


async def test_a_beat_without_answer_ends_the_connection(make_fleet, monkeypatch):
    monkeypatch.setattr("terminals.simulator.dialin.ANSWER_LIMIT", 0.2)
    said = asyncio.Queue()

    async def deaf_after_the_login(reader, writer):
        said.put_nowait(line := await reader.readline())
        writer.write(line.replace(b"REG", b"OK"))
        said.put_nowait(await reader.readline())
        said.put_nowait(await reader.read())
        writer.close()

    server = await asyncio.start_server(deaf_after_the_login, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    fleet = make_fleet(
        NIGHT, ("127.0.0.1", port), heartbeat=0.2, groups=(Group("dlt645", "dial-in", 1),), plan=NOTHING
    )
    await fleet.start()
    try:
        async with asyncio.timeout(10):
            heard = [await said.get() for _ in range(4)]
        assert heard == [b"REG,33000001\r\n", b"HB,33000001\r\n", b"", b"REG,33000001\r\n"]
    finally:
        await fleet.stop()
        server.close()


async def test_they_come_at_the_rate_that_was_asked_for(make, house):
    await make((Group("dlt645", "dial-in", 12),), dial_rate=20.0)
    await house.wait(12)
    times = [when for _, when in house.logins]
    assert times[-1] - times[0] >= 0.45  # the first is let in at once, and eleven more take 0.55 s


async def test_told_to_reconnect_all_come_back(make, house):
    fleet = await make(EACH)
    await house.wait(6)
    said = await asyncio.to_thread(tell, fleet.directory, "reconnect")
    assert said == "6 terminals"
    await house.wait(12)
    assert all(epoch == 2 for epoch in house.epochs.values())
    assert len(house.left) == 6
    status = json.loads(await asyncio.to_thread(tell, fleet.directory, "status"))
    assert (status["online"], status["logins"]) == (6, 12)


async def test_reconnecting_may_take_its_time(make, house):
    fleet = await make((Group("dlt645", "dial-in", 4),))
    await house.wait(4)
    fleet.reconnect(0.8)
    await house.wait(8)
    times = [when for _, when in house.logins[4:]]
    assert times[-1] - times[0] >= 0.5


async def test_who_moves_comes_from_another_address(make, house):
    fleet = await make((Group("dlt645", "dial-in", 2), Group("dlt698", "dial-in", 2)))
    await house.wait(4)
    assert obey(fleet, "fault move all") == "4 began"
    await house.wait(8)
    before, after = ({p.identity: _host(p.peer) for p, _ in house.logins[k : k + 4]} for k in (0, 4))
    assert set(before.values()) == {"127.0.0.1"}
    assert len(set(after.values())) == 4
    assert all(host.startswith("127.1.") for host in after.values())
    obey(fleet, f"fault move {terminal_code(0)}")
    await house.wait(9)
    assert _host(house.logins[8][0].peer).startswith("127.2.")


def _host(peer):
    return peer.removeprefix("tcp://").rpartition(":")[0]


@pytest.mark.parametrize("house", [1.0], indirect=True)
async def test_a_silent_terminal_says_nothing_and_does_not_come_back_before_it_is_mended(make, house):
    fleet = await make((Group("dlt645", "dial-in", 2), Group("gdw376", "dial-in", 2)), heartbeat=0.2)
    await house.wait(4)
    silent = (terminal_code(0), terminal_code(2))
    obey(fleet, f"fault silence {','.join(silent)}")
    names = {terminal_code(0), terminal_address("gdw376", 2)}
    await asyncio.sleep(0.1)
    said = {name: house.roster.last_seen(name) for name in names}
    await house.until_left(names)  # two beats of the rules' were missed
    assert {p.identity for p in house.left} == names
    assert {name: house.roster.last_seen(name) for name in names} == said
    await asyncio.sleep(0.5)  # longer than the first back-off
    assert len(house.logins) == 4
    obey(fleet, "mend silence all")
    await house.wait(6)
    assert {p.identity for p, _ in house.logins[4:]} == names


async def test_a_reboot_takes_its_time(make, house):
    fleet = await make((Group("dlt645", "dial-in", 4),))
    await house.wait(4)
    begun = asyncio.get_running_loop().time()
    obey(fleet, f"fault reboot {terminal_code(1)} 0.7")
    await house.wait(5)
    assert house.logins[4][0].identity == terminal_code(1)
    assert house.logins[4][1] - begun >= 0.7


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("sing", "'sing' is none of status, reconnect"),
        ("", "'' is none of status"),
        ("reconnect soon", "'soon' is no number between 0 and 86400"),
        ("reconnect 1 2", "reconnect takes a number of seconds"),
        ("status now", "status takes nothing"),
    ],
)
async def test_what_it_does_not_obey(make, line, why):
    fleet = await make((Group("dlt645", "dial-in", 4),))
    with pytest.raises(NotTold, match=why):
        await asyncio.to_thread(tell, fleet.directory, line)


async def test_nobody_there_is_one_line(tmp_path, make):
    with pytest.raises(NotTold, match=f"no simulator answers in {tmp_path}"):
        tell(tmp_path, "status")
    fleet = await make((Group("dlt645", "dial-in", 4),))
    await fleet.stop()
    with pytest.raises(NotTold, match="no simulator answers"):
        tell(fleet.directory, "status")


async def test_a_stopped_fleet_dials_no_more(make, house):
    fleet = await make((Group("dlt645", "dial-in", 4),))
    await house.wait(4)
    dialling = [wire for wire in fleet.wires if isinstance(wire, DialIn)]
    await fleet.stop()
    await asyncio.sleep(0.4)  # longer than the first back-off
    assert len(house.logins) == 4
    assert not any(wire.online for wire in dialling)
