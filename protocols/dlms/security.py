"""The two sides' protection of an association: `ClientSecurity` and `ServerSecurity` are the Protections of `protection.py`.

The rules on counters (Green Book 9.2.3.3.7.3):
* sending: every sealed APDU and every GMAC proof takes a new number from `next_counter`, which the caller persists before it
  returns; one that does not rise, or passes 2^32-1, is Misuse, for the same nonce twice gives AES-GCM away;
* receiving: per peer and key the number must rise above the last one whose authentication tag fitted; else it is a replay.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

from protocols.dlms import ciphering, hls
from protocols.dlms import keys as keyring
from protocols.dlms.ciphering import IDENTIFIED, MAX_COUNTER, Control, Form, Header, KeyInfo, Outline
from protocols.dlms.keys import KeyId, Keys
from protocols.dlms.policy import NOTHING, Guard, Policy
from protocols.dlms.protection import LN, LN_CIPHERED, SN, SN_CIPHERED, Opening
from protocols.errors import FrameError, Misuse, Refused

__all__ = ["ClientSecurity", "Heard", "ServerSecurity", "Side"]

#: AARE diagnostics of the ACSE service user (IEC 62056-5-3, Associate-source-diagnostics).
CONTEXT_NOT_SUPPORTED, MECHANISM_NOT_RECOGNISED, AUTHENTICATION_FAILURE, AUTHENTICATION_REQUIRED = (
    2,
    11,
    13,
    14,
)

UNICAST, BROADCAST, DEDICATED = "unicast", "broadcast", "dedicated"
INITIATE_REQUEST, INITIATE_RESPONSE = 1, 8
BLOCK_TRANSFER: Final = 224
#: Said in clear even where all else is ciphered: a confirmed-service-error and an exception-response say no, and nothing more.
IN_CLEAR: Final = frozenset((14, 216))


class Heard:
    """The last invocation counter of each (system title, key slot) whose authentication tag fitted.

    One object per meter lives as long as the meter's keys, across associations: give it what was stored, store `last` again.
    It grows by one entry per peer and key, and only for messages that were protected with the right key.
    """

    def __init__(self, last: Mapping[tuple[bytes, str], int] | None = None) -> None:
        self.last: dict[tuple[bytes, str], int] = dict(last or {})

    def above(self, title: bytes, slot: str) -> int:
        """The number that the next one must exceed; -1 when none was heard."""
        return self.last.get((title, slot), -1)

    def check(self, title: bytes, slot: str, counter: int, floor: int | None = None) -> None:
        """FrameError if the counter does not rise: a replay, or a meter that lost count."""
        last = self.above(title, slot) if floor is None else floor
        if counter <= last:
            raise FrameError(
                f"invocation counter {counter}: must be above {last}, the last one under this {slot} key"
            )

    def note(self, title: bytes, slot: str, counter: int) -> None:
        """The counter of a message that was checked."""
        self.last[title, slot] = max(counter, self.above(title, slot))

    def forget(self, title: bytes, slot: str) -> None:
        """The key was changed: its counters begin anew."""
        self.last.pop((title, slot), None)


@dataclass(frozen=True, slots=True)
class Side:
    """What one side of an association is, holds and asks for. Misuse: what does not go together.

    mechanism     0 none, 1 LLS, 2..7 HLS
    title         its system title, 8 bytes; needed for ciphering, GMAC, SHA-256 and ECDSA
    secret        LLS password, or the HLS secret of mechanisms 2, 3, 4 and 6
    challenge     HLS: this side's, 8..64 bytes. Bytes serve one association; a function is asked for fresh ones at each
    keys          None: nothing is ciphered and GMAC cannot be
    policy        client: how it seals requests, and what it demands of responses; server: what it demands, and gives at least
    form          the envelope of requests: GLO, GENERAL_GLO or GENERAL; with `keys.dedicated` its ded- counterpart
    short_names   the application context is one of short names
    broadcast     client: requests go out under the broadcast key
    signer, peer_signer, certificate   ECDSA: own private key, the peer's public key, own certificate for the AE qualifier
    manufacturer  f(challenge, secret) of mechanism 2
    """

    mechanism: int = hls.NONE
    title: bytes | None = None
    secret: bytes | None = field(default=None, repr=False)
    challenge: bytes | Callable[[], bytes] | None = field(default=None, repr=False)
    keys: Keys | None = None
    policy: Policy = NOTHING
    form: Form = Form.GLO
    short_names: bool = False
    broadcast: bool = False
    signer: EllipticCurvePrivateKey | None = field(default=None, repr=False)
    peer_signer: EllipticCurvePublicKey | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    manufacturer: hls.Manufacturer | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, wrong in self._complaints():
            if wrong:
                raise Misuse(f"security: {name}")
        if self.mechanism > hls.LLS and not callable(self.challenge):
            self.own_challenge(self.challenge)

    def own_challenge(self, challenge: bytes | None) -> bytes:
        """The same, if it will do. Misuse: its length."""
        try:
            hls.check_challenge(challenge or b"", self.mechanism)
        except FrameError as error:
            raise Misuse(f"security: own {error.message}") from None
        return challenge or b""

    def _complaints(self) -> tuple[tuple[str, bool], ...]:
        mechanism, ciphered = self.mechanism, self.policy.protects
        titled = ciphered or mechanism in (hls.GMAC, hls.SHA256, hls.ECDSA)
        with_secret = mechanism in (hls.LLS, hls.MANUFACTURER, hls.MD5, hls.SHA1, hls.SHA256)
        dedicated = self.keys is not None and self.keys.dedicated is not None
        broadcast = self.broadcast and (self.keys is None or self.keys.broadcast is None)
        return (
            (f"mechanism {mechanism} is not defined, there are 0..7", mechanism not in hls.NAMES),
            ("a system title of 8 bytes is needed", titled and len(self.title or b"") != ciphering.TITLE),
            ("keys are needed", self.keys is None and (ciphered or mechanism == hls.GMAC)),
            ("the mechanism's secret is needed", with_secret and self.secret is None),
            ("both signature keys are needed", mechanism == hls.ECDSA and None in (self.signer, self.peer_signer)),
            ("the manufacturer's function is needed", mechanism == hls.MANUFACTURER and self.manufacturer is None),
            ("a dedicated key needs a policy that encrypts requests", dedicated and not self.policy.request.encrypted),
            ("there is no broadcast key", broadcast),
            ("signed messages are made and checked with `signing`, not here",
             self.policy.request.signed or self.policy.response.signed),
            ("give the form GLO or GENERAL_GLO; a dedicated key makes it the dedicated one", self.form.dedicated),
        )  # fmt: skip


class _Security:
    """What both sides do alike."""

    def __init__(
        self,
        side: Side,
        *,
        next_counter: Callable[[], int] | None = None,
        heard: Heard | None = None,
        peer_title: bytes | None = None,
    ) -> None:
        if next_counter is None and (side.policy.protects or side.mechanism == hls.GMAC):
            raise Misuse("security: ciphering and HLS-GMAC need next_counter")
        self._side = side
        self._next_counter = next_counter
        self._heard = Heard() if heard is None else heard
        self._sent = -1
        self._peer_title = peer_title
        self._peer_challenge = b""
        self._challenge: bytes | None = None
        self._used = False  # our challenge has met a peer: what was ever answered must not be asked again
        self._dedicated: bytes | None = None
        self._heard_dedicated = Heard()
        self._floor = -1  # what a GMAC proof must exceed: the counter before the message that brings it

    def __repr__(self) -> str:
        return f"{type(self).__name__}({hls.NAMES[self._side.mechanism]})"

    @property
    def high(self) -> bool:
        """Whether both sides must prove themselves."""
        return self._side.mechanism > hls.LLS

    @property
    def peer_title(self) -> bytes | None:
        """The other side's system title, once known."""
        return self._peer_title

    # --- proofs ---

    def prove(self) -> bytes:
        """f(the peer's challenge). Misuse: before it is known."""
        side = self._side
        if not self._peer_challenge:
            raise Misuse("security: there is no challenge to answer yet")
        if side.mechanism == hls.GMAC and side.keys is not None:
            return hls.gmac(self._peer_challenge, self._count(), side.title or b"", side.keys)
        given = hls.Pass(
            self._peer_challenge, self._challenge or b"", side.title or b"", self._peer_title or b""
        )
        if side.mechanism == hls.ECDSA and side.signer is not None:
            return keyring.sign(side.signer, given.message)
        if side.mechanism == hls.MANUFACTURER and side.manufacturer is not None:
            return side.manufacturer(given.challenge, side.secret or b"")
        return hls.digest(side.mechanism, given, side.secret or b"")

    def verify(self, proof: bytes) -> None:
        """The peer's f(our challenge). FrameError if it is wrong."""
        side = self._side
        challenge, title = self._challenge or b"", self._peer_title or b""
        if side.mechanism == hls.GMAC and side.keys is not None:
            counter = hls.check_gmac(proof, challenge, title, side.keys)
            self._heard.check(title, UNICAST, counter, self._floor)
            self._heard.note(title, UNICAST, counter)
            return
        given = hls.Pass(challenge, self._peer_challenge, title, side.title or b"")
        if side.mechanism == hls.ECDSA and side.peer_signer is not None:
            keyring.check_signature(side.peer_signer, proof, given.message)
        elif side.mechanism == hls.MANUFACTURER and side.manufacturer is not None:
            hls.check_equal(side.manufacturer(given.challenge, side.secret or b""), proof)
        else:
            hls.check_digest(side.mechanism, given, side.secret or b"", proof)

    # --- messages ---

    def _seal(self, apdu: bytes, guard: Guard, form: Form, transaction: bytes | None = None) -> bytes:
        side = self._side
        if not apdu or apdu[0] in ciphering.TAGS or apdu[0] == BLOCK_TRANSFER:
            raise Misuse(
                "security: what is sealed is one plain APDU; blocks are cut from sealed ones, not sealed"
            )
        if not guard.any or side.keys is None or apdu[0] in IN_CLEAR:
            return apdu
        if apdu[0] in (INITIATE_REQUEST, INITIATE_RESPONSE):
            form = Form.GLO  # the dedicated key is inside the request, so it cannot protect it
        elif form in _GENERAL_OF and apdu[0] not in ciphering.SERVICES:
            form = _GENERAL_OF[form]
        slot = DEDICATED if form.dedicated else BROADCAST if side.broadcast else UNICAST
        counter = self._count()
        header = None
        if form is Form.GENERAL:
            key_id = KeyId.BROADCAST if slot == BROADCAST else KeyId.UNICAST
            header = Header(
                counter.to_bytes(8, "big") if transaction is None else transaction,
                side.title or b"", self._peer_title or b"", key=KeyInfo(IDENTIFIED, key_id),
            )  # fmt: skip
        # general-ciphering names its key in the header: there the key-set bit "shall be set to zero"
        broadcast = slot == BROADCAST and form is not Form.GENERAL
        return ciphering.seal(
            apdu, form, Control(side.keys.suite, guard.authenticated, guard.encrypted, broadcast), counter,
            title=side.title or b"", key=self._key(slot), authentication=side.keys.authentication, header=header,
        )  # fmt: skip

    def _open(self, raw: bytes, guard: Guard) -> tuple[bytes, Outline | None]:
        side = self._side
        if not ciphering.is_ciphered(raw):
            return self._in_clear(raw, guard), None
        if side.keys is None:
            raise FrameError("security: a ciphered APDU, but this association has no keys", 0)
        told = ciphering.outline(raw)
        if told.suite != side.keys.suite:
            raise FrameError(f"{told.name}: security suite {told.suite}, agreed is {side.keys.suite}")
        if guard.authenticated > told.authenticated or guard.encrypted > told.encrypted:
            raise FrameError(f"{told.name}: is {told.control.text}, agreed is {guard.text}")
        title, slot = self._sender(told), _slot(told)
        apdu = ciphering.unseal(
            raw, key=self._key(slot), authentication=side.keys.authentication, title=title
        )
        heard = self._heard_under(slot)
        before = heard.above(title, slot)
        heard.check(title, slot, told.counter)
        heard.note(title, slot, told.counter)
        self._floor = before if slot == UNICAST else self._heard.above(title, UNICAST)
        self._peer_title = title
        return apdu, told

    def _in_clear(self, raw: bytes, guard: Guard) -> bytes:
        if not raw:
            raise FrameError("security: an empty APDU", 0)
        if raw[0] == BLOCK_TRANSFER:
            raise FrameError("security: general-block-transfer is joined first, then opened", 0)
        if guard.any and raw[0] not in IN_CLEAR:
            raise FrameError(f"security: an APDU with tag {raw[0]} in clear, agreed is {guard.text}", 0)
        return raw

    def _sender(self, told: Outline) -> bytes:
        """The title whose keys and counters are meant: the one in the message must be the one we talk to."""
        title = told.system_title or self._peer_title
        if title is None:
            raise FrameError(f"{told.name}: the sender's system title is not known")
        if self._peer_title not in (None, title):
            raise FrameError(f"{told.name}: comes from another system title than this association's")
        if title == self._side.title:
            raise FrameError(f"{told.name}: carries our own system title")
        if told.header is not None and told.header.recipient not in (b"", self._side.title):
            raise FrameError(f"{told.name}: is meant for another recipient")
        return title

    def _key(self, slot: str) -> bytes:
        keys = self._side.keys
        found = self._dedicated if slot == DEDICATED else getattr(keys, slot)
        if not isinstance(found, bytes):
            raise FrameError(f"security: there is no {slot} key here")
        return found

    def _heard_under(self, slot: str) -> Heard:
        return self._heard_dedicated if slot == DEDICATED else self._heard

    def _count(self) -> int:
        """The next send counter, which the caller has already written down."""
        if self._next_counter is None:
            raise Misuse("security: ciphering needs next_counter")
        counter = self._next_counter()
        if counter <= self._sent:
            raise Misuse(f"security: send counter {counter} must be above {self._sent}, the last one used")
        if counter > MAX_COUNTER:
            raise Misuse(f"security: send counter {counter} is above {MAX_COUNTER}: the key must be changed")
        self._sent = counter
        return counter

    # --- meeting ---

    def _opening(self, context: int, password: bytes | None) -> Opening:
        side = self._side
        secret = self._challenge if self.high else password
        return Opening(context, side.mechanism, side.title, secret, side.certificate)

    def _draw(self) -> None:
        """Our challenge for the association that begins."""
        given = self._side.challenge
        if callable(given):
            self._challenge, self._used = self._side.own_challenge(given()), False
        elif self._challenge is None:
            self._challenge = given

    def _meet(self, peer: Opening, needs_title: bool) -> None:
        """Title and challenge of the other side."""
        side = self._side
        if peer.title is not None:
            if len(peer.title) != ciphering.TITLE:
                raise FrameError(f"system title: {len(peer.title)} bytes, must be {ciphering.TITLE}")
            if self._peer_title not in (None, peer.title):
                raise FrameError("system title: another than the one that is expected here")
            if peer.title == side.title:
                raise FrameError("system title: both sides have the same, so their nonces would meet")
            self._peer_title = peer.title
        if needs_title and self._peer_title is None:
            raise FrameError("system title: missing, and it is needed for ciphering and HLS")
        if self.high:
            challenge = peer.secret or b""
            hls.check_challenge(challenge, side.mechanism)
            if self._used:
                raise Misuse(
                    "security: a challenge serves one association; give a function that makes fresh ones"
                )
            self._used = True
            if hmac.compare_digest(challenge, self._challenge or b""):
                raise FrameError("challenge: the peer sent our own back")
            self._peer_challenge = challenge
        self._dedicated, self._heard_dedicated = None, Heard()


