"""The HDLC link: connecting, segments, acknowledgements, and lines that lose, repeat and exchange frames."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dlms.hdlc import (
    CLIENT,
    FRUITLESS,
    SERVER,
    HdlcTransport,
    Parameters,
    State,
    client_address,
    decode,
    server_address,
)
from protocols.dlms.hdlc_frame import LLC_COMMAND, LLC_RESPONSE, HdlcFrame, Receiver, control_of
from protocols.dlms.transport import Transport
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Event, Ignored, Send

RATE = st.sampled_from([0.0, 0.05, 0.2])
METER, HEAD_END = server_address(1, 17), client_address(16)
WIDE = Parameters(256, 256, 7, 7)


def pair(
    client: Parameters = WIDE, server: Parameters = WIDE, limit: int = 0xFFFF
) -> tuple[HdlcTransport, HdlcTransport]:
    return (
        HdlcTransport(HEAD_END, METER, client=True, parameters=client, limit=limit),
        HdlcTransport(METER, None, client=False, parameters=server, limit=limit),
    )


def events(transport: Transport) -> list[Event]:
    out: list[Event] = []
    while (event := transport.next_event()) is not NEED_DATA:
        out.append(event)
    return out


def give(transport: Transport, data: bytes) -> list[Event]:
    transport.receive_data(data)
    return events(transport)


def frames_of(data: bytes) -> list[HdlcFrame]:
    receiver, out = Receiver(), []
    receiver.feed(data)
    while (frame := receiver.next()) is not None:
        out.append(frame)
    return out


def from_meter(
    kind: str,
    information: bytes = b"",
    *,
    segmented: bool = False,
    send: int = 0,
    receive: int = 0,
    final: bool = True,
) -> bytes:
    control = control_of(kind, send=send, receive=receive, final=final)
    return HdlcFrame(HEAD_END, METER, control, information, segmented).encode()


def connected(
    client: Parameters = WIDE, server: Parameters = WIDE, limit: int = 0xFFFF
) -> tuple[HdlcTransport, HdlcTransport]:
    ours, theirs = pair(client, server, limit)
    agreed, told = give(theirs, ours.connect())
    assert told == Answer(None)
    assert isinstance(agreed, Send)
    assert give(ours, agreed.data) == [Answer(None)]
    return ours, theirs


def test_connects_as_published() -> None:
    """The SNRM and UA of a published exchange (max info 154, window 1)."""
    ours = HdlcTransport(
        client_address(16), server_address(1, 17), client=True, parameters=Parameters(512, 512, 3, 3)
    )
    snrm = decode(ours.connect())
    assert (snrm.kind, snrm.final) == ("SNRM", True)
    ua = bytes.fromhex("7ea01f21022373e6c781801205019a06019a070400000001080400000001cca27e")
    assert give(ours, ua) == [Answer(None)]
    assert ours.agreed == Parameters(154, 154, 1, 1)
    assert ours.connected


def test_what_is_agreed() -> None:
    ours, theirs = connected(Parameters(300, 1000, 2, 5), Parameters(500, 200, 7, 1))
    assert ours.agreed == Parameters(200, 500, 1, 5)
    assert theirs.agreed == Parameters(500, 200, 5, 1)


def test_a_side_that_says_nothing_has_the_defaults() -> None:
    ours, theirs = pair()
    ours.connect()
    assert give(ours, from_meter("UA")) == [Answer(None)]
    assert ours.agreed == Parameters(128, 128, 1, 1)
    bare = HdlcFrame(METER, HEAD_END, control_of("SNRM")).encode()
    assert give(theirs, bare)[1] == Answer(None)
    assert theirs.agreed == Parameters(128, 128, 1, 1)


def test_malformed_parameters_make_no_link() -> None:
    ours, theirs = pair()
    ours.connect()
    with pytest.raises(FrameError, match="parameter runs over") as caught:
        give(ours, from_meter("UA", bytes.fromhex("8180020502")))
    assert caught.value.offset == 9 + 3
    assert ours.state is State.CONNECTING
    with pytest.raises(FrameError):
        give(theirs, HdlcFrame(METER, HEAD_END, control_of("SNRM"), b"\x80").encode())
    assert theirs.state is State.DISCONNECTED
    assert give(ours, from_meter("UA")) == [Answer(None)]


def test_disconnects() -> None:
    ours, theirs = connected()
    agreed, told = give(theirs, ours.disconnect())
    assert told == Answer(None)
    assert isinstance(agreed, Send)
    assert give(ours, agreed.data) == [Answer(None)]
    assert ours.state is theirs.state is State.DISCONNECTED
    assert ours.disconnect() == b""
    late = HdlcFrame(METER, HEAD_END, control_of("DISC")).encode()
    (answer,) = give(theirs, late)
    assert isinstance(answer, Send)
    assert decode(answer.data).kind == "DM"


def test_dm_is_a_refusal_unless_we_leave() -> None:
    ours, _ = pair()
    ours.connect()
    with pytest.raises(Refused) as caught:
        give(ours, from_meter("DM"))
    assert caught.value.code == 0x0F
    ours, _ = connected()
    ours.disconnect()
    assert give(ours, from_meter("DM")) == [Answer(None)]


def test_a_rejected_frame_ends_the_link() -> None:
    ours, _ = connected()
    ours.send(b"\x01")
    with pytest.raises(Refused, match="FRMR"):
        give(ours, from_meter("FRMR", b"\x10\x00\x01"))
    assert ours.state is State.DISCONNECTED
    with pytest.raises(Misuse):
        ours.send(b"\x01")


def test_a_server_without_a_link_says_so() -> None:
    _, theirs = pair()
    for kind in ("I", "RR", "RNR"):
        (answer,) = give(theirs, HdlcFrame(METER, HEAD_END, control_of(kind)).encode())
        assert isinstance(answer, Send)
        assert decode(answer.data).kind == "DM"
        assert decode(answer.data).destination == HEAD_END


def test_one_request_as_published() -> None:
    """GET of the clock: the published frame, byte for byte, is what the link sends."""
    ours = HdlcTransport(client_address(16), server_address(1), client=True)
    ours.connect()
    ua = HdlcFrame(client_address(16), server_address(1), control_of("UA")).encode()
    assert give(ours, ua) == [Answer(None)]
    ours.send(b"\x60\x00")
    aare = HdlcFrame(client_address(16), server_address(1), 0x30, LLC_RESPONSE + b"\x61\x00").encode()
    assert give(ours, aare) == [Answer(b"\x61\x00")]
    assert ours.send(bytes.fromhex("c001c100080000010000ff0200")).hex() == (
        "7ea0190321326fd8e6e600c001c100080000010000ff0200601a7e"
    )


@pytest.mark.parametrize("window", [1, 2, 7])
@pytest.mark.parametrize("size", [1, 250, 253, 254, 255, 256, 5000, 0xFFFF])
def test_long_apdus_both_ways(window: int, size: int) -> None:
    ours, theirs = connected(Parameters(256, 256, window, window))
    request, answer = bytes(range(256)) * 256, bytes(range(255, -1, -1)) * 256
    request, answer = request[:size], answer[:size]
    for _ in range(3):
        assert carried(ours, theirs, request) == ([], [request])
        assert carried(theirs, ours, answer) == ([], [answer])


def carried(speaker: HdlcTransport, listener: HdlcTransport, apdu: bytes) -> tuple[list[bytes], list[bytes]]:
    """One APDU over a perfect line -> the APDUs that came out at the speaker and at the listener."""
    came: dict[HdlcTransport, list[bytes]] = {speaker: [], listener: []}
    wire, at = speaker.send(apdu), listener
    while wire:
        frames = frames_of(wire)
        assert [frame.final for frame in frames] == [False] * (len(frames) - 1) + [True]
        assert len(frames) <= at.agreed.window_receive
        assert all(len(frame.information) <= at.agreed.max_information_receive for frame in frames)
        out = give(at, wire)
        came[at] += [event.value for event in out if isinstance(event, Answer)]
        wire = b"".join(event.data for event in out if isinstance(event, Send))
        at = speaker if at is listener else listener
    return came[speaker], came[listener]


def test_a_segment_is_marked_and_only_the_first_has_the_llc() -> None:
    ours, _ = connected(Parameters(128, 128, 7, 7))
    frames = frames_of(ours.send(bytes(300)))
    assert [frame.segmented for frame in frames] == [True, True, False]
    assert [frame.llc for frame in frames] == [LLC_COMMAND, b"", b""]
    assert [frame.send_sequence for frame in frames] == [0, 1, 2]
    assert [len(frame.information) for frame in frames] == [128, 128, 47]


def test_a_missing_segment_is_sent_again_and_nothing_twice() -> None:
    ours, theirs = connected(Parameters(128, 128, 7, 7))
    frames = frames_of(ours.send(bytes(range(256)) + bytes(300)))
    assert len(frames) == 5
    out = give(theirs, b"".join(frame.encode() for frame in frames[:1] + frames[2:]))
    again = [event.data for event in out if isinstance(event, Send)]
    (asked,) = frames_of(b"".join(again))
    assert (asked.kind, asked.receive_sequence) == ("RR", 1)
    (sent,) = [event.data for event in give(ours, asked.encode()) if isinstance(event, Send)]
    assert [frame.send_sequence for frame in frames_of(sent)] == [1, 2, 3, 4]
    assert [event for event in give(theirs, sent) if isinstance(event, Answer)] == [
        Answer(bytes(range(256)) + bytes(300))
    ]


def test_a_duplicate_is_acknowledged_and_dropped() -> None:
    ours, theirs = connected()
    sent = ours.send(b"\x01")
    assert give(theirs, sent) == [Answer(b"\x01")]
    (event,) = give(theirs, sent)  # not answered yet: the answer will acknowledge
    assert isinstance(event, Ignored)
    answer = theirs.send(b"\x02")
    (event,) = give(theirs, sent)
    assert event == Send(answer)
    assert give(ours, answer) == [Answer(b"\x02")]
    (event,) = give(ours, answer)
    assert isinstance(event, Ignored)


def test_what_is_repeated_after_a_silence() -> None:
    ours, theirs = pair()
    assert ours.resume() == b""
    snrm = ours.connect()
    assert ours.resume() == snrm
    give(ours, from_meter("UA"))
    sent = ours.send(b"\x01")
    assert ours.resume() == sent
    give(ours, from_meter("RR", receive=1))
    polling = decode(ours.resume())
    assert (polling.kind, polling.final, polling.receive_sequence) == ("RR", True, 0)
    disc = ours.disconnect()
    assert ours.resume() == disc
    assert theirs.resume() == b""


def test_half_a_frame_does_not_swallow_the_repeated_one() -> None:
    ours, _ = connected()
    ours.send(b"\x01")
    answer = from_meter("I", LLC_RESPONSE + bytes(90), receive=1)
    assert give(ours, answer[:50]) == []
    ours.resume()
    assert give(ours, answer) == [Answer(bytes(90))]


def test_a_busy_peer_is_left_alone_until_it_is_asked() -> None:
    ours, _ = connected(Parameters(128, 128, 1, 1), Parameters(128, 128, 1, 1))
    ours.send(bytes(300))
    (event,) = give(ours, from_meter("RNR", receive=1))
    assert isinstance(event, Ignored)
    assert decode(ours.resume()).kind == "RR"
    (event,) = give(ours, from_meter("RR", receive=1))
    assert isinstance(event, Send)
    assert decode(event.data).send_sequence == 1


def test_a_busy_client_is_left_alone() -> None:
    ours, theirs = connected(Parameters(128, 128, 1, 1), Parameters(128, 128, 1, 1))
    give(theirs, ours.send(b"\x01"))
    theirs.send(bytes(300))
    (event,) = give(theirs, HdlcFrame(METER, HEAD_END, control_of("RNR", receive=1)).encode())
    assert isinstance(event, Send)
    assert decode(event.data).kind == "RR"
    (event,) = give(theirs, HdlcFrame(METER, HEAD_END, control_of("RR", receive=1)).encode())
    assert isinstance(event, Send)
    assert decode(event.data).send_sequence == 1


def test_sequence_numbers_count_modulo_eight() -> None:
    ours, theirs = connected()
    for number in range(20):
        (frame,) = frames_of(ours.send(bytes((number,))))
        assert frame.send_sequence == frame.receive_sequence == number % 8
        assert give(theirs, frame.encode()) == [Answer(bytes((number,)))]
        assert give(ours, theirs.send(b"\x00")) == [Answer(b"\x00")]


def test_an_acknowledgement_of_what_was_not_sent_is_none() -> None:
    ours, _ = connected(Parameters(128, 128, 2, 2))
    ours.send(bytes(600))
    (event,) = give(ours, from_meter("RR", receive=5))
    assert isinstance(event, Send)
    assert [frame.send_sequence for frame in frames_of(event.data)] == [0, 1]


def test_a_line_that_carries_nothing_is_given_up() -> None:
    ours, _ = connected()
    ours.send(bytes(1))
    deaf = from_meter("RR", receive=0)
    for _ in range(FRUITLESS):
        (event,) = give(ours, deaf)
        assert isinstance(event, Send)
    with pytest.raises(FrameError, match="no segment further"):
        give(ours, deaf)


def test_frames_of_others_are_ignored() -> None:
    ours, _ = connected()
    for destination, source in (
        (client_address(1), METER),
        (HEAD_END, server_address(1, 18)),
        (METER, HEAD_END),
    ):
        foreign = HdlcFrame(destination, source, control_of("I"), LLC_RESPONSE + b"\x01").encode()
        (event,) = give(ours, foreign)
        assert event == Ignored(f"hdlc: foreign: from {source} to {destination}", foreign)
    longer = HdlcFrame(HEAD_END, server_address(1, 17, 4), control_of("I"), LLC_RESPONSE + b"\x01").encode()
    assert give(ours, longer) == [Answer(b"\x01")]


def test_what_a_state_does_not_know_is_ignored() -> None:
    kinds = ("I", "RR", "RNR", "SNRM", "DISC", "UA", "DM", "FRMR", "UI")
    for client, table in ((True, CLIENT), (False, SERVER)):
        for state in State:
            for kind in kinds:
                transport = pair()[0 if client else 1]
                transport._answering = METER if client else HEAD_END
                transport.state = state
                ends = (HEAD_END, METER) if client else (METER, HEAD_END)
                raw = HdlcFrame(*ends, control_of(kind)).encode()
                if (state, kind) in table:
                    assert table[state, kind] in State
                else:
                    assert [type(event) for event in give(transport, raw)] == [Ignored]
                    assert transport.state is state


def test_a_server_is_not_the_one_to_connect() -> None:
    _, theirs = pair()
    with pytest.raises(Misuse):
        theirs.connect()


def test_a_new_snrm_begins_anew() -> None:
    ours, theirs = connected()
    give(theirs, ours.send(b"\x01"))
    give(theirs, ours.connect())
    assert theirs.connected
    assert give(theirs, from_head_end(b"\x02")) == [Answer(b"\x02")]
    other = HdlcFrame(METER, client_address(1), control_of("SNRM")).encode()
    assert give(theirs, other)[1] == Answer(None)  # the public client leaves, the management client comes
    assert isinstance(give(theirs, from_head_end(b"\x02"))[0], Ignored)


def from_head_end(apdu: bytes) -> bytes:
    return HdlcFrame(METER, HEAD_END, control_of("I"), LLC_COMMAND + apdu).encode()


# --- pushed ---


def test_a_meter_pushes_without_a_link() -> None:
    ours, theirs = HdlcTransport(HEAD_END, None), HdlcTransport(METER, HEAD_END, client=False)
    assert give(ours, theirs.send_unasked(b"\x0f\x01")) == [Answer(b"\x0f\x01")]
    segments = [
        from_meter("I", LLC_RESPONSE + b"\x0f", segmented=True, final=False),
        from_meter("I", b"\x02", send=1, segmented=True, final=False),
        from_meter("I", b"\x03", send=2),
    ]
    assert give(ours, b"".join(segments))[-1] == Answer(b"\x0f\x02\x03")
    with pytest.raises(Misuse):
        theirs.send_unasked(bytes(200))


def test_a_push_does_not_disturb_what_is_asked() -> None:
    ours, theirs = connected()
    give(theirs, ours.send(b"\x01"))
    assert give(ours, theirs.send_unasked(b"\x0f")) == [Answer(b"\x0f")]
    assert give(ours, theirs.send(b"\x02")) == [Answer(b"\x02")]


def test_a_broadcast_reaches_everyone() -> None:
    _, theirs = pair()
    everyone = server_address(1, 0x7F)
    raw = HdlcFrame(everyone, HEAD_END, control_of("UI", final=False), LLC_COMMAND + b"\xc1").encode()
    assert give(theirs, raw) == [Answer(b"\xc1")]
    polled = HdlcFrame(everyone, HEAD_END, control_of("SNRM")).encode()
    assert isinstance(give(theirs, polled)[0], Ignored)


# --- what is bounded ---


def test_an_apdu_beyond_the_limit() -> None:
    """It is complained of once; its other segments are acknowledged and dropped, and the next APDU comes."""
    ours, _ = connected(Parameters(128, 128, 1, 1), limit=300)
    ours.send(b"\x01")
    complaints = []
    for send in range(50):
        segment = from_meter(
            "I", (b"" if send else LLC_RESPONSE) + bytes(100), segmented=send < 49, send=send, receive=1
        )
        try:
            give(ours, segment)
        except FrameError as error:
            complaints.append(str(error))
        assert len(ours._assembly._parts) <= 300
    assert len(complaints) == 1
    assert "more than 300 bytes" in complaints[0]
    assert give(ours, from_meter("I", LLC_RESPONSE + b"\x05", send=50, receive=1)) == [Answer(b"\x05")]


def test_empty_segments_have_an_end() -> None:
    ours, _ = connected()
    ours.send(b"\x01")
    with pytest.raises(FrameError, match="without content"):
        give(ours, from_meter("I", LLC_RESPONSE, segmented=True, receive=1))


def test_an_apdu_without_llc() -> None:
    ours, _ = connected()
    ours.send(b"\x01")
    with pytest.raises(FrameError, match="LLC") as caught:
        give(ours, from_meter("I", b"\xc4\x01", receive=1))
    assert caught.value.offset == 9


def test_what_is_on_its_way_is_bounded() -> None:
    ours, _ = connected()
    ours.send(bytes(0xF000))
    with pytest.raises(Misuse):
        ours.send(bytes(0x2000))
    with pytest.raises(Misuse):
        ours.send(b"")


def test_noise_of_flags() -> None:
    ours, theirs = connected()
    assert give(ours, b"\x7e" * 50_000) == []
    give(theirs, ours.send(b"\x01"))
    assert give(ours, b"\x7e" * 99 + theirs.send(b"\x02")) == [Answer(b"\x02")]


# --- bad lines ---


@dataclass
class Line:
    """A line that loses, damages, repeats frames and exchanges neighbours of one turn. It does not keep one for a later turn."""

    rng: random.Random
    lose: float
    damage: float
    repeat: float
    swap: float

    def carry(self, data: bytes) -> bytes:
        out: list[bytes] = []
        for frame in frames_of(data):
            raw = bytearray(frame.encode())
            if self.rng.random() < self.lose:
                continue
            if self.rng.random() < self.damage:
                raw[self.rng.randrange(len(raw))] ^= 1 << self.rng.randrange(8)
            out += [bytes(raw)] * (2 if self.rng.random() < self.repeat else 1)
            if len(out) > 1 and self.rng.random() < self.swap:
                out[-1], out[-2] = out[-2], out[-1]
        return b"".join(out)


class GivesUp(Exception):
    """Stated: so many silences in a row."""


def drained(transport: HdlcTransport, data: bytes) -> tuple[bytes, list[bytes | None]]:
    """What a transport says to these bytes, and the APDUs that came out of it (None: link made or left)."""
    transport.receive_data(data)
    wire = bytearray()
    apdus: list[bytes | None] = []
    for _ in range(10_000):
        try:
            event = transport.next_event()
        except FrameError:
            continue
        if event is NEED_DATA:
            return bytes(wire), apdus
        if isinstance(event, Send):
            wire += event.data
        elif isinstance(event, Answer):
            apdus.append(event.value)
    raise AssertionError("no end of events")


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rates=st.tuples(RATE, RATE, RATE, RATE),
    window=st.integers(1, 7),
    sizes=st.lists(st.tuples(st.integers(1, 1200), st.integers(1, 1200)), min_size=1, max_size=5),
)
def test_each_apdu_once_and_whole(
    seed: int, rates: tuple[float, float, float, float], window: int, sizes: list[tuple[int, int]]
) -> None:
    rng = random.Random(seed)
    line = Line(rng, *rates)
    ours, theirs = pair(Parameters(128, 128, window, window), Parameters(128, 128, window, window))
    got_there: list[bytes] = []

    def meter(apdu: bytes) -> bytes:
        got_there.append(apdu)
        index = len(got_there) - 1
        return theirs.send(filled(sizes[min(index, len(sizes) - 1)][1], index + 100))

    try:
        assert talk(ours, theirs, line, ours.connect(), meter) is None
        for index, (asked, answered) in enumerate(sizes):
            request = filled(asked, index)
            assert talk(ours, theirs, line, ours.send(request), meter) == filled(answered, index + 100)
            assert got_there[-1] == request
            assert len(got_there) == index + 1
    except GivesUp:
        assert any(rates)


def filled(size: int, number: int) -> bytes:
    return (bytes((number,)) + bytes(range(256)) * (size // 256 + 1))[:size]


def talk(
    ours: HdlcTransport, theirs: HdlcTransport, line: Line, wire: bytes, meter: Callable[[bytes], bytes]
) -> bytes | None:
    """Until the client has its answer. A silence makes it resume; after forty it gives up."""
    for _ in range(40):
        while wire := line.carry(wire):
            said, apdus = drained(theirs, wire)
            for apdu in apdus:
                said += meter(apdu) if apdu is not None else b""
            wire, answers = drained(ours, line.carry(said))
            if answers:
                assert len(answers) == 1
                drained(ours, b"")
                return answers[0]
        wire = ours.resume()
    raise GivesUp


@given(st.lists(st.binary(max_size=40) | st.builds(
    lambda control, information, segmented: HdlcFrame(HEAD_END, METER, control, information, segmented).encode(),
    st.integers(0, 255), st.just(b"") | st.binary(max_size=20).map(lambda body: LLC_RESPONSE + body), st.booleans(),
), max_size=30))  # fmt: skip
def test_anything_may_come(pieces: list[bytes]) -> None:
    for state in State:
        ours, theirs = pair()
        theirs._answering = METER
        theirs.own = HEAD_END
        for transport in (ours, theirs):
            transport.state = state
            for piece in pieces:
                transport.receive_data(piece)
                for _ in range(1000):
                    try:
                        if transport.next_event() is NEED_DATA:
                            break
                    except (FrameError, Refused):
                        continue
