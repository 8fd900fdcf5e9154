# mypy: ignore-errors
# Run with libraries of its own, which the type checker does not see.
"""Django's settings: of the usual middleware only the two that an API cannot do without."""

import os

SECRET_KEY = os.environ["EMP_API_PASSWORD"]
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "urls"
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"]
USE_TZ = True
