"""Reader and meter on one line, in modes A, B and C."""

import pytest

from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Answer, Ignored, Send
from protocols.iec62056_21 import exchange as x
from protocols.iec62056_21.frame import Block, Command, Identification, Nak, Request, Select, with_parity

READOUT = b"0.0.0(12345678)\r\n1.8.0(0302.8260*kWh)\r\n!\r\n"
MODE_A = Identification("EMH", "@", "old")
MODE_B = Identification("ABB", "C", "middle")
MODE_C = Identification("LGZ", "5", "ZMD", ("2",))


class Line:
    """A meter behind a wire whose two ends must agree on the speed."""

    def __init__(self, meter: x.Meter, reader: x.Reader, *, parity: bool = False) -> None:
        self.meter, self.reader, self.parity = meter, reader, parity
        self.rate = {"reader": 300, "meter": 300}
        self.asked: list[object] = []

    def to_meter(self, raw: bytes, answers: dict[str, bytes]) -> None:
        assert self.rate["reader"] == self.rate["meter"]
        self.meter.receive_data(raw)
        while (event := self.meter.next_event()) is not NEED_DATA:
            match event:
                case Send(data):
                    self.to_reader(data)
                case x.ChangeBaud(rate, pause):
                    assert pause == 200
                    self.rate["meter"] = rate
                case x.PasswordRequest(_, password):
                    self.asked.append(event)
                    self.to_reader(self.meter.answer() if password == "right" else self.meter.end())
                case x.ReadRequest(identifier):
                    self.asked.append(event)
                    known = identifier in answers
                    self.to_reader(
                        self.meter.answer(answers[identifier]) if known else self.meter.refuse("ERR07")
                    )
                case x.WriteRequest():
                    self.asked.append(event)
                    self.to_reader(self.meter.answer())
                case x.SessionEnded():
                    self.asked.append(event)

    def to_reader(self, raw: bytes) -> None:
        for at in range(0, len(raw), 3):
            piece = raw[at : at + 3]
            self.reader.receive_data(with_parity(piece) if self.parity else piece)

    def run(self, request: x.ReaderRequest, answers: dict[str, bytes] | None = None) -> object:
        self.to_meter(self.reader.send(request), answers or {})
        while True:
            event = self.reader.next_event()
            match event:
                case Answer(value):
                    if isinstance(request, x.Break):
                        assert self.reader.next_event() == x.ChangeBaud(300, 200)
                        self.rate["reader"] = 300
                    return value
                case x.ChangeBaud(rate):
                    self.rate["reader"] = rate
                case Send(data):
                    # the meter changes its speed when it has heard the select, the reader when it has said it
                    self.to_meter(data, answers or {})
                case _:
                    pytest.fail(f"nothing comes: {event}")


def line(identification: Identification, **how: bool) -> Line:
    meter = x.Meter(identification, READOUT, address="0012345678", challenge=b"(77)")
    return Line(meter, x.Reader(parity=how.get("parity", False)), **how)


@pytest.mark.parametrize(
    ("identification", "rate"), [(MODE_A, 300), (MODE_B, 2400), (MODE_C, 300)], ids=["A", "B", "C"]
)
@pytest.mark.parametrize("parity", [False, True])
def test_readout(identification, rate, parity):
    wire = line(identification, parity=parity)
    for address in ("", "12345678"):
        wire.rate = dict.fromkeys(wire.rate, 300)
        answer = wire.run(x.SignOn(address))
        assert isinstance(answer, x.ReadoutAnswer)
        assert answer.identification == identification
        assert [data.id for data in answer.sets] == ["0.0.0", "1.8.0"]
        assert answer.checked is (identification is not MODE_A)
        assert wire.rate["meter"] == rate  # mode C goes back to 300 behind its readout
    assert wire.reader.skipped == 0


def test_the_reader_is_told_to_change_its_speed_behind_the_select():
    reader = x.Reader()
    assert reader.send(x.SignOn()) == b"/?!\r\n"
    reader.receive_data(b"/LGz5ZMD\r\n")
    assert reader.next_event() == Send(b"\x06050\r\n")
    assert reader.next_event() == x.ChangeBaud(9600, 20)
    assert reader.next_event() is NEED_DATA


@pytest.mark.parametrize(
    ("highest", "select"),
    [(19200, b"\x06051\r\n"), (2400, b"\x06031\r\n"), (300, b"\x06001\r\n"), (5000, b"\x06041\r\n")],
)
def test_no_faster_than_the_head_can(highest, select):
    reader = x.Reader()
    reader.send(x.SignOn(programming=True, highest=highest))
    reader.receive_data(MODE_C.encode())
    assert reader.next_event() == Send(select)


