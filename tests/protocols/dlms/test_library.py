"""The holes of dlms-cosem 25.1.0 that our files cover. One that is mended fails here: then our file can
shrink.
"""

from __future__ import annotations

import datetime as dt
import subprocess
import sys

import pytest
from dlms_cosem import connection, cosem, dlms_data, enumerations, security
from dlms_cosem import time as library_time
from dlms_cosem.cosem import selective_access
from dlms_cosem.cosem.capture_object import CaptureObject
from dlms_cosem.protocol import acse, xdlms

from protocols.dlms import apdu as apdus
from protocols.dlms import ciphering, values
from protocols.dlms.association import CONFORMANCE_BITS
from protocols.dlms.ciphering import Control, Form
from protocols.dlms.selector import EntrySelector, encode
from protocols.errors import FrameError


def test_long_octet_strings_have_a_wrong_length() -> None:
    broken = dlms_data.OctetStringData(bytes(200)).to_bytes()
    assert broken[:2] == b"\x09\xc8"  # C8H announces 72 length bytes
    assert values.encode(values.octets(bytes(200)))[:3] == b"\x09\x81\xc8"


def test_truncated_data_is_taken_for_whole() -> None:
    cut = bytes.fromhex("0600001391")[:3]
    assert dlms_data.DlmsDataParser().parse(cut, limit=1)[0].value == 0
    with pytest.raises(FrameError):
        values.decode(cut)


@pytest.mark.parametrize("raw", ["0402c0", "1743660000", "18406cc00000000000", "0c0161", "0d12"])
def test_types_without_a_decoder(raw: str) -> None:
    with pytest.raises(NotImplementedError):
        dlms_data.DlmsDataParser().parse(bytes.fromhex(raw), limit=1)
    values.decode(bytes.fromhex(raw))


def test_deviation_zero_is_naive() -> None:
    when, _ = library_time.datetime_from_bytes(bytes.fromhex("07ea03010708000000000000"))
    assert when.tzinfo is None


def test_no_entry_descriptor() -> None:
    with pytest.raises(NotImplementedError):
        selective_access.EntryDescriptor(1, 2).to_bytes()
    assert encode(EntrySelector(1, 2)).hex() == "0202040600000001060000000212000112" + "0000"


def test_get_response_does_not_encode() -> None:
    with pytest.raises(TypeError):
        xdlms.GetResponseNormal(b"\x00").to_bytes()


def test_empty_release_is_refused() -> None:
    with pytest.raises(IndexError):
        acse.ReleaseRequest.from_bytes(b"\x62\x00")
    assert apdus.decode(b"\x62\x00") == apdus.Rlrq(None)
    assert apdus.decode(b"\x63\x00") == apdus.Rlre(None)
    assert apdus.encode(apdus.Rlre(None)) == b"\x63\x00"


def test_unknown_codes_and_classes_raise() -> None:
    with pytest.raises(ValueError, match="77"):
        xdlms.GetResponseFactory.from_bytes(bytes.fromhex("c401c1014d"))
    assert apdus.decode(bytes.fromhex("c401c1014d")) == apdus.GetError(1, 77)
    with pytest.raises(ValueError, match="8192"):
        cosem.CosemAttribute.from_bytes(bytes.fromhex("20000100010800ff02"))


def test_proposed_conformance_loses_its_first_byte() -> None:
    aarq = apdus.encode(apdus.Aarq(conformance=("general_protection", "get")))
    request = acse.ApplicationAssociationRequest.from_bytes(aarq)  # type: ignore[no-untyped-call]
    assert not request.user_information.content.proposed_conformance.general_protection
    decoded = apdus.decode(aarq)
    assert isinstance(decoded, apdus.Aarq)
    assert decoded.conformance == ("general_protection", "get")


def test_initiate_request_with_quality_of_service() -> None:
    plain = apdus.encode(apdus.Aarq(1, b"12345678", 1200))
    at = plain.index(bytes.fromhex("01000000065f1f"))
    for optional, extra in (("0100000100065f1f", 1), ("0100010100065f1f", 2)):
        raw = bytearray(plain[:at] + bytes.fromhex(optional) + plain[at + 7 :])
        if extra == 2:  # response-allowed FALSE is sent as 01 00
            raw = bytearray(plain[:at] + bytes.fromhex("010001000100065f1f") + plain[at + 7 :])
        raw[1] += extra
        raw[at - 1] += extra
        raw[at - 3] += extra
        decoded = apdus.decode(bytes(raw))
        assert isinstance(decoded, apdus.Aarq)
        assert (decoded.password, decoded.max_pdu) == (b"12345678", 1200)
        with pytest.raises(Exception):  # noqa: B017 - whatever it is, it is no request
            acse.ApplicationAssociationRequest.from_bytes(bytes(raw))  # type: ignore[no-untyped-call]


