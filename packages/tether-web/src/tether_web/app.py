"""Application wiring: builds the ASGI application and its services from the settings."""

import contextlib
import gc
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp
from tether_core import __version__
from tether_core.errors import InvalidRequest, Unavailable
from tether_core.people.addresses import networks
from tether_stores import redis, telemetry
from tether_stores.boot_clock import boot_clock
from tether_stores.clock import SharedClock
from tether_stores.database_epoch.watch import Watch
from tether_stores.fingerprint_key import observe_at_start
from tether_stores.jobs.queue import open_wake_up_queue
from tether_stores.objects import open_objects
from tether_stores.postgres import open_pool
from tether_stores.redis import open_redis
from tether_stores.settings import Settings
from tether_stores.traces import spans

from tether_web import (
    audit,
    bulk_orders,
    check_files,
    clean_payers,
    debtor_history,
    debtors,
    dossier,
    erasures,
    figures,
    health,
    inquiry_orders,
    monitoring,
    openapi,
    preflight,
    queues,
    return_policies,
    stated_outcomes,
    statement_texts,
    vop,
)
from tether_web.accounts import credentials, gateway_accounts
from tether_web.billing import orders, refusals, runs
from tether_web.blacklist import entries, import_export
from tether_web.console import routes as console
from tether_web.events import event_types, stream
from tether_web.events.feed import Feed
from tether_web.http import openapi_examples, problem_details
from tether_web.http.auth import ApiKeys, KeyRing
from tether_web.http.json_body import StrictRequest
from tether_web.http.metrics import CLOCK_STEPS
from tether_web.http.middleware import wrapped
from tether_web.http.parameters import check_query
from tether_web.http.permissions import require_permission
from tether_web.http.scopes import require_scope
from tether_web.http.shutdown import Shutdown, announced_by_sigterm, with_parent
from tether_web.notifications import quarantine, receive, relays, replays, webhook_events
from tether_web.notifications.inbox import Inbox
from tether_web.notifications.known_relays import KnownRelays
from tether_web.notifications.password_counts import PasswordCounts
from tether_web.notifications.refused import RefusedNotifications
from tether_web.payments import attempts, chargeback_lists, chargebacks, exposure
from tether_web.people import api_keys, users
from tether_web.reconciliation import completeness, differences
from tether_web.recurring import (
    announcements,
    collection_plans,
    enrolment,
    mandates,
    pre_notifications,
    schedules,
)
from tether_web.refunds import refunds, run_voids
from tether_web.subscribers import deliveries, subscribers
from tether_web.uploads import charged_back, form, layout_answers, totals, uploads

if TYPE_CHECKING:
    from tether_web.people.oidc import Provider

__all__ = ["application", "create_app", "served"]

_log = telemetry.logger("app")
_LOOKASIDE_S: Final = 0.05
# How long the inbox and the probe wait for the connection that each has for itself: it is free, or Postgres is away.
_OWN_CONNECTION_S: Final = 2.0


