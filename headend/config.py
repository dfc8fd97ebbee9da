"""Settings: environment (HEADEND_*), then a TOML file, then defaults. Secrets may come from files (HEADEND_DSN_FILE)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

#: settings that may hold a password, and so may stand in a file of their own
SECRETS = ("dsn", "mqtt")


class ConfigError(Exception):
    """A setting is wrong; the message names it and what would be right."""


class Settings(BaseSettings):
    """One process's settings. What all processes must agree on (time zone, limits) lives in the store instead."""

    model_config = SettingsConfigDict(env_prefix="HEADEND_", extra="forbid")

    home: Path = Field(
        Path(".headend"), description="folder of the embedded database, of exports and of the spool"
    )
    dsn: str = Field("", description="PostgreSQL DSN; empty: the embedded database under home")
    pg_bin: Path | None = Field(None, description="bin folder of the PostgreSQL to embed; empty: the wheel's")
    clock: str = Field("system", description="'system', or START@UNIX_SECONDSxRATE for the demo")
    listen: str = Field("0.0.0.0:7040", description="where terminals dial in")
    lease_seconds: float = Field(
        20.0, gt=1, le=600, description="a collector that is silent so long loses its terminals"
    )
    quota: int = Field(
        20_000, gt=0, description="terminals one collector may hold, those that dial in included"
    )
    dial_rate: float = Field(
        50.0, gt=0, le=10_000, description="new connections a second that one collector makes"
    )
    cell_dial_rate: float = Field(
        5.0, gt=0, le=10_000, description="the same in one radio cell (the archive's sims say which)"
    )
    spool_mib: int = Field(
        2048, ge=16, description="MiB that one collector may keep on the disk while the database is away"
    )
    poll_seconds: float = Field(
        1.0, gt=0, le=60, description="how often a collector looks for orders without being told"
    )
    answer_seconds: float = Field(
        2.0, gt=0.05, le=60, description="first guess of a line's answer time; it adapts"
    )
    retries: int = Field(2, ge=0, le=5, description="how often one request is repeated within one attempt")
    sample_seconds: float = Field(
        60.0,
        gt=0,
        le=300,
        description="how long after its instant a point of a meter without memory (Modbus) may be read",
    )
    dial_ca: Path | None = Field(
        None, description="PEM file of the authorities believed on tls:// and mqtts://; empty: the system's"
    )
    dial_verify: bool = Field(
        True, description="off: on tls:// and mqtts:// whoever answers is believed; for a trial only"
    )
    dial_certificate: Path | None = Field(
        None, description="PEM file with the certificate that we show on tls:// and mqtts://"
    )
    dial_key: Path | None = Field(None, description="its key, if that is not in the same file")
    mqtt: str = Field("", description="the broker where terminals publish; empty: none", repr=False)
    mqtt_client: str = Field(
        "headend", min_length=1, max_length=64, description="our name at the broker, one for all collectors"
    )
    mqtt_topic: str = Field(
        "hes/v1/{org}/{terminal}/{meter}/{kind}", description="the topics in which terminals publish"
    )
    mqtt_status: str = Field(
        "hes/v1/headend/status", description="the topic that says whether a collector listens; empty: none"
    )
    cipher_machine: str = Field(
        "",
        description="MODULE:ATTRIBUTE that makes the utility's cipher machine for DL/T 645 relay commands; empty: none",
    )
    heartbeat_seconds: float = Field(
        60.0, gt=0, le=3600, description="how often terminals that dial in show that they live"
    )
    tls_certificate: Path | None = Field(
        None, description="PEM certificate of the listener; empty: terminals dial in without TLS"
    )
    tls_key: Path | None = Field(
        None, description="PEM key of that certificate; empty: it is in the same file"
    )
    tls_client_ca: Path | None = Field(
        None, description="PEM of who signs the terminals' certificates; empty: they need none"
    )
    api: str = Field("127.0.0.1:7080", description="where the API and the console listen")

    @property
    def spool(self) -> Path:
        """Where collectors keep what they have read while the database is away."""
        return self.home / "spool"

    @field_validator("listen", "api")
    @classmethod
    def _host_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise ValueError(f"{value!r} is not host:port")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = os.environ.get("HEADEND_CONFIG", "")
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        if file:
            sources = (*sources, TomlConfigSettingsSource(settings_cls, Path(file)))
        return sources


def load(**overrides: Any) -> Settings:
    """Settings of this process. ConfigError is one line."""
    file = os.environ.get("HEADEND_CONFIG", "")
    if file and not Path(file).is_file():
        raise ConfigError(f"HEADEND_CONFIG names {file}, which is no file")
    overrides = {name: value for name, value in overrides.items() if value is not None}
    for name in SECRETS:
        secret = _secret(f"HEADEND_{name.upper()}")
        if secret is not None:
            overrides.setdefault(name, secret)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigError(
                f"{file}: there is no setting {key!r}; there are {', '.join(Settings.model_fields)}"
            ) from None
        raise ConfigError(f"HEADEND_{key.upper()}: {first['msg'].removeprefix('Value error, ')}") from None
    except ValueError as error:  # TOML
        raise ConfigError(f"{file}: {error}") from None


def _secret(variable: str) -> str | None:
    """What stands in the file that VARIABLE_FILE names, unless the variable itself is set."""
    if f"{variable}_FILE" not in os.environ or variable in os.environ:
        return None
    path = Path(os.environ[f"{variable}_FILE"])
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{variable}_FILE names {path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{variable}_FILE names {path}: not UTF-8 text") from None


def host_port(text: str) -> tuple[str, int]:
    """'host:port' -> (host, port); validated on the way in."""
    host, _, port = text.rpartition(":")
    return host, int(port)
