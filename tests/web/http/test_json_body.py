"""JSON bodies: decoded strictly, and every wrong field named in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from litestar.exceptions import ValidationException
from tether_core.errors import InvalidRequest
from tether_web.billing.orders import RunOrder
from tether_web.http.json_body import decode, wrong_fields
from tether_web.inquiry_orders import InquiryRequest
from tether_web.uploads.form import AnswersBody

if TYPE_CHECKING:
    import httpx

KEY = {"authorization": "Bearer test-key"}


@pytest.mark.parametrize(
    ("kind", "body", "wrong"),
    [
        (RunOrder, {"due_item": "a", "count_max": "1.000"}, {"count_max": "must be a whole number"}),
        (RunOrder, {"due_item": "a", "count_max": 1.5}, {"count_max": "must be a whole number"}),
        (RunOrder, {"due_item": "a", "count_max": 0}, {"count_max": "must be a whole number of at least 1"}),
        (RunOrder, {"due_item": "a", "dry_run": "no"}, {"dry_run": "must be true or false"}),
        (RunOrder, {"due_item": "a", "dry_run": 0}, {"dry_run": "must be true or false"}),
        (
            RunOrder,
            {"due_item": 12, "account": 3},
            {"due_item": "must be a text", "account": "must be a text"},
        ),
        (InquiryRequest, {}, {"reason": "is missing"}),
        (
            RunOrder,
            {"due_item": "a", "overrides": [{"verdicts": ["moved"]}]},
            {"overrides[0].reason": "is missing"},
        ),
        (
            RunOrder,
            {"due_item": "a", "overrides": [{"verdicts": [], "reason": "r"}]},
            {"overrides[0].verdicts": "must have at least 1 items"},
        ),
        (
            RunOrder,
            {"due_item": "a", "overrides": [{"verdicts": ["moved"], "reason": "r", "debtor_ids": ["7"]}]},
            {"overrides[0].debtor_ids[0]": "must be a whole number"},
        ),
        (RunOrder, [1], {"body": "must be a JSON object"}),
        (RunOrder, "text", {"body": "must be a JSON object"}),
        (AnswersBody, {"mapping": {"iban": 1.5}}, {"mapping": "must be a whole number or a text"}),
        (
            AnswersBody,
            {"screening": {"collected_before": "perhaps"}},
            {"screening": "must be one of take, exclude"},
        ),
        (
            AnswersBody,
            {"screening": {"repeats": "take"}},
            {"screening": "has a name that must be one of collected_before, identity_unclear"},
        ),
    ],
)
def test_each_wrong_field_gets_a_sentence(kind: Any, body: Any, wrong: dict[str, str]) -> None:
    """A caller who sends a number as text would otherwise get it rounded, dropped or read in another country's way."""
    assert dict(wrong_fields(body, kind)) == wrong


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (r'{"due_item": "a\u0000"}', "due_item"),
        (
            r'{"due_item": "a", "overrides": [{"verdicts": ["moved"], "reason": "\u0000"}]}',
            "overrides[0].reason",
        ),
        (r'{"due_item": "a", "overrides": [{"\u0000": 1}]}', "overrides[0]"),
        (r'{"\u0000": "a"}', "body"),
        (r'"\u0000"', "body"),
    ],
)
def test_no_text_may_hold_a_zero_byte(body: str, field: str) -> None:
    """Postgres stores none, in no column; the field that has it is named."""
    with pytest.raises(InvalidRequest) as caught:
        decode(body.encode(), RunOrder)
    assert (caught.value.field, str(caught.value)) == (field, f"{field} contains a zero byte; remove it.")


def test_what_only_looks_like_a_zero_byte_is_a_text() -> None:
    """A backslash may stand before u0000."""
    assert decode(rb'{"reason": "a\\u0000"}', InquiryRequest).reason == r"a\u0000"


def test_names_and_values_of_the_sender_are_not_repeated() -> None:
    """An IBAN in the wrong place would go into the logs of every program that keeps error texts."""
    for body in (
        b'{"due_item": "a", "DE89370400440532013000": 1}',
        b'{"due_item": "a", "overrides": [{"verdicts": ["x"], "reason": "r", "DE89370400440532013000": 1}]}',
    ):
        with pytest.raises(ValidationException) as caught:
            decode(body, RunOrder)
        assert "3704" not in str(caught.value.extra)
    with pytest.raises(ValidationException) as caught:
        decode(
            b'{"mapping": {"DE89370400440532013000": 1.5}, "screening": {"DE89370400440532013000": "take"}}',
            AnswersBody,
        )
    assert "3704" not in str(caught.value.extra)


async def test_routes_decode_strictly(client: httpx.AsyncClient) -> None:
    """The framework converts bodies as it does query strings: "1.000" became a limit of one debit."""
    order = {"due_item": "2026-03", "count_max": "1.000", "canary_share": "0.5", "cout_max": 3}
    answer = await client.post("/api/uploads/1/billing", json=order, headers=KEY)
    assert answer.status_code == 400
    assert {item["field"]: item["text"] for item in answer.json()["errors"]} == {
        "count_max": "must be a whole number",
        "canary_share": "must be a number",
        "cout_max": answer.json()["errors"][2]["text"],
    }
    assert answer.json()["errors"][2]["text"].startswith("is not a field of this body; use due_item, ")
    assert "count_max must be a whole number." in answer.json()["detail"]
    for content, text in (
        (b'{"iban": }', "body is not valid JSON: "),
        (b'{"iban": "\xff"}', "body is not valid JSON"),
    ):
        answer = await client.post(
            "/api/blacklist", content=content, headers=KEY | {"content-type": "application/json"}
        )
        assert (answer.status_code, answer.json()["detail"].startswith(text)) == (400, True), answer.text
    for value in ("1.000", "1e2", "0x10", "1_0"):
        answer = await client.get("/api/billing-attempts", params={"limit": value}, headers=KEY)
        assert (answer.status_code, answer.json()["detail"]) == (400, "limit must be a whole number.")
