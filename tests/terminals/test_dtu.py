"""The DTU's own lines in a byte stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terminals.dtu import DtuText, LineFilter

TEXT = DtuText()
BEAT = TEXT.heartbeat_of("T-1")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"REG,T-1\r\n", ("T-1", b"REG,T-1\r\n", b"")),
        (b"REG,T-1\r\n\x68\x00", ("T-1", b"REG,T-1\r\n", b"\x68\x00")),
        (b"HB,T-1\r\n", ("T-1", b"HB,T-1\r\n", b"")),
        (b"REG,T-1", None),
        (b"REG,\r\n", None),
        (b"REG,T 1\r\n", None),
        (b"REG," + b"1" * 33 + b"\r\n", None),
        (b"\x68REG,T-1\r\n", None),
        (b"", None),
    ],
)
def test_who_calls(data, said):
    assert TEXT.identify(data) == said


def test_other_makes_word_it_otherwise():
    text = DtuText(rb"\*ID=(\w+)#", b"\xfe\xfd", b"")
    assert text.identify(b"*ID=77#x") == ("77", b"*ID=77#", b"x")
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
    """Cut anywhere, the filter gives the same bytes and count as the stream read whole."""
    stream = b"".join(parts)
    whole = LineFilter(BEAT)
    expected, lines = whole.feed(stream)
    expected += whole.release()
    cut, got, taken = LineFilter(BEAT), b"", 0
    position = 0
    while position < len(stream):
        size = data.draw(st.integers(1, len(stream) - position))
        clean, found = cut.feed(stream[position : position + size])
        got, taken, position = got + clean, taken + found, position + size
    assert (got + cut.release(), taken) == (expected, lines)
    assert lines >= sum(part == BEAT for part in parts) or BEAT in b"".join(p for p in parts if p != BEAT)


def test_a_heartbeat_in_the_midst_of_a_frame():
    lines = LineFilter(BEAT)
    assert lines.feed(b"\x68\x01HB,") == (b"\x68\x01", 0)
    assert lines.held == b"HB,"
    assert lines.feed(b"T-1\r\n\x02\x16") == (b"\x02\x16", 1)
    assert lines.held == b""


def test_what_only_looked_like_a_line_is_the_meter_s():
    lines = LineFilter(BEAT)
    assert lines.feed(b"abcH") == (b"abc", 0)
    assert lines.release() == b"H"
    assert lines.feed(b"H") == (b"", 0)
    assert lines.feed(b"!") == (b"H!", 0)
