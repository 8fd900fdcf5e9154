"""Settings: read strictly, shown without secrets, and complained about without their values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from tether_core.errors import InvalidRequest
from tether_core.return_policies.policy import BUILT_IN
from tether_stores.settings import Settings, described

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hunter2-do-not-show"


def test_nothing_set_is_closed_and_quiet() -> None:
    """A node without secrets must refuse notifications and API calls, and ask no gateway."""
    settings = Settings.from_env({"EMP_API_PASSWORD": "", "TETHER_API_KEYS": "  "})
    assert (settings.credentials, settings.api_keys, settings.gateway_can_be_inquired) == ((), {}, False)
    assert settings.policy.confirm == "off"
    assert settings.policy.returns == BUILT_IN


def test_the_old_systems_names_are_read() -> None:
    """A site that moves over keeps its environment.

    A name that is ignored would close a route without a word.
    """
    settings = Settings.from_env(
        {
            "EMP_API_LOGIN": "merchant",
            "EMP_API_PASSWORD": "one, two,",
            "EMP_TERMINAL_TOKEN": "t1,t2",
            "EMP_API_URL": "https://gate.example",
            "EMP_TIMEOUT": "12.5",
            "EMP_CONNECT_TIMEOUT": "3",
            "EMP_RATE_LIMIT": "7",
            "RECONCILIATION_RATE_LIMIT": "8",
            "LOG_LEVEL": "WARNING",
            "TETHER_BLACKLIST_CODES": "ac04 , xx99",
            "TETHER_API_KEYS": "ada:k:1, ben:k2",
        }
    )
    (account,) = settings.credentials
    assert (account.login, account.passwords, account.terminal_tokens) == (
        "merchant",
        ("one", "two"),
        ("t1", "t2"),
    )
    assert (settings.emp_timeout_s, settings.emp_connect_timeout_s, settings.emp_rate_limit) == (12.5, 3, 7)
    assert (settings.reconciliation_rate_limit, settings.log_level) == (8, "warning")
    rules = settings.policy.returns.rules
    assert {code for code, rule in rules.items() if rule.action == "block"} == {"AC04", "XX99"}
    assert settings.policy.confirm == "failures"
    assert settings.api_keys == {"ada": "k:1", "ben": "k2"}


def test_migrations_use_the_database_unless_another_address_is_set() -> None:
    """Without a pooler one address is enough; with one, migrations must go past it."""
    settings = Settings.from_env({"DATABASE_URL": "postgresql://pooler"})
    both = Settings.from_env(
        {"DATABASE_URL": "postgresql://pooler", "DATABASE_DIRECT_URL": "postgresql://direct"}
    )
    assert (settings.database_direct_url, both.database_direct_url) == (
        "postgresql://pooler",
        "postgresql://direct",
    )


def test_no_secret_is_ever_shown() -> None:
    """Settings end up in tracebacks and debug logs; passwords and keys must not come along."""
    secrets = {setting.env for setting in described() if setting.secret}
    addresses = {"DATABASE_URL": "postgresql", "DATABASE_DIRECT_URL": "postgresql", "REDIS_URL": "redis"}
    environ = {
        env: f"{addresses[env]}://name:{SECRET}@host" if env in addresses else f"name:{SECRET}"
        for env in secrets
    }
    settings = Settings.from_env(environ)
    assert SECRET in str(msgspec.structs.astuple(settings))
    assert SECRET not in repr(settings) + str(settings) + f"{settings}" + repr(settings.credentials)
    assert {
        "EMP_API_PASSWORD",
        "TETHER_API_KEYS",
        "DATABASE_URL",
        "REDIS_URL",
        "AWS_SECRET_ACCESS_KEY",
    } < secrets


def _warning(env: str) -> str | None:
    try:
        Settings.from_env({env: SECRET})
    except InvalidRequest as exc:
        return f"{exc} {exc!r}"
    return None


def test_warnings_name_the_variable_and_never_its_value() -> None:
    """A password pasted into the wrong line must cause an error with the line's name, and must not be logged."""
    warnings = {setting.env: text for setting in described() if (text := _warning(setting.env))}
    assert len(warnings) > 10
    for env, text in warnings.items():
        assert env in text
        assert SECRET[:7] not in text, env


@pytest.mark.parametrize(
    ("env", "value"),
    [
        ("EMP_TIMEOUT", "0"),
        ("EMP_TIMEOUT", "-1"),
        ("EMP_TIMEOUT", "nan"),
        ("EMP_TIMEOUT", "inf"),
        ("DATABASE_POOL_MAX", "1.5"),
        ("DATABASE_POOL_MAX", "0"),
        ("LOG_LEVEL", "loud"),
        ("EMP_CONFIRM", "some"),
        ("TETHER_API_KEYS", "no-colon"),
        ("TETHER_API_KEYS", "name:"),
        ("TETHER_API_KEYS", "one:key,one:other"),
        ("TETHER_BLACKLIST_CODES", "AC04;MD01"),
        ("DATABASE_URL", "db.example:5432/tether"),
        ("DATABASE_URL", "mysql://db/tether"),
        ("DATABASE_DIRECT_URL", "postgresql://db:port/tether"),
        ("REDIS_URL", "queue:6379"),
        ("REDIS_URL", "redis://queue:port"),
        ("EMP_API_URL", "gate.example"),
        ("EMP_API_URL", "https://gate.example:99999"),
        ("TETHER_VOP_URL", "ftp://vop.example"),
        ("AWS_ENDPOINT", "https://"),
    ],
)
def test_what_makes_no_sense_is_refused_at_the_start(env: str, value: str) -> None:
    """A wrong value found at the start costs a minute; found at night, it costs the night."""
    with pytest.raises(InvalidRequest, match=env):
        Settings.from_env({env: value})


def test_every_setting_tells_what_it_is_for() -> None:
    """The page of settings is made of these texts; one without a text or a name of its own helps nobody."""
    settings = list(described())
    assert (
        len({setting.env for setting in settings}) == len(settings) == len(msgspec.structs.fields(Settings))
    )
    assert all(setting.text.endswith(".") and setting.field for setting in settings)


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    """Containers mount secrets as files; an environment shows them to everybody who may list processes."""
    file = tmp_path / "password"
    file.write_text(f"{SECRET},older\n")
    settings = Settings.from_env({"EMP_API_PASSWORD_FILE": str(file), "EMP_TIMEOUT_FILE": str(file)})
    assert settings.emp_api_password == (SECRET, "older")
    assert SECRET not in repr(settings)


def test_a_secret_that_cannot_be_read_stops_the_program(tmp_path: Path) -> None:
    """A missing password would close the route for notifications, which an operator would learn from the gateway."""
    empty, large, binary, good = (tmp_path / name for name in ("empty", "large", "binary", "good"))
    empty.write_text("\n")
    large.write_text("x" * 70_000)
    binary.write_bytes(b"\xff\xfe")
    good.write_text(SECRET)
    for path, why in [
        (tmp_path / "missing", "no text file"),
        (tmp_path, "no text file"),
        (empty, "empty file"),
        (large, "more than 65536 bytes"),
        (binary, "no text file"),
    ]:
        with pytest.raises(InvalidRequest, match=why) as refused:
            Settings.from_env({"TETHER_API_KEYS_FILE": str(path)})
        assert "TETHER_API_KEYS_FILE" in str(refused.value)
    with pytest.raises(InvalidRequest, match="both set") as refused:
        Settings.from_env({"EMP_API_PASSWORD": SECRET, "EMP_API_PASSWORD_FILE": str(good)})
    assert SECRET not in str(refused.value)
