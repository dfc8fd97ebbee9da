"""What a peer may not do to an association: end it, push into it, or exhaust it, without proving who speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from protocols.dlms import apdu as apdus
from protocols.dlms import frame as frames
from protocols.dlms import hls, values
from protocols.dlms.exchange import Associate, Client, Get, GetRequest, Listener, Release, Server
from protocols.dlms.frame import Frame, WrapperTransport
from protocols.dlms.keys import Keys
from protocols.dlms.policy import BOTH
from protocols.dlms.security import ClientSecurity, ServerSecurity, Side
from protocols.errors import FrameError
from protocols.exchange import NEED_DATA, Answer, Ignored, Send

CLIENT, METER = b"CLI\x00\x00\x00\x00\x01", b"MMM\x00\x00\xbcaN"
KEYS = Keys(0, bytes(range(16)), bytes(range(0xD0, 0xE0)))
CLOCK = 8, "0.0.1.0.0.255"
PUSH = apdus.DataNotification(7, None, b"\x11\x05")


def counting() -> Callable[[], int]:
    numbers: Iterator[int] = count(1)
    return lambda: next(numbers)


def sides() -> tuple[ClientSecurity, ServerSecurity]:
    common: dict[str, Any] = {"mechanism": hls.GMAC, "keys": KEYS, "policy": BOTH}
    return (
        ClientSecurity(Side(title=CLIENT, challenge=b"C" * 16, **common), next_counter=counting()),
        ServerSecurity(Side(title=METER, challenge=b"S" * 16, **common), next_counter=counting()),
    )


def associated(ciphered: bool = True) -> tuple[Client, Server]:
    mine, theirs = sides() if ciphered else (None, None)
    client, server = Client(1, 17, protection=mine), Server(17, protection=theirs)
    server.receive_data(client.send(Associate(max_pdu=0)))
    while not isinstance(event := client.next_event(), Answer):
        if isinstance(event, Send):
            server.receive_data(event.data)
            continue
        said = server.next_event()
        assert isinstance(said, Send)
        client.receive_data(said.data)
    assert server.associated
    return client, server


def to_client(apdu: bytes) -> bytes:
    return frames.encode(Frame(17, 1, apdu))


def to_server(apdu: bytes, source: int = 1) -> bytes:
    return frames.encode(Frame(source, 17, apdu))


def nested(inner: bytes, room: int) -> bytes:
    """General block transfers inside one another, at least two, as many as `room` bytes hold."""
    inner = apdus.encode(apdus.GeneralBlock(True, False, 1, 1, 0, inner))
    while len(inner) < room:
        inner = apdus.encode(apdus.GeneralBlock(True, False, 1, 1, 0, inner))
    return inner


# --- general block transfer inside itself ---


@pytest.mark.parametrize("room", [20, 13_000, 60_000])
@pytest.mark.parametrize("asked", [False, True])
def test_nested_general_blocks_to_a_client(room: int, asked: bool) -> None:
    client, _ = associated(ciphered=False)
    if asked:
        client.send(Get(*CLOCK, 2))
    hostile = nested(b"\xe0" * 12, room)
    client.receive_data(to_client(hostile))
    with pytest.raises(FrameError, match="holds a general-block-transfer"):
        client.next_event()
    client.send(Get(*CLOCK, 2))  # and it goes on
    client.receive_data(to_client(apdus.encode(apdus.GetData(client._invoke, b"\x11\x05"))))
    assert client.next_event() == Answer(values.Data(values.UNSIGNED, 5))


@pytest.mark.parametrize("room", [20, 13_000, 60_000])
def test_nested_general_blocks_to_a_server(room: int) -> None:
    client, server = associated(ciphered=False)
    server.receive_data(to_server(nested(b"\xe0" * 12, room)))
    with pytest.raises(FrameError, match="holds a general-block-transfer"):
        server.next_event()
    server.receive_data(client.send(Get(*CLOCK, 2)))
    assert isinstance(server.next_event(), GetRequest)


def test_nested_general_blocks_to_a_listener() -> None:
    listener = Listener(WrapperTransport(1, None))
    listener.receive_data(to_client(nested(apdus.encode(PUSH), 13_000)))
    with pytest.raises(FrameError, match="holds a general-block-transfer"):
        listener.next_event()
    listener.receive_data(
        to_client(apdus.encode(apdus.GeneralBlock(True, False, 1, 1, 0, apdus.encode(PUSH))))
    )
    assert listener.next_event() == Answer(PUSH)


# --- pushes in clear ---


def test_a_listener_with_a_policy_takes_no_push_in_clear() -> None:
    mine, theirs = sides()
    listener = Listener(WrapperTransport(1, None), mine)
    for raw in (
        apdus.encode(PUSH),
        apdus.encode(apdus.GeneralBlock(True, False, 1, 1, 0, apdus.encode(PUSH))),
    ):
        listener.receive_data(to_client(raw))
        with pytest.raises(FrameError, match="in clear"):
            listener.next_event()
    sealed = theirs.seal(apdus.encode(PUSH))
    listener.receive_data(to_client(sealed))
    assert listener.next_event() == Answer(PUSH)
    listener.receive_data(to_client(sealed))
    with pytest.raises(FrameError, match="counter"):  # a replay
        listener.next_event()


def test_a_client_with_a_policy_keeps_no_push_in_clear() -> None:
    client, _ = associated()
    client.receive_data(to_client(apdus.encode(PUSH)))
    assert isinstance(client.next_event(), Ignored)
    assert not client.pushes


# --- release ---


def test_a_release_in_clear_does_not_end_a_ciphered_association() -> None:
    client, server = associated()
    client.send(Release())
    client.receive_data(to_client(apdus.encode(apdus.Rlre(0, None))))
    with pytest.raises(FrameError, match=r"RLRE: .* in clear"):
        client.next_event()
    assert client.association is not None
    server.receive_data(client.send(Release()))  # it may be asked for again
    said = server.next_event()
    assert isinstance(said, Send)
    assert not server.associated
    client.receive_data(said.data)
    assert client.next_event() == Answer(None)
    assert client.association is None


@pytest.mark.parametrize("content", [None, b"\x01\x00\x00\x00\x06\x5f\x1f\x04\x00\x00\x00\x00\x04\x00"])
def test_nobody_else_ends_a_ciphered_association(content: bytes | None) -> None:
    client, server = associated()
    server.receive_data(to_server(apdus.encode(apdus.Rlrq(0, content))))
    assert isinstance(server.next_event(), Send)
    assert server.associated
    server.receive_data(client.send(Get(*CLOCK, 2)))
    assert isinstance(server.next_event(), GetRequest)


def test_another_client_does_not_end_an_association() -> None:
    client, server = associated(ciphered=False)
    server.receive_data(to_server(apdus.encode(apdus.Rlrq(0)), source=16))
    assert isinstance(server.next_event(), Send)
    assert server.associated
    assert client.next_event() is NEED_DATA
