"""Both directions against dlms-cosem 25.1.0, of which nothing is used here but its enumerations and descriptors.

Values, HDLC frames, ciphering and profile buffers are generated; APDUs and associations in the two files beside. Each is written here and
read there, written there and read here: bytes and meaning must be equal, or the difference must be exactly the one that a table names.
PEER_FRAMES sets how many are compared in all; CI takes a sample. `pytest -s` shows how often each difference came.
"""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from dlms_cosem import cosem, dlms_data, exceptions, parsers, security
from dlms_cosem import enumerations as enums
from dlms_cosem import time as library_time
from dlms_cosem.hdlc import frames as library_frames
from dlms_cosem.hdlc.address import HdlcAddress
from dlms_cosem.hdlc.exceptions import HdlcParsingError
from dlms_cosem.protocol import xdlms

from protocols.dlms import bulk, ciphering, hls, keys, values
from protocols.dlms.ciphering import Control, Form
from protocols.dlms.hdlc_frame import Address, HdlcFrame, checksum, control_of, decode
from protocols.dlms.values import Data
from protocols.errors import FrameError, Misuse
from tests.protocols.dlms.peer import (
    ANY,
    COUNT,
    INTEGERS,
    NO_DECODER,
    NO_ENCODER,
    READ,
    UTC,
    WRITTEN,
    Seen,
    a_clock,
    a_leaf,
    a_value,
    as_read,
    aware,
    compare,
    leaves,
    library_bytes,
    library_value,
    outcome,
    over,
)

# --- values ---

VALUES = {
    "no encoder": "null-data, boolean, utf8-string, bcd, floats, dates and times: NotImplementedError",
    "no decoder": "bit-string, utf8-string, bcd, floats, compact-array, dont-care: NotImplementedError",
    "length": "a string of more than 127 bytes gets a length of one byte; of more than 255: ValueError",
    "bits": "the length of a bit-string is written in bytes, must be in bits",
    "naive": "deviation 0 becomes a datetime without zone, as if it were not specified",
    "wildcard date": "a date with a field that is not specified is refused",
    "wildcard time": "an hour, minute, second or hundredth that is not specified becomes 0",
    "status": "clock-status bits 4 to 6 are reserved, and are lost",
    "truncated": "truncated data is taken for whole",
}  # fmt: skip


