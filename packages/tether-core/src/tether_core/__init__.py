"""
The rules of SEPA direct debit over emerchantpay: pure, typed, usable alone.

Bytes and values go in, values come out. Nothing in here opens, waits, draws, logs or asks for the time: what changes from
call to call is an argument. Types are offered flat, `from tether_core import Attempt`; verbs stay in the
module of their noun, and so do names that say something only beside it: `billing.decide`, `billing.Policy`.

In the order in which data meets them:

| module | what it is about | types offered here |
|---|---|---|
| `errors` | who acts next when something goes wrong | `TetherError`: `Rejected`, `Contradicted`, `Unavailable` and theirs |
| `money`, `iban`, `calendar` | amounts, accounts, the days on which banks settle | `Money` |
| `spreadsheet` | from any spreadsheet to clean debtors | in the module, for it loads the reader of workbooks |
| `same_debit`, `mandates`, `screening`, `screening_questions` | is it the same debit; has a mandate one account; who of a file is left out, what a person is asked | in the modules |
| `upload`, `withdrawal` | the life of an upload; taking one back | in the modules |
| `step_sentences` | why a step is refused, and what to do, in sentences | in the module |
| `upload_problems`, `upload_turns` | how many problems of a file are stored, when its reading ends; which file is read next | in the modules |
| `vop`, `eligibility`, `payer`, `sepa_text` | is the account the debtor's, may it be billed, the request that asks for it, in the characters that banks carry | in the modules |
| `order_keys`, `due_items`, `overrides` | an order that comes twice, items that read alike, verdicts set aside | in the modules |
| `refunded_before` | money that was refunded is not collected again | in the module |
| `billing_run`, `brake`, `limits`, `throttle` | a run, what stops it, how fast it may go | `Breaker`, `Bucket` |
| `sending`, `emp.requests`, `emp.answers` | sent once, in the gateway's XML, and what it answers | `Debit`, `GatewayAnswer`, `Chargeback` |
| `gateway_identity`, `not_found`, `clock_steps` | where a call went, when "not found" is believed, which clock was set | in the modules |
| `emp.signature`, `emp.notification`, `emp.codes` | is a notification genuine, what does it say | `Credential`, `Notification` |
| `idempotency`, `inbox`, `lookaside` | is it new; the life of what was received; whether Redis is asked first | `Identity`, `Delivery`, `InboxState` |
| `excess` | how much is kept of one payment, and what becomes of the rest | in the module |
| `confirmation` | which reported statuses the gateway must confirm first, and how long it is inquired | in the module |
| `billing`, `blacklist` | what it does to the payment and to the account | `Attempt`, `AttemptState`, `Confirmation` |
| `earlier` | debits that another system sent, as attempts | in the module |
| `reconciling`, `pulled`, `completeness` | asking the gateway, and proof that nothing is missing | in the modules |
| `after_return`, `giveback` | what follows when a debit comes back; giving one back ourselves | in the modules |
| `differences`, `stated_outcome`, `holds`, `gateway_refunds` | books that differ, as one list for people; outcomes that a person states; what was heard keeps money where it is; refunds made in the gateway's back office | in the modules |
| `events`, `jobs` | what is announced, what rings | `Event` and its ten kinds, `Job` |
| `database_epoch` | how a database that went back is noticed | in the module |
| `fingerprint_key` | whether a program has the key of its database's fingerprints | in the module |
| `inquiry_orders` | status inquiries that a person orders | in the module |
| `run_voids` | void of a whole run: which debits, and why not the others | in the module |
| `attempt_filters` | how lists of attempts are filtered without reading all of them | in the module |
| `redact` | what may be shown | |
| `testing` | strategies and builders for tests; needs Hypothesis | |

>>> from tether_core import Credential, Notification
>>> from tether_core.emp.notification import FORM, decode
>>> isinstance(decode(b"unique_id=44177a21&signature=ab", content_type=FORM), Notification)
True
"""

from typing import Final

from tether_core.billing import Attempt, AttemptState, Confirmation
from tether_core.emp.answers import Chargeback, GatewayAnswer
from tether_core.emp.notification import Notification
from tether_core.emp.requests import Debit
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
    AmountDiffered,
    AttemptMoved,
    ClockStepped,
    Event,
    GivebackMoved,
    IbanListed,
    PayoutRepeated,
    ReasonUnknown,
)
from tether_core.idempotency import Delivery, Identity
from tether_core.inbox import InboxState
from tether_core.jobs import Job
from tether_core.limits import Breaker, Bucket
from tether_core.money import Money

__version__: Final = "0.1.0"

__all__ = [
    "AmountDiffered",
    "Attempt",
    "AttemptMoved",
    "AttemptState",
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
    "GivebackMoved",
    "IbanListed",
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
    "PayoutRepeated",
    "ReasonUnknown",
    "Rejected",
    "SignatureMismatch",
    "StoreUnreachable",
    "TetherError",
    "Unavailable",
    "Unreadable",
]
