"""
Errors by who acts next.

There are three branches. Each says what must happen before the operation can succeed.

```text
TetherError
├─ Rejected        the sender must change something       web: 4xx          worker: park
│   ├─ SignatureMismatch     no configured secret fits the signature
│   ├─ Unreadable            the bytes are not what they claim to be
│   ├─ InvalidIban           not an IBAN of any registered country
│   ├─ InvalidAmount         not an amount of money in that currency
│   ├─ InvalidRequest        a well-formed request that cannot be fulfilled
│   └─ KeyReused             an Idempotency-Key that was used for another request
├─ Contradicted    a person must look                     web: 409          worker: park
│   ├─ IllegalStep           the life cycle has no such transition
│   ├─ MoneyHeld             an unprocessed notification blocks refunds of a debit
│   ├─ OrderedBefore         another run bills or has billed the upload for that due item
│   └─ ConflictingContent    the same key was received with other content
└─ Unavailable     time must pass                         web: 503, after   worker: retry
    ├─ StoreUnreachable      Postgres, Redis or the object store does not answer
    ├─ GatewaySilent         no usable response of the gateway: the outcome is unknown
    │   ├─ NotSubmitted          the gateway provably did not receive or accept the request
    │   └─ CredentialsRejected   the gateway rejects login or password; the outcome of a payment stays unknown
    ├─ InProgress            the same request is being processed          web: 409, after
    └─ Overloaded            the limit of waiting work is reached
```

An error keeps its facts as attributes, and `str()` makes a sentence from them that says what is wrong and what to do. No
error holds a secret, a name or a whole IBAN: pass text through `tether_core.redaction` or `tether_core.iban.mask` first.
Normal outcomes are not errors: a repeated notification is an outcome, not an exception.

>>> str(InvalidIban("DE**...", why="its check digits do not fit; correct the IBAN and send the row again"))
'DE**... is not an IBAN: its check digits do not fit; correct the IBAN and send the row again.'
>>> str(InvalidRequest("give at most 255 characters", field="usage"))
'usage: Give at most 255 characters.'
>>> str(InvalidRequest("is not a list", field="rules"))
'rules is not a list.'
>>> issubclass(StoreUnreachable, Unavailable)
True

An error can be pickled and copied, so it can be passed between processes:

>>> import pickle
>>> pickle.loads(pickle.dumps(IllegalStep("upload", state="read", step="cancelled"))).state
'read'
"""

import re
from typing import Any, Final

from tether_core.step_sentences import sentence

__all__ = [
    "ConflictingContent",
    "Contradicted",
    "CredentialsRejected",
    "GatewaySilent",
    "IllegalStep",
    "InProgress",
    "InvalidAmount",
    "InvalidIban",
    "InvalidRequest",
    "KeyReused",
    "MoneyHeld",
    "NotSubmitted",
    "OrderedBefore",
    "Overloaded",
    "Rejected",
    "SignatureMismatch",
    "StoreUnreachable",
    "TetherError",
    "Unavailable",
    "Unreadable",
]


# A reason that continues a sentence whose subject is the field: "is not a list".
_PREDICATE: Final = re.compile(r"(?:is|are|has|have|holds|names|needs|must|does|contains|cannot)\b")
# A first word that is a plain word; names of programs, options and fields keep their spelling.
_PLAIN_WORD: Final = re.compile(r"[a-z]+(?=[ ,;:.]|$)")


