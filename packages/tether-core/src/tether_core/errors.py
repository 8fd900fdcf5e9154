"""
Errors by who acts next.

Three branches, and one question each: what has to happen before this can succeed?

```text
TetherError
├─ Rejected        the sender must change something       web: 4xx          worker: park
│   ├─ SignatureMismatch     no configured secret fits the signature
│   ├─ Unreadable            the bytes are not what they claim to be
│   ├─ InvalidIban           not an IBAN of any registered country
│   ├─ InvalidAmount         not an amount of money in that currency
│   ├─ InvalidRequest        a well-formed request that asks for what cannot be had
│   └─ KeyReused             an Idempotency-Key that belongs to another request
├─ Contradicted    a person must look                     web: 409          worker: park
│   ├─ IllegalStep           a life cycle has no such step
│   ├─ MoneyHeld             what was heard of a debit keeps its money where it is
│   ├─ OrderedBefore         another run bills the upload for that due item, or has
│   └─ ConflictingContent    the same key came with other content
└─ Unavailable     time must pass                         web: 503, after   worker: retry
    ├─ StoreUnreachable      Postgres, Redis or the object store does not answer
    ├─ GatewaySilent         the gateway did not answer, or not readably: the outcome is unknown
    │   ├─ NotSubmitted          the request provably did not reach the gateway, or it states that nothing was taken
    │   └─ CredentialsRejected   the gateway does not accept login or password; that is no word about a payment
    ├─ InProgress            the same request is being worked on          web: 409, after
    └─ Overloaded            more work is waiting than may be held
```

An error keeps its facts as attributes and `str()` makes the sentence from them. No error ever
holds a secret, a name or a whole IBAN: pass what `tether_core.redaction` and `tether_core.iban.mask`
leave over. What is normal is no error: a repeated notification is an outcome, not an exception.

>>> str(InvalidIban("DE**...", why="its check digits do not fit; correct the IBAN and send the row again"))
'DE**... is not an IBAN: its check digits do not fit; correct the IBAN and send the row again.'
>>> issubclass(StoreUnreachable, Unavailable)
True

An error crosses processes and survives a copy whole, whatever its constructor looks like:

>>> import pickle
>>> pickle.loads(pickle.dumps(IllegalStep("upload", state="read", step="cancelled"))).state
'read'
"""

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


class TetherError(Exception):
    """
    The root of everything Tether raises on purpose.

    Attributes:
        code: A stable word for programs, in lower case with underscores.
    """

    code: str = "error"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by the facts kept; the default would call a keyword-only constructor by position."""
        return _restored, (type(self), self.args, self.__dict__)


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _restored(kind: type[TetherError], args: tuple[object, ...], facts: dict[str, object]) -> TetherError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class Rejected(TetherError):
    """The sender must change something; the same bytes will never succeed."""

    code = "rejected"


class Contradicted(TetherError):
    """Two things we were told cannot both be true; a person must look."""

    code = "contradicted"


class Unavailable(TetherError):
    """
    Time must pass; the same call may succeed later.

    Attributes:
        retry_after_s: A sensible wait before the next try, in whole seconds.
    """

    code = "unavailable"
    retry_after_s: int = 5


class SignatureMismatch(Rejected):
    """None of the configured secrets gives this signature for this id."""

    code = "signature_mismatch"

    def __str__(self) -> str:
        return "The signature fits none of the configured gateway passwords; check EMP_API_PASSWORD."


class Unreadable(Rejected):
    """
    The bytes are not what they claim to be.

    Attributes:
        what: The thing that was to be read, e.g. "notification".
        why: What stands in the way, without any of the content.
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
    Not an IBAN of any registered country.

    Attributes:
        shown: The masked text, at most the first four and last four characters.
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
    Not an amount of money.

    Attributes:
        shown: The text that was to be read, at most 40 characters of it.
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
    A readable request for something that cannot be had.

    Attributes:
        why: What to change.
        field: The parameter or field it is about, or `None` for the whole.
    """

    code = "invalid_request"

    def __init__(self, why: str, *, field: str | None = None) -> None:
        super().__init__(why, field)
        self.why = why
        self.field = field

    def __str__(self) -> str:
        return f"{self.field}: {self.why}" if self.field else self.why


class KeyReused(Rejected):
    """An Idempotency-Key that was sent before, with another request."""

    code = "idempotency_key_reused"

    def __str__(self) -> str:
        return (
            "This Idempotency-Key belongs to another request that was sent before (another address or another body); "
            "send a new key with a new request, or repeat the first request unchanged."
        )


class IllegalStep(Contradicted):
    """
    A life cycle has no such step.

    Attributes:
        subject: What lives, e.g. "billing attempt".
        state: Where it stands.
        step: What was asked of it.
        why: Sentences with what to do or when; `None` for those of `tether_core.step_sentences`.
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
    What was heard of a debit keeps its money where it is.

    Attributes:
        hold: A code of `tether_core.holds`.
        why: What was heard, and what the sender can do.
        step: What was asked for.
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
    Another run bills the same upload for the same due item, or has billed it.

    Attributes:
        run_id: That run.
        why: What it is about, and what the sender can do.
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
    The same key came again with other content.

    Attributes:
        what: The thing both claim to be, e.g. "upload".
        key: The shared key, safe to show.
        why: Sentences with what to do; `None` for the general ones.
    """

    code = "conflicting_content"

    def __init__(self, what: str, *, key: str, why: str | None = None) -> None:
        super().__init__(what, key)
        self.what = what
        self.key = key
        self.why = why

    def __str__(self) -> str:
        return self.why or (
            f"Another {self.what} with the key {self.key} but other content is stored. Compare both, and send the right one under a "
            "new key."
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
        return f"{self.store} is not reachable ({self.why}); the same request may succeed in {self.retry_after_s} s."


class GatewaySilent(Unavailable):
    """
    The gateway did not answer, or not readably; what it did is unknown.

    Attributes:
        why: "timeout", "http 502", "unreadable answer" and the like.
        slow_down_s: For how many seconds the gateway wants no requests (`Retry-After`); 0.0 where it asked for fewer
            requests and named no time; `None` where it did not ask.
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
        """Whether a circuit breaker counts it as a failure of the gateway; `None` where it says nothing of the gateway."""
        # HTTP 429 comes from a gateway that works; the rate is lowered instead.
        return self.http_status != 429

    def __str__(self) -> str:
        return (
            f"The gateway gave no usable answer ({self.why}); the outcome is unknown until it is asked again."
        )


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
# Of these the gateway is not to blame; they neither trip a circuit breaker nor close one.
_LOCAL: Final = frozenset({"no_free_connection", "too_late", "cancelled"})


