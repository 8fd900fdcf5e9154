"""
The gateway client: submits the requests of `tether_core.emp.requests` and returns their responses.

A call ends in an answer that could be read, a refusal like everything else, and `tether_core.emp.codes` says what its code means; in
`NotSubmitted`, also where the gateway states that it took nothing; or in `GatewaySilent`: the payment has to be inquired by our own id before
anything is submitted again. `tether_worker.gateway.connections` makes the exchange.

Source: Genesis API documentation v60.1, Environments, URLs and Authentication.
"""

from datetime import date, datetime

from tether_core.emp import codes, http_response, requests, responses
from tether_core.errors import GatewaySilent, InvalidRequest, NotSubmitted

from tether_worker.gateway.connections import CallProgress, Gateway, exchange

__all__ = [
    "chargebacks_imported",
    "chargebacks_of",
    "chargebacks_posted",
    "init_recurring_sale",
    "reconcile",
    "recurring_sale",
    "refund",
    "sale",
    "transactions",
    "void",
]


async def sale(
    gateway: Gateway, debit: requests.Debit, *, begin_until_s: float | None = None
) -> responses.GatewayAnswer:
    """
    Submit a single debit, once.

    Args:
        debit: What is to be debited; its transaction_id is stored already.
        begin_until_s: When the call must have a connection, on the clock of `time.monotonic`; `None` for twice the
            account's time limit from now.

    Returns:
        The gateway's answer; a refusal is one.

    Raises:
        NotSubmitted: when nothing was submitted.
        GatewaySilent: when there is none; whether the debit exists is unknown.
        InvalidRequest: when the debit cannot be requested; nothing was submitted.
        InvalidIban: when its IBAN is invalid; nothing was submitted.
    """
    return await _transact(
        gateway, requests.sdd_sale(debit), transaction_id=debit.transaction_id, begin_until_s=begin_until_s
    )


async def init_recurring_sale(
    gateway: Gateway, debit: requests.Debit, *, begin_until_s: float | None = None
) -> responses.GatewayAnswer:
    """
    Submit the first debit of a series, once.

    Args:
        debit: What is to be debited.
        begin_until_s: As for `sale`.

    Returns:
        The gateway's answer; a refusal is one.

    Raises:
        NotSubmitted: when nothing was submitted.
        GatewaySilent: when there is none; whether the debit exists is unknown.
        InvalidRequest: when the debit cannot be requested; nothing was submitted.
        InvalidIban: when its IBAN is invalid; nothing was submitted.
    """
    return await _transact(
        gateway,
        requests.sdd_init_recurring_sale(debit),
        transaction_id=debit.transaction_id,
        begin_until_s=begin_until_s,
    )


async def recurring_sale(
    gateway: Gateway,
    *,
    transaction_id: str,
    reference_id: str,
    amount_minor: int,
    currency: str,
    usage: str,
    remote_ip: str | None = None,
    begin_until_s: float | None = None,
) -> responses.GatewayAnswer:
    """
    Submit a later debit of a series, once.

    Args:
        transaction_id: Our id of this debit.
        reference_id: The gateway's id of the first one.
        amount_minor: Whole minor units, above 0.
        currency: Three capitals of ISO 4217.
        usage: The text on the statement.
        remote_ip: Where the terminal demands it.
        begin_until_s: As for `sale`.

    Returns:
        The gateway's answer; a refusal is one.

    Raises:
        NotSubmitted: when nothing was submitted.
        GatewaySilent: when there is none; whether the debit exists is unknown.
        InvalidRequest: when the debit cannot be requested; nothing was submitted.
    """
    request = requests.sdd_recurring_sale(
        transaction_id,
        reference_id=reference_id,
        amount_minor=amount_minor,
        currency=currency,
        usage=usage,
        remote_ip=remote_ip,
    )
    return await _transact(gateway, request, transaction_id=transaction_id, begin_until_s=begin_until_s)


