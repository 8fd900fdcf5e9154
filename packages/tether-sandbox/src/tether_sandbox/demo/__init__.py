"""
`tether-sandbox demo`: all of Tether in a minute, with real services and a simulated gateway with faults.

Three parts. *Files*: spreadsheets of every kind are imported, with an error for each unreadable row. *Debits*: the debtors of
a spreadsheet are billed through a gateway that sometimes does not respond, and every cent is accounted for. *Notifications*:
duplicated, late, out of order and with invalid signatures, while the worker is killed and Redis is flushed. Each part compares
the gateway's records with Tether's; the exit code is 0 only if they agree.
"""

import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from tether_sandbox.demo import debits, files, notifications
from tether_sandbox.demo.stage import opened

__all__ = ["demo"]

_NEXT = """
Next:
  docs/start.md                install and run Tether
  docs/architecture.md         how a notification is processed
  packages/tether-core         the rules, as an importable library
  tether-sandbox up -- bash    a shell with all services running
"""


def demo(*, attempts: int, seed_number: int, faults: bool, console: Console) -> int:
    """
    Run the demo.

    Args:
        attempts: Payments of the part on notifications.
        seed_number: Same number, same debtors, payments and notifications.
        faults: Whether a worker is killed and Redis flushed on the way.

    Returns:
        0 if the gateway's records and Tether's agree, else 1.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        stage = stack.enter_context(opened(console))
        holds = [
            files.run(stage, console=console),
            debits.run(stage, seed_number=seed_number, console=console),
            notifications.run(
                stage, attempts=attempts, seed_number=seed_number, faults=faults, console=console
            ),
        ]
        if not all(holds):
            kept = Path(tempfile.gettempdir()) / f"tether-demo-{os.getpid()}.log"
            kept.write_text(stage.logs(), encoding="utf-8")
            console.print(
                f"[red]The gateway's records and Tether's differ.[/] Logs of web and worker: {kept}"
            )
        console.print(f"Finished in {time.monotonic() - began:.0f} s.")
        console.print(_NEXT)
        return 0 if all(holds) else 1
