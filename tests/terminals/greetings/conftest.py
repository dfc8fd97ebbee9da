"""Streams in which a terminal's own frames stand among others, and a check that a filter takes out just those."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st


def check_filter(data, make, beats, others):
    """Any mixture of beats and other bytes, cut anywhere: out come the others unchanged, and every beat once, in order.

    make() gives a filter, `others` are bytes that are easily taken for beats.
    """
    nearly = [beat[:cut] for beat in beats for cut in (1, 5, len(beat) // 2)]
    nearly += [beat[:-1] + b"\xff" for beat in beats]
    parts = data.draw(
        st.lists(
            st.one_of(
                st.sampled_from(beats).map(lambda beat: (True, beat)),
                st.one_of(st.sampled_from([*nearly, *others]), st.binary(max_size=40)).map(
                    lambda raw: (False, raw)
                ),
            ),
            max_size=12,
        )
    )
    stream = b"".join(raw for _, raw in parts)
    found, sifter, at = [], make(), 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        found.append(sifter.feed(stream[at : at + size]))
        at += size
        assert len(sifter.held) < 128
    found.append(sifter.release())
    assert sifter.held == b""
    assert b"".join(sifted.clean for sifted in found) == b"".join(raw for beat, raw in parts if not beat)
    assert [beat.frame for sifted in found for beat in sifted.beats] == [raw for beat, raw in parts if beat]


@pytest.fixture(scope="session")
def check():
    return check_filter
