"""
Which debit gets which fate: the table by which a test chooses what the simulator does.

A debit is scripted by its **amount**, when its minor units end in 900 to 999 (EUR 9.02, EUR 19.02, EUR 129.02, but not
EUR 12.02): the last two digits are the number of the script. Or by its **IBAN**, when that is one of the
simulator's own test accounts (`scripted_iban`), which exist at no bank; it goes before the amount. All other debits
go well, or by chance where the simulator was told to draw.

`SCRIPTS` is the table; `tether-sandbox gateway scripts` prints it. "Stands" means that the gateway has the debit in its
books, whatever its answer was: that is what a client must find out by asking.

>>> scripted(2902, iban="DE89370400440532013000").name
'declined at once'
>>> scripted(1202, iban="DE89370400440532013000").name
'approved'
>>> scripted_iban(11), scripted(1202, iban=scripted_iban(11)).transitions[-1].reason_code
('DE30000000000000000011', 'AC04')
>>> scripted_iban(100)
Traceback (most recent call last):
    ...
ValueError: scripts have numbers from 0 to 99
"""

from typing import Final, Literal

import msgspec

from tether_sandbox.gateway.intermediary_pages import PageName
from tether_sandbox.gateway.payment_history import Transition

__all__ = ["APPROVED", "SCRIPTS", "FailureMode", "Script", "scripted", "scripted_iban"]

# How an answer is given. "plain" is the answer as documented, "422 refusal" a refusal with another HTTP status, "429 refusal"
# one that says that nothing was taken; all others leave the client without a usable answer.
FailureMode = Literal[
    "plain",
    "slow",
    "silence",
    "hang_up",
    "cut",
    "junk",
    "429",
    "500",
    "502",
    "503",
    "429 refusal",
    "422 refusal",
    PageName,
]


class Script(msgspec.Struct, frozen=True):
    """
    What happens to one debit.

    Attributes:
        number: 0 to 99, as the amount or IBAN ends.
        name: In a few words.
        status: What the debit is at first; "" where the gateway does not take it into its books.
        code: The error code of the answer, or "".
        failure_mode: How the answer is given.
        transitions: What becomes of it later, in order.
        is_notified: Whether notifications of that are sent.
        hidden: Whether the debit cannot be found for a while after it was taken.
    """

    number: int
    name: str
    status: str = "pending_async"
    code: str = ""
    failure_mode: FailureMode = "plain"
    transitions: tuple[Transition, ...] = ()
    is_notified: bool = True
    hidden: bool = False

    @property
    def stands(self) -> bool:
        """Whether the gateway has the debit in its books."""
        return bool(self.status)


_APPROVED = Transition("approved")
_WON = Transition("chargeback_reversed", "chargeback_reversal")


def _back(reason_code: str) -> tuple[Transition, ...]:
    return _APPROVED, Transition("chargebacked", "chargeback", reason_code)


def _lost_answer(number: int, name: str, failure_mode: FailureMode, *, hidden: bool = False) -> Script:
    return Script(
        number, f"stands; {name}", failure_mode=failure_mode, transitions=(_APPROVED,), hidden=hidden
    )


APPROVED: Final = Script(0, "approved", transitions=(_APPROVED,))

