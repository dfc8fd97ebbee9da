"""Published frames and APDUs with their meaning. Each names its source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protocols.dlms.describe import describe, parts

VECTORS: dict[str, dict[str, Any]] = {
    vector["id"].rpartition("-")[2]: vector
    for vector in map(
        json.loads, (Path(__file__).parents[1] / "vectors" / "dlms.jsonl").read_text("utf-8").splitlines()
    )
}

_CONFORMANCE_501F = [
    "priority_management_supported", "block_transfer_with_get_or_read", "get", "set", "selective_access",
    "event_notification", "action",
]  # fmt: skip
_AARE = {"apdu": "AARE", "max_pdu": 500, "conformance": _CONFORMANCE_501F}
_PUSH = {"apdu": "data-notification", "date_time": None, "type": "octet-string"}

#: The published prose of each plain entry, as fields. What is not named here is not stated by the source.
PLAIN: dict[str, dict[str, Any]] = {
    "002": {"apdu": "AARQ", "authentication": "LLS", "password": "12345678", "max_pdu": 0x04B0},
    "006": {**_AARE, "result": "accepted", "diagnostic": 0},
    "007": {**_AARE, "result": "rejected-permanent", "diagnostic": 2,
            "diagnostic_name": "application-context-name-not-supported"},
    "008": {"apdu": "AARE", "result": "rejected-permanent", "service_error": "InitiateError: dlms-version-too-low"},
    "009": {**_AARE, "result": "accepted", "diagnostic": 14, "diagnostic_name": "authentication-required",
            "authentication": "HLS-GMAC", "challenge": "P6wRJ21F"},
    "013": {"apdu": "RLRE", "reason": "normal"},
    "015": {"apdu": "get-request-normal", "invoke_id": 1, "class_id": 1, "obis": "0.0.43.1.0.255", "attribute": 2},
    "017": {"apdu": "get-request-with-list", "attributes": [
        {"class_id": 1, "obis": "0.0.42.0.0.255", "attribute": 2, "name": "COSEM logical device name",
         "name_zh": "逻辑设备名"},
        {"class_id": 8, "obis": "0.0.1.0.0.255", "attribute": 2, "name": "clock", "name_zh": "时钟"}]},
    "018": {"apdu": "get-response-normal", "result": "success", "type": "double-long-unsigned", "value": 5009},
    "019": {"apdu": "get-response-with-datablock", "last_block": True, "block": 19, "result_code": 1,
            "result": "hardware-fault"},
    # 14:48:57.80 at deviation -60 is 13:48:57.80 UTC
    "022": {"apdu": "set-request-normal", "class_id": 8, "attribute": 2, "time": "2021-01-24T13:48:57.800000"},
    "026": {**_PUSH, "invoke_id": 475},
}  # fmt: skip

_GLO = {"ciphertext_bytes": 42, "apdu": "general-glo-ciphering"}
_TO_METER, _TO_CLIENT = {"direction": "client->meter"}, {"direction": "meter->client"}
#: Ciphered entries: what they show without keys. IC, title and direction stand in the lists where the source states them.
CIPHERED: dict[str, dict[str, Any]] = {
    "011": {"apdu": "RLRQ", "reason": "normal"},
    "012": {"apdu": "RLRE", "reason": "normal"},
    "032": {"apdu": "glo-get-request", "tag": 200, "IC": 0x01234567, "ciphertext_bytes": 13},
    **dict.fromkeys(["034", "035", "036", "038", "041", "042", "044", "046"], _GLO),
    "058": {"apdu": "glo-action-request", "IC": 3, **_TO_METER},
    "059": {"apdu": "glo-action-response", "IC": 3, **_TO_CLIENT},
    "062": {"system_title": "434c490000000001", "IC": 9, **_TO_METER},
    "065": {"apdu": "glo-get-response", "IC": 4, **_TO_CLIENT},
    "068": {"apdu": "ded-action-request", "IC": 9, **_TO_METER},
    "069": {"apdu": "ded-action-response", "IC": 9, **_TO_CLIENT},
    "070": {"system_title": "434c490000000001", "IC": 0x65, **_TO_METER},
    "071": {"system_title": "4d4d4d0000bc614e", "IC": 3, **_TO_CLIENT},
    "072": {"system_title": "434c490000000001", "IC": 0x6E, **_TO_METER},
    "075": {"system_title": "4d4d4d0000bc614e", "IC": 0x11, **_TO_CLIENT},
}  # fmt: skip

#: HDLC frames; destination and source as logical/physical.
HDLC: dict[str, dict[str, Any]] = {
    "027": {"frame": "SNRM", "destination": "1/17", "source": "16"},
    "028": {"frame": "UA", "max_information_transmit": 154, "max_information_receive": 154,
            "window_transmit": 1, "window_receive": 1},
    "029": {"frame": "I", "apdu": "AARQ", "authentication": "none", "max_pdu": 0xFFFF, **_TO_METER},
    "030": {"frame": "I", "apdu": "AARE", "result": "accepted", "max_pdu": 0x04C8, **_TO_CLIENT},
    "031": {"frame": "UA", "max_information_transmit": 128, "max_information_receive": 128, "source": "1/17"},
    "048": {"frame": "I", "apdu": "data-notification", **_TO_CLIENT},
    "049": {"frame": "SNRM", **_TO_METER},
    "050": {"frame": "UA", **_TO_CLIENT},
    "052": {"frame": "I", "apdu": "AARE", "result": "accepted", **_TO_CLIENT},
    "053": {"apdu": "get-request-normal", "class_id": 8, "obis": "0.0.1.0.0.255", "attribute": 2, **_TO_METER},
    "056": {"frame": "UA", **_TO_CLIENT},
    "057": {"apdu": "AARQ", "authentication": "LLS", "password": "12345678", **_TO_METER},
}  # fmt: skip

#: Prose that says what is not in the bytes (a test's origin, UDP, what is inside a ciphertext), or less than they do; what we
#: say in its place was reviewed.
GOLDEN: dict[str, str] = {
    "030": "HDLC I-frame response, LLC E6E700, AARE accepted; InitiateResponse DLMS 6, conformance 001E1D, "
           "server max PDU 1224, VAA 0007",
    "032": "glo-get-request (tag 200)",
    **dict.fromkeys(["034", "035", "036", "038", "041", "042", "044", "046"],
                    "wrapper 1->1, general-glo-ciphering (tag 219)"),
    "048": "HDLC I-frame response, LLC E6E700, DataNotification, long-invoke-id 0, no date-time, "
           "body structure of 36 elements",
    "049": "HDLC SNRM, destination 03 (server 1), source client 16",
    "050": "HDLC UA: max info tx/rx 128, window 1/1",
    "052": "HDLC I-frame response, LLC E6E700, AARE accepted; InitiateResponse DLMS 6, conformance 40121D, "
           "server max PDU 1024, VAA 0007",
    "053": "HDLC I-frame N(S)=1 N(R)=1 P, LLC E6E600, GET-Request-Normal class 8, 0.0.1.0.0.255 (clock), attribute 2",
    "056": "HDLC UA, destination 21 (client 16), source server 1",
    "057": 'HDLC I-frame N(S)=0 N(R)=0 P, LLC E6E600, AARQ LLS, password "12345678"',
}  # fmt: skip

#: What the published decryption of a ciphered entry holds; the plain APDU is ours to decode.
PLAINTEXT: dict[str, dict[str, Any]] = {
    "032": {"apdu": "get-request-normal", "class_id": 8, "obis": "0.0.1.0.0.255", "attribute": 2},
    "034": {**_PUSH, "invoke_id": 485 - 10},
    "035": {**_PUSH, "invoke_id": 486 - 10},
    "036": {**_PUSH, "invoke_id": 487 - 10},
    "038": {**_PUSH, "invoke_id": 489 - 10},
    "041": {**_PUSH, "invoke_id": 492 - 10},
    "042": {**_PUSH, "invoke_id": 494 - 10},
    "044": {**_PUSH, "invoke_id": 496 - 10},
    "046": {**_PUSH, "invoke_id": 498 - 10},
    "058": {"apdu": "action-request-normal", "class_id": 15, "obis": "0.0.40.0.0.255", "method": 1},
    "059": {"apdu": "action-response-normal", "result": "success", "type": "octet-string"},
    "062": {
        "apdu": "action-request-normal",
        "class_id": 70,
        "obis": "0.0.96.3.10.255",
        "method": 1,
        "value": 0,
    },
    "065": {"apdu": "get-response-normal", "type": "octet-string", "value": "07ea0b16070b000400fe2000"},
    "068": {"apdu": "action-request-normal", "class_id": 70, "method": 1},
    "069": {"apdu": "action-response-normal", "result_code": 0},
    "070": {"apdu": "action-request-normal", "class_id": 15, "method": 1},
    "071": {"apdu": "action-response-normal", "result": "success"},
    "072": {"apdu": "get-request-with-list"},
    "075": {"apdu": "set-response-normal", "result": "success"},
}


def told(raw: bytes, expected: dict[str, Any]) -> dict[str, Any]:
    got = describe(raw, reveal=True)
    return {key: got.get(key) for key in expected}


def test_every_vector_is_accounted_for() -> None:
    assert len(VECTORS) == 45
    assert sorted([*PLAIN, *CIPHERED, *HDLC]) == sorted(VECTORS)
    with_plaintext = {key for key, vector in VECTORS.items() if "plaintext" in vector}
    assert set(PLAINTEXT) == with_plaintext - {"011", "012"}  # those hold an Initiate, no APDU of its own


@pytest.mark.parametrize(("key", "fields"), [*PLAIN.items(), *CIPHERED.items(), *HDLC.items()])
def test_fields(key: str, fields: dict[str, Any]) -> None:
    assert told(bytes.fromhex(VECTORS[key]["hex"]), fields) == fields


@pytest.mark.parametrize("key", VECTORS)
def test_meaning(key: str) -> None:
    meaning = dict(VECTORS[key]["meaning"])
    if key in GOLDEN:
        meaning["text"] = GOLDEN[key]
    assert told(bytes.fromhex(VECTORS[key]["hex"]), meaning) == meaning


@pytest.mark.parametrize("key", VECTORS)
def test_parts_cover_every_byte_once(key: str) -> None:
    raw = bytes.fromhex(VECTORS[key]["hex"])
    at = 0
    for part in parts(raw):
        assert part.start == at < part.end
        assert part.name
        assert part.name_zh
        at = part.end
    assert at == len(raw)


@pytest.mark.parametrize("key", PLAINTEXT)
def test_published_plaintext(key: str) -> None:
    assert told(bytes.fromhex(VECTORS[key]["plaintext"]), PLAINTEXT[key]) == PLAINTEXT[key]


def test_a_real_push_list() -> None:
    """Kaifa MA304H4: OBIS and value in turn; 370 W, 1.8.0 = 12324240 as the source reads them."""
    frame = bytes.fromhex(VECTORS["048"]["hex"])
    flat = describe(frame)["value"]
    assert flat[flat.index("0100010700ff") + 1] == 370
    assert flat[flat.index("01001f0700ff") + 1] == 446
    assert flat[flat.index("0100200700ff") + 1] == 2286
    assert flat[flat.index("0100010800ff") + 1] == 12324240


def test_secrets_are_masked() -> None:
    for key in ("002", "009"):
        shown = str(describe(bytes.fromhex(VECTORS[key]["hex"])))
        assert "12345678" not in shown
        assert "P6wRJ21F" not in shown
        assert "******" in shown