def _slot(told: Outline) -> str:
    """Which key a message names. FrameError: one that it brings along, which only `keys.message_key` opens."""
    if told.form.dedicated:
        return DEDICATED
    if told.form is not Form.GENERAL:
        return BROADCAST if told.broadcast_key else UNICAST
    info = told.header.key if told.header is not None else None
    if info is not None and info.kind != IDENTIFIED:
        raise FrameError(f"{told.name}: with a wrapped or agreed key of its own, agreed is an identified one")
    return BROADCAST if info is not None and info.identifier == KeyId.BROADCAST else UNICAST


#: Where a service has no tag of its own (data-notification, access), its general counterpart serves.
_GENERAL_OF: Final = {Form.GLO: Form.GENERAL_GLO, Form.DED: Form.GENERAL_DED}
_DEDICATED_OF: Final = {Form.GLO: Form.DED, Form.GENERAL_GLO: Form.GENERAL_DED}

_TITLED: Final = frozenset((hls.GMAC, hls.SHA256, hls.ECDSA))
_CIPHERED: Final = {LN: LN_CIPHERED, SN: SN_CIPHERED}


class ClientSecurity(_Security):
    """The client's side. `peer_title`: the meter's, where it is known beforehand; then another one is a FrameError.

    next_counter  gives the next send counter, persisted before it returns
    heard         the counters received from this meter so far; None only if none was ever received under these keys
    """

    def opening(self) -> Opening:
        """What goes into the AARQ."""
        side = self._side
        if self._challenge is None or self._used:
            self._draw()
        told = self._opening(self._context, side.secret if side.mechanism == hls.LLS else None)
        return told if side.keys is None else replace(told, dedicated=side.keys.dedicated)

    @property
    def _context(self) -> int:
        plain = SN if self._side.short_names else LN
        return _CIPHERED[plain] if self._side.policy.protects else plain

    def meet(self, peer: Opening) -> None:
        """What the AARE says, in answer to `opening`. Refused: another context or mechanism. FrameError: title or challenge
        will not do. Misuse: a second association with a challenge that has served.
        """
        side = self._side
        if self._challenge is None:
            self._draw()
        if peer.context != self._context:
            raise Refused(
                f"AARE: application context {peer.context}, asked for {self._context}",
                code=CONTEXT_NOT_SUPPORTED,
            )
        if self.high and peer.mechanism != side.mechanism:
            raise Refused(
                f"AARE: mechanism {peer.mechanism}, asked for {side.mechanism}", code=MECHANISM_NOT_RECOGNISED
            )
        self._meet(peer, side.policy.protects or side.mechanism in _TITLED)

    def seal(self, apdu: bytes) -> bytes:
        """A request. The InitiateRequest is given the dedicated key, if there is one."""
        side = self._side
        dedicated = None if side.keys is None else side.keys.dedicated
        if dedicated is not None and apdu[:1] == bytes((INITIATE_REQUEST,)):
            apdu = _with_dedicated(apdu, dedicated)
        form = side.form if self._dedicated is None else _DEDICATED_OF.get(side.form, side.form)
        return self._seal(apdu, side.policy.request, form)

    def open(self, raw: bytes) -> bytes:
        """A response or a push. With the InitiateResponse the dedicated key comes into use."""
        apdu, told = self._open(raw, self._side.policy.response)
        if told is not None and apdu[0] == INITIATE_RESPONSE and self._side.keys is not None:
            self._dedicated = self._side.keys.dedicated
        return apdu


