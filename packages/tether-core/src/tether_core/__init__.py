"""
The rules of SEPA direct debit over emerchantpay: pure, typed, usable alone.

Bytes and values go in, values come out. Nothing in here opens, waits, draws, logs or asks for the time: what changes from
call to call is an argument. Types are offered flat, `from tether_core import Attempt`; verbs stay in the
module of their noun, and so do names that say something only beside it: `attempt.decide`, `attempt.Policy`.

A folder is one subject, and the subject has this name in every package. In the order in which data meets them:

| module or folder | what it is about | types offered here |
|---|---|---|
| `errors` | who acts next when something goes wrong | `TetherError`: `Rejected`, `Contradicted`, `Unavailable` and theirs |
| `money`, `iban`, `target_calendar` | amounts, accounts, the days on which banks settle | `Money` |
| `spreadsheet` | from any spreadsheet to clean debtors | in the module, for it loads the reader of workbooks |
| `uploads` | the life of an upload; withdrawing one | in the modules |
| `screening` | who of an upload is excluded, and what a person is asked | in the modules |
| `vop`, `fingerprint_key` | is the account the debtor's; is the database's key at hand | in the modules |
| `billing` | a run: who may be debited, the request that does it, what pauses it | in the modules |
| `limits` | how fast the gateway may be called, and when not at all | `Breaker`, `Bucket` |
| `payments` | one attempt: submitted at most once, when "not found" is believed, and what happens to it | `Attempt`, `AttemptState`, `Confirmation` |
| `emp` | the gateway's wire: signatures, notifications, codes, requests, responses | `Credential`, `Notification`, `Debit`, `GatewayAnswer`, `Chargeback` |
| `notifications` | which deliveries are the same, the life of a received one, which must be confirmed | `Identity`, `Delivery`, `InboxState` |
| `mandates` | one mandate belongs to one account | in the module |
| `holds` | what was heard keeps money where it is before it is applied | in the module |
| `blacklist` | why money went back, and what that means for the next debit | in the module |
| `refunds` | refunds and voids, submitted once and never beside a chargeback | in the module |
| `reconciliation` | status inquiries, records of reports, completeness, books that differ | in the modules |
| `inquiry_orders`, `stated_outcomes` | inquiring on order; what a person saw where nobody can inquire | in the modules |
| `order_keys` | an order that comes twice | in the module |
| `events`, `jobs` | what is announced, what wakes whom | `Event` and its kinds, `Job` |
| `clock_steps`, `database_epoch` | which clock was set, and how a database that went back is noticed | in the modules |
| `step_sentences` | why a step is refused, and what to do or when | in the module |
| `sepa_text` | the characters that banks carry | in the module |
| `redaction` | what may be shown of personal data | |
| `testing` | strategies and builders for tests; needs Hypothesis | |

>>> from tether_core import Credential, Notification
>>> from tether_core.emp.notification import FORM, decode
>>> isinstance(decode(b"unique_id=44177a21&signature=ab", content_type=FORM), Notification)
True
"""

from typing import Final

from tether_core.emp.notification import Notification
from tether_core.emp.requests import Debit
from tether_core.emp.responses import Chargeback, GatewayAnswer
from tether_core.emp.signature import Credential
from tether_core.errors import (
    ConflictingContent,
    Contradicted,
    CredentialsRejected,
    GatewaySilent,
    IllegalStep,
    InProgress,
    InvalidAmount,
    InvalidIban,
    InvalidRequest,
    KeyReused,
    MoneyHeld,
    NotSubmitted,
    OrderedBefore,
    Overloaded,
    Rejected,
    SignatureMismatch,
    StoreUnreachable,
    TetherError,
    Unavailable,
    Unreadable,
)
from tether_core.events import (
    AmountMismatched,
    AttemptStatusChanged,
    ClockStepped,
    Event,
    IbanBlocked,
    ReasonUnknown,
    RefundChargedBack,
    RefundStatusChanged,
)
from tether_core.jobs import Job
from tether_core.limits.rate_limit import Breaker, Bucket
from tether_core.money import Money
from tether_core.notifications.identity import Delivery, Identity
from tether_core.notifications.inbox import InboxState
from tether_core.payments.attempt import Attempt, AttemptState, Confirmation

__version__: Final = "0.1.0"

__all__ = [
    "AmountMismatched",
    "Attempt",
    "AttemptState",
    "AttemptStatusChanged",
    "Breaker",
    "Bucket",
    "Chargeback",
    "ClockStepped",
    "Confirmation",
    "ConflictingContent",
    "Contradicted",
    "Credential",
    "CredentialsRejected",
    "Debit",
    "Delivery",
    "Event",
    "GatewayAnswer",
    "GatewaySilent",
    "IbanBlocked",
    "Identity",
    "IllegalStep",
    "InProgress",
    "InboxState",
    "InvalidAmount",
    "InvalidIban",
    "InvalidRequest",
    "Job",
    "KeyReused",
    "Money",
    "MoneyHeld",
    "NotSubmitted",
    "Notification",
    "OrderedBefore",
    "Overloaded",
    "ReasonUnknown",
    "RefundChargedBack",
    "RefundStatusChanged",
    "Rejected",
    "SignatureMismatch",
    "StoreUnreachable",
    "TetherError",
    "Unavailable",
    "Unreadable",
]
