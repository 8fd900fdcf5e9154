"""
Collect from a list each month: upload it, add a collection plan, see who would be enrolled and what 90 days will collect, and enrol them.

    TETHER_URL=http://localhost:8000 TETHER_API_KEY=sandbox-key python examples/collect_monthly.py members.csv 2027-02-01

Safe to run again: a plan has its name once, and a debtor gets one schedule.
"""

import os
import sys
from pathlib import Path

import httpx
from tether_client import Client

file, first_due_on = Path(sys.argv[1]), sys.argv[2]
url, key = os.environ["TETHER_URL"], os.environ["TETHER_API_KEY"]
upload = Client(url, api_key=key).await_upload(Client(url, api_key=key).add_upload(file).id).upload
if upload.state != "completed":
    sys.exit(f"{file.name}: {upload.failure or upload.state}; see GET /api/uploads/{upload.id}")

with httpx.Client(
    base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False
) as api:
    options = {
        "interval": {"unit": "month"},
        "notice_days": 14,
        "pay_days": [1, 15],
        "usage": "Membership",
        "creditor_name": "Example club",
    }
    name = f"List {upload.id}"
    plans = {known["name"]: known["id"] for known in api.get("/api/collection-plans").json()["items"]}
    if name not in plans:
        plan = api.post("/api/collection-plans", json={"name": name, "options": options})
        if not plan.is_success:
            sys.exit(plan.json()["detail"])
        plans[name] = plan.json()["id"]
    plan_id = plans[name]
    order = {"upload_id": upload.id, "first_due_on": first_due_on, "mandate_signed_on": "2026-11-20"}
    for dry_run in (True, False):
        enrolled = api.post(f"/api/collection-plans/{plan_id}/schedules", json={**order, "dry_run": dry_run})
        enrolled.raise_for_status()
        print(f"{'would enrol' if dry_run else 'enrolled'}: {enrolled.json()['verdicts']}")
    forecast = api.get(f"/api/collection-plans/{plan_id}/forecast", params={"days": 90}).json()
    for day in forecast["expected"]:
        print(f"{day['on']}: {day['count']} debits of {day['amount_minor'] / 100:.2f} EUR")
    print(f"in 90 days: {forecast['count']} debits of {forecast['amount_minor'] / 100:.2f} EUR")
