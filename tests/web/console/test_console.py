"""The console: who may pass, what pages show, and what their forms do."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from html import unescape
from typing import TYPE_CHECKING

import psycopg
import pytest
from tether_sandbox.seed import seed
from tether_sandbox.uploads import Owed, seed_upload
from tether_web.console.listings import LISTINGS
from tether_web.http import sessions

from tests.web.console.conftest import OWN, flaws

if TYPE_CHECKING:
    import httpx

    from tests.web.conftest import Serve

IBAN = "DE89370400440532013000"
PAGES = [
    "/",
    "/layout-answers",
    "/reconciliation",
    "/checks",
    "/queues",
    "/quarantine",
    "/return-policies",
    "/return-policies/0",
    "/statement-texts",
    "/events",
    "/figures",
    "/gateway-accounts",
    "/subscribers",
    "/people",
    "/account",
    *(listing.page for listing in LISTINGS),
]


@pytest.mark.parametrize("page", [*PAGES, "/uploads/1", "/payments/1"])
async def test_a_stranger_sees_nothing_and_is_sent_to_sign_in(stranger: httpx.AsyncClient, page: str) -> None:
    """A page without an access check would show names and accounts to anyone with the URL."""
    answer = await stranger.get(page)
    assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/sign-in")


async def test_a_wrong_key_signs_nobody_in(stranger: httpx.AsyncClient) -> None:
    """And the sentence says where the right one is found."""
    answer = await stranger.post("/sign-in", data={"key": "guess"})
    assert answer.status_code == 401
    assert "TETHER_API_KEYS" in answer.text
    assert sessions.COOKIE not in stranger.cookies


@pytest.mark.parametrize(
    "where", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
async def test_signing_in_leads_to_no_other_address(stranger: httpx.AsyncClient, where: str) -> None:
    """A link that signs people in and sends them to a copy of the console would collect what they type there."""
    answer = await stranger.post("/sign-in", data={"key": "test-key", "next": where})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_the_cookie_is_for_this_address_alone(stranger: httpx.AsyncClient) -> None:
    """A script that reads it, or a form of another address that carries it, could order refunds."""
    answer = await stranger.post("/sign-in", data={"key": "test-key"}, headers={"x-forwarded-proto": "https"})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" in cookie


@pytest.mark.parametrize("page", PAGES)
async def test_every_page_is_whole_and_keeps_its_own_rules(browser: httpx.AsyncClient, page: str) -> None:
    """A browser refuses what the policy forbids, and shows half a page instead."""
    answer = await browser.get(page)
    assert answer.status_code == 200, answer.text[:2000]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert flaws(answer.text) == []
    for source in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
        assert (await browser.get(source)).status_code == 200, source


async def test_a_payment_is_shown_from_row_to_money(browser: httpx.AsyncClient, database_url: str) -> None:
    """A person who is asked about one debit finds all of it on one page."""
    (made,) = list(seed(database_url, attempts=1, rng=random.Random(1), now=datetime.now(UTC)))
    listed = unescape((await browser.get("/payments")).text)
    assert f'href="/payments/{made.id}"' in listed
    shown = (await browser.get(f"/payments/{made.id}")).text
    assert made.transaction_id in shown
    assert "Return the money" in shown


async def test_a_refusal_is_shown_on_the_page(browser: httpx.AsyncClient, database_url: str) -> None:
    """A refund that cannot be ordered says why where it was ordered, with the status of the API."""
    (made,) = list(seed(database_url, attempts=1, rng=random.Random(1), now=datetime.now(UTC)))
    answer = await browser.post(
        f"/payments/{made.id}/refund", data={"order_key": "k" * 20, "reason": "paid twice"}
    )
    assert answer.status_code == 409
    assert 'role="alert"' in answer.text
    assert made.transaction_id in answer.text
    for form in (f"/payments/{made.id}/refund", f"/payments/{made.id}/void"):
        unexplained = await browser.post(form, data={"order_key": "j" * 20, "usage": "Sorry"})
        assert (unexplained.status_code, "Say why" in unexplained.text) == (422, True)
        assert 'value="Sorry"' in unexplained.text


async def test_a_chargeback_is_forgiven_and_an_outcome_is_stated_with_forms(
    browser: httpx.AsyncClient, database_url: str
) -> None:
    """What the bank and the gateway's back office say reaches Tether without a command line, and says who said so."""
    list(seed(database_url, attempts=2, rng=random.Random(1), now=datetime.now(UTC)))
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "update billing_attempts set state = 'chargebacked', payment_stage = 60, dispute_stage = 1, reason_code = 'AM04',"
            " submission_count = 1, submitted_at = created_at where id = 1"
        )
        conn.execute(
            "update billing_attempts set state = 'unknown', payment_stage = 10, submission_count = 1, submitted_at = created_at,"
            " submit_at = null where id = 2"
        )
    page = (await browser.get("/payments/1")).text
    assert flaws(page) == []
    assert "Forgive the chargeback" in page
    assert (await browser.post("/payments/1/forgive", data={"reason": " "})).status_code == 422
    done = await browser.post("/payments/1/forgive", data={"reason": "the bank was wrong"})
    assert (done.status_code, done.headers["location"]) == (303, "/payments/1?done=forgiven")
    assert "Chargeback forgiven by tests: the bank was wrong" in unescape(
        (await browser.get("/payments/1")).text
    )

    page = (await browser.get("/payments/2")).text
    assert flaws(page) == []
    assert "State its outcome" in page
    form = {"outcome": "declined", "reason": "seen in the back office", "unique_id": ""}
    refused = await browser.post("/payments/2/outcome", data=form)  # it can still be inquired
    assert (refused.status_code, 'value="seen in the back office"' in refused.text) == (409, True)
    wrong = await browser.post("/payments/2/outcome", data={**form, "outcome": "lost"})
    assert wrong.status_code in {400, 422}


