"""Streams in which a terminal's own frames stand among others, and a check that a filter takes out just those."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from terminals.greetings.frames import BEAT_LIMIT


def sift(sifter, pieces):
    """What comes out: (clean, the beats' frames), and nothing is held in the end, nor ever more than a beat."""
    found = []
    for piece in pieces:
        found.append(sifter.feed(piece))
        assert len(sifter.held) < BEAT_LIMIT
    found.append(sifter.release())
    assert sifter.held == b""
    return b"".join(s.clean for s in found), [beat.frame for s in found for beat in s.beats]


def check_filter(data, make, beats, others, *, whole=False, again=False):
    """Any mixture of beats and other bytes, cut anywhere: out come the others unchanged, and every beat once, in order.

    make() gives a filter, `others` are bytes that are easily taken for beats. whole: nothing but them stands between the beats.
    again: a beat that was cut may be left in the stream, whole.
    """
    other = st.sampled_from(others)
    if not whole:
        cut = [beat[:end] for beat in beats for end in (1, 5, len(beat) // 2)]
        wrong = [beat[:-1] + b"\xff" for beat in beats]
        other = st.one_of(other, st.sampled_from([*cut, *wrong]), st.binary(max_size=40))
    parts = data.draw(st.lists(st.one_of(st.sampled_from(beats), other), max_size=12))
    stream, pieces = b"".join(parts), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        pieces.append(stream[:size])
        stream = stream[size:]
    clean, found = sift(make(), pieces)
    if again:
        clean, left = sift(make(), [clean])
        found = sorted(found + left)
    expected = [part for part in parts if part in beats]
    assert clean == b"".join(part for part in parts if part not in beats)
    assert found == (sorted(expected) if again else expected)


@pytest.fixture(scope="session")
def check():
    return check_filter
