"""The Django project under load."""

ERROR = ("ValueError", "Straße nicht gefunden")
"""Error type and message that a view gives to the log of a failed request."""
METADATA = {"model": "v3"}
"""What it gives to the log of every request."""