async def test_amounts_of_filters_are_typed_in_euros(browser: httpx.AsyncClient, database_url: str) -> None:
    """Who types 50 and gets payments of 50 cents or more refunds the wrong ones; who types 1.000 must be asked."""
    list(seed(database_url, attempts=3, rng=random.Random(1), now=datetime.now(UTC)))
    with psycopg.connect(database_url) as conn:
        conn.execute("update billing_attempts set amount_minor = 1000 * id")
    shown = unescape(
        (await browser.get("/payments?amount_min=20&amount_max=29,99&created_from=2020-01-01")).text
    )
    assert 'href="/payments/2"' in shown
    assert not any(f'href="/payments/{key}"' in shown for key in (1, 3))
    assert ('name="amount_min" value="20"' in shown, 'name="amount_max" value="29,99"' in shown) == (
        True,
        True,
    )
    assert "amount_min_minor=2000&amount_max_minor=2999&format=csv" in shown
    # A figure leads to its rows by the names of the API, in cents.
    led = unescape((await browser.get("/payments?amount_min_minor=2000&created_from=2020-01-01")).text)
    assert ('name="amount_min" value="20.00"' in led, 'href="/payments/1"' in led) == (True, False)
    bands = unescape((await browser.get("/figures?price_band=1000")).text)
    assert ('<option value="1000" selected>10.00 to 24.99</option>' in bands, flaws(bands)) == (True, [])
    wrong = await browser.get("/payments?amount_min=1.000")
    assert (wrong.status_code, "e.g. 1000.50" in wrong.text, flaws(wrong.text)) == (422, True, [])
    assert not any(word in wrong.text for word in ("format=csv", "all that match", 'href="/payments/1"'))


@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"sec-fetch-site": "none"}]
)
@pytest.mark.parametrize("form", ["/sign-out", "/payments/1/refund", "/blacklist", "/uploads"])
async def test_a_form_of_another_address_does_nothing(
    browser: httpx.AsyncClient, form: str, headers: dict[str, str]
) -> None:
    """A foreign page could otherwise place orders with the session of its visitor."""
    answer = await browser.post(form, data={"iban": "DE89370400440532013000"}, headers=headers)
    assert answer.status_code == 401
    assert (await browser.get("/")).status_code == 200


