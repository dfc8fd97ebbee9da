"""Every service of both sides, over every transport and protection, whole and in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest

from protocols.dlms import apdu as apdus
from protocols.dlms import frame as frames
from protocols.dlms import hls, shortnames, values
from protocols.dlms.ciphering import Form
from protocols.dlms.exchange import (
    Act,
    ActMany,
    ActRequest,
    Associate,
    Client,
    EntrySelector,
    Get,
    GetMany,
    GetRequest,
    Listener,
    RangeSelector,
    Release,
    Server,
    Set,
    SetMany,
    SetRequest,
)
from protocols.dlms.frame import Frame, WrapperTransport
from protocols.dlms.gbt import Transfer
from protocols.dlms.hdlc import HdlcTransport
from protocols.dlms.hdlc_frame import Parameters, client_address, server_address
from protocols.dlms.keys import Keys
from protocols.dlms.messages import GeneralBlock, InformationReport, Name
from protocols.dlms.policy import BOTH, NOTHING
from protocols.dlms.security import ClientSecurity, ServerSecurity, Side
from protocols.dlms.selector import UTC
from protocols.dlms.values import Data
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Ignored, Send

KEYS = Keys(0, bytes(range(16)), bytes(range(0xD0, 0xE0)))
CLIENT, METER = b"CLI\x00\x00\x00\x00\x01", b"MMM\x00\x00\xbcaN"
NUMBER = Data(values.DOUBLE_LONG_UNSIGNED, 5009)
LONG = values.octets(bytes(range(256)) * 4)
REGISTER = (3, "1.0.1.8.0.255")
PROFILE = (7, "1.0.99.1.0.255")
CLOCK = (8, "0.0.1.0.0.255")
RELAY = (70, "0.0.96.3.10.255")
NAMES = {REGISTER: 0x1000, PROFILE: 0x2000, CLOCK: 0x3000, RELAY: 0x4000}
GBT_ONLY = ("general_block_transfer", "get", "set", "action", "multiple_references", "selective_access")


def counting(start: int) -> Callable[[], int]:
    numbers: Iterator[int] = count(start)
    return lambda: next(numbers)


def secured(kind: str, short: bool) -> tuple[Any, Any]:
    """(client's, server's) protection."""
    if kind == "none":
        return None, None
    common: dict[str, Any] = {"short_names": short}
    if kind == "lls":
        common |= {"mechanism": hls.LLS, "secret": b"12345678"}
    else:
        common |= {"mechanism": hls.GMAC, "keys": KEYS, "policy": BOTH}
        common |= {"form": Form.GENERAL_GLO if kind == "general" else Form.GLO}
    high = kind in ("glo", "general")
    mine = Side(title=CLIENT, challenge=b"C" * 16 if high else None, **common)
    theirs = Side(title=METER, challenge=b"S" * 16 if high else None, **common)
    return ClientSecurity(mine, next_counter=counting(1)), ServerSecurity(theirs, next_counter=counting(1))


def lines(kind: str) -> tuple[Any, Any]:
    if kind == "wrapper":
        return WrapperTransport(1, 17), WrapperTransport(17, None)
    client, server = client_address(1), server_address(1, 17)
    small = Parameters(64, 64, 3, 3)
    return (
        HdlcTransport(client, server, client=True, parameters=small),
        HdlcTransport(server, None, client=False, parameters=small),
    )


def make(
    line: str = "wrapper", security: str = "none", *, short: bool = False, max_pdu: int = 1024
) -> tuple[Client, Server]:
    (mine, theirs), (up, down) = secured(security, short), lines(line)
    names = NAMES if short else None
    return (
        Client(1, 17, transport=up, protection=mine, names=names),
        Server(17, transport=down, protection=theirs, names=names, max_pdu=max_pdu),
    )


def talk(client: Client, server: Server, request: Any, react: Callable[[Any], Any] | None = None) -> Any:
    """One request to its end. `react` gives a value, or a refusal as int."""
    server.receive_data(client.send(request))
    for _ in range(5000):
        while (asked := server.next_event()) is not NEED_DATA:
            if isinstance(asked, Send):
                client.receive_data(asked.data)
            elif isinstance(asked, GetRequest | SetRequest | ActRequest):
                assert react is not None, asked
                result = react(asked)
                out = server.refuse(result) if isinstance(result, int) else server.answer(result)
                client.receive_data(out)
        event = client.next_event()
        if isinstance(event, Send):
            server.receive_data(event.data)
        elif isinstance(event, Answer):
            return event.value
        else:
            assert isinstance(event, Ignored), event
    raise AssertionError("no end")


EVERYWHERE = pytest.mark.parametrize("line", ["wrapper", "hdlc"])
SECURED = pytest.mark.parametrize("security", ["none", "lls", "glo", "general"])


@EVERYWHERE
@SECURED
@pytest.mark.parametrize("max_pdu", [150, 1024, 0])
@pytest.mark.parametrize("conformance", [None, GBT_ONLY], ids=["blocks", "gbt"])
def test_logical_names(line: str, security: str, max_pdu: int, conformance: Any) -> None:
    client, server = make(line, security, max_pdu=max_pdu)
    if conformance and security in ("glo", "general"):
        conformance = ("general_protection", *conformance)
    aare = talk(client, server, Associate(max_pdu=max_pdu, conformance=conformance))
    assert aare.result == 0
    seen: list[Any] = []

    def keep(asked: Any) -> Any:
        seen.append(asked)
        return LONG if isinstance(asked, GetRequest) else None

    assert talk(client, server, Get(*PROFILE, 2), keep) == LONG
    assert talk(client, server, Set(*CLOCK, 2, LONG), keep) is None
    assert seen[-1].value == LONG
    assert talk(client, server, Act(*RELAY, 1, LONG), keep) is None
    assert seen[-1].value == LONG
    assert talk(client, server, Act(*RELAY, 1, LONG), lambda asked: asked.value) == LONG
    both = GetMany((Get(*REGISTER, 2), Get(*PROFILE, 2, raw=True), Get(*CLOCK, 2)))

    def some(asked: Any) -> Any:
        return 3 if asked.class_id == CLOCK[0] else LONG if asked.class_id == PROFILE[0] else NUMBER

    first, second, third = talk(client, server, both, some)
    assert (first, second) == (NUMBER, values.encode(LONG))
    assert isinstance(third, Refused)
    assert third.code == 3
    done = talk(
        client,
        server,
        SetMany((Set(*CLOCK, 2, LONG), Set(*REGISTER, 2, NUMBER))),
        lambda asked: 4 if asked.class_id == 3 else None,
    )
    assert done[0] is None
    assert done[1].absent
    acts = talk(
        client,
        server,
        ActMany((Act(*RELAY, 1, LONG), Act(*RELAY, 2))),
        lambda asked: LONG if asked.method == 1 else 2,
    )
    assert acts[0] == LONG
    assert acts[1].code == 2
    with pytest.raises(Refused):
        talk(client, server, Get(*CLOCK, 2), lambda _: 4)
    assert talk(client, server, Release()) is None
    assert client.association is None
    assert not server.associated


@EVERYWHERE
@SECURED
@pytest.mark.parametrize("max_pdu", [150, 1024])
def test_short_names(line: str, security: str, max_pdu: int) -> None:
    client, server = make(line, security, short=True, max_pdu=max_pdu)
    aare = talk(client, server, Associate(b"x" if security == "none" else None, max_pdu=max_pdu))
    assert aare.initiate.vaa == 0xFA00
    seen: list[Any] = []

    def keep(asked: Any) -> Any:
        seen.append(asked)
        return LONG if isinstance(asked, GetRequest) else None

    assert talk(client, server, Get(*PROFILE, 2), keep) == LONG
    selector = EntrySelector(1, 96, 2, 3)
    talk(client, server, Get(*PROFILE, 2, selector), keep)
    assert seen[-1] == GetRequest(*PROFILE, 2, selector)
    assert talk(client, server, Set(*CLOCK, 2, LONG), keep) is None
    assert seen[-1] == SetRequest(*CLOCK, 2, LONG)
    assert talk(client, server, Act(*RELAY, 2, Data(values.INTEGER, 0)), keep) is None
    assert seen[-1] == ActRequest(*RELAY, 2, Data(values.INTEGER, 0))
    found = talk(
        client,
        server,
        GetMany((Get(*REGISTER, 2), Get(*PROFILE, 2))),
        lambda asked: 4 if asked.class_id == 7 else NUMBER,
    )
    assert found[0] == NUMBER
    assert found[1].absent
    with pytest.raises(Misuse, match="object list"):
        client.send(Get(1, "0.0.42.0.0.255", 2))
    assert talk(client, server, Release()) is None


def test_short_names_are_found_again() -> None:
    assert shortnames.read_object_list(shortnames.object_list(NAMES)) == NAMES
    assert shortnames.locate(NAMES, shortnames.method_name(NAMES, *RELAY, 2)) == (*RELAY, 2, True)
    assert shortnames.locate(NAMES, shortnames.attribute_name(NAMES, *REGISTER, 3)) == (*REGISTER, 3, False)
    assert shortnames.locate(NAMES, 0x1001) is None
    assert shortnames.locate({}, 0x10) is None
    assert shortnames.method_name({}, 12, "0.0.40.0.0.255", 8) == shortnames.REPLY_TO_HLS
    for bad in (values.null(), values.array(NUMBER)):
        with pytest.raises(FrameError):
            shortnames.read_object_list(bad)


def test_a_late_answer_with_short_names_cannot_be_taken_for_the_next() -> None:
    client, server = make(short=True)
    talk(client, server, Associate())
    client.send(Get(*REGISTER, 2))
    client.abandon()
    with pytest.raises(Misuse, match="anew"):
        client.send(Get(*CLOCK, 2))
    talk(client, server, Associate(), lambda _: NUMBER)
    assert talk(client, server, Get(*REGISTER, 2), lambda _: NUMBER) == NUMBER


@pytest.mark.parametrize("wrong", ["server", "client"])
def test_nothing_is_answered_before_both_have_proven_themselves(wrong: str) -> None:
    other = Keys(0, bytes(16), bytes(range(0xD0, 0xE0)))
    common: dict[str, Any] = {"mechanism": hls.GMAC, "policy": NOTHING}
    mine = Side(title=CLIENT, challenge=b"C" * 16, keys=other if wrong == "client" else KEYS, **common)
    theirs = Side(title=METER, challenge=b"S" * 16, keys=KEYS, **common)
    client = Client(1, 17, protection=ClientSecurity(mine, next_counter=counting(1)))
    server = Server(17, protection=ServerSecurity(theirs, next_counter=counting(1)))
    if wrong == "server":
        server._protection.prove = lambda: b"\x10" + bytes(16)  # type: ignore[union-attr, method-assign]
        with pytest.raises(FrameError):
            talk(client, server, Associate())
    else:
        with pytest.raises(Refused):
            talk(client, server, Associate())
        assert not server.associated
    assert client.association is None


def test_requests_before_the_proof_are_refused() -> None:
    _, theirs = secured("glo", short=False)
    mine, _ = secured("glo", short=False)
    server = Server(17, protection=theirs)
    client = Client(1, 17, protection=mine)
    server.receive_data(client.send(Associate()))
    event = server.next_event()
    assert isinstance(event, Send)
    client.receive_data(event.data)
    client.next_event()  # the proof, which is never sent
    server.receive_data(
        frames.encode(Frame(1, 17, mine.seal(apdus.encode(apdus.GetNormal(1, apdus.Target(*CLOCK, 2))))))
    )
    event = server.next_event()
    assert isinstance(event, Send)
    assert apdus.decode(frames.decode(event.data).apdu) == apdus.ExceptionResponse(1, 1)


def test_what_is_not_sealed_as_agreed_is_not_served() -> None:
    client, server = make(security="glo")
    talk(client, server, Associate())
    plain = apdus.encode(apdus.GetNormal(1, apdus.Target(*CLOCK, 2)))
    server.receive_data(frames.encode(Frame(1, 17, plain)))
    event = server.next_event()
    assert isinstance(event, Send)
    assert apdus.decode(frames.decode(event.data).apdu) == apdus.ExceptionResponse(1, 5)
    client.send(Get(*CLOCK, 2))
    client.receive_data(frames.encode(Frame(17, 1, apdus.encode(apdus.GetData(2, values.encode(NUMBER))))))
    with pytest.raises(FrameError, match="in clear"):
        client.next_event()


@pytest.mark.parametrize(
    "selector",
    [
        RangeSelector(
            np.datetime64("2026-03-01T00:00", "us"),
            np.datetime64("2026-03-02T00:00", "us"),
            columns=((8, "0.0.1.0.0.255", 2, 0), (3, "1.0.1.8.0.255", 2, 0)),
        ),
        EntrySelector(5, 0, 2, 3),
    ],
)
def test_selectors_with_columns_in_lists(selector: Any) -> None:
    client, server = make()
    talk(client, server, Associate())
    seen: list[Any] = []

    def react(asked: Any) -> Any:
        seen.append(asked.selector)
        return NUMBER

    talk(client, server, GetMany((Get(*PROFILE, 2, selector), Get(*PROFILE, 2))), react)
    assert seen == [selector, None]


# --- general block transfer on bad lines ---


@pytest.mark.parametrize("lost", range(1, 12))
def test_lost_pieces_are_sent_again(lost: int) -> None:
    sender, receiver = Transfer(10_000), Transfer(10_000, window=4)
    raw = bytes(range(256)) * 2
    pieces = sender.begin(raw, 60)
    sender._peer_window = 4
    number, whole = 0, None
    for _ in range(200):
        answers: list[GeneralBlock] = []
        for piece in pieces:
            number += 1
            if number == lost:
                continue
            more, whole = receiver.take(piece)
            answers += more
            if whole is not None:
                assert whole == raw
                return
        pieces = []
        for answer in answers or receiver.again() or sender.again():
            more, _ = sender.take(answer) if answer.raw == b"" else ([answer], None)
            pieces += more
    raise AssertionError("never came through")


def test_general_blocks_are_bounded() -> None:
    receiver = Transfer(100)
    for number in range(1, 4):
        receiver.take(GeneralBlock(False, True, 1, number, 0, bytes(30)))
    with pytest.raises(FrameError, match="100 bytes"):
        receiver.take(GeneralBlock(False, True, 1, 4, 0, bytes(30)))
    with pytest.raises(FrameError, match="acknowledged"):
        Transfer(100).take(GeneralBlock(True, False, 1, 1, 9, b""))
    with pytest.raises(Misuse):
        Transfer(100).begin(bytes(10), 5)


def test_a_client_whose_wait_timed_out_asks_for_the_missing_piece() -> None:
    client, server = make(max_pdu=150)
    talk(client, server, Associate(max_pdu=150, conformance=GBT_ONLY))
    server.receive_data(client.send(Get(*PROFILE, 2)))
    server.next_event()
    client.receive_data(server.answer(LONG))  # the first piece
    event = client.next_event()
    assert isinstance(event, Send)
    # the acknowledgement is lost: nothing comes
    assert client.next_event() is NEED_DATA
    again = client.resume()
    assert again
    server.receive_data(again)
    for _ in range(100):
        while isinstance(asked := server.next_event(), Send):
            client.receive_data(asked.data)
        event = client.next_event()
        if isinstance(event, Send):
            server.receive_data(event.data)
        elif isinstance(event, Answer):
            assert event.value == LONG
            return
    raise AssertionError("no end")


# --- pushes ---

PUSHES: list[Any] = [
    apdus.DataNotification(475, None, values.encode(NUMBER)),
    apdus.DataNotification(476, values.encode_clock(np.datetime64("2026-03-01T00:00", "us"), UTC), values.encode(LONG)),
    apdus.EventNotification(None, apdus.Target(*CLOCK, 2), values.encode(NUMBER)),
    InformationReport(None, (Name(0x1008),), (values.encode(NUMBER),)),
]  # fmt: skip


@pytest.mark.parametrize("push", PUSHES, ids=lambda push: type(push).__name__)
@pytest.mark.parametrize("security", ["none", "glo"])
@pytest.mark.parametrize("max_pdu", [150, 2048])
def test_a_push_in_an_association_disturbs_no_request(push: Any, security: str, max_pdu: int) -> None:
    client, server = make(security=security, max_pdu=max_pdu)
    talk(client, server, Associate(max_pdu=max_pdu))
    request = client.send(Get(*CLOCK, 2))
    client.receive_data(server.push(push))
    server_out = True
    while server_out:
        server_out = False
        while isinstance(event := server.next_event(), Send):
            client.receive_data(event.data)
        while (mine := client.next_event()) is not NEED_DATA:
            if isinstance(mine, Send):
                server.receive_data(mine.data)
                server_out = True
    assert list(client.pushes) == [push]
    server.receive_data(request)
    assert isinstance(server.next_event(), GetRequest)
    client.receive_data(server.answer(NUMBER))
    assert client.next_event() == Answer(NUMBER)


@pytest.mark.parametrize("push", PUSHES, ids=lambda push: type(push).__name__)
def test_a_listener_takes_pushes(push: Any) -> None:
    listener = Listener(WrapperTransport(1, None))
    listener.receive_data(frames.encode(Frame(17, 1, apdus.encode(push))))
    assert listener.next_event() == Answer(push)
    listener.receive_data(frames.encode(Frame(17, 1, apdus.encode(apdus.GetData(1, b"\x00")))))
    assert isinstance(listener.next_event(), Ignored)
    raw = apdus.encode(push)
    last = len(raw) // 20 + 1
    for number in range(1, last + 1):
        piece = apdus.GeneralBlock(number == last, False, 1, number, 0, raw[20 * number - 20 : 20 * number])
        if not piece.raw:
            break
        listener.receive_data(frames.encode(Frame(17, 1, apdus.encode(piece))))
        event = listener.next_event()
        assert event == Answer(push) if number == last else isinstance(event, Send)


def test_pushes_are_bounded() -> None:
    client, _ = make()
    one = frames.encode(Frame(17, 1, apdus.encode(PUSHES[0])))
    for _ in range(100):
        client.receive_data(one)
        assert isinstance(client.next_event(), Ignored)
    assert len(client.pushes) == 64


# --- blocks that go wrong, at the server ---


def served(server: Server, apdu: apdus.Apdu) -> Any:
    server.receive_data(frames.encode(Frame(1, 17, apdus.encode(apdu))))
    event = server.next_event()
    return apdus.decode(frames.decode(event.data).apdu) if isinstance(event, Send) else event


def associated() -> Server:
    server = Server(17)
    assert served(server, apdus.Aarq()).result == 0
    return server


def test_set_blocks_in_the_wrong_order() -> None:
    server, target, raw = associated(), apdus.Target(*CLOCK, 2), values.encode(LONG)
    first = apdus.SetFirst(1, target, None, apdus.Block(False, 1, raw[:100]))
    assert served(server, apdus.SetNext(1, apdus.Block(False, 2, b""))) == apdus.SetLast(1, (18,), 2)
    assert served(server, first) == apdus.SetAck(1, 1)
    assert served(server, apdus.SetNext(1, apdus.Block(False, 2, raw[100:200]))) == apdus.SetAck(1, 2)
    assert served(server, apdus.SetNext(1, apdus.Block(False, 2, raw[100:200]))) == apdus.SetAck(1, 2)
    assert served(server, apdus.SetNext(1, apdus.Block(False, 4, b""))) == apdus.SetLast(1, (19,), 4)
    assert served(server, first) == apdus.SetAck(1, 1)
    assert served(server, apdus.SetNext(1, apdus.Block(True, 2, raw[100:]))) == SetRequest(*CLOCK, 2, LONG)
    assert apdus.decode(frames.decode(server.answer()).apdu) == apdus.SetLast(1, (0,), 2)
    assert served(server, first) == apdus.SetAck(1, 1)
    assert served(server, apdus.SetNext(1, apdus.Block(True, 2, raw[100:-1]))) == apdus.SetLast(1, (250,), 2)


def test_action_blocks_in_the_wrong_order() -> None:
    server, target, raw = associated(), apdus.Target(*RELAY, 1), values.encode(LONG)
    assert served(server, apdus.ActBlock(1, apdus.Block(False, 2, b""))) == apdus.ActResult(1, 18)
    assert served(server, apdus.ActFirst(1, target, apdus.Block(False, 1, raw[:100]))) == apdus.ActNext(
        1, 1, True
    )
    assert served(server, apdus.ActBlock(1, apdus.Block(False, 3, b""))) == apdus.ActResult(1, 19)
    assert served(server, apdus.ActNext(1, 1)) == apdus.ActResult(1, 15)
