"""
Accounts at the gateway: the one of the environment, called "default", and the rows of `gateway_accounts`.

What is secret of a row (login, passwords, terminal tokens) is one encrypted text, under a key that only the
environment has: anyone who reads the table, or a backup of it, learns nothing that helps. The text names its account, so
a row cannot be given another row's secrets. A row that no key opens is excluded, with a warning; it never stops
the others.

An account has several passwords while one is being changed: calls are made with the first, notifications may be signed with
any. It has several terminals likewise: new debits go to the first, questions to all.

A login or address that an account had before is a row of its own, with `former_of`. It submits nothing. What its password signs and what
its reports list counts for the account that had it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from tether_core.emp.signature import Credential
from tether_core.errors import InvalidRequest
from tether_core.limits.rate_limit import Limits, limits
from tether_core.sepa_text import Characters

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.settings import Settings
from tether_stores.telemetry import logger

__all__ = [
    "DEFAULT",
    "GatewayAccount",
    "all_accounts",
    "credentials",
    "default_account",
    "enable",
    "new_key",
    "opened_keys",
    "put",
    "rates",
]

DEFAULT: Final = "default"

_SQL: Final = load("accounts/gateway_accounts")
_log = logger("accounts")

_Rate = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
_Secrets = Annotated[tuple[Annotated[str, msgspec.Meta(min_length=1)], ...], msgspec.Meta(min_length=1)]


class GatewayAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    One account at the gateway.

    Attributes:
        name: Ours for it: 1 to 32 of a-z, 0-9, underscore and hyphen.
        api_url: The gateway's address.
        login: Its API login.
        passwords: Its API passwords, the one in force first.
        terminal_tokens: Its terminals, the one for new debits first.
        billing_per_s: Debits a second at most; `None` for `EMP_RATE_LIMIT`.
        reconciliation_per_s: Questions a second at most; `None` for `RECONCILIATION_RATE_LIMIT`.
        debit_max_minor: Largest amount of one debit; `None` for no cap.
        day_count_max: Debits a day of the banks at most; `None` for no cap.
        day_amount_max_minor: Money a day of the banks at most; `None` for no cap.
        characters: Of names and texts: "latin" as they are, without signs that no bank carries; "sepa" in the basic set;
            `None` for `EMP_CHARACTERS`.
        enabled: Whether it may send. Its notifications are taken all the same.
        former_of: The account that had this login or address before; `None` for an account of its own. One with it must not be enabled.
    """

    name: _Name
    api_url: Annotated[str, msgspec.Meta(pattern=r"^https?://")]
    login: Annotated[str, msgspec.Meta(min_length=1)]
    passwords: _Secrets
    terminal_tokens: _Secrets
    billing_per_s: _Rate | None = None
    reconciliation_per_s: _Rate | None = None
    debit_max_minor: _Count | None = None
    day_count_max: _Count | None = None
    day_amount_max_minor: _Count | None = None
    characters: Characters | None = None
    enabled: bool = True
    former_of: _Name | None = None

    @property
    def owner(self) -> str:
        """The account that its notifications and reports are about: itself, or the one whose former login or address it is."""
        return self.former_of or self.name

    def __repr__(self) -> str:
        """Name the account; everything else may be secret."""
        return f"GatewayAccount({self.name!r})"


class _Sealed(msgspec.Struct, frozen=True):
    name: str
    login: str
    passwords: tuple[str, ...]
    terminal_tokens: tuple[str, ...]


def new_key() -> str:
    """A fresh key for `TETHER_SECRETS_KEY`."""
    return Fernet.generate_key().decode()


def default_account(settings: Settings) -> GatewayAccount | None:
    """
    The account of the environment, or `None` where it lacks something.

    Args:
        settings: From the environment.
    """
    if not settings.gateway_can_be_inquired:
        return None
    return GatewayAccount(
        name=DEFAULT,
        api_url=settings.emp_api_url,
        login=settings.emp_api_login,
        passwords=settings.emp_api_password,
        terminal_tokens=settings.emp_terminal_token,
        characters=settings.emp_characters,
    )


async def all_accounts(conn: Connection, *, settings: Settings) -> dict[str, GatewayAccount]:
    """
    All accounts, the one of the environment first.

    Args:
        settings: With the keys of the rows' secrets.

    Returns:
        By name; rows that no key opens are excluded.
    """
    first = default_account(settings)
    found = {} if first is None else {first.name: first}
    rows = await (await conn.execute(_SQL["rows"], binary=True)).fetchall()
    if not rows:
        return found
    keys = opened_keys(settings.secrets_key)
    for row in rows:
        account = _opened(row, keys=keys)
        if account is not None:
            characters = account.characters or settings.emp_characters
            found[account.name] = msgspec.structs.replace(account, characters=characters)
    return found