async def test_an_older_browser_is_known_by_its_origin(stranger: httpx.AsyncClient) -> None:
    """Without Sec-Fetch-Site the Origin decides, and without both nobody passes."""
    del stranger.headers["sec-fetch-site"]
    data = {"key": "test-key"}
    assert (await stranger.post("/sign-in", data=data)).status_code == 401
    assert (await stranger.post("/sign-in", data=data, headers={"origin": "http://evil"})).status_code == 401
    assert (
        await stranger.post("/sign-in", data=data, headers={"origin": "http://tether"})
    ).status_code == 303


async def test_signing_out_ends_the_session_permanently(browser: httpx.AsyncClient) -> None:
    """A copy of the cookie must open nothing afterwards."""
    token = browser.cookies[sessions.COOKIE]
    assert (await browser.post("/sign-out")).status_code == 303
    browser.cookies.set(sessions.COOKIE, token)
    assert (await browser.get("/")).status_code == 303


async def test_the_session_of_a_key_that_is_gone_opens_nothing(
    serving: Serve, environment: dict[str, str], browser: httpx.AsyncClient
) -> None:
    """Who takes a key away expects its holder to be out at once."""
    async with serving({**environment, "TETHER_API_KEYS": "other:other-key"}) as client:
        client.headers.update(OWN)
        client.cookies.set(sessions.COOKIE, browser.cookies[sessions.COOKIE])
        assert (await client.get("/")).status_code == 303


async def test_the_session_opens_the_api_for_pages_of_this_address(browser: httpx.AsyncClient) -> None:
    """Downloads and the live list ask the API with the cookie; a page elsewhere must not order with it."""
    assert (await browser.get("/api/uploads")).status_code == 200
    assert (
        await browser.post("/api/blacklist", json={"name": "A B"}, headers={"sec-fetch-site": "cross-site"})
    ).status_code == 401


async def test_an_entry_of_the_blacklist_is_added_and_lifted(browser: httpx.AsyncClient) -> None:
    """With a reason, and by name of who did it."""
    added = await browser.post(
        "/blacklist", data={"iban": "DE89370400440532013000", "reason": "fraud", "note": "call of today"}
    )
    assert added.status_code == 303, added.text
    page = added.headers["location"].partition("?")[0]
    shown = (await browser.get(page)).text
    assert "call of today" in shown
    assert "DE89370400440532013000" not in shown
    lifted = await browser.post(f"{page}/lift", data={"reason": "a mistake of ours", "forgives": "account"})
    assert (lifted.status_code, flaws(lifted.text)) == (200, [])
    # The answer says what else is to be done.
    assert "send the debtor&#x27;s row in a new upload" in lifted.text
    assert "Lift the entry" not in (await browser.get(page)).text
    assert (await browser.get("/api/blacklist/1")).json()["forgives"] == "account"
    assert (await browser.post(f"{page}/lift", data={"reason": "again"})).status_code == 409


async def test_entries_of_a_file_are_added(browser: httpx.AsyncClient) -> None:
    """A list of a former system is taken over by who has it, and a wrong line is shown to them, not dropped."""
    content = b"iban;name;note\nDE89370400440532013000;;old\n;Ada <Ahorn>;old\nDE00;;old\n"
    done = await browser.post("/blacklist/import", files={"file": ("old.csv", content, "text/csv")})
    assert (done.status_code, flaws(done.text)) == (200, [])
    assert "<strong>2</strong> entries added" in done.text
    assert "<strong>1</strong> lines with problems" in done.text
    assert "Ada &lt;Ahorn&gt;" in (await browser.get("/blacklist")).text
    for content in (b"", b"nothing;of;this\n1;2;3\n"):
        refused = await browser.post("/blacklist/import", files={"file": ("old.csv", content, "text/csv")})
        assert (refused.status_code, flaws(refused.text)) == (422, []), refused.text


