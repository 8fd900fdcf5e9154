"""
`/api/return-policies`: what each reason code of a return does, as versions.

```text
GET  /api/return-policies                      list versions, newest first, and say which one decides
POST /api/return-policies                      make a version from another one                            201
GET  /api/return-policies/switches             list the switches, newest first
GET  /api/return-policies/{version}            one version with its rules, and what it changes
POST /api/return-policies/{version}/dry-run    say what it would have changed over past returns
POST /api/return-policies/{version}/switch     switch it on, with a reason
```
"""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, Parameter
from tether_core.audit import facts
from tether_core.blacklist import Action, policy_for
from tether_core.errors import InvalidRequest
from tether_core.return_policies.policy import ReturnPolicy, Rule, changed, changes, require_switch
from tether_core.target_calendar import bank_day
from tether_stores import audit
from tether_stores import return_policies as stored
from tether_stores.postgres import Connection, reading, transaction
from tether_stores.return_policies import StoredDryRun, Switch
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import reason_of

__all__ = ["ROUTER", "PolicyDetail", "PolicyVersion"]

Number = Annotated[int, Parameter(ge=0, le=2**31 - 1, description="The number of a version; 0 is built in.")]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500, description="Why; stored.")]
_Version = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]

_DAYS: Final = 365
_DAYS_MAX: Final = 5 * 365
# Over the returns of a year of a large installation.
_DRY_RUN_S: Final = 60.0
_BUILT_IN: Final = "The built-in table, with the blocking codes of TETHER_BLACKLIST_CODES."
# Of version 0.
_NOBODYS: Final[dict[str, Any]] = {
    "based_on": None,
    "reason": _BUILT_IN,
    "created_by": None,
    "created_at": None,
}
_log = logger("return_policies")


class NewPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A version to be made.

    Attributes:
        based_on: The version whose other rules are taken.
        rules: The rules that differ, by reason code.
        reason: Why; stored with the version.
    """

    based_on: _Version
    rules: dict[Annotated[str, msgspec.Meta(max_length=20)], Rule]
    reason: Reason


class DryRunOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    A dry run to be made.

    Attributes:
        days: Over the returns of this many days up to yesterday.
    """

    days: Annotated[int, msgspec.Meta(ge=1, le=_DAYS_MAX)] = _DAYS


class SwitchOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A switch.

    Attributes:
        active: The version that decides now, as you have seen it; another one is refused.
        reason: Why; stored.
    """

    active: _Version
    reason: Reason


class PolicyVersion(msgspec.Struct, frozen=True, kw_only=True):
    """
    A version of the return policy.

    Attributes:
        version: Its number; 0 is built in.
        active: Whether it decides now.
        based_on: The version it was made from; null for version 0.
        reason: Why it was made.
        created_by: Who made it; null for version 0.
        created_at: When; null for version 0.
    """

    version: int
    active: bool
    based_on: int | None
    reason: str
    created_by: str | None
    created_at: datetime | None


class RuleRow(msgspec.Struct, frozen=True):
    """
    A rule of a version.

    Attributes:
        code: The reason code.
        action: On the account: "none", "hold" or "block".
        retries: How often the same debit may be tried again.
        meaning: Of the code, for people.
    """

    code: str
    action: Action
    retries: int
    meaning: str


class ChangeRow(msgspec.Struct, frozen=True):
    """
    A reason code that two versions treat differently.

    Attributes:
        code: The reason code.
        text: The change in words.
    """

    code: str
    text: str


class PolicyDetail(PolicyVersion, frozen=True, kw_only=True):
    """
    A version with its rules.

    Attributes:
        rules: All rules, by code.
        active_version: The version that decides now.
        changes: What would be otherwise than by the active version.
        dry_run: Its last dry run against the active version; null where none was made.
    """

    rules: list[RuleRow]
    active_version: int
    changes: list[ChangeRow]
    dry_run: StoredDryRun | None


def _built_in(state: State) -> ReturnPolicy:
    built_in: ReturnPolicy = state.settings.policy.returns
    return built_in


async def _found(conn: Connection, state: State, version: int) -> ReturnPolicy:
    found = await stored.version_of(conn, version, built_in=_built_in(state))
    if found is None:
        raise NotFoundException("There is no such version of the return policy")
    return found


async def _detail(conn: Connection, state: State, version: int) -> PolicyDetail:
    policy = await _found(conn, state, version)
    now_active = await stored.active(conn, built_in=_built_in(state))
    made = await stored.described(conn, version)
    rows = [
        RuleRow(code, rule.action, rule.retries, policy_for(code).meaning)
        for code, rule in sorted(policy.rules.items())
    ]
    more = _NOBODYS if made is None else msgspec.structs.asdict(made)
    return PolicyDetail(
        active=version == now_active.version,
        rules=rows,
        active_version=now_active.version,
        changes=[ChangeRow(change.code, change.text) for change in changes(now_active, policy)],
        dry_run=await stored.last_dry_run(conn, version, against=now_active.version),
        **{**more, "version": version},
    )


@get("/", summary="Versions of the return policy, newest first")
async def listed(state: State) -> list[PolicyVersion]:
    """At most 200, and version 0."""
    async with reading(state.pool) as conn:
        now_active = (await stored.active(conn, built_in=_built_in(state))).version
        found = await stored.listed(conn)
    return [
        *(
            PolicyVersion(active=version.version == now_active, **msgspec.structs.asdict(version))
            for version in found
        ),
        PolicyVersion(version=0, active=now_active == 0, **_NOBODYS),
    ]


@get("/switches", summary="Switches of the return policy, newest first")
async def switches(state: State) -> list[Switch]:
    """Who switched which version on, when and why; at most 200."""
    async with reading(state.pool) as conn:
        return await stored.switches(conn)


@post("/", summary="Make a version of the return policy")
async def add(request: ApiRequest, state: State, data: JSONBody[NewPolicy]) -> Response[PolicyDetail]:
    """It is stored whole and never changed; it decides nothing before it is switched on."""
    reason = reason_of(data.reason)
    async with transaction(state.pool) as conn:
        now = state.clock()
        base = await stored.version_of(conn, data.based_on, built_in=_built_in(state))
        if base is None:
            raise InvalidRequest("there is no such version; list the versions", field="based_on")
        made = changed(base, data.rules, version=await stored.next_version(conn))
        await stored.add(conn, made, based_on=base.version, reason=reason, created_by=request.user, now=now)
        await audit.record(
            conn,
            request.auth.actor,
            "return_policy.added",
            subject="return_policy",
            subject_id=made.version,
            reason=reason,
            after=facts(
                based_on=base.version, changes="; ".join(change.text for change in changes(base, made))
            ),
            now=now,
        )
        detail = await _detail(conn, state, made.version)
    _log.info("return policy added", version=made.version, by=request.user)
    return Response(detail, status_code=201)


@get("/{version:int}", summary="One version of the return policy, with its rules")
async def shown(state: State, version: Number) -> PolicyDetail:
    """With what it changes of the active version, and its last dry run against it."""
    async with reading(state.pool) as conn:
        return await _detail(conn, state, version)


@post(
    "/{version:int}/dry-run", status_code=200, summary="What a version would have changed over past returns"
)
async def dry_run(
    request: ApiRequest, state: State, version: Number, data: JSONBody[DryRunOrder]
) -> StoredDryRun:
    """Against the active version. The result is stored; nothing else is changed."""
    now = state.clock()
    to_on = bank_day(now) - timedelta(days=1)
    async with reading(state.pool, limit_s=_DRY_RUN_S) as conn:
        policy = await _found(conn, state, version)
        before = await stored.active(conn, built_in=_built_in(state))
        result = await stored.try_over_returns(
            conn, before, policy, from_on=to_on - timedelta(days=data.days - 1), to_on=to_on
        )
    async with transaction(state.pool) as conn:
        made = await stored.add_dry_run(conn, result, made_by=request.user, now=now)
        await audit.record(
            conn,
            request.auth.actor,
            "return_policy.tried",
            subject="return_policy",
            subject_id=version,
            after=facts(against=before.version, days=data.days),
            now=now,
        )
    return made


@post("/{version:int}/switch", status_code=200, summary="Switch a version of the return policy on")
async def switch(request: ApiRequest, state: State, version: Number, data: JSONBody[SwitchOrder]) -> Switch:
    """
    All nodes decide by it from the commit of this request on.

    Refused before a dry run of it against the active version is stored, except where it was active before. Entries of the blacklist and
    retries that were decided stay as they are.
    """
    reason = reason_of(data.reason)
    async with transaction(state.pool) as conn:
        await stored.lock_to_switch(conn)
        now = state.clock()
        await _found(conn, state, version)
        before = await stored.active(conn, built_in=_built_in(state))
        tried = await stored.last_dry_run(conn, version, against=before.version)
        require_switch(
            version,
            active=before.version,
            expected=data.active,
            was_active=await stored.was_active(conn, version),
            is_dry_run=tried is not None,
        )
        made = await stored.switch(
            conn,
            version,
            version_before=before.version,
            dry_run_id=None if tried is None else tried.id,
            reason=reason,
            switched_by=request.user,
            now=now,
        )
        await audit.record(
            conn,
            request.auth.actor,
            "return_policy.switched",
            subject="return_policy",
            subject_id=version,
            reason=reason,
            before=facts(version=before.version),
            after=facts(version=version),
            now=now,
        )
    _log.info("return policy switched", version=version, before=before.version, by=request.user)
    return made


ROUTER: Final = Router(
    "/api/return-policies",
    route_handlers=[listed, switches, add, shown, dry_run, switch],
    tags=["return policy"],
)
