"""
Try another return policy: make a version, see what it would have changed over the returns of the last year, and switch nothing.

    TETHER_URL=http://localhost:8000 TETHER_API_KEY=sandbox-key python examples/try_a_return_policy.py MS02=block AM04=none/1

Each word is a rule: the reason code, what happens to the account (none, hold, block), and how often the debit is tried again.
"""

import os
import sys

from tether_client import Client, ClientError
from tether_client.command.return_policies import rule

client = Client(os.environ["TETHER_URL"], api_key=os.environ["TETHER_API_KEY"])
active = next(version.version for version in client.return_policies() if version.active)
try:
    rules = dict(rule(word) for word in sys.argv[1:])
    made = client.add_return_policy(based_on=active, rules=rules, reason="a trial")
except ClientError as exc:
    sys.exit(str(exc))
for change in made.changes:
    print(change.text)

tried = client.try_return_policy(made.version, days=365).result
for found in tried.currencies:
    for title, expected in (("collected", found.collected), ("returned", found.returned)):
        amount = "unknown" if expected is None else f"{expected.expected.amount_minor / 100:+,.2f}"
        print(f"{found.currency}: extra {title} {amount}")
    print(f"{found.currency}: extra blocked {found.blocked.count:+} accounts")
if not tried.currencies:
    print("no decision would have differed")
print(f"switch it on: tether policy switch {made.version} --reason ...")