async def refund(
    gateway: Gateway,
    *,
    transaction_id: str,
    reference_id: str,
    amount_minor: int,
    currency: str,
    usage: str,
    begin_until_s: float | None = None,
) -> responses.GatewayAnswer:
    """
    Submit a refund of an approved debit, once.

    Args:
        transaction_id: Our id of this refund.
        reference_id: The gateway's id of the debit.
        amount_minor: Whole minor units, above 0.
        currency: That of the debit.
        usage: The text on the statement.
        begin_until_s: As for `sale`.

    Returns:
        The gateway's answer; a refusal is one.

    Raises:
        NotSubmitted: when nothing was submitted.
        GatewaySilent: when there is none; whether the refund exists is unknown.
        InvalidRequest: when it cannot be requested; nothing was submitted.
    """
    request = requests.sdd_refund(
        transaction_id, reference_id=reference_id, amount_minor=amount_minor, currency=currency, usage=usage
    )
    return await _transact(gateway, request, transaction_id=transaction_id, begin_until_s=begin_until_s)


async def void(
    gateway: Gateway,
    *,
    transaction_id: str,
    reference_id: str,
    usage: str,
    begin_until_s: float | None = None,
) -> responses.GatewayAnswer:
    """
    Submit a void of a debit of today, once.

    Args:
        transaction_id: Our id of this void.
        reference_id: The gateway's id of the debit.
        usage: Why.
        begin_until_s: As for `sale`.

    Returns:
        The gateway's answer; a refusal is one.

    Raises:
        NotSubmitted: when nothing was submitted.
        GatewaySilent: when there is none; whether the debit was voided is unknown.
        InvalidRequest: when it cannot be requested; nothing was submitted.
    """
    request = requests.void(transaction_id, reference_id=reference_id, usage=usage)
    return await _transact(gateway, request, transaction_id=transaction_id, begin_until_s=begin_until_s)


async def reconcile(
    gateway: Gateway,
    *,
    transaction_id: str | None = None,
    unique_id: str | None = None,
    terminal_token: str | None = None,
) -> responses.GatewayAnswer | None:
    """
    Inquire about one payment by exactly one of the two ids.

    Args:
        transaction_id: Our id of it.
        unique_id: The gateway's id of it.
        terminal_token: The terminal that took it; `None` for the account's own.

    Returns:
        What it is now, or `None` where the gateway has no such payment (error 460).

    Raises:
        CredentialsRejected: when the gateway rejects the credentials.
        GatewaySilent: when there is no answer, or one that asks to retry later.
        InvalidRequest: when not exactly one id is given, or the gateway refuses the inquiry.
    """
    request = requests.reconcile(transaction_id=transaction_id, unique_id=unique_id)
    path = f"/reconcile/{terminal_token or gateway.account.terminal_token}"
    response = await exchange(gateway, path, request)
    answer = http_response.inquired(response, transaction_id=transaction_id, unique_id=unique_id)
    if (
        answer is not None
        and answer.status == "error"
        and answer.unique_id is None
        and answer.transaction_id is None
    ):
        # An error without any id is about the inquiry, not about the payment.
        raise _refusal(answer)
    return answer


async def transactions(
    gateway: Gateway,
    *,
    start_at: datetime,
    end_at: datetime,
    page: int = 1,
    terminal_token: str | None = None,
) -> responses.RecordPage[responses.GatewayAnswer]:
    """
    Fetch one page of the payments within a window of at most 7 days.

    Args:
        start_at: Its beginning, aware.
        end_at: Its end, aware.
        page: From 1.
        terminal_token: The terminal that took them; `None` for the account's own.

    Returns:
        The page; fetch the next while `has_next`.

    Raises:
        CredentialsRejected: when the gateway rejects the credentials.
        GatewaySilent: when there is no answer, or one that asks to retry later.
        InvalidRequest: when the gateway refuses the inquiry.
    """
    request = requests.reconcile_by_date(start_at=start_at, end_at=end_at, page=page)
    path = f"/reconcile/by_date/{terminal_token or gateway.account.terminal_token}"
    page_or_refusal = http_response.listed(
        await exchange(gateway, path, request), read=responses.read_transactions
    )
    if isinstance(page_or_refusal, responses.GatewayAnswer):
        raise _refusal(page_or_refusal)
    return page_or_refusal


