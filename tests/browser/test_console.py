"""The console in a real browser: every page at two widths, its accessibility, and the main walk by mouse and by keyboard."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from tether_core.emp.notification import FORM
from tether_core.testing import form_body
from tether_sandbox.demo.debits import debtors_csv
from tether_sandbox.demo.files import upload_file
from tether_sandbox.seed import made_up_iban
from tether_sandbox.services.server import free_port
from tether_sandbox.services.waiting import until
from tether_sandbox.settings import PASSWORD
from tether_web.console.listings import LISTINGS
from tether_web.console.menu import MENU

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page
    from tether_sandbox.demo.stage import Stage

SHOTS = Path(__file__).parents[2] / "docs" / "images"


@pytest.fixture(scope="session")
def billed(stage: Stage) -> int:
    """A run whose debits are collected; gives its number."""
    upload = upload_file(stage, "members.csv", debtors_csv(random.Random(1)))["upload"]
    order = {"due_item": "2026-12", "usage": "Membership fee"}
    run = stage.api.post(f"/api/uploads/{upload['id']}/billing", json=order).raise_for_status().json()

    def finished() -> bool:
        stage.gateway.resolve()
        return bool(stage.api.get(f"/api/billing-runs/{run['id']}").json()["run"]["finished_at"])

    until(finished, what="the run to end", timeout_s=120)
    return int(run["id"])


@pytest.fixture(scope="session")
def enrolled(stage: Stage) -> str:
    """The page of a collection plan whose debtors are enrolled, and due in some weeks."""
    upload = upload_file(stage, "club.csv", debtors_csv(random.Random(3)))["upload"]
    plan = stage.api.post("/api/collection-plans", json={"name": "Members"}).raise_for_status().json()
    today = datetime.now(UTC).date()
    order = {
        "upload_id": upload["id"],
        "first_due_on": str(today + timedelta(days=16)),
        "mandate_signed_on": str(today - timedelta(days=9)),
    }
    path = f"/api/collection-plans/{plan['id']}/schedules"
    assert stage.api.post(path, json=order).raise_for_status().json()["enrolled"] > 100
    return f"/collection-plans/{plan['id']}"


@pytest.fixture(scope="session")
def subscribed(stage: Stage) -> str:
    """The page of a subscriber that does not answer, and gets everything that is stored."""
    new = {"name": "books", "url": f"http://127.0.0.1:{free_port()}/", "after": 0}
    added = stage.api.post("/api/subscribers", json=new).raise_for_status().json()["subscriber"]
    return f"/subscribers/{added['id']}"


@pytest.fixture(scope="session")
def configured(stage: Stage, billed: int) -> list[str]:
    """Pages of what is seldom there: a version of the return policy with its dry run, a pre-flight report, a refused notification, ..."""
    why = {"reason": "fewer returns"}
    rules = {"AM04": {"action": "none", "retries": 1}}
    upload = stage.api.get(f"/api/billing-runs/{billed}").json()["run"]["upload_id"]
    debtor = stage.api.get("/api/debtors", params={"upload": upload, "limit": 1}).json()["items"][0]["id"]
    for method, path, body in (
        ("POST", "/api/return-policies", {"based_on": 0, "rules": rules, **why}),
        ("POST", "/api/return-policies/1/dry-run", {}),
        ("POST", f"/api/uploads/{upload}/preflight", {}),
        ("POST", f"/api/uploads/{upload}/vop?share=0.5", None),
        (
            "PUT",
            "/api/statement-texts",
            {"text": "Example club, advent", "account": "default", "month": "2026-12"},
        ),
        ("POST", "/api/users", {"name": "bea", "role": "viewer"}),
    ):
        stage.api.request(method, path, json=body).raise_for_status()
    until(
        lambda: stage.api.get(f"/api/uploads/{upload}/vop").json()["waiting"] == 0,
        what="the name checks",
        timeout_s=60,
    )
    content = b"iban;name\nDE89370400440532013000;Zoe Miller\n"
    file = stage.api.post("/api/vop/files", content=content).raise_for_status().json()["id"]
    user = next(user for user in stage.api.get("/api/users").json() if user["name"] == "bea")
    payment = stage.api.get("/api/billing-attempts", params={"run": billed, "limit": 1}).json()["items"][0]
    wrong = form_body({"unique_id": payment["unique_id"], "status": "approved"}, secret="not-the-password")
    assert (
        stage.api.post("/api/webhooks/emp", content=wrong, headers={"content-type": FORM}).status_code == 401
    )
    until(
        lambda: stage.api.get("/api/quarantine").json()["items"],
        what="the refused notification",
        timeout_s=120,
    )
    return [
        "/return-policies/0",
        "/return-policies/1",
        f"/uploads/{upload}",
        f"/uploads/{upload}/checks",
        f"/checks/{file}",
        "/quarantine",
        f"/people/{user['id']}",
        f"/debtors/{debtor}/erasure",
    ]


def _paths(stage: Stage, run: int, parked: int) -> list[str]:
    """Each page of the menu, each list, and one page of each kind of thing that exists."""
    payment = stage.api.get("/api/billing-attempts", params={"run": run, "limit": 1}).json()["items"][0]
    body = {"iban": "DE89370400440532013000", "note": "asked by phone"}
    entry = stage.api.post("/api/blacklist", json=body).raise_for_status().json()
    order = {"action": "inquire", "filters": {"run": str(run)}, "reason": "the bank disagrees"}
    bulk = stage.api.post("/api/bulk-orders", json=order).raise_for_status().json()
    return [
        *(path for path, _ in MENU),
        "/figures?by=day",
        "/figures?by=reason_code&upload=1",
        "/account",
        "/layout-answers",
        *(listing.page for listing in LISTINGS),
        f"/blacklist/{entry['id']}",
        f"/bulk-orders/{bulk['id']}",
        "/uploads/1",
        f"/runs/{run}",
        f"/payments?run={run}",
        f"/payments/{payment['id']}",
        f"/debtors/{payment['debtor_id']}",
        f"/notifications/{parked}",
    ]


def _delivery(stage: Stage, subscriber: str) -> int:
    """A delivery to the subscriber; gives its number."""

    def made() -> int:
        items = stage.api.get(f"/api{subscriber}/deliveries", params={"limit": 1}).json()["items"]
        return int(items[0]["id"]) if items else 0

    return until(made, what="a delivery to be made", timeout_s=120)


def test_every_page_fits_two_widths_and_has_no_barrier(
    page: Page,
    chromium: Browser,
    stage: Stage,
    billed: int,
    parked: int,
    enrolled: str,
    subscribed: str,
    configured: list[str],
) -> None:
    """A table that pushes the page wide cannot be read on a phone; a field without a label is nothing to a screen reader."""
    wrong = []
    recurring = [
        enrolled,
        f"{enrolled}/due-items",
        f"{enrolled}/schedules?status=active",
        "/schedules/1",
        "/mandates/1",
    ]
    outgoing = [subscribed, f"{subscribed}/deliveries", f"/deliveries/{_delivery(stage, subscribed)}"]
    # The checker is a script of its own, which the policy of the pages forbids; so it looks at copies without one.
    context = chromium.new_context(
        base_url=stage.url, bypass_csp=True, storage_state=page.context.storage_state()
    )
    copy = context.new_page()
    for path in dict.fromkeys([*_paths(stage, billed, parked), *recurring, *outgoing, *configured]):
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            response = page.goto(path)
            assert response is not None
            assert response.status == 200, path
            if page.evaluate("document.documentElement.scrollWidth > window.innerWidth + 1"):
                wrong.append(f"{path} is wider than {width} px")
        copy.goto(path)
        wrong += [f"{path}: {found['id']}" for found in Axe().run(copy).response["violations"]]
    context.close()
    # Who is not signed in sees one page, and must be able to use it.
    context = chromium.new_context(
        base_url=stage.url, bypass_csp=True, viewport={"width": 390, "height": 900}
    )
    stranger = context.new_page()
    stranger.goto("/payments?status=unknown")
    assert stranger.url.endswith("/sign-in?next=%2Fpayments%3Fstatus%3Dunknown")
    assert not stranger.evaluate("document.documentElement.scrollWidth > window.innerWidth + 1")
    wrong += [f"/sign-in: {found['id']}" for found in Axe().run(stranger).response["violations"]]
    context.close()
    assert wrong == []


def test_a_version_of_the_return_policy_is_tried_and_switched_on(page: Page, configured: list[str]) -> None:
    """What a return leads to decides about next month's money; a person sees what it would have changed before it is switched on."""
    assert configured
    page.goto("/return-policies")
    page.get_by_role("link", name="1", exact=True).first.click()
    page.wait_for_url("**/return-policies/1")
    expect(page.get_by_text("AM04").first).to_be_visible()
    page.get_by_role("button", name="Make a dry run").click()
    expect(page.get_by_role("status")).to_contain_text("The dry run was made.")
    page.get_by_label("Why is version 1 switched on?").fill("fewer returns")
    page.get_by_role("button", name="Switch version 1 on").click()
    expect(page.get_by_role("status")).to_contain_text("switched on")
    page.goto("/return-policies")
    expect(page.get_by_text("fewer returns").first).to_be_visible()


