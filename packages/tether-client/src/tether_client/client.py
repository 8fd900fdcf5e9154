"""`Client`: one method for each route of the API; those of a subject are in the subject's module."""

from tether_client.accounts import AccountRoutes
from tether_client.billing import BillingRoutes
from tether_client.blacklist import BlacklistRoutes
from tether_client.bulk_orders import BulkOrderRoutes
from tether_client.debtors import DebtorRoutes
from tether_client.erasures import ErasureRoutes
from tether_client.events import EventRoutes
from tether_client.figures import FigureRoutes
from tether_client.health import HealthRoutes
from tether_client.inquiry_orders import InquiryOrderRoutes
from tether_client.notifications import NotificationRoutes
from tether_client.operation import OperationRoutes
from tether_client.payments import PaymentRoutes
from tether_client.people import PeopleRoutes
from tether_client.preflight import PreflightRoutes
from tether_client.quarantine import QuarantineRoutes
from tether_client.reconciliation import ReconciliationRoutes
from tether_client.recurring import RecurringRoutes
from tether_client.refunds import RefundRoutes
from tether_client.relays import RelayRoutes
from tether_client.return_policies import ReturnPolicyRoutes
from tether_client.subscribers import SubscriberRoutes
from tether_client.uploads import UploadRoutes
from tether_client.vop import VopRoutes

__all__ = ["Client"]


class Client(
    HealthRoutes,
    OperationRoutes,
    AccountRoutes,
    ReconciliationRoutes,
    EventRoutes,
    UploadRoutes,
    VopRoutes,
    PreflightRoutes,
    BillingRoutes,
    PaymentRoutes,
    RefundRoutes,
    InquiryOrderRoutes,
    NotificationRoutes,
    QuarantineRoutes,
    RelayRoutes,
    BlacklistRoutes,
    BulkOrderRoutes,
    DebtorRoutes,
    ErasureRoutes,
    FigureRoutes,
    PeopleRoutes,
    SubscriberRoutes,
    RecurringRoutes,
    ReturnPolicyRoutes,
):
    """A connection to Tether with all routes of its API; `tether_client.connection.Connection` says what is repeated, and which errors there are."""

    def check_key(self) -> None:
        """Make a request that needs a valid key, and nothing else."""
        self.uploads(limit=1)