def test_a_session():
    wire = line(MODE_C)
    session = wire.run(x.SignOn("12345678", programming=True))
    assert session == x.Session(MODE_C, b"(77)")
    assert wire.rate == {"reader": 9600, "meter": 9600}
    assert wire.run(x.Password("right")) is None
    (found,) = wire.run(x.Read("1.8.0"), {"1.8.0": b"1.8.0(1*kWh)"})  # type: ignore[misc, attr-defined]
    assert found.values[0].text == "1"
    with pytest.raises(Refused) as caught:
        wire.run(x.Read("9.9.9"))
    assert caught.value.code == 7
    assert not caught.value.absent
    assert wire.run(x.Write("0.9.1", "120000")) is None
    assert wire.run(x.Execute("FF", "1")) is None
    profile = b"P.01(1220823161500)(0)(15)(1)(1.5)(kW)\r\n(1)\r\n"
    asked = x.Read("P.01", "1220823150000;1220823160000", "R5")
    assert len(wire.run(asked, {"P.01": profile})) == 2  # type: ignore[arg-type]
    assert wire.run(x.Break()) is None
    assert wire.rate == {"reader": 300, "meter": 300}
    assert wire.asked[-1] == x.SessionEnded()
    assert isinstance(wire.run(x.SignOn()), x.ReadoutAnswer)


def test_a_wrong_password_ends_the_session_and_is_told_nowhere():
    wire = line(MODE_C)
    wire.run(x.SignOn(programming=True))
    request = x.Password("wrong-one")
    with pytest.raises(Refused, match="ended the session") as caught:
        wire.run(request)
    assert "wrong-one" not in f"{caught.value} {request!r} {wire.asked!r}"
    with pytest.raises(Misuse):
        wire.reader.send(x.Read("1.8.0"))


def test_partial_blocks_are_joined():
    reader = session()
    reader.send(x.Read("P.01", command="R6"))
    reader.receive_data(Block(b"P.01(1)(2)\r\n", last=False).encode())
    assert reader.next_event() == Send(b"\x06")
    reader.receive_data(Block(b"(3)(4)").encode())
    event = reader.next_event()
    assert isinstance(event, Answer)
    assert [data.id for data in event.value] == ["P.01", ""]
    reader.send(x.Read("P.01", command="R6"))
    reader.receive_data(Block(b"", last=False).encode())
    with pytest.raises(FrameError, match="never end"):
        reader.next_event()


def session() -> x.Reader:
    reader = x.Reader()
    reader.send(x.SignOn(programming=True))
    reader.receive_data(MODE_C.encode())
    assert isinstance(reader.next_event(), Send)
    assert isinstance(reader.next_event(), x.ChangeBaud)
    reader.receive_data(Command("P0", b"()").encode())
    assert isinstance(reader.next_event(), Answer)
    return reader


def test_a_spoilt_block_is_asked_for_again_but_not_for_ever():
    reader = session()
    reader.send(x.Read("1.8.0"))
    spoilt = bytearray(Block(b"1.8.0(1*kWh)").encode())
    spoilt[3] ^= 4
    for _ in range(x.MOST_REPEATS):
        reader.receive_data(bytes(spoilt))
        assert reader.next_event() == Send(Nak().encode())
    reader.receive_data(bytes(spoilt))
    with pytest.raises(FrameError, match="BCC"):
        reader.next_event()
    reader.receive_data(Block(b"1.8.0(1*kWh)").encode())
    assert isinstance(reader.next_event(), Answer)


def test_what_the_meter_did_not_understand_is_sent_again_but_not_for_ever():
    reader = session()
    raw = reader.send(x.Read("1.8.0"))
    for _ in range(x.MOST_REPEATS):
        reader.receive_data(b"\x15")
        assert reader.next_event() == Send(raw)
    reader.receive_data(b"\x15")
    with pytest.raises(Refused, match="same message"):
        reader.next_event()
    assert reader.state is x.State.IDLE


def test_a_meter_repeats_and_asks_again():
    meter = x.Meter(MODE_C, READOUT)
    meter.receive_data(Request().encode())
    said = meter.next_event()
    assert said == Send(MODE_C.encode())
    meter.receive_data(b"\x15")
    assert meter.next_event() == said
    meter.receive_data(Select("0", "0", "1").encode())
    assert meter.next_event() == Send(Command("P0", b"()").encode())
    meter.receive_data(Command("R1", b"1.8.0()").encode()[:-1] + b"\x00")
    assert meter.next_event() == Send(b"\x15")
    assert meter.corrupt == 1
    with pytest.raises(Misuse):
        meter.answer(b"1.8.0(1)")


def test_other_meters_and_echoes_are_no_answers():
    meter = x.Meter(MODE_C, READOUT, address="42")
    meter.receive_data(Request("43").encode())
    assert meter.next_event() is NEED_DATA
    reader = x.Reader()
    reader.receive_data(reader.send(x.SignOn()))
    event = reader.next_event()
    assert isinstance(event, Ignored)
    assert "Request" in event.why
    with pytest.raises(Misuse, match="waiting for the identification"):
        reader.send(x.SignOn())
    reader.abandon()
    reader.receive_data(MODE_C.encode())
    assert isinstance(reader.next_event(), Ignored)


def test_every_state_of_the_tables_is_reached_and_left():
    assert {state for state, _ in x.READER} == set(x.State) == set(x.READER.values())
    assert (
        {state for state, _ in x.METER} | {x.MeterState.ASKED} == set(x.MeterState) == set(x.METER.values())
    )


@pytest.mark.parametrize("value", ["a)b", "a\r\nb", "ä"])
def test_what_cannot_stand_in_a_value_is_a_misuse_that_does_not_quote_it(value):
    reader = session()
    with pytest.raises(Misuse) as caught:
        reader.send(x.Password(value))
    assert value not in str(caught.value)
    assert reader.state is x.State.SESSION
