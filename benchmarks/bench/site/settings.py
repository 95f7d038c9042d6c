"""Settings of the project under load; ``BENCH_VARIANT`` selects the variant."""

from __future__ import annotations

import json
import os

VARIANT = os.environ.get("BENCH_VARIANT", "bare")

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

# Every variant installs everything, so that all have the same tables and import the
# same code. Variants differ only in what is switched on.
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "rest_framework",
    "silk",
    "request_images",
    "bench.site",
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

REQUEST_IMAGES_ENABLED = VARIANT in {"after_response", "background"}
if VARIANT == "background":
    REQUEST_IMAGES_WRITE_MODE = "background"
    REQUEST_IMAGES_BACKLOG_WHEN_FULL = os.environ.get("BENCH_WHEN_FULL", "write")
    if "BENCH_BACKLOG_MB" in os.environ:
        REQUEST_IMAGES_BACKLOG_MAX_MB = int(os.environ["BENCH_BACKLOG_MB"])

if VARIANT == "silk":
    MIDDLEWARE.insert(0, "silk.middleware.SilkyMiddleware")
if VARIANT in {"drf_logger", "migrate"}:
    # drf-api-logger starts a thread as soon as it is installed, so only here.
    INSTALLED_APPS.append("drf_api_logger")
    MIDDLEWARE.append(
        "drf_api_logger.middleware.api_logger_middleware.APILoggerMiddleware"
    )
    DRF_API_LOGGER_DATABASE = True
    DRF_LOGGER_INTERVAL = 1  # seconds; the default of 10 would only prolong the run
