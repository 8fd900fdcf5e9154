import copy
import inspect
import pickle

import pytest
from tether_core import errors
from tether_core.errors import (
    ConflictingContent,
    Contradicted,
    CredentialsRejected,
    GatewaySilent,
    IllegalStep,
    InProgress,
    InvalidAmount,
    InvalidIban,
    InvalidRequest,
    KeyReused,
    MoneyHeld,
    NotSubmitted,
    OrderedBefore,
    Overloaded,
    Rejected,
    SignatureMismatch,
    StoreUnreachable,
    TetherError,
    Unavailable,
    Unreadable,
)

# One of each, with the branch that says who acts next and the sentence it makes.
EVERY: list[tuple[TetherError, type[TetherError], str]] = [
    (
        SignatureMismatch(),
        Rejected,
        "The signature matches none of the configured gateway passwords; check EMP_API_PASSWORD.",
    ),
    (
        Unreadable("notification", why="it carries no id"),
        Rejected,
        "This notification cannot be read: it carries no id.",
    ),
    (InvalidIban("DE89****", why="it is too short"), Rejected, "DE89**** is not an IBAN: it is too short."),
    (InvalidAmount("1,5", why="write a point"), Rejected, "'1,5' is not an amount: write a point."),
    (InvalidRequest("choose a smaller one", field="limit"), Rejected, "limit: Choose a smaller one."),
    (InvalidRequest("send a file"), Rejected, "Send a file."),
    (
        KeyReused(),
        Rejected,
        (
            "This Idempotency-Key was used for another request (another address or body); "
            "send a new key with a new request, or repeat the first request unchanged."
        ),
    ),
    (
        MoneyHeld("dispute_unconfirmed", why="a chargeback of it is being confirmed", step="refunded"),
        Contradicted,
        "This billing attempt cannot be refunded now: a chargeback of it is being confirmed.",
    ),
    (OrderedBefore(7, why="Billing run 7 is not over."), Contradicted, "Billing run 7 is not over."),
    (
        InProgress(),
        Unavailable,
        "A request with this Idempotency-Key is being processed; send it again in 1 s to get its result.",
    ),
    (
        IllegalStep("notification", state="processed", step="claimed"),
        Contradicted,
        "This notification is processed, so it cannot be claimed. Nothing is left to do; look at its billing attempt.",
    ),
    (
        ConflictingContent("upload", key="u-7"),
        Contradicted,
        "The key u-7 belongs to another stored upload with other content. Compare both, and send the right one with a new key.",
    ),
    (
        StoreUnreachable("postgres"),
        Unavailable,
        "Postgres is not reachable (no answer); try again in 5 s.",
    ),
    (
        GatewaySilent(why="timeout"),
        Unavailable,
        "The gateway gave no usable response (timeout); the outcome is unknown until a status inquiry is answered.",
    ),
    (
        NotSubmitted("dns"),
        Unavailable,
        (
            "The request was not submitted to the gateway (the name of the gateway was not resolved; check EMP_API_URL"
            " and the resolver); it will be submitted again."
        ),
    ),
    (
        CredentialsRejected(why="http 401"),
        Unavailable,
        "The gateway rejects login or password (http 401); correct EMP_API_LOGIN and EMP_API_PASSWORD.",
    ),
    (
        Overloaded("notifications", limit=1000),
        Unavailable,
        "1000 notifications are waiting already; send this request again in 2 s.",
    ),
]
CLASSES = [
    thing for _, thing in inspect.getmembers(errors, inspect.isclass) if issubclass(thing, TetherError)
]


@pytest.mark.parametrize(("error", "branch", "sentence"), EVERY, ids=lambda value: getattr(value, "code", ""))
def test_every_error_says_who_acts_next(error: TetherError, branch: type[TetherError], sentence: str) -> None:
    """The branch decides between 4xx, 409 and 503, and between parking and trying again."""
    assert isinstance(error, branch)
    assert [kind for kind in (Rejected, Contradicted, Unavailable) if isinstance(error, kind)] == [branch]
    assert str(error) == sentence


def test_every_class_is_listed_here_and_in_the_picture() -> None:
    """An error that the table of answers does not know would be a 500."""
    tested = {type(error) for error, _, _ in EVERY}
    assert tested | {TetherError, Rejected, Contradicted, Unavailable} == set(CLASSES)
    for kind in CLASSES:
        assert kind.__name__ in (errors.__doc__ or "")
        assert kind.__name__ in errors.__all__


def test_codes_are_stable_words_and_distinct() -> None:
    """Programs of users branch on the code; two errors with one code cannot be distinguished."""
    codes = [kind.code for kind in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(code.isidentifier() and code.islower() for code in codes)


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if issubclass(kind, Unavailable)])
def test_waits_are_whole_seconds(kind: type[Unavailable]) -> None:
    """Retry-After takes whole seconds; 0 would make callers spin."""
    assert isinstance(kind.retry_after_s, int)
    assert kind.retry_after_s >= 1


@pytest.mark.parametrize("error", [error for error, _, _ in EVERY], ids=lambda error: error.code)
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_cross_processes(error: TetherError, again: object) -> None:
    """An error of the child process that reads a workbook would break the pool instead of naming the row."""
    assert callable(again)
    twin = again(error)
    assert type(twin) is type(error)
    assert (str(twin), twin.args, vars(twin)) == (str(error), error.args, vars(error))


def test_an_amount_is_shown_in_part_only() -> None:
    """A whole letter pasted into a cell would stand in every log line about it, the repr included."""
    error = InvalidAmount("1" * 30 + "secret words of a letter", why="no")
    assert error.excerpt == "1" * 30 + "secret wor"
    assert "words" not in f"{error} {error!r}"