def test_what_a_wrong_password_refused_is_looked_at(page: Page, configured: list[str]) -> None:
    """After a change of a password somebody must see what was refused, and whether it verifies by now."""
    assert configured
    page.goto("/notifications")
    page.get_by_role("link", name="Refused notifications").click()
    expect(page.get_by_role("heading", name="Refused notifications").first).to_be_visible()
    page.get_by_role("button", name="Show what verifies now").click()
    expect(page.get_by_text("verify now.").first).to_be_visible()


def test_a_list_is_uploaded_billed_watched_and_voided(page: Page, stage: Stage, tmp_path: Path) -> None:
    """The walk of every working day, with nothing but the browser."""
    (tmp_path / "fees.csv").write_bytes(debtors_csv(random.Random(2)))
    page.get_by_role("link", name="Uploads", exact=True).click()
    page.get_by_label("A file of debtors").set_input_files(tmp_path / "fees.csv")
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_role("heading", name="fees.csv")).to_be_visible()
    # Nobody reloads: the page follows what happens, says that the file was read, and then has the form of a run.
    expect(page.locator("#live")).to_contain_text("completed", timeout=90_000)
    expect(page.get_by_label("Due item", exact=True)).to_be_visible(timeout=90_000)
    page.get_by_label("Due item", exact=True).fill("2027-01")
    page.get_by_role("button", name="See what it would do").click()
    expect(page.get_by_text("Nothing was ordered.")).to_be_visible()
    page.get_by_role("button", name="Order the run").click()
    expect(page.get_by_role("status")).to_contain_text("The run was ordered.")

    stage.gateway.resolve()
    expect(page.locator("#live .cards")).to_contain_text("approved", timeout=90_000)
    page.locator("#live table a[href^='/payments/']").first.click()
    expect(page.get_by_role("heading", name="Payment")).to_be_visible()
    # This debit may be among the last that are approved; the page then has its buttons anew, as long as nobody writes in it.
    expect(page.get_by_role("button", name="Void")).to_be_enabled(timeout=90_000)
    page.locator("form[action$='/void']").get_by_label("Why?").fill("a mistake")
    page.get_by_role("button", name="Void").click()
    expect(page.get_by_role("status").or_(page.get_by_role("alert"))).to_be_visible()


