"""
Bill a spreadsheet of debtors, end to end, against a running Tether: upload it, order the run, follow it to its end.

    TETHER_URL=http://localhost:8000 TETHER_API_KEY=sandbox-key python examples/bill_an_upload.py members.csv 2026-03

Safe to run again: the same file is the same upload, and each debtor pays each due item once. In a shell `tether uploads add --wait` and
`tether uploads bill --wait` do the same.
"""

import os
import sys
from pathlib import Path

from tether_client import Client, RunOrder

file, due_item = Path(sys.argv[1]), sys.argv[2]
tether = Client(os.environ["TETHER_URL"], api_key=os.environ["TETHER_API_KEY"])

upload = tether.await_upload(tether.add_upload(file).id).upload
if upload.state != "completed":
    sys.exit(f"{file.name}: {upload.failure or upload.state}; see GET /api/uploads/{upload.id}")

order = RunOrder(due_item=due_item, usage=f"Contribution {due_item}")
# The same order sent again, after a timeout or by hand, is answered with the run it made the first time.
run_id = tether.order_run(upload.id, order, idempotency_key=f"{upload.id}-{due_item}").id
progress = tether.await_run(run_id)
run = progress.run
print(
    f"run {run.id} {run.state}: {run.count} debits of {run.amount_minor / 100:.2f}; excluded: {run.skipped}"
)
for state, debits in progress.states.items():
    print(f"  {state}: {debits.count} debits, {debits.amount_minor / 100:.2f}")
sys.exit(run.pause_reason)
