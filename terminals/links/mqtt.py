"""A broker as a link: messages instead of bytes. MQTT 5.0 through paho-mqtt, whose network thread is bridged into the loop.

Nothing is acknowledged before its reader says so (`acknowledge`), and the session at the broker outlives us (clean start 0, a fixed client
id): what was published while nobody listened, and what a killed process had not acknowledged, comes again to whoever connects next by that
id. Two that connect by one id take the session from each other, so only one may: that is the caller's to see to.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from terminals.links.link import CLOSE_LIMIT, BadAddress, CannotConnect, LinkLost
from terminals.links.tcp import explain, tls_context
from terminals.links.trust import Trust

#: Messages at QoS 1 that the broker sends ahead of our acknowledgements (Receive Maximum, 3.1.2.11.3): two batches of the store's writer, so
#: that the next is there when one is written. Of messages that nobody acknowledges (QoS 0) as many wait, and more are dropped and counted.
AHEAD: Final = 512
#: Bytes of one packet that the broker may send (Maximum Packet Size, 3.1.2.11.4): a message of half a MiB with its topic.
PACKET: Final = 576 * 1024
#: Seconds that the broker keeps a session without us (3.1.2.11.2): a long weekend, in which somebody notices.
EXPIRY: Final = 4 * 86_400
#: Seconds until our last will is published (3.1.3.2.2): whoever takes over has connected by then, and it is not.
WILL_DELAY: Final = 10
#: Seconds between signs of life; the broker gives a client up after one and a half of them.
KEEP_ALIVE: Final = 30
#: Retained messages are sent when the subscription is new, not at each connect (3.8.3.1).
RETAINED_ONCE: Final = 1

FORMS: Final = "use mqtt://USER:PASSWORD@HOST:1883 or mqtts://HOST:8883"


@dataclass(frozen=True, slots=True)
class Broker:
    """Where, and who we are. `trust` set: in TLS."""

    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    trust: Trust | None = None

    @property
    def name(self) -> str:
        """The endpoint for messages, without the password."""
        return f"{'mqtt' if self.trust is None else 'mqtts'}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Will:
    """What is published, retained, when we are gone without taking leave; `alive` says the contrary and is published on connecting."""

    topic: str
    gone: bytes
    alive: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """`number` and `qos` acknowledge it. `again`: the broker has sent it before; `retained`: it was kept for whoever subscribes."""

    topic: str
    payload: bytes = field(repr=False)
    number: int
    qos: int
    again: bool
    retained: bool


def parse_broker(url: str, trust: Trust | None = None) -> Broker:
    """BadAddress says what is wrong. The address in its message has no password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadAddress(url.rpartition("@")[2], f"no port from 1 to 65535; {FORMS}") from None
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise BadAddress(shown, FORMS)
    if parts.path not in ("", "/") or parts.query:
        raise BadAddress(shown, f"nothing stands behind the port; {FORMS}")
    secure = parts.scheme == "mqtts"
    return Broker(
        parts.hostname, port or (8883 if secure else 1883), unquote(parts.username or ""), unquote(parts.password or ""),
        (trust or Trust()) if secure else None,
    )  # fmt: skip