def test_the_questions_of_a_file_are_answered(page: Page, tmp_path: Path) -> None:
    """A file that can be read in two ways is read as its sender says, and not as a machine guesses."""
    rng = random.Random(8)
    rows = [f"Person {n};{made_up_iban(rng)};1.23{n};{'SH'[n % 2]}" for n in range(6)]
    (tmp_path / "odd.csv").write_text("\n".join(["Name;IBAN;Betrag;S/H", *rows]) + "\n")
    page.goto("/uploads")
    page.get_by_label("A file of debtors").set_input_files(tmp_path / "odd.csv")
    page.get_by_role("button", name="Upload", exact=True).click()
    page.get_by_role("group", name="Which rows are to be collected?").get_by_label("S", exact=True).check(
        timeout=30_000
    )
    page.get_by_label("Which decimal sign").select_option("comma")
    page.get_by_role("button", name="Answer", exact=True).click()
    expect(page.locator("#live")).to_contain_text("completed", timeout=30_000)
    # By the comma these are thousands, and half of the rows are debits.
    expect(page.locator("#live .cards")).to_contain_text("3 debtors, 3,696.00 EUR")


@pytest.fixture(scope="session")
def parked(stage: Stage) -> int:
    """A notification with a status that nobody knows, which waits for a person; gives its number."""
    body = form_body({"unique_id": "strange", "status": "frobnicated"}, secret=PASSWORD)
    stage.api.post("/api/webhooks/emp", content=body, headers={"content-type": FORM}).raise_for_status()

    def waiting() -> int:
        items = stage.api.get("/api/webhook-events", params={"status": "parked"}).json()["items"]
        return int(items[0]["id"]) if items else 0

    return until(waiting, what="the notification to be parked", timeout_s=120)


