"""
The steps of signing in to the console.

Each step counts a try before it checks anything, checks, and begins a session with a token of its own. An answer does not tell whether a user
exists: an unknown name takes as long as a wrong password, and gets the same sentence.
"""

from datetime import datetime

import msgspec
from litestar.datastructures import State
from tether_core.audit import Actor, facts
from tether_core.errors import Rejected, Unavailable
from tether_core.people.oidc import SENTENCES, Holder, ProviderIdentity, Refusal, decide
from tether_core.people.sign_in import Step, require_password
from tether_stores import audit
from tether_stores import sessions as stored_sessions
from tether_stores.people import failures, passwords, second_factor, users
from tether_stores.people.users import User
from tether_stores.postgres import Connection, connection, transaction
from tether_stores.telemetry import logger

from tether_web.http import sessions
from tether_web.http.sessions import Caller

__all__ = [
    "NewFactor",
    "SignInFailed",
    "TooManyTries",
    "change_password",
    "check_code",
    "check_password",
    "count_for_provider",
    "enrol",
    "forgive",
    "refused",
    "remove_second_factor",
    "replace_backup_codes",
    "sign_out",
    "with_key",
    "with_provider",
]

_log = logger("sign_in")


class SignInFailed(Rejected):
    """What was given does not sign in; the sentence does not say which part was wrong."""

    code = "sign_in_failed"

    def __init__(self, why: str) -> None:
        """Keep the sentence."""
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return self.why


class TooManyTries(Unavailable):
    """
    Too many tries failed.

    Attributes:
        retry_after_s: Seconds to wait.
    """

    code = "too_many_tries"

    def __init__(self, *, wait_s: int) -> None:
        """Keep the wait."""
        super().__init__(wait_s)
        self.retry_after_s = wait_s

    def __str__(self) -> str:
        return f"Too many tries failed. Wait {self.retry_after_s} s and try again."


class NewFactor(msgspec.Struct, frozen=True):
    """
    The result of a new second factor.

    Attributes:
        token: Of the new session.
        codes: Backup codes, shown once.
    """

    token: str
    codes: list[str]


async def _count(state: State, name: str | None, *, address: str | None) -> None:
    async with transaction(state.pool) as conn:
        wait_s = await failures.count(conn, name, address=address, now=state.clock())
    if wait_s:
        _log.warning("sign-in refused", wait_s=wait_s)
        raise TooManyTries(wait_s=wait_s)


async def check_password(
    state: State, name: str, password: str, *, address: str | None, replaces: str
) -> str:
    """
    Begin a session by name and password.

    Args:
        replaces: The token that the browser had, which ends.

    Returns:
        The token of the session; its next step follows from the user.

    Raises:
        SignInFailed: when name and password do not fit, or the user is disabled.
        TooManyTries: when earlier tries failed.
    """
    name = name.strip().lower()
    await _count(state, name, address=address)
    async with connection(state.pool) as conn:
        user = await users.by_name(conn, name) if "\x00" not in name else None
    is_right = await passwords.verify(None if user is None else user.password_hash, password)
    if user is None or not is_right or user.disabled_at is not None:
        _log.warning("sign-in failed")
        raise SignInFailed("Name or password is wrong, or the user is disabled.")
    now: datetime = state.clock()
    caller = sessions.of_user(user, second_factor=False, address=address, settings=state.settings)
    async with transaction(state.pool) as conn:
        if passwords.needs_new_hash(user.password_hash or ""):
            await users.set_password(
                conn,
                user.id,
                password_hash=await passwords.hashed(password),
                is_temporary=user.is_temporary,
                now=now,
            )
        token = await sessions.begin(conn, caller, replaces=replaces, now=now)
        await _complete(conn, caller, now=now)
    return token


async def with_provider(state: State, identity: ProviderIdentity, *, address: str | None) -> str:
    """
    Begin a session for a person who signed in at the identity provider.

    Args:
        identity: Of a verified ID token. The first time, it is bound to the user of its name.

    Returns:
        The token of the session; its next step follows from the user.

    Raises:
        SignInFailed: when no user fits, or the user is disabled or belongs to another person there.
    """
    now: datetime = state.clock()
    async with transaction(state.pool) as conn:
        bound = await users.by_subject(conn, issuer=identity.issuer, subject=identity.subject)
        named = (
            None if bound is not None or identity.name is None else await _held_by_name(conn, identity.name)
        )
        decision = decide(identity, bound=_holder(bound), named=_holder(named))
        user = bound or named
        if decision != "sign_in" and decision != "bind":  # noqa: PLR1714 - the type checker reads it
            raise refused(decision)
        assert user is not None
        caller = sessions.of_user(
            user,
            second_factor=False,
            address=address,
            settings=state.settings,
            provider_factors=identity.factors,
        )
        if decision == "bind":
            bind = users.bind(conn, user.id, issuer=identity.issuer, subject=identity.subject, now=now)
            if not await bind:
                raise refused("bound_to_another")
            await audit.record(
                conn,
                caller.actor,
                "user.bound",
                subject="user",
                subject_id=user.id,
                after=facts(issuer=identity.issuer),
                now=now,
            )
        token = await sessions.begin(conn, caller, now=now)
        await failures.forgive(conn, address=address)
        await _complete(conn, caller, now=now)
    return token


