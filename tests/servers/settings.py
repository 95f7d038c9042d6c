"""Settings of the small project that real servers run."""

import environ

env = environ.Env()

SECRET_KEY = "only-for-tests"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.servers.urls"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "request_images",
]
OURS = [
    "tests.servers.middleware.tell_of_cancelling",
    "request_images.middleware.RequestImagesMiddleware",
    "tests.servers.middleware.replace_response",
]
MIDDLEWARE = [
    *(OURS if "SERVERS_MIDDLEWARE" in env else []),
    # Sets the Content-Length, so that clients do not wait for the close.
    "django.middleware.common.CommonMiddleware",
]
# The hardest case: Django never closes its connections.
max_age = None if "SERVERS_KEEP_CONNECTIONS" in env else 600
DATABASES = {"default": {**env.db("DATABASE_URL"), "CONN_MAX_AGE": max_age}}
if DATABASES["default"]["ENGINE"].endswith("postgresql"):
    name = env.str("SERVERS_NAME", default="")
    DATABASES["default"]["OPTIONS"] = {"application_name": name}
REQUEST_IMAGES_ENABLED = True
REQUEST_IMAGES_WRITE_MODE = env.str("SERVERS_WRITE_MODE", default="auto")
REQUEST_IMAGES_AFTER_RESPONSE_SECONDS = 60
REQUEST_IMAGES_SPOOL_DIR = env.str("SERVERS_SPOOL", default=None)
