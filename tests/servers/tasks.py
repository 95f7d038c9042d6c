"""Settings of a small project with a worker for its tasks."""

from tests.servers.settings import *  # noqa: F403  # with changes

INSTALLED_APPS += ["django_tasks_db"]  # noqa: F405  # from there
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
REQUEST_IMAGES_THUMBNAILS = "task"
