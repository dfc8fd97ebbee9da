"""Both directions against the `dlt645` package from PyPI: an implementation that shares no line with ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlt645.frame import Frame, decode

peer = pytest.importorskip("dlt645.protocol.protocol").DLT645Protocol

FRAMES = st.builds(
    Frame, st.text("0123456789", min_size=12, max_size=12), st.integers(0, 255), st.binary(max_size=200)
)


@given(FRAMES)
def test_the_peer_reads_what_we_write(sent):
    got = peer.deserialize(sent.encode(4))
    assert got.addr[::-1].hex() == sent.address
    assert got.ctrl_code == sent.control
    assert bytes(got.data) == sent.data


@given(FRAMES, st.integers(0, 4))
def test_we_read_what_the_peer_writes(sent, wakeup):
    raw = peer.build_frame(bytes.fromhex(sent.address)[::-1], sent.control, sent.data, wakeup)
    assert decode(bytes(raw)) == sent
    assert bytes(raw) == sent.encode(wakeup)
