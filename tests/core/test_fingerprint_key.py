"""Sentences of the fingerprint key: what stops, and who must act."""

from __future__ import annotations

from tether_core.fingerprint_key import REASONS, FingerprintKeyRefused


def test_a_refused_key_says_what_stops_and_who_acts() -> None:
    """The line in the log at three in the morning is all that the operator has."""
    for state, reason in REASONS.items():
        text = str(FingerprintKeyRefused(state))
        assert text.startswith(reason)
        assert "debits are not submitted" in text