def test_a_notification_is_found_and_replayed_by_keyboard(page: Page, parked: int) -> None:
    """Who cannot use a mouse reaches every order, and sees where the focus is; and what a replay would do, before it does."""
    assert parked
    page.goto("/notifications?status=parked")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.locator("#live table a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/notifications/*")
    expect(page.get_by_text("Nothing was changed yet.")).to_be_visible()
    page.get_by_label("Why?").focus()
    page.keyboard.type("the status is known by now")
    page.get_by_role("button", name="Process it again").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").or_(page.get_by_role("alert"))).to_be_visible()


def test_a_plan_is_added_and_debtors_are_enrolled_by_keyboard(page: Page, stage: Stage) -> None:
    """Who cannot use a mouse adds a plan, sees who would be enrolled and what it will collect, and pauses it."""
    upload = upload_file(stage, "choir.csv", debtors_csv(random.Random(4)))["upload"]
    page.goto("/collection-plans")
    page.get_by_text("Add a collection plan").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Name", exact=True).focus()
    page.keyboard.type("Choir")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("The collection plan was added.")
    page.get_by_label("Upload", exact=True).fill(str(upload["id"]))
    due_on = datetime.now(UTC).date() + timedelta(days=16)
    page.get_by_label("First due date").fill(str(due_on))
    page.get_by_label("Mandates signed on").fill(str(due_on - timedelta(days=30)))
    page.get_by_role("button", name="See who would be enrolled").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing was stored.")).to_be_visible()
    page.get_by_role("button", name="Enrol", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("The debtors have their schedules.")
    expect(page.locator("[data-plot] canvas")).to_be_visible()
    page.get_by_label("Why? Nothing of it is made").focus()
    page.keyboard.type("the bank is closed")
    page.keyboard.press("Enter")
    expect(page.locator("#live")).to_contain_text("the bank is closed")


def test_the_menu_folds_on_a_phone(page: Page) -> None:
    """Some twenty pages as links above each page would fill the screen of a phone before anything is read."""
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/")
    entry = page.get_by_role("link", name="Gateway accounts")
    expect(entry).not_to_be_visible()
    page.get_by_role("button", name="Menu").focus()
    page.keyboard.press("Enter")
    entry.click()
    page.wait_for_url("**/gateway-accounts")
    expect(page.get_by_role("heading", name="default")).to_be_visible()
    expect(entry).not_to_be_visible()


def test_a_figure_is_drawn_and_leads_to_its_rows(page: Page, billed: int) -> None:
    """A number that nobody can open is a number that nobody believes."""
    assert billed
    page.goto("/")
    page.get_by_role("link", name="net, 30 days").first.click()
    page.wait_for_url("**/figures?*")
    expect(page.get_by_role("heading", name="By day")).to_be_visible()
    page.locator("select[name=by]").select_option("run")
    page.locator("select[name=basis]").select_option("cohort")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("heading", name="By run")).to_be_visible()
    expect(page.locator("[data-plot] canvas").first).to_be_visible()
    collected = page.locator("section.cards .card").first.inner_text()
    assert "collected" in collected
    page.get_by_role("region", name="Figures").get_by_role("link", name=str(billed), exact=True).click()
    page.wait_for_url("**/payments?*")
    expect(page.locator("#live table tbody tr").first).to_be_visible()


