"""Wiring: from settings to the jobs and periodic tasks of a worker; `tether_worker.process` runs them."""

import asyncio
import random
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec
from redis.asyncio import Redis
from tether_core.clock_steps import ClockStep
from tether_core.jobs import Queue
from tether_core.spreadsheet import Rules
from tether_core.subscribers.addresses import networks
from tether_stores.boot_clock import BootClock
from tether_stores.database_epoch.watch import Watch
from tether_stores.limits import Limiter
from tether_stores.objects import open_objects
from tether_stores.postgres import Pool
from tether_stores.settings import Settings
from tether_stores.telemetry import logger

from tether_worker.billing.runs import auto_pause_runs, expire_leases, planning, try_again
from tether_worker.blacklist import block_banks
from tether_worker.bulk_orders import BulkDeps, working_bulk_orders
from tether_worker.check_files import prune_check_files
from tether_worker.database_epoch import review_submissions, want_lost_days
from tether_worker.erasures.erase import ErasureDeps, erasing, reviewing_erasures
from tether_worker.figures import add_figures
from tether_worker.gateway.calls import publish_calls
from tether_worker.gateway.clients import open_gateways
from tether_worker.gateway.status_inquiry import INQUIRIES_MAX, InquiryDeps, clients_of, limited
from tether_worker.inquiry_orders import inquiring_ordered
from tether_worker.jobs.gates import Gates
from tether_worker.jobs.metrics import WorkerMetrics
from tether_worker.jobs.periodic import PeriodicTask
from tether_worker.jobs.run import Work
from tether_worker.notifications.apply import ApplyDeps, applying
from tether_worker.notifications.confirmation import confirming
from tether_worker.notifications.excess_deliveries import announce_excess
from tether_worker.notifications.quarantine import prune_quarantine
from tether_worker.notifications.wake_matched import wake_matched
from tether_worker.order_keys import prune_order_keys
from tether_worker.payments.call_limits import CALLS_MAX, SubmissionDeps
from tether_worker.payments.returns import ReturnDeps, handling_returns
from tether_worker.payments.submission import submitting
from tether_worker.payments.submission_identity import announce_steps, check_identities
from tether_worker.reconciliation.attempts import reconciling
from tether_worker.reconciliation.completeness import reporting_completeness
from tether_worker.reconciliation.differences import reviewing
from tether_worker.reconciliation.gateway_refunds import inquiring_gateway_refunds
from tether_worker.reconciliation.report_fetches import fetching_reports, ticking
from tether_worker.recurring.collection import order_due_items
from tether_worker.recurring.due_items import make_due_items
from tether_worker.recurring.pre_notifications import files, giving
from tether_worker.refunds.run_voids import voiding_runs
from tether_worker.refunds.status_inquiries import inquiring_refunds
from tether_worker.refunds.submission import expire_refunds, submitting_refunds
from tether_worker.retention.archive import REST_RATIO, ArchiveDeps, archiving
from tether_worker.retention.prune import prune_old_debtors, prune_old_orders, prune_old_uploads
from tether_worker.row_counts import add_row_counts
from tether_worker.subscribers.brokers import brokers
from tether_worker.subscribers.deliveries import Delivering, delivering, pruning
from tether_worker.subscribers.sending import TIMEOUT_S, Sender
from tether_worker.traces import prune_traces
from tether_worker.uploads.intake import Intake, intake
from tether_worker.uploads.orphans import sweep_objects
from tether_worker.uploads.reader import ReaderLimits

__all__ = ["Clock", "NodeClock", "WorkerNode", "all_work"]

Clock: TypeAlias = Callable[[], datetime]

_log = logger("app")


class NodeClock(Protocol):
    """A clock that says what is known of its steps and of the day; `SharedClock` is one."""

    def __call__(self) -> datetime:
        """The current time, aware, UTC."""
        ...

    @property
    def stepped_s(self) -> float | None:
        """When a clock was last seen to step, on the boot clock in seconds; `None` for never."""
        ...

    @property
    def is_day_known(self) -> bool:
        """Whether it agrees with other clocks on the day."""
        ...


class WorkerNode(msgspec.Struct, frozen=True):
    """
    What the jobs of a process share, besides the stores.

    Attributes:
        queues: Which queues it works on.
        clock: The time of all nodes.
        boot: This machine's boot clock.
        watch: Notices that the database went back.
        gates: Whether it works on a queue now.
        metrics: Of this process.
        steps: Steps of clocks that are still to be announced.
    """

    queues: Sequence[Queue]
    clock: NodeClock
    boot: BootClock
    watch: Watch
    gates: Gates
    metrics: WorkerMetrics
    steps: deque[ClockStep]


