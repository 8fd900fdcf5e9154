"""
Answer Tether's checks of account and name: an adapter in front of a service of your own, or of a register that you have.

    NAMES_TOKEN=... uv run --with fastapi --with uvicorn uvicorn examples.check_names:app --port 8091
    TETHER_VOP_URL=http://127.0.0.1:8091/check TETHER_VOP_TOKEN=... tether-worker run vop
"""

import os
import secrets
from difflib import SequenceMatcher

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

app = FastAPI()
token = os.environ.get("NAMES_TOKEN", "for-this-example-only")
HOLDERS = {"DE89370400440532013000": "Zoë Miller"}  # yours: a call of the service, or a query


@app.post("/check")
async def check(request: Request) -> Response:
    """Answer about one account; anything but a 200 is retried, so answer 503 while your service is away."""
    given = request.headers.get("authorization", "")
    if not secrets.compare_digest(given.encode(), f"Bearer {token}".encode()):
        return Response(status_code=401)
    asked = await request.json()
    holder = HOLDERS.get(asked["iban"])
    if holder is None:
        return JSONResponse({"name": "NOAP"})
    percent = round(100 * SequenceMatcher(None, holder.casefold(), asked["name"].casefold()).ratio())
    name = "MTCH" if percent == 100 else "CMTC" if percent >= 75 else "NMTC"
    return JSONResponse({"name": name, "name_percent": percent, "debit": "yes"})
