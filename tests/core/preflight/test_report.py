"""Pre-flight reports: the verdict by the upper end, fees that are unknown and not 0, and a signature that any change breaks."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, get_args

import msgspec
import pytest
from tether_core.billing.eligibility import Candidate, judge
from tether_core.billing.run_options import RunOptions
from tether_core.blacklist import ActiveEntry
from tether_core.errors import InvalidRequest, Unreadable
from tether_core.preflight import signature
from tether_core.preflight.estimate import DebtorGroup, Seen
from tether_core.preflight.fees import Fees, parse_fees
from tether_core.preflight.report import (
    ExcludedDebtors,
    Exclusion,
    PreflightFacts,
    PreflightLimits,
    PreflightReport,
    Standing,
    decode,
    encode,
    exclusion,
    markdown,
    report,
)
from tether_core.vop import Score

if TYPE_CHECKING:
    from typing import Literal

FACTS = PreflightFacts(
    7, "ab" * 32, "default", datetime(2026, 3, 2, 12, tzinfo=UTC), "ada", date(2025, 1, 5), date(2026, 1, 5)
)
HISTORY = [
    Seen("COBADEFF", "DE", 1_000, "paid", 5_000, 100, 50),
    Seen("DEUTDEFF", "DE", 1_000, "new", 1_000, 200, 10),
]
GROUPS = [
    ("EUR", DebtorGroup("COBADEFF", "DE", 1_000, "paid", 1_000, 1_500_000, 2_250_000_000)),
    ("EUR", DebtorGroup("DEUTDEFF", "DE", 1_000, "new", 100, 150_000, 225_000_000)),
]
FEES = Fees(25, 350, "EUR")


def _made(
    rule: PreflightLimits, *, fees: Fees | None = FEES, history: list[Seen] | None = None
) -> PreflightReport:
    return report(GROUPS, HISTORY if history is None else history, fees=fees, rule=rule, facts=FACTS)


def test_the_upper_end_decides_go() -> None:
    """An upload goes only if even a bad outcome is within the limits."""
    (euros,) = _made(PreflightLimits()).currencies
    assert euros.returned is not None
    assert euros.returned_share_high is not None
    assert euros.returned.amount_minor / euros.amount_minor < 0.04 < euros.returned_share_high
    assert _made(PreflightLimits(returned_max=0.04)).verdict == "no_go"
    assert _made(PreflightLimits(returned_max=0.06)).verdict == "go"
    assert _made(PreflightLimits(returned_max=0.06)).reasons == ()
    assert _made(PreflightLimits()).verdict == "no_rule"
    assert _made(PreflightLimits(fees_max=0.001)).reasons[0].startswith("EUR: ")
    both = _made(PreflightLimits(returned_max=0.01, fees_max=0.5), fees=None)
    assert (both.verdict, len(both.reasons)) == ("no_go", 2)


def test_what_is_unknown_is_no_go_and_no_number() -> None:
    """A fee of 0 for an account whose fees nobody entered makes every upload look profitable."""
    without = _made(PreflightLimits(fees_max=0.5), fees=None)
    assert (without.verdict, without.currencies[0].fees, without.currencies[0].fees_share_high) == (
        "unknown",
        None,
        None,
    )
    other = _made(PreflightLimits(fees_max=0.5), fees=Fees(25, 350, "CHF"))
    assert (other.verdict, other.currencies[0].fees) == ("unknown", None)
    new = _made(PreflightLimits(returned_max=0.5), history=[])
    assert (new.verdict, new.currencies[0].returned, new.currencies[0].kept_minor) == ("unknown", None, None)
    assert new.reasons == ("EUR: no earlier debit says how many are returned.",)
    empty = report([], HISTORY, fees=FEES, rule=PreflightLimits(returned_max=0.5), facts=FACTS)
    assert (empty.verdict, empty.reasons) == ("unknown", ("No debtor of the upload may be billed.",))


def test_fees_are_attempts_and_returns() -> None:
    """As the acquirer bills them: each attempt, and each return again."""
    (euros,) = _made(PreflightLimits()).currencies
    assert euros.fees is not None
    assert euros.returned is not None
    assert euros.fees.expected_minor == 1_100 * 25 + euros.returned.count * 350
    assert euros.fees.high_minor == 1_100 * 25 + euros.returned.high_count * 350
    assert [
        (part.dimension, part.key, part.count) for part in euros.parts if part.dimension == "history"
    ] == [
        ("history", "paid", 1_000),
        ("history", "new", 100),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "default 0.25",
        "default 0.25 3.50",
        "0.25 3.50 EUR",
        "default 0.255 1 EUR",
        "default 1 1 eur",
        "a 1 1 EUR, a 2 2 EUR",
    ],
)
def test_fees_that_cannot_be_read_are_refused(text: str) -> None:
    """A setting that is read in half gives half of the fees."""
    with pytest.raises(InvalidRequest):
        parse_fees(text)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 5.0])
def test_limits_that_decide_nothing_are_refused(share: float) -> None:
    """5 for 5 % lets everything go."""
    with pytest.raises(InvalidRequest, match=r"0\.05 for 5 %"):
        PreflightLimits(returned_max=share)


def test_a_signature_holds_for_the_report_and_for_nothing_else() -> None:
    """Written anew with other blanks it is the same report; with one digit changed it is none of ours."""
    made = _made(PreflightLimits(returned_max=0.04, fees_max=0.1))
    content = encode(made)
    keys = [signature.signing_key("former"), signature.signing_key("present")]
    signed = signature.sign(content, key=keys[1])
    written_anew = msgspec.json.format(content, indent=4)
    assert signature.verify(encode(decode(written_anew)), signed, keys=keys)
    for changed in (
        msgspec.structs.replace(made, verdict="go"),
        msgspec.structs.replace(made, rule=PreflightLimits(returned_max=0.5, fees_max=0.1)),
        msgspec.structs.replace(made, account="other"),
    ):
        assert not signature.verify(encode(changed), signed, keys=keys)
    assert not signature.verify(content, signed, keys=keys[:1])
    assert not signature.verify(content, "v1=é", keys=keys)


@pytest.mark.parametrize(
    "junk", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"form":3}', b'{"rule":{"returned_max":7}}']
)
def test_what_is_no_report_is_refused(junk: bytes) -> None:
    """A person who verifies a report pastes what they were sent."""
    with pytest.raises(Unreadable):
        decode(junk)


def test_a_field_that_no_report_has_is_refused() -> None:
    """An added "approved by" would not be covered by the signature and would look as if it were."""
    content = encode(_made(PreflightLimits()))
    with pytest.raises(Unreadable, match="approved_by"):
        decode(content[:-1] + b',"approved_by":"the board"}')


def test_the_page_says_unknown_where_nothing_is_known() -> None:
    """The page is what people read; an empty cell reads as nothing to pay."""
    page = markdown(_made(PreflightLimits(returned_max=0.04), fees=None))
    assert "**No go.** EUR: " in page
    assert "| expected fees | | unknown |" in page
    assert "Fees: unknown; set TETHER_FEES" in page
    assert "| Price band from: 10.00 | 1,100 | 16,500.00 |" in page
    assert "0.25 EUR an attempt, 3.50 EUR a return" in markdown(_made(PreflightLimits()))
    assert "unknown | unknown" in markdown(_made(PreflightLimits(), history=[]))


BANKS = {"COBA*": ActiveEntry("hold", "RETURNS"), "DEUTDEFF": ActiveEntry("block", "MANUAL")}


@pytest.mark.parametrize("listed", [None, "hold", "block"])
@pytest.mark.parametrize("bank", [None, "COBADEFF", "DEUTDEFF", "INGDDEFF"])
@pytest.mark.parametrize("score_min", [None, 60])
@pytest.mark.parametrize(
    "check", [None, Score(80, 100, "verified"), Score(50, 100, "inconclusive"), Score(90, 100, "mismatch")]
)
def test_what_excludes_a_debtor_is_what_keeps_it_from_a_run(
    listed: Literal["hold", "block"] | None, bank: str | None, score_min: int | None, check: Score | None
) -> None:
    """A report that counts money which the run then does not collect says go to an upload that brings nothing."""
    found = exclusion(Standing(listed, None, bank, check), listed_banks=BANKS, vop_score_min=score_min)
    entry = {"COBADEFF": BANKS["COBA*"], "DEUTDEFF": BANKS["DEUTDEFF"]}.get(bank or "")
    candidate = Candidate(
        debtor_id=1,
        iban="DE89370400440532013000",
        amount_minor=1_000,
        currency="EUR",
        has_name=True,
        listed=listed,
        bank_listed=entry,
        check=check,
    )
    assert judge(candidate, options=RunOptions(vop_score_min=score_min)).code == (found or "billable")


def test_the_bic_of_the_file_counts_as_well_as_the_bank_of_the_iban() -> None:
    """A branch that is blocked is named by the file alone: the bank code of an IBAN has no branch."""
    branch = {"INGDDEFF100": ActiveEntry("block", "MANUAL")}
    for bic, verdict in (("ingd de ff 100", "blacklisted_bank"), ("INGDDEFF", None), (None, None)):
        found = exclusion(Standing(bic=bic, bank="INGDDEFF"), listed_banks=branch, vop_score_min=None)
        assert found == verdict


def test_excluded_debtors_are_counted_beside_the_estimate() -> None:
    """Their money is in no number of the estimate, and a currency of which nobody may be billed decides nothing."""
    excluded = [
        ("EUR", ExcludedDebtors("check_failed", 1, 500)),
        ("EUR", ExcludedDebtors("blacklisted_bank", 2, 3_000)),
        ("CHF", ExcludedDebtors("blocked", 4, 400)),
        ("EUR", ExcludedDebtors("blacklisted_bank", 1, 1_000)),
    ]
    rule = PreflightLimits(returned_max=0.06)
    without = report(GROUPS, HISTORY, fees=FEES, rule=rule, facts=FACTS)
    made = report(GROUPS, HISTORY, fees=FEES, rule=rule, facts=FACTS, excluded=excluded)
    francs, euros = made.currencies
    assert (made.verdict, made.reasons) == ("go", ())
    assert msgspec.structs.replace(euros, excluded=()) == without.currencies[0]
    assert euros.excluded == (
        ExcludedDebtors("blacklisted_bank", 3, 4_000),
        ExcludedDebtors("check_failed", 1, 500),
    )
    assert (francs.count, francs.returned, francs.excluded) == (
        0,
        None,
        (ExcludedDebtors("blocked", 4, 400),),
    )
    page = markdown(made)
    assert "| excluded: the bank is on the blacklist | 3 | 40.00 |" in page
    nobody = report([], HISTORY, fees=FEES, rule=rule, facts=FACTS, excluded=excluded)
    assert (nobody.verdict, nobody.reasons) == ("unknown", ("No debtor of the upload may be billed.",))
    for verdict in get_args(Exclusion):
        some = report(
            [], [], fees=None, rule=rule, facts=FACTS, excluded=[("EUR", ExcludedDebtors(verdict, 1, 1))]
        )
        assert "| excluded: the " in markdown(some)


def test_a_report_of_the_first_form_is_still_the_one_that_was_signed() -> None:
    """A report that was signed last year verifies, and cannot be passed off as one that counted who is excluded."""
    made = _made(PreflightLimits(returned_max=0.04))
    first = msgspec.json.decode(encode(made))
    first["form"] = 1
    del first["vop_score_min"]
    for found in first["currencies"]:
        del found["excluded"]
    content = msgspec.json.encode(first, order="sorted")
    assert encode(decode(content)) == content
    assert "excluded" not in markdown(decode(content))
    scored = report(
        GROUPS,
        HISTORY,
        fees=FEES,
        rule=PreflightLimits(),
        facts=msgspec.structs.replace(FACTS, vop_score_min=60),
    )
    assert "Demanded score of the check before billing: 60 of 100" in markdown(scored)
    assert decode(encode(scored)) == scored
