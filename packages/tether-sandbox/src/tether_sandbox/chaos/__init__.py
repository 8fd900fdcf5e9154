"""
The chaos test: the whole system under fire, and the books held against each other afterwards.

- `stage` is what runs: two web nodes behind a proxy, two workers, Postgres behind a pooler, Redis, objects in a folder;
- `faults` is the table of what is done to it, and undone;
- `run` sends notifications all the while, draws faults from a seed, measures how long each recovery takes, and holds
  the books against each other at the end;
- `command` is its command line, `tether-sandbox chaos`.

The proxy is nginx and the pooler is pgBouncer where they are installed. Without nginx a small relay of our own does the
one thing that matters here, to try the other node; without pgBouncer the programs speak to Postgres directly.
"""

from tether_sandbox.chaos.faults import FAULTS, Fault
from tether_sandbox.chaos.run import Recovery, Report, run_chaos
from tether_sandbox.chaos.stage import Stage, staged

__all__ = ["FAULTS", "Fault", "Recovery", "Report", "Stage", "run_chaos", "staged"]
