"""
`tether-sandbox demo`: the whole of Tether in a minute, with real services and a gateway that misbehaves.

Three acts on one stage. *Files*: a spreadsheet of each kind becomes debtors, or says what is wrong with which row.
*Debits*: a list of debtors is billed over the simulated gateway, which now and then does not answer, and every cent is
accounted for. *Notifications*: a chaos test of them, twice, late, out of order and forged, while the worker is killed and Redis is
emptied. At the end the books are held against each other; the exit code is 0 only if they agree.
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
Where to look next:
  docs/start.md                      how to run it for yourself
  docs/architecture.md               how a notification becomes an applied result
  packages/tether-core               the rules, to read and to import
  tether-sandbox up -- bash          a shell with everything running
"""


def demo(*, attempts: int, seed_number: int, faults: bool, console: Console) -> int:
    """
    Run the demo.

    Args:
        attempts: How many payments the chaos test of notifications is about.
        seed_number: Same number, same debtors, payments and notifications.
        faults: Whether a worker is killed and Redis flushed in the middle.
        console: Where to show it.

    Returns:
        0 when every book agrees, else 1.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        stage = stack.enter_context(opened(console))
        holds = [
            files.act(stage, console=console),
            debits.act(stage, seed_number=seed_number, console=console),
            notifications.act(
                stage, attempts=attempts, seed_number=seed_number, faults=faults, console=console
            ),
        ]
        if not all(holds):
            kept = Path(tempfile.gettempdir()) / f"tether-demo-{os.getpid()}.log"
            kept.write_text(stage.said(), encoding="utf-8")
            console.print(f"[red]The books do not agree.[/] What web and worker said: {kept}")
        console.print(f"took {time.monotonic() - began:.0f} s")
        console.print(_NEXT)
        return 0 if all(holds) else 1
