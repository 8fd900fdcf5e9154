"""
An emerchantpay gateway to integrate against, on one machine, without an account.

Notifications for payments made elsewhere:

- `life` draws what truly happens to a payment;
- `fault injection.plan` decides, from a seed, what is sent for a set of payments and what must come of it;
- `sender.deliver` sends it the way the gateway does: again and again until the echo comes;
- `wire` writes and signs a notification.

A whole gateway, in a process of its own:

- `simulator.running` has one for a while, and asks its ledger how often anybody was debited;
- `setup` says how it is set up, `script` which amounts and IBANs make it do what;
- `pages` are what answers in its place, `connections` a relay whose connections die;
- `api` is the application: `process` takes requests, `ledger` keeps the books, `papers` writes the answers,
  `notifier` sends the notifications.

Signatures, encodings, answers and expectations are made anew here and not borrowed from the system they test.
"""

from tether_sandbox.gateway.api import StatusChange
from tether_sandbox.gateway.fault_injection import Counts, Delivery, FaultInjection, Plan, plan
from tether_sandbox.gateway.notifier import Crafted
from tether_sandbox.gateway.payment_history import (
    BLOCK,
    HOLD,
    Cause,
    Payment,
    PaymentHistories,
    State,
    Transition,
)
from tether_sandbox.gateway.scenario import SCRIPTS, Script, scripted_iban
from tether_sandbox.gateway.sender import Delivered, deliver
from tether_sandbox.gateway.setup import Faults, Setup
from tether_sandbox.gateway.simulator import Simulator, running
from tether_sandbox.gateway.wire import HashName, encode, sign

__all__ = [
    "BLOCK",
    "HOLD",
    "SCRIPTS",
    "Cause",
    "Counts",
    "Crafted",
    "Delivered",
    "Delivery",
    "FaultInjection",
    "Faults",
    "HashName",
    "Payment",
    "PaymentHistories",
    "Plan",
    "Script",
    "Setup",
    "Simulator",
    "State",
    "StatusChange",
    "Transition",
    "deliver",
    "encode",
    "plan",
    "running",
    "scripted_iban",
    "sign",
]