async def test_a_remembered_answer_is_forgotten_with_a_form(
    browser: httpx.AsyncClient, database_url: str
) -> None:
    """An answer that holds for each later file must be found where somebody looks who wants to be asked again."""
    upload_id, _ = seed_upload(database_url, [Owed(IBAN, 1_250)], now=datetime.now(UTC))
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "insert into layout_answers (layout, subject, answer, days_min, upload_id, answered_by, answered_at)"
            " values ('x', 'collected_before', 'take', 30, %s, 'ada', now())",
            [upload_id],
        )
    shown = await browser.get("/layout-answers")
    assert flaws(shown.text) == []
    assert f'href="/uploads/{upload_id}"' in unescape(shown.text)
    (answer,) = (await browser.get("/api/layout-answers")).json()
    gone = await browser.post(f"/layout-answers/{answer['id']}/forget")
    assert gone.headers["location"] == "/layout-answers?done=answer_forgotten"
    assert "No answer is remembered." in (await browser.get("/layout-answers")).text
    assert (await browser.post(f"/layout-answers/{answer['id']}/forget")).status_code == 404


async def test_a_file_is_uploaded_and_shown(browser: httpx.AsyncClient) -> None:
    """The same file again leads to the same upload."""
    content = b"Name;IBAN;Betrag\nA B;DE89370400440532013000;12,50\n"
    answer = await browser.post("/uploads", files={"file": ("list.csv", content, "text/csv")})
    assert answer.status_code == 303, answer.text
    page = answer.headers["location"].partition("?")[0]
    shown = (await browser.get(answer.headers["location"])).text
    assert "list.csv" in shown
    assert 'role="status"' in shown
    again = await browser.post("/uploads", files={"file": ("list.csv", content, "text/csv")})
    assert again.headers["location"].partition("?")[0] == page
    # What the API and the command line can do with a file, the form can: store it again, read it only, keep its columns.
    options = {"force": "on", "dry_run": "on", "keep_columns": "on"}
    form = (await browser.get("/uploads")).text
    assert all(f'type="checkbox" name="{name}"' in form for name in options)
    other = await browser.post("/uploads", files={"file": ("list.csv", content, "text/csv")}, data=options)
    assert other.headers["location"].endswith("?done=uploaded")
    assert other.headers["location"].partition("?")[0] != page
    key = other.headers["location"].partition("?")[0].rpartition("/")[2]
    stored = (await browser.get(f"/api/uploads/{key}")).json()
    assert stored["upload"]["dry_run"] is True


async def test_text_of_others_stays_text(browser: httpx.AsyncClient) -> None:
    """A file name or a note may contain markup; in a page it must stay text."""
    content = b"Name;IBAN;Betrag\nA B;DE89370400440532013000;12,50\n"
    await browser.post("/uploads", files={"file": ("<script>x.csv", content, "text/csv")})
    shown = (await browser.get("/uploads")).text
    assert "<script>x" not in shown


async def _uploaded(browser: httpx.AsyncClient) -> str:
    content = b"Name;IBAN;Betrag\nA B;DE89370400440532013000;12,50\n"
    answer = await browser.post("/uploads", files={"file": ("list.csv", content, "text/csv")})
    return answer.headers["location"].partition("?")[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount_max_minor", "1.000"),
        ("amount_max_minor", "1,000"),
        ("amount_max_minor", "inf"),
        ("amount_max_minor", "a lot"),
        ("debit_max_minor", "1.000"),
        ("canary_share", "5.5"),
        ("canary_share", "\N{SUPERSCRIPT TWO}"),
        ("count_max", "-1"),
    ],
)
async def test_a_limit_that_cannot_be_read_orders_nothing(
    browser: httpx.AsyncClient, field: str, value: str
) -> None:
    """A limit that is dropped, or read as another one, debits more people than its writer allowed."""
    page = await _uploaded(browser)
    order = {"due_item": "2026-12", "what": "order", "order_key": "k" * 20, field: value}
    answer = await browser.post(f"{page}/billing", data=order)
    assert answer.status_code in {400, 422}, answer.text
    assert (await browser.get("/api/billing-runs")).json()["items"] == []


