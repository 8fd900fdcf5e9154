"""The chaos test in its short form: every kind of fault once, under load, and the books agree at the end."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
import pytest
from tether_core.events import AttemptStatusChanged
from tether_sandbox.chaos import FAULTS, ChaosReport, run_chaos
from tether_sandbox.chaos.files import ROWS, Debit, File, Ledgers, debit_lines, file_lines
from tether_sandbox.conservation import Books, Sent, check_chaos
from tether_sandbox.gateway import Delivered, FaultInjection, Payment, PaymentHistories, plan

if TYPE_CHECKING:
    pass

# These restart all programs, or Postgres from a copy, and take half a minute each. The long chaos test has them all;
# test_database_goes_back.py, and tests of the worker, have what they are about.
LONG = {"change password", "change terminal", "change login", "change address", "promote standby"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ChaosReport:
    """What a chaos test showed that had every kind of fault once."""
    kinds = [name for name in FAULTS if name not in LONG]
    return run_chaos(minutes=0, seed_number=1, kinds=kinds, rate=40, keep=tmp_path_factory.mktemp("chaos"))


def test_nothing_is_lost_or_doubled_whatever_dies(report: ChaosReport) -> None:
    """An acknowledged notification without its row, or with two effects, is somebody's money."""
    assert report.lines
    assert [line for line in report.lines if not line.holds] == []
    assert report.acknowledged > 500
    assert report.applied > 300
    assert report.races > 0
    assert report.confirmed > 0
    assert report.debits > 0
    assert report.answered > 0


def test_every_fault_is_recovered_from(report: ChaosReport) -> None:
    """A node that needs a person to come back is down all night."""
    kinds = {recovery.fault for recovery in report.recoveries}
    missing = set(FAULTS) - kinds - LONG
    assert missing == ({"restart pooler", "freeze pooler"} if not report.pooler else set())
    assert report.unrecovered == []


def test_no_request_fails_while_a_node_is_left(report: ChaosReport) -> None:
    """A deploy or a dead node would look to the gateway like an outage."""
    assert report.request_losses == []


def test_no_program_complains_of_a_defect(report: ChaosReport) -> None:
    """A fault from outside that is logged as an internal error wakes a person for nothing."""
    assert report.warnings == []


def test_a_fault_nobody_knows_is_named() -> None:
    """A chaos test without the one fault that was meant proves nothing."""
    with pytest.raises(ValueError, match="no such fault: kill cat"):
        run_chaos(minutes=0, seed_number=1, kinds=["kill cat"])


def _agreeing() -> tuple[Sent, Books, Delivered]:
    """Books of one approved payment that agree."""
    payment = Payment("seed-aa", "aa", 100, "EUR")
    planned = plan(
        [payment],
        seed=1,
        password="x",
        payment_histories=PaymentHistories.all_approved(),
        fault_injection=FaultInjection.none(),
    )
    sent = Sent()
    sent.add(planned)
    (delivery,) = planned.deliveries
    ours = Books(
        inbox={("processed", ""): 1},
        attempts={"aa": "approved"},
        current_status={"seed-aa": "approved"},
        billed={},
        entries=[],
        replayed={"aa": "approved"},
        contents=Counter({(sha256(delivery.body).digest(), False): 1}),
        moves=[AttemptStatusChanged(1, "seed-aa", "pending", "approved", "approved")],
    )
    return sent, ours, Delivered(planned=1, acknowledged=1)


def test_books_that_agree_hold() -> None:
    """A check that is never content is switched off."""
    sent, ours, delivered = _agreeing()
    assert all(line.holds for line in check_chaos(sent, ours, delivered=[delivered]))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"contents": Counter[tuple[bytes, bool]]()}, "acknowledged notifications stored"),
        ({"contents": Counter({(b"other", False): 1})}, "rows without a sent notification"),
        ({"contents": Counter({(b"other", True): 1})}, "conflicting rows without a sent duplicate"),
        ({"fetched_open": {"parked": 1}}, "fetched report records not applied"),
        ({"listed": 1}, "blacklist entries of chargebacks = events"),
        ({"moves": []}, "attempts whose events form no single chain"),
        ({"entries": [("aa", "AC04", "block")]}, "blacklist entries = chargebacks that require one"),
        ({"attempts": {"aa": "pending"}}, "attempts in the expected state"),
        (
            {"attempts": {"aa": "approved", "bb": "approved"}},
            "attempts without a notification, still pending",
        ),
        ({"inbox": {("waiting", "failed"): 1}}, "rows = processed + parked + unknown payment"),
    ],
)
def test_books_that_differ_are_found(changes: dict[str, object], what: str) -> None:
    """A chaos test after which a lost notification goes unseen proves the opposite of what it says."""
    sent, ours, delivered = _agreeing()
    corrupted = msgspec.structs.replace(ours, **changes)
    assert what in [
        line.what for line in check_chaos(sent, corrupted, delivered=[delivered]) if not line.holds
    ]


