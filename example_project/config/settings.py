"""Settings of the example project, from the environment, with defaults.

SAVE_REQUEST_IMAGES      whether images are kept              (false)
MAX_SAVED_IMAGE_SIZE_MB  the largest image that is kept       (10)
IMAGE_RETENTION_DAYS     retention of images in days, or none (30)
SOLVER_MAX_UPLOAD_MB     the largest image the solver accepts (20)
DATABASE_URL             e.g. postgres://user:pw@host/name    (SQLite beside this)
DEBUG                    whether to run in debug mode         (true)
SECRET_KEY               required if DEBUG is false
ALLOWED_HOSTS            comma-separated host names           (this machine only)
"""

from pathlib import Path

from config.environment import database, days, env, flag, megabytes, secret_key

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = flag("DEBUG", default=True)
SECRET_KEY = secret_key("SECRET_KEY", debug=DEBUG)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])

# --- django-request-images --------------------------------------------------------
REQUEST_IMAGES_ENABLED = flag("SAVE_REQUEST_IMAGES", default=False)
REQUEST_IMAGES_MAX_SIZE_MB = megabytes("MAX_SAVED_IMAGE_SIZE_MB", default=10)
REQUEST_IMAGES_RETENTION_DAYS = days("IMAGE_RETENTION_DAYS", default=30)

# --- the solver -------------------------------------------------------------------
SOLVER_MAX_UPLOAD_MB = megabytes("SOLVER_MAX_UPLOAD_MB", default=20)
# Django's own limit (2.5 MB) applies to bodies that are not files. Here a body may be
# an image: raw, or as base64 in JSON, which is a third larger, plus a few characters.
DATA_UPLOAD_MAX_MEMORY_SIZE = int(SOLVER_MAX_UPLOAD_MB * 1024 * 1024 * 4 / 3) + 65_536

# --- Django -----------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "request_images",
    "solver",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

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

DATABASES = {"default": database("DATABASE_URL", default=BASE_DIR / "db.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator")
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "static"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    # The server's own line already reports a 404 or a 422.
    "loggers": {"django.request": {"level": "ERROR"}},
}
