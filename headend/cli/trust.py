"""What the settings say of the TLS links that we dial."""

from __future__ import annotations

from headend.config import Settings
from terminals.links.trust import Trust


def trust_of(settings: Settings) -> Trust:
    return Trust(settings.dial_ca, settings.dial_verify, settings.dial_certificate, settings.dial_key)
