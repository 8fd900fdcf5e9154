# mypy: ignore-errors
# Run with libraries of its own, which the type checker does not see.
"""
FastAPI and Celery: `uvicorn app:app` and `celery -A tasks worker`.

Signature, then `SET NX` against repeats, then `delay`, then the echo. `delay` holds up the loop while it writes to
Redis; handing it to a thread, the other way people write this, costs more than the wait.
"""

import hashlib
import hmac
import os

from fastapi import FastAPI, Request, Response
from redis.asyncio import Redis
from tasks import book

PASSWORD = os.environ["EMP_API_PASSWORD"]
DAY_S = 86_400

redis = Redis.from_url(os.environ["REDIS_URL"])
app = FastAPI(openapi_url=None)


@app.get("/health")
async def health():
    return {"status": "ok"}


@app.post("/api/webhooks/emp")
async def receive(request: Request) -> Response:
    """Take one notification in."""
    fields = dict(await request.form())
    unique_id = fields.get("unique_id", "")
    expected = hashlib.sha1((unique_id + PASSWORD).encode()).hexdigest()
    if not hmac.compare_digest(expected, fields.get("signature", "")):
        return Response('{"error":"Invalid signature"}', status_code=401, media_type="application/json")
    key = f"seen:{unique_id}:{fields.get('status')}:{fields.get('event', '')}"
    if await redis.set(key, 1, nx=True, ex=DAY_S):
        book.delay(fields)
    echo = f"<notification_echo><unique_id>{unique_id}</unique_id></notification_echo>"
    return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n{echo}\n', media_type="application/xml")
