"""
Bill a spreadsheet of debtors, end to end, against a running Tether: upload it, order the run, follow it to its end.

    TETHER_URL=http://localhost:8000 TETHER_API_KEY=sandbox-key python examples/bill_an_upload.py members.csv 2026-03

Safe to run again: the same file is the same upload, and each debtor pays each due item once.
"""

import os
import sys
import time
from pathlib import Path

import httpx

file, due_item = Path(sys.argv[1]), sys.argv[2]
key = {"Authorization": f"Bearer {os.environ['TETHER_API_KEY']}"}
api = httpx.Client(base_url=os.environ["TETHER_URL"], headers=key, timeout=30)

upload = (
    api.post("/api/uploads", files={"file": (file.name, file.read_bytes())})
    .raise_for_status()
    .json()["upload"]
)
while upload["state"] not in {"completed", "failed", "needs_answer"}:
    time.sleep(0.5)
    upload = api.get(f"/api/uploads/{upload['id']}").raise_for_status().json()["upload"]
if upload["state"] != "completed":
    sys.exit(f"{file.name}: {upload['failure'] or upload['state']}; see GET /api/uploads/{upload['id']}")

order = {"due_item": due_item, "usage": f"Contribution {due_item}"}
# The same order sent again, after a timeout or by hand, is answered with the run it made the first time.
key = {"Idempotency-Key": f"{upload['id']}-{due_item}"}
run = api.post(f"/api/uploads/{upload['id']}/billing", json=order, headers=key).raise_for_status().json()
while run["state"] in {"planning", "canary", "running"}:
    time.sleep(0.5)
    payload = api.get(f"/api/billing-runs/{run['id']}").raise_for_status().json()
    run = payload["run"]
print(
    f"run {run['id']} {run['state']}: {run['count']} debits of {run['amount_minor'] / 100:.2f}; excluded: {run['skipped']}"
)
for state, some in payload["states"].items():
    print(f"  {state}: {some['count']} debits, {some['amount_minor'] / 100:.2f}")
sys.exit(run["pause_reason"])
