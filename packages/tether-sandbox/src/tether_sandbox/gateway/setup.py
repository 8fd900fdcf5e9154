"""
How a simulator is set up: accounts, where notifications go, how slow and how broken it is.

Everything has a default that makes a quick and friendly gateway; a test says only what it is about.

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
    What goes wrong by chance, as shares of 1.

    Drawn from the seed and the transaction_id, so it does not depend on the order of requests; only debits without a
    script of their own are hit. `asked` hits the questions, in the order they come.

    Attributes:
        silent: Taken, and no answer ever.
        hung_up: Taken, and hung up.
        cut: Taken, and the answer cut in the middle.
        failed: Taken, and answered 500.
        junk: Taken, and answered with junk.
        hidden: Taken, no answer, and not to be found for a while.
        dropped: Not taken, and no answer ever.
        refused: Not taken, and answered 503.
        throttled: Not taken, and answered 429.
        asked: Questions (reconcile, chargebacks) answered 500.
        throttled_readably: Not taken, and answered 429 with an error that says so.
        refused_readably: Not taken, and refused (error 340) with HTTP 422.
        page: Everything is answered by this page in the gateway's place and taken by nobody; "" for none. See `pages`.
        connect_reset: Of the connections: reset at once. This and what follows needs `Setup.relay_port`; see `connections`.
        request_cut: Of the requests: reset in the middle of the request; not taken.
        request_held: Of the requests: read, not taken, and never answered.
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
    asked: float = 0.0
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
    The set-up of one simulator.

    Attributes:
        login: API login of the account.
        passwords: Its API passwords; all are accepted, the first signs.
        terminals: Its terminal tokens.
        algorithm: The hash of signatures.
        notify_url: Where notifications go; "" for nowhere.
        result_after_s: From one turn in a debit's life to the next.
        results_every_s: Where above 0, results come in bursts, at whole multiples of this.
        retry_interval_s: Pause before a notification without echo is repeated; the real gateway waits 900.
        retries_max: Posts per notification; the real gateway sends 10.
        notify_concurrency: Notifications under way at once.
        latency_s: How long every answer takes at least.
        slow_s: How long the answer of script 49 takes.
        silence_s: How long a connection is held where no answer comes.
        hidden_s: How long a hidden debit cannot be found.
        record_lag_s: How far records and lists lag behind notifications; 0 for not at all.
        rate_limit_per_s: More requests within a second are answered 429; 0 for no limit.
        retry_after: How 429 names the time to wait: "seconds", as a "date", or "none".
        retry_after_s: That time.
        relay_port: Where above 0, a relay listens there on 127.0.0.1 whose connections die as `Faults` says.
        repeats: Whether a second debit under the same transaction_id is taken ("debit", the crueller) or refused with
            450 ("refuse").
        scope_required: Whether lists of chargebacks without a `scope` are refused, as since v58.2.
        seed: For everything drawn.
        payment_histories: How debits without a script end; `None` for all well.
        faults: What goes wrong by chance.
        fault_injection: How notifications are corrupted; only the shares of repeated, forged and reordered ones count here.
    """

    login: str = ENVIRONMENT["EMP_API_LOGIN"]
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
        """Say where notifications go and what is drawn; no password."""
        return f"Setup(terminals={self.terminals}, notify_url={self.notify_url!r}, seed={self.seed})"
