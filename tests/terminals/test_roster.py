"""Terminals that dial in: who they are, whether they live, and which of two sockets is theirs."""

import asyncio
from contextlib import asynccontextmanager
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from protocols.dlms.frame import Frame, encode
from protocols.dlms.login import HEARTBEAT, LOGIN, Login
from protocols.dlt698 import exchange as dlt698
from protocols.dlt698.apdu import LINK, SERVER
from protocols.gdw376 import exchange as gdw376
from protocols.gdw376.exchange import Confirmation
from protocols.gdw376.frame import Address
from protocols.gdw376.units import ident
from terminals.greetings import every_kind
from terminals.links.link import LinkLost
from terminals.links.listener import Listener
from terminals.links.tcp import connect
from terminals.roster import Roster, Rules

RULES = Rules(heartbeat=5.0, missed=1, gap=0.02, hold=5.0, unconfirmed=3)


class House:
    """A roster behind a listener, and a log of what it told."""

    def __init__(self):
        self.known = {"T-1": 1, "T-2": 1, "01710822": 1, "000000000084": 1, "210600402941": 1}
        self.log = []
        self.kinds = {}
        self.time = 1000.0
        self.roster = None
        self.listener = None
        self.gate = None

    async def resolve(self, identity, kind):
        self.kinds[identity] = kind
        if self.gate is not None:
            await self.gate.wait()
        if identity not in self.known:
            return "not in the archive"
        self.known[identity] += 1
        return self.known[identity]

    @asynccontextmanager
    async def open(self, rules=RULES):
        self.roster = Roster(
            self.resolve,
            lambda: self.time,
            every_kind(ZoneInfo("Asia/Shanghai")),
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
        assert (entry.kind, entry.reason) == ("dtu", "not in the archive")
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

        async def resolve(identity, kind):
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


# --- other kinds of callers ---


class Caller376:
    """A Q/GDW 376.1 terminal at the far end of a socket."""

    identity, kind = "01710822", "gdw376"

    def __init__(self, counter=5):
        self.device = gdw376.Device(Address("0171", 0x0822), counter=counter)

    def login(self):
        return self.device.login()

    def heartbeat(self):
        return self.device.heartbeat()

    def logout(self):
        return self.device.logout()

    def data(self):
        return self.device.report(0x0E, [(ident([0], [1]), [bytes(12)])])

    def accepted(self, answer, beat):
        self.device.receive_data(answer)
        return self.device.next_event() == Confirmation(beat[13] & 0x0F, True)


class Caller698:
    """A DL/T 698.45 terminal."""

    identity, kind = "000000000084", "dlt698"

    def __init__(self):
        self.device = dlt698.Device(self.identity)
        self.number = 0

    def _link(self, what):
        self.number += 1
        return self.device.link(what, 60, np.datetime64("2026-03-11T10:00"), piid=self.number)

    def login(self):
        return self._link(0)

    def heartbeat(self):
        return self._link(1)

    def logout(self):
        return self._link(2)

    def data(self):
        return self.device.report(3, {"port": 0xF2010201, "frames": (bytes(40),)})

    def accepted(self, answer, beat):
        self.device.receive_data(answer)
        apdu = self.device.next_event().apdu
        return (apdu.code, apdu.number, apdu.fields["result"] & 7) == (LINK | SERVER, self.number, 0)


class CallerDlms:
    """A meter that says who it is in wrapper frames, and has no word for good-bye."""

    identity, kind = "210600402941", "dlms"

    def login(self):
        return encode(Frame(1, 1, Login(LOGIN, 2, self.identity, b"\0").encode()))

    def heartbeat(self):
        return encode(Frame(1, 1, Login(HEARTBEAT, 1, self.identity).encode()))

    def data(self):
        return encode(Frame(1, 1, b"\xc4\x01\xc1\x00\x06" + bytes(4)))

    def accepted(self, answer, beat):
        return (answer[:8], answer[8] & 0xF) == (beat[:8], beat[8])


KINDS = [Caller376, Caller698, CallerDlms]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_login_is_answered_and_says_its_kind(kind):
    terminal = kind()
    async with House().open() as house:
        beat = terminal.login()
        caller = await house.call(b"\xfe\xfe\r\n" + beat)
        assert terminal.accepted(await caller.read(2.0), beat)
        presence = house.roster.get(terminal.identity)
        assert (presence.kind, house.kinds) == (terminal.kind, {terminal.identity: terminal.kind})
        presence.link.write(b"ask")
        assert await caller.read(2.0) == b"ask"


@pytest.mark.parametrize("kind", KINDS)
async def test_byte_by_byte_and_glued_to_data(kind):
    terminal = kind()
    async with House().open() as house:
        caller = await house.call()
        beat = terminal.login()
        for byte in beat:
            caller.write(bytes([byte]))
            await asyncio.sleep(0.001)
        assert terminal.accepted(await caller.read(2.0), beat)
        link = house.roster.get(terminal.identity).link
        data, beat = terminal.data(), terminal.heartbeat()
        half = len(data) // 2
        caller.write(data + data[:half] + beat + data[half:])
        assert terminal.accepted(await caller.read(2.0), beat)
        assert await read_until(link, data + data) == data + data
        beat = terminal.heartbeat()
        for byte in data[:half] + beat + data[half:]:
            caller.write(bytes([byte]))
            await asyncio.sleep(0.0005)
        assert terminal.accepted(await caller.read(2.0), beat)
        assert await read_until(link, data) == data


@pytest.mark.parametrize("kind", KINDS)
async def test_who_only_sends_heartbeats_is_admitted_by_one(kind):
    terminal = kind()
    async with House().open() as house:
        beat = terminal.heartbeat()
        caller = await house.call(beat)
        assert terminal.accepted(await caller.read(2.0), beat)
        assert house.roster.get(terminal.identity)


@pytest.mark.parametrize("kind", [Caller376, Caller698])
async def test_who_comes_back_with_a_report_is_known_by_it(kind):
    terminal = kind()
    async with House().open() as house:
        report = terminal.data()
        await house.call(report)
        await until(lambda: house.roster.get(terminal.identity))
        assert await house.roster.get(terminal.identity).link.read(2.0) == report


@pytest.mark.parametrize("kind", [Caller376, Caller698])
async def test_a_logout_is_answered_and_logs_out(kind):
    terminal = kind()
    async with House().open() as house:
        beat = terminal.login()
        caller = await house.call(beat)
        assert terminal.accepted(await caller.read(2.0), beat)
        presence = house.roster.get(terminal.identity)
        beat = terminal.logout()
        data = terminal.data()
        caller.write(data + beat)
        assert terminal.accepted(await caller.read(2.0), beat)
        assert len(house.roster) == 0
        assert await presence.link.read(2.0) == data
        with pytest.raises(LinkLost, match="the terminal has logged out"):
            await presence.link.read(2.0)
        with pytest.raises(LinkLost):
            await caller.read(2.0)
        assert house.log[-1] == ("out", terminal.identity, 2)


async def test_a_login_and_a_logout_in_one_piece():
    terminal = Caller376()
    async with House().open() as house:
        caller = await house.call(terminal.login() + terminal.logout())
        assert len(await read_until(caller, b"\x16")) in (20, 40)
        await until(lambda: len(house.log) == 2)
        assert [what for what, *_ in house.log] == ["in", "out"]
        assert len(house.roster) == 0


async def test_a_logout_alone_brings_nobody_in():
    rules = Rules(introduction=0.05, hold=5.0)
    async with House().open(rules) as house:
        await house.call(Caller376().logout())
        await until(house.roster.unconfirmed)
        assert house.log == []


async def test_two_kinds_on_one_port_and_the_newest_socket_of_each():
    async with House().open() as house:
        callers = {}
        for round_ in range(2):
            for kind in KINDS:
                terminal = kind()
                beat = terminal.login()
                callers[kind, round_] = await house.call(beat)
                assert terminal.accepted(await callers[kind, round_].read(2.0), beat)
        assert {presence.kind for presence in house.roster} == {kind.kind for kind in KINDS}
        for kind in KINDS:
            with pytest.raises(LinkLost):
                await callers[kind, 0].read(2.0)
            assert house.roster.get(kind.identity).epoch == 3
            house.roster.get(kind.identity).link.write(b"ask")
            assert await callers[kind, 1].read(2.0) == b"ask"


async def test_a_terminal_that_speaks_otherwise_than_the_archive_says_is_listed_with_the_reason():
    async with House().open() as house:

        async def resolve(identity, kind):
            return f"it speaks {kind}, the archive has dlms"

        house.roster._resolve = resolve
        caller = await house.call(Caller376().login())
        await until(house.roster.unconfirmed)
        entry = house.roster.unconfirmed()[0]
        assert (entry.identity, entry.kind) == ("01710822", "gdw376")
        assert entry.reason == "it speaks gdw376, the archive has dlms"
        with pytest.raises(TimeoutError):
            await caller.read(0.02)


async def test_who_says_nothing_is_listed_and_never_served():
    rules = Rules(introduction=0.03, hold=0.1)
    async with House().open(rules) as house:
        caller = await house.call()
        await until(house.roster.unconfirmed)
        entry = house.roster.unconfirmed()[0]
        assert (entry.identity, entry.reason) == ("?silent tcp://127.0.0.1", "it says nothing")
        caller.write(b"REG,T-1\r\n")  # too late
        with pytest.raises(LinkLost):
            await caller.read(2.0)
        assert len(house.roster) == 0


async def test_a_frame_that_never_ends_is_listed_when_its_time_is_over():
    rules = Rules(introduction=0.03, hold=5.0)
    async with House().open(rules) as house:
        await house.call(Caller376().login()[:15])
        await until(house.roster.unconfirmed)
        assert house.roster.unconfirmed()[0].identity == "?683200320068c971"


async def test_the_pace_of_a_terminal_is_its_own():
    async with House().open(Rules(heartbeat=0.01, missed=1)) as house:
        beat = Caller698().login()  # every 60 s
        await house.call(beat)
        await until(lambda: house.roster.get("000000000084"))
        await asyncio.sleep(0.1)
        assert house.roster.get("000000000084")


async def test_a_peer_that_takes_no_answers_is_logged_out():
    async with House().open() as house:
        terminal = Caller376()
        _, writer = await asyncio.open_connection("127.0.0.1", house.listener.port)
        writer.write(terminal.login())
        await until(lambda: house.roster.get("01710822"))
        writer.transport.pause_reading()
        link = house.roster.get("01710822").link

        def fill():
            for _ in range(1000):  # until the kernel's buffers are full, and ours
                link.write(bytes(32768))

        with pytest.raises(LinkLost, match="takes no bytes"):
            fill()
        assert house.log[-1] == ("out", "01710822", 2)
        writer.transport.abort()
