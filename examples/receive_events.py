"""
Receive Tether's events in FastAPI: verify the signature, ignore repeats, answer fast.

    TETHER_WEBHOOK_SECRET=whsec_... uv run --with fastapi --with uvicorn uvicorn examples.receive_events:app --port 8090
"""

import os

from fastapi import FastAPI, Request, Response
from standardwebhooks import Webhook, WebhookVerificationError

app = FastAPI()
webhook = Webhook(os.environ.get("TETHER_WEBHOOK_SECRET", "whsec_c2VjcmV0"))
processed: set[str] = set()  # yours: a unique column, written in the transaction of what the event changes


@app.post("/tether")
async def receive(request: Request) -> Response:
    """Take one event in."""
    try:
        event = webhook.verify(await request.body(), dict(request.headers))
    except WebhookVerificationError:
        return Response(status_code=401)
    if event["id"] not in processed:
        processed.add(event["id"])
        print(event["type"], event.get("subject"), event["data"])
    return Response(status_code=204)
