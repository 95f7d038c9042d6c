"""The tests of django-request-images."""
