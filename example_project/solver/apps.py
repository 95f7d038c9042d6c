"""The app that reads barcodes."""

from django.apps import AppConfig


class SolverConfig(AppConfig):
    """Read barcodes from uploaded images."""

    name = "solver"