def test_clocks_are_written_alike() -> None:
    dice = random.Random(0)
    for _ in range(max(1, COUNT * 3 // 100)):
        raw, utc, zone = a_clock(dice)
        when = aware(utc, zone)
        status = library_time.ClockStatus(daylight_saving_active=raw[11] == values.STATUS_DAYLIGHT)
        theirs = library_time.datetime_to_bytes(when, status)
        assert theirs == values.encode_clock(utc, zone, weekday=False) == raw[:4] + b"\xff" + raw[5:]
        assert values.decode_clock(theirs, UTC).utc == utc
        read, flags = library_time.datetime_from_bytes(raw)
        assert (read, flags) == (as_read(when, Counter()), status)


def read_alike(theirs: Any, ours: Data, seen: Seen) -> None:
    """Type by type and value by value."""
    assert ours.tag == theirs.TAG
    if isinstance(ours.value, tuple):
        assert len(theirs.value) == len(ours.value)
        for item, mine in zip(theirs.value, ours.value, strict=True):
            read_alike(item, mine, seen)
    elif ours.tag == values.DATE_TIME:
        clock_alike(*theirs.value, ours.value, seen)
    elif ours.tag == values.DATE:
        assert theirs.value == dt.date(int.from_bytes(ours.value[:2], "big"), *ours.value[2:4])
    elif ours.tag == values.TIME:
        assert theirs.value == dt.time(*time_of_day(ours.value, seen))
    else:
        assert theirs.value == ours.value
        assert isinstance(theirs.value, type(ours.value) | bytearray)


def time_of_day(raw: bytes, seen: Seen) -> tuple[int, int, int, int]:
    if 0xFF in raw:
        seen["wildcard time"] += 1
    hour, minute, second, hundredths = (0 if byte == 0xFF else byte for byte in raw)
    return hour, minute, second, hundredths * 10_000


def clock_alike(when: dt.datetime, status: Any, raw: bytes, seen: Seen) -> None:
    time_of_day(raw[5:9], seen)
    if 0xFF in raw[5:7]:  # an hour that is not specified is no instant here
        with pytest.raises(FrameError):
            values.decode_clock(raw, UTC)
        return
    clock = values.decode_clock(raw, UTC)
    seen["naive"] += clock.deviation == 0
    assert (when.tzinfo is None) == (clock.deviation in (None, 0))
    assert aware(clock.utc, UTC) == (when.replace(tzinfo=dt.UTC) if when.tzinfo is None else when)
    assert int.from_bytes(status.to_bytes(), "big") == clock.status & 0x8F
    seen["status"] += bool(clock.status & 0x70)


def wildcard_date(data: Data) -> bool:
    return data.tag in (values.DATE_TIME, values.DATE) and any(byte > 31 for byte in data.value[2:4])


def check_read(data: Data, seen: Seen) -> None:
    got = outcome(dlms_data.DlmsDataParser().parse, values.encode(data), 1)
    trouble = next((leaf for leaf in leaves(data) if leaf.tag in NO_DECODER or wildcard_date(leaf)), None)
    if trouble is None:
        read_alike(got[0], data, seen)
    elif trouble.tag in NO_DECODER:
        assert got is NotImplementedError
        seen["no decoder"] += 1
    else:
        assert got in (TypeError, ValueError)
        seen["wildcard date"] += 1


def check_written(data: Data, seen: Seen) -> None:
    got = outcome(library_value(data).to_bytes)
    trouble = next((leaf for leaf in leaves(data) if leaf.tag in NO_ENCODER or over(leaf, 255)), None)
    if trouble is not None:
        assert got is (NotImplementedError if trouble.tag in NO_ENCODER else ValueError)
        seen["no encoder" if trouble.tag in NO_ENCODER else "length"] += 1
        return
    assert got == library_bytes(data)
    holes = {
        "bits" if leaf.tag == values.BIT_STRING else "length"
        for leaf in leaves(data)
        if written_otherwise(leaf)
    }
    seen.update(holes)
    if not holes:
        assert got == values.encode(data)
        assert values.decode(got) == data


def written_otherwise(leaf: Data) -> bool:
    return over(leaf, 127) or (leaf.tag == values.BIT_STRING and leaf.value != "")


def check_value(dice: random.Random, seen: Seen, number: int) -> None:
    data = a_value(dice, (READ, WRITTEN, ANY)[number % 3])
    raw = values.encode(data)
    assert values.decode(raw) == data
    check_read(data, seen)
    check_written(data, seen)
    cut = raw[: dice.randrange(1, len(raw))] if len(raw) > 1 else b""
    with pytest.raises(FrameError):
        values.decode(cut)
    seen["truncated"] += isinstance(outcome(dlms_data.DlmsDataParser().parse, cut, 1), list)


def test_values() -> None:
    compare("values", 30, check_value, VALUES, beside=("truncated",))


def test_compact_arrays_are_only_read_here() -> None:
    with pytest.raises(NotImplementedError):
        dlms_data.DlmsDataParser().parse(values.encode_compact([Data(values.LONG, 1)]), 1)


# --- HDLC ---

HDLC = {
    "no frame": "no DM, RNR and FRMR at all; no SNRM is read",
    "zero byte": "bytes of an address that are 00, and physical device 0, are not written; so such an address is not read either",
    "final": "the poll/final bit of SNRM, UA, DISC and RR is always written and taken for set",
    "parameters": "SNRM has no information field",
    "empty": "I and UI frames without information get a HCS, and must have one",
    "damage": "check sequences are compared with those of what it would write: damage in bits that it does not keep passes",
}  # fmt: skip
LIBRARY_FRAMES = {
    "SNRM": library_frames.SetNormalResponseModeFrame, "UA": library_frames.UnNumberedAcknowledgmentFrame,
    "RR": library_frames.ReceiveReadyFrame, "I": library_frames.InformationFrame,
    "DISC": library_frames.DisconnectFrame, "UI": library_frames.UnnumberedInformationFrame,
}  # fmt: skip
ALWAYS_FINAL = ("SNRM", "UA", "DISC", "RR")
#: Frames that the library reads come from the server, DISC alone from the client.
FROM_CLIENT = ("SNRM", "DISC")


def a_server(dice: random.Random) -> Address:
    size = dice.choice((1, 1, 2, 2, 4))
    top = 0x3FFF if size == 4 else 0x7F
    upper, lower = (dice.choice((0, 1, 16, 17, top, dice.randrange(top + 1))) for _ in range(2))
    return Address(upper, None if size == 1 else lower, size)


def a_frame(dice: random.Random) -> HdlcFrame:
    kind = dice.choice(("SNRM", "UA", "UA", "RR", "RR", "I", "I", "I", "DISC", "UI", "DM", "RNR", "FRMR"))
    client, server = Address(dice.choice((1, 16, 0x7F, dice.randrange(128)))), a_server(dice)
    ends = (server, client) if kind in FROM_CLIENT else (client, server)
    control = control_of(kind, send=dice.randrange(8), receive=dice.randrange(8), final=dice.random() < 0.85)
    information = dice.randbytes(
        dice.choice((0, 3, dice.randrange(1, 60), dice.randrange(60, 200) if dice.random() < 0.1 else 12))
    )
    if kind not in ("I", "UI", "UA", "SNRM") or (kind == "SNRM" and dice.random() < 0.5):
        information = b""
    return HdlcFrame(*ends, control, information, kind in ("I", "UI") and dice.random() < 0.2)


def library_address(address: Address, extended: bool) -> bytes:
    """Seven bits a byte, but no byte that is 00 unless `extended`, and no physical device 0."""
    parts = (address.upper, address.lower) if address.lower else (address.upper,)
    out = bytearray(byte for part in parts for byte in (part >> 7 << 1, (part & 0x7F) << 1))
    out[-1] |= 1
    return bytes(out) if extended else bytes(byte for byte in out if byte)


def library_frame_bytes(frame: HdlcFrame, extended: bool) -> bytes:
    """What the library writes."""
    information = b"" if frame.kind == "SNRM" else frame.information
    control = frame.control | (0x10 if frame.kind in ALWAYS_FINAL else 0)
    head = b"".join(
        library_address(end, extended and end.size == 4) for end in (frame.destination, frame.source)
    )
    checked = bool(information) or frame.kind in ("I", "UI")
    length = 2 + len(head) + 1 + (2 if checked else 0) + len(information) + 2
    body = (0xA000 | frame.segmented << 11 | length).to_bytes(2, "big") + head + bytes((control,))
    body += (checksum(body) if checked else b"") + information
    return b"\x7e" + body + checksum(body) + b"\x7e"


def library_frame(frame: HdlcFrame) -> Any:
    ends = [
        HdlcAddress(
            end.upper,
            end.lower,
            "client" if number == (frame.kind in FROM_CLIENT) else "server",
            end.size == 4,
        )
        for number, end in enumerate((frame.destination, frame.source))
    ]
    given: dict[str, Any] = {"payload": frame.information, "segmented": frame.segmented, "final": frame.final}
    if frame.kind in ("I", "RR"):
        given["receive_sequence_number"] = frame.receive_sequence
    if frame.kind == "I":
        given["send_sequence_number"] = frame.send_sequence
    return LIBRARY_FRAMES[frame.kind](*ends, **given)


def check_frame_written(frame: HdlcFrame, seen: Seen) -> None:
    theirs = library_frame(frame).to_bytes()
    assert theirs == library_frame_bytes(frame, True)
    holes = {
        "zero byte": any(
            library_address(end, end.size == 4) != end.encode() for end in (frame.destination, frame.source)
        ),
        "final": frame.kind in ALWAYS_FINAL and not frame.final,
        "parameters": frame.kind == "SNRM" and frame.information != b"",
        "empty": frame.kind in ("I", "UI") and not frame.information,
    }
    seen.update(name for name, there in holes.items() if there)
    if not any(holes.values()):
        assert theirs == frame.encode()
        assert decode(theirs) == frame


def check_frame_read(frame: HdlcFrame, seen: Seen) -> bool:
    """Whether the library has read it."""
    got = outcome(LIBRARY_FRAMES[frame.kind].from_bytes, frame.encode())
    ends = (frame.destination, False), (frame.source, frame.source.size == 4)
    if any(library_address(end, extended) != end.encode() for end, extended in ends):
        seen["zero byte"] += 1
    elif frame.kind in ALWAYS_FINAL and not frame.final:
        seen["final"] += 1
    elif frame.kind in ("I", "UI") and not frame.information:
        seen["empty"] += 1
    else:
        assert (got.destination_address.logical_address, got.destination_address.physical_address) == (
            frame.destination.upper, frame.destination.lower,
        )  # fmt: skip
        assert (got.source_address.logical_address, got.source_address.physical_address) == (
            frame.source.upper,
            frame.source.lower,
        )
        assert (got.payload or b"", got.segmented) == (frame.information, frame.segmented)
        assert frame.kind in ALWAYS_FINAL or got.final == frame.final
        assert getattr(got, "receive_sequence_number", None) == frame.receive_sequence
        assert getattr(got, "send_sequence_number", None) == frame.send_sequence
        return True
    assert got in (HdlcParsingError, ValueError)
    return False


def check_damage(frame: HdlcFrame, dice: random.Random, seen: Seen) -> None:
    """One changed byte: never read here; there only where the library compares with its own frame."""
    raw = bytearray(frame.encode())
    at = dice.choice((1, frame.control_start, dice.randrange(len(raw))))
    raw[at] ^= dice.choice((0x08, 0x10, dice.randrange(1, 256)))
    with pytest.raises(FrameError):
        decode(bytes(raw))
    got = outcome(LIBRARY_FRAMES[frame.kind].from_bytes, bytes(raw))
    if not isinstance(got, type):
        assert got.to_bytes() == frame.encode()
        seen["damage"] += 1


def check_frame(dice: random.Random, seen: Seen, number: int) -> None:
    frame = a_frame(dice)
    assert decode(frame.encode()) == frame
    if frame.kind not in LIBRARY_FRAMES:
        seen["no frame"] += 1
        return
    check_frame_written(frame, seen)
    if frame.kind == "SNRM":
        assert not hasattr(LIBRARY_FRAMES["SNRM"], "from_bytes")
        seen["no frame"] += 1
    elif check_frame_read(frame, seen):
        check_damage(frame, dice, seen)


def test_hdlc() -> None:
    compare("hdlc", 20, check_frame, HDLC, beside=("damage",))


# --- security ---

SECURITY = {
    "one protection": "only authenticated, or only encrypted: done as both, under the control byte of one",
    "length": "general-glo-ciphering of more than 127 bytes gets a length of one byte; above 255: ValueError",
    "unwrap": "unwrap_key wants the wrapped key to be as long as a key: ValueError",
}  # fmt: skip


def check_ciphering(dice: random.Random, seen: Seen, number: int) -> None:
    suite = dice.choice((0, 0, 0, 1, 2))
    key, authentication = (dice.randbytes(ciphering.KEY_LENGTHS[suite]) for _ in range(2))
    title, counter = dice.randbytes(8), dice.randrange(2**32)
    bits = dice.choice(((True, True), (True, True), (True, True), (True, False), (False, True)))
    control = Control(suite, *bits, broadcast=dice.random() < 0.2)
    theirs = security.SecurityControlField.from_bytes(bytes((control.byte,)))
    assert theirs.to_bytes() == bytes((control.byte,))
    plain = b"\xc4" + dice.randbytes(dice.choice((0, 20, 94, 95, 200, 300, dice.randrange(500))))
    given: dict[str, Any] = {"title": title, "key": key, "authentication": authentication}
    ours = ciphering.protect(plain, control, counter, **given)
    sealed = security.encrypt(theirs, title, counter, key, plain, authentication)
    if bits == (True, True):
        assert sealed == ours
        assert ciphering.unprotect(sealed, control, counter, **given) == plain
        assert security.decrypt(theirs, title, counter, key, ours, authentication) == plain
        damaged = bytearray(ours)
        damaged[dice.randrange(len(damaged))] ^= dice.randrange(1, 256)
        with pytest.raises(FrameError):
            ciphering.unprotect(bytes(damaged), control, counter, **given)
        with pytest.raises(exceptions.DecryptionError):
            security.decrypt(theirs, title, counter, key, bytes(damaged), authentication)
    else:
        seen["one protection"] += 1
        nonce, extra = title + counter.to_bytes(4, "big"), bytes((control.byte,)) + authentication
        assert sealed == AESGCM(key).encrypt(nonce, plain, extra)[:-4]
        assert ours == (sealed[:-12] if control.encrypted else plain + ours[-12:])
        with pytest.raises(
            (exceptions.DecryptionError, ValueError)
        ):  # a ValueError if it is shorter than a tag
            security.decrypt(theirs, title, counter, key, ours, authentication)
    check_envelope(
        ciphering.seal(plain, Form.GENERAL_GLO, control, counter, **given), theirs, title, counter, ours, seen
    )
    check_keys(dice, suite, key, authentication, title, counter)
    wrapped = keys.wrap(key, authentication)
    assert security.wrap_key(theirs, authentication, key) == wrapped
    assert keys.unwrap(wrapped, authentication) == key
    with pytest.raises(ValueError):
        security.unwrap_key(theirs, authentication, wrapped)
    seen["unwrap"] += 1


def check_envelope(raw: bytes, control: Any, title: bytes, counter: int, sealed: bytes, seen: Seen) -> None:
    theirs = xdlms.GeneralGlobalCipher(title, control, counter, sealed)
    assert xdlms.GeneralGlobalCipher.from_bytes(raw) == theirs
    told_here = ciphering.outline(raw)
    assert (told_here.system_title, told_here.counter, told_here.control.byte) == (
        title,
        counter,
        control.to_bytes()[0],
    )
    assert raw[told_here.start_of_ciphertext :] == sealed
    length = len(sealed) + 5
    if length < 128:
        assert theirs.to_bytes() == raw
        return
    seen["length"] += 1
    written = raw[:10] + bytes((length & 0xFF,)) + raw[10 + len(values.encode_length(length)) :]
    assert outcome(theirs.to_bytes) == (ValueError if length > 255 else written)


def check_keys(
    dice: random.Random, suite: int, key: bytes, authentication: bytes, title: bytes, counter: int
) -> None:
    """The proof of HLS-GMAC."""
    challenge = dice.randbytes(dice.randrange(8, 65))
    held = keys.Keys(suite, key, authentication)
    control = security.SecurityControlField(suite, authenticated=True)
    theirs = control.to_bytes() + counter.to_bytes(4, "big")
    theirs += security.gmac(control, title, counter, key, authentication, challenge)
    assert hls.gmac(challenge, counter, title, held) == theirs
    assert hls.check_gmac(theirs, challenge, title, held) == counter


def test_security() -> None:
    with pytest.raises(Misuse):
        ciphering.protect(
            b"\xc4", Control(compressed=True), 0, title=bytes(8), key=bytes(16), authentication=bytes(16)
        )
    compare("security", 5, check_ciphering, SECURITY, beside=("unwrap",))


# --- profiles ---

PROFILES = {
    "null": "null-data in a value column is left out of its row, which then is shorter",
    "no time yet": "null-data of the clock before any time was known: None, here NaT",
    "naive": "deviation 0 becomes a datetime without zone",
}  # fmt: skip


def a_profile(dice: random.Random) -> tuple[tuple[Data, ...], int, int]:
    """Rows, the column of the clock, and the period in minutes: rows of one shape, as most profiles, some with null-data."""
    period = dice.choice((15, 30, 60, 1440))
    tags = dice.choices((*INTEGERS, values.OCTET_STRING), k=dice.randrange(1, 6))
    clock_at, nulls, compressed = dice.randrange(len(tags) + 1), dice.random() < 0.2, dice.random() < 0.3
    _, utc, zone = a_clock(dice)
    width = dice.randrange(9)
    rows = []
    for row in range(dice.choice((0, 1, 2, 4, 12))):
        clock = values.encode_clock(utc + np.timedelta64(row * period, "m"), zone)
        cells = [a_leaf(dice, tag) if tag in INTEGERS else Data(tag, dice.randbytes(width)) for tag in tags]
        cells = [values.null() if nulls and dice.random() < 0.3 else small(cell) for cell in cells]
        gone = compressed and (row > 0 or dice.random() < 0.3) and dice.random() < 0.6
        cells.insert(clock_at, values.null() if gone else values.octets(clock))
        rows.append(values.structure(*cells))
    return tuple(rows), clock_at, period


def small(cell: Data) -> Data:
    """Within 63 bits, so that a column is one of integers."""
    return Data(cell.tag, cell.value >> 1) if cell.tag == values.LONG64_UNSIGNED else cell


def cell_of(column: bulk.Column, row: int) -> Any:
    if not column.present[row]:
        return None
    value = column.values[row]
    if isinstance(value, np.ndarray):
        return value.tobytes()
    return value.value if isinstance(value, Data) else value


def check_profile(dice: random.Random, seen: Seen, number: int) -> None:
    rows, clock_at, period = a_profile(dice)
    raw = values.encode(values.array(*rows))
    columns = bulk.decode(raw)
    width = len(rows[0].value) if rows else 0
    data = cosem.CosemAttribute(enums.CosemInterface.DATA, cosem.Obis(0, 0, 96, 1, 0), 2)
    clock = cosem.CosemAttribute(enums.CosemInterface.CLOCK, cosem.Obis(0, 0, 1, 0, 0), 2)
    parser = parsers.ProfileGenericBufferParser(
        [clock if at == clock_at else data for at in range(width)], period
    )
    theirs = parser.parse_bytes(raw)
    if not rows:
        assert (theirs, columns) == ([], ())
        return
    times = bulk.instants(columns[clock_at], UTC, period * 60)
    known = False
    for row, entry in enumerate(theirs):
        left = list(entry)
        for at in range(width):
            value = cell_of(columns[at], row)
            if at != clock_at:
                if value is None:
                    seen["null"] += 1
                    continue
                read = left.pop(0)
                assert (read.attribute, read.value) == (data, value)
                continue
            known = known or value is not None
            read = left.pop(0)
            if not known:
                assert read is None
                assert np.isnat(times[row])
                seen["no time yet"] += 1
                continue
            seen["naive"] += read.value.tzinfo is None
            assert aware(times[row], UTC) == (
                read.value if read.value.tzinfo else read.value.replace(tzinfo=dt.UTC)
            )
        assert not left


def test_profiles() -> None:
    compare("profiles", 5, check_profile, PROFILES)
