"""The link to a broker, against mosquitto: nothing is lost that was not acknowledged, and nothing waits without bound."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from terminals.links import mqtt
from terminals.links.link import BadAddress, CannotConnect, LinkLost
from terminals.links.mqtt import AHEAD, Broker, Message, MqttLink, Will, connect, parse_broker
from terminals.links.trust import Trust
from tests.support.authority import Authority
from tests.support.broker import PASSWORD, USER, Mosquitto, Publisher, retained

TOPICS = "hes/v1/+/+/+/+"
TOPIC = "hes/v1/o/T1/7/data"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def publisher(broker: Mosquitto) -> Iterator[Publisher]:
    publisher = Publisher(broker.port)
    yield publisher
    publisher.close()


Dial = Callable[..., object]


@pytest.fixture
async def dial(broker: Mosquitto) -> AsyncIterator[Callable[..., object]]:
    links: list[MqttLink] = []

    async def dial(client: str = "headend", will: Will | None = None) -> MqttLink:
        links.append(await connect(parse_broker(broker.url), client, TOPICS, 10.0, will))
        return links[-1]

    yield dial
    for link in links:
        await link.close()


async def all_of(link: MqttLink, number: int) -> list[Message]:
    return [await link.read(10.0) for _ in range(number)]


async def test_messages_come_with_what_they_are(publisher: Publisher, dial: Dial) -> None:
    publisher.say(TOPIC, b"kept", retain=True)
    link = await dial()
    publisher.say(TOPIC, b"\x00new")
    publisher.say("elsewhere", b"x")
    first, second = await all_of(link, 2)
    assert (first.topic, first.payload, first.retained, first.again) == (TOPIC, b"kept", True, False)
    assert (second.payload, second.retained, second.qos) == (b"\x00new", False, 1)
    with pytest.raises(TimeoutError):
        await link.read(0.2)


async def test_what_was_not_acknowledged_comes_again_to_the_heir(publisher: Publisher, dial: Dial) -> None:
    link = await dial()
    for n in range(5):
        publisher.say(TOPIC, str(n))
    got = await all_of(link, 5)
    for message in got[:2]:
        link.acknowledge(message)
    await asyncio.sleep(0.3)
    await link.close()
    publisher.say(TOPIC, "5")  # nobody listens
    heir = await dial()
    assert heir.resumed
    again = await all_of(heir, 4)
    assert [message.payload for message in again] == [b"2", b"3", b"4", b"5"]
    assert [message.again for message in again] == [True, True, True, False]


async def test_a_retained_message_is_sent_once_a_subscription(publisher: Publisher, dial: Dial) -> None:
    publisher.say(TOPIC, b"kept", retain=True)
    link = await dial()
    link.acknowledge(await link.read(10.0))
    await asyncio.sleep(0.2)
    await link.close()
    heir = await dial()
    with pytest.raises(TimeoutError):
        await heir.read(0.5)


async def test_the_broker_sends_no_more_ahead_than_was_said(
    publisher: Publisher, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "AHEAD", 10)
    link = await dial()
    for n in range(30):
        publisher.say(TOPIC, str(n))
    await asyncio.sleep(0.5)
    assert len(link) == 10
    seen = []
    for _ in range(30):
        message = await link.read(10.0)
        link.acknowledge(message)
        seen.append(message.payload)
    assert seen == [str(n).encode() for n in range(30)]
    assert link.dropped == 0


async def test_messages_that_nobody_acknowledges_are_bounded_and_counted(
    publisher: Publisher, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "AHEAD", 10)
    link = await dial()
    for n in range(50):
        publisher.say(TOPIC, str(n), qos=0)
    await asyncio.sleep(0.5)
    assert (len(link), link.dropped) == (20, 30)
    assert AHEAD == 512


async def test_who_takes_the_session_over_ends_the_other(dial: Dial) -> None:
    first = await dial()
    second = await dial()
    with pytest.raises(LinkLost, match=r"the broker ended it: Session taken over|the connection broke"):
        await first.read(10.0)
    assert first.closed
    assert not second.closed


async def test_a_broker_that_goes_away_is_a_lost_link_and_can_be_dialled_again(
    broker: Mosquitto, publisher: Publisher, dial: Dial
) -> None:
    link = await dial()
    publisher.say(TOPIC, "before")
    await asyncio.sleep(0.3)
    broker.stop()
    assert (await link.read(10.0)).payload == b"before"  # what had come is read first
    with pytest.raises(LinkLost):
        await link.read(10.0)
    with pytest.raises(CannotConnect, match="nothing listens on that port"):
        await dial()
    broker.start()
    link = await dial()
    assert (await link.read(10.0)).payload == b"before"  # nobody had acknowledged it


async def test_the_last_will(broker: Mosquitto, dial: Dial) -> None:
    will = Will(
        "hes/v1/headend/status", json.dumps({"online": False}).encode(), json.dumps({"online": True}).encode()
    )
    link = await dial(will=will)
    await asyncio.sleep(0.2)
    assert await asyncio.to_thread(retained, broker.port, will.topic) == will.alive
    await link.close()
    assert await asyncio.to_thread(retained, broker.port, will.topic) == will.gone


async def test_tls_and_a_password(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    broker = Mosquitto(tmp_path, authority.sign("broker", "127.0.0.1"), password=True)
    broker.start()
    try:
        where = broker.url.replace("://", f"://{USER}:{quote(PASSWORD, safe='')}@")
        trust = Trust(ca=authority.ca)
        link = await connect(parse_broker(where, trust), "headend", TOPICS, 10.0)
        await link.close()
        with pytest.raises(CannotConnect, match="the broker refuses us: Not authorized"):
            await connect(parse_broker(where.replace(USER, "nobody"), trust), "headend", TOPICS, 10.0)
        with pytest.raises(CannotConnect, match="certificate is not believed"):
            await connect(parse_broker(where), "headend", TOPICS, 10.0)
    finally:
        broker.stop()


async def test_a_port_that_says_nothing() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(CannotConnect, match=r"no answer within 0.5 s; check that a broker for MQTT 5.0"):
            await connect(Broker("127.0.0.1", port), "headend", TOPICS, 0.5)
    finally:
        server.close()
        await asyncio.sleep(0.1)


def test_addresses() -> None:
    assert parse_broker("mqtt://h") == Broker("h", 1883)
    assert parse_broker("mqtts://u:p%40@h") == Broker("h", 8883, "u", "p@", Trust())
    assert "p@" not in repr(parse_broker("mqtts://u:p%40@h"))
    for url in ("", "h:1883", "http://h", "mqtt://", "mqtt://u:secret@h:99999", "mqtt://u:secret@h/path"):
        with pytest.raises(BadAddress, match="use mqtt://") as error:
            parse_broker(url)
        assert "secret" not in str(error.value)
