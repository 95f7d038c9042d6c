"""Settings of a project of django-tenants, whose schemas have our tables."""

import environ

env = environ.Env()
# The same variable as in tox.ini: the server, without a database.
_SERVER = env.str("POSTGRES_SERVER", default="postgres://root@127.0.0.1:5432")

SECRET_KEY = "only-for-tests"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.foreign.tenants.urls"
SHARED_APPS = ["django_tenants", "tests.foreign.tenants.customers"]
TENANT_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "request_images",
]
INSTALLED_APPS = [*SHARED_APPS, *TENANT_APPS]
TENANT_MODEL = "customers.Customer"
TENANT_DOMAIN_MODEL = "customers.Domain"
DATABASES = {"default": env.db_url_config(f"{_SERVER.rstrip('/')}/foreign_tenants")}
DATABASES["default"]["ENGINE"] = "django_tenants.postgresql_backend"
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
MIDDLEWARE = ["django_tenants.middleware.main.TenantMainMiddleware"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "bucket": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
}
REQUEST_IMAGES_ENABLED = True
