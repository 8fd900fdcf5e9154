"""
Run the simulator in its own process and query it: for tests, demos and the CI of integrators.

    with running(Setup(notify_url="http://127.0.0.1:8000/api/webhooks/emp")) as gateway:
        ...                                       # EMP_API_URL=gateway.url
        gateway.resolve()                         # all results happen now, and their notifications are delivered
        assert gateway.debited(transaction_id="t-7") == 1
        assert gateway.sums()["debited_twice"] == []
"""

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tether_sandbox.gateway.api import Adopted, BackOfficeRefund, ClockSetting, Gateway, StatusChange
from tether_sandbox.gateway.fault_injection import FaultPlan
from tether_sandbox.gateway.notifier import Crafted
from tether_sandbox.gateway.payment_history import Payment
from tether_sandbox.gateway.setup import Faults, Setup
from tether_sandbox.services.guard import Guard
from tether_sandbox.services.program import Program, launch
from tether_sandbox.services.server import free_port

__all__ = ["Simulator", "running", "serve"]


class Simulator:
    """
    A running simulator.

    Attributes:
        url: Its address, for `EMP_API_URL`; that of the relay, if there is one.
        direct_url: Its address past the relay.
        program: Its process; kill it to simulate an outage.
    """

    def __init__(self, url: str, *, program: Program, ledger_url: str | None = None) -> None:
        self.url = url
        self.direct_url = ledger_url or url
        self.program = program
        self._client = httpx.Client(base_url=self.direct_url, timeout=60.0, trust_env=False)

    def close(self) -> None:
        """Close the connection; the process continues."""
        self._client.close()

    def debited(self, *, transaction_id: str | None = None, fingerprint: bytes | None = None) -> int:
        """
        Count the debits that took or will take money.

        Args:
            transaction_id: The merchant's id, or
            fingerprint: the account (`tether_core.iban.fingerprint` without a key).
        """
        count: int = self._records(transaction_id=transaction_id, fingerprint=fingerprint)["debited"]
        return count

    def records(
        self, *, transaction_id: str | None = None, unique_id: str | None = None
    ) -> list[dict[str, Any]]:
        """
        List the records with an id, or all records.

        Args:
            transaction_id: The merchant's id, or
            unique_id: the gateway's.

        Returns:
            In the order of arrival: order, unique_id, status, code, past, ahead and so on.
        """
        found: list[dict[str, Any]] = self._records(transaction_id=transaction_id, unique_id=unique_id)[
            "debits"
        ]
        return found

    def sums(self) -> dict[str, Any]:
        """Sums by status, refunds and voids, requests by kind, notifications, ids debited or refunded and charged back."""
        return self._answered("GET", "/ledger")

    def requests(self) -> dict[str, int]:
        """Number of requests of each kind; cheap, for polling."""
        return self._answered("GET", "/ledger/requests")

    def rates(self, kind: str = "sale", *, window_s: float = 10.0) -> dict[str, Any]:
        """
        Measure the rate of requests.

        Args:
            kind: "sale", "reconcile", "by_date", "chargebacks", "sdd_refund" or "void"; several separated by commas.
            window_s: Length of the window.

        Returns:
            `requests`, their number; `most_in_window` and `least_in_window`, the most and the fewest within any window
            between the first and the last request (null if that time is shorter); `span_s`, the seconds from first to last;
            `per_second`, the number in each second.
        """
        return self._answered("GET", f"/ledger/rates?kind={kind}&window_s={window_s}")

    def resolve(self) -> int:
        """Carry out all pending transitions now and wait until their notifications are delivered; returns their number."""
        transitions: int = self._answered("POST", "/ledger/resolve")["transitions"]
        return transitions

    def set_clock(self, now: datetime, changes: Sequence[StatusChange] = ()) -> int:
        """
        Set the time of its records, which stands still then, and wait until all notifications are delivered or given up.

        Args:
            now: The time, aware.
            changes: Status changes that happen then.

        Returns:
            The number of records.
        """
        records: int = self._answered("POST", "/ledger/clock", ClockSetting(now, tuple(changes)))["records"]
        return records

    def transition(self, result: StatusChange) -> None:
        """Change the status of a payment now, such as by a chargeback."""
        self._answered("POST", "/ledger/transition", result)

    def craft(self, crafted: Crafted) -> None:
        """Send notifications as an attacker with one valid signature can; `resolve` waits for them."""
        self._answered("POST", "/ledger/craft", crafted)

    def refund(
        self,
        unique_id: str,
        *,
        amount_minor: int | None = None,
        status: str = "approved",
        is_notified: bool = True,
    ) -> str:
        """
        Refund a debit in the gateway's back office.

        Args:
            unique_id: The gateway's id of the debit.
            amount_minor: The refunded amount; `None` for the whole.
            status: The final status of the refund.
            is_notified: Whether a notification is sent.

        Returns:
            The gateway's id of the refund.
        """
        order = BackOfficeRefund(unique_id, amount_minor, status, is_notified)
        return str(self._answered("POST", "/ledger/refund", order)["unique_id"])

    def faults(self, faults: Faults) -> None:
        """Set the random faults from now on."""
        self._answered("POST", "/ledger/faults", faults)

    def passwords(self, passwords: Sequence[str]) -> None:
        """Replace the API passwords from now on: all are accepted, the first signs."""
        content = msgspec.json.encode(list(passwords))
        self._client.post("/ledger/passwords", content=content).raise_for_status()

    def repeat(self, *, last_s: float) -> int:
        """Send notifications again that were acknowledged in the last *last_s* seconds; returns their number."""
        repeated: int = self._answered("POST", f"/ledger/repeat?last_s={last_s}")["repeated"]
        return repeated

    def adopt(self, payments: Iterable[Payment], *, planned: FaultPlan, taken_at: datetime) -> None:
        """
        Add payments made elsewhere, with their histories, to the ledger.

        Args:
            planned: The plan of their notifications.
            taken_at: When the gateway accepted them, aware.
        """
        adopted = [
            Adopted(
                payment.transaction_id,
                payment.unique_id,
                payment.amount_minor,
                payment.currency,
                taken_at,
                planned.histories[payment.unique_id],
            )
            for payment in payments
        ]
        self._answered("POST", "/ledger/adopt", adopted)

    def _records(self, *, fingerprint: bytes | None = None, **ids: str | None) -> dict[str, Any]:
        query = {name: value for name, value in ids.items() if value is not None}
        if fingerprint is not None:
            query["fingerprint"] = fingerprint.hex()
        return self._answered("GET", f"/ledger/debits?{httpx.QueryParams(query)}")

    def _answered(
        self, method: str, path: str, content: msgspec.Struct | Sequence[msgspec.Struct] | None = None
    ) -> dict[str, Any]:
        body = None if content is None else msgspec.json.encode(content)
        answer = self._client.request(method, path, content=body)
        answer.raise_for_status()
        payload: dict[str, Any] = msgspec.json.decode(answer.content)
        return payload