async def test_a_part_that_could_not_be_read_is_not_shown_as_nothing(
    browser: httpx.AsyncClient, database_url: str
) -> None:
    """A green zero in place of what could not be counted would send the operator home."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("alter table reconciliation_differences rename to elsewhere")
    shown = unescape((await browser.get("/")).text)
    assert "<strong>?</strong> Differences of the books" in shown
    assert "runs that are paused</a>" in shown.partition("None of:")[2]
    assert "Everything continues automatically" not in shown


async def test_the_reconciliation_says_how_far_each_list_was_read(
    browser: httpx.AsyncClient, database_url: str
) -> None:
    """Who asks why the books are not complete would otherwise read a log of another machine."""
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into report_fetches (account, list, day_on, wanted_at, listed, held, unread, read_at)"
            " values ('default', 'chargebacks', '2026-03-02', now(), 1200, 1199, 1, now())"
        )
    page = await browser.get("/reconciliation?from=2026-03-01&to=2026-03-03")
    assert (page.status_code, flaws(page.text)) == (200, [])
    fetched = page.text.partition("Reports fetched")[2]
    assert all(text in fetched for text in ("2026-03-02", "chargebacks", "1,200", "1,199"))


async def test_an_entry_that_does_not_exist_gets_a_sentence(browser: httpx.AsyncClient) -> None:
    """An old link leads to a sentence, and not to somebody else's entry."""
    assert (await browser.get("/blacklist/12345")).status_code == 404
    assert (await browser.get("/api/blacklist/12345")).status_code == 404


async def test_a_debtor_is_corrected_by_its_form(browser: httpx.AsyncClient, database_url: str) -> None:
    """Only what a person has changed is sent, and a refused value leaves the debtor and says why."""
    _, (debtor_id,) = seed_upload(
        database_url, [Owed("DE89370400440532013000", 1250, "Ada Ahorn")], now=datetime.now(UTC)
    )
    page = f"/debtors/{debtor_id}"
    shown = (await browser.get(page)).text
    assert 'name="was_amount" value="12.50"' in shown
    form = {"version": "0", "reason": "typing error", "name": "Ada Ahorn", "was_name": "Ada Ahorn"}
    form |= {
        "amount": "12,75",
        "was_amount": "12.50",
        "iban": "",
        "was_iban": "",
        "email": "",
        "was_email": "",
    }
    refused = await browser.post(f"{page}/edit", data={**form, "iban": "DE88370400440532013000"})
    assert refused.status_code == 422
    assert "check digits do not fit" in refused.text
    assert "DE88370400440532013000" not in refused.text
    done = await browser.post(f"{page}/edit", data=form)
    assert (done.status_code, done.headers["location"]) == (303, f"{page}?done=edited")
    shown = unescape((await browser.get(page)).text)
    assert "tests: typing error" in shown
    assert "amount_minor: 1250 → 1275" in shown
    assert "name:" not in shown.partition("<h2>Edits</h2>")[2].partition("</ul>")[0]
    stale = await browser.post(f"{page}/edit", data={**form, "name": "Ada Eiche"})
    assert stale.status_code == 409
    assert "has version 1 by now" in unescape(stale.text)


async def test_a_debtor_is_shown_with_all_that_happened_to_it(
    browser: httpx.AsyncClient, database_url: str
) -> None:
    """Who is asked why somebody is not debited finds the entry on the page of the debtor, and lifts it there."""
    _, (debtor_id,) = seed_upload(
        database_url, [Owed("DE89370400440532013000", 1250, "Ada Ahorn")], now=datetime.now(UTC)
    )
    page = f"/debtors/{debtor_id}"
    shown = unescape((await browser.get(page)).text)
    assert "Nothing on the blacklist is about this debtor." in shown
    assert "No check was requested." in shown
    await browser.post("/blacklist", data={"iban": "DE89370400440532013000", "note": "call of today"})
    await browser.post("/blacklist", data={"name": "Ahorn, Ada"})
    answer = await browser.get(page)
    assert flaws(answer.text) == []
    shown = unescape(answer.text)
    assert 'href="/blacklist/1"' in shown
    assert 'href="/blacklist/2"' in shown
    assert "call of today" in shown.partition("<h2>What people did</h2>")[2]
    assert (await browser.post("/blacklist/1/lift", data={"reason": "a mistake"})).status_code == 200
    shown = (await browser.get(page)).text
    assert "Lift entry 2" in shown
    assert "Lift entry 1" not in shown
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("alter table vop_checks rename to elsewhere")
    hidden = await browser.get(page)
    assert hidden.status_code == 200
    assert "could not be read; reload the page" in hidden.text
    assert "No check was requested." not in hidden.text


