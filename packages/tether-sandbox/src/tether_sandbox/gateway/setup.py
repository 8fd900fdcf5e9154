"""
The configuration of a simulator: credentials, where notifications go, latency and faults.

The defaults make a fast gateway without faults; a test sets only what it is about.

>>> Setup().terminals
('sandbox-terminal',)
>>> msgspec.json.decode(b'{"faults": {"silent": 0.1}}', type=Setup).faults.silent
0.1
"""

from typing import Literal

import msgspec

from tether_sandbox.gateway.fault_injection import FaultInjection
from tether_sandbox.gateway.intermediary_pages import PageName
from tether_sandbox.gateway.payment_history import PaymentHistories
from tether_sandbox.gateway.wire import HashName
from tether_sandbox.settings import ENVIRONMENT, PASSWORD

__all__ = ["Faults", "Setup"]


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Random faults, as shares of 1.

    They are drawn from the seed and the transaction_id, not from the order of requests, and affect only debits without a
    script. `inquiries_failed` affects inquiries in the order they arrive.

    Attributes:
        silent: Taken; no response.
        hung_up: Taken; connection closed.
        cut: Taken; response cut in the middle.
        failed: Taken; response 500.
        junk: Taken; response unreadable.
        hidden: Taken; no response, and not found for a while.
        dropped: Not taken; no response.
        refused: Not taken; response 503.
        throttled: Not taken; response 429.
        inquiries_failed: Of the inquiries (reconcile, chargebacks): response 500.
        throttled_readably: Not taken; response 429 with an error that says so.
        refused_readably: Not taken; refused (error 340) with HTTP 422.
        page: All requests get this intermediary page and none is taken; "" for none. See `intermediary_pages`.
        connect_reset: Of the connections: reset at once. This and the following need `Setup.relay_port`; see `connections`.
        request_cut: Of the requests: reset in the middle of the request; not taken.
        request_held: Of the requests: read, not taken, no response.
        response_lost: Of the requests: taken, and reset instead of the response.
        response_cut: Of the requests: taken, and reset in the middle of the response.
    """

    silent: float = 0.0
    hung_up: float = 0.0
    cut: float = 0.0
    failed: float = 0.0
    junk: float = 0.0
    hidden: float = 0.0
    dropped: float = 0.0
    refused: float = 0.0
    throttled: float = 0.0
    inquiries_failed: float = 0.0
    throttled_readably: float = 0.0
    refused_readably: float = 0.0
    page: Literal[PageName, ""] = ""
    connect_reset: float = 0.0
    request_cut: float = 0.0
    request_held: float = 0.0
    response_lost: float = 0.0
    response_cut: float = 0.0


class Setup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The configuration of a simulator.

    Attributes:
        login: API login of the account.
        further_logins: Other logins of it with the same passwords, such as a new one beside the old one.
        passwords: Its API passwords; all are accepted, the first signs.
        terminals: Its terminal tokens.
        algorithm: The hash of signatures.
        notify_url: Where notifications go; "" for none.
        result_after_s: Time between two transitions of a debit.
        results_every_s: If above 0, results come in bursts at multiples of this.
        retry_interval_s: Wait before an unacknowledged notification is repeated; the real gateway waits 900.
        retries_max: Posts per notification; the real gateway sends 10.
        notify_concurrency: Notifications sent at the same time.
        latency_s: Minimum time of each response.
        slow_s: Time of the response of script 49.
        silence_s: How long a connection without a response is kept open.
        hidden_s: How long a hidden debit is not found.
        record_lag_s: How far records and lists lag behind notifications.
        rate_limit_per_s: Further requests within a second get 429; 0 for no limit.
        retry_after: Form of the header of 429: "seconds", "date" or "none".
        retry_after_s: Its value.
        relay_port: If above 0, a relay listens here on 127.0.0.1 and resets connections as `Faults` says.
        repeats: Whether a second debit with the same transaction_id is taken ("debit", the worse case) or refused with
            450 ("refuse").
        scope_required: Whether lists of chargebacks without a `scope` are refused, as since v58.2.
        seed: Of all random draws.
        payment_histories: The outcomes of debits without a script; `None` for all approved.
        faults: Random faults.
        fault_injection: How notifications are corrupted; only repeats, invalid signatures and reordering apply here.
    """

    login: str = ENVIRONMENT["EMP_API_LOGIN"]
    further_logins: tuple[str, ...] = ()
    passwords: tuple[str, ...] = (PASSWORD,)
    terminals: tuple[str, ...] = (ENVIRONMENT["EMP_TERMINAL_TOKEN"],)
    algorithm: HashName = "sha1"
    notify_url: str = ""
    result_after_s: float = 0.2
    results_every_s: float = 0.0
    retry_interval_s: float = 1.0
    retries_max: int = 10
    notify_concurrency: int = 16
    latency_s: float = 0.0
    slow_s: float = 2.0
    silence_s: float = 120.0
    hidden_s: float = 2.0
    record_lag_s: float = 0.0
    rate_limit_per_s: int = 0
    retry_after: Literal["seconds", "date", "none"] = "seconds"
    retry_after_s: int = 1
    relay_port: int = 0
    repeats: Literal["debit", "refuse"] = "debit"
    scope_required: bool = False
    seed: int = 1
    payment_histories: PaymentHistories | None = None
    faults: Faults = Faults()
    fault_injection: FaultInjection = FaultInjection.none()

    def __repr__(self) -> str:
        """Show no password."""
        return f"Setup(terminals={self.terminals}, notify_url={self.notify_url!r}, seed={self.seed})"
