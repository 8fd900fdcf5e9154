"""
Install the peers' libraries: a virtual environment for each, outside this project, created once and kept.

The peers need other versions than Tether (arq needs another redis-py), so none of them is in the lock file. Each has its pins in
its own `requirements.txt` or `package.json`; a change of those creates a new environment in `~/.cache/tether-benchmarks`.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["PEERS", "NotInstalled", "node_modules", "programs", "require_debian"]

PEERS = Path(__file__).parent / "peers"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tether-benchmarks"
_INSTALL_S = 300


class NotInstalled(Exception):
    """A peer's libraries cannot be installed; the text says why."""


def programs(peer: str) -> Path:
    """The folder of programs of a Python peer's environment, created if needed; raises `NotInstalled`."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise NotInstalled("uv is not installed")
    pins = PEERS / peer / "requirements.txt"
    place, made = _place(peer, pins)
    if not made:
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(place))
        _run(uv, "pip", "install", "--quiet", "--python", str(place / "bin/python"), "-r", str(pins))
        _complete(place)
    return place / "bin"


def node_modules(peer: str) -> Path:
    """The folder of a Node peer's packages, created if needed; raises `NotInstalled`."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NotInstalled("node and npm are not installed")
    pins = PEERS / peer / "package.json"
    place, made = _place(peer, pins)
    if not made:
        place.mkdir(parents=True)
        shutil.copy(pins, place)
        _run(npm, "install", "--prefix", str(place), "--ignore-scripts", "--no-audit", "--no-fund")
        _complete(place)
    return place / "node_modules"


def require_debian(*packages: str) -> None:
    """See that packages of Debian are installed; raises `NotInstalled`."""
    found = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}\n", *packages],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.stdout.split() != ["ii"] * len(packages):
        raise NotInstalled(f"apt-get install {' '.join(packages)}")


def _place(peer: str, pins: Path) -> tuple[Path, bool]:
    """Return the environment's folder, and whether it is complete; remove an incomplete one."""
    digest = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()
    place = _CACHE / f"{peer}-{digest[:12]}"
    made = (place / "complete").exists()
    if not made:
        shutil.rmtree(place, ignore_errors=True)
    return place, made


def _complete(place: Path) -> None:
    (place / "complete").touch()


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_S)
    except subprocess.TimeoutExpired as exc:
        raise NotInstalled(f"not installed within {_INSTALL_S} s") from exc
    except subprocess.CalledProcessError as exc:
        last = (exc.stderr.strip().splitlines() or ["no output"])[-1]
        raise NotInstalled(f"{Path(command[0]).name} could not install it: {last[:150]}") from exc
