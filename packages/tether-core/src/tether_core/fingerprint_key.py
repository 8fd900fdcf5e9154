"""
The fingerprint key: whether a program has the key that the fingerprints of its database are made with.

Accounts are matched by keyed digests (`tether_core.iban.fingerprint`). A program with another key, or with none, finds no account on the
blacklist or in earlier uploads, and no error is visible. So the database keeps a **check
value** of its key from the first use on, and a program whose key gives another value reads no file, plans and submits
nothing and writes no entry about an account. The check value reveals only whether a guessed key is right.

A database from before the check value was kept has fingerprints beside the accounts they are of; `first_check` uses these to find out whether
the configured key made them, or none did.

>>> recorded = check_value(b"right")
>>> judge(b"right", recorded=recorded), judge(b"wrong", recorded=recorded), judge(b"", recorded=recorded)
('matches', 'differs', 'missing')
>>> judge(b"new", recorded=check_value(b""))
'keyless'
>>> judge(b"right", recorded=REKEYING)
'rekeying'
>>> from tether_core.iban import fingerprint
>>> account = "DE89370400440532013000"
>>> first_check(b"right", samples=[(account, fingerprint(account, key=b"right"))]) == recorded
True
>>> first_check(b"right", samples=[(account, fingerprint(account, key=b"other"))]) is None
True
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, Literal

from tether_core.errors import Unavailable
from tether_core.iban import fingerprint

__all__ = [
    "KEY_BYTES_MAX",
    "REASONS",
    "REKEYING",
    "FingerprintKeyRefused",
    "KeyState",
    "check_value",
    "first_check",
    "judge",
]

KeyState = Literal["matches", "missing", "differs", "keyless", "rekeying"]

# BLAKE2b takes no longer one.
KEY_BYTES_MAX: Final = 64
# Stands in place of a check value while all fingerprints are made anew: no key fits then.
REKEYING: Final = b""

# Why a program may not use fingerprints, and who must do what.
REASONS: Final[dict[KeyState, str]] = {
    "missing": (
        "TETHER_FINGERPRINT_KEY is not set here, and the fingerprints of this database are made with a key; the operator "
        "must set the key that the other nodes have"
    ),
    "differs": (
        "TETHER_FINGERPRINT_KEY is not the key that the fingerprints of this database are made with; the operator "
        "must set the key that the other nodes have, or, to use this key from now on, run `tether-worker fingerprints rekey`"
    ),
    "keyless": (
        "TETHER_FINGERPRINT_KEY is set here, and the fingerprints of this database are made without a key; the operator "
        "must run `tether-worker fingerprints rekey` to use the key from now on, or leave it unset as the other nodes do"
    ),
    "rekeying": (
        "All fingerprints are being made anew with another key; run `tether-worker fingerprints rekey` again with the same key "
        "if that was interrupted"
    ),
}


class FingerprintKeyRefused(Unavailable):
    """
    Fingerprints cannot be used with the configured key; the operator must act, and the work waits.

    Attributes:
        state: Why; a key of `REASONS`.
    """

    code = "fingerprint_key_refused"
    retry_after_s = 60

    def __init__(self, state: KeyState) -> None:
        super().__init__(state)
        self.state = state

    def __str__(self) -> str:
        return f"{REASONS[self.state]}. Until then files are not read, debits are not submitted and no account is blocked."


def check_value(key: bytes) -> bytes:
    """
    Return the value by which a database recognises its key.

    Args:
        key: `TETHER_FINGERPRINT_KEY`, at most `KEY_BYTES_MAX` bytes; empty for none.

    Returns:
        16 bytes, no fingerprint of anything.
    """
    return blake2b(b"tether", digest_size=16, key=key, person=b"iban-key-check").digest()


def judge(key: bytes, *, recorded: bytes) -> KeyState:
    """
    Whether fingerprints of a database can be used with a key.

    Args:
        key: The key at hand; empty for none.
        recorded: The check value that the database keeps, or `REKEYING`.

    Returns:
        "matches", or why not.
    """
    if recorded == REKEYING:
        return "rekeying"
    if recorded == check_value(key):
        return "matches"
    if not key:
        return "missing"
    return "keyless" if recorded == check_value(b"") else "differs"


def first_check(key: bytes, *, samples: Sequence[tuple[str, bytes]]) -> bytes | None:
    """
    The check value that a database without one is to keep.

    Args:
        key: The key at hand; empty for none.
        samples: Accounts and the fingerprints stored beside them, e.g. of the oldest and the newest debtor; none in a
            database that has no debtors.

    Returns:
        That of the configured key where all samples were made with it, that of no key where all were made without one, else
        `None`: they were made with keys nobody here knows.
    """
    for candidate in (key, b""):
        if all(fingerprint(account, key=candidate) == stored for account, stored in samples):
            return check_value(candidate)
    return None
