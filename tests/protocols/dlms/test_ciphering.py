"""Ciphered APDUs: seen without keys, opened, sealed again to the same bytes; and what bytes from outside can do to that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dlms_cosem import security as library
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms import ciphering, keys, signing
from protocols.dlms.ciphering import (
    AGREED,
    GENERAL,
    GENERAL_GLO,
    IDENTIFIED,
    SERVICES,
    TAGS,
    WRAPPED,
    Control,
    Form,
    Header,
    KeyInfo,
    outline,
    parts,
    seal,
    unseal,
)
from protocols.errors import FrameError, Misuse
from tests.support.work import MOST, work

EK = bytes(range(16))
AK = bytes(range(0xD0, 0xE0))
TITLE = bytes.fromhex("4d4d4d0000bc614e")
GET = bytes.fromhex("c0010000080000010000ff0200")
KEYS: dict[str, Any] = {"key": EK, "authentication": AK}

CIPHERED: dict[str, dict[str, Any]] = {
    vector["id"].rpartition("-")[2]: vector
    for vector in map(
        json.loads, (Path(__file__).parents[1] / "vectors" / "dlms.jsonl").read_text("utf-8").splitlines()
    )
    if "keys" in vector
}


def apdu_of(vector: dict[str, Any]) -> bytes:
    """The ciphered APDU: behind the wrapper, or inside the user-information of an RLRQ or RLRE."""
    raw = bytes.fromhex(vector["hex"])
    if raw[:2] == b"\x00\x01":
        return raw[8:]
    return raw[raw.index(b"\xbe") + 4 :] if raw[0] in (0x62, 0x63) else raw


# --- published frames ---


@pytest.mark.parametrize("key", CIPHERED)
def test_published_frames_open_and_seal_to_the_same_bytes(key: str) -> None:
    vector = CIPHERED[key]
    raw, known = apdu_of(vector), vector["keys"]
    told = outline(raw)
    title = bytes.fromhex(known["system_title"]) if "system_title" in known else told.system_title
    assert title is not None
    material: dict[str, Any] = {
        "key": bytes.fromhex(known["EK"]),
        "authentication": bytes.fromhex(known["AK"]),
    }
    plain = unseal(raw, title=title, **material)
    assert plain.hex() == vector["plaintext"]
    assert seal(plain, told.form, told.control, told.counter, title=title, **material) == raw


@pytest.mark.parametrize("key", CIPHERED)
def test_published_frames_tell_what_they_are_without_keys(key: str) -> None:
    vector = CIPHERED[key]
    told, meaning, known = outline(apdu_of(vector)), vector["meaning"], vector["keys"]
    assert f"{told.control.byte:02x}" == known["SC"]
    assert told.ciphertext_length * 2 == len(vector["plaintext"])
    if "IC" in known:
        assert told.counter == int(known["IC"], 16)
    if "IC" in meaning:
        assert told.counter == meaning["IC"]
    if "system_title" in meaning:
        assert told.system_title is not None
        assert told.system_title.hex() == meaning["system_title"]


#: Green Book, table 40: one GET-Request under the three kinds of protection.
TABLE_40 = {
    0x10: "c81e1001234567c0010000080000010000ff020006725d910f9221d263877516",
    0x20: "c8122001234567411312ff935a47566827c467bc",
    0x30: "c81e3001234567411312ff935a47566827c467bc7d825c3be4a77c3fcc056b6b",
}


@pytest.mark.parametrize("control", TABLE_40)
def test_green_book_table_40(control: int) -> None:
    wanted = bytes.fromhex(TABLE_40[control])
    how = ciphering.decode_control(control)
    assert seal(GET, Form.GLO, how, 0x01234567, title=TITLE, **KEYS) == wanted
    assert unseal(wanted, title=TITLE, **KEYS) == GET


#: The ACCESS.request of the Green Book's general-ciphering example (table 41): one-pass agreed key, suite 1.
TABLE_41 = bytes.fromhex(
    "dd080102030405060708084d4d4d0000bc614e084d4d4d00000000010000010201018180c323c2bd45711de4688637d919f92e9db8fb2dfc21"
    "3a88d21c9dc8dcba917d8170511de1badb360d50058f794b0960ae11fa28d392cff907a62d13e3357b1dc0b51be089d0b682863b2217201e73"
    "a1a9031968a9b4121dcbc3281a69739af87429f5b3ac5471e7b6a04a2c0f2f8a25fd772a317df97fc5463feac248eb8ab8be81eb3100000000"
    "f435069679270c5bf4425ee5777402a6c8d51c620eed52dbb188378b836e2857d5c053e6ddf27fa87409aef502cd9618ae47017c010224fd10"
    "9cc0beb21e742d44ab40cd11908743ec90ec8c40e221d517f72228e1a26e827f43dc18ed27b5f458d66508b05a2a4cc6fed178c881afc3bc67"
    "064689be8bb41c80abb3c114a31f4cb03b8b64c7e0b4ce77b2399c93347858888f92239713b38df01c4858245827a92ef334172ea636b31cbb"
    "df2a96ad5d035f66aa38f1a2d97d4bba99622e6b5f18789cecb2dfb3937d9f3e17f8b472098e6563238f37528374809836002aea6e7012d2ad"
    "faa7"
)  # fmt: skip


def test_green_book_table_41_outline_and_ciphertext() -> None:
    """Its cleartext comes out with the key of table C.2; its printed tag fits none of the AADs the book describes, so that is not asked."""
    told = outline(TABLE_41)
    assert told.header is not None
    assert told.header.transaction.hex() == "0102030405060708"
    assert told.header.key is not None
    assert (told.header.key.kind, told.header.key.parameters) == (AGREED, b"\x01")
    assert (told.suite, told.counter, told.ciphertext_length) == (1, 0, 218)
    key = bytes.fromhex("59a71fd81c929a86a99438da17a66c05")
    plain = ciphering.unprotect(
        TABLE_41[told.start_of_ciphertext : told.ciphertext_end], Control(1, authenticated=False), 0,
        title=TITLE, key=key, authentication=AK,
    )  # fmt: skip
    assert plain.hex().startswith("d94000000000040100010000600100ff02")
    assert plain.hex().endswith("11021102110211021102")


# --- every envelope ---

HEADER = Header(b"\x01\x02", TITLE, b"SERVER01", bytes(12), b"note", KeyInfo(IDENTIFIED, 1))
HEADERS = {
    "identified": HEADER,
    "no key": Header(b"", TITLE),
    "wrapped": Header(b"\x09", TITLE, key=KeyInfo(WRAPPED, 0, b"", bytes(24))),
    "agreed": Header(b"\x09" * 200, TITLE, b"SERVER01", key=KeyInfo(AGREED, 0, b"\x01", bytes(128))),
}


@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize(("authenticated", "encrypted"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("form", Form)
def test_there_and_back(form: Form, authenticated: bool, encrypted: bool, suite: int) -> None:
    size = ciphering.KEY_LENGTHS[suite]
    material = {"key": bytes(range(size)), "authentication": bytes(range(100, 100 + size))}
    control = Control(suite, authenticated, encrypted)
    for length in (1, 100, 127, 128, 300, 70_000):
        apdu = b"\xc4" + bytes(length - 1)
        raw = seal(
            apdu, form, control, 7, title=TITLE, header=HEADER if form is Form.GENERAL else None, **material
        )
        told = outline(raw)
        assert (told.form, told.control, told.counter, told.ciphertext_length) == (form, control, 7, length)
        assert unseal(raw, title=TITLE, **material) == apdu
        assert (raw[told.start_of_ciphertext : told.ciphertext_end] == apdu) is (not encrypted)


@pytest.mark.parametrize("name", HEADERS)
def test_general_ciphering_headers(name: str) -> None:
    header = HEADERS[name]
    raw = seal(GET, Form.GENERAL, Control(), 1, title=TITLE, header=header, **KEYS)
    assert outline(raw).header == header
    assert unseal(raw, **KEYS) == GET
    changed = bytearray(raw)
    changed[2 if header.transaction else 1 + 1 + 1] ^= 1  # a header field is authenticated with the APDU
    with pytest.raises(FrameError):
        unseal(bytes(changed), **KEYS)


def test_every_service_has_both_tags() -> None:
    assert len(TAGS) == 2 * len(SERVICES) + 3
    for plain, (name, glo, ded) in SERVICES.items():
        for form, tag in ((Form.GLO, glo), (Form.DED, ded)):
            raw = seal(bytes((plain, 1)), form, Control(), 1, title=TITLE, **KEYS)
            assert (raw[0], outline(raw).name) == (tag, f"{form.value}-{name}")
            # 32 and 64 apart below 128 (short names), 8 and 16 above (logical names)
            assert tag - plain == (32 if plain < 128 else 8) * (1 if form is Form.GLO else 2)


def test_a_service_without_a_tag_of_its_own() -> None:
    with pytest.raises(Misuse, match="tag 15 has no glo- form"):
        seal(b"\x0f\x00", Form.GLO, Control(), 1, title=TITLE, **KEYS)


def test_parts_follow_one_another() -> None:
    for header in HEADERS.values():
        raw = seal(GET, Form.GENERAL, Control(), 1, title=TITLE, header=header, **KEYS)
        covered = parts(raw)
        assert [part.start for part in covered] == [0, *(part.end for part in covered[:-1])]
        assert covered[-1].end == len(raw)
        assert all(part.start < part.end for part in covered)
    by_name = {part.name: part.meaning for part in parts(apdu_of(CIPHERED["034"]))}
    assert by_name["system title"] == "2f19229199164103"
    assert by_name["invocation counter"] == "485"
    assert by_name["security control"] == "suite 0, authenticated, encrypted"
    assert by_name["ciphertext"] == "42 bytes"


# --- what does not fit ---

RAW = bytes.fromhex(TABLE_40[0x30])
COMPLAINTS = {
    "": ("tag missing", 0),
    "c001c1": ("tag 192 is none", 0),
    "c8": ("length needs 1 bytes", 1),
    "c805": ("a body of 5 bytes, 0 are there", 1),
    "c88080": ("a length of 0 bytes", 1),
    "c885ffffffffff": ("a length of 5 bytes", 1),
    "c884ffffffff": ("a body of 4294967295 bytes", 1),
    "c80430000000": ("counter needs 4 bytes", 3),
    "c8053000000000": ("nothing between", 7),
    "c8113000000000" + "00" * 12: ("nothing between", 7),
    "c8063f0000000000": ("suite 15 is reserved", 2),
    "c806000000000000": ("neither authenticated nor encrypted", 2),
    "db074d4d4d0000bc61": ("title of 7 bytes, must be 8 or none", 1),
    "db08": ("title needs 8 bytes", 2),
    "dd00000005": ("date-time of 5 bytes, must be 12", 4),
    "dd000000000002": ("key-info flag 02", 6),
    "dd00000000000103": ("key-info choice 3", 7),
    "dd0000000000010002": ("identified-key 2 is not defined", 8),
    "dd0000000000010101": ("wrapped-key 1 is not defined", 8),
    RAW.hex() + "00": ("a body of 30 bytes, 31 are there", 1),
}


@pytest.mark.parametrize("raw", COMPLAINTS)
def test_complaints_name_field_rule_and_place(raw: str) -> None:
    words, offset = COMPLAINTS[raw]
    for reader in (outline, parts):
        with pytest.raises(FrameError, match=words) as caught:
            reader(bytes.fromhex(raw))
        assert caught.value.offset == offset


def test_any_changed_bit_is_noticed() -> None:
    for raw in (RAW, seal(GET, Form.GENERAL, Control(), 1, title=TITLE, header=HEADER, **KEYS)):
        header = outline(raw).header
        info = () if header is None else range(raw.index(b"note") + 4, raw.index(b"note") + 7)
        for bit in range(len(raw) * 8):
            changed = bytearray(raw)
            changed[bit // 8] ^= 1 << bit % 8
            if bit // 8 in info:
                continue  # the key information is not authenticated: which key it was shows in the tag
            if bit == (outline(raw).start_of_ciphertext - ciphering.HEAD) * 8 + 4:
                assert not outline(
                    bytes(changed)
                ).authenticated  # no tag claimed: that is for the policy to refuse
                continue
            with pytest.raises((FrameError, Misuse)):
                unseal(bytes(changed), title=TITLE, **KEYS)


def test_the_service_inside_must_be_the_tags() -> None:
    with pytest.raises(FrameError, match="glo-set-request: holds an APDU with tag 192, must be 193"):
        unseal(b"\xc9" + RAW[1:], title=TITLE, **KEYS)


def test_every_truncation_is_a_complaint() -> None:
    for raw in (RAW, TABLE_41, apdu_of(CIPHERED["034"])):
        for length in range(len(raw)):
            with pytest.raises(FrameError):
                outline(raw[:length])


def test_compression_is_refused_by_name() -> None:
    raw = RAW[:2] + b"\xb0" + RAW[3:]
    assert outline(raw).compressed
    with pytest.raises(FrameError, match="compressed") as caught:
        unseal(raw, title=TITLE, **KEYS)
    assert caught.value.offset == 2
    with pytest.raises(Misuse, match="compression"):
        seal(GET, Form.GLO, Control(compressed=True), 1, title=TITLE, **KEYS)


def test_a_bare_layer_is_shown_but_not_opened() -> None:
    raw = bytes.fromhex("dd00000000000006") + b"\x00" + bytes(4) + b"\xc0"
    told = outline(raw)
    assert (told.authenticated, told.encrypted) == (False, False)
    assert "no protection" in {part.meaning.rpartition(", ")[2] for part in parts(raw)}
    with pytest.raises(FrameError, match="neither authenticated nor encrypted"):
        unseal(raw, title=TITLE, **KEYS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": b"short"}, "block cipher key of 5 bytes"),
        ({"authentication": b"short"}, "authentication key of 5 bytes"),
        ({"title": b"short"}, "system title of 5 bytes"),
        ({"counter": -1}, "invocation counter -1"),
        ({"counter": 2**32}, "change the key"),
        ({"apdu": b""}, "an empty APDU"),
        ({"control": Control(3)}, "protects nothing"),
        ({"control": Control(0, False, False)}, "protects nothing"),
    ],
)
def test_misuse(change: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {
        "apdu": GET, "form": Form.GLO, "control": Control(), "counter": 1, "title": TITLE, **KEYS,
    } | change  # fmt: skip
    with pytest.raises(Misuse, match=words):
        seal(**given)


def test_the_sender_must_be_known() -> None:
    with pytest.raises(FrameError, match="system title is not known"):
        unseal(RAW, **KEYS)


def test_errors_and_reprs_show_no_secret() -> None:
    told = []
    for wrong in ({"key": AK}, {"authentication": EK}, {"key": EK[:-1]}, {"authentication": AK[:-1]}):
        with pytest.raises((FrameError, Misuse)) as caught:
            unseal(RAW, title=TITLE, **KEYS | wrong)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        told.append(str(caught.value))
    told.append(repr(KeyInfo(WRAPPED, 0, b"", AK)))
    for secret in (EK, AK, GET):
        assert not any(secret.hex() in text or repr(secret)[2:-1] in text for text in told)


# --- the peer ---


@pytest.mark.parametrize("suite", [0, 1, 2])
def test_the_library_agrees(suite: int) -> None:
    """dlms-cosem's own GCM, where it is right: authenticated and encrypted, any length."""
    size = ciphering.KEY_LENGTHS[suite]
    key, authentication = bytes(range(size)), bytes(range(50, 50 + size))
    control = library.SecurityControlField(security_suite=suite, authenticated=True, encrypted=True)
    for counter in range(1, 2000, 7):
        apdu = bytes((0xC0,)) + counter.to_bytes(2, "big") * (counter % 90)
        theirs = library.encrypt(control, TITLE, counter, key, apdu, authentication)
        ours = seal(
            apdu, Form.GENERAL_GLO, Control(suite), counter,
            title=TITLE, key=key, authentication=authentication,
        )  # fmt: skip
        told = outline(ours)
        assert ours[told.start_of_ciphertext :] == theirs
        assert library.decrypt(control, TITLE, counter, key, theirs, authentication) == apdu


