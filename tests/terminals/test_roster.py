"""Terminals that dial in: who they are, whether they live, and which of two sockets is theirs."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from terminals.links.link import LinkLost
from terminals.links.listener import Listener
from terminals.links.tcp import connect
from terminals.roster import Roster, Rules

RULES = Rules(heartbeat=5.0, missed=1, gap=0.02, hold=5.0, unconfirmed=3)


class House:
    """A roster behind a listener, and a log of what it told."""

    def __init__(self):
        self.known = {"T-1": 1, "T-2": 1}
        self.log = []
        self.time = 1000.0
        self.roster = None
        self.listener = None
        self.gate = None

    async def resolve(self, identity):
        if self.gate is not None:
            await self.gate.wait()
        if identity not in self.known:
            return None
        self.known[identity] += 1
        return self.known[identity]

    @asynccontextmanager
    async def open(self, rules=RULES):
        self.roster = Roster(
            self.resolve,
            lambda: self.time,
            on_login=lambda presence: self.log.append(("in", presence.identity, presence.epoch)),
            on_logout=lambda presence: self.log.append(("out", presence.identity, presence.epoch)),
            rules=rules,
        )
        self.listener = Listener("127.0.0.1", 0, self.roster.admit, age=2.0)
        await self.listener.start()
        self.callers = []
        try:
            yield self
        finally:
            await self.listener.close()
            await self.roster.close()
            for caller in self.callers:
                await caller.close()

    async def call(self, data=b""):
        caller = await connect("127.0.0.1", self.listener.port, 1.0)
        self.callers.append(caller)
        if data:
            caller.write(data)
        return caller

    async def login(self, identity="T-1"):
        caller = await self.call(b"REG,%s\r\n" % identity.encode())
        assert await caller.read(2.0) == b"OK,%s\r\n" % identity.encode()
        return caller, self.roster.get(identity)


async def until(condition):
    async with asyncio.timeout(2.0):
        while not condition():
            await asyncio.sleep(0.002)


async def read_until(link, wanted):
    data = b""
    async with asyncio.timeout(2.0):
        while not data.endswith(wanted):
            data += await link.read(2.0)
    return data


async def test_a_known_terminal_is_answered_and_gets_a_link():
    async with House().open() as house:
        caller, presence = await house.login()
        assert (presence.identity, presence.epoch, presence.since) == ("T-1", 2, 1000.0)
        assert [p.identity for p in house.roster] == ["T-1"]
        assert "T-1" in presence.link.name
        presence.link.write(b"ask")
        assert await caller.read(2.0) == b"ask"
        caller.write(b"answer")
        assert await presence.link.read(2.0) == b"answer"
        assert house.log == [("in", "T-1", 2)]


async def test_a_registration_byte_by_byte_and_bytes_right_behind_it():
    async with House().open() as house:
        caller = await house.call()
        for byte in b"REG,T-1\r\n":
            caller.write(bytes([byte]))
            await asyncio.sleep(0.001)
        caller.write(b"\x68frame")
        await until(lambda: house.roster.get("T-1"))
        assert await read_until(house.roster.get("T-1").link, b"frame") == b"\x68frame"


async def test_a_heartbeat_instead_of_a_registration_identifies_too():
    async with House().open() as house:
        caller = await house.call(b"HB,T-2\r\n")
        assert await caller.read(2.0) == b"OK,T-2\r\n"
        assert house.roster.get("T-2")


async def test_heartbeats_are_answered_and_never_seen_by_the_session():
    async with House().open() as house:
        caller, presence = await house.login()
        house.time = 1060.0
        caller.write(b"HB,T-1\r\n")
        assert await caller.read(2.0) == b"OK,T-1\r\n"
        assert house.roster.last_seen("T-1") == 1060.0
        with pytest.raises(TimeoutError):
            await presence.link.read(0.01)
        caller.write(b"\x68abHB,T-")  # in the midst of a frame, and cut
        await asyncio.sleep(0.005)
        caller.write(b"1\r\ncd\x16")
        assert await read_until(presence.link, b"\x16") == b"\x68abcd\x16"
        assert await caller.read(2.0) == b"OK,T-1\r\n"


async def test_a_frame_that_ends_like_a_heartbeat_begins_arrives_whole():
    async with House().open() as house:
        caller, presence = await house.login()
        caller.write(b"frame HB")
        assert await presence.link.read(2.0) == b"frame "
        assert await presence.link.read(2.0) == b"HB"


async def test_a_repeated_registration_is_answered_again():
    async with House().open() as house:
        caller, presence = await house.login()
        caller.write(b"REG,T-1\r\n")
        assert await caller.read(2.0) == b"OK,T-1\r\n"
        assert house.roster.get("T-1") is presence


async def test_an_unknown_terminal_is_listed_told_nothing_and_closed_later():
    rules = Rules(heartbeat=5.0, hold=0.05, unconfirmed=3)
    async with House().open(rules) as house:
        caller = await house.call(b"REG,X-9\r\n")
        await until(house.roster.unconfirmed)
        entry = house.roster.unconfirmed()[0]
        assert (entry.identity, entry.attempts, entry.first_seen) == ("X-9", 1, 1000.0)
        assert entry.peer.startswith("tcp://127.0.0.1:")
        assert house.listener.unidentified == 0
        with pytest.raises(LinkLost):
            assert await caller.read(2.0) == b""
        house.time = 1100.0
        await house.call(b"REG,X-9\r\n")
        await until(lambda: house.roster.unconfirmed()[0].attempts == 2)
        assert house.roster.unconfirmed()[0].last_seen == 1100.0
        assert len(house.roster) == 0
        house.known["X-9"] = 0
        await house.login("X-9")
        assert house.roster.unconfirmed() == []


async def test_the_list_of_the_unknown_has_an_end():
    async with House().open() as house:
        callers = [await house.call(b"REG,X-%d\r\n" % n) for n in range(3)]
        await until(lambda: len(house.roster.unconfirmed()) == 3)
        await house.call(b"REG,X-3\r\n")
        with pytest.raises(LinkLost):
            await callers[0].read(2.0)
        assert len(house.roster.unconfirmed()) == 3


async def test_garbage_instead_of_a_registration_is_listed_and_held():
    async with House().open() as house:
        await house.call(b"GET / HTTP/1.1\r\n" * 20)
        await until(house.roster.unconfirmed)
        assert house.roster.unconfirmed()[0].identity == "?474554202f204854"


async def test_the_newest_socket_wins_and_the_old_one_is_closed():
    async with House().open() as house:
        old, old_presence = await house.login()
        reading = asyncio.ensure_future(old_presence.link.read(5.0))
        new, presence = await house.login()
        assert presence.epoch > old_presence.epoch
        with pytest.raises(LinkLost, match="the terminal has dialled in anew from tcp:"):
            await reading
        with pytest.raises(LinkLost):
            old_presence.link.write(b"x")
        with pytest.raises(LinkLost):
            await old.read(2.0)
        presence.link.write(b"ask")
        assert await new.read(2.0) == b"ask"
        assert house.log == [("in", "T-1", 2), ("out", "T-1", 2), ("in", "T-1", 3)]
        assert len(house.roster) == 1


async def test_a_login_overtaken_while_it_was_looked_up_is_closed():
    house = House()
    async with house.open():
        epochs = {0: 9, 1: 4}  # the first to ask gets the higher epoch, and its answer comes first
        order = iter(range(2))
        gates = [asyncio.Event(), asyncio.Event()]

        async def resolve(identity):
            n = next(order)
            await gates[n].wait()
            return epochs[n]

        house.roster._resolve = resolve
        first = await house.call(b"REG,T-1\r\n")
        await asyncio.sleep(0.01)
        second = await house.call(b"REG,T-1\r\n")
        await asyncio.sleep(0.01)
        gates[0].set()
        assert await first.read(2.0) == b"OK,T-1\r\n"
        gates[1].set()
        with pytest.raises(LinkLost):
            await second.read(2.0)
        assert house.roster.get("T-1").epoch == 9


async def test_a_silent_terminal_is_half_open_and_closed():
    rules = Rules(heartbeat=0.01, missed=1, gap=0.005)
    async with House().open(rules) as house:
        caller, presence = await house.login()
        with pytest.raises(LinkLost, match="half-open"):
            await presence.link.read(2.0)
        await until(lambda: len(house.roster) == 0)
        with pytest.raises(LinkLost):
            await caller.read(2.0)
        assert house.log[-1] == ("out", "T-1", 2)
        assert house.roster.last_seen("T-1") == 1000.0


async def test_a_terminal_that_hangs_up_is_logged_out():
    async with House().open() as house:
        caller, presence = await house.login()
        await caller.close()
        with pytest.raises(LinkLost):
            await presence.link.read(2.0)
        await until(lambda: house.roster.get("T-1") is None)
        assert presence.link.closed


async def test_the_owner_may_close_the_link():
    async with House().open() as house:
        caller, presence = await house.login()
        await presence.link.close()
        with pytest.raises(LinkLost):
            await caller.read(2.0)
        await until(lambda: house.roster.get("T-1") is None)


async def test_closing_the_roster_logs_everybody_out():
    house = House()
    async with house.open():
        caller, _ = await house.login("T-1")
        await house.login("T-2")
        await house.call(b"REG,X-1\r\n")
        await until(house.roster.unconfirmed)
        await house.roster.close()
        assert {entry[:2] for entry in house.log if entry[0] == "out"} == {("out", "T-1"), ("out", "T-2")}
        with pytest.raises(LinkLost):
            await caller.read(2.0)


async def test_a_flood_beyond_the_inbox_drops_the_oldest():
    async with House().open() as house:
        caller, presence = await house.login()
        presence.link.inbox.limit = 10
        caller.write(b"0123456789abcdef")
        await until(lambda: presence.link.inbox.full)
        assert presence.link.discard() == b"6789abcdef"
