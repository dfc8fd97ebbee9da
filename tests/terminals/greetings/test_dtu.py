"""The DTU's own lines in a byte stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terminals.greetings.dtu import DtuGreeting, DtuText, LineFilter
from terminals.greetings.greeting import Beat, Said, Sifted, Verdict

TEXT = DtuText()
BEAT = TEXT.heartbeat_of("T-1")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"REG,T-1\r\n", Said("T-1", 0, Beat(b"REG,T-1\r\n"), b"")),
        (b"REG,T-1\r\n\x68\x00", Said("T-1", 0, Beat(b"REG,T-1\r\n"), b"\x68\x00")),
        (b"HB,T-1\r\n", Said("T-1", 0, Beat(b"HB,T-1\r\n"), b"")),
        (b"HB,T-1\r\nREG,T-2\r\n", Said("T-1", 0, Beat(b"HB,T-1\r\n"), b"REG,T-2\r\n")),
        (b"\r\nCONNECT\r\nREG,T-1\r\n", Said("T-1", 11, Beat(b"REG,T-1\r\n"), b"")),
        (b"REG,T-1", Verdict.NOTHING),
        (b"REG,\r\n", Verdict.NOTHING),
        (b"REG,T 1\r\n", Verdict.NOTHING),
        (b"REG," + b"1" * 33 + b"\r\n", Verdict.NOTHING),
        (b"", Verdict.NOTHING),
    ],
)
def test_who_calls(data, said):
    assert DtuGreeting().identify(data) == said


def test_other_makes_word_it_otherwise():
    text = DtuText(rb"\*ID=(\w+)#", b"\xfe\xfd", b"")
    assert text.identify(b"*ID=77#x") == ("77", 0, b"*ID=77#")
    assert text.identify(b"\xfe\xfd") is None
    assert text.heartbeat_of("77") == b"\xfe\xfd"
    assert text.answer_to("77") == b""


@given(
    st.lists(
        st.one_of(
            st.just(BEAT), st.binary(max_size=12), st.sampled_from([b"H", b"HB", b"HB,T-", b"HB,T-2\r\n"])
        )
    ),
    st.data(),
)
def test_lines_are_taken_out_however_the_stream_is_cut(parts, data):
    """Cut anywhere, the filter gives the same bytes as the stream read whole, and tells of a line if there was one."""
    stream = b"".join(parts)
    whole = LineFilter(BEAT)
    sifted = whole.feed(stream)
    expected, lines = sifted.clean + whole.release().clean, bool(sifted.beats)
    cut, got, taken = LineFilter(BEAT), b"", False
    position = 0
    while position < len(stream):
        size = data.draw(st.integers(1, len(stream) - position))
        sifted = cut.feed(stream[position : position + size])
        got, taken, position = got + sifted.clean, taken or bool(sifted.beats), position + size
    assert (got + cut.release().clean, taken) == (expected, lines)
    assert lines or BEAT not in parts


def test_a_heartbeat_in_the_midst_of_a_frame():
    lines = LineFilter(BEAT)
    assert lines.feed(b"\x68\x01HB,") == Sifted(b"\x68\x01")
    assert lines.held == b"HB,"
    assert lines.feed(b"T-1\r\n\x02\x16") == Sifted(b"\x02\x16", (Beat(BEAT),))
    assert lines.held == b""


def test_what_only_looked_like_a_line_is_the_meter_s():
    lines = LineFilter(BEAT)
    assert lines.feed(b"abcH") == Sifted(b"abc")
    assert lines.release() == Sifted(b"H")
    assert lines.feed(b"H") == Sifted(b"")
    assert lines.feed(b"!") == Sifted(b"H!")


def test_a_dtu_is_answered_in_its_own_words_and_its_lines_are_filtered():
    greeting = DtuGreeting()
    said = greeting.identify(b"REG,T-1\r\n")
    assert greeting.answer("T-1", said.beat, 0.0, 0.0) == b"OK,T-1\r\n"
    sifted = greeting.filter(said).feed(b"aREG,T-1\r\nbHB,T-1\r\ncHB,T-2\r\n")
    assert (sifted.clean, bool(sifted.beats)) == (b"abcHB,T-2\r\n", True)
