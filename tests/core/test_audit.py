"""What the audit keeps of an action, and how it is written for people."""

from __future__ import annotations

from tether_core.audit import change_text, facts, reason_text


def test_a_value_that_was_removed_stays_in_the_change() -> None:
    """Else nobody could see later which pause reason or limit a person has taken away."""
    assert change_text({"reason": "many returns", "note": None}, {"reason": None, "note": None}) == (
        "reason was many returns"
    )
    assert change_text({"dry_run": True}, None) == "dry_run was yes"


def test_names_and_accounts_never_reach_the_audit() -> None:
    """The audit is kept for years and read by people who may not see debtors."""
    kept = facts(name="Ada Ahorn", note="to DE89370400440532013000", rows=7, is_open=True, reason=None)
    assert kept["name"] == "***"
    assert "0440532013" not in str(kept["note"])
    assert (kept["rows"], kept["is_open"], kept["reason"]) == (7, True, None)


def test_a_reason_is_one_line_of_limited_length() -> None:
    """A reason with line breaks could imitate further lines of the audit."""
    assert reason_text(None) is None
    assert reason_text(" \n\t ") is None
    assert reason_text("first\nsecond\x00third") == "first second third"
    assert len(reason_text("word " * 300) or "") == 500