async def all_work(
    stack: AsyncExitStack, settings: Settings, pool: Pool, cache: Redis, *, node: WorkerNode
) -> tuple[list[Work], list[PeriodicTask]]:
    """
    All jobs and periodic tasks of a worker; nothing runs yet.

    Args:
        stack: Closes what they need, such as connections to the gateway.
        cache: Redis.
        node: Of this process.
    """
    queues, clock, metrics = node.queues, node.clock, node.metrics
    works, periodic_tasks = _applying(settings, pool, queues=queues, clock=clock)
    if {"billing", "reconciliation"} & set(queues):
        periodic_tasks += [
            announce_steps(pool, node.steps, clock=clock),
            check_identities(pool, settings=settings, clock=clock),
        ]
    if {"webhooks", "reconciliation"} & set(queues):
        works_of, periodic_tasks_of = await _inquiring(stack, settings, pool, cache, node=node)
        works += works_of
        periodic_tasks += periodic_tasks_of
    if "vop" in queues:
        works.append(await _checking(stack, settings, pool, clock=clock))
    if "billing" in queues:
        works_of, periodic_tasks_of = await _billing(
            stack,
            settings,
            pool,
            cache,
            stopping=node.gates.closed("billing"),
            clock=clock,
            watch=node.watch,
            metrics=metrics,
        )
        works += works_of
        periodic_tasks += [*periodic_tasks_of, add_row_counts(pool), add_figures(pool)]
    if "default" in queues:
        works_of, periodic_tasks_of = _reading(
            settings, pool, stopping=node.gates.closed("default"), clock=clock
        )
        works_of_subscribers, pruned = _delivering(stack, settings, pool, clock=clock)
        works += [*works_of, works_of_subscribers]
        periodic_tasks += [*periodic_tasks_of, pruned]
    return works, periodic_tasks


def _applying(
    settings: Settings, pool: Pool, *, queues: Sequence[Queue], clock: Clock
) -> tuple[list[Work], list[PeriodicTask]]:
    works: list[Work] = []
    periodic_tasks: list[PeriodicTask] = []
    if "webhooks" in queues:
        further = settings.policy_of_further_accounts
        works.append(applying(ApplyDeps(pool, settings.policy, clock, random.random, further)))
        periodic_tasks += [
            wake_matched(pool, clock=clock),
            announce_excess(pool, clock=clock),
            prune_quarantine(pool, bounds=settings.quarantine, clock=clock),
            add_row_counts(pool),
            add_figures(pool),
        ]
    if "vop" in queues:
        periodic_tasks.append(prune_check_files(pool, clock=clock))
    return works, periodic_tasks


async def _inquiring(
    stack: AsyncExitStack,
    settings: Settings,
    pool: Pool,
    cache: Redis,
    *,
    node: WorkerNode,
) -> tuple[list[Work], list[PeriodicTask]]:
    queues, clock, metrics = node.queues, node.clock, node.metrics
    gateways = await stack.enter_async_context(
        open_gateways(pool, settings=settings, connections_max=INQUIRIES_MAX, observe=metrics.gateway_called)
    )
    limiter, polling = Limiter(cache, nodes_max=settings.nodes_max), dict[str, asyncio.Lock]()
    scope = settings.emp_chargeback_scope or None
    deps = InquiryDeps(
        pool,
        clients_of(gateways, scope=scope),
        limited(limiter, polling=polling),
        clock,
        random.random,
        boot=node.boot,
        stepped_s=lambda: clock.stepped_s,
    )

    def in_line() -> InquiryDeps:
        """For a use with a line of its own."""
        return msgspec.structs.replace(deps, permit=limited(limiter, polling=polling))

    works: list[Work] = []
    periodic_tasks: list[PeriodicTask] = [publish_calls(gateways, cache)]
    if "webhooks" in queues:
        works.append(confirming(in_line()))
    if "reconciliation" in queues:
        return_deps = ReturnDeps(
            pool,
            settings.policy,
            clock,
            spacing_days=settings.retry_spacing_days,
            per_day_max=settings.retries_per_day_max,
        )
        works += [
            reconciling(in_line(), rules=settings.submission_rules),
            inquiring_ordered(in_line(), rules=settings.submission_rules),
            inquiring_refunds(in_line(), rules=settings.submission_rules),
            fetching_reports(in_line()),
            handling_returns(return_deps),
        ]
        periodic_tasks += [
            ticking(deps),
            reporting_completeness(deps),
            want_lost_days(deps),
            inquiring_gateway_refunds(deps),
            *reviewing(pool, clock=clock, hours=settings.review_hours),
        ]
    return works, periodic_tasks


