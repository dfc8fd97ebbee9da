"""Published frames and APDUs with their meaning. Each names its source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protocols.dlms.describe import describe
from protocols.errors import FrameError

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
        {"class_id": 1, "obis": "0.0.42.0.0.255", "attribute": 2},
        {"class_id": 8, "obis": "0.0.1.0.0.255", "attribute": 2, "name": "clock", "name_zh": "时钟"}]},
    "018": {"apdu": "get-response-normal", "result": "success", "type": "double-long-unsigned", "value": 5009},
    "019": {"apdu": "get-response-with-datablock", "last_block": True, "block": 19, "result_code": 1,
            "result": "hardware-fault"},
    # 14:48:57.80 at deviation -60 is 13:48:57.80 UTC
    "022": {"apdu": "set-request-normal", "class_id": 8, "attribute": 2, "time": "2021-01-24T13:48:57.800000"},
    "026": {**_PUSH, "invoke_id": 475},
}  # fmt: skip

_HDLC = "HDLC framing is not part of this release"
_CIPHERED = "ciphered APDUs are not part of this release"
#: Why each other entry is refused, and the word by which the refusal says so.
OUT_OF_RELEASE: dict[str, tuple[str, str]] = {
    **dict.fromkeys(["011", "012"], (_CIPHERED, "glo-initiate")),
    "032": (_CIPHERED, "glo-get-request"),
    **dict.fromkeys(
        ["034", "035", "036", "038", "041", "042", "044", "046", "062", "070", "071", "072", "075"],
        (_CIPHERED, "general-glo-ciphering"),
    ),
    "058": (_CIPHERED, "glo-action-request"),
    "059": (_CIPHERED, "glo-action-response"),
    "065": (_CIPHERED, "glo-get-response"),
    "068": (_CIPHERED, "ded-action-request"),
    "069": (_CIPHERED, "ded-action-response"),
    **dict.fromkeys(
        ["027", "028", "029", "030", "031", "048", "049", "050", "052", "053", "056", "057"], (_HDLC, "HDLC")
    ),
}

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

#: The APDU inside an HDLC information frame, behind its LLC bytes E6 E6 00 / E6 E7 00.
INSIDE_HDLC: dict[str, dict[str, Any]] = {
    "029": {"apdu": "AARQ", "authentication": "none", "max_pdu": 0xFFFF},
    "030": {"apdu": "AARE", "result": "accepted", "max_pdu": 0x04C8},
    "048": {"apdu": "data-notification"},
    "052": {"apdu": "AARE", "result": "accepted"},
    "053": {"apdu": "get-request-normal", "class_id": 8, "obis": "0.0.1.0.0.255", "attribute": 2},
    "057": {"apdu": "AARQ", "authentication": "LLS", "password": "12345678"},
}


def told(raw: bytes, expected: dict[str, Any]) -> dict[str, Any]:
    got = describe(raw, reveal=True)
    return {key: got.get(key) for key in expected}


def test_every_vector_is_accounted_for() -> None:
    assert len(VECTORS) == 45
    assert set(PLAIN).isdisjoint(OUT_OF_RELEASE)
    assert set(PLAIN) | set(OUT_OF_RELEASE) == set(VECTORS)
    with_plaintext = {key for key, vector in VECTORS.items() if "plaintext" in vector}
    assert set(PLAINTEXT) == with_plaintext - {"011", "012"}  # those hold an Initiate, no APDU of its own


@pytest.mark.parametrize("key", PLAIN)
def test_plain(key: str) -> None:
    assert told(bytes.fromhex(VECTORS[key]["hex"]), PLAIN[key]) == PLAIN[key]


@pytest.mark.parametrize("key", OUT_OF_RELEASE)
def test_out_of_release_is_refused_by_name(key: str) -> None:
    reason, word = OUT_OF_RELEASE[key]
    with pytest.raises(FrameError, match=word):
        describe(bytes.fromhex(VECTORS[key]["hex"]))
    assert reason


@pytest.mark.parametrize("key", PLAINTEXT)
def test_published_plaintext(key: str) -> None:
    assert told(bytes.fromhex(VECTORS[key]["plaintext"]), PLAINTEXT[key]) == PLAINTEXT[key]


@pytest.mark.parametrize("key", INSIDE_HDLC)
def test_apdu_inside_hdlc(key: str) -> None:
    frame = bytes.fromhex(VECTORS[key]["hex"])
    llc = next(frame.index(mark) for mark in (b"\xe6\xe6\x00", b"\xe6\xe7\x00") if mark in frame)
    assert told(frame[llc + 3 : -3], INSIDE_HDLC[key]) == INSIDE_HDLC[key]


def test_a_real_push_list() -> None:
    """Kaifa MA304H4: OBIS and value in turn; 370 W, 1.8.0 = 12324240 as the source reads them."""
    frame = bytes.fromhex(VECTORS["048"]["hex"])
    flat = describe(frame[frame.index(b"\xe6\xe7\x00") + 3 : -3])["value"]
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
