"""The schema for reading is the schema that migrations build, and its rules are those of the core."""

from __future__ import annotations

import re
from typing import Any, get_args

import psycopg
import pytest
from tether_core import (
    audit,
    blacklist,
    bulk_orders,
    database_epoch,
    figures,
    inquiry_orders,
    scaling,
    sepa_text,
    stated_outcomes,
    traces,
    vop,
)
from tether_core.billing import run
from tether_core.emp import notification
from tether_core.notifications import inbox
from tether_core.payments import attempt, returns, stages
from tether_core.people import roles, sign_in
from tether_core.preflight import report as preflight_report
from tether_core.reconciliation import completeness, differences, gateway_refunds
from tether_core.recurring import due_item, mandate, pre_notification, schedule, series
from tether_core.refunds import allowance, refund, run_voids
from tether_core.retention import periods
from tether_core.screening import questions, verdicts
from tether_core.spreadsheet import outcomes
from tether_core.subscribers import delivery, subscriber
from tether_core.uploads import upload
from tether_stores.queries import read

# What a database consists of. The migrate command makes the table of migrations, so schema.sql does not have it.
CATALOG = {
    "columns": """
        select c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
            a.attgenerated, a.attcollation::regcollation::text, a.attstorage, pg_get_expr(d.adbin, d.adrelid)
        from pg_attribute a join pg_class c on c.oid = a.attrelid
        left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') and a.attnum > 0
            and not a.attisdropped
    """,
    "relations": """
        select c.relname, c.relkind, c.relpersistence, c.reloptions::text, c.relrowsecurity
        from pg_class c where c.relnamespace = 'public'::regnamespace
    """,
    "constraints": """
        select c.conrelid::regclass || '.' || c.conname, pg_get_constraintdef(c.oid), c.convalidated
        from pg_constraint c where c.connamespace = 'public'::regnamespace and c.conrelid <> 0
    """,
    "indexes": """
        select i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid), i.indisvalid
        from pg_index i join pg_class c on c.oid = i.indrelid where c.relnamespace = 'public'::regnamespace
    """,
    "triggers": "select t.tgname::text, pg_get_triggerdef(t.oid) from pg_trigger t where not t.tgisinternal",
    "functions": """
        select p.oid::regprocedure::text, p.prosrc, p.prosecdef, p.proconfig::text from pg_proc p where p.pronamespace = 'public'::regnamespace
    """,
    "types": """
        select t.typname::text, t.typtype, format_type(t.typbasetype, t.typtypmod)
        from pg_type t where t.typnamespace = 'public'::regnamespace and t.typtype in ('d', 'e', 'r')
    """,
    "comments": "select o.objoid::regclass::text, o.description from pg_description o where o.classoid = 1259 and"
    " o.objoid in (select oid from pg_class where relnamespace = 'public'::regnamespace)",
}


