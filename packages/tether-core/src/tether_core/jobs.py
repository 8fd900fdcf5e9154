"""
Background jobs: the contract between producers of wake-ups and workers.

A job carries no payload. **A row is the truth, the queue only wakes**: Postgres holds the work, and a job wakes one of the workers of its
queue. So a lost job costs seconds (workers also poll), a job delivered twice costs nothing,
and a queue may be flushed at any time.

Each kind of work has a few **slots**. A slot is the unique key of a job: while a job of a slot waits or runs, another wake-up of
that slot adds nothing. The number of slots is the number of workers that may do this work at once.

>>> job_key(WEBHOOKS, slot=2)
'drain_webhooks:2'
>>> job_key(WEBHOOKS, slot=9)
'drain_webhooks:1'
"""

from typing import Final, Literal

import msgspec

__all__ = [
    "ALL",
    "BULK",
    "CHECK",
    "CONFIRM",
    "DELIVER",
    "FETCH_REPORTS",
    "HANDLE_RETURNS",
    "INQUIRE",
    "INQUIRE_REFUNDS",
    "INTAKE",
    "INTAKE_SHORT",
    "PLAN",
    "RECONCILE",
    "SUBMIT",
    "SUBMIT_REFUNDS",
    "VOID_RUNS",
    "WEBHOOKS",
    "Job",
    "Queue",
    "job_key",
]

Queue = Literal["webhooks", "billing", "reconciliation", "default", "vop"]


class Job(msgspec.Struct, frozen=True):
    """
    A kind of background work.

    Attributes:
        name: The name it is registered and enqueued with; imperative.
        queue: Its queue.
        timeout_s: When a run is cancelled, in seconds. Runs normally end well before.
        run_s: Longest duration of a run, in seconds; if more work waits, the next run begins at once.
        slots: Largest number of concurrent runs in the cluster.
        look_every_s: Poll interval of workers that were not woken, in seconds.
    """

    name: str
    queue: Queue
    timeout_s: int
    run_s: float
    slots: int
    look_every_s: float


# A run drains for 10 s at most, so a killed worker blocks its slot for at most half a minute; meanwhile other workers poll
# and find its rows within a second.
WEBHOOKS: Final = Job("drain_webhooks", "webhooks", timeout_s=30, run_s=10, slots=4, look_every_s=1)

# A run reads files one after the other and starts no further file after a minute. The run of a large file may take about
# eight minutes, stores what it has read, and leaves the rest to the next run.
INTAKE: Final = Job("read_uploads", "default", timeout_s=600, run_s=60, slots=2, look_every_s=2)

# The slot for short files, which take a few seconds each (tether_core.uploads.turns).
INTAKE_SHORT: Final = Job("read_short_uploads", "default", timeout_s=120, run_s=20, slots=2, look_every_s=1)

# Status inquiries: a run inquires for up to 30 s, and a single inquiry may take half a minute.
CONFIRM: Final = Job("confirm_notifications", "webhooks", timeout_s=240, run_s=30, slots=2, look_every_s=2)
RECONCILE: Final = Job(
    "reconcile_attempts", "reconciliation", timeout_s=240, run_s=30, slots=2, look_every_s=5
)
FETCH_REPORTS: Final = Job(
    "fetch_reports", "reconciliation", timeout_s=300, run_s=60, slots=2, look_every_s=5
)
HANDLE_RETURNS: Final = Job(
    "handle_returns", "reconciliation", timeout_s=60, run_s=20, slots=1, look_every_s=10
)
CHECK: Final = Job("check_accounts", "vop", timeout_s=240, run_s=30, slots=2, look_every_s=2)

# Planning reads an upload in chunks. Submission starts calls for half a minute; the last call may then take the
# gateway's time limit, half a minute by default, and as long again to be recorded.
PLAN: Final = Job("plan_runs", "billing", timeout_s=120, run_s=60, slots=1, look_every_s=2)
SUBMIT: Final = Job("submit_debits", "billing", timeout_s=180, run_s=30, slots=2, look_every_s=1)

# Refunds and voids are few, and people wait for them.
SUBMIT_REFUNDS: Final = Job("submit_refunds", "billing", timeout_s=180, run_s=30, slots=1, look_every_s=1)
INQUIRE_REFUNDS: Final = Job(
    "inquire_refunds", "reconciliation", timeout_s=240, run_s=30, slots=1, look_every_s=5
)

# Inquiries ordered by a person; they are few, so there are no wake-ups.
INQUIRE: Final = Job("inquire_ordered", "reconciliation", timeout_s=240, run_s=30, slots=1, look_every_s=2)

# Voids of a whole run: a batch takes some tenths of a second, and its decisions are stored.
VOID_RUNS: Final = Job("void_runs", "billing", timeout_s=60, run_s=20, slots=1, look_every_s=2)

# Orders about everything that matches a filter: a batch takes some tenths of a second, and its results are stored.
BULK: Final = Job("carry_out_bulk_orders", "billing", timeout_s=60, run_s=20, slots=1, look_every_s=2)

# Events to subscribers. Events are written in many places, so there are no wake-ups.
DELIVER: Final = Job("deliver_events", "default", timeout_s=60, run_s=20, slots=1, look_every_s=1)

ALL: Final = (
    BULK,
    DELIVER,
    INQUIRE,
    VOID_RUNS,
    WEBHOOKS,
    INTAKE,
    INTAKE_SHORT,
    CONFIRM,
    RECONCILE,
    FETCH_REPORTS,
    HANDLE_RETURNS,
    CHECK,
    PLAN,
    SUBMIT,
    SUBMIT_REFUNDS,
    INQUIRE_REFUNDS,
)


def job_key(job: Job, *, slot: int) -> str:
    """
    The unique key of a wake-up for a slot.

    Args:
        job: The kind of work.
        slot: Any whole number, taken modulo the number of slots.

    Returns:
        `name:slot`.
    """
    return f"{job.name}:{slot % job.slots}"
