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
    quota: int = Field(5000, gt=0, description="terminals one collector may hold")
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
    if "HEADEND_DSN_FILE" in os.environ and "HEADEND_DSN" not in os.environ:
        path = Path(os.environ["HEADEND_DSN_FILE"])
        try:
            overrides.setdefault("dsn", path.read_text(encoding="utf-8").strip())
        except OSError as error:
            raise ConfigError(
                f"HEADEND_DSN_FILE names {path}: {(error.strerror or str(error)).lower()}"
            ) from None
        except UnicodeDecodeError:
            raise ConfigError(f"HEADEND_DSN_FILE names {path}: not UTF-8 text") from None
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


def host_port(text: str) -> tuple[str, int]:
    """'host:port' -> (host, port); validated on the way in."""
    host, _, port = text.rpartition(":")
    return host, int(port)
