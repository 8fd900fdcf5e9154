"""
The rules of SEPA direct debit over emerchantpay: pure, typed, usable alone.

Bytes and values go in, values come out. Nothing in here does I/O, sleeps, draws random numbers, logs or reads a clock: what changes
from call to call is an argument. Types are importable from the package, `from tether_core import Attempt`; functions stay in their
module, and so do types of one subject alone: `attempt.decide`, `verdicts.Facts`.

A folder is one subject, and the subject has this name in every package:

| module or folder | subject | types exported here |
|---|---|---|
| `errors` | errors, by who acts next | `TetherError`: `Rejected`, `Contradicted`, `Unavailable` and theirs |
| `money`, `iban`, `target_calendar` | amounts, accounts, the banks' business days | `Money` |
| `spreadsheet` | from any spreadsheet to clean debtors | in the module, because it loads the workbook reader |
| `uploads` | the life cycle of an upload; its keys and report; withdrawal | in the modules |
| `screening` | which debtors of an upload are excluded, and the questions to a person | in the modules |
| `debtor_edits` | what a person may change of a stored debtor, and when | in the module |
| `vop`, `check_files`, `fingerprint_key` | account checks, of debtors and of files; the key of the fingerprints | in the modules |
| `billing` | billing runs: eligibility, the debit request, auto-pause | in the modules |
| `limits` | rate limit, throttle and circuit breaker of the gateway | `Breaker`, `Bucket` |
| `payments` | billing attempts: stages, submission, returns, imported debits | `Attempt`, `AttemptState`, `Confirmation` |
| `emp` | the gateway's wire format: signatures, notifications, codes, requests, responses | `Credential`, `Notification`, `Debit`, `GatewayAnswer`, `Chargeback` |
| `notifications` | deduplication, the life cycle of a notification, confirmation, the quarantine, uses of passwords | `Identity`, `Delivery`, `InboxState` |
| `retry` | retry schedules | in the module |
| `mandate_conflicts` | a mandate that a list uses for several accounts | in the module |
| `holds` | unprocessed notifications that block refunds and debits | in the module |
| `blacklist` | return reasons, and what they mean for the next debit | in the module |
| `banks` | entries about banks, and the block of a bank by its return rate | in the module |
| `return_policies`, `odds` | what each reason code does, as versions, and dry runs of them; shares with their interval | in the modules |
| `preflight` | what an upload is expected to bring and to cost: estimate, fees, signed report | in the modules |
| `recurring` | mandates, collection plans, schedules, due items, pre-notifications | in the modules |
| `refunds` | refunds and voids: when one is allowed, how it is submitted once | in the modules |
| `figures` | collected, returned, net, the return rate, exposure | in the module |
| `reconciliation` | status inquiries, reports, completeness, differences | in the modules |
| `replays` | what processing a notification again would change | in the module |
| `bulk_orders` | one action for everything that matches a filter | in the module |
| `inquiry_orders`, `stated_outcomes` | inquiries that a person orders; outcomes that a person states | in the modules |
| `order_keys` | duplicate orders | in the module |
| `events`, `jobs` | announced events; background jobs | `Event` and its kinds, `Job` |
| `subscribers` | other systems to which events are sent: life cycles, addresses, the body | in the modules |
| `scaling` | how many worker processes a pool runs | in the module |
| `clock_steps`, `database_epoch` | clocks that were set; databases that were restored | in the modules |
| `audit`, `people` | who did what; roles and permissions, sign-in, client addresses | in the modules |
| `retention` | how long data is kept; the format of archives | in the modules |
| `data_subjects`, `dossier`, `erasures` | which rows are about one person; all of it in one file; its removal | in the modules |
| `step_sentences` | sentences for illegal steps | in the module |
| `sepa_text` | the SEPA character set | in the module |
| `redaction` | masking of personal data | |
| `traces` | the trace context of a request, `traceparent` | |
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
from tether_core.limits.circuit_breaker import Breaker
from tether_core.limits.rate_limit import Bucket
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
