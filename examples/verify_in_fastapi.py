"""
tether_core alone, inside another service: verify, decode and acknowledge gateway notifications in FastAPI.

    uv run --with fastapi --with uvicorn uvicorn examples.verify_in_fastapi:app

The core brings no server, no database and no opinion about either; what it gives are values.
"""

import os

from fastapi import FastAPI, Request, Response
from tether_core.emp.notification import acknowledge, decode, media_type
from tether_core.emp.signature import Credential, verify
from tether_core.errors import SignatureMismatch, Unreadable
from tether_core.notifications.identity import identify

app = FastAPI()
credentials = [Credential("default", passwords=(os.environ.get("EMP_API_PASSWORD", ""),))]
seen: set[bytes] = set()  # yours: a unique column in your database


@app.post("/gateway")
async def gateway(request: Request) -> Response:
    """Take one notification in."""
    try:
        notification = decode(
            await request.body(), content_type=media_type(request.headers.get("content-type", ""))
        )
        account = verify(notification.id, notification.signature, credentials=credentials)
    except Unreadable as exc:
        return Response(str(exc), status_code=400)
    except SignatureMismatch:
        return Response(status_code=401)
    key = identify(notification, account=account).key
    if key not in seen:
        seen.add(key)
        print(notification, notification.reason_code or "")
    return Response(acknowledge(notification), media_type="application/xml")
