"""
The gateway's XML, both ways: `requests` builds what we ask, `answers` reads what comes back.

Both are one vocabulary to whoever talks to the gateway, so their public names stand here side by side.

>>> from tether_core.emp import xml
>>> xml.read_answer(b"<payment_response><status>approved</status></payment_response>").status
'approved'
>>> xml.read_answer(xml.reconcile(transaction_id="t-7"))
Traceback (most recent call last):
    ...
tether_core.errors.Unreadable: This gateway answer cannot be read: its root is none of payment_response, ...
"""

from tether_core.emp.document import SIZE_MAX_BYTES
from tether_core.emp.requests import (
    WINDOW_MAX,
    Debit,
    Scope,
    chargeback,
    chargebacks_by_date,
    chargebacks_by_import_date,
    reconcile,
    reconcile_by_date,
    sdd_init_recurring_sale,
    sdd_recurring_sale,
    sdd_refund,
    sdd_sale,
    void,
    windows,
)
from tether_core.emp.responses import (
    Chargeback,
    ChargebackKind,
    GatewayAnswer,
    Page,
    read_answer,
    read_chargebacks,
    read_transactions,
)

__all__ = [
    "SIZE_MAX_BYTES",
    "WINDOW_MAX",
    "Chargeback",
    "ChargebackKind",
    "Debit",
    "GatewayAnswer",
    "Page",
    "Scope",
    "chargeback",
    "chargebacks_by_date",
    "chargebacks_by_import_date",
    "read_answer",
    "read_chargebacks",
    "read_transactions",
    "reconcile",
    "reconcile_by_date",
    "sdd_init_recurring_sale",
    "sdd_recurring_sale",
    "sdd_refund",
    "sdd_sale",
    "void",
    "windows",
]
