"""Both sides of an association against each other: mechanisms, envelopes, counters, policies; and what must not pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms import ciphering, hls, policy
from protocols.dlms import keys as keyring
from protocols.dlms.ciphering import WRAPPED, Control, Form, Header, KeyInfo, outline
from protocols.dlms.keys import Keys
from protocols.dlms.policy import (
    AUTHENTICATED,
    BOTH,
    ENCRYPTED,
    NOTHING,
    Guard,
    Policy,
    decode_policy,
    encode_policy,
)
from protocols.dlms.protection import LN, LN_CIPHERED, SN, SN_CIPHERED, Opening, Protection
from protocols.dlms.security import ClientSecurity, Heard, ServerSecurity, Side
from protocols.errors import FrameError, Misuse, Refused

CLIENT, SERVER = b"CLI\x00\x00\x00\x00\x01", b"MMM\x00\x00\xbcaN"
CTOS, STOC = bytes(range(64, 96)), bytes(range(32, 64))
KEYS = Keys(0, bytes(range(16)), bytes(range(0xD0, 0xE0)))
INITIATE = bytes.fromhex("01000000065f1f0400007e1f04b0")
ACCEPT = bytes.fromhex("0800065f1f0400007c1f04000007")
GET = bytes.fromhex("c001c100080000010000ff0200")
ANSWER = bytes.fromhex("c401c1000600001391")
PUSH = bytes.fromhex("0f000001db00090100")


def counting(start: int = 1) -> Callable[[], int]:
    numbers: Iterator[int] = count(start)
    return lambda: next(numbers)


def sides(**both: Any) -> tuple[Side, Side]:
    mechanism = both.get("mechanism", hls.NONE)
    high = mechanism > hls.LLS
    return (
        Side(title=CLIENT, challenge=CTOS if high else None, **both),
        Side(title=SERVER, challenge=STOC if high else None, **both),
    )


def pair(**both: Any) -> tuple[ClientSecurity, ServerSecurity]:
    mine, theirs = sides(**both)
    return (
        ClientSecurity(mine, next_counter=counting()),
        ServerSecurity(theirs, next_counter=counting(1000)),
    )


def associate(client: ClientSecurity, server: ServerSecurity) -> None:
    """AARQ, AARE and, for HLS, passes 3 and 4; each message as the exchange carries it."""
    server.meet(client.opening())
    assert server.open(client.seal(INITIATE))[-12:] == INITIATE[-12:]
    client.meet(server.opening())
    assert client.open(server.seal(ACCEPT)) == ACCEPT
    assert client.high == server.high
    if client.high:
        server.verify(server.open(client.seal(b"\xc3" + client.prove()))[1:])
        client.verify(client.open(server.seal(b"\xc7" + server.prove()))[1:])


def talk(client: ClientSecurity, server: ServerSecurity) -> tuple[bytes, bytes]:
    """One request and its response as they were on the wire."""
    request = client.seal(GET)
    assert server.open(request) == GET
    response = server.seal(ANSWER)
    assert client.open(response) == ANSWER
    return request, response


SIGNING = [keyring.private_key(1, bytes(31) + bytes((n,))) for n in (21, 22)]
MECHANISMS: dict[int, dict[str, Any]] = {
    hls.NONE: {},
    hls.LLS: {"secret": b"12345678"},
    hls.MANUFACTURER: {"secret": b"s3cret", "manufacturer": lambda challenge, secret: challenge[::-1] + secret},
    hls.MD5: {"secret": b"s3cret"},
    hls.SHA1: {"secret": b"s3cret"},
    hls.GMAC: {"keys": KEYS},
    hls.SHA256: {"secret": b"s3cret"},
    hls.ECDSA: {},
}  # fmt: skip


def pair_of(mechanism: int, **both: Any) -> tuple[ClientSecurity, ServerSecurity]:
    given = {"mechanism": mechanism, **MECHANISMS[mechanism], **both}
    if mechanism != hls.ECDSA:
        return pair(**given)
    first, second = SIGNING
    mine = Side(title=CLIENT, challenge=CTOS, signer=first, peer_signer=second.public_key(), **given)
    theirs = Side(title=SERVER, challenge=STOC, signer=second, peer_signer=first.public_key(), **given)
    return ClientSecurity(mine, next_counter=counting()), ServerSecurity(theirs, next_counter=counting(1000))


# --- associations ---


def test_both_are_protections() -> None:
    both: list[Protection] = list(pair())
    assert len(both) == 2


@pytest.mark.parametrize("ciphered", [False, True])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_every_mechanism(mechanism: int, ciphered: bool) -> None:
    client, server = pair_of(mechanism, **({"keys": KEYS, "policy": BOTH} if ciphered else {}))
    associate(client, server)
    request, response = talk(client, server)
    assert (request == GET) is not ciphered
    assert (response == ANSWER) is not ciphered


@pytest.mark.parametrize("mechanism", [m for m in MECHANISMS if m > hls.LLS])
def test_a_wrong_proof_is_refused(mechanism: int) -> None:
    client, server = pair_of(mechanism)
    server.meet(client.opening())
    client.meet(server.opening())
    proof = client.prove()
    for wrong in (b"", proof[:-1], proof + b"\x00", bytes(len(proof)), proof[:-1] + bytes((proof[-1] ^ 1,))):
        with pytest.raises(FrameError):
            server.verify(wrong)
    with pytest.raises(FrameError):  # our own proof, sent back to us
        client.verify(proof)
    server.verify(proof)


@pytest.mark.parametrize("mechanism", [m for m in MECHANISMS if m > hls.LLS])
def test_a_proof_for_another_challenge_is_refused(mechanism: int) -> None:
    client, server = pair_of(mechanism)
    server.meet(client.opening())
    client.meet(server.opening())
    proof = client.prove()
    _, again = pair_of(mechanism)
    again = ServerSecurity(replace(again._side, challenge=bytes(32)), next_counter=counting())
    again.meet(client.opening())
    with pytest.raises(FrameError):
        again.verify(proof)


def test_a_challenge_serves_one_association() -> None:
    client, server = pair_of(hls.MD5)
    associate(client, server)
    _, again = pair_of(hls.MD5)
    with pytest.raises(Misuse, match="serves one association"):
        associate(client, again)
    client, _ = pair_of(hls.MD5)
    with pytest.raises(Misuse, match="serves one association"):
        associate(client, server)


def test_fresh_challenges_for_each_association() -> None:
    """What was answered in one is worth nothing in the next, also where no counter guards it."""
    numbers = count(1)
    fresh = lambda: bytes((next(numbers),)) * 16  # noqa: E731
    mine, theirs = (replace(side, challenge=fresh) for side in sides(mechanism=hls.MD5, secret=b"s3cret"))
    client, server = ClientSecurity(mine), ServerSecurity(theirs)
    seen = set()
    for _ in range(3):
        associate(client, server)
        seen |= {client._challenge, server._challenge}
    assert len(seen) == 6
    asked = client.opening()
    assert asked.secret not in seen
    assert asked == client.opening()  # until it has met a peer it stays
    server.meet(asked)
    client.meet(server.opening())
    old = client.prove()
    server.meet(client.opening())
    with pytest.raises(FrameError, match="does not fit"):
        server.verify(old)
    with pytest.raises(Misuse, match="own challenge: 3 bytes"):
        ClientSecurity(replace(mine, challenge=lambda: b"abc")).opening()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"mechanism": hls.NONE, "secret": None}, 14),
        ({"mechanism": hls.MD5}, 11),
        ({"secret": b"wrong"}, 13),
        ({"secret": None}, 13),
        ({"context": LN_CIPHERED}, 2),
        ({"context": SN}, 2),
        ({"context": 9}, 2),
    ],
)
def test_the_server_refuses_with_the_diagnostic(change: dict[str, Any], code: int) -> None:
    client, server = pair(mechanism=hls.LLS, secret=b"12345678")
    with pytest.raises(Refused) as caught:
        server.meet(replace(client.opening(), **change))
    assert caught.value.code == code
    assert "12345678" not in str(caught.value)
    server.meet(client.opening())


def test_the_policy_demands_a_ciphered_context() -> None:
    _, server = pair(keys=KEYS, policy=BOTH)
    plain, _ = pair()
    with pytest.raises(Refused) as caught:
        server.meet(plain.opening())
    assert caught.value.code == 2


def test_the_client_refuses_another_context_or_mechanism() -> None:
    client, _ = pair(mechanism=hls.GMAC, keys=KEYS, policy=BOTH)
    with pytest.raises(Refused, match="application context 1, asked for 3"):
        client.meet(Opening(LN, hls.GMAC, SERVER, STOC))
    with pytest.raises(Refused, match="mechanism 3, asked for 5"):
        client.meet(Opening(LN_CIPHERED, hls.MD5, SERVER, STOC))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"title": None}, "system title: missing"),
        ({"title": b"short"}, "system title: 5 bytes, must be 8"),
        ({"title": CLIENT}, "both sides have the same"),
        ({"secret": None}, "challenge: 0 bytes"),
        ({"secret": bytes(7)}, "challenge: 7 bytes"),
        ({"secret": bytes(65)}, "challenge: 65 bytes"),
        ({"secret": CTOS}, "sent our own back"),
    ],
)
def test_titles_and_challenges_that_will_not_do(change: dict[str, Any], words: str) -> None:
    client, _ = pair(mechanism=hls.GMAC, keys=KEYS, policy=BOTH)
    with pytest.raises(FrameError, match=words):
        client.meet(replace(Opening(LN_CIPHERED, hls.GMAC, SERVER, STOC), **change))


def test_the_meter_that_is_expected() -> None:
    mine, _ = sides(mechanism=hls.GMAC, keys=KEYS)
    client = ClientSecurity(mine, next_counter=counting(), peer_title=SERVER)
    client.meet(Opening(LN, hls.GMAC, SERVER, STOC))
    with pytest.raises(FrameError, match="another than the one that is expected"):
        client.meet(Opening(LN, hls.GMAC, b"ANOTHER!", STOC))


def test_contexts() -> None:
    for both, context in (
        ({}, LN), ({"short_names": True}, SN), ({"keys": KEYS, "policy": BOTH}, LN_CIPHERED),
        ({"keys": KEYS, "policy": BOTH, "short_names": True}, SN_CIPHERED), ({"keys": KEYS}, LN),
    ):  # fmt: skip
        client, server = pair(**both)
        assert client.opening().context == context
        server.meet(client.opening())
        assert server.opening().context == context


# --- envelopes ---


@pytest.mark.parametrize("form", [Form.GLO, Form.GENERAL_GLO, Form.GENERAL])
@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize("what", [AUTHENTICATED, ENCRYPTED, BOTH])
def test_every_envelope_suite_and_policy(form: Form, suite: int, what: Policy) -> None:
    size = ciphering.KEY_LENGTHS[suite]
    keys = Keys(suite, bytes(range(size)), bytes(range(40, 40 + size)))
    client, server = pair(keys=keys, policy=what, form=form)
    associate(client, server)
    for raw in talk(client, server):
        told = outline(raw)
        assert told.form is form
        assert told.suite == suite
        assert Guard(told.authenticated, told.encrypted) == what.request
    request = outline(client.seal(GET))
    if request.header is not None:
        assert (request.header.originator, request.header.recipient) == (CLIENT, SERVER)


def test_dedicated_key() -> None:
    keys = replace(KEYS, dedicated=bytes(range(0x50, 0x60)))
    mine = Side(title=CLIENT, keys=keys, policy=BOTH)
    theirs = Side(title=SERVER, keys=KEYS, policy=BOTH)
    for form, wanted in ((Form.GLO, Form.DED), (Form.GENERAL_GLO, Form.GENERAL_DED)):
        client = ClientSecurity(replace(mine, form=form), next_counter=counting())
        server = ServerSecurity(theirs, next_counter=counting())
        server.meet(
            replace(client.opening(), dedicated=None)
        )  # it is not in the AARQ, but in the InitiateRequest
        sealed = client.seal(INITIATE)
        assert outline(sealed).tag == 33
        opened = server.open(sealed)
        assert opened == INITIATE[:1] + b"\x01\x10" + bytes(range(0x50, 0x60)) + INITIATE[2:]
        client.meet(server.opening())
        reply = server.seal(ACCEPT)
        assert outline(reply).tag == 40
        client.open(reply)
        for raw in talk(client, server):
            assert outline(raw).form is wanted
        assert outline(client.seal(INITIATE)).tag == 33  # an RLRQ carries it again, under the global key


def test_the_initiate_may_bring_the_dedicated_key_itself() -> None:
    keys = replace(KEYS, dedicated=bytes(range(0x50, 0x60)))
    client, server = pair(keys=keys, policy=BOTH)
    assert client.opening().dedicated == keys.dedicated
    server.meet(client.opening())
    brought = INITIATE[:1] + b"\x01\x10" + bytes(range(0x50, 0x60)) + INITIATE[2:]
    assert server.open(client.seal(brought)) == brought
    with pytest.raises(Misuse, match="another dedicated key"):
        client.seal(INITIATE[:1] + b"\x01\x10" + bytes(16) + INITIATE[2:])


@pytest.mark.parametrize("body", ["01", "0101", "010110aabb", "0102", "010105aabbccddee00"])
def test_a_dedicated_key_that_is_none(body: str) -> None:
    client, server = pair(keys=KEYS, policy=BOTH)
    server.meet(client.opening())
    with pytest.raises(FrameError, match="dedicated key"):
        server.open(client.seal(bytes.fromhex(body)))


def test_a_dedicated_key_in_clear_is_refused() -> None:
    _, server = pair(keys=KEYS)
    server.meet(Opening(LN))
    with pytest.raises(FrameError, match="dedicated key that is not encrypted"):
        server.open(INITIATE[:1] + b"\x01\x10" + bytes(16) + INITIATE[2:])


def test_broadcast() -> None:
    keys = replace(KEYS, broadcast=bytes(range(0x30, 0x40)))
    mine, theirs = sides(keys=keys, policy=BOTH)
    server = ServerSecurity(theirs, next_counter=counting())
    client = ClientSecurity(replace(mine, broadcast=True), next_counter=counting())
    server.meet(client.opening())
    for form in (Form.GLO, Form.GENERAL_GLO, Form.GENERAL):
        client = ClientSecurity(
            replace(mine, broadcast=True, form=form), next_counter=counting(form is Form.GLO or 50)
        )
        client.meet(Opening(LN_CIPHERED, title=SERVER))
        if form is Form.GENERAL:
            client = ClientSecurity(
                replace(mine, broadcast=True, form=form), next_counter=counting(90), peer_title=SERVER
            )
        raw = client.seal(GET)
        assert outline(raw).broadcast_key is (form is not Form.GENERAL)
        assert server.open(raw) == GET
    bare = ServerSecurity(replace(theirs, keys=KEYS), next_counter=counting())
    bare.meet(client.opening())
    with pytest.raises(FrameError, match="no broadcast key"):
        bare.open(raw)


def test_a_push_without_a_tag_of_its_own_goes_general() -> None:
    client, server = pair(keys=KEYS, policy=BOTH)
    associate(client, server)
    raw = server.seal(PUSH)
    assert outline(raw).name == "general-glo-ciphering"
    assert client.open(raw) == PUSH


def test_a_push_without_association() -> None:
    """Whose keys are meant is what its title says; the caller looks them up, and no association is needed."""
    mine, theirs = sides(keys=KEYS, policy=BOTH)
    raw = ServerSecurity(theirs, next_counter=counting(485)).seal(PUSH)
    assert outline(raw).system_title == SERVER
    heard = Heard()
    listener = ClientSecurity(mine, next_counter=counting(), heard=heard, peer_title=SERVER)
    assert listener.open(raw) == PUSH
    assert heard.last == {(SERVER, "unicast"): 485}
    with pytest.raises(FrameError, match="must be above 485"):
        listener.open(raw)


def test_who_says_no_may_say_it_in_clear() -> None:
    client, server = pair(keys=KEYS, policy=BOTH)
    associate(client, server)
    for refusal in (b"\xd8\x01\x02", bytes.fromhex("0e010601")):
        assert server.seal(refusal) == refusal
        assert client.open(refusal) == refusal


def test_the_server_answers_in_kind() -> None:
    """Policy nothing, but the client ciphers: so does the answer (Green Book 9.2.7.3)."""
    mine, theirs = sides(keys=KEYS)
    client = ClientSecurity(replace(mine, policy=BOTH), next_counter=counting())
    server = ServerSecurity(theirs, next_counter=counting())
    associate(client, server)
    _, response = talk(client, server)
    assert outline(response).control == Control()


# --- what must not pass ---


def ready(**both: Any) -> tuple[ClientSecurity, ServerSecurity]:
    client, server = pair(**{"keys": KEYS, "policy": BOTH, **both})
    associate(client, server)
    return client, server


def test_clear_text_is_refused_where_ciphering_is_agreed() -> None:
    client, server = ready()
    with pytest.raises(FrameError, match="tag 196 in clear, agreed is authenticated and encrypted"):
        client.open(ANSWER)
    with pytest.raises(FrameError, match="tag 192 in clear"):
        server.open(GET)
    for raw, words in ((b"", "empty"), (b"\xe0\x00", "general-block-transfer is joined first")):
        with pytest.raises(FrameError, match=words):
            client.open(raw)


@pytest.mark.parametrize(
    "less", [Control(0, True, False), Control(0, False, True), Control(1, True, True)], ids=["10", "20", "31"]
)
def test_less_protection_than_agreed_is_refused(less: Control) -> None:
    client, _ = ready()
    raw = ciphering.seal(
        ANSWER, Form.GLO, less, 2000, title=SERVER, key=KEYS.unicast, authentication=KEYS.authentication
    )
    with pytest.raises(FrameError, match="agreed is"):
        client.open(raw)


def test_ciphered_without_keys() -> None:
    client, _ = pair()
    with pytest.raises(FrameError, match="has no keys"):
        client.open(bytes.fromhex("c81e3001234567411312ff935a47566827c467bc7d825c3be4a77c3fcc056b6b"))


def test_another_sender_or_recipient() -> None:
    client, _ = ready()
    given: dict[str, Any] = {"key": KEYS.unicast, "authentication": KEYS.authentication}
    for title, header, words in (
        (b"SOMEBODY", None, "another system title"),
        (CLIENT, None, "another system title"),
        (SERVER, Header(b"", SERVER, b"SOMEBODY"), "another recipient"),
        (SERVER, Header(b"", SERVER, CLIENT, key=KeyInfo(WRAPPED, 0, b"", bytes(24))), "key of its own"),
    ):
        form = Form.GENERAL_GLO if header is None else Form.GENERAL
        raw = ciphering.seal(ANSWER, form, Control(), 5000, title=title, header=header, **given)
        with pytest.raises(FrameError, match=words):
            client.open(raw)
    raw = ciphering.seal(ANSWER, Form.DED, Control(), 5000, title=SERVER, **given)
    with pytest.raises(FrameError, match="no dedicated key"):
        client.open(raw)
    alone = ClientSecurity(sides(keys=KEYS, policy=BOTH)[0], next_counter=counting())
    raw = ciphering.seal(ANSWER, Form.GLO, Control(), 5000, title=SERVER, **given)
    with pytest.raises(FrameError, match="system title is not known"):
        alone.open(raw)
    raw = ciphering.seal(ANSWER, Form.GENERAL_GLO, Control(), 5000, title=CLIENT, **given)
    with pytest.raises(FrameError, match="our own system title"):
        alone.open(raw)


def test_a_replay_is_refused_and_named() -> None:
    client, server = ready()
    request, response = talk(client, server)
    with pytest.raises(
        FrameError, match=r"invocation counter \d+: must be above \d+, the last one under this unicast key"
    ):
        server.open(request)
    with pytest.raises(FrameError, match="must be above"):
        client.open(response)
    talk(client, server)


def test_a_forged_counter_does_not_lock_the_meter_out() -> None:
    client, server = ready()
    genuine = server.seal(ANSWER)
    forged = genuine[:3] + b"\xff\xff\xff\xff" + genuine[7:]
    with pytest.raises(FrameError, match="does not fit"):
        client.open(forged)
    assert client.open(genuine) == ANSWER


def test_counters_outlive_the_association() -> None:
    mine, theirs = sides(keys=KEYS, policy=BOTH)
    heard, sent = Heard(), counting()
    client = ClientSecurity(mine, next_counter=sent, heard=heard)
    associate(client, ServerSecurity(theirs, next_counter=counting(7)))
    stored = dict(heard.last)
    assert stored == {(SERVER, "unicast"): 7}
    again = ClientSecurity(mine, next_counter=sent, heard=Heard(stored))
    with pytest.raises(FrameError, match="counter 7: must be above 7"):
        associate(again, ServerSecurity(theirs, next_counter=counting(7)))
    again = ClientSecurity(mine, next_counter=sent, heard=heard)
    heard.forget(SERVER, "unicast")  # a new key: a new count
    associate(again, ServerSecurity(theirs, next_counter=counting(7)))


def test_dedicated_counters_begin_anew() -> None:
    keys = replace(KEYS, dedicated=bytes(range(0x50, 0x60)))
    heard = Heard()
    mine, theirs = sides(keys=keys, policy=BOTH)
    for start in (10, 20):
        client = ClientSecurity(mine, next_counter=counting(start), heard=heard)
        server = ServerSecurity(replace(theirs, keys=KEYS), next_counter=counting(start))
        associate(client, server)
        _, response = talk(client, server)
        with pytest.raises(FrameError, match="under this dedicated key"):
            client.open(response)
    assert set(heard.last) == {(SERVER, "unicast")}


def test_send_counters_must_rise_and_end() -> None:
    numbers = iter((5, 5, 4, 6, 2**32 - 1, 2**32))
    client = ClientSecurity(
        sides(keys=KEYS, policy=BOTH)[0], next_counter=lambda: next(numbers), peer_title=SERVER
    )
    client.seal(GET)
    for _ in range(2):
        with pytest.raises(Misuse, match="must be above 5"):
            client.seal(GET)
    assert outline(client.seal(GET)).counter == 6
    assert outline(client.seal(GET)).counter == 2**32 - 1
    with pytest.raises(Misuse, match="the key must be changed"):
        client.seal(GET)


def test_a_counter_that_cannot_be_persisted_stops_the_message() -> None:
    def fails() -> int:
        raise OSError("disk full")

    client = ClientSecurity(sides(keys=KEYS, policy=BOTH)[0], next_counter=fails, peer_title=SERVER)
    with pytest.raises(OSError, match="disk full"):
        client.seal(GET)


def test_a_proof_takes_a_counter_of_its_own() -> None:
    """No nonce serves twice: not for the proof and the message that carries it either."""
    client, server = pair(mechanism=hls.GMAC, keys=KEYS, policy=BOTH)
    server.meet(client.opening())
    first = client.seal(INITIATE)
    server.open(first)
    client.meet(server.opening())
    client.open(server.seal(ACCEPT))
    proof = client.prove()
    action = client.seal(b"\xc3" + proof)
    counters = [outline(first).counter, int.from_bytes(proof[1:5], "big"), outline(action).counter]
    assert counters == [1, 2, 3]
    server.verify(server.open(action)[1:])


def test_an_old_proof_is_refused_by_its_counter() -> None:
    """Its tag fits (same challenge), but its number is not above what came before the message that brings it."""
    client, server = pair(mechanism=hls.GMAC, keys=KEYS, policy=BOTH)
    server.meet(client.opening())
    client.meet(server.opening())
    proof = client.prove()
    server.open(client.seal(INITIATE))
    server.open(client.seal(GET))
    with pytest.raises(FrameError, match="invocation counter 1: must be above 2"):
        server.verify(proof)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=30))
def test_receive_counters_accept_exactly_what_rises(numbers: list[int]) -> None:
    mine, _ = sides(keys=KEYS, policy=BOTH)
    client = ClientSecurity(mine, next_counter=counting(), peer_title=SERVER)
    highest = -1
    for number in numbers:
        raw = ciphering.seal(
            ANSWER, Form.GLO, Control(), number,
            title=SERVER, key=KEYS.unicast, authentication=KEYS.authentication,
        )  # fmt: skip
        if number > highest:
            assert client.open(raw) == ANSWER
            highest = number
        else:
            with pytest.raises(FrameError, match="must be above"):
                client.open(raw)


@given(st.binary(max_size=120), st.sampled_from([0, 200, 204, 212, 219, 220, 221, 33, 40, 216, 1]))
def test_any_bytes_give_an_apdu_or_a_complaint(body: bytes, tag: int) -> None:
    for protection in ready():
        before = dict(protection._heard.last)
        with contextlib.suppress(FrameError):
            protection.open(bytes((tag,)) + body)
        assert protection._heard.last == before  # nothing of this was authentic


# --- what does not go together, and what never shows ---


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"mechanism": 8}, "mechanism 8 is not defined"),
        ({"mechanism": hls.LLS}, "secret is needed"),
        ({"mechanism": hls.MD5, "challenge": CTOS}, "secret is needed"),
        ({"mechanism": hls.MD5, "secret": b"x"}, "own challenge: 0 bytes"),
        ({"mechanism": hls.MD5, "secret": b"x", "challenge": bytes(7)}, "own challenge: 7 bytes"),
        ({"mechanism": hls.GMAC, "challenge": CTOS, "title": CLIENT}, "keys are needed"),
        ({"mechanism": hls.GMAC, "challenge": CTOS, "keys": KEYS}, "system title of 8 bytes"),
        ({"mechanism": hls.ECDSA, "challenge": CTOS, "title": CLIENT}, "both signature keys"),
        ({"mechanism": hls.MANUFACTURER, "challenge": CTOS, "secret": b"x"}, "manufacturer's function"),
        ({"policy": BOTH, "title": CLIENT}, "keys are needed"),
        ({"policy": BOTH, "keys": KEYS}, "system title"),
        ({"policy": BOTH, "keys": KEYS, "title": CLIENT, "broadcast": True}, "no broadcast key"),
        ({"policy": BOTH, "keys": KEYS, "title": CLIENT, "form": Form.DED}, "makes it the dedicated one"),
        ({"policy": Policy(Guard(True, True, True)), "keys": KEYS, "title": CLIENT}, "signing"),
        ({"keys": replace(KEYS, dedicated=bytes(16))}, "policy that encrypts"),
    ],
)
def test_what_does_not_go_together(given_: dict[str, Any], words: str) -> None:
    with pytest.raises(Misuse, match=words):
        Side(**given_)


def test_more_misuse() -> None:
    mine, _ = sides(mechanism=hls.GMAC, keys=KEYS, policy=BOTH)
    for kind in (ClientSecurity, ServerSecurity):
        with pytest.raises(Misuse, match="need next_counter"):
            kind(mine)
    client = ClientSecurity(mine, next_counter=counting())
    with pytest.raises(Misuse, match="no challenge to answer"):
        client.prove()
    for apdu in (b"", b"\xc8\x00", b"\xdb\x00", b"\xe0\x00"):
        with pytest.raises(Misuse, match="one plain APDU"):
            client.seal(apdu)


def test_nothing_secret_shows() -> None:
    keys = Keys(
        0,
        b"unicast-key-0001",
        b"authentic-key-01",
        b"broadcast-key-01",
        b"dedicated-key-01",
        b"master-key-00001",
    )
    client, server = pair_of(hls.MD5, keys=keys, policy=BOTH)
    shown = [
        repr(thing) for thing in (client, server, client._side, keys, client.opening(), server.opening())
    ]
    associate(client, server)
    for attempt in (lambda: server.verify(bytes(16)), lambda: server.open(client.seal(GET)[:-1] + b"\x00")):
        with pytest.raises(FrameError) as caught:
            attempt()
        shown.append(str(caught.value))
    secrets = [
        b"s3cret",
        CTOS,
        STOC,
        keys.unicast,
        keys.authentication,
        keys.master,
        keys.dedicated,
        keys.broadcast,
    ]
    for secret in secrets:
        assert secret is not None
        for text in shown:
            assert repr(secret)[2:-1] not in text
            assert secret.hex() not in text


# --- policies ---


def test_policy_version_0() -> None:
    for value, wanted in enumerate((NOTHING, AUTHENTICATED, ENCRYPTED, BOTH)):
        assert decode_policy(value, 0) == wanted
        assert encode_policy(wanted, 0) == value
    for value in (-1, 4, 255):
        with pytest.raises(FrameError, match="version 0 defines"):
            decode_policy(value, 0)
    with pytest.raises(Misuse, match="cannot say this"):
        encode_policy(Policy(Guard(True)), 0)


def test_policy_version_1() -> None:
    assert decode_policy(0x6C, 1) == BOTH
    assert decode_policy(0x04, 1) == Policy(Guard(True))
    assert decode_policy(0x40, 1) == Policy(Guard(), Guard(False, True))
    assert decode_policy(0x90, 1) == Policy(Guard(signed=True), Guard(signed=True))
    for value in range(256):
        if value & 3:
            with pytest.raises(FrameError, match="bits 0 and 1"):
                decode_policy(value, 1)
        else:
            assert encode_policy(decode_policy(value, 1), 1) == value
    with pytest.raises(FrameError):
        decode_policy(256, 1)
    with pytest.raises(Misuse, match="version 2"):
        decode_policy(0, 2)
    assert policy.SUITES.keys() == ciphering.KEY_LENGTHS.keys()
    assert Guard(True, True).with_(Guard(signed=True)).text == "authenticated and encrypted and signed"