async def chargebacks_of(gateway: Gateway, *, unique_id: str) -> responses.RecordPage[responses.Chargeback]:
    """
    Fetch the chargebacks of one payment.

    Args:
        unique_id: The gateway's id of the payment.

    Returns:
        All of them on one page, which may be empty.

    Raises:
        CredentialsRejected: when the gateway rejects the credentials.
        GatewaySilent: when there is no answer, or one that asks to retry later.
        InvalidRequest: when the gateway refuses the inquiry.
    """
    return await _chargebacks(gateway, "/chargebacks", requests.chargeback(unique_id=unique_id))


async def chargebacks_imported(
    gateway: Gateway, *, import_on: date, page: int = 1, scope: requests.Scope | None = None
) -> responses.RecordPage[responses.Chargeback]:
    """
    Fetch one page of the chargebacks that the gateway imported on a day.

    Args:
        import_on: The day.
        page: From 1.
        scope: As `tether_core.emp.requests.chargebacks_by_import_date` says.

    Returns:
        The page; fetch the next while `has_next`.

    Raises:
        CredentialsRejected: when the gateway rejects the credentials.
        GatewaySilent: when there is no answer, or one that asks to retry later.
        InvalidRequest: when the gateway refuses the inquiry.
    """
    request = requests.chargebacks_by_import_date(import_on, page=page, scope=scope)
    return await _chargebacks(gateway, "/chargebacks/by_date", request)


async def chargebacks_posted(
    gateway: Gateway, *, start_on: date, end_on: date, page: int = 1, scope: requests.Scope | None = None
) -> responses.RecordPage[responses.Chargeback]:
    """
    Fetch one page of the chargebacks posted on some days.

    Args:
        start_on: The first day.
        end_on: The last day.
        page: From 1.
        scope: As `tether_core.emp.requests.chargebacks_by_date` says.

    Returns:
        The page; fetch the next while `has_next`. Direct debits without a posting date are not in it.

    Raises:
        CredentialsRejected: when the gateway rejects the credentials.
        GatewaySilent: when there is no answer, or one that asks to retry later.
        InvalidRequest: when the gateway refuses the inquiry.
    """
    request = requests.chargebacks_by_date(start_on=start_on, end_on=end_on, page=page, scope=scope)
    return await _chargebacks(gateway, "/chargebacks/by_date", request)


async def _chargebacks(
    gateway: Gateway, path: str, request: bytes
) -> responses.RecordPage[responses.Chargeback]:
    page_or_refusal = http_response.listed(
        await exchange(gateway, path, request), read=responses.read_chargebacks
    )
    if isinstance(page_or_refusal, responses.GatewayAnswer):
        raise _refusal(page_or_refusal)
    return page_or_refusal


async def _transact(
    gateway: Gateway, request: bytes, *, transaction_id: str, begin_until_s: float | None = None
) -> responses.GatewayAnswer:
    path = f"/process/{gateway.account.terminal_token}"
    call = CallProgress(is_submission=True, begin_until_s=begin_until_s)
    response = await exchange(gateway, path, request, call=call)
    try:
        return http_response.submitted(response, transaction_id=transaction_id)
    except NotSubmitted as refused:
        gateway.calls.not_submitted[refused.cause] += 1
        raise


def _refusal(answer: responses.GatewayAnswer) -> GatewaySilent | InvalidRequest:
    meaning = codes.error_meaning(answer.code or "")
    if meaning.who == "time":
        return GatewaySilent(why=f"error {answer.code}")
    return InvalidRequest(f"the gateway refuses the request (error {answer.code}): {meaning.text}")
