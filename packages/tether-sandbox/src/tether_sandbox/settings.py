"""The settings of every sandbox: published values that protect nothing."""

from base64 import urlsafe_b64encode
from typing import Final

__all__ = ["API_KEY", "ENVIRONMENT", "PASSWORD"]

API_KEY: Final = "sandbox-key"
PASSWORD: Final = "sandbox-password"  # noqa: S105 - the simulator's, published

ENVIRONMENT: Final = {
    "EMP_API_LOGIN": "sandbox",
    "EMP_API_PASSWORD": PASSWORD,
    "EMP_TERMINAL_TOKEN": "sandbox-terminal",
    "TETHER_API_KEYS": f"sandbox:{API_KEY}",
    "TETHER_FINGERPRINT_KEY": "sandbox-fingerprints",
    # Second factors and secrets of subscribers are encrypted under it; the same each time, for data that is kept.
    "TETHER_SECRETS_KEY": urlsafe_b64encode(b"sandbox-secrets-protect-nothing!").decode(),
}
