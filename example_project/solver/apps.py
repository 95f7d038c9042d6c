"""The app that reads barcodes."""

from django.apps import AppConfig


class SolverConfig(AppConfig):
    """Reads barcodes from images sent to it."""

    name = "solver"
