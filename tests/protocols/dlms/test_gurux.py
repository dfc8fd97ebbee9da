"""gurux-dlms as a second opinion, in a process of its own: the same bytes, and whole associations with a meter built on it.

PEER_FRAMES says how many generated values, frames and APDUs are compared; a sample of them by default.
"""

from __future__ import annotations

import json
import os
import random
import select
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from protocols.dlms import apdu as apdus
from protocols.dlms import ciphering, values
from protocols.dlms.apdu import Target
from protocols.dlms.ciphering import Control, Form
from protocols.dlms.exchange import Act, Associate, Client, Get, GetMany, Release, Set
from protocols.dlms.hdlc import HdlcTransport, Parameters, client_address, server_address
from protocols.dlms.hdlc_frame import HdlcFrame, decode, kind_of
from protocols.dlms.keys import Keys
from protocols.dlms.policy import Guard, Policy
from protocols.dlms.security import ClientSecurity, Side
from protocols.dlms.selector import EntrySelector, RangeSelector
from protocols.dlms.values import Data
from protocols.errors import FrameError, Refused
from protocols.exchange import NEED_DATA, Answer, Send

PROGRAM = Path(__file__).resolve().parents[2] / "support" / "gurux_meter.py"
FRAMES = int(os.environ.get("PEER_FRAMES", "1000"))
#: A share of the frames for each kind of comparison.
SHARE = max(FRAMES // 5, 50)
SHANGHAI = ZoneInfo("Asia/Shanghai")

Tree = dict[str, Any]
Job = dict[str, Any]


def opinions(jobs: list[Job]) -> list[Any]:
    """What gurux says to each job; an error is its text."""
    lines = "".join(json.dumps(job) + "\n" for job in jobs)
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", str(PROGRAM), "batch"],
        input=lines,
        text=True,
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(answers) == len(jobs)
    return [answer.get("ok", answer.get("error")) for answer in answers]


# --- values ---

RANGES = {
    values.INTEGER: (-0x80, 0x7F), values.LONG: (-0x8000, 0x7FFF), values.DOUBLE_LONG: (-(2**31), 2**31 - 1),
    values.LONG64: (-(2**63), 2**63 - 1), values.UNSIGNED: (0, 0xFF), values.LONG_UNSIGNED: (0, 0xFFFF),
    values.DOUBLE_LONG_UNSIGNED: (0, 2**32 - 1), values.LONG64_UNSIGNED: (0, 2**64 - 1), values.ENUM: (0, 0xFF),
    values.BCD: (0, 0x7F),
}  # fmt: skip
LEAVES = [
    *RANGES, values.NULL, values.BOOLEAN, values.BIT_STRING, values.OCTET_STRING, values.VISIBLE_STRING, values.UTF8_STRING,
    values.FLOAT32, values.FLOAT64, values.DATE_TIME, values.DATE, values.TIME,
]  # fmt: skip


def moment(rng: random.Random, tag: int) -> bytes:
    """A moment that gurux keeps: it reads the weekday of a date and the hundredths of a time but does not write them, so they
    are unspecified here (date) or zero (time); the deviation is a whole hour of a time zone that exists.
    """
    day = struct.pack(">HBBB", rng.randint(2000, 2099), rng.randint(1, 12), rng.randint(1, 28), 0xFF)
    time = bytes((rng.randint(0, 23), rng.randint(0, 59), rng.randint(0, 59), 0))
    if tag == values.DATE:
        return day
    return time if tag == values.TIME else day + time + struct.pack(">hB", 60 * rng.randint(-12, 12), 0)


def leaf(rng: random.Random, tag: int) -> Any:
    if tag in RANGES:
        low, high = RANGES[tag]
        return rng.choice((low, high, rng.randint(low, high)))
    length = rng.choice((0, 1, 7, 8, 9, 127, 128, 300))
    made: dict[int, Callable[[], Any]] = {
        values.NULL: lambda: None,
        values.BOOLEAN: lambda: rng.random() < 0.5,
        values.BIT_STRING: lambda: "".join(rng.choice("01") for _ in range(length)),
        values.OCTET_STRING: lambda: rng.randbytes(length),
        values.FLOAT32: lambda: struct.unpack(">f", struct.pack(">f", rng.uniform(-1e6, 1e6)))[0],
        values.FLOAT64: lambda: rng.uniform(-1e12, 1e12),
        **dict.fromkeys((values.DATE_TIME, values.DATE, values.TIME), lambda: moment(rng, tag)),
    }
    return made.get(tag, lambda: "".join(rng.choice("ABCxyz 019") for _ in range(length)))()


def any_value(rng: random.Random, depth: int = 0) -> Data:
    if depth < 3 and rng.random() < 0.3:
        items = tuple(
            any_value(rng, depth + 1) for _ in range(rng.choice((0, 1, 3, 130) if depth == 0 else (0, 1, 3)))
        )
        return Data(rng.choice((values.ARRAY, values.STRUCTURE)), items)
    tag = rng.choice(LEAVES)
    return Data(tag, leaf(rng, tag))


def tree(data: Data) -> Tree:
    value = data.value
    if isinstance(value, tuple):
        value = [tree(item) for item in value]
    return {"t": data.tag, "v": value.hex() if isinstance(value, bytes) else value}


def as_gurux_reads(data: Data) -> Any:
    """A value in the JSON of the other side; floats and moments are compared by their bytes only."""
    if isinstance(data.value, tuple):
        return [as_gurux_reads(item) for item in data.value]
    if data.tag in (values.FLOAT32, values.FLOAT64, values.DATE_TIME, values.DATE, values.TIME):
        return ...
    return data.value.hex() if isinstance(data.value, bytes) else data.value


def alike(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(alike, ours, theirs))
    return ours is ... or ours == theirs


def test_values_both_ways() -> None:
    rng = random.Random(1)
    given = [any_value(rng) for _ in range(SHARE)] + [
        Data(tag, leaf(rng, tag)) for tag in LEAVES for _ in range(3)
    ]
    raws = [values.encode(data) for data in given]
    written = opinions([{"job": "axdr-encode", "value": tree(data)} for data in given])
    assert [(raw.hex(), data) for raw, data in zip(raws, given, strict=True)] == list(
        zip(written, given, strict=True)
    )
    assert [values.decode(bytes.fromhex(text)) for text in written] == given
    # Alone, a 00H leaves nothing to read and the last byte of an empty string is its length: gurux calls both incomplete or None.
    read = opinions([{"job": "axdr-decode", "hex": raw.hex()} for raw in raws])
    for data, said in zip(given, read, strict=True):
        assert alike(as_gurux_reads(data), said), (data, said)


# --- HDLC frames ---


def any_frame(rng: random.Random) -> tuple[HdlcFrame, Job]:
    size, server = rng.choice((1, 2, 4)), rng.random() < 0.5
    top = 0x7F if size < 4 else 0x3FFF
    # gurux has no 2- or 4-byte address with a zero upper part: the number alone decides its length
    logical = rng.randint(1, top)
    physical = rng.randint(0, top) if size > 1 else None
    meter, client = server_address(logical, physical, size), client_address(rng.randint(1, 0x7F))
    kinds = [control for control in range(1, 256) if kind_of(control)]
    control = rng.choice(kinds)
    body = (
        rng.randbytes(rng.choice((1, 10, 127, 128, 600, 1900)))
        if kind_of(control) in ("I", "UI", "UA")
        else b""
    )
    frame = HdlcFrame(*((client, meter) if server else (meter, client)), control, body)
    return frame, {
        "server": server, "client": client.upper, "logical": logical, "physical": physical or 0, "size": size,
        "control": control, "information": body.hex(),
    }  # fmt: skip


def test_hdlc_frames_both_ways() -> None:
    rng = random.Random(2)
    given = [any_frame(rng) for _ in range(SHARE)]
    written = opinions([{"job": "hdlc-encode", **job} for _, job in given])
    assert [frame.encode().hex() for frame, _ in given] == written
    assert [decode(bytes.fromhex(text)) for text in written] == [frame for frame, _ in given]
    read = opinions([
        {"job": "hdlc-decode", **job, "server": not job["server"], "hex": frame.encode().hex()} for frame, job in given
    ])  # fmt: skip
    for (frame, _), said in zip(given, read, strict=True):
        assert (said["control"], said["information"]) == (frame.control, frame.payload.hex()), frame


# --- ciphering ---

PLAIN_TAGS = {0xC0: 0xC8, 0xC1: 0xC9, 0xC3: 0xCB, 0xC4: 0xCC, 0xC5: 0xCD, 0xC7: 0xCF}
GENERAL_GLO = 0xDB


def any_sealed(rng: random.Random) -> tuple[bytes, bytes, Job]:
    """Plain APDU, our envelope, and the same job for gurux."""
    plain = bytes((rng.choice(list(PLAIN_TAGS)),)) + rng.randbytes(rng.choice((3, 20, 120, 300)))
    general, security = rng.random() < 0.5, rng.choice((0x10, 0x20, 0x30))
    suite, counter = rng.choice((0, 1, 2)), rng.randint(0, 2**32 - 1)
    size = 32 if suite == 2 else 16
    title, key, authentication = rng.randbytes(8), rng.randbytes(size), rng.randbytes(size)
    sealed = ciphering.seal(
        plain, Form.GENERAL_GLO if general else Form.GLO, Control(suite, bool(security & 0x10), bool(security & 0x20)),
        counter, title=title, key=key, authentication=authentication,
    )  # fmt: skip
    return plain, sealed, {
        "tag": GENERAL_GLO if general else PLAIN_TAGS[plain[0]], "title": title.hex(), "key": key.hex(),
        "authentication": authentication.hex(), "security": security, "suite": suite, "counter": counter,
    }  # fmt: skip


def test_ciphered_apdus_both_ways() -> None:
    rng = random.Random(3)
    given = [any_sealed(rng) for _ in range(SHARE)]
    written = opinions([{"job": "seal", "plain": plain.hex(), **job} for plain, _, job in given])
    assert [sealed.hex() for _, sealed, _ in given] == written
    for (plain, _, job), text in zip(given, written, strict=True):
        keys = {name: bytes.fromhex(job[name]) for name in ("key", "authentication", "title")}
        assert ciphering.unseal(bytes.fromhex(text), **keys) == plain
    opened = opinions([{"job": "unseal", "hex": sealed.hex(), **job} for _, sealed, job in given])
    assert opened == [plain.hex() for plain, _, _ in given]


# --- requests and answers ---


def any_request(rng: random.Random) -> tuple[apdus.Apdu, Job]:
    obis = ".".join(str(rng.randint(0, 255)) for _ in range(6))
    class_id, index, invoke = rng.choice((1, 3, 8, 70)), rng.randint(1, 9), rng.randint(1, 15)
    target, job = (
        Target(class_id, obis, index),
        {"invoke": invoke, "obis": obis, "class_id": class_id, "index": index},
    )
    match rng.choice(("get", "get-list", "entries", "range", "set", "act")):
        case "get":
            return apdus.GetNormal(invoke, target), {"what": "get", **job}
        case "get-list":
            many = tuple((Target(class_id, obis, at), None) for at in range(1, rng.randint(2, 9)))
            listed = [[class_id, obis, each.index] for each, _ in many]
            return apdus.GetList(invoke, many), {"what": "get-list", "list": listed, **job}
        case "entries":
            first, count = rng.randint(1, 1000), rng.randint(1, 1000)
            profile = Target(7, obis, 2)
            rows = EntrySelector(first, first + count - 1, 1, 0)
            return apdus.GetNormal(invoke, profile, rows), {
                "what": "entries",
                "first": first,
                "count": count,
                **job,
            }
        case "range":
            begin = np.datetime64("2024-01-01T00:00:00", "us") + np.timedelta64(rng.randint(0, 10**6), "s")
            end = begin + np.timedelta64(rng.randint(0, 10**6), "s")
            between = RangeSelector(begin, end, SHANGHAI)
            both = {
                "begin": values.encode_clock(begin, SHANGHAI).hex(), "end": values.encode_clock(end, SHANGHAI).hex(),
            }  # fmt: skip
            return apdus.GetNormal(invoke, Target(7, obis, 2), between), {"what": "range", **both, **job}
        case "set":
            value = simple(rng)
            return apdus.SetNormal(invoke, target, values.encode(value)), {
                "what": "set",
                "value": tree(value),
                **job,
            }
    value = simple(rng)
    return apdus.ActNormal(invoke, target, values.encode(value)), {"what": "act", "value": tree(value), **job}


def simple(rng: random.Random) -> Data:
    tag = rng.choice((values.INTEGER, values.LONG_UNSIGNED, values.DOUBLE_LONG, values.OCTET_STRING))
    return Data(
        tag, rng.randbytes(rng.choice((1, 12, 200))) if tag == values.OCTET_STRING else leaf(rng, tag)
    )


def test_requests_both_ways() -> None:
    rng = random.Random(4)
    given = [any_request(rng) for _ in range(SHARE)]
    written = opinions([{"job": "request", **job} for _, job in given])
    for (apdu, job), texts in zip(given, written, strict=True):
        assert texts == [apdus.encode(apdu).hex()], job
        assert apdus.encode(apdus.decode(bytes.fromhex(texts[0]), SHANGHAI)).hex() == texts[0]


def test_answers_as_gurux_reads_them() -> None:
    rng = random.Random(5)
    given = [any_value(rng) for _ in range(SHARE)]
    jobs = []
    for data in given:
        raw = values.encode(data)
        cut = [raw[at : at + 100] for at in range(0, len(raw), 100)]
        blocks = [apdus.GetBlock(1, number == len(cut), number, part) for number, part in enumerate(cut, 1)]
        whole: list[apdus.Apdu] = [apdus.GetData(1, raw)]
        said = whole if rng.random() < 0.5 else blocks
        jobs.append({"job": "response", "apdus": [apdus.encode(apdu).hex() for apdu in said]})
    for data, answer in zip(given, opinions(jobs), strict=True):
        assert isinstance(answer, dict), (data, answer)
        assert answer["error"] == 0
        wanted = as_gurux_reads(data)
        if wanted == []:
            wanted = None  # gurux keeps no empty list as a value
        assert alike(wanted, answer["value"]), (data, answer)


def test_errors_as_gurux_reads_them() -> None:
    jobs = [
        {"job": "response", "apdus": [apdus.encode(apdus.GetError(1, code)).hex()]}
        for code in (1, 2, 3, 4, 9, 11)
    ]
    assert [answer["error"] for answer in opinions(jobs)] == [1, 2, 3, 4, 9, 11]


# --- a whole meter ---

TITLE, OURS = bytes.fromhex("4752580000000001"), bytes.fromhex("4845414400000001")
KEYS = Keys(0, unicast=bytes(range(16)), authentication=bytes(range(0xD0, 0xE0)))
BOTH = Guard(authenticated=True, encrypted=True)


@contextmanager
def meter(*options: str) -> Iterator[subprocess.Popen[bytes]]:
    """The gurux meter on a pipe."""
    command = [sys.executable, "-W", "ignore", str(PROGRAM), "meter", *options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(process: subprocess.Popen[bytes], client: Client, request: Any) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    wire = client.send(request)
    while True:
        if wire:
            process.stdin.write(wire)
            process.stdin.flush()
        wire = b""
        match client.next_event():
            case Answer(value=value):
                return value
            case Send(data=data):
                wire = data
            case event if event is NEED_DATA:
                ready, _, _ = select.select([process.stdout], [], [], 10)
                assert ready, "the meter is silent"
                data = os.read(process.stdout.fileno(), 65536)
                assert data, f"the meter has ended: {process.wait()}"
                client.receive_data(data)


def security(mechanism: int, policy: Policy) -> ClientSecurity:
    counters = iter(range(1, 10_000))
    side = Side(
        mechanism=mechanism, title=OURS, keys=KEYS, policy=policy, secret=b"12345678" if mechanism == 1 else None,
        challenge=b"0123456789abcdef" if mechanism > 1 else None,
    )  # fmt: skip
    return ClientSecurity(side, next_counter=lambda: next(counters))


METERS = {
    "hdlc": (("--framing", "hdlc"), None, None),
    "hdlc-4-byte-address": (("--framing", "hdlc", "--address-size", "4", "--max-info", "300"), None, None),
    "hdlc-lls": (("--framing", "hdlc", "--auth", "lls"), None, b"12345678"),
    "wrapper": (("--framing", "wrapper"), None, None),
    "wrapper-gmac": (("--framing", "wrapper", "--auth", "gmac"), (5, Policy()), None),
    "wrapper-gmac-ciphered": (("--framing", "wrapper", "--auth", "gmac"), (5, Policy(BOTH, BOTH)), None),
    "hdlc-gmac-ciphered": (("--framing", "hdlc", "--auth", "gmac"), (5, Policy(BOTH, BOTH)), None),
    "hdlc-ciphered": (("--framing", "hdlc"), (0, Policy(BOTH, BOTH)), None),
}  # fmt: skip


def client_for(options: tuple[str, ...], secure: tuple[int, Policy] | None) -> Client:
    protection = None if secure is None else security(*secure)
    if "wrapper" in options:
        return Client(16, 1, protection=protection)
    size = 4 if "4" in options else 2
    link = HdlcTransport(
        client_address(16), server_address(1, 17, size), parameters=Parameters(300, 300, 1, 1)
    )
    return Client(16, 1, transport=link, protection=protection)


@pytest.mark.parametrize("name", METERS)
def test_a_whole_association(name: str) -> None:
    options, secure, password = METERS[name]
    client = client_for(options, secure)
    with meter(*options) as process:
        ask(process, client, Associate(password=password, max_pdu=512))
        assert ask(process, client, Get(1, "0.0.42.0.0.255", 2)) == values.octets(b"GRX0000000000001")
        assert ask(process, client, Get(3, "1.0.1.8.0.255", 2)) == Data(values.DOUBLE_LONG_UNSIGNED, 123456)
        many = ask(
            process,
            client,
            GetMany((Get(8, "0.0.1.0.0.255", 2), Get(3, "1.0.1.8.0.255", 3), Get(1, "0.0.99.0.0.255", 2))),
        )
        assert values.decode_clock(many[0].value, SHANGHAI).utc == np.datetime64("2024-01-01T02:00", "us")
        assert values.plain(many[1]) == [-1, 30]
        assert isinstance(many[2], Refused)
        assert many[2].absent
        rows = values.plain(ask(process, client, Get(7, "1.0.99.1.0.255", 2)))  # some ten blocks
        assert [row[1:] for row in rows] == [[n % 256, 1000 + 7 * n, 5 * n] for n in range(1, 201)]
        some = values.plain(ask(process, client, Get(7, "1.0.99.1.0.255", 2, EntrySelector(3, 5, 2, 3))))
        assert some == [[3, 1021], [4, 1028], [5, 1035]]
        begin = np.datetime64("2023-12-31T17:00", "us")
        hour = RangeSelector(begin, begin + np.timedelta64(1, "h"), SHANGHAI, ((3, "1.0.1.8.0.255", 2, 0),))
        assert values.plain(ask(process, client, Get(7, "1.0.99.1.0.255", 2, hour))) == [
            [1000 + 7 * n] for n in range(4, 9)
        ]
        long = Data(values.OCTET_STRING, bytes(range(256)) * 4)
        for value in (values.octets(b"NEW"), long):  # the second goes in blocks
            ask(process, client, Set(1, "0.0.42.0.0.255", 2, value))
            assert ask(process, client, Get(1, "0.0.42.0.0.255", 2)) == value
        ask(process, client, Act(70, "0.0.96.3.10.255", 1, Data(values.INTEGER, 0)))
        assert ask(process, client, Get(70, "0.0.96.3.10.255", 2)) == Data(values.BOOLEAN, False)
        with pytest.raises(Refused) as caught:
            ask(process, client, Get(3, "1.0.9.9.9.255", 2))
        assert caught.value.absent
        ask(process, client, Release())


def test_a_wrong_password_is_refused() -> None:
    client = client_for(("hdlc",), None)
    with meter("--auth", "lls") as process, pytest.raises(Refused) as caught:
        ask(process, client, Associate(password=b"87654321"))
    assert caught.value.code == 13


def test_a_wrong_key_is_found_out() -> None:
    client = client_for(("wrapper",), (5, Policy()))
    with (
        meter("--framing", "wrapper", "--auth", "gmac", "--key", "00" * 16) as process,
        pytest.raises((Refused, FrameError)),
    ):
        ask(process, client, Associate())