SCRIPTS: Final[dict[int, Script]] = {
    script.number: script
    for script in (
        APPROVED,
        Script(1, "approved at once, without a notification", status="approved"),
        Script(2, "declined at once", status="declined", code="500"),
        Script(3, "refused as invalid", status="", code="340"),
        Script(4, "declined: IBAN on the gateway's blacklist", status="declined", code="696"),
        Script(5, "declined later", transitions=(Transition("declined", error_code="500"),)),
        Script(6, "rejected by the bank later", transitions=(Transition("error", error_code="501"),)),
        Script(7, "pending for ever"),
        Script(10, "approved, comes back AC01", transitions=_back("AC01")),
        Script(11, "approved, comes back AC04", transitions=_back("AC04")),
        Script(12, "approved, comes back AC06", transitions=_back("AC06")),
        Script(13, "approved, comes back AG01", transitions=_back("AG01")),
        Script(14, "approved, comes back AM04", transitions=_back("AM04")),
        Script(15, "approved, comes back MD01", transitions=_back("MD01")),
        Script(16, "approved, comes back MD06", transitions=_back("MD06")),
        Script(17, "approved, comes back MS03", transitions=_back("MS03")),
        Script(18, "approved, comes back without a reason", transitions=_back("")),
        Script(19, "approved, comes back with a reason nobody knows", transitions=_back("ZZ99")),
        Script(20, "comes back and is won back", transitions=(*_back("MD06"), _WON)),
        Script(
            21,
            "comes back, is won back and lost again",
            transitions=(
                *_back("MD01"),
                _WON,
                Transition("second_chargebacked", "second_chargeback", "MD01"),
            ),
        ),
        Script(
            22,
            "approved, then only papers are asked for",
            transitions=(_APPROVED, Transition("chargebacked", "retrieval_request")),
        ),
        Script(24, "approved, nobody is told", transitions=(_APPROVED,), is_notified=False),
        Script(25, "comes back AC04, nobody is told", transitions=_back("AC04"), is_notified=False),
        _lost_answer(30, "no answer ever", "silence"),
        _lost_answer(31, "hangs up instead of an answer", "hang_up"),
        _lost_answer(32, "the answer is cut in the middle", "cut"),
        _lost_answer(33, "answers 500", "500"),
        _lost_answer(34, "answers 502 with a web page", "502"),
        _lost_answer(35, "answers 200 with junk", "junk"),
        Script(36, "stands; answers error 100", code="100", transitions=(_APPROVED,)),
        Script(37, "stands; answers error 230", code="230", transitions=(_APPROVED,)),
        _lost_answer(38, "no answer, and cannot be found for a while", "silence", hidden=True),
        Script(40, "does not stand; no answer ever", status="", failure_mode="silence"),
        Script(41, "does not stand; hangs up", status="", failure_mode="hang_up"),
        Script(42, "does not stand; answers 500", status="", failure_mode="500"),
        Script(43, "does not stand; answers 503", status="", failure_mode="503"),
        Script(44, "does not stand; answers 429", status="", failure_mode="429"),
        Script(45, "does not stand; answers error 230", status="", code="230"),
        Script(46, "does not stand; answers error 100", status="", code="100"),
        Script(47, "does not stand; answers error 450", status="", code="450"),
        Script(
            48,
            "does not stand; answers 429 and states so (error 623)",
            status="",
            code="623",
            failure_mode="429 refusal",
        ),
        Script(49, "approved, answered slowly", failure_mode="slow", transitions=(_APPROVED,)),
        # Prices end in 50 to 60 more often than in these.
        _lost_answer(61, "answers 429: a proxy has asked twice", "429"),
        Script(62, "refused as invalid, with HTTP 422", status="", code="340", failure_mode="422 refusal"),
        _lost_answer(63, "answers 404 with error 460", "not found"),
        _lost_answer(64, "answers 200 with a web page that holds error 460", "xhtml"),
        _lost_answer(65, "answers 302", "redirect"),
        Script(66, "does not stand; answers 401 with a web page", status="", failure_mode="login"),
    )
}

# Accounts of the bank code 00000000, which is nobody's; their last two digits are the number of a script.
_TEST_BANK: Final = "00000000"


def scripted(amount_minor: int, *, iban: str) -> Script:
    """
    The script of a debit.

    Args:
        amount_minor: Whole minor units.
        iban: The canonical IBAN; "" where none is known.

    Returns:
        By IBAN, else by amount, else `APPROVED`. A number without a script counts as none.
    """
    number = 0
    if iban.startswith("DE") and iban[4:12] == _TEST_BANK:
        number = int(iban[-2:])
    elif amount_minor % 1000 >= 900:
        number = amount_minor % 100
    return SCRIPTS.get(number, APPROVED)


def scripted_iban(number: int) -> str:
    """
    A valid IBAN of an account that exists at no bank, for a script.

    Args:
        number: The script's, 0 to 99.

    Returns:
        22 characters, canonical.

    Raises:
        ValueError: for another number.
    """
    if not 0 <= number <= 99:
        raise ValueError("scripts have numbers from 0 to 99")
    account = f"{_TEST_BANK}{number:010d}"
    check = 98 - int(f"{account}131400") % 97  # D is 13, E is 14
    return f"DE{check:02d}{account}"
