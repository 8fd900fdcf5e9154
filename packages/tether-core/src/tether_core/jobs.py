"""
Background jobs: the contract between whoever wake-ups and whoever works.

A job carries no payload. **A row is the truth, the queue only wakes**: what is to be done stands in Postgres,
and a job says "there is something to do" to one of the workers of its queue. So a job lost costs seconds
(the worker looks by itself from time to time), a job delivered twice costs nothing, and a queue may be
flushed at any time.

Each kind of work has a few **slots**. A slot is the unique key of a job: while a job of a slot waits or runs,
waking that slot again adds nothing. As many slots as a kind has, as many workers may do it at once.

>>> job_key(WEBHOOKS, slot=2)
'drain_webhooks:2'
>>> job_key(WEBHOOKS, slot=9)
'drain_webhooks:1'
"""

from typing import Final, Literal

import msgspec

__all__ = [
    "ALL",
    "CHECK",
    "CONFIRM",
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
    One kind of background work.

    Attributes:
        name: The name it is registered and enqueued under; imperative.
        queue: The queue it wakes on.
        timeout_s: When a run is cancelled, in seconds. Runs end themselves well before that.
        run_s: How long one run may go on, in seconds; where more waits then, the next begins at once.
        slots: How many runs there may be at once in the whole cluster.
        look_every_s: How often a worker looks for waiting rows without having been woken, in seconds.
    """

    name: str
    queue: Queue
    timeout_s: int
    run_s: float
    slots: int
    look_every_s: float


# A run drains for 10 s at most, so a worker that was killed blocks its slot for half a minute and never longer;
# meanwhile the look of the others finds its rows within a second.
WEBHOOKS: Final = Job("drain_webhooks", "webhooks", timeout_s=30, run_s=10, slots=4, look_every_s=1)

# One run reads files one after the other and starts no further one after a minute. A single file may take longer than
# that, so the run of a large one goes on to some eight minutes, keeps what it has, and leaves the rest to the next.
INTAKE: Final = Job("read_uploads", "default", timeout_s=600, run_s=60, slots=2, look_every_s=2)

# The slot for short files: each takes some seconds at most (tether_core.uploads.turns).
INTAKE_SHORT: Final = Job("read_short_uploads", "default", timeout_s=120, run_s=20, slots=2, look_every_s=1)

# Asking the gateway: a run asks for some seconds, and a single question may take half a minute.
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

# Planning goes over an upload in chunks. Sending begins calls for half a minute; the last of them may then take the
# gateway's time limit, half a minute by default, and as long again to reach the books.
PLAN: Final = Job("plan_runs", "billing", timeout_s=120, run_s=60, slots=1, look_every_s=2)
SUBMIT: Final = Job("submit_debits", "billing", timeout_s=180, run_s=30, slots=2, look_every_s=1)

# Refunds and voids are few, and asked for by people who wait.
SUBMIT_REFUNDS: Final = Job("submit_refunds", "billing", timeout_s=180, run_s=30, slots=1, look_every_s=1)
INQUIRE_REFUNDS: Final = Job(
    "inquire_refunds", "reconciliation", timeout_s=240, run_s=30, slots=1, look_every_s=5
)

# Inquiries that a person has ordered; nobody wakes for them, they are few.
INQUIRE: Final = Job("inquire_ordered", "reconciliation", timeout_s=240, run_s=30, slots=1, look_every_s=2)

# Voids of a whole run: judging a batch takes some tenths of a second, and what was judged stays.
VOID_RUNS: Final = Job("void_runs", "billing", timeout_s=60, run_s=20, slots=1, look_every_s=2)

ALL: Final = (
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
    The unique key that a wake-up on a slot is made under.

    Args:
        job: The kind of work.
        slot: Any whole number; slots wrap around.

    Returns:
        `name:slot`.
    """
    return f"{job.name}:{slot % job.slots}"