async def count_for_provider(state: State, *, address: str | None) -> None:
    """
    Count a way back from the identity provider against its address; nobody is known yet.

    Raises:
        TooManyTries: when earlier tries failed.
    """
    await _count(state, None, address=address)


async def forgive(state: State, *, address: str | None) -> None:
    """Take back a counted try that failed by nobody's fault here."""
    async with transaction(state.pool) as conn:
        await failures.forgive(conn, address=address)


def refused(why: Refusal) -> SignInFailed:
    """A refusal with its sentence; the log has its reason and nothing of the token."""
    _log.warning("provider sign-in refused", reason=why)
    return SignInFailed(SENTENCES[why])


async def _held_by_name(conn: Connection, name: str) -> User | None:
    found = await users.by_name(conn, name)
    return None if found is None else await users.hold(conn, found.id)


def _holder(user: User | None) -> Holder | None:
    if user is None:
        return None
    return Holder(is_disabled=user.disabled_at is not None, is_bound=user.oidc_subject is not None)


async def with_key(state: State, caller: Caller, *, replaces: str) -> str:
    """Begin a session for the holder of an API key; returns the cookie's token."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        token = await sessions.begin(conn, caller, replaces=replaces, now=now)
        await _recorded(conn, caller.actor, now=now)
    return token


async def _complete(conn: Connection, caller: Caller, *, now: datetime) -> None:
    """Note a sign-in whose steps are all done."""
    if caller.step != "complete" or caller.actor.id is None:
        return
    await failures.clear(conn, caller.actor.label, address=caller.actor.address)
    await users.signed_in(conn, caller.actor.id, now=now)
    await _recorded(conn, caller.actor, now=now)


async def _recorded(conn: Connection, actor: Actor, *, now: datetime) -> None:
    await audit.record(conn, actor, "session.begun", subject="session", now=now)


async def check_code(state: State, caller: Caller, code: str, *, token: str) -> str:
    """
    Take the second step: a code of the second factor, or a backup code; each is accepted once.

    Returns:
        The token of the session that replaces *token*.

    Raises:
        SignInFailed: when the code is wrong or was used before.
        TooManyTries: when earlier tries failed.
    """
    await _count(state, caller.actor.label, address=caller.actor.address)
    now: datetime = state.clock()
    async with transaction(state.pool) as conn:
        user = await _held(conn, caller)
        if not await _accepts(conn, state, user, code, now=now):
            raise SignInFailed("The code is wrong, or it was used before. Wait for the next one.")
        proven = sessions.of_user(
            user,
            second_factor=True,
            address=caller.actor.address,
            settings=state.settings,
            provider_factors=caller.provider_factors,
        )
        new = await sessions.begin(conn, proven, second_factor=True, replaces=token, now=now)
        await _complete(conn, proven, now=now)
    return new


def _require_step(caller: Caller, *steps: Step) -> None:
    if caller.step not in steps:
        raise SignInFailed("Take the next step of the sign-in first.")


async def _held(conn: Connection, caller: Caller) -> User:
    user = None if caller.actor.id is None else await users.hold(conn, caller.actor.id)
    if user is None or user.disabled_at is not None:
        raise SignInFailed("This needs a user; an API key has no password and no second factor.")
    return user


async def _accepts(conn: Connection, state: State, user: User, code: str, *, now: datetime) -> bool:
    if user.second_factor is None:
        return False
    secret = second_factor.opened(user.second_factor, user_id=user.id, keys=state.settings.secrets_key)
    step = second_factor.step_of(secret, code, now=now)
    if step is not None:
        return await users.use_step(conn, user.id, step=step)
    digest = second_factor.backup_code_digest(code)
    return await users.use_backup_code(conn, user.id, code_digest=digest, now=now)


async def change_password(state: State, caller: Caller, *, old: str, new: str) -> str:
    """
    Set an own password; the other sessions of the user end.

    Returns:
        The token of the session that replaces all of the user.

    Raises:
        SignInFailed: when the session is at another step, or the old password is wrong.
        InvalidRequest: when the new one is too weak, or the same.
        TooManyTries: when earlier tries failed.
    """
    _require_step(caller, "complete", "password")
    name = caller.actor.label
    require_password(new, name=name)
    await _count(state, name, address=caller.actor.address)
    async with connection(state.pool) as conn:
        user = None if caller.actor.id is None else await users.by_id(conn, caller.actor.id)
    if not await passwords.verify(None if user is None else user.password_hash, old) or old == new:
        raise SignInFailed("The old password is wrong, or the new one is the same.")
    password_hash = await passwords.hashed(new)
    now: datetime = state.clock()
    async with transaction(state.pool) as conn:
        held = await _held(conn, caller)
        # A session of a user with a second factor is at these steps only after a code, or after the provider's.
        has_second_factor = held.second_factor is not None and caller.provider_factors != 2
        await users.set_password(conn, held.id, password_hash=password_hash, is_temporary=False, now=now)
        await stored_sessions.remove_of_user(conn, held.id)
        after = sessions.of_user(
            msgspec.structs.replace(held, is_temporary=False),
            second_factor=has_second_factor,
            address=caller.actor.address,
            settings=state.settings,
            provider_factors=caller.provider_factors,
        )
        new_token = await sessions.begin(conn, after, second_factor=has_second_factor, now=now)
        await audit.record(
            conn, caller.actor, "user.password_changed", subject="user", subject_id=held.id, now=now
        )
        await _complete(conn, after, now=now)
    return new_token


async def enrol(state: State, caller: Caller, *, secret: str, code: str, token: str) -> NewFactor:
    """
    Set up a second factor; the other sessions of the user end.

    Args:
        secret: As shown to the person.
        code: The first code of the app.

    Raises:
        SignInFailed: when the code does not fit, or a second factor exists.
        InvalidRequest: without `TETHER_SECRETS_KEY`.
    """
    _require_step(caller, "complete", "enrolment")
    await _count(state, caller.actor.label, address=caller.actor.address)
    now: datetime = state.clock()
    step = second_factor.step_of(secret, code, now=now)
    if step is None:
        raise SignInFailed("The code does not fit. Check the clock of the phone, and try the next code.")
    async with transaction(state.pool) as conn:
        user = await _held(conn, caller)
        if user.second_factor is not None:
            raise SignInFailed("A second factor exists; remove it first.")
        sealed = second_factor.sealed(secret, user_id=user.id, keys=state.settings.secrets_key)
        await users.set_second_factor(conn, user.id, second_factor=sealed, step=step, now=now)
        codes = second_factor.new_backup_codes()
        await users.replace_backup_codes(
            conn, user.id, digests=[second_factor.backup_code_digest(text) for text in codes]
        )
        await stored_sessions.remove_of_user(conn, user.id)
        after = sessions.of_user(
            msgspec.structs.replace(user, second_factor=sealed),
            second_factor=True,
            address=caller.actor.address,
            settings=state.settings,
            provider_factors=caller.provider_factors,
        )
        new_token = await sessions.begin(conn, after, second_factor=True, replaces=token, now=now)
        await audit.record(
            conn, caller.actor, "user.second_factor_enrolled", subject="user", subject_id=user.id, now=now
        )
        await failures.clear(conn, user.name, address=caller.actor.address)
        if caller.step != "complete":
            await _complete(conn, after, now=now)
    return NewFactor(new_token, codes)


async def replace_backup_codes(state: State, caller: Caller, *, code: str) -> list[str]:
    """
    New backup codes instead of all earlier ones.

    Raises:
        SignInFailed: when the code is wrong or was used before.
        TooManyTries: when earlier tries failed.
    """
    await _count(state, caller.actor.label, address=caller.actor.address)
    now: datetime = state.clock()
    async with transaction(state.pool) as conn:
        user = await _held(conn, caller)
        if not await _accepts(conn, state, user, code, now=now):
            raise SignInFailed("The code is wrong, or it was used before. Wait for the next one.")
        codes = second_factor.new_backup_codes()
        await users.replace_backup_codes(
            conn, user.id, digests=[second_factor.backup_code_digest(text) for text in codes]
        )
        await failures.clear(conn, user.name, address=caller.actor.address)
        await audit.record(
            conn, caller.actor, "user.backup_codes_replaced", subject="user", subject_id=user.id, now=now
        )
    return codes


async def remove_second_factor(state: State, caller: Caller, *, code: str) -> None:
    """
    Remove the second factor; a code of it is needed.

    Raises:
        SignInFailed: when the code is wrong or was used before.
        TooManyTries: when earlier tries failed.
    """
    await _count(state, caller.actor.label, address=caller.actor.address)
    now: datetime = state.clock()
    async with transaction(state.pool) as conn:
        user = await _held(conn, caller)
        if not await _accepts(conn, state, user, code, now=now):
            raise SignInFailed("The code is wrong, or it was used before. Wait for the next one.")
        await users.set_second_factor(conn, user.id, second_factor=None, step=None, now=now)
        await failures.clear(conn, user.name, address=caller.actor.address)
        await audit.record(
            conn, caller.actor, "user.second_factor_removed", subject="user", subject_id=user.id, now=now
        )


async def sign_out(state: State, caller: Caller, *, token: str) -> None:
    """End a session."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        await stored_sessions.remove(conn, token_digest=sessions.token_digest(token))
        await audit.record(conn, caller.actor, "session.ended", subject="session", now=now)
