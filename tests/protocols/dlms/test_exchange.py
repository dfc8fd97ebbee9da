"""Client and server in memory, and everything a line can do to their bytes."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms import apdu as apdus
from protocols.dlms import frame as frames
from protocols.dlms import values
from protocols.dlms.exchange import (
    QUEUE,
    Act,
    ActRequest,
    Associate,
    Client,
    EntrySelector,
    Gateway,
    Get,
    GetRequest,
    RangeSelector,
    Release,
    Server,
    Set,
    SetRequest,
)
from protocols.dlms.frame import Frame, Receiver
from protocols.dlms.values import Data
from protocols.errors import FrameError, Misuse, ProtocolError, Refused
from protocols.exchange import NEED_DATA, Answer, Ignored, Send

CLOCK = (8, "0.0.1.0.0.255", 2)
NUMBER = Data(values.DOUBLE_LONG_UNSIGNED, 5009)


def reply(apdu: apdus.Apdu, source: int = 17, destination: int = 1) -> bytes:
    return frames.encode(Frame(source, destination, apdus.encode(apdu)))


def asking(request: Any = None) -> Client:
    """A client whose first request (invoke-id 1) is on its way."""
    client = Client(1, 17)
    client.send(request or Get(*CLOCK))
    return client


def events(client: Client) -> list[Any]:
    """All events, FrameError and Refused as values."""
    out: list[Any] = []
    while True:
        try:
            event = client.next_event()
        except ProtocolError as why:
            out.append(why)
            continue
        if event is NEED_DATA:
            return out
        out.append(event)


def talk(client: Client, server: Server, request: Any, react: Any = None) -> Any:
    """One request to its end; `react` turns a request event into bytes."""
    server.receive_data(client.send(request))
    while True:
        while (asked := server.next_event()) is not NEED_DATA:
            if isinstance(asked, Send):
                client.receive_data(asked.data)
            elif not isinstance(asked, Ignored):
                client.receive_data(react(asked))
        event = client.next_event()
        if isinstance(event, Send):
            server.receive_data(event.data)
        elif isinstance(event, Answer):
            return event.value
        else:
            raise AssertionError(event)


# --- the whole conversation ---


def test_a_session() -> None:
    client, server = Client(1, 17), Server(17, password=b"12345678")
    seen: list[Any] = []

    def react(asked: Any) -> bytes:
        seen.append(asked)
        return server.answer(NUMBER if isinstance(asked, GetRequest) else None)

    aare = talk(client, server, Associate(b"12345678"))
    assert (aare.result, aare.max_pdu) == (0, 1024)
    assert talk(client, server, Get(*CLOCK), react) == NUMBER
    assert talk(client, server, Set(*CLOCK, values.octets(bytes(12))), react) is None
    assert talk(client, server, Act(70, "0.0.96.3.10.255", 1, Data(values.INTEGER, 0)), react) is None
    assert talk(client, server, Act(70, "0.0.96.3.10.255", 2), react) is None
    assert talk(client, server, Release()) is None
    assert seen == [
        GetRequest(*CLOCK, None),
        SetRequest(*CLOCK, values.octets(bytes(12))),
        ActRequest(70, "0.0.96.3.10.255", 1, Data(values.INTEGER, 0)),
        ActRequest(70, "0.0.96.3.10.255", 2, None),
    ]
    assert client.association is None
    assert not server.associated


def test_a_method_may_return_data() -> None:
    client, server = Client(1, 17), Server(17)
    talk(client, server, Associate())
    assert talk(client, server, Act(15, "0.0.40.0.0.255", 1), lambda _: server.answer(NUMBER)) == NUMBER


@pytest.mark.parametrize("max_pdu", [20, 64, 300, 2048])
@pytest.mark.parametrize("count", [0, 1, 3, 50, 500])
def test_blocks(max_pdu: int, count: int) -> None:
    client, server = Client(1, 17), Server(17, max_pdu=max_pdu)
    talk(client, server, Associate())
    value = values.array(*(Data(values.DOUBLE_LONG_UNSIGNED, n) for n in range(count)))
    request = Get(7, "1.0.99.1.0.255", 2)
    assert talk(client, server, request, lambda _: server.answer(value)) == value
    raw = Get(7, "1.0.99.1.0.255", 2, raw=True)
    assert talk(client, server, raw, lambda _: server.answer(value)) == values.encode(value)


def test_no_answer_is_longer_than_agreed() -> None:
    client, server = Client(1, 17), Server(17, max_pdu=4096)
    talk(client, server, Associate(max_pdu=200))
    longest = 0

    def react(_: Any) -> bytes:
        nonlocal longest
        raw = server.answer(values.octets(bytes(5000)))
        longest = max(longest, len(raw))
        return raw

    assert talk(client, server, Get(*CLOCK), react).value == bytes(5000)
    assert frames.HEADER + 190 < longest <= frames.HEADER + 200


@pytest.mark.parametrize(
    "selector",
    [
        RangeSelector(np.datetime64("2026-03-01T00:00", "us"), np.datetime64("2026-03-02T00:00", "us")),
        RangeSelector(
            np.datetime64("2026-03-01T00:00", "us"),
            np.datetime64("2026-03-02T00:00", "us"),
            columns=((8, "0.0.1.0.0.255", 2, 0), (3, "1.0.1.8.0.255", 2, 0)),
        ),
        EntrySelector(1, 96, 2, 3),
    ],
    ids=["range", "range-columns", "entries"],
)
def test_selectors_arrive(selector: Any) -> None:
    client, server = Client(1, 17), Server(17)
    talk(client, server, Associate())
    seen: list[Any] = []

    def react(asked: Any) -> bytes:
        seen.append(asked.selector)
        return server.answer(values.array())

    talk(client, server, Get(7, "1.0.99.1.0.255", 2, selector), react)
    assert seen == [selector]


# --- saying no ---


@pytest.mark.parametrize(
    ("code", "absent"),
    [(1, False), (2, False), (3, False), (4, True), (9, True), (11, False), (250, False), (77, False)],
)
def test_refused_with_the_meters_code(code: int, absent: bool) -> None:
    server = Server(17)
    client = Client(1, 17)
    talk(client, server, Associate())
    for request in (Get(*CLOCK), Set(*CLOCK, NUMBER), Act(70, "0.0.96.3.10.255", 1)):
        with pytest.raises(Refused) as no:
            talk(client, server, request, lambda _: server.refuse(code))
        assert (no.value.code, no.value.absent) == (code, absent)
    assert talk(client, server, Get(*CLOCK), lambda _: server.answer(NUMBER)) == NUMBER


@pytest.mark.parametrize(("password", "code", "word"), [(None, 14, "required"), (b"no", 13, "failed")])
def test_association_rejected(password: bytes | None, code: int, word: str) -> None:
    client, server = Client(1, 17), Server(17, password=b"12345678")
    with pytest.raises(Refused, match=word) as no:
        talk(client, server, Associate(password))
    assert no.value.code == code
    assert not server.associated
    with pytest.raises(Refused, match="service-not-allowed") as no:
        talk(client, server, Get(*CLOCK))
    assert no.value.code == 0x0101


def test_accepted_but_more_is_wanted() -> None:
    client = asking(Associate(b"x"))
    client.receive_data(reply(apdus.Aare(0, 1, 14, 500, apdus.CONFORMANCE)))
    (no,) = events(client)
    assert isinstance(no, Refused)
    assert no.code == 14


def test_the_password_is_not_in_the_repr() -> None:
    assert "12345678" not in repr(Associate(b"12345678"))


# --- whose answer is it ---


def test_a_late_answer_is_ignored() -> None:
    client = asking()
    client.abandon()
    client.send(Get(3, "1.0.1.8.0.255", 2))
    client.receive_data(reply(apdus.GetData(1, values.encode(NUMBER))))
    client.receive_data(reply(apdus.GetError(1, 4)))
    client.receive_data(reply(apdus.GetData(2, values.encode(Data(values.UNSIGNED, 9)))))
    stale, denied, fresh = events(client)
    assert isinstance(stale, Ignored)
    assert isinstance(denied, Ignored)
    assert fresh == Answer(Data(values.UNSIGNED, 9))


def test_nobody_asked() -> None:
    client = asking()
    client.abandon()
    client.receive_data(reply(apdus.GetData(1, values.encode(NUMBER))))
    (late,) = events(client)
    assert isinstance(late, Ignored)
    assert client.next_event() is NEED_DATA


@pytest.mark.parametrize(("source", "destination"), [(18, 1), (17, 2), (1, 17)])
def test_foreign_ports_are_ignored(source: int, destination: int) -> None:
    client = asking()
    client.receive_data(reply(apdus.GetData(1, values.encode(NUMBER)), source, destination))
    client.receive_data(reply(apdus.GetData(1, values.encode(NUMBER))))
    foreign, answer = events(client)
    assert isinstance(foreign, Ignored)
    assert answer == Answer(NUMBER)


@pytest.mark.parametrize(
    "apdu", [apdus.SetResult(1, 0), apdus.ActResult(1, 0), apdus.Rlre(), apdus.GetNext(1, 1)]
)
def test_another_service_is_ignored(apdu: apdus.Apdu) -> None:
    client = asking()
    client.receive_data(reply(apdu))
    (event,) = events(client)
    assert isinstance(event, Ignored)


def test_one_request_at_a_time() -> None:
    client = asking()
    with pytest.raises(Misuse):
        client.send(Get(*CLOCK))
    with pytest.raises(Misuse):
        Client(1, 17).send("read it")  # type: ignore[arg-type]
    with pytest.raises(Misuse):
        Client(1, 17).send(Associate(bytes(65)))


def test_a_request_longer_than_the_meter_takes() -> None:
    client, server = Client(1, 17), Server(17, max_pdu=64)
    talk(client, server, Associate(conformance=("get", "set")))
    with pytest.raises(Misuse):
        client.send(Set(*CLOCK, values.octets(bytes(100))))
    assert talk(client, server, Get(*CLOCK), lambda _: server.answer(NUMBER)) == NUMBER


def test_invoke_ids_go_round() -> None:
    client, server = Client(1, 17), Server(17)
    talk(client, server, Associate())
    for _ in range(40):
        assert talk(client, server, Get(*CLOCK), lambda _: server.answer(NUMBER)) == NUMBER


# --- blocks that go wrong ---


def block(number: int, last: bool = False) -> bytes:
    return reply(apdus.GetBlock(1, last, number, values.encode(NUMBER)))


def test_a_repeated_block_is_ignored() -> None:
    client = asking()
    client.receive_data(reply(apdus.GetBlock(1, False, 1, b"\x09\x02a")))
    client.receive_data(reply(apdus.GetBlock(1, False, 1, b"\x09\x02a")))
    client.receive_data(reply(apdus.GetBlock(1, True, 2, b"b")))
    more, repeated, answer = events(client)
    assert isinstance(more, Send)
    assert apdus.decode(frames.decode(more.data).apdu) == apdus.GetNext(1, 1)
    assert isinstance(repeated, Ignored)
    assert answer == Answer(values.octets(b"ab"))


@pytest.mark.parametrize("second", [block(3), block(0), reply(apdus.GetData(1, values.encode(NUMBER)))])
def test_blocks_out_of_order_are_corrupt(second: bytes) -> None:
    client = asking()
    client.receive_data(block(1) + second)
    _, corrupt = events(client)
    assert isinstance(corrupt, FrameError)
    client.send(Get(*CLOCK))  # the exchange is usable


def test_first_block_must_be_one() -> None:
    client = asking()
    client.receive_data(block(2))
    assert isinstance(events(client)[0], FrameError)


def test_server_refuses_a_block_it_does_not_have() -> None:
    server = Server(17, max_pdu=40)
    server.receive_data(reply(apdus.Aarq(), 1, 17))
    server.next_event()
    server.receive_data(reply(apdus.GetNext(1, 1), 1, 17))
    event = server.next_event()
    assert isinstance(event, Send)
    assert apdus.decode(frames.decode(event.data).apdu) == apdus.GetError(1, 16, 1)
    server.receive_data(reply(apdus.GetNormal(1, apdus.Target(*CLOCK)), 1, 17))
    assert isinstance(server.next_event(), GetRequest)
    server.answer(values.octets(bytes(100)))
    for number, answer in (
        (1, apdus.GetBlock),
        (1, apdus.GetBlock),
        (9, apdus.GetError),
        (2, apdus.GetError),
    ):
        server.receive_data(reply(apdus.GetNext(1, number), 1, 17))
        event = server.next_event()
        assert isinstance(event, Send)
        assert isinstance(apdus.decode(frames.decode(event.data).apdu), answer)


def test_server_misuse() -> None:
    server = Server(17)
    with pytest.raises(Misuse):
        server.answer(NUMBER)
    with pytest.raises(Misuse):
        server.refuse(4)


def test_server_says_what_it_does_not_do() -> None:
    server = Server(17)
    server.receive_data(reply(apdus.Aarq(), 1, 17))
    server.next_event()
    server.receive_data(reply(apdus.GetData(1, b"\x00"), 1, 17))
    event = server.next_event()
    assert isinstance(event, Send)
    assert apdus.decode(frames.decode(event.data).apdu) == apdus.ExceptionResponse(2, 2)


def test_hls_is_not_recognized() -> None:
    server = Server(17, password=b"12345678")
    server.receive_data(reply(apdus.Aarq(5, b"challenge"), 1, 17))
    event = server.next_event()
    assert isinstance(event, Send)
    aare = apdus.decode(frames.decode(event.data).apdu)
    assert isinstance(aare, apdus.Aare)
    assert (aare.result, aare.diagnostic) == (1, 11)


# --- many devices on one connection ---


def test_gateway_hands_frames_to_their_device() -> None:
    servers = {port: Server(port) for port in (17, 18)}
    gateway = Gateway(servers.get)
    clients = {port: Client(1, port) for port in servers}
    mixed = b"".join(client.send(Associate()) for client in clients.values())
    for byte in mixed:
        gateway.receive_data(bytes((byte,)))
    while True:
        server, event = gateway.next_event()
        if server is None:
            break
        assert isinstance(event, Send)
        clients[server.port].receive_data(event.data)
    assert all(isinstance(events(client)[0], Answer) for client in clients.values())


def test_gateway_keeps_frames_behind_a_pending_request() -> None:
    servers = {port: Server(port) for port in (17, 18)}
    gateway = Gateway(servers.get)
    for port in servers:
        gateway.receive_data(reply(apdus.Aarq(), 1, port))
        gateway.next_event()
    for port in (17, 17, 18):
        gateway.receive_data(reply(apdus.GetNormal(1, apdus.Target(*CLOCK)), 1, port))
    first, asked = gateway.next_event()
    assert (first, type(asked)) == (servers[17], GetRequest)
    second, asked = gateway.next_event()
    assert (second, type(asked)) == (servers[18], GetRequest)
    assert gateway.next_event() == (None, NEED_DATA)
    servers[17].answer(NUMBER)
    third, asked = gateway.next_event()
    assert (third, type(asked)) == (servers[17], GetRequest)


def test_gateway_is_bounded_and_knows_nobody() -> None:
    server = Server(17)
    gateway = Gateway({17: server}.get)
    gateway.receive_data(reply(apdus.Rlrq(), 1, 99))
    nobody, event = gateway.next_event()
    assert nobody is None
    assert isinstance(event, Ignored)
    gateway.receive_data(reply(apdus.Aarq(), 1, 17))
    gateway.next_event()
    one = reply(apdus.GetNormal(1, apdus.Target(*CLOCK)), 1, 17)
    gateway.receive_data(one * (QUEUE + 3))
    seen = []
    while (found := gateway.next_event())[1] is not NEED_DATA:
        seen.append(type(found[1]))
    assert seen == [GetRequest, Ignored, Ignored]


# --- whatever the line does: a value, a FrameError, a Refused, or need-data ---

ANSWERS: dict[str, tuple[Any, apdus.Apdu, bytes | None]] = {
    "get": (Get(*CLOCK), apdus.GetData(1, values.encode(NUMBER)), None),
    "array": (
        Get(*CLOCK),
        apdus.GetData(1, values.encode(values.array(values.structure(NUMBER, values.octets(b"abc"))))),
        None,
    ),
    "block": (Get(*CLOCK), apdus.GetBlock(1, True, 1, values.encode(NUMBER)), None),
    "no": (Get(*CLOCK), apdus.GetError(1, 4), None),
    "set": (Set(*CLOCK, NUMBER), apdus.SetResult(1, 0), None),
    "act": (Act(70, "0.0.96.3.10.255", 1), apdus.ActResult(1, 0, values.encode(NUMBER)), None),
    "aare": (Associate(b"1"), apdus.Aare(0, 1, 0, 500, apdus.CONFORMANCE), None),
    "rejected": (Associate(b"1"), apdus.Aare(1, 1, 13), None),
    "rlre": (Release(), apdus.Rlre(), None),
    "exception": (Get(*CLOCK), apdus.ExceptionResponse(1, 2), None),
}
REQUESTS: dict[str, apdus.Apdu] = {
    "aarq": apdus.Aarq(1, b"12345678", 1200),
    "rlrq": apdus.Rlrq(),
    "get": apdus.GetNormal(1, apdus.Target(*CLOCK)),
    "range": apdus.GetNormal(
        1,
        apdus.Target(7, "1.0.99.1.0.255", 2),
        RangeSelector(np.datetime64("2026-03-01T00:00", "us"), np.datetime64("2026-03-02T00:00", "us")),
    ),
    "next": apdus.GetNext(1, 1),
    "set": apdus.SetNormal(1, apdus.Target(*CLOCK), values.encode(NUMBER)),
    "act": apdus.ActNormal(1, apdus.Target(70, "0.0.96.3.10.255", 1), b"\x0f\x00"),
}


def outcome(client: Client) -> Any:
    (event,) = events(client)
    return (type(event), event.code) if isinstance(event, Refused) else event


@pytest.mark.parametrize("name", ANSWERS)
def test_whole_and_byte_by_byte_and_between_others(name: str) -> None:
    request, apdu, _ = ANSWERS[name]
    raw = reply(apdu)
    whole = asking(request)
    whole.receive_data(raw)
    want = outcome(whole)
    slow = asking(request)
    got = []
    for byte in raw:
        slow.receive_data(bytes((byte,)))
        got += events(slow)
    assert len(got) == 1
    assert type(got[0]) is (want[0] if isinstance(want, tuple) else type(want))
    behind = asking(request)
    behind.receive_data(raw + raw[:5])
    assert outcome(behind) == want
    noisy = asking(request)
    noisy.receive_data(b"\x7e\xff\x68\x00\x02\xaa" + raw)
    assert outcome(noisy) == want
    assert noisy.skipped == 6


@pytest.mark.parametrize("name", ANSWERS)
def test_any_flipped_bit(name: str) -> None:
    request, apdu, _ = ANSWERS[name]
    raw = reply(apdu)
    for bit in range(8 * len(raw)):
        broken = bytearray(raw)
        broken[bit // 8] ^= 1 << bit % 8
        client = asking(request)
        client.receive_data(bytes(broken))
        for event in events(client):
            assert isinstance(event, Answer | Send | Ignored | FrameError | Refused)


@pytest.mark.parametrize("name", ANSWERS)
def test_cut_anywhere(name: str) -> None:
    request, apdu, _ = ANSWERS[name]
    raw = reply(apdu)
    for end in range(len(raw)):
        client = asking(request)
        client.receive_data(raw[:end])
        assert events(client) == []
    inner = frames.decode(raw).apdu
    for end in range(1, len(inner)):  # cut, with a length that says it is whole
        client = asking(request)
        client.receive_data(frames.encode(Frame(17, 1, inner[:end])))
        (event,) = events(client)
        assert isinstance(event, FrameError | Answer | Refused), event
        if isinstance(event, Answer):  # a shorter response may be valid by itself, never with another value
            assert name in ("act", "rlre")


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_broken_on_their_way(name: str) -> None:
    raw = frames.encode(Frame(1, 17, apdus.encode(REQUESTS[name])))
    for bit in range(8 * len(raw)):
        broken = bytearray(raw)
        broken[bit // 8] ^= 1 << bit % 8
        server = Server(17, password=b"12345678")
        server.receive_data(bytes(broken))
        try:
            server.next_event()
        except FrameError:
            continue
    inner = frames.decode(raw).apdu
    assert apdus.decode(inner) == REQUESTS[name]
    for end in range(1, len(inner)):
        with pytest.raises(FrameError):
            apdus.decode(inner[:end])


@given(st.binary(max_size=200))
def test_garbage_for_the_client(data: bytes) -> None:
    client = asking()
    client.receive_data(data)
    for event in events(client):
        assert isinstance(event, Answer | Send | Ignored | FrameError | Refused)


@given(
    st.sampled_from([0x0E, 0x0F, 0x60, 0x61, 0x62, 0x63, 0xC0, 0xC1, 0xC3, 0xC4, 0xC5, 0xC7, 0xD8]),
    st.binary(max_size=64),
)
def test_garbage_behind_every_tag(tag: int, body: bytes) -> None:
    for raw in (bytes((tag,)) + body, bytes((tag, len(body))) + body):
        with contextlib.suppress(FrameError):
            apdus.decode(raw)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_the_receiver_never_keeps_garbage(data: bytes, step: int) -> None:
    receiver = Receiver(limit=64)
    got = 0
    for at in range(0, len(data), step):
        receiver.feed(data[at : at + step])
        while True:
            try:
                frame = receiver.next()
            except FrameError:
                continue
            if frame is None:
                break
            got += frames.HEADER + len(frame.apdu)
    assert len(data) - got - receiver.skipped <= frames.HEADER + 64


def test_garbage_alone_is_an_error_not_silence() -> None:
    client = asking()
    client.receive_data(b"\xaa" * 20)
    (corrupt,) = events(client)
    assert isinstance(corrupt, FrameError)
    client.send(Get(*CLOCK))
    client.receive_data(reply(apdus.GetData(2, values.encode(NUMBER))))
    assert events(client) == [Answer(NUMBER)]


@pytest.mark.parametrize(
    "raw", ["", "0001", "0002000100110001c4", "000100010011 0002c4", "0001000100110000"], ids=str
)
def test_frames_that_are_none(raw: str) -> None:
    with pytest.raises(FrameError):
        frames.decode(bytes.fromhex(raw))


def test_frames_that_cannot_be() -> None:
    for frame in (Frame(1, 2, b""), Frame(1, 2, bytes(0x10000)), Frame(1, 0x10000, b"x")):
        with pytest.raises(Misuse):
            frames.encode(frame)