async def put(conn: Connection, account: GatewayAccount, *, keys: Sequence[str], now: datetime) -> None:
    """
    Make an account, or replace all of it.

    Args:
        account: As it shall be; not the default one, which is the environment's.
        keys: `TETHER_SECRETS_KEY`, the one to write with first.

    Raises:
        InvalidRequest: for the name of the default account, without a usable key, or for a former login or address that is enabled
            or that belongs to no account.
    """
    if account.name == DEFAULT:
        raise InvalidRequest("the default account comes from the environment", field="name")
    if account.former_of is not None:
        await _check_former(conn, account)
    opened = opened_keys(keys)
    if opened is None:
        raise InvalidRequest(
            "set it to keep secrets; `tether-worker accounts new-key` prints one", field="TETHER_SECRETS_KEY"
        )
    sealed = _Sealed(account.name, account.login, account.passwords, account.terminal_tokens)
    await conn.execute(
        _SQL["put"],
        {
            "name": account.name,
            "sealed": opened.encrypt(msgspec.json.encode(sealed)),
            "api_url": account.api_url,
            "billing_per_s": account.billing_per_s,
            "reconciliation_per_s": account.reconciliation_per_s,
            "debit_max_minor": account.debit_max_minor,
            "day_count_max": account.day_count_max,
            "day_amount_max_minor": account.day_amount_max_minor,
            "characters": account.characters,
            "enabled": account.enabled,
            "former_of": account.former_of,
            "now": now,
        },
    )


async def _check_former(conn: Connection, account: GatewayAccount) -> None:
    if account.enabled:
        raise InvalidRequest(
            'a former login or address submits nothing: set "enabled" to false', field="enabled"
        )
    cursor = await conn.execute(_SQL["is_owner"], {"name": account.former_of, "former": account.name})
    row = await cursor.fetchone()
    if row is None or not row[0]:
        raise InvalidRequest(
            f"there is no account {account.former_of} that could have had it; name the account that has another login or address now",
            field="former_of",
        )


async def enable(conn: Connection, name: str, *, enabled: bool, now: datetime) -> bool:
    """Let an account send, or not; whether there is one that may: a former login or address may not."""
    cursor = await conn.execute(_SQL["enable"], {"name": name, "enabled": enabled, "now": now})
    return await cursor.fetchone() is not None


def credentials(accounts: Iterable[GatewayAccount]) -> tuple[Credential, ...]:
    """
    What notifications may be signed with.

    Args:
        accounts: n accounts, enabled or not.

    Returns:
        n credentials in their order.
    """
    return tuple(
        Credential(
            gateway_account.owner,
            gateway_account.login,
            gateway_account.passwords,
            gateway_account.terminal_tokens,
        )
        for gateway_account in accounts
    )


def rates(account: GatewayAccount, *, settings: Settings) -> Limits:
    """
    The limits of an account: shares "billing" and "reconciliation".

    Args:
        account: Whose.
        settings: With the limits of accounts that have none of their own.

    Returns:
        Each share up to its own limit, both together up to the larger of the two.
    """
    billing = account.billing_per_s or settings.emp_rate_limit
    reconciliation = account.reconciliation_per_s or settings.reconciliation_rate_limit
    # A twentieth of a second at once: what is granted then arrives spread out by some hundredths more, and any 10 s must
    # stay within 2 % of the rate.
    return limits(
        {"billing": billing, "reconciliation": reconciliation},
        total_per_s=max(billing, reconciliation),
        burst_s=0.05,
    )


def opened_keys(keys: Sequence[str]) -> MultiFernet | None:
    """
    The keys of `TETHER_SECRETS_KEY`; `None` without one.

    Args:
        keys: The key to write with first.

    Raises:
        InvalidRequest: when one of them is not a key.
    """
    try:
        return MultiFernet([Fernet(key) for key in keys]) if keys else None
    except ValueError:
        # The message would describe the key.
        raise InvalidRequest(
            "is not a list of keys as `tether-worker accounts new-key` prints them",
            field="TETHER_SECRETS_KEY",
        ) from None


def _opened(row: tuple[Any, ...], *, keys: MultiFernet | None) -> GatewayAccount | None:
    name, sealed, api_url, billing, reconciliation, debit_max, day_count, day_amount, *more = row
    characters, enabled, former_of = more
    if keys is None:
        _log.error(
            "TETHER_SECRETS_KEY is not set, so the secrets of this account cannot be opened; set the key with which it was stored",
            account=name,
        )
        return None
    try:
        secret = msgspec.json.decode(keys.decrypt(bytes(sealed)), type=_Sealed)
    except (InvalidToken, msgspec.DecodeError):
        _log.error(
            "no key of TETHER_SECRETS_KEY opens the secrets of this account; restore the key, or store the account again by `tether-worker accounts put`",
            account=name,
        )
        return None
    if secret.name != name:
        _log.error(
            "the sealed secrets of this account are those of another account; store it again by `tether-worker accounts put`",
            account=name,
        )
        return None
    return GatewayAccount(
        name=name,
        api_url=api_url,
        login=secret.login,
        passwords=secret.passwords,
        terminal_tokens=secret.terminal_tokens,
        billing_per_s=billing,
        reconciliation_per_s=reconciliation,
        debit_max_minor=debit_max,
        day_count_max=day_count,
        day_amount_max_minor=day_amount,
        characters=characters,
        enabled=enabled,
        former_of=former_of,
    )