class MqttLink:
    """One connection and one subscription. One reader; made by `connect`. `dropped`: messages at QoS 0 for which there was no room."""

    def __init__(self, broker: Broker, client: str, will: Will | None) -> None:
        self.name = broker.name
        self.resumed = False
        self.dropped = 0
        self._broker = broker
        self._will = will
        self._loop = asyncio.get_running_loop()
        self._arrived: deque[Message] = deque()
        self._handed = 0  # by paho's thread, which alone counts it
        self._taken = 0  # by the reader
        self._lost: str | None = None
        self._abandoned = False
        self._woken = asyncio.Event()
        self._connected: asyncio.Future[str] = self._loop.create_future()
        self._subscribed: asyncio.Future[str] = self._loop.create_future()
        self._client = Client(
            CallbackAPIVersion.VERSION2, client, protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False, manual_ack=True,
        )  # fmt: skip
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_disconnect = self._on_disconnect

    # --- opening ----------------------------------------------------------------------------------------------

    async def open(self, topics: str, timeout: float) -> None:
        """Connect and subscribe. CannotConnect; then nothing is left behind."""
        try:
            async with asyncio.timeout(timeout):
                await asyncio.to_thread(self._dial, timeout)
                self._client.loop_start()
                self._check(await self._connected, "the broker refuses us")
                if self._will is not None:
                    self._client.publish(self._will.topic, self._will.alive, qos=1, retain=True)
                self._client.subscribe(topics, options=SubscribeOptions(qos=1, retainHandling=RETAINED_ONCE))
                self._check(await self._subscribed, f"the broker refuses the subscription to {topics}")
        except BaseException as error:
            await self._abandon()
            if isinstance(error, TimeoutError):
                advice = "check that a broker for MQTT 5.0 listens there"
                raise CannotConnect(self.name, f"no answer within {timeout:g} s", advice) from error
            raise

    def _dial(self, timeout: float) -> None:
        broker, client = self._broker, self._client
        if broker.user:
            client.username_pw_set(broker.user, broker.password)
        if broker.trust is not None:
            context = tls_context(self.name, broker.trust)
            context.sslsocket_class = _Socket
            client.tls_set_context(context)
            client.tls_insecure_set(not broker.trust.verify)
        if self._will is not None:
            properties = _properties(PacketTypes.WILLMESSAGE)
            properties.WillDelayInterval = WILL_DELAY
            client.will_set(self._will.topic, self._will.gone, qos=1, retain=True, properties=properties)
        properties = _properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = EXPIRY
        properties.ReceiveMaximum = AHEAD
        properties.MaximumPacketSize = PACKET
        client.connect_timeout = timeout / 2  # so that the thread has ended when we give up
        try:
            client.connect(broker.host, broker.port, KEEP_ALIVE, clean_start=False, properties=properties)
        except OSError as error:
            reason, advice = explain(error, tls=broker.trust is not None)
            raise CannotConnect(self.name, reason, advice) from error

    def _check(self, refusal: str, what: str) -> None:
        if refusal:
            raise CannotConnect(self.name, f"{what}: {refusal}", "check user, password and its access lists")

    # --- reading ----------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self._lost is not None

    async def read(self, timeout: float) -> Message:
        """The next message. TimeoutError, or LinkLost once all that has arrived is read."""
        async with asyncio.timeout(timeout):
            while not self._arrived:
                if self._lost is not None:
                    raise LinkLost(self.name, self._lost)
                self._woken.clear()
                await self._woken.wait()
        return self.take()

    def take(self) -> Message:
        """One that is there. IndexError if there is none."""
        message = self._arrived.popleft()
        self._taken += 1
        return message

    def __len__(self) -> int:
        """Messages that are there."""
        return len(self._arrived)

    def acknowledge(self, message: Message) -> None:
        """The broker may forget it. On a lost link nothing happens: it will come again."""
        if message.qos and self._lost is None:
            self._client.ack(message.number, message.qos)

    # --- closing ----------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Take leave, so that the last will is not published; the session stays at the broker. May be called twice."""
        if self._lost is None and self._will is not None:
            gone = self._client.publish(self._will.topic, self._will.gone, qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):  # the broker is gone meanwhile
                await asyncio.to_thread(gone.wait_for_publish, CLOSE_LIMIT)
        await self._abandon()

    async def _abandon(self) -> None:
        """End the thread, whatever state it is in."""
        self._lost = self._lost or "it was closed here"
        if not self._abandoned:
            self._abandoned = True
            self._client.disconnect()
            await asyncio.shield(asyncio.to_thread(self._client.loop_stop))
            self._connected.cancel()
            self._subscribed.cancel()

    # --- paho's thread ----------------------------------------------------------------------------------------

    def _tell(self, call: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended before the thread
            self._loop.call_soon_threadsafe(call, *arguments)

    def _on_connect(self, _client: Any, _user: Any, flags: Any, reason: Any, _properties: Any) -> None:
        self.resumed = bool(flags.session_present)
        self._tell(_resolve, self._connected, str(reason) if reason.is_failure else "")

    def _on_subscribe(self, _client: Any, _user: Any, _number: int, reasons: Any, _properties: Any) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        self._tell(_resolve, self._subscribed, ", ".join(refused))

    def _on_message(self, _client: Any, _user: Any, message: MQTTMessage) -> None:
        # AHEAD bounds those at QoS 1 at the broker's side; only the others can be too many
        if message.qos == 0 and self._handed - self._taken >= 2 * AHEAD:
            self.dropped += 1
            return
        self._handed += 1
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "?"
        self._tell(
            self._take_in,
            Message(topic, bytes(message.payload), message.mid, message.qos, message.dup, message.retain),
        )

    def _on_disconnect(self, _client: Any, _user: Any, flags: Any, reason: Any, _properties: Any) -> None:
        said = flags.is_disconnect_packet_from_server
        self._tell(self._end, f"the broker ended it: {reason}" if said else "the connection broke")

    # --- the loop's side of it --------------------------------------------------------------------------------

    def _take_in(self, message: Message) -> None:
        self._arrived.append(message)
        self._woken.set()

    def _end(self, reason: str) -> None:
        self._lost = self._lost or reason
        _resolve(self._connected, reason)
        _resolve(self._subscribed, reason)
        self._woken.set()


class _Socket(ssl.SSLSocket):
    """paho forgets a socket whose handshake failed; this one is closed then."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


async def connect(
    broker: Broker, client: str, topics: str, timeout: float, will: Will | None = None
) -> MqttLink:
    """The broker's session of `client`, subscribed to `topics` at QoS 1. CannotConnect says what to look at."""
    link = MqttLink(broker, client, will)
    await link.open(topics, timeout)
    return link


def _resolve(waiting: asyncio.Future[str], refusal: str) -> None:
    if not waiting.done():
        waiting.set_result(refusal)


def _properties(kind: int) -> Any:
    """Properties of one kind of packet, which paho checks as they are set."""
    return Properties(kind)  # type: ignore[no-untyped-call]
