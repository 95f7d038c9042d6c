"""The Django project that is put under load."""
