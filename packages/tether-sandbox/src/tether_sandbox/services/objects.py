"""
Objects: an S3 endpoint of our own, kept by `moto` in memory, where a local folder is not enough.

Restarting it forgets every object. Its secrets are public words: it serves only this machine.
"""

import sys
from pathlib import Path

import httpx

from tether_sandbox.services.guard import Guard
from tether_sandbox.services.server import Server

__all__ = ["BUCKET", "Objects"]

BUCKET = "tether"


class Objects(Server):
    """An S3 endpoint with one bucket, `tether`."""

    name = "objects"

    def __init__(self, folder: Path, *, guard: Guard) -> None:
        super().__init__(folder, guard=guard)

    @property
    def url(self) -> str:
        """The address of the endpoint."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Give the settings that lead to the bucket."""
        return settings(self.url, secret="tether-secret")  # noqa: S106 - moto asks for any

    def _command(self, port: int) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]

    def _probe(self, port: int) -> None:
        # Creating the bucket is the answer we wait for; creating it again changes nothing.
        httpx.put(f"http://127.0.0.1:{port}/{BUCKET}", timeout=5).raise_for_status()


def settings(endpoint: str, *, secret: str) -> dict[str, str]:
    """Give the settings that lead to the bucket `tether` behind *endpoint*."""
    return {
        "AWS_ENDPOINT": endpoint,
        "AWS_ACCESS_KEY_ID": "tether",
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_BUCKET": BUCKET,
    }
