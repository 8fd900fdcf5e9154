"""
A simulated emerchantpay gateway, to integrate against without an account.

Notifications of payments made elsewhere:

- `payment_history` generates the history of a payment;
- `fault_injection.plan` plans, from a seed, what is sent for a set of payments and the expected result;
- `sender.deliver` sends a plan as the gateway does: each notification is repeated until it is acknowledged;
- `wire` encodes and signs a notification.

A whole gateway, in its own process:

- `simulator.running` runs one and queries its ledger;
- `setup` configures it, `scenario` maps amounts and IBANs to what it does;
- `intermediary_pages` respond in its place, `connections` is a relay that resets connections;
- `api` is the application: `engine` processes requests with the rules of `process`, `ledger` stores the debits, `responses`
  writes the XML, `notifier` sends the notifications.

Signatures, encodings, responses and expectations are implemented independently of the system under test.
"""

from tether_sandbox.gateway.api import StatusChange
from tether_sandbox.gateway.fault_injection import Counts, Delivery, FaultInjection, FaultPlan, plan
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
    "FaultPlan",
    "Faults",
    "HashName",
    "Payment",
    "PaymentHistories",
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
