# mypy: ignore-errors
# Run with libraries of its own, which the type checker does not see.
"""The routes, and the two views behind them: signature, then `SET NX`, then `send`, then the echo."""

import hashlib
import hmac
import os

from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from redis.asyncio import Redis
from tasks import book

PASSWORD = os.environ["EMP_API_PASSWORD"]
DAY_S = 86_400

redis = Redis.from_url(os.environ["REDIS_URL"])


async def health(_request):
    return JsonResponse({"status": "ok"})


@csrf_exempt
async def receive(request):
    """Take one notification in."""
    fields = request.POST.dict()
    unique_id = fields.get("unique_id", "")
    expected = hashlib.sha1((unique_id + PASSWORD).encode()).hexdigest()
    if not hmac.compare_digest(expected, fields.get("signature", "")):
        return JsonResponse({"error": "Invalid signature"}, status=401)
    key = f"seen:{unique_id}:{fields.get('status')}:{fields.get('event', '')}"
    # django.core.cache would go through a thread here; this is the quicker way.
    if await redis.set(key, 1, nx=True, ex=DAY_S):
        book.send(fields)
    echo = f"<notification_echo><unique_id>{unique_id}</unique_id></notification_echo>"
    return HttpResponse(f'<?xml version="1.0" encoding="UTF-8"?>\n{echo}\n', content_type="application/xml")


urlpatterns = [path("health", health), path("api/webhooks/emp", receive)]
