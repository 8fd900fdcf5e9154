"""
Settings: read once from the environment, frozen, secrets hidden.

Every field below names its environment variable, its unit and the reason for its default; the page
docs/reference/settings.md is made from them. Nothing else in Tether reads the environment.

>>> settings = Settings.from_env({"EMP_API_PASSWORD": "old, new", "EMP_TIMEOUT": "20"})
>>> settings.emp_timeout_s, len(settings.emp_api_password)
(20.0, 2)
>>> "old" in repr(settings)
False
>>> Settings.from_env({"EMP_TIMEOUT": "soon"})
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: EMP_TIMEOUT is no number; correct the environment variable.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict
from redis.connection import parse_url
from tether_core.banks import BlockPolicy
from tether_core.blacklist import parse_codes
from tether_core.emp.signature import Credential
from tether_core.errors import InvalidRequest
from tether_core.fingerprint_key import KEY_BYTES_MAX
from tether_core.notifications.quarantine import Bounds
from tether_core.payments.attempt import ApplyPolicy, Confirm
from tether_core.payments.submission import SubmissionRules
from tether_core.people.addresses import networks
from tether_core.people.oidc import is_provider_address
from tether_core.preflight.fees import Fees, parse_fees
from tether_core.preflight.report import PreflightLimits
from tether_core.retention.periods import KINDS, Periods
from tether_core.return_policies.policy import built_in
from tether_core.screening import verdicts
from tether_core.screening.verdicts import Same
from tether_core.sepa_text import Characters
from tether_core.subscribers.addresses import networks as subscriber_networks
from tether_core.subscribers.topics import Broker
from tether_core.vop import CallLimits

__all__ = ["Setting", "Settings", "described"]

LogLevel = Literal["debug", "info", "warning", "error"]

# Larger than any list of secrets; a path that names a device or a log by mistake is not read whole.
_SECRET_FILE_MAX: Final = 65_536


class Setting(msgspec.Struct, frozen=True):
    """
    One setting, as documented.

    Attributes:
        env: The environment variable.
        text: What it is for, its unit, and the reason for its default.
        secret: Whether its value is hidden everywhere.
        default: The default as text, "" for none.
        field: The attribute of `Settings`.
    """

    env: str
    text: str
    secret: bool = False
    default: str = ""
    field: str = ""


def _env(env: str, text: str, *, secret: bool = False) -> Setting:
    return Setting(env, text, secret)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything an operator may choose. See each field's text; `described` lists them.

    Fields hold plain values: numbers in the unit their name ends in, lists as tuples, API keys as a mapping
    from key name to key.
    """

    # --- services ---
    database_url: Annotated[
        str,
        _env("DATABASE_URL", "Postgres, as a URL; may point at a pooler in transaction mode.", secret=True),
    ] = ""
    database_direct_url: Annotated[
        str,
        _env(
            "DATABASE_DIRECT_URL",
            "Postgres past the pooler, for migrations. Empty: DATABASE_URL.",
            secret=True,
        ),
    ] = ""
    database_pool_max: Annotated[
        int,
        _env(
            "DATABASE_POOL_MAX", "Connections a process may hold; 8 keeps four processes below a pool of 40."
        ),
    ] = 8
    database_pool_wait_s: Annotated[
        float,
        _env(
            "DATABASE_POOL_WAIT",
            "Seconds a request of the API, or a step of a job, waits for one of these connections; then the request is answered 503 and "
            "the step is tried again later. Notifications have a connection of their own.",
        ),
    ] = 2.0
    database_prepared: Annotated[
        Literal["auto", "off", "on"],
        _env(
            "DATABASE_PREPARED",
            "Whether Postgres keeps the plans of our statements, which saves it about a third of its work for "
            "notifications: auto, on or off. auto checks each connection for a pooler, and keeps plans "
            "where there is none. on is for PgBouncer 1.21 or newer with max_prepared_statements.",
        ),
    ] = "auto"
    web_role: Annotated[
        str,
        _env(
            "TETHER_WEB_ROLE",
            "The role of Postgres that tether-web connects as. `tether-worker migrate`, as the owner, grants it what it needs and "
            "nothing else (docs/guides/database-roles.md). Empty: it connects as the owner.",
        ),
    ] = ""
    worker_role: Annotated[
        str, _env("TETHER_WORKER_ROLE", "The same for tether-worker and its commands.")
    ] = ""
    web_role_password: Annotated[
        str,
        _env(
            "TETHER_WEB_ROLE_PASSWORD",
            "For `tether-worker migrate` alone: it makes TETHER_WEB_ROLE with this password, or gives the role this password where it exists. "
            "Empty: the administrator of Postgres makes the role.",
            secret=True,
        ),
    ] = ""
    worker_role_password: Annotated[
        str, _env("TETHER_WORKER_ROLE_PASSWORD", "The same for TETHER_WORKER_ROLE.", secret=True)
    ] = ""
    redis_url: Annotated[
        str, _env("REDIS_URL", "Redis for the look-aside, the queues and the shared limits.", secret=True)
    ] = ""
    aws_access_key_id: Annotated[str, _env("AWS_ACCESS_KEY_ID", "Object store: key id.", secret=True)] = ""
    aws_secret_access_key: Annotated[
        str, _env("AWS_SECRET_ACCESS_KEY", "Object store: key.", secret=True)
    ] = ""
    aws_default_region: Annotated[str, _env("AWS_DEFAULT_REGION", "Object store: region.")] = "us-east-1"
    aws_bucket: Annotated[str, _env("AWS_BUCKET", "Object store: bucket, which must exist.")] = ""
    aws_endpoint: Annotated[
        str, _env("AWS_ENDPOINT", "Object store: endpoint of SeaweedFS, MinIO and the like; empty for AWS.")
    ] = ""
    objects_dir: Annotated[
        str, _env("TETHER_OBJECTS_DIR", "A local folder instead of an object store: one machine only.")
    ] = ""

    # --- the gateway ---
    emp_api_login: Annotated[str, _env("EMP_API_LOGIN", "The gateway's API login.", secret=True)] = ""
    emp_api_password: Annotated[
        tuple[str, ...],
        _env(
            "EMP_API_PASSWORD", "Its password; several with commas while one is being changed.", secret=True
        ),
    ] = ()
    emp_terminal_token: Annotated[
        tuple[str, ...],
        _env(
            "EMP_TERMINAL_TOKEN", "Terminal tokens of the account, the first one for new debits.", secret=True
        ),
    ] = ()
    emp_api_url: Annotated[
        str,
        _env(
            "EMP_API_URL",
            "The gateway's address, e.g. its staging host. Empty: nothing is submitted and no inquiry is made.",
        ),
    ] = ""
    emp_timeout_s: Annotated[
        float,
        _env(
            "EMP_TIMEOUT",
            "Seconds for a whole call; the gateway's own SDKs wait 60, which is long for a person.",
        ),
    ] = 30.0
    emp_connect_timeout_s: Annotated[
        float, _env("EMP_CONNECT_TIMEOUT", "Seconds for the connection alone.")
    ] = 10.0
    emp_characters: Annotated[
        Characters,
        _env(
            "EMP_CHARACTERS",
            "In which names and texts are written to the gateway. latin: letters as they are, without pictures and signs that no "
            "bank carries; sepa: in the basic set of SEPA (Müller becomes Mueller), where the bank drops or refuses other letters.",
        ),
    ] = "latin"
    emp_rate_limit: Annotated[
        float,
        _env(
            "EMP_RATE_LIMIT", "Debits per second over all workers; the gateway publishes no limit of its own."
        ),
    ] = 50.0
    reconciliation_rate_limit: Annotated[
        float,
        _env(
            "RECONCILIATION_RATE_LIMIT", "Status inquiries and report requests per second over all workers."
        ),
    ] = 20.0
    nodes_max: Annotated[
        int,
        _env(
            "TETHER_NODES_MAX",
            "Processes that may call the gateway at once; while Redis is unavailable each uses one part in this many of every limit.",
        ),
    ] = 10
    not_found_grace_s: Annotated[
        float,
        _env(
            "TETHER_NOT_FOUND_GRACE",
            "The not-found grace period: seconds for which a call may be under way after its lease (`EMP_TIMEOUT` and 45 s). "
            'The gateway\'s "not found" is accepted when two such answers are as far apart as lease and grace period together. Longer than any proxy '
            "holds a request, and than the 5 minutes in which the gateway takes an equal debit for a duplicate.",
        ),
    ] = 900.0
    review_hours: Annotated[
        float,
        _env(
            "TETHER_REVIEW_HOURS",
            "Hours in which the review for reconciliation differences walks along all debits once, for what no event announced, "
            "such as imports. 8 hours are a night; ten million debits then take about 6 s of Postgres' time in a minute.",
        ),
    ] = 8.0
    secrets_key: Annotated[
        tuple[str, ...],
        _env(
            "TETHER_SECRETS_KEY",
            "Keys that encrypt the secrets of further gateway accounts and subscribers, second factors, and refused notifications, as "
            "`tether-worker accounts new-key` prints them; several with commas while one is being changed, the first one for writing. "
            "`tether-worker secrets reseal` changes what is stored.",
            secret=True,
        ),
    ] = ()
    emp_confirm: Annotated[
        Confirm,
        _env(
            "EMP_CONFIRM",
            "Which reported statuses the gateway must confirm before they take effect, because a signature covers only the "
            "id. failures: every report by which a debit is not, or no longer, collected (error, declined, voided, refunded, "
            "disputes), and every report that contradicts what is stored; chargebacks: disputes only; all: every "
            "report that would change an attempt; off: none. Without EMP_API_URL, EMP_API_LOGIN, EMP_API_PASSWORD and "
            "EMP_TERMINAL_TOKEN no inquiry is possible: reports of the account `default` are then applied unconfirmed, and the worker "
            "logs that when it starts.",
        ),
    ] = "failures"

    emp_chargeback_scope: Annotated[
        Literal["", "card_present", "card_not_present", "external"],
        _env(
            "EMP_CHARGEBACK_SCOPE",
            "What the gateway's lists of chargebacks are limited to: card_present, card_not_present or external. The "
            "gateway demands it since 2026-04; which one holds direct debits, its support says for each account. "
            "Empty: not sent.",
        ),
    ] = ""

    # --- the product ---
    retries_per_day_max: Annotated[
        int,
        _env(
            "TETHER_RETRIES_PER_DAY_MAX",
            "Debits that may be tried again after a return on one day; further ones move to the next days.",
        ),
    ] = 1_000
    retry_spacing_days: Annotated[
        int,
        _env(
            "TETHER_RETRY_SPACING_DAYS",
            "Calendar days from a return to the next try, at least; 3 to 10 are usual.",
        ),
    ] = 5
    pre_notifications_dir: Annotated[
        str,
        _env(
            "TETHER_PRE_NOTIFICATIONS_DIR",
            "A directory into which the billing worker writes pre-notifications as CSV files (docs/guides/recurring.md). Empty: they are "
            "given by a program or person who confirms them.",
        ),
    ] = ""
    vop_url: Annotated[
        str,
        _env(
            "TETHER_VOP_URL",
            "A service that checks accounts before they are billed (docs/guides/vop.md). Empty: only the "
            "built-in checks.",
        ),
    ] = ""
    vop_token: Annotated[
        str, _env("TETHER_VOP_TOKEN", "Sent to that service as a bearer token.", secret=True)
    ] = ""
    vop_day_max: Annotated[
        int,
        _env(
            "TETHER_VOP_DAY_MAX",
            "Calls of that service that one gateway account may cause on a day, UTC; the rest waits for the next one. Empty: no limit.",
        ),
    ] = 0
    vop_month_max: Annotated[
        int,
        _env("TETHER_VOP_MONTH_MAX", "The same in a calendar month, UTC. Empty: no limit."),
    ] = 0
    vop_reuse_days: Annotated[
        int,
        _env(
            "TETHER_VOP_REUSE_DAYS",
            "For how many days an answer of that service about an account and name is used for other debtors: names and accounts change "
            "rarely, and each call may cost money. Empty: never, so that no answer is older than its check.",
        ),
    ] = 0
    api_keys: Annotated[
        dict[str, str],
        _env(
            "TETHER_API_KEYS",
            "name:key pairs with commas, each with all permissions, beside the keys and users of the database. Without any key and user every "
            "API route stays closed.",
            secret=True,
        ),
    ] = {}
    oidc_issuer: Annotated[
        str,
        _env(
            "TETHER_OIDC_ISSUER",
            "The identity provider at which people may sign in (OpenID Connect), exactly as it names itself: https, or http on "
            "this machine. Needs `tether-web[oidc]` (docs/guides/people.md). Empty: no provider.",
        ),
    ] = ""
    oidc_client_id: Annotated[
        str, _env("TETHER_OIDC_CLIENT_ID", "The client that the provider has for this installation.")
    ] = ""
    oidc_client_secret: Annotated[
        str,
        _env(
            "TETHER_OIDC_CLIENT_SECRET",
            "The secret of that client; empty for a public client, which has only PKCE.",
            secret=True,
        ),
    ] = ""
    oidc_claim: Annotated[
        str,
        _env(
            "TETHER_OIDC_CLAIM",
            "The claim of the ID token that holds the name of the user at the first sign-in. email counts only when the provider "
            "has verified it. Never a claim that people can change themselves.",
        ),
    ] = "email"
    second_factor: Annotated[
        Literal["optional", "required"],
        _env(
            "TETHER_SECOND_FACTOR",
            "Whether each user needs a second factor: optional or required. required needs TETHER_SECRETS_KEY.",
        ),
    ] = "optional"
    trusted_proxies: Annotated[
        tuple[str, ...],
        _env(
            "TETHER_TRUSTED_PROXIES",
            "Addresses or networks of your proxies, with commas; X-Forwarded-For counts only from them. The client's address is "
            "written to the audit and limits failed sign-ins.",
        ),
    ] = ("127.0.0.1", "::1")
    blacklist_codes: Annotated[
        str,
        _env(
            "TETHER_BLACKLIST_CODES",
            "Exactly the reason codes that block an IBAN under version 0 of the return policy, the same on every node; empty for the "
            "built-in set. Other versions do not read it.",
        ),
    ] = ""
    fees: Annotated[
        str,
        _env(
            "TETHER_FEES",
            'What gateway accounts cost, such as "default 0.25 3.50 EUR, shop 0.20 4 EUR": for each account the fee of an attempt, the '
            "fee of a return and their currency. An account that is not named has unknown fees.",
        ),
    ] = ""
    preflight_returned_max: Annotated[
        float,
        _env(
            "TETHER_PREFLIGHT_RETURNED_MAX",
            "The share of an upload's money that may be returned for its pre-flight report to say go, at the upper end of what is "
            "expected, such as 0.05 for 5 %; empty for no limit.",
        ),
    ] = 0.0
    preflight_fees_max: Annotated[
        float,
        _env(
            "TETHER_PREFLIGHT_FEES_MAX",
            "The share of the money an upload is expected to keep that fees may take for its pre-flight report to say go, at the upper "
            "end; empty for no limit.",
        ),
    ] = 0.0
    fingerprint_key: Annotated[
        str,
        _env(
            "TETHER_FINGERPRINT_KEY",
            "Key of the accounts' fingerprints, at most 64 bytes, the same on every node. Set it before the first upload; the database "
            "knows it from then on, and `tether-worker fingerprints rekey` changes it.",
            secret=True,
        ),
    ] = ""
    commit_deadline_s: Annotated[
        float,
        _env(
            "TETHER_COMMIT_DEADLINE",
            "Seconds a notification may wait for its commit before it is answered 503.",
        ),
    ] = 1.5
    waiting_max: Annotated[
        int,
        _env(
            "TETHER_WAITING_MAX",
            "Notifications one process may hold in memory before it answers 503; some 4 KB each.",
        ),
    ] = 2_000
    upload_max_bytes: Annotated[
        int,
        _env(
            "TETHER_UPLOAD_MAX_BYTES",
            "Bytes a file may have, 200 MiB; a list of a million debtors has about a third of that.",
        ),
    ] = 209_715_200
    bank_block_percent: Annotated[
        float,
        _env(
            "TETHER_BANK_BLOCK_PERCENT",
            "Above this return rate, in percent, a bank is put on hold for some days. Empty: never, since what is too high differs by business.",
        ),
    ] = 0.0
    bank_block_floor: Annotated[
        int,
        _env(
            "TETHER_BANK_BLOCK_FLOOR",
            "Collected debits that a bank must have before its return rate counts; of fewer, two or three returns are a high rate.",
        ),
    ] = 100
    bank_block_window_days: Annotated[
        int,
        _env(
            "TETHER_BANK_BLOCK_WINDOW_DAYS",
            "Days of debits whose returns count for a bank, by the day on which they were made; 90, since returns come for eight weeks.",
        ),
    ] = 90
    bank_block_days: Annotated[
        int,
        _env(
            "TETHER_BANK_BLOCK_DAYS", "Days for which such an entry holds; then debits made later are judged."
        ),
    ] = 30
    dual_control_minor: Annotated[
        int,
        _env(
            "TETHER_DUAL_CONTROL_MINOR",
            "Above this amount, in whole minor units, the person who orders a run cannot release it. Empty: no second person, as small teams want it.",
        ),
    ] = 0
    screening_window_days: Annotated[
        int,
        _env(
            "TETHER_SCREENING_WINDOW_DAYS",
            "Days for which an earlier debit counts as the same, the last one too; beyond 25 days a person must decide.",
        ),
    ] = 25
    screening_rules: Annotated[
        tuple[str, ...],
        _env(
            "TETHER_SCREENING_RULES",
            "The rules of screening that apply, in order, with commas; rules with a question to a person always apply. Empty for all.",
        ),
    ] = ()
    screening_same: Annotated[
        Same,
        _env(
            "TETHER_SCREENING_SAME",
            "What makes two rows of a file the same debit: iban_and_reference, or iban where no account has two debits.",
        ),
    ] = "iban_and_reference"
    reader_memory_bytes: Annotated[
        int,
        _env(
            "TETHER_READER_MEMORY_BYTES",
            "Bytes of address space for the process that parses a workbook; the largest sheet Excel can hold needs 1 GiB.",
        ),
    ] = 2_147_483_648
    reader_time_s: Annotated[
        float,
        _env(
            "TETHER_READER_TIME",
            "Seconds of processor time for parsing a workbook; the largest sheet Excel can hold needs 15.",
        ),
    ] = 120.0
    # --- retention ---
    keep_notifications_days: Annotated[
        int,
        _env(
            "TETHER_KEEP_NOTIFICATIONS_DAYS",
            "Days from receipt until a processed notification moves to the archive in the object store. 14 months: a debit "
            "without a mandate can be returned for 13.",
        ),
    ] = 425
    keep_events_days: Annotated[
        int, _env("TETHER_KEEP_EVENTS_DAYS", "Days until an event moves to the archive.")
    ] = 425
    keep_files_days: Annotated[
        int,
        _env(
            "TETHER_KEEP_FILES_DAYS",
            "Days until the file of an upload that is over is removed; its debtors and counts stay.",
        ),
    ] = 425
    keep_problems_days: Annotated[
        int,
        _env(
            "TETHER_KEEP_PROBLEMS_DAYS",
            "Days until the rows of a file that became no debtors are removed; somebody corrects a file in half a year or never.",
        ),
    ] = 180
    keep_undebited_days: Annotated[
        int,
        _env(
            "TETHER_KEEP_UNDEBITED_DAYS", "Days from the upload until a debtor without any debit is removed."
        ),
    ] = 425
    keep_orders_days: Annotated[
        int,
        _env(
            "TETHER_KEEP_ORDERS_DAYS",
            "Days until the results of bulk orders, ordered inquiries and replays are removed; the audit keeps who ordered them.",
        ),
    ] = 180
    keep_archives_days: Annotated[
        int,
        _env(
            "TETHER_KEEP_ARCHIVES_DAYS",
            "Days from its newest row until an archive is removed; tax law asks for vouchers for up to ten years.",
        ),
    ] = 3_650
    quarantine_days: Annotated[
        int,
        _env(
            "TETHER_QUARANTINE_DAYS",
            "Days for which notifications with an invalid signature are kept, sealed under TETHER_SECRETS_KEY; without that key "
            "none are kept. Two weeks: a wrong password is noticed sooner, and false notifications need not stay.",
        ),
    ] = 14
    quarantine_rows: Annotated[
        int,
        _env(
            "TETHER_QUARANTINE_ROWS",
            "How many of them are kept of one account that name a known debit, and how many others of it; of the others, only a day's "
            "share within 24 hours. 10,000 are a day of a large account.",
        ),
    ] = 10_000
    quarantine_bytes: Annotated[
        int,
        _env("TETHER_QUARANTINE_BYTES", "Bytes that their bodies may have, counted in the same way; 64 MiB."),
    ] = 67_108_864
    subscriber_networks: Annotated[
        tuple[str, ...],
        _env(
            "TETHER_SUBSCRIBER_NETWORKS",
            "Addresses or networks that are not public and that events may be sent to all the same, with commas, such as 10.1.0.0/16. "
            "With it, http is accepted for these. Empty: only public addresses, by https.",
        ),
    ] = ()
    kafka_servers: Annotated[
        tuple[str, ...],
        _env(
            "TETHER_KAFKA_SERVERS",
            "Brokers of Kafka, host:port with commas, for subscribers with an address kafka:TOPIC. Needs `tether-worker[kafka]` "
            "(docs/guides/subscribers.md). Empty: none.",
        ),
    ] = ()
    kafka_properties: Annotated[
        str,
        _env(
            "TETHER_KAFKA_PROPERTIES",
            "A file of lines name=value with further settings of librdkafka, such as security.protocol and sasl.password. Empty: none.",
        ),
    ] = ""
    nats_servers: Annotated[
        tuple[str, ...],
        _env(
            "TETHER_NATS_SERVERS",
            "Servers of NATS, such as nats://host:4222 or tls://host:4222 with commas, for subscribers with an address nats:SUBJECT, "
            "which a stream of JetStream must take. Needs `tether-worker[nats]`. Empty: none.",
            secret=True,
        ),
    ] = ()
    nats_credentials: Annotated[
        str,
        _env(
            "TETHER_NATS_CREDENTIALS",
            "A file of credentials of NATS (.creds), with a JWT and a seed of a user. Empty: none.",
        ),
    ] = ""
    delivery_log_days: Annotated[
        int,
        _env(
            "TETHER_DELIVERY_LOG_DAYS",
            "Days for which deliveries to subscribers are kept after they ended; a month answers most questions.",
        ),
    ] = 30
    # --- workers and logs ---
    worker_pools: Annotated[
        str,
        _env(
            "TETHER_WORKER_POOLS",
            "Pools of `tether-worker supervise` with their least and most processes, such as webhooks:2-5, "
            "billing+reconciliation:3-10, default+vop:2-8, which is the default; local for one pool of 1 to 3; or the path of a "
            "TOML file (docs/guides/scaling.md).",
        ),
    ] = ""
    worker_memory_max_bytes: Annotated[
        int,
        _env(
            "TETHER_WORKER_MEMORY_MAX_BYTES",
            "Bytes that all workers of a supervisor may use; a pool does not grow beyond, and shrinks to its least number of "
            "processes. Empty: no limit.",
        ),
    ] = 0
    worker_listen: Annotated[
        str,
        _env(
            "TETHER_WORKER_LISTEN",
            "Where `tether-worker run` and `supervise` serve /metrics and /health, such as 127.0.0.1:9108. Empty: nowhere.",
        ),
    ] = ""
    log_level: Annotated[LogLevel, _env("LOG_LEVEL", "debug, info, warning or error.")] = "info"
    traces: Annotated[
        Literal["off", "otlp"],
        _env(
            "TETHER_TRACES",
            "Whether requests, jobs and gateway calls are exported as traces: off, or otlp to an OpenTelemetry collector, which needs the extra "
            "tether-stores[traces]. Its address and the sampling are OpenTelemetry's own variables, such as OTEL_EXPORTER_OTLP_ENDPOINT and "
            "OTEL_TRACES_SAMPLER (docs/guides/monitoring.md).",
        ),
    ] = "off"

    def __repr__(self) -> str:
        """All settings by their variable, secrets as stars."""
        shown = (
            f"{setting.env}={'***' if setting.secret and getattr(self, setting.field) else getattr(self, setting.field)!r}"
            for setting in described()
        )
        return f"Settings({', '.join(shown)})"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """
        Read the settings from environment variables.

        Args:
            environ: `os.environ`, or any mapping like it. Unknown names are ignored, empty values count as unset. A secret may
                come from a file that `NAME_FILE` names, as containers mount them.

        Returns:
            Frozen settings.

        Raises:
            InvalidRequest: naming the variable and what to change, never its value.
        """
        values: dict[str, Any] = {}
        for setting in described():
            text = _text(setting, environ)
            if text:
                values[setting.field] = _read(setting, text)
        settings = cls(**values)
        if not settings.database_direct_url:
            settings = msgspec.structs.replace(settings, database_direct_url=settings.database_url)
        if len(settings.fingerprint_key.encode()) > KEY_BYTES_MAX:
            why = f"is longer than {KEY_BYTES_MAX} bytes; make one by `openssl rand -hex 32`"
            raise InvalidRequest(why, field="TETHER_FINGERPRINT_KEY")
        networks(settings.trusted_proxies)
        _ = settings.periods
        _ = settings.bank_blocks
        _require_preflight(settings)
        subscriber_networks(settings.subscriber_networks)
        if bool(settings.oidc_issuer) != bool(settings.oidc_client_id):
            present, lacking = "TETHER_OIDC_ISSUER", "TETHER_OIDC_CLIENT_ID"
            if settings.oidc_client_id:
                present, lacking = lacking, present
            why = f"must be set where {present} is: people sign in at a provider only with both"
            raise InvalidRequest(why, field=lacking)
        if settings.second_factor == "required" and not settings.secrets_key:
            why = "must be set where TETHER_SECOND_FACTOR is required; `tether-worker accounts new-key` prints a key"
            raise InvalidRequest(why, field="TETHER_SECRETS_KEY")
        try:
            parse_codes(settings.blacklist_codes)
        except InvalidRequest:
            # The core's message quotes the invalid word, which here may be a secret.
            why = "holds a word that is no reason code of four letters or digits; put commas between codes"
            raise InvalidRequest(why, field="TETHER_BLACKLIST_CODES") from None
        return settings

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """The default gateway account as the core verifies with it; none without a password."""
        if not self.emp_api_password:
            return ()
        return (Credential("default", self.emp_api_login, self.emp_api_password, self.emp_terminal_token),)

    @property
    def screening(self) -> verdicts.ScreeningPolicy:
        """How strictly uploads are screened."""
        policy = verdicts.ScreeningPolicy(window_days=self.screening_window_days, same=self.screening_same)
        if not self.screening_rules:
            return policy
        inquiry_deps = (rule for some in verdicts.QUESTIONS.values() for rule in some)
        rules = (*self.screening_rules, *(rule for rule in inquiry_deps if rule not in self.screening_rules))
        return msgspec.structs.replace(policy, rules=rules)

    @property
    def preflight_rule(self) -> PreflightLimits:
        """When the pre-flight report of an upload says go."""
        return PreflightLimits(self.preflight_returned_max or None, self.preflight_fees_max or None)

    @property
    def account_fees(self) -> dict[str, Fees]:
        """What gateway accounts cost, by name; those without known fees are missing."""
        return parse_fees(self.fees)

    @property
    def periods(self) -> Periods:
        """How long each kind of data is kept."""
        return Periods(**{f"{kind}_days": getattr(self, f"keep_{kind}_days") for kind in KINDS})

    @property
    def bank_blocks(self) -> BlockPolicy:
        """When a bank is put on hold by its return rate."""
        return BlockPolicy(
            rate_max=self.bank_block_percent / 100,
            floor=self.bank_block_floor,
            window_days=self.bank_block_window_days,
            days=self.bank_block_days,
        )

    @property
    def call_limits(self) -> CallLimits:
        """How many calls of the service that checks accounts one gateway account may cause."""
        return CallLimits(self.vop_day_max or None, self.vop_month_max or None)

    @property
    def quarantine(self) -> Bounds:
        """How many refused notifications are kept, and for how long."""
        return Bounds(
            days=self.quarantine_days, rows_max=self.quarantine_rows, bytes_max=self.quarantine_bytes
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What web and worker alike should not be run without, as sentences for the operator."""
        keyless = (
            "TETHER_FINGERPRINT_KEY is not set: IBANs can be found from the blacklist's fingerprints by trying all. "
            "Set it before the first upload; later `tether-worker fingerprints rekey` is needed."
        )
        return () if self.fingerprint_key else (keyless,)

    @property
    def gateway_can_be_inquired(self) -> bool:
        """Whether address, login, password and terminal are all there."""
        return bool(
            self.emp_api_url and self.emp_api_login and self.emp_api_password and self.emp_terminal_token
        )

    @property
    def brokers(self) -> frozenset[Broker]:
        """The brokers that are configured, for subscribers that are a topic."""
        servers: dict[Broker, tuple[str, ...]] = {"kafka": self.kafka_servers, "nats": self.nats_servers}
        return frozenset(broker for broker, named in servers.items() if named)

    @property
    def submission_rules(self) -> SubmissionRules:
        """How long a call to the gateway may last, and when "not found" is accepted."""
        # Ten seconds to begin the call, its time limit, and as long again for the answer's way into the books.
        return SubmissionRules(lease_s=10 + self.emp_timeout_s + 35, not_found_grace_s=self.not_found_grace_s)

    @property
    def policy(self) -> ApplyPolicy:
        """The operator's choices for the account `default`; nothing is confirmed where nobody can be inquired."""
        return ApplyPolicy(
            returns=built_in(parse_codes(self.blacklist_codes)),
            confirm=self.emp_confirm if self.gateway_can_be_inquired else "off",
        )

    @property
    def policy_of_further_accounts(self) -> ApplyPolicy:
        """The operator's choices for the accounts of the table, each of which can be inquired with its own credentials."""
        return ApplyPolicy(returns=built_in(parse_codes(self.blacklist_codes)), confirm=self.emp_confirm)


def _require_preflight(settings: Settings) -> None:
    try:
        _ = settings.account_fees
    except InvalidRequest as exc:
        raise InvalidRequest(str(exc), field="TETHER_FEES") from None
    try:
        _ = settings.preflight_rule
    except InvalidRequest:
        why = "must be above 0 and below 1, such as 0.05 for 5 %"
        name = "RETURNED" if settings.preflight_returned_max >= 1 else "FEES"
        raise InvalidRequest(why, field=f"TETHER_PREFLIGHT_{name}_MAX") from None


def described() -> Iterator[Setting]:
    """
    Every setting with its documentation, in the order of `Settings`.

    Yields:
        One `Setting` per field, its default as text.
    """
    hints = get_type_hints(Settings, include_extras=True)
    for field in msgspec.structs.fields(Settings):
        setting: Setting = get_args(hints[field.name])[1]
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        shown = (
            ", ".join(default)
            if isinstance(default, tuple)
            else ""
            if default in ("", {}, 0)
            else str(default)
        )
        yield msgspec.structs.replace(setting, default=shown, field=field.name)


_TYPES: Final = {
    name: get_args(hint)[0] for name, hint in get_type_hints(Settings, include_extras=True).items()
}


def _is_postgres(text: str) -> bool:
    try:
        parts = conninfo_to_dict(text)
    except psycopg.Error:
        return False
    return all(port.isdecimal() for port in str(parts.get("port") or 5432).split(","))


def _is_redis(text: str) -> bool:
    try:
        parse_url(text)  # type: ignore[no-untyped-call]
    except ValueError:
        return False
    return True


def _is_listening(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 65_536


def _is_http(text: str) -> bool:
    try:
        address = urlsplit(text)
        return address.scheme in {"http", "https"} and bool(address.hostname) and address.port != 0
    except ValueError:
        return False


_POSTGRES: Final = (_is_postgres, "Postgres, like postgresql://user:password@host:5432/tether")
_REDIS: Final = (_is_redis, "Redis, like redis://host:6379/0")
_LISTEN: Final = (_is_listening, "this machine, like 127.0.0.1:9108")
_HTTP: Final = (_is_http, "a service, like https://host")
# A driver would refuse these only when it is used, again and again, and then as if the service were away.
_ADDRESSES: Final[dict[str, tuple[Callable[[str], bool], str]]] = {
    "database_url": _POSTGRES,
    "database_direct_url": _POSTGRES,
    "redis_url": _REDIS,
    "emp_api_url": _HTTP,
    "vop_url": _HTTP,
    "aws_endpoint": _HTTP,
    "worker_listen": _LISTEN,
    "oidc_issuer": (is_provider_address, "an identity provider, like https://login.example.com"),
}


def _text(setting: Setting, environ: Mapping[str, str]) -> str:
    """The value of a variable, or the content of the file that its `_FILE` twin names."""
    text = environ.get(setting.env, "").strip()
    twin = f"{setting.env}_FILE"
    path = environ.get(twin, "").strip() if setting.secret else ""
    if not path:
        return text
    if text:
        raise InvalidRequest(f"and {twin} are both set; keep one", field=setting.env)
    try:
        with Path(path).open("rb") as file:
            content = file.read(_SECRET_FILE_MAX + 1)
        found = content.decode().strip()
    except (OSError, ValueError):
        why = "names no text file that this user can read; correct the path or the file's owner and mode"
        raise InvalidRequest(why, field=twin) from None
    if len(content) > _SECRET_FILE_MAX:
        raise InvalidRequest(f"names a file of more than {_SECRET_FILE_MAX} bytes", field=twin)
    if not found:
        raise InvalidRequest(
            "names an empty file; write the secret into it, or unset the variable", field=twin
        )
    return found


def _read(setting: Setting, text: str) -> Any:
    wanted = _TYPES[setting.field]
    if wanted is str:
        is_good, what = _ADDRESSES.get(setting.field, (bool, ""))
        if not is_good(text):
            raise InvalidRequest(
                f"is no address of {what}; correct the environment variable", field=setting.env
            )
        return text
    if wanted == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if wanted == dict[str, str]:
        return _pairs(setting, text)
    if get_origin(wanted) is Literal:
        if text.lower() not in get_args(wanted):
            raise InvalidRequest(f"is none of {', '.join(get_args(wanted))}", field=setting.env)
        return text.lower()
    try:
        value = msgspec.convert(text.lower(), wanted, strict=False)
    except msgspec.ValidationError:
        what = "whole number" if wanted is int else "number"
        raise InvalidRequest(f"is no {what}; correct the environment variable", field=setting.env) from None
    if isinstance(value, int | float) and not 0 < value < math.inf:
        raise InvalidRequest(
            "must be above 0 and finite; correct the environment variable", field=setting.env
        )
    return value


def _pairs(setting: Setting, text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in text.split(","):
        name, colon, key = part.strip().partition(":")
        if not (name and colon and key):
            raise InvalidRequest(
                "is not a list of name:key pairs with commas between them", field=setting.env
            )
        if name in pairs:
            raise InvalidRequest("has two keys with one name; names must differ", field=setting.env)
        pairs[name] = key
    return pairs
