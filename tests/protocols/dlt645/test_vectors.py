"""What the published frames need beyond tests/protocols/test_conformance.py, which reads, damages and encodes them all."""

import json
from pathlib import Path
from typing import Any

from protocols.dlt645.describe import describe
from protocols.dlt645.frame import Frame

VECTORS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "vectors" / "dlt645-2007.jsonl").read_text("utf-8").splitlines()
]
VALID = [vector for vector in VECTORS if vector["valid"]]


def test_the_list_is_whole():
    assert len(VECTORS) == 66
    assert len(VALID) == 65
    assert all(vector["source"] for vector in VECTORS)


def test_secrets_are_masked():
    raw = next(bytes.fromhex(v["hex"]) for v in VALID if v["id"].endswith("-076"))
    told = describe(raw)
    assert told["password"] == told["operator"] == "******"
    assert "020637" not in str(told)
    short = Frame("000000000001", 0x1C, bytes.fromhex("02370602"))
    assert "370602" not in str(describe(short.encode()))