def application(settings: Settings, *, clock: Callable[[], datetime] | None = None) -> Litestar:
    """
    The Litestar application.

    Args:
        clock: Returns the current time, aware, UTC; `None` for the clock of Postgres, which all nodes share.

    Returns:
        The application; its services open with its lifespan and close after the last response.
    """
    has_objects = bool(settings.aws_bucket or settings.objects_dir)
    shared = SharedClock(
        lambda: datetime.now(UTC),
        boot=boot_clock(),
        on_step=lambda step: CLOCK_STEPS.labels(step.clock).inc(),
    )
    shutdown = Shutdown()
    now = clock or shared

    @asynccontextmanager
    async def services(app: Litestar) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(
                open_pool(
                    settings.database_url,
                    name="tether-web",
                    max_size=settings.database_pool_max,
                    wait_s=settings.database_pool_wait_s,
                    prepared=settings.database_prepared,
                )
            )
            await stack.enter_async_context(shared.kept(pool))
            # One connection for the inbox: its group commit has one insert in flight, and repeats it if the idle connection
            # had died.
            inbox_pool = await stack.enter_async_context(
                open_pool(
                    settings.database_url,
                    name="tether-inbox",
                    max_size=1,
                    wait_s=_OWN_CONNECTION_S,
                    checked=False,
                    prepared=settings.database_prepared,
                    looks_up_only=True,
                )
            )
            # One connection to check the history of marks of known notifications, and for the accounts of payments, which must not wait
            # for an insert.
            history_pool = await stack.enter_async_context(
                open_pool(
                    settings.database_url,
                    name="tether-history",
                    max_size=1,
                    wait_s=_OWN_CONNECTION_S,
                    checked=False,
                    prepared=settings.database_prepared,
                    looks_up_only=True,
                )
            )
            # One connection for the probe of /ready; see health.RecordingProbe.
            probe_pool = await stack.enter_async_context(
                open_pool(settings.database_url, name="tether-probe", max_size=1, wait_s=_OWN_CONNECTION_S)
            )
            cache = await stack.enter_async_context(open_redis(settings.redis_url, name="tether-web"))
            # Notifications give up on Redis soon: a look-up that takes longer than a commit saves nothing.
            lookaside = await stack.enter_async_context(
                open_redis(settings.redis_url, name="tether-inbox", timeout_s=_LOOKASIDE_S)
            )
            wake_up_queue = await stack.enter_async_context(
                open_wake_up_queue(settings.redis_url, queue="webhooks", timeout_s=0.5)
            )
            stored = open_objects(settings) if has_objects else None
            watch = Watch(
                cache=cache,
                store=stored,
                clock=now,
                token=lambda: secrets.token_hex(16),
                is_pulsing=False,
            )
            await stack.enter_async_context(watch.kept(pool))
            inbox = Inbox(
                pool=inbox_pool,
                history_pool=history_pool,
                cache=lookaside,
                wake_up_queue=wake_up_queue,
                clock=now,
                history=lambda: watch.history,
                deadline_s=settings.commit_deadline_s,
                waiting_max=settings.waiting_max,
            )
            stack.push_async_callback(inbox.close)
            refused = RefusedNotifications(
                pool, keys=settings.secrets_key, bounds=settings.quarantine, clock=now
            )
            stack.push_async_callback(refused.close)
            password_counts = PasswordCounts()
            await stack.enter_async_context(password_counts.flushed(pool, clock=now))
            pools = {"main": pool, "inbox": inbox_pool, "history": history_pool, "probe": probe_pool}
            await stack.enter_async_context(monitoring.measured(pools))
            feed = Feed(pool)
            stack.push_async_callback(feed.close)
            stack.enter_context(announced_by_sigterm(shutdown, drain=feed.drain))
            await stack.enter_async_context(with_parent())
            intake_wake_up_queue = await stack.enter_async_context(
                open_wake_up_queue(settings.redis_url, queue="default", timeout_s=0.5)
            )
            app.state.update(
                {
                    "intake_wake_up_queue": intake_wake_up_queue,
                    "billing_wake_up_queue": await stack.enter_async_context(
                        open_wake_up_queue(settings.redis_url, queue="billing", timeout_s=0.5)
                    ),
                    "objects": stored,
                    "watch": watch,
                    "pool": pool,
                    "cache": cache,
                    "inbox": inbox,
                    "refused_notifications": refused,
                    "password_counts": password_counts,
                    "known_relays": await stack.enter_async_context(KnownRelays.kept(pool)),
                    "recording_probe": health.RecordingProbe(probe_pool),
                    "feed": feed,
                    "clock": now,
                    "credentials": settings.credentials,
                    "key_ring": KeyRing(settings.api_keys),
                    "trusted_proxies": networks(settings.trusted_proxies),
                    "settings": settings,
                    "oidc": await stack.enter_async_context(_provider(settings)),
                }
            )
            await stack.enter_async_context(credentials.refreshed(app.state, pool, settings=settings))
            for warning in (*settings.warnings, *await redis.warnings(cache)):
                _log.error(warning)
            with contextlib.suppress(Unavailable):  # checked again where the key is used
                await observe_at_start(pool, settings.fingerprint_key.encode())
            if not settings.credentials:
                _log.error("EMP_API_PASSWORD is not set: all notifications are rejected")
            if not settings.api_keys:
                _log.error("TETHER_API_KEYS is not set: all requests of the API are rejected")
            if not has_objects:
                _log.error("AWS_BUCKET and TETHER_OBJECTS_DIR are not set: uploads are rejected")
            yield

    api = Router(
        "/",
        route_handlers=[
            attempts.ROUTER,
            chargeback_lists.ROUTER,
            chargebacks.ROUTER,
            *stated_outcomes.ROUTERS,
            exposure.ROUTER,
            *refunds.ROUTERS,
            *run_voids.ROUTERS,
            *inquiry_orders.ROUTERS,
            webhook_events.ROUTER,
            replays.ROUTER,
            quarantine.ROUTER,
            relays.ROUTER,
            stream.ROUTER,
            event_types.ROUTER,
            subscribers.ROUTER,
            *deliveries.ROUTERS,
            uploads.ROUTER,
            charged_back.ROUTER,
            totals.ROUTER,
            clean_payers.ROUTER,
            layout_answers.ROUTER,
            orders.ROUTER,
            *runs.ROUTERS,
            refusals.ROUTER,
            collection_plans.ROUTER,
            enrolment.ROUTER,
            *schedules.ROUTERS,
            mandates.ROUTER,
            *pre_notifications.ROUTERS,
            announcements.ROUTER,
            *vop.ROUTERS,
            check_files.ROUTER,
            debtors.ROUTER,
            dossier.ROUTER,
            debtor_history.ROUTER,
            erasures.ROUTER,
            *preflight.ROUTERS,
            statement_texts.ROUTER,
            entries.ROUTER,
            import_export.ROUTER,
            return_policies.ROUTER,
            completeness.ROUTER,
            figures.ROUTER,
            bulk_orders.ROUTER,
            differences.ROUTER,
            *queues.ROUTERS,
            gateway_accounts.ROUTER,
            audit.ROUTER,
            *users.ROUTERS,
            api_keys.ROUTER,
        ],
        middleware=[ApiKeys],
        guards=[require_permission, require_scope],
        before_request=check_query,
        request_class=StrictRequest,
        security=[{"apiKey": []}],
    )
    app = Litestar(
        [*health.PROBES, health.metrics, api, *console.ROUTERS],
        lifespan=[lambda _: spans.exported(settings.traces, program="tether-web"), services],
        state=State({"shutdown": shutdown}),
        template_config=console.TEMPLATES,
        exception_handlers=problem_details.HANDLERS,
        logging_config=None,  # telemetry is configured once per process, and problem_details logs errors
        openapi_config=OpenAPIConfig(
            title="Tether",
            version=__version__,
            description="SEPA direct debit through emerchantpay: uploads, billing, notifications, refunds and reconciliation.",
            path="/api/schema",
            render_plugins=[JsonRenderPlugin()],  # the JSON only; viewers load scripts from other sites
            components=Components(
                security_schemes={
                    "apiKey": SecurityScheme(type="http", scheme="bearer", description="TETHER_API_KEYS")
                }
            ),
        ),
    )
    openapi.describe(
        app,
        by=(
            openapi.describe_webhook,
            form.describe_form,
            openapi.describe_problems,
            openapi_examples.describe_fields,
            openapi.name_schemas,
        ),
    )
    return app


def _provider(settings: Settings) -> "AbstractAsyncContextManager[Provider | None]":
    """The identity provider of the settings; its library is an extra and is imported only for it."""
    if not settings.oidc_issuer:
        return contextlib.nullcontext()
    try:
        from tether_web.people import oidc  # noqa: PLC0415 - see above
    except ImportError as exc:
        why = "needs the extra oidc; install tether-web[oidc], or unset it"
        raise InvalidRequest(why, field="TETHER_OIDC_ISSUER") from exc
    return oidc.opened(settings)


def served(app: Litestar) -> ASGIApp:
    """Wrap the application for the server: notifications bypass the framework, and one middleware surrounds both."""
    return wrapped(
        app,
        direct={receive.PATH: receive.direct_handler(app.state)},
        below={receive.PATH: (receive.RELAY_PATH, receive.relay_handler(app.state))},
        shutdown=app.state.shutdown,
    )


def create_app() -> ASGIApp:
    """The ASGI application of this process, configured by its environment; Granian loads it."""
    settings = Settings.from_env(os.environ)
    telemetry.configure(level=settings.log_level, program="tether-web")
    app = served(application(settings))
    # All objects made up to here live as long as the process, and requests leave few cycles to collect.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    return app
