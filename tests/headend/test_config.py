"""Settings: the environment, then a file, then defaults; what is wrong is one line with its name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headend import config
from headend.config import ConfigError, host_port, load


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing of the machine's own settings."""
    for name in list(os.environ):
        if name.startswith("HEADEND_"):
            monkeypatch.delenv(name)
    return monkeypatch


def test_defaults() -> None:
    settings = load()
    assert (settings.dsn, settings.listen, settings.clock, settings.quota) == (
        "",
        "0.0.0.0:7040",
        "system",
        20_000,
    )


def test_environment_over_file_over_defaults_and_arguments_over_all(
    clean: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "headend.toml"
    file.write_text('dsn = "host=file"\nquota = 7\nretries = 3\n')
    clean.setenv("HEADEND_CONFIG", str(file))
    clean.setenv("HEADEND_QUOTA", "8")
    clean.setenv("HEADEND_RETRIES", "4")
    settings = load(retries=5, listen=None)
    assert (settings.dsn, settings.quota, settings.retries, settings.listen) == (
        "host=file",
        8,
        5,
        "0.0.0.0:7040",
    )


def test_the_dsn_from_a_file(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "dsn"
    secret.write_text("host=db password=s3cret\n")
    clean.setenv("HEADEND_DSN_FILE", str(secret))
    assert load().dsn == "host=db password=s3cret"
    assert load(dsn=None).dsn == "host=db password=s3cret"  # an option that was not given
    assert load(dsn="host=other").dsn == "host=other"
    clean.setenv("HEADEND_DSN", "host=here")
    assert load().dsn == "host=here"


def test_the_broker_from_a_file(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "mqtt"
    secret.write_text("mqtt://headend:s3cret@broker\n")
    clean.setenv("HEADEND_MQTT_FILE", str(secret))
    settings = load()
    assert settings.mqtt == "mqtt://headend:s3cret@broker"
    assert "s3cret" not in repr(settings)
    clean.setenv("HEADEND_MQTT_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"HEADEND_MQTT_FILE names .*none: no such file"):
        load()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("LISTEN", "7040", "'7040' is not host:port"),
        ("LISTEN", ":7040", "':7040' is not host:port"),
        ("API", "127.0.0.1:http", "'127.0.0.1:http' is not host:port"),
        ("API", "127.0.0.1:65536", "'127.0.0.1:65536' is not host:port"),
        ("API", "127.0.0.1:²", "'127.0.0.1:²' is not host:port"),
        ("QUOTA", "0", "greater than 0"),
        ("QUOTA", "many", "valid integer"),
        ("LEASE_SECONDS", "1", "greater than 1"),
        ("RETRIES", "6", "less than or equal to 5"),
    ],
)
def test_a_setting_that_is_wrong(clean: pytest.MonkeyPatch, name: str, value: str, told: str) -> None:
    clean.setenv(f"HEADEND_{name}", value)
    with pytest.raises(ConfigError) as caught:
        load()
    assert str(caught.value).startswith(f"HEADEND_{name}: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_wrong(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "headend.toml"
    clean.setenv("HEADEND_CONFIG", str(file))
    with pytest.raises(ConfigError, match=r"HEADEND_CONFIG names .*headend\.toml, which is no file"):
        load()
    file.write_text("quota = ")
    with pytest.raises(ConfigError, match=r"headend\.toml: "):
        load()
    file.write_text("colour = 1")
    with pytest.raises(
        ConfigError, match=r"headend\.toml: there is no setting 'colour'; there are home, dsn"
    ):
        load()
    clean.delenv("HEADEND_CONFIG")
    clean.setenv("HEADEND_DSN_FILE", str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match=r"HEADEND_DSN_FILE names .*: no such file or directory"):
        load()
    (tmp_path / "binary").write_bytes(b"host=\xff\xfe")
    clean.setenv("HEADEND_DSN_FILE", str(tmp_path / "binary"))
    with pytest.raises(ConfigError, match=r"HEADEND_DSN_FILE names .*: not UTF-8 text"):
        load()


def test_host_port() -> None:
    assert host_port("[::1]:7040") == ("[::1]", 7040)
    assert host_port("localhost:1") == ("localhost", 1)
    assert set(config.Settings.model_fields) >= {"dsn", "listen", "api"}
