"""
Where Tether is and which key to use: from the environment, else from a file that only its owner can read.

`TETHER_URL` and `TETHER_API_KEY` come first. Otherwise `tether login` has stored address and key under a profile, in
`$XDG_CONFIG_HOME/tether/credentials.json` (`~/.config` without it), mode 0600. A stored key is only used for the address that
it was stored with.
"""

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from tether_client.errors import NotAllowed, Refused

__all__ = ["DEFAULT_PROFILE", "Credentials", "checked_url", "credentials_path", "find", "forget", "store"]

DEFAULT_PROFILE: Final = "default"


class Credentials(msgspec.Struct, frozen=True):
    """
    An address and the key for it.

    Attributes:
        url: Without a path, such as "https://tether.example".
        api_key: Sent as `Authorization: Bearer`; never shown.
    """

    url: str
    api_key: str

    def __repr__(self) -> str:
        """Without the key."""
        return f"Credentials({self.url!r}, ...)"


def credentials_path(environ: Mapping[str, str]) -> Path:
    """The file with the stored credentials; it need not exist."""
    folder = environ.get("XDG_CONFIG_HOME") or ""
    # The XDG specification: relative paths are invalid and ignored.
    base = (
        Path(folder) if folder.startswith("/") else Path(environ.get("HOME") or "~").expanduser() / ".config"
    )
    return base / "tether" / "credentials.json"


def checked_url(url: str) -> str:
    """
    The address without a slash at its end.

    Raises:
        Refused: when it is no http(s) address of a host.

    >>> checked_url("https://tether.example/")
    'https://tether.example'
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise Refused("The address must be like https://tether.example; set TETHER_URL or give --url.")
    if parts.username or parts.password:
        raise Refused("The address must not contain a password; the key is given to `tether login`.")
    return url.strip().rstrip("/")


def find(environ: Mapping[str, str], *, profile: str | None) -> Credentials:
    """
    The credentials to use.

    Args:
        environ: Of the process.
        profile: A stored profile; `None` for `TETHER_PROFILE` or the default one.

    Raises:
        NotAllowed: when there are none, or none for this address.
        Refused: when the file or the address cannot be used.
    """
    name = profile or environ.get("TETHER_PROFILE") or DEFAULT_PROFILE
    url, key = environ.get("TETHER_URL", ""), environ.get("TETHER_API_KEY", "")
    if url and key and profile is None:
        return Credentials(checked_url(url), key.strip())
    stored = _read(credentials_path(environ)).get(name)
    if stored is None:
        if key and not url:
            raise Refused("TETHER_API_KEY is set without TETHER_URL; set both, or run `tether login`.")
        raise NotAllowed(
            f"There are no credentials for profile {name}: run `tether login`, or set TETHER_URL and TETHER_API_KEY."
        )
    if url and profile is None and checked_url(url) != stored.url:
        # A key must never reach another host than the one it was given for.
        raise NotAllowed(
            f"The stored key is for {stored.url}, and TETHER_URL is another address: set TETHER_API_KEY, too."
        )
    return stored


def store(credentials: Credentials, environ: Mapping[str, str], *, profile: str | None) -> Path:
    """Store credentials under a profile, in place of earlier ones; returns the file."""
    path = credentials_path(environ)
    profiles = _read(path)
    profiles[profile or environ.get("TETHER_PROFILE") or DEFAULT_PROFILE] = credentials
    _write(path, profiles)
    return path


def forget(environ: Mapping[str, str], *, profile: str | None) -> bool:
    """Delete the credentials of a profile; whether there were any."""
    path = credentials_path(environ)
    profiles = _read(path)
    if profiles.pop(profile or environ.get("TETHER_PROFILE") or DEFAULT_PROFILE, None) is None:
        return False
    _write(path, profiles)
    return True


def _read(path: Path) -> dict[str, Credentials]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_IMODE(mode) & 0o077:
                raise Refused(f"Others can read {path}: run `chmod 600` on it, and replace the keys in it.")
            return msgspec.json.decode(file.read(), type=dict[str, Credentials])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError:
        raise Refused(f"{path} cannot be read as credentials: delete it and run `tether login`.") from None
    except OSError as exc:
        raise Refused(f"{path} cannot be read: {exc.strerror}.") from None


def _write(path: Path, profiles: Mapping[str, Credentials]) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A new file that takes the old one's place: made with mode 0600, and never half written.
        number, name = tempfile.mkstemp(dir=path.parent, prefix=".credentials-")
        with os.fdopen(number, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(profiles)))
        Path(name).replace(path)
    except OSError as exc:
        raise Refused(f"{path} cannot be written: {exc.strerror}.") from None
