"""The Django project under load."""