def test_bad_initiate_response_prints(capsys: pytest.CaptureFixture[str]) -> None:
    good = apdus.encode(apdus.Aare(0, 1, 0, 500, ("get",)))
    bad = good.replace(b"\x5f\x1f\x04", b"\x5f\x1e\x04")
    with pytest.raises(ValueError, match="conformance"):
        acse.ApplicationAssociationResponse.from_bytes(bad)
    assert capsys.readouterr().out
    with pytest.raises(FrameError):
        apdus.decode(bad)
    assert not capsys.readouterr().out


def test_the_mechanism_enumeration_is_the_one_we_number_by() -> None:
    assert enumerations.AuthenticationMechanism.NONE.value == apdus.NO_AUTHENTICATION
    assert enumerations.AuthenticationMechanism.LLS.value == apdus.LLS


def test_nothing_that_logs_or_does_io_is_imported() -> None:
    code = (
        "import sys, protocols.dlms.exchange, protocols.dlms.describe, protocols.dlms.bulk;"
        "print([m for m in sys.modules if m in ('structlog', 'asyncio', 'socket', 'logging')"
        " or m.startswith(('dlms_cosem.io', 'dlms_cosem.client', 'dlms_cosem.connection', 'dlms_cosem.state',"
        " 'dlms_cosem.hdlc'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.strip()
    assert "dlms_cosem" not in loaded
    assert "structlog" not in loaded


def test_general_ciphering_over_127_bytes_has_a_wrong_length() -> None:
    control = security.SecurityControlField(security_suite=0, authenticated=True, encrypted=True)
    broken = xdlms.GeneralGlobalCipher(b"MMM\x00\x00\xbcaN", control, 1, bytes(200)).to_bytes()
    assert broken[10] == 205  # CDH announces 77 length bytes
    ours = ciphering.seal(
        bytes((0xC4, 1, 0xC1, 0)) + bytes(200), Form.GENERAL_GLO, Control(), 1,
        title=b"MMM\x00\x00\xbcaN", key=bytes(16), authentication=bytes(16),
    )  # fmt: skip
    assert ours[10] == 0x81


@pytest.mark.parametrize(
    "raw",
    [
        "c103c1010000000100",  # SET with a further data block
        "c306c1010000000100",  # ACTION with a further block
        "c81e3001234567411312ff935a47566827c467bc7d825c3be4a77c3fcc056b6b",  # glo-get-request
        "e080000100000401020304",  # general block transfer
        "050102fa00",  # a Read with short names
    ],
)
def test_apdus_that_it_does_not_know(raw: str) -> None:
    with pytest.raises(Exception):  # noqa: B017 - KeyError, ValueError, whatever
        connection.XDlmsApduFactory.apdu_from_bytes(bytes.fromhex(raw))  # type: ignore[no-untyped-call]
    assert apdus.encode(apdus.decode(bytes.fromhex(raw))).hex() == raw


def test_no_bits_for_short_names_in_its_conformance() -> None:
    known = set(xdlms.Conformance.conformance_bit_position)
    assert {"read", "write", "unconfirmed_write", "information_report", "parameterized_access"} == {
        name for name in CONFORMANCE_BITS if name not in known
    }


def test_no_selected_columns() -> None:
    column = CaptureObject(
        cosem.CosemAttribute(enumerations.CosemInterface.CLOCK, cosem.Obis(0, 0, 1, 0, 0, 255), 2)
    )
    when = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    with pytest.raises(NotImplementedError):
        selective_access.RangeDescriptor(column, when, when, [column]).to_bytes()


def test_compact_arrays_are_not_decoded() -> None:
    raw = bytes.fromhex("13010002110401020304")
    with pytest.raises(NotImplementedError):
        dlms_data.DlmsDataParser().parse(raw, limit=1)
    assert values.plain(values.decode(raw)) == [[1, 2], [3, 4]]