# --- anything at all ---


@given(st.binary(max_size=200), st.sampled_from(sorted(TAGS)))
def test_any_bytes_give_a_value_or_a_complaint(body: bytes, tag: int) -> None:
    raw = bytes((tag,)) + body
    try:
        told = outline(raw)
    except FrameError:
        with pytest.raises(FrameError):
            parts(raw)
        return
    assert 0 < told.start_of_ciphertext < told.ciphertext_end <= len(raw)
    assert parts(raw)[-1].end == len(raw)


@given(
    st.binary(max_size=300), st.sampled_from([0x10, 0x20, 0x30]), st.integers(0, 2**32 - 1), st.binary(max_size=140)
)  # fmt: skip
def test_what_is_sealed_opens(body: bytes, control: int, counter: int, transaction: bytes) -> None:
    apdu, how = b"\x0f" + body, ciphering.decode_control(control)
    for form, header in ((Form.GENERAL_GLO, None), (Form.GENERAL, Header(transaction, TITLE))):
        raw = seal(apdu, form, how, counter, title=TITLE, header=header, **KEYS)
        assert unseal(raw, **KEYS) == apdu


@pytest.mark.parametrize(
    "raw",
    [
        bytes((GENERAL_GLO, 0)) + b"\x82\x3f\xf0\x30" + bytes(16 * 1024 - 8),
        bytes((GENERAL,)) + b"\x82\x3f\xf0" * 5461,
        bytes((GENERAL,)) + bytes(16 * 1024),
        b"\xc8" * 16 * 1024,
        b"\xdf" + b"\x01\x01" * 8192,
    ],
)
def test_16_kib_cost_little(raw: bytes) -> None:
    reader = signing.parts if raw[0] == signing.TAG else parts
    assert work(reader, raw) < MOST


