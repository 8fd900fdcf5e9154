"""The console's pages of name checks: what they cost, a sample of an upload, and a file that makes no debtors."""

from __future__ import annotations

from datetime import UTC, datetime
from html import unescape
from typing import TYPE_CHECKING

import psycopg
import pytest
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores import vop as stored

from tests.web.console.conftest import flaws

if TYPE_CHECKING:
    import httpx

NOW = datetime.now(UTC)
KNOWN = "DE89370400440532013000"


@pytest.fixture
def console_environment(environment: dict[str, str]) -> dict[str, str]:
    """With a service that is paid for."""
    return environment | {
        "TETHER_VOP_URL": "https://names.invalid/check",
        "TETHER_VOP_DAY_MAX": "100",
        "EMP_API_URL": "https://gateway.invalid",
    }


async def _page(browser: httpx.AsyncClient, path: str) -> str:
    answer = await browser.get(path)
    assert answer.status_code == 200, answer.text
    assert flaws(answer.text) == []
    return unescape(answer.text)


async def test_a_sample_is_ordered_and_read_with_forms(
    browser: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads 10 as all, or does not see that the budget is used up, pays for checks that nobody wanted."""
    owed = [Owed(scripted_iban(number), 1_000) for number in range(40)]
    upload_id, debtors = seed_upload(database_url, owed, now=NOW)
    at = f"/uploads/{upload_id}/checks"
    assert f'href="{at}"' in await _page(browser, f"/uploads/{upload_id}")
    assert "0 of 40 debtors have a check" in await _page(browser, at)
    for share in ("", "0", "101", "a lot", "nan"):
        refused = await browser.post(at, data={"share": share, "account": "default"})
        assert (refused.status_code, flaws(refused.text)) == (422, []), share
        assert "Write the share in percent" in refused.text
    done = await browser.post(at, data={"share": "50", "account": "default"})
    assert done.headers["location"] == f"{at}?done=checks_requested"
    again = await browser.post(at, data={"share": "50", "account": "default"})
    assert again.headers["location"] == f"{at}?done=checks_none"
    with psycopg.connect(database_url, autocommit=True) as conn:
        requested = conn.execute("select count(*) from vop_checks").fetchall()[0][0]
        conn.execute(
            "update vop_checks set state = 'checked', next_at = null, result = 'mismatch', score = 85, answered = 100, provider = 'http',"
            " checked_at = now(), name_answer = 'no', bank_name = 'Bank <of> Names'"
        )
        conn.execute(
            "insert into vop_uses (account, used_on, calls) values ('default', (now() at time zone 'utc')::date, 100)"
        )
        conn.execute("insert into vop_banks values ('COBADEFF', 20, now(), now() + interval '1 day')")
    page = await _page(browser, at)
    assert f"{requested} of 40 debtors have a check, which is {100 * requested / 40:.1f} %." in page
    assert f"<strong>{requested}</strong> mismatch" in page
    assert f"<strong>{requested}</strong> It does not fit, 100.0 %" in page
    assert "used up" in page
    assert "COBADEFF until" in page
    assert "Nothing matches." in await _page(browser, f"{at}?result=verified")
    matching = await _page(browser, f"{at}?result=mismatch&status=checked")
    assert f"<strong>{requested}</strong> match." in matching
    assert f"/api/uploads/{upload_id}/vop?status=checked&result=mismatch&format=csv" in matching
    wrong = await browser.get(f"{at}?result=perhaps")
    assert wrong.status_code in {400, 422}
    assert (await browser.get("/uploads/99/checks")).status_code == 404

    # The same rows are in the list of all uploads, which says how many match and links both pages.
    assert 'href="/checks/all?result=mismatch"' in await _page(browser, "/checks")
    everywhere = await _page(browser, "/checks/all?result=mismatch&status=checked")
    assert f"<strong>{requested}</strong> match" in everywhere
    assert f'href="/uploads/{upload_id}"' in everywhere
    assert "/api/vop/checks?status=checked&result=mismatch&format=csv" in everywhere
    assert "Nothing matches." in await _page(browser, "/checks/all?result=verified")
    assert (await browser.get("/checks/all?result=perhaps")).status_code in {400, 422}

    # A page that looked at some and found none says that there is more to look at, and still offers the file.
    monkeypatch.setattr(stored, "_EXAMINED_MAX", requested - 1)
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "update vop_checks set state = 'waiting', next_at = now() where debtor_id = (select min(debtor_id) from vop_checks)"
        )
    seldom = await _page(browser, "/checks/all?result=mismatch&status=waiting")
    assert "No match among those looked at so far" in seldom
    assert 'rel="next">Next page' in seldom
    assert "format=csv" in seldom
    assert "<strong>1</strong> match" in seldom
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("update vop_checks set state = 'checked', next_at = null")

    # A run may demand a score; the order that follows the dry run demands it, too.
    order = {"due_item": "2026-12", "what": "dry_run", "account": "default", "order_key": "k" * 20}
    assert (
        "would submit <strong>40</strong>"
        in (await browser.post(f"/uploads/{upload_id}/billing", data=order)).text
    )
    strict = await browser.post(f"/uploads/{upload_id}/billing", data=order | {"vop_score_min": "80"})
    assert "would submit <strong>0</strong>" in strict.text
    assert 'name="vop_score_min" value="80"' in strict.text

    # The page of a debtor says the same.
    checked = next(key for key in debtors if f'href="/debtors/{key}"' in matching)
    assert "The name does not fit. Score 85." in await _page(browser, f"/debtors/{checked}")


async def test_a_file_is_checked_shown_and_removed_with_forms(
    browser: httpx.AsyncClient, database_url: str
) -> None:
    """Somebody who has one account to ask about must not need a command line, nor make a debtor of it."""
    assert "No file was sent" in await _page(browser, "/checks")
    for content in (b"", b"account,owner\n1,2\n"):
        refused = await browser.post(
            "/checks", files={"file": ("x.csv", content, "text/csv")}, data={"account": "default"}
        )
        assert (refused.status_code, flaws(refused.text)) == (422, []), content
        assert 'aria-invalid="true"' in refused.text
        assert "body" not in refused.text.partition('role="alert"')[2].partition("</div>")[0]
    content = f"iban;name\n{KNOWN};Zoë <Miller>\n{scripted_iban(1)};Ada\n".encode()
    sent = await browser.post(
        "/checks", files={"file": ("x.csv", content, "text/csv")}, data={"account": "default"}
    )
    assert sent.headers["location"] == "/checks/1?done=check_file_sent"
    assert "0 of 2 rows have a result" in await _page(browser, "/checks/1")
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "update check_file_rows set state = 'checked', next_at = null, result = 'verified', score = 90, answered = 100,"
            " name_answer = 'yes', provider = 'http', checked_at = now() where row_number = 2"
        )
        assert conn.execute("select count(*) from debtors").fetchone() == (0,)
    page = await _page(browser, "/checks/1")
    assert "1 of 2 rows have a result" in page
    assert "Zoë <Miller>" in page
    assert "DE89**************3000" in page
    assert KNOWN not in page
    assert "<strong>1</strong> match." in await _page(browser, "/checks/1?result=verified")
    assert "/checks/1" in await _page(browser, "/checks")
    gone = await browser.post("/checks/1/remove")
    assert gone.headers["location"] == "/checks?done=check_file_removed"
    assert (await browser.get("/checks/1")).status_code == 404
    assert (await browser.post("/checks/1/remove")).status_code == 404
