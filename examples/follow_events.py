"""
Follow what happens, and go on where it was left off: prints one line for each event and keeps its id in a file.

    TETHER_URL=http://localhost:8000 TETHER_API_KEY=sandbox-key python examples/follow_events.py position.txt

The first time it begins with everything there is. Stop and start it as you like: no event is excluded.
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

import httpx

position = Path(sys.argv[1])
key = {"Authorization": f"Bearer {os.environ['TETHER_API_KEY']}"}
api = httpx.Client(base_url=os.environ["TETHER_URL"], headers=key, timeout=60)

while True:
    last = position.read_text() if position.exists() else "0"
    # Streams end now and then, and nodes go away; after any error, reconnect with the last id.
    with (
        contextlib.suppress(httpx.TransportError),
        api.stream("GET", "/api/events", headers={"Last-Event-ID": last}) as stream,
    ):
        if 400 <= stream.status_code < 500:
            sys.exit(json.loads(stream.read())["detail"])
        for line in stream.iter_lines():
            if line.startswith("data: ") and stream.status_code == 200:
                event = json.loads(line.removeprefix("data: "))
                print(event["id"], event["occurred_at"], event["fact"], flush=True)
                # Kept after the work, so that a crash between the two repeats an event and loses none.
                position.with_suffix(".new").write_text(str(event["id"]))
                position.with_suffix(".new").replace(position)
    time.sleep(2)