class TetherError(Exception):
    """
    The base class of all errors that Tether raises on purpose.

    Attributes:
        code: A stable identifier for programs, in lower case with underscores.
    """

    code: str = "error"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by attributes; the default would pass keyword-only arguments by position."""
        return _restored, (type(self), self.args, self.__dict__)


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:] if _PLAIN_WORD.match(text) else text


def _restored(kind: type[TetherError], args: tuple[object, ...], facts: dict[str, object]) -> TetherError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class Rejected(TetherError):
    """The sender must change something; the same request never succeeds."""

    code = "rejected"


class Contradicted(TetherError):
    """Two statements contradict each other, or the current state forbids the operation; a person must decide."""

    code = "contradicted"


class Unavailable(TetherError):
    """
    A temporary failure; the same call may succeed later.

    Attributes:
        retry_after_s: Suggested wait before the next try, in whole seconds.
    """

    code = "unavailable"
    retry_after_s: int = 5


class SignatureMismatch(Rejected):
    """No configured secret makes this signature for this id."""

    code = "signature_mismatch"

    def __str__(self) -> str:
        return "The signature matches none of the configured gateway passwords; check EMP_API_PASSWORD."


class Unreadable(Rejected):
    """
    The bytes cannot be decoded.

    Attributes:
        what: What was decoded, e.g. "notification".
        why: What is wrong, without any of the content.
    """

    code = "unreadable"

    def __init__(self, what: str, *, why: str) -> None:
        super().__init__(what, why)
        self.what = what
        self.why = why

    def __str__(self) -> str:
        return f"This {self.what} cannot be read: {_ended(self.why)}"


class InvalidIban(Rejected):
    """
    The text is not an IBAN of any registered country.

    Attributes:
        excerpt: The masked text, at most the first four and last four characters.
        why: Which rule it breaks and who corrects it.
    """

    code = "invalid_iban"

    def __init__(self, excerpt: str, *, why: str) -> None:
        super().__init__(excerpt, why)
        self.excerpt = excerpt
        self.why = why

    def __str__(self) -> str:
        return f"{self.excerpt} is not an IBAN: {_ended(self.why)}"


class InvalidAmount(Rejected):
    """
    The text is not an amount of money.

    Attributes:
        excerpt: The text, at most 40 characters of it.
        why: Which rule it breaks.
    """

    code = "invalid_amount"

    def __init__(self, excerpt: str, *, why: str) -> None:
        super().__init__(excerpt[:40], why)
        self.excerpt = excerpt[:40]
        self.why = why

    def __str__(self) -> str:
        return f"{self.excerpt!r} is not an amount: {_ended(self.why)}"


class InvalidRequest(Rejected):
    """
    A well-formed request that cannot be fulfilled.

    Attributes:
        why: What is wrong or what to change: a sentence, or a predicate of the field such as "is not a list".
        field: The parameter or field, or `None` for the whole request.
    """

    code = "invalid_request"

    def __init__(self, why: str, *, field: str | None = None) -> None:
        super().__init__(why, field)
        self.why = why
        self.field = field

    def __str__(self) -> str:
        why = _ended(self.why)
        if self.field is None:
            return _capitalised(why)
        return f"{self.field} {why}" if _PREDICATE.match(why) else f"{self.field}: {_capitalised(why)}"


class KeyReused(Rejected):
    """The Idempotency-Key was used before, for another request."""

    code = "idempotency_key_reused"

    def __str__(self) -> str:
        return (
            "This Idempotency-Key was used for another request (another address or body); "
            "send a new key with a new request, or repeat the first request unchanged."
        )


class IllegalStep(Contradicted):
    """
    The life cycle has no such transition.

    Attributes:
        subject: What has the life cycle, e.g. "billing attempt".
        state: Its current state.
        step: The requested step.
        why: Sentences that say what to do or when; `None` for those of `tether_core.step_sentences`.
    """

    code = "illegal_step"

    def __init__(self, subject: str, *, state: str, step: str, why: str | None = None) -> None:
        super().__init__(subject, state, step)
        self.subject = subject
        self.state = state
        self.step = step
        self.why = why

    def __str__(self) -> str:
        return self.why or sentence(self.subject, state=self.state, step=self.step)


class MoneyHeld(Contradicted):
    """
    An unprocessed notification or record blocks refunds and voids of a debit.

    Attributes:
        hold: A code of `tether_core.holds`.
        why: What was received, and what the sender can do.
        step: The requested step, as a participle.
    """

    code = "money_held"

    def __init__(self, hold: str, *, why: str, step: str) -> None:
        super().__init__(hold, why, step)
        self.hold = hold
        self.why = why
        self.step = step

    def __str__(self) -> str:
        return f"This billing attempt cannot be {self.step} now: {self.why}."


class OrderedBefore(Contradicted):
    """
    Another run bills or has billed the same upload for the same due item.

    Attributes:
        run_id: The other run.
        why: What is wrong, and what the sender can do.
    """

    code = "ordered_before"

    def __init__(self, run_id: int, *, why: str) -> None:
        super().__init__(run_id, why)
        self.run_id = run_id
        self.why = why

    def __str__(self) -> str:
        return self.why


class ConflictingContent(Contradicted):
    """
    The same key was received again with other content.

    Attributes:
        what: What the key identifies, e.g. "upload".
        key: The key, safe to show.
        why: Sentences that say what to do; `None` for the general ones.
    """

    code = "conflicting_content"

    def __init__(self, what: str, *, key: str, why: str | None = None) -> None:
        super().__init__(what, key)
        self.what = what
        self.key = key
        self.why = why

    def __str__(self) -> str:
        return self.why or (
            f"The key {self.key} belongs to another stored {self.what} with other content. Compare both, and send the right one "
            "with a new key."
        )


class StoreUnreachable(Unavailable):
    """
    Postgres, Redis or the object store does not answer.

    Attributes:
        store: "postgres", "redis" or "objects".
        why: The kind of failure, without addresses or credentials.
    """

    code = "store_unreachable"

    def __init__(self, store: str, *, why: str = "no answer") -> None:
        super().__init__(store, why)
        self.store = store
        self.why = why

    def __str__(self) -> str:
        store = {"postgres": "Postgres", "redis": "Redis", "objects": "The object store"}.get(
            self.store, self.store
        )
        return f"{store} is not reachable ({self.why}); try again in {self.retry_after_s} s."


class GatewaySilent(Unavailable):
    """
    The gateway gave no usable response; the outcome is unknown.

    Attributes:
        why: "timeout", "http 502", "unreadable answer" and the like.
        slow_down_s: For how many seconds the gateway wants no requests (`Retry-After`); 0.0 where it wants fewer
            requests and gives no time; `None` where it wants neither.
        http_status: The HTTP status of the response, or `None` where there was none.
    """

    code = "gateway_silent"
    retry_after_s = 30

    def __init__(self, *, why: str, slow_down_s: float | None = None, http_status: int | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.slow_down_s = slow_down_s
        self.http_status = http_status

    @property
    def is_failure(self) -> bool | None:
        """Whether a circuit breaker counts it as a failure of the gateway; `None`: neither as failure nor as success."""
        # HTTP 429 comes from a gateway that works; the rate is lowered instead.
        return self.http_status != 429

    def __str__(self) -> str:
        return f"The gateway gave no usable response ({self.why}); the outcome is unknown until a status inquiry is answered."


_NOT_SUBMITTED: Final[dict[str, str]] = {
    "no_free_connection": "all connections were in use",
    "too_late": "the process was stopped for too long before the request",
    "cancelled": "the call was cancelled before the request",
    "dns": "the name of the gateway was not resolved; check EMP_API_URL and the resolver",
    "tls": "no TLS session was agreed; check EMP_API_URL, certificates and the clock",
    "connect": "no connection was made",
    "connect_timeout": "no connection was made in time",
    "throttled": "the gateway refuses requests above its rate",
}
# Local causes: they neither open nor close a circuit breaker.
_LOCAL: Final = frozenset({"no_free_connection", "too_late", "cancelled"})


class NotSubmitted(GatewaySilent):
    """
    Nothing was submitted: no byte of the request was sent, or the gateway states that it accepted nothing.

    Raise it only where that is proven. Everything else is `GatewaySilent`, with an unknown outcome.

    Attributes:
        cause: Where the call failed: no_free_connection, too_late, cancelled, dns, tls, connect, connect_timeout or throttled.
    """

    code = "not_submitted"

    def __init__(self, cause: str, *, slow_down_s: float | None = None) -> None:
        super().__init__(why=_NOT_SUBMITTED[cause], slow_down_s=slow_down_s)
        self.cause = cause

    @property
    def is_failure(self) -> bool | None:
        """Whether a circuit breaker counts it as a failure of the gateway; `None`: neither as failure nor as success."""
        return None if self.cause in _LOCAL else self.cause != "throttled"

    def __str__(self) -> str:
        return f"The request was not submitted to the gateway ({self.why}); it will be submitted again."


class CredentialsRejected(GatewaySilent):
    """
    The gateway rejects the login or the password (HTTP 401, code 110).

    This is about the account. The outcome of a payment stays unknown.
    """

    code = "credentials_rejected"

    def __init__(self, *, why: str) -> None:
        super().__init__(why=why)

    @property
    def is_failure(self) -> bool | None:
        """Whether a circuit breaker counts it as a failure of the gateway: it answers, so no."""
        return False

    def __str__(self) -> str:
        return (
            f"The gateway rejects login or password ({self.why}); correct EMP_API_LOGIN and EMP_API_PASSWORD."
        )


class InProgress(Unavailable):
    """The same request, with the same Idempotency-Key, is being processed."""

    code = "in_progress"
    retry_after_s = 1

    def __str__(self) -> str:
        return (
            "A request with this Idempotency-Key is being processed; "
            f"send it again in {self.retry_after_s} s to get its result."
        )


class Overloaded(Unavailable):
    """
    The limit of work that may wait in memory is reached.

    Attributes:
        what: What waits, e.g. "notifications".
        limit: The limit.
    """

    code = "overloaded"
    retry_after_s = 2

    def __init__(self, what: str, *, limit: int) -> None:
        super().__init__(what, limit)
        self.what = what
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.limit} {self.what} are waiting already; send this request again in {self.retry_after_s} s."