def test_everything_that_matches_is_previewed_and_inquired(
    page: Page, stage: Stage, billed: int, subscribed: str
) -> None:
    """A person sees how many payments and how much money an action is about, and afterwards what became of each."""
    page.goto(f"/payments?run={billed}")
    expect(page.get_by_text("match:")).to_be_visible()
    page.get_by_role("button", name="Inquire all that match").click()
    expect(page.get_by_text("Nothing was done yet.")).to_be_visible()
    expect(page.get_by_role("region", name="What it would do")).to_contain_text("EUR")
    page.get_by_label("Why?").fill("the bank disagrees")
    page.get_by_role("button", name="Inquire all that match").click()
    expect(page.get_by_role("heading", name="Bulk order")).to_be_visible()
    expect(page.locator("#live")).to_contain_text("finished", timeout=90_000)
    expect(page.get_by_role("region", name="Results")).to_contain_text("done")

    # The same below the deliveries of a subscriber, which is no filter but the page itself.
    assert _delivery(stage, subscribed)
    page.goto(f"{subscribed}/deliveries")
    page.get_by_role("button", name="Redeliver all that match").click()
    expect(page.get_by_text("Nothing was done yet.")).to_be_visible()
    page.get_by_label("Why?").fill("the receiver is up again")
    page.get_by_role("button", name="Redeliver all that match").click()
    expect(page.locator("#live")).to_contain_text("finished", timeout=90_000)
    page.get_by_role("link", name="What matches now").click()
    page.wait_for_url(f"**{subscribed}/deliveries")


def test_a_second_person_on_another_node_sees_a_change(
    page: Page, chromium: Browser, stage: Stage, enrolled: str
) -> None:
    """Two people who work on one list must not order the same thing twice because one of them looks at yesterday."""
    port = free_port()
    other_node = f"http://127.0.0.1:{port}"
    stage.start("tether-web", "--port", str(port)).await_url(f"{other_node}/ready")
    context = chromium.new_context(base_url=other_node, storage_state=page.context.storage_state())
    other = context.new_page()
    newest = stage.api.get(f"/api{enrolled}/schedules", params={"limit": 1}).json()["items"][0]["id"]
    other.goto(f"{enrolled}/schedules")
    row = other.locator("#live tr").filter(has=other.locator(f"a[href='/schedules/{newest}']"))
    expect(row).to_contain_text("active")
    page.goto(f"/schedules/{newest}")
    page.get_by_label("Why? Nothing of it is made").fill("moves")
    page.get_by_role("button", name="Pause the schedule").click()
    expect(page.get_by_role("status")).to_contain_text("The schedule is changed.")
    # Nobody reloads: an event reaches the other node, and its page follows.
    expect(row).to_contain_text("paused", timeout=90_000)
    context.close()


def test_a_person_of_one_account_follows_it_without_the_events_of_all(
    chromium: Browser, stage: Stage, billed: int
) -> None:
    """A page that asks for what is refused, again and again, fills the logs; one that asks for nothing grows old."""
    key = {"name": "partner", "role": "viewer", "accounts": ["default"]}
    made = stage.api.post("/api/api-keys", json=key).raise_for_status().json()
    context = chromium.new_context(base_url=stage.url)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/")
    page.get_by_text("Sign in with an API key").click()
    page.get_by_label("API key").fill(made["secret"])
    page.get_by_role("button", name="Sign in with the key").click()
    expect(page.get_by_text("this is about the account")).to_be_visible()
    expect(page.get_by_text("could not be read")).to_have_count(0)
    page.goto(f"/runs/{billed}")
    # Nobody reloads: the page is fetched again every few seconds.
    with page.expect_response(lambda answer: answer.url.endswith(f"/runs/{billed}"), timeout=90_000):
        pass
    assert not any("/api/events" in url for url in asked)
    context.close()


def test_pictures_of_the_main_pages(
    page: Page,
    billed: int,
    parked: int,
    enrolled: str,
    configured: list[str],
    request: pytest.FixtureRequest,
) -> None:
    """The pictures of the docs show the console as it is; `--shots` takes them anew."""
    for name, path in (
        ("overview", "/"),
        ("run", f"/runs/{billed}"),
        ("payments", f"/payments?run={billed}"),
        ("figures", "/figures?by=day"),
        ("plan", enrolled),
        ("gateway-accounts", "/gateway-accounts"),
        ("notification", f"/notifications/{parked}"),
        ("name-checks", next(path for path in configured if path.endswith("/checks"))),
    ):
        page.goto(path)
        expect(page.get_by_role("heading").first).to_be_visible()
        taken = page.screenshot(path=SHOTS / f"{name}.png" if request.config.getoption("--shots") else None)
        assert len(taken) > 10_000