class NotSubmitted(GatewaySilent):
    """
    Nothing was submitted: no byte of the request left, or the gateway states readably that it took nothing.

    Raise it only where that is proven. Everything else is `GatewaySilent`, whose outcome is unknown.

    Attributes:
        cause: Where the call ended: no_free_connection, too_late, cancelled, dns, tls, connect, connect_timeout or throttled.
    """

    code = "not_submitted"

    def __init__(self, cause: str, *, slow_down_s: float | None = None) -> None:
        super().__init__(why=_NOT_SUBMITTED[cause], slow_down_s=slow_down_s)
        self.cause = cause

    @property
    def is_failure(self) -> bool | None:
        """Whether a circuit breaker counts it as a failure of the gateway; `None` where it says nothing of the gateway."""
        return None if self.cause in _LOCAL else self.cause != "throttled"

    def __str__(self) -> str:
        return f"The request was not submitted to the gateway ({self.why}); it is submitted again."


class CredentialsRejected(GatewaySilent):
    """
    The gateway does not accept the login or the password (HTTP 401, code 110).

    That is an answer about the account. What became of a payment it does not say.
    """

    code = "credentials_rejected"

    def __init__(self, *, why: str) -> None:
        super().__init__(why=why)

    @property
    def is_failure(self) -> bool | None:
        """Whether a circuit breaker counts it as a failure of the gateway: it answers, so no."""
        return False

    def __str__(self) -> str:
        return f"The gateway does not accept login or password ({self.why}); correct EMP_API_LOGIN and EMP_API_PASSWORD."


class InProgress(Unavailable):
    """The same request, under the same Idempotency-Key, is being worked on."""

    code = "in_progress"
    retry_after_s = 1

    def __str__(self) -> str:
        return (
            "A request with this Idempotency-Key is being worked on; "
            f"send it again in {self.retry_after_s} s to get its result."
        )


class Overloaded(Unavailable):
    """
    More work is waiting than may be held in memory.

    Attributes:
        what: What waits, e.g. "notifications".
        limit: How many may wait.
    """

    code = "overloaded"
    retry_after_s = 2

    def __init__(self, what: str, *, limit: int) -> None:
        super().__init__(what, limit)
        self.what = what
        self.limit = limit

    def __str__(self) -> str:
        return f"Already {self.limit} {self.what} wait; send this one again in {self.retry_after_s} s."