@contextmanager
def running(setup: Setup, *, port: int | None = None) -> Iterator[Simulator]:
    """
    Run a simulator in its own process for the length of a `with` block.

    Args:
        port: On 127.0.0.1; `None` for any free port.

    Raises:
        DidNotStart: when it does not start.
    """
    port = free_port() if port is None else port
    with tempfile.TemporaryDirectory(prefix="tether-gateway-") as name, Guard() as guard:
        folder = Path(name)
        guard.remove(folder)
        file = folder / "setup.json"
        file.touch(mode=0o600)  # it contains a password
        file.write_bytes(msgspec.json.encode(setup))
        command = ("tether-sandbox", "gateway", "serve", "--port", str(port), "--setup", str(file))
        program = launch(command, environ={}, folder=folder, guard=guard)
        direct = f"http://127.0.0.1:{port}"
        url = f"http://127.0.0.1:{setup.relay_port}" if setup.relay_port else direct
        simulator = Simulator(url, program=program, ledger_url=direct)
        try:
            program.await_url(f"{direct}/health")
            yield simulator
        finally:
            simulator.close()
            program.kill()


def serve(setup: Setup, *, host: str, port: int) -> None:
    """
    Serve a simulator in this process until SIGTERM or Ctrl-C.

    Args:
        host: Address to listen on. The ledger needs no password, so keep it to this machine.
    """
    from granian import Granian  # noqa: PLC0415 - only the serving process needs a server
    from granian.constants import HTTPModes, Interfaces, Loops  # noqa: PLC0415

    Granian(
        "tether_sandbox.gateway.api:Gateway",
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=1,  # the ledger is in memory
        loop=Loops.uvloop if sys.platform != "win32" else Loops.asyncio,
        http=HTTPModes.http1,
        websockets=False,
        backlog=4096,
        backpressure=4096,
        workers_kill_timeout=2,
        log_enabled=False,
        log_access=False,
    ).serve(target_loader=partial(Gateway, setup, port=port), wrap_loader=False)