def test_what_happened_twice_is_found() -> None:
    """A row or an effect that is there twice is a payment applied twice."""
    sent, ours, delivered = _agreeing()
    twice = msgspec.structs.replace(
        ours, contents=Counter(dict.fromkeys(ours.contents, 2)), moves=ours.moves * 2
    )
    found = [line.what for line in check_chaos(sent, twice, delivered=[delivered]) if not line.holds]
    assert found == ["rows stored twice", "attempts whose events form no single chain"]


def test_what_was_not_acknowledged_is_found() -> None:
    """The gateway gives up after ten tries; a notification that never got its echo is lost to it."""
    sent, ours, _ = _agreeing()
    lines = check_chaos(sent, ours, delivered=[Delivered(planned=1, failed=1)])
    assert [line.what for line in lines if not line.holds] == ["deliveries = acknowledged + refused"]


def _billed() -> Ledgers:
    """Two debits, here and at the gateway."""
    debits = [Debit(f"t-{n}", f"u-{n}", n, 1, "approved", 100) for n in (1, 2)]
    records = [(debit.transaction_id, f"u-{debit.debtor_id}", debit.state, 100) for debit in debits]
    return Ledgers({1}, {1}, {1, 2}, debits, records, notified=2, stored=(2, 2))


def test_debits_that_agree_hold() -> None:
    """A check that is never content is switched off."""
    assert all(line.holds for line in debit_lines(_billed()))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"runs": set()}, "billing requests acknowledged = runs stored"),
        ({"billable": {1, 2, 3}}, "debtors of billed files = debtors debited"),
        ({"billable": {1, 3}}, "debtors of billed files = debtors debited"),
        ({"billable": {1}}, "debtors of billed files = debtors debited"),
        ({"stored": (1, 1)}, "notifications of debits acknowledged = rows"),
        ({"notified": 3, "stored": (3, 2)}, "those rows = different notifications"),
        (
            {"debits": [Debit(f"t-{n}", f"u-{n}", 1, 1, "approved", 100) for n in (1, 2)]},
            "debtors with two debits",
        ),
        ({"twice": ["t-1"]}, "debited twice in the gateway's ledger"),
        ({"records": [("t-1", "u-1", "approved", 100)]}, "debits = records of the ledger"),
        (
            {"records": [("t-1", "u-1", "approved", 100), ("t-2", "u-2", "approved", 101)]},
            "debits with the ledger's status and amount",
        ),
        (
            {"records": [("t-1", "u-1", "approved", 100), ("t-2", "u-2", "declined", 100)]},
            "debits with the ledger's status and amount",
        ),
        ({"not_applied": ["waiting"]}, "notifications of debits not applied"),
    ],
)
def test_debits_that_differ_are_found(changes: dict[str, object], what: str) -> None:
    """Money the gateway took and we do not know of, or think it took and it did not, is what the check is for."""
    corrupted = msgspec.structs.replace(_billed(), **changes)
    assert what in [line.what for line in debit_lines(corrupted) if not line.holds]


@pytest.mark.parametrize(
    ("changes", "acknowledged", "objects", "what"),
    [
        ({}, [1, 2], {"k"}, "files acknowledged = uploads completed"),
        ({}, [1, 1], {"k"}, "files acknowledged = uploads completed"),
        ({}, [1], {"k", "l"}, "orphaned objects, beyond files not acknowledged"),
        ({"state": "reading"}, [1], {"k"}, "files acknowledged = uploads completed"),
        ({"rows_refused": 0}, [1], {"k"}, "their rows = debtors + problems"),
        ({"debtors": ROWS}, [1], {"k"}, "rows with two debtors"),
        ({}, [1], set(), "uploads without their object"),
    ],
)
def test_files_that_differ_are_found(
    changes: dict[str, object], acknowledged: list[int], objects: set[str], what: str
) -> None:
    """A row that is neither a debtor nor a problem is money that nobody collects and nobody misses."""
    whole = File(1, "completed", "k", ROWS - 1, 1, ROWS - 1)
    assert all(line.holds for line in file_lines([whole], acknowledged=[1], objects={"k"}))
    corrupted = msgspec.structs.replace(whole, **changes)
    lines = file_lines([corrupted], acknowledged=acknowledged, objects=objects)
    assert what in [line.what for line in lines if not line.holds]


def test_a_state_that_no_history_explains_is_found() -> None:
    """A debit that was billed here is replayed, too."""
    sent, ours, delivered = _agreeing()
    corrupted = msgspec.structs.replace(
        ours, billed={"bb": "declined"}, replayed={"aa": "approved", "bb": "approved"}
    )
    found = [line.what for line in check_chaos(sent, corrupted, delivered=[delivered]) if not line.holds]
    assert found == ["attempt states = replay by the core"]
