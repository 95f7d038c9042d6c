"""Settings of the project under load; ``BENCH_VARIANT`` selects the variant."""

from __future__ import annotations

import json
import os

from bench.variants import BY_NAME

VARIANT = BY_NAME[os.environ.get("BENCH_VARIANT", "bare")]

SECRET_KEY = "for a benchmark on this machine only"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
USE_TZ = True
ROOT_URLCONF = "bench.site.urls"
WSGI_APPLICATION = "bench.site.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": json.loads(os.environ["BENCH_DATABASE"])}
MEDIA_ROOT = os.environ.get("BENCH_MEDIA", "")
STATIC_URL = "static/"
MEDIA_URL = "media/"
# Only errors are logged: a line for each request would have a cost of its own.
LOGGING = {"version": 1, "disable_existing_loggers": False}

# A variant installs only what it needs: the bare view is one without this app.
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "bench.site",
    *VARIANT.apps,
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

if "silk" in VARIANT.apps:
    MIDDLEWARE.insert(0, "silk.middleware.SilkyMiddleware")
if "drf_api_logger" in VARIANT.apps:
    MIDDLEWARE.append(
        "drf_api_logger.middleware.api_logger_middleware.APILoggerMiddleware"
    )
if VARIANT.name == "spool":
    REQUEST_IMAGES_SPOOL_DIR = os.environ["BENCH_SPOOL"]
globals().update(VARIANT.settings)
globals().update(json.loads(os.environ.get("BENCH_SETTINGS", "{}")))
