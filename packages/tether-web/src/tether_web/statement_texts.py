"""`/api/statement-texts`: what debtors read on their bank statements, by gateway account and month."""

from typing import Annotated, Final

import msgspec
from litestar import Router, delete, get, put
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, Parameter
from tether_core.audit import facts
from tether_core.billing.statement_texts import require_month, require_text
from tether_core.errors import InvalidRequest
from tether_stores import audit, statement_texts
from tether_stores.accounts import gateway_accounts
from tether_stores.postgres import reading, transaction
from tether_stores.statement_texts import StatementText

from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import printable

__all__ = ["ROUTER"]


class TextBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A text to be stored.

    Attributes:
        text: 1 to 140 characters.
        account: The gateway account; "" for all.
        month: Such as "2026-12"; "" for all.
    """

    text: Annotated[str, msgspec.Meta(max_length=1_000)]
    account: Annotated[str, msgspec.Meta(max_length=32)] = ""
    month: Annotated[str, msgspec.Meta(max_length=20)] = ""


@get("/", summary="Texts of bank statements by account and month")
async def listed(state: State) -> list[StatementText]:
    """A run takes the text of its account and month, else of its account, else of the month, else of all."""
    async with reading(state.pool) as conn:
        return await statement_texts.listed(conn)


@put("/", summary="Store the text of an account and month")
async def store(request: ApiRequest, state: State, data: JSONBody[TextBody]) -> list[StatementText]:
    """In place of the one before. Runs that were ordered keep their text."""
    month, text = require_month(data.month), require_text(printable(data.text, field="text"))
    async with transaction(state.pool) as conn:
        now = state.clock()
        names = await gateway_accounts.all_accounts(conn, settings=state.settings)
        if data.account and data.account not in {gateway_accounts.DEFAULT, *names}:
            raise InvalidRequest("no gateway account has this name", field="account")
        await statement_texts.put(
            conn, account=data.account, month=month, text=text, written_by=request.user, now=now
        )
        await audit.record(
            conn,
            request.auth.actor,
            "statement_text.stored",
            subject="statement_text",
            subject_id=f"{data.account or 'all'} {month or 'all'}",
            after=facts(text=text),
            now=now,
        )
        return await statement_texts.listed(conn)


@delete("/", status_code=200, summary="Remove the text of an account and month")
async def remove(
    request: ApiRequest,
    state: State,
    account: Annotated[
        str, Parameter(description="The gateway account; empty for the text of all.", max_length=32)
    ] = "",
    month: Annotated[
        str, Parameter(description="Such as 2026-12; empty for all months.", max_length=20)
    ] = "",
) -> list[StatementText]:
    """404 where there is none."""
    async with transaction(state.pool) as conn:
        now = state.clock()
        text = await statement_texts.remove(conn, account=account, month=require_month(month))
        if text is None:
            raise NotFoundException("No text is stored for this account and month")
        await audit.record(
            conn,
            request.auth.actor,
            "statement_text.removed",
            subject="statement_text",
            subject_id=f"{account or 'all'} {month or 'all'}",
            before=facts(text=text),
            now=now,
        )
        return await statement_texts.listed(conn)


ROUTER: Final = Router("/api/statement-texts", route_handlers=[listed, store, remove], tags=["billing"])
