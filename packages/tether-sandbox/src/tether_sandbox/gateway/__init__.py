"""
An emerchantpay gateway to integrate against, on one machine, without an account.

- `life` draws what truly happens to a payment;
- `malice.plan` decides, from a seed, what is sent for a set of payments and what must come of it;
- `sender.deliver` sends it the way the gateway does: again and again until the echo comes;
- `wire` writes and signs a notification.

Nothing in here shares rules with the system it tests: signatures, encodings and expectations are made anew.
"""

from tether_sandbox.gateway.life import BLOCK, HOLD, Cause, Lives, Payment, State
from tether_sandbox.gateway.malice import Counts, Delivery, Malice, Plan, plan
from tether_sandbox.gateway.sender import Delivered, deliver
from tether_sandbox.gateway.wire import HashName, encode, sign

__all__ = [
    "BLOCK",
    "HOLD",
    "Cause",
    "Counts",
    "Delivered",
    "Delivery",
    "HashName",
    "Lives",
    "Malice",
    "Payment",
    "Plan",
    "State",
    "deliver",
    "encode",
    "plan",
    "sign",
]
