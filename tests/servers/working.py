"""Settings of the stress and kill tests: two stores and short days."""

from tests.servers.settings import *  # noqa: F403  # with changes

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):  # noqa: F405  # from there
    # Many processes compete for the one writer.
    DATABASES["default"]["OPTIONS"] = {  # noqa: F405  # from there
        "timeout": 60,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
    }
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "bucket": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": f"{env.str('SERVERS_SIGNS')}/bucket"},  # noqa: F405  # from there
    },
}
LOGGING = {"version": 1, "loggers": {"django.request": {"level": "CRITICAL"}}}
REQUEST_IMAGES_RETENTION_DAYS = 20
REQUEST_IMAGES_FAILED_RETENTION_DAYS = 30
REQUEST_IMAGES_BYTES_RETENTION_DAYS = 10
REQUEST_IMAGES_LOG_RETENTION_DAYS = 40
