"""
The chaos test: the whole system under load and faults, with a conservation check at the end.

- `stage` is the environment: two web nodes behind a proxy, two workers, Postgres behind a pooler, Redis, an object store;
- `faults` is the table of faults;
- `sender` sends notifications, and `files` sends and bills files;
- `injection` injects faults drawn from a seed, and measures each recovery;
- `run` runs all of these, and checks the result: `report`;
- `command` is its command line, `tether-sandbox chaos`.

The proxy is nginx and the pooler is pgBouncer if they are installed. Without nginx a small relay does what is needed here: it
tries the other node. Without pgBouncer the programs connect to Postgres directly.
"""

from tether_sandbox.chaos.faults import FAULTS, Fault
from tether_sandbox.chaos.report import ChaosReport, Recovery
from tether_sandbox.chaos.run import run_chaos
from tether_sandbox.chaos.stage import Stage, staged

__all__ = ["FAULTS", "ChaosReport", "Fault", "Recovery", "Stage", "run_chaos", "staged"]
