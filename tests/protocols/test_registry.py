import pytest

from protocols import registry
from protocols.errors import FrameError, Misuse


def test_a_frame_is_described_by_name():
    told = registry.protocol("dlt645-2007").describe(bytes.fromhex("68611001301215689c003516"))
    assert told["address"] == "151230011061"
    with pytest.raises(FrameError):
        registry.protocol("dlt645-2007").describe(b"\x68")


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(Misuse, match="dlt645-2007"):
        registry.protocol("dlt646")


def test_a_missing_room_breaks_no_other(monkeypatch):
    gone = registry.ProtocolEntry("gone", "", "protocols.gone")
    monkeypatch.setattr(registry, "PROTOCOLS", (gone, *registry.PROTOCOLS))
    assert "gone" not in registry.available()
    assert "dlt645-2007" in registry.available()
