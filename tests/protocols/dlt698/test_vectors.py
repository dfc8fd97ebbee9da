"""Published frames with their meaning, and one conformance harness over them. Each vector names its source."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from protocols.buffer import ReceiveBuffer
from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import values
from protocols.dlt698.describe import describe, parts
from protocols.dlt698.frame import BUFFER_LIMIT, Address, Frame, decode, find, give_up
from protocols.dlt698.values import Data
from protocols.errors import FrameError

VECTORS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "vectors" / "dlt698.jsonl").read_text("utf-8").splitlines()
]
#: What the list says and the bytes disprove: id -> keys of the APDU, and the proof.
DISPUTED = {
    # The list's decoder stopped at tag 5B ("ValueError: tag 5B"). 5BH is CSD (DL/T 698.45-2017, Data): 5B 01 50020200 04 and
    # four OADs use up the array, and the 00 behind it is the absent time tag.
    "DL/T 698.45-069": ("decode_note", "undecoded"),
    # 90 00 3C: 00 is the choice "clear APDU", 3C its length (60 bytes follow), not a PIID; SECURITY has none. The 60 bytes are
    # a whole GET-Response, and 01 00 04 32F95634 behind them is the optional MAC.
    "DL/T 698.45-074": ("PIID", "undecoded"),
}
#: Frames published in the test documents of KayFelicities/698master, with what they say.
PUBLISHED: dict[str, dict[str, Any]] = {
    "682e000103434746141004a181008007e00b0903102801000007e00b090111032a03c007e00b090111032a03c1e04d16": {
        "service": "LINK-Response", "result": 0, "clock_trusted": True,
        "received_time": "2016-11-09 dow 1 17:03:42.960",
    },
    "682c004305030000000000104b1010000805010643000400000110d7d94269bba4c091d7d94269bba4c091318e16": {
        "service": "SECURITY-Request", "RN": "d7d94269bba4c091d7d94269bba4c091",
    },
    "682b00c305030000000000107a7490001285010643000400011c07e00201000703000001000437583591a8e016": {
        "service": "SECURITY-Response", "MAC": "37583591",
    },
    "68a100c305769878563412007cf48503006012030005004001020000604002000060410200006042020001500402000320210200001002"
    "0000200200010109060000010588921c07e00a110000001c07e00a110000001c07e00a1100000001031c07e00a0c001600010506000 0ec5"
    "50600642d5006030012900600b71c320606f949f20105060000ec550600642d5006030012900600b71c320606f949f20000051616".replace(
        " ", ""
    ): {
        "service": "GET-Response", "oad": "60120300",
        "rows": [[
            {"name": "communication address", "value": "000001058892", "unit": ""},
            {"name": "collection start time", "value": "2016-10-17 00:00:00", "unit": ""},
            {"name": "collection success time", "value": "2016-10-17 00:00:00", "unit": ""},
            {"name": "collection storage time", "value": "2016-10-17 00:00:00", "unit": ""},
            {"name": "data freeze time", "value": "2016-10-12 00:22:00", "unit": ""},
            *(
                {"name": name, "value": [605.01, 65652.0, 503364.0, 120003.06, 1170006.9], "unit": "kWh"}
                for name in ("forward active energy", "reverse active energy")
            ),
        ]],
    },
    "68320043035446461410257605040002601c020002601d0201110111021101006012020002601302011101110211010000539916": {
        "records": [
            {"oad": oad, "rsd_selector": 2, "rsd": {"oad": by, "from": 1, "to": 2, "step": 1}, "columns": []}
            for oad, by in (("601C0200", "601D0201"), ("60120200", "60130201"))
        ],
    },
    "681900c30503000000000010974c860110f2030400000000f8bd16": {"service": "SET-Response", "oad": "F2030400", "DAR": 0},
    "681800430503000000000010d1dd0701076012810000003db416": {"omd": "60128100", "data": None},
    "681a00c3050300000000001024b28701086014810000000000cca616": {"service": "ACTION-Response", "DAR": 0},
    "68310043050300000000001060d609010b0064010705000000000002000004301507003017070030030a002014020000ee1b16": {
        "service": "PROXY-Request", "choice": 1, "timeout_s": 100, "servers": [
            {"server": "000000000002", "timeout_s": 0, "oads": ["30150700", "30170700", "30030A00", "20140200"]}
        ],
    },
    "683600c3050300000000001051b289010b0107050000000000020430150700003530170700003f30030a0000002014020000ff0000a6c516": {
        "service": "PROXY-Response", "choice": 1,
    },
    "684600c305020000000000e56cd38501004500020001020c160116001601160001000a05434d4e45540a04434152440a0443415244"
    "09040000000012000011de12003c00000f4f16": {"results": [{
        "oad": "45000200", "name": "public network module 1", "unit": "",
        "raw": [1, 0, 1, 0, [], "CMNET", "CARD", "CARD", "00000000", 0, 222, 60],
        "value": [1, 0, 1, 0, [], "CMNET", "CARD", "CARD", "00000000", 0, 222, 60],
    }]},
}  # fmt: skip
#: APDUs of the same documents; their frames are not given, or their check sums are not right.
APDUS: dict[str, dict[str, Any]] = {
    "050300601203000507e00a1a00000001050040010200006040020000604102000060420200015004020004202102000000020000100200"
    "0020020000": {
        "service": "GET-Request", "choice": 3, "oad": "60120300", "rsd_selector": 5,
        "rsd": {"time": "2016-10-26 00:00:00", "meters": "all"},
        "columns": ["40010200", "60400200", "60410200", "60420200",
                    {"oad": "50040200", "columns": ["20210200", "00000200", "00100200", "00200200"]}],
    },
    "05030d601203000507e00a080000000303070501111111119107050222222222920705055555555595"
    "0300202a02000060420200015004020002002002010010020100": {
        "rsd": {"time": "2016-10-08 00:00:00", "meters": {"addresses": ["011111111191", "022222222292", "055555555595"]}},
    },
    "85050800000101016000020001010155060400000022210000": {
        "service": "GET-Response", "choice": 5, "last_block": False, "block": 1,
    },
    "060203024001020009060000000000014000020 01c07e00114101b0b00".replace(" ", ""): {
        "items": [{"oad": "40010200", "data": "000000000001"}, {"oad": "40000200", "data": "2016-01-20 16:27:11"}],
    },
    "060304014500020c12016845 00020c0300".replace(" ", ""): {
        "items": [{"oad": "4500020C", "data": 360, "read": "4500020C", "delay_s": 3}],
    },
    "860304014500020c004500020c011201680000": {
        "results": [{"oad": "4500020C", "DAR": 0, "read": {
            "oad": "4500020C", "raw": 360, "name": "public network module 1", "value": 360, "unit": ""}}],
    },
    "0703070100100100 0f00001002000000".replace(" ", ""): {
        "items": [{"omd": "00100100", "data": 0, "read": "00100200", "delay_s": 0}],
    },
    "87030701001001000000001002000101020600000000060000000a0000": {
        "results": [{"omd": "00100100", "DAR": 0, "read": {
            "oad": "00100200", "raw": [0, 10], "name": "forward active energy", "value": [0.0, 0.1], "unit": "kWh"}}],
    },
    "07020a0260147f0001010206110112000502021103540100 0a01015b01500402000320210200001002000020020 05c011604"
    "60127f000101020c11015401000a160111011c07e00a0b0000001c07e00a1e0000005400000a1601160112000212000302021600"
    "01010204110111001118110000".replace(" ", ""): {"service": "ACTION-Request", "choice": 2},
}  # fmt: skip
#: Frames published in the guide of 600888/dlt698 (website/docs/guide: demand, energy, write-action), with what it says of them.
GUIDE: dict[str, dict[str, Any]] = {
    "682800c30500000000000000263285010010100201010202060000" "30391c07ea0a050c1e00000062d316": {
        "results": [{"oad": "10100201", "raw": [12345, "2026-10-05 12:30:00"], "name": "forward active maximum demand",
                     "value": [1.2345, "2026-10-05 12:30:00"], "unit": "kW"}],
    },
    "683900c30500000000000000f21685010010100200010102020206000030391c07ea0a050c1e000202060000"
    "1f401c07ea0a050e00000000e77016": {
        "results": [{"oad": "10100200", "raw": [[12345, "2026-10-05 12:30:00"], [8000, "2026-10-05 14:00:00"]],
                     "name": "forward active maximum demand",
                     "value": [[1.2345, "2026-10-05 12:30:00"], [0.8, "2026-10-05 14:00:00"]], "unit": "kW"}],
    },
    "681e00c305000000000000009e54850100201702000105000030390000136c16": {
        "results": [{"oad": "20170200", "raw": 12345, "name": "present active demand", "value": 1.2345, "unit": "kW"}],
    },
    "681e00c305000000000000009e5485010000110201010600061a8000007e2916": {
        "results": [{"oad": "00110201", "raw": 400000, "name": "phase A forward active energy", "value": 4000.0, "unit": "kWh"}],
    },
    "681900c3050000000000000078f48601004000030003000" "0a95216": {
        "service": "SET-Response", "choice": 1, "oad": "40000300", "DAR": 3, "DAR_name": "access denied",
    },
    "68200043050000000000000" "05b4a06020002410002001" "10f410102001101" "0011b216": {
        "service": "SET-Request", "items": [{"oad": "41000200", "data": 15}, {"oad": "41010200", "data": 1}],
    },
    "681a00c30500000000000000cb0a8701002000010003000000274616": {
        "service": "ACTION-Response", "omd": "20000100", "DAR": 3,
    },
    "683d00430500000000000000708c0503005004020002202102001c07ea0a030000001c07ea0a0600000000030000100201002000020100"
    "2001020100" "30f416": {
        "rsd_selector": 2, "columns": ["00100201", "20000201", "20010201"],
        "rsd": {"oad": "20210200", "from": "2026-10-03 00:00:00", "to": "2026-10-06 00:00:00", "step": None},
    },
}  # fmt: skip
#: Every frame there is a source for.
FRAMES = [vector["hex"] for vector in VECTORS] + list(PUBLISHED) + list(GUIDE)
#: Long enough to be worth cutting anywhere, short enough to try every bit.
SHORT = [raw for raw in FRAMES if len(raw) <= 240]


def stream(raw: bytes, step: int) -> list[Frame | str]:
    """Feed in pieces of `step` bytes; what came out, 'corrupt' for a FrameError."""
    buffer = ReceiveBuffer(BUFFER_LIMIT)
    out: list[Frame | str] = []
    for at in range(0, len(raw), step):
        buffer.feed(raw[at : at + step])
        while True:
            try:
                frame = find(buffer)
            except FrameError:
                out.append("corrupt")
                continue
            if frame is None:
                break
            out.append(frame)
    return out


def test_the_list_is_whole():
    assert len(VECTORS) == 46
    assert all(vector["valid"] and vector["source"] for vector in VECTORS)
    assert set(DISPUTED) < {vector["id"] for vector in VECTORS}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"][-3:])
def test_meaning(vector):
    told = describe(bytes.fromhex(vector["hex"]), reveal=True)
    meaning = dict(vector["meaning"])
    inner = meaning.pop("apdu", {})
    for key, value in meaning.items():
        assert told[key] == value, key
    for key, value in inner.items():
        if key not in DISPUTED.get(vector["id"], ()):
            assert told["apdu"][key] == value, key


@pytest.mark.parametrize(("raw", "meaning"), [*PUBLISHED.items(), *GUIDE.items()])
def test_published(raw, meaning):
    told = describe(bytes.fromhex(raw), reveal=True)["apdu"]
    assert {key: told.get(key) for key in meaning} == meaning


def test_disputed_are_decoded_to_the_last_byte():
    raws = {vector["id"]: bytes.fromhex(vector["hex"]) for vector in VECTORS}
    told = describe(raws["DL/T 698.45-069"])["apdu"]
    assert told["data"] == [
        7,
        [{"oad": "50020200", "columns": ["00100201", "00200201", "20000200", "20010200"]}],
    ]
    told = describe(raws["DL/T 698.45-074"])["apdu"]
    assert told["MAC"] == "32f95634"
    assert told["apdu"]["results"][0]["oad"] == "30070A00"


@pytest.mark.parametrize("text", FRAMES)
def test_encodes_to_the_same_bytes(text):
    raw = bytes.fromhex(text)
    frame = decode(raw)
    assert frame.encode() == raw
    assert frame.encode(4) == b"\xfe" * 4 + raw
    assert decode(b"\xfe" * 4 + raw) == frame
    if frame.segment is None:
        assert apdus.encode(apdus.decode(frame.data)) == frame.data


@pytest.mark.parametrize("text", FRAMES)
@pytest.mark.parametrize(
    "before", [b"", b"\xfe\xfe\xfe\xfe", b"\x00\x16\x68\x11\x22", b"\x68" * 9, b"\xff\x68\x12"]
)
@pytest.mark.parametrize("step", [1, 7, 40_000])
def test_is_found_in_noise(text, before, step):
    raw = bytes.fromhex(text)
    found = stream(before + raw + b"\x16\x00\x68", step)
    assert [out for out in found if out != "corrupt"] == [decode(raw)]
    if step == 40_000:
        assert found == [decode(raw)]


@pytest.mark.parametrize("text", SHORT)
def test_any_flipped_bit_is_corrupt_or_unfinished(text):
    raw = bytes.fromhex(text)
    for bit in range(8 * len(raw)):
        bad = bytearray(raw)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FrameError):
            decode(bytes(bad))
        assert all(out == "corrupt" or out.data != decode(raw).data for out in stream(bytes(bad), len(bad)))


@pytest.mark.parametrize("text", FRAMES)
def test_truncated_at_every_length(text):
    raw = bytes.fromhex(text)
    for length in range(len(raw)):
        assert stream(raw[:length], max(length, 1)) == []
        with pytest.raises(FrameError):
            decode(raw[:length])


@pytest.mark.parametrize("text", APDUS)
def test_published_apdus(text):
    data = bytes.fromhex(text)
    assert apdus.encode(apdus.decode(data)) == data
    raw = Frame(Address("000000000001"), 0, 0x43, data).encode()
    told = describe(raw, reveal=True)["apdu"]
    assert {key: told.get(key) for key in APDUS[text]} == APDUS[text]


@pytest.mark.parametrize("text", SHORT)
def test_an_apdu_cut_anywhere_is_a_frame_error(text):
    frame = decode(bytes.fromhex(text))
    if frame.segment is not None or apdus.decode(frame.data).undecoded is not None:
        return
    for length in range(len(frame.data)):
        with pytest.raises(FrameError):
            apdus.decode(frame.data[:length])


def test_a_forwarded_frame_is_not_taken_out_of_the_one_that_carries_it():
    carrier = next(v["hex"] for v in VECTORS if v["id"].endswith("-054"))
    raw = bytes.fromhex(carrier)
    assert stream(raw, 1) == [decode(raw)]
    bad = bytearray(raw)
    bad[20] ^= 1
    assert stream(bytes(bad), 3) == ["corrupt"]


def test_a_frame_that_never_ends_does_not_hold_up_the_next():
    raw = bytes.fromhex(VECTORS[0]["hex"])
    buffer = ReceiveBuffer(BUFFER_LIMIT)
    buffer.feed(raw[:-6])
    assert find(buffer) is None
    give_up(buffer)
    buffer.feed(raw)
    assert find(buffer) == decode(raw)
    assert buffer.skipped == len(raw) - 6


def test_secrets_are_masked():
    connect = (
        bytes.fromhex("020000100000000000000000") + bytes(16) + bytes.fromhex("04000400010400000000640108")
    )
    raw = Frame(decode(bytes.fromhex(FRAMES[0])).server, 0, 0x43, connect + b"87654321\x00").encode()
    assert describe(raw)["apdu"]["password"] == "******"
    assert describe(raw, reveal=True)["apdu"]["password"] == "87654321"
    cut = Frame(decode(raw).server, 0, 0x43, connect + b"87654321").encode()
    assert "37363534" not in str(describe(cut)).lower()
    module = next(raw for raw in FRAMES if "434d4e4554" in raw)
    assert "CARD" not in str(describe(bytes.fromhex(module)))
    inner = bytes.fromhex("68010000000000681c103335333333343434434343434343444434333516")
    forward = apdus.Apdu(0x88, 3, 1, {"port": 0xF2010201, "frames": (inner,)})
    raw = Frame(decode(raw).server, 0, 0x83, apdus.encode(forward)).encode()
    assert describe(raw)["apdu"]["frames"] == ["******"]
    assert describe(raw, reveal=True)["apdu"]["frames"] == [inner.hex()]


#: From an APDU that cannot be decoded, what is told all the same.
BROKEN = {
    "0701126014820002021107": {"service": "ACTION-Request", "choice": 1, "PIID": 18, "omd": "60148200"},
    "850300500402000100001002010109": {"service": "GET-Response", "choice": 3, "PIID": 0, "oad": "50040200"},
    "0506000100010002": {"service": "GET-Request", "choice": 6, "PIID": 0, "undecoded": "0100010002"},
    "0517000010020000": {"service": "GET-Request", "choice": 23, "PIID": 0, "undecoded": "0010020000"},
    "77": {"service": "unknown", "undecoded": "77"},
    "": {"service": "unknown", "undecoded": ""},
}


@pytest.mark.parametrize(("text", "meaning"), BROKEN.items())
def test_a_broken_apdu_in_a_good_frame(text, meaning):
    raw = Frame(Address("000000000001"), 0, 0x43, bytes.fromhex(text)).encode()
    told = describe(raw)["apdu"]
    assert {key: told.get(key) for key in meaning} == meaning
    if "undecoded" not in meaning or meaning["service"] == "unknown":
        assert told["undecoded"] == text
        assert re.search(r"^[\w ]+: .+, at offset \d+$", told["decode_note"])
        assert not text or "at offset" in parts(raw)[-3].meaning


def test_every_part_of_a_frame():
    raw = bytes.fromhex("fefe" + VECTORS[0]["hex"])
    found = [(part.name, part.meaning, raw[part.start : part.end].hex(), part.level) for part in parts(raw)]
    assert found == [
        ("wake-up bytes", "", "fefe", 0),
        ("start", "", "68", 0),
        ("length L", "30 bytes", "1e00", 0),
        ("control C", "from the server, started by the client, user data", "c3", 0),
        ("server address, kind", "single, logical 0, 6 bytes", "05", 0),
        ("server address SA", "000000000000", "000000000000", 0),
        ("client address CA", "00", "00", 0),
        ("header check HCS", "right", "9e54", 0),
        ("service", "GET-Response", "85", 1),
        ("choice", "1 one object", "01", 1),
        ("PIID", "number 0, priority 0, ACD 0", "00", 1),
        (
            "object attribute OAD",
            "00100201 forward active energy 总及费率电能量数组 element 1",
            "00100201",
            2,
        ),
        ("choice", "1 data", "01", 2),
        ("value", "double-long-unsigned 1234.56 kWh", "060001e240", 2),
        ("follow report", "none", "00", 2),
        ("time tag", "none", "00", 2),
        ("frame check FCS", "right", "5ad4", 0),
        ("end", "", "16", 0),
    ]


@pytest.mark.parametrize("text", FRAMES)
def test_parts_cover_the_frame(text):
    raw = bytes.fromhex(text)
    for reveal in (False, True):
        at = 0
        for part in parts(raw, reveal=reveal):
            assert part.start == at < part.end
            assert part.name
            assert part.name_zh
            at = part.end
        assert at == len(raw)


def test_parts_hide_what_describe_hides():
    password = (
        bytes.fromhex("020000100000000000000000")
        + bytes(16)
        + bytes.fromhex("04000400010400000000640108")
        + b"87654321\x00"
    )
    setting = apdus.encode(
        apdus.Apdu(6, 1, 0, {"item": apdus.SetItem(0x44010200, Data(values.VISIBLE_STRING, "87654321"))})
    )
    tsa, port = Data(values.TSA, bytes(7)), Data(values.OAD, 0xF2010201)
    entry = values.structure(
        tsa, Data(values.ENUM, 3), Data(values.ENUM, 2), port, Data(values.OCTET_STRING, b"87654321")
    )
    archive = apdus.encode(apdus.Apdu(7, 1, 0, {"item": apdus.ActItem(0x60007F00, values.array(entry))}))
    forward = {"port": 0xF2010201, "frames": (Frame(Address("01"), 0, 0x43, password).encode(),)}
    report = apdus.encode(apdus.Apdu(0x88, 3, 0, forward))
    for data in (password, setting, setting[:-4], archive, report):
        for control, word in ((0x43, None), (0x63, 0)):
            raw = Frame(Address("000000000001"), 0, control, data, word).encode()
            hidden = str(describe(raw)) + str(parts(raw))
            assert "8765" not in hidden
            assert "38373635" not in hidden.lower()
        raw = Frame(Address("000000000001"), 0, 0x43, data).encode()
        assert "******" in str(parts(raw))
