"""A real broker (mosquitto), and a client that publishes to it. Where there is none tests are skipped; in continuous integration they fail."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties

from tests.support.authority import Signed

USER, PASSWORD = "headend", "s3cret/@?#"


def program() -> str:
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found:
        return found
    why = "there is no mosquitto; install the package mosquitto"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


class Mosquitto:
    """Started and stopped as often as one likes; what it keeps survives that."""

    def __init__(self, folder: Path, tls: Signed | None = None, *, password: bool = False) -> None:
        self._program = program()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._tls = tls
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        lines = [
            f"listener {self.port} 127.0.0.1", "persistence true", f"persistence_location {folder}/",
            "autosave_on_changes true", "autosave_interval 1", "log_dest stdout", "max_queued_messages 100000", "max_inflight_messages 0",
        ]  # fmt: skip
        if os.geteuid() == 0:
            lines.insert(0, "user root")  # else it may not read the test's folder
        if tls is not None:
            lines += [f"certfile {tls.certificate}", f"keyfile {tls.key}"]
        if password:
            (folder / "passwords").write_text(f"{USER}:{PASSWORD}\n")
            subprocess.run(
                [shutil.which("mosquitto_passwd") or "mosquitto_passwd", "-U", str(folder / "passwords")],
                check=True,
            )
            lines += ["allow_anonymous false", f"password_file {folder / 'passwords'}"]
        else:
            lines.append("allow_anonymous true")
        (folder / "mosquitto.conf").write_text("\n".join([*lines, ""]))

    @property
    def url(self) -> str:
        return f"{'mqtt' if self._tls is None else 'mqtts'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self._folder / "mosquitto.log").open("ab") as out:
            self._process = subprocess.Popen(
                [self._program, "-c", str(self._folder / "mosquitto.conf")], stdout=out, stderr=out
            )
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError((self._folder / "mosquitto.log").read_text())

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


class Publisher:
    """A terminal's side: publishes at QoS 1 and waits until the broker has it."""

    def __init__(self, port: int) -> None:
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def say(self, topic: str, payload: bytes | str, *, retain: bool = False, qos: int = 1) -> None:
        self.client.publish(topic, payload, qos=qos, retain=retain).wait_for_publish(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def retained(port: int, topic: str) -> bytes:
    """What the broker keeps there; b'' if nothing."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    found: list[bytes] = []

    def heard(_client: Any, _user: Any, message: Any) -> None:
        found.append(message.payload)

    def connected(
        _client: Any, _user: Any, _flags: Any, _reason: Any, _properties: Properties | None
    ) -> None:
        client.subscribe(topic)

    client.on_message, client.on_connect = heard, connected
    client.connect("127.0.0.1", port)
    for _ in range(30):
        client.loop(0.05)
    client.disconnect()
    return found[-1] if found else b""