def _catalog(url: str, kind: str) -> dict[str, tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as conn:
        found = {row[0]: row[1:] for row in conn.execute(CATALOG[kind]).fetchall()}
    return {name: facts for name, facts in found.items() if not name.startswith("schema_migrations")}


@pytest.fixture
def written_url(empty_database_url: str) -> str:
    """The URL of a database built from the schema that people read."""
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        conn.execute(read("schema.sql"))
    return empty_database_url


def test_migrations_build_what_the_schema_says(written_url: str, database_url: str) -> None:
    """A reader of schema.sql must see what production has. A rule in only one of the two is not reliable."""
    for kind in CATALOG:
        assert _catalog(database_url, kind) == _catalog(written_url, kind), kind
    assert len(_catalog(database_url, "columns")) > 100


# Where each CHECK of a closed list of words comes from. Every constraint named "..._known" must be listed here.
KNOWN: dict[str, set[Any]] = {
    "api_keys_role_known": set(roles.ROLES),
    "sign_in_failures_counter_known": set(sign_in.COUNTERS),
    "users_role_known": set(roles.ROLES),
    "archives_kind_known": set(periods.ARCHIVED),
    "audit_actor_kind_known": set(get_args(audit.ActorKind)),
    "billing_attempts_dispute_stage_known": set(attempt.DISPUTE_STAGES),
    "billing_attempts_payment_stage_known": set(attempt.PAYMENT_STAGES),
    "billing_attempts_retry_why_known": set(get_args(returns.RetryWhy)),
    "billing_attempts_state_known": set(get_args(attempt.AttemptState)),
    "billing_runs_paused_from_known": {"planning", "canary", "running"},
    "billing_runs_state_known": set(get_args(run.RunState)),
    "blacklist_action_known": set(get_args(blacklist.Action)) - {"none"},
    "blacklist_disputes_dispute_stage_known": {stages.CHARGEBACKED, stages.LOST_AGAIN},
    "blacklist_forgives_known": set(get_args(blacklist.Forgives)),
    "blacklist_scope_known": set(get_args(blacklist.Scope)) | {"name", "email", "bank"},
    "blacklist_source_known": {"chargeback", "manual", "import", "automatic"},
    "bulk_orders_actor_kind_known": set(get_args(audit.ActorKind)),
    "bulk_orders_action_known": set(get_args(bulk_orders.BulkAction)),
    "bulk_orders_state_known": set(get_args(bulk_orders.BulkOrderState)),
    "collection_plans_state_known": set(schedule.TRANSITIONS),
    "collection_schedules_state_known": set(schedule.TRANSITIONS),
    "due_items_request_known": set(get_args(series.RequestKind)),
    "due_items_sequence_known": set(get_args(mandate.Sequence)),
    "due_items_state_known": set(due_item.TRANSITIONS),
    "mandates_kind_known": set(mandate.KINDS),
    "mandates_state_known": set(mandate.TRANSITIONS),
    "preflight_reports_verdict_known": set(get_args(preflight_report.Verdict)),
    "pre_notifications_state_known": set(pre_notification.TRANSITIONS),
    "database_epochs_reason_known": set(get_args(database_epoch.Reason)),
    "forgiven_disputes_dispute_stage_known": {stages.CHARGEBACKED, stages.LOST_AGAIN},
    "gateway_accounts_characters_known": set(get_args(sepa_text.Characters)),
    "gateway_refunds_kind_known": set(get_args(allowance.RefundKind)),
    "gateway_refunds_state_known": set(get_args(gateway_refunds.GatewayRefundState)),
    "refunds_kind_known": set(get_args(allowance.RefundKind)),
    "refunds_payment_stage_known": set(attempt.PAYMENT_STAGES),
    "refunds_state_known": set(get_args(refund.RefundState)),
    "imported_attempts_dispute_stage_known": set(attempt.DISPUTE_STAGES),
    "imported_attempts_payment_stage_known": set(attempt.PAYMENT_STAGES),
    "inquiry_orders_scope_known": set(get_args(inquiry_orders.Scope)),
    "figures_kind_known": set(figures.KINDS),
    "layout_answers_answer_known": set(get_args(questions.Answer)),
    "layout_answers_subject_known": set(get_args(verdicts.Subject)),
    "problems_level_known": set(get_args(outcomes.Level)),
    "report_fetches_list_known": set(get_args(completeness.ListName)),
    "reconciliation_differences_kind_known": set(get_args(differences.DifferenceKind)),
    "run_void_debits_refused_known": set(get_args(run_voids.VoidRefusalCode)),
    "run_voids_state_known": set(get_args(run_voids.RunVoidState)),
    "stated_outcomes_outcome_known": set(get_args(stated_outcomes.StatedOutcome)),
    "trace_parents_subject_known": set(traces.SUBJECTS),
    "subscribers_state_known": set(subscriber.TRANSITIONS),
    "subscribers_disabled_reason_known": set(get_args(subscriber.DisabledReason)),
    "deliveries_state_known": set(delivery.TRANSITIONS),
    "supervisors_state_known": set(get_args(scaling.ProcessState)),
    "uploads_state_known": set(get_args(upload.UploadState)),
    "vop_checks_state_known": set(vop.TRANSITIONS),
    "check_file_rows_state_known": set(vop.TRANSITIONS),
    "vop_checks_result_known": set(get_args(vop.Result)),
    "webhook_events_kind_known": set(get_args(notification.Kind)),
    "webhook_events_source_known": {"webhook", "report"},
    "webhook_events_state_known": set(get_args(inbox.InboxState)),
    "workers_state_known": set(get_args(scaling.ProcessState)),
}
# Lists that only the adapters know.
LOCAL = {"debtors_verdict_known"}


def test_the_words_a_column_takes_are_the_words_of_the_core(database_url: str) -> None:
    """A state the core decides and the table refuses parks a payment.

    One the table takes alone is never worked.
    """
    rules = {
        name.partition(".")[2]: facts[0]
        for name, facts in _catalog(database_url, "constraints").items()
        if name.endswith("_known")
    }
    assert rules.keys() == KNOWN.keys() | LOCAL
    for name, words in KNOWN.items():
        found = {
            int(number) if number else word
            for word, number in re.findall(r"'([^']*)'::text|\b(\d+)\b", rules[name].partition("ARRAY[")[2])
        }
        assert found == words, name


def test_timestamps_know_their_zone_and_nothing_reads_a_clock(database_url: str) -> None:
    """A time without a zone is off by hours twice a year.

    A default that asks the server cannot be tested.
    """
    for name, (kind, *_, default) in _catalog(database_url, "columns").items():
        assert kind not in {"timestamp without time zone", "time without time zone"}, name
        assert kind != "timestamp with time zone" or name.endswith("_at") or "until" in name, name
        assert kind != "date" or name.endswith("_on"), name
        assert kind not in {"double precision", "real", "money"} or "amount" not in name, name
        assert not re.search(r"now|current|clock|random|uuid", default or ""), name
