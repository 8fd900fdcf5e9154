"""
The simulator as a process of its own, and how to ask it: for tests, demos and other people's CI.

    with running(Setup(notify_url="http://127.0.0.1:8000/api/webhooks/emp")) as gateway:
        ...                                       # EMP_API_URL=gateway.url
        gateway.settle()                          # all results come now, and their notifications are settled
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

from tether_sandbox.gateway.api import Adopted, BackOfficeRefund, Gateway, StatusChange
from tether_sandbox.gateway.fault_injection import Plan
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
        url: Its address; what `EMP_API_URL` should be. That of the relay, where there is one.
        program: Its process; kill it to see a gateway vanish.
    """

    def __init__(self, url: str, *, program: Program, ledger_url: str | None = None) -> None:
        self.url = url
        self.program = program
        self._client = httpx.Client(base_url=ledger_url or url, timeout=60.0, trust_env=False)

    def close(self) -> None:
        """Let go of the connection; the process goes on."""
        self._client.close()

    def debited(self, *, transaction_id: str | None = None, fingerprint: bytes | None = None) -> int:
        """
        How often somebody was debited.

        Args:
            transaction_id: Under the merchant's id, or
            fingerprint: by the account (`tether_core.iban.fingerprint` without a key).

        Returns:
            Debits by which money was or will be taken.
        """
        count: int = self._records(transaction_id=transaction_id, fingerprint=fingerprint)["debited"]
        return count

    def records(
        self, *, transaction_id: str | None = None, unique_id: str | None = None
    ) -> list[dict[str, Any]]:
        """
        The records with an id; all there are where none is given.

        Args:
            transaction_id: The merchant's id, or
            unique_id: the gateway's.

        Returns:
            In the order they came in: order, unique_id, status, code, past, ahead and so on.
        """
        found: list[dict[str, Any]] = self._records(transaction_id=transaction_id, unique_id=unique_id)[
            "debits"
        ]
        return found

    def sums(self) -> dict[str, Any]:
        """Sums by status, refunds and voids, requests by kind, notifications, ids debited or refunded and charged back."""
        return self._answered("GET", "/ledger")

    def requests(self) -> dict[str, int]:
        """How many requests of each kind have come; cheap, for polling."""
        return self._answered("GET", "/ledger/requests")

    def rates(self, kind: str = "sale", *, window_s: float = 10.0) -> dict[str, Any]:
        """
        How fast requests came.

        Args:
            kind: "sale", "reconcile", "by_date", "chargebacks", "sdd_refund" or "void"; several with commas between.
            window_s: Length of the span looked at.

        Returns:
            `requests`, their number; `most_in_window` and `least_in_window`, the most and the fewest within any such span
            between the first and the last (null where that is shorter); `span_s`, the seconds from first to last; and
            `per_second`, how many came in each second.
        """
        return self._answered("GET", f"/ledger/rates?kind={kind}&window_s={window_s}")

    def resolve(self) -> int:
        """Let everything ahead happen now, and wait until its notifications are settled; gives how many turns."""
        transitions: int = self._answered("POST", "/ledger/settle")["transitions"]
        return transitions

    def transition(self, result: StatusChange) -> None:
        """Let something become of a payment now, such as a chargeback."""
        self._answered("POST", "/ledger/turn", result)

    def craft(self, crafted: Crafted) -> None:
        """Send notifications as somebody writes them who has one genuine signature; `settle` waits for them."""
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
            amount_minor: What is returned; `None` for the whole.
            status: What becomes of the refund.
            is_notified: Whether a notification is sent.

        Returns:
            The gateway's id of the refund.
        """
        order = BackOfficeRefund(unique_id, amount_minor, status, is_notified)
        return str(self._answered("POST", "/ledger/refund", order)["unique_id"])

    def faults(self, faults: Faults) -> None:
        """From now on, let this go wrong by chance."""
        self._answered("POST", "/ledger/faults", faults)

    def adopt(self, payments: Iterable[Payment], *, planned: Plan, taken_at: datetime) -> None:
        """
        Let the simulator know of payments made elsewhere, and of what truly became of them.

        Args:
            payments: The payments.
            planned: The plan of their notifications.
            taken_at: When the gateway took them, aware.
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
    Have a simulator for a while, in a process of its own.

    Args:
        setup: How it is set up.
        port: Where on 127.0.0.1; `None` for any free one.

    Yields:
        The simulator, ready.

    Raises:
        DidNotStart: when it does not start.
    """
    port = free_port() if port is None else port
    with tempfile.TemporaryDirectory(prefix="tether-gateway-") as name, Guard() as guard:
        folder = Path(name)
        guard.remove(folder)
        given = folder / "setup.json"
        given.touch(mode=0o600)  # it holds a password
        given.write_bytes(msgspec.json.encode(setup))
        command = ("tether-sandbox", "gateway", "serve", "--port", str(port), "--setup", str(given))
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
        setup: How it is set up.
        host: Address to listen on; the ledger needs no password, so keep it to this machine.
        port: Port to listen on.
    """
    from granian import Granian  # noqa: PLC0415 - only the serving process needs a server
    from granian.constants import HTTPModes, Interfaces, Loops  # noqa: PLC0415

    Granian(
        "tether_sandbox.gateway.api:Gateway",
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=1,  # the books are in memory, so there is one of them
        loop=Loops.uvloop if sys.platform != "win32" else Loops.asyncio,
        http=HTTPModes.http1,
        websockets=False,
        backlog=4096,
        backpressure=4096,
        workers_kill_timeout=2,
        log_enabled=False,
        log_access=False,
    ).serve(target_loader=partial(Gateway, setup, port=port), wrap_loader=False)