async def test_statement_texts_are_stored_and_removed_with_forms(browser: httpx.AsyncClient) -> None:
    """What debtors read decides whether they recognise the debit; who answers their calls changes it without a command line."""
    assert "No text is stored" in (await browser.get("/statement-texts")).text
    for form, field in (
        ({"text": "Club", "month": "december"}, "month"),
        ({"text": "Club", "account": "gone"}, "account"),
        ({"text": ""}, "text"),
    ):
        refused = await browser.post("/statement-texts", data=form)
        assert refused.status_code == 422, form
        assert flaws(refused.text) == []
        assert 'aria-invalid="true"' in refused.text.partition(f'name="{field}"')[2].partition("</div>")[0]
        assert (await browser.get("/api/statement-texts")).json() == []
    for form in (
        {"text": "Club <e.V.>"},
        {"text": "Club, advent", "account": "default", "month": "2026-12"},
        {"text": "Club e.V."},
    ):
        stored = await browser.post("/statement-texts", data=form)
        assert (stored.status_code, stored.headers["location"]) == (303, "/statement-texts?done=text_stored")
        page = (await browser.get(stored.headers["location"])).text
        assert flaws(page) == []
    assert "Club e.V." in page
    assert "Club &lt;e.V.&gt;" not in page
    assert [row["text"] for row in (await browser.get("/api/statement-texts")).json()] == [
        "Club e.V.",
        "Club, advent",
    ]
    of_december = {"account": "default", "month": "2026-12"}
    for status in (303, 404):
        assert (await browser.post("/statement-texts/remove", data=of_december)).status_code == status
    assert "Club, advent" not in (await browser.get("/statement-texts")).text


async def test_a_queue_is_paused_and_resumed_with_forms(browser: httpx.AsyncClient) -> None:
    """The person on duty stops billing in the browser; everybody sees who did it and why, and ends it there."""
    refused = await browser.post("/queues/billing/pause", data={"reason": " "})
    assert (refused.status_code, "Say why" in refused.text) == (422, True)
    paused = await browser.post("/queues/billing/pause", data={"reason": "the bank <closed>"})
    assert (paused.status_code, paused.headers["location"]) == (303, "/queues?done=queue_paused")
    page = (await browser.get(paused.headers["location"])).text
    assert "the bank &lt;closed&gt;" in page
    assert "/queues/billing/resume" in page
    assert flaws(page) == []
    assert (await browser.post("/queues/billing/resume")).status_code == 303
    assert (await browser.post("/queues/billing/resume")).status_code == 409
    page = unescape((await browser.get("/queues")).text)
    assert "/queues/billing/pause" in page
    assert " connections, " in page.partition("<h2>Stores</h2>")[2].partition("<h2>Pools</h2>")[0]


async def test_the_orders_for_an_emergency_are_given_in_the_browser(
    browser: httpx.AsyncClient, database_url: str
) -> None:
    """Who is called at night and has only a browser tries again, empties a queue and restarts workers, each with a reason."""
    for path, done in (
        ("/queues/retry", "queue_retried"),
        ("/queues/clear", "queue_cleared"),
        ("/workers/restart", "workers_restarted"),
    ):
        refused = await browser.post(path, data={"queue": "webhooks", "reason": ""})
        assert (refused.status_code, "Say why" in refused.text) == (422, True)
        assert flaws(refused.text) == []
        assert 'aria-invalid="true"' in refused.text
        given = await browser.post(path, data={"queue": "webhooks", "reason": "the defect is gone"})
        assert (given.status_code, given.headers["location"]) == (303, f"/queues?done={done}")
        assert 'role="status"' in (await browser.get(given.headers["location"])).text
    for queue in ("gone", "../workers", ""):
        wrong = await browser.post("/queues/clear", data={"queue": queue, "reason": "x"})
        assert wrong.status_code in {404, 422}, queue
    with psycopg.connect(database_url) as conn:
        rows = conn.execute(
            "select action, reason from audit where action not like 'session.%' order by id"
        ).fetchall()
    assert rows == [
        (action, "the defect is gone") for action in ("queue.retried", "queue.cleared", "workers.restarted")
    ]
