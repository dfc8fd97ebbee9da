"""Recorded meters, played back: hw-fixtures/README.md says how to add one."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from protocols.dlms import frame as wrapper
from protocols.dlms.ciphering import unseal
from protocols.dlt645 import exchange
from protocols.dlt645.frame import decode
from protocols.errors import FrameError, Refused
from protocols.localtime import instant
from protocols.registry import protocol
from terminals.diagnose import case
from terminals.diagnose.candidates import chosen, known_candidates
from terminals.diagnose.engine import diagnose
from terminals.diagnose.wire import PlayedWire
from terminals.links.recording import Moment, load
from terminals.links.script import ScriptLink
from terminals.session import Session

FOLDER = Path(__file__).resolve().parent.parent / "hw-fixtures"
FILES = sorted(FOLDER.rglob("*.toml"))
#: fields of [[expected]] that are not the frame's own
ABOUT = {"inside", "plaintext", "obis"}


def named(path: Path) -> str:
    return str(path.relative_to(FOLDER).with_suffix(""))


RECORDINGS = {named(path): load(path) for path in FILES}
FRAMES = [
    pytest.param(name.split("/")[0], moment, expected, id=f"{name}-{k}")
    for name, recording in RECORDINGS.items()
    for k, (moment, expected) in enumerate(
        zip(recording.moments, recording.extra.get("expected", ()), strict=False)
    )
]
DIAGNOSED = [name for name, recording in RECORDINGS.items() if "diagnosis" in recording.extra]


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_file_names_its_source_and_expects_something(name):
    recording = RECORDINGS[name]
    assert recording.source
    assert recording.moments
    simulated = "simulated" in name.split("/")
    assert simulated == recording.source.startswith("SIMULATED")
    expected = recording.extra.get("expected", ())
    assert ("diagnosis" in recording.extra) != (len(expected) == len(recording.moments))


@pytest.mark.parametrize(("room", "moment", "expected"), FRAMES)
def test_each_frame_means_what_was_published(room: str, moment: Moment, expected: dict[str, Any]):
    agrees(protocol(room).describe(moment.data, reveal=True), expected)


def agrees(told: dict[str, Any], expected: dict[str, Any]) -> None:
    assert {key: told.get(key) for key in expected if key not in ABOUT} == {
        key: value for key, value in expected.items() if key not in ABOUT
    }
    for obis, value in expected.get("obis", {}).items():
        flat = told["value"]
        assert flat[flat.index(obis) + 1] == value


SEALED = [
    pytest.param(param.values[1], param.values[2]["inside"], RECORDINGS[name].extra["keys"], id=param.id)
    for param in FRAMES
    if "inside" in param.values[2]
    for name in [str(param.id).rpartition("-")[0]]
]


@pytest.mark.parametrize(("moment", "inside", "keys"), SEALED)
def test_the_published_keys_open_what_is_ciphered(
    moment: Moment, inside: dict[str, Any], keys: dict[str, str]
):
    ciphered = wrapper.decode(moment.data).apdu
    key, authentication = (bytes.fromhex(keys[name]) for name in ("encryption", "authentication"))
    plain = unseal(ciphered, key=key, authentication=authentication)
    assert plain.hex() == inside["plaintext"]
    agrees(protocol("dlms").describe(plain, reveal=True), inside)
    with pytest.raises(FrameError, match="authentication tag"):
        unseal(ciphered, key=key, authentication=authentication[::-1])


def test_every_ciphered_fixture_is_opened():
    ciphered = [param for param in FRAMES if "ciphering" in str(param.values[2].get("apdu"))]
    assert len(SEALED) == len(ciphered) >= 8


ANSWERS = [
    param for param in FRAMES if param.values[0] == "dlt645-2007" and param.values[1].direction == "received"
]


@pytest.mark.parametrize(("room", "moment", "expected"), ANSWERS)
async def test_each_answer_is_taken_by_a_session(room: str, moment: Moment, expected: dict[str, Any]):
    """As if we had asked: the published answer, bytes before it and all, arrives over a link."""
    session = Session(ScriptLink([Moment("sent"), moment], strict=False), exchange.Master())
    address, data = expected["address"], decode(moment.data).data
    if expected["control"] == "93H":
        assert await session.request(exchange.ReadAddress()) == address
    elif expected["control"] == "9CH":
        now = instant(dt.datetime(2026, 3, 11, tzinfo=dt.UTC))
        assert await session.request(exchange.Control(address, 0x1A, now)) == exchange.ControlAnswer(
            address, None
        )
    elif expected["control"] == "D1H":
        with pytest.raises(Refused, match="no requested data"):
            await session.request(exchange.Read(address, 0))
    else:
        di = int(expected["data_id"], 16)
        assert await session.request(exchange.Read(address, di)) == exchange.ReadAnswer(address, di, data[4:])


PAIRS = [
    pytest.param(asked.values[1], answered.values[1], answered.values[2], id=str(answered.id))
    for asked, answered in pairwise(FRAMES)
    if (asked.values[0], answered.values[0]) == ("dlt645-2007", "dlt645-2007")
    and (asked.values[1].direction, answered.values[1].direction) == ("sent", "received")
    and "data_id" in asked.values[2]
    and asked.values[2]["data_id"] == answered.values[2].get("data_id")
]


@pytest.mark.parametrize(("asked", "answered", "expected"), PAIRS)
async def test_we_ask_as_the_published_master_did(asked: Moment, answered: Moment, expected: dict[str, Any]):
    wakeup = len(asked.data) - len(asked.data.lstrip(b"\xfe"))
    link = ScriptLink([asked, answered])
    request = exchange.Read(expected["address"], int(expected["data_id"], 16))
    answer = await Session(link, exchange.Master(wakeup)).request(request)
    assert answer.address == expected["address"]
    assert link.sent == [asked.data]
    assert link.finished


def test_there_are_pairs():
    assert len(PAIRS) >= 3


@pytest.mark.parametrize("name", DIAGNOSED)
async def test_a_recorded_diagnosis_comes_out_the_same(name: str):
    asked, recording = case.load(FOLDER / f"{name}.toml")
    said = dict(recording.extra["diagnosis"])
    wire = PlayedWire(recording.moments)
    diagnosis = await diagnose(
        asked.url, asked.target, chosen(known_candidates(), asked.protocols), lambda step: None, now=lambda: asked.now(wire.at),
        zone=asked.zone, wire=wire,
    )  # fmt: skip
    details = {step.key: step.detail.en for step in diagnosis.steps}
    found = details | {
        "protocol": diagnosis.protocol,
        "address": diagnosis.address,
        "verdict": diagnosis.verdict.zh,
    }
    assert {key: found[key] for key in said} == said


def test_there_are_recorded_diagnoses():
    assert len(DIAGNOSED) >= 2