async def _checking(stack: AsyncExitStack, settings: Settings, pool: Pool, *, clock: Clock) -> Work:
    from tether_worker import vop  # noqa: PLC0415 - the directory of banks is large, and only this queue needs it

    provider: vop.Provider = vop.builtin
    name = "builtin"
    if settings.vop_url:
        client = await stack.enter_async_context(vop.client())
        provider, name = vop.over_http(client, url=settings.vop_url, token=settings.vop_token), "http"
    return vop.checking(
        vop.Checking(
            pool,
            provider,
            name,
            clock,
            random.random,
            is_metered=bool(settings.vop_url),
            limits=settings.call_limits,
            reuse_days=settings.vop_reuse_days,
            fingerprint_key=settings.fingerprint_key.encode(),
        )
    )


async def _billing(
    stack: AsyncExitStack,
    settings: Settings,
    pool: Pool,
    cache: Redis,
    *,
    stopping: asyncio.Event,
    clock: NodeClock,
    watch: Watch,
    metrics: WorkerMetrics,
) -> tuple[list[Work], list[PeriodicTask]]:
    gateways = await stack.enter_async_context(
        open_gateways(pool, settings=settings, connections_max=CALLS_MAX, observe=metrics.gateway_called)
    )
    limiter = Limiter(cache, nodes_max=settings.nodes_max)
    key = settings.fingerprint_key.encode()
    deps = SubmissionDeps(pool, gateways, limiter, settings.submission_rules, clock, stopping, watch, key)
    stack.push_async_callback(deps.ended)

    def day_known() -> bool:
        return clock.is_day_known

    periodic_tasks = [
        expire_leases(pool, clock=clock, rules=settings.submission_rules),
        expire_refunds(pool, clock=clock, rules=settings.submission_rules),
        auto_pause_runs(pool, clock=clock),
        try_again(pool, clock=clock, fingerprint_key=key, is_day_known=day_known),
        block_banks(pool, policy=settings.bank_blocks, clock=clock),
        make_due_items(pool, clock=clock, is_day_known=day_known),
        order_due_items(
            pool,
            clock=clock,
            fingerprint_key=key,
            dual_control_minor=settings.dual_control_minor,
            is_day_known=day_known,
        ),
        review_submissions(pool, clock=clock),
        prune_order_keys(pool, clock=clock),
        prune_traces(pool, clock=clock),
        publish_calls(gateways, cache),
    ]
    if settings.pre_notifications_dir:
        adapter = files(Path(settings.pre_notifications_dir))
        periodic_tasks.append(
            giving(pool, adapter, name="files", clock=clock, token=lambda: secrets.token_hex(4))
        )
    return [
        planning(pool, clock=clock, fingerprint_key=key, dual_control_minor=settings.dual_control_minor),
        submitting(deps),
        submitting_refunds(deps),
        voiding_runs(pool, clock=clock),
        working_bulk_orders(BulkDeps(pool, settings, clock, watch)),
    ], periodic_tasks


def _reading(
    settings: Settings, pool: Pool, *, stopping: asyncio.Event, clock: Clock
) -> tuple[list[Work], list[PeriodicTask]]:
    if not (settings.aws_bucket or settings.objects_dir):
        _log.error("uploads are not read: set AWS_BUCKET, or TETHER_OBJECTS_DIR on a single machine")
        return [], []

    store = open_objects(settings)
    deps = Intake(
        pool=pool,
        objects=store,
        clock=clock,
        token=lambda: secrets.token_hex(16),
        fingerprint_key=settings.fingerprint_key.encode(),
        policy=settings.screening,
        rules=Rules(),
        limits=ReaderLimits(settings.reader_memory_bytes, settings.reader_time_s),
        stopping=stopping.is_set,
    )
    archive_deps = ArchiveDeps(
        pool, store, settings.periods, clock, deps.token, stopping.is_set, rest_ratio=REST_RATIO
    )
    erasure_deps = ErasureDeps(pool, store, clock, deps.token, stopping.is_set)
    return [intake(deps), intake(deps, slot="short")], [
        sweep_objects(pool, store, clock=clock),
        erasing(erasure_deps),
        reviewing_erasures(erasure_deps),
        archiving(archive_deps),
        prune_old_uploads(pool, store, periods=settings.periods, clock=clock),
        prune_old_debtors(pool, periods=settings.periods, clock=clock),
        prune_old_orders(pool, periods=settings.periods, clock=clock),
    ]


def _delivering(
    stack: AsyncExitStack, settings: Settings, pool: Pool, *, clock: Clock
) -> tuple[Work, PeriodicTask]:
    sender = Sender(allowed=networks(settings.subscriber_networks))
    deps = Delivering(
        pool,
        sender,
        secrets_key=settings.secrets_key,
        clock=clock,
        brokers=brokers(settings, timeout_s=TIMEOUT_S),
    )
    stack.push_async_callback(deps.ended)
    return delivering(deps), pruning(pool, clock=clock, days=settings.delivery_log_days)
