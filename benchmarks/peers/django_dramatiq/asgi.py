# mypy: ignore-errors
# Run with libraries of its own, which the type checker does not see.
"""Django behind uvicorn: `uvicorn asgi:app`."""

import os

from django.core.asgi import get_asgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
app = get_asgi_application()
