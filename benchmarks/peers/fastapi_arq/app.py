# mypy: ignore-errors
# Run with libraries of its own, which the type checker does not see.
"""
FastAPI and arq, as their documentation puts them together: `uvicorn app:app` and `arq worker.Settings`.

Signature, then `SET NX` against repeats, then a job with the fields, then the echo.
"""

import hashlib
import hmac
import os
from contextlib import asynccontextmanager

from arq import create_pool
from arq.connections import RedisSettings
from fastapi import FastAPI, Request, Response

PASSWORD = os.environ["EMP_API_PASSWORD"]
DAY_S = 86_400


@asynccontextmanager
async def lifespan(app: FastAPI):
    """Open the queue, which also gives access to Redis."""
    app.state.queue = await create_pool(RedisSettings.from_dsn(os.environ["REDIS_URL"]))
    yield
    await app.state.queue.aclose()


app = FastAPI(lifespan=lifespan, openapi_url=None)


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
    queue = request.app.state.queue
    key = f"seen:{unique_id}:{fields.get('status')}:{fields.get('event', '')}"
    if await queue.set(key, 1, nx=True, ex=DAY_S):
        await queue.enqueue_job("book", fields)
    echo = f"<notification_echo><unique_id>{unique_id}</unique_id></notification_echo>"
    return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n{echo}\n', media_type="application/xml")
