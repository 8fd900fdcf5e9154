"""
Scripted outcomes: a test chooses what the simulator does with a debit.

The **amount** chooses a script if its minor units end in 900 to 999 (EUR 9.02, EUR 19.02, EUR 129.02, but not EUR 12.02): the
last two digits are the number of the script. The **IBAN** chooses one if it is a test account of the simulator
(`scripted_iban`), which exists at no bank; it takes precedence. All other debits are approved, or drawn at random if the
simulator is configured so.

`SCRIPTS` is the table; `tether-sandbox gateway scripts` prints it. "Taken" means that the gateway has recorded the debit,
regardless of its response: a client must find this out by a status inquiry.

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

# How a response fails. "plain" is the documented response, "422 refusal" a refusal with another HTTP status, "429 refusal"
# one that says that nothing was taken; all others leave the client without a usable response.
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
    The outcome of a debit.

    Attributes:
        number: 0 to 99, the last digits of the amount or IBAN.
        name: A short description.
        status: The first status; "" if the gateway does not take the debit.
        code: The error code of the response, or "".
        failure_mode: How the response fails.
        transitions: The later transitions, in order.
        is_notified: Whether the transitions are notified.
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
    def taken(self) -> bool:
        """Whether the gateway takes the debit."""
        return bool(self.status)


_APPROVED = Transition("approved")
_REVERSED = Transition("chargeback_reversed", "chargeback_reversal")


def _charged_back(reason_code: str) -> tuple[Transition, ...]:
    return _APPROVED, Transition("chargebacked", "chargeback", reason_code)


def _lost_response(number: int, name: str, failure_mode: FailureMode, *, hidden: bool = False) -> Script:
    return Script(
        number, f"taken; {name}", failure_mode=failure_mode, transitions=(_APPROVED,), hidden=hidden
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
        Script(7, "stays pending"),
        Script(10, "approved, charged back AC01", transitions=_charged_back("AC01")),
        Script(11, "approved, charged back AC04", transitions=_charged_back("AC04")),
        Script(12, "approved, charged back AC06", transitions=_charged_back("AC06")),
        Script(13, "approved, charged back AG01", transitions=_charged_back("AG01")),
        Script(14, "approved, charged back AM04", transitions=_charged_back("AM04")),
        Script(15, "approved, charged back MD01", transitions=_charged_back("MD01")),
        Script(16, "approved, charged back MD06", transitions=_charged_back("MD06")),
        Script(17, "approved, charged back MS03", transitions=_charged_back("MS03")),
        Script(18, "approved, charged back without a reason", transitions=_charged_back("")),
        Script(19, "approved, charged back with an unknown reason", transitions=_charged_back("ZZ99")),
        Script(20, "charged back, then reversed", transitions=(*_charged_back("MD06"), _REVERSED)),
        Script(
            21,
            "charged back, reversed, charged back again",
            transitions=(
                *_charged_back("MD01"),
                _REVERSED,
                Transition("second_chargebacked", "second_chargeback", "MD01"),
            ),
        ),
        Script(
            22,
            "approved, then a retrieval request",
            transitions=(_APPROVED, Transition("chargebacked", "retrieval_request")),
        ),
        Script(24, "approved, without a notification", transitions=(_APPROVED,), is_notified=False),
        Script(
            25,
            "charged back AC04, without a notification",
            transitions=_charged_back("AC04"),
            is_notified=False,
        ),
        _lost_response(30, "no response", "silence"),
        _lost_response(31, "connection closed", "hang_up"),
        _lost_response(32, "response cut in the middle", "cut"),
        _lost_response(33, "response 500", "500"),
        _lost_response(34, "response 502 with a web page", "502"),
        _lost_response(35, "response 200 with junk", "junk"),
        Script(36, "taken; response: error 100", code="100", transitions=(_APPROVED,)),
        Script(37, "taken; response: error 230", code="230", transitions=(_APPROVED,)),
        _lost_response(38, "no response, and not found for a while", "silence", hidden=True),
        Script(40, "not taken; no response", status="", failure_mode="silence"),
        Script(41, "not taken; connection closed", status="", failure_mode="hang_up"),
        Script(42, "not taken; response 500", status="", failure_mode="500"),
        Script(43, "not taken; response 503", status="", failure_mode="503"),
        Script(44, "not taken; response 429", status="", failure_mode="429"),
        Script(45, "not taken; response: error 230", status="", code="230"),
        Script(46, "not taken; response: error 100", status="", code="100"),
        Script(47, "not taken; response: error 450", status="", code="450"),
        Script(
            48,
            "not taken; response 429 that says so (error 623)",
            status="",
            code="623",
            failure_mode="429 refusal",
        ),
        Script(49, "approved, slow response", failure_mode="slow", transitions=(_APPROVED,)),
        # Numbers 50 to 60 stay free: many prices end in them.
        _lost_response(61, "response 429: a proxy submitted twice", "429"),
        Script(62, "refused as invalid, with HTTP 422", status="", code="340", failure_mode="422 refusal"),
        _lost_response(63, "response 404 with error 460", "not found"),
        _lost_response(64, "response 200 with a web page that contains error 460", "xhtml"),
        _lost_response(65, "response 302", "redirect"),
        Script(66, "not taken; response 401 with a web page", status="", failure_mode="login"),
    )
}

# The bank code 00000000 is not assigned; the last two digits of its accounts are the number of a script.
_TEST_BANK: Final = "00000000"


def scripted(amount_minor: int, *, iban: str) -> Script:
    """
    Choose the script of a debit.

    Args:
        amount_minor: Whole minor units.
        iban: The canonical IBAN; "" if unknown.

    Returns:
        By IBAN, else by amount, else `APPROVED`, also for a number without a script.
    """
    number = 0
    if iban.startswith("DE") and iban[4:12] == _TEST_BANK:
        number = int(iban[-2:])
    elif amount_minor % 1000 >= 900:
        number = amount_minor % 100
    return SCRIPTS.get(number, APPROVED)


def scripted_iban(number: int) -> str:
    """
    The test IBAN of a script: valid, canonical, of an account that exists at no bank.

    Args:
        number: The script's, 0 to 99.

    Raises:
        ValueError: for another number.
    """
    if not 0 <= number <= 99:
        raise ValueError("scripts have numbers from 0 to 99")
    account = f"{_TEST_BANK}{number:010d}"
    check = 98 - int(f"{account}131400") % 97  # D is 13, E is 14
    return f"DE{check:02d}{account}"