class ServerSecurity(_Security):
    """The server's side (a simulated meter). Its policy is the least it takes and gives; beyond that it answers in kind."""

    def __init__(
        self,
        side: Side,
        *,
        next_counter: Callable[[], int] | None = None,
        heard: Heard | None = None,
        peer_title: bytes | None = None,
    ) -> None:
        super().__init__(side, next_counter=next_counter, heard=heard, peer_title=peer_title)
        self._met = LN
        self._reply = Form.GLO
        self._reply_guard = Guard()
        self._transaction: bytes | None = None

    def opening(self) -> Opening:
        """What goes into the AARE, once `meet` has taken the AARQ."""
        return self._opening(self._met, None)

    def meet(self, peer: Opening) -> None:
        """What the AARQ says. Refused, with the AARE's diagnostic: context, mechanism, password. FrameError: title or
        challenge. Misuse: a second association with a challenge that has served.
        """
        side = self._side
        plain = SN if side.short_names else LN
        able = side.keys is not None and side.title is not None and self._next_counter is not None
        if peer.context != plain and not (peer.context == _CIPHERED[plain] and able):
            raise Refused(f"AARQ: application context {peer.context}", code=CONTEXT_NOT_SUPPORTED)
        if side.policy.protects and peer.context == plain:
            raise Refused("AARQ: the policy asks for a ciphered context", code=CONTEXT_NOT_SUPPORTED)
        if peer.mechanism != side.mechanism:
            code = AUTHENTICATION_REQUIRED if peer.mechanism == hls.NONE else MECHANISM_NOT_RECOGNISED
            raise Refused(f"AARQ: mechanism {peer.mechanism}, must be {side.mechanism}", code=code)
        if side.mechanism == hls.LLS and not hmac.compare_digest(peer.secret or b"", side.secret or b""):
            raise Refused("AARQ: the password is wrong", code=AUTHENTICATION_FAILURE)
        self._peer_title = None  # each association may have another client
        self._draw()
        self._meet(peer, peer.context != plain or side.mechanism in _TITLED)
        self._met, self._reply_guard = peer.context, Guard()
        if peer.dedicated is not None:
            self._use_dedicated(peer.dedicated)

    def open(self, raw: bytes) -> bytes:
        """A request. A dedicated key in an InitiateRequest comes into use."""
        apdu, told = self._open(raw, self._side.policy.request)
        if told is not None:
            self._reply, self._reply_guard = told.form, Guard(told.authenticated, told.encrypted)
            self._transaction = None if told.header is None else told.header.transaction
        if apdu[0] == INITIATE_REQUEST:
            self._take_dedicated(apdu, told)
        return apdu

    def seal(self, apdu: bytes) -> bytes:
        """A response, in the envelope of the request; or a push."""
        guard = self._side.policy.response.with_(self._reply_guard)
        return self._seal(apdu, guard, self._reply, self._transaction)

    def _take_dedicated(self, initiate: bytes, told: Outline | None) -> None:
        key = _dedicated_of(initiate)
        if key is None:
            return
        if told is None or not told.encrypted:
            raise FrameError("initiate-request: a dedicated key that is not encrypted", 1)
        self._use_dedicated(key)

    def _use_dedicated(self, key: bytes) -> None:
        keys = self._side.keys
        if keys is None or len(key) != ciphering.KEY_LENGTHS[keys.suite]:
            raise FrameError(f"initiate-request: a dedicated key of {len(key)} bytes is not of this suite", 1)
        self._dedicated = key


def _with_dedicated(initiate: bytes, key: bytes) -> bytes:
    """The InitiateRequest with this dedicated key as its first optional field."""
    if initiate[1:2] == b"\x00":
        return initiate[:1] + b"\x01" + bytes((len(key),)) + key + initiate[2:]
    if not hmac.compare_digest(_dedicated_of(initiate) or b"", key):
        raise Misuse("security: the InitiateRequest brings another dedicated key")
    return initiate


def _dedicated_of(initiate: bytes) -> bytes | None:
    """FrameError: cut off."""
    if initiate[1:2] == b"\x00":
        return None
    if initiate[1:2] != b"\x01" or len(initiate) < 3 or len(initiate) < 3 + initiate[2]:
        raise FrameError("initiate-request: the dedicated key is cut off", 1)
    return initiate[3 : 3 + initiate[2]]
