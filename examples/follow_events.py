"""
Follow what happens, and go on where it was left off: prints one line for each event and keeps its id in a file.

    TETHER_URL=http://localhost:8000 TETHER_API_KEY=sandbox-key python examples/follow_events.py position.txt

The first time it begins with everything there is. Stop and start it as you like: no event is excluded.
"""

import contextlib
import os
import sys
import time
from pathlib import Path

from tether_client import Client, Refused, Unavailable

position = Path(sys.argv[1])
tether = Client(os.environ["TETHER_URL"], api_key=os.environ["TETHER_API_KEY"])

while True:
    last = int(position.read_text()) if position.exists() else 0
    # Streams end now and then, and nodes go away; after any error, reconnect with the last id.
    with contextlib.suppress(Unavailable):
        try:
            for event in tether.follow_events(after=last):
                print(event.id, event.occurred_at.isoformat(), event.fact, flush=True)
                # Kept after the work, so that a crash between the two repeats an event and loses none.
                position.with_suffix(".new").write_text(str(event.id))
                position.with_suffix(".new").replace(position)
        except Refused as exc:
            sys.exit(str(exc))
    time.sleep(2)