# --- general-signing ---

SIGNER = keys.private_key(1, bytes(31) + b"\x07")


@pytest.mark.parametrize("suite", [1, 2])
def test_signed_there_and_back(suite: int) -> None:
    key = keys.private_key(suite, bytes(31 if suite == 1 else 47) + b"\x07")
    raw = signing.sign(GET, HEADER, key)
    told = signing.decode(raw)
    assert told.content == GET
    assert raw[told.content_start : told.signed_end] == GET
    assert len(told.signature) == 64 if suite == 1 else 96
    assert told.header.transaction == HEADER.transaction
    assert signing.check(raw, key.public_key()) == GET
    assert raw == signing.sign(GET, HEADER, key)
    covered = signing.parts(raw)
    assert [part.start for part in covered] == [0, *(part.end for part in covered[:-1])]
    assert covered[-1].end == len(raw)


def test_a_signature_covers_header_and_content() -> None:
    raw = signing.sign(GET, HEADER, SIGNER)
    for place in range(1, len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1
        with pytest.raises(FrameError):
            signing.check(bytes(changed), SIGNER.public_key())
    for length in range(len(raw)):
        with pytest.raises(FrameError):
            signing.decode(raw[:length])
    with pytest.raises(FrameError, match="behind its end"):
        signing.decode(raw + b"\x00")
